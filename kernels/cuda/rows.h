/* What the row-wise kernels share: four values a lane at a time, activations in the model's dtype, e^x.
 *
 * `whole`: rows are multiples of four values and aligned for a vector, so that four values are one access; else they are read one by one,
 * in the same places and so with the same bits. */
#ifndef RS_CUDA_ROWS_H
#define RS_CUDA_ROWS_H

#include <math.h>
#include <stdint.h>

#include "kernels/cuda/simt.h"

struct alignas(16) rs_four {
    float v[4];
};
struct alignas(8) rs_four_bf16 {
    uint32_t pair[2];
};

/* p[i..i + 4), `fill` from n on. */
template <bool whole> RS_DEVICE rs_four rs_load_four(const float *p, int i, int n, float fill)
{
    rs_four x = {{fill, fill, fill, fill}};
    if constexpr (whole) {
        if (i < n)
            x = *(const rs_four *)(p + i);
    } else {
        RS_UNROLL
        for (int k = 0; k < 4; k++)
            if (i + k < n)
                x.v[k] = p[i + k];
    }
    return x;
}
template <bool whole> RS_DEVICE void rs_store_four(float *p, int i, int n, const rs_four &x)
{
    if constexpr (whole) {
        if (i < n)
            *(rs_four *)(p + i) = x;
    } else {
        RS_UNROLL
        for (int k = 0; k < 4; k++)
            if (i + k < n)
                p[i + k] = x.v[k];
    }
}

/* The same of an act row, float or rs_bf16; 0 from n on. */
template <bool whole> RS_DEVICE rs_four rs_load_four_act(const float *p, int i, int n)
{
    return rs_load_four<whole>(p, i, n, 0.0f);
}
template <bool whole> RS_DEVICE rs_four rs_load_four_act(const rs_bf16 *p, int i, int n)
{
    rs_four x = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if constexpr (whole) {
        if (i < n) {
            rs_four_bf16 y = *(const rs_four_bf16 *)(p + i);
            RS_UNROLL
            for (int k = 0; k < 4; k++)
                x.v[k] = rs_from_bf16((rs_bf16)(y.pair[k / 2] >> k % 2 * 16));
        }
    } else {
        RS_UNROLL
        for (int k = 0; k < 4; k++)
            if (i + k < n)
                x.v[k] = rs_from_bf16(p[i + k]);
    }
    return x;
}
template <bool whole> RS_DEVICE void rs_store_four_act(float *p, int i, int n, const rs_four &x)
{
    rs_store_four<whole>(p, i, n, x);
}
template <bool whole> RS_DEVICE void rs_store_four_act(rs_bf16 *p, int i, int n, const rs_four &x)
{
    rs_four_bf16 y = {{rs_pack_bf16(x.v[0], x.v[1]), rs_pack_bf16(x.v[2], x.v[3])}};
    if constexpr (whole) {
        if (i < n)
            *(rs_four_bf16 *)(p + i) = y;
    } else {
        RS_UNROLL
        for (int k = 0; k < 4; k++)
            if (i + k < n)
                p[i + k] = (rs_bf16)(y.pair[k / 2] >> k % 2 * 16);
    }
}

/* e^x within 3 ulp; 0 below -87.3, inf above 88.8; NaN stays. The rounding of x log2 e, which 2^ would multiply by |x|, is put right. */
RS_DEVICE float rs_exp(float x)
{
    const float log2e = 1.44269504f, log2e_rest = 1.92596299e-8f, ln2 = 0.693147181f;
    x = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;
    float power = rs_mul(x, log2e), rest = rs_fma(x, log2e_rest, rs_fma(x, log2e, -power));
    return rs_mul(rs_exp2(power), rs_fma(rest, ln2, 1.0f));
}

/* Sizes of launches, for the host. */
static inline int64_t rs_parts(int64_t n, int64_t part)
{
    return (n + part - 1) / part;
}
static inline bool rs_is_whole(const void *a, const void *b, const void *c, int64_t n)
{
    return (uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0 && (uintptr_t)c % 16 == 0 && n % 4 == 0;
}

#endif
