/* The row-wise operations: a launch each. */
#include "kernels/cuda/cuda.h"

rs_status rs_cuda_embed_ids(rs_backend *b, const rs_table *table, int32_t first_id, float scale, float *x)
{
    rs_cuda_embed_args args = {.table = table->data,
                               .ids = b->step.ids,
                               .first_id = first_id,
                               .rows = table->rows,
                               .n = b->step.n,
                               .d = table->cols,
                               .scale = scale,
                               .bf16 = b->bf16,
                               .x = x};
    return rs_cuda_launched(b, rs_cuda_embed(rs_cuda_stream_of(b), &args), "embed");
}

rs_status rs_cuda_norm(rs_backend *b, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n, int64_t d,
                       void *h)
{
    rs_cuda_norm_args args = {
        .x = x, .y = y, .weight = weight, .eps = eps, .cast_first = cast_first, .bf16 = b->bf16, .n = n, .d = d, .h = h};
    return rs_cuda_launched(b, rs_cuda_add_norm(rs_cuda_stream_of(b), &args), "norm");
}

rs_status rs_cuda_gated(rs_backend *b, rs_activation activation, const float *gate_up, int64_t n, int64_t f, void *out)
{
    rs_cuda_glu_args args = {.activation = (int)activation, .bf16 = b->bf16, .gate_up = gate_up, .n = n, .f = f, .out = out};
    return rs_cuda_launched(b, rs_cuda_glu(rs_cuda_stream_of(b), &args), "gated activation");
}

rs_status rs_cuda_sum(rs_backend *b, float *x, const float *y, int64_t n)
{
    return rs_cuda_launched(b, rs_cuda_add(rs_cuda_stream_of(b), x, y, n), "add");
}
