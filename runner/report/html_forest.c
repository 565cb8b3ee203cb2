/* Differences from the baseline, drawn and written: a forest plot whose rows are variants and whose panels are contexts. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/html.h"

enum { MAX_ROWS = 200, WIDTH = 150, HEIGHT = 18, MARGIN = 8 };

/* nll_per_token or the first score: differences of perplexity would depend on how large it is. */
enum { METRIC = 0 };

static const rs_point_result *compared(const rs_html_page *page, int64_t row, int64_t column, int task)
{
    const rs_point_result *result = page->grid.columns[column].task == task ? rs_grid_done(page->results, &page->grid, row, column) : NULL;
    return result && result->has_versus && isfinite(result->versus[METRIC].value) ? result : NULL;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Half of the axis: what holds nine of ten intervals; the others are cut, with an arrow. 0: nothing is compared. */
static double find_reach(const rs_html_page *page, int task)
{
    const rs_grid *grid = &page->grid;
    double *ends = rs_alloc((size_t)(grid->n_rows * grid->n_columns), sizeof *ends), reach = 0;
    size_t n = 0;
    for (int64_t row = 0; row < grid->n_rows; row++)
        for (int64_t c = 0; c < grid->n_columns; c++) {
            const rs_point_result *result = compared(page, row, c, task);
            if (result == NULL)
                continue;
            rs_html_versus versus = rs_html_versus_baseline(result, METRIC);
            double low = isfinite(versus.low) ? versus.low : versus.difference,
                   high = isfinite(versus.high) ? versus.high : versus.difference;
            ends[n++] = fmax(fabs(low), fabs(high));
        }
    if (n > 0) {
        qsort(ends, n, sizeof *ends, by_size);
        reach = ends[(n - 1) * 9 / 10];
        if (reach < ends[n - 1] && ends[n - 1] < 2 * reach) /* little is won by cutting */
            reach = ends[n - 1];
        reach = reach > 0 ? reach : ends[n - 1] > 0 ? ends[n - 1] : 1;
    }
    free(ends);
    return reach;
}

static double place(double value, double reach)
{
    double share = value / reach;
    share = share < -1 ? -1 : share > 1 ? 1 : share;
    return WIDTH / 2.0 + share * (WIDTH / 2.0 - MARGIN);
}

static void put_arrow(double value, double reach, rs_text *out)
{
    if (fabs(value) > reach)
        rs_text_printf(out, "<path class=\"m\" d=\"M%d %dl%s4v-8z\"/>", value > 0 ? WIDTH - 2 : 2, HEIGHT / 2, value > 0 ? "-5 " : "5 ");
}

static void put_drawing(rs_html_versus versus, double reach, const char *side, rs_text *out)
{
    double x = place(versus.difference, reach), middle = HEIGHT / 2.0;
    rs_text_printf(out, "<svg class=\"forest\" viewBox=\"0 0 %d %d\" aria-hidden=\"true\"><path class=\"axis\" d=\"M%.1f 0V%d\"/>", WIDTH,
                   HEIGHT, WIDTH / 2.0, HEIGHT);
    rs_text_printf(out, "<g class=\"%s\">", side);
    if (isfinite(versus.low) && isfinite(versus.high)) {
        rs_text_printf(out, "<path class=\"e\" d=\"M%.1f %.1fH%.1f\"/>", place(versus.low, reach), middle, place(versus.high, reach));
        put_arrow(versus.low < -reach ? versus.low : versus.high, reach, out);
    }
    if (fabs(versus.difference) <= reach)
        rs_text_printf(out, "<path class=\"m%s\" d=\"M%.1f %.1fm0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z\"/>",
                       rs_html_differs(versus) ? "" : " open", x, middle);
    rs_text_puts(out, "</g></svg>");
}

static void put_cell(const rs_plan_task *task, const rs_point_result *result, double reach, rs_text *out)
{
    if (result == NULL) {
        rs_text_puts(out, "<td data-v=\"\"></td>");
        return;
    }
    rs_html_versus versus = rs_html_versus_baseline(result, METRIC);
    bool apart = versus.low > 0 || versus.high < 0, better = task->scores_text ? versus.difference < 0 : versus.difference > 0;
    rs_text_printf(out, "<td class=\"num\" data-v=\"%.9g\">", versus.difference);
    put_drawing(versus, reach, !apart ? "even" : better ? "better" : "worse", out);
    rs_text_puts(out, "<small>");
    rs_html_put_versus(versus, out);
    if (versus.p_holm < 1e-4)
        rs_text_puts(out, ", p &lt; 0.0001");
    else if (isfinite(versus.p_holm))
        rs_text_printf(out, ", p %.2g", versus.p_holm);
    rs_text_puts(out, rs_html_differs(versus) ? " <strong>*</strong>" : "");
    rs_text_puts(out, "</small></td>");
}

/* The context, and the axis of the panel below it. */
static void put_column_head(int64_t context, double reach, rs_text *out)
{
    rs_text_printf(out, "<th scope=\"col\" class=\"num\">%" PRId64 "<svg class=\"forest\" viewBox=\"0 0 %d %d\" aria-hidden=\"true\">",
                   context, WIDTH, HEIGHT);
    rs_text_printf(out, "<path class=\"axis\" d=\"M%d %dH%dM%d %dv-4M%.1f %dv-4M%d %dv-4\"/>", MARGIN, HEIGHT, WIDTH - MARGIN, MARGIN,
                   HEIGHT, WIDTH / 2.0, HEIGHT, WIDTH - MARGIN, HEIGHT);
    rs_text_printf(out, "<text class=\"tick start\" x=\"0\" y=\"11\">%.3g</text><text class=\"tick\" x=\"%.1f\" y=\"11\">0</text>", -reach,
                   WIDTH / 2.0);
    rs_text_printf(out, "<text class=\"tick end\" x=\"%d\" y=\"11\">%.3g</text></svg></th>", WIDTH, reach);
}

static void put_head(const rs_html_page *page, int task, double reach)
{
    rs_text *out = page->out;
    const rs_plan_task *t = &page->results->plan.tasks[task];
    char *name = rs_format("Differences from the baseline, %s", t->label);
    rs_html_task_head(page, task);
    rs_html_table_open(name, "sort forests", NULL, out);
    free(name);
    rs_text_puts(out, "<caption>");
    rs_html_text(t->metrics[METRIC], out);
    rs_text_printf(out,
                   ", variant less baseline over the same samples, with its 95&#160;%% interval; %s is better (blue). An arrow: beyond the "
                   "axis. Filled "
                   "diamonds and *: p below 0.05 after Holm's correction.</caption><thead><tr><th scope=\"col\">variant</th>",
                   t->scores_text ? "less" : "more");
    for (int64_t c = 0; c < page->grid.n_columns; c++)
        if (page->grid.columns[c].task == task)
            put_column_head(page->grid.columns[c].context, reach, out);
    rs_text_puts(out, "</tr></thead><tbody>\n");
}

static bool row_compares(const rs_html_page *page, int64_t row, int task)
{
    for (int64_t c = 0; c < page->grid.n_columns; c++)
        if (compared(page, row, c, task))
            return true;
    return false;
}

void rs_html_forest(const rs_html_page *page, int task)
{
    const rs_plan_task *t = &page->results->plan.tasks[task];
    double reach = find_reach(page, task);
    int64_t shown = 0, left_out = 0;
    if (reach == 0)
        return;
    put_head(page, task, reach);
    for (int64_t i = 0; i < page->grid.n_rows; i++) {
        int64_t row = page->ranked[i];
        if (!row_compares(page, row, task))
            continue;
        if (shown == MAX_ROWS) {
            left_out++;
            continue;
        }
        shown++;
        rs_html_row_head(page, row, page->out);
        for (int64_t c = 0; c < page->grid.n_columns; c++)
            if (page->grid.columns[c].task == task)
                put_cell(t, compared(page, row, c, task), reach, page->out);
        rs_text_puts(page->out, "</tr>\n");
    }
    rs_html_table_close(page->out);
    if (left_out > 0)
        rs_text_printf(page->out, "<p class=\"dim\">%" PRId64 " more variants are in report.csv.</p>\n", left_out);
}
