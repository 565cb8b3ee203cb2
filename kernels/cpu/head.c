/* Logits against the vocabulary, a tile of rows times a panel of columns at a time, each reduced as soon as it is made.
 *
 * Per row the panels of a group (2,048 ids) are taken in order into one state, and the groups' states merged in order: the grouping
 * depends on W alone, so the result does not depend on the batch or the threads. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

enum { GROUP_IDS = 2048, CHUNK_ROWS = 1024 };

typedef struct head_call {
    const rs_backend *backend;
    const rs_matrix *w;
    const void *h;
    int32_t first_id;
    const int32_t *targets;
    float cap;
    float *tiles;       /* [n_threads][RS_ROW_TILE][RS_PANEL] */
    rs_head_row *parts; /* [groups][CHUNK_ROWS] */
} head_call;

static const rs_head_row empty_row = {.max = -INFINITY, .target = -INFINITY, .best = -INFINITY, .best_id = -1};

/* Rows [row, row + n) of the chunk that starts at `chunk`, over one group. */
static rs_status head_group(const head_call *call, int64_t chunk, int64_t row, int64_t n, int64_t group)
{
    int64_t width = rs_matrix_panel(call->w), vocabulary = rs_matrix_rows(call->w), end = (group + 1) * GROUP_IDS;
    int thread = rs_cpu_thread();
    float *tile = call->tiles + (size_t)thread * RS_ROW_TILE * RS_PANEL;
    rs_head_row *parts = call->parts + group * CHUNK_ROWS + row;
    for (int64_t i = 0; i < n; i++)
        parts[i] = empty_row;
    for (int64_t id = group * GROUP_IDS; id < end && id < vocabulary; id += width) {
        int64_t columns = vocabulary - id < width ? vocabulary - id : width;
        RS_TRY(rs_gemm_tile(call->backend, call->w, call->h, chunk + row, n, id / width, tile, columns, thread));
        for (int64_t i = 0; i < n; i++)
            call->backend->elementwise->head_panel(tile + i * columns, columns, call->first_id + (int32_t)id,
                                                   call->targets[chunk + row + i], call->cap, &parts[i]);
    }
    return RS_OK;
}

static void merge(rs_head_row *row, const rs_head_row *part)
{
    float max = part->max > row->max ? part->max : row->max;
    float mine = row->max < max ? row->sum * expf(row->max - max) : row->sum;
    float other = part->max < max ? part->sum * expf(part->max - max) : part->sum;
    row->sum = mine + other;
    row->max = max;
    if (part->best > row->best) {
        row->best = part->best;
        row->best_id = part->best_id;
    }
    if (part->target > row->target || part->target != part->target)
        row->target = part->target;
}

static rs_status head_chunk(const head_call *call, int64_t chunk, int64_t n, rs_head_row *rows)
{
    int64_t groups = (rs_matrix_rows(call->w) + GROUP_IDS - 1) / GROUP_IDS, tiles = (n + RS_ROW_TILE - 1) / RS_ROW_TILE;
    rs_status worst = RS_OK;
#pragma omp parallel for num_threads(call->backend->n_threads) schedule(dynamic, 1)
    for (int64_t task = 0; task < groups * tiles; task++) {
        int64_t row = task % tiles * RS_ROW_TILE, n_rows = n - row < RS_ROW_TILE ? n - row : RS_ROW_TILE;
        rs_status status = head_group(call, chunk, row, n_rows, task / tiles);
        if (status != RS_OK) {
#pragma omp atomic write
            worst = status;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        rows[i] = empty_row;
        for (int64_t group = 0; group < groups; group++)
            merge(&rows[i], &call->parts[group * CHUNK_ROWS + i]);
    }
    return worst;
}

rs_status rs_cpu_head(rs_backend *backend, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap,
                      int64_t n, rs_head_row *rows)
{
    int64_t groups = (rs_matrix_rows(w) + GROUP_IDS - 1) / GROUP_IDS, a_stride = rs_matrix_columns(w);
    head_call call = {.backend = backend, .w = w, .first_id = first_id, .targets = targets, .cap = cap};
    rs_status status;
    RS_TRY_OUT(rs_gemm_prepare(backend, w, n, &h, &a_stride));
    call.h = h;
    RS_TRY_OUT(rs_try_alloc((void **)&call.tiles, (size_t)backend->n_threads * RS_ROW_TILE * RS_PANEL, sizeof(float), "tiles of logits"));
    RS_TRY_OUT(rs_try_alloc((void **)&call.parts, (size_t)groups * CHUNK_ROWS, sizeof *call.parts, "partial results of the head"));
    for (int64_t chunk = 0; chunk < n; chunk += CHUNK_ROWS)
        RS_TRY_OUT(head_chunk(&call, chunk, n - chunk < CHUNK_ROWS ? n - chunk : CHUNK_ROWS, rows + chunk));
out:
    free(call.tiles);
    free(call.parts);
    return status;
}
