/* What the GPU benchmarks share: a backend opened for a benchmark's shape, random data on it, and times taken after the device is done.
 * They run on any backend; on the CPU, at tiny sizes, only to be seen working. */
#ifndef RS_BENCH_GPU_H
#define RS_BENCH_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"

typedef struct gpu_bench {
    const rs_backend_ops *ops;
    rs_backend *backend;
    rs_dtype dtype;
    int layers, heads, kv_heads, head_dim;
    bool tiny;     /* sizes for a rehearsal */
    int threads;   /* of the CPU backend */
    float *signal; /* one float on the device: reading it waits for all that was queued */
} gpu_bench;

/* Exits with the message where a call failed. */
void gpu_must(rs_status status);

/* Opens the backend for this many layers and heads; heads, kv_heads and head_dim stand in *b. */
void gpu_open(gpu_bench *b, int64_t max_rows);
void gpu_close(gpu_bench *b);

/* Device memory of n fp32 or bf16 numbers, normal with this deviation. */
float *gpu_floats(gpu_bench *b, int64_t n, double deviation);
void *gpu_act(gpu_bench *b, int64_t n, double deviation);
/* [rows, cols] as a weight matrix, elements of deviation 1 / sqrt(cols). */
rs_matrix *gpu_matrix(gpu_bench *b, int64_t rows, int64_t cols);
size_t gpu_act_bytes(const gpu_bench *b);

/* Seconds of one call: calls are queued in runs long enough for the host's part not to show, waited for, and the median of the runs' means
 * is taken, after a warm-up. spread, if not NULL: (largest - least) / median. `run` gets the call's number, so that it can go round among
 * several buffers. */
double gpu_seconds(gpu_bench *b, void (*run)(void *argument, int64_t call), void *argument, double *spread);

/* --- the benchmarks: each prints one line of JSON a measurement --- */
void gpu_attention(gpu_bench *b);
void gpu_decode_attention(gpu_bench *b);
void gpu_products(gpu_bench *b);
void gpu_elementwise(gpu_bench *b);

typedef struct gpu_model_options {
    const char *folder;
    const int64_t *lengths, *batches; /* of prefill; of decoding */
    int n_lengths, n_batches, repeats;
    int64_t context, new_tokens; /* of decoding: tokens before, tokens made */
} gpu_model_options;
void gpu_model(gpu_bench *b, const gpu_model_options *options);

#endif
