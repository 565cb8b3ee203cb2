/* Row-wise arithmetic: embedding, residual sum and norm, gated activations, sums. Bound by memory: a block or more a row, a thread holds
 * BATCH vectors of four values in flight. The CPU's kernels/cpu/elementwise_kernel.h gives each its meaning. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

enum { THREADS = 256, BATCH = 4, BLOCK_VALUES = THREADS * BATCH * 4 };

/* The first value of vector b of this thread's batch; `part` counts batches of the whole block. */
RS_DEVICE int value_of(int part, int b)
{
    return ((part * BATCH + b) * rs_threads() + rs_thread()) * 4;
}

/* --- embed --- */

template <bool whole, class T> RS_KERNEL RS_BOUNDS(THREADS, 4) embed_kernel(rs_cuda_embed_args args, int parts)
{
    int64_t row = rs_block_x() / parts, id = (int64_t)args.ids[row] - args.first_id;
    int part = rs_block_x() % parts, d = (int)args.d;
    bool mine = id >= 0 && id < args.rows;
    const T *from = (const T *)args.table + (mine ? id : 0) * args.d;
    rs_four x[BATCH];
    RS_UNROLL
    for (int b = 0; b < BATCH; b++)
        x[b] = rs_load_four_act<whole>(from, value_of(part, b), mine ? d : 0);
    RS_UNROLL
    for (int b = 0; b < BATCH; b++) {
        RS_UNROLL
        for (int k = 0; k < 4; k++)
            x[b].v[k] = mine ? rs_mul(x[b].v[k], args.scale) : 0.0f;
        rs_store_four<whole>(args.x + row * args.d, value_of(part, b), d, x[b]);
    }
}

int rs_cuda_embed(void *stream, const rs_cuda_embed_args *args)
{
    if (!args->n)
        return 0;
    int parts = (int)rs_parts(args->d, BLOCK_VALUES);
    unsigned grid = (unsigned)(args->n * parts);
    bool whole = rs_is_whole(args->table, args->x, NULL, args->d);
    if (args->bf16)
        return whole ? RS_LAUNCH((embed_kernel<true, rs_bf16>), grid, THREADS, 0, stream, *args, parts)
                     : RS_LAUNCH((embed_kernel<false, rs_bf16>), grid, THREADS, 0, stream, *args, parts);
    return whole ? RS_LAUNCH((embed_kernel<true, float>), grid, THREADS, 0, stream, *args, parts)
                 : RS_LAUNCH((embed_kernel<false, float>), grid, THREADS, 0, stream, *args, parts);
}

/* --- add_norm --- */

enum { NORM_THREADS = 1024, PLAIN_SHARED = 49152 }; /* at most */

/* x += y, kept in shared memory; this thread's part of the sum of squares. */
template <bool whole> RS_DEVICE float add_row(float *x, const float *y, int d, rs_shared<rs_four> kept)
{
    float squares = 0.0f;
    for (int part = 0; value_of(part, 0) < d; part++) {
        rs_four value[BATCH], more[BATCH];
        RS_UNROLL
        for (int b = 0; b < BATCH; b++) {
            value[b] = rs_load_four<whole>(x, value_of(part, b), d, 0.0f);
            if (y)
                more[b] = rs_load_four<whole>(y, value_of(part, b), d, 0.0f);
        }
        RS_UNROLL
        for (int b = 0; b < BATCH; b++) {
            int i = value_of(part, b);
            if (i >= d)
                break;
            RS_UNROLL
            for (int k = 0; k < 4; k++) {
                if (y)
                    value[b].v[k] = rs_add(value[b].v[k], more[b].v[k]);
                squares = rs_fma(value[b].v[k], value[b].v[k], squares);
            }
            if (y)
                rs_store_four<whole>(x, i, d, value[b]);
            kept.set(i / 4, value[b]);
        }
    }
    return squares;
}

/* Sum over the block, on every thread: warps in order. */
RS_DEVICE float block_sum(float x, rs_shared<float> warps)
{
    x = rs_warp_sum(x);
    if (rs_lane() == 0)
        warps.set(rs_warp(), x);
    rs_sync();
    float sum = 0.0f;
    for (int warp = 0; warp < rs_threads() / 32; warp++)
        sum = rs_add(sum, warps.get(warp));
    return sum;
}

template <bool whole, class T> RS_KERNEL RS_BOUNDS(NORM_THREADS, 1) add_norm_kernel(rs_cuda_norm_args args)
{
    int64_t first = rs_block_x() * args.d;
    int d = (int)args.d;
    rs_shared<float> warps = rs_shared_at<float>(0, 32);
    rs_shared<rs_four> kept = rs_shared_at<rs_four>(128, (d + 3) / 4);
    float squares = add_row<whole>(args.x + first, args.y ? args.y + first : NULL, d, kept);
    if (!args.h)
        return;
    float scale = rs_rsqrt_exact(rs_add(block_sum(squares, warps) / (float)d, args.eps));
    for (int i = value_of(0, 0); i < d; i += 4 * rs_threads()) {
        rs_four value = kept.get(i / 4), weight = rs_load_four<whole>(args.weight, i, d, 0.0f);
        RS_UNROLL
        for (int k = 0; k < 4; k++) {
            float normal = rs_mul(value.v[k], scale);
            if (args.bf16 && args.cast_first)
                normal = rs_from_bf16(rs_to_bf16(normal));
            value.v[k] = rs_mul(normal, weight.v[k]);
        }
        rs_store_four_act<whole>((T *)args.h + first, i, d, value);
    }
}

template <bool whole, class T> static int launch_add_norm(void *stream, const rs_cuda_norm_args *args)
{
    /* So many threads that the row is one batch, where a block can have them. */
    int64_t wanted = rs_parts(args->d, BATCH * 4 * 32) * 32;
    unsigned threads = wanted < NORM_THREADS ? (unsigned)wanted : (unsigned)NORM_THREADS;
    int bytes = (int)(128 + rs_parts(args->d, 4) * 16);
    int error = bytes > PLAIN_SHARED ? RS_ALLOW_SHARED((add_norm_kernel<whole, T>), bytes) : 0;
    if (error)
        return error;
    return RS_LAUNCH((add_norm_kernel<whole, T>), (unsigned)args->n, threads, bytes, stream, *args);
}

int rs_cuda_add_norm(void *stream, const rs_cuda_norm_args *args)
{
    if (!args->n)
        return 0;
    bool whole = rs_is_whole(args->x, args->y, args->h, args->d) && rs_is_whole(args->weight, NULL, NULL, 0);
    if (args->bf16)
        return whole ? launch_add_norm<true, rs_bf16>(stream, args) : launch_add_norm<false, rs_bf16>(stream, args);
    return whole ? launch_add_norm<true, float>(stream, args) : launch_add_norm<false, float>(stream, args);
}

/* --- glu --- */

enum { SILU = 0 }; /* rs_activation's */

/* x / (1 + e^-x), and x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3), for x/2 (1 + tanh u): no cancellation for negative x. */
RS_DEVICE float activate(int activation, float x)
{
    float exponent = -x;
    if (activation != SILU)
        exponent = rs_mul(rs_fma(rs_mul(rs_mul(x, x), x), 0.044715f, x), -1.59576912160573f);
    return x / rs_add(1.0f, rs_exp(exponent));
}

/* Two vectors of the gate and two of the other half are as many in flight as one batch. */
template <bool whole, class T> RS_KERNEL RS_BOUNDS(THREADS, 4) glu_kernel(rs_cuda_glu_args args, int parts)
{
    enum { HALF = BATCH / 2 };
    int64_t row = rs_block_x() / parts;
    int f = (int)args.f, first = (rs_block_x() % parts * HALF * THREADS + rs_thread()) * 4;
    const float *gate = args.gate_up + 2 * row * f, *up = gate + f;
    rs_four x[HALF], y[HALF];
    RS_UNROLL
    for (int b = 0; b < HALF; b++) {
        x[b] = rs_load_four<whole>(gate, first + b * THREADS * 4, f, 0.0f);
        y[b] = rs_load_four<whole>(up, first + b * THREADS * 4, f, 0.0f);
    }
    RS_UNROLL
    for (int b = 0; b < HALF; b++) {
        RS_UNROLL
        for (int k = 0; k < 4; k++)
            x[b].v[k] = rs_mul(activate(args.activation, x[b].v[k]), y[b].v[k]);
        rs_store_four_act<whole>((T *)args.out + row * f, first + b * THREADS * 4, f, x[b]);
    }
}

int rs_cuda_glu(void *stream, const rs_cuda_glu_args *args)
{
    if (!args->n)
        return 0;
    int parts = (int)rs_parts(args->f, BLOCK_VALUES / 2);
    unsigned grid = (unsigned)(args->n * parts);
    bool whole = rs_is_whole(args->gate_up, args->out, NULL, args->f);
    if (args->bf16)
        return whole ? RS_LAUNCH((glu_kernel<true, rs_bf16>), grid, THREADS, 0, stream, *args, parts)
                     : RS_LAUNCH((glu_kernel<false, rs_bf16>), grid, THREADS, 0, stream, *args, parts);
    return whole ? RS_LAUNCH((glu_kernel<true, float>), grid, THREADS, 0, stream, *args, parts)
                 : RS_LAUNCH((glu_kernel<false, float>), grid, THREADS, 0, stream, *args, parts);
}

/* --- add --- */

template <bool whole> RS_KERNEL RS_BOUNDS(THREADS, 4) add_kernel(float *a, const float *b, int64_t n)
{
    int64_t first = (int64_t)rs_block_x() * BLOCK_VALUES;
    int values = n - first > BLOCK_VALUES ? (int)BLOCK_VALUES : (int)(n - first);
    rs_four x[BATCH], y[BATCH];
    RS_UNROLL
    for (int k = 0; k < BATCH; k++) {
        x[k] = rs_load_four<whole>(a + first, value_of(0, k), values, 0.0f);
        y[k] = rs_load_four<whole>(b + first, value_of(0, k), values, 0.0f);
    }
    RS_UNROLL
    for (int k = 0; k < BATCH; k++) {
        RS_UNROLL
        for (int j = 0; j < 4; j++)
            x[k].v[j] = rs_add(x[k].v[j], y[k].v[j]);
        rs_store_four<whole>(a + first, value_of(0, k), values, x[k]);
    }
}

int rs_cuda_add(void *stream, float *a, const float *b, int64_t n)
{
    if (!n)
        return 0;
    unsigned grid = (unsigned)rs_parts(n, BLOCK_VALUES);
    return rs_is_whole(a, b, NULL, n) ? RS_LAUNCH((add_kernel<true>), grid, THREADS, 0, stream, a, b, n)
                                      : RS_LAUNCH((add_kernel<false>), grid, THREADS, 0, stream, a, b, n);
}
