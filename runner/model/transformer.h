/* The decoder over a backend: one rank's slice of the weights, and one step of a packed ragged batch through all layers.
 * Composes the operations of kernels/backend.h and the sums of sharding/comm.h; knows no variant, no task and no device.
 *
 * Sharding (Megatron-LM, arXiv 1909.08053): query heads, key/value heads and the MLP by columns, their output projections by rows with one
 * sum over ranks each; the embedding and the head by vocabulary. Slices: sharding/partition.h. */
#ifndef RS_MODEL_TRANSFORMER_H
#define RS_MODEL_TRANSFORMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "sharding/comm.h"
#include "sharding/safetensors.h"

typedef struct rs_transformer rs_transformer;

typedef struct rs_transformer_options {
    rs_dtype dtype; /* RS_F32 or RS_BF16 */
    int n_threads;
    int device;          /* 0 up, of the devices that the backend sees */
    size_t arena_bytes;  /* of device memory; 0: what is free */
    int64_t max_rows;    /* rows of the largest step */
    const char *comm;    /* how ranks add device memory up: "auto", "nccl" or "mpi" */
    double comm_timeout; /* seconds until a rank that others wait for ends the job */
    rs_comm *world;      /* the job to end; borrowed */
    bool deterministic;  /* sums over fixed parts of the inner dimension: the same bits for every number of ranks, at a cost */
} rs_transformer_options;

/* What the head says of one row. */
typedef struct rs_token_result {
    double nll;         /* of the row's target, nats; 0 where it has none */
    float target_logit; /* of the row's target; -inf where it has none */
    float best;         /* largest logit */
    int32_t best_id;    /* its token, the lowest of equals */
    bool finite;        /* false: logits are NaN or infinite */
} rs_token_result;

/* Loads this rank's slices and gives the mapped pages back. group: the tensor-parallel ranks; its size divides the heads. Borrows model,
 * store (the embedding is read from its mapping) and group. Collective over group. */
rs_status rs_transformer_open(const rs_model *model, const rs_tensor_store *store, const rs_backend_ops *ops, rs_comm *group,
                              const rs_transformer_options *options, rs_transformer **out);
void rs_transformer_close(rs_transformer *transformer);

/* RS_NO_MEMORY on every rank where one has no room. Collective over group. */
rs_status rs_transformer_kv_open(rs_transformer *transformer, int64_t capacity, const rs_rope *rope, rs_kv **out);
void rs_transformer_kv_free(rs_transformer *transformer, rs_kv *kv);

/* Rows of no interest carry this as their target. Rows that want only the greedy choice carry RS_TARGET_GREEDY. */
enum { RS_TARGET_NONE = -2, RS_TARGET_GREEDY = -1 };

/* One step: n <= max_rows. targets [n]: the token that follows each row, or one of the above. results [n]: filled for rows whose target
 * is not RS_TARGET_NONE. The same bits on every rank. Collective over group. */
rs_status rs_transformer_step(rs_transformer *transformer, const rs_step *step, const int32_t *targets, rs_token_result *results);

/* A whole sequence of any length n, layer by layer, so that only one layer's keys and values are held (and its residual stream: 4 d bytes
 * a token): the same bits as steps over the sequence. RS_NO_MEMORY as kv_open. Collective over group. */
rs_status rs_transformer_pass(rs_transformer *transformer, const rs_rope *rope, const rs_softmax *softmax, const int32_t *ids,
                              const int32_t *targets, int64_t n, rs_diagnostics *diagnostics, rs_token_result *results);

/* Empty sums of this rank's heads for a sequence of up to `rows` rows; its offsets stand in *diagnostics. */
void rs_transformer_diagnostics_init(const rs_transformer *transformer, int64_t rows, rs_diagnostics *diagnostics);
/* Those of all heads, on every rank. whole is freed by the caller. Collective over group. */
rs_status rs_transformer_diagnostics_gather(const rs_transformer *transformer, const rs_diagnostics *mine, rs_diagnostics *whole);

/* What deterministic sums cost, measured: seconds of one layer's two output projections and their sums over ROW_BLOCK rows with and
 * without fixed parts. Only in deterministic mode. Collective over group. */
rs_status rs_transformer_deterministic_cost(rs_transformer *transformer, const rs_tensor_store *store, double *fixed, double *plain);

/* Bytes that this rank holds: packed weights; and for planning: KV of one sequence. */
size_t rs_transformer_weight_bytes(const rs_transformer *transformer);

/* What a rank of `tensor` ranks will hold, without opening anything: weights in the dtype, KV a token and key set, buffers of a step. */
typedef struct rs_memory_estimate {
    double weight_bytes, kv_bytes_per_token, step_bytes;
    double pass_bytes_per_token; /* of rs_transformer_pass: one layer's keys and values, and the residual stream */
} rs_memory_estimate;
rs_memory_estimate rs_transformer_estimate(const rs_model *model, const rs_backend_kind *kind, rs_dtype dtype, int tensor, int64_t max_rows,
                                           bool deterministic);

/* FLOPs (multiply and add are two) of a sequence: linear layers and head for `rows` rows of which `scored` pass the head, attention of rows
 * at positions first..first+rows-1 over all before them. */
double rs_transformer_flops(const rs_model *model, int64_t first, int64_t rows, int64_t scored);

#endif
