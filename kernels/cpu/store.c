/* Rotated queries into the backend's buffer, rotated keys and values into the caches.
 *
 * A layer that the rope does not rotate (rs_rope_rotates) stores queries and keys as they are - no attention factor, no gains - and
 * attends in one segment over key set 0. */
#include <string.h>

#include "kernels/cpu/cpu.h"

/* head_dim values as operands: bf16 pairs are consecutive values, so both types are plain arrays. */
static void write_operand(const rs_backend *backend, const float *x, rs_unit *to)
{
    if (backend->dtype == RS_BF16)
        backend->elementwise->to_bf16(x, backend->shape.head_dim, (uint16_t *)to);
    else
        memcpy(to, x, (size_t)backend->shape.head_dim * sizeof *x);
}

static void store_key(const rs_backend *backend, const float *x, int64_t position, rs_unit *keys)
{
    rs_unit row[2 * RS_MAX_PAIRS];
    write_operand(backend, x, row);
    rs_unit *to = keys + (size_t)(position / RS_KEY_BLOCK) * (size_t)backend->query_units * RS_KEY_BLOCK + position % RS_KEY_BLOCK;
    for (int u = 0; u < backend->query_units; u++)
        to[(size_t)u * RS_KEY_BLOCK] = row[u];
}

/* `last`: no later key is known yet; a bf16 pair's empty half is 0 then, whatever was there before. */
static void store_value(const rs_backend *backend, const float *x, int64_t position, bool last, rs_unit *values)
{
    rs_unit *to = values + (size_t)(position / backend->keys_per_unit) * (size_t)backend->value_width;
    int head_dim = backend->shape.head_dim;
    if (backend->dtype != RS_BF16) {
        memcpy(to, x, (size_t)head_dim * sizeof *x);
        return;
    }
    uint16_t row[2 * RS_MAX_PAIRS], *half = (uint16_t *)to + position % 2;
    backend->elementwise->to_bf16(x, head_dim, row);
    for (int d = 0; d < head_dim; d++)
        half[2 * d] = row[d];
    for (int d = 0; last && position % 2 == 0 && d < head_dim; d++)
        half[2 * d + 1] = 0;
}

static void store_query(const rs_backend *backend, const rs_sequence *sequence, const rs_prepared *made, bool rotates, int64_t i, int slot,
                        int kv_head, const float *x)
{
    float rotated[2 * RS_MAX_PAIRS];
    const rs_rope *rope = sequence->rope;
    int64_t half = rope->rotary_dim / 2, group = backend->first_slot[kv_head + 1] - backend->first_slot[kv_head];
    int64_t row = (int64_t)backend->first_slot[kv_head] * sequence->n_rows + i * group + slot - backend->first_slot[kv_head];
    for (int segment = 0; segment < (rotates ? rope->map.n_segments : 1); segment++) {
        rs_unit *to = backend->queries + made->query_offset +
                      (size_t)(segment * sequence->n_rows * backend->shape.heads + row) * (size_t)backend->query_units;
        if (rotates)
            backend->elementwise->rotate(x, made->query_cos[segment] + i * half, made->query_sin[segment] + i * half, rope->rotary_dim,
                                         rope->head_dim, rotated);
        write_operand(backend, rotates ? rotated : x, to);
    }
}

static void store_row(const rs_backend *backend, int layer, const rs_sequence *sequence, const rs_prepared *made, int64_t i,
                      const float *qkv)
{
    float rotated[2 * RS_MAX_PAIRS];
    const rs_rope *rope = sequence->rope;
    int head_dim = backend->shape.head_dim;
    bool rotates = rs_rope_rotates(rope, layer);
    int64_t half = rope->rotary_dim / 2, position = sequence->position + i;
    const float *keys = qkv + backend->shape.heads * head_dim, *values = keys + backend->shape.kv_heads * head_dim;
    for (int kv_head = 0; kv_head < backend->shape.kv_heads; kv_head++) {
        for (int slot = backend->first_slot[kv_head]; slot < backend->first_slot[kv_head + 1]; slot++)
            store_query(backend, sequence, made, rotates, i, slot, kv_head, qkv + backend->slot_head[slot] * head_dim);
        for (int set = 0; set < (rotates ? rope->map.n_key_sets : 1); set++) {
            if (rotates)
                backend->elementwise->rotate(keys + kv_head * head_dim, made->key_cos[set] + i * half, made->key_sin[set] + i * half,
                                             rope->rotary_dim, head_dim, rotated);
            store_key(backend, rotates ? rotated : keys + kv_head * head_dim, position,
                      rs_kv_keys(backend, sequence->kv, layer, kv_head, set));
        }
        store_value(backend, values + kv_head * head_dim, position, i + 1 == sequence->n_rows,
                    rs_kv_values(backend, sequence->kv, layer, kv_head));
    }
}

rs_status rs_cpu_store_qkv(rs_backend *backend, int layer, const float *qkv)
{
    int64_t width = (int64_t)(backend->shape.heads + 2 * backend->shape.kv_heads) * backend->shape.head_dim;
    if (backend->measures)
        rs_measure_norms(backend, layer, qkv);
#pragma omp parallel num_threads(backend->n_threads)
    for (int s = 0; s < backend->step->n_sequences; s++) {
        const rs_sequence *sequence = &backend->step->sequences[s];
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < sequence->n_rows; i++)
            store_row(backend, layer, sequence, &backend->prepared[s], i, qkv + (sequence->first_row + i) * width);
    }
    return RS_OK;
}
