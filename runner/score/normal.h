/* The standard normal distribution in fp64. */
#ifndef RS_SCORE_NORMAL_H
#define RS_SCORE_NORMAL_H

/* P(Z <= x), with full relative accuracy in the lower tail. */
double rs_normal_cdf(double x);
/* The x with P(Z <= x) = p; -inf and inf for 0 and 1. */
double rs_normal_quantile(double p);

#endif
