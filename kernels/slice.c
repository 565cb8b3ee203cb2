#include "kernels/slice.h"

#include <string.h>

#include "base/pulse.h"

static float from_bf16(uint16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static float from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff, word;
    if (exponent == 0) { /* zero or subnormal: mantissa times 2^-24, exact in fp32 */
        float value = (float)mantissa * 0x1p-24f;
        return sign ? -value : value;
    }
    word = sign | (exponent == 31 ? 0xffU : exponent + 112) << 23 | mantissa << 13;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

void rs_slice_row(const rs_slice *slice, int64_t row, float *out)
{
    rs_pulse_tick();
    /* A tensor of a mapped file need not be aligned to its elements. */
    const char *from = (const char *)slice->data + (size_t)(row * slice->stride) * (slice->dtype == RS_F32 ? 4 : 2);
    if (slice->dtype == RS_F32) {
        memcpy(out, from, (size_t)slice->cols * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < slice->cols; i++) {
        uint16_t bits;
        memcpy(&bits, from + 2 * i, sizeof bits);
        out[i] = slice->dtype == RS_BF16 ? from_bf16(bits) : from_f16(bits);
    }
}
