/* attention_hopper.cu, the kernel itself, on a machine that knows what wgmma, TMA, mbarrier and named barriers promise: against an fp64
 * reference on the same rounded numbers, and a row's bits against other cuts of the prefill, company, tails of the cache and schedules. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <vector>

extern "C" {
#include <cmocka.h>

#include "base/rng.h"
#include "kernels/softmax_policy.h"
}

#include "kernels/cuda/attention_hopper.cu"

enum { LAYER = 3, CACHE_LAYERS = 2, KEY_SETS = 2 };

enum policy_kind { PLAIN, FALLING, LOG_N, NEGATIVE, CAP, ALIBI, ALIBI_CAP, SINK, ADAPTIVE, ADAPTIVE_ALL, POLICIES };

static rs_softmax softmax_of(int kind)
{
    static const double theta[] = {-0.037, 0.481, -2.3, 4.917, -1.791};
    rs_softmax softmax;
    rs_softmax_init_plain(&softmax);
    if (kind == FALLING || kind == LOG_N) { /* the first row's scale is 0 */
        softmax.scale_const = 0;
        softmax.scale_log_n = kind == LOG_N ? 0.4 : -0.2;
        softmax.scale_floor = -INFINITY;
    }
    if (kind == NEGATIVE) {
        softmax.scale_const = -0.7;
        softmax.scale_floor = -1;
    }
    softmax.cap = kind == CAP || kind == ALIBI_CAP || kind == ADAPTIVE_ALL ? 1.5 : 0;
    softmax.has_sink = kind == SINK || kind == ADAPTIVE_ALL;
    softmax.sink = 0.6;
    if (kind == ADAPTIVE || kind == ADAPTIVE_ALL) {
        softmax.n_theta = 5;
        memcpy(softmax.theta, theta, sizeof theta);
        softmax.entropy_threshold = 0.5;
    }
    return softmax;
}

static bool has_alibi(int kind)
{
    return kind == ALIBI || kind == ALIBI_CAP || kind == ADAPTIVE_ALL;
}

/* --- texts and launches --- */

struct shape {
    int heads, kv_heads, head_dim;
    std::vector<int32_t> kv_of_head;
};

/* Queries [h][n][e], keys [CACHE_LAYERS][hk][KEY_SETS][n][e] and values [CACHE_LAYERS][hk][n][e] of n tokens. `skipped`: the layer is one
 * that the rope does not rotate. */
struct text {
    const shape *s;
    int n, kind;
    bool skipped;
    rs_softmax softmax;
    std::vector<rs_bf16> queries, keys, values;
};

static std::vector<rs_bf16> random_numbers(rs_rng *rng, int64_t n, double deviation)
{
    std::vector<rs_bf16> x((size_t)n);
    for (rs_bf16 &each : x)
        each = rs_to_bf16((float)(deviation * rs_rng_normal(rng)));
    return x;
}

static text make_text(const shape &s, int n, int kind, bool skipped = false)
{
    rs_rng rng;
    rs_rng_init(&rng, 1, "hopper", (uint64_t)(n * 1000 + s.head_dim), (uint64_t)kind);
    text t = {&s, n, kind, skipped, softmax_of(kind), {}, {}, {}};
    int64_t plane = (int64_t)n * s.head_dim;
    t.queries = random_numbers(&rng, s.heads * plane, kind == ADAPTIVE ? 0.8 : 1.5);
    t.keys = random_numbers(&rng, CACHE_LAYERS * s.kv_heads * KEY_SETS * plane, 1);
    t.values = random_numbers(&rng, CACHE_LAYERS * s.kv_heads * plane, 1);
    return t;
}

static int key_set_of(const text &t)
{
    return t.skipped ? 0 : 1;
}

/* Tokens [position, position + n_rows) of a text as a step brings them. */
struct piece {
    const text *t;
    int position, n_rows;
    std::vector<rs_bf16> queries, keys, values;
    std::vector<float> row_scales;
    int64_t capacity;
};

/* The first n tokens of planes, in planes of `capacity`, the rest NaN. */
static std::vector<rs_bf16> cache_of(const std::vector<rs_bf16> &from, int tokens, int e, int n, int64_t capacity)
{
    int64_t planes = (int64_t)from.size() / tokens / e;
    std::vector<rs_bf16> to((size_t)(planes * capacity * e), 0x7fc1);
    for (int64_t plane = 0; plane < planes; plane++)
        memcpy(&to[(size_t)(plane * capacity * e)], &from[(size_t)(plane * tokens * e)], (size_t)n * (size_t)e * sizeof(rs_bf16));
    return to;
}

static piece cut(const text &t, int position, int n_rows, int spare = 0)
{
    piece p = {&t, position, n_rows, {}, {}, {}, {}, (position + n_rows + spare + 127) / 128 * 128};
    int e = t.s->head_dim;
    p.keys = cache_of(t.keys, t.n, e, position + n_rows, p.capacity);
    p.values = cache_of(t.values, t.n, e, position + n_rows, p.capacity);
    for (int head = 0; head < t.s->heads; head++) {
        const rs_bf16 *from = &t.queries[(size_t)(((int64_t)head * t.n + position) * e)];
        p.queries.insert(p.queries.end(), from, from + (int64_t)n_rows * e);
    }
    for (int m = position; m < position + n_rows; m++)
        p.row_scales.push_back(rs_softmax_row_scale(&t.softmax, m + 1));
    return p;
}

static rs_cuda_sequence sequence_of(piece *p, int64_t first_row)
{
    const rs_softmax &softmax = p->t->softmax;
    rs_cuda_sequence s = {};
    s.first_row = first_row;
    s.n_rows = p->n_rows;
    s.position = p->position;
    s.capacity = p->capacity;
    s.cache_layers = CACHE_LAYERS;
    s.cache_key_sets = KEY_SETS;
    s.n_segments = s.n_key_sets = 1;
    s.key_set[0] = 1;
    s.skip_every = p->t->skipped ? 2 : 3;
    s.alibi = has_alibi(p->t->kind);
    s.row_scales = p->row_scales.data();
    s.queries = p->queries.data();
    s.policy.has_sink = softmax.has_sink;
    s.policy.sink = (float)softmax.sink;
    s.policy.cap = (float)softmax.cap;
    s.policy.n_theta = softmax.n_theta;
    s.policy.entropy_threshold = (float)softmax.entropy_threshold;
    memcpy(s.policy.theta, softmax.theta, sizeof s.policy.theta);
    return s;
}

struct result {
    int64_t width;
    std::vector<rs_bf16> out;             /* rows of all pieces */
    std::vector<rs_cuda_row_stats> stats; /* [rows][heads] */
};

static float slope_of(int head)
{
    return ldexpf(1.0f, -head - 3);
}

static result attend(std::vector<piece *> pieces, bool stats, uint64_t seed)
{
    const shape &s = *pieces[0]->t->s;
    int planes = CACHE_LAYERS * s.kv_heads, box = s.head_dim == 256 ? 80 : 128;
    std::vector<rs_cuda_sequence> sequences;
    std::vector<rs_cuda_tile> tiles;
    std::vector<rs_machine_map> maps;
    std::vector<float> slopes;
    int64_t n = 0;
    for (size_t i = 0; i < pieces.size(); i++) {
        piece *p = pieces[i];
        sequences.push_back(sequence_of(p, n));
        maps.push_back({p->keys.data(), s.head_dim, p->capacity, planes * KEY_SETS, box, {}});
        maps.push_back({p->values.data(), s.head_dim, p->capacity, planes, box, {}});
        for (int row = 0; row < p->n_rows; row += RS_CUDA_HOPPER_ROWS)
            tiles.insert(tiles.begin(), {(int32_t)i, row});
        n += p->n_rows;
    }
    for (int head = 0; head < s.heads; head++)
        slopes.push_back(slope_of(head));
    result r = {(int64_t)s.heads * s.head_dim, {}, {}};
    r.out.assign((size_t)(n * r.width + 1), 0xabab);
    r.stats.resize((size_t)(n * s.heads));
    rs_cuda_attention_args args = {};
    args.sequences = sequences.data();
    args.tiles = tiles.data();
    args.n_tiles = (int32_t)tiles.size();
    args.tensor_maps = maps.data();
    args.layer = LAYER;
    args.heads = s.heads;
    args.kv_heads = s.kv_heads;
    args.head_dim = s.head_dim;
    args.bf16 = true;
    args.kv_of_head = s.kv_of_head.data();
    args.slopes = slopes.data();
    args.scale = 1 / sqrtf((float)s.head_dim);
    args.out = r.out.data();
    args.stats = stats ? r.stats.data() : NULL;
    rs_machine_seed(seed);
    assert_int_equal(rs_cuda_attend_hopper(NULL, &args), 0);
    assert_int_equal(r.out.back(), 0xabab);
    return r;
}

/* --- the reference --- */

struct expected {
    std::vector<double> output, size, spread; /* sums of weight |value| and of weight |value - output| */
    rs_cuda_row_stats stats;
};

static double beta_of(const rs_softmax &softmax, const std::vector<double> &z)
{
    double max = -INFINITY, sum = 0, entropy = 0, p = 0;
    for (double x : z)
        max = fmax(max, x);
    for (double x : z)
        sum += exp(x - max);
    for (double x : z)
        entropy -= exp(x - max) / sum * (x - max - log(sum));
    for (int i = 0; i < softmax.n_theta; i++)
        p = p * entropy + softmax.theta[i];
    return softmax.n_theta && entropy > softmax.entropy_threshold ? fmax(p, 1) : 1;
}

static rs_cuda_row_stats stats_of(const std::vector<double> &z, double beta)
{
    size_t m = z.size() - 1;
    double max = -INFINITY, min = INFINITY, sum = 0, first = 0, square = 0, distance = 0;
    for (double x : z) {
        max = fmax(max, x);
        min = fmin(min, x);
    }
    for (size_t j = 0; j <= m; j++) {
        double x = z[j] - max, e = exp(x);
        sum += e;
        first += x * e;
        square += e * e;
        distance += (double)(m - j) * e;
    }
    return {(float)max,   (float)min,    (float)sum,
            (float)first, (float)square, (float)distance,
            (float)z[0],  (float)z[m],   m ? (float)z[m - 1] : -INFINITY,
            (float)beta};
}

static expected reference(const text &t, int head, int m)
{
    const shape &s = *t.s;
    int64_t e = s.head_dim, value_plane = (int64_t)(LAYER % CACHE_LAYERS) * s.kv_heads + s.kv_of_head[(size_t)head];
    const rs_bf16 *q = &t.queries[(size_t)(((int64_t)head * t.n + m) * e)];
    const rs_bf16 *keys = &t.keys[(size_t)((value_plane * KEY_SETS + key_set_of(t)) * t.n * e)];
    const rs_bf16 *values = &t.values[(size_t)(value_plane * t.n * e)];
    std::vector<double> z, weights((size_t)m + 1);
    double row_scale = rs_softmax_row_scale(&t.softmax, m + 1);
    for (int j = 0; j <= m; j++) {
        double sum = 0;
        for (int64_t d = 0; d < e; d++)
            sum += (double)rs_from_bf16(q[d]) * rs_from_bf16(keys[j * e + d]);
        z.push_back(sum / sqrt((double)e) - (has_alibi(t.kind) ? (double)slope_of(head) * (m - j) : 0.0));
    }
    rs_softmax_row(&t.softmax, z.data(), m + 1, weights.data());
    expected x = {std::vector<double>((size_t)e), std::vector<double>((size_t)e), std::vector<double>((size_t)e), {}};
    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j <= m; j++)
            for (int64_t d = 0; d < e; d++) {
                double value = rs_from_bf16(values[j * e + d]), weight = weights[(size_t)j];
                if (pass == 0)
                    x.output[(size_t)d] += weight * value;
                else
                    x.spread[(size_t)d] += weight * fabs(value - x.output[(size_t)d]);
                if (pass == 0)
                    x.size[(size_t)d] += weight * fabs(value);
            }
    for (double &each : z)
        each = row_scale * (t.softmax.cap > 0 ? t.softmax.cap * tanh(each / t.softmax.cap) : each);
    double beta = beta_of(t.softmax, z);
    for (double &each : z)
        each *= beta;
    x.stats = stats_of(z, beta);
    return x;
}

/* A weight as rounded is within 2^-8 of itself, and enters numerator and denominator alike: what its error moves is the value's distance
 * from the output. The output is rounded once more. The rest is fp32's: logits of less than 64, so within 2^-16, and sums. */
static void check_output(const result &r, int64_t row, int head, const expected &x)
{
    size_t e = x.output.size();
    for (size_t d = 0; d < e; d++) {
        double value = rs_from_bf16(r.out[(size_t)(row * r.width) + (size_t)head * e + d]), wanted = x.output[d];
        double before = 0x1p-8 * (1 + 0x1p-6) * x.spread[d] + 0x1p-14 * x.size[d], bound = before + 0x1p-8 * (fabs(wanted) + before);
        if (!(fabs(value - wanted) <= bound))
            fail_msg("row %lld, head %d, element %zu: %.9g, not %.9g within %.3g", (long long)row, head, d, value, wanted, bound);
    }
}

static void check_number(const char *name, double value, double wanted, double bound)
{
    if (!(value == wanted || fabs(value - wanted) <= bound))
        fail_msg("%s: %.9g, not %.9g within %.3g", name, value, wanted, bound);
}

/* Logits within `near` of the reference's make sums within that factor. */
static void check_stats(const rs_cuda_row_stats &got, const rs_cuda_row_stats &x)
{
    double near = 1e-5 * (1 + fmax(fabs((double)x.max), fabs((double)x.min))), range = (double)x.max - x.min;
    check_number("max", got.max, x.max, near);
    check_number("min", got.min, x.min, near);
    check_number("sum", got.sum, x.sum, 4 * near * x.sum);
    check_number("first", got.first, x.first, 4 * near * (1 + range) * x.sum);
    check_number("square", got.square, x.square, 8 * near * x.square);
    check_number("distance", got.distance, x.distance, 4 * near * x.distance);
    check_number("sink", got.sink, x.sink, near);
    check_number("diagonal", got.diagonal, x.diagonal, near);
    check_number("previous", got.previous, x.previous, near);
    check_number("beta", got.beta, x.beta, 1e-4 * x.beta);
}

/* Rows at a tile's ends and some between, which the seed picks. */
static bool is_sampled(int m, int last, uint64_t seed)
{
    return m % 64 == 0 || m % 64 == 63 || m % 80 == 0 || m % 80 == 79 || m == last || (uint64_t)m % 13 == seed % 13;
}

static void check_piece(const result &r, int64_t first_row, const piece &p, bool stats, uint64_t seed)
{
    for (int m = p.position; m < p.position + p.n_rows; m++)
        for (int head = 0; is_sampled(m, p.position + p.n_rows - 1, seed) && head < p.t->s->heads; head++) {
            int64_t row = first_row + m - p.position;
            expected x = reference(*p.t, head, m);
            check_output(r, row, head, x);
            if (stats)
                check_stats(r.stats[(size_t)(row * p.t->s->heads + head)], x.stats);
        }
}

/* --- tests --- */

static const int head_dims[] = {64, 128, 256};

static shape grouped(int head_dim)
{
    return {3, 2, head_dim, {0, 0, 1}};
}

/* Every policy at every head_dim; a prompt of a length that no tile divides, and a later piece of a text. */
static void test_reference(void **state)
{
    (void)state;
    for (int head_dim : head_dims)
        for (int kind = 0; kind < POLICIES; kind++) {
            shape s = grouped(head_dim);
            text whole = make_text(s, 203, kind), rest = make_text(s, 331, kind, kind % 2 == 0);
            piece a = cut(whole, 0, 203), b = cut(rest, 258, 73);
            bool stats = kind % 3 != 1;
            result r = attend({&a, &b}, stats, (uint64_t)(kind + head_dim));
            check_piece(r, 0, a, stats, (uint64_t)kind);
            check_piece(r, 203, b, stats, (uint64_t)kind);
        }
}

/* Rows that end just before, at and after the borders of halves and of tiles of keys. */
static void test_borders(void **state)
{
    static const int lengths[] = {1, 2, 63, 64, 65, 79, 80, 81, 127, 128, 129, 160, 161, 192, 240, 256, 257};
    (void)state;
    for (int head_dim : {64, 256})
        for (int n : lengths) {
            shape s = {1, 1, head_dim, {0}};
            text t = make_text(s, n, n % 2 ? PLAIN : ADAPTIVE);
            piece p = cut(t, 0, n, n % 3 * 128);
            result r = attend({&p}, n % 5 == 0, (uint64_t)n);
            check_piece(r, 0, p, n % 5 == 0, 0);
        }
}

static void check_same_rows(const result &a, int64_t row_a, const result &b, int64_t row_b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a.out[(size_t)((row_a + i) * a.width)], &b.out[(size_t)((row_b + i) * b.width)], (size_t)a.width * sizeof(rs_bf16)))
            fail_msg("row %lld differs from row %lld", (long long)(row_a + i), (long long)(row_b + i));
}

/* A row's bits: the same however the prefill was cut, whoever runs beside it, with and without stats, under every schedule. */
static void test_bits(void **state)
{
    static const int kinds[] = {PLAIN, LOG_N, ALIBI_CAP, ADAPTIVE_ALL};
    static const int cuts[][2] = {{0, 1}, {1, 77}, {78, 48}, {126, 132}, {258, 42}}; /* two before a tile's end, too */
    (void)state;
    for (int head_dim : head_dims)
        for (int kind : kinds) {
            shape s = grouped(head_dim);
            text t = make_text(s, 300, kind), other = make_text(s, 90, SINK);
            piece whole = cut(t, 0, 300), company = cut(other, 0, 90);
            result alone = attend({&whole}, false, 1), beside = attend({&company, &whole}, true, 2);
            check_same_rows(alone, 0, beside, 90, 300);
            for (const int *each : cuts) {
                piece p = cut(t, each[0], each[1], 256);
                check_same_rows(attend({&p}, false, (uint64_t)each[0]), 0, alone, each[0], each[1]);
            }
        }
}

/* Many schedules of a block whose halves need different numbers of tiles, and of one with an empty half. */
static void test_schedules(void **state)
{
    (void)state;
    for (int head_dim : {64, 256})
        for (int n : {50, 310}) {
            shape s = {1, 1, head_dim, {0}};
            text t = make_text(s, n, ADAPTIVE_ALL);
            piece p = cut(t, 0, n);
            result first = attend({&p}, true, 0);
            for (uint64_t seed = 1; seed < 12; seed++)
                check_same_rows(attend({&p}, true, seed), 0, first, 0, n);
        }
}

static void test_refusals(void **state)
{
    (void)state;
    rs_cuda_attention_args args = {};
    args.head_dim = 96;
    assert_int_equal(rs_cuda_attend_hopper(NULL, &args), 801);
    args.head_dim = 128; /* nothing to do */
    assert_int_equal(rs_cuda_attend_hopper(NULL, &args), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_borders),  cmocka_unit_test(test_bits),
        cmocka_unit_test(test_schedules), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
