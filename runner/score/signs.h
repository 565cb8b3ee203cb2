/* The paired randomisation test (Fisher 1935): if two variants did not differ, each sample's difference could as well have the other sign.
 * For scores of 0 and 1 this is McNemar's exact test, which is the sign test on the samples where they differ. */
#ifndef RS_SCORE_SIGNS_H
#define RS_SCORE_SIGNS_H

#include <stddef.h>

/* P(|sum of e[i] x[i]| >= |sum of x[i]|) over independent fair signs e: the two-sided p of differences x[0..n), in (0, 1]. Zeros do not
 * matter; 1 where all are zero, NaN where one is not finite. Exact where the differences are few or whole multiples of a common part (any
 * score that is a share of references found); otherwise by the saddlepoint r* of Barndorff-Nielsen (1986), whose relative error is of order
 * 1 / n. */
double rs_sign_test(const double *x, size_t n);

#endif
