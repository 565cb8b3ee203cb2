/* Weights of one row for the policies that must see all its logits, top-k and entmax: the general case, in plain scalar code. The common
 * one is sparse_kernel.h's. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

/* An unsigned integer in the order of the floats; -0 equals 0, NaN comes after all. */
static uint32_t order_of(float x)
{
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return UINT32_MAX;
    return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}

/* The k-th largest order (k >= 1, k <= n), by radix selection; *n_above: how many are larger. */
static uint32_t kth_largest(const float *z, int64_t n, int64_t k, int64_t *n_above)
{
    uint32_t prefix = 0, mask = 0;
    *n_above = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        int64_t count[256] = {0};
        for (int64_t j = 0; j < n; j++) {
            uint32_t order = order_of(z[j]);
            if ((order & mask) == prefix)
                count[order >> shift & 0xff]++;
        }
        uint32_t digit = 255;
        for (; *n_above + count[digit] < k; digit--)
            *n_above += count[digit];
        prefix |= digit << shift;
        mask |= 0xffU << shift;
    }
    return prefix;
}

/* Softmax over the k largest keys; of equals at the k-th place the earlier keys win. The sink is not counted among the k. */
static float top_k_weights(const rs_softmax *softmax, float *z, int64_t n)
{
    int64_t k = softmax->k < n ? softmax->k : n, n_above = 0;
    uint32_t last = kth_largest(z, n, k, &n_above);
    int64_t equals_left = k - n_above;
    float sink = softmax->has_sink ? (float)(softmax->sink / log(2.0)) : -INFINITY, max = sink;
    for (int64_t j = 0; j < n; j++)
        if (!(z[j] <= max))
            max = z[j];
    for (int64_t j = 0; j < n; j++) {
        uint32_t order = order_of(z[j]);
        bool taken = order > last || (order == last && equals_left-- > 0);
        z[j] = taken ? exp2f(z[j] - max) : 0.0f;
    }
    return softmax->has_sink ? exp2f(sink - max) : 0.0f;
}

static double entmax_power(double x, double alpha)
{
    return pow(x, 1.0 / (alpha - 1.0));
}

/* tau where sum [x - tau]_+^(1 / (alpha - 1)) over x [n] is 1, by bisection. x is consumed: what falls below the lower end is dropped. */
static double entmax_tau(float *x, int64_t n, double max, double alpha)
{
    double low = max - 1.0, high = max - pow((double)n, 1.0 - alpha);
    for (int step = 0; step < 60 && low < high; step++) {
        double middle = 0.5 * (low + high), sum = 0;
        for (int64_t j = 0; j < n; j++)
            if ((double)x[j] > middle)
                sum += entmax_power((double)x[j] - middle, alpha);
        if (!(sum >= 1.0)) {
            high = middle;
            continue;
        }
        low = middle;
        int64_t kept = 0;
        for (int64_t j = 0; j < n; j++)
            if ((double)x[j] > low)
                x[kept++] = x[j];
        n = kept;
    }
    return 0.5 * (low + high);
}

static float entmax_weights(const rs_softmax *softmax, float *z, int64_t n, float *scratch)
{
    double scale = softmax->alpha - 1.0, max = softmax->has_sink ? softmax->sink * scale : -INFINITY;
    float sink = (float)(softmax->sink * scale);
    for (int64_t j = 0; j < n; j++) {
        z[j] = (float)((double)z[j] * scale);
        if (!((double)z[j] <= max))
            max = (double)z[j];
    }
    memcpy(scratch, z, (size_t)n * sizeof *z);
    scratch[n] = sink;
    double tau = entmax_tau(scratch, n + (softmax->has_sink ? 1 : 0), max, softmax->alpha);
    for (int64_t j = 0; j < n; j++) {
        double above = (double)z[j] - tau;
        z[j] = above <= 0 ? 0.0f : (float)entmax_power(above, softmax->alpha); /* NaN stays NaN */
    }
    return softmax->has_sink && (double)sink > tau ? (float)entmax_power((double)sink - tau, softmax->alpha) : 0.0f;
}

float rs_sparse_weights(const rs_softmax *softmax, float *z, int64_t n, float *scratch)
{
    if (softmax->normalizer == RS_NORMALIZE_TOP_K)
        return top_k_weights(softmax, z, n);
    return entmax_weights(softmax, z, n, scratch);
}
