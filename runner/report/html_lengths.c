/* How far each variant reaches: its effective length as a bar with an interval, and the area under its curve. */
#include <inttypes.h>
#include <math.h>

#include "report/html.h"

enum { MAX_ROWS = 200, WIDTH = 220, HEIGHT = 16 };

/* What a variant does in a task over all lengths, if lengths were judged and it has an effective one; else NULL. */
static const rs_aggregate *over_lengths(const rs_html_page *page, int64_t row, int task)
{
    const rs_results *results = page->results;
    for (int v = 0; v < results->n_variants; v++) {
        const rs_variant *variant = &results->variants[v];
        if (variant->rope != page->grid.rows[row].rope || variant->softmax != page->grid.rows[row].softmax)
            continue;
        for (int i = 0; i < variant->n; i++) {
            const rs_aggregate *a = &variant->items[i];
            if (a->span == RS_OVER_LENGTHS && a->task == task && a->done && a->has_curve && !a->text)
                return a;
        }
    }
    return NULL;
}

/* The task's least and greatest context. */
static void find_contexts(const rs_html_page *page, int task, int64_t *low, int64_t *high)
{
    *low = *high = 0;
    for (int64_t c = 0; c < page->grid.n_columns; c++) { /* in rising order */
        if (page->grid.columns[c].task != task)
            continue;
        *low = *low ? *low : page->grid.columns[c].context;
        *high = page->grid.columns[c].context;
    }
}

/* Where a length ends on the logarithmic axis, on which the least context is one doubling long; 0: no length reached. */
static double place(int64_t length, int64_t low, int64_t high)
{
    double doublings = length > 0 ? log2((double)length / (double)low) + 1 : 0;
    return 1 + doublings / (log2((double)high / (double)low) + 1) * (WIDTH - 4);
}

static void put_bar(rs_reach reach, int64_t low, int64_t high, rs_text *out)
{
    double from = place(reach.low, low, high), to = place(reach.high, low, high);
    rs_text_printf(
        out,
        "<svg class=\"reach\" viewBox=\"0 0 %d %d\" aria-hidden=\"true\"><path class=\"axis\" d=\"M1 0V%d\"/><path class=\"bar\" "
        "d=\"M1 3H%.1fv10H1z\"/>",
        WIDTH, HEIGHT, HEIGHT, place(reach.length, low, high));
    if (to > from)
        rs_text_printf(out, "<path class=\"span\" d=\"M%.1f 5v6M%.1f 8H%.1fm0 -3v6\"/>", from, from, to);
    rs_text_puts(out, "</svg>");
}

static void put_length(int64_t length, rs_text *out)
{
    if (length > 0)
        rs_text_printf(out, "%" PRId64, length);
    else
        rs_text_puts(out, "none");
}

static void put_reach(rs_reach reach, rs_text *out)
{
    put_length(reach.length, out);
    rs_text_puts(out, " [");
    put_length(reach.low, out);
    rs_text_puts(out, ", ");
    put_length(reach.high, out);
    rs_text_puts(out, "]");
}

static void put_row(const rs_html_page *page, int64_t row, const rs_aggregate *a, int64_t low, int64_t high)
{
    rs_text *out = page->out;
    rs_html_row_head(page, row, out);
    rs_text_printf(out, "<td class=\"num\" data-v=\"%" PRId64 "\">", a->effective.length);
    put_bar(a->effective, low, high, out);
    rs_text_puts(out, "<small>");
    put_reach(a->effective, out);
    rs_text_printf(out, "</small></td><td class=\"num\" data-v=\"%" PRId64 "\">", a->relative.length);
    put_reach(a->relative, out);
    rs_text_printf(out, "</td><td class=\"num\" data-v=\"%.9g\">%.3f", a->area.value, a->area.value);
    if (isfinite(a->area_interval.low) && isfinite(a->area_interval.high))
        rs_text_printf(out, " [%.3f, %.3f]", a->area_interval.low, a->area_interval.high);
    rs_text_puts(out, "</td></tr>\n");
}

static void put_head(const rs_html_page *page, int task)
{
    rs_text *out = page->out;
    json_t *threshold = json_object_get(json_object_get(page->results->plan.root, "config"), "length_threshold");
    rs_html_task_head(page, task);
    rs_html_table_open(page->results->plan.tasks[task].label, "sort", NULL, out);
    rs_text_puts(out, "<caption>effective length: the longest context with a score of at least ");
    if (json_is_number(threshold))
        rs_text_printf(out, "%.4g", json_number_value(threshold));
    else
        rs_text_puts(out, "RULER's 0.856");
    rs_text_puts(
        out, "; relative: of at least 85&#160;% of the score at the shortest; area: the mean score, each doubling of the context counting "
             "alike. In brackets and as lines 95&#160;% intervals.</caption><thead><tr><th scope=\"col\">variant</th><th scope=\"col\" "
             "class=\"num\">effective length</th><th scope=\"col\" class=\"num\">relative</th><th scope=\"col\" "
             "class=\"num\">area</th></tr></thead><tbody>\n");
}

void rs_html_lengths(const rs_html_page *page, int task)
{
    int64_t shown = 0, left_out = 0, low, high;
    find_contexts(page, task, &low, &high);
    for (int64_t i = 0; i < page->grid.n_rows; i++) {
        int64_t row = page->ranked[i];
        const rs_aggregate *a = over_lengths(page, row, task);
        if (a == NULL)
            continue;
        if (shown == MAX_ROWS) {
            left_out++;
            continue;
        }
        if (shown++ == 0)
            put_head(page, task);
        put_row(page, row, a, low, high);
    }
    if (shown > 0)
        rs_html_table_close(page->out);
    if (left_out > 0)
        rs_text_printf(page->out, "<p class=\"dim\">%" PRId64 " more variants are in report.json (variants).</p>\n", left_out);
}
