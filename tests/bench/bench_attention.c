/* Speed of causal attention, prefill and decode, by head_dim and policy.
 * usage: bench_attention [threads [tokens]]
 * GFLOP count 4 * head_dim * visible keys per query row; columns: by wall clock, and per core and second of its time. */
#include <math.h>
#include <string.h>

#include "bench.h"

static int64_t start_plain(const rs_position_map *map, int64_t m, int segment)
{
    (void)map, (void)m, (void)segment;
    return 0;
}

static double query_plain(const rs_position_map *map, int64_t m, int segment)
{
    (void)map, (void)segment;
    return (double)m;
}

static double key_plain(const rs_position_map *map, int64_t j, int key_set)
{
    (void)map, (void)key_set;
    return (double)j;
}

typedef struct attention_run {
    rs_backend *backend;
    rs_sequence sequence;
    void *out;
} attention_run;

static void run_attention(void *argument)
{
    attention_run *run = argument;
    must(rs_backend_cpu.attention(run->backend, 0, run->out));
}

typedef struct setting {
    rs_dtype dtype;
    int heads, kv_heads, head_dim, threads;
    int64_t n;
} setting;

/* Prefill of n tokens and one decode step after it; their times under one policy. */
static void measure(const setting *s, const rs_softmax *softmax, timing *prefill, timing *decode)
{
    int kv_of_head[64];
    for (int i = 0; i < s->heads; i++)
        kv_of_head[i] = i * s->kv_heads / s->heads;
    rs_backend_shape shape = {.n_layers = 1,
                              .heads = s->heads,
                              .kv_heads = s->kv_heads,
                              .kv_of_head = kv_of_head,
                              .all_heads = s->heads,
                              .head_dim = s->head_dim,
                              .attention_scale = 1 / sqrtf((float)s->head_dim)};
    rs_rope rope = {.head_dim = s->head_dim, .rotary_dim = s->head_dim, .attention_factor = 1};
    rope.map =
        (rs_position_map){.n_segments = 1, .n_key_sets = 1, .start = start_plain, .query_position = query_plain, .key_position = key_plain};
    for (int k = 0; k < s->head_dim / 2; k++) {
        rope.inv_freq[k] = pow(1e4, -2.0 * k / s->head_dim);
        rope.query_gain[k] = 1;
    }
    attention_run run = {.sequence = {.n_rows = s->n, .rope = &rope, .softmax = softmax}};
    rs_step step = {.sequences = &run.sequence, .n_sequences = 1};
    int64_t width = (int64_t)(s->heads + 2 * s->kv_heads) * s->head_dim;
    float *qkv = malloc((size_t)(s->n * width) * sizeof *qkv);
    rs_rng rng;
    rs_rng_init(&rng, 1, "bench", 0, 0);
    for (int64_t i = 0; i < s->n * width; i++)
        qkv[i] = (float)rs_rng_normal(&rng);
    run.out = malloc((size_t)(s->n * s->heads * s->head_dim) * sizeof(float));
    must(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = s->dtype, .n_threads = s->threads}, &run.backend));
    must(rs_backend_cpu.kv_open(run.backend, s->n, 1, 1, &run.sequence.kv));
    must(rs_backend_cpu.prepare(run.backend, &step));
    must(rs_backend_cpu.store_qkv(run.backend, 0, qkv));
    *prefill = time_of(run_attention, &run, 0.4);
    run.sequence.position = s->n - 1;
    run.sequence.n_rows = 1;
    step.phase = RS_DECODE;
    must(rs_backend_cpu.prepare(run.backend, &step));
    must(rs_backend_cpu.store_qkv(run.backend, 0, qkv));
    *decode = time_of(run_attention, &run, 0.1);
    rs_backend_cpu.kv_free(run.backend, run.sequence.kv);
    rs_backend_cpu.close(run.backend);
    free(qkv);
    free(run.out);
}

typedef struct policy {
    const char *name;
    rs_softmax softmax;
} policy;

#define PLAIN .scale_const = 1
static const policy policies[] = {
    {"plain", {PLAIN}},
    {"cap", {PLAIN, .cap = 50}},
    {"sink", {PLAIN, .has_sink = true}},
    {"adaptive", {PLAIN, .n_theta = 5, .theta = {-0.037, 0.481, -2.3, 4.917, -1.791}, .entropy_threshold = 0.5}},
    {"top_k 64", {PLAIN, .normalizer = RS_NORMALIZE_TOP_K, .k = 64}},
    {"sparsemax", {PLAIN, .normalizer = RS_NORMALIZE_ENTMAX, .alpha = 2}},
    {"entmax 1.5", {PLAIN, .normalizer = RS_NORMALIZE_ENTMAX, .alpha = 1.5}},
};

static void report(const setting *s, const policy *p, double *plain_cpu)
{
    timing prefill, decode;
    measure(s, &p->softmax, &prefill, &decode);
    double n = (double)s->n, flop = 4.0 * s->head_dim * s->heads * n * (n + 1) / 2;
    double bytes = 2 * n * s->kv_heads * s->head_dim * (s->dtype == RS_BF16 ? 2 : 4);
    if (*plain_cpu == 0)
        *plain_cpu = prefill.cpu;
    printf("%-4s %2d/%2d x %3d  %-10s prefill %7.1f GF/s wall %7.1f GF/s core  x%5.2f   decode %6.1f us %6.1f GB/s\n",
           s->dtype == RS_BF16 ? "bf16" : "fp32", s->heads, s->kv_heads, s->head_dim, p->name, flop / prefill.wall / 1e9,
           flop / prefill.cpu / 1e9, prefill.cpu / *plain_cpu, decode.wall * 1e6, bytes / decode.wall / 1e9);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    int64_t n = argc > 2 ? atoll(argv[2]) : 2048;
    static const int shapes[][3] = {{9, 3, 64}, {8, 8, 32}, {8, 2, 128}, {8, 1, 256}, {8, 4, 80}};
    printf("%s; %d threads, %lld tokens\n", rs_backend_cpu.describe(0), threads, (long long)n);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int dtype = RS_BF16; dtype >= RS_F32; dtype--) {
            setting s = {(rs_dtype)dtype, shapes[i][0], shapes[i][1], shapes[i][2], threads, n};
            double plain_cpu = 0;
            size_t n_policies = i == 0 ? sizeof policies / sizeof *policies : 4;
            for (size_t p = 0; p < n_policies; p++)
                report(&s, &policies[p], &plain_cpu);
        }
    return 0;
}
