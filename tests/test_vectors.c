/* Vectors of the reference document that belong to no single table: RMSNorm, GELU, ALiBi's slopes, the streamed entropy, through the CPU
 * backend in fp32. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/backend.h"

enum { DIM = 16, MAX_HEADS = 8, MAX_TOKENS = 4 };

static rs_backend *open_backend(int heads)
{
    static const int own_head[MAX_HEADS] = {0, 1, 2, 3, 4, 5, 6, 7};
    rs_backend_shape shape = {.n_layers = 1,
                              .heads = heads,
                              .kv_heads = heads,
                              .kv_of_head = own_head,
                              .all_heads = heads,
                              .head_dim = DIM,
                              .attention_scale = 0.25f};
    rs_backend *backend = NULL;
    assert_int_equal(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = RS_F32, .n_threads = 1}, &backend), RS_OK);
    return backend;
}

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 3e-7 * fabs(want)))
        fail_msg("%.9g, not %.9g", got, want);
}

static void rms_norm(void **state)
{
    (void)state;
    rs_backend *backend = open_backend(1);
    float x[] = {1, 2, 3, 4}, h[4];
    const float weight[] = {1 + 0.1f, 1 - 0.2f, 1 + 0.3f, 1 + 0.0f};
    const double want[] = {0.401663182, 0.584237356, 1.42407855, 1.46059339};
    assert_int_equal(rs_backend_cpu.add_norm(backend, x, NULL, weight, 1e-6f, false, 1, 4, h), RS_OK);
    for (int i = 0; i < 4; i++)
        near((double)h[i], want[i]);
    rs_backend_cpu.close(backend);
}

static void gelu_tanh(void **state)
{
    (void)state;
    rs_backend *backend = open_backend(1);
    const float gate_up[] = {-2, 1, 1, 1}; /* gates -2 and 1, both times 1 */
    float out[2];
    assert_int_equal(rs_backend_cpu.glu(backend, RS_GELU_TANH, gate_up, 1, 2, out), RS_OK);
    near((double)out[0], -0.0454023059);
    near((double)out[1], 0.841191991);
    rs_backend_cpu.close(backend);
}

/* Attention of the last of n tokens: query 4 e_0, keys z_j e_0 (so the logits are z_j), value of token j is 1 at dimension j. out: [heads,
 * DIM]. */
static void last_row(int heads, const double *z, int n, const rs_rope *rope, const rs_softmax *softmax, float *out)
{
    static float qkv[MAX_TOKENS * 3 * MAX_HEADS * DIM], all[MAX_TOKENS * MAX_HEADS * DIM];
    rs_backend *backend = open_backend(heads);
    rs_sequence sequence = {.n_rows = n, .rope = rope, .softmax = softmax};
    memset(qkv, 0, sizeof qkv);
    for (int j = 0; j < n; j++)
        for (int h = 0; h < heads; h++) {
            float *row = qkv + j * 3 * heads * DIM;
            row[h * DIM] = 4;
            row[(heads + h) * DIM] = (float)z[j];
            row[(2 * heads + h) * DIM + j] = 1;
        }
    assert_int_equal(rs_backend_cpu.kv_open(backend, n, 1, 1, &sequence.kv), RS_OK);
    rs_step step = {.sequences = &sequence, .n_sequences = 1};
    assert_int_equal(rs_backend_cpu.prepare(backend, &step), RS_OK);
    assert_int_equal(rs_backend_cpu.store_qkv(backend, 0, qkv), RS_OK);
    assert_int_equal(rs_backend_cpu.attention(backend, 0, all), RS_OK);
    memcpy(out, all + (n - 1) * heads * DIM, (size_t)(heads * DIM) * sizeof *out);
    rs_backend_cpu.kv_free(backend, sequence.kv);
    rs_backend_cpu.close(backend);
}

static rs_rope still_rope(void)
{
    rs_rope rope;
    rs_rope_init_plain(&rope, DIM);
    memset(rope.inv_freq, 0, sizeof rope.inv_freq);
    return rope;
}

/* Slopes 2^-1 .. 2^-8: of two equal keys the nearer gets 1 / (1 + e^-slope). */
static void alibi_slopes(void **state)
{
    (void)state;
    rs_rope rope = still_rope();
    rs_softmax softmax;
    float out[MAX_HEADS * DIM];
    rope.alibi = true;
    rs_softmax_init_plain(&softmax);
    last_row(8, (double[]){0, 0}, 2, &rope, &softmax, out);
    for (int h = 0; h < 8; h++)
        near((double)out[h * DIM + 1], 1 / (1 + exp(-ldexp(1, -(h + 1)))));
}

/* The merge of [2,1] and [0,3]: H = 0.947536964. An adaptive policy whose polynomial is H itself (times 2, to be above 1) shows it. */
static void streamed_entropy(void **state)
{
    (void)state;
    const double z[] = {2, 1, 0, 3}, beta = 2 * 0.947536964;
    rs_rope rope = still_rope();
    rs_softmax softmax;
    float out[DIM];
    double sum = 0;
    rs_softmax_init_plain(&softmax);
    softmax.n_theta = 2;
    softmax.theta[0] = 2;
    softmax.entropy_threshold = 0.5;
    last_row(1, z, 4, &rope, &softmax, out);
    for (int j = 0; j < 4; j++)
        sum += exp(beta * z[j]);
    for (int j = 0; j < 4; j++)
        assert_true(fabs((double)out[j] / (exp(beta * z[j]) / sum) - 1) < 3e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm),
        cmocka_unit_test(gelu_tanh),
        cmocka_unit_test(alibi_slopes),
        cmocka_unit_test(streamed_entropy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
