#include "score/signs.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "score/normal.h"
#include "score/stats.h"

enum {
    MAX_LISTED = 24,     /* so few differences: all sign patterns are listed */
    MAX_PARTS = 60,      /* the greatest denominator that is looked for, of scores that are shares */
    MAX_TABLE = 1 << 24, /* additions that a table of a sum's distribution may cost */
};
static const double SAME = 1e-9; /* relative: sums of fractions that are the same number, rounded on different ways */

/* The differences that are not zero, as magnitudes, and their sum. */
typedef struct magnitudes {
    double *x;
    size_t n;
    double sum, total; /* of the signed ones, without its sign; of the magnitudes */
} magnitudes;

static magnitudes gather(const double *x, size_t n)
{
    magnitudes m = {.x = rs_alloc(n, sizeof *m.x)};
    rs_sum sum = {0}, total = {0};
    for (size_t i = 0; i < n; i++) {
        if (x[i] == 0)
            continue;
        m.x[m.n++] = fabs(x[i]);
        rs_sum_add(&sum, x[i]);
        rs_sum_add(&total, fabs(x[i]));
    }
    m.sum = fabs(rs_sum_value(&sum));
    m.total = rs_sum_value(&total);
    return m;
}

/* --- all patterns --- */

/* The sums that x[0..n) have under all patterns of signs; out: [2^n]. */
static void list_sums(const double *x, size_t n, double *out)
{
    out[0] = 0;
    for (size_t i = 0, size = 1; i < n; i++, size *= 2)
        for (size_t k = 0; k < size; k++) {
            out[size + k] = out[k] - x[i];
            out[k] += x[i];
        }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Every sum is one of the first half's plus one of the second's: with both in order, the pairs that reach far enough are counted in one
 * walk. */
static double listed(const magnitudes *m)
{
    size_t half = m->n / 2, n_first = (size_t)1 << half, n_second = (size_t)1 << (m->n - half), reached = 0, k = n_second;
    double *first = rs_alloc(n_first + n_second, sizeof *first), *second = first + n_first, least = m->sum - SAME * m->total;
    list_sums(m->x, half, first);
    list_sums(m->x + half, m->n - half, second);
    qsort(first, n_first, sizeof *first, by_value);
    qsort(second, n_second, sizeof *second, by_value);
    for (size_t i = 0; i < n_first; i++) {
        while (k > 0 && first[i] + second[k - 1] >= least)
            k--;
        reached += n_second - k;
    }
    free(first);
    return 2 * (double)reached / ((double)n_first * (double)n_second);
}

/* --- whole multiples of a part --- */

/* The magnitudes as multiples of the greatest part that they share; returns whether there is one. */
static bool find_parts(const magnitudes *m, int *multiples)
{
    double least = m->x[0];
    for (size_t i = 1; i < m->n; i++)
        least = fmin(least, m->x[i]);
    for (int parts = 1; parts <= MAX_PARTS; parts++) {
        size_t i = 0;
        for (; i < m->n; i++) {
            double ratio = m->x[i] / least * parts, whole = nearbyint(ratio);
            if (fabs(ratio - whole) > SAME * ratio || whole > MAX_TABLE)
                break;
            multiples[i] = (int)whole;
        }
        if (i == m->n)
            return true;
    }
    return false;
}

/* P(2 X - n >= 2 k - n) for X of n fair coins, from the far end inwards, so that small tails keep their digits. */
static double coins(size_t n, size_t k)
{
    double log_term = lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) - (double)n * 0.69314718055994530942;
    double tail = 0, term = 1; /* relative to the largest term, that of k */
    for (size_t j = k;; j++) {
        tail += term;
        if (j == n || term < tail * DBL_EPSILON / 4)
            return tail * exp(log_term);
        term *= (double)(n - j) / (double)(j + 1);
    }
}

/* P(sum of signed multiples >= sum): the distribution of the number of parts with a plus, added sample by sample. */
static double tabled(const int *multiples, size_t n, int64_t total, int64_t sum)
{
    double *p = rs_alloc((size_t)total + 1, sizeof *p), *next = rs_alloc((size_t)total + 1, sizeof *next), tail = 0;
    int64_t reach = 0;
    p[0] = 1;
    for (size_t i = 0; i < n; i++) {
        int64_t step = multiples[i];
        for (int64_t j = 0; j <= reach; j++)
            next[j] = 0.5 * p[j];
        memset(next + reach + 1, 0, (size_t)step * sizeof *next);
        for (int64_t j = 0; j <= reach; j++)
            next[j + step] += 0.5 * p[j];
        reach += step;
        double *swap = p;
        p = next;
        next = swap;
    }
    for (int64_t j = total; 2 * j - total >= sum; j--)
        tail += p[j];
    free(p);
    free(next);
    return tail;
}

/* NaN where there is no common part, or where the table would be too large. */
static double in_parts(const magnitudes *m)
{
    int *multiples = rs_alloc(m->n, sizeof *multiples);
    int64_t total = 0;
    double p = NAN;
    bool found = find_parts(m, multiples), equal = found;
    for (size_t i = 0; found && i < m->n; i++) {
        total += multiples[i];
        equal = equal && multiples[i] == multiples[0];
    }
    int64_t sum = found ? (int64_t)nearbyint(m->sum / m->total * (double)total) : 0;
    if (equal)
        p = 2 * coins(m->n, (m->n + (size_t)(sum / multiples[0])) / 2);
    else if (found && total < MAX_TABLE / (int64_t)m->n)
        p = 2 * tabled(multiples, m->n, total, sum);
    free(multiples);
    return p;
}

/* --- saddlepoint --- */

/* The first two derivatives of the sum's cumulant function K(t) = sum ln cosh(t x). */
static void derive(const magnitudes *m, double t, double *first, double *second)
{
    rs_sum slope = {0}, curve = {0};
    for (size_t i = 0; i < m->n; i++) {
        double x = m->x[i], h = tanh(t * x);
        rs_sum_add(&slope, x * h);
        rs_sum_add(&curve, x * x * (1 - h * h));
    }
    *first = rs_sum_value(&slope);
    *second = rs_sum_value(&curve);
}

/* The t with K'(t) = sum, by Newton's steps inside a bracket. */
static double saddle(const magnitudes *m, double *second)
{
    double low = 0, high = INFINITY, t = 0, first;
    for (int step = 0; step < 200; step++) {
        derive(m, t, &first, second);
        double off = first - m->sum;
        if (fabs(off) <= 1e-13 * m->total)
            break;
        *(off < 0 ? &low : &high) = t;
        t -= off / *second;
        if (!(t > low && t < high))
            t = isinf(high) ? 2 * low + 1 / m->total : 0.5 * (low + high);
    }
    return t;
}

static double saddlepoint(const magnitudes *m)
{
    double second, t = saddle(m, &second);
    rs_sum k = {0};
    for (size_t i = 0; i < m->n; i++)
        rs_sum_add(&k, t * m->x[i] + log1p(exp(-2 * t * m->x[i])) - 0.69314718055994530942);
    double gain = t * m->sum - rs_sum_value(&k);
    if (!(gain > 1e-9)) /* at the middle of the distribution: nothing is more usual */
        return 1;
    double w = sqrt(2 * gain), u = t * sqrt(second);
    return 2 * rs_normal_cdf(-(w + log(u / w) / w));
}

double rs_sign_test(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return NAN;
    magnitudes m = gather(x, n);
    double p = 1;
    if (m.n > 0 && m.n <= MAX_LISTED)
        p = listed(&m);
    else if (m.n > 0) {
        p = in_parts(&m);
        if (isnan(p))
            p = m.sum >= m.total * (1 - SAME) ? exp2(1 - (double)m.n) : saddlepoint(&m);
    }
    free(m.x);
    return fmax(fmin(p, 1), DBL_MIN);
}
