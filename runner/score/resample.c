#include "score/resample.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/pulse.h"
#include "base/rng.h"
#include "score/normal.h"

/* The sums' inner loop: so many resamples of so many columns at once, in registers. */
enum { LANES = 8, VECTORS = 4, BLOCK = LANES * VECTORS, ROWS = 4, BLOCKS = (RS_RESAMPLES + BLOCK - 1) / BLOCK };

struct rs_resample {
    size_t n, groups;
    uint8_t *counts; /* [BLOCKS, groups, BLOCK] */
};

rs_resample *rs_resample_open(uint64_t seed, size_t n)
{
    rs_resample *r = rs_alloc(1, sizeof *r);
    r->n = n;
    r->groups = n < RS_MAX_GROUPS ? n : RS_MAX_GROUPS;
    r->counts = rs_alloc((size_t)BLOCKS * r->groups, BLOCK);
#pragma omp parallel for schedule(static, BLOCK)
    for (size_t b = 0; b < RS_RESAMPLES; b++) {
        uint8_t *counts = r->counts + b / BLOCK * r->groups * BLOCK + b % BLOCK;
        rs_rng rng;
        rs_rng_init(&rng, seed, "bootstrap", r->groups, b);
        for (size_t i = 0; i < r->groups; i++) {
            uint8_t *count = counts + rs_rng_below(&rng, r->groups) * BLOCK;
            assert(*count < UINT8_MAX);
            ++*count;
        }
    }
    return r;
}

void rs_resample_close(rs_resample *resample)
{
    if (resample)
        free(resample->counts);
    free(resample);
}

/* --- sums --- */

typedef double lanes __attribute__((vector_size(8 * LANES), aligned(8)));

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define FOR_EACH_MACHINE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_MACHINE
#endif

FOR_EACH_MACHINE static void widen(const uint8_t *counts, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = counts[i];
}

/* BLOCK resamples of ROWS columns. Each sum is its own and runs over the samples in order, so its bits are the same on every machine. */
FOR_EACH_MACHINE static void sum_block(const double *counts, const double *x, size_t groups, double sums[ROWS][BLOCK])
{
    lanes sum[ROWS][VECTORS] = {{{0}}};
    for (size_t i = 0; i < groups; i++)
        for (int v = 0; v < VECTORS; v++) {
            lanes c = *(const lanes *)(counts + i * BLOCK + (size_t)v * LANES);
            for (int k = 0; k < ROWS; k++)
                sum[k][v] += c * x[i * ROWS + (size_t)k];
        }
    memcpy(sums, sum, sizeof sum);
}

/* Up to ROWS columns side by side, samples that are drawn together added up: [groups, ROWS]. */
static void pack(const rs_resample *r, const double *const *x, size_t n_rows, double *out)
{
    for (size_t k = 0; k < n_rows && k < ROWS; k++)
        for (size_t i = 0; i < r->n; i++)
            out[i * r->groups / r->n * ROWS + k] += x[k][i];
}

static void sum_rows(const rs_resample *r, const double *const *x, double *const *out, size_t n_rows)
{
    size_t packs = (n_rows + ROWS - 1) / ROWS, size = r->groups * ROWS;
    double *packed = rs_alloc(packs * size, sizeof *packed);
    for (size_t p = 0; p < packs; p++)
        pack(r, x + p * ROWS, n_rows - p * ROWS, packed + p * size);
#pragma omp parallel
    {
        double *counts = rs_alloc(r->groups * BLOCK, sizeof *counts), sums[ROWS][BLOCK];
#pragma omp for schedule(static)
        for (size_t block = 0; block < BLOCKS; block++) {
            size_t at = block * BLOCK, n = RS_RESAMPLES - at < BLOCK ? RS_RESAMPLES - at : BLOCK;
            widen(r->counts + at * r->groups, r->groups * BLOCK, counts);
            for (size_t p = 0; p < packs; p++) {
                rs_pulse_tick();
                sum_block(counts, packed + p * size, r->groups, sums);
                for (size_t k = 0; k < ROWS && p * ROWS + k < n_rows; k++)
                    memcpy(out[p * ROWS + k] + at, sums[k], n * sizeof **sums);
            }
        }
        free(counts);
    }
    free(packed);
}

/* The value that all have; 0: they differ, or are not finite. */
static double common(const double *x, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (x[i] != x[0])
            return 0;
    return n > 0 && isfinite(x[0]) ? x[0] : 0;
}

/* What every resample's weights add up to; 0: that differs, and the weights are to be summed as well. */
static double known_weight(const rs_resample *r, const double *w)
{
    bool equal_groups = r->groups > 0 && r->n % r->groups == 0;
    return equal_groups ? (double)r->n * (w ? common(w, r->n) : 1) : 0;
}

void rs_resample_means(const rs_resample *r, const rs_column *columns, size_t n_columns)
{
    const double **x = rs_alloc(2 * n_columns, sizeof *x);
    double **sums = rs_alloc(2 * n_columns, sizeof *sums), *ones = rs_alloc(r->n, sizeof *ones);
    size_t rows = n_columns;
    for (size_t i = 0; i < r->n; i++)
        ones[i] = 1;
    for (size_t k = 0; k < n_columns; k++) {
        x[k] = columns[k].y;
        sums[k] = columns[k].replicates;
        if (known_weight(r, columns[k].w) != 0)
            continue;
        x[rows] = columns[k].w ? columns[k].w : ones;
        sums[rows++] = rs_alloc(RS_RESAMPLES, sizeof **sums);
    }
    sum_rows(r, x, sums, rows);
    rows = n_columns;
    for (size_t k = 0; k < n_columns; k++) {
        double known = known_weight(r, columns[k].w);
        const double *weights = known != 0 ? NULL : sums[rows++];
        for (size_t b = 0; b < RS_RESAMPLES; b++)
            columns[k].replicates[b] /= weights ? weights[b] : known;
    }
    while (rows > n_columns)
        free(sums[--rows]);
    free(x);
    free(sums);
    free(ones);
}

/* --- intervals --- */

/* x[at] is what it is in sorted order, what is before it is not greater, what is behind not less (Hoare's select). */
static void select_at(double *x, size_t n, size_t at)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)n - 1, k = (ptrdiff_t)at;
    while (low < high) {
        double pivot = x[k];
        ptrdiff_t i = low, j = high;
        do {
            while (x[i] < pivot)
                i++;
            while (pivot < x[j])
                j--;
            if (i <= j) {
                double swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        } while (i <= j);
        low = j < k ? i : low;
        high = k < i ? j : high;
    }
}

/* What is at `place` of the sorted x, between neighbours by straight line. Reorders x. */
static double quantile(double *x, size_t n, double place)
{
    size_t below = (size_t)place;
    select_at(x, n, below);
    if (below + 1 >= n)
        return x[below];
    double next = x[below + 1];
    for (size_t i = below + 2; i < n; i++)
        next = x[i] < next ? x[i] : next;
    return x[below] + (next - x[below]) * (place - (double)below);
}

/* A quantile in the lower tail of sign * replicates: what is not above `limit` is enough to find it, if that is enough. */
static double tail_quantile(const double *replicates, double sign, double level, double limit, double *scratch)
{
    double place = level * (RS_RESAMPLES - 1);
    size_t n = 0;
    for (size_t b = 0; b < RS_RESAMPLES; b++) {
        scratch[n] = sign * replicates[b];
        n += scratch[n] <= limit;
    }
    return (double)n > place + 1 ? quantile(scratch, n, place) : tail_quantile(replicates, sign, level, INFINITY, scratch);
}

/* Where BCa takes its percentile instead of at `level`. */
static double moved_level(double level, double bias, double acceleration)
{
    double z = bias + rs_normal_quantile(level);
    return rs_normal_cdf(bias + z / (1 - acceleration * z));
}

rs_interval rs_interval_bca(const double *replicates, double estimate, rs_skew skew, double *scratch)
{
    double tie = 1e-9 * sqrt(skew.squares); /* sums of fractions may be equal on paper only */
    size_t below = 0, same = 0, finite = 0;
    for (size_t b = 0; b < RS_RESAMPLES; b++) {
        finite += isfinite(replicates[b]) != 0;
        below += replicates[b] < estimate - tie;
        same += fabs(replicates[b] - estimate) <= tie;
    }
    double bias = rs_normal_quantile(((double)below + 0.5 * (double)same) / RS_RESAMPLES);
    double acceleration = skew.cubes / (6 * skew.squares * sqrt(skew.squares));
    double low = moved_level(0.025, bias, acceleration), high = moved_level(0.975, bias, acceleration);
    if (finite < RS_RESAMPLES || !(skew.squares > 0) || !isfinite(bias) || !isfinite(low + high) || !(low < high))
        return (rs_interval){NAN, NAN};
    double spread = sqrt(skew.squares), low_limit = estimate + spread * (rs_normal_quantile(low) + 0.5),
           high_limit = -estimate + spread * (rs_normal_quantile(1 - high) + 0.5);
    return (rs_interval){tail_quantile(replicates, 1, low, low_limit, scratch),
                         -tail_quantile(replicates, -1, 1 - high, high_limit, scratch)};
}
