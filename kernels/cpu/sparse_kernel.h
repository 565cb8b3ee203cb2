/* Weights of one row for the policies that must see all its logits: the vectorised part, included once an instruction set.
 * Rows are padded with -inf to whole vectors. What these do not take - other alphas, rows with NaN - sparse.c does. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/simd.h"

RS_INLINE float row_max(const float *z, int64_t n)
{
    rs_vf most = v_set(-INFINITY);
    for (int64_t j = 0; j < n; j += RS_VW)
        most = v_max(v_load(z + j), most);
    return v_hmax(most);
}

/* Infinities of either sign make it false, beyond those of the padding. */
RS_INLINE bool row_finite(const float *z, int64_t n)
{
    rs_vf sum = v_set(0.0f);
    for (int64_t j = 0; j < n; j += RS_VW)
        sum = v_fma(v_between(v_load(z + j), 0, n - j, v_set(0.0f)), v_set(0.0f), sum);
    return v_hsum(sum) == 0.0f;
}

static int64_t count_from(const float *z, int64_t n, float threshold)
{
    rs_vf count = v_set(0.0f), at = v_set(threshold);
    for (int64_t j = 0; j < n; j += RS_VW)
        count = count + v_select_less(v_load(z + j), at, v_set(0.0f), v_set(1.0f));
    return (int64_t)v_hsum(count);
}

/* Integers in the order of the floats, and back. */
RS_INLINE int64_t order_of_float(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? (int64_t)INT32_MIN - bits : bits;
}

RS_INLINE float float_of_order(int64_t order)
{
    int32_t bits = (int32_t)(order < 0 ? INT32_MIN - order : order);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A threshold that at least k of the row reach, and fewer reach the next float; or one that exactly k reach. */
static float top_k_threshold(const float *z, int64_t n, int64_t k, float max, int64_t *reached)
{
    int64_t low = order_of_float(-3.4028235e38f), high = order_of_float(max) + 1;
    *reached = n;
    while (high - low > 1 && *reached != k) {
        int64_t middle = low + (high - low) / 2, count = count_from(z, n, float_of_order(middle));
        if (count >= k) {
            low = middle;
            *reached = count;
        } else {
            high = middle;
        }
    }
    return float_of_order(low);
}

static float top_k_row(const rs_softmax *softmax, float *z, int64_t n)
{
    int64_t reached, k = softmax->k < n ? softmax->k : n;
    float sink = softmax->has_sink ? (float)(softmax->sink / (double)RS_LN2) : -INFINITY, max = row_max(z, n);
    float threshold = top_k_threshold(z, n, k, max, &reached), top = sink > max ? sink : max;
    for (int64_t j = n - 1; reached > k; j--) /* of equals the earlier keys win */
        if (z[j] == threshold) {
            z[j] = -INFINITY;
            reached--;
        }
    for (int64_t j = 0; j < n; j += RS_VW) {
        rs_vf x = v_load(z + j);
        v_store(z + j, v_select_less(x, v_set(threshold), v_set(0.0f), v_exp2(x - v_set(top), 1)));
    }
    return softmax->has_sink ? exp2f(sink - top) : 0.0f;
}

/* entmax with alpha 2 (weights x - tau) or 1.5 (their squares). The sum of weights is convex and falls with tau, so that Newton's steps
 * from tau = max - 1, where it is at least 1, climb to the root without passing it. */
static float entmax_row(const rs_softmax *softmax, float *z, int64_t n)
{
    bool square = softmax->alpha == 1.5;
    float scale = square ? 0.5f : 1.0f, sink = softmax->has_sink ? (float)softmax->sink : -INFINITY, max = row_max(z, n), tau = -1.0f;
    max = sink > max ? sink : max;
    sink = (sink - max) * scale;
    for (int64_t j = 0; j < n; j += RS_VW)
        v_store(z + j, (v_load(z + j) - v_set(max)) * v_set(scale));
    for (int step = 0; step < 64; step++) {
        rs_vf first = v_set(0.0f), second = v_set(0.0f), zero = v_set(0.0f), one = v_set(1.0f), at = v_set(tau);
        for (int64_t j = 0; j < n; j += RS_VW) {
            rs_vf x = v_load(z + j), above = v_max(zero, x - at);
            first = first + above;
            if (square)
                second = v_fma(above, above, second);
            else
                second = second + v_select_less(at, x, one, zero);
        }
        float over = sink > tau ? sink - tau : 0.0f;
        float sum = v_hsum(first) + over, other = v_hsum(second) + (square ? over * over : over > 0 ? 1.0f : 0.0f);
        float next = tau + (square ? (other - 1.0f) / (2.0f * sum) : (sum - 1.0f) / other);
        if (!(next > tau))
            break;
        tau = next;
    }
    for (int64_t j = 0; j < n; j += RS_VW) {
        rs_vf above = v_max(v_set(0.0f), v_load(z + j) - v_set(tau));
        if (square)
            above = above * above;
        v_store(z + j, above);
    }
    float over = sink > tau ? sink - tau : 0.0f;
    return square ? over * over : over;
}

/* z: [n] logits, in units of log 2 for top_k, natural for entmax; replaced by the weights. Returns the sink's weight. */
static float sparse_weights(const rs_softmax *softmax, float *z, int64_t n, float *scratch)
{
    if (row_finite(z, n) && softmax->normalizer == RS_NORMALIZE_TOP_K)
        return top_k_row(softmax, z, n);
    if (row_finite(z, n) && (softmax->alpha == 1.5 || softmax->alpha == 2.0))
        return entmax_row(softmax, z, n);
    return rs_sparse_weights(softmax, z, n, scratch);
}
