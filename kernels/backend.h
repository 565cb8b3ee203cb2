/* What a backend offers: the coarse operations of a decoder layer on packed ragged batches. runner/model composes them; kernels/cpu
 * and kernels/cuda implement them. Buffers come from the backend and may be device memory; names in comments: n rows (tokens of
 * all sequences of the batch, one after the other), d hidden size, h local query heads, hk local key/value heads, e head_dim.
 *
 * Order. Operations take effect in the order of the calls; a device may run behind. download and head wait for their results.
 *
 * Number formats. `act` buffers hold activations in the model's dtype: inputs of matrix products, rounded to nearest even from
 * fp32. All else is fp32: residual stream, products, sums, norms, softmax. For bf16 this defines the numbers: every product takes bf16
 * inputs and sums in fp32, so a machine without bf16 instructions gets the same to rounding of fp32 sums.
 *
 * Bits. A row's result never depends on the other rows of the batch, on its place in the batch, on how the rows of a phase are split
 * over calls (prefill at once, in pieces, or one by one) nor on the number of threads. The phase is a fact about the row (was its token
 * generated?), so a backend may have other kernels, and other last bits, for decoding than for prefill. */
#ifndef RS_KERNELS_BACKEND_H
#define RS_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/diagnostics.h"
#include "kernels/rope.h"
#include "kernels/softmax_policy.h"

typedef enum rs_dtype { RS_F32, RS_BF16, RS_F16 } rs_dtype; /* F16 only as a file's dtype */
typedef enum rs_activation { RS_SILU, RS_GELU_TANH } rs_activation;

typedef struct rs_backend rs_backend;
typedef struct rs_matrix rs_matrix; /* one weight matrix in the backend's own layout */
typedef struct rs_table rs_table;   /* rows of an embedding */
typedef struct rs_kv rs_kv;         /* one sequence's keys and values, all layers, in the backend's own layout */

/* A two-dimensional slice of a checkpoint's tensor in host memory: [rows, cols], row i at data + i * stride elements. */
typedef struct rs_slice {
    const void *data;
    rs_dtype dtype;
    int64_t rows, cols, stride;
} rs_slice;

/* Where to compute and with what. */
typedef struct rs_backend_options {
    rs_dtype dtype;     /* RS_F32 or RS_BF16 */
    int n_threads;      /* host threads */
    int device;         /* 0 up, of the devices that this process sees */
    size_t arena_bytes; /* device memory that all buffers, weights and caches together may take; 0: all that is free but a reserve */
    int64_t max_rows;   /* of a step */
} rs_backend_options;

typedef struct rs_device_memory {
    size_t total_bytes, free_bytes; /* of the device; the backend's arena counts as free where it is unused */
    unsigned char id[16];           /* tells it from the host's other devices, in every process; zeros: it is the host itself */
} rs_device_memory;

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
    rs_diagnostics *diagnostics; /* what attention adds this rank's sums to, layer by layer; NULL: none are wanted, and none cost anything */
} rs_sequence;

typedef enum rs_phase { RS_PREFILL, RS_DECODE } rs_phase;

/* One forward step: all its rows are of one phase; a sequence has one row in a decode step. */
typedef struct rs_step {
    rs_phase phase;
    const rs_sequence *sequences;
    int n_sequences;
    const int32_t *ids; /* [n] host */
    int64_t n;
} rs_step;

/* Partial result of one row over a run of vocabulary: log-sum-exp state, the target's logit if it lies in the run, the greedy choice. */
typedef struct rs_head_row {
    float max, sum;  /* sum of exp(logit - max) */
    float target;    /* logit of the row's target; -inf if it lies elsewhere */
    float best;      /* largest logit */
    int32_t best_id; /* its token id, the lowest of equals */
} rs_head_row;

/* What is known of a backend without opening or even having it. */
typedef struct rs_backend_kind {
    const char *name;
    bool host_memory;  /* its buffers are host memory that anyone may read and write */
    int64_t row_block; /* rows that had best pass through the MLP together */
    bool diagnostics;  /* whether it adds up what rs_sequence.diagnostics asks for */
} rs_backend_kind;
extern const rs_backend_kind rs_backend_kind_cpu, rs_backend_kind_cuda;

typedef struct rs_backend_ops {
    const rs_backend_kind *kind;

    /* Devices that this process can use; where there are none *why (static) says so. */
    rs_status (*devices)(int *n, const char **why);
    /* Facts of the machine as the backend sees it, one line for `--version` and reports ("avx512_bf16, oneDNN 2.6.3"). Static or
     * thread-local. */
    const char *(*describe)(int device);
    rs_status (*memory)(int device, rs_device_memory *out);

    rs_status (*open)(const rs_backend_shape *shape, const rs_backend_options *options, rs_backend **out);
    void (*close)(rs_backend *backend);

    /* Device memory; contents undefined. Fails with RS_NO_MEMORY, naming `what` and the sizes. */
    rs_status (*alloc)(rs_backend *backend, size_t bytes, const char *what, void **out);
    void (*release)(rs_backend *backend, void *buffer);
    rs_status (*upload)(rs_backend *backend, void *to, const void *from, size_t bytes);
    rs_status (*download)(rs_backend *backend, void *to, const void *from, size_t bytes);

    /* Takes the slices stacked by rows as one weight matrix W [sum of rows = out_features, cols = in_features], rounded to the
     * model's dtype, into the backend's layout. The slices may be unmapped afterwards. */
    rs_status (*matrix_load)(rs_backend *backend, const rs_slice *slices, int n_slices, rs_matrix **out);
    void (*matrix_free)(rs_backend *backend, rs_matrix *matrix);
    size_t (*matrix_bytes)(const rs_matrix *matrix);

    /* Rows of an embedding [rows, d], rounded to the model's dtype. A backend may keep the slice itself: it stays mapped. */
    rs_status (*table_load)(rs_backend *backend, const rs_slice *rows, rs_table **out);
    void (*table_free)(rs_backend *backend, rs_table *table);
    size_t (*table_bytes)(const rs_table *table); /* of memory beyond the slice */

    /* kv for up to `capacity` tokens under `rope`'s map (key sets), of n_layers layers: layer l lies where l % n_layers does (1: one layer
     * at a time). Freed by kv_free. A step that begins at position p sees the first p tokens of what stands there, whatever followed them
     * before. */
    rs_status (*kv_open)(rs_backend *backend, int64_t capacity, int key_sets, int n_layers, rs_kv **out);
    void (*kv_free)(rs_backend *backend, rs_kv *kv);
    size_t (*kv_bytes)(rs_backend *backend, int64_t capacity, int key_sets, int n_layers);

    /* Begins a step: makes what depends on positions only (cos and sin, segment starts, row scales). Borrows *step until the next. */
    rs_status (*prepare)(rs_backend *backend, const rs_step *step);

    /* After prepare of a decode step. *done: a step of this shape had been recorded and was queued whole, so that the operations from embed
     * up to, not including, head are left out; else they must follow, the same for every step of the shape, and end with `recorded`. NULL:
     * the backend records nothing. */
    rs_status (*replay)(rs_backend *backend, bool *done);
    rs_status (*recorded)(rs_backend *backend);

    /* x [n, d] of the step's ids = table[id - first_id] * scale for ids inside the table's rows, 0 for the others (vocabulary-parallel). */
    rs_status (*embed)(rs_backend *backend, const rs_table *table, int32_t first_id, float scale, float *x);

    /* If y is not NULL first x += y (both [n, d]). Then h = rms(x) * weight, weight [d] fp32 on the device (1 + w where the model wants
     * it), eps inside the root; `cast_first`: the normalised x is rounded to the dtype before the product (Llama). h act [n, d]; NULL: only
     * the sum. */
    rs_status (*add_norm)(rs_backend *backend, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n,
                          int64_t d, void *h);

    /* out [n, out_stride] = a [n, a_stride] W^T. a: act; out: fp32; strides in elements. */
    rs_status (*linear)(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out,
                        int64_t out_stride);

    /* qkv [n, (h + 2 hk) e] fp32 of the step's rows: rotates queries into the backend's own query buffer and keys into each sequence's
     * cache (every key set), stores values. `layer` from 0; whether it rotates is the rope's to say. */
    rs_status (*store_qkv)(rs_backend *backend, int layer, const float *qkv);

    /* Causal attention of the queries last stored over each sequence's cache. out: act [n, h e]. */
    rs_status (*attention)(rs_backend *backend, int layer, void *out);

    /* out act [n, f] = activation(gate) * up, gate_up fp32 [n, 2 f], gate first. */
    rs_status (*glu)(rs_backend *backend, rs_activation activation, const float *gate_up, int64_t n, int64_t f, void *out);

    /* Logits of h [n, d] (act) against W [vocabulary run, d], never whole in memory. targets: host [n], token ids, -1 for none. first_id:
     * the id of W's first row. cap: tanh soft cap of the logits, 0 none. rows: host [n]. */
    rs_status (*head)(rs_backend *backend, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap,
                      int64_t n, rs_head_row *rows);

    /* a[i] += b[i]. */
    rs_status (*add)(rs_backend *backend, float *a, const float *b, int64_t n);

    /* Work between overlap_begin and overlap_end follows what came before and runs beside what comes after; after overlap_wait everything
     * follows it. NULL, as stream: all runs in order on the host. stream: what operations are queued in now (cudaStream_t). */
    rs_status (*overlap_begin)(rs_backend *backend);
    rs_status (*overlap_end)(rs_backend *backend);
    rs_status (*overlap_wait)(rs_backend *backend);
    void *(*stream)(rs_backend *backend);
} rs_backend_ops;

extern const rs_backend_ops rs_backend_cpu;

/* "cpu", "cuda" (the module that lies beside the program, opened once; RS_INVALID with the reason where it is missing or sees no device) or
 * NULL: cuda where it works, else cpu. */
rs_status rs_backend_find(const char *name, const rs_backend_ops **out);

#endif
