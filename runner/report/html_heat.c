/* Maps of scores: variant by context, and depth by context. Tables with coloured cells, so that they can be read, sorted and copied. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/html.h"

enum { LEVELS = 9, MAX_DEPTH_TABLES = 24 };

/* Text scores spread over orders of magnitude: their place between worst and best is taken of the logarithm. */
static double height_of(const rs_plan_task *task, const rs_point_result *result)
{
    double value = result->metrics[rs_grid_metric(task)].value;
    return task->scores_text ? -log(value) : value;
}

typedef struct range {
    double worst, best;
} range;

static range column_range(const rs_results *results, const rs_grid *grid, int64_t column)
{
    const rs_plan_task *task = &results->plan.tasks[grid->columns[column].task];
    range r = {NAN, NAN};
    for (int64_t row = 0; row < grid->n_rows; row++) {
        const rs_point_result *result = rs_grid_done(results, grid, row, column);
        double height = result ? height_of(task, result) : NAN;
        if (!isfinite(height))
            continue;
        r.worst = !(r.worst <= height) ? height : r.worst;
        r.best = !(r.best >= height) ? height : r.best;
    }
    return r;
}

static void put_heat_cell(const rs_results *results, const rs_grid *grid, int64_t row, int64_t column, range r, rs_text *out)
{
    int64_t point = grid->points[row * grid->n_columns + column];
    const rs_plan_task *task = &results->plan.tasks[grid->columns[column].task];
    const rs_point_result *result = rs_grid_done(results, grid, row, column);
    if (result == NULL) {
        rs_text_puts(out, "<td class=\"num\" data-v=\"\">");
        if (point >= 0)
            rs_html_state(results->points[point].state, out);
        rs_text_puts(out, "</td>");
        return;
    }
    int metric = rs_grid_metric(task), level = LEVELS / 2;
    double height = height_of(task, result);
    if (isfinite(height) && r.best > r.worst)
        level = (int)((height - r.worst) / (r.best - r.worst) * (LEVELS - 1) + 0.5);
    rs_text_printf(out, "<td class=\"num h%d%s\" data-v=\"%.9g\">", level, height == r.best && r.best > r.worst ? " best" : "",
                   result->metrics[metric].value);
    rs_format_estimate(result->metrics[metric], out);
    if (result->has_versus) {
        rs_text_puts(out, result->versus[metric].value > 0 ? "<small>+" : "<small>");
        rs_format_estimate(result->versus[metric], out);
        rs_text_puts(out, rs_html_differs(rs_html_versus_baseline(result, metric)) ? " *</small>" : "</small>");
    }
    rs_text_puts(out, "</td>");
}

void rs_html_heat(const rs_html_page *page, int task)
{
    const rs_grid *grid = &page->grid;
    const rs_plan_task *t = &page->results->plan.tasks[task];
    rs_text *out = page->out;
    range *ranges = rs_alloc((size_t)grid->n_columns, sizeof *ranges);
    rs_html_task_head(page, task);
    rs_html_table_open(t->label, "sort", NULL, out);
    rs_text_puts(out, "<caption>");
    rs_html_text(t->metrics[rs_grid_metric(t)], out);
    rs_text_printf(out,
                   " ± standard error, %s is better; small: difference from the baseline, sample by sample (*: p below 0.05 after Holm's "
                   "correction). Orange is the worst of a "
                   "column, blue the best, a frame marks the best.</caption><thead><tr><th scope=\"col\">variant</th>",
                   t->scores_text ? "less" : "more");
    for (int64_t c = 0; c < grid->n_columns; c++) {
        if (grid->columns[c].task != task)
            continue;
        ranges[c] = column_range(page->results, grid, c);
        rs_text_printf(out, "<th scope=\"col\" class=\"num\">%" PRId64 "</th>", grid->columns[c].context);
    }
    rs_text_puts(out, "</tr></thead><tbody>\n");
    for (int64_t row = 0; row < grid->n_rows; row++) {
        if (!rs_html_row_has_task(page, row, task))
            continue;
        rs_html_row_head(page, row, out);
        for (int64_t c = 0; c < grid->n_columns; c++)
            if (grid->columns[c].task == task)
                put_heat_cell(page->results, grid, row, c, ranges[c], out);
        rs_text_puts(out, "</tr>\n");
    }
    rs_html_table_close(out);
    free(ranges);
}

/* --- by depth --- */

static bool has_depths(const rs_html_page *page, int64_t row, int task)
{
    for (int64_t c = 0; c < page->grid.n_columns; c++) {
        const rs_point_result *result = page->grid.columns[c].task == task ? rs_grid_done(page->results, &page->grid, row, c) : NULL;
        if (result && result->by_depth)
            return true;
    }
    return false;
}

static void put_depth_cell(const rs_point_result *result, int bin, rs_text *out)
{
    const rs_depth *depth = result && result->by_depth ? &result->by_depth[bin] : NULL;
    if (depth == NULL || depth->n == 0) {
        rs_text_puts(out, "<td></td>");
        return;
    }
    int level = (int)(fmin(fmax(depth->score, 0), 1) * (LEVELS - 1) + 0.5);
    rs_text_printf(out, "<td class=\"d%d\" title=\"%" PRId64 " samples\">%.2f</td>", level, depth->n, depth->score);
}

static void put_depth_table(const rs_html_page *page, int64_t row, int task)
{
    const rs_grid *grid = &page->grid;
    rs_text *out = page->out;
    rs_text_puts(out, "<table class=\"depth\"><caption>");
    rs_html_text(grid->rows[row].label, out);
    rs_text_puts(out, grid->rows[row].baseline ? " (baseline)" : "");
    rs_text_puts(out, "</caption><thead><tr><th scope=\"col\">depth</th>");
    for (int64_t c = 0; c < grid->n_columns; c++)
        if (grid->columns[c].task == task)
            rs_text_printf(out, "<th scope=\"col\">%" PRId64 "</th>", grid->columns[c].context);
    rs_text_puts(out, "</tr></thead><tbody>\n");
    for (int bin = 0; bin < RS_DEPTH_BINS; bin++) {
        rs_text_printf(out, "<tr><th scope=\"row\">%d–%d&#160;%%</th>", bin * 100 / RS_DEPTH_BINS, (bin + 1) * 100 / RS_DEPTH_BINS);
        for (int64_t c = 0; c < grid->n_columns; c++)
            if (grid->columns[c].task == task)
                put_depth_cell(rs_grid_done(page->results, grid, row, c), bin, out);
        rs_text_puts(out, "</tr>\n");
    }
    rs_text_puts(out, "</tbody></table>\n");
}

void rs_html_depths(const rs_html_page *page, int task)
{
    const rs_plan_task *t = &page->results->plan.tasks[task];
    rs_text *out = page->out;
    int64_t shown = 0, left_out = 0;
    for (int64_t i = 0; i < page->grid.n_rows; i++) {
        int64_t row = page->ranked[i];
        if (!has_depths(page, row, task))
            continue;
        if (shown == MAX_DEPTH_TABLES) {
            left_out++;
            continue;
        }
        if (shown++ == 0) {
            rs_html_task_head(page, task);
            rs_text_puts(out, "<p class=\"dim\">");
            rs_html_text(t->metrics[0], out);
            rs_text_puts(out,
                         " by the place of the needle asked for first (0 % is the beginning of the text) and context; best variants first. "
                         "Dark is high.</p>\n<div class=\"depths\">\n");
        }
        put_depth_table(page, row, task);
    }
    if (shown > 0)
        rs_text_puts(out, "</div>\n");
    if (left_out > 0)
        rs_text_printf(out, "<p class=\"dim\">%" PRId64 " more variants: samples.jsonl has the depth and scores of each sample.</p>\n",
                       left_out);
}
