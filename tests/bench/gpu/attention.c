/* Attention: prefill by head_dim, policy and kernel; decoding by batch and context. FLOPs: 4 head_dim a visible key and query, whatever the
 * policy does beside that. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#ifdef BENCH_BACKEND
#include "kernels/cuda/cuda.h"
#endif

typedef struct policy {
    const char *name;
    rs_softmax softmax;
} policy;

#define PLAIN .scale_const = 1
static const policy policies[] = {
    {"plain", {PLAIN}},
    {"adaptive", {PLAIN, .n_theta = 5, .theta = {-0.037, 0.481, -2.3, 4.917, -1.791}, .entropy_threshold = 0.5}},
    {"cap", {PLAIN, .cap = 50}},
    {"sink", {PLAIN, .has_sink = true}},
};

/* Which kernel takes a prefill: the backend's choice, or for the CUDA backend linked in one by name, with or without row statistics. */
typedef struct kernel {
    const char *name;
    bool portable, stats;
} kernel;
#ifdef BENCH_BACKEND
static const kernel kernels[] = {
    {"chosen", false, false}, {"mma", true, false}, {"chosen, stats", false, true}, {"mma, stats", true, true}};
#else
static const kernel kernels[] = {{"chosen", false, false}};
#endif

typedef struct attention_run {
    gpu_bench *b;
    int layers;
    void *out;
#ifdef BENCH_BACKEND
    rs_cuda_row_stats *stats;
#endif
} attention_run;

static void attend(void *argument, int64_t call)
{
    attention_run *run = argument;
    gpu_must(run->b->ops->attention(run->b->backend, (int)(call % run->layers), run->out));
}

static int64_t width_of(const gpu_bench *b)
{
    return (int64_t)(b->heads + 2 * b->kv_heads) * b->head_dim;
}

static rs_rope plain_rope(int head_dim)
{
    rs_rope rope;
    rs_rope_init_plain(&rope, head_dim);
    rs_rope_fill_default(1e4, head_dim, rope.inv_freq);
    return rope;
}

/* The prefill kernel straight, since backend.h has neither a choice of kernels nor statistics. */
#ifdef BENCH_BACKEND
static void attend_straight(void *argument, int64_t call)
{
    attention_run *run = argument;
    rs_backend *backend = run->b->backend;
    rs_cuda_route route = backend->step.counts[RS_CUDA_HOPPER] ? RS_CUDA_HOPPER : RS_CUDA_MMA;
    rs_cuda_attention_args args = {.sequences = backend->step.sequences,
                                   .tiles = backend->step.lists[route],
                                   .n_tiles = backend->step.counts[route],
                                   .tensor_maps = backend->step.tensor_maps,
                                   .layer = (int)(call % run->layers),
                                   .heads = run->b->heads,
                                   .kv_heads = run->b->kv_heads,
                                   .head_dim = run->b->head_dim,
                                   .bf16 = run->b->dtype == RS_BF16,
                                   .kv_of_head = backend->kv_of_head,
                                   .slopes = backend->slopes,
                                   .scale = backend->shape.attention_scale,
                                   .out = run->out,
                                   .stats = run->stats,
                                   .work = (float *)(void *)backend->work.data};
    int code = (route == RS_CUDA_HOPPER ? rs_cuda_attend_hopper : rs_cuda_attend_mma)(rs_cuda_stream_of(backend), &args);
    gpu_must(rs_cuda_launched(backend, code, "attention"));
}
#endif

/* --- prefill --- */

typedef struct prefill {
    int64_t n;
    double plain_seconds[2]; /* of the same kernel (chosen, portable) without statistics */
} prefill;

static void report_prefill(gpu_bench *b, prefill *p, const kernel *k, const policy *soft, double seconds, double spread)
{
    double n = (double)p->n, flop = 4.0 * b->head_dim * b->heads * n * (n + 1) / 2;
    if (soft == policies && !k->stats)
        p->plain_seconds[k->portable] = seconds;
    printf("{\"what\": \"attention\", \"head_dim\": %d, \"heads\": %d, \"kv_heads\": %d, \"n\": %" PRId64
           ", \"kernel\": \"%s\", \"policy\": \"%s\", \"seconds\": %.6g, \"tflops\": %.4g, \"times_plain\": %.4g, \"spread\": %.3g}\n",
           b->head_dim, b->heads, b->kv_heads, p->n, k->name, soft->name, seconds, flop / seconds / 1e12,
           seconds / p->plain_seconds[k->portable], spread);
    fflush(stdout);
}

static void time_policy(gpu_bench *b, prefill *p, const kernel *k, const policy *soft, const rs_rope *rope, rs_kv *kv, const float *qkv)
{
    attention_run run = {.b = b, .layers = 1};
    rs_sequence sequence = {.n_rows = p->n, .kv = kv, .rope = rope, .softmax = &soft->softmax};
    int32_t *ids = calloc((size_t)p->n, sizeof *ids);
    rs_step step = {.phase = RS_PREFILL, .sequences = &sequence, .n_sequences = 1, .ids = ids, .n = p->n};
    void (*call)(void *, int64_t) = attend;
    double spread;
    gpu_must(b->ops->alloc(b->backend, (size_t)(p->n * b->heads * b->head_dim) * sizeof(float), "output of attention", &run.out));
    gpu_must(b->ops->prepare(b->backend, &step));
    gpu_must(b->ops->store_qkv(b->backend, 0, qkv));
#ifdef BENCH_BACKEND
    if (k->stats)
        gpu_must(b->ops->alloc(b->backend, (size_t)(p->n * b->heads) * sizeof *run.stats, "row statistics", (void **)&run.stats));
    call = attend_straight;
#endif
    double seconds = gpu_seconds(b, call, &run, &spread);
    report_prefill(b, p, k, soft, seconds, spread);
#ifdef BENCH_BACKEND
    b->ops->release(b->backend, run.stats);
#endif
    b->ops->release(b->backend, run.out);
    free(ids);
}

static void time_kernel(gpu_bench *b, prefill *p, const kernel *k)
{
    rs_rope rope = plain_rope(b->head_dim);
    rs_kv *kv;
    gpu_open(b, p->n);
#ifdef BENCH_BACKEND
    bool hopper = b->backend->facts.hopper_kernels;
    b->backend->facts.hopper_kernels = hopper && !k->portable;
    if (k->portable && !hopper) { /* it was the choice anyway */
        gpu_close(b);
        return;
    }
#endif
    float *qkv = gpu_floats(b, p->n * width_of(b), 1);
    gpu_must(b->ops->kv_open(b->backend, p->n, 1, 1, &kv));
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        time_policy(b, p, k, &policies[i], &rope, kv, qkv);
    b->ops->kv_free(b->backend, kv);
    b->ops->release(b->backend, qkv);
    gpu_close(b);
}

static const int shapes[][3] = {{32, 8, 64}, {32, 8, 128}, {16, 16, 256}}; /* heads, kv heads, head_dim */
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void take_shape(gpu_bench *b, int shape, int layers)
{
    b->heads = b->tiny ? 2 : shapes[shape][0];
    b->kv_heads = b->tiny ? 1 : shapes[shape][1];
    b->head_dim = shapes[shape][2];
    b->layers = layers;
}

void gpu_attention(gpu_bench *b)
{
    static const int64_t lengths[] = {8192, 32768};
    for (int s = 0; s < N_SHAPES; s++)
        for (int l = 0; l < (b->tiny ? 1 : 2); l++) {
            prefill p = {.n = b->tiny ? 96 : lengths[l]};
            take_shape(b, s, 1);
            for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++)
                time_kernel(b, &p, &kernels[k]);
        }
}

/* --- decoding --- */

enum { CHUNK = 2048, MOST_BATCH = 32 };

/* Random keys and values of a sequence's first n tokens, all layers. */
static void fill_cache(gpu_bench *b, rs_sequence *sequence, int64_t n, const float *qkv)
{
    static const int32_t ids[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        sequence->position = at;
        sequence->n_rows = n - at < CHUNK ? n - at : CHUNK;
        sequence->first_row = 0;
        rs_step step = {.phase = RS_PREFILL, .sequences = sequence, .n_sequences = 1, .ids = ids, .n = sequence->n_rows};
        gpu_must(b->ops->prepare(b->backend, &step));
        for (int layer = 0; layer < b->layers; layer++)
            gpu_must(b->ops->store_qkv(b->backend, layer, qkv));
    }
}

static void time_decode(gpu_bench *b, int batch, int64_t context)
{
    static const int32_t ids[MOST_BATCH];
    rs_rope rope = plain_rope(b->head_dim);
    rs_sequence sequences[MOST_BATCH];
    rs_step step = {.phase = RS_DECODE, .sequences = sequences, .n_sequences = batch, .ids = ids, .n = batch};
    attention_run run = {.b = b, .layers = b->layers};
    double spread;
    gpu_open(b, CHUNK);
    float *qkv = gpu_floats(b, CHUNK * width_of(b), 1);
    gpu_must(b->ops->alloc(b->backend, (size_t)(batch * b->heads * b->head_dim) * sizeof(float), "output of attention", &run.out));
    for (int i = 0; i < batch; i++) {
        sequences[i] = (rs_sequence){.rope = &rope, .softmax = &policies[0].softmax};
        gpu_must(b->ops->kv_open(b->backend, context, 1, b->layers, &sequences[i].kv));
        fill_cache(b, &sequences[i], context - 1, qkv);
    }
    for (int i = 0; i < batch; i++) {
        sequences[i].first_row = i;
        sequences[i].n_rows = 1;
        sequences[i].position = context - 1;
    }
    gpu_must(b->ops->prepare(b->backend, &step));
    for (int layer = 0; layer < b->layers; layer++)
        gpu_must(b->ops->store_qkv(b->backend, layer, qkv));
    double seconds = gpu_seconds(b, attend, &run, &spread);
    double bytes = 2.0 * batch * (double)context * b->kv_heads * b->head_dim * (double)gpu_act_bytes(b);
    printf("{\"what\": \"decode_attention\", \"head_dim\": %d, \"heads\": %d, \"kv_heads\": %d, \"batch\": %d, \"context\": %" PRId64
           ", \"seconds\": %.6g, \"gb_per_s\": %.5g, \"spread\": %.3g}\n",
           b->head_dim, b->heads, b->kv_heads, batch, context, seconds, bytes / seconds / 1e9, spread);
    fflush(stdout);
    for (int i = 0; i < batch; i++)
        b->ops->kv_free(b->backend, sequences[i].kv);
    b->ops->release(b->backend, run.out);
    b->ops->release(b->backend, qkv);
    gpu_close(b);
}

/* Layers enough that the caches of one are gone from a card's cache (tens of MB) when it comes round again. */
void gpu_decode_attention(gpu_bench *b)
{
    static const int batches[] = {1, 8, 32};
    static const int64_t contexts[] = {2048, 32768};
    for (int s = 0; s < N_SHAPES; s++)
        for (int i = 0; i < (b->tiny ? 2 : 3); i++)
            for (int c = 0; c < (b->tiny ? 1 : 2); c++) {
                int64_t context = b->tiny ? 70 : contexts[c];
                take_shape(b, s, b->tiny ? 2 : 1);
                int64_t bytes = 4 * batches[i] * context * b->kv_heads * b->head_dim;
                b->layers = b->tiny ? 2 : (int)(512000000 / bytes) + 1;
                if (bytes * b->layers < 24000000000)
                    time_decode(b, b->tiny && i ? 3 : batches[i], context);
            }
}
