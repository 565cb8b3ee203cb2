#include "score/evidence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "score/normal.h"
#include "score/signs.h"

typedef struct member {
    double p;
    size_t index;
} member;

static int by_p(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

void rs_holm(const double *const *p, double *const *adjusted, size_t n)
{
    member *family = rs_alloc(n, sizeof *family);
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        *adjusted[i] = NAN;
        if (!isnan(*p[i]))
            family[size++] = (member){*p[i], i};
    }
    qsort(family, size, sizeof *family, by_p);
    double least = 0;
    for (size_t i = 0; i < size; i++) {
        least = fmax(least, fmin(1, (double)(size - i) * family[i].p));
        *adjusted[family[i].index] = least;
    }
    free(family);
}

double rs_effect_size(rs_estimate difference, int64_t n)
{
    return difference.error > 0 ? difference.value / (difference.error * sqrt((double)n)) : NAN;
}

/* P(X >= 6), X of n samples that differ with this probability. */
static double reaches_six(double probability, int64_t n)
{
    double less = 0, term = pow(1 - probability, (double)n);
    for (int k = 0; k < 6; k++) {
        less += term;
        term *= (double)(n - k) / (k + 1) * probability / (1 - probability);
    }
    return 1 - less;
}

/* Six samples that differ, all in one direction, are the fewest with a two-sided p below 0.05: 2 / 2^6. */
static double least_of_bits(int64_t n)
{
    double low = 0, high = 1;
    for (int step = 0; step < 60; step++) {
        double middle = 0.5 * (low + high);
        *(reaches_six(middle, n) < 0.8 ? &low : &high) = middle;
    }
    return high;
}

double rs_detectable(double error, bool bits, int64_t n)
{
    static const double z_size = 1.95996398454005424, z_power = 0.84162123357291442;
    double normal = (z_size + z_power) * error;
    if (bits)
        return n < 6 ? NAN : fmax(normal, least_of_bits(n));
    return error > 0 ? normal : NAN;
}

/* --- one cell --- */

/* A side's value with or without one of its samples. */
typedef struct side {
    const double *y, *w;
    double sum, weight;
    bool exponential;
} side;

static double weight_at(const double *w, size_t i)
{
    return w ? w[i] : 1;
}

static side side_of(const double *y, const double *w, size_t n, bool exponential)
{
    rs_sum sum = {0}, weight = {0};
    for (size_t i = 0; y && i < n; i++) {
        rs_sum_add(&sum, y[i]);
        rs_sum_add(&weight, weight_at(w, i));
    }
    return (side){y, w, rs_sum_value(&sum), rs_sum_value(&weight), exponential};
}

static double value_without(const side *s, size_t i)
{
    if (s->y == NULL)
        return 0;
    double ratio = (s->sum - s->y[i]) / (s->weight - weight_at(s->w, i));
    return s->exponential ? exp(ratio) : ratio;
}

/* The jackknife's shares: U = (mean of the values without a sample - the value without i) (n - 1) / n. */
static rs_skew cell_skew(const rs_cell *cell)
{
    side a = side_of(cell->ya, cell->wa, cell->n, cell->exponential), b = side_of(cell->yb, cell->wb, cell->n, cell->exponential);
    double *without = rs_alloc(cell->n, sizeof *without), n = (double)cell->n, mean = 0;
    rs_skew skew = {0};
    for (size_t i = 0; i < cell->n; i++) {
        without[i] = value_without(&a, i) - value_without(&b, i);
        mean += without[i] / n;
    }
    for (size_t i = 0; i < cell->n; i++) {
        double u = (mean - without[i]) * (n - 1) / n;
        skew.squares += u * u;
        skew.cubes += u * u * u;
    }
    free(without);
    return skew;
}

/* By what the two sides are. */
static rs_estimate cell_value(const rs_cell *c)
{
    if (c->yb == NULL) {
        rs_estimate value = c->wa ? rs_stats_ratio(c->ya, c->wa, c->n) : rs_stats_mean(c->ya, c->n);
        return c->exponential ? rs_stats_exp(value) : value;
    }
    if (c->wa == NULL)
        return rs_stats_paired_mean(c->ya, c->yb, c->n);
    return c->exponential ? rs_stats_paired_exp_ratio(c->ya, c->wa, c->yb, c->wb, c->n)
                          : rs_stats_paired_ratio(c->ya, c->wa, c->yb, c->wb, c->n);
}

void rs_cell_measure(rs_cell *cell)
{
    cell->value = cell_value(cell);
    cell->skew = cell_skew(cell);
}

/* --- sums over cells --- */

rs_estimate rs_sum_values(const rs_cell *cells, size_t n_cells)
{
    rs_sum sum = {0}, squares = {0};
    for (size_t k = 0; k < n_cells; k++) {
        double error = cells[k].weight * cells[k].value.error;
        rs_sum_add(&sum, cells[k].weight * cells[k].value.value);
        rs_sum_add(&squares, error * error);
    }
    return (rs_estimate){rs_sum_value(&sum), n_cells > 0 ? sqrt(rs_sum_value(&squares)) : NAN};
}

static rs_skew sum_skew(const rs_cell *cells, size_t n_cells)
{
    rs_skew skew = {0};
    for (size_t k = 0; k < n_cells; k++) {
        double w = cells[k].weight;
        skew.squares += w * w * cells[k].skew.squares;
        skew.cubes += w * w * w * cells[k].skew.cubes;
    }
    return skew;
}

void rs_sum_replicates(const rs_cell *cells, size_t n_cells, double *out)
{
    memset(out, 0, RS_RESAMPLES * sizeof *out);
    for (size_t k = 0; k < n_cells; k++) {
        const rs_cell *c = &cells[k];
        size_t at = c->number % RS_RESAMPLES * RS_CELL_STRIDE % RS_RESAMPLES;
        for (size_t b = 0; b < RS_RESAMPLES; b++, at = at + 1 == RS_RESAMPLES ? 0 : at + 1) {
            double ra = c->exponential ? exp(c->ra[at]) : c->ra[at];
            double rb = c->rb == NULL ? 0 : c->exponential ? exp(c->rb[at]) : c->rb[at];
            out[b] += c->weight * (ra - rb);
        }
    }
}

/* Each sample's share in the value, which has the other sign if its two scores change sides. False where they would not only change sides.
 */
static bool list_shares(const rs_cell *cell, double *shares)
{
    rs_sum weight = {0};
    for (size_t i = 0; i < cell->n; i++) {
        if (cell->yb == NULL || weight_at(cell->wa, i) != weight_at(cell->wb, i))
            return false;
        rs_sum_add(&weight, weight_at(cell->wa, i));
    }
    for (size_t i = 0; i < cell->n; i++)
        shares[i] = cell->weight * (cell->ya[i] - cell->yb[i]) / rs_sum_value(&weight);
    return true;
}

static double sign_p(const rs_cell *cells, size_t n_cells, int64_t n)
{
    double *shares = rs_alloc((size_t)n, sizeof *shares);
    size_t filled = 0;
    bool good = n > 0;
    for (size_t k = 0; k < n_cells && good; k++) {
        good = list_shares(&cells[k], shares + filled);
        filled += cells[k].n;
    }
    double p = good ? rs_sign_test(shares, filled) : NAN;
    free(shares);
    return p;
}

/* Returns whether all scores are 0 or 1. */
static bool count_signs(const rs_cell *cells, size_t n_cells, rs_evidence *e)
{
    bool bits = true;
    for (size_t k = 0; k < n_cells; k++) {
        const rs_cell *c = &cells[k];
        e->n += (int64_t)c->n;
        bits = bits && c->yb && c->wa == NULL;
        for (size_t i = 0; i < c->n && c->yb; i++) {
            e->higher += c->ya[i] > c->yb[i];
            e->lower += c->ya[i] < c->yb[i];
            bits = bits && (c->ya[i] == 0 || c->ya[i] == 1) && (c->yb[i] == 0 || c->yb[i] == 1);
        }
    }
    return bits;
}

void rs_judge(const rs_cell *cells, size_t n_cells, rs_estimate *value, rs_evidence *e)
{
    double *replicates = rs_alloc(2 * RS_RESAMPLES, sizeof *replicates);
    *e = (rs_evidence){.p_holm = NAN};
    *value = rs_sum_values(cells, n_cells);
    bool bits = count_signs(cells, n_cells, e);
    rs_sum_replicates(cells, n_cells, replicates);
    e->interval = rs_interval_bca(replicates, value->value, sum_skew(cells, n_cells), replicates + RS_RESAMPLES);
    e->p = sign_p(cells, n_cells, e->n);
    e->effect = rs_effect_size(*value, e->n);
    e->odds = bits && e->lower > 0 ? (double)e->higher / (double)e->lower : NAN;
    e->mde = rs_detectable(value->error, bits, e->n);
    free(replicates);
}
