/* The CUDA backend: its life, its memory, its streams, and the table of its operations. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"
#include "version.h"

enum {
    RESERVE_MIB = 512, /* left to CUDA itself: kernels that are loaded when first launched, and what the driver adds as it goes */
    RESERVE_PERCENT = 2,
    OWN_SHARE = 32 /* the arena is this part larger than asked: workspaces, tables, logits and what does not fit between caches */
};

static rs_backend *open_backends; /* of this process, for what `memory` counts as free */

/* --- memory --- */

rs_status rs_cuda_take(rs_backend *b, size_t bytes, const char *what, void **out)
{
    size_t offset;
    RS_TRY(rs_cuda_arena_take(&b->arena, bytes, what, &offset));
    *out = b->memory + offset;
    return RS_OK;
}

void rs_cuda_give(rs_backend *b, void *memory)
{
    if (memory)
        rs_cuda_arena_give(&b->arena, (size_t)((char *)memory - b->memory));
}

rs_status rs_cuda_grow(rs_backend *b, rs_cuda_buffer *buffer, size_t bytes, const char *what)
{
    if (bytes <= buffer->bytes)
        return RS_OK;
    if (b->recording)
        return rs_fail(RS_INTERNAL, "%s of %zu bytes: a recorded step wants more than the one before it", what, bytes);
    rs_cuda_graphs_forget(b);
    rs_cuda_give(b, buffer->data);
    *buffer = (rs_cuda_buffer){0};
    RS_TRY(rs_cuda_take(b, bytes, what, (void **)&buffer->data));
    buffer->bytes = bytes;
    return RS_OK;
}

static void cuda_release(rs_backend *b, void *buffer)
{
    if (buffer)
        rs_cuda_graphs_forget(b);
    rs_cuda_give(b, buffer);
}

/* What may be asked for, so that an arena of with_own's size fits. */
static size_t usable(const rs_cuda_facts *facts)
{
    size_t reserve = ((size_t)RESERVE_MIB << 20) + facts->total_bytes / 100 * RESERVE_PERCENT;
    return facts->free_bytes > reserve ? (facts->free_bytes - reserve) / (OWN_SHARE + 1) * OWN_SHARE : 0;
}

static size_t with_own(size_t asked)
{
    return asked + asked / OWN_SHARE;
}

static rs_status cuda_memory(int device, rs_device_memory *out)
{
    rs_cuda_facts facts;
    RS_TRY(rs_cuda_driver_table.facts(device, &facts));
    *out = (rs_device_memory){.total_bytes = facts.total_bytes, .free_bytes = usable(&facts)};
    memcpy(out->id, facts.uuid, sizeof out->id);
    for (const rs_backend *b = open_backends; b; b = b->next)
        if (b->device == device)
            out->free_bytes += b->arena.free;
    return RS_OK;
}

/* --- streams --- */

void *rs_cuda_stream_of(const rs_backend *b)
{
    return b->driver->stream(b->context, b->current);
}

rs_status rs_cuda_launched(const rs_backend *b, int code, const char *what)
{
    return code ? rs_fail(RS_IO, "CUDA: %s: %s (%d)", what, b->driver->reason(code), code) : RS_OK;
}

static void *cuda_stream(rs_backend *b)
{
    return rs_cuda_stream_of(b);
}

static rs_status cuda_overlap_begin(rs_backend *b)
{
    RS_TRY(b->driver->event_record(b->context, b->forked, RS_CUDA_COMPUTE));
    RS_TRY(b->driver->event_after(b->context, b->forked, RS_CUDA_SIDE));
    b->current = RS_CUDA_SIDE;
    return RS_OK;
}

static rs_status cuda_overlap_end(rs_backend *b)
{
    b->current = RS_CUDA_COMPUTE;
    b->overlapped = true;
    return b->driver->event_record(b->context, b->joined, RS_CUDA_SIDE);
}

/* An event that was recorded in a graph, or before one, may not be waited for on the other side of its border. */
static rs_status cuda_overlap_wait(rs_backend *b)
{
    if (!b->overlapped)
        return RS_OK;
    b->overlapped = false;
    return b->driver->event_after(b->context, b->joined, RS_CUDA_COMPUTE);
}

/* --- facts --- */

static rs_status cuda_devices(int *n, const char **why)
{
    return rs_cuda_driver_table.count(n, why);
}

static const char *cuda_describe(int device)
{
    static _Thread_local char text[384];
    rs_cuda_facts facts;
    if (rs_cuda_driver_table.facts(device, &facts) != RS_OK)
        return "a CUDA device that does not answer";
    snprintf(text, sizeof text, "%s, compute capability %d.%d, %d multiprocessors, %.1f GiB; %s attention; %s", facts.name, facts.major,
             facts.minor, facts.multiprocessors, (double)facts.total_bytes / (1 << 30), facts.hopper_kernels ? "Hopper" : "mma",
             facts.software);
    return text;
}

/* --- life --- */

static rs_status check(const rs_backend_shape *shape, const rs_backend_options *options)
{
    int n;
    const char *why;
    if (shape->head_dim < 2 || shape->head_dim % 2 || shape->head_dim > 2 * RS_MAX_PAIRS)
        return rs_fail(RS_INVALID, "head_dim is %d: must be even and at most %d", shape->head_dim, 2 * RS_MAX_PAIRS);
    if (options->dtype != RS_F32 && options->dtype != RS_BF16)
        return rs_fail(RS_INVALID, "CUDA computes in fp32 or bf16 only");
    RS_TRY(cuda_devices(&n, &why));
    if (n == 0)
        return rs_fail(RS_INVALID, "no CUDA device: %s", why);
    if (options->device < 0 || options->device >= n)
        return rs_fail(RS_INVALID, "CUDA device %d: this process sees %d", options->device, n);
    return RS_OK;
}

/* One allocation for the backend's life. */
static rs_status open_arena(rs_backend *b, size_t asked)
{
    size_t bytes = with_own(asked ? asked : usable(&b->facts));
    if (bytes == 0)
        return rs_fail(RS_NO_MEMORY, "%s: %zu MiB are free of %zu, too little to compute with", b->facts.name, b->facts.free_bytes >> 20,
                       b->facts.total_bytes >> 20);
    RS_TRY(b->driver->device_alloc(b->context, bytes, "all of the backend's buffers", (void **)&b->memory));
    rs_cuda_arena_open(&b->arena, bytes);
    return RS_OK;
}

/* What kernels want to know of the heads. */
static rs_status send_heads(rs_backend *b, const rs_backend_shape *shape)
{
    rs_status status;
    size_t n = (size_t)shape->heads;
    int32_t *kv_of_head = rs_alloc(n, sizeof *kv_of_head);
    float *slopes = rs_alloc(n, sizeof *slopes);
    for (int head = 0; head < shape->heads; head++) {
        kv_of_head[head] = shape->kv_of_head[head];
        slopes[head] = (float)exp2(-8.0 * (shape->first_head + head + 1) / shape->all_heads);
    }
    RS_TRY_OUT(rs_cuda_take(b, n * sizeof *kv_of_head, "heads", (void **)&b->kv_of_head));
    RS_TRY_OUT(rs_cuda_take(b, n * sizeof *slopes, "heads", (void **)&b->slopes));
    RS_TRY_OUT(rs_cuda_upload(b, b->kv_of_head, kv_of_head, n * sizeof *kv_of_head));
    status = rs_cuda_upload(b, b->slopes, slopes, n * sizeof *slopes);
out:
    free(kv_of_head);
    free(slopes);
    return status;
}

static rs_status open_parts(rs_backend *b, const rs_backend_shape *shape, const rs_backend_options *options)
{
    RS_TRY(b->driver->open(b->device, &b->context));
    RS_TRY(b->driver->facts(b->device, &b->facts));
    RS_TRY(open_arena(b, options->arena_bytes));
    RS_TRY(b->driver->event_open(b->context, &b->forked));
    RS_TRY(b->driver->event_open(b->context, &b->joined));
    RS_TRY(b->driver->event_open(b->context, &b->crossed));
    RS_TRY(rs_cuda_transfers_open(b));
    RS_TRY(send_heads(b, shape));
    RS_TRY(rs_cuda_stages_open(b));
    return rs_cuda_head_open(b);
}

static void cuda_close(rs_backend *b)
{
    if (!b)
        return;
    for (rs_backend **at = &open_backends; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    if (b->context) {
        rs_cuda_abandon(b);
        for (int stream = 0; stream < RS_CUDA_STREAMS; stream++)
            b->driver->wait(b->context, (rs_cuda_stream)stream);
        rs_cuda_graphs_forget(b);
        rs_cuda_products_close(b);
        rs_cuda_head_close(b);
        rs_cuda_stages_close(b);
        rs_cuda_transfers_close(b);
        b->driver->event_close(b->context, b->forked);
        b->driver->event_close(b->context, b->joined);
        b->driver->event_close(b->context, b->crossed);
        b->driver->device_free(b->context, b->memory);
        b->driver->close(b->context);
    }
    rs_cuda_arena_close(&b->arena);
    free(b);
}

static rs_status cuda_open(const rs_backend_shape *shape, const rs_backend_options *options, rs_backend **out)
{
    RS_TRY(check(shape, options));
    rs_backend *b = rs_alloc(1, sizeof *b);
    *b = (rs_backend){.driver = &rs_cuda_driver_table,
                      .device = options->device,
                      .shape = *shape,
                      .bf16 = options->dtype == RS_BF16,
                      .act = options->dtype == RS_BF16 ? 2 : 4,
                      .n_threads = options->n_threads,
                      .max_rows = options->max_rows};
    b->shape.kv_of_head = NULL; /* the caller's; the device has its own */
    rs_status status = open_parts(b, shape, options);
    if (status != RS_OK) {
        cuda_close(b);
        return status;
    }
    b->next = open_backends;
    open_backends = b;
    *out = b;
    return RS_OK;
}

#define EXPORTED __attribute__((visibility("default"))) /* what kernels/backend.c looks for in the module */

EXPORTED extern const char rs_backend_cuda_build[];
const char rs_backend_cuda_build[] = RS_VERSION " " RS_COMMIT;

EXPORTED extern const rs_backend_ops rs_backend_cuda;
const rs_backend_ops rs_backend_cuda = {
    .kind = &rs_backend_kind_cuda,
    .devices = cuda_devices,
    .describe = cuda_describe,
    .memory = cuda_memory,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = rs_cuda_take,
    .release = cuda_release,
    .upload = rs_cuda_upload,
    .download = rs_cuda_download,
    .matrix_load = rs_cuda_matrix_load,
    .matrix_free = rs_cuda_matrix_free,
    .matrix_bytes = rs_cuda_matrix_bytes,
    .table_load = rs_cuda_table_load,
    .table_free = rs_cuda_table_free,
    .table_bytes = rs_cuda_table_bytes,
    .kv_open = rs_cuda_kv_open,
    .kv_free = rs_cuda_kv_free,
    .kv_bytes = rs_cuda_kv_bytes,
    .prepare = rs_cuda_prepare,
    .replay = rs_cuda_replay,
    .recorded = rs_cuda_recorded,
    .embed = rs_cuda_embed_ids,
    .add_norm = rs_cuda_norm,
    .linear = rs_cuda_linear,
    .store_qkv = rs_cuda_store_qkv,
    .attention = rs_cuda_attention,
    .glu = rs_cuda_gated,
    .head = rs_cuda_head,
    .add = rs_cuda_sum,
    .overlap_begin = cuda_overlap_begin,
    .overlap_end = cuda_overlap_end,
    .overlap_wait = cuda_overlap_wait,
    .stream = cuda_stream,
};
