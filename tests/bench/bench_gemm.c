/* Speed of the matrix products of a model's layers, beside the best that this machine has shown.
 * usage: bench_gemm [threads [rows [hidden [ff [vocabulary]]]]]
 * Columns: by wall clock, per core and second of its time, and the latter's share of the best in the table. */
#include <string.h>

#include "bench.h"

typedef struct product_run {
    rs_backend *backend;
    rs_matrix *w;
    void *a;
    float *out;
    int64_t n, k, m;
    bool head;
    int32_t *targets;
    rs_head_row *rows;
} product_run;

static void run_product(void *argument)
{
    product_run *run = argument;
    if (run->head)
        must(rs_backend_cpu.head(run->backend, run->a, run->w, 0, run->targets, 0, run->n, run->rows));
    else
        must(rs_backend_cpu.linear(run->backend, run->a, run->k, run->w, run->n, run->out, run->m));
}

typedef struct shape {
    const char *name;
    int64_t n, k, m;
} shape;

static timing measure(rs_dtype dtype, int threads, const shape *s)
{
    static const int kv_of_head[1] = {0};
    rs_backend_shape model = {
        .n_layers = 1, .heads = 1, .kv_heads = 1, .kv_of_head = kv_of_head, .all_heads = 1, .head_dim = 64, .attention_scale = 1};
    product_run run = {.n = s->n, .k = s->k, .m = s->m, .head = !strcmp(s->name, "head")};
    rs_rng rng;
    rs_rng_init(&rng, 1, "bench", 0, 0);
    float *weights = malloc((size_t)(s->m * s->k) * sizeof *weights);
    for (int64_t i = 0; i < s->m * s->k; i++)
        weights[i] = (float)rs_rng_unit(&rng) - 0.5f;
    run.a = malloc((size_t)(s->n * s->k) * sizeof(float));
    for (int64_t i = 0; i < s->n * s->k; i++) {
        float x = (float)rs_rng_unit(&rng) - 0.5f;
        if (dtype == RS_BF16)
            memcpy((char *)run.a + 2 * i, (char *)&x + 2, 2);
        else
            ((float *)run.a)[i] = x;
    }
    run.out = malloc((size_t)(run.head ? 1 : s->n * s->m) * sizeof *run.out);
    run.targets = calloc((size_t)s->n, sizeof *run.targets);
    run.rows = malloc((size_t)s->n * sizeof *run.rows);
    must(rs_backend_cpu.open(&model, &(rs_backend_options){.dtype = dtype, .n_threads = threads}, &run.backend));
    rs_slice slice = {.data = weights, .dtype = RS_F32, .rows = s->m, .cols = s->k, .stride = s->k};
    must(rs_backend_cpu.matrix_load(run.backend, &slice, 1, &run.w));
    timing took = time_of(run_product, &run, 0.5);
    rs_backend_cpu.matrix_free(run.backend, run.w);
    rs_backend_cpu.close(run.backend);
    free(weights);
    free(run.a);
    free(run.out);
    free(run.targets);
    free(run.rows);
    return took;
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    int64_t n = argc > 2 ? atoll(argv[2]) : 2048, d = argc > 3 ? atoll(argv[3]) : 576, f = argc > 4 ? atoll(argv[4]) : 1536;
    int64_t vocabulary = argc > 5 ? atoll(argv[5]) : 49152;
    const shape shapes[] = {{"qkv", n, d, d * 5 / 3},   {"o", n, d, d},
                            {"gate up", n, d, 2 * f},   {"down", n, f, d},
                            {"head", n, d, vocabulary}, {"few rows", 300, d, 2 * f},
                            {"decode", 1, d, 2 * f},    {"decode", 8, d, 2 * f},
                            {"head", 1, d, vocabulary}, {"head", 8, d, vocabulary},
                            {"peak", 4096, 2048, 2048}};
    enum { N_SHAPES = sizeof shapes / sizeof *shapes };
    printf("%s; %d threads\n", rs_backend_cpu.describe(0), threads);
    for (int dtype = RS_BF16; dtype >= RS_F32; dtype--) {
        double wall[N_SHAPES], cpu[N_SHAPES], best = 0;
        for (int i = 0; i < N_SHAPES; i++) {
            timing took = measure((rs_dtype)dtype, threads, &shapes[i]);
            double flop = 2.0 * (double)shapes[i].n * (double)shapes[i].k * (double)shapes[i].m;
            wall[i] = flop / took.wall / 1e9;
            cpu[i] = flop / took.cpu / 1e9;
            best = cpu[i] > best ? cpu[i] : best;
        }
        for (int i = 0; i < N_SHAPES; i++) {
            double bytes = (double)(shapes[i].k * shapes[i].m) * (dtype == RS_BF16 ? 2 : 4) /
                           (2.0 * (double)(shapes[i].n * shapes[i].k * shapes[i].m));
            printf("%-4s %-8s %5lld x %5lld x %6lld  %7.1f GF/s wall  %7.1f GF/s core  %3.0f%%  weights %6.1f GB/s\n",
                   dtype == RS_BF16 ? "bf16" : "fp32", shapes[i].name, (long long)shapes[i].n, (long long)shapes[i].k,
                   (long long)shapes[i].m, wall[i], cpu[i], 100 * cpu[i] / best, bytes * wall[i]);
        }
    }
    return 0;
}
