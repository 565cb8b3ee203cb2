/* Row-wise arithmetic, included once an instruction set with RS_ELEMENTWISE_NAME, the table it defines. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/simd.h"

/* Lanes of a row's vector that starts at i. */
RS_INLINE int64_t lanes_at(int64_t i, int64_t n)
{
    return n - i < RS_VW ? n - i : RS_VW;
}

RS_INLINE rs_vf load_at(const float *p, int64_t i, int64_t n)
{
    return n - i < RS_VW ? v_load_part(p + i, n - i) : v_load(p + i);
}

RS_INLINE void store_at(float *p, int64_t i, int64_t n, rs_vf a)
{
    if (n - i < RS_VW)
        v_store_part(p + i, a, n - i);
    else
        v_store(p + i, a);
}

RS_INLINE void store_act(void *p, int64_t i, int64_t n, rs_vf a, bool bf16)
{
    if (!bf16) {
        store_at(p, i, n, a);
        return;
    }
    uint16_t *to = (uint16_t *)p + i, lanes[RS_VW];
    if (n - i >= RS_VW) {
        v_store_bf16(to, a);
        return;
    }
    v_store_bf16(lanes, a);
    memcpy(to, lanes, (size_t)(n - i) * sizeof *lanes);
}

RS_INLINE rs_vf round_bf16(rs_vf a)
{
    uint16_t lanes[RS_VW];
    v_store_bf16(lanes, a);
    return v_load_bf16(lanes);
}

static void norm_row(float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t d, bool bf16, void *h)
{
    rs_vf squares = v_set(0.0f);
    for (int64_t i = 0; i < d; i += RS_VW) {
        rs_vf value = load_at(x, i, d);
        if (y) {
            value = value + load_at(y, i, d);
            store_at(x, i, d, value);
        }
        squares = v_fma(value, value, squares);
    }
    if (!h)
        return;
    rs_vf scale = v_set(1.0f / sqrtf(v_hsum(squares) / (float)d + eps));
    for (int64_t i = 0; i < d; i += RS_VW) {
        rs_vf value = load_at(x, i, d) * scale;
        if (bf16 && cast_first)
            value = round_bf16(value);
        store_act(h, i, d, value * load_at(weight, i, d), bf16);
    }
}

/* x / (1 + e^-x), relative error below 4 ulp for x >= -80. */
RS_INLINE rs_vf silu(rs_vf x)
{
    return x / (v_set(1.0f) + v_exp(v_set(0.0f) - x));
}

/* x/2 (1 + tanh(u)) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3): no cancellation for negative x.
 * Relative error below 6e-7 for x >= -2, absolute below 4e-8 under it. */
RS_INLINE rs_vf gelu_tanh(rs_vf x)
{
    rs_vf cubic = v_fma(x * x * x, v_set(0.044715f), x);
    return x / (v_set(1.0f) + v_exp(cubic * v_set(-1.59576912160573f)));
}

static void glu_row(rs_activation activation, const float *gate, const float *up, int64_t f, bool bf16, void *out)
{
    for (int64_t i = 0; i < f; i += RS_VW) {
        rs_vf x = load_at(gate, i, f);
        x = activation == RS_SILU ? silu(x) : gelu_tanh(x);
        store_act(out, i, f, x * load_at(up, i, f), bf16);
    }
}

static void add_row(float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += RS_VW)
        store_at(a, i, n, load_at(a, i, n) + load_at(b, i, n));
}

static void to_bf16(const float *from, int64_t n, uint16_t *to)
{
    for (int64_t i = 0; i < n; i += RS_VW)
        store_act(to, i, n, load_at(from, i, n), true);
}

static void from_bf16(const uint16_t *from, int64_t n, float *to)
{
    int64_t i = 0;
    for (; i + RS_VW <= n; i += RS_VW)
        v_store(to + i, v_load_bf16(from + i));
    for (; i < n; i++)
        to[i] = rs_bf16_to_float(from[i]);
}

static void rotate(const float *x, const float *cosine, const float *sine, int rotary, int head_dim, float *y)
{
    int half = rotary / 2;
    for (int i = 0; i < half; i += RS_VW) {
        rs_vf c = load_at(cosine, i, half), s = load_at(sine, i, half);
        rs_vf first = load_at(x, i, half), second = load_at(x + half, i, half);
        store_at(y, i, half, first * c - second * s);
        store_at(y + half, i, half, second * c + first * s);
    }
    memcpy(y + rotary, x + rotary, (size_t)(head_dim - rotary) * sizeof *y);
}

/* The first index of the row's largest logit in this panel. */
static void take_best(const float *logits, int64_t n, int32_t first_id, rs_head_row *row)
{
    for (int64_t i = 0; i < n; i++)
        if (logits[i] > row->best) {
            row->best = logits[i];
            row->best_id = first_id + (int32_t)i;
        }
}

static void head_panel(float *logits, int64_t n, int32_t first_id, int32_t target, float cap, rs_head_row *row)
{
    rs_vf most = v_set(-INFINITY), sum = v_set(0.0f);
    for (int64_t i = 0; i < n; i += RS_VW) {
        rs_vf z = load_at(logits, i, n);
        if (cap > 0) {
            z = v_set(cap) * v_tanh(z / v_set(cap));
            store_at(logits, i, n, z);
        }
        most = v_max(v_between(z, 0, lanes_at(i, n), v_set(-INFINITY)), most); /* passes NaN over: the sum below shows it */
    }
    float panel_max = v_hmax(most), max = panel_max > row->max ? panel_max : row->max;
    for (int64_t i = 0; i < n; i += RS_VW)
        sum = sum + v_between(v_exp(load_at(logits, i, n) - v_set(max)), 0, lanes_at(i, n), v_set(0.0f));
    row->sum = (row->sum > 0 && row->max < max ? row->sum * expf(row->max - max) : row->sum) + v_hsum(sum);
    row->max = max;
    if (panel_max > row->best)
        take_best(logits, n, first_id, row);
    if (target >= first_id && target < first_id + n)
        row->target = logits[target - first_id];
}

static void function(int which, const float *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i += RS_VW) {
        rs_vf a = load_at(x, i, n);
        a = which == 0   ? v_exp2(a, 1)
            : which == 1 ? v_exp2(a, 0)
            : which == 2 ? v_exp(a)
            : which == 3 ? v_tanh(a)
            : which == 4 ? silu(a)
                         : gelu_tanh(a);
        store_at(y, i, n, a);
    }
}

static void add_pair_norms(const float *x, int pairs, double *sums)
{
    for (int k = 0; k < pairs; k += RS_VW) {
        rs_vf a = load_at(x, k, pairs), b = load_at(x + pairs, k, pairs);
        float norms[RS_VW];
        v_store(norms, v_sqrt(v_fma(a, a, b * b)));
        for (int i = 0; i < lanes_at(k, pairs); i++)
            sums[k + i] += (double)norms[i];
    }
}

const rs_elementwise_kernels RS_ELEMENTWISE_NAME = {
    .norm_row = norm_row,
    .glu_row = glu_row,
    .add_row = add_row,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
    .rotate = rotate,
    .head_panel = head_panel,
    .add_pair_norms = add_pair_norms,
    .function = function,
};
