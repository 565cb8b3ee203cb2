/* Metrics of a point's samples, and differences of two points' metrics over the samples they share. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/results.h"

void rs_sample_rows_free(rs_sample_rows *rows)
{
    free(rows->items);
    *rows = (rs_sample_rows){0};
}

/* Columns of the shared samples: y and w of a, y and w of b. */
typedef struct columns {
    double *ya, *wa, *yb, *wb;
    size_t n;
} columns;

static void columns_free(columns *c)
{
    free(c->ya);
    free(c->wa);
    free(c->yb);
    free(c->wb);
}

static double value_of(const rs_plan_task *task, int metric, const rs_sample_row *row)
{
    return task->scores_text ? row->nll : row->scores[metric];
}

int64_t rs_rows_share(const rs_sample_rows *a, const rs_sample_rows *b, int64_t *ia, int64_t *ib)
{
    int64_t n = 0;
    for (int64_t i = 0, j = 0; i < a->n && j < b->n;) {
        const rs_sample_row *x = &a->items[i], *y = &b->items[j];
        if (x->doc_id == y->doc_id && x->prompt_hash.high == y->prompt_hash.high && x->prompt_hash.low == y->prompt_hash.low) {
            ia[n] = i;
            ib[n++] = j;
        }
        int64_t doc_id = x->doc_id < y->doc_id ? x->doc_id : y->doc_id;
        i += x->doc_id == doc_id;
        j += y->doc_id == doc_id;
    }
    return n;
}

static columns share(const rs_plan_task *task, int metric, const rs_sample_rows *a, const rs_sample_rows *b)
{
    size_t most = (size_t)a->n;
    int64_t *ia = rs_alloc(most, sizeof *ia), *ib = rs_alloc(most, sizeof *ib);
    columns c = {rs_alloc(most, 8), rs_alloc(most, 8), rs_alloc(most, 8), rs_alloc(most, 8), 0};
    c.n = (size_t)rs_rows_share(a, b, ia, ib);
    for (size_t i = 0; i < c.n; i++) {
        const rs_sample_row *x = &a->items[ia[i]], *y = &b->items[ib[i]];
        c.ya[i] = value_of(task, metric, x);
        c.wa[i] = x->n_tokens;
        c.yb[i] = value_of(task, metric, y);
        c.wb[i] = y->n_tokens;
    }
    free(ia);
    free(ib);
    return c;
}

rs_estimate rs_rows_difference(const rs_plan_task *task, int metric, const rs_sample_rows *a, const rs_sample_rows *b, int64_t *n)
{
    columns c = share(task, metric, a, b);
    rs_estimate difference = {NAN, NAN};
    *n = (int64_t)c.n;
    if (c.n > 0 && !task->scores_text)
        difference = rs_stats_paired_mean(c.ya, c.yb, c.n);
    else if (c.n > 0)
        difference =
            metric == 0 ? rs_stats_paired_ratio(c.ya, c.wa, c.yb, c.wb, c.n) : rs_stats_paired_exp_ratio(c.ya, c.wa, c.yb, c.wb, c.n);
    columns_free(&c);
    return difference;
}

rs_estimate rs_rows_metric(const rs_plan_task *task, int metric, const rs_sample_rows *rows)
{
    size_t n = (size_t)rows->n;
    double *y = rs_alloc(n, sizeof *y), *w = rs_alloc(n, sizeof *w);
    for (size_t i = 0; i < n; i++) {
        y[i] = value_of(task, metric, &rows->items[i]);
        w[i] = rows->items[i].n_tokens;
    }
    rs_estimate estimate = task->scores_text ? rs_stats_ratio(y, w, n) : rs_stats_mean(y, n);
    if (task->scores_text && metric == 1)
        estimate = rs_stats_exp(estimate);
    free(y);
    free(w);
    return estimate;
}
