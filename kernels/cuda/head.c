/* Logits, a chunk of rows times a chunk of vocabulary at a time, each reduced as soon as it is made. The cut of the vocabulary depends on W
 * alone, so that a row's sums do not depend on the batch. */
#include <stddef.h>
#include <string.h>

#include "kernels/cuda/cuda.h"

enum { CHUNK_ROWS = 1024, CHUNK_IDS = 16384 }; /* 64 MiB of logits */

_Static_assert(sizeof(rs_cuda_head_row) == sizeof(rs_head_row) && offsetof(rs_cuda_head_row, best_id) == offsetof(rs_head_row, best_id) &&
                   offsetof(rs_cuda_head_row, target) == offsetof(rs_head_row, target),
               "a row is copied as it is");

rs_status rs_cuda_head_open(rs_backend *b)
{
    size_t rows = (size_t)b->max_rows, chunk = rows < CHUNK_ROWS ? rows : CHUNK_ROWS;
    RS_TRY(rs_cuda_grow(b, &b->logits, chunk * CHUNK_IDS * sizeof(float), "a chunk of logits"));
    RS_TRY(rs_cuda_take(b, rows * sizeof *b->targets, "targets", (void **)&b->targets));
    RS_TRY(rs_cuda_take(b, rows * sizeof *b->head_rows, "results of the head", (void **)&b->head_rows));
    RS_TRY(b->driver->pinned_alloc(b->context, rows * sizeof *b->host_targets, "targets", (void **)&b->host_targets));
    return b->driver->pinned_alloc(b->context, rows * sizeof *b->host_rows, "results of the head", (void **)&b->host_rows);
}

void rs_cuda_head_close(rs_backend *b)
{
    b->driver->pinned_free(b->context, b->host_targets);
    b->driver->pinned_free(b->context, b->host_rows);
}

typedef struct head_call {
    const char *h;
    int64_t h_stride;
    const rs_matrix *w;
    int32_t first_id;
    float cap;
} head_call;

/* Rows [row, row + n) over the whole of W. */
static rs_status head_rows(rs_backend *b, const head_call *call, int64_t row, int64_t n)
{
    const char *h = call->h + (size_t)(row * call->h_stride) * b->act;
    for (int64_t first = 0; first < call->w->rows; first += CHUNK_IDS) {
        int64_t columns = call->w->rows - first < CHUNK_IDS ? call->w->rows - first : CHUNK_IDS;
        float *logits = (float *)(void *)b->logits.data;
        rs_cuda_head_args args = {.logits = logits,
                                  .targets = b->targets + row,
                                  .n = n,
                                  .columns = columns,
                                  .first_id = call->first_id + (int32_t)first,
                                  .cap = call->cap,
                                  .fresh = first == 0,
                                  .rows = b->head_rows + row};
        RS_TRY(rs_cuda_multiply(b, h, call->h_stride, call->w, first, columns, n, logits, columns));
        RS_TRY(rs_cuda_launched(b, rs_cuda_head_reduce(rs_cuda_stream_of(b), &args), "reducing logits"));
    }
    return RS_OK;
}

rs_status rs_cuda_head(rs_backend *b, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap, int64_t n,
                       rs_head_row *rows)
{
    size_t count = (size_t)n, columns = (size_t)(w->rows < CHUNK_IDS ? w->rows : CHUNK_IDS);
    int64_t h_stride = w->cols, chunk = (int64_t)(b->logits.bytes / sizeof(float) / columns);
    if (n > b->max_rows)
        return rs_fail(RS_INTERNAL, "the head of %lld rows; at most %lld", (long long)n, (long long)b->max_rows);
    memcpy(b->host_targets, targets, count * sizeof *targets);
    RS_TRY(b->driver->upload(b->context, RS_CUDA_COMPUTE, b->targets, b->host_targets, count * sizeof *targets));
    RS_TRY(rs_cuda_align(b, w, n, &h, &h_stride));
    head_call call = {.h = h, .h_stride = h_stride, .w = w, .first_id = first_id, .cap = cap};
    for (int64_t row = 0; row < n; row += chunk)
        RS_TRY(head_rows(b, &call, row, n - row < chunk ? n - row : chunk));
    RS_TRY(b->driver->download(b->context, RS_CUDA_COMPUTE, b->host_rows, b->head_rows, count * sizeof *rows));
    RS_TRY(b->driver->wait(b->context, RS_CUDA_COMPUTE));
    memcpy(rows, b->host_rows, count * sizeof *rows);
    return RS_OK;
}
