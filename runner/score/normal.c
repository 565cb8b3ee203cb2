#include "score/normal.h"

#include <math.h>

double rs_normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

/* By Newton's steps in the lower half, where the distribution function is exact to the last digits however small it is: starting left of
 * the root, where ln P is concave and rising, they cannot leave its side. */
static double lower_quantile(double p)
{
    double log_p = log(p), x = -sqrt(-2 * log_p);
    for (int step = 0; step < 60; step++) {
        double cdf = rs_normal_cdf(x), density = exp(-0.5 * x * x) * 0.39894228040143267794;
        double next = x - (log(cdf) - log_p) * cdf / density;
        if (fabs(next - x) <= 1e-16 * fabs(x))
            return next;
        x = next;
    }
    return x;
}

double rs_normal_quantile(double p)
{
    if (!(p > 0 && p < 1))
        return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
    if (p == 0.5)
        return 0;
    return p < 0.5 ? lower_quantile(p) : -lower_quantile(1 - p);
}
