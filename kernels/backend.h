/* What a backend offers: the coarse operations of a decoder layer on packed ragged batches. runner/model composes them; kernels/cpu
 * and kernels/cuda implement them. Buffers come from the backend and may be device memory; names in comments: n rows (tokens of
 * all sequences of the batch, one after the other), d hidden size, h local query heads, hk local key/value heads, e head_dim.
 *
 * Number formats. `act` buffers hold activations in the model's dtype: inputs of matrix products, rounded to nearest even from
 * fp32. All else is fp32: residual stream, products, sums, norms, softmax. For bf16 this defines the numbers: every product takes bf16
 * inputs and sums in fp32, so a machine without bf16 instructions gets the same to rounding of fp32 sums.
 *
 * Bits. A row's result never depends on the other rows of the batch, on its place in the batch, on how rows are split over calls
 * (prefill at once, in pieces, or one by one) nor on the number of threads. */
#ifndef RS_KERNELS_BACKEND_H
#define RS_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/rope.h"
#include "kernels/softmax_policy.h"

typedef enum rs_dtype { RS_F32, RS_BF16, RS_F16 } rs_dtype; /* F16 only as a file's dtype */
typedef enum rs_activation { RS_SILU, RS_GELU_TANH } rs_activation;

typedef struct rs_backend rs_backend;
typedef struct rs_matrix rs_matrix; /* one weight matrix in the backend's own layout */
typedef struct rs_kv rs_kv;         /* one sequence's keys and values, all layers, in the backend's own layout */

/* A two-dimensional slice of a checkpoint's tensor in host memory: [rows, cols], row i at data + i * stride elements. */
typedef struct rs_slice {
    const void *data;
    rs_dtype dtype;
    int64_t rows, cols, stride;
} rs_slice;

/* Shape of one rank's part of the model, fixed at open. */
typedef struct rs_backend_shape {
    int n_layers;
    int heads, kv_heads;       /* this rank's; query head i reads key head kv_of_head[i] */
    const int *kv_of_head;     /* [heads] */
    int first_head, all_heads; /* place of head 0 in the whole model: ALiBi slopes */
    int head_dim;
    float attention_scale; /* 1/sqrt(head_dim), or the checkpoint's own */
} rs_backend_shape;

/* One sequence's part of a batch. */
typedef struct rs_sequence {
    int64_t first_row, n_rows; /* rows of the batch */
    int64_t position;          /* of its first row: tokens that `kv` held before */
    rs_kv *kv;
    const rs_rope *rope;
    const rs_softmax *softmax;
} rs_sequence;

/* Partial result of one row over a run of vocabulary: log-sum-exp state, the target's logit if it lies in the run, the greedy choice. */
typedef struct rs_head_row {
    float max, sum;  /* sum of exp(logit - max) */
    float target;    /* logit of the row's target; -inf if it lies elsewhere */
    float best;      /* largest logit */
    int32_t best_id; /* its token id, the lowest of equals */
} rs_head_row;

typedef struct rs_backend_ops {
    const char *name;

    rs_status (*open)(const rs_backend_shape *shape, rs_dtype dtype, int n_threads, rs_backend **out);
    void (*close)(rs_backend *backend);

    /* Device memory; contents undefined. */
    rs_status (*alloc)(rs_backend *backend, size_t bytes, const char *what, void **out);
    void (*release)(rs_backend *backend, void *buffer);
    rs_status (*upload)(rs_backend *backend, void *to, const void *from, size_t bytes);
    rs_status (*download)(rs_backend *backend, void *to, const void *from, size_t bytes);

    /* Takes the slices stacked by rows as one weight matrix W [sum of rows = out_features, cols = in_features], rounded to the
     * model's dtype, into the backend's layout. The slices may be unmapped afterwards. */
    rs_status (*matrix_load)(rs_backend *backend, const rs_slice *slices, int n_slices, rs_matrix **out);
    void (*matrix_free)(rs_backend *backend, rs_matrix *matrix);
    size_t (*matrix_bytes)(const rs_matrix *matrix);

    /* kv for up to `capacity` tokens under `rope`'s map (key sets). Freed by kv_free. A step that begins at
     * position p sees the first p tokens of what stands there, whatever followed them before. */
    rs_status (*kv_open)(rs_backend *backend, int64_t capacity, int key_sets, rs_kv **out);
    void (*kv_free)(rs_backend *backend, rs_kv *kv);
    size_t (*kv_bytes)(rs_backend *backend, int64_t capacity, int key_sets);

    /* Once a forward step, before its layers: makes what depends on positions only (cos and sin, segment starts, row scales) for
     * these sequences. The array is borrowed until the next call; store_qkv and attention of the step are given the same one. */
    rs_status (*prepare)(rs_backend *backend, const rs_sequence *sequences, int n_sequences);

    /* x [n, d] = table[id - first_id] * scale for ids inside the table's rows, 0 for the others (vocabulary-parallel).
     * table: host slice [rows, d] (read row by row, each rounded to the model's dtype); ids: host [n]. */
    rs_status (*embed)(rs_backend *backend, const rs_slice *table, int32_t first_id, const int32_t *ids, int64_t n, float scale, float *x);

    /* If y is not NULL first x += y (both [n, d]). Then h = rms(x) * weight, weight [d] fp32 on the device (1 + w where the model wants
     * it), eps inside the root; `cast_first`: the normalised x is rounded to the dtype before the product (Llama). h act [n, d]; NULL: only
     * the sum. */
    rs_status (*add_norm)(rs_backend *backend, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n,
                          int64_t d, void *h);

    /* out [n, out_stride] = a [n, a_stride] W^T. a: act; out: fp32; strides in elements. */
    rs_status (*linear)(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out,
                        int64_t out_stride);

    /* qkv [n, (h + 2 hk) e] fp32: rotates queries into the backend's own query buffer and keys into each sequence's cache
     * (every key set), stores values. `layer` from 0; whether it rotates is the rope's to say. Buffers of `attention` follow. */
    rs_status (*store_qkv)(rs_backend *backend, int layer, const float *qkv, const rs_sequence *sequences, int n_sequences);

    /* Causal attention of the queries last stored over each sequence's cache. out: act [n, h e]. */
    rs_status (*attention)(rs_backend *backend, int layer, const rs_sequence *sequences, int n_sequences, void *out);

    /* out act [n, f] = activation(gate) * up, gate_up fp32 [n, 2 f], gate first. */
    rs_status (*glu)(rs_backend *backend, rs_activation activation, const float *gate_up, int64_t n, int64_t f, void *out);

    /* Logits of h [n, d] (act) against W [vocabulary run, d], never whole in memory. targets: host [n], token ids, -1 for none. first_id:
     * the id of W's first row. cap: tanh soft cap of the logits, 0 none. rows: host [n]. */
    rs_status (*head)(rs_backend *backend, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap,
                      int64_t n, rs_head_row *rows);

    /* a[i] += b[i]. */
    rs_status (*add)(rs_backend *backend, float *a, const float *b, int64_t n);
} rs_backend_ops;

extern const rs_backend_ops rs_backend_cpu;

/* Memory-bound or compute-bound facts of the machine as the backend sees it, one line for `--version` and reports ("avx512_bf16,
 * oneDNN 2.6.3"). */
const char *rs_backend_cpu_describe(void);

#endif
