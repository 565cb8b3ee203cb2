/* Statistics against SciPy, statsmodels and NumPy (golden/stats.json, made by golden/stats.py), against closed forms, and against what they
 * promise: an interval holds the truth as often as it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "score/curve.h"
#include "score/evidence.h"
#include "score/normal.h"
#include "score/sequence.h"
#include "score/signs.h"

static json_t *golden;

static int load(void **state)
{
    (void)state;
    golden = json_load_file(RS_TESTS "/golden/stats.json", 0, NULL);
    return golden ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static double number(json_t *list, size_t i)
{
    json_t *value = json_array_get(list, i);
    return json_is_null(value) ? NAN : json_number_value(value);
}

/* NULL for null. */
static double *numbers(json_t *list)
{
    if (json_is_null(list))
        return NULL;
    double *x = rs_alloc(json_array_size(list), sizeof *x);
    for (size_t i = 0; i < json_array_size(list); i++)
        x[i] = number(list, i);
    return x;
}

static void check(const char *what, double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance * fmax(fabs(expected), 1e-300)) && got != expected)
        fail_msg("%s: %.17g, expected %.17g", what, got, expected);
}

static uint64_t seed(void)
{
    return (uint64_t)json_integer_value(json_object_get(golden, "seed"));
}

/* --- against goldens --- */

static void test_normal(void **state)
{
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(golden, "quantiles"), i, row)
    {
        double p = number(row, 0), z = number(row, 1);
        assert_true(fabs(rs_normal_quantile(p) - z) <= 1e-14 * fmax(1, fabs(z)));
        check("cdf", rs_normal_cdf(z), p, 1e-12);
    }
    assert_true(rs_normal_quantile(0) == -INFINITY && rs_normal_quantile(1) == INFINITY && isnan(rs_normal_quantile(1.5)));
}

static void test_signs(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(golden, "signs"), i, c)
    {
        double *x = numbers(json_object_get(c, "x"));
        size_t n = json_array_size(json_object_get(c, "x"));
        double p = json_number_value(json_object_get(c, "p")), tolerance = json_number_value(json_object_get(c, "tolerance"));
        check(json_string_value(json_object_get(c, "name")), rs_sign_test(x, n), p, tolerance);
        for (size_t k = 0; k < n; k++) /* the other direction, in another unit */
            x[k] *= -1.0 / 3;
        check(json_string_value(json_object_get(c, "name")), rs_sign_test(x, n), p, tolerance);
        free(x);
    }
    assert_true(rs_sign_test(NULL, 0) == 1 && rs_sign_test((double[]){0, 0}, 2) == 1);
    assert_true(isnan(rs_sign_test((double[]){1, INFINITY}, 2)));
}

/* 4,000 that all differ one way: 2^-3999 is no double, and 0 would be a lie. */
static void test_least_p(void **state)
{
    (void)state;
    double *x = rs_alloc(4000, sizeof *x);
    for (int i = 0; i < 4000; i++)
        x[i] = 0.25;
    double p = rs_sign_test(x, 4000);
    assert_true(p > 0 && p < 1e-300);
    free(x);
}

static void test_holm(void **state)
{
    (void)state;
    json_t *holm = json_object_get(golden, "holm");
    size_t n = json_array_size(json_object_get(holm, "p"));
    double *p = numbers(json_object_get(holm, "p")), *expected = numbers(json_object_get(holm, "adjusted")), got[16];
    const double *in[16];
    double *out[16];
    for (size_t i = 0; i < n; i++) {
        in[i] = &p[i];
        out[i] = &got[i];
    }
    rs_holm(in, out, n);
    for (size_t i = 0; i < n; i++)
        if (isnan(expected[i]))
            assert_true(isnan(got[i]));
        else
            check("holm", got[i], expected[i], 1e-14);
    free(p);
    free(expected);
}

static void test_detectable(void **state)
{
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(golden, "detectable"), i, row)
        check("mde", rs_detectable(number(row, 0), false, (int64_t)number(row, 1)), number(row, 2), 1e-9);
    json_array_foreach(json_object_get(golden, "detectable_bits"), i, row)
    {
        int64_t n = (int64_t)number(row, 0);
        check("mde of bits", rs_detectable(0, true, n), number(row, 1), 1e-9);
        check("mde of bits", rs_detectable(10, true, n), rs_detectable(10, false, n), 0);
    }
    assert_true(isnan(rs_detectable(0, false, 100)) && isnan(rs_detectable(0, true, 5)) && isnan(rs_detectable(NAN, false, 1)));
}

/* --- intervals --- */

typedef struct judged {
    rs_estimate value;
    rs_evidence evidence;
} judged;

enum { MAX_CELLS = 8 };

/* Resamples the cells' columns as a report does, then judges them. */
static judged judge(rs_cell *cells, size_t n_cells)
{
    judged j;
    double *replicates = rs_alloc(2 * MAX_CELLS * RS_RESAMPLES, sizeof *replicates);
    for (size_t k = 0; k < n_cells; k++) {
        rs_resample *resample = rs_resample_open(seed(), cells[k].n);
        double *a = replicates + 2 * k * RS_RESAMPLES, *b = a + RS_RESAMPLES;
        rs_column columns[] = {{cells[k].ya, cells[k].wa, a}, {cells[k].yb, cells[k].wb, b}};
        rs_resample_means(resample, columns, cells[k].yb ? 2 : 1);
        cells[k].ra = a;
        cells[k].rb = cells[k].yb ? b : NULL;
        cells[k].number = k;
        rs_cell_measure(&cells[k]);
        rs_resample_close(resample);
    }
    rs_judge(cells, n_cells, &j.value, &j.evidence);
    free(replicates);
    return j;
}

static void test_intervals(void **state)
{
    (void)state;
    size_t i, k;
    json_t *c, *cell;
    json_array_foreach(json_object_get(golden, "intervals"), i, c)
    {
        rs_cell cells[MAX_CELLS] = {{0}};
        const char *name = json_string_value(json_object_get(c, "name"));
        json_array_foreach(json_object_get(c, "cells"), k, cell)
        {
            cells[k].ya = numbers(json_array_get(cell, 0));
            cells[k].wa = numbers(json_array_get(cell, 1));
            cells[k].yb = numbers(json_array_get(cell, 2));
            cells[k].wb = numbers(json_array_get(cell, 3));
            cells[k].n = json_array_size(json_array_get(cell, 0));
            cells[k].exponential = json_is_true(json_object_get(c, "exponential"));
            cells[k].weight = number(json_object_get(c, "weights"), k);
        }
        judged j = judge(cells, json_array_size(json_object_get(c, "cells")));
        double low = json_number_value(json_object_get(c, "low")), high = json_number_value(json_object_get(c, "high"));
        check(name, j.value.value, json_number_value(json_object_get(c, "value")), 1e-10); /* written with 12 decimals */
        if (!(fabs(j.evidence.interval.low - low) < 1e-10 && fabs(j.evidence.interval.high - high) < 1e-10))
            fail_msg("%s: %.17g to %.17g, expected %.17g to %.17g", name, j.evidence.interval.low, j.evidence.interval.high, low, high);
        for (k = 0; k < MAX_CELLS; k++) {
            free((void *)(size_t)cells[k].ya);
            free((void *)(size_t)cells[k].wa);
            free((void *)(size_t)cells[k].yb);
            free((void *)(size_t)cells[k].wb);
        }
    }
}

static void test_evidence(void **state)
{
    (void)state;
    /* 8 of 10 solved against 3: higher on 6, lower on 1. Differences: 6 times 1, -1, 3 times 0; mean 0.5, variance 4.5 / 9. */
    const double a[] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0}, b[] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 0};
    rs_cell cell = {.ya = a, .yb = b, .n = 10, .weight = 1};
    judged j = judge(&cell, 1);
    check("value", j.value.value, 0.5, 1e-15);
    check("error", j.value.error, sqrt(0.5 / 10), 1e-15);
    check("effect", j.evidence.effect, 0.5 / sqrt(0.5), 1e-14);
    assert_true(j.evidence.n == 10 && j.evidence.higher == 6 && j.evidence.lower == 1 && j.evidence.odds == 6);
    check("p", j.evidence.p, 2 * 8.0 / 128, 1e-14);
    /* nothing differs: no interval, no effect, but a difference that would have been found */
    cell.yb = a;
    j = judge(&cell, 1);
    assert_true(j.value.value == 0 && isnan(j.evidence.interval.low) && isnan(j.evidence.interval.high) && isnan(j.evidence.effect) &&
                isnan(j.evidence.odds) && j.evidence.p == 1);
    check("mde", j.evidence.mde, 0.6731718214777693, 1e-9);
    /* one side alone, and sides that weight a sample differently, have no p */
    const double w[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 2};
    cell = (rs_cell){.ya = a, .n = 10, .weight = 1};
    j = judge(&cell, 1);
    assert_true(isnan(j.evidence.p) && j.value.value == 0.8 && j.evidence.interval.low < 0.8 && j.evidence.interval.high <= 1);
    cell = (rs_cell){.ya = a, .wa = w, .yb = b, .wb = (const double[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, .n = 10, .weight = 1};
    assert_true(isnan(judge(&cell, 1).evidence.p));
    /* one sample says nothing of a spread */
    cell = (rs_cell){.ya = a, .yb = b, .n = 1, .weight = 1};
    j = judge(&cell, 1);
    assert_true(j.value.value == 1 && isnan(j.value.error) && isnan(j.evidence.interval.low) && isnan(j.evidence.mde));
}

/* --- resamples --- */

/* Each resample draws as many samples as there are: a column of ones has the mean 1 in each. Mean and variance over resamples are the
 * binomial's. Beyond RS_MAX_GROUPS samples neighbours go together, and the spread of the mean is still sd / sqrt(n). */
static void test_resamples(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 10000; n = n == 1 ? 37 : n * 270) {
        double *ones = rs_alloc(n, sizeof *ones), *x = rs_alloc(n, sizeof *x), *r = rs_alloc(2 * RS_RESAMPLES, sizeof *r), mean = 0;
        rs_rng rng;
        rs_rng_init(&rng, 5, "test", n, 0);
        for (size_t i = 0; i < n; i++) {
            ones[i] = 1;
            x[i] = rs_rng_normal(&rng);
            mean += x[i] / (double)n;
        }
        rs_resample *resample = rs_resample_open(9, n);
        rs_column columns[] = {{ones, NULL, r}, {x, NULL, r + RS_RESAMPLES}};
        rs_resample_means(resample, columns, 2);
        rs_sum sum = {0}, squares = {0};
        for (size_t b = 0; b < RS_RESAMPLES; b++) {
            assert_true(fabs(r[b] - 1) < 1e-14);
            rs_sum_add(&sum, r[RS_RESAMPLES + b]);
            rs_sum_add(&squares, (r[RS_RESAMPLES + b] - mean) * (r[RS_RESAMPLES + b] - mean));
        }
        double spread = sqrt(rs_sum_value(&squares) / RS_RESAMPLES),
               error = n > 1 ? rs_stats_mean(x, n).error * sqrt((double)(n - 1) / (double)n) : 0;
        assert_true(fabs(rs_sum_value(&sum) / RS_RESAMPLES - mean) <= 5 * error / sqrt(RS_RESAMPLES));
        assert_true(fabs(spread - error) <= (n > RS_MAX_GROUPS ? 0.06 : 0.03) * error);
        rs_resample_close(resample);
        free(ones);
        free(x);
        free(r);
    }
}

/* The same column gives the same bits, whatever stands beside it. */
static void test_company(void **state)
{
    (void)state;
    enum { N = 53, COLUMNS = 9 };
    double x[COLUMNS][N], *r = rs_alloc((COLUMNS + 1) * RS_RESAMPLES, sizeof *r);
    rs_column columns[COLUMNS];
    for (int k = 0; k < COLUMNS; k++) {
        for (int i = 0; i < N; i++)
            x[k][i] = 1.0 / (1 + (i * 7 + k * 13) % 31);
        columns[k] = (rs_column){x[k], NULL, r + k * RS_RESAMPLES};
    }
    rs_resample *resample = rs_resample_open(3, N);
    rs_resample_means(resample, columns, COLUMNS);
    for (int k = 0; k < COLUMNS; k++) {
        rs_column alone = {x[k], NULL, r + COLUMNS * RS_RESAMPLES};
        rs_resample_means(resample, &alone, 1);
        assert_memory_equal(alone.replicates, columns[k].replicates, RS_RESAMPLES * sizeof *r);
    }
    rs_resample_close(resample);
    free(r);
}

/* Of 1,000 experiments with a known difference, the interval holds it in 95 %: not in fewer than chance allows. */
static void test_coverage(void **state)
{
    (void)state;
    enum { RUNS = 1000, N = 60 };
    int covered = 0;
    double *a = rs_alloc(4 * N, sizeof *a), *b = a + N, *r = rs_alloc(2 * RS_RESAMPLES, sizeof *r);
    rs_resample *resample = rs_resample_open(seed(), N);
    for (int run = 0; run < RUNS; run++) {
        rs_rng rng;
        rs_rng_init(&rng, 11, "coverage", (uint64_t)run, 0);
        for (int i = 0; i < N; i++) {
            double easy = rs_rng_unit(&rng); /* shared: what makes pairs worth having */
            a[i] = 0.5 * easy + 0.5 * rs_rng_unit(&rng) < 0.7;
            b[i] = 0.5 * easy + 0.5 * rs_rng_unit(&rng) < 0.5;
        }
        rs_column columns[] = {{a, NULL, r}, {b, NULL, r + RS_RESAMPLES}};
        rs_resample_means(resample, columns, 2);
        rs_cell cell = {.ya = a, .yb = b, .ra = r, .rb = r + RS_RESAMPLES, .n = N, .weight = 1};
        judged j;
        rs_cell_measure(&cell);
        rs_judge(&cell, 1, &j.value, &j.evidence);
        double truth = (1 - 0.3 * 0.3 * 2) - 0.5; /* of (U + V) / 2 below t: 2 t^2 up to a half, 1 - 2 (1 - t)^2 beyond */
        covered += j.evidence.interval.low <= truth && truth <= j.evidence.interval.high;
    }
    if (covered < 930 || covered > 972)
        fail_msg("%d of %d intervals hold the truth", covered, RUNS);
    rs_resample_close(resample);
    free(a);
    free(r);
}

/* --- curves --- */

static void test_reaches(void **state)
{
    (void)state;
    enum { MAX_LENGTHS = 8 };
    size_t i, k, t;
    json_t *c, *tasks, *list;
    json_array_foreach(json_object_get(golden, "reaches"), i, c)
    {
        int64_t lengths[MAX_LENGTHS];
        double values[MAX_LENGTHS], *replicates[MAX_LENGTHS];
        size_t n = json_array_size(json_object_get(c, "lengths"));
        json_array_foreach(json_object_get(c, "scores"), k, tasks)
        {
            lengths[k] = (int64_t)number(json_object_get(c, "lengths"), k);
            replicates[k] = rs_alloc(RS_RESAMPLES, sizeof **replicates);
            rs_cell cells[MAX_CELLS] = {{0}};
            json_array_foreach(tasks, t, list)
            {
                double *r = rs_alloc(RS_RESAMPLES, sizeof *r);
                cells[t] = (rs_cell){.ya = numbers(list),
                                     .ra = r,
                                     .n = json_array_size(list),
                                     .number = t * n + k,
                                     .weight = 1.0 / (double)json_array_size(tasks)};
                rs_resample *resample = rs_resample_open(seed(), cells[t].n);
                rs_column column = {cells[t].ya, NULL, r};
                rs_resample_means(resample, &column, 1);
                rs_resample_close(resample);
                rs_cell_measure(&cells[t]);
            }
            rs_sum_replicates(cells, json_array_size(tasks), replicates[k]);
            values[k] = rs_sum_values(cells, json_array_size(tasks)).value;
            for (t = 0; t < json_array_size(tasks); t++) {
                free((void *)(size_t)cells[t].ya);
                free((void *)(size_t)cells[t].ra);
            }
        }
        rs_reach reach = rs_curve_reach(lengths, values, (const double *const *)replicates, n,
                                        json_number_value(json_object_get(c, "threshold")), json_is_true(json_object_get(c, "relative")));
        if (reach.length != json_integer_value(json_object_get(c, "length")) ||
            reach.low != json_integer_value(json_object_get(c, "low")) || reach.high != json_integer_value(json_object_get(c, "high")))
            fail_msg("%s: %d, %d to %d", json_string_value(json_object_get(c, "name")), (int)reach.length, (int)reach.low, (int)reach.high);
        for (k = 0; k < n; k++)
            free(replicates[k]);
    }
}

static void test_areas(void **state)
{
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(golden, "areas"), i, row)
    {
        int64_t lengths[8];
        double weights[8], area = 0, sum = 0;
        size_t n = json_array_size(json_array_get(row, 0));
        for (size_t k = 0; k < n; k++)
            lengths[k] = (int64_t)number(json_array_get(row, 0), k);
        rs_curve_weights(lengths, n, weights);
        for (size_t k = 0; k < n; k++) {
            area += weights[k] * number(json_array_get(row, 1), k);
            sum += weights[k];
        }
        check("area", area, number(row, 2), 1e-14);
        check("weights", sum, 1, 1e-14);
    }
    double alone;
    rs_curve_weights((const int64_t[]){1024}, 1, &alone);
    assert_true(isnan(alone));
}

/* --- stopping early --- */

static void test_sequences(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(golden, "sequences"), i, c)
    {
        double *d = numbers(json_object_get(c, "d")), step = json_number_value(json_object_get(c, "step"));
        rs_interval got =
            rs_sequence_interval(d, (int64_t)json_array_size(json_object_get(c, "d")), json_number_value(json_object_get(c, "width")));
        double low = json_number_value(json_object_get(c, "low")), high = json_number_value(json_object_get(c, "high"));
        if (!(fabs(got.low - low) <= step && fabs(got.high - high) <= step))
            fail_msg("%s: %g to %g, expected %g to %g", json_string_value(json_object_get(c, "name")), got.low, got.high, low, high);
        free(d);
    }
    rs_interval nothing = rs_sequence_interval(NULL, 0, 0.1);
    assert_true(fabs(nothing.low + 1) < 1e-9 && fabs(nothing.high - 1) < 1e-9);
}

static void test_looks(void **state)
{
    (void)state;
    static const int64_t expected[] = {20, 30, 45, 68, 100, 100};
    int64_t n = 0;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(n = rs_sequence_look(n, 20, 100), expected[i]);
    assert_int_equal(rs_sequence_look(0, 20, 7), 7);
    /* alike in everything: settled at the first look that can know; not before it is there; at the most in any case */
    double same[200] = {0}, other[200];
    for (int i = 0; i < 200; i++)
        other[i] = i % 2;
    int64_t settled = rs_sequence_settle(same, same, 200, 0.2, 20, 200);
    assert_true(settled > 20 && settled < 200);
    assert_int_equal(rs_sequence_settle(same, same, settled, 0.2, 20, 200), settled);
    assert_int_equal(rs_sequence_settle(same, same, settled - 1, 0.2, 20, 200), -1);
    assert_int_equal(rs_sequence_settle(same, other, 200, 0.01, 20, 200), 200);
    assert_int_equal(rs_sequence_settle(same, other, 199, 0.01, 20, 200), -1);
}

/* 2,000 points that stop when their interval is narrow: it holds the truth in at least 95 %. */
static void test_stopping(void **state)
{
    (void)state;
    enum { RUNS = 500, MOST = 500 };
    static const double cases[][3] = {{0, 0, 0.1}, {0.02, 0.03, 0.1}, {0.3, 0.1, 0.2}, {0.6, 0.02, 0.2}}; /* higher, lower, width */
    double *a = rs_alloc(3 * MOST, sizeof *a), *b = a + MOST, *d = b + MOST, samples = 0;
    int covered = 0;
    for (int run = 0; run < 4 * RUNS; run++) {
        const double *c = cases[run / RUNS];
        rs_rng rng;
        rs_rng_init(&rng, 17, "stopping", (uint64_t)run, 0);
        for (int i = 0; i < MOST; i++) {
            double u = rs_rng_unit(&rng);
            a[i] = u < c[0];
            b[i] = u >= c[0] && u < c[0] + c[1];
            d[i] = a[i] - b[i];
        }
        int64_t n = rs_sequence_settle(a, b, MOST, c[2], 20, MOST);
        rs_interval interval = rs_sequence_interval(d, n, c[2]);
        assert_true(n == MOST || interval.high - interval.low <= c[2]);
        covered += interval.low <= c[0] - c[1] && c[0] - c[1] <= interval.high;
        samples += (double)n;
    }
    print_message("%.1f %% of 2000 intervals hold the truth; %.0f of %d samples taken\n", covered / 20.0, samples / 2000, MOST);
    assert_true(covered >= 1900);
    assert_true(samples / 2000 < 0.7 * MOST);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal),    cmocka_unit_test(test_signs),      cmocka_unit_test(test_least_p),
        cmocka_unit_test(test_holm),      cmocka_unit_test(test_detectable), cmocka_unit_test(test_intervals),
        cmocka_unit_test(test_evidence),  cmocka_unit_test(test_resamples),  cmocka_unit_test(test_company),
        cmocka_unit_test(test_coverage),  cmocka_unit_test(test_reaches),    cmocka_unit_test(test_areas),
        cmocka_unit_test(test_sequences), cmocka_unit_test(test_looks),      cmocka_unit_test(test_stopping),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
