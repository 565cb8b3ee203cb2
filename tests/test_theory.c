/* What the two papers prove of rotary embeddings and of softmax, on the attention that runs compute: "Round and Round We Go!" (arXiv
 * 2410.06205) and "softmax is not enough" (arXiv 2410.01104). Weights are read off by giving each key that is watched a unit vector for its
 * value. */
#include "test_cpu.h"

enum { DIM = 64, PAIRS = DIM / 2 };

typedef struct head {
    rs_backend *backend;
    float *qkv; /* [n, 3 DIM] */
    int64_t n;
} head;

static head head_open(int64_t n)
{
    static const int kv_of_head[] = {0};
    head h = {.n = n, .qkv = calloc((size_t)n, 3 * DIM * sizeof(float))};
    rs_backend_shape shape = {.n_layers = 1,
                              .heads = 1,
                              .kv_heads = 1,
                              .kv_of_head = kv_of_head,
                              .all_heads = 1,
                              .head_dim = DIM,
                              .attention_scale = 1 / sqrtf(DIM)};
    assert_int_equal(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = RS_F32, .n_threads = 1}, &h.backend), RS_OK);
    return h;
}

static void head_close(head *h)
{
    rs_backend_cpu.close(h->backend);
    free(h->qkv);
}

static float *query(const head *h, int64_t row)
{
    return h->qkv + row * 3 * DIM;
}

static float *key(const head *h, int64_t row)
{
    return query(h, row) + DIM;
}

static void watch(const head *h, int64_t row, int slot)
{
    query(h, row)[2 * DIM + slot] = 1;
}

/* alpha [n, DIM]: of each row's weights, those on the watched keys. */
static void attend(const head *h, const rs_rope *rope, double temperature, float *alpha)
{
    rs_softmax softmax = {.normalizer = RS_NORMALIZE_EXP, .scale_const = 1 / temperature};
    rs_sequence sequence = {.n_rows = h->n, .rope = rope, .softmax = &softmax};
    rs_step rows = {.sequences = &sequence, .n_sequences = 1, .n = h->n};
    assert_int_equal(rs_backend_cpu.kv_open(h->backend, h->n, 1, 1, &sequence.kv), RS_OK);
    assert_int_equal(rs_backend_cpu.prepare(h->backend, &rows), RS_OK);
    assert_int_equal(rs_backend_cpu.store_qkv(h->backend, 0, h->qkv), RS_OK);
    assert_int_equal(rs_backend_cpu.attention(h->backend, 0, alpha), RS_OK);
    rs_backend_cpu.kv_free(h->backend, sequence.kv);
}

static rs_rope plain_rope(double base)
{
    rs_rope rope;
    rs_rope_init_plain(&rope, DIM);
    rs_rope_fill_default(base, DIM, rope.inv_freq);
    return rope;
}

static rs_rope no_rope(void)
{
    rs_rope rope;
    rs_rope_init_plain(&rope, DIM);
    memset(rope.inv_freq, 0, sizeof rope.inv_freq);
    return rope;
}

static void rotated(const rs_rope *rope, double by, const float *x, float *y)
{
    double from[DIM], to[DIM];
    for (int d = 0; d < DIM; d++)
        from[d] = (double)x[d];
    rs_rope_rotate(rope, by, from, to);
    for (int d = 0; d < DIM; d++)
        y[d] = (float)to[d];
}

/* Distances 1 to ROWS - 1 on a logarithmic grid, one a slot; key 0 is 0, so that its logit is, and has slot 0. */
enum { ROWS = 257 };

static int64_t distance_of(int slot)
{
    return (int64_t)llround(pow(ROWS - 2, (slot - 1) / (double)(DIM - 2)));
}

static void watch_distances(const head *h)
{
    watch(h, 0, 0);
    for (int slot = 1; slot < DIM; slot++)
        watch(h, ROWS - 1 - distance_of(slot), slot);
}

/* q' R^r k, unscaled, from the last row's weights. Slots that share a key share its weight. */
static double logit(const float *alpha, int slot)
{
    const float *row = alpha + (ROWS - 1) * DIM;
    return sqrt(DIM) * log((double)row[slot] / (double)row[0]);
}

/* All-ones queries and keys: the sum of 2 cos(r inv_freq), which falls with distance. */
static void test_constant_vectors_decay(void **state)
{
    (void)state;
    head h = head_open(ROWS);
    rs_rope rope = plain_rope(1e4);
    float *alpha = malloc(ROWS * DIM * sizeof *alpha);
    watch_distances(&h);
    for (int64_t row = 0; row < ROWS; row++)
        for (int d = 0; d < DIM; d++) {
            query(&h, row)[d] = 1;
            key(&h, row)[d] = row > 0;
        }
    attend(&h, &rope, 1, alpha);
    for (int slot = 1; slot < DIM; slot++) {
        double expected = 0;
        for (int k = 0; k < PAIRS; k++)
            expected += 2 * cos((double)distance_of(slot) * rope.inv_freq[k]);
        assert_true(fabs(logit(alpha, slot) - expected) < 1e-3);
    }
    assert_true(logit(alpha, DIM - 1) < 0.5 * logit(alpha, 1));
    free(alpha);
    head_close(&h);
}

/* Proposition 3.2: for independent normal q and k the logit has mean 0 and variance d at every distance: no decay. */
static void test_gaussian_vectors_do_not(void **state)
{
    (void)state;
    enum { DRAWS = 1500 };
    head h = head_open(ROWS);
    rs_rope rope = plain_rope(1e4);
    rs_rng rng;
    rs_rng_init(&rng, 5, "theory/gauss", 0, 0);
    float *alpha = malloc(ROWS * DIM * sizeof *alpha);
    double sum[DIM] = {0}, squares[DIM] = {0};
    watch_distances(&h);
    for (int draw = 0; draw < DRAWS; draw++) {
        fill_normal(&rng, query(&h, ROWS - 1), DIM, 1);
        for (int64_t row = 1; row < ROWS; row++)
            fill_normal(&rng, key(&h, row), DIM, 1);
        attend(&h, &rope, 1, alpha);
        for (int slot = 1; slot < DIM; slot++) {
            double z = logit(alpha, slot);
            sum[slot] += z;
            squares[slot] += z * z;
        }
    }
    /* Standard errors of the mean and of the mean square: z given q is normal of variance |q|^2, so that E z^4 = 3 (d^2 + 2 d). */
    double of_mean = sqrt(DIM / (double)DRAWS), of_square = sqrt((2.0 * DIM * DIM + 6 * DIM) / DRAWS);
    for (int slot = 1; slot < DIM; slot++) {
        assert_true(fabs(sum[slot] / DRAWS) < 5 * of_mean);
        assert_true(fabs(squares[slot] / DRAWS - DIM) < 5 * of_square);
    }
    free(alpha);
    head_close(&h);
}

/* Proposition 3.1: for any query there is a key that it attends to most at the distance one likes: the query itself, rotated on by it. */
static void test_a_key_for_each_distance(void **state)
{
    (void)state;
    head h = head_open(DIM);
    rs_rope rope = plain_rope(1e4);
    rs_rng rng;
    rs_rng_init(&rng, 6, "theory/key", 0, 0);
    float *alpha = malloc(DIM * DIM * sizeof *alpha), q[DIM], k[DIM];
    for (int row = 0; row < DIM; row++)
        watch(&h, row, row);
    for (int distance = 0; distance < DIM; distance += 3) {
        fill_normal(&rng, q, DIM, 1.5);
        rotated(&rope, distance, q, k);
        for (int row = 0; row < DIM; row++) {
            memcpy(query(&h, row), q, sizeof q);
            memcpy(key(&h, row), k, sizeof k);
        }
        attend(&h, &rope, 1, alpha);
        for (int row = distance; row < DIM; row++)
            for (int other = 0; other <= row; other++)
                assert_true(other == row - distance || alpha[row * DIM + other] < alpha[row * DIM + row - distance]);
    }
    free(alpha);
    head_close(&h);
}

/* Theorem 5.3: without positions two equal tokens weigh the same, so that neither holds half... */
static void test_no_diagonal_without_positions(void **state)
{
    (void)state;
    head h = head_open(3);
    rs_rope rope = no_rope();
    rs_rng rng;
    rs_rng_init(&rng, 7, "theory/nope", 0, 0);
    float alpha[3 * DIM];
    for (int row = 0; row < 3; row++)
        watch(&h, row, row);
    for (int draw = 0; draw < 200; draw++) {
        fill_normal(&rng, h.qkv, DIM, 2);
        fill_normal(&rng, key(&h, 0), DIM, 2);
        for (int part = 0; part < 2; part++) { /* [bos, x, x]: queries and keys of the last two are equal */
            fill_normal(&rng, h.qkv + 3 * DIM + part * DIM, DIM, 2);
            memcpy(h.qkv + 6 * DIM + part * DIM, h.qkv + 3 * DIM + part * DIM, DIM * sizeof(float));
        }
        attend(&h, &rope, 1, alpha);
        assert_true(alpha[2 * DIM + 1] == alpha[2 * DIM + 2]);
        assert_true(alpha[2 * DIM + 2] <= 0.5f);
    }
    head_close(&h);
}

/* ... and with one rotating frequency heads are easily built that look at themselves, or at the token before. */
static void test_positional_heads_of_one_frequency(void **state)
{
    (void)state;
    enum { TOKENS = 40 }; /* cos(r) comes close to 1 again at 44 */
    const float size = 130;
    head h = head_open(TOKENS);
    rs_rope rope = plain_rope(1e4);
    float alpha[TOKENS * DIM], q[DIM] = {[0] = size}, k[DIM];
    for (int row = 0; row < TOKENS; row++)
        watch(&h, row, row);
    for (int back = 0; back <= 1; back++) {
        rotated(&rope, back, q, k);
        for (int row = 0; row < TOKENS; row++) {
            memcpy(query(&h, row), q, sizeof q);
            memcpy(key(&h, row), k, sizeof k);
        }
        attend(&h, &rope, 1, alpha);
        for (int row = back; row < TOKENS; row++)
            assert_true(alpha[row * DIM + row - back] > 0.999f);
    }
    head_close(&h);
}

/* Theorem 6.1: what a head knows a token by turns away with distance if its channel rotates, however slowly; unrotated it stays. */
static void test_semantic_channels_turn_away(void **state)
{
    (void)state;
    const double slowest = 0.05, strength = 9; /* half a turn is 63 tokens; strength: of the target's logit, the others' is 0 */
    head h = head_open(DIM);
    rs_rope turning = no_rope(), still = no_rope();
    turning.inv_freq[PAIRS - 1] = slowest;
    float alpha[DIM * DIM], size = (float)sqrt(strength * sqrt(DIM));
    watch(&h, 0, 0);
    key(&h, 0)[PAIRS - 1] = size; /* the target is the first token */
    for (int row = 0; row < DIM; row++)
        query(&h, row)[PAIRS - 1] = size;
    attend(&h, &still, 1, alpha);
    for (int row = 0; row < DIM; row++)
        assert_true(fabs((double)alpha[row * DIM] - 1 / (1 + row * exp(-strength))) < 1e-5);
    attend(&h, &turning, 1, alpha);
    for (int row = 0; row < DIM; row++)
        assert_true(fabs((double)alpha[row * DIM] - 1 / (1 + row * exp(-strength * cos(slowest * row)))) < 1e-5);
    assert_true(alpha[(DIM - 1) * DIM] < 1e-4f);
    head_close(&h);
}

/* Lemma 2.1 of the second paper: with logits in [m, M], spread = M - m: exp(-spread/theta)/n <= alpha <= exp(spread/theta)/n, the largest
 * at most 1/(1 + (n-1) exp(-spread/theta)), entropy at least ln n - spread/theta. */
static void check_dispersion(const head *h, const rs_rope *rope, double theta, const float *alpha)
{
    const double slack = 1e-5; /* fp32 */
    for (int row = 0; row < DIM; row++) {
        float q[DIM], k[DIM];
        double least = INFINITY, most = -INFINITY, largest = 0, entropy = 0, n = row + 1;
        rotated(rope, row, query(h, row), q);
        for (int j = 0; j <= row; j++) {
            double z = 0;
            rotated(rope, j, key(h, j), k);
            for (int d = 0; d < DIM; d++)
                z += (double)q[d] * (double)k[d] / sqrt(DIM);
            least = fmin(least, z);
            most = fmax(most, z);
        }
        double bound = exp((most - least) / theta);
        for (int j = 0; j <= row; j++) {
            double a = (double)alpha[row * DIM + j];
            assert_true(a >= (1 - slack) / (n * bound) && a <= (1 + slack) * bound / n);
            largest = fmax(largest, a);
            entropy -= a > 0 ? a * log(a) : 0;
        }
        assert_true(largest <= (1 + slack) / (1 + (n - 1) / bound));
        assert_true(entropy >= log(n) - (most - least) / theta - slack);
    }
}

static void test_dispersion(void **state)
{
    (void)state;
    head h = head_open(DIM);
    rs_rope rope = plain_rope(1e4);
    rs_rng rng;
    rs_rng_init(&rng, 8, "theory/dispersion", 0, 0);
    float alpha[DIM * DIM];
    static const double temperatures[] = {0.25, 1, 4}, sizes[] = {0.1, 1, 2};
    for (int row = 0; row < DIM; row++)
        watch(&h, row, row);
    for (int t = 0; t < 3; t++)
        for (int s = 0; s < 3; s++)
            for (int draw = 0; draw < 5; draw++) {
                for (int row = 0; row < DIM; row++) {
                    fill_normal(&rng, query(&h, row), DIM, sizes[s]);
                    fill_normal(&rng, key(&h, row), DIM, sizes[s]);
                }
                attend(&h, &rope, temperatures[t], alpha);
                check_dispersion(&h, &rope, temperatures[t], alpha);
            }
    head_close(&h);
}

int main(int argc, char **argv)
{
    (void)argc;
    calm_threads(argv);
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_constant_vectors_decay),
        cmocka_unit_test(test_gaussian_vectors_do_not),
        cmocka_unit_test(test_a_key_for_each_distance),
        cmocka_unit_test(test_no_diagonal_without_positions),
        cmocka_unit_test(test_positional_heads_of_one_frequency),
        cmocka_unit_test(test_semantic_channels_turn_away),
        cmocka_unit_test(test_dispersion),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
