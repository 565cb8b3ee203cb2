/* What every attention kernel does for a row, whatever computes its products: where operands lie, how a product q.k becomes a logit, the
 * running maximum, the entropy and beta of the adaptive policy, the sums behind rs_cuda_row_stats. The CPU's kernels/cpu/attention_kernel.h
 * gives each its meaning. Logits are in units of log 2 (their scale holds log2 e), so that weights are powers of 2.
 *
 * All arithmetic is by rs_fma, rs_mul and rs_add, so that a row has the same bits in every kernel variant that inlines it. */
#ifndef RS_CUDA_ATTENTION_ROW_H
#define RS_CUDA_ATTENTION_ROW_H

#include <math.h>

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/simt.h"

#define RS_LOG2E 1.4426950408889634
#define RS_LN2 0.6931471805599453f

/* --- operands --- */

RS_DEVICE bool rs_layer_rotates(const rs_cuda_sequence *sequence, int layer)
{
    return sequence->skip_every <= 0 || (layer + 1) % sequence->skip_every != 0;
}
RS_DEVICE int rs_layer_segments(const rs_cuda_sequence *sequence, int layer)
{
    return rs_layer_rotates(sequence, layer) ? sequence->n_segments : 1;
}
/* Keys [capacity][e] of a kv head under the rotation of segment `segment`. */
template <class T>
RS_DEVICE const T *rs_segment_keys(const rs_cuda_sequence *sequence, const rs_cuda_attention_args &args, int kv_head, int segment)
{
    int set = rs_layer_rotates(sequence, args.layer) ? sequence->key_set[segment] : 0;
    int64_t at = ((int64_t)(args.layer % sequence->cache_layers) * args.kv_heads + kv_head) * sequence->cache_key_sets + set;
    return (const T *)sequence->keys + at * sequence->capacity * args.head_dim;
}
/* Values [capacity][e] of a kv head. */
template <class T> RS_DEVICE const T *rs_values_of(const rs_cuda_sequence *sequence, const rs_cuda_attention_args &args, int kv_head)
{
    int64_t at = (int64_t)(args.layer % sequence->cache_layers) * args.kv_heads + kv_head;
    return (const T *)sequence->values + at * sequence->capacity * args.head_dim;
}
/* Queries [n_rows][e] of a head as segment `segment` rotates them. */
template <class T>
RS_DEVICE const T *rs_segment_queries(const rs_cuda_sequence *sequence, const rs_cuda_attention_args &args, int head, int segment)
{
    return (const T *)sequence->queries + ((int64_t)segment * args.heads + head) * sequence->n_rows * args.head_dim;
}
/* First key of run `segment` of a row; n_segments gives the end, the row's position + 1. */
RS_DEVICE int rs_segment_start(const rs_cuda_sequence *sequence, int n_segments, int64_t row, int segment)
{
    if (segment == n_segments)
        return (int)(sequence->position + row) + 1;
    return segment == 0 ? 0 : (int)sequence->starts[row * RS_CUDA_SEGMENTS + segment];
}

/* --- from a product to a logit --- */

/* The part that all rows of a sequence and head share. */
struct rs_logit_shape {
    float scale;            /* the model's attention scale */
    float slope;            /* ALiBi; 0: none */
    float cap, inverse_cap; /* 0: none */
    bool plain;             /* neither ALiBi nor cap: a logit is a multiple of the product */
};

RS_DEVICE rs_logit_shape rs_logit_shape_of(const rs_cuda_sequence *sequence, const rs_cuda_attention_args &args, int head)
{
    float cap = sequence->policy.cap, slope = sequence->alibi ? args.slopes[head] : 0.0f;
    bool capped = cap > 0.0f;
    return rs_logit_shape{args.scale, slope, capped ? cap : 0.0f, capped ? 1.0f / cap : 0.0f, !capped && !sequence->alibi};
}

/* The row's own: logit = rs_shape_logit(product) * factor. factor > 0, so that maxima may be taken, and unseen keys set to -inf, before it
 * multiplies; a scale that is not positive multiplies as `outer`, which is 1 otherwise. */
struct rs_row_scale {
    float outer, factor;
};

RS_DEVICE rs_row_scale rs_row_scale_of(const rs_logit_shape &shape, float row_scale, float beta)
{
    double scale = (double)row_scale * (double)beta * RS_LOG2E;
    float factor = (float)(shape.plain ? scale * (double)shape.scale : scale);
    return factor > 0.0f ? rs_row_scale{1.0f, factor} : rs_row_scale{factor, 1.0f};
}

/* Where shape.plain and row.outer == 1 this is the product itself: kernels may leave the call out then. distance: m - j. */
RS_DEVICE float rs_shape_logit(const rs_logit_shape &shape, const rs_row_scale &row, float product, float distance)
{
    float z = product;
    if (!shape.plain) {
        z = rs_fma(-shape.slope, distance, rs_mul(z, shape.scale));
        if (shape.cap > 0.0f)
            z = rs_mul(shape.cap, rs_tanh(rs_mul(z, shape.inverse_cap)));
    }
    return rs_mul(z, row.outer);
}

/* --- running maximum --- */

/* The maximum, in units of log 2, before any key. */
RS_DEVICE float rs_first_max(const rs_cuda_policy &policy)
{
    return policy.has_sink ? (float)((double)policy.sink * RS_LOG2E) : -INFINITY;
}
/* Raises *max to a run of keys' largest logit; returns 2^(old - new), by which what was summed under the old one shrinks: exactly 1 where
 * the row sees nothing of the run. */
RS_DEVICE float rs_raise_max(float *max, float most)
{
    float old = *max;
    if (!(most > old))
        return 1.0f;
    *max = most;
    return rs_exp2(rs_add(old, -most));
}
/* What to subtract from logits: the maximum, but 0 while no key was seen, where -inf - -inf would be NaN. */
RS_DEVICE float rs_shift(float max)
{
    return max == -INFINITY ? 0.0f : max;
}

/* --- sums over a row's keys --- */

/* rs_cuda_row_stats's sums in units of log 2, of all keys or of a part of them. Where square, distance and min are not read the compiler
 * drops them: the adaptive policy's first phase uses the same code. */
struct rs_row_sums {
    float max, min, sum, first, square, distance;
};

RS_DEVICE rs_row_sums rs_row_sums_none()
{
    return rs_row_sums{-INFINITY, INFINITY, 0.0f, 0.0f, 0.0f, 0.0f};
}
/* Brings the sums to a new maximum. */
RS_DEVICE void rs_row_sums_raise(rs_row_sums *sums, float most)
{
    float old = sums->max, shrink = rs_raise_max(&sums->max, most);
    if (sums->sum == 0.0f || shrink == 1.0f)
        return;
    sums->first = rs_mul(shrink, rs_fma(rs_add(old, -sums->max), sums->sum, sums->first));
    sums->square = rs_mul(rs_mul(shrink, shrink), sums->square);
    sums->distance = rs_mul(shrink, sums->distance);
    sums->sum = rs_mul(shrink, sums->sum);
}
/* One key's logit, no larger than the maximum. -inf, an unseen key, changes nothing. */
RS_DEVICE void rs_row_sums_add(rs_row_sums *sums, float logit, float distance)
{
    float x = rs_add(logit, -rs_shift(sums->max));
    x = x < -200.0f ? -200.0f : x; /* a weight of 0 times -inf would be NaN */
    float e = rs_exp2(x);
    sums->min = fminf(sums->min, logit == -INFINITY ? INFINITY : logit);
    sums->sum = rs_add(sums->sum, e);
    sums->first = rs_fma(x, e, sums->first);
    sums->square = rs_fma(e, e, sums->square);
    sums->distance = rs_fma(distance, e, sums->distance);
}
/* Sums of two sets of keys; a fixed order of merges gives fixed bits, and a merge is the same both ways round. */
RS_DEVICE rs_row_sums rs_row_sums_merge(rs_row_sums a, rs_row_sums b)
{
    rs_row_sums_raise(&a, b.max);
    rs_row_sums_raise(&b, a.max);
    return rs_row_sums{a.max,
                       fminf(a.min, b.min),
                       rs_add(a.sum, b.sum),
                       rs_add(a.first, b.first),
                       rs_add(a.square, b.square),
                       rs_add(a.distance, b.distance)};
}
/* Of the lanes whose numbers differ in the bits of masks below `lanes` (a power of 2); the same on each. */
RS_DEVICE rs_row_sums rs_row_sums_of_lanes(rs_row_sums a, int lanes)
{
    for (int mask = 1; mask < lanes; mask *= 2) {
        rs_row_sums b = {rs_shuffle_xor(a.max, mask),   rs_shuffle_xor(a.min, mask),    rs_shuffle_xor(a.sum, mask),
                         rs_shuffle_xor(a.first, mask), rs_shuffle_xor(a.square, mask), rs_shuffle_xor(a.distance, mask)};
        a = rs_row_sums_merge(a, b);
    }
    return a;
}

/* Entropy in nats of the softmax over the keys. */
RS_DEVICE float rs_row_entropy(const rs_row_sums &sums)
{
    return rs_fma(-RS_LN2, sums.first / sums.sum, rs_log(sums.sum));
}
/* rs_softmax_beta. */
RS_DEVICE float rs_row_beta(const rs_cuda_policy &policy, float entropy)
{
    if (policy.n_theta == 0 || !(entropy > policy.entropy_threshold))
        return 1.0f;
    double p = 0.0;
    for (int i = 0; i < policy.n_theta; i++)
        p = fma(p, (double)entropy, policy.theta[i]);
    return p > 1.0 ? (float)p : 1.0f;
}
/* All of a row's sums, in natural units. sink, diagonal, previous: logits of keys 0, m and m - 1 in units of log 2. */
RS_DEVICE void rs_row_stats_write(rs_cuda_row_stats *to, const rs_row_sums &sums, float sink, float diagonal, float previous, float beta)
{
    *to = rs_cuda_row_stats{sums.max * RS_LN2, sums.min * RS_LN2, sums.sum,          sums.first * RS_LN2, sums.square,
                            sums.distance,     sink * RS_LN2,     diagonal * RS_LN2, previous * RS_LN2,   beta};
}

#endif
