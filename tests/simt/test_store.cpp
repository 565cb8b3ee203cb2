/* The tables of cos and sin, and where a step's queries, keys and values go, bit for bit: every number has one rounding an operation, and
 * what a step does not own stays as it was. */
#include "simt/rows_fixture.h"

extern "C" {
#include "kernels/rope.h"
}

/* --- tables --- */

static void check_table(int64_t n, int half, double factor, bool gain)
{
    numbers random("table", n, half);
    static rs_rope rope;
    std::vector<double> positions, gains;
    buffer<float> cosine(n * half), sine(n * half), expected_cosine(n * half), expected_sine(n * half);
    rope.rotary_dim = 2 * half;
    rope.attention_factor = factor;
    for (int k = 0; k < half; k++) {
        rope.inv_freq[k] = k == 1 ? 0 : pow(10000, -(double)k / half);
        gains.push_back(1 + 0.1 * k);
    }
    for (int64_t i = 0; i < n; i++)
        positions.push_back(i % 3 == 2 ? 0.125 * (double)random.below(1 << 20) : (double)random.below(1 << 20));
    rs_rope_table(&rope, positions.data(), n, expected_cosine.data(), expected_sine.data(), half);
    for (int64_t i = 0; gain && i < n * half; i++) {
        expected_cosine[i] = (float)((double)expected_cosine[i] * gains[(size_t)(i % half)]);
        expected_sine[i] = (float)((double)expected_sine[i] * gains[(size_t)(i % half)]);
    }
    rs_cuda_table_args args = {positions.data(), rope.inv_freq, gain ? gains.data() : NULL, factor, n, half, cosine.data(), sine.data()};
    assert_int_equal(rs_cuda_rope_table(NULL, &args), 0);
    assert_memory_equal(cosine.data(), expected_cosine.data(), (size_t)(n * half) * sizeof(float));
    assert_memory_equal(sine.data(), expected_sine.data(), (size_t)(n * half) * sizeof(float));
}

static void test_tables(void **state)
{
    (void)state;
    for (int64_t n : {1, 3, 17, 300})
        for (int half : {5, 16, 64, 128})
            for (int gain = 0; gain < 2; gain++)
                check_table(n, half, gain ? 1.0 : 1.2079441541679836, gain == 1);
}

/* --- store --- */

typedef struct shape {
    const char *name;
    int heads, kv_heads, head_dim, rotary_dim, segments, key_sets, skip_every, cache_layers;
} shape;

static const shape shapes[] = {
    {"plain", 4, 4, 32, 32, 1, 1, 0, 3},
    {"grouped queries", 6, 2, 64, 64, 1, 1, 0, 3},
    {"partial rotation", 3, 1, 128, 96, 1, 1, 0, 3},
    {"an odd number of pairs", 2, 1, 32, 10, 2, 2, 0, 3},
    {"wide heads, one layer's cache", 2, 1, 256, 256, 1, 1, 0, 1},
    {"segments and key sets", 5, 5, 64, 32, 3, 2, 0, 3},
    {"every second layer skipped", 2, 1, 64, 64, 3, 2, 2, 3},
};

enum { SEQUENCES = 3, CAPACITY = 128 };

/* One sequence's memory and what should stand in it. */
struct sequence_fixture {
    const shape *s;
    int64_t first_row, n_rows, position;
    std::vector<std::vector<float>> query_tables, key_tables; /* cos and sin in turn */
    act_buffer queries, keys, values, expected_queries, expected_keys, expected_values;
    sequence_fixture(const shape *of, bool bf16, int64_t first, int64_t n, int64_t at, numbers *random)
        : s(of), first_row(first), n_rows(n), position(at), queries(bf16, of->segments * of->heads * n * of->head_dim),
          keys(bf16, of->cache_layers * of->kv_heads * of->key_sets * CAPACITY * of->head_dim),
          values(bf16, of->cache_layers * of->kv_heads * CAPACITY * of->head_dim), expected_queries(queries), expected_keys(keys),
          expected_values(values)
    {
        for (int t = 0; t < 2 * s->segments; t++)
            query_tables.push_back(table(random));
        for (int t = 0; t < 2 * s->key_sets; t++)
            key_tables.push_back(table(random));
    }
    std::vector<float> table(numbers *random) const
    {
        std::vector<float> values_of;
        for (int64_t i = 0; i < n_rows * s->rotary_dim / 2; i++)
            values_of.push_back(random->normal(1));
        return values_of;
    }
    rs_cuda_sequence descriptor()
    {
        rs_cuda_sequence d = {};
        d.first_row = first_row;
        d.n_rows = n_rows;
        d.position = position;
        d.capacity = CAPACITY;
        d.keys = keys.data();
        d.values = values.data();
        d.queries = queries.data();
        d.cache_layers = s->cache_layers;
        d.cache_key_sets = s->key_sets;
        d.rotary_dim = s->rotary_dim;
        d.n_segments = s->segments;
        d.n_key_sets = s->key_sets;
        d.skip_every = s->skip_every;
        for (int segment = 0; segment < s->segments; segment++) {
            d.query_cos[segment] = query_tables[(size_t)(2 * segment)].data();
            d.query_sin[segment] = query_tables[(size_t)(2 * segment + 1)].data();
        }
        for (int set = 0; set < s->key_sets; set++) {
            d.key_cos[set] = key_tables[(size_t)(2 * set)].data();
            d.key_sin[set] = key_tables[(size_t)(2 * set + 1)].data();
        }
        return d;
    }
};

/* to[first + j] = x_j, rotated by the tables' row i; NULL: as it is. */
static void place(const shape *s, const float *x, const std::vector<float> *tables, int64_t i, act_buffer *to, int64_t first)
{
    int half = s->rotary_dim / 2;
    for (int j = 0; j < s->head_dim; j++)
        to->set(first + j, x[j]);
    for (int k = 0; tables && k < half; k++) {
        float c = tables[0][(size_t)(i * half + k)], sine = tables[1][(size_t)(i * half + k)];
        float a = x[k] * c, b = x[k + half] * sine, p = x[k + half] * c, q = x[k] * sine;
        to->set(first + k, a - b);
        to->set(first + k + half, p + q);
    }
}

static void place_row(sequence_fixture *f, int layer, int64_t i, const float *qkv)
{
    const shape *s = f->s;
    bool rotates = !s->skip_every || (layer + 1) % s->skip_every != 0;
    int slot = layer % s->cache_layers;
    int64_t e = s->head_dim;
    for (int head = 0; head < s->heads; head++)
        for (int segment = 0; segment < (rotates ? s->segments : 1); segment++)
            place(s, qkv + head * e, rotates ? &f->query_tables[(size_t)(2 * segment)] : NULL, i, &f->expected_queries,
                  ((segment * s->heads + head) * f->n_rows + i) * e);
    for (int head = 0; head < s->kv_heads; head++) {
        const float *key = qkv + (s->heads + head) * e, *value = key + s->kv_heads * e;
        for (int set = 0; set < (rotates ? s->key_sets : 1); set++)
            place(s, key, rotates ? &f->key_tables[(size_t)(2 * set)] : NULL, i, &f->expected_keys,
                  (((slot * s->kv_heads + head) * s->key_sets + set) * CAPACITY + f->position + i) * e);
        place(s, value, NULL, i, &f->expected_values, ((slot * s->kv_heads + head) * CAPACITY + f->position + i) * e);
    }
}

static void assert_act_equal(const act_buffer &a, const act_buffer &b, const char *what, const shape *s)
{
    if (a.bf16 ? a.narrow.all != b.narrow.all : memcmp(a.wide.all.data(), b.wide.all.data(), a.wide.all.size() * sizeof(float)) != 0)
        fail_msg("%s: %s differ", s->name, what);
}

static void check_store(const shape *s, bool bf16)
{
    numbers random(s->name, bf16, 0);
    static const int64_t rows[SEQUENCES] = {5, 1, 17}, positions[SEQUENCES] = {0, 127, 40};
    std::vector<sequence_fixture> fixtures;
    std::vector<rs_cuda_sequence> sequences;
    std::vector<int32_t> row_sequence;
    int64_t width = (s->heads + 2 * s->kv_heads) * s->head_dim, n = 0;
    fixtures.reserve(SEQUENCES);
    for (int q = 0; q < SEQUENCES; q++) {
        fixtures.emplace_back(s, bf16, n, rows[q], positions[q], &random);
        sequences.push_back(fixtures.back().descriptor());
        row_sequence.insert(row_sequence.end(), (size_t)rows[q], q);
        n += rows[q];
    }
    buffer<float> qkv(n * width);
    for (int layer = 0; layer < 3; layer++) {
        for (int64_t i = 0; i < n * width; i++)
            qkv[i] = random.normal(1);
        rs_cuda_store_args args = {sequences.data(), row_sequence.data(), n, layer, s->heads, s->kv_heads, s->head_dim, bf16, qkv.data()};
        assert_int_equal(rs_cuda_store(NULL, &args), 0);
        for (sequence_fixture &f : fixtures) {
            for (int64_t i = 0; i < f.n_rows; i++)
                place_row(&f, layer, i, qkv.data() + (f.first_row + i) * width);
            assert_act_equal(f.queries, f.expected_queries, "queries", s);
            assert_act_equal(f.keys, f.expected_keys, "keys", s);
            assert_act_equal(f.values, f.expected_values, "values", s);
        }
    }
}

static void test_store(void **state)
{
    (void)state;
    for (const shape &s : shapes)
        for (int bf16 = 0; bf16 < 2; bf16++)
            check_store(&s, bf16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
