#include "report/splits.h"

#include <stdlib.h>

#include "base/memory.h"

void rs_splits_clear(rs_splits *splits)
{
    for (rs_split split = 0; split < RS_N_SPLITS; split++) {
        for (int b = 0; b < RS_BUCKETS; b++)
            splits->columns[split][b].n = 0;
        splits->incomplete[split] = false;
    }
}

void rs_splits_free(rs_splits *splits)
{
    for (rs_split split = 0; split < RS_N_SPLITS; split++)
        for (int b = 0; b < RS_BUCKETS; b++)
            free(splits->columns[split][b].items);
    *splits = (rs_splits){0};
}

void rs_splits_add(rs_splits *splits, const rs_record *record)
{
    for (rs_split split = 0; split < RS_N_SPLITS; split++) {
        int64_t n = 0;
        for (int b = 0; b < RS_BUCKETS; b++) {
            const rs_part *part = &record->parts[split][b];
            rs_split_column *column = &splits->columns[split][b];
            if (part->n == 0)
                continue;
            RS_PUSH(column->items, column->n, column->cap, *part);
            n += part->n;
        }
        splits->incomplete[split] = splits->incomplete[split] || n != record->n_tokens;
    }
}

static rs_bucket estimate(const rs_split_column *column, int b)
{
    double *nll = rs_alloc(column->n, sizeof *nll), *tokens = rs_alloc(column->n, sizeof *tokens);
    rs_bucket bucket = {.from = rs_bucket_from(b), .to = b == 0 ? 0 : (int64_t)(((uint64_t)1 << b) - 1)};
    for (size_t i = 0; i < column->n; i++) {
        nll[i] = column->items[i].nll;
        tokens[i] = (double)column->items[i].n;
        bucket.n_tokens += column->items[i].n;
    }
    bucket.nll_per_token = rs_stats_ratio(nll, tokens, column->n);
    free(nll);
    free(tokens);
    return bucket;
}

rs_split_result rs_splits_estimate(const rs_splits *splits, rs_split split)
{
    rs_split_result result = {0};
    if (splits->incomplete[split])
        return result;
    result.buckets = rs_alloc(RS_BUCKETS, sizeof *result.buckets);
    for (int b = 0; b < RS_BUCKETS; b++)
        if (splits->columns[split][b].n > 0)
            result.buckets[result.n++] = estimate(&splits->columns[split][b], b);
    if (result.n > 0)
        return result;
    free(result.buckets);
    return (rs_split_result){0};
}
