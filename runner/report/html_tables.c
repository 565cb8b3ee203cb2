#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/html.h"
#include "report/svg.h"

enum { MAX_TROUBLES = 500, MAX_ROWS = 4000, LEVELS = 9 };

static void put_state(rs_point_state state, rs_text *out)
{
    rs_text_printf(out, "<span class=\"status %s\">%s</span>", rs_point_state_name(state), rs_point_state_name(state));
}

/* Variant, task and context as cells. */
static void put_point(const rs_plan_file *plan, const rs_plan_point *point, rs_text *out)
{
    rs_text_puts(out, "<tr><th scope=\"row\">");
    rs_html_text(rs_plan_file_rope_label(plan, point->rope), out);
    rs_text_puts(out, "</th><td>");
    rs_html_text(rs_plan_file_softmax_label(plan, point->softmax), out);
    rs_text_puts(out, "</td><td>");
    rs_html_text(plan->tasks[point->task].label, out);
    rs_text_printf(out, "</td><td class=\"num\" data-v=\"%" PRId64 "\">%" PRId64 "</td>", point->context, point->context);
}

static int put_troubles(const rs_results *results, rs_point_state state, int room, rs_text *out)
{
    int shown = 0;
    for (int64_t i = 0; i < results->plan.n_points && shown < room; i++) {
        const rs_plan_point *point = &results->plan.points[i];
        const rs_point_result *result = &results->points[i];
        if (!point->listed || result->state != state)
            continue;
        put_point(&results->plan, point, out);
        rs_text_puts(out, "<td>");
        put_state(state, out);
        rs_text_puts(out, "</td><td>");
        if (result->reason)
            rs_html_text(result->reason, out);
        else
            rs_text_printf(out, "%" PRId64 " of %" PRId64 " samples are there", result->n, point->samples);
        rs_text_puts(out, "</td></tr>\n");
        shown++;
    }
    return shown;
}

void rs_html_troubles(const rs_results *results, rs_text *out)
{
    int all = results->summary.failed + results->summary.missing;
    if (all == 0)
        return;
    rs_text_puts(
        out,
        "<h2 id=\"troubles\">Failed and missing points</h2>\n<div class=\"scroll\"><table class=\"sort\"><thead><tr><th "
        "scope=\"col\">rope</th>"
        "<th scope=\"col\">softmax</th><th scope=\"col\">task</th><th scope=\"col\" class=\"num\">context</th><th scope=\"col\">status</th>"
        "<th scope=\"col\">reason</th></tr></thead><tbody>\n");
    int shown = put_troubles(results, RS_POINT_FAILED, MAX_TROUBLES, out);
    shown += put_troubles(results, RS_POINT_MISSING, MAX_TROUBLES - shown, out);
    rs_text_puts(out, "</tbody></table></div>\n");
    if (shown < all)
        rs_text_printf(out, "<p class=\"dim\">%d more are in report.csv.</p>\n", all - shown);
}

/* --- heat --- */

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
            put_state(results->points[point].state, out);
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
        rs_text_puts(out, "</small>");
    }
    rs_text_puts(out, "</td>");
}

static bool row_has_task(const rs_grid *grid, int64_t row, int task)
{
    for (int64_t c = 0; c < grid->n_columns; c++)
        if (grid->columns[c].task == task && grid->points[row * grid->n_columns + c] >= 0)
            return true;
    return false;
}

void rs_html_heat(const rs_results *results, const rs_grid *grid, int task, rs_text *out)
{
    const rs_plan_task *t = &results->plan.tasks[task];
    range *ranges = rs_alloc((size_t)grid->n_columns, sizeof *ranges);
    for (int64_t c = 0; c < grid->n_columns; c++)
        ranges[c] = column_range(results, grid, c);
    rs_text_puts(out, "<div class=\"scroll\"><table class=\"sort\"><caption>");
    rs_html_text(t->metrics[rs_grid_metric(t)], out);
    rs_text_printf(out,
                   " ± standard error, %s is better; small: difference from the baseline, sample by sample. Orange is the worst of a "
                   "column, blue the best.</caption>"
                   "<thead><tr><th scope=\"col\">variant</th>",
                   t->scores_text ? "less" : "more");
    for (int64_t c = 0; c < grid->n_columns; c++)
        if (grid->columns[c].task == task)
            rs_text_printf(out, "<th scope=\"col\" class=\"num\">%" PRId64 "</th>", grid->columns[c].context);
    rs_text_puts(out, "</tr></thead><tbody>\n");
    for (int64_t row = 0; row < grid->n_rows; row++) {
        if (!row_has_task(grid, row, task))
            continue;
        rs_text_puts(out, grid->rows[row].baseline ? "<tr class=\"baseline\"><th scope=\"row\">" : "<tr><th scope=\"row\">");
        rs_html_text(grid->rows[row].label, out);
        rs_text_puts(out, grid->rows[row].baseline ? " (baseline)</th>" : "</th>");
        for (int64_t c = 0; c < grid->n_columns; c++)
            if (grid->columns[c].task == task)
                put_heat_cell(results, grid, row, c, ranges[c], out);
        rs_text_puts(out, "</tr>\n");
    }
    rs_text_puts(out, "</tbody></table></div>\n");
    free(ranges);
}

/* --- all points --- */

static void put_number(bool there, double value, rs_estimate estimate, rs_text *out)
{
    if (!there || !isfinite(value)) {
        rs_text_puts(out, "<td class=\"num\" data-v=\"\"></td>");
        return;
    }
    rs_text_printf(out, "<td class=\"num\" data-v=\"%.9g\">", value);
    rs_format_value((rs_estimate){value, estimate.error}, out);
    rs_text_puts(out, "</td>");
}

static void put_metric_row(const rs_results *results, int64_t i, int metric, rs_text *out)
{
    const rs_plan_point *point = &results->plan.points[i];
    const rs_point_result *result = &results->points[i];
    bool done = result->state == RS_POINT_DONE;
    put_point(&results->plan, point, out);
    rs_text_puts(out, "<td>");
    put_state(result->state, out);
    rs_text_puts(out, "</td><td>");
    rs_html_text(results->plan.tasks[point->task].metrics[metric], out);
    rs_text_puts(out, "</td>");
    put_number(done, result->metrics[metric].value, result->metrics[metric], out);
    put_number(done, result->metrics[metric].error, result->metrics[metric], out);
    put_number(result->has_versus, result->versus[metric].value, result->versus[metric], out);
    put_number(result->has_versus, result->versus[metric].error, result->versus[metric], out);
    rs_text_printf(out, "<td class=\"num\" data-v=\"%" PRId64 "\">%" PRId64 "</td><td class=\"num\" data-v=\"%.6g\">%.1f</td></tr>\n",
                   result->n, result->n, result->seconds, result->seconds);
}

void rs_html_points(const rs_results *results, rs_text *out)
{
    int64_t rows = 0, left_out = 0;
    rs_text_puts(
        out,
        "<h2 id=\"all\">All points</h2>\n<label>Filter <input id=\"filter\" type=\"search\" hidden placeholder=\"yarn 8192 done\"></label> "
        "<span id=\"shown\" class=\"dim\" role=\"status\"></span>\n<div class=\"scroll\"><table id=\"points\" class=\"sort\"><thead><tr>");
    static const char *const heads[] = {"rope",  "softmax", "task",       "context", "status",  "metric",
                                        "value", "stderr",  "difference", "stderr",  "samples", "seconds"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        rs_text_printf(out, "<th scope=\"col\"%s>%s</th>", i == 3 || i > 5 ? " class=\"num\"" : "", heads[i]);
    rs_text_puts(out, "</tr></thead><tbody>\n");
    for (int64_t i = 0; i < results->plan.n_points; i++)
        for (int m = 0; results->plan.points[i].listed && m < results->plan.tasks[results->plan.points[i].task].n_metrics; m++) {
            if (rows++ < MAX_ROWS)
                put_metric_row(results, i, m, out);
            else
                left_out++;
        }
    rs_text_puts(out, "</tbody></table></div>\n");
    if (left_out > 0)
        rs_text_printf(out, "<p class=\"dim\">%" PRId64 " more rows are in report.csv.</p>\n", left_out);
}
