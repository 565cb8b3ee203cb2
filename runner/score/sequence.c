#include "score/sequence.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

/* A bet never risks more than this share of its capital, and wins when it has made 2 / 0.05 of it: half of 5 % for each side. */
static const double greatest_risk = 0.75, won = 40;

/* Bets on x in [0, 1], each chosen before its sample is seen: gap / variance, which grows fastest against a value one gap away from the
 * mean. The variance begins as the largest there is, with the weight of one sample. */
static void place_bets(const double *x, int64_t n, double gap, double *bets)
{
    double sum = 0.5, squares = 0.25;
    for (int64_t t = 0; t < n; t++) {
        double samples = (double)(t + 1);
        bets[t] = gap / (squares / samples);
        sum += x[t];
        double off = x[t] - sum / (samples + 1);
        squares += off * off;
    }
}

/* Whether the bets that the mean is above m win. */
static bool wins(const double *x, const double *bets, int64_t n, double m)
{
    double capital = 1, most = greatest_risk / m;
    for (int64_t t = 0; t < n && capital > 1e-200; t++) {
        capital *= 1 + fmin(bets[t], most) * (x[t] - m);
        if (capital >= won)
            return true;
    }
    return false;
}

/* The least mean that the bets do not rule out: they win against each smaller one. */
static double lower_end(const double *x, const double *bets, int64_t n)
{
    double low = 0, high = 1;
    for (int step = 0; step < 40; step++) {
        double middle = 0.5 * (low + high);
        *(wins(x, bets, n, middle) ? &low : &high) = middle;
    }
    return low;
}

rs_interval rs_sequence_interval(const double *d, int64_t n, double width)
{
    double *x = rs_alloc((size_t)n * 2, sizeof *x), *bets = x + n;
    for (int64_t t = 0; t < n; t++)
        x[t] = 0.5 + 0.5 * d[t];
    place_bets(x, n, width / 4, bets);
    double low = 2 * lower_end(x, bets, n) - 1;
    for (int64_t t = 0; t < n; t++)
        x[t] = 0.5 - 0.5 * d[t]; /* the same bets on the mirror image */
    double high = 1 - 2 * lower_end(x, bets, n);
    free(x);
    return (rs_interval){low, high};
}

int64_t rs_sequence_look(int64_t n, int64_t least, int64_t most)
{
    int64_t next = n == 0 ? least : n + (n + 1) / 2;
    return next < most ? next : most;
}

int64_t rs_sequence_settle(const double *a, const double *b, int64_t n, double width, int64_t least, int64_t most)
{
    double *d = rs_alloc((size_t)n, sizeof *d);
    int64_t look = 0, settled = -1;
    for (int64_t i = 0; i < n; i++)
        d[i] = a[i] - b[i];
    while (settled < 0 && (look = rs_sequence_look(look, least, most)) <= n) {
        rs_interval interval = rs_sequence_interval(d, look, width);
        if (look == most || interval.high - interval.low <= width)
            settled = look;
    }
    free(d);
    return settled;
}
