/* Results as people look at them: a row a variant (rope, softmax), a column a task at a context. */
#ifndef RS_REPORT_GRID_H
#define RS_REPORT_GRID_H

#include "report/results.h"

typedef struct rs_grid_row {
    int rope, softmax;
    char *label;            /* the softmax is left out where all rows have the same. Owned */
    bool baseline;
} rs_grid_row;

typedef struct rs_grid_column {
    int task;
    int64_t context;
} rs_grid_column;

typedef struct rs_grid {
    rs_grid_row *rows;
    rs_grid_column *columns; /* by task, then context */
    int64_t n_rows, n_columns;
    int64_t *points;         /* [n_rows, n_columns]; -1: none */
} rs_grid;

/* Of the listed points. */
void rs_grid_make(const rs_results *results, rs_grid *out);
void rs_grid_free(rs_grid *grid);

/* The metric that a table shows of a task: perplexity, or the first. */
int rs_grid_metric(const rs_plan_task *task);
/* The result in a cell if its point is done, else NULL; *state: of the point, if there is one. */
const rs_point_result *rs_grid_done(const rs_results *results, const rs_grid *grid, int64_t row, int64_t column);

/* "13.6 ±3.6": the error to two digits, the value to the same place. */
void rs_format_estimate(rs_estimate estimate, rs_text *out);
/* The value alone, as rs_format_estimate rounds it. */
void rs_format_value(rs_estimate estimate, rs_text *out);

#endif
