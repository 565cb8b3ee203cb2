/* What a difference between two variants is worth. docs/statistics.md has the formulas and when not to trust them. */
#ifndef RS_SCORE_EVIDENCE_H
#define RS_SCORE_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "score/resample.h"
#include "score/stats.h"

/* Beside a paired difference. NaN where a number has no estimate. */
typedef struct rs_evidence {
    rs_interval interval;  /* 95 % */
    double p, p_holm;      /* two-sided; p_holm: adjusted for the family of comparisons it stands in */
    double effect;         /* Cohen's d_z: the difference in standard deviations of the samples' differences */
    double odds;           /* 0/1 scores: samples that only the variant solves, to one that only the baseline solves */
    double mde;            /* the difference that so many samples would find in 4 of 5 runs, at 5 % */
    int64_t n;             /* samples compared */
    int64_t higher, lower; /* of these: on which the variant's score is higher, lower */
} rs_evidence;

/* What one cell (a task at a context) gives to a statistic: the samples that both variants ran, or (yb NULL) those of one. The cell's value
 * is sum ya / sum wa, less sum yb / sum wb. */
typedef struct rs_cell {
    const double *ya, *wa, *yb, *wb; /* [n], by sample; wa, wb NULL: all 1, so that the value is a mean */
    const double *ra, *rb;           /* [RS_RESAMPLES]: the same of each resample */
    size_t n;
    bool exponential;  /* the value is of exp(sum y / sum w): perplexity from nll */
    size_t number;     /* which resamples a sum over cells takes: see RS_CELL_STRIDE */
    double weight;     /* in the sum over cells */
    rs_estimate value; /* set by rs_cell_measure, as is skew */
    rs_skew skew;
} rs_cell;

/* Sets value and skew, once for all sums that the cell will be part of. */
void rs_cell_measure(rs_cell *cell);

/* The weighted sum of measured cells, and all that is known of it. p has no estimate where a cell has one side only, or where two sides
 * weight a sample differently. */
void rs_judge(const rs_cell *cells, size_t n_cells, rs_estimate *value, rs_evidence *evidence);

/* The value alone. */
rs_estimate rs_sum_values(const rs_cell *cells, size_t n_cells);

/* The sum over cells of each resample, as rs_judge takes it; out: [RS_RESAMPLES]. */
void rs_sum_replicates(const rs_cell *cells, size_t n_cells, double *out);

/* Holm's (1979) step-down adjustment of p[0..n) for n comparisons, to *adjusted[i]; NaNs are no part of the family and stay NaN. */
void rs_holm(const double *const *p, double *const *adjusted, size_t n);

/* d_z of a difference with this standard error over n samples. */
double rs_effect_size(rs_estimate difference, int64_t n);

/* (z[0.975] + z[0.8]) * error. bits: 0/1 scores, for which the normal approximation claims too much where few samples differ: at least what
 * McNemar's exact test can find in n samples when they all differ in one direction. NaN where there is no spread to judge by, or (bits) n
 * < 6. */
double rs_detectable(double error, bool bits, int64_t n);

#endif
