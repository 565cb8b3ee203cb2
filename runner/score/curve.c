#include "score/curve.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "score/resample.h"

/* How many lengths long the curve reaches: 0 for none. What equals the threshold on paper counts. */
static size_t reach(const double *curve, size_t n, double threshold, bool relative)
{
    size_t longest = 0;
    if (relative && !(curve[0] > 0))
        return 0;
    for (size_t k = 0; k < n; k++)
        if (curve[k] >= (relative ? threshold * curve[0] : threshold) - 1e-12)
            longest = k + 1;
    return longest;
}

/* The least reach that at least this share of the resampled curves does not exceed. */
static size_t percentile(const size_t *counts, double share)
{
    size_t k = 0, sum = counts[0];
    while ((double)sum < share * RS_RESAMPLES)
        sum += counts[++k];
    return k;
}

rs_reach rs_curve_reach(const int64_t *lengths, const double *values, const double *const *replicates, size_t n, double threshold,
                        bool relative)
{
    size_t *counts = rs_alloc(n + 1, sizeof *counts);
    double *curve = rs_alloc(n, sizeof *curve);
    for (size_t b = 0; b < RS_RESAMPLES; b++) {
        for (size_t k = 0; k < n; k++)
            curve[k] = replicates[k][b];
        counts[reach(curve, n, threshold, relative)]++;
    }
    size_t at[3] = {reach(values, n, threshold, relative), percentile(counts, 0.025), percentile(counts, 0.975)};
    int64_t found[3];
    for (int i = 0; i < 3; i++)
        found[i] = at[i] > 0 ? lengths[at[i] - 1] : 0;
    free(counts);
    free(curve);
    return (rs_reach){found[0], found[1], found[2]};
}

void rs_curve_weights(const int64_t *lengths, size_t n, double *weights)
{
    for (size_t i = 0; i < n; i++) {
        double left = log2((double)lengths[i > 0 ? i - 1 : 0]), right = log2((double)lengths[i + 1 < n ? i + 1 : n - 1]);
        weights[i] = n < 2 ? NAN : 0.5 * (right - left) / log2((double)lengths[n - 1] / (double)lengths[0]);
    }
}
