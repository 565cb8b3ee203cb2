/* The cache of one sequence: where each layer's and head's keys and values lie. */
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"

static int64_t padded_capacity(int64_t capacity)
{
    return (capacity + RS_KEY_TILE - 1) / RS_KEY_TILE * RS_KEY_TILE;
}

static size_t key_units(const rs_backend *backend, int64_t capacity)
{
    return (size_t)padded_capacity(capacity) * (size_t)backend->query_units;
}

static size_t value_units(const rs_backend *backend, int64_t capacity)
{
    return (size_t)(padded_capacity(capacity) / backend->keys_per_unit) * (size_t)backend->value_width;
}

size_t rs_cpu_kv_bytes(rs_backend *backend, int64_t capacity, int key_sets, int n_layers)
{
    size_t head = key_units(backend, capacity) * (size_t)key_sets + value_units(backend, capacity);
    return head * (size_t)backend->shape.kv_heads * (size_t)n_layers * sizeof(rs_unit);
}

rs_status rs_cpu_kv_open(rs_backend *backend, int64_t capacity, int key_sets, int n_layers, rs_kv **out)
{
    rs_kv *kv = rs_alloc(1, sizeof *kv);
    *kv = (rs_kv){.capacity = padded_capacity(capacity),
                  .key_sets = key_sets,
                  .n_layers = n_layers,
                  .key_units = key_units(backend, capacity),
                  .value_units = value_units(backend, capacity)};
    rs_status status = rs_try_alloc((void **)&kv->data, rs_cpu_kv_bytes(backend, capacity, key_sets, n_layers), 1, "a key-value cache");
    if (status != RS_OK) {
        free(kv);
        return status;
    }
    *out = kv;
    return RS_OK;
}

void rs_cpu_kv_free(rs_backend *backend, rs_kv *kv)
{
    (void)backend;
    if (!kv)
        return;
    free(kv->data);
    free(kv);
}

static rs_unit *head_data(const rs_backend *backend, const rs_kv *kv, int layer, int kv_head)
{
    size_t head = kv->key_units * (size_t)kv->key_sets + kv->value_units;
    return kv->data + head * ((size_t)(layer % kv->n_layers) * (size_t)backend->shape.kv_heads + (size_t)kv_head);
}

rs_unit *rs_kv_keys(const rs_backend *backend, const rs_kv *kv, int layer, int kv_head, int key_set)
{
    return head_data(backend, kv, layer, kv_head) + kv->key_units * (size_t)key_set;
}

rs_unit *rs_kv_values(const rs_backend *backend, const rs_kv *kv, int layer, int kv_head)
{
    return head_data(backend, kv, layer, kv_head) + kv->key_units * (size_t)kv->key_sets;
}
