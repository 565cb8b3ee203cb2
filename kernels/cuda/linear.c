/* Matrix products: cuBLASLt's for the many rows of a prefill, the skinny kernel for the rows of a decode step, however many: which of the
 * two runs is decided by the phase alone, as the bits are. */
#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"

enum { TRIAL_ROWS = 4096 }; /* of activations, for which there should be scratch memory when algorithms are tried */

static rs_cuda_gemm *find(const rs_backend *b, int64_t rows, int64_t width)
{
    for (size_t i = 0; i < b->n_products; i++)
        if (b->products[i].rows == rows && b->products[i].width == width)
            return b->products[i].gemm;
    return NULL;
}

rs_status rs_cuda_products_prepare(rs_backend *b, int64_t rows, int64_t width)
{
    if (rows == 0 || find(b, rows, width))
        return RS_OK;
    size_t want = (size_t)(rows * width + TRIAL_ROWS * width) * b->act + (size_t)(TRIAL_ROWS * rows) * sizeof(float);
    size_t most = rs_cuda_arena_largest(&b->arena), bytes = want < most ? want : most;
    void *scratch = NULL;
    if (bytes > 0)
        RS_TRY(rs_cuda_take(b, bytes, "trials of matrix products", &scratch));
    rs_cuda_product product = {.rows = rows, .width = width};
    rs_status status = b->driver->gemm_open(b->context, rows, width, b->bf16, scratch, bytes, &product.gemm);
    rs_cuda_give(b, scratch);
    if (status == RS_OK)
        RS_PUSH(b->products, b->n_products, b->cap_products, product);
    return status;
}

void rs_cuda_products_close(rs_backend *b)
{
    for (size_t i = 0; i < b->n_products; i++)
        b->driver->gemm_close(b->context, b->products[i].gemm);
    free(b->products);
}

rs_status rs_cuda_align(rs_backend *b, const rs_matrix *w, int64_t n, const void **a, int64_t *a_stride)
{
    if (w->width == w->cols && (uintptr_t)*a % 16 == 0 && (size_t)*a_stride * b->act % 16 == 0)
        return RS_OK;
    RS_TRY(rs_cuda_grow(b, &b->padded, (size_t)(n * w->width) * b->act, "aligned activations"));
    rs_cuda_pad_args args = {
        .a = *a, .a_stride = *a_stride, .n = n, .cols = w->cols, .width = w->width, .bf16 = b->bf16, .out = b->padded.data};
    RS_TRY(rs_cuda_launched(b, rs_cuda_pad(rs_cuda_stream_of(b), &args), "aligning activations"));
    *a = b->padded.data;
    *a_stride = w->width;
    return RS_OK;
}

static rs_status multiply_few(rs_backend *b, rs_cuda_skinny_args args)
{
    int64_t n = args.n, floats = rs_cuda_skinny_floats(n < RS_CUDA_SKINNY_CALL ? n : RS_CUDA_SKINNY_CALL, args.rows, args.cols);
    RS_TRY(rs_cuda_grow(b, &b->work, (size_t)floats * sizeof(float), "workspace of matrix products"));
    args.work = (float *)(void *)b->work.data;
    for (int64_t row = 0; row < n; row += RS_CUDA_SKINNY_CALL) {
        args.n = n - row < RS_CUDA_SKINNY_CALL ? n - row : RS_CUDA_SKINNY_CALL;
        RS_TRY(rs_cuda_launched(b, rs_cuda_skinny(rs_cuda_stream_of(b), &args), "a product of a few rows"));
        args.a = (const char *)args.a + (size_t)(RS_CUDA_SKINNY_CALL * args.a_stride) * b->act;
        args.out += RS_CUDA_SKINNY_CALL * args.out_stride;
    }
    return RS_OK;
}

rs_status rs_cuda_multiply(rs_backend *b, const void *a, int64_t a_stride, const rs_matrix *w, int64_t first, int64_t rows, int64_t n,
                           float *out, int64_t out_stride)
{
    const char *weights = w->data + (size_t)(first * w->width) * b->act;
    assert(b->current == RS_CUDA_COMPUTE); /* workspaces are one stream's */
    if (n == 0 || rows == 0)
        return RS_OK;
    if (b->step.phase == RS_DECODE) {
        rs_cuda_skinny_args args = {.a = a,
                                    .w = weights,
                                    .a_stride = a_stride,
                                    .n = n,
                                    .rows = rows,
                                    .cols = w->width,
                                    .out_stride = out_stride,
                                    .bf16 = b->bf16,
                                    .out = out};
        return multiply_few(b, args);
    }
    RS_TRY(rs_cuda_products_prepare(b, rows, w->width));
    return b->driver->gemm(b->context, RS_CUDA_COMPUTE, find(b, rows, w->width), a, a_stride, weights, n, out, out_stride);
}

rs_status rs_cuda_linear(rs_backend *b, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out, int64_t out_stride)
{
    RS_TRY(rs_cuda_align(b, w, n, &a, &a_stride));
    return rs_cuda_multiply(b, a, a_stride, w, 0, w->rows, n, out, out_stride);
}
