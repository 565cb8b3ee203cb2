/* The cache of one sequence: one piece of device memory, keys then values. */
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"

static int64_t padded(int64_t capacity)
{
    int64_t units = (capacity + RS_CUDA_CACHE_TOKENS - 1) / RS_CUDA_CACHE_TOKENS;
    return (units > 0 ? units : 1) * RS_CUDA_CACHE_TOKENS;
}

/* Of [layers][heads][capacity][head_dim]. */
static size_t plane_bytes(const rs_backend *b, int64_t capacity, int n_layers)
{
    return (size_t)n_layers * (size_t)b->shape.kv_heads * (size_t)padded(capacity) * (size_t)b->shape.head_dim * b->act;
}

size_t rs_cuda_kv_bytes(rs_backend *b, int64_t capacity, int key_sets, int n_layers)
{
    return plane_bytes(b, capacity, n_layers) * (size_t)(key_sets + 1);
}

/* Hopper's kernel reads whole tiles by maps of the cache. */
static rs_status make_maps(rs_backend *b, rs_kv *kv)
{
    int64_t e = b->shape.head_dim, planes = (int64_t)kv->n_layers * b->shape.kv_heads;
    int box = e == 256 ? RS_CUDA_HOPPER_KEYS_256 : RS_CUDA_HOPPER_KEYS;
    if (!b->facts.hopper_kernels || !b->bf16 || e % 64 != 0)
        return RS_OK;
    RS_TRY(b->driver->tensor_map(b->context, kv->keys, e, kv->capacity, planes * kv->key_sets, box, kv->maps[0]));
    return b->driver->tensor_map(b->context, kv->values, e, kv->capacity, planes, box, kv->maps[1]);
}

rs_status rs_cuda_kv_open(rs_backend *b, int64_t capacity, int key_sets, int n_layers, rs_kv **out)
{
    rs_status status;
    rs_kv *kv = rs_alloc(1, sizeof *kv);
    *kv = (rs_kv){.capacity = padded(capacity), .key_sets = key_sets, .n_layers = n_layers};
    RS_TRY_OUT(rs_cuda_take(b, rs_cuda_kv_bytes(b, capacity, key_sets, n_layers), "a key-value cache", (void **)&kv->keys));
    kv->values = kv->keys + plane_bytes(b, capacity, n_layers) * (size_t)key_sets;
    RS_TRY_OUT(make_maps(b, kv));
    *out = kv;
    return RS_OK;
out:
    rs_cuda_kv_free(b, kv);
    return status;
}

void rs_cuda_kv_free(rs_backend *b, rs_kv *kv)
{
    if (!kv)
        return;
    rs_cuda_give(b, kv->keys);
    free(kv);
}
