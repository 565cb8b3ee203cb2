#include "model/transformer_weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/slice.h"

/* The MLP's columns are dealt in runs of 32 where each part has a few of them: odd inner dimensions cost matrix products dearly. Decided by
 * the fixed parts alone, so that parts of T ranks stay unions of them. */
static rs_range partition_ff(const rs_model *m, int parts, int part)
{
    int64_t unit = m->ff / m->heads >= 64 ? 32 : 1, n_units = (m->ff + unit - 1) / unit;
    rs_range units = rs_partition(n_units, parts, part);
    int64_t first = units.first * unit, end = (units.first + units.n) * unit;
    return (rs_range){.first = first, .n = (end < m->ff ? end : m->ff) - first};
}

void rs_weights_place(rs_weights *w, const rs_model *m, int rank, int size, bool deterministic)
{
    w->heads = rs_partition(m->heads, size, rank);
    w->kv_heads = rs_partition_kv(w->heads, m->heads, m->kv_heads);
    w->ff = partition_ff(m, size, rank);
    w->vocab = rs_partition(m->vocab, size, rank);
    w->all_parts = m->heads;
    w->n_parts = (int)w->heads.n;
    w->deterministic = deterministic;
    w->n_layers = m->layers;
}

float rs_weights_round(float value, rs_dtype dtype)
{
    if (dtype != RS_BF16)
        return value;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static rs_dtype slice_dtype(const rs_tensor *tensor)
{
    return tensor->dtype == RS_TENSOR_F32 ? RS_F32 : tensor->dtype == RS_TENSOR_BF16 ? RS_BF16 : RS_F16;
}

/* Rows and columns of a two-dimensional tensor. rs_model_check has seen its shape. */
static rs_slice slice(const rs_tensor *tensor, rs_range rows, rs_range columns)
{
    int64_t stride = tensor->shape[1], size = tensor->dtype == RS_TENSOR_F32 ? 4 : 2;
    return (rs_slice){
        .data = (const char *)tensor->data + (rows.first * stride + columns.first) * size,
        .dtype = slice_dtype(tensor),
        .rows = rows.n,
        .cols = columns.n,
        .stride = stride,
    };
}

static rs_range all(int64_t n)
{
    return (rs_range){.first = 0, .n = n};
}

static rs_range scaled(rs_range range, int64_t by)
{
    return (rs_range){.first = range.first * by, .n = range.n * by};
}

typedef struct loader {
    rs_weights *w;
    const rs_model *m;
    const rs_tensor_store *store;
    const rs_backend_ops *ops;
    rs_backend *backend;
} loader;

static const rs_tensor *layer_tensor(const loader *l, int layer, const char *part)
{
    char name[128];
    return rs_tensor_store_find(l->store, rs_model_layer_tensor(layer, part, name));
}

/* Norm weights are kept in fp32; Gemma's files hold w and multiply by 1 + w, summed in fp32. */
static rs_status load_norm(const loader *l, const rs_tensor *tensor, float **out)
{
    int64_t d = l->m->hidden;
    rs_status status = RS_OK;
    float *host = rs_alloc((size_t)d, sizeof *host);
    rs_slice row = {.data = tensor->data, .dtype = slice_dtype(tensor), .rows = 1, .cols = d, .stride = d};
    rs_slice_row(&row, 0, host);
    for (int64_t i = 0; l->m->norm_plus_one && i < d; i++)
        host[i] += 1.0f;
    RS_TRY_OUT(l->ops->alloc(l->backend, (size_t)d * sizeof(float), "norm weight", (void **)out));
    RS_TRY_OUT(l->ops->upload(l->backend, *out, host, (size_t)d * sizeof(float)));
out:
    free(host);
    return status;
}

static rs_range head_part(const rs_model *m, int parts, int part)
{
    return scaled(rs_partition(m->heads, parts, part), m->head_dim);
}

/* A matrix of which this rank holds input columns `mine`. Deterministic: cut at the fixed parts, which `partition` deals. */
static rs_status load_split(const loader *l, const rs_tensor *tensor, rs_range mine, rs_range (*partition)(const rs_model *, int, int),
                            rs_split *out)
{
    const rs_weights *w = l->w;
    out->n = w->deterministic ? w->n_parts : 1;
    out->columns = mine.n;
    out->parts = rs_alloc((size_t)out->n, sizeof *out->parts);
    out->first = rs_alloc((size_t)out->n, sizeof *out->first);
    for (int i = 0; i < out->n; i++) {
        rs_range part = w->deterministic ? partition(l->m, w->all_parts, (int)w->heads.first + i) : mine;
        rs_slice s = slice(tensor, all(l->m->hidden), part);
        out->first[i] = part.first - mine.first;
        RS_TRY(l->ops->matrix_load(l->backend, &s, 1, &out->parts[i]));
    }
    rs_tensor_store_release(l->store, tensor);
    return RS_OK;
}

static rs_status load_layer(const loader *l, int layer, rs_layer_weights *out)
{
    const rs_weights *w = l->w;
    const rs_model *m = l->m;
    int64_t e = m->head_dim;
    const rs_tensor *q = layer_tensor(l, layer, "self_attn.q_proj"), *k = layer_tensor(l, layer, "self_attn.k_proj");
    const rs_tensor *v = layer_tensor(l, layer, "self_attn.v_proj"), *o = layer_tensor(l, layer, "self_attn.o_proj");
    const rs_tensor *gate = layer_tensor(l, layer, "mlp.gate_proj"), *up = layer_tensor(l, layer, "mlp.up_proj");
    const rs_tensor *down = layer_tensor(l, layer, "mlp.down_proj");
    RS_TRY(load_norm(l, layer_tensor(l, layer, "input_layernorm"), &out->attention_norm));
    RS_TRY(load_norm(l, layer_tensor(l, layer, "post_attention_layernorm"), &out->mlp_norm));
    rs_slice qkv[] = {slice(q, scaled(w->heads, e), all(m->hidden)), slice(k, scaled(w->kv_heads, e), all(m->hidden)),
                      slice(v, scaled(w->kv_heads, e), all(m->hidden))};
    RS_TRY(l->ops->matrix_load(l->backend, qkv, 3, &out->qkv));
    RS_TRY(load_split(l, o, scaled(w->heads, e), head_part, &out->o));
    rs_slice gate_up[] = {slice(gate, w->ff, all(m->hidden)), slice(up, w->ff, all(m->hidden))};
    RS_TRY(l->ops->matrix_load(l->backend, gate_up, 2, &out->gate_up));
    RS_TRY(load_split(l, down, w->ff, partition_ff, &out->down));
    const rs_tensor *done[] = {q, k, v, gate, up};
    for (size_t i = 0; i < sizeof done / sizeof *done; i++)
        rs_tensor_store_release(l->store, done[i]);
    return RS_OK;
}

/* The head in as many runs of vocabulary as the model has heads, so that the sum over the vocabulary is taken in the same order
 * whatever the number of ranks. */
static rs_status load_head(const loader *l)
{
    rs_weights *w = l->w;
    const rs_tensor *embedding = rs_tensor_store_find(l->store, "model.embed_tokens.weight");
    const rs_tensor *head = l->m->tied ? embedding : rs_tensor_store_find(l->store, "lm_head.weight");
    rs_slice rows = slice(embedding, w->vocab, all(l->m->hidden));
    RS_TRY(l->ops->table_load(l->backend, &rows, &w->embedding));
    w->head = rs_alloc((size_t)w->n_parts, sizeof(*w->head));
    w->head_first = rs_alloc((size_t)w->n_parts, sizeof *w->head_first);
    for (int i = 0; i < w->n_parts; i++) {
        rs_range run = rs_partition(l->m->vocab, w->all_parts, (int)w->heads.first + i);
        rs_slice s = slice(head, run, all(l->m->hidden));
        w->head_first[i] = run.first;
        RS_TRY(l->ops->matrix_load(l->backend, &s, 1, &w->head[i]));
    }
    rs_tensor_store_release(l->store, head);
    return RS_OK;
}

rs_status rs_weights_load(rs_weights *w, const rs_model *m, const rs_tensor_store *store, const rs_backend_ops *ops, rs_backend *backend)
{
    loader l = {.w = w, .m = m, .store = store, .ops = ops, .backend = backend};
    w->layers = rs_alloc((size_t)m->layers, sizeof *w->layers);
    for (int layer = 0; layer < m->layers; layer++)
        RS_TRY(load_layer(&l, layer, &w->layers[layer]));
    RS_TRY(load_norm(&l, rs_tensor_store_find(store, "model.norm.weight"), &w->final_norm));
    return load_head(&l);
}

rs_status rs_weights_load_plain(const rs_weights *w, const rs_model *m, const rs_tensor_store *store, const rs_backend_ops *ops,
                                rs_backend *backend, rs_split *o, rs_split *down)
{
    rs_weights plain = *w;
    plain.deterministic = false;
    loader l = {.w = &plain, .m = m, .store = store, .ops = ops, .backend = backend};
    RS_TRY(load_split(&l, layer_tensor(&l, 0, "self_attn.o_proj"), scaled(w->heads, m->head_dim), head_part, o));
    return load_split(&l, layer_tensor(&l, 0, "mlp.down_proj"), w->ff, partition_ff, down);
}

void rs_split_free(rs_split *split, const rs_backend_ops *ops, rs_backend *backend)
{
    for (int i = 0; split->parts && i < split->n; i++)
        ops->matrix_free(backend, split->parts[i]);
    free(split->parts);
    free(split->first);
}

void rs_weights_free(rs_weights *w, const rs_backend_ops *ops, rs_backend *backend)
{
    for (int i = 0; w->layers && i < w->n_layers; i++) {
        rs_layer_weights *layer = &w->layers[i];
        ops->release(backend, layer->attention_norm);
        ops->release(backend, layer->mlp_norm);
        ops->matrix_free(backend, layer->qkv);
        ops->matrix_free(backend, layer->gate_up);
        rs_split_free(&layer->o, ops, backend);
        rs_split_free(&layer->down, ops, backend);
    }
    for (int i = 0; w->head && i < w->n_parts; i++)
        ops->matrix_free(backend, w->head[i]);
    if (w->embedding)
        ops->table_free(backend, w->embedding);
    ops->release(backend, w->final_norm);
    free(w->layers);
    free(w->head);
    free(w->head_first);
}

static size_t split_bytes(const rs_split *split, const rs_backend_ops *ops)
{
    size_t bytes = 0;
    for (int i = 0; i < split->n; i++)
        bytes += ops->matrix_bytes(split->parts[i]);
    return bytes;
}

size_t rs_weights_bytes(const rs_weights *w, const rs_backend_ops *ops)
{
    size_t bytes = ops->table_bytes(w->embedding);
    for (int i = 0; i < w->n_layers; i++) {
        const rs_layer_weights *layer = &w->layers[i];
        bytes += ops->matrix_bytes(layer->qkv) + ops->matrix_bytes(layer->gate_up);
        bytes += split_bytes(&layer->o, ops) + split_bytes(&layer->down, ops);
    }
    for (int i = 0; i < w->n_parts; i++)
        bytes += ops->matrix_bytes(w->head[i]);
    return bytes;
}
