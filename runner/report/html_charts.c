#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/html.h"
#include "report/svg.h"

enum { MAX_BACKGROUND = 200 };
static const double two_pi = 6.283185307179586;

static void free_curves(rs_chart *chart)
{
    for (int c = 0; c < chart->n_curves; c++) {
        free(chart->curves[c].x);
        free(chart->curves[c].y);
        free(chart->curves[c].error);
    }
    free(chart->curves);
}

/* --- metric against context --- */

/* Mean place of a variant among the others over the task's contexts: log perplexity, or minus the score; less is better. */
static double badness(const rs_results *results, const rs_grid *grid, int64_t row, int task)
{
    const rs_plan_task *t = &results->plan.tasks[task];
    double sum = 0;
    int n = 0;
    for (int64_t c = 0; c < grid->n_columns; c++) {
        const rs_point_result *result = grid->columns[c].task == task ? rs_grid_done(results, grid, row, c) : NULL;
        if (result == NULL)
            continue;
        double value = result->metrics[rs_grid_metric(t)].value;
        sum += t->scores_text ? log(value) : -value;
        n++;
    }
    return n > 0 ? sum / n : INFINITY;
}

typedef struct ranked {
    int64_t row;
    double badness;
    int colour;
} ranked;

static int by_badness(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->badness != y->badness)
        return x->badness < y->badness ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* From what is drawn below to what is drawn above. */
static int by_layer(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->colour != y->colour)
        return x->colour > y->colour ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static rs_curve make_curve(const rs_results *results, const rs_grid *grid, const ranked *variant, int task)
{
    const rs_plan_task *t = &results->plan.tasks[task];
    size_t most = (size_t)grid->n_columns;
    rs_curve curve = {.label = grid->rows[variant->row].label, .colour = variant->colour};
    curve.x = rs_alloc(most, sizeof *curve.x);
    curve.y = rs_alloc(most, sizeof *curve.y);
    curve.error = rs_alloc(most, sizeof *curve.error);
    for (int64_t c = 0; c < grid->n_columns; c++) {
        if (grid->columns[c].task != task)
            continue;
        const rs_point_result *result = rs_grid_done(results, grid, variant->row, c);
        rs_estimate estimate = result ? result->metrics[rs_grid_metric(t)] : (rs_estimate){NAN, NAN};
        curve.x[curve.n] = (double)grid->columns[c].context;
        curve.y[curve.n] = estimate.value;
        curve.error[curve.n++] = estimate.error;
    }
    return curve;
}

/* The baseline, the best few in colours, the rest in grey. */
static ranked *rank_variants(const rs_results *results, const rs_grid *grid, int task)
{
    ranked *variants = rs_alloc((size_t)grid->n_rows, sizeof *variants);
    int next = 0;
    for (int64_t row = 0; row < grid->n_rows; row++)
        variants[row] = (ranked){.row = row, .badness = badness(results, grid, row, task)};
    qsort(variants, (size_t)grid->n_rows, sizeof *variants, by_badness);
    for (int64_t i = 0; i < grid->n_rows; i++)
        variants[i].colour = grid->rows[variants[i].row].baseline ? -1 : next < RS_SVG_COLOURS ? next++ : RS_SVG_COLOURS;
    qsort(variants, (size_t)grid->n_rows, sizeof *variants, by_layer);
    return variants;
}

/* Whether perplexities differ so much that the curves need a logarithmic axis. */
static bool spreads(const rs_chart *chart)
{
    double low = INFINITY, high = 0;
    for (int c = 0; c < chart->n_curves; c++)
        for (int i = 0; i < chart->curves[c].n; i++) {
            low = chart->curves[c].y[i] < low ? chart->curves[c].y[i] : low;
            high = chart->curves[c].y[i] > high ? chart->curves[c].y[i] : high;
        }
    return low > 0 && high > 20 * low;
}

void rs_html_curves(const rs_results *results, const rs_grid *grid, int task, rs_text *out)
{
    const rs_plan_task *t = &results->plan.tasks[task];
    double *contexts = rs_alloc((size_t)grid->n_columns, sizeof *contexts);
    const char *metric = t->metrics[rs_grid_metric(t)];
    char *title = rs_format("%s: %s against context", t->label, metric);
    rs_chart chart = {.title = title, .x_label = "context, tokens", .y_label = metric, .ticks = contexts};
    for (int64_t c = 0; c < grid->n_columns; c++)
        if (grid->columns[c].task == task)
            contexts[chart.n_ticks++] = (double)grid->columns[c].context;
    if (chart.n_ticks > 1) { /* a curve of one point says no more than the table */
        ranked *variants = rank_variants(results, grid, task);
        chart.curves = rs_alloc((size_t)grid->n_rows, sizeof *chart.curves);
        for (int64_t i = grid->n_rows > MAX_BACKGROUND ? grid->n_rows - MAX_BACKGROUND : 0; i < grid->n_rows; i++)
            chart.curves[chart.n_curves++] = make_curve(results, grid, &variants[i], task);
        chart.log_y = t->scores_text && spreads(&chart);
        rs_svg_write(&chart, out);
        free(variants);
    }
    free_curves(&chart);
    free(contexts);
    free(title);
}

/* --- frequencies --- */

static json_t *frequencies(const rs_plan_file *plan, int rope)
{
    return json_object_get(json_array_get(plan->ropes, (size_t)rope), "inv_freq");
}

static rs_curve make_frequency_curve(const rs_plan_file *plan, int rope, int colour)
{
    json_t *base = frequencies(plan, plan->baseline_rope), *own = frequencies(plan, rope);
    size_t n = json_array_size(base) < json_array_size(own) ? json_array_size(base) : json_array_size(own);
    rs_curve curve = {.label = rs_plan_file_rope_label(plan, rope), .colour = colour};
    curve.x = rs_alloc(n, sizeof *curve.x);
    curve.y = rs_alloc(n, sizeof *curve.y);
    for (size_t i = 0; i < n; i++) {
        double frequency = json_number_value(json_array_get(base, i));
        if (frequency <= 0)
            continue;
        curve.x[curve.n] = two_pi / frequency;
        curve.y[curve.n++] = json_number_value(json_array_get(own, i));
    }
    return curve;
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

void rs_html_frequencies(const rs_results *results, rs_text *out)
{
    const rs_plan_file *plan = &results->plan;
    double marks[2];
    rs_chart chart = {.title = "Frequency of each pair, at the largest context",
                      .x_label = "wavelength of the pair under the baseline, tokens a turn",
                      .y_label = "inv_freq, radians a token",
                      .log_y = true,
                      .marks = marks};
    chart.n_marks = context_marks(plan, marks);
    chart.curves = rs_alloc((size_t)plan->n_ropes, sizeof *chart.curves);
    int last = plan->n_ropes < MAX_BACKGROUND ? plan->n_ropes - 1 : MAX_BACKGROUND - 1;
    for (int rope = last; rope >= 0; rope--) { /* the first ones in colours, on top; the baseline above all */
        int place = rope - (rope > plan->baseline_rope);
        if (rope != plan->baseline_rope)
            chart.curves[chart.n_curves++] = make_frequency_curve(plan, rope, place < RS_SVG_COLOURS ? place : RS_SVG_COLOURS);
    }
    chart.curves[chart.n_curves++] = make_frequency_curve(plan, plan->baseline_rope, -1);
    rs_text_puts(
        out,
        "<h2 id=\"frequencies\">Effective frequencies</h2>\n<p class=\"dim\">A pair that does not turn (inv_freq 0) lies on the floor. "
        "The dashed lines are the least and the greatest context.</p>\n");
    rs_svg_write(&chart, out);
    free_curves(&chart);
}
