/* The description of a model: what config.json says, in one struct that covers the family (Gemma 1, Llama, SmolLM2).
 * Reads transformers v4 (rope_theta, rope_scaling) and v5 (rope_parameters) files. */
#ifndef RS_MODEL_MODEL_H
#define RS_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/param.h"
#include "base/status.h"
#include "kernels/backend.h"
#include "sharding/safetensors.h"

typedef struct rs_model {
    char *folder;                  /* owned */
    char *architecture;            /* model_type: "gemma", "llama"; owned */
    int64_t vocab, hidden, ff;
    int layers, heads, kv_heads, head_dim;
    int64_t max_positions;         /* max_position_embeddings */
    double rope_theta;
    char *rope_note;               /* the checkpoint's own rope scaling, as text ("llama3, factor 8"), or NULL: `default` does not apply it; owned */
    float norm_eps;
    bool norm_plus_one;            /* weight is 1 + w (Gemma) */
    bool norm_cast_first;          /* normalised x rounded to the dtype before the weight (Llama) */
    bool embed_scale;              /* x times sqrt(hidden) rounded to the dtype (Gemma) */
    rs_activation activation;
    bool tied;                     /* the head is the embedding table */
    float attention_scale;         /* 1/sqrt(head_dim) */
    float final_cap;               /* 0: none */
    int32_t bos;                   /* -1 if the files name none */
    int32_t *eos;                  /* [n_eos] tokens that end a generation, of config.json and generation_config.json; owned */
    int n_eos;
} rs_model;

/* Reads folder/config.json (transformers' own defaults where it is silent; and generation_config.json if there). RS_INVALID with file and key: a missing required key (model_type, hidden_size,
 * intermediate_size, num_hidden_layers, num_attention_heads, vocab_size), an unsupported model_type or setting, impossible shapes. */
rs_status rs_model_load(const char *folder, rs_model *out);
void rs_model_free(rs_model *model);
rs_model_facts rs_model_get_facts(const rs_model *model);

int64_t rs_model_parameters(const rs_model *model);

/* Checks that the store has every tensor of the model in its shape and a float dtype; missing, mis-shaped: RS_INVALID naming all of up to
 * five; an extra tensor: a warning naming it. Names: docs/design.md. */
rs_status rs_model_check(const rs_model *model, const rs_tensor_store *store);

/* Names of tensors. layer from 0. buffer: 128 bytes; returned. */
const char *rs_model_layer_tensor(int layer, const char *part, char buffer[128]); /* part: "self_attn.q_proj" -> model.layers.3.self_attn.q_proj.weight */

/* Digest of what config.json says about the arithmetic, the weights and tokenizer.json: what a record's content id names as the model. The maximum
 * context is not part of it. store NULL (`plan` without weights) or no tokenizer.json: another digest, of what is there. full: as
 * rs_tensor_store_digest. */
rs_status rs_model_digest(const rs_model *model, const rs_tensor_store *store, rs_digest *out, bool *full);

#endif
