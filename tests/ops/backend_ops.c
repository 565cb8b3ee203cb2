/* Compares a backend with the CPU backend, operation by operation, on random data, and each with itself: a row alone and in a batch.
 *
 *   backend_ops [--backend NAME] [--op NAME] [--small] [--self-test]
 *
 * NAME: cuda (the default), or cpu, which compares the instruction set of this machine with the portable one. --small: tiny shapes, for
 * a backend on fibers or under a checker. --self-test: backends with one mistake each, of which every one must be found; then no case of
 * the backend itself is run. One line a case; exit 1 where one failed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "kernels/cpu/cpu.h"
#include "ops.h"

static void (*const tables[])(ops_cases *) = {ops_add_memory, ops_add_matrix,    ops_add_embed, ops_add_norm,
                                              ops_add_linear, ops_add_glu,       ops_add_add,   ops_add_overlap,
                                              ops_add_head,   ops_add_attention, ops_add_step};

typedef struct verdict {
    bool ran, values, rows; /* within bounds; bits of the rows the same whole and alone */
    double norm, max;
    char why[400];
} verdict;

/* --- one side --- */

static rs_status run_ways(const rs_backend_ops *ops, const ops_case *c, ops_out *whole, ops_out *alone)
{
    ops_side side;
    rs_status status = RS_OK;
    RS_TRY_OUT(ops_side_open(&side, ops, c));
    RS_TRY_OUT(c->run(&side, c, OPS_WHOLE, whole));
    ops_side_empty(&side);
    RS_TRY_OUT(c->run(&side, c, OPS_ALONE, alone));
out:
    ops_side_close(&side);
    return status;
}

static bool equal_bits(const float *a, const float *b, int64_t n, int64_t *at)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a)) {
            *at = i;
            return false;
        }
    return true;
}

static bool equal_outputs(const ops_out *a, const ops_out *b, int64_t *at)
{
    *at = -1;
    return a->n_values == b->n_values && a->n_exact == b->n_exact && equal_bits(a->values, b->values, a->n_values, at) &&
           equal_bits(a->exact, b->exact, a->n_exact, at);
}

static void note(verdict *v, const char *name, const char *words, int64_t at)
{
    size_t used = strlen(v->why);
    snprintf(v->why + used, sizeof v->why - used, "%s%s: %s", used ? "; " : "", name, words);
    used = strlen(v->why);
    if (at >= 0)
        snprintf(v->why + used, sizeof v->why - used, " (element %lld)", (long long)at);
}

/* Runs a case in both ways; the output of WHOLE is left in *whole. */
static void run_side(const rs_backend_ops *ops, const char *name, const ops_case *c, ops_out *whole, verdict *v)
{
    ops_out alone = {0};
    int64_t at;
    if (run_ways(ops, c, whole, &alone) != RS_OK) {
        v->ran = false;
        note(v, name, rs_error_message(), -1);
        rs_error_clear();
    } else if (!equal_outputs(whole, &alone, &at)) {
        v->rows = false;
        note(v, name, "rows alone and in company differ", at);
    }
    ops_out_free(&alone);
}

/* --- two sides --- */

static void measure(const ops_out *expected, const ops_out *got, verdict *v)
{
    double difference = 0, size = 0;
    int64_t n = expected->n_values;
    for (int64_t i = 0; i < n; i++) {
        double error = (double)got->values[i] - (double)expected->values[i];
        difference += error * error;
        size += (double)expected->values[i] * (double)expected->values[i];
    }
    double rms = n ? sqrt(size / (double)n) : 0;
    v->norm = n ? sqrt(difference / (size + 1e-60)) : 0;
    for (int64_t i = 0; i < n; i++) {
        double error = fabs((double)got->values[i] - (double)expected->values[i]) / (fabs((double)expected->values[i]) + rms + 1e-60);
        v->max = error > v->max || isnan(error) ? error : v->max;
    }
}

static void compare(const ops_case *c, const ops_out *expected, const ops_out *got, verdict *v)
{
    int64_t at = -1;
    if (expected->n_values != got->n_values || expected->n_exact != got->n_exact || expected->n_values + expected->n_exact == 0) {
        v->values = false;
        note(v, c->op, "outputs of different length, or none", -1);
        return;
    }
    measure(expected, got, v);
    if (!(v->norm <= c->bound.norm && v->max <= c->bound.max)) { /* NaN never passes */
        v->values = false;
        note(v, c->op, "values out of bounds", -1);
    }
    if (!equal_bits(expected->exact, got->exact, expected->n_exact, &at)) {
        v->values = false;
        note(v, c->op, "exact values differ", at);
    }
}

/* The reference for the CPU's fast instruction sets is its portable code, for all others the CPU as it is. */
static verdict judge(const rs_backend_ops *tested, const ops_case *c)
{
    verdict v = {.ran = true, .values = true, .rows = true};
    ops_out expected = {0}, got = {0};
    if (strcmp(tested->kind->name, rs_backend_cpu.kind->name) == 0)
        setenv("ROPESWEEP_ISA", rs_isa_name(RS_ISA_PORTABLE), 1);
    run_side(&rs_backend_cpu, "reference", c, &expected, &v);
    unsetenv("ROPESWEEP_ISA");
    run_side(tested, tested->kind->name, c, &got, &v);
    if (v.ran)
        compare(c, &expected, &got, &v);
    ops_out_free(&expected);
    ops_out_free(&got);
    return v;
}

static bool report(const ops_case *c, const verdict *v, double seconds)
{
    bool good = v->ran && v->values && v->rows;
    printf("%-4s %-11s %s", good ? "ok" : "FAIL", c->op, c->what);
    if (v->ran && c->bound.max > 0)
        printf("   error %.1e of %.1e, max %.1e of %.1e", v->norm, c->bound.norm, v->max, c->bound.max);
    else if (v->ran)
        printf("   equal bits wanted");
    printf("   %.2f s%s%s\n", seconds, good ? "" : "   ", v->why);
    fflush(stdout);
    return good;
}

static int run_cases(const rs_backend_ops *tested, const ops_cases *cases, const char *op)
{
    int run = 0, failed = 0;
    for (int i = 0; i < cases->n; i++) {
        if (op && strcmp(op, cases->items[i].op) != 0)
            continue;
        double start = rs_clock();
        verdict v = judge(tested, &cases->items[i]);
        run++;
        failed += !report(&cases->items[i], &v, rs_clock() - start);
    }
    printf("%s against cpu: %d cases, %d failed\n", tested->kind->name, run, failed);
    return failed > 0 || run == 0;
}

/* --- the comparison itself --- */

/* Whether some case of the operation finds the mistake, and finds it as the kind it is. */
static bool finds(const ops_wrong *wrong, const ops_cases *cases)
{
    for (int i = 0; i < cases->n; i++) {
        if (strcmp(cases->items[i].op, wrong->op) != 0)
            continue;
        verdict v = judge(&wrong->table, &cases->items[i]);
        if (v.ran && (wrong->by_rows ? v.values && !v.rows : !v.values))
            return true;
    }
    return false;
}

static int self_test(const rs_backend_ops *tested, const ops_cases *cases, const char *op)
{
    ops_wrong wrong[32];
    int n = ops_wrong_tables(tested, wrong, 32), run = 0, missed = 0;
    for (int i = 0; i < n; i++) {
        if (op && strcmp(op, wrong[i].op) != 0)
            continue;
        bool found = finds(&wrong[i], cases);
        run++;
        missed += !found;
        printf("%-6s %-11s %s\n", found ? "found" : "MISSED", wrong[i].op, wrong[i].mistake);
        fflush(stdout);
    }
    printf("%d mistakes, %d missed\n", run, missed);
    return missed > 0 || run == 0;
}

static rs_status find_backend(const char *name, const rs_backend_ops **out)
{
#ifdef OPS_BACKEND /* linked in */
    extern const rs_backend_ops OPS_BACKEND;
    if (strcmp(name, OPS_BACKEND.kind->name) == 0) {
        *out = &OPS_BACKEND;
        return RS_OK;
    }
#endif
    return rs_backend_find(name, out);
}

int main(int argc, char **argv)
{
    const char *name = "cuda", *op = NULL;
    bool testing_self = false;
    ops_cases cases = {0};
    const rs_backend_ops *tested;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc)
            name = argv[++i];
        else if (strcmp(argv[i], "--op") == 0 && i + 1 < argc)
            op = argv[++i];
        else if (strcmp(argv[i], "--small") == 0)
            cases.small = true;
        else if (strcmp(argv[i], "--self-test") == 0)
            testing_self = true;
        else {
            fprintf(stderr, "usage: backend_ops [--backend NAME] [--op NAME] [--small] [--self-test]\n");
            return 2;
        }
    }
    rs_log_set_level(RS_LOG_QUIET);
    if (find_backend(name, &tested) != RS_OK) {
        fprintf(stderr, "backend_ops: %s\n", rs_error_message());
        return 1;
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        tables[i](&cases);
    printf("%s: %s\n", tested->kind->name, tested->describe(0));
    int failed = testing_self ? self_test(tested, &cases, op) : run_cases(tested, &cases, op);
    free(cases.items);
    return failed;
}
