/* The kernels that attend many rows, on tensor cores and in general, against a plain fp64 reference on the same rounded queries, keys and
 * values; and the rule that a row's bits depend on its own sequence alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <deque>
#include <vector>

extern "C" {
#include <cmocka.h>

#include "base/rng.h"
#include "kernels/softmax_policy.h"
}

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/simt.h"

template <class T> using list = std::vector<T>;

/* --- what a sequence is made of --- */

enum policy_kind {
    PLAIN,
    COLD,
    LOG_N,
    SSMAX,
    NEGATIVE,
    CAP,
    SINK,
    ADAPTIVE,
    ADAPTIVE_CAP_SINK,
    N_EXP, /* those whose normalizer is RS_NORMALIZE_EXP */
    TOP_K = N_EXP,
    TOP_K_SINK,
    SPARSEMAX,
    ENTMAX_15_SINK,
    ENTMAX_13,
    N_POLICIES
};

static rs_softmax make_softmax(int kind)
{
    static const double theta[] = {-0.037, 0.481, -2.3, 4.917, -1.791};
    rs_softmax softmax;
    rs_softmax_init_plain(&softmax);
    softmax.scale_const = kind == COLD ? 3 : kind == LOG_N ? 0.2 : kind == SSMAX ? 0 : kind == NEGATIVE ? -0.5 : 1;
    softmax.scale_log_n = kind == LOG_N ? 0.3 : kind == SSMAX ? 0.43 : 0;
    softmax.scale_floor = kind == NEGATIVE ? -1 : 0;
    softmax.cap = kind == CAP || kind == ADAPTIVE_CAP_SINK ? 2 : 0;
    softmax.has_sink = kind == SINK || kind == ADAPTIVE_CAP_SINK || kind == TOP_K_SINK || kind == ENTMAX_15_SINK;
    softmax.sink = 0.7;
    if (kind == ADAPTIVE || kind == ADAPTIVE_CAP_SINK) {
        softmax.n_theta = 5;
        memcpy(softmax.theta, theta, sizeof theta);
        softmax.entropy_threshold = 0.5;
    }
    if (kind == TOP_K || kind == TOP_K_SINK) {
        softmax.normalizer = RS_NORMALIZE_TOP_K;
        softmax.k = 7;
    }
    if (kind == SPARSEMAX || kind == ENTMAX_15_SINK || kind == ENTMAX_13) {
        softmax.normalizer = RS_NORMALIZE_ENTMAX;
        softmax.alpha = kind == SPARSEMAX ? 2 : kind == ENTMAX_13 ? 1.3 : 1.5;
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
    policy.alpha = (float)softmax.alpha;
    policy.k = softmax.k;
    memcpy(policy.theta, softmax.theta, sizeof policy.theta);
    return policy;
}

/* Runs of keys: one; one with ALiBi; a window and what lies before; chunks - older ones, the previous, one's own - which end within a tile
 * of keys; three of which the second is empty; two, on a layer that is not rotated. */
enum map_kind { ONE_RUN, ALIBI, WINDOW, CHUNKS, EMPTY_RUN, SKIPPED, N_MAPS };
enum { LAYERS = 2, LAYER = 3, SETS = 2 }; /* the layer attended is the cache's second */

static int segments_of(int map)
{
    return map == ONE_RUN || map == ALIBI ? 1 : map == WINDOW || map == SKIPPED ? 2 : 3;
}

static int64_t start_of(int map, int64_t m, int segment)
{
    int64_t start = 0;
    if (map == WINDOW || map == SKIPPED)
        start = segment == 1 ? m - 49 : 0;
    if (map == CHUNKS)
        start = segment == 2 ? m / 40 * 40 : segment == 1 ? m / 40 * 40 - 40 : 0;
    if (map == EMPTY_RUN)
        start = segment == 0 ? 0 : m / 2;
    return std::max<int64_t>(start, 0);
}

struct shape {
    bool bf16;
    int heads, kv_heads, e;
    list<int32_t> kv_of_head;
};

/* A sequence from its first token to its last, numbers as rounded to the dtype. */
struct text {
    const shape *s;
    int n, policy, map;
    list<float> keys, values, queries; /* [LAYERS][hk][SETS][n][e], [LAYERS][hk][n][e], [segments][h][n][e] */
    rs_softmax softmax;
};

static float rounded(const shape &s, double x)
{
    return s.bf16 ? rs_from_bf16(rs_to_bf16((float)x)) : (float)x;
}

static list<float> normal(rs_rng *rng, const shape &s, int64_t n, double deviation)
{
    list<float> x((size_t)n);
    for (float &each : x)
        each = rounded(s, deviation * rs_rng_normal(rng));
    return x;
}

static text make_text(const shape &s, int n, int policy, int map)
{
    rs_rng rng;
    rs_rng_init(&rng, 1, "attention", (uint64_t)(n * s.e), (uint64_t)(policy * N_MAPS + map));
    text t = {&s, n, policy, map, {}, {}, {}, make_softmax(policy)};
    t.keys = normal(&rng, s, (int64_t)LAYERS * s.kv_heads * SETS * n * s.e, 1);
    t.values = normal(&rng, s, (int64_t)LAYERS * s.kv_heads * n * s.e, 1);
    t.queries = normal(&rng, s, (int64_t)segments_of(map) * s.heads * n * s.e, 1.5);
    return t;
}

/* --- launches --- */

/* Rows [position, position + n_rows) of a text as a step has them. The cache holds NaN from there on. */
struct piece {
    const text *t;
    int position, n_rows;
    list<uint32_t> keys, values, queries; /* raw memory */
    list<int64_t> starts;
    list<float> scales;
    rs_cuda_sequence sequence;
};

static void put(const shape &s, list<uint32_t> *memory, int64_t i, float x)
{
    if (s.bf16)
        ((rs_bf16 *)memory->data())[i] = rs_to_bf16(x);
    else
        ((float *)memory->data())[i] = x;
}
static float get(const shape &s, const list<uint32_t> &memory, int64_t i)
{
    return s.bf16 ? rs_from_bf16(((const rs_bf16 *)memory.data())[i]) : ((const float *)memory.data())[i];
}
static size_t words(const shape &s, int64_t n)
{
    return (size_t)(s.bf16 ? (n + 1) / 2 : n);
}

/* Tokens [first, first + n) of each plane [tokens][e] into planes [capacity][e], the rest NaN. */
static list<uint32_t> planes_of(const shape &s, const list<float> &from, int tokens, int first, int n, int64_t capacity)
{
    int64_t planes = (int64_t)from.size() / tokens / s.e;
    list<uint32_t> memory(words(s, planes * capacity * s.e), s.bf16 ? 0x7fc07fc0 : 0x7fc00000);
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t i = 0; i < (int64_t)n * s.e; i++)
            put(s, &memory, plane * capacity * s.e + i, from[(size_t)((plane * tokens + first) * s.e + i)]);
    return memory;
}

static piece cut(const text &t, int position, int n_rows)
{
    piece p = {&t, position, n_rows, {}, {}, {}, {}, {}, {}};
    int64_t capacity = (position + n_rows + 127) / 128 * 128;
    p.keys = planes_of(*t.s, t.keys, t.n, 0, position + n_rows, capacity);
    p.values = planes_of(*t.s, t.values, t.n, 0, position + n_rows, capacity);
    p.queries = planes_of(*t.s, t.queries, t.n, position, n_rows, n_rows);
    for (int m = position; m < position + n_rows; m++) {
        p.scales.push_back(rs_softmax_row_scale(&t.softmax, m + 1));
        for (int segment = 0; segment < RS_CUDA_SEGMENTS; segment++)
            p.starts.push_back(segment < segments_of(t.map) ? start_of(t.map, m, segment) : 1 << 20);
    }
    rs_cuda_sequence *s = &p.sequence;
    s->n_rows = n_rows;
    s->position = position;
    s->capacity = capacity;
    s->cache_layers = LAYERS;
    s->cache_key_sets = SETS;
    s->n_segments = segments_of(t.map);
    s->n_key_sets = s->n_segments > 1 ? 2 : 1;
    s->key_set[0] = s->key_set[2] = s->n_key_sets - 1;
    s->skip_every = t.map == SKIPPED ? 2 : 0;
    s->alibi = t.map == ALIBI;
    s->policy = policy_of(t.softmax);
    return p;
}

typedef int attend_kernel(void *stream, const rs_cuda_attention_args *args);

struct result {
    list<list<uint32_t>> rows; /* of each piece in order: raw memory [h e], empty where not asked for */
    list<list<rs_cuda_row_stats>> stats;
};

struct request {
    attend_kernel *kernel;
    bool stats;
    int every;  /* of the rows, of a kernel with one row a tile */
    int blocks; /* for whose work there is room */
};

static float slope_of(int head)
{
    return ldexpf(1.0f, -head - 3);
}

static result attend(const request &r, list<piece *> pieces)
{
    const shape &s = *pieces[0]->t->s;
    list<rs_cuda_sequence> sequences;
    list<rs_cuda_tile> tiles;
    list<float> slopes;
    int64_t n = 0, longest = 0;
    for (size_t i = 0; i < pieces.size(); i++) {
        piece *p = pieces[i];
        p->sequence.first_row = n;
        p->sequence.keys = p->keys.data();
        p->sequence.values = p->values.data();
        p->sequence.queries = p->queries.data();
        p->sequence.starts = segments_of(p->t->map) > 1 ? p->starts.data() : NULL;
        p->sequence.row_scales = p->scales.data();
        sequences.push_back(p->sequence);
        int step = r.kernel == rs_cuda_attend_mma ? RS_CUDA_MMA_ROWS : RS_CUDA_GENERAL_ROWS * r.every;
        for (int row = (p->n_rows - 1) % step; row < p->n_rows; row += step) /* so that the last is among them */
            tiles.insert(tiles.begin(), {(int32_t)i, step == RS_CUDA_MMA_ROWS ? row / step * step : row});
        n += p->n_rows;
        longest = std::max<int64_t>(longest, p->position + p->n_rows);
    }
    for (int head = 0; head < s.heads; head++)
        slopes.push_back(slope_of(head));
    int64_t width = (int64_t)s.heads * s.e, floats = rs_cuda_general_floats(longest) * r.blocks;
    list<uint32_t> out(words(s, n * width), 0xabababab);
    list<rs_cuda_row_stats> stats((size_t)(n * s.heads));
    list<float> work((size_t)floats + 1, NAN);
    work.back() = 12345.0f;

    rs_cuda_attention_args args = {};
    args.sequences = sequences.data();
    args.tiles = tiles.data();
    args.n_tiles = (int32_t)tiles.size();
    args.layer = LAYER;
    args.heads = s.heads;
    args.kv_heads = s.kv_heads;
    args.head_dim = s.e;
    args.bf16 = s.bf16;
    args.kv_of_head = s.kv_of_head.data();
    args.slopes = slopes.data();
    args.scale = 1 / sqrtf((float)s.e);
    args.out = out.data();
    args.stats = r.stats ? stats.data() : NULL;
    args.work = work.data();
    args.work_floats = floats;
    args.longest_row = longest;
    assert_int_equal(r.kernel(NULL, &args), 0);
    assert_true(work.back() == 12345.0f);

    result got;
    for (piece *p : pieces)
        for (int64_t row = p->sequence.first_row; row < p->sequence.first_row + p->n_rows; row++) {
            bool asked = r.kernel == rs_cuda_attend_mma || (p->sequence.first_row + p->n_rows - 1 - row) % r.every == 0;
            list<uint32_t> memory(words(s, width));
            for (int64_t i = 0; i < width; i++)
                put(s, &memory, i, get(s, out, row * width + i));
            got.rows.push_back(asked ? memory : list<uint32_t>());
            got.stats.push_back(list<rs_cuda_row_stats>(stats.begin() + row * s.heads, stats.begin() + (row + 1) * s.heads));
        }
    return got;
}

/* --- the reference --- */

/* Scaled products of row m with its keys, and its output; spread: how far a value is from the output on average. */
struct expected {
    list<double> products, output, spread;
};

static double value_at(const text &t, int head, int key, int d)
{
    int64_t plane = (int64_t)(LAYER % LAYERS) * t.s->kv_heads + t.s->kv_of_head[(size_t)head];
    return (double)t.values[(size_t)((plane * t.n + key) * t.s->e + d)];
}

static double product_at(const text &t, int head, int m, int key)
{
    const shape &s = *t.s;
    int segment = 0, segments = t.map == SKIPPED ? 1 : segments_of(t.map);
    while (segment + 1 < segments && key >= start_of(t.map, m, segment + 1))
        segment++;
    int set = segments > 1 && segment % 2 == 0 ? 1 : 0;
    int64_t plane = ((int64_t)(LAYER % LAYERS) * s.kv_heads + s.kv_of_head[(size_t)head]) * SETS + set;
    const float *q = &t.queries[(size_t)((((int64_t)segment * s.heads + head) * t.n + m) * s.e)];
    const float *k = &t.keys[(size_t)((plane * t.n + key) * s.e)];
    double sum = 0;
    for (int d = 0; d < s.e; d++)
        sum += (double)q[d] * (double)k[d];
    return sum / sqrt((double)s.e) - (t.map == ALIBI ? (double)slope_of(head) * (m - key) : 0);
}

static expected reference(const text &t, int head, int m)
{
    size_t e = (size_t)t.s->e;
    expected x = {list<double>((size_t)m + 1), list<double>(e, 0), list<double>(e, 0)};
    list<double> weights(x.products.size());
    for (int key = 0; key <= m; key++)
        x.products[(size_t)key] = product_at(t, head, m, key);
    rs_softmax_row(&t.softmax, x.products.data(), m + 1, weights.data());
    double dropped = 1; /* the sink's weight, that of a key whose value is 0 */
    for (double weight : weights)
        dropped -= weight;
    for (int key = 0; key <= m; key++)
        for (size_t d = 0; d < e && weights[(size_t)key] > 0; d++)
            x.output[d] += weights[(size_t)key] * value_at(t, head, key, (int)d);
    for (int key = 0; key <= m; key++)
        for (size_t d = 0; d < e && weights[(size_t)key] > 0; d++)
            x.spread[d] += weights[(size_t)key] * fabs(value_at(t, head, key, (int)d) - x.output[d]);
    for (size_t d = 0; d < e; d++)
        x.spread[d] += fabs(dropped * x.output[d]);
    return x;
}

/* bf16: a weight is rounded by 2^-8 of itself at most, and a mean whose weights are off by a part x of themselves is off by x of its
 * spread; the output is rounded by 2^-8 of itself. Either dtype: a logit's fp32 errors, a few 2^-20, are the weights' (entmax: beside the
 * weights). */
static void check_row(const text &t, int head, int m, const list<uint32_t> &got)
{
    expected x = reference(t, head, m);
    for (int d = 0; d < t.s->e; d++) {
        double is = (double)get(*t.s, got, head * t.s->e + d), wanted = x.output[(size_t)d];
        double bound = (t.s->bf16 ? ldexp(1, -8) : 0) * (x.spread[(size_t)d] + fabs(wanted)) + ldexp(1, -15);
        if (!(fabs(is - wanted) <= bound))
            fail_msg("%s, %d keys, policy %d, map %d, head_dim %d, row %d, head %d of %d: element %d is %g, not %g within %g",
                     t.s->bf16 ? "bf16" : "fp32", t.n, t.policy, t.map, t.s->e, m, head, t.s->heads, d, is, wanted, bound);
    }
}

static void check_pieces(const list<piece *> &pieces, const result &got)
{
    size_t at = 0;
    for (const piece *p : pieces)
        for (int row = 0; row < p->n_rows; row++, at++)
            for (int head = 0; head < p->t->s->heads && !got.rows[at].empty(); head++)
                check_row(*p->t, head, p->position + row, got.rows[at]);
}

/* A prefill from 0, one that goes on, and a single row. */
static void check_batch(const shape &s, const request &r, int policy, int map)
{
    text texts[3] = {make_text(s, 70, policy, map), make_text(s, 130, policy, map), make_text(s, 193, policy, map)};
    piece pieces[3] = {cut(texts[0], 0, 70), cut(texts[1], 99, 31), cut(texts[2], 192, 1)};
    list<piece *> all = {&pieces[1], &pieces[0], &pieces[2]};
    check_pieces(all, attend(r, all));
}

static const request on_tensor_cores = {rs_cuda_attend_mma, false, 1, 1}, in_general = {rs_cuda_attend_general, false, 9, 3};

static void test_mma(void **state)
{
    (void)state;
    const shape gqa = {true, 3, 2, 64, {0, 0, 1}};
    for (int policy = 0; policy < N_EXP; policy++)
        for (int map = 0; map < N_MAPS; map++)
            check_batch(gqa, on_tensor_cores, policy, map);
}

static void test_mma_head_dims(void **state)
{
    (void)state;
    const shape shapes[] = {{true, 2, 1, 128, {0, 0}}, {true, 2, 2, 128, {1, 0}}, {true, 2, 1, 256, {0, 0}}, {true, 1, 1, 256, {0}}};
    for (int policy = 0; policy < N_EXP; policy++)
        check_batch(shapes[policy % 4], on_tensor_cores, policy, policy % N_MAPS);
    for (int map = 0; map < N_MAPS; map++)
        check_batch(shapes[map % 4], on_tensor_cores, map == ALIBI ? PLAIN : ADAPTIVE_CAP_SINK, map);
}

static void test_general(void **state)
{
    (void)state;
    const shape shapes[] = {{false, 2, 1, 32, {0, 0}}, {true, 2, 2, 64, {1, 0}}};
    for (int policy = 0; policy < N_POLICIES; policy++)
        for (int map = 0; map < N_MAPS; map++)
            check_batch(shapes[(policy + map) % 2], in_general, policy, map);
}

static void test_general_head_dims(void **state)
{
    (void)state;
    int policy = 0;
    for (int e : {2, 36, 80, 250, 512})
        for (bool bf16 : {true, false})
            check_batch({bf16, 3, 2, e, {0, 1, 1}}, in_general, policy++ % N_POLICIES, CHUNKS);
}

/* --- bits --- */

/* Two texts at once, in pieces of other sizes, and each alone: the same bits, and the same with statistics as without. */
static void check_bits(const shape &s, const request &r, int policy, int map)
{
    text a = make_text(s, 150, policy, map), b = make_text(s, 71, PLAIN, ONE_RUN);
    piece whole[2] = {cut(a, 0, a.n), cut(b, 0, b.n)};
    request with_stats = r;
    with_stats.stats = true;
    result all = attend(with_stats, {&whole[1], &whole[0]});
    auto same = [&](const list<uint32_t> &x, const list<rs_cuda_row_stats> *stats, int of_b, int m) {
        size_t at = (size_t)(of_b ? m : b.n + m);
        if (x != all.rows[at] || (stats && memcmp(stats->data(), all.stats[at].data(), stats->size() * sizeof *stats->data())))
            fail_msg("policy %d, map %d, head_dim %d: row %d has other bits", policy, map, s.e, m);
    };
    for (int of_b = 0; of_b < 2; of_b++) {
        const text &t = of_b ? b : a;
        result alone = attend(r, {&whole[of_b]});
        for (int m = 0; m < t.n; m++)
            same(alone.rows[(size_t)m], NULL, of_b, m);
    }
    int sizes[] = {1, 2, 63, 7, 30}, i = 0;
    with_stats.blocks = 1;
    for (int m = 0, n; m < a.n; m += n) {
        n = std::min(sizes[i++ % 5], a.n - m);
        piece part = cut(a, m, n), other = cut(b, 20, 3);
        result got = attend(with_stats, {&other, &part});
        for (int row = 0; row < n; row++)
            same(got.rows[(size_t)(3 + row)], &got.stats[(size_t)(3 + row)], 0, m + row);
        for (int row = 0; row < 3; row++)
            same(got.rows[(size_t)row], &got.stats[(size_t)row], 1, 20 + row);
    }
}

static void test_bits(void **state)
{
    (void)state;
    const shape narrow = {true, 2, 1, 64, {0, 0}}, wide = {true, 1, 1, 256, {0}}, middle = {true, 1, 1, 128, {0}};
    check_bits(narrow, on_tensor_cores, PLAIN, ONE_RUN);
    check_bits(narrow, on_tensor_cores, ADAPTIVE_CAP_SINK, CHUNKS);
    check_bits(narrow, on_tensor_cores, SSMAX, WINDOW);
    check_bits(middle, on_tensor_cores, ADAPTIVE, EMPTY_RUN);
    check_bits(middle, on_tensor_cores, CAP, ALIBI);
    check_bits(wide, on_tensor_cores, SINK, CHUNKS);
    request every_row = in_general;
    every_row.every = 1;
    check_bits({true, 1, 1, 36, {0}}, every_row, ADAPTIVE, WINDOW);
    check_bits({false, 1, 1, 16, {0}}, every_row, ENTMAX_15_SINK, ALIBI);
    check_bits({false, 1, 1, 16, {0}}, every_row, TOP_K, CHUNKS);
}

/* --- statistics --- */

/* The logits that enter exp. */
static list<double> logits_of(const text &t, const list<double> &products, double *beta)
{
    list<double> z = products;
    double max = -INFINITY, sum = 0, entropy = 0, p = 0;
    double n = (double)z.size(), scale = fmax(t.softmax.scale_floor, t.softmax.scale_const + t.softmax.scale_log_n * log(n));
    for (double &each : z) {
        each = scale * (t.softmax.cap > 0 ? t.softmax.cap * tanh(each / t.softmax.cap) : each);
        max = fmax(max, each);
    }
    for (double each : z)
        sum += exp(each - max);
    for (double each : z)
        entropy -= exp(each - max) / sum * (each - max - log(sum));
    for (int i = 0; i < t.softmax.n_theta; i++)
        p = p * entropy + t.softmax.theta[i];
    *beta = t.softmax.n_theta > 0 && entropy > t.softmax.entropy_threshold ? fmax(p, 1) : 1;
    for (double &each : z)
        each *= *beta;
    return z;
}

static void near(double got, double wanted, double bound, const char *what, const text &t, int m)
{
    if (!(fabs(got - wanted) <= bound) && got != wanted)
        fail_msg("policy %d, map %d, row %d: %s is %g, not %g within %g", t.policy, t.map, m, what, got, wanted, bound);
}

/* A logit is off by 2e-5 at most: its magnitude is below 16, and it is the sum of e products in fp32 times factors in fp32. */
static void check_stats(const text &t, int head, int m, const rs_cuda_row_stats &got)
{
    double beta, sum = 0, first = 0, square = 0, distance = 0, x = 2e-5;
    list<double> z = logits_of(t, reference(t, head, m).products, &beta);
    double max = *std::max_element(z.begin(), z.end());
    for (int j = 0; j <= m; j++) {
        double e = exp(z[(size_t)j] - max);
        sum += e;
        first += (z[(size_t)j] - max) * e;
        square += e * e;
        distance += (m - j) * e;
    }
    near(got.max, max, x, "max", t, m);
    near(got.min, *std::min_element(z.begin(), z.end()), x, "min", t, m);
    near(got.sum, sum, 2 * x * sum, "sum", t, m);
    near(got.first, first, 2 * x * (sum - first), "first", t, m);
    near(got.square, square, 4 * x * square, "square", t, m);
    near(got.distance, distance, 2 * x * distance, "distance", t, m);
    near(got.sink, z[0], x, "sink", t, m);
    near(got.diagonal, z[(size_t)m], x, "diagonal", t, m);
    near(got.previous, m > 0 ? z[(size_t)m - 1] : -INFINITY, x, "previous", t, m);
    near(got.beta, beta, 2e-6 * beta, "beta", t, m);
}

static void test_stats(void **state)
{
    (void)state;
    const shape shapes[] = {{true, 2, 1, 64, {0, 0}}, {true, 1, 1, 128, {0}}, {true, 1, 1, 256, {0}}, {false, 2, 1, 20, {0, 0}}};
    for (int policy = 0; policy < N_EXP; policy++) {
        const shape &s = shapes[policy % 4];
        text a = make_text(s, 75, policy, policy % N_MAPS), b = make_text(s, 141, policy, (policy + 3) % N_MAPS);
        piece pieces[2] = {cut(a, 0, 75), cut(b, 120, 21)};
        list<piece *> all = {&pieces[0], &pieces[1]};
        attend_kernel *kernels[] = {rs_cuda_attend_general, rs_cuda_attend_mma};
        for (int i = 0; i < (s.bf16 ? 2 : 1); i++) {
            result got = attend({kernels[i], true, 1, 3}, all);
            size_t at = 0;
            for (piece *p : all)
                for (int row = 0; row < p->n_rows; row++, at++)
                    for (int head = 0; head < s.heads; head++)
                        check_stats(*p->t, head, p->position + row, got.stats[at][(size_t)head]);
        }
    }
}

/* --- odd input --- */

/* A NaN key shows in the rows that see it and in no others; a NaN value in those that give it a weight, and maybe in earlier rows of its
 * tile; other sequences keep their bits; nothing hangs. */
static void check_nan(const shape &s, const request &r, int policy, bool in_value)
{
    enum { AT = 20 };
    text a = make_text(s, 40, policy, ONE_RUN), b = make_text(s, 41, policy, WINDOW), bad = a;
    list<float> *spoilt = in_value ? &bad.values : &bad.keys;
    for (size_t i = 0; i < spoilt->size(); i++)
        if (i / (size_t)s.e % (size_t)a.n == AT)
            (*spoilt)[i] = i % 2 ? NAN : INFINITY;
    piece good[2] = {cut(a, 0, 40), cut(b, 0, 41)}, with_nan[2] = {cut(bad, 0, 40), cut(b, 0, 41)};
    result expect = attend(r, {&good[0], &good[1]}), got = attend(r, {&with_nan[0], &with_nan[1]});
    for (int m = 0; m < 40; m++) {
        const list<uint32_t> &row = got.rows[(size_t)m];
        if (m >= AT && (!in_value || policy < N_EXP))
            assert_true(isnan(get(s, row, 1)));
        if (m < AT && !in_value)
            assert_true(row == expect.rows[(size_t)m]);
    }
    for (size_t m = 40; m < 81; m++)
        assert_true(got.rows[m] == expect.rows[m]);
}

static void test_nan(void **state)
{
    (void)state;
    const shape narrow = {true, 1, 1, 64, {0}};
    request every_row = in_general;
    every_row.every = 1;
    for (int policy = 0; policy < N_POLICIES; policy++)
        for (bool in_value : {false, true}) {
            check_nan({policy % 2 == 0, 1, 1, 16, {0}}, every_row, policy, in_value);
            if (policy < N_EXP)
                check_nan(narrow, on_tensor_cores, policy, in_value);
        }
}

/* Two keys whose weights, 1 and e^(-2^-10), are the same in bf16, with values 1 and -1. */
static void test_rounded_weights(void **state)
{
    (void)state;
    for (bool bf16 : {true, false}) {
        const shape s = {bf16, 1, 1, 64, {0}};
        text t = make_text(s, 2, PLAIN, ONE_RUN);
        for (size_t i = 0; i < t.keys.size(); i++)
            t.keys[i] = i % 64 != 0 ? 0 : i / 64 % 2 == 0 ? 1 : 1 - ldexpf(1, -8);
        for (size_t i = 0; i < t.values.size(); i++)
            t.values[i] = i / 64 % 2 == 0 ? 1 : -1;
        std::fill(t.queries.begin(), t.queries.end(), 2.0f);
        piece p = cut(t, 0, 2);
        double x = exp(-ldexp(1, -10)), wanted = bf16 ? 0 : (1 - x) / (1 + x);
        request r = in_general;
        r.every = 1;
        assert_true(fabs((double)get(s, attend(r, {&p}).rows[1], 0) - wanted) < 1e-6);
        if (bf16)
            assert_true(get(s, attend(on_tensor_cores, {&p}).rows[1], 0) == 0);
    }
}

/* Keys that are all the same: of equal logits the earliest k count. */
static void test_ties(void **state)
{
    (void)state;
    const shape s = {false, 1, 1, 8, {0}};
    text t = make_text(s, 200, TOP_K, ONE_RUN);
    std::fill(t.keys.begin(), t.keys.end(), -1.0f);
    for (size_t i = 0; i < t.values.size(); i++)
        t.values[i] = (float)(i / 8 % 200);
    piece p = cut(t, 0, 200);
    request r = in_general;
    r.every = 1;
    result got = attend(r, {&p});
    for (int m = 0; m < 200; m++) /* the mean of 0..min(m, 6) */
        assert_true(fabsf(get(s, got.rows[(size_t)m], 0) - (float)(m < 6 ? m : 6) / 2) < 1e-6f);
}

static void test_refusals(void **state)
{
    (void)state;
    rs_cuda_attention_args args = {};
    args.heads = args.kv_heads = 1;
    args.head_dim = 64;
    args.bf16 = true;
    args.longest_row = 100;
    assert_int_equal(rs_cuda_attend_mma(NULL, &args), 0);
    assert_int_equal(rs_cuda_attend_general(NULL, &args), 0);
    args.n_tiles = 1;
    args.work_floats = rs_cuda_general_floats(100) - 1;
    assert_int_equal(rs_cuda_attend_general(NULL, &args), 1);
    args.head_dim = 80;
    assert_int_equal(rs_cuda_attend_mma(NULL, &args), 1);
    args.head_dim = 64;
    args.bf16 = false;
    assert_int_equal(rs_cuda_attend_mma(NULL, &args), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mma),     cmocka_unit_test(test_mma_head_dims),
        cmocka_unit_test(test_general), cmocka_unit_test(test_general_head_dims),
        cmocka_unit_test(test_bits),    cmocka_unit_test(test_stats),
        cmocka_unit_test(test_nan),     cmocka_unit_test(test_rounded_weights),
        cmocka_unit_test(test_ties),    cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
