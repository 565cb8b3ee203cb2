/* The decode step's kernels against plain fp64 references on the same rounded inputs, and the rule that a row's bits depend on the row
 * alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <vector>

extern "C" {
#include <cmocka.h>

#include "base/rng.h"
#include "kernels/softmax_policy.h"
}

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/simt.h"

template <class T> using list = std::vector<T>;

static const float untouched = 12345.0f;

static rs_rng stream(const char *name, int64_t a)
{
    rs_rng rng;
    rs_rng_init(&rng, 1, name, (uint64_t)a, 0);
    return rng;
}

static list<rs_bf16> normal_bf16(rs_rng *rng, int64_t n, double deviation)
{
    list<rs_bf16> x((size_t)n);
    for (rs_bf16 &each : x)
        each = rs_to_bf16((float)(deviation * rs_rng_normal(rng)));
    return x;
}

/* --- skinny products --- */

/* Activations and weights of a product in the numbers that the kernel is given, with room between rows that holds NaN. */
struct factors {
    bool bf16;
    int64_t n, rows, cols, a_stride;
    list<rs_bf16> a16, w16;
    list<float> a, w;
};

static float at(const factors &f, bool of_w, int64_t i)
{
    const list<rs_bf16> &half = of_w ? f.w16 : f.a16;
    return f.bf16 ? rs_from_bf16(half[(size_t)i]) : (of_w ? f.w : f.a)[(size_t)i];
}

static factors make_factors(bool bf16, int64_t n, int64_t rows, int64_t cols, int64_t gap)
{
    rs_rng rng = stream("skinny", rows * 10000 + cols);
    factors f = {bf16, n, rows, cols, cols + gap, {}, {}, {}, {}};
    f.w16 = normal_bf16(&rng, rows * cols, 1);
    f.a16.assign((size_t)(n * f.a_stride), 0x7fc0);
    f.a.assign(f.a16.size(), NAN);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < cols; k++) {
            float x = (float)rs_rng_normal(&rng);
            f.a[(size_t)(i * f.a_stride + k)] = x;
            f.a16[(size_t)(i * f.a_stride + k)] = rs_to_bf16(x);
        }
    for (rs_bf16 w : f.w16)
        f.w.push_back(rs_from_bf16(w) * 1.001f);
    return f;
}

/* out [n, rows + 5], the kernel's. */
static list<float> run_skinny(const factors &f)
{
    int64_t floats = rs_cuda_skinny_floats(f.n, f.rows, f.cols), out_stride = f.rows + 5;
    list<float> out((size_t)(f.n * out_stride), untouched), work((size_t)floats + 1, NAN);
    work.back() = untouched;
    rs_cuda_skinny_args args = {f.bf16 ? (const void *)f.a16.data() : f.a.data(),
                                f.bf16 ? (const void *)f.w16.data() : f.w.data(),
                                f.a_stride,
                                f.n,
                                f.rows,
                                f.cols,
                                out_stride,
                                f.bf16,
                                out.data(),
                                work.data()};
    assert_int_equal(rs_cuda_skinny(NULL, &args), 0);
    assert_true(work.back() == untouched);
    return out;
}

/* Each sum is cols / 16 + 16 additions long at most, each within half a unit of 2^-24 of the sum of magnitudes. */
static void check_skinny(const factors &f)
{
    list<float> out = run_skinny(f);
    for (int64_t i = 0; i < f.n; i++) {
        const float *row = out.data() + i * (f.rows + 5);
        for (int64_t r = 0; r < f.rows; r++) {
            double sum = 0, magnitude = 0;
            for (int64_t k = 0; k < f.cols; k++) {
                double term = (double)at(f, false, i * f.a_stride + k) * (double)at(f, true, r * f.cols + k);
                sum += term;
                magnitude += fabs(term);
            }
            if (!(fabs(row[r] - sum) <= ((double)f.cols / 16 + 16) * ldexp(magnitude, -24)))
                fail_msg("%s, n %d, rows %d, cols %d: row %d, column %d is %g, not %g", f.bf16 ? "bf16" : "fp32", (int)f.n, (int)f.rows,
                         (int)f.cols, (int)i, (int)r, (double)row[r], sum);
        }
        for (int64_t r = f.rows; r < f.rows + 5; r++)
            assert_true(row[r] == untouched);
    }
}

static void test_skinny_bf16(void **state)
{
    (void)state;
    for (int64_t rows : {1, 16, 50, 300})
        for (int64_t cols : {8, 64, 136, 1000})
            for (int64_t n : {1, 3, 8, 9, 65})
                check_skinny(make_factors(true, n, rows, cols, n % 2 * 8));
    check_skinny(make_factors(true, 17, 70, 1608, 8)); /* three parts that are not equal, four tiles */
}

static void test_skinny_f32(void **state)
{
    (void)state;
    for (int64_t rows : {1, 16, 50})
        for (int64_t cols : {1, 8, 64, 1001})
            for (int64_t n : {1, 3, 9})
                check_skinny(make_factors(false, n, rows, cols, n % 2));
    check_skinny(make_factors(false, 1, 300, 136, 3));
    check_skinny(make_factors(false, 2, 5, 1600, 0));
}

/* A row alone and the row among 65, at another stride. */
static void test_skinny_bits(void **state)
{
    (void)state;
    for (bool bf16 : {true, false}) {
        factors many = make_factors(bf16, 65, 20, 1048, 8);
        list<float> out = run_skinny(many);
        for (int64_t i : {0, 7, 8, 40, 63, 64}) {
            factors one = make_factors(bf16, 1, 20, 1048, 0);
            std::copy_n(many.a.begin() + i * many.a_stride, one.cols, one.a.begin());
            std::copy_n(many.a16.begin() + i * many.a_stride, one.cols, one.a16.begin());
            list<float> alone = run_skinny(one);
            assert_memory_equal(alone.data(), out.data() + i * 25, 20 * sizeof(float));
        }
    }
}

static void test_skinny_nothing(void **state)
{
    (void)state;
    rs_cuda_skinny_args none = {};
    none.rows = none.cols = 8;
    assert_int_equal(rs_cuda_skinny(NULL, &none), 0);
}

/* --- attention: what a sequence is made of --- */

enum policy_kind { PLAIN, HOT, LOG_N, CAP, SINK, ADAPTIVE, ADAPTIVE_CAP_SINK, NEGATIVE, N_POLICIES };

static rs_softmax make_softmax(int kind)
{
    static const double theta[] = {-0.037, 0.481, -2.3, 4.917, -1.791};
    rs_softmax softmax;
    rs_softmax_init_plain(&softmax);
    softmax.scale_const = kind == HOT ? 2.5 : kind == LOG_N ? 0.2 : kind == NEGATIVE ? -0.5 : 1;
    softmax.scale_floor = kind == NEGATIVE ? -1 : 0;
    softmax.scale_log_n = kind == LOG_N ? 0.3 : 0;
    softmax.cap = kind == CAP || kind == ADAPTIVE_CAP_SINK ? 2 : 0;
    softmax.has_sink = kind == SINK || kind == ADAPTIVE_CAP_SINK;
    softmax.sink = 0.7;
    if (kind == ADAPTIVE || kind == ADAPTIVE_CAP_SINK) {
        softmax.n_theta = 5;
        memcpy(softmax.theta, theta, sizeof theta);
        softmax.entropy_threshold = 0.5;
    }
    return softmax;
}

static rs_cuda_policy policy_of(const rs_softmax &softmax)
{
    rs_cuda_policy policy = {};
    policy.normalizer = softmax.normalizer;
    policy.has_sink = softmax.has_sink;
    policy.cap = (float)softmax.cap;
    policy.sink = (float)softmax.sink;
    policy.n_theta = softmax.n_theta;
    policy.entropy_threshold = (float)softmax.entropy_threshold;
    memcpy(policy.theta, softmax.theta, sizeof policy.theta);
    return policy;
}

/* Two runs of two key sets; three runs, near and far ones sharing a set, which begin within a tile of keys; the second of three runs
 * empty; ALiBi; layers not rotated. */
enum map_kind { ONE_RUN, TWO_RUNS, THREE_RUNS, EMPTY_RUN, ALIBI, SKIPPED, N_MAPS };

struct bench {
    int heads, kv_heads, e;
    list<int32_t> kv_of_head;
    bool marked; /* a key's values are 0 but for column key % e: so few keys share a column that one that is lost shows */
};
enum { LAYERS = 2 };

/* A sequence's own memory. What lies beyond its keys is NaN. */
struct row_data {
    int n_keys, policy, map;
    list<rs_bf16> keys, values, queries;
    list<int64_t> starts;
    list<float> scales;
    rs_softmax softmax;
    rs_cuda_sequence sequence;
};

static void forget(list<rs_bf16> *planes, int64_t capacity, int e, int n_keys)
{
    for (size_t i = 0; i < planes->size(); i++)
        if ((int64_t)i / e % capacity >= n_keys)
            (*planes)[i] = 0x7fc0;
}

static void mark(list<rs_bf16> *planes, int64_t capacity, int e)
{
    for (size_t i = 0; i < planes->size(); i++)
        if ((int64_t)i / e % capacity % e != (int64_t)i % e)
            (*planes)[i] = 0;
}

static list<int64_t> starts_of(int map, int n_keys)
{
    if (map == TWO_RUNS || map == SKIPPED)
        return {0, std::max(0, n_keys - 37), 77};
    int64_t second = map == EMPTY_RUN ? std::min(n_keys, 13) : n_keys / 3, third = map == EMPTY_RUN ? second : n_keys - n_keys / 4;
    return {0, second, third};
}

static void make_row(row_data *row, const bench &b, int n_keys, int policy, int map)
{
    rs_rng rng = stream("decode", n_keys * 100 + policy * 10 + map);
    bool segments = map == TWO_RUNS || map == THREE_RUNS || map == EMPTY_RUN || map == SKIPPED;
    int64_t capacity = (n_keys + 127) / 128 * 128;
    rs_cuda_sequence *s = &row->sequence;
    *s = {};
    row->n_keys = n_keys;
    row->policy = policy;
    row->map = map;
    s->n_rows = 1;
    s->position = n_keys - 1;
    s->capacity = capacity;
    s->cache_layers = LAYERS;
    s->n_segments = !segments ? 1 : map == THREE_RUNS || map == EMPTY_RUN ? 3 : 2;
    s->n_key_sets = segments ? 2 : 1;
    s->cache_key_sets = 2;
    s->key_set[0] = s->key_set[2] = s->n_key_sets - 1;
    s->skip_every = map == SKIPPED ? 2 : 0;
    s->alibi = map == ALIBI;
    row->keys = normal_bf16(&rng, (int64_t)LAYERS * b.kv_heads * 2 * capacity * b.e, 1);
    row->values = normal_bf16(&rng, (int64_t)LAYERS * b.kv_heads * capacity * b.e, 1);
    row->queries = normal_bf16(&rng, (int64_t)s->n_segments * b.heads * b.e, 1.5);
    if (b.marked)
        mark(&row->values, capacity, b.e);
    forget(&row->keys, capacity, b.e, n_keys);
    forget(&row->values, capacity, b.e, n_keys);
    row->starts = starts_of(map, n_keys);
    row->softmax = make_softmax(policy);
    row->scales = {rs_softmax_row_scale(&row->softmax, n_keys)};
    s->keys = row->keys.data();
    s->values = row->values.data();
    s->queries = row->queries.data();
    s->starts = segments ? row->starts.data() : NULL;
    s->row_scales = row->scales.data();
    s->policy = policy_of(row->softmax);
}

/* --- a launch --- */

struct result {
    list<rs_bf16> out; /* [rows][heads][e] */
    list<rs_cuda_row_stats> stats;
};

static float slope_of(int head)
{
    return ldexpf(1.0f, -head - 3);
}

/* The listed rows in this order, the sequences standing in reverse, in memory for rows of `longest` keys. */
static result attend(const bench &b, const list<row_data *> &rows, int layer, int longest, bool with_stats)
{
    int n = (int)rows.size();
    list<rs_cuda_sequence> sequences;
    list<int32_t> listed;
    list<float> slopes;
    for (int i = 0; i < n; i++) {
        sequences.insert(sequences.begin(), rows[(size_t)i]->sequence);
        sequences.front().first_row = i;
        listed.push_back(n - 1 - i);
    }
    for (int head = 0; head < b.heads; head++)
        slopes.push_back(slope_of(head));
    int64_t floats = rs_cuda_decode_floats(n, b.heads, b.e, longest);
    list<float> work((size_t)floats + 1, NAN);
    work.back() = untouched;
    result r = {list<rs_bf16>((size_t)(n * b.heads * b.e), 0x7fc0), list<rs_cuda_row_stats>((size_t)(n * b.heads))};

    rs_cuda_attention_args args = {};
    args.sequences = sequences.data();
    args.decode_sequences = listed.data();
    args.n_decode = n;
    args.layer = layer;
    args.heads = b.heads;
    args.kv_heads = b.kv_heads;
    args.head_dim = b.e;
    args.bf16 = true;
    args.kv_of_head = b.kv_of_head.data();
    args.slopes = slopes.data();
    args.scale = 1 / sqrtf((float)b.e);
    args.out = r.out.data();
    args.stats = with_stats ? r.stats.data() : NULL;
    args.work = work.data();
    args.work_floats = floats;
    assert_int_equal(rs_cuda_attend_decode(NULL, &args), 0);
    assert_true(work.back() == untouched);
    return r;
}

/* --- the reference --- */

struct expected {
    list<double> products, output, spread; /* [n_keys], [e], [e]: how far a value is from the output on average */
};

static double value_at(const bench &b, const row_data &row, int layer, int kv_head, int key, int d)
{
    int64_t plane = layer % LAYERS * b.kv_heads + kv_head;
    return (double)rs_from_bf16(row.values[(size_t)((plane * row.sequence.capacity + key) * b.e + d)]);
}

static double product_at(const bench &b, const row_data &row, int layer, int head, int key)
{
    const rs_cuda_sequence *s = &row.sequence;
    bool rotates = s->skip_every == 0 || (layer + 1) % s->skip_every != 0;
    int segment = 0, kv_head = b.kv_of_head[(size_t)head];
    while (rotates && segment + 1 < s->n_segments && key >= row.starts[(size_t)segment + 1])
        segment++;
    int64_t plane = ((int64_t)(layer % LAYERS) * b.kv_heads + kv_head) * 2 + (rotates ? s->key_set[segment] : 0);
    double sum = 0;
    for (int d = 0; d < b.e; d++)
        sum += (double)rs_from_bf16(row.keys[(size_t)((plane * s->capacity + key) * b.e + d)]) *
               (double)rs_from_bf16(row.queries[(size_t)(((int64_t)segment * b.heads + head) * b.e + d)]);
    return sum / sqrt((double)b.e) - (s->alibi ? (double)slope_of(head) * (row.n_keys - 1 - key) : 0);
}

static expected reference(const bench &b, const row_data &row, int layer, int head)
{
    expected x = {list<double>((size_t)row.n_keys), list<double>((size_t)b.e, 0), list<double>((size_t)b.e, 0)};
    list<double> weights(x.products.size());
    for (int key = 0; key < row.n_keys; key++)
        x.products[(size_t)key] = product_at(b, row, layer, head, key);
    rs_softmax_row(&row.softmax, x.products.data(), row.n_keys, weights.data());
    double dropped = 1; /* the sink's weight, that of a key whose value is 0 */
    for (double weight : weights)
        dropped -= weight;
    for (int d = 0; d < b.e; d++) {
        double output = 0, spread = 0;
        for (int key = 0; key < row.n_keys; key++)
            output += weights[(size_t)key] * value_at(b, row, layer, b.kv_of_head[(size_t)head], key, d);
        for (int key = 0; key < row.n_keys; key++)
            spread += weights[(size_t)key] * fabs(value_at(b, row, layer, b.kv_of_head[(size_t)head], key, d) - output);
        x.output[(size_t)d] = output;
        x.spread[(size_t)d] = spread + fabs(dropped * output);
    }
    return x;
}

/* A weight is rounded by 2^-8 of itself at most, and e^z of a logit's fp32 errors adds a few 2^-17; a mean whose weights are off by a part
 * x of themselves is off by x of its spread. The output is rounded by 2^-8 of itself. */
static void check_outputs(const bench &b, const row_data &row, int layer, const rs_bf16 *out)
{
    for (int head = 0; head < b.heads; head++) {
        expected x = reference(b, row, layer, head);
        for (int d = 0; d < b.e; d++) {
            double got = (double)rs_from_bf16(out[head * b.e + d]), wanted = x.output[(size_t)d];
            double bound = (ldexp(1, -8) + ldexp(1, -14)) * (x.spread[(size_t)d] + fabs(wanted)) + 1e-6;
            if (!(fabs(got - wanted) <= bound))
                fail_msg("keys %d, policy %d, map %d, head_dim %d, head %d of %d: element %d is %g, not %g within %g", row.n_keys,
                         row.policy, row.map, b.e, head, b.heads, d, got, wanted, bound);
        }
    }
}

static void check_rows(const bench &b, list<row_data> &rows, int layer)
{
    int longest = 0;
    list<row_data *> all;
    for (row_data &row : rows) {
        all.push_back(&row);
        longest = std::max(longest, row.n_keys);
    }
    result r = attend(b, all, layer, longest, false);
    for (size_t i = 0; i < rows.size(); i++)
        check_outputs(b, rows[i], layer, r.out.data() + i * (size_t)(b.heads * b.e));
}

static list<row_data> make_rows(const bench &b, const list<int> &lengths, int policy, int map)
{
    list<row_data> rows(lengths.size());
    for (size_t i = 0; i < lengths.size(); i++)
        make_row(&rows[i], b, lengths[i], policy < 0 ? (int)i % N_POLICIES : policy, map < 0 ? (int)i % N_MAPS : map);
    return rows;
}

/* --- the tests of attention --- */

static void test_policies_and_maps(void **state)
{
    (void)state;
    bench b = {2, 1, 64, {0, 0}, true};
    for (int policy = 0; policy < N_POLICIES; policy++)
        for (int map = 0; map < N_MAPS; map++) {
            list<row_data> rows = make_rows(b, {1, 2, 255, 256, 257, 600}, policy, map);
            check_rows(b, rows, map == SKIPPED ? policy % 2 : 0);
        }
}

/* Many heads to a kv head, one each, more than the rows of a tile, uneven groups and a kv head that none reads. */
static void test_shapes(void **state)
{
    (void)state;
    const bench benches[] = {
        {4, 2, 64, {0, 0, 1, 1}, false}, {2, 2, 128, {0, 1}, false},
        {3, 1, 128, {0, 0, 0}, true},    {2, 1, 256, {0, 0}, true},
        {2, 2, 256, {0, 1}, false},      {4, 3, 64, {0, 0, 0, 2}, false},
        {4, 2, 64, {1, 0, 1, 0}, false}, {35, 2, 64, list<int32_t>(35, 1), false},
    };
    list<int> lengths = {600, 257, 2, 256, 255, 1};
    for (const bench &b : benches) {
        list<row_data> rows = make_rows(b, lengths, -1, -1);
        check_rows(b, rows, 0);
        std::rotate(lengths.begin(), lengths.begin() + 1, lengths.end()); /* others meet the policies and maps */
    }
}

/* A row gives the same bits alone and among others, however much work memory there is; and where its many runs share few blocks. */
static void test_row_bits(void **state)
{
    (void)state;
    bench b = {2, 1, 64, {0, 0}, false};
    list<int> lengths(67, 1);
    lengths[3] = lengths[66] = 1300;
    lengths[40] = 300;
    list<row_data> rows = make_rows(b, lengths, -1, -1);
    make_row(&rows[3], b, 1300, ADAPTIVE_CAP_SINK, THREE_RUNS);
    make_row(&rows[40], b, 300, CAP, ALIBI);
    list<row_data *> all;
    for (row_data &row : rows)
        all.push_back(&row);
    result together = attend(b, all, 0, 1300, true);
    size_t width = (size_t)(b.heads * b.e);
    for (size_t i : {3u, 20u, 40u, 66u}) {
        result alone = attend(b, {all[i]}, 0, rows[i].n_keys + (i == 66 ? 1000 : 0), true);
        assert_memory_equal(alone.out.data(), together.out.data() + i * width, width * sizeof(rs_bf16));
        assert_memory_equal(alone.stats.data(), together.stats.data() + i * (size_t)b.heads, 2 * sizeof(rs_cuda_row_stats));
        check_outputs(b, rows[i], 0, alone.out.data());
    }
}

static void near(double got, double wanted, double bound, const char *what, const row_data &row)
{
    if (!(fabs(got - wanted) <= bound) && got != wanted)
        fail_msg("keys %d, policy %d, map %d: %s is %g, not %g within %g", row.n_keys, row.policy, row.map, what, got, wanted, bound);
}

/* Logits as they enter exp, from the products. */
static list<double> logits_of(const row_data &row, const list<double> &products, double *beta)
{
    list<double> z = products;
    double max = -INFINITY, sum = 0, entropy = 0, p = 0;
    for (double &each : z) {
        each = row.scales[0] * (row.softmax.cap > 0 ? row.softmax.cap * tanh(each / row.softmax.cap) : each);
        max = fmax(max, each);
    }
    for (double each : z)
        sum += exp(each - max);
    for (double each : z)
        entropy -= exp(each - max) / sum * (each - max - log(sum));
    for (int i = 0; i < row.softmax.n_theta; i++)
        p = p * entropy + row.softmax.theta[i];
    *beta = row.softmax.n_theta > 0 && entropy > row.softmax.entropy_threshold ? fmax(p, 1) : 1;
    for (double &each : z)
        each *= *beta;
    return z;
}

/* A logit is off by 2e-5 at most: its magnitude is below 16, and it is the sum of e products in fp32 times factors in fp32. */
static void check_stats(const bench &b, const row_data &row, int head, const rs_cuda_row_stats &got)
{
    double beta, sum = 0, first = 0, square = 0, distance = 0, x = 2e-5;
    list<double> z = logits_of(row, reference(b, row, 0, head).products, &beta);
    size_t m = z.size() - 1;
    double max = *std::max_element(z.begin(), z.end());
    for (size_t j = 0; j <= m; j++) {
        double e = exp(z[j] - max);
        sum += e;
        first += (z[j] - max) * e;
        square += e * e;
        distance += (double)(m - j) * e;
    }
    near(got.max, max, x, "max", row);
    near(got.min, *std::min_element(z.begin(), z.end()), x, "min", row);
    near(got.sum, sum, 2 * x * sum, "sum", row);
    near(got.first, first, 2 * x * (sum - first), "first", row);
    near(got.square, square, 4 * x * square, "square", row);
    near(got.distance, distance, 2 * x * distance, "distance", row);
    near(got.sink, z[0], x, "sink", row);
    near(got.diagonal, z[m], x, "diagonal", row);
    near(got.previous, m > 0 ? z[m - 1] : -INFINITY, x, "previous", row);
    near(got.beta, beta, 2e-6 * beta, "beta", row);
}

static void test_stats(void **state)
{
    (void)state;
    bench b = {2, 1, 64, {0, 0}, false};
    list<row_data> rows = make_rows(b, {513, 1, 2, 257, 300, 256, 600, 40}, -1, -1);
    list<row_data *> all;
    for (row_data &row : rows)
        all.push_back(&row);
    result r = attend(b, all, 0, 600, true);
    for (size_t i = 0; i < rows.size(); i++)
        for (int head = 0; head < b.heads; head++)
            check_stats(b, rows[i], head, r.stats[i * 2 + (size_t)head]);
}

static void test_unsupported(void **state)
{
    (void)state;
    rs_cuda_attention_args args = {};
    assert_int_equal(rs_cuda_attend_decode(NULL, &args), 0);
    args.n_decode = 1;
    args.head_dim = 64;
    assert_int_equal(rs_cuda_attend_decode(NULL, &args), 801);
    args.bf16 = true;
    args.head_dim = 80;
    assert_int_equal(rs_cuda_attend_decode(NULL, &args), 801);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skinny_bf16),       cmocka_unit_test(test_skinny_f32),
        cmocka_unit_test(test_skinny_bits),       cmocka_unit_test(test_skinny_nothing),
        cmocka_unit_test(test_policies_and_maps), cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_row_bits),          cmocka_unit_test(test_stats),
        cmocka_unit_test(test_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
