/* Speed of a backend's operations and of a whole model on it.
 *
 *   bench_gpu [--backend cuda|cpu] [--dtype bf16|fp32] [--threads N] [--tiny] attention|decode|products|elementwise
 *   bench_gpu [...] model DIR [--prefill N,N] [--decode BATCH,BATCH] [--context N] [--new N] [--repeats N]
 *
 * Random data, never zeros. One line of JSON a measurement. */
#include "gpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "kernels/cpu/cpu.h"

enum { BLOCK = 1 << 20, RUNS = 9, MOST = 16 };
static const double run_seconds = 0.03;

void gpu_must(rs_status status)
{
    if (status == RS_OK)
        return;
    fprintf(stderr, "bench_gpu: %s\n", rs_error_message());
    exit(1);
}

/* --- a backend --- */

void gpu_open(gpu_bench *b, int64_t max_rows)
{
    static int kv_of_head[128];
    for (int i = 0; i < b->heads; i++)
        kv_of_head[i] = i * b->kv_heads / b->heads;
    rs_backend_shape shape = {.n_layers = b->layers,
                              .heads = b->heads,
                              .kv_heads = b->kv_heads,
                              .kv_of_head = kv_of_head,
                              .all_heads = b->heads,
                              .head_dim = b->head_dim,
                              .attention_scale = 1 / sqrtf((float)b->head_dim)};
    rs_backend_options options = {.dtype = b->dtype, .n_threads = b->threads, .max_rows = max_rows};
    gpu_must(b->ops->open(&shape, &options, &b->backend));
    b->signal = gpu_floats(b, 1, 1);
}

void gpu_close(gpu_bench *b)
{
    b->ops->release(b->backend, b->signal);
    b->ops->close(b->backend);
    b->backend = NULL;
}

size_t gpu_act_bytes(const gpu_bench *b)
{
    return b->dtype == RS_BF16 ? 2 : 4;
}

/* --- data --- */

/* A block of random numbers, each time moved on by a part of itself: nothing repeats at a power of two. */
static void fill(gpu_bench *b, char *to, const void *block, int64_t n, size_t size)
{
    int64_t from = 0;
    for (int64_t at = 0; at < n;) {
        int64_t piece = n - at < BLOCK - from ? n - at : BLOCK - from;
        gpu_must(b->ops->upload(b->backend, to + (size_t)at * size, (const char *)block + (size_t)from * size, (size_t)piece * size));
        at += piece;
        from = (from + 101009) % (BLOCK / 2);
    }
}

static const float *normal_block(void)
{
    static float block[BLOCK];
    rs_rng rng;
    if (block[0] == 0) {
        rs_rng_init(&rng, 1, "bench_gpu", 0, 0);
        for (int64_t i = 0; i < BLOCK; i++)
            block[i] = (float)rs_rng_normal(&rng);
    }
    return block;
}

static void *numbers(gpu_bench *b, int64_t n, double deviation, bool bf16)
{
    size_t size = bf16 ? 2 : 4;
    char *block = malloc(BLOCK * sizeof(float));
    void *to = NULL;
    for (int64_t i = 0; i < BLOCK; i++) {
        float x = (float)deviation * normal_block()[i];
        if (bf16)
            ((uint16_t *)(void *)block)[i] = rs_bf16_from_float(x);
        else
            ((float *)(void *)block)[i] = x;
    }
    gpu_must(b->ops->alloc(b->backend, (size_t)n * size, "data of a benchmark", &to));
    fill(b, to, block, n, size);
    free(block);
    return to;
}

float *gpu_floats(gpu_bench *b, int64_t n, double deviation)
{
    return numbers(b, n, deviation, false);
}

void *gpu_act(gpu_bench *b, int64_t n, double deviation)
{
    return numbers(b, n, deviation, b->dtype == RS_BF16);
}

rs_matrix *gpu_matrix(gpu_bench *b, int64_t rows, int64_t cols)
{
    int64_t n = rows * cols;
    uint16_t *host = malloc((size_t)n * sizeof *host);
    rs_matrix *out;
    float scale = 1 / sqrtf((float)cols);
    for (int64_t i = 0; i < n; i++)
        host[i] = rs_bf16_from_float(scale * normal_block()[(i + i / BLOCK * 101009) % BLOCK]);
    rs_slice slice = {.data = host, .dtype = RS_BF16, .rows = rows, .cols = cols, .stride = cols};
    gpu_must(b->ops->matrix_load(b->backend, &slice, 1, &out));
    free(host);
    return out;
}

/* --- time --- */

static void wait(const gpu_bench *b)
{
    float x;
    gpu_must(b->ops->download(b->backend, &x, b->signal, sizeof x));
}

static double one_run(gpu_bench *b, void (*run)(void *, int64_t), void *argument, int64_t calls, int64_t first)
{
    double start = rs_clock();
    for (int64_t i = 0; i < calls; i++)
        run(argument, first + i);
    wait(b);
    return (rs_clock() - start) / (double)calls;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gpu_seconds(gpu_bench *b, void (*run)(void *, int64_t), void *argument, double *spread)
{
    double seconds[RUNS];
    one_run(b, run, argument, 2, 0);
    double guess = one_run(b, run, argument, 1, 2);
    int64_t calls = b->tiny || guess > run_seconds ? 1 : (int64_t)(run_seconds / guess) + 1, done = 3;
    int runs = b->tiny ? 2 : RUNS;
    for (int i = 0; i < runs; i++, done += calls)
        seconds[i] = one_run(b, run, argument, calls, done);
    qsort(seconds, (size_t)runs, sizeof *seconds, by_value);
    if (spread)
        *spread = (seconds[runs - 1] - seconds[0]) / seconds[runs / 2];
    return seconds[runs / 2];
}

/* --- command line --- */

static int read_list(const char *text, int64_t *out)
{
    int n = 0, read;
    long long value;
    for (; n < MOST && sscanf(text, "%lld%n", &value, &read) == 1; text += read + (text[read] == ',')) {
        if (value <= 0)
            return -1;
        out[n++] = value;
    }
    return *text ? -1 : n;
}

static rs_status find(const char *name, const rs_backend_ops **out)
{
#ifdef BENCH_BACKEND /* linked in, with what stands behind it */
    extern const rs_backend_ops BENCH_BACKEND;
    if (strcmp(name, BENCH_BACKEND.kind->name) == 0) {
        *out = &BENCH_BACKEND;
        return RS_OK;
    }
#endif
    return rs_backend_find(name, out);
}

typedef struct job {
    const char *name;
    void (*run)(gpu_bench *b);
} job;
static const job jobs[] = {
    {"attention", gpu_attention}, {"decode", gpu_decode_attention}, {"products", gpu_products}, {"elementwise", gpu_elementwise}};

static int usage(void)
{
    fprintf(stderr, "usage: bench_gpu [--backend cuda|cpu] [--dtype bf16|fp32] [--threads N] [--tiny] "
                    "attention|decode|products|elementwise\n"
                    "       bench_gpu [...] model DIR [--prefill N,N] [--decode BATCH,BATCH] [--context N] [--new N] [--repeats N]\n");
    return 2;
}

typedef struct command {
    const char *backend, *job, *folder;
    int64_t lengths[MOST], batches[MOST];
    gpu_model_options model;
} command;

/* True where the option was one that takes a value and the value is good. */
static bool read_option(gpu_bench *b, command *c, const char *name, const char *value)
{
    int64_t number[MOST];
    int n = read_list(value, number);
    if (strcmp(name, "--backend") == 0)
        c->backend = value;
    else if (strcmp(name, "--dtype") == 0 && (strcmp(value, "bf16") == 0 || strcmp(value, "fp32") == 0))
        b->dtype = strcmp(value, "bf16") == 0 ? RS_BF16 : RS_F32;
    else if (strcmp(name, "--prefill") == 0 && (c->model.n_lengths = n) >= 0)
        memcpy(c->lengths, number, sizeof number);
    else if (strcmp(name, "--decode") == 0 && (c->model.n_batches = n) >= 0)
        memcpy(c->batches, number, sizeof number);
    else if (n != 1)
        return false;
    else if (strcmp(name, "--threads") == 0)
        b->threads = (int)number[0];
    else if (strcmp(name, "--context") == 0)
        c->model.context = number[0];
    else if (strcmp(name, "--new") == 0)
        c->model.new_tokens = number[0];
    else if (strcmp(name, "--repeats") == 0)
        c->model.repeats = (int)number[0];
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    gpu_bench b = {.dtype = RS_BF16, .threads = 2};
    command c = {.backend = "cuda", .model = {.repeats = 3, .context = 2048, .new_tokens = 64}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tiny") == 0)
            b.tiny = true;
        else if (strncmp(argv[i], "--", 2) == 0 && i + 1 < argc && read_option(&b, &c, argv[i], argv[i + 1]))
            i++;
        else if (argv[i][0] != '-' && c.job == NULL)
            c.job = argv[i];
        else if (argv[i][0] != '-' && c.folder == NULL)
            c.folder = argv[i];
        else
            return usage();
    }
    c.model.folder = c.folder;
    c.model.lengths = c.lengths;
    c.model.batches = c.batches;
    if (c.job == NULL || (strcmp(c.job, "model") == 0) != (c.folder != NULL))
        return usage();
    gpu_must(find(c.backend, &b.ops));
    if (c.folder) {
        gpu_model(&b, &c.model);
        return 0;
    }
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        if (strcmp(jobs[i].name, c.job) == 0) {
            jobs[i].run(&b);
            return 0;
        }
    return usage();
}
