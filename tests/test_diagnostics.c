/* Diagnostics of attention against a plain n x n reference in fp64: every normalizer, several position maps, all instruction sets; and the
 * rule that the sums depend neither on the batch nor on how a sequence was cut. */
#include "test_cpu.h"

#include "base/memory.h"
#include "kernels/diagnostics.h"

enum { HEADS = 4, KV_HEADS = 2, DIM = 32, WIDTH = (HEADS + 2 * KV_HEADS) * DIM, ROWS = 301, INDUCTION_FROM = 151, INDUCTION = 149 };

static rs_backend *open_backend(rs_dtype dtype, int n_threads)
{
    static const int kv_of_head[HEADS] = {0, 1, 0, 1}; /* not in the order of the slots */
    rs_backend *backend;
    rs_backend_shape shape = {.n_layers = 1,
                              .heads = HEADS,
                              .kv_heads = KV_HEADS,
                              .kv_of_head = kv_of_head,
                              .all_heads = HEADS,
                              .head_dim = DIM,
                              .attention_scale = 1 / sqrtf(DIM)};
    assert_int_equal(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = dtype, .n_threads = n_threads}, &backend), RS_OK);
    return backend;
}

static rs_rope make_rope(const char *name)
{
    rs_rope rope;
    rs_params params;
    rs_model_facts facts = {.rope_theta = 1e4, .max_position_embeddings = 128};
    const rs_rope_variant *variant = rs_rope_variant_find(name);
    rs_params_init(&params, variant->params);
    if (strcmp(name, "self_extend") == 0) {
        assert_int_equal(rs_param_set_number(&params, rs_param_find(variant->params, "group"), 4), RS_OK);
        assert_int_equal(rs_param_set_number(&params, rs_param_find(variant->params, "window"), 32), RS_OK);
    }
    assert_int_equal(rs_params_fill(&params, &facts), RS_OK);
    assert_int_equal(rs_rope_build(variant, &params, DIM, ROWS, &rope), RS_OK);
    rs_params_free(&params);
    return rope;
}

typedef enum policy { PLAIN, COLD, NEGATIVE, CAP, SINK, ADAPTIVE, ALL_EXP, TOP_K, SPARSEMAX, ENTMAX_SINK, N_POLICIES } policy;

static rs_softmax make_softmax(policy which)
{
    static const double theta[] = {-0.037, 0.481, -2.3, 4.917, -1.791};
    rs_softmax softmax;
    rs_softmax_init_plain(&softmax);
    softmax.scale_const = which == COLD ? 3 : which == NEGATIVE ? -0.5 : 1;
    softmax.scale_floor = which == NEGATIVE ? -1 : 0;
    softmax.cap = which == CAP || which == ALL_EXP ? 2 : 0;
    softmax.has_sink = which == SINK || which == ALL_EXP || which == ENTMAX_SINK;
    softmax.sink = 1.5;
    if (which == ADAPTIVE || which == ALL_EXP) {
        softmax.n_theta = 5;
        memcpy(softmax.theta, theta, sizeof theta);
        softmax.entropy_threshold = 0.5;
    }
    if (which == TOP_K) {
        softmax.normalizer = RS_NORMALIZE_TOP_K;
        softmax.k = 7;
    }
    if (which == SPARSEMAX || which == ENTMAX_SINK) {
        softmax.normalizer = RS_NORMALIZE_ENTMAX;
        softmax.alpha = which == SPARSEMAX ? 2 : 1.5;
    }
    return softmax;
}

static rs_diagnostics make_diagnostics(void)
{
    rs_diagnostics d = {.n_layers = 1,
                        .heads = HEADS,
                        .kv_heads = KV_HEADS,
                        .pairs = DIM / 2,
                        .n_offsets = 4,
                        .offsets = {0, 1, 5, 200},
                        .induction_offset = INDUCTION,
                        .induction_from = INDUCTION_FROM};
    rs_diagnostics_init(&d, ROWS);
    return d;
}

/* The sums of one sequence of n rows, in steps of `chunk`. */
static rs_diagnostics measure(rs_backend *backend, const rs_rope *rope, const rs_softmax *softmax, const float *qkv, int64_t n,
                              int64_t chunk)
{
    rs_diagnostics d = make_diagnostics();
    rs_sequence sequence = {.rope = rope, .softmax = softmax, .diagnostics = &d};
    float *out = rs_alloc((size_t)(n * HEADS * DIM), sizeof *out);
    assert_int_equal(rs_backend_cpu.kv_open(backend, n, RS_MAX_KEY_SETS, 1, &sequence.kv), RS_OK);
    for (int64_t row = 0; row < n; row += chunk) {
        sequence.position = row;
        sequence.n_rows = n - row < chunk ? n - row : chunk;
        rs_step step = {.sequences = &sequence, .n_sequences = 1};
        assert_int_equal(rs_backend_cpu.prepare(backend, &step), RS_OK);
        assert_int_equal(rs_backend_cpu.store_qkv(backend, 0, qkv + row * WIDTH), RS_OK);
        assert_int_equal(rs_backend_cpu.attention(backend, 0, out), RS_OK);
    }
    rs_backend_cpu.kv_free(backend, sequence.kv);
    free(out);
    d.rows = n;
    return d;
}

/* --- the reference --- */

static void operand(const rs_rope *rope, double position, const float *x, double *y)
{
    double from[DIM];
    for (int d = 0; d < DIM; d++)
        from[d] = (double)x[d];
    rs_rope_rotate(rope, position, from, y);
}

/* z [m + 1]: scaled logits of row m with their position bias. */
static void logits(const rs_rope *rope, const float *qkv, int64_t m, int head, double *z)
{
    const rs_position_map *map = &rope->map;
    double q[DIM], k[DIM];
    for (int64_t j = 0; j <= m; j++) {
        int segment = map->n_segments - 1;
        while (segment > 0 && j < map->start(map, m, segment))
            segment--;
        operand(rope, map->query_position(map, m, segment), qkv + m * WIDTH + head * DIM, q);
        operand(rope, map->key_position(map, j, map->key_set[segment]), qkv + j * WIDTH + (HEADS + head % 2) * DIM, k);
        z[j] = 0;
        for (int d = 0; d < DIM; d++)
            z[j] += q[d] * k[d] / sqrt(DIM);
        if (rope->alibi)
            z[j] -= exp2(-8.0 * (head + 1) / HEADS) * (double)(m - j);
    }
}

static double entropy_of(const double *a, int64_t n)
{
    double entropy = 0;
    for (int64_t j = 0; j < n; j++)
        entropy -= a[j] > 0 ? a[j] * log(a[j]) : 0;
    return entropy;
}

/* Whether the adaptive temperature raises the logits of this row. */
static bool adapts(const rs_softmax *softmax, const double *z, int64_t n)
{
    rs_softmax plain = *softmax;
    double *a = rs_alloc((size_t)n, sizeof *a);
    plain.n_theta = 0;
    plain.has_sink = false;
    rs_softmax_row(&plain, z, n, a);
    double entropy = entropy_of(a, n);
    free(a);
    return rs_softmax_beta(softmax, (float)entropy) > 1;
}

static double at(const double *a, int64_t m, int64_t offset)
{
    return m >= offset ? a[m - offset] : 0;
}

/* Adds row m's numbers, in the sums' own order. */
static void reference_row(const rs_diagnostics *d, const rs_softmax *softmax, const double *z, int64_t m, double *head)
{
    double *a = rs_alloc((size_t)(m + 1), sizeof *a), low = INFINITY, high = -INFINITY, squares = 0, distance = 0, most = 0, all = 0;
    rs_softmax_row(softmax, z, m + 1, a);
    for (int64_t j = 0; j <= m; j++) {
        double capped = softmax->cap > 0 ? softmax->cap * tanh(z[j] / softmax->cap) : z[j];
        low = fmin(low, capped);
        high = fmax(high, capped);
        all += a[j];
        squares += a[j] * a[j];
        distance += a[j] * (double)(m - j);
        most = fmax(most, a[j]);
    }
    double entropy = entropy_of(a, m + 1);
    head[RS_HEAD_ENTROPY] += entropy;
    head[RS_HEAD_EFFECTIVE_N] += exp(entropy);
    head[RS_HEAD_PARTICIPATION] += squares > 0 ? all * all / squares : 0;
    head[RS_HEAD_MAX] += most;
    head[RS_HEAD_DISTANCE] += distance;
    head[RS_HEAD_SINK] += a[0];
    head[RS_HEAD_INDUCTION] += m >= d->induction_from ? at(a, m, d->induction_offset) : 0;
    head[RS_HEAD_ADAPTIVE] += adapts(softmax, z, m + 1);
    head[RS_HEAD_SPREAD] += high - low;
    head[RS_HEAD_SPREAD_SQUARED] += (high - low) * (high - low);
    head[RS_HEAD_SPREAD_MIN] = fmin(head[RS_HEAD_SPREAD_MIN], high - low);
    head[RS_HEAD_SPREAD_MAX] = fmax(head[RS_HEAD_SPREAD_MAX], high - low);
    for (int k = 0; k < d->n_offsets; k++)
        head[RS_HEAD_FIXED + k] += at(a, m, d->offsets[k]);
    int bucket = 0;
    while ((int64_t)2 << bucket <= m + 1)
        bucket++;
    head[RS_HEAD_FIXED + d->n_offsets + bucket] += entropy;
    head[RS_HEAD_FIXED + d->n_offsets + d->n_buckets + bucket] += most;
    free(a);
}

static void check_sums(const char *what, const double *got, const double *expected, int n, double rows, double allowed)
{
    for (int k = 0; k < n; k++) {
        double a = got[k] / rows, b = expected[k] / rows;
        if (!(fabs(a - b) <= allowed * (1 + fabs(b))))
            fail_msg("%s: %s, sum %d: %.9g instead of %.9g", getenv("ROPESWEEP_ISA"), what, k, a, b);
    }
}

static float *random_rows(int64_t n)
{
    rs_rng rng;
    float *qkv = rs_alloc((size_t)(n * WIDTH), sizeof *qkv);
    rs_rng_init(&rng, 1, "diagnostics", (uint64_t)n, 0);
    fill_normal(&rng, qkv, n * WIDTH, 1);
    for (int64_t i = 0; i < n; i++) /* heads from nearly even to sharp */
        for (int c = 0; c < HEADS * DIM; c++)
            qkv[i * WIDTH + c] *= (float)(1 + c / DIM) * 0.7f;
    return qkv;
}

static void check_case(const char *name, policy which)
{
    rs_rope rope = make_rope(name);
    rs_softmax softmax = make_softmax(which);
    rs_backend *backend = open_backend(RS_F32, 2);
    float *qkv = random_rows(ROWS);
    double *z = rs_alloc(ROWS, sizeof *z);
    rs_diagnostics got = measure(backend, &rope, &softmax, qkv, ROWS, ROWS), expected = make_diagnostics();
    char what[80];
    for (int head = 0; head < HEADS; head++) {
        double *sums = rs_diagnostics_head(&got, 0, head), *reference = rs_diagnostics_head(&expected, 0, head);
        for (int64_t m = 0; m < ROWS; m++) {
            logits(&rope, qkv, m, head, z);
            reference_row(&expected, &softmax, z, m, reference);
        }
        assert_true(softmax.normalizer == RS_NORMALIZE_EXP ? sums[RS_HEAD_VIOLATIONS] == 0 : isnan(sums[RS_HEAD_VIOLATIONS]));
        sums[RS_HEAD_VIOLATIONS] = 0;
        snprintf(what, sizeof what, "%s, policy %d, head %d", name, which, head);
        check_sums(what, sums, reference, rs_diagnostics_head_width(&got), ROWS, 1e-5);
    }
    rs_diagnostics_free(&got);
    rs_diagnostics_free(&expected);
    rs_backend_cpu.close(backend);
    free(qkv);
    free(z);
}

static void check_policies(void)
{
    for (int which = 0; which < N_POLICIES; which++)
        check_case("default", (policy)which);
    check_case("self_extend", PLAIN);
    check_case("self_extend", ALL_EXP);
    check_case("alibi", COLD);
    check_case("nope", SPARSEMAX);
}

static void equals_the_matrix(void **state)
{
    (void)state;
    for_each_isa(check_policies);
}

static void norms_are_of_what_was_projected(void **state)
{
    (void)state;
    rs_rope rope = make_rope("default");
    rs_softmax softmax = make_softmax(PLAIN);
    rs_backend *backend = open_backend(RS_F32, 2);
    float *qkv = random_rows(ROWS);
    rs_diagnostics got = measure(backend, &rope, &softmax, qkv, ROWS, 64);
    for (int part = 0; part < HEADS + 2 * KV_HEADS; part++)
        for (int k = 0; k < DIM / 2; k++) {
            double sum = 0;
            for (int64_t i = 0; i < ROWS; i++)
                sum += hypot((double)qkv[i * WIDTH + part * DIM + k], (double)qkv[i * WIDTH + part * DIM + k + DIM / 2]);
            assert_true(fabs(rs_diagnostics_norms(&got, 0, part)[k] / sum - 1) < 1e-6);
        }
    rs_diagnostics_free(&got);
    rs_backend_cpu.close(backend);
    free(qkv);
}

/* bf16 rounds operands, not the coefficients that are looked at: sums are near those of fp32, and the fast exponential is good enough. */
static void check_bf16(void)
{
    rs_rope rope = make_rope("default");
    rs_softmax softmax = make_softmax(PLAIN);
    rs_backend *narrow = open_backend(RS_BF16, 2), *wide = open_backend(RS_F32, 2);
    float *qkv = random_rows(ROWS);
    for (int64_t i = 0; i < ROWS * WIDTH; i++)
        qkv[i] = rounded(RS_BF16, qkv[i]);
    rs_rope still = make_rope("nope"); /* no rotation: the operands are the same */
    rs_diagnostics got = measure(narrow, &still, &softmax, qkv, ROWS, ROWS), expected = measure(wide, &still, &softmax, qkv, ROWS, ROWS);
    for (int head = 0; head < HEADS; head++)
        check_sums("bf16", rs_diagnostics_head(&got, 0, head), rs_diagnostics_head(&expected, 0, head), rs_diagnostics_head_width(&got),
                   ROWS, 3e-5);
    rs_diagnostics_free(&got);
    got = measure(narrow, &rope, &softmax, qkv, ROWS, ROWS);
    assert_true(rs_diagnostics_head(&got, 0, 0)[RS_HEAD_VIOLATIONS] == 0);
    rs_diagnostics_free(&got);
    rs_diagnostics_free(&expected);
    rs_backend_cpu.close(narrow);
    rs_backend_cpu.close(wide);
    free(qkv);
}

static void narrow_numbers(void **state)
{
    (void)state;
    for_each_isa(check_bf16);
}

/* --- bits --- */

static void sums_do_not_depend_on_the_cut(void **state)
{
    (void)state;
    static const int64_t chunks[] = {1, 17, 128, 200};
    rs_rope rope = make_rope("default");
    float *qkv = random_rows(ROWS);
    for (int which = 0; which < N_POLICIES; which += 3) {
        rs_softmax softmax = make_softmax((policy)which);
        rs_backend *backend = open_backend(RS_BF16, 2);
        rs_diagnostics whole = measure(backend, &rope, &softmax, qkv, ROWS, ROWS);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            rs_backend *alone = open_backend(RS_BF16, i % 2 ? 1 : 3);
            rs_diagnostics cut = measure(alone, &rope, &softmax, qkv, ROWS, chunks[i]);
            assert_memory_equal(whole.sums, cut.sums, rs_diagnostics_count(&whole) * sizeof *whole.sums);
            rs_diagnostics_free(&cut);
            rs_backend_cpu.close(alone);
        }
        rs_diagnostics_free(&whole);
        rs_backend_cpu.close(backend);
    }
    free(qkv);
}

/* Three sequences in a step, of which the middle one is not looked at: the outputs and the others' sums are what they are alone. */
static void sums_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    enum { N = 70 };
    rs_rope rope = make_rope("default");
    rs_softmax softmax = make_softmax(PLAIN);
    rs_backend *backend = open_backend(RS_F32, 2);
    float *qkv = random_rows(3 * N), *out = rs_alloc(3 * N * HEADS * DIM, sizeof *out), *plain = rs_alloc(3 * N * HEADS * DIM, sizeof *out);
    rs_diagnostics d[3] = {make_diagnostics(), {0}, make_diagnostics()};
    rs_sequence sequences[3];
    for (int s = 0; s < 3; s++) {
        sequences[s] =
            (rs_sequence){.first_row = s * N, .n_rows = N, .rope = &rope, .softmax = &softmax, .diagnostics = s == 1 ? NULL : &d[s]};
        assert_int_equal(rs_backend_cpu.kv_open(backend, N, 1, 1, &sequences[s].kv), RS_OK);
    }
    for (int pass = 0; pass < 2; pass++) {
        rs_step step = {.sequences = sequences, .n_sequences = 3};
        assert_int_equal(rs_backend_cpu.prepare(backend, &step), RS_OK);
        assert_int_equal(rs_backend_cpu.store_qkv(backend, 0, qkv), RS_OK);
        assert_int_equal(rs_backend_cpu.attention(backend, 0, pass ? plain : out), RS_OK);
        sequences[0].diagnostics = sequences[2].diagnostics = NULL;
    }
    assert_memory_equal(out, plain, 3 * N * HEADS * DIM * sizeof *out);
    for (int s = 0; s < 3; s += 2) {
        rs_diagnostics alone = measure(backend, &rope, &softmax, qkv + s * N * WIDTH, N, N);
        assert_memory_equal(d[s].sums, alone.sums, rs_diagnostics_count(&alone) * sizeof *alone.sums);
        rs_diagnostics_free(&alone);
        rs_diagnostics_free(&d[s]);
    }
    for (int s = 0; s < 3; s++)
        rs_backend_cpu.kv_free(backend, sequences[s].kv);
    rs_backend_cpu.close(backend);
    free(qkv);
    free(out);
    free(plain);
}

/* A sequence of few buckets into sums with many. */
static void merging_adds(void **state)
{
    (void)state;
    rs_rope rope = make_rope("default");
    rs_softmax softmax = make_softmax(PLAIN);
    rs_backend *backend = open_backend(RS_F32, 1);
    float *qkv = random_rows(ROWS);
    rs_diagnostics one = measure(backend, &rope, &softmax, qkv, ROWS, ROWS), all = make_diagnostics();
    rs_diagnostics_free(&all);
    rs_diagnostics_init(&all, (int64_t)1 << 20);
    rs_diagnostics_merge(&all, &one);
    rs_diagnostics_merge(&all, &one);
    double *a = rs_diagnostics_head(&all, 0, 2), *b = rs_diagnostics_head(&one, 0, 2);
    assert_int_equal(all.rows, 2 * ROWS);
    for (int k = 0; k < RS_HEAD_FIXED + one.n_offsets + one.n_buckets; k++)
        assert_true(a[k] == (k == RS_HEAD_SPREAD_MIN || k == RS_HEAD_SPREAD_MAX ? b[k] : 2 * b[k]));
    for (int k = 0; k < one.n_buckets; k++)
        assert_true(a[RS_HEAD_FIXED + one.n_offsets + all.n_buckets + k] == 2 * b[RS_HEAD_FIXED + one.n_offsets + one.n_buckets + k]);
    assert_true(rs_diagnostics_norms(&all, 0, 7)[3] == 2 * rs_diagnostics_norms(&one, 0, 7)[3]);
    rs_diagnostics_free(&one);
    rs_diagnostics_free(&all);
    rs_backend_cpu.close(backend);
    free(qkv);
}

/* Coefficients that no softmax of these logits has. */
static void a_broken_row_is_counted(void **state)
{
    (void)state;
    rs_softmax softmax = make_softmax(PLAIN);
    rs_diagnostics spec = make_diagnostics();
    float row[RS_ROW_FIXED + 4], offsets[5] = {0};
    rs_measure measure = {.spec = &spec, .rows = row, .width = RS_ROW_FIXED + 4};
    rs_attend task = {.softmax = &softmax, .group = 1, .first_position = 3, .n_rows = 1, .measure = &measure};
    rs_row_state even = {.l = 4,
                         .w2 = 4,
                         .total = 4,
                         .max = 1,
                         .low = 0.5f,
                         .high = 0.5f,
                         .unit = 1,
                         .scale = 1,
                         .shift = 0.5f,
                         .beta = 1,
                         .offsets = offsets};
    rs_measure_row(&task, 0, &even);
    assert_true(row[RS_HEAD_VIOLATIONS] == 0);
    even.total = 3.9f;
    rs_measure_row(&task, 0, &even);
    assert_true(row[RS_HEAD_VIOLATIONS] == 1);
    even.total = 4.1f;
    rs_measure_row(&task, 0, &even);
    assert_true(row[RS_HEAD_VIOLATIONS] == 1);
    rs_diagnostics_free(&spec);
}

int main(int argc, char **argv)
{
    (void)argc;
    calm_threads(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_matrix),
        cmocka_unit_test(norms_are_of_what_was_projected),
        cmocka_unit_test(narrow_numbers),
        cmocka_unit_test(sums_do_not_depend_on_the_cut),
        cmocka_unit_test(sums_do_not_depend_on_the_batch),
        cmocka_unit_test(merging_adds),
        cmocka_unit_test(a_broken_row_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
