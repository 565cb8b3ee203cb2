#include "report/columns.h"

#include <stdlib.h>

#include "base/memory.h"

rs_columns rs_columns_of(const rs_plan_task *task, const rs_sample_rows *rows, const int64_t *chosen, size_t n)
{
    rs_columns c = {.n = n, .count = task->scores_text ? 1 : task->n_metrics};
    if (task->scores_text)
        c.w = rs_alloc(n, sizeof *c.w);
    for (int k = 0; k < c.count; k++) {
        c.y[k] = rs_alloc(n, sizeof *c.y[k]);
        c.replicates[k] = rs_alloc(RS_RESAMPLES, sizeof *c.replicates[k]);
    }
    for (size_t i = 0; i < n; i++) {
        const rs_sample_row *row = &rows->items[chosen ? chosen[i] : (int64_t)i];
        for (int k = 0; k < c.count; k++)
            c.y[k][i] = task->scores_text ? row->nll : row->scores[k];
        if (c.w)
            c.w[i] = row->n_tokens;
    }
    return c;
}

void rs_columns_free(rs_columns *columns)
{
    for (int k = 0; k < columns->count; k++) {
        free(columns->y[k]);
        free(columns->replicates[k]);
    }
    free(columns->w);
    *columns = (rs_columns){0};
}

void rs_resample_pool_free(rs_resample_pool *pool)
{
    for (int i = 0; i < RS_KEPT_RESAMPLES; i++)
        rs_resample_close(pool->kept[i]);
}

static const rs_resample *resample_of(rs_resample_pool *pool, size_t n)
{
    for (int i = 0; i < RS_KEPT_RESAMPLES; i++)
        if (pool->kept[i] && pool->sizes[i] == n)
            return pool->kept[i];
    int i = pool->next++ % RS_KEPT_RESAMPLES;
    rs_resample_close(pool->kept[i]);
    pool->sizes[i] = n;
    return pool->kept[i] = rs_resample_open(pool->seed, n);
}

void rs_columns_resample(rs_resample_pool *pool, rs_columns *const *all, size_t n_all)
{
    rs_column *group = rs_alloc(n_all * RS_MAX_METRICS, sizeof *group);
    bool *done = rs_alloc(n_all, sizeof *done);
    for (size_t first = 0; first < n_all; first++) {
        size_t n = 0;
        for (size_t i = first; i < n_all && !done[first]; i++) {
            if (all[i]->n != all[first]->n || done[i])
                continue;
            for (int k = 0; k < all[i]->count; k++)
                group[n++] = (rs_column){all[i]->y[k], all[i]->w, all[i]->replicates[k]};
            done[i] = i != first;
        }
        if (n > 0)
            rs_resample_means(resample_of(pool, all[first]->n), group, n);
    }
    free(group);
    free(done);
}

rs_cell rs_columns_cell(const rs_plan_task *task, int metric, const rs_columns *a, const rs_columns *b, size_t number)
{
    int column = task->scores_text ? 0 : metric;
    rs_cell cell = {.ya = a->y[column],
                    .wa = a->w,
                    .ra = a->replicates[column],
                    .n = a->n,
                    .exponential = task->scores_text && metric == 1,
                    .number = number,
                    .weight = 1};
    if (b) {
        cell.yb = b->y[column];
        cell.wb = b->w;
        cell.rb = b->replicates[column];
    }
    rs_cell_measure(&cell);
    return cell;
}
