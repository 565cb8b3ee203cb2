/* The CPU backend: its life, its memory, and the table of its operations. */
#include <dnnl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

static void cpu_close(rs_backend *backend)
{
    if (!backend)
        return;
    rs_gemm_close(backend->gemm);
    rs_arena_free(backend);
    free((void *)(uintptr_t)backend->shape.kv_of_head);
    free(backend->slot_head);
    free(backend->first_slot);
    free(backend->slopes);
    free(backend->out_columns);
    free(backend->queries);
    free(backend->row_values);
    free(backend->work);
    free(backend);
}

/* Sorts the query heads by the kv head that they read. */
static void make_slots(rs_backend *backend)
{
    const rs_backend_shape *shape = &backend->shape;
    int slot = 0;
    backend->slot_head = rs_alloc((size_t)shape->heads, sizeof *backend->slot_head);
    backend->first_slot = rs_alloc((size_t)shape->kv_heads + 1, sizeof *backend->first_slot);
    backend->slopes = rs_alloc((size_t)shape->heads, sizeof *backend->slopes);
    backend->out_columns = rs_alloc((size_t)shape->heads, sizeof *backend->out_columns);
    for (int kv_head = 0; kv_head < shape->kv_heads; kv_head++) {
        for (int head = 0; head < shape->heads; head++) {
            if (shape->kv_of_head[head] != kv_head)
                continue;
            backend->slopes[slot] = (float)exp2(-8.0 * (shape->first_head + head + 1) / shape->all_heads);
            backend->out_columns[slot] = (int64_t)head * shape->head_dim;
            backend->slot_head[slot++] = head;
        }
        backend->first_slot[kv_head + 1] = slot;
    }
}

static const rs_attention_kernels *attention_of(rs_isa isa, rs_dtype dtype)
{
    switch (isa) {
#if defined(__x86_64__)
    case RS_ISA_AVX512BF16:
        return dtype == RS_BF16 ? &rs_attention_avx512bf16 : &rs_attention_avx512;
    case RS_ISA_AVX512:
        return &rs_attention_avx512;
    case RS_ISA_AVX2:
        return &rs_attention_avx2;
#endif
    default:
        return &rs_attention_portable;
    }
}

static const rs_elementwise_kernels *elementwise_of(rs_isa isa)
{
#if defined(__x86_64__)
    if (isa >= RS_ISA_AVX2)
        return isa == RS_ISA_AVX2 ? &rs_elementwise_avx2 : &rs_elementwise_avx512;
#endif
    return &rs_elementwise_portable;
}

static rs_status cpu_devices(int *n, const char **why)
{
    *n = 1;
    *why = NULL;
    return RS_OK;
}

static const char *cpu_describe(int device)
{
    (void)device;
    static _Thread_local char text[128];
    const dnnl_version_t *version = dnnl_version();
    rs_isa isa = rs_isa_detect();
    rs_gemm *gemm = NULL;
    bool opened = rs_gemm_open(isa, RS_BF16, 1, &gemm) == RS_OK;
    snprintf(text, sizeof text, "%s kernels; bf16 products: %s; oneDNN %d.%d.%d", rs_isa_name(isa), opened ? rs_gemm_name(gemm) : "none",
             version->major, version->minor, version->patch);
    rs_gemm_close(gemm);
    return text;
}

static rs_status cpu_memory(int device, rs_device_memory *out)
{
    (void)device;
    *out = (rs_device_memory){0};
    rs_machine_memory(&out->total_bytes, &out->free_bytes);
    return RS_OK;
}

static rs_status cpu_open(const rs_backend_shape *shape, const rs_backend_options *options, rs_backend **out)
{
    rs_dtype dtype = options->dtype;
    if (shape->head_dim < 2 || shape->head_dim % 2 || shape->head_dim > 2 * RS_MAX_PAIRS)
        return rs_fail(RS_INVALID, "head_dim is %d: must be even and at most %d", shape->head_dim, 2 * RS_MAX_PAIRS);
    if (dtype != RS_F32 && dtype != RS_BF16)
        return rs_fail(RS_INVALID, "the CPU computes in fp32 or bf16 only");
    rs_backend *backend = rs_alloc(1, sizeof *backend);
    backend->shape = *shape;
    backend->shape.kv_of_head = memcpy(rs_alloc((size_t)shape->heads, sizeof(int)), shape->kv_of_head, (size_t)shape->heads * sizeof(int));
    backend->dtype = dtype;
    backend->n_threads = options->n_threads;
    backend->isa = rs_isa_detect();
    backend->elementwise = elementwise_of(backend->isa);
    backend->attention = attention_of(backend->isa, dtype);
    backend->keys_per_unit = dtype == RS_BF16 ? 2 : 1;
    backend->query_units = shape->head_dim / backend->keys_per_unit;
    backend->value_width = (shape->head_dim + 15) / 16 * 16;
    make_slots(backend);
    rs_status status = rs_gemm_open(backend->isa, dtype, options->n_threads, &backend->gemm);
    if (status != RS_OK) {
        cpu_close(backend);
        return status;
    }
    *out = backend;
    return RS_OK;
}

static rs_status cpu_alloc(rs_backend *backend, size_t bytes, const char *what, void **out)
{
    (void)backend;
    return rs_try_alloc(out, bytes, 1, what);
}

static void cpu_release(rs_backend *backend, void *buffer)
{
    (void)backend;
    free(buffer);
}

static rs_status cpu_copy(rs_backend *backend, void *to, const void *from, size_t bytes)
{
    (void)backend;
    memcpy(to, from, bytes);
    return RS_OK;
}

const rs_backend_ops rs_backend_cpu = {
    .kind = &rs_backend_kind_cpu,
    .devices = cpu_devices,
    .describe = cpu_describe,
    .memory = cpu_memory,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .upload = cpu_copy,
    .download = cpu_copy,
    .matrix_load = rs_cpu_matrix_load,
    .matrix_free = rs_cpu_matrix_free,
    .matrix_bytes = rs_cpu_matrix_bytes,
    .table_load = rs_cpu_table_load,
    .table_free = rs_cpu_table_free,
    .table_bytes = rs_cpu_table_bytes,
    .kv_open = rs_cpu_kv_open,
    .kv_free = rs_cpu_kv_free,
    .kv_bytes = rs_cpu_kv_bytes,
    .prepare = rs_cpu_prepare,
    .embed = rs_cpu_embed,
    .add_norm = rs_cpu_add_norm,
    .linear = rs_cpu_linear,
    .store_qkv = rs_cpu_store_qkv,
    .attention = rs_cpu_attention,
    .glu = rs_cpu_glu,
    .head = rs_cpu_head,
    .add = rs_cpu_add,
};
