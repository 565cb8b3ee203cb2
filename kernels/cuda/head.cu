/* Logits of a run of vocabulary, taken into each row's state in one pass: a block a row. Per thread a running maximum, its id, and the sum
 * of e^(z - maximum); then over lanes and warps in fixed trees. What a thread takes depends on the number of columns only. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

enum { THREADS = 256, WARPS = THREADS / 32, BATCH = 4 };

/* Of some of a row's logits. id: the first that has `max`, -1 while that is -inf. NaN shows in sum alone. */
struct partial {
    float max, sum;
    int id;
};

/* sum of e^(z - from), as one of e^(z - to), from <= to. */
RS_DEVICE float rebased(float sum, float from, float to)
{
    return from < to ? rs_mul(sum, rs_exp(rs_add(from, -to))) : sum;
}

RS_DEVICE float capped(float z, float cap)
{
    return cap > 0.0f ? rs_mul(cap, rs_tanh(z / cap)) : z;
}

template <bool whole> RS_DEVICE void take_batch(const float *logits, int first, int columns, float cap, partial *mine)
{
    rs_four z[BATCH];
    RS_UNROLL
    for (int b = 0; b < BATCH; b++)
        z[b] = rs_load_four<whole>(logits, first + b * THREADS * 4, columns, -INFINITY);
    float old = mine->max;
    RS_UNROLL
    for (int b = 0; b < BATCH; b++) {
        RS_UNROLL
        for (int k = 0; k < 4; k++) {
            z[b].v[k] = capped(z[b].v[k], cap);
            if (first + b * THREADS * 4 + k >= columns)
                z[b].v[k] = -INFINITY;
            if (z[b].v[k] > mine->max) {
                mine->max = z[b].v[k];
                mine->id = first + b * THREADS * 4 + k;
            }
        }
    }
    float base = mine->max == -INFINITY ? 0.0f : mine->max; /* e^-inf, not e^NaN, of what is -inf */
    mine->sum = rebased(mine->sum, old, mine->max);
    RS_UNROLL
    for (int b = 0; b < BATCH; b++) {
        RS_UNROLL
        for (int k = 0; k < 4; k++)
            mine->sum = rs_add(mine->sum, rs_exp(rs_add(z[b].v[k], -base)));
    }
}

/* Equal on all lanes; of equal maxima the lowest id. */
RS_DEVICE partial over_warp(const partial &mine)
{
    partial all;
    all.max = rs_warp_max(mine.max);
    all.sum = rs_warp_sum(rebased(mine.sum, mine.max, all.max));
    all.id = mine.max == all.max ? mine.id : INT32_MAX;
    RS_UNROLL
    for (int mask = 16; mask; mask >>= 1) {
        int other = rs_shuffle_xor(all.id, mask);
        all.id = other < all.id ? other : all.id;
    }
    return all;
}

/* The run's sums, all of its columns, into the row's state. */
RS_DEVICE void take_run(const rs_cuda_head_args &args, int64_t row, const partial &run)
{
    rs_cuda_head_row state = {-INFINITY, 0.0f, -INFINITY, -INFINITY, -1};
    if (!args.fresh)
        state = args.rows[row];
    float max = fmaxf(run.max, state.max);
    state.sum = rs_add(rebased(state.sum, state.max, max), rebased(run.sum, run.max, max));
    if (max == -INFINITY)
        state.sum = NAN; /* e^(-inf - -inf) */
    state.max = max;
    if (run.max > state.best) {
        state.best = run.max;
        state.best_id = args.first_id + run.id;
    }
    int64_t target = (int64_t)args.targets[row] - args.first_id;
    if (target >= 0 && target < args.columns)
        state.target = capped(args.logits[row * args.columns + target], args.cap);
    args.rows[row] = state;
}

template <bool whole> RS_KERNEL RS_BOUNDS(THREADS, 4) head_kernel(rs_cuda_head_args args)
{
    int64_t row = rs_block_x();
    int columns = (int)args.columns;
    partial mine = {-INFINITY, 0.0f, -1};
    for (int first = 4 * rs_thread(); first < columns; first += BATCH * THREADS * 4)
        take_batch<whole>(args.logits + row * columns, first, columns, args.cap, &mine);
    rs_shared<partial> warps = rs_shared_at<partial>(0, WARPS);
    mine = over_warp(mine);
    if (rs_lane() == 0)
        warps.set(rs_warp(), mine);
    rs_sync();
    if (rs_warp() != 0)
        return;
    partial all = over_warp(rs_lane() < WARPS ? warps.get(rs_lane()) : partial{-INFINITY, 0.0f, INT32_MAX});
    if (rs_lane() == 0)
        take_run(args, row, all);
}

int rs_cuda_head_reduce(void *stream, const rs_cuda_head_args *args)
{
    if (!args->n)
        return 0;
    int bytes = WARPS * (int)sizeof(partial);
    return rs_is_whole(args->logits, NULL, NULL, args->columns)
               ? RS_LAUNCH((head_kernel<true>), (unsigned)args->n, THREADS, bytes, stream, *args)
               : RS_LAUNCH((head_kernel<false>), (unsigned)args->n, THREADS, bytes, stream, *args);
}
