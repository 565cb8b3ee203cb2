/* A whole model: prefill with every token scored, and greedy decoding of several sequences at once, as tests/gpu/peer_transformers.py does
 * for transformers, on the same random token ids. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gpu.h"
#include "model/model.h"
#include "model/transformer.h"
#include "sharding/comm.h"

enum { MAX_ROWS = 8192, MOST_BATCH = 64, MOST_REPEATS = 16 };

typedef struct bench_model {
    gpu_bench *b;
    const gpu_model_options *options;
    rs_model model;
    rs_tensor_store *store;
    rs_transformer *transformer;
    rs_rope rope;
    rs_softmax softmax;
    int64_t max_rows;
    rs_token_result *results;
    int32_t *targets;
} bench_model;

/* Token i of sequence s: ids that any program can make anew. */
static int32_t id_of(const bench_model *m, int64_t s, int64_t i)
{
    uint64_t x = ((uint64_t)s << 32 ^ (uint64_t)i) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    return (int32_t)((x >> 33) % (uint64_t)m->model.vocab);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

/* --- prefill --- */

static double prefill(bench_model *m, const int32_t *ids, int64_t n, double *nll)
{
    rs_sequence sequence = {.rope = &m->rope, .softmax = &m->softmax};
    double start = rs_clock();
    *nll = 0;
    gpu_must(rs_transformer_kv_open(m->transformer, n, &m->rope, &sequence.kv));
    for (int64_t row = 0; row < n; row += sequence.n_rows) {
        sequence.position = row;
        sequence.n_rows = n - row < m->max_rows ? n - row : m->max_rows;
        rs_step step = {.phase = RS_PREFILL, .sequences = &sequence, .n_sequences = 1, .ids = ids + row, .n = sequence.n_rows};
        for (int64_t i = 0; i < sequence.n_rows; i++)
            m->targets[i] = row + i + 1 < n ? ids[row + i + 1] : RS_TARGET_NONE;
        gpu_must(rs_transformer_step(m->transformer, &step, m->targets, m->results));
        for (int64_t i = 0; i < sequence.n_rows && row + i + 1 < n; i++)
            *nll += m->results[i].nll;
    }
    double seconds = rs_clock() - start; /* the head has waited for the device */
    rs_transformer_kv_free(m->transformer, sequence.kv);
    return seconds;
}

static void report_prefill(bench_model *m, int64_t n)
{
    double seconds[MOST_REPEATS], nll;
    int32_t *ids = rs_alloc((size_t)n, sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = id_of(m, 0, i);
    prefill(m, ids, n, &nll);
    for (int i = 0; i < m->options->repeats; i++)
        seconds[i] = prefill(m, ids, n, &nll);
    double t = median(seconds, m->options->repeats), flops = rs_transformer_flops(&m->model, 0, n, n);
    printf("{\"what\": \"model_prefill\", \"program\": \"ropesweep\", \"n\": %" PRId64
           ", \"seconds\": %.5g, \"tokens_per_s\": %.5g, \"tflops\": %.5g, \"nll_per_token\": %.6f, \"spread\": %.3g}\n",
           n, t, (double)n / t, flops / t / 1e12, nll / (double)(n - 1), (seconds[m->options->repeats - 1] - seconds[0]) / t);
    fflush(stdout);
    free(ids);
}

/* --- decoding --- */

static void fill_cache(bench_model *m, rs_sequence *sequence, int64_t s, int64_t n)
{
    int32_t *ids = rs_alloc((size_t)n, sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = id_of(m, s, i);
    for (int64_t i = 0; i < m->max_rows; i++)
        m->targets[i] = RS_TARGET_NONE;
    for (int64_t row = 0; row < n; row += sequence->n_rows) {
        sequence->position = row;
        sequence->n_rows = n - row < m->max_rows ? n - row : m->max_rows;
        rs_step step = {.phase = RS_PREFILL, .sequences = sequence, .n_sequences = 1, .ids = ids + row, .n = sequence->n_rows};
        gpu_must(rs_transformer_step(m->transformer, &step, m->targets, m->results));
    }
    free(ids);
}

/* Seconds a step, the median; the first steps, which may be recorded, are left out. */
static double decode(bench_model *m, rs_sequence *sequences, int batch)
{
    enum { WARM = 4 };
    int64_t n = m->options->new_tokens;
    double *seconds = rs_alloc((size_t)n, sizeof *seconds), result;
    int32_t ids[MOST_BATCH];
    for (int i = 0; i < batch; i++) {
        ids[i] = id_of(m, i, m->options->context);
        sequences[i].first_row = i;
        sequences[i].n_rows = 1;
        sequences[i].position = m->options->context;
        m->targets[i] = RS_TARGET_GREEDY;
    }
    for (int64_t t = 0; t < WARM + n; t++) {
        rs_step step = {.phase = RS_DECODE, .sequences = sequences, .n_sequences = batch, .ids = ids, .n = batch};
        double start = rs_clock();
        gpu_must(rs_transformer_step(m->transformer, &step, m->targets, m->results));
        if (t >= WARM)
            seconds[t - WARM] = rs_clock() - start;
        for (int i = 0; i < batch; i++) {
            ids[i] = m->results[i].best_id;
            sequences[i].position++;
        }
    }
    result = median(seconds, (int)n);
    free(seconds);
    return result;
}

static void report_decode(bench_model *m, int batch)
{
    rs_sequence sequences[MOST_BATCH];
    int64_t context = m->options->context;
    for (int i = 0; i < batch; i++) {
        sequences[i] = (rs_sequence){.rope = &m->rope, .softmax = &m->softmax};
        gpu_must(rs_transformer_kv_open(m->transformer, context + m->options->new_tokens + 8, &m->rope, &sequences[i].kv));
        fill_cache(m, &sequences[i], i, context);
    }
    double t = decode(m, sequences, batch), cache = 2.0 * m->model.layers * m->model.kv_heads * m->model.head_dim *
                                                    (double)gpu_act_bytes(m->b) * batch * (double)(context + m->options->new_tokens / 2);
    double bytes = (double)rs_transformer_weight_bytes(m->transformer) + cache;
    printf("{\"what\": \"model_decode\", \"program\": \"ropesweep\", \"batch\": %d, \"context\": %" PRId64
           ", \"seconds\": %.5g, \"tokens_per_s\": %.5g, \"gb_per_s\": %.5g}\n",
           batch, context, t, batch / t, bytes / t / 1e9);
    fflush(stdout);
    for (int i = 0; i < batch; i++)
        rs_transformer_kv_free(m->transformer, sequences[i].kv);
}

void gpu_model(gpu_bench *b, const gpu_model_options *options)
{
    bench_model m = {.b = b, .options = options, .max_rows = b->tiny ? 64 : MAX_ROWS};
    rs_comm *comm = rs_comm_local_open();
    double start = rs_clock();
    if (options->repeats > MOST_REPEATS)
        gpu_must(rs_fail(RS_INVALID, "--repeats: at most %d", MOST_REPEATS));
    gpu_must(rs_model_load(options->folder, &m.model));
    gpu_must(rs_tensor_store_open(options->folder, false, &m.store));
    gpu_must(rs_model_check(&m.model, m.store));
    rs_rope_init_plain(&m.rope, m.model.head_dim);
    rs_rope_fill_default(m.model.rope_theta, m.model.head_dim, m.rope.inv_freq);
    rs_softmax_init_plain(&m.softmax);
    rs_transformer_options open = {.dtype = b->dtype, .n_threads = b->threads, .max_rows = m.max_rows};
    gpu_must(rs_transformer_open(&m.model, m.store, b->ops, comm, &open, &m.transformer));
    m.results = rs_alloc((size_t)m.max_rows, sizeof *m.results);
    m.targets = rs_alloc((size_t)m.max_rows, sizeof *m.targets);
    printf("{\"what\": \"model_load\", \"program\": \"ropesweep\", \"seconds\": %.4g, \"weights_gb\": %.4g, \"device\": \"%s\"}\n",
           rs_clock() - start, (double)rs_transformer_weight_bytes(m.transformer) / 1e9, b->ops->describe(0));
    fflush(stdout);
    for (int i = 0; i < options->n_lengths; i++)
        report_prefill(&m, options->lengths[i]);
    for (int i = 0; i < options->n_batches; i++) {
        if (options->batches[i] > MOST_BATCH)
            gpu_must(rs_fail(RS_INVALID, "--decode: at most %d", MOST_BATCH));
        report_decode(&m, (int)options->batches[i]);
    }
    rs_transformer_close(m.transformer);
    rs_tensor_store_close(m.store);
    rs_model_free(&m.model);
    rs_comm_close(comm);
    free(m.results);
    free(m.targets);
}
