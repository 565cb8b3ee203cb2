#include "score/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

void rs_sum_add(rs_sum *sum, double x)
{
    double total = sum->total + x;
    if (!isfinite(total)) {
        sum->total = total;
        sum->lost = 0; /* inf - inf would turn an infinite sum into NaN */
        return;
    }
    if (fabs(sum->total) >= fabs(x))
        sum->lost += (sum->total - total) + x;
    else
        sum->lost += (x - total) + sum->total;
    sum->total = total;
}

double rs_sum_value(const rs_sum *sum)
{
    return sum->total + sum->lost;
}

static double sum_of(const double *x, size_t n)
{
    rs_sum sum = {0};
    for (size_t i = 0; i < n; i++)
        rs_sum_add(&sum, x[i]);
    return rs_sum_value(&sum);
}

/* Standard error of a mean of n numbers from the sum of their squared deviations. */
static double error_of_mean(double squares, size_t n)
{
    return n < 2 ? NAN : sqrt(squares / (double)(n - 1) / (double)n);
}

rs_estimate rs_stats_mean(const double *x, size_t n)
{
    double mean = n == 0 ? NAN : sum_of(x, n) / (double)n;
    rs_sum squares = {0};
    for (size_t i = 0; i < n; i++)
        rs_sum_add(&squares, (x[i] - mean) * (x[i] - mean));
    return (rs_estimate){mean, error_of_mean(rs_sum_value(&squares), n)};
}

rs_estimate rs_stats_ratio(const double *y, const double *w, size_t n)
{
    double weight = sum_of(w, n), ratio = n == 0 ? NAN : sum_of(y, n) / weight, mean_weight = weight / (double)n;
    rs_sum squares = {0};
    for (size_t i = 0; i < n; i++) {
        double d = (y[i] - ratio * w[i]) / mean_weight;
        rs_sum_add(&squares, d * d);
    }
    return (rs_estimate){ratio, error_of_mean(rs_sum_value(&squares), n)};
}

rs_estimate rs_stats_exp(rs_estimate x)
{
    double value = exp(x.value);
    return (rs_estimate){value, value * x.error};
}

rs_estimate rs_stats_paired_mean(const double *a, const double *b, size_t n)
{
    rs_sum sum = {0}, squares = {0};
    for (size_t i = 0; i < n; i++)
        rs_sum_add(&sum, a[i] - b[i]);
    double mean = n == 0 ? NAN : rs_sum_value(&sum) / (double)n;
    for (size_t i = 0; i < n; i++)
        rs_sum_add(&squares, (a[i] - b[i] - mean) * (a[i] - b[i] - mean));
    return (rs_estimate){mean, error_of_mean(rs_sum_value(&squares), n)};
}

rs_estimate rs_stats_paired_ratio(const double *ya, const double *wa, const double *yb, const double *wb, size_t n)
{
    double weight_a = sum_of(wa, n), weight_b = sum_of(wb, n);
    double ratio_a = n == 0 ? NAN : sum_of(ya, n) / weight_a, ratio_b = n == 0 ? NAN : sum_of(yb, n) / weight_b;
    rs_sum squares = {0};
    for (size_t i = 0; i < n; i++) {
        double d = ((ya[i] - ratio_a * wa[i]) / weight_a - (yb[i] - ratio_b * wb[i]) / weight_b) * (double)n;
        rs_sum_add(&squares, d * d);
    }
    return (rs_estimate){ratio_a - ratio_b, error_of_mean(rs_sum_value(&squares), n)};
}

rs_estimate rs_stats_paired_exp_ratio(const double *ya, const double *wa, const double *yb, const double *wb, size_t n)
{
    rs_estimate a = rs_stats_ratio(ya, wa, n), b = rs_stats_ratio(yb, wb, n);
    double mean_a = rs_stats_mean(wa, n).value, mean_b = rs_stats_mean(wb, n).value;
    double *parts = rs_alloc(n, sizeof *parts);
    for (size_t i = 0; i < n; i++)
        parts[i] = exp(a.value) * (ya[i] - a.value * wa[i]) / mean_a - exp(b.value) * (yb[i] - b.value * wb[i]) / mean_b;
    rs_estimate difference = {.value = exp(a.value) - exp(b.value), .error = rs_stats_mean(parts, n).error};
    free(parts);
    return difference;
}
