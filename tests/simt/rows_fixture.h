/* What the tests of the row-wise CUDA kernels share: numbers, buffers that end where they must, and roundings in closed form. */
#ifndef RS_SIMT_ROWS_FIXTURE_H
#define RS_SIMT_ROWS_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <vector>

extern "C" {
#include <cmocka.h>

#include "base/rng.h"
}

#include "kernels/cuda/kernels.h"

static const double u = 0x1p-24; /* half an ulp of fp32 */
static const float sentinel = 12345.0f;

/* n values that end exactly where the allocation does, `shift` values into it: 0 is aligned for vectors, 1 is not. */
template <class T> struct buffer {
    std::vector<T> all;
    int64_t shift;
    buffer(int64_t n, int64_t by = 0) : all((size_t)(n + by)), shift(by)
    {
    }
    T *data()
    {
        return all.data() + shift;
    }
    T &operator[](int64_t i)
    {
        return all[(size_t)(i + shift)];
    }
};

struct numbers {
    rs_rng rng;
    numbers(const char *name, int64_t a, int64_t b)
    {
        rs_rng_init(&rng, 1, name, (uint64_t)a, (uint64_t)b);
    }
    float normal(double deviation)
    {
        return (float)(deviation * rs_rng_normal(&rng));
    }
    int64_t below(int64_t n)
    {
        return (int64_t)rs_rng_below(&rng, (uint64_t)n);
    }
};

/* To nearest even of 8 significant bits, for normal numbers. */
static inline float to_bf16(float x)
{
    if (x == 0 || !isfinite(x))
        return x;
    int exponent;
    frexpf(x, &exponent);
    float unit = ldexpf(1.0f, exponent - 8);
    return nearbyintf(x / unit) * unit;
}

/* The high half of a float that is a bf16. */
static inline uint16_t bf16_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static inline float bf16_value(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* An act buffer: fp32 or bf16. */
struct act_buffer {
    bool bf16;
    buffer<float> wide;
    buffer<uint16_t> narrow;
    act_buffer(bool is_bf16, int64_t n, int64_t shift = 0) : bf16(is_bf16), wide(is_bf16 ? 0 : n, shift), narrow(is_bf16 ? n : 0, shift)
    {
        for (int64_t i = 0; i < n; i++)
            set(i, sentinel);
    }
    void *data()
    {
        return bf16 ? (void *)narrow.data() : (void *)wide.data();
    }
    void set(int64_t i, float x)
    {
        if (bf16)
            narrow[i] = bf16_bits(to_bf16(x));
        else
            wide[i] = x;
    }
    float at(int64_t i)
    {
        return bf16 ? bf16_value(narrow[i]) : wide[i];
    }
};

/* Whether two floats are the same number, or both NaN. */
static inline bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

#define assert_same(a, b) check_same(a, b, #a, __FILE__, __LINE__)
static inline void check_same(float value, float expected, const char *text, const char *file, int line)
{
    if (same(value, expected))
        return;
    print_error("%s is %.9g, not %.9g\n", text, (double)value, (double)expected);
    _fail(file, line);
}

#define assert_within(a, low, high) check_within((double)(a), (double)(low), (double)(high), #a, __FILE__, __LINE__)
static inline void check_within(double value, double low, double high, const char *text, const char *file, int line)
{
    if (value >= low && value <= high)
        return;
    print_error("%s is %.17g, not from %.17g to %.17g\n", text, value, low, high);
    _fail(file, line);
}

static const int row_counts[] = {1, 3, 17};

#endif
