/* The curves of the page: scores against context, nll by position and by distance, frequencies. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/html.h"

enum { MAX_BACKGROUND = 200, MAX_SPLIT_CHARTS = 6 };
static const double two_pi = 6.283185307179586;

static rs_curve make_curve(const char *label, char kind, int64_t id, int colour, size_t most, bool interval)
{
    rs_curve curve = {.label = label, .colour = colour};
    snprintf(curve.key, sizeof curve.key, "%c%" PRId64, kind, id);
    curve.x = rs_alloc(most, sizeof *curve.x);
    curve.y = rs_alloc(most, sizeof *curve.y);
    if (interval) {
        curve.low = rs_alloc(most, sizeof *curve.low);
        curve.high = rs_alloc(most, sizeof *curve.high);
    }
    return curve;
}

static void add_point(rs_curve *curve, double x, double y, rs_html_interval interval)
{
    curve->x[curve->n] = x;
    curve->y[curve->n] = y;
    if (curve->low) {
        curve->low[curve->n] = interval.low;
        curve->high[curve->n] = interval.high;
    }
    curve->n++;
}

static void free_curves(rs_chart *chart)
{
    for (int c = 0; c < chart->n_curves; c++) {
        free(chart->curves[c].x);
        free(chart->curves[c].y);
        free(chart->curves[c].low);
        free(chart->curves[c].high);
    }
    free(chart->curves);
}

/* The i-th of n variants to draw, worst first, so that the best lie on top and the baseline above all. */
static int64_t variant_to_draw(const rs_html_page *page, int64_t i)
{
    return page->ranked[page->grid.n_rows - 1 - i];
}

/* How many of the worst have no place behind the others. */
static int64_t first_to_draw(const rs_html_page *page)
{
    return page->grid.n_rows > MAX_BACKGROUND ? page->grid.n_rows - MAX_BACKGROUND : 0;
}

/* --- metric against context --- */

static rs_curve context_curve(const rs_html_page *page, int64_t row, int task)
{
    const rs_grid *grid = &page->grid;
    const rs_plan_task *t = &page->results->plan.tasks[task];
    rs_curve curve = make_curve(grid->rows[row].label, 'v', row, page->colours[row], (size_t)grid->n_columns, true);
    int metric = rs_grid_metric(t);
    for (int64_t c = 0; c < grid->n_columns; c++) {
        const rs_point_result *result = grid->columns[c].task == task ? rs_grid_done(page->results, grid, row, c) : NULL;
        if (grid->columns[c].task == task)
            add_point(&curve, (double)grid->columns[c].context, result ? result->metrics[metric].value : NAN,
                      result ? rs_html_metric_interval(t, result, metric) : (rs_html_interval){NAN, NAN});
    }
    return curve;
}

/* Least and greatest value of what is drawn. */
static void find_values(const rs_chart *chart, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (int c = 0; c < chart->n_curves; c++)
        for (int i = 0; i < chart->curves[c].n; i++) {
            *low = chart->curves[c].y[i] < *low ? chart->curves[c].y[i] : *low;
            *high = chart->curves[c].y[i] > *high ? chart->curves[c].y[i] : *high;
        }
}

void rs_html_curves(const rs_html_page *page, int task)
{
    const rs_grid *grid = &page->grid;
    const rs_plan_task *t = &page->results->plan.tasks[task];
    const char *metric = t->metrics[rs_grid_metric(t)];
    double *contexts = rs_alloc((size_t)grid->n_columns, sizeof *contexts), low, high;
    char *title = rs_format("%s: %s against context, 95 %% intervals", t->label, metric);
    rs_chart chart = {.title = title, .x_label = "context, tokens", .y_label = metric, .ticks = contexts};
    for (int64_t c = 0; c < grid->n_columns; c++)
        if (grid->columns[c].task == task)
            contexts[chart.n_ticks++] = (double)grid->columns[c].context;
    if (chart.n_ticks > 1) { /* a curve of one point says no more than the table */
        chart.curves = rs_alloc((size_t)grid->n_rows, sizeof *chart.curves);
        for (int64_t i = first_to_draw(page); i < grid->n_rows; i++)
            chart.curves[chart.n_curves++] = context_curve(page, variant_to_draw(page, i), task);
        find_values(&chart, &low, &high);
        chart.log_y = t->scores_text && low > 0 && high > 20 * low;
        chart.unit_y = !t->scores_text && low >= 0 && high <= 1;
        rs_svg_write(&chart, page->out);
    }
    free_curves(&chart);
    free(contexts);
    free(title);
}

/* --- nll by position, by distance --- */

static const struct {
    const char *what, *x_label, *intro;
} split_words[RS_N_SPLITS] = {
    [RS_BY_POSITION] = {"nll by position", "tokens before the scored one",
                        "Each marker is the mean over the tokens that have so many tokens before them, to the next power of two."},
    [RS_BY_DISTANCE] =
        {"nll by distance", "tokens since the same one stood last",
         "Each marker is the mean over the tokens that stood there so many tokens before, to the next power of two: how far back "
         "a variant reaches. Tokens that are new in their window are in report.json only."},
};

static rs_split_result split_of(const rs_html_page *page, int64_t row, int64_t column, rs_split split)
{
    const rs_point_result *result = rs_grid_done(page->results, &page->grid, row, column);
    rs_split_result all = result ? result->splits[split] : (rs_split_result){0};
    bool never = all.n > 0 && all.buckets[0].from == 0; /* has no place on a logarithmic axis */
    return (rs_split_result){all.buckets + never, all.n - never};
}

/* A bucket stands at its middle, on the logarithmic axis. */
static rs_curve split_curve(const rs_html_page *page, int64_t row, int64_t column, rs_split split)
{
    rs_split_result parts = split_of(page, row, column, split);
    rs_curve curve = make_curve(page->grid.rows[row].label, 'v', row, page->colours[row], (size_t)parts.n, true);
    for (int i = 0; i < parts.n; i++) {
        const rs_bucket *p = &parts.buckets[i];
        double half = 1.959963984540054 * p->nll_per_token.error, value = p->nll_per_token.value;
        add_point(&curve, sqrt((double)p->from * (double)(p->to + 1)), value, (rs_html_interval){value - half, value + half});
    }
    return curve;
}

/* Where the column's first bucket begins and its last one ends. */
static void find_buckets(const rs_html_page *page, int64_t column, rs_split split, double *low, double *high)
{
    *low = INFINITY;
    *high = 0;
    for (int64_t row = 0; row < page->grid.n_rows; row++) {
        rs_split_result parts = split_of(page, row, column, split);
        for (int i = 0; i < parts.n; i++) {
            *low = fmin(*low, (double)parts.buckets[i].from);
            *high = fmax(*high, (double)parts.buckets[i].to);
        }
    }
}

static void put_split_chart(const rs_html_page *page, int64_t column, rs_split split)
{
    const rs_grid *grid = &page->grid;
    const rs_plan_task *t = &page->results->plan.tasks[grid->columns[column].task];
    char *title =
        rs_format("%s at context %" PRId64 ": %s, 95 %% intervals", t->label, grid->columns[column].context, split_words[split].what);
    double ticks[RS_BUCKETS], low, high;
    rs_chart chart = {
        .title = title, .x_label = split_words[split].x_label, .y_label = "nll per token, nats", .ticks = ticks, .numbers = true};
    chart.curves = rs_alloc((size_t)grid->n_rows, sizeof *chart.curves);
    for (int64_t i = first_to_draw(page); i < grid->n_rows; i++)
        chart.curves[chart.n_curves++] = split_curve(page, variant_to_draw(page, i), column, split);
    find_buckets(page, column, split, &low, &high);
    for (double at = low; at < high; at *= 2)
        ticks[chart.n_ticks++] = at;
    rs_svg_write(&chart, page->out);
    free_curves(&chart);
    free(title);
}

static bool has_curve(const rs_html_page *page, int64_t column, rs_split split)
{
    for (int64_t row = 0; row < page->grid.n_rows; row++)
        if (split_of(page, row, column, split).n > 1)
            return true;
    return false;
}

static void put_split_charts(const rs_html_page *page, rs_split split)
{
    int64_t shown = 0, left_out = 0;
    for (int64_t c = page->grid.n_columns; c-- > 0;) { /* the longest context says most */
        if (!has_curve(page, c, split))
            continue;
        if (shown == MAX_SPLIT_CHARTS) {
            left_out++;
            continue;
        }
        if (shown++ == 0)
            rs_text_printf(page->out, "<p class=\"dim\">%s</p>\n", split_words[split].intro);
        put_split_chart(page, c, split);
    }
    if (left_out > 0)
        rs_text_printf(page->out, "<p class=\"dim\">%" PRId64 " more charts' numbers are in report.json (%s).</p>\n", left_out,
                       rs_split_names[split]);
}

void rs_html_splits(const rs_html_page *page)
{
    for (rs_split split = 0; split < RS_N_SPLITS; split++)
        put_split_charts(page, split);
}

/* --- frequencies --- */

static json_t *frequencies(const rs_plan_file *plan, int rope)
{
    return json_object_get(json_array_get(plan->ropes, (size_t)rope), "inv_freq");
}

static rs_curve frequency_curve(const rs_plan_file *plan, int rope, int colour)
{
    json_t *base = frequencies(plan, plan->baseline_rope), *own = frequencies(plan, rope);
    size_t n = json_array_size(base) < json_array_size(own) ? json_array_size(base) : json_array_size(own);
    rs_curve curve = make_curve(rs_plan_file_rope_label(plan, rope), 'r', rope, colour, n, false);
    for (size_t i = 0; i < n; i++) {
        double frequency = json_number_value(json_array_get(base, i));
        if (frequency > 0)
            add_point(&curve, two_pi / frequency, json_number_value(json_array_get(own, i)), (rs_html_interval){0, 0});
    }
    return curve;
}

/* A rope's colour is its variant's where there is one softmax; else the first ones have colours. */
static void find_rope_colours(const rs_html_page *page, int *colours)
{
    const rs_plan_file *plan = &page->results->plan;
    for (int rope = 0, next = 0; rope < plan->n_ropes; rope++)
        colours[rope] = rope == plan->baseline_rope ? -1 : next < RS_SVG_COLOURS ? next++ : RS_SVG_COLOURS;
    for (int64_t row = 0; row < page->grid.n_rows && plan->n_softmaxes == 1; row++)
        colours[page->grid.rows[row].rope] = page->colours[row];
}

/* Least and greatest context of the sweep. */
static int context_marks(const rs_plan_file *plan, double marks[2])
{
    marks[0] = INFINITY;
    marks[1] = 0;
    for (int64_t i = 0; i < plan->n_points; i++) {
        double context = (double)plan->points[i].context;
        marks[0] = context < marks[0] ? context : marks[0];
        marks[1] = context > marks[1] ? context : marks[1];
    }
    return plan->n_points == 0 ? 0 : marks[1] > 1.3 * marks[0] ? 2 : 1;
}

void rs_html_frequencies(const rs_html_page *page)
{
    const rs_plan_file *plan = &page->results->plan;
    double marks[2];
    int *colours = rs_alloc((size_t)plan->n_ropes, sizeof *colours), background = 0;
    rs_chart chart = {.title = "Frequency of each pair, at the largest context",
                      .x_label = "wavelength of the pair under the baseline, tokens a turn",
                      .y_label = "inv_freq, radians a token",
                      .log_y = true,
                      .numbers = true,
                      .marks = marks};
    chart.n_marks = context_marks(plan, marks);
    chart.curves = rs_alloc((size_t)plan->n_ropes, sizeof *chart.curves);
    find_rope_colours(page, colours);
    for (int layer = RS_SVG_COLOURS; layer >= -1; layer--) /* the baseline above all */
        for (int rope = 0; rope < plan->n_ropes; rope++)
            if (colours[rope] == layer && (layer < RS_SVG_COLOURS || background++ < MAX_BACKGROUND))
                chart.curves[chart.n_curves++] = frequency_curve(plan, rope, layer);
    rs_text_puts(page->out, "<p class=\"dim\">A pair that does not turn (inv_freq 0) lies on "
                            "the floor. The dashed lines are the least and the greatest context.</p>\n");
    rs_svg_write(&chart, page->out);
    free_curves(&chart);
    free(colours);
}
