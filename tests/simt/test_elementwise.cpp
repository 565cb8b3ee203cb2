/* The row-wise CUDA kernels against the formulas of backend.h in fp64: bit for bit where each number has one rounding, else within what
 * the roundings on the way can add up to (u: half an ulp). Every row is also computed alone and unaligned: its bits are the same. */
#include <algorithm>

#include "simt/rows_fixture.h"

static const double exp_error = 6; /* of rs_exp in u: 2 ulp of exp2, and three roundings of half an ulp around it */

/* --- embed --- */

static void check_embed(bool bf16, int64_t n, int64_t d, float scale, int64_t shift)
{
    numbers random("embed", n, d);
    const int32_t first_id = 100;
    const int64_t rows = 11;
    act_buffer table(bf16, rows * d, shift);
    std::vector<int32_t> ids;
    buffer<float> x(n * d, shift), alone(d, 1 - shift);
    static const int32_t edges[] = {99, 100, 110, 111, -1, INT32_MAX, INT32_MIN, 0};
    for (int64_t i = 0; i < rows * d; i++)
        table.set(i, random.normal(1));
    for (int64_t i = 0; i < n; i++)
        ids.push_back(i < 8 ? edges[(i + n) % 8] : first_id + (int32_t)random.below(rows));
    rs_cuda_embed_args args = {table.data(), ids.data(), first_id, rows, n, d, scale, bf16, x.data()};
    assert_int_equal(rs_cuda_embed(NULL, &args), 0);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (int64_t)ids[(size_t)i] - first_id;
        for (int64_t c = 0; c < d; c++)
            assert_same(x[i * d + c], row >= 0 && row < rows ? table.at(row * d + c) * scale : 0.0f);
        args.ids = &ids[(size_t)i];
        args.n = 1;
        args.x = alone.data();
        assert_int_equal(rs_cuda_embed(NULL, &args), 0);
        assert_memory_equal(alone.data(), x.data() + i * d, (size_t)d * sizeof(float));
    }
}

static void test_embed(void **state)
{
    (void)state;
    for (int64_t n : row_counts)
        for (int64_t d : {8, 576, 129, 5000})
            for (int which = 0; which < 4; which++)
                check_embed(which & 1, n, d, which & 1 ? 22.627417f : 1.0f, which >> 1);
}

/* --- add --- */

static void test_add(void **state)
{
    (void)state;
    for (int64_t n : {1, 3, 4, 1023, 4096, 4100, 9001})
        for (int64_t shift = 0; shift < 4; shift++) {
            numbers random("add", n, shift);
            buffer<float> a(n, shift & 1), b(n, shift >> 1), sum(n);
            for (int64_t i = 0; i < n; i++) {
                a[i] = random.normal(1);
                b[i] = random.normal(1e-3);
                sum[i] = a[i] + b[i];
            }
            assert_int_equal(rs_cuda_add(NULL, a.data(), b.data(), n), 0);
            assert_memory_equal(a.data(), sum.data(), (size_t)n * sizeof(float));
        }
}

/* --- add_norm --- */

/* h of a row's normalised value, as its formats round it. */
static float round_norm(double normal, float weight, bool cast_first, bool bf16)
{
    float x = (float)normal;
    if (bf16 && cast_first)
        x = to_bf16(x);
    return bf16 ? to_bf16(x * weight) : x * weight;
}

/* The sum of squares is one fma a value in a thread (16 a batch), 5 over the warp and one a warp, the first exact; then a division, eps,
 * the root, which halves what came before, a division and the product with x. What follows is monotone, so a value lies between the
 * roundings of its bounds. */
static double norm_error(int64_t d)
{
    double threads = std::min(1024.0, 32 * ceil((double)d / 512)), sum = 16 * ceil((double)d / (16 * threads)) + 5 + threads / 32;
    return ((sum + 2) / 2 + 3) * u;
}

static void check_norm_row(const float *x, const float *weight, float eps, bool cast_first, act_buffer *h, int64_t first, int64_t d)
{
    double squares = 0, delta = norm_error(d);
    for (int64_t c = 0; c < d; c++)
        squares += (double)x[c] * (double)x[c];
    for (int64_t c = 0; c < d; c++) {
        double normal = (double)x[c] / sqrt(squares / (double)d + (double)eps);
        float one = round_norm(normal * (1 - delta), weight[c], cast_first, h->bf16);
        float other = round_norm(normal * (1 + delta), weight[c], cast_first, h->bf16);
        assert_within(h->at(first + c), std::min(one, other), std::max(one, other));
    }
}

static void check_norm(bool bf16, bool cast_first, bool with_y, int64_t n, int64_t d, int64_t shift)
{
    numbers random("norm", n, d);
    buffer<float> x(n * d, shift), y(n * d, shift), weight(d, shift), sum(n * d), one_x(d, 1 - shift);
    act_buffer h(bf16, n * d, shift), one_h(bf16, d, 1 - shift);
    const float eps = 1e-5f;
    for (int64_t i = 0; i < n * d; i++) {
        x[i] = random.normal(1 + (double)(i / d));
        y[i] = random.normal(0.3);
        sum[i] = with_y ? x[i] + y[i] : x[i];
    }
    for (int64_t c = 0; c < d; c++)
        weight[c] = random.normal(1);
    buffer<float> before = x;
    rs_cuda_norm_args args = {x.data(), with_y ? y.data() : NULL, weight.data(), eps, cast_first, bf16, n, d, h.data()};
    assert_int_equal(rs_cuda_add_norm(NULL, &args), 0);
    assert_memory_equal(x.data(), sum.data(), (size_t)(n * d) * sizeof(float));
    for (int64_t i = 0; i < n; i++) {
        check_norm_row(x.data() + i * d, weight.data(), eps, cast_first, &h, i * d, d);
        memcpy(one_x.data(), before.data() + i * d, (size_t)d * sizeof(float));
        rs_cuda_norm_args one = {one_x.data(), with_y ? y.data() + i * d : NULL, weight.data(), eps, cast_first, bf16, 1, d, one_h.data()};
        assert_int_equal(rs_cuda_add_norm(NULL, &one), 0);
        assert_memory_equal(one_x.data(), x.data() + i * d, (size_t)d * sizeof(float));
        for (int64_t c = 0; c < d; c++)
            assert_same(one_h.at(c), h.at(i * d + c));
    }
    /* Only the sum. */
    args.x = before.data();
    args.h = NULL;
    assert_int_equal(rs_cuda_add_norm(NULL, &args), 0);
    assert_memory_equal(before.data(), sum.data(), (size_t)(n * d) * sizeof(float));
}

static void test_add_norm(void **state)
{
    (void)state;
    for (int which = 0; which < 8; which++)
        for (int64_t d : {8, 576, 129, 2051})
            for (int64_t n : row_counts)
                if (d < 1000 || n == 3)
                    check_norm(which & 1, which & 2, which & 4, n, d, which >> 1 & 1);
}

/* More values than a block holds in one batch, and than 48 KB keep. */
static void test_wide_norm(void **state)
{
    (void)state;
    check_norm(true, true, true, 2, 20000, 0);
    check_norm(false, false, true, 1, 17001, 0);
}

/* --- glu --- */

enum { SILU, GELU };

/* act(x) up in fp64, and what fp32 may be off by: rs_exp, one more rounding each for 1 + e, the quotient and the product; for GELU the
 * exponent too has up to six roundings, of which e / (1 + e) reaches the result. */
static double exact_glu(int activation, double x, double up, double *error)
{
    double exponent = activation == SILU ? -x : -2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    double e = exp(exponent), y = x / (1 + e) * up;
    double roundings = exp_error + 3 + (activation == SILU ? 0 : 6 * fabs(exponent) / (1 + 1 / e));
    *error = fabs(y) * roundings * u + 1e-35 * fabs(up); /* below e^-80 e is inf and y 0 */
    return y;
}

static void check_glu(int activation, bool bf16, int64_t n, int64_t f, int64_t shift)
{
    numbers random("glu", n, f);
    buffer<float> gate_up(2 * n * f, shift);
    act_buffer out(bf16, n * f, shift), alone(bf16, f, 1 - shift);
    for (int64_t i = 0; i < 2 * n * f; i++)
        gate_up[i] = i % 50 == 7 ? random.normal(40) : random.normal(2);
    rs_cuda_glu_args args = {activation, bf16, gate_up.data(), n, f, out.data()};
    assert_int_equal(rs_cuda_glu(NULL, &args), 0);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < f; c++) {
            double error, y = exact_glu(activation, (double)gate_up[2 * i * f + c], (double)gate_up[(2 * i + 1) * f + c], &error);
            float low = (float)(y - error), high = (float)(y + error);
            assert_within(out.at(i * f + c), bf16 ? to_bf16(low) : low, bf16 ? to_bf16(high) : high);
        }
        rs_cuda_glu_args one = {activation, bf16, gate_up.data() + 2 * i * f, 1, f, alone.data()};
        assert_int_equal(rs_cuda_glu(NULL, &one), 0);
        for (int64_t c = 0; c < f; c++)
            assert_same(alone.at(c), out.at(i * f + c));
    }
}

static void test_glu(void **state)
{
    (void)state;
    for (int which = 0; which < 8; which++)
        for (int64_t n : row_counts)
            for (int64_t f : {8, 129, 2060})
                if (f < 1000 || n == 3)
                    check_glu(which & 1 ? GELU : SILU, which & 2, n, f, which >> 2);
}

static void test_glu_edges(void **state)
{
    (void)state;
    enum { N = 9 };
    const float gates[N] = {0.0f, -0.0f, 200.0f, -200.0f, INFINITY, -INFINITY, NAN, 3e38f, -3e38f};
    /* x / (1 + e^-x) is -inf / inf at -inf, as on the CPU; x^3 of 3e38 is inf, which e^-inf makes 0. */
    const float expected[N] = {0.0f, -0.0f, 200.0f, -0.0f, INFINITY, NAN, NAN, 3e38f, -0.0f};
    for (int activation = 0; activation < 2; activation++) {
        float gate_up[2 * N], out[N];
        for (int i = 0; i < N; i++) {
            gate_up[i] = gates[i];
            gate_up[N + i] = 1.0f;
        }
        rs_cuda_glu_args args = {activation, false, gate_up, 1, N, out};
        assert_int_equal(rs_cuda_glu(NULL, &args), 0);
        for (int i = 0; i < N; i++)
            assert_same(out[i], expected[i]);
    }
}

/* --- head_reduce --- */

/* log sum e^z of a row in fp64. */
static double exact_log_sum(const float *logits, int64_t n, double cap)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = std::max(max, (double)logits[i]);
    for (int64_t i = 0; i < n; i++)
        sum += cap > 0 ? exp(cap * tanh((double)logits[i] / cap) - cap * tanh(max / cap)) : exp((double)logits[i] - max);
    return log(sum) + (cap > 0 ? cap * tanh(max / cap) : max);
}

/* A term has rs_exp's error and its argument's, which is off by |z - max| u; |x| e^x < 1, so that counts one more a term for the sum over
 * terms. The sum adds one rounding a value of a thread, 5 + 5 over lanes and warps, and a product with another e^x, likewise off, a batch
 * and a tree. The capped logit: quotient, tanh within 2 ulp, product. */
static double log_sum_error(int64_t columns, double cap)
{
    double batches = ceil((double)columns / 4096), trees = 3, runs = 2;
    double sum = exp_error + 1 + 16 * batches + 10 + (batches + trees + runs) * (exp_error + 2);
    return (sum + 6 * cap) * u;
}

static void check_head(int64_t n, int64_t columns, float cap, int64_t shift)
{
    numbers random("head", n, columns);
    const int32_t first_id = 1000;
    int64_t width = 2 * columns; /* two runs, one after the other */
    buffer<float> logits(2 * n * columns, shift), row_logits(width), one(columns, 1 - shift);
    std::vector<int32_t> targets;
    std::vector<rs_cuda_head_row> rows((size_t)n);
    for (int64_t i = 0; i < 2 * n * columns; i++)
        logits[i] = random.normal(6);
    for (int64_t i = 0; i < n; i++)
        targets.push_back(i % 4 == 3 ? -1 : first_id + (int32_t)(i % 4 == 2 ? width : i % 4 == 1 ? columns - 1 : random.below(width)));
    rs_cuda_head_args first = {logits.data(), targets.data(), n, columns, first_id, cap, true, rows.data()};
    rs_cuda_head_args second = {
        logits.data() + n * columns, targets.data(), n, columns, first_id + (int32_t)columns, cap, false, rows.data()};
    assert_int_equal(rs_cuda_head_reduce(NULL, &first), 0);
    assert_int_equal(rs_cuda_head_reduce(NULL, &second), 0);
    for (int64_t i = 0; i < n; i++) {
        const rs_cuda_head_row &row = rows[(size_t)i];
        memcpy(row_logits.data(), logits.data() + i * columns, (size_t)columns * sizeof(float));
        memcpy(row_logits.data() + columns, logits.data() + (n + i) * columns, (size_t)columns * sizeof(float));
        const float *z = row_logits.data();
        double expected = exact_log_sum(z, width, (double)cap), error = log_sum_error(columns, (double)cap);
        assert_within((double)row.max + log((double)row.sum), expected - error, expected + error);
        int64_t best = std::max_element(z, z + width) - z, at = targets[(size_t)i] - first_id;
        double slack = 6 * u * (double)cap;
        assert_int_equal(row.best_id, first_id + best);
        assert_same(row.best, row.max);
        double most = cap > 0 ? (double)cap * tanh((double)z[best] / (double)cap) : (double)z[best];
        assert_within(row.max, most - slack, most + slack);
        if (at < 0 || at >= width) {
            assert_same(row.target, -INFINITY);
        } else {
            double target = cap > 0 ? (double)cap * tanh((double)z[at] / (double)cap) : (double)z[at];
            assert_within(row.target, target - slack, target + slack);
        }
        /* Alone and elsewhere in memory: the same bits. */
        rs_cuda_head_row lone;
        rs_cuda_head_args args = {one.data(), &targets[(size_t)i], 1, columns, first_id, cap, true, &lone};
        memcpy(one.data(), z, (size_t)columns * sizeof(float));
        assert_int_equal(rs_cuda_head_reduce(NULL, &args), 0);
        args.first_id += (int32_t)columns;
        args.fresh = false;
        memcpy(one.data(), z + columns, (size_t)columns * sizeof(float));
        assert_int_equal(rs_cuda_head_reduce(NULL, &args), 0);
        assert_memory_equal(&lone, &row, sizeof row);
    }
}

static void test_head(void **state)
{
    (void)state;
    for (int64_t columns : {1, 7, 128, 129, 2049, 5000})
        for (int64_t n : row_counts)
            if (columns < 1000 || n == 3)
                for (int which = 0; which < 4; which++)
                    check_head(n, columns, which & 1 ? 30.0f : 0.0f, which >> 1);
}

/* One row of `columns` logits, all `fill` but the given ones. */
static rs_cuda_head_row reduce_row(int64_t columns, float fill, std::vector<std::pair<int64_t, float>> others,
                                   const rs_cuda_head_row *before, float cap = 0)
{
    buffer<float> logits(columns);
    int32_t target = -1;
    rs_cuda_head_row row = before ? *before : rs_cuda_head_row{NAN, NAN, NAN, NAN, 77};
    for (int64_t i = 0; i < columns; i++)
        logits[i] = fill;
    for (const auto &each : others)
        logits[each.first] = each.second;
    rs_cuda_head_args args = {logits.data(), &target, 1, columns, 0, cap, !before, &row};
    assert_int_equal(rs_cuda_head_reduce(NULL, &args), 0);
    return row;
}

static void test_head_edges(void **state)
{
    (void)state;
    /* Equal maxima in other batches, warps, lanes and places of a vector: the lowest id. */
    for (int64_t lowest : {0, 3, 5, 130, 1025, 4095, 4999}) {
        rs_cuda_head_row row = reduce_row(9000, 1.0f, {{8999, 4.0f}, {4999, 4.0f}, {lowest, 4.0f}}, NULL);
        assert_int_equal(row.best_id, lowest);
        assert_same(row.max, 4.0f);
        assert_same(row.target, -INFINITY);
    }
    rs_cuda_head_row row = reduce_row(300, 2.0f, {}, NULL);
    assert_int_equal(row.best_id, 0);
    assert_same(row.sum, 300.0f);
    row = reduce_row(5, 0.0f, {}, NULL, 1.0f);
    assert_same(row.sum, 5.0f);

    /* A later run's equal does not win; a run of -inf changes nothing. */
    rs_cuda_head_row before = {2.0f, 3.0f, -1.5f, 2.0f, 7};
    row = reduce_row(10, 2.0f, {}, &before);
    assert_int_equal(row.best_id, 7);
    assert_same(row.sum, 13.0f);
    assert_same(row.target, -1.5f);
    row = reduce_row(10, -INFINITY, {}, &before);
    assert_memory_equal(&row, &before, sizeof row);

    /* -inf is nothing; all -inf leaves e^(-inf - -inf). */
    row = reduce_row(1030, -INFINITY, {{1029, -3.0f}}, NULL);
    assert_same(row.max, -3.0f);
    assert_same(row.sum, 1.0f);
    assert_int_equal(row.best_id, 1029);
    row = reduce_row(9, -INFINITY, {}, NULL);
    assert_same(row.max, -INFINITY);
    assert_same(row.sum, NAN);
    assert_int_equal(row.best_id, -1);

    /* NaN and inf show in the sum; the greatest number is found past NaN. */
    row = reduce_row(5000, 0.0f, {{4100, NAN}, {4, 1.0f}}, NULL);
    assert_same(row.max, 1.0f);
    assert_same(row.sum, NAN);
    assert_int_equal(row.best_id, 4);
    row = reduce_row(9, NAN, {}, NULL);
    assert_same(row.sum, NAN);
    assert_int_equal(row.best_id, -1);
    row = reduce_row(5000, 0.0f, {{4100, INFINITY}}, NULL);
    assert_same(row.max, INFINITY);
    assert_same(row.sum, NAN);
    assert_int_equal(row.best_id, 4100);
}

static void test_nothing(void **state)
{
    (void)state;
    rs_cuda_embed_args embed = {};
    rs_cuda_norm_args norm = {};
    rs_cuda_glu_args glu = {};
    rs_cuda_head_args head = {};
    rs_cuda_store_args store = {};
    rs_cuda_table_args table = {};
    assert_int_equal(rs_cuda_embed(NULL, &embed), 0);
    assert_int_equal(rs_cuda_add_norm(NULL, &norm), 0);
    assert_int_equal(rs_cuda_glu(NULL, &glu), 0);
    assert_int_equal(rs_cuda_head_reduce(NULL, &head), 0);
    assert_int_equal(rs_cuda_store(NULL, &store), 0);
    assert_int_equal(rs_cuda_rope_table(NULL, &table), 0);
    assert_int_equal(rs_cuda_add(NULL, NULL, NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),     cmocka_unit_test(test_add),        cmocka_unit_test(test_add_norm),
        cmocka_unit_test(test_wide_norm), cmocka_unit_test(test_glu),        cmocka_unit_test(test_glu_edges),
        cmocka_unit_test(test_head),      cmocka_unit_test(test_head_edges), cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
