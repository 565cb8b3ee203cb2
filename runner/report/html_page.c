/* What the parts of the page share: the order and colours of variants, intervals, tables' frames. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/html.h"

static const double z95 = 1.959963984540054;

/* --- variants --- */

typedef struct ranked {
    int64_t row;
    bool baseline;
    double badness; /* mean place among the variants over the columns that it has */
} ranked;

typedef struct placed {
    int64_t row;
    double height; /* more is better */
} placed;

static int by_height(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    if (x->height != y->height)
        return x->height > y->height ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int by_badness(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->baseline != y->baseline)
        return x->baseline ? -1 : 1;
    if (x->badness != y->badness)
        return x->badness < y->badness ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Adds each variant's share of others that are better in this column; equal ones share their places. */
static void place_column(const rs_html_page *page, int64_t column, placed *order, double *sums, int64_t *counts)
{
    const rs_plan_task *task = &page->results->plan.tasks[page->grid.columns[column].task];
    int64_t n = 0;
    for (int64_t row = 0; row < page->grid.n_rows; row++) {
        const rs_point_result *result = rs_grid_done(page->results, &page->grid, row, column);
        double value = result ? result->metrics[rs_grid_metric(task)].value : NAN;
        if (isfinite(value))
            order[n++] = (placed){row, task->scores_text ? -value : value};
    }
    qsort(order, (size_t)n, sizeof *order, by_height);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && order[end].height == order[i].height; end++)
            ;
        for (int64_t k = i; k < end; k++) {
            sums[order[k].row] += (double)(i + end - 1) / 2 / (double)n;
            counts[order[k].row]++;
        }
    }
}

static void rank_variants(rs_html_page *page)
{
    int64_t n = page->grid.n_rows;
    placed *order = rs_alloc((size_t)n, sizeof *order);
    double *sums = rs_alloc((size_t)n, sizeof *sums);
    int64_t *counts = rs_alloc((size_t)n, sizeof *counts);
    ranked *variants = rs_alloc((size_t)n, sizeof *variants);
    int next = 0;
    for (int64_t column = 0; column < page->grid.n_columns; column++)
        place_column(page, column, order, sums, counts);
    for (int64_t row = 0; row < n; row++)
        variants[row] = (ranked){row, page->grid.rows[row].baseline, counts[row] > 0 ? sums[row] / (double)counts[row] : INFINITY};
    qsort(variants, (size_t)n, sizeof *variants, by_badness);
    for (int64_t i = 0; i < n; i++) {
        page->ranked[i] = variants[i].row;
        page->colours[variants[i].row] = variants[i].baseline ? -1 : next < RS_SVG_COLOURS ? next++ : RS_SVG_COLOURS;
    }
    free(order);
    free(sums);
    free(counts);
    free(variants);
}

void rs_html_page_open(const rs_results *results, rs_text *out, rs_html_page *page)
{
    *page = (rs_html_page){.results = results, .out = out};
    rs_grid_make(results, &page->grid);
    page->colours = rs_alloc((size_t)page->grid.n_rows, sizeof *page->colours);
    page->ranked = rs_alloc((size_t)page->grid.n_rows, sizeof *page->ranked);
    rank_variants(page);
}

void rs_html_page_close(rs_html_page *page)
{
    free(page->colours);
    free(page->ranked);
    rs_grid_free(&page->grid);
}

/* --- intervals --- */

/* Scores that all lie at an end of their scale have no spread: the end of Wilson's interval says what so few samples leave open. */
static rs_html_interval at_an_end(double value, int64_t n)
{
    double room = z95 * z95 / ((double)n + z95 * z95);
    return value == 0 ? (rs_html_interval){0, room} : (rs_html_interval){1 - room, 1};
}

rs_html_interval rs_html_metric_interval(const rs_plan_task *task, const rs_point_result *result, int metric)
{
    rs_estimate estimate = result->metrics[metric];
    double half = z95 * estimate.error;
    if (task->scores_text && metric == 1) /* perplexity: that of nll_per_token, whose noise is the nearer to a normal one */
        return (rs_html_interval){estimate.value * exp(-half / estimate.value), estimate.value * exp(half / estimate.value)};
    if (task->scores_text || !(estimate.value >= 0 && estimate.value <= 1))
        return (rs_html_interval){estimate.value - half, estimate.value + half};
    if ((estimate.value == 0 || estimate.value == 1) && result->n > 0)
        return at_an_end(estimate.value, result->n);
    return (rs_html_interval){fmax(estimate.value - half, 0), fmin(estimate.value + half, 1)};
}

rs_html_versus rs_html_versus_baseline(const rs_point_result *result, int metric)
{
    rs_estimate versus = result->versus[metric];
    if (result->evidence) {
        const rs_evidence *evidence = &result->evidence[metric];
        return (rs_html_versus){versus.value, evidence->interval.low, evidence->interval.high, evidence->p_holm};
    }
    return (rs_html_versus){versus.value, versus.value - z95 * versus.error, versus.value + z95 * versus.error, NAN};
}

bool rs_html_differs(rs_html_versus versus)
{
    return versus.p_holm < 0.05;
}

void rs_html_put_versus(rs_html_versus versus, rs_text *out)
{
    double width = versus.high - versus.low;
    if (versus.difference == 0 && !(width > 0)) {
        rs_text_puts(out, "0"); /* on each sample: there is nothing to resample */
        return;
    }
    double largest = fmax(fabs(versus.difference), fmax(fabs(versus.low), fabs(versus.high)));
    int decimals = width > 0 && isfinite(width) ? 1 - (int)floor(log10(width)) : 3, enough = 3 - (int)floor(log10(largest));
    decimals = decimals < enough ? decimals : enough; /* an interval may be next to nothing */
    decimals = decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
    rs_text_printf(out, "%+.*f", decimals, versus.difference);
    if (isfinite(width))
        rs_text_printf(out, " [%.*f, %.*f]", decimals, versus.low, decimals, versus.high);
}

/* --- tables --- */

bool rs_html_has_task(const rs_html_page *page, int task)
{
    for (int64_t c = 0; c < page->grid.n_columns; c++)
        if (page->grid.columns[c].task == task)
            return true;
    return false;
}

bool rs_html_row_has_task(const rs_html_page *page, int64_t row, int task)
{
    const rs_grid *grid = &page->grid;
    for (int64_t c = 0; c < grid->n_columns; c++)
        if (grid->columns[c].task == task && grid->points[row * grid->n_columns + c] >= 0)
            return true;
    return false;
}

void rs_html_task_head(const rs_html_page *page, int task)
{
    rs_text_puts(page->out, "<h3>");
    rs_html_text(page->results->plan.tasks[task].label, page->out);
    rs_text_puts(page->out, "</h3>\n");
}

void rs_html_table_open(const char *name, const char *class, const char *id, rs_text *out)
{
    rs_text_puts(out, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"");
    rs_html_text(name, out);
    rs_text_printf(out, "\"><table class=\"%s\"", class);
    if (id)
        rs_text_printf(out, " id=\"%s\"", id);
    rs_text_puts(out, ">");
}

void rs_html_table_close(rs_text *out)
{
    rs_text_puts(out, "</tbody></table></div>\n");
}

void rs_html_row_head(const rs_html_page *page, int64_t row, rs_text *out)
{
    const rs_grid_row *variant = &page->grid.rows[row];
    rs_text_puts(out, variant->baseline ? "<tr class=\"baseline\"><th scope=\"row\">" : "<tr><th scope=\"row\">");
    rs_html_text(variant->label, out);
    rs_text_puts(out, variant->baseline ? " (baseline)</th>" : "</th>");
}

void rs_html_state(rs_point_state state, rs_text *out)
{
    rs_text_printf(out, "<span class=\"status %s\">%s</span>", rs_point_state_name(state), rs_point_state_name(state));
}
