/* How a score falls with length: a curve of one value at each of several lengths, in rising order. */
#ifndef RS_SCORE_CURVE_H
#define RS_SCORE_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rs_reach {
    int64_t length, low, high; /* 0: none. low, high: 95 % by percentiles of the resampled curves */
} rs_reach;

/* The longest length whose value is at least `threshold`: RULER's effective length. relative: at least that share of the value at the
 * shortest length, which must be above 0: NoLiMa's. lengths, values: [n]; replicates: [n] of [RS_RESAMPLES]. */
rs_reach rs_curve_reach(const int64_t *lengths, const double *values, const double *const *replicates, size_t n, double threshold,
                        bool relative);

/* Weights with which the values add up to the area under the curve over log2 of the length (trapezoids), over its width: a mean in which a
 * doubling counts as a doubling. NaN for fewer than two lengths. */
void rs_curve_weights(const int64_t *lengths, size_t n, double *weights);

#endif
