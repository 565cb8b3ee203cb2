/* Tables of points: those that failed or are missing, and all of them. */
#include <inttypes.h>
#include <math.h>

#include "report/html.h"

enum { MAX_TROUBLES = 500, MAX_ROWS = 4000 };

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
        rs_html_state(state, out);
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

void rs_html_troubles(const rs_html_page *page)
{
    const rs_results *results = page->results;
    rs_text *out = page->out;
    int all = results->summary.failed + results->summary.missing;
    if (all == 0)
        return;
    rs_html_table_open("Failed and missing points", "sort", NULL, out);
    rs_text_puts(out, "<thead><tr><th scope=\"col\">rope</th><th scope=\"col\">softmax</th><th scope=\"col\">task</th><th scope=\"col\" "
                      "class=\"num\">context</th><th scope=\"col\">status</th><th scope=\"col\">reason</th></tr></thead><tbody>\n");
    int shown = put_troubles(results, RS_POINT_FAILED, MAX_TROUBLES, out);
    shown += put_troubles(results, RS_POINT_MISSING, MAX_TROUBLES - shown, out);
    rs_html_table_close(out);
    if (shown < all)
        rs_text_printf(out, "<p class=\"dim\">%d more are in report.csv.</p>\n", all - shown);
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

static void put_p(double p, rs_text *out)
{
    if (isfinite(p))
        rs_text_printf(out, "<td class=\"num\" data-v=\"%.9g\">%.2g</td>", p, p);
    else
        rs_text_puts(out, "<td class=\"num\" data-v=\"\"></td>");
}

static void put_metric_row(const rs_results *results, int64_t i, int metric, rs_text *out)
{
    const rs_plan_point *point = &results->plan.points[i];
    const rs_point_result *result = &results->points[i];
    bool done = result->state == RS_POINT_DONE;
    put_point(&results->plan, point, out);
    rs_text_puts(out, "<td>");
    rs_html_state(result->state, out);
    rs_text_puts(out, "</td><td>");
    rs_html_text(results->plan.tasks[point->task].metrics[metric], out);
    rs_text_puts(out, "</td>");
    put_number(done, result->metrics[metric].value, result->metrics[metric], out);
    put_number(done, result->metrics[metric].error, result->metrics[metric], out);
    put_number(result->has_versus, result->versus[metric].value, result->versus[metric], out);
    put_number(result->has_versus, result->versus[metric].error, result->versus[metric], out);
    put_p(result->has_versus ? rs_html_versus_baseline(result, metric).p_holm : NAN, out);
    rs_text_printf(out, "<td class=\"num\" data-v=\"%" PRId64 "\">%" PRId64 "</td><td class=\"num\" data-v=\"%.6g\">%.1f</td></tr>\n",
                   result->n, result->n, result->seconds, result->seconds);
}

void rs_html_points(const rs_html_page *page)
{
    static const char *const heads[] = {"rope",   "softmax",    "task",   "context",  "status",  "metric", "value",
                                        "stderr", "difference", "stderr", "p (Holm)", "samples", "seconds"};
    const rs_results *results = page->results;
    rs_text *out = page->out;
    int64_t rows = 0, left_out = 0;
    rs_text_puts(out, "<p id=\"filters\" hidden=\"hidden\"><label>Filter <input id=\"filter\" type=\"search\" "
                      "placeholder=\"yarn 8192 done\"/></label> <span id=\"shown\" class=\"dim\" role=\"status\"></span></p>\n");
    rs_html_table_open("All points", "sort", "points", out);
    rs_text_puts(out, "<thead><tr>");
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
    rs_html_table_close(out);
    if (left_out > 0)
        rs_text_printf(out, "<p class=\"dim\">%" PRId64 " more rows are in report.csv.</p>\n", left_out);
}
