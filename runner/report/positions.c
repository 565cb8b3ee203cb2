#include "report/positions.h"

#include <stdlib.h>

#include "base/memory.h"

void rs_positions_clear(rs_positions *positions)
{
    for (int b = 0; b < RS_POSITION_BUCKETS; b++)
        positions->columns[b].n = 0;
    positions->incomplete = false;
}

void rs_positions_free(rs_positions *positions)
{
    for (int b = 0; b < RS_POSITION_BUCKETS; b++)
        free(positions->columns[b].items);
    *positions = (rs_positions){0};
}

void rs_positions_add(rs_positions *positions, const rs_record *record)
{
    int64_t n = 0;
    for (int b = 0; b < RS_POSITION_BUCKETS; b++) {
        rs_position_column *column = &positions->columns[b];
        if (record->by_position[b].n == 0)
            continue;
        RS_PUSH(column->items, column->n, column->cap, record->by_position[b]);
        n += record->by_position[b].n;
    }
    positions->incomplete = positions->incomplete || n != record->n_tokens;
}

static rs_position estimate(const rs_position_column *column, int bucket)
{
    double *nll = rs_alloc(column->n, sizeof *nll), *tokens = rs_alloc(column->n, sizeof *tokens);
    rs_position position = {.from = (int64_t)1 << bucket, .to = (int64_t)(((uint64_t)2 << bucket) - 1)};
    for (size_t i = 0; i < column->n; i++) {
        nll[i] = column->items[i].nll;
        tokens[i] = (double)column->items[i].n;
        position.n_tokens += column->items[i].n;
    }
    position.nll_per_token = rs_stats_ratio(nll, tokens, column->n);
    free(nll);
    free(tokens);
    return position;
}

rs_position *rs_positions_estimate(const rs_positions *positions, int *n)
{
    *n = 0;
    if (positions->incomplete)
        return NULL;
    rs_position *all = rs_alloc(RS_POSITION_BUCKETS, sizeof *all);
    for (int b = 0; b < RS_POSITION_BUCKETS; b++)
        if (positions->columns[b].n > 0)
            all[(*n)++] = estimate(&positions->columns[b], b);
    if (*n > 0)
        return rs_realloc(all, (size_t)*n, sizeof *all);
    free(all);
    return NULL;
}
