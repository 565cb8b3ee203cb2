/* RoPE variants against numbers worked out elsewhere in fp64, and against the definitions written out a second time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "entry.h"
#include "kernels/rope.h"

static const rs_model_facts tiny = {.rope_theta = 10000, .max_position_embeddings = 4096};
static const double RTOL = 5.5e-9; /* half a unit of the ninth digit, the last one printed */

#define CLOSE(got, want) assert_true(close_to((got), (want), RTOL, __LINE__))

static bool close_to(double got, double want, double rtol, int line)
{
    if (fabs(got - want) <= rtol * fabs(want))
        return true;
    print_error("line %d: %.12g, expected %.12g\n", line, got, want);
    return false;
}

static rs_status try_build(const char *type, const char *entry, int head_dim, int64_t n_final, rs_rope *out)
{
    const rs_rope_variant *variant = rs_rope_variant_find(type);
    assert_non_null(variant);
    rs_params params;
    rs_error_clear();
    rs_status status = entry_params(&params, variant->params, entry, &tiny);
    if (status == RS_OK)
        status = rs_rope_build(variant, &params, head_dim, n_final, out);
    rs_params_free(&params);
    return status;
}

static rs_rope build_at(const char *type, const char *entry, int head_dim, int64_t n_final)
{
    rs_rope rope;
    if (try_build(type, entry, head_dim, n_final, &rope) != RS_OK)
        fail_msg("%s %s: %s", type, entry, rs_error_message());
    return rope;
}

static rs_rope build(const char *type, const char *entry, int head_dim)
{
    return build_at(type, entry, head_dim, 1024);
}

static bool same_digest(const rs_rope *a, const rs_rope *b)
{
    rs_digest x = rs_rope_digest(a), y = rs_rope_digest(b);
    return x.high == y.high && x.low == y.low;
}

/* --- frequencies --- */

static void inv_freq_of_eight_dimensions(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry;
        int64_t n_final;
        double want[4];
    } cases[] = {
        {"default", "", 1, {1, 0.1, 0.01, 0.001}},
        {"linear", "factor=4", 1, {0.25, 0.025, 0.0025, 0.00025}},
        {"ntk", "factor=4", 1, {1, 0.0629960525, 0.00396850263, 0.00025}},
        {"dynamic", "factor=4", 1, {1, 0.1, 0.01, 0.001}},
        {"dynamic", "factor=4", 4096, {1, 0.1, 0.01, 0.001}},
        {"dynamic", "factor=4", 8192, {1, 0.0584803548, 0.00341995189, 0.0002}},
        {"dynamic", "factor=4", 16384, {1, 0.042529037, 0.00180871899, 7.69230769e-05}},
        {"yarn", "factor=4", 1, {1, 0.1, 0.00625, 0.00025}},
        {"yarn", "factor=4 truncate=false", 1, {1, 0.1, 0.00655697152, 0.00025}},
        {"yarn", "factor=4 beta_fast=0 beta_slow=0", 1, {1, 0.1, 0.00625, 0.00025}},
        {"ntk_by_parts", "factor=4", 1, {1, 0.1, 0.00383523866, 0.00025}},
        {"llama3", "original_max_position_embeddings=8192", 1, {1, 0.1, 0.01, 0.000213607544}},
        {"llama3", "", 1, {1, 0.1, 0.01, 0.000125}},
        {"longrope", "short_factor=[1,1.5,2,4] long_factor=[9,9,9,9]", 4096, {1, 0.0666666667, 0.005, 0.00025}},
        {"longrope", "short_factor=[9,9,9,9] long_factor=[1,1.5,2,4]", 4097, {1, 0.0666666667, 0.005, 0.00025}},
        {"p_rope", "p=1", 1, {1, 0.1, 0.01, 0.001}},
        {"p_rope", "p=.75", 1, {1, 0.1, 0.01, 0}},
        {"p_rope", "p=.5", 1, {1, 0.1, 0, 0}},
        {"p_rope", "p=.25", 1, {1, 0, 0, 0}},
        {"p_rope", "p=.3", 1, {1, 0, 0, 0}},
        {"p_rope", "p=0", 1, {0, 0, 0, 0}},
        {"p_rope", "p=.5 factor=4", 1, {0.25, 0.025, 0, 0}},
        {"proportional", "partial_rotary_factor=.5", 1, {1, 0.1, 0, 0}},
        {"p_rope_reversed", "p=.75", 1, {0, 0.1, 0.01, 0.001}},
        {"p_rope_reversed", "p=.5", 1, {0, 0, 0.01, 0.001}},
        {"p_rope_reversed", "p=.25", 1, {0, 0, 0, 0.001}},
        {"partial", "p=.75", 1, {1, 0.0464158883, 0.00215443469}},
        {"partial", "p=.5", 1, {1, 0.01}},
        {"partial", "p=.25", 1, {1}},
        {"partial", "p=0", 1, {0, 0, 0, 0}},
        {"nope", "", 1, {0, 0, 0, 0}},
        {"alibi", "", 1, {0, 0, 0, 0}},
        {"irope", "", 1, {1, 0.1, 0.01, 0.001}},
        {"default", "rope_theta=1e8", 1, {1, 0.01, 1e-4, 1e-6}},
        {"band", "band=pairs:[1,2] op=freeze", 1, {1, 0, 0, 0.001}},
        {"band", "band=pairs:[3,3] op=slow by=0.25", 1, {1, 0.1, 0.01, 0.00025}},
        {"band", "band=wavelength:[62,700] op=freeze", 1, {1, 0, 0, 0.001}}, /* 6.28, 62.8, 628, 6283 */
        {"band", "band=wavelength:[700,inf] op=freeze", 1, {1, 0.1, 0.01, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_rope rope = build_at(cases[i].type, cases[i].entry, 8, cases[i].n_final);
        for (int k = 0; k < rope.rotary_dim / 2; k++)
            if (!close_to(rope.inv_freq[k], cases[i].want[k], RTOL, __LINE__))
                fail_msg("%s %s, pair %d", cases[i].type, cases[i].entry, k);
    }
    assert_int_equal(build("partial", "p=.75", 8).rotary_dim, 6);
    assert_int_equal(build("partial", "p=.5", 8).rotary_dim, 4);
    assert_int_equal(build("partial", "p=.25", 8).rotary_dim, 2);
}

/* The base that a table was made from, read back from its second pair. */
static double base_of(const rs_rope *rope)
{
    return pow(rope->inv_freq[1], -rope->rotary_dim / 2.0);
}

static void raised_bases(void **state)
{
    (void)state;
    rs_rope rope = build("ntk", "factor=4", 8);
    CLOSE(base_of(&rope), 63496.0421);
    rope = build_at("dynamic", "factor=4", 8, 8192);
    CLOSE(base_of(&rope), 85498.7973);
    rope = build_at("dynamic", "factor=4", 8, 16384);
    CLOSE(base_of(&rope), 305673.509);
    static const double gemma[] = {20109.4555, 40439.0199, 81320.6669};
    static const char *const factors[] = {"factor=2", "factor=4", "factor=8"};
    for (int i = 0; i < 3; i++) {
        rope = build("ntk", factors[i], 256);
        CLOSE(base_of(&rope), gemma[i]);
    }
}

/* The two ends of YaRN's ramp, read back from two pairs on it (no truncation). */
static void check_correction(int dim, const char *entry, double base, int k1, int k2, double low, double high)
{
    rs_rope rope = build("yarn", entry, dim);
    double ramp[2];
    int at[2] = {k1, k2};
    for (int i = 0; i < 2; i++)
        ramp[i] = (1 - rope.inv_freq[at[i]] * pow(base, 2.0 * at[i] / dim)) / (1 - 1 / 4.0);
    double slope = (ramp[1] - ramp[0]) / (k2 - k1);
    CLOSE(k1 - ramp[0] / slope, low);
    CLOSE(k1 + (1 - ramp[0]) / slope, high);
}

static void yarn_ramps(void **state)
{
    (void)state;
    static const struct {
        int dim;
        const char *entry;
        int k;
        double want;
    } cases[] = {
        {128, "factor=4", 20, 0.0562341325},
        {128, "factor=4", 25, 0.0234345526},
        {128, "factor=4", 33, 0.00541227702},
        {128, "factor=4", 45, 0.000429402589},
        {128, "factor=4", 63, 2.88695496e-05},
        {256, "factor=4 original_max_position_embeddings=8192", 52, 0.0233507717},
        {256, "factor=4 original_max_position_embeddings=8192", 75, 0.00286692026},
        {256, "factor=4 original_max_position_embeddings=8192", 99, 0.000213794866},
        {256, "factor=4 original_max_position_embeddings=8192", 127, 2.68651957e-05},
        {64, "factor=4 original_max_position_embeddings=8192 rope_theta=1e5", 11, 0.017676315},
        {64, "factor=4 original_max_position_embeddings=8192 rope_theta=1e5", 15, 0.00283223977},
        {64, "factor=4 original_max_position_embeddings=8192 rope_theta=1e5", 31, 3.58253143e-06},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CLOSE(build("yarn", cases[i].entry, cases[i].dim).inv_freq[cases[i].k], cases[i].want);
    check_correction(128, "factor=4 truncate=false", 1e4, 22, 44, 20.9444816, 45.0268813);
    check_correction(256, "factor=4 truncate=false original_max_position_embeddings=8192", 1e4, 53, 98, 51.5219231, 99.6867224);
    check_correction(64, "factor=4 truncate=false original_max_position_embeddings=8192 rope_theta=1e5", 1e5, 11, 19, 10.3043846,
                     19.9373445);
    /* Ends beyond the table: cd(32) = -0.20 is cut to 0, cd(1) = 1.31 to 2; 2.5 to 2, 4.02 to 5, not cut to d/2 - 1; 0.2 to 0, 8.2 to d
     * - 1. */
    CLOSE(build("yarn", "factor=4 original_max_position_embeddings=128", 8).inv_freq[1], 0.1 * (0.25 / 2 + 1.0 / 2));
    CLOSE(build("yarn", "factor=4 original_max_position_embeddings=65536", 8).inv_freq[3], 0.001 * (0.25 / 3 + 2.0 / 3));
    CLOSE(build("yarn", "factor=4 original_max_position_embeddings=1e9 beta_fast=1e8", 8).inv_freq[3], 0.001 * (0.25 * 3 / 7 + 4.0 / 7));
    /* Equal ends, cd(1) = 0.98: a step, 0.001 wide. */
    rs_rope step = build("yarn", "factor=4 original_max_position_embeddings=60 beta_fast=1 beta_slow=1 truncate=false", 8);
    CLOSE(step.inv_freq[0], 1);
    CLOSE(step.inv_freq[1], 0.025);
}

static void llama3_ratios(void **state)
{
    (void)state;
    static const double ramp[] = {0.828168412, 0.643743133, 0.493507123, 0.37112228, 0.271425477, 0.190210744};
    rs_rope scaled = build("llama3", "rope_theta=5e5 original_max_position_embeddings=8192", 128);
    rs_rope plain = build("default", "rope_theta=5e5", 128);
    for (int k = 0; k < 64; k++)
        CLOSE(scaled.inv_freq[k] / plain.inv_freq[k], k <= 28 ? 1 : k >= 35 ? 0.125 : ramp[k - 29]);
}

static void attention_factors(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry;
        double a;
    } cases[] = {
        {"yarn", "factor=2", 1.06931472},
        {"yarn", "factor=4", 1.13862944},
        {"yarn", "factor=8", 1.20794415},
        {"yarn", "factor=1", 1},
        {"yarn", "factor=0.5", 1},
        {"yarn", "factor=4 mscale=1 mscale_all_dim=0.5", 1.06482163},
        {"yarn", "factor=4 mscale=1 mscale_all_dim=0", 1.13862944},
        {"yarn", "factor=4 mscale=0 mscale_all_dim=1", 1.13862944},
        {"yarn", "factor=4 mscale=2", 1.13862944},
        {"yarn", "factor=4 attention_factor=1.5 mscale=1 mscale_all_dim=0.5", 1.5},
        {"longrope", "factor=4 short_factor=[1,1,1,1] long_factor=[1,1,1,1]", 1.08012345},
        {"longrope", "factor=4 short_factor=[1,1,1,1] long_factor=[1,1,1,1] original_max_position_embeddings=8192", 1.07417231},
        {"longrope", "short_factor=[1,1,1,1] long_factor=[1,1,1,1] max_position_embeddings=16384", 1.08012345},
        {"longrope", "short_factor=[1,1,1,1] long_factor=[1,1,1,1]", 1},
        {"longrope", "factor=4 attention_factor=1.25 short_factor=[1,1,1,1] long_factor=[1,1,1,1]", 1.25},
        {"linear", "factor=4", 1},
        {"ntk_by_parts", "factor=4", 1},
        {"llama3", "", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CLOSE(build(cases[i].type, cases[i].entry, 8).attention_factor, cases[i].a);
    CLOSE(pow(build("yarn", "factor=2", 8).attention_factor, 2), 1.14343397);
    CLOSE(pow(build("yarn", "factor=4", 8).attention_factor, 2), 1.29647699);
    CLOSE(pow(build("yarn", "factor=8", 8).attention_factor, 2), 1.45912908);
}

/* --- rotation --- */

static void rotations(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry;
        double want[8];
    } cases[] = {
        {"default", "", {-1.69559254, 0.137551738, 2.7886816, 3.97598204, -4.80884247, 6.32305935, 7.08683674, 8.01196398}},
        {"p_rope", "p=.5", {-1.69559254, 0.137551738, 3, 4, -4.80884247, 6.32305935, 7, 8}},
        {"partial", "p=.5", {-1.41335252, 1.87911807, -2.82885748, 4.05819114, 5, 6, 7, 8}},
        {"yarn", "factor=4", {-1.93065157, 0.156620458, 3.26585152, 4.54768469, -5.4754896, 7.1996215, 8.0330492, 9.11244881}},
        {"nope", "", {1, 2, 3, 4, 5, 6, 7, 8}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        rs_rope rope = build(cases[i].type, cases[i].entry, 8);
        rs_rope_rotate(&rope, 3, x, x);
        for (int k = 0; k < 8; k++)
            CLOSE(x[k], cases[i].want[k]);
    }
}

static void table_is_cos_and_sin_of_fp64_angles(void **state)
{
    (void)state;
    enum { STRIDE = 7 };
    const double positions[] = {0, 3, 0.25, 131071};
    float c[4 * STRIDE], s[4 * STRIDE];
    rs_rope rope = build("yarn", "factor=4 rope_theta=5e5", 8);
    memset(c, 0x7F, sizeof c);
    rs_rope_table(&rope, positions, 4, c, s, STRIDE);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            assert_true(c[i * STRIDE + k] == (float)(rope.attention_factor * cos(positions[i] * rope.inv_freq[k])));
            assert_true(s[i * STRIDE + k] == (float)(rope.attention_factor * sin(positions[i] * rope.inv_freq[k])));
        }
    float untouched;
    memset(&untouched, 0x7F, sizeof untouched);
    assert_memory_equal(&c[4], &untouched, sizeof untouched);
}

static void logits_depend_on_distance_only(void **state)
{
    (void)state;
    rs_rng rng;
    rs_rng_init(&rng, 1, "rope", 0, 0);
    rs_rope rope = build("default", "", 64);
    for (int trial = 0; trial < 50; trial++) {
        double q[64], k[64], a[64], b[64], first = 0, second = 0;
        for (int i = 0; i < 64; i++) {
            q[i] = rs_rng_normal(&rng);
            k[i] = rs_rng_normal(&rng);
        }
        double distance = (double)rs_rng_below(&rng, 1000), shift = (double)rs_rng_below(&rng, 1000);
        rs_rope_rotate(&rope, distance, q, a);
        for (int i = 0; i < 64; i++)
            first += a[i] * k[i];
        rs_rope_rotate(&rope, distance + shift, q, a);
        rs_rope_rotate(&rope, shift, k, b);
        for (int i = 0; i < 64; i++)
            second += a[i] * b[i];
        assert_true(fabs(first - second) < 1e-10);
    }
}

static void gains_of_a_band(void **state)
{
    (void)state;
    rs_rope removed = build("band", "band=pairs:[1,2] op=remove", 8), gained = build("band", "band=pairs:[0,1] op=gain by=2.5", 8);
    rs_rope plain = build("default", "", 8);
    static const double without[] = {1, 0, 0, 1}, with[] = {2.5, 2.5, 1, 1};
    for (int k = 0; k < 4; k++) {
        assert_true(removed.query_gain[k] == without[k]);
        assert_true(gained.query_gain[k] == with[k]);
        assert_true(plain.query_gain[k] == 1);
        assert_true(removed.inv_freq[k] == plain.inv_freq[k] && gained.inv_freq[k] == plain.inv_freq[k]);
    }
}

/* --- position maps --- */

/* The run that holds key j. */
static int run_of(const rs_position_map *map, int64_t m, int64_t j)
{
    for (int s = map->n_segments - 1; s >= 0; s--)
        if (j >= map->start(map, m, s))
            return s;
    fail_msg("key %ld of query %ld lies in no run", (long)j, (long)m);
    return -1;
}

static double relative_position(const rs_position_map *map, int64_t m, int64_t j)
{
    int s = run_of(map, m, j);
    return map->query_position(map, m, s) - map->key_position(map, j, map->key_set[s]);
}

static void published_positions(void **state)
{
    (void)state;
    rs_rope extend = build("self_extend", "window=1024 group=4", 8);
    assert_true(relative_position(&extend.map, 1500, 1000) == 500);
    assert_true(relative_position(&extend.map, 3000, 1000) == 1268);
    assert_true(relative_position(&extend.map, 8000, 0) == 2768);
    rs_rope dca = build("dca", "original_max_position_embeddings=8192", 8);
    assert_true(relative_position(&dca.map, 5120, 5119) == 1);
    assert_true(relative_position(&dca.map, 10239, 5119) == 1025);
    assert_true(relative_position(&dca.map, 16000, 100) == 6044);
}

/* The definitions, once more, straight from the papers. n: window, group, leak, L, chunk as each needs. */
static double want_identity(int64_t m, int64_t j, const double *n)
{
    (void)n;
    return (double)(m - j);
}

static double want_self_extend(int64_t m, int64_t j, const double *n)
{
    int64_t w = (int64_t)n[0], g = (int64_t)n[1];
    return (double)(m - j < w ? m - j : m / g - j / g + w - w / g);
}

static double want_rerope(int64_t m, int64_t j, const double *n)
{
    return fmin((double)(m - j), n[0]);
}

static double want_leaky(int64_t m, int64_t j, const double *n)
{
    double rel = (double)(m - j);
    return rel < n[0] ? rel : n[0] + (rel - n[0]) / n[1];
}

static double want_dca(int64_t m, int64_t j, const double *n)
{
    int64_t c = (int64_t)n[0], s = (int64_t)n[1], apart = m / s - j / s;
    int64_t query = m % s;
    if (apart == 1)
        query = query + s < c ? query + s : c;
    else if (apart > 1)
        query = 2 * s - 1 < c ? 2 * s - 1 : c;
    return (double)(query - j % s);
}

static const struct map_case {
    const char *type, *entry;
    double (*want)(int64_t m, int64_t j, const double *n);
    double n[2];
} map_cases[] = {
    {"default", "", want_identity, {0}},
    {"irope", "", want_identity, {0}},
    {"self_extend", "window=1024 group=4", want_self_extend, {1024, 4}},
    {"self_extend", "window=100 group=7", want_self_extend, {100, 7}},
    {"self_extend", "window=1 group=3", want_self_extend, {1, 3}},
    {"self_extend", "window=64 group=1", want_identity, {0}},
    {"rerope", "window=128", want_rerope, {128}},
    {"rerope", "window=1", want_rerope, {1}},
    {"leaky_rerope", "window=128 leak=8", want_leaky, {128, 8}},
    {"leaky_rerope", "window=33 leak=2.5", want_leaky, {33, 2.5}},
    {"leaky_rerope", "window=128 leak=1", want_identity, {0}},
    {"dca", "original_max_position_embeddings=8192", want_dca, {6144, 5120}},
    {"dca", "original_max_position_embeddings=512", want_dca, {384, 320}},
    {"dca", "original_max_position_embeddings=512 chunk=100", want_dca, {100, 36}},
    {"dca", "original_max_position_embeddings=100", want_dca, {75, 63}},
    {"dca", "original_max_position_embeddings=100 chunk=13", want_dca, {13, 1}},
};
enum { N_MAP_CASES = sizeof map_cases / sizeof *map_cases };

static void runs_tile_all_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MAP_CASES; i++) {
        rs_position_map map = build(map_cases[i].type, map_cases[i].entry, 8).map;
        assert_in_range(map.n_segments, 1, RS_MAX_SEGMENTS);
        assert_in_range(map.n_key_sets, 1, RS_MAX_KEY_SETS);
        for (int64_t m = 0; m < 3000; m++) {
            assert_int_equal(map.start(&map, m, 0), 0);
            assert_int_equal(map.start(&map, m, map.n_segments), m + 1);
            for (int s = 0; s < map.n_segments; s++) {
                assert_in_range(map.key_set[s], 0, map.n_key_sets - 1);
                assert_true(map.start(&map, m, s) <= map.start(&map, m, s + 1));
            }
        }
    }
}

static void check_relative(const struct map_case *c, const rs_position_map *map, int64_t m, int64_t j)
{
    double got = relative_position(map, m, j), want = c->want(m, j, c->n);
    if (fabs(got - want) > 1e-9)
        fail_msg("%s %s: (%ld, %ld) is %.12g, expected %.12g", c->type, c->entry, (long)m, (long)j, got, want);
}

static void relative_positions_follow_the_definitions(void **state)
{
    (void)state;
    rs_rng rng;
    rs_rng_init(&rng, 7, "maps", 0, 0);
    for (size_t i = 0; i < N_MAP_CASES; i++) {
        rs_position_map map = build(map_cases[i].type, map_cases[i].entry, 8).map;
        for (int64_t m = 0; m < 400; m++)
            for (int64_t j = 0; j <= m; j++)
                check_relative(&map_cases[i], &map, m, j);
        for (int trial = 0; trial < 20000; trial++) {
            int64_t m = (int64_t)rs_rng_below(&rng, 200000);
            check_relative(&map_cases[i], &map, m, (int64_t)rs_rng_below(&rng, (uint64_t)m + 1));
        }
    }
}

/* --- what holds between variants --- */

static void limits_meet(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry, *same_as, *same_entry;
    } cases[] = {
        {"p_rope", "p=1", "default", ""},
        {"p_rope_reversed", "p=1", "default", ""},
        {"partial", "p=1", "default", ""},
        {"linear", "factor=1", "default", ""},
        {"ntk", "factor=1", "default", ""},
        {"dynamic", "factor=4", "default", ""},
        {"ntk_by_parts", "factor=1", "default", ""},
        {"llama3", "factor=1", "default", ""},
        {"p_rope", "p=0", "nope", ""},
        {"p_rope_reversed", "p=0", "nope", ""},
        {"partial", "p=0", "nope", ""},
        {"band", "band=pairs:[0,3] op=freeze", "nope", ""},
        {"band", "band=pairs:[2,3] op=freeze", "p_rope", "p=.5"},
        {"band", "band=pairs:[0,1] op=freeze", "p_rope_reversed", "p=.5"},
        {"proportional", "partial_rotary_factor=.75 factor=2", "p_rope", "p=.75 factor=2"},
        {"default", "rope_theta=4e4", "default", "rope_theta=40000.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_rope a = build(cases[i].type, cases[i].entry, 8), b = build(cases[i].same_as, cases[i].same_entry, 8);
        assert_int_equal(a.rotary_dim, b.rotary_dim);
        for (int k = 0; k < 4; k++)
            assert_true(fabs(a.inv_freq[k] - b.inv_freq[k]) <= 1e-15 * b.inv_freq[k]);
    }
    rs_rope half = build("p_rope", "p=.5", 8), alias = build("proportional", "partial_rotary_factor=.5", 8);
    assert_true(same_digest(&half, &alias));
}

static void digests_tell_tables_apart(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry;
    } entries[] = {
        {"default", ""},
        {"default", "rope_theta=10001"},
        {"nope", ""},
        {"alibi", ""},
        {"irope", ""},
        {"partial", "p=.5"},
        {"band", "band=pairs:[1,1] op=remove"},
        {"band", "band=pairs:[1,1] op=gain by=2"},
        {"yarn", "factor=4"},
        {"yarn", "factor=4 attention_factor=1"},
        {"self_extend", "window=64 group=4"},
        {"self_extend", "window=64 group=5"},
        {"self_extend", "window=65 group=4"},
        {"rerope", "window=64"},
        {"leaky_rerope", "window=64 leak=4"},
        {"leaky_rerope", "window=64 leak=5"},
        {"dca", ""},
        {"dca", "chunk=1024"},
    };
    enum { N = sizeof entries / sizeof *entries };
    rs_rope ropes[N];
    for (int i = 0; i < N; i++) {
        ropes[i] = build(entries[i].type, entries[i].entry, 8);
        rs_rope again = build(entries[i].type, entries[i].entry, 8);
        assert_true(same_digest(&ropes[i], &again));
        for (int j = 0; j < i; j++)
            if (same_digest(&ropes[i], &ropes[j]))
                fail_msg("%s %s and %s %s have one digest", entries[i].type, entries[i].entry, entries[j].type, entries[j].entry);
    }
    rs_rope renamed = ropes[0]; /* a map of another name has other functions, whatever its numbers */
    renamed.map.name = "other";
    assert_false(same_digest(&renamed, &ropes[0]));
}

static void flags(void **state)
{
    (void)state;
    for (const rs_rope_variant *const *v = rs_rope_variants; *v; v++) {
        bool depends = strcmp((*v)->name, "dynamic") == 0 || strcmp((*v)->name, "longrope") == 0;
        assert_int_equal((*v)->length_dependent, depends);
        assert_ptr_equal(rs_rope_variant_find((*v)->name), *v);
        assert_true((*v)->summary[0] && (*v)->source[0]);
    }
    assert_false(build("dynamic", "factor=2", 8).prefix_stable);
    assert_false(build("longrope", "short_factor=[1,1,1,1] long_factor=[1,1,1,1]", 8).prefix_stable);
    assert_true(build("yarn", "factor=2", 8).prefix_stable);
    assert_true(build("alibi", "", 8).alibi);
    assert_false(build("nope", "", 8).alibi);
    assert_null(rs_rope_variant_find("yarm"));
    rs_rope irope = build("irope", "", 8), plain = build("default", "", 8);
    for (int layer = 0; layer < 40; layer++) {
        assert_int_equal(rs_rope_rotates(&irope, layer), layer % 4 != 3);
        assert_true(rs_rope_rotates(&plain, layer));
    }
}

/* --- refusals --- */

static void bad_entries_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry, *words[3];
    } cases[] = {
        {"linear", "", {"factor", "missing"}},
        {"linear", "factor=0", {"above 0", "not 0"}},
        {"linear", "factor=-2", {"above 0", "not -2"}},
        {"linear", "factor=four", {"number", "'four'"}},
        {"linear", "factor=.inf", {"finite"}},
        {"linear", "factor=1e-320", {"linear", "pair 0", "inf"}},
        {"default", "rope_theta=1", {"above 1", "not 1"}},
        {"default", "rope_theta=-10000", {"above 1", "-10000"}},
        {"ntk", "", {"factor", "missing"}},
        {"ntk", "factor=-1", {"above 0", "-1"}},
        {"dynamic", "", {"factor", "missing"}},
        {"dynamic", "factor=2 original_max_position_embeddings=0", {"at least 2", "not 0"}},
        {"dynamic", "factor=2 original_max_position_embeddings=100.5", {"whole", "100.5"}},
        {"ntk_by_parts", "factor=4 alpha=32", {"alpha (32)", "beta (32)"}},
        {"ntk_by_parts", "factor=4 alpha=-1", {"at least 0", "-1"}},
        {"yarn", "", {"factor", "missing"}},
        {"yarn", "factor=4 beta_fast=1 beta_slow=32", {"beta_fast (1)", "beta_slow (32)"}},
        {"yarn", "factor=4 truncate=maybe", {"true or false", "'maybe'"}},
        {"yarn", "factor=4 attention_factor=0", {"above 0", "not 0"}},
        {"yarn", "factor=4 mscale=-100 mscale_all_dim=1", {"attention factor", "above 0"}},
        {"longrope", "long_factor=[1,1,1,1]", {"short_factor", "missing"}},
        {"longrope", "short_factor=[1,1,1] long_factor=[1,1,1,1]", {"short_factor", "4", "not 3"}},
        {"longrope", "short_factor=[1,1,1,1] long_factor=[1,1,1,1,1]", {"long_factor", "4", "not 5"}},
        {"longrope", "short_factor=[1,1,0,1] long_factor=[1,1,1,1]", {"number 3 of 4", "above 0", "not 0"}},
        {"longrope", "short_factor=[] long_factor=[1,1,1,1]", {"at least one"}},
        {"llama3", "factor=0", {"above 0"}},
        {"llama3", "low_freq_factor=4", {"low_freq_factor (4)", "high_freq_factor (4)"}},
        {"llama3", "low_freq_factor=0", {"above 0"}},
        {"p_rope", "", {"'p'", "missing"}},
        {"p_rope", "p=1.5", {"between 0 and 1", "1.5"}},
        {"p_rope", "p=-0.1", {"between 0 and 1", "-0.1"}},
        {"p_rope", "p=.5 factor=0", {"above 0"}},
        {"proportional", "", {"partial_rotary_factor", "missing"}},
        {"proportional", "partial_rotary_factor=2", {"between 0 and 1", "2"}},
        {"p_rope_reversed", "p=2", {"between 0 and 1"}},
        {"partial", "p=.4", {"p 0.4", "3", "even"}},
        {"partial", "p=1.1", {"between 0 and 1", "1.1"}},
        {"band", "op=freeze", {"'band'", "missing"}},
        {"band", "band=pairs:[0,1]", {"'op'", "missing"}},
        {"band", "band=pairs:[0,1] op=freze", {"freeze, remove, slow, gain", "'freze'", "nearest: 'freeze'"}},
        {"band", "band=pairs:[0,4] op=freeze", {"pairs", "[0, 4]", "0 to 3"}},
        {"band", "band=pairs:[2,1] op=freeze", {"pairs", "[2, 1]"}},
        {"band", "band=pairs:[0,1.5] op=freeze", {"whole", "1.5"}},
        {"band", "band=pair:[0,1] op=freeze", {"'pair'", "nearest: 'pairs'"}},
        {"band", "band=wavelength:[-1,10] op=freeze", {"wavelength", "-1"}},
        {"band", "band=wavelength:[100,200] op=freeze", {"no pair", "[100, 200]", "6283.19"}},
        {"band", "band=pairs:[0,1] op=slow", {"'by'", "missing", "slow"}},
        {"band", "band=pairs:[0,1] op=gain by=-1", {"at least 0", "-1"}},
        {"band", "band=pairs:[0,1] op=remove by=2", {"by (2)", "remove"}},
        {"self_extend", "window=1024", {"'group'", "missing"}},
        {"self_extend", "group=4", {"'window'", "missing"}},
        {"self_extend", "group=0 window=1024", {"at least 1", "not 0"}},
        {"self_extend", "group=2.5 window=1024", {"whole", "2.5"}},
        {"rerope", "window=0", {"at least 1", "not 0"}},
        {"leaky_rerope", "window=16", {"'leak'", "missing"}},
        {"leaky_rerope", "window=16 leak=0", {"above 0", "not 0"}},
        {"dca", "chunk=512", {"chunk", "512", "4096"}},
        {"dca", "chunk=4097", {"chunk", "4097"}},
        {"dca", "chunk=0", {"at least 1"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_rope rope;
        if (try_build(cases[i].type, cases[i].entry, 8, 1024, &rope) != RS_INVALID)
            fail_msg("%s %s is not refused", cases[i].type, cases[i].entry);
        for (int w = 0; w < 3 && cases[i].words[w]; w++)
            if (!strstr(rs_error_message(), cases[i].words[w]))
                fail_msg("%s %s: no '%s' in: %s", cases[i].type, cases[i].entry, cases[i].words[w], rs_error_message());
    }
    rs_error_clear();
}

static void bad_head_dims_are_refused(void **state)
{
    (void)state;
    static const int dims[] = {0, -2, 7, 514};
    rs_rope rope;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(try_build("default", "", dims[i], 1, &rope), RS_INVALID);
        assert_non_null(strstr(rs_error_message(), "head_dim"));
    }
    assert_int_equal(try_build("ntk", "factor=2", 2, 1, &rope), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "head_dim above 2"));
    assert_int_equal(try_build("default", "", 512, 1, &rope), RS_OK);
    assert_int_equal(try_build("ntk", "factor=1e300", 4, 1, &rope), RS_INVALID); /* the base overflows: d/(d-2) = 2 */
    assert_non_null(strstr(rs_error_message(), "factor 1e+300"));
    rs_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inv_freq_of_eight_dimensions),
        cmocka_unit_test(raised_bases),
        cmocka_unit_test(yarn_ramps),
        cmocka_unit_test(llama3_ratios),
        cmocka_unit_test(attention_factors),
        cmocka_unit_test(rotations),
        cmocka_unit_test(table_is_cos_and_sin_of_fp64_angles),
        cmocka_unit_test(logits_depend_on_distance_only),
        cmocka_unit_test(gains_of_a_band),
        cmocka_unit_test(published_positions),
        cmocka_unit_test(runs_tile_all_keys),
        cmocka_unit_test(relative_positions_follow_the_definitions),
        cmocka_unit_test(limits_meet),
        cmocka_unit_test(digests_tell_tables_apart),
        cmocka_unit_test(flags),
        cmocka_unit_test(bad_entries_are_refused),
        cmocka_unit_test(bad_head_dims_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
