/* The host side of the CUDA backend on the fake driver: what it takes and gives back, and what it tells the kernels. That its numbers are
 * right is tests/ops' to say. */
#include "cuda_fixture.h"

/* --- memory --- */

static void test_one_allocation(void **state)
{
    decoder m = {0};
    rs_head_row rows[8][3];
    (void)state;
    rs_fake_now.device_allocs = 0;
    assert_int_equal(open_decoder(&m), RS_OK);
    assert_int_equal(rs_fake_now.device_allocs, 1);
    int opened = rs_fake_now.opened, uploads;
    assert_int_equal(run_decoder(&m, false, rows), RS_OK);
    assert_int_equal(rs_fake_now.opened, opened);
    assert_int_equal(rs_fake_now.device_allocs, 1);
    settle(m.b);
    uploads = rs_fake_now.uploads;
    assert_int_equal(step(&m, RS_DECODE, 2, 1, 40, false, NULL), RS_OK);
    settle(m.b);
    assert_int_equal(rs_fake_now.uploads, uploads + 1); /* all that a step wants travels at once */
    size_t used = m.b->arena.total - m.b->arena.free;
    rs_kv *kv;
    assert_int_equal(ops->kv_open(m.b, 1000, 2, LAYERS, &kv), RS_OK);
    ops->kv_free(m.b, kv);
    assert_int_equal(m.b->arena.total - m.b->arena.free, used);
    close_decoder(&m);
    assert_int_equal(rs_fake_now.live, 0);
}

/* Whatever fails, all is given back and the reason told. */
static void test_every_failure(void **state)
{
    rs_status status = RS_NO_MEMORY;
    int failed = 0;
    (void)state;
    for (int k = 1; status != RS_OK; k++) {
        decoder m = {0};
        rs_head_row rows[8][3];
        rs_error_clear();
        rs_fake_now.fail_at = k;
        status = open_decoder(&m);
        if (status == RS_OK)
            status = run_decoder(&m, true, rows);
        if (status != RS_OK) {
            failed++;
            assert_int_equal(status, RS_NO_MEMORY);
            assert_non_null(strstr(rs_error_message(), "told to fail"));
        }
        close_decoder(&m);
        assert_int_equal(rs_fake_now.live, 0);
    }
    rs_fake_now.fail_at = 0;
    rs_error_clear();
    assert_true(failed > 20);
}

static void test_too_little(void **state)
{
    rs_backend *b = NULL;
    rs_kv *kv = NULL;
    (void)state;
    rs_backend_options options = options_of((size_t)6 << 20);
    assert_int_equal(ops->open(&shape, &options, &b), RS_OK);
    size_t free_bytes = b->arena.free;
    assert_int_equal(ops->kv_open(b, 100000, 1, LAYERS, &kv), RS_NO_MEMORY); /* 100,096 tokens x 64 x 2 bytes, keys and values, 2 layers */
    assert_non_null(strstr(rs_error_message(), "a key-value cache wants 48.9 MiB"));
    assert_int_equal(b->arena.free, free_bytes);
    rs_error_clear();
    close_backend(b);
    options.arena_bytes = 1 << 20;
    assert_int_equal(ops->open(&shape, &options, &b), RS_NO_MEMORY);
    assert_non_null(strstr(rs_error_message(), "wants"));
    assert_int_equal(rs_fake_now.live, 0);
    rs_error_clear();
}

/* What memory says may be asked for, and no arena size: all of that. */
static void test_memory(void **state)
{
    rs_device_memory before, during;
    rs_backend *b = NULL;
    (void)state;
    assert_int_equal(ops->memory(0, &before), RS_OK);
    assert_true(before.free_bytes < before.total_bytes - ((size_t)512 << 20));
    assert_int_equal(before.id[0], 1); /* the fake's */
    rs_backend_options options = options_of(0);
    assert_int_equal(ops->open(&shape, &options, &b), RS_OK);
    assert_true(b->arena.total >= before.free_bytes);
    assert_int_equal(ops->memory(0, &during), RS_OK);
    assert_true(during.free_bytes >= b->arena.free);
    close_backend(b);
    options.arena_bytes = before.free_bytes;
    assert_int_equal(ops->open(&shape, &options, &b), RS_OK);
    close_backend(b);
}

static void test_refusals(void **state)
{
    rs_backend *b = NULL;
    rs_backend_options options = options_of((size_t)64 << 20);
    rs_backend_shape odd = shape;
    (void)state;
    odd.head_dim = 63;
    assert_int_equal(ops->open(&odd, &options, &b), RS_INVALID);
    rs_error_clear();
    options.device = 1;
    assert_int_equal(ops->open(&shape, &options, &b), RS_INVALID);
    assert_string_equal(rs_error_message(), "CUDA device 1: this process sees 1");
    rs_error_clear();
    rs_fake_now.devices = 0;
    assert_int_equal(ops->open(&shape, &options, &b), RS_INVALID);
    assert_string_equal(rs_error_message(), "no CUDA device: the test says so");
    rs_error_clear();
    rs_fake_now.devices = 1;
}

/* --- weights and caches --- */

/* More than two transfer buffers' worth, whose rows must not be mixed up; and another dtype, rounded and padded. */
static void test_matrix(void **state)
{
    enum { COLS = 1024, MANY = 70000, FEW = 3, NARROW = 5 };
    rs_backend *b = NULL;
    rs_backend_options options = options_of((size_t)256 << 20);
    rs_matrix *matrix, *narrow;
    uint16_t *data = malloc((size_t)MANY * COLS * 2);
    const float x[FEW * NARROW] = {1.0f, 1.00390625f, 1.01171875f, -2.5f, 3e-41f, INFINITY, 1e9f};
    const uint16_t rounded[FEW][8] = {{0x3f80, 0x3f80, 0x3f82, 0xc020, 0x0000}, {0x7f80, 0x4e6e}};
    (void)state;
    for (size_t i = 0; i < (size_t)MANY * COLS; i++)
        data[i] = (uint16_t)(i * 40503u >> 7);
    rs_slice slices[2] = {slice_of(data, RS_BF16, MANY - 10, COLS), slice_of(data + (size_t)(MANY - 10) * COLS, RS_BF16, 10, COLS)};
    rs_slice f32 = slice_of(x, RS_F32, FEW, NARROW);
    assert_int_equal(ops->open(&shape, &options, &b), RS_OK);
    assert_int_equal(ops->matrix_load(b, slices, 2, &matrix), RS_OK);
    assert_int_equal(ops->matrix_load(b, &f32, 1, &narrow), RS_OK);
    settle(b);
    assert_int_equal(ops->matrix_bytes(matrix), (size_t)MANY * COLS * 2);
    assert_memory_equal(matrix->data, data, (size_t)MANY * COLS * 2);
    assert_int_equal(narrow->width, 8);
    uint16_t stored[FEW][8];
    memcpy(stored, narrow->data, sizeof stored);
    stored[0][4] &= 0x7fff; /* a subnormal: rounds to the nearest, which is 0 */
    assert_memory_equal(stored, rounded, sizeof stored);
    ops->matrix_free(b, matrix);
    ops->matrix_free(b, narrow);
    free(data);
    close_backend(b);
}

static void test_caches(void **state)
{
    rs_backend *b = open_backend();
    rs_kv *kv;
    (void)state;
    for (int64_t capacity = 1; capacity < 400; capacity += 127) {
        int64_t padded = capacity == 1 || capacity == 128 ? 128 : capacity == 255 ? 256 : 384;
        assert_int_equal(ops->kv_open(b, capacity, 2, 3, &kv), RS_OK);
        assert_int_equal(kv->capacity, padded);
        assert_int_equal(ops->kv_bytes(b, capacity, 2, 3), padded * HEAD_DIM * 2 * 3 * 3);
        assert_ptr_equal(kv->values, kv->keys + padded * HEAD_DIM * 2 * 2 * 3);
        ops->kv_free(b, kv);
    }
    close_backend(b);
}

/* --- what a step tells the kernels --- */

/* A window map: beyond the window keys and queries are at positions of their own. */
static int64_t start_window(const rs_position_map *map, int64_t m, int segment)
{
    int64_t start = m - (int64_t)map->window + 1;
    return segment == 0 || start < 0 ? 0 : segment == 1 ? start : m + 1;
}

static double query_window(const rs_position_map *map, int64_t m, int segment)
{
    return segment == 1 ? (double)m : floor((double)m / map->group) + map->window;
}

static double key_window(const rs_position_map *map, int64_t j, int key_set)
{
    return key_set == 0 ? floor((double)j / map->group) : (double)j;
}

static rs_rope window_rope(void)
{
    rs_rope rope;
    rs_rope_init_plain(&rope, HEAD_DIM);
    rs_rope_fill_default(1e4, HEAD_DIM, rope.inv_freq);
    rope.map.n_segments = rope.map.n_key_sets = 2;
    rope.map.key_set[1] = 1;
    rope.map.window = 5;
    rope.map.group = 3;
    rope.map.start = start_window;
    rope.map.query_position = query_window;
    rope.map.key_position = key_window;
    return rope;
}

/* Row i of a table is cos and sin of position * frequency, times factor and gain. */
static void check_table(const float *cosine, const float *sine, int64_t i, double position, const rs_rope *rope, bool gained)
{
    int half = rope->rotary_dim / 2;
    for (int k = 0; k < half; k++) {
        double gain = gained ? rope->query_gain[k] : 1.0, angle = position * rope->inv_freq[k], size = rope->attention_factor * gain;
        assert_true(fabs(cosine[i * half + k] - size * cos(angle)) <= 1.3e-7 * size); /* two roundings to fp32 */
        assert_true(fabs(sine[i * half + k] - size * sin(angle)) <= 1.3e-7 * size);
    }
}

static void check_sequence(const rs_cuda_sequence *made, const rs_sequence *s)
{
    const rs_rope *rope = s->rope;
    bool gained = rope->query_gain[1] != 1.0;
    assert_int_equal(made->first_row, s->first_row);
    assert_int_equal(made->n_rows, s->n_rows);
    assert_int_equal(made->position, s->position);
    assert_int_equal(made->capacity, s->kv->capacity);
    assert_ptr_equal(made->keys, s->kv->keys);
    assert_ptr_equal(made->values, s->kv->values);
    assert_int_equal(made->cache_layers, LAYERS);
    assert_int_equal(made->cache_key_sets, 2);
    assert_int_equal(made->n_segments, rope->map.n_segments);
    assert_int_equal(made->skip_every, rope->skip_every);
    assert_int_equal(made->alibi, rope->alibi);
    assert_true(made->policy.cap == (float)s->softmax->cap && made->policy.n_theta == s->softmax->n_theta);
    for (int64_t i = 0; i < s->n_rows; i++) {
        int64_t m = s->position + i;
        assert_true(made->row_scales[i] == rs_softmax_row_scale(s->softmax, m + 1));
        for (int set = 0; set < rope->map.n_key_sets; set++)
            check_table(made->key_cos[set], made->key_sin[set], i, rope->map.key_position(&rope->map, m, set), rope, false);
        for (int segment = 0; segment < rope->map.n_segments; segment++) {
            check_table(made->query_cos[segment], made->query_sin[segment], i, rope->map.query_position(&rope->map, m, segment), rope,
                        gained);
            if (rope->map.n_segments > 1)
                assert_int_equal(made->starts[i * RS_CUDA_SEGMENTS + segment], rope->map.start(&rope->map, m, segment));
        }
    }
}

static void test_step(void **state)
{
    enum { N = 5 };
    rs_backend *b = open_backend();
    rs_rope plain, window = window_rope(), gained;
    rs_softmax softmax, sparse, log_n;
    rs_kv *kvs[N];
    const int64_t n_rows[N] = {7, 3, 7, 1, 4}, first[N] = {0, 7, 10, 17, 18}, position[N] = {30, 0, 30, 100, 64};
    int32_t ids[22];
    (void)state;
    rs_rope_init_plain(&plain, HEAD_DIM);
    rs_rope_fill_default(1e4, HEAD_DIM, plain.inv_freq);
    gained = plain;
    gained.attention_factor = 1.25;
    gained.alibi = true;
    gained.skip_every = 4;
    for (int k = 0; k < HEAD_DIM / 2; k++)
        gained.query_gain[k] = 1 + 0.1 * k;
    rs_softmax_init_plain(&softmax);
    sparse = log_n = softmax;
    sparse.normalizer = RS_NORMALIZE_TOP_K;
    sparse.k = 5;
    log_n.scale_const = 0;
    log_n.scale_log_n = 0.3;
    log_n.cap = 30;
    const rs_rope *ropes[N] = {&plain, &window, &plain, &gained, &window};
    const rs_softmax *policies[N] = {&softmax, &log_n, &sparse, &softmax, &sparse};
    rs_sequence sequences[N];
    for (int s = 0; s < N; s++) {
        assert_int_equal(ops->kv_open(b, 150, 2, LAYERS, &kvs[s]), RS_OK);
        sequences[s] = (rs_sequence){
            .first_row = first[s], .n_rows = n_rows[s], .position = position[s], .kv = kvs[s], .rope = ropes[s], .softmax = policies[s]};
    }
    for (int i = 0; i < 22; i++)
        ids[i] = 100 + i;
    rs_step step = {.phase = RS_PREFILL, .sequences = sequences, .n_sequences = N, .ids = ids, .n = 22};
    assert_int_equal(ops->prepare(b, &step), RS_OK);
    settle(b);

    const rs_cuda_sequence *made = b->step.sequences;
    char *queries = b->queries.data;
    assert_memory_equal(b->step.ids, ids, sizeof ids);
    for (int s = 0; s < N; s++) {
        check_sequence(&made[s], &sequences[s]);
        assert_ptr_equal(made[s].queries, queries);
        queries += (size_t)(ropes[s]->map.n_segments * n_rows[s]) * HEADS * HEAD_DIM * 2;
        for (int64_t i = 0; i < n_rows[s]; i++)
            assert_int_equal(b->step.row_sequence[first[s] + i], s);
    }
    assert_ptr_equal(made[0].query_cos[0], made[0].key_cos[0]); /* same positions, no gains */
    assert_ptr_equal(made[2].key_cos[0], made[0].key_cos[0]);   /* same rope and positions */
    assert_int_equal(b->table_jobs[0].n, 7);                    /* made once */
    assert_ptr_not_equal(made[3].query_cos[0], made[3].key_cos[0]);
    assert_ptr_equal(made[1].query_cos[1], made[1].key_cos[1]);
    assert_ptr_not_equal(made[1].query_cos[0], made[1].key_cos[0]);

    /* Tensor cores take sequences 0, 1 and 3; the others' policy needs whole rows, latest row first. */
    const rs_cuda_tile *tiles = b->step.lists[RS_CUDA_MMA], *general = b->step.lists[RS_CUDA_GENERAL];
    const int order[3] = {3, 0, 1};
    assert_int_equal(b->step.counts[RS_CUDA_MMA], 3);
    assert_int_equal(b->step.counts[RS_CUDA_GENERAL], 11);
    assert_int_equal(b->step.counts[RS_CUDA_HOPPER] + b->step.counts[RS_CUDA_DECODE], 0);
    for (int i = 0; i < 3; i++)
        assert_true(tiles[i].sequence == order[i] && tiles[i].row == 0);
    for (int i = 0; i < 11; i++)
        assert_true(general[i].sequence == (i < 4 ? 4 : 2) && general[i].row == (i < 4 ? 3 - i : 10 - i));
    for (int s = 0; s < N; s++)
        ops->kv_free(b, kvs[s]);
    close_backend(b);
}

static void test_bad_steps(void **state)
{
    decoder m = {0};
    int32_t ids[ROWS + 1] = {0};
    (void)state;
    assert_int_equal(open_decoder(&m), RS_OK);
    rs_sequence s = {.n_rows = 2, .position = 255, .kv = m.kvs[0], .rope = &m.rope, .softmax = &m.softmax};
    rs_step bad = {.phase = RS_PREFILL, .sequences = &s, .n_sequences = 1, .ids = ids, .n = 2};
    assert_int_equal(ops->prepare(m.b, &bad), RS_INTERNAL);
    rs_error_clear();
    s.position = 254;
    assert_int_equal(ops->prepare(m.b, &bad), RS_OK);
    bad.phase = RS_DECODE; /* one row a sequence */
    assert_int_equal(ops->prepare(m.b, &bad), RS_INTERNAL);
    rs_error_clear();
    bad.phase = RS_PREFILL;
    s.position = 0;
    s.n_rows = bad.n = ROWS + 1;
    assert_int_equal(ops->prepare(m.b, &bad), RS_INTERNAL);
    rs_error_clear();
    close_decoder(&m);
}

/* --- the head --- */

/* Vocabulary in two chunks and rows in chunks of two, against fp64. */
static void test_head_chunks(void **state)
{
    enum { IDS = 17000, D = 16, N = 5 };
    rs_backend *b = open_backend();
    float *w = malloc(IDS * D * sizeof *w), h[N * D];
    uint16_t act[N * D];
    int32_t targets[N] = {3, IDS - 1 + 10, -1, 16384 + 10, 9};
    rs_head_row rows[N];
    rs_matrix *matrix;
    void *buffer;
    (void)state;
    for (int i = 0; i < IDS * D; i++) /* exact in bf16 */
        w[i] = (float)(i % 257 * 119 % 257 - 128) / 128.0f;
    for (int i = 0; i < N * D; i++) {
        h[i] = (float)(i * 31 % 17 - 8) / 4.0f;
        uint32_t bits;
        memcpy(&bits, &h[i], sizeof bits);
        act[i] = (uint16_t)(bits >> 16);
    }
    rs_slice slice = slice_of(w, RS_F32, IDS, D);
    assert_int_equal(ops->matrix_load(b, &slice, 1, &matrix), RS_OK);
    assert_int_equal(ops->alloc(b, sizeof act, "h", &buffer), RS_OK);
    assert_int_equal(ops->upload(b, buffer, act, sizeof act), RS_OK);
    b->logits.bytes = 2 * 16384 * sizeof(float);
    assert_int_equal(ops->head(b, buffer, matrix, 10, targets, 0, N, rows), RS_OK);
    for (int i = 0; i < N; i++) {
        double max = -INFINITY, sum = 0, target = -INFINITY;
        int best = -1;
        for (int pass = 0; pass < 2; pass++)
            for (int id = 0; id < IDS; id++) {
                double logit = 0;
                for (int k = 0; k < D; k++)
                    logit += (double)w[id * D + k] * (double)h[i * D + k];
                if (pass == 1)
                    sum += exp(logit - max);
                if (pass == 0 && logit > max) {
                    max = logit;
                    best = id;
                }
                if (id + 10 == targets[i])
                    target = logit;
            }
        assert_true(fabs(rows[i].max + log(rows[i].sum) - max - log(sum)) < 1e-5);
        assert_true(rows[i].target == (float)target);
        assert_true(rows[i].best == (float)max);
        assert_int_equal(rows[i].best_id, best + 10);
    }
    ops->release(b, buffer);
    ops->matrix_free(b, matrix);
    free(w);
    close_backend(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_allocation), cmocka_unit_test(test_every_failure), cmocka_unit_test(test_too_little),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_refusals),      cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_caches),         cmocka_unit_test(test_step),          cmocka_unit_test(test_bad_steps),
        cmocka_unit_test(test_head_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
