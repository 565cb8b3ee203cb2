/* The table for the terminal. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/cells.h"
#include "report/grid.h"
#include "report/report_file.h"

enum { HEADS = 3, MAX_FAILURES = 20, MIN_WIDTH = 40 };

/* Best value of a column among done points: the least for text scores, the greatest otherwise. NaN where fewer than two are done. */
static double best_of(const rs_results *results, const rs_grid *grid, int64_t column)
{
    const rs_plan_task *task = &results->plan.tasks[grid->columns[column].task];
    double best = NAN;
    int done = 0;
    for (int64_t row = 0; row < grid->n_rows; row++) {
        const rs_point_result *result = rs_grid_done(results, grid, row, column);
        if (result == NULL)
            continue;
        double value = result->metrics[rs_grid_metric(task)].value;
        done++;
        if (isnan(best) || (task->scores_text ? value < best : value > best))
            best = value;
    }
    return done > 1 ? best : NAN;
}

static void put_cell(const rs_results *results, const rs_grid *grid, int64_t row, int64_t column, double best, rs_cells *cells)
{
    int64_t point = grid->points[row * grid->n_columns + column];
    if (point < 0) {
        rs_cells_add(cells, "");
        return;
    }
    const rs_point_result *result = &results->points[point];
    const rs_plan_task *task = &results->plan.tasks[grid->columns[column].task];
    if (result->state != RS_POINT_DONE) {
        rs_cells_add(cells, rs_point_state_name(result->state));
        return;
    }
    rs_text text = {0};
    rs_estimate estimate = result->metrics[rs_grid_metric(task)];
    rs_format_estimate(estimate, &text);
    rs_text_puts(&text, estimate.value == best ? "*" : " ");
    rs_text_puts(&text, result->evidence && result->evidence[rs_grid_metric(task)].p_holm < 0.05 ? "!" : " ");
    rs_cells_add(cells, text.data);
    rs_text_free(&text);
}

static void put_heads(const rs_results *results, const rs_grid *grid, size_t label_width, rs_cells *cells)
{
    for (int head = 0; head < HEADS; head++) {
        rs_cells_add(cells, head == HEADS - 1 ? "context" : "");
        for (int64_t c = 0; c < grid->n_columns; c++) {
            const rs_plan_task *task = &results->plan.tasks[grid->columns[c].task];
            char *text = head == 0   ? rs_shorten(task->label, label_width)
                         : head == 1 ? rs_shorten(task->metrics[rs_grid_metric(task)], label_width)
                                     : rs_format("%" PRId64 "  ", grid->columns[c].context);
            rs_cells_add(cells, text);
            free(text);
        }
    }
}

static void make_cells(const rs_results *results, const rs_grid *grid, size_t label_width, rs_cells *cells)
{
    double *best = rs_alloc((size_t)grid->n_columns, sizeof *best);
    cells->n_columns = (size_t)grid->n_columns + 1;
    for (int64_t c = 0; c < grid->n_columns; c++)
        best[c] = best_of(results, grid, c);
    put_heads(results, grid, label_width, cells);
    for (int64_t row = 0; row < grid->n_rows; row++) {
        char *label = rs_format("%s %s", grid->rows[row].baseline ? ">" : " ", grid->rows[row].label),
             *shorter = rs_shorten(label, label_width);
        rs_cells_add(cells, shorter);
        for (int64_t c = 0; c < grid->n_columns; c++)
            put_cell(results, grid, row, c, best[c], cells);
        free(label);
        free(shorter);
    }
    free(best);
}

/* As many columns as fit beside the labels, then a new block for the next ones. */
static void write_blocks(const rs_cells *cells, size_t width, rs_text *out)
{
    size_t *columns = rs_alloc(cells->n_columns, sizeof *columns);
    for (size_t next = 1; next < cells->n_columns;) {
        size_t n = 1, used = rs_cells_width(cells, 0);
        while (next < cells->n_columns) {
            size_t more = rs_cells_width(cells, next) + 2;
            if (n > 1 && used + more > width)
                break;
            used += more;
            columns[n++] = next++;
        }
        rs_cells_write(cells, columns, n, 1, HEADS, out);
        rs_text_puts(out, "\n");
    }
    free(columns);
}

static void write_failures(const rs_results *results, rs_text *out)
{
    int shown = 0;
    for (int64_t i = 0; i < results->plan.n_points && shown < MAX_FAILURES; i++) {
        const rs_plan_point *point = &results->plan.points[i];
        if (!point->listed || results->points[i].state != RS_POINT_FAILED)
            continue;
        rs_text_print_line(out, "failed: %s / %s, %s at %" PRId64 ": %s", rs_plan_file_rope_label(&results->plan, point->rope),
                           rs_plan_file_softmax_label(&results->plan, point->softmax), results->plan.tasks[point->task].label,
                           point->context, results->points[i].reason);
        shown++;
    }
    if (results->summary.failed > shown)
        rs_text_printf(out, "... and %d more failed points; report.yaml has the reasons\n", results->summary.failed - shown);
    if (results->summary.missing > 0)
        rs_text_printf(out, "missing: %d of %d points are not finished; the same command again goes on with them\n",
                       results->summary.missing, results->summary.points);
}

void rs_table_write(const rs_results *results, int width, rs_text *out)
{
    rs_grid grid = {0};
    rs_cells cells = {0};
    size_t columns = (size_t)(width > MIN_WIDTH ? width : MIN_WIDTH);
    rs_grid_make(results, &grid);
    make_cells(results, &grid, columns * 2 / 5, &cells);
    write_blocks(&cells, columns, out);
    rs_text_puts(out, "> baseline   * best of its column   ! differs from the baseline (Holm-adjusted p < 0.05)   ± standard error\n");
    write_failures(results, out);
    rs_cells_free(&cells);
    rs_grid_free(&grid);
}

rs_status rs_report_write_table(const rs_journal *journal, int width, rs_text *out)
{
    rs_results *results = NULL;
    RS_TRY(rs_results_open(journal, &results));
    rs_status status = rs_results_evaluate(results, true, NULL);
    if (status == RS_OK)
        rs_table_write(results, width, out);
    rs_results_free(results);
    return status;
}
