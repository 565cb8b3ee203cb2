/* Attention of the CPU backend against a plain fp64 reference: every softmax policy, every kind of position map, ragged batches, all
 * instruction sets; and the rule that a row's bits depend on the row alone. */
#include "test_cpu.h"

/* --- position maps with functions of their own --- */

static int64_t start_identity(const rs_position_map *map, int64_t m, int segment)
{
    (void)map, (void)m, (void)segment;
    return 0;
}

static double own_query(const rs_position_map *map, int64_t m, int segment)
{
    (void)map, (void)segment;
    return (double)m;
}

static double own_key(const rs_position_map *map, int64_t j, int key_set)
{
    (void)map, (void)key_set;
    return (double)j;
}

/* Two runs: beyond the window grouped positions, within it the tokens' own. */
static int64_t start_window(const rs_position_map *map, int64_t m, int segment)
{
    int64_t start = m - (int64_t)map->window + 1;
    return segment == 0 || start < 0 ? 0 : start;
}

static double query_grouped(const rs_position_map *map, int64_t m, int segment)
{
    if (segment == 1)
        return (double)m;
    return floor((double)m / map->group) + map->window - floor(map->window / map->group);
}

static double key_grouped(const rs_position_map *map, int64_t j, int key_set)
{
    return key_set == 0 ? floor((double)j / map->group) : (double)j;
}

/* Beyond the window one distance: the query at the window, all keys at 0. */
static double query_clamped(const rs_position_map *map, int64_t m, int segment)
{
    return segment == 1 ? (double)m : map->window;
}

static double key_clamped(const rs_position_map *map, int64_t j, int key_set)
{
    (void)map;
    return key_set == 0 ? 0 : (double)j;
}

/* Three runs in chunks over one key set: older chunks, the previous one, the query's own. */
static int64_t start_chunk(const rs_position_map *map, int64_t m, int segment)
{
    int64_t chunk = (int64_t)map->chunk, own = m / chunk * chunk;
    int64_t start = segment == 0 ? 0 : segment == 1 ? own - chunk : own;
    return start < 0 ? 0 : start;
}

static double query_chunk(const rs_position_map *map, int64_t m, int segment)
{
    double in_chunk = (double)(m % (int64_t)map->chunk);
    return segment == 2 ? in_chunk : segment == 1 ? fmin(in_chunk + map->chunk, map->chunk + map->span) : 2 * map->chunk - 1;
}

static double key_chunk(const rs_position_map *map, int64_t j, int key_set)
{
    (void)key_set;
    return (double)(j % (int64_t)map->chunk);
}

typedef enum map_kind { MAP_PLAIN, MAP_GROUPED, MAP_CLAMPED, MAP_CHUNKS, MAP_ALIBI, MAP_GAIN, MAP_PARTIAL, MAP_SKIP, N_MAPS } map_kind;

static rs_rope make_rope(map_kind kind, int head_dim)
{
    rs_rope rope = {.head_dim = head_dim, .rotary_dim = head_dim, .attention_factor = 1, .prefix_stable = true};
    rope.map =
        (rs_position_map){.n_segments = 1, .n_key_sets = 1, .start = start_identity, .query_position = own_query, .key_position = own_key};
    if (kind == MAP_GROUPED)
        rope.map = (rs_position_map){.n_segments = 2,
                                     .n_key_sets = 2,
                                     .key_set = {0, 1},
                                     .window = 50,
                                     .group = 4,
                                     .start = start_window,
                                     .query_position = query_grouped,
                                     .key_position = key_grouped};
    if (kind == MAP_CLAMPED)
        rope.map = (rs_position_map){.n_segments = 2,
                                     .n_key_sets = 2,
                                     .key_set = {0, 1},
                                     .window = 33,
                                     .start = start_window,
                                     .query_position = query_clamped,
                                     .key_position = key_clamped};
    if (kind == MAP_CHUNKS)
        rope.map = (rs_position_map){.n_segments = 3,
                                     .n_key_sets = 1,
                                     .chunk = 40,
                                     .span = 10,
                                     .start = start_chunk,
                                     .query_position = query_chunk,
                                     .key_position = key_chunk};
    rope.alibi = kind == MAP_ALIBI;
    rope.attention_factor = kind == MAP_PARTIAL ? 1.1 : 1;
    rope.rotary_dim = kind == MAP_PARTIAL ? head_dim / 4 * 2 : head_dim;
    rope.skip_every = kind == MAP_SKIP ? 2 : 0;
    for (int k = 0; k < rope.rotary_dim / 2; k++) {
        rope.inv_freq[k] = kind == MAP_ALIBI ? 0 : pow(1e4, -2.0 * k / rope.rotary_dim);
        rope.query_gain[k] = kind == MAP_GAIN && k % 3 == 0 ? 0.25 : 1;
    }
    return rope;
}

/* --- policies --- */

typedef enum policy_kind {
    SOFT_PLAIN,
    SOFT_COLD,
    SOFT_LOG_N,
    SOFT_CAP,
    SOFT_SINK,
    SOFT_ADAPTIVE,
    SOFT_ADAPTIVE_CAP_SINK,
    SOFT_TOP_K,
    SOFT_SPARSE,
    SOFT_ENTMAX15,
    SOFT_ENTMAX13,
    SOFT_ENTMAX_SINK,
    SOFT_NEGATIVE,
    N_POLICIES
} policy_kind;

static rs_softmax make_softmax(policy_kind kind)
{
    rs_softmax softmax = {.normalizer = RS_NORMALIZE_EXP, .scale_const = 1};
    static const double theta[] = {-0.037, 0.481, -2.3, 4.917, -1.791};
    softmax.scale_const = kind == SOFT_COLD ? 3 : kind == SOFT_LOG_N ? 0.2 : kind == SOFT_NEGATIVE ? -0.5 : 1;
    softmax.scale_floor = kind == SOFT_NEGATIVE ? -1 : 0;
    softmax.scale_log_n = kind == SOFT_LOG_N ? 0.3 : 0;
    softmax.cap = kind == SOFT_CAP || kind == SOFT_ADAPTIVE_CAP_SINK ? 2 : 0;
    softmax.has_sink = kind == SOFT_SINK || kind == SOFT_ADAPTIVE_CAP_SINK || kind == SOFT_ENTMAX_SINK;
    softmax.sink = 0.7;
    if (kind == SOFT_ADAPTIVE || kind == SOFT_ADAPTIVE_CAP_SINK) {
        softmax.n_theta = 5;
        memcpy(softmax.theta, theta, sizeof theta);
        softmax.entropy_threshold = 0.5;
    }
    if (kind == SOFT_TOP_K) {
        softmax.normalizer = RS_NORMALIZE_TOP_K;
        softmax.k = 7;
    }
    if (kind == SOFT_SPARSE || kind == SOFT_ENTMAX15 || kind == SOFT_ENTMAX13 || kind == SOFT_ENTMAX_SINK) {
        softmax.normalizer = RS_NORMALIZE_ENTMAX;
        softmax.alpha = kind == SOFT_SPARSE ? 2 : kind == SOFT_ENTMAX13 ? 1.3 : 1.5;
    }
    return softmax;
}

/* --- one model's worth of attention --- */

enum { LAYERS = 2, MAX_SEQUENCES = 4 };

typedef struct bench {
    rs_dtype dtype;
    int heads, kv_heads, head_dim, n_threads;
    int kv_of_head[16];
    rs_backend *backend;
} bench;

static void bench_open(bench *b, rs_dtype dtype, int heads, int kv_heads, int head_dim, int n_threads)
{
    *b = (bench){.dtype = dtype, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .n_threads = n_threads};
    for (int i = 0; i < heads; i++)
        b->kv_of_head[i] = i * kv_heads / heads;
    rs_backend_shape shape = {.n_layers = LAYERS,
                              .heads = heads,
                              .kv_heads = kv_heads,
                              .kv_of_head = b->kv_of_head,
                              .first_head = 1,
                              .all_heads = heads + 2,
                              .head_dim = head_dim,
                              .attention_scale = 1 / sqrtf((float)head_dim)};
    assert_int_equal(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = dtype, .n_threads = n_threads}, &b->backend), RS_OK);
}

static int64_t qkv_width(const bench *b)
{
    return (int64_t)(b->heads + 2 * b->kv_heads) * b->head_dim;
}

static int64_t out_width(const bench *b)
{
    return (int64_t)b->heads * b->head_dim;
}

/* Runs one step of layer `layer`; sequences' first_row index qkv and out. */
static void step(const bench *b, int layer, const float *qkv, const rs_sequence *sequences, int n, void *out)
{
    rs_step rows = {.sequences = sequences, .n_sequences = n};
    assert_int_equal(rs_backend_cpu.prepare(b->backend, &rows), RS_OK);
    assert_int_equal(rs_backend_cpu.store_qkv(b->backend, layer, qkv), RS_OK);
    assert_int_equal(rs_backend_cpu.attention(b->backend, layer, out), RS_OK);
}

static rs_kv *open_kv(const bench *b, int64_t n)
{
    rs_kv *kv = NULL;
    assert_int_equal(rs_backend_cpu.kv_open(b->backend, n, RS_MAX_KEY_SETS, LAYERS, &kv), RS_OK);
    memset(kv->data, 0xff, rs_backend_cpu.kv_bytes(b->backend, n, RS_MAX_KEY_SETS, LAYERS)); /* NaN: what was never stored must not count */
    return kv;
}

/* --- the reference --- */

/* Rotates as the backend is told to: fp32 tables' worth of angle, gains on the query, operands rounded to the dtype. */
static void operand(const bench *b, const rs_rope *rope, bool rotates, bool query, double position, const float *x, double *y)
{
    double from[512];
    for (int d = 0; d < b->head_dim; d++)
        y[d] = from[d] = (double)x[d];
    if (rotates)
        rs_rope_rotate(rope, position, from, y);
    int half = rope->rotary_dim / 2;
    for (int k = 0; rotates && query && k < half; k++) {
        y[k] *= rope->query_gain[k];
        y[k + half] *= rope->query_gain[k];
    }
    for (int d = 0; d < b->head_dim; d++)
        y[d] = (double)rounded(b->dtype, (float)y[d]);
}

static int segment_of(const rs_position_map *map, int64_t m, int64_t j)
{
    int segment = map->n_segments - 1;
    while (segment > 0 && j < map->start(map, m, segment))
        segment--;
    return segment;
}

/* Output of row m, head `head` of one sequence whose qkv rows start at qkv. */
static void reference(const bench *b, const rs_rope *rope, const rs_softmax *softmax, int layer, const float *qkv, int64_t m, int head,
                      double *out)
{
    bool rotates = rs_rope_rotates(rope, layer);
    const rs_position_map *map = &rope->map;
    double *z = malloc((size_t)(m + 1) * sizeof *z), q[512], k[512];
    int kv_head = b->kv_of_head[head];
    for (int64_t j = 0; j <= m; j++) {
        int segment = segment_of(map, m, j);
        operand(b, rope, rotates, true, map->query_position(map, m, segment), qkv + m * qkv_width(b) + head * b->head_dim, q);
        operand(b, rope, rotates, false, map->key_position(map, j, map->key_set[segment]),
                qkv + j * qkv_width(b) + (b->heads + kv_head) * b->head_dim, k);
        z[j] = 0;
        for (int d = 0; d < b->head_dim; d++)
            z[j] += q[d] * k[d];
        z[j] *= 1 / sqrt(b->head_dim);
        if (rope->alibi)
            z[j] -= exp2(-8.0 * (head + 2) / (b->heads + 2)) * (double)(m - j);
    }
    rs_softmax_row(softmax, z, m + 1, z);
    memset(out, 0, (size_t)b->head_dim * sizeof *out);
    for (int64_t j = 0; j <= m; j++)
        for (int d = 0; d < b->head_dim; d++)
            out[d] += z[j] * (double)rounded(b->dtype, qkv[j * qkv_width(b) + (b->heads + b->kv_heads + kv_head) * b->head_dim + d]);
    free(z);
}

/* The largest error of some rows against the reference, relative to the values' size (which is about 1). */
static double worst_error(const bench *b, const rs_rope *rope, const rs_softmax *softmax, int layer, const float *qkv, int64_t n,
                          const void *out)
{
    double worst = 0, expected[512];
    int64_t stride = n > 40 ? n / 13 : 1;
    for (int64_t m = n - 1; m >= 0; m -= stride)
        for (int head = 0; head<b->heads; head += b->heads> 3 ? 3 : 1) {
            reference(b, rope, softmax, layer, qkv, m, head, expected);
            for (int d = 0; d < b->head_dim; d++) {
                double got = (double)act_at(b->dtype, out, m * out_width(b) + head * b->head_dim + d);
                double error = fabs(got - expected[d]);
                worst = error > worst || isnan(error) ? error : worst;
            }
        }
    return worst;
}

static double allowed(rs_dtype dtype)
{
    return dtype == RS_BF16 ? 0.02 : 3e-5;
}

static void check_one(rs_dtype dtype, int heads, int kv_heads, int head_dim, int64_t n, map_kind map, policy_kind policy)
{
    bench b;
    rs_rng rng;
    bench_open(&b, dtype, heads, kv_heads, head_dim, 2);
    rs_rng_init(&rng, 1, "attention", (uint64_t)n, (uint64_t)head_dim);
    float *qkv = malloc((size_t)(n * qkv_width(&b)) * sizeof *qkv);
    void *out = malloc((size_t)(n * out_width(&b)) * sizeof(float));
    fill_normal(&rng, qkv, n * qkv_width(&b), 1);
    for (int64_t i = 0; i < n; i++) /* logits wide enough to tell policies apart */
        for (int64_t c = 0; c < out_width(&b); c++)
            qkv[i * qkv_width(&b) + c] *= 2;
    rs_rope rope = make_rope(map, head_dim);
    rs_softmax softmax = make_softmax(policy);
    rs_sequence sequence = {.n_rows = n, .kv = open_kv(&b, n), .rope = &rope, .softmax = &softmax};
    int layer = map == MAP_SKIP ? 1 : 0;
    step(&b, layer, qkv, &sequence, 1, out);
    double error = worst_error(&b, &rope, &softmax, layer, qkv, n, out);
    if (!(error <= allowed(dtype)))
        fail_msg("%s dtype %d heads %d/%d x %d n %d map %d policy %d: error %g", getenv("ROPESWEEP_ISA"), dtype, heads, kv_heads, head_dim,
                 (int)n, map, policy, error);
    rs_backend_cpu.kv_free(b.backend, sequence.kv);
    rs_backend_cpu.close(b.backend);
    free(qkv);
    free(out);
}

static void check_shapes(void)
{
    static const int dims[] = {16, 32, 64, 80, 128, 256, 36, 2}, lengths[] = {1, 3, 17, 127, 128, 129, 130};
    static const int heads[][2] = {{1, 1}, {9, 3}, {8, 1}, {2, 2}};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            const int *h = heads[(d + l) % 4];
            check_one(RS_F32, h[0], h[1], dims[d], lengths[l], MAP_PLAIN, SOFT_PLAIN);
            check_one(RS_BF16, h[0], h[1], dims[d], lengths[l], MAP_PLAIN, SOFT_PLAIN);
        }
}

static void check_policies(void)
{
    for (int map = 0; map < N_MAPS; map++)
        for (int policy = 0; policy < N_POLICIES; policy++) {
            check_one(RS_F32, 3, 1, 32, 261, (map_kind)map, (policy_kind)policy);
            check_one(RS_BF16, 2, 2, 64, 150, (map_kind)map, (policy_kind)policy);
        }
}

static void test_shapes(void **state)
{
    (void)state;
    for_each_isa(check_shapes);
}

static void test_policies_and_maps(void **state)
{
    (void)state;
    for_each_isa(check_policies);
}

/* --- bits --- */

/* Two sequences of n rows under different ropes and policies: at once, in pieces, one by one, alone, the other way round. */
static void check_bits_of(rs_dtype dtype, int heads, int kv_heads, int head_dim, int64_t n, map_kind map, policy_kind policy)
{
    bench b;
    rs_rng rng;
    bench_open(&b, dtype, heads, kv_heads, head_dim, 2);
    rs_rng_init(&rng, 2, "bits", (uint64_t)n, (uint64_t)head_dim);
    size_t out_bytes = (size_t)(n * out_width(&b)) * act_size(dtype);
    float *qkv = malloc((size_t)(2 * n * qkv_width(&b)) * sizeof *qkv);
    char *whole = malloc(2 * out_bytes), *pieces = malloc(2 * out_bytes);
    fill_normal(&rng, qkv, 2 * n * qkv_width(&b), 1.5);
    rs_rope ropes[2] = {make_rope(map, head_dim), make_rope(MAP_PLAIN, head_dim)};
    rs_softmax policies[2] = {make_softmax(policy), make_softmax(SOFT_PLAIN)};
    rs_sequence both[2];
    for (int s = 0; s < 2; s++)
        both[s] = (rs_sequence){.first_row = s * n, .n_rows = n, .kv = open_kv(&b, n), .rope = &ropes[s], .softmax = &policies[s]};
    step(&b, 0, qkv, both, 2, whole);

    /* Pieces of 1, 2, 3, 4, ... rows of each, the second sequence first in the array. */
    memset(pieces, 0, 2 * out_bytes);
    for (int s = 0; s < 2; s++) {
        rs_backend_cpu.kv_free(b.backend, both[s].kv);
        both[s].kv = open_kv(&b, n);
    }
    for (int64_t at = 0, size = 1; at<n; at += size, size = size> 5 ? 1 : size + 1) {
        int64_t rows = n - at < size ? n - at : size;
        rs_sequence piece[2] = {both[1], both[0]};
        for (int s = 0; s < 2; s++) {
            piece[s].first_row += at;
            piece[s].n_rows = rows;
            piece[s].position = at;
        }
        step(&b, 0, qkv, piece, 2, pieces);
    }
    if (memcmp(whole, pieces, 2 * out_bytes))
        fail_msg("%s dtype %d heads %d/%d x %d map %d policy %d: pieces differ", getenv("ROPESWEEP_ISA"), dtype, heads, kv_heads, head_dim,
                 map, policy);

    /* Alone, on one thread of a new backend. */
    for (int s = 0; s < 2; s++)
        rs_backend_cpu.kv_free(b.backend, both[s].kv);
    rs_backend_cpu.close(b.backend);
    bench_open(&b, dtype, heads, kv_heads, head_dim, 1);
    memset(pieces, 0, 2 * out_bytes);
    for (int s = 1; s >= 0; s--) {
        both[s].kv = open_kv(&b, n);
        step(&b, 0, qkv, &both[s], 1, pieces);
        rs_backend_cpu.kv_free(b.backend, both[s].kv);
    }
    assert_memory_equal(whole, pieces, 2 * out_bytes);
    rs_backend_cpu.close(b.backend);
    free(qkv);
    free(whole);
    free(pieces);
}

static void check_bits(void)
{
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++) {
        for (int policy = 0; policy < N_POLICIES; policy++)
            check_bits_of((rs_dtype)dtype, 3, 1, 32, 200, MAP_GROUPED, (policy_kind)policy);
        check_bits_of((rs_dtype)dtype, 9, 3, 64, 300, MAP_CHUNKS, SOFT_ADAPTIVE);
        check_bits_of((rs_dtype)dtype, 8, 1, 256, 140, MAP_PLAIN, SOFT_PLAIN);
        check_bits_of((rs_dtype)dtype, 2, 2, 80, 270, MAP_ALIBI, SOFT_CAP);
    }
}

static void test_bits(void **state)
{
    (void)state;
    for_each_isa(check_bits);
}

/* --- ties --- */

/* All keys the same: of equal logits the earliest k count. */
static void check_ties(void)
{
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++) {
        bench b;
        enum { N = 200, D = 16 };
        bench_open(&b, (rs_dtype)dtype, 1, 1, D, 2);
        float qkv[N * 3 * D], out[N * D];
        for (int64_t i = 0; i < N; i++)
            for (int c = 0; c < 3 * D; c++)
                qkv[i * 3 * D + c] = c < 2 * D ? -1 : (float)(i % 128);
        rs_rope rope = make_rope(MAP_ALIBI, D);
        rope.alibi = false;
        rs_softmax softmax = make_softmax(SOFT_TOP_K);
        rs_sequence sequence = {.n_rows = N, .kv = open_kv(&b, N), .rope = &rope, .softmax = &softmax};
        step(&b, 0, qkv, &sequence, 1, out);
        for (int64_t m = 0; m < N; m++) /* the mean of 0..min(m, 6) */
            assert_true(fabsf(act_at((rs_dtype)dtype, out, m * D) - (float)(m < 6 ? m : 6) / 2) < 1e-6f);
        rs_backend_cpu.kv_free(b.backend, sequence.kv);
        rs_backend_cpu.close(b.backend);
    }
}

static void test_ties(void **state)
{
    (void)state;
    for_each_isa(check_ties);
}

/* --- odd input --- */

/* A rewound cache answers as a new one, whatever the forgotten tokens were. */
static void check_rewind(void)
{
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++) {
        bench b;
        rs_rng rng;
        enum { N = 133 };
        bench_open(&b, (rs_dtype)dtype, 2, 1, 64, 2);
        rs_rng_init(&rng, 3, "rewind", 0, 0);
        float *qkv = malloc((size_t)(N * qkv_width(&b)) * sizeof *qkv), *bad = malloc((size_t)(N * qkv_width(&b)) * sizeof *bad);
        size_t bytes = (size_t)(N * out_width(&b)) * act_size((rs_dtype)dtype);
        char *fresh = malloc(bytes), *again = malloc(bytes);
        fill_normal(&rng, qkv, N * qkv_width(&b), 1);
        for (int64_t i = 0; i < N * qkv_width(&b); i++)
            bad[i] = i % 2 ? NAN : INFINITY;
        rs_rope rope = make_rope(MAP_PLAIN, 64);
        rs_softmax softmax = make_softmax(SOFT_PLAIN);
        rs_sequence sequence = {.n_rows = N, .kv = open_kv(&b, N), .rope = &rope, .softmax = &softmax};
        step(&b, 0, qkv, &sequence, 1, fresh);
        step(&b, 0, bad, &sequence, 1, again);
        memset(again, 0, bytes);
        for (int64_t at = 0; at < N; at += 7) {
            rs_sequence piece = sequence;
            piece.first_row = piece.position = at;
            piece.n_rows = N - at < 7 ? N - at : 7;
            step(&b, 0, qkv, &piece, 1, again);
        }
        assert_memory_equal(fresh, again, bytes);
        rs_backend_cpu.kv_free(b.backend, sequence.kv);
        rs_backend_cpu.close(b.backend);
        free(qkv);
        free(bad);
        free(fresh);
        free(again);
    }
}

static void test_rewind(void **state)
{
    (void)state;
    for_each_isa(check_rewind);
}

/* A NaN key shows in the rows that see it, and only in its own sequence; no policy crashes or hangs on it. */
static void check_nan(void)
{
    for (int policy = 0; policy < N_POLICIES; policy++) {
        bench b;
        rs_rng rng;
        enum { N = 40, AT = 20 };
        bench_open(&b, RS_BF16, 3, 1, 32, 2);
        rs_rng_init(&rng, 4, "nan", 0, 0);
        float *qkv = malloc((size_t)(2 * N * qkv_width(&b)) * sizeof *qkv);
        uint16_t *out = malloc((size_t)(2 * N * out_width(&b)) * sizeof *out);
        fill_normal(&rng, qkv, 2 * N * qkv_width(&b), 1);
        for (int d = 0; d < 32; d++)
            qkv[AT * qkv_width(&b) + 3 * 32 + d] = d % 2 ? NAN : INFINITY;
        rs_rope rope = make_rope(MAP_PLAIN, 32);
        rs_softmax softmax = make_softmax((policy_kind)policy);
        rs_sequence both[2];
        for (int s = 0; s < 2; s++)
            both[s] = (rs_sequence){.first_row = s * N, .n_rows = N, .kv = open_kv(&b, N), .rope = &rope, .softmax = &softmax};
        step(&b, 0, qkv, both, 2, out);
        for (int64_t m = 0; m < 2 * N; m++) {
            bool nan = isnan(rs_bf16_to_float(out[m * out_width(&b)]));
            if (nan != (m >= AT && m < N))
                fail_msg("%s policy %d row %d: %s", getenv("ROPESWEEP_ISA"), policy, (int)m, nan ? "NaN" : "no NaN");
        }
        for (int s = 0; s < 2; s++)
            rs_backend_cpu.kv_free(b.backend, both[s].kv);
        rs_backend_cpu.close(b.backend);
        free(qkv);
        free(out);
    }
}

static void test_nan(void **state)
{
    (void)state;
    for_each_isa(check_nan);
}

int main(int argc, char **argv)
{
    (void)argc;
    calm_threads(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_policies_and_maps),
        cmocka_unit_test(test_bits),   cmocka_unit_test(test_ties),
        cmocka_unit_test(test_rewind), cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests_name("cpu_attention", tests, NULL, NULL);
}
