/* Vectors of floats for the kernels that are compiled once an instruction set: the including file's -m flags choose the width.
 * RS_VW lanes: 16 (AVX-512), 8 (AVX2 with FMA) or 4 (plain C with vector extensions). The mathematical functions state their error,
 * which tests/test_cpu_elementwise.c measures against fp64 over their range. */
#ifndef RS_CPU_SIMD_H
#define RS_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define RS_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define RS_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RS_UNROLL _Pragma("GCC unroll 16")
#endif

#define RS_LOG2E 1.44269504088896341f
#define RS_LN2 0.693147180559945309f

#if defined(__AVX512F__)

#define RS_VW 16
typedef __m512 rs_vf;

RS_INLINE rs_vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
RS_INLINE void v_store(float *p, rs_vf a)
{
    _mm512_storeu_ps(p, a);
}
RS_INLINE rs_vf v_set(float a)
{
    return _mm512_set1_ps(a);
}
RS_INLINE rs_vf v_fma(rs_vf a, rs_vf b, rs_vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* The second operand where either is NaN. */
RS_INLINE rs_vf v_max(rs_vf a, rs_vf b)
{
    return _mm512_max_ps(a, b);
}
RS_INLINE rs_vf v_min(rs_vf a, rs_vf b)
{
    return _mm512_min_ps(a, b);
}
RS_INLINE rs_vf v_round(rs_vf a)
{
/* Without optimisation gcc 12 makes this intrinsic a macro that converts -1 to a mask: its warning, not ours. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#pragma GCC diagnostic pop
}
RS_INLINE rs_vf v_abs(rs_vf a)
{
    return _mm512_abs_ps(a);
}
RS_INLINE rs_vf v_sqrt(rs_vf a)
{
    return _mm512_sqrt_ps(a);
}
/* a * 2^n for integral n; zero, subnormal and infinite results right. */
RS_INLINE rs_vf v_scale(rs_vf a, rs_vf n)
{
    return _mm512_scalef_ps(a, n);
}
/* a < b ? x : y */
RS_INLINE rs_vf v_select_less(rs_vf a, rs_vf b, rs_vf x, rs_vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
RS_INLINE float v_hmax(rs_vf a)
{
    return _mm512_reduce_max_ps(a);
}
/* Sum over lanes: halves, quarters, ... added pairwise. */
RS_INLINE float v_hsum(rs_vf a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
/* Lanes low <= i < high of a, y in the others. */
RS_INLINE rs_vf v_between(rs_vf a, int64_t low, int64_t high, rs_vf y)
{
    uint32_t below = high <= 0 ? 0 : high >= 16 ? 0xffff : (1U << high) - 1;
    uint32_t under = low <= 0 ? 0 : low >= 16 ? 0xffff : (1U << low) - 1;
    return _mm512_mask_blend_ps((__mmask16)(below & ~under), y, a);
}
RS_INLINE rs_vf v_iota(void)
{
    return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}
RS_INLINE rs_vf v_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}
/* To nearest even; NaN stays NaN. */
RS_INLINE void v_store_bf16(uint16_t *p, rs_vf a)
{
    __m512i bits = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    __m512i nan = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), nan);
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(rounded));
}

#elif defined(__AVX2__)

#define RS_VW 8
typedef __m256 rs_vf;

RS_INLINE rs_vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
RS_INLINE void v_store(float *p, rs_vf a)
{
    _mm256_storeu_ps(p, a);
}
RS_INLINE rs_vf v_set(float a)
{
    return _mm256_set1_ps(a);
}
RS_INLINE rs_vf v_fma(rs_vf a, rs_vf b, rs_vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
RS_INLINE rs_vf v_max(rs_vf a, rs_vf b)
{
    return _mm256_max_ps(a, b);
}
RS_INLINE rs_vf v_min(rs_vf a, rs_vf b)
{
    return _mm256_min_ps(a, b);
}
RS_INLINE rs_vf v_round(rs_vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
RS_INLINE rs_vf v_abs(rs_vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
RS_INLINE rs_vf v_sqrt(rs_vf a)
{
    return _mm256_sqrt_ps(a);
}
RS_INLINE rs_vf v_scale(rs_vf a, rs_vf n)
{
    /* In two steps: 2^n itself may be no float. */
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i bias = _mm256_set1_epi32(127);
    rs_vf first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    rs_vf second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(a, first), second);
}
RS_INLINE rs_vf v_select_less(rs_vf a, rs_vf b, rs_vf x, rs_vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
RS_INLINE float v_hmax(rs_vf a)
{
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
RS_INLINE float v_hsum(rs_vf a)
{
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
RS_INLINE rs_vf v_iota(void)
{
    return _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0);
}
RS_INLINE rs_vf v_between(rs_vf a, int64_t low, int64_t high, rs_vf y)
{
    int from = low <= 0 ? 0 : low >= 8 ? 8 : (int)low, to = high <= 0 ? 0 : high >= 8 ? 8 : (int)high;
    __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    __m256i in = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(from), lane), _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane));
    return _mm256_blendv_ps(y, a, _mm256_castsi256_ps(in));
}
RS_INLINE rs_vf v_load_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}
RS_INLINE void v_store_bf16(uint16_t *p, rs_vf a)
{
    __m256i bits = _mm256_castps_si256(a);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i nan = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    rounded = _mm256_blendv_epi8(rounded, nan, _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0x08);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(packed));
}

#else

#define RS_VW 4
typedef float rs_vf __attribute__((vector_size(16)));
typedef int32_t rs_vi __attribute__((vector_size(16)));

RS_INLINE rs_vf v_load(const float *p)
{
    rs_vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
RS_INLINE void v_store(float *p, rs_vf a)
{
    memcpy(p, &a, sizeof a);
}
RS_INLINE rs_vf v_set(float a)
{
    return (rs_vf){a, a, a, a};
}
RS_INLINE rs_vf v_fma(rs_vf a, rs_vf b, rs_vf c)
{
    return a * b + c;
}
RS_INLINE rs_vf v_choose(rs_vi mask, rs_vf x, rs_vf y)
{
    return (rs_vf)((mask & (rs_vi)x) | (~mask & (rs_vi)y));
}
RS_INLINE rs_vf v_max(rs_vf a, rs_vf b)
{
    return v_choose(a > b, a, b);
}
RS_INLINE rs_vf v_min(rs_vf a, rs_vf b)
{
    return v_choose(a < b, a, b);
}
/* To nearest even, for |a| < 2^22: adding 1.5 * 2^23 leaves no fraction bits. */
RS_INLINE rs_vf v_round(rs_vf a)
{
    rs_vf magic = v_set(12582912.0f);
    return (a + magic) - magic;
}
RS_INLINE rs_vf v_abs(rs_vf a)
{
    return (rs_vf)((rs_vi)a & 0x7fffffff);
}
RS_INLINE rs_vf v_sqrt(rs_vf a)
{
    return (rs_vf){__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
RS_INLINE rs_vf v_scale(rs_vf a, rs_vf n)
{
    /* The integer is read off the low mantissa bits of n + 1.5 * 2^23: defined for NaN too, unlike a conversion. */
    rs_vi whole = (rs_vi)(n + v_set(12582912.0f)) - 0x4b400000, half = whole >> 1;
    rs_vf first = (rs_vf)((half + 127) << 23), second = (rs_vf)((whole - half + 127) << 23);
    return a * first * second;
}
RS_INLINE rs_vf v_select_less(rs_vf a, rs_vf b, rs_vf x, rs_vf y)
{
    return v_choose(a < b, x, y);
}
RS_INLINE float v_hmax(rs_vf a)
{
    float x = a[0] > a[2] ? a[0] : a[2], y = a[1] > a[3] ? a[1] : a[3];
    return x > y ? x : y;
}
RS_INLINE float v_hsum(rs_vf a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}
RS_INLINE rs_vf v_iota(void)
{
    return (rs_vf){0, 1, 2, 3};
}
RS_INLINE rs_vf v_between(rs_vf a, int64_t low, int64_t high, rs_vf y)
{
    int from = low <= 0 ? 0 : low >= 4 ? 4 : (int)low, to = high <= 0 ? 0 : high >= 4 ? 4 : (int)high;
    rs_vi lane = {0, 1, 2, 3};
    return v_choose((lane >= from) & (lane < to), a, y);
}
RS_INLINE rs_vf v_load_bf16(const uint16_t *p)
{
    typedef uint32_t rs_vu __attribute__((vector_size(16)));
    rs_vu bits = {p[0], p[1], p[2], p[3]};
    return (rs_vf)(bits << 16);
}
RS_INLINE void v_store_bf16(uint16_t *p, rs_vf a)
{
    for (int i = 0; i < 4; i++) {
        float x = a[i];
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        p[i] = (uint16_t)(x != x ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

#endif

/* 2^x for the weights of attention, x <= about 1 (bounded by the caller; +inf gives inf or NaN). Exactly 0 below -126 - or, in AVX-512,
 * below -150 - and at -inf; NaN stays. The fraction f = x - floor(x) enters a minimax polynomial that is 1 at f = 0.
 * `precise`: degree 6, relative error below 1.5e-7. Else degree 4, below 8e-6: a 250th of what rounding to bf16 adds. */
RS_INLINE rs_vf v_exp2(rs_vf x, int precise)
{
#if RS_VW == 16
    rs_vf f = _mm512_reduce_ps(x, 1); /* x - floor(x); 0 for infinities */
#else
    rs_vf clamped = v_max(v_set(-126.0f), x);
    rs_vf n = v_round(clamped - v_set(0.5f)), f = clamped - n; /* f in [0, 1], n the floor up to ties, where f is 0 or 1 */
#endif
    rs_vf p;
    if (precise) {
        p = v_fma(v_set(2.081791504e-04f), f, v_set(1.269216607e-03f));
        p = v_fma(p, f, v_set(9.652195056e-03f));
        p = v_fma(p, f, v_set(5.549602356e-02f));
        p = v_fma(p, f, v_set(2.402272042e-01f));
        p = v_fma(p, f, v_set(6.931471709e-01f));
        p = v_fma(p, f, v_set(1.0f));
    } else {
        p = v_fma(v_set(1.276311389e-02f), f, v_set(5.344102927e-02f));
        p = v_fma(p, f, v_set(2.406470481e-01f));
        p = v_fma(p, f, v_set(6.931339926e-01f));
        p = v_fma(p, f, v_set(1.0f));
    }
#if RS_VW == 16
    return _mm512_scalef_ps(p, x); /* takes floor(x) itself */
#else
    return v_select_less(x, v_set(-126.0f), v_set(0.0f), v_scale(p, n));
#endif
}

/* e^x, relative error below 1.3 ulp where the result is normal; 0 below -104, inf above 89; NaN stays. */
RS_INLINE rs_vf v_exp(rs_vf x)
{
    rs_vf c = v_min(v_set(89.0f), v_max(v_set(-104.0f), x));
    rs_vf n = v_round(c * v_set(RS_LOG2E));
    rs_vf r = v_fma(n, v_set(-0.693145752f), c); /* ln 2 in two parts; n times the first is exact */
    r = v_fma(n, v_set(-1.42860677e-06f), r);
    rs_vf p = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + v_set(1.0f);
    return v_scale(p, n);
}

/* tanh x, relative error below 4 ulp; odd polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel. */
RS_INLINE rs_vf v_tanh(rs_vf x)
{
    rs_vf a = v_abs(x), s = x * x;
    rs_vf p = v_fma(v_set(-5.70498872745e-3f), s, v_set(2.06390887954e-2f));
    p = v_fma(p, s, v_set(-5.37397155531e-2f));
    p = v_fma(p, s, v_set(1.33314422036e-1f));
    p = v_fma(p, s, v_set(-3.33332819422e-1f));
    rs_vf small = v_fma(p * s, x, x);
    rs_vf big = v_set(1.0f) - v_set(2.0f) / (v_exp(a + a) + v_set(1.0f));
    big = v_select_less(x, v_set(0.0f), v_set(0.0f) - big, big);
    return v_select_less(a, v_set(0.625f), small, big);
}

/* Reads and writes of the first n (< RS_VW) lanes only; absent lanes read as 0. */
RS_INLINE rs_vf v_load_part(const float *p, int64_t n)
{
    float lanes[RS_VW] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return v_load(lanes);
}
RS_INLINE void v_store_part(float *p, rs_vf a, int64_t n)
{
    float lanes[RS_VW];
    v_store(lanes, a);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}

#endif
