#include "report/grid.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

static int by_task_and_context(const void *a, const void *b)
{
    const rs_grid_column *x = a, *y = b;
    if (x->task != y->task)
        return x->task < y->task ? -1 : 1;
    return (x->context > y->context) - (x->context < y->context);
}

static int64_t find_column(const rs_grid *grid, const rs_plan_point *point)
{
    rs_grid_column key = {point->task, point->context};
    const rs_grid_column *found = bsearch(&key, grid->columns, (size_t)grid->n_columns, sizeof key, by_task_and_context);
    return found - grid->columns;
}

static void make_columns(const rs_results *results, rs_grid *grid)
{
    const rs_plan_file *plan = &results->plan;
    grid->columns = rs_alloc((size_t)plan->n_points, sizeof *grid->columns);
    int64_t n = 0;
    for (int64_t i = 0; i < plan->n_points; i++)
        if (plan->points[i].listed)
            grid->columns[n++] = (rs_grid_column){plan->points[i].task, plan->points[i].context};
    qsort(grid->columns, (size_t)n, sizeof *grid->columns, by_task_and_context);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || by_task_and_context(&grid->columns[i], &grid->columns[grid->n_columns - 1]) != 0)
            grid->columns[grid->n_columns++] = grid->columns[i];
}

static char *row_label(const rs_plan_file *plan, int rope, int softmax)
{
    const char *name = rs_plan_file_rope_label(plan, rope);
    return plan->n_softmaxes == 1 ? rs_strdup(name) : rs_format("%s / %s", name, rs_plan_file_softmax_label(plan, softmax));
}

/* Rows in the order of the plan; row_of: [n_ropes, n_softmaxes], -1 where no point is listed. */
static void make_rows(const rs_results *results, rs_grid *grid, int64_t *row_of)
{
    const rs_plan_file *plan = &results->plan;
    for (int64_t i = 0; i < (int64_t)plan->n_ropes * plan->n_softmaxes; i++)
        row_of[i] = -1;
    grid->rows = rs_alloc((size_t)plan->n_ropes * (size_t)plan->n_softmaxes, sizeof *grid->rows);
    for (int64_t i = 0; i < plan->n_points; i++) {
        const rs_plan_point *point = &plan->points[i];
        int64_t *row = &row_of[(int64_t)point->rope * plan->n_softmaxes + point->softmax];
        if (!point->listed || *row >= 0)
            continue;
        *row = grid->n_rows;
        grid->rows[grid->n_rows++] = (rs_grid_row){.rope = point->rope,
                                                   .softmax = point->softmax,
                                                   .label = row_label(plan, point->rope, point->softmax),
                                                   .baseline = rs_plan_file_is_baseline(plan, point)};
    }
}

void rs_grid_make(const rs_results *results, rs_grid *out)
{
    const rs_plan_file *plan = &results->plan;
    int64_t *row_of = rs_alloc((size_t)plan->n_ropes * (size_t)plan->n_softmaxes, sizeof *row_of);
    *out = (rs_grid){0};
    make_columns(results, out);
    make_rows(results, out, row_of);
    out->points = rs_alloc((size_t)(out->n_rows * out->n_columns), sizeof *out->points);
    for (int64_t i = 0; i < out->n_rows * out->n_columns; i++)
        out->points[i] = -1;
    for (int64_t i = 0; i < plan->n_points; i++) {
        const rs_plan_point *point = &plan->points[i];
        if (point->listed)
            out->points[row_of[(int64_t)point->rope * plan->n_softmaxes + point->softmax] * out->n_columns + find_column(out, point)] = i;
    }
    free(row_of);
}

void rs_grid_free(rs_grid *grid)
{
    for (int64_t i = 0; i < grid->n_rows; i++)
        free(grid->rows[i].label);
    free(grid->rows);
    free(grid->columns);
    free(grid->points);
    *grid = (rs_grid){0};
}

int rs_grid_metric(const rs_plan_task *task)
{
    return task->scores_text ? 1 : 0;
}

const rs_point_result *rs_grid_done(const rs_results *results, const rs_grid *grid, int64_t row, int64_t column)
{
    int64_t point = grid->points[row * grid->n_columns + column];
    return point >= 0 && results->points[point].state == RS_POINT_DONE ? &results->points[point] : NULL;
}

/* Decimals that show two digits of the error. */
static int decimals_of(double error)
{
    int decimals = 1 - (int)floor(log10(error));
    return decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
}

void rs_format_value(rs_estimate estimate, rs_text *out)
{
    if (isnan(estimate.value))
        rs_text_puts(out, "-"); /* nothing was counted: no key token, say */
    else if (isfinite(estimate.error) && estimate.error > 0 && fabs(estimate.value) < 1e9)
        rs_text_printf(out, "%.*f", decimals_of(estimate.error), estimate.value);
    else
        rs_text_printf(out, "%.4g", estimate.value);
}

void rs_format_estimate(rs_estimate estimate, rs_text *out)
{
    rs_format_value(estimate, out);
    if (!isfinite(estimate.error))
        return;
    if (estimate.error > 0 && fabs(estimate.value) < 1e9)
        rs_text_printf(out, " ±%.*f", decimals_of(estimate.error), estimate.error);
    else
        rs_text_printf(out, " ±%.2g", estimate.error);
}
