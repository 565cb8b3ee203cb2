/* Some samples' values as columns, each with its value in every resample: what cells of evidence.h are made from. */
#ifndef RS_REPORT_COLUMNS_H
#define RS_REPORT_COLUMNS_H

#include "report/results.h"
#include "score/resample.h"

typedef struct rs_columns {
    size_t n;                           /* samples */
    int count;                          /* a column a metric; nll alone for a task that scores text */
    double *y[RS_MAX_METRICS], *w;      /* w: the tokens of nll; NULL: a column's value is its mean */
    double *replicates[RS_MAX_METRICS]; /* [RS_RESAMPLES], by rs_columns_resample */
} rs_columns;

/* chosen: indices into rows, [n]; NULL: the first n. */
rs_columns rs_columns_of(const rs_plan_task *task, const rs_sample_rows *rows, const int64_t *chosen, size_t n);
void rs_columns_free(rs_columns *columns);

/* The sets of resamples made last. Zero-initialise but for the seed. */
enum { RS_KEPT_RESAMPLES = 8 };
typedef struct rs_resample_pool {
    uint64_t seed;
    rs_resample *kept[RS_KEPT_RESAMPLES];
    size_t sizes[RS_KEPT_RESAMPLES];
    int next; /* whose place the next set takes */
} rs_resample_pool;
void rs_resample_pool_free(rs_resample_pool *pool);

/* Fills the replicates of all: those of as many samples together. */
void rs_columns_resample(rs_resample_pool *pool, rs_columns *const *all, size_t n_all);

/* A measured cell of weight 1: a metric of a, less that of b (NULL: of a alone). */
rs_cell rs_columns_cell(const rs_plan_task *task, int metric, const rs_columns *a, const rs_columns *b, size_t number);

#endif
