/* Weights: rows of a checkpoint's slices, converted by the host's threads into a transfer buffer while the one before travels. The host
 * never holds more than these buffers of a matrix. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"
#include "kernels/slice.h"

/* To nearest even; NaN stays NaN: the CPU backend's rounding. */
static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* One row in the model's dtype, zeros from cols to width. scratch: [cols]. */
static void convert_row(const rs_backend *b, const rs_slice *slice, int64_t row, int64_t width, float *scratch, char *to)
{
    size_t cols = (size_t)slice->cols;
    if (slice->dtype == (b->bf16 ? RS_BF16 : RS_F32)) {
        memcpy(to, (const char *)slice->data + (size_t)(row * slice->stride) * b->act, cols * b->act);
    } else if (!b->bf16) {
        rs_slice_row(slice, row, (float *)(void *)to);
    } else {
        rs_slice_row(slice, row, scratch);
        uint16_t *rounded = (uint16_t *)(void *)to;
        for (size_t i = 0; i < cols; i++)
            rounded[i] = to_bf16(scratch[i]);
    }
    memset(to + cols * b->act, 0, ((size_t)width - cols) * b->act);
}

/* A slice's rows to the device as [rows, width]. */
static rs_status send_slice(rs_backend *b, const rs_slice *slice, int64_t width, float *scratch, char *to)
{
    size_t row_bytes = (size_t)width * b->act, room;
    char *data;
    for (int64_t row = 0; row < slice->rows;) {
        RS_TRY(rs_cuda_transfer_take(b, &data, &room));
        int64_t most = (int64_t)(room / row_bytes), n = slice->rows - row < most ? slice->rows - row : most;
        if (n == 0)
            return rs_fail(RS_INVALID, "a weight has rows of %lld elements: too many for the CUDA backend", (long long)slice->cols);
#pragma omp parallel for num_threads(b->n_threads) schedule(static)
        for (int64_t i = 0; i < n; i++)
            convert_row(b, slice, row + i, width, scratch + omp_get_thread_num() * slice->cols, data + (size_t)i * row_bytes);
        RS_TRY(rs_cuda_transfer_send(b, RS_CUDA_COPY, to + (size_t)row * row_bytes, (size_t)n * row_bytes));
        row += n;
    }
    return RS_OK;
}

/* What `later` is given from now on follows what `earlier` has been given so far. */
static rs_status follow(rs_backend *b, rs_cuda_stream later, rs_cuda_stream earlier)
{
    RS_TRY(b->driver->event_record(b->context, b->crossed, earlier));
    return b->driver->event_after(b->context, b->crossed, later);
}

/* Stacks the slices at `to`, whose memory work that is still queued may have had before. */
static rs_status send(rs_backend *b, const rs_slice *slices, int n_slices, int64_t width, char *to)
{
    rs_status status;
    float *scratch = rs_alloc((size_t)b->n_threads * (size_t)slices->cols, sizeof *scratch);
    RS_TRY_OUT(follow(b, RS_CUDA_COPY, RS_CUDA_COMPUTE));
    for (int i = 0; i < n_slices; i++) {
        RS_TRY_OUT(send_slice(b, &slices[i], width, scratch, to));
        to += (size_t)(slices[i].rows * width) * b->act;
    }
    status = follow(b, RS_CUDA_COMPUTE, RS_CUDA_COPY);
out:
    free(scratch);
    return status;
}

rs_status rs_cuda_matrix_load(rs_backend *b, const rs_slice *slices, int n_slices, rs_matrix **out)
{
    rs_status status;
    rs_matrix *matrix = rs_alloc(1, sizeof *matrix);
    matrix->cols = slices->cols;
    matrix->width = (slices->cols + RS_CUDA_WIDTH - 1) / RS_CUDA_WIDTH * RS_CUDA_WIDTH;
    for (int i = 0; i < n_slices; i++)
        matrix->rows += slices[i].rows;
    matrix->bytes = (size_t)(matrix->rows * matrix->width) * b->act;
    RS_TRY_OUT(rs_cuda_take(b, matrix->bytes, "a weight matrix", (void **)&matrix->data));
    RS_TRY_OUT(send(b, slices, n_slices, matrix->width, matrix->data));
    RS_TRY_OUT(rs_cuda_products_prepare(b, matrix->rows, matrix->width));
    *out = matrix;
    return RS_OK;
out:
    rs_cuda_matrix_free(b, matrix);
    return status;
}

void rs_cuda_matrix_free(rs_backend *b, rs_matrix *matrix)
{
    if (!matrix)
        return;
    rs_cuda_graphs_forget(b);
    rs_cuda_give(b, matrix->data);
    free(matrix);
}

size_t rs_cuda_matrix_bytes(const rs_matrix *matrix)
{
    return matrix->bytes;
}

rs_status rs_cuda_table_load(rs_backend *b, const rs_slice *rows, rs_table **out)
{
    rs_status status;
    rs_table *table = rs_alloc(1, sizeof *table);
    *table = (rs_table){.rows = rows->rows, .cols = rows->cols, .bytes = (size_t)(rows->rows * rows->cols) * b->act};
    RS_TRY_OUT(rs_cuda_take(b, table->bytes, "the embedding", (void **)&table->data));
    RS_TRY_OUT(send(b, rows, 1, rows->cols, table->data));
    *out = table;
    return RS_OK;
out:
    rs_cuda_table_free(b, table);
    return status;
}

void rs_cuda_table_free(rs_backend *b, rs_table *table)
{
    if (!table)
        return;
    rs_cuda_graphs_forget(b);
    rs_cuda_give(b, table->data);
    free(table);
}

size_t rs_cuda_table_bytes(const rs_table *table)
{
    return table->bytes;
}
