/* Times one forward of a model folder: prefill with every token scored, and greedy decoding at batch 1, as tests/bench/peer_transformers.py
 * does for transformers. Prints the same JSON lines, with FLOP/s and their share of the best rate this machine's matrix product reaches.
 *
 *   bench_forward MODEL_DIR TEXT_FILE [--dtype bf16|fp32] [--threads N] [--repeats N] [--softmax adaptive] [--deterministic 1]
 *                 [--diagnostics 1: only what they cost] [N...]
 * (default 2048 8192)
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "model/transformer.h"
#include "sharding/comm.h"

enum { MAX_ROWS = 2048, PROMPT = 256, NEW_TOKENS = 64, MAX_LENGTHS = 16 };

typedef struct bench {
    rs_model model;
    rs_tensor_store *store;
    rs_transformer *transformer;
    rs_tokens tokens;
    rs_rope rope;
    rs_softmax softmax;
    const char *dtype;
    rs_diagnostics *diagnostics; /* of the text that is prefilled; NULL: none */
    int threads, repeats;
    bool deterministic;
    double peak; /* FLOP/s */
} bench;

static void must(rs_status status)
{
    if (status == RS_OK)
        return;
    fprintf(stderr, "bench_forward: %s\n", rs_error_message());
    exit(1);
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

/* The roof: the backend's own product at a shape that suits it, on random numbers, best of several. */
static double measure_peak(const bench *b, rs_dtype dtype)
{
    enum { N = 2048, K = 2048, OUT = 2048 };
    rs_backend *backend;
    rs_matrix *w;
    int kv_of_head = 0;
    rs_backend_shape shape = {
        .n_layers = 1, .heads = 1, .kv_heads = 1, .kv_of_head = &kv_of_head, .all_heads = 1, .head_dim = 64, .attention_scale = 0.125f};
    must(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = dtype, .n_threads = b->threads, .max_rows = N}, &backend));
    float *weights = rs_alloc((size_t)OUT * K, sizeof *weights);
    rs_rng rng;
    rs_rng_init(&rng, 1, "bench", 0, 0);
    for (size_t i = 0; i < (size_t)OUT * K; i++)
        weights[i] = (float)rs_rng_unit(&rng) - 0.5f;
    rs_slice slice = {.data = weights, .dtype = RS_F32, .rows = OUT, .cols = K, .stride = K};
    must(rs_backend_cpu.matrix_load(backend, &slice, 1, &w));
    void *a, *out;
    must(rs_backend_cpu.alloc(backend, (size_t)N * K * 4, "a", &a));
    must(rs_backend_cpu.alloc(backend, (size_t)N * OUT * 4, "out", &out));
    for (size_t i = 0; i < (size_t)N * K; i++) {
        if (dtype == RS_BF16)
            ((uint16_t *)a)[i] = (uint16_t)(0x3F00 + (rs_rng_next(&rng) & 0x80FF)); /* magnitudes of 0.5 to 2, both signs */
        else
            ((float *)a)[i] = (float)rs_rng_unit(&rng) - 0.5f;
    }
    double best = INFINITY;
    for (int i = 0; i < 12; i++) {
        double start = rs_clock();
        must(rs_backend_cpu.linear(backend, a, K, w, N, out, OUT));
        best = fmin(best, rs_clock() - start);
    }
    rs_backend_cpu.release(backend, a);
    rs_backend_cpu.release(backend, out);
    rs_backend_cpu.matrix_free(backend, w);
    rs_backend_cpu.close(backend);
    free(weights);
    return 2.0 * N * K * OUT / best;
}

static rs_token_result results[MAX_ROWS];

/* Rows [first, first + n) of the text; targets: the next tokens, or only the greedy choice of the last row. */
static void step(bench *b, rs_kv *kv, const int32_t *ids, int64_t first, int64_t n, int score)
{
    static int32_t targets[MAX_ROWS];
    rs_sequence sequence = {
        .n_rows = n, .position = first, .kv = kv, .rope = &b->rope, .softmax = &b->softmax, .diagnostics = b->diagnostics};
    for (int64_t i = 0; i < n; i++)
        targets[i] = score ? ids[i + 1] : i + 1 < n ? RS_TARGET_NONE : RS_TARGET_GREEDY;
    rs_step step = {.phase = n > 1 ? RS_PREFILL : RS_DECODE, .sequences = &sequence, .n_sequences = 1, .ids = ids, .n = n};
    must(rs_transformer_step(b->transformer, &step, targets, results));
}

static double prefill(bench *b, int64_t n, double *nll, rs_diagnostics *diagnostics)
{
    rs_kv *kv;
    double start = rs_clock();
    if (diagnostics)
        rs_diagnostics_init(diagnostics, n);
    b->diagnostics = diagnostics;
    *nll = 0;
    must(rs_transformer_kv_open(b->transformer, n, &b->rope, &kv));
    for (int64_t row = 0; row < n - 1;) {
        int64_t rows = n - 1 - row < MAX_ROWS ? n - 1 - row : MAX_ROWS;
        step(b, kv, b->tokens.ids + row, row, rows, 1);
        for (int64_t i = 0; i < rows; i++)
            *nll += results[i].nll;
        row += rows;
    }
    double seconds = rs_clock() - start;
    rs_transformer_kv_free(b->transformer, kv);
    if (diagnostics)
        rs_diagnostics_free(diagnostics);
    b->diagnostics = NULL;
    return seconds;
}

static double decode(bench *b)
{
    rs_kv *kv;
    must(rs_transformer_kv_open(b->transformer, PROMPT + NEW_TOKENS + 1, &b->rope, &kv));
    step(b, kv, b->tokens.ids, 0, PROMPT, 0);
    int32_t token = results[PROMPT - 1].best_id;
    double start = rs_clock();
    for (int i = 0; i < NEW_TOKENS; i++) {
        step(b, kv, &token, PROMPT + i, 1, 0);
        token = results[0].best_id;
    }
    double seconds = rs_clock() - start;
    rs_transformer_kv_free(b->transformer, kv);
    return seconds;
}

static void report_prefill(bench *b, int64_t n)
{
    double seconds[16], nll;
    prefill(b, n, &nll, NULL);
    for (int i = 0; i < b->repeats; i++)
        seconds[i] = prefill(b, n, &nll, NULL);
    double t = median(seconds, b->repeats), rate = rs_transformer_flops(&b->model, 0, n, n) / t;
    printf("{\"what\": \"prefill_nll\", \"n\": %" PRId64
           ", \"dtype\": \"%s\", \"threads\": %d, \"seconds\": %.4f, \"tokens_per_s\": %.1f, \"nll_per_token\": %.6f, "
           "\"gflops\": %.1f, \"share_of_gemm_peak\": %.3f}\n",
           n, b->dtype, b->threads, t, (double)n / t, nll / (double)(n - 1), rate / 1e9, rate / b->peak);
    fflush(stdout);
}

/* What diagnostics cost: forwards with and without them in turn, the fastest of each. */
static void report_diagnostics(bench *b, int64_t n)
{
    double off = INFINITY, on = INFINITY, nll_off = 0, nll_on = 0;
    rs_diagnostics d = {.n_layers = b->model.layers,
                        .heads = b->model.heads,
                        .kv_heads = b->model.kv_heads,
                        .pairs = b->model.head_dim / 2,
                        .n_offsets = 2,
                        .offsets = {0, 1},
                        .induction_offset = -1};
    for (int i = 0; i < b->repeats; i++) {
        off = fmin(off, prefill(b, n, &nll_off, NULL));
        on = fmin(on, prefill(b, n, &nll_on, &d));
    }
    printf("{\"what\": \"diagnostics\", \"n\": %" PRId64
           ", \"dtype\": \"%s\", \"threads\": %d, \"seconds_off\": %.4f, \"seconds_on\": %.4f, \"ratio\": %.4f, \"same_nll\": %s}\n",
           n, b->dtype, b->threads, off, on, on / off, nll_off == nll_on ? "true" : "false");
    fflush(stdout);
}

static void report_decode(bench *b)
{
    double seconds[16];
    decode(b);
    for (int i = 0; i < b->repeats; i++)
        seconds[i] = decode(b);
    double t = median(seconds, b->repeats), bytes = (double)rs_transformer_weight_bytes(b->transformer);
    printf("{\"what\": \"decode\", \"n\": %d, \"dtype\": \"%s\", \"threads\": %d, \"seconds\": %.4f, \"tokens_per_s\": %.2f, "
           "\"weights_gb_per_s\": %.2f}\n",
           NEW_TOKENS, b->dtype, b->threads, t, NEW_TOKENS / t, bytes * NEW_TOKENS / t / 1e9);
}

static void open_all(bench *b, const char *folder, const char *text_path, const char *softmax, rs_comm *comm)
{
    rs_text text = {0};
    rs_tokenizer *tokenizer;
    rs_params params;
    rs_dtype dtype = strcmp(b->dtype, "bf16") == 0 ? RS_BF16 : RS_F32;
    char *path = rs_format("%s/tokenizer.json", folder);
    must(rs_model_load(folder, &b->model));
    must(rs_tensor_store_open(folder, false, &b->store));
    must(rs_model_check(&b->model, b->store));
    must(rs_tokenizer_load(path, &tokenizer));
    must(rs_file_read(text_path, (size_t)1 << 30, &text));
    must(rs_tokenizer_encode(tokenizer, text.data, text.n, &b->tokens));
    rs_tokenizer_free(tokenizer);
    rs_text_free(&text);
    free(path);
    rs_rope_init_plain(&b->rope, b->model.head_dim);
    rs_rope_fill_default(b->model.rope_theta, b->model.head_dim, b->rope.inv_freq);
    rs_softmax_init_plain(&b->softmax);
    const rs_softmax_policy *policy = softmax ? rs_softmax_policy_find(softmax) : NULL;
    if (softmax && policy == NULL)
        must(rs_fail(RS_INVALID, "no softmax policy '%s'", softmax));
    if (policy) {
        rs_params_init(&params, policy->params);
        rs_model_facts facts = rs_model_get_facts(&b->model);
        must(rs_params_fill(&params, &facts));
        must(rs_softmax_build(policy, &params, &b->softmax));
        rs_params_free(&params);
    }
    b->peak = measure_peak(b, dtype);
    rs_transformer_options options = {.dtype = dtype, .n_threads = b->threads, .max_rows = MAX_ROWS, .deterministic = b->deterministic};
    must(rs_transformer_open(&b->model, b->store, &rs_backend_cpu, comm, &options, &b->transformer));
}

int main(int argc, char **argv)
{
    bench b = {.dtype = "bf16", .threads = 2, .repeats = 3};
    const char *positional[2] = {NULL, NULL}, *softmax = NULL;
    bool diagnostics = false;
    int64_t lengths[MAX_LENGTHS] = {2048, 8192};
    int n_positional = 0, n_lengths = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 && i + 1 < argc) {
            const char *name = argv[i], *value = argv[++i];
            if (strcmp(name, "--dtype") == 0)
                b.dtype = value;
            else if (strcmp(name, "--deterministic") == 0)
                b.deterministic = atoi(value) != 0;
            else if (strcmp(name, "--diagnostics") == 0)
                diagnostics = atoi(value) != 0;
            else if (strcmp(name, "--softmax") == 0)
                softmax = value;
            else if (strcmp(name, "--threads") == 0)
                b.threads = atoi(value);
            else if (strcmp(name, "--repeats") == 0)
                b.repeats = atoi(value);
        } else if (n_positional < 2) {
            positional[n_positional++] = argv[i];
        } else if (n_lengths < MAX_LENGTHS) {
            lengths[n_lengths++] = atoll(argv[i]);
        }
    }
    if (n_positional < 2 || b.threads < 1 || b.repeats < 1 || b.repeats > 16) {
        fprintf(stderr,
                "usage: bench_forward MODEL_DIR TEXT_FILE [--dtype bf16|fp32] [--threads N] [--repeats N] [--softmax TYPE] [N...]\n");
        return 2;
    }
    rs_comm *comm = rs_comm_local_open();
    open_all(&b, positional[0], positional[1], softmax, comm);
    printf("{\"what\": \"gemm_peak\", \"dtype\": \"%s\", \"threads\": %d, \"gflops\": %.1f, \"cpu\": \"%s\"}\n", b.dtype, b.threads,
           b.peak / 1e9, rs_backend_cpu.describe(0));
    for (int i = 0; i < (n_lengths ? n_lengths : 2); i++)
        if ((int64_t)b.tokens.n > lengths[i])
            (diagnostics ? report_diagnostics : report_prefill)(&b, lengths[i]);
    report_decode(&b);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"what\": \"memory\", \"weights_mb\": %.1f, \"peak_rss_mb\": %.1f}\n",
           (double)rs_transformer_weight_bytes(b.transformer) / 1e6, (double)usage.ru_maxrss / 1024.0);
    rs_transformer_close(b.transformer);
    rs_tensor_store_close(b.store);
    rs_model_free(&b.model);
    rs_tokens_free(&b.tokens);
    rs_comm_close(comm);
    return 0;
}
