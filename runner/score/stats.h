/* Means, their standard errors, and paired differences. Every sum runs in sample order in fp64 with Neumaier's compensation, so that
 * the same records give the same bits. A standard error is NaN (printed as null) where it has no estimate: fewer than two samples. */
#ifndef RS_SCORE_STATS_H
#define RS_SCORE_STATS_H

#include <stddef.h>

typedef struct rs_estimate {
    double value; /* NaN of no samples */
    double error; /* standard error */
} rs_estimate;

/* A running sum with Neumaier's compensation. Zero-initialise. */
typedef struct rs_sum {
    double total, lost;
} rs_sum;
void rs_sum_add(rs_sum *sum, double x);
double rs_sum_value(const rs_sum *sum);

/* Mean of x[0..n); error s / sqrt(n), s the sample standard deviation (n - 1). */
rs_estimate rs_stats_mean(const double *x, size_t n);

/* R = sum y / sum w (nll per token: y nll of a sample, w its tokens), with the delta method's error over samples as clusters:
 * sqrt(n / (n - 1) * sum (y - R w)^2) / sum w. */
rs_estimate rs_stats_ratio(const double *y, const double *w, size_t n);

/* exp of an estimate, error by the delta method: perplexity from nll per token. */
rs_estimate rs_stats_exp(rs_estimate x);

/* Mean of a[i] - b[i] and its error: what two points' scores on common samples say. */
rs_estimate rs_stats_paired_mean(const double *a, const double *b, size_t n);

/* Difference of ratios ya/wa - yb/wb over common samples, linearised: each sample contributes
 * (ya - Ra wa) / mean(wa) - (yb - Rb wb) / mean(wb); the error is that of their mean. */
rs_estimate rs_stats_paired_ratio(const double *ya, const double *wa, const double *yb, const double *wb, size_t n);

/* exp(Ra) - exp(Rb), perplexities: each sample adds its part of both ratios' linear forms, so that what moves both cancels. */
rs_estimate rs_stats_paired_exp_ratio(const double *ya, const double *wa, const double *yb, const double *wb, size_t n);

#endif
