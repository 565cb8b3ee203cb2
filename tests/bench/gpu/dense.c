/* Matrix products and the operations bound by memory, at the shapes of Gemma 7B. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gpu.h"

enum { D = 3072, HEADS = 16, E = 256, FF = 24576, VOCABULARY = 256000, MOST_COPIES = 32 };

typedef struct shape {
    const char *name;
    int64_t in, out;
} shape;
static const shape shapes[] = {{"qkv", D, 3 * HEADS *E}, {"o", HEADS *E, D}, {"gate_up", D, 2 * FF}, {"down", FF, D}};
static const shape tiny_shapes[] = {{"qkv", 64, 96}, {"down", 128, 64}};

/* A prepared step of n rows of this phase: what decides which product runs. */
typedef struct rows {
    rs_sequence *sequences;
    rs_step step;
    rs_rope rope;
    rs_softmax softmax;
} rows;

static void open_rows(gpu_bench *b, rows *r, rs_phase phase, int64_t n)
{
    int64_t each = phase == RS_DECODE ? 1 : n, count = n / each;
    rs_rope_init_plain(&r->rope, b->head_dim);
    rs_rope_fill_default(1e4, b->head_dim, r->rope.inv_freq);
    rs_softmax_init_plain(&r->softmax);
    r->sequences = calloc((size_t)count, sizeof *r->sequences);
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * 7919 % (b->tiny ? 200 : VOCABULARY));
    for (int64_t i = 0; i < count; i++) {
        r->sequences[i] = (rs_sequence){.first_row = i * each, .n_rows = each, .rope = &r->rope, .softmax = &r->softmax};
        gpu_must(b->ops->kv_open(b->backend, each, 1, 1, &r->sequences[i].kv));
    }
    r->step = (rs_step){.phase = phase, .sequences = r->sequences, .n_sequences = (int)count, .ids = ids, .n = n};
    gpu_must(b->ops->prepare(b->backend, &r->step));
}

static void close_rows(gpu_bench *b, rows *r)
{
    for (int i = 0; i < r->step.n_sequences; i++)
        b->ops->kv_free(b->backend, r->sequences[i].kv);
    free((void *)(uintptr_t)r->step.ids);
    free(r->sequences);
}

/* --- products --- */

typedef struct product_run {
    gpu_bench *b;
    rs_matrix *w[MOST_COPIES];
    int copies;
    void *a;
    float *out;
    int64_t n, in, width;
} product_run;

static void multiply(void *argument, int64_t call)
{
    product_run *run = argument;
    gpu_must(run->b->ops->linear(run->b->backend, run->a, run->in, run->w[call % run->copies], run->n, run->out, run->width));
}

static void time_product(gpu_bench *b, const shape *s, rs_phase phase, int64_t n)
{
    product_run run = {.b = b, .n = n, .in = s->in, .width = s->out, .copies = 1};
    rows r;
    double spread, bytes = (double)(s->in * s->out) * (double)gpu_act_bytes(b), flop = 2.0 * (double)(n * s->in) * (double)s->out;
    if (phase == RS_DECODE && !b->tiny) /* the weights come from memory, as they do in a model, not from the card's cache */
        run.copies = 1 + (int)(400e6 / bytes) < MOST_COPIES ? 1 + (int)(400e6 / bytes) : MOST_COPIES;
    gpu_open(b, n);
    for (int i = 0; i < run.copies; i++)
        run.w[i] = gpu_matrix(b, s->out, s->in);
    run.a = gpu_act(b, n * s->in, 1);
    run.out = gpu_floats(b, n * s->out, 1);
    open_rows(b, &r, phase, n);
    double seconds = gpu_seconds(b, multiply, &run, &spread);
    printf("{\"what\": \"product\", \"name\": \"%s\", \"phase\": \"%s\", \"n\": %" PRId64 ", \"in\": %" PRId64 ", \"out\": %" PRId64
           ", \"seconds\": %.6g, \"tflops\": %.5g, \"gb_per_s\": %.5g, \"spread\": %.3g}\n",
           s->name, phase == RS_DECODE ? "decode" : "prefill", n, s->in, s->out, seconds, flop / seconds / 1e12,
           (bytes + (double)n * (double)(s->in * (int64_t)gpu_act_bytes(b) + 4 * s->out)) / seconds / 1e9, spread);
    fflush(stdout);
    close_rows(b, &r);
    for (int i = 0; i < run.copies; i++)
        b->ops->matrix_free(b->backend, run.w[i]);
    b->ops->release(b->backend, run.a);
    b->ops->release(b->backend, run.out);
    gpu_close(b);
}

typedef struct head_run {
    gpu_bench *b;
    rs_matrix *w;
    void *h;
    int32_t *targets;
    rs_head_row *rows;
    int64_t n;
} head_run;

static void head(void *argument, int64_t call)
{
    head_run *run = argument;
    (void)call;
    gpu_must(run->b->ops->head(run->b->backend, run->h, run->w, 0, run->targets, 0, run->n, run->rows));
}

static void time_head(gpu_bench *b, rs_phase phase, int64_t n, int64_t d, int64_t vocabulary)
{
    head_run run = {.b = b, .n = n, .targets = calloc((size_t)n, sizeof(int32_t)), .rows = calloc((size_t)n, sizeof(rs_head_row))};
    rows r;
    double spread;
    gpu_open(b, n);
    run.w = gpu_matrix(b, vocabulary, d);
    run.h = gpu_act(b, n * d, 1);
    open_rows(b, &r, phase, n);
    double seconds = gpu_seconds(b, head, &run, &spread), bytes = (double)(vocabulary * d) * (double)gpu_act_bytes(b);
    printf("{\"what\": \"head\", \"phase\": \"%s\", \"n\": %" PRId64 ", \"seconds\": %.6g, \"tflops\": %.5g, \"gb_per_s\": %.5g, "
           "\"spread\": %.3g}\n",
           phase == RS_DECODE ? "decode" : "prefill", n, seconds, 2.0 * (double)(n * d) * (double)vocabulary / seconds / 1e12,
           bytes / seconds / 1e9, spread);
    fflush(stdout);
    close_rows(b, &r);
    b->ops->matrix_free(b->backend, run.w);
    b->ops->release(b->backend, run.h);
    gpu_close(b);
    free(run.targets);
    free(run.rows);
}

static void plain_shape(gpu_bench *b)
{
    b->layers = 1;
    b->heads = b->kv_heads = b->tiny ? 2 : HEADS;
    b->head_dim = b->tiny ? 64 : E;
}

void gpu_products(gpu_bench *b)
{
    static const int64_t few[] = {1, 8, 32};
    const shape *all = b->tiny ? tiny_shapes : shapes;
    plain_shape(b);
    for (int s = 0; s < (b->tiny ? 2 : 4); s++) {
        time_product(b, &all[s], RS_PREFILL, b->tiny ? 33 : 8192);
        for (int i = 0; i < 3; i++)
            time_product(b, &all[s], RS_DECODE, few[i]);
    }
    time_head(b, RS_PREFILL, b->tiny ? 33 : 4096, b->tiny ? 64 : D, b->tiny ? 300 : VOCABULARY);
    time_head(b, RS_DECODE, 1, b->tiny ? 64 : D, b->tiny ? 300 : VOCABULARY);
}

/* --- row-wise operations --- */

typedef struct element_run {
    gpu_bench *b;
    float *x, *y, *weight;
    void *h;
    rs_table *table;
    int64_t n, d;
} element_run;

static void add_norm(void *argument, int64_t call)
{
    element_run *run = argument;
    (void)call;
    gpu_must(run->b->ops->add_norm(run->b->backend, run->x, run->y, run->weight, 1e-6f, false, run->n, run->d, run->h));
}

static void glu(void *argument, int64_t call)
{
    element_run *run = argument;
    (void)call;
    gpu_must(run->b->ops->glu(run->b->backend, RS_GELU_TANH, run->x, run->n, run->d, run->h));
}

static void add(void *argument, int64_t call)
{
    element_run *run = argument;
    (void)call;
    gpu_must(run->b->ops->add(run->b->backend, run->x, run->y, run->n * run->d));
}

static void embed(void *argument, int64_t call)
{
    element_run *run = argument;
    (void)call;
    gpu_must(run->b->ops->embed(run->b->backend, run->table, 0, 55.4f, run->x));
}

static void store(void *argument, int64_t call)
{
    element_run *run = argument;
    (void)call;
    gpu_must(run->b->ops->store_qkv(run->b->backend, 0, run->x));
}

/* bytes: moved for each of the n * d elements. */
static void time_elements(gpu_bench *b, const char *name, void (*run)(void *, int64_t), element_run *r, double bytes)
{
    double spread, seconds = gpu_seconds(b, run, r, &spread);
    printf("{\"what\": \"elementwise\", \"name\": \"%s\", \"n\": %" PRId64 ", \"d\": %" PRId64
           ", \"seconds\": %.6g, \"gb_per_s\": %.5g, \"spread\": %.3g}\n",
           name, r->n, r->d, seconds, bytes * (double)(r->n * r->d) / seconds / 1e9, spread);
    fflush(stdout);
}

void gpu_elementwise(gpu_bench *b)
{
    plain_shape(b);
    int64_t n = b->tiny ? 5 : 16384, d = b->tiny ? 64 : D, ff = b->tiny ? 96 : FF, width = 3 * b->heads * b->head_dim;
    int64_t vocabulary = b->tiny ? 200 : VOCABULARY;
    double act = (double)gpu_act_bytes(b);
    rows r;
    gpu_open(b, n);
    element_run run = {.b = b, .n = n, .d = d, .y = gpu_floats(b, n * d, 1e-3), .weight = gpu_floats(b, d, 1)};
    int64_t largest = n / 4 * 2 * ff > n * width ? n / 4 * 2 * ff : n * width;
    run.x = gpu_floats(b, largest, 1);
    run.h = gpu_act(b, n * ff, 1);
    open_rows(b, &r, RS_PREFILL, n);
    time_elements(b, "add_norm", add_norm, &run, 12 + act);
    time_elements(b, "add", add, &run, 12);
    run.d = width;
    time_elements(b, "store_qkv", store, &run, 4 + act);
    run.d = d;
    uint16_t *host = malloc((size_t)(vocabulary * d) * sizeof *host);
    for (int64_t i = 0; i < vocabulary * d; i++)
        host[i] = (uint16_t)(0x3c00 + i * 40503 % 1021);
    rs_slice slice = {.data = host, .dtype = RS_BF16, .rows = vocabulary, .cols = d, .stride = d};
    gpu_must(b->ops->table_load(b->backend, &slice, &run.table));
    time_elements(b, "embed", embed, &run, 4 + act);
    b->ops->table_free(b->backend, run.table);
    free(host);
    run.n = n / 4 > 0 ? n / 4 : 1;
    run.d = ff;
    time_elements(b, "glu", glu, &run, 8 + act);
    close_rows(b, &r);
    b->ops->release(b->backend, run.x);
    b->ops->release(b->backend, run.y);
    b->ops->release(b->backend, run.weight);
    b->ops->release(b->backend, run.h);
    gpu_close(b);
}
