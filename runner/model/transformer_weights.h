/* Which slices of the checkpoint one rank holds, and their loading into the backend. Inside of transformer.c only. */
#ifndef RS_MODEL_TRANSFORMER_WEIGHTS_H
#define RS_MODEL_TRANSFORMER_WEIGHTS_H

#include "kernels/backend.h"
#include "model/model.h"
#include "sharding/partition.h"
#include "sharding/safetensors.h"

/* A weight whose inner dimension is sharded: this rank's `columns` inputs, as one matrix, or (deterministic) one a fixed part.
 * Part i takes inputs first[i]... of the rank's. */
typedef struct rs_split {
    rs_matrix **parts;
    int64_t *first;
    int n;
    int64_t columns;
} rs_split;

typedef struct rs_layer_weights {
    float *attention_norm, *mlp_norm; /* [d] fp32 on the device, 1 + w where the model wants it */
    rs_matrix *qkv;                   /* [(h + 2 hk) e, d] */
    rs_matrix *gate_up;               /* [2 f, d] */
    rs_split o, down;                 /* [d, h e], [d, f] */
} rs_layer_weights;

typedef struct rs_weights {
    rs_range heads, kv_heads, ff, vocab; /* this rank's */
    int n_parts;                         /* fixed parts this rank owns: as many as its heads, whatever the number of ranks */
    int all_parts;
    bool deterministic;
    int n_layers;
    rs_layer_weights *layers;
    float *final_norm;
    rs_table *embedding; /* this rank's rows */
    rs_matrix **head;    /* [n_parts] runs of vocabulary */
    int64_t *head_first; /* [n_parts] first token id of each */
} rs_weights;

/* Fills the ranges. */
void rs_weights_place(rs_weights *weights, const rs_model *model, int rank, int size, bool deterministic);
rs_status rs_weights_load(rs_weights *weights, const rs_model *model, const rs_tensor_store *store, const rs_backend_ops *ops,
                          rs_backend *backend);
/* Layer 0's two output projections once more, as they would be held without fixed parts. */
rs_status rs_weights_load_plain(const rs_weights *weights, const rs_model *model, const rs_tensor_store *store, const rs_backend_ops *ops,
                                rs_backend *backend, rs_split *o, rs_split *down);
void rs_split_free(rs_split *split, const rs_backend_ops *ops, rs_backend *backend);
void rs_weights_free(rs_weights *weights, const rs_backend_ops *ops, rs_backend *backend);
size_t rs_weights_bytes(const rs_weights *weights, const rs_backend_ops *ops);

/* Rounds to the dtype's nearest value, ties to even. */
float rs_weights_round(float value, rs_dtype dtype);

#endif
