#include "simt/driver_fake.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "kernels/cuda/driver.h"
#include "simt/fake_streams.h"

enum { POISONED = 64 << 20, MOST_BLOCKS = 64, LAUNCH_FAILED = 719 };

rs_fake rs_fake_now = {.devices = 1};

struct rs_cuda_event {
    rs_fake_mark *mark; /* NULL: not recorded, or in a graph */
    bool in_graph;
};

struct rs_cuda_graph {
    rs_fake_queue work;
};

typedef struct block {
    char *data;
    size_t bytes;
    bool pinned;
} block;

/* One device, opened once at a time. */
struct rs_cuda_context {
    bool open;
    block blocks[MOST_BLOCKS];
};
static rs_cuda_context device;

/* --- things that are opened --- */

static rs_status open_one(const char *what)
{
    rs_fake_now.opened++;
    if (rs_fake_now.fail_at > 0 && --rs_fake_now.fail_at == 0)
        return rs_fail(RS_NO_MEMORY, "fake CUDA: %s: told to fail", what);
    if (rs_fake_recording())
        return rs_fail(RS_INTERNAL, "fake CUDA: %s while work is recorded", what);
    rs_fake_now.live++;
    return RS_OK;
}

static void close_one(void)
{
    rs_fake_now.live--;
}

static rs_status within(bool pinned, const void *at, size_t bytes, const char *what)
{
    for (int i = 0; i < MOST_BLOCKS; i++) {
        const block *b = &device.blocks[i];
        if (b->data && b->pinned == pinned && (const char *)at >= b->data && (const char *)at + bytes <= b->data + b->bytes)
            return RS_OK;
    }
    return rs_fail(RS_INTERNAL, "fake CUDA: %s: %zu bytes at %p are not %s memory", what, bytes, at, pinned ? "pinned" : "device");
}

/* --- the device --- */

static rs_status fake_count(int *n, const char **why)
{
    *n = rs_fake_now.devices;
    *why = *n ? NULL : "the test says so";
    return RS_OK;
}

static rs_status fake_facts(int number, rs_cuda_facts *facts)
{
    const size_t total = (size_t)8 << 30;
    (void)number;
    *facts = (rs_cuda_facts){
        .name = "fibers", .software = "fake driver", .major = 8, .multiprocessors = 2, .uuid = {1}, .total_bytes = total, .free_bytes = total};
    for (int i = 0; i < MOST_BLOCKS; i++)
        if (device.blocks[i].data && !device.blocks[i].pinned)
            facts->free_bytes -= device.blocks[i].bytes;
    return RS_OK;
}

static const char *fake_reason(int code)
{
    return code == LAUNCH_FAILED ? "launch failure" : "an error";
}

static rs_status fake_open(int number, rs_cuda_context **out)
{
    (void)number;
    if (device.open)
        return rs_fail(RS_INTERNAL, "fake CUDA: a second context");
    RS_TRY(open_one("a context"));
    device = (rs_cuda_context){.open = true};
    rs_fake_streams_open();
    *out = &device;
    return RS_OK;
}

static void fake_close(rs_cuda_context *context)
{
    rs_fake_run_all();
    context->open = false;
    close_one();
}

static void *fake_stream(rs_cuda_context *context, rs_cuda_stream which)
{
    (void)context;
    return rs_fake_stream_handle((int)which);
}

/* --- memory --- */

static rs_status allocate(size_t bytes, bool pinned, const char *what, void **out)
{
    int i = 0;
    RS_TRY(open_one(what));
    while (i < MOST_BLOCKS && device.blocks[i].data)
        i++;
    char *data =
        i == MOST_BLOCKS ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
        close_one();
        return rs_fail(RS_NO_MEMORY, "fake CUDA: no %zu bytes for %s", bytes, what);
    }
    if (!pinned)
        memset(data, 0xff, bytes < POISONED ? bytes : POISONED);
    device.blocks[i] = (block){.data = data, .bytes = bytes, .pinned = pinned};
    *out = data;
    return RS_OK;
}

static void release(void *memory)
{
    if (!memory)
        return;
    rs_fake_run_all(); /* as CUDA does */
    for (int i = 0; i < MOST_BLOCKS; i++)
        if (device.blocks[i].data == memory) {
            munmap(memory, device.blocks[i].bytes);
            device.blocks[i].data = NULL;
            close_one();
            return;
        }
    abort(); /* not ours, or freed twice */
}

static rs_status fake_device_alloc(rs_cuda_context *context, size_t bytes, const char *what, void **out)
{
    (void)context;
    rs_fake_now.device_allocs++;
    return allocate(bytes, false, what, out);
}

static rs_status fake_pinned_alloc(rs_cuda_context *context, size_t bytes, const char *what, void **out)
{
    (void)context;
    return allocate(bytes, true, what, out);
}

static void fake_free(rs_cuda_context *context, void *memory)
{
    (void)context;
    release(memory);
}

typedef struct copy_args {
    void *to;
    const void *from;
    size_t bytes;
} copy_args;

static int run_copy(const void *args)
{
    const copy_args *copy = args;
    memcpy(copy->to, copy->from, copy->bytes);
    return 0;
}

static int run_upload(const void *args)
{
    rs_fake_now.uploads++;
    return run_copy(args);
}

static rs_status push_copy(rs_cuda_stream stream, int (*run)(const void *), void *to, const void *from, size_t bytes)
{
    if (rs_fake_recording())
        return rs_fail(RS_INTERNAL, "fake CUDA: a copy while work is recorded");
    rs_fake_push((int)stream, run, &(copy_args){.to = to, .from = from, .bytes = bytes}, sizeof(copy_args));
    return RS_OK;
}

static rs_status fake_upload(rs_cuda_context *context, rs_cuda_stream stream, void *to, const void *from, size_t bytes)
{
    (void)context;
    RS_TRY(within(true, from, bytes, "an upload's source"));
    RS_TRY(within(false, to, bytes, "an upload's target"));
    return push_copy(stream, run_upload, to, from, bytes);
}

static rs_status fake_download(rs_cuda_context *context, rs_cuda_stream stream, void *to, const void *from, size_t bytes)
{
    (void)context;
    RS_TRY(within(true, to, bytes, "a download's target"));
    RS_TRY(within(false, from, bytes, "a download's source"));
    return push_copy(stream, run_copy, to, from, bytes);
}

static rs_status failure(void)
{
    return rs_fake_code() ? rs_fail(RS_IO, "fake CUDA: %s (%d)", fake_reason(rs_fake_code()), rs_fake_code()) : RS_OK;
}

static rs_status fake_wait(rs_cuda_context *context, rs_cuda_stream stream)
{
    (void)context;
    if (rs_fake_recording())
        return rs_fail(RS_INTERNAL, "fake CUDA: the host waits while work is recorded");
    rs_fake_run((int)stream);
    return failure();
}

/* --- events --- */

static rs_status fake_event_open(rs_cuda_context *context, rs_cuda_event **out)
{
    (void)context;
    RS_TRY(open_one("an event"));
    *out = rs_alloc(1, sizeof **out);
    return RS_OK;
}

static void fake_event_close(rs_cuda_context *context, rs_cuda_event *event)
{
    (void)context;
    if (!event)
        return;
    rs_fake_mark_release(event->mark);
    free(event);
    close_one();
}

/* A recording is one queue in the order of the calls, so that nothing in it need wait. */
static rs_status fake_event_record(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream)
{
    (void)context;
    rs_fake_mark_release(event->mark);
    event->in_graph = rs_fake_recording();
    event->mark = event->in_graph ? NULL : rs_fake_mark_push((int)stream);
    return RS_OK;
}

static rs_status fake_event_after(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream)
{
    (void)context;
    if ((event->mark && rs_fake_recording()) || (event->in_graph && !rs_fake_recording()))
        return rs_fail(RS_INTERNAL, "fake CUDA: a stream waits for an event across a recording's border");
    if (event->mark)
        rs_fake_mark_follow((int)stream, event->mark);
    return RS_OK;
}

static rs_status fake_event_wait(rs_cuda_context *context, rs_cuda_event *event)
{
    (void)context;
    if (rs_fake_recording())
        return rs_fail(RS_INTERNAL, "fake CUDA: the host waits while work is recorded");
    if (event->mark)
        rs_fake_mark_run(event->mark);
    return failure();
}

/* --- graphs --- */

static rs_status fake_graph_begin(rs_cuda_context *context)
{
    (void)context;
    rs_fake_record();
    return RS_OK;
}

static rs_status fake_graph_end(rs_cuda_context *context, rs_cuda_graph **out)
{
    rs_fake_queue work = rs_fake_recorded();
    rs_status status = open_one("a graph");
    (void)context;
    if (status != RS_OK) {
        rs_fake_queue_free(&work);
        return status;
    }
    *out = rs_alloc(1, sizeof **out);
    (*out)->work = work;
    return RS_OK;
}

static int run_graph(const void *args)
{
    rs_fake_now.graph_launches++;
    return rs_fake_queue_run(&(*(rs_cuda_graph *const *)args)->work);
}

static rs_status fake_graph_launch(rs_cuda_context *context, rs_cuda_graph *graph)
{
    (void)context;
    rs_fake_push(RS_CUDA_COMPUTE, run_graph, &graph, sizeof graph);
    return RS_OK;
}

static void fake_graph_close(rs_cuda_context *context, rs_cuda_graph *graph)
{
    (void)context;
    rs_fake_run_all();
    rs_fake_queue_free(&graph->work);
    free(graph);
    close_one();
}

/* --- products --- */

struct rs_cuda_gemm {
    int64_t rows, cols;
    bool bf16;
};

typedef struct gemm_args {
    rs_cuda_gemm shape;
    const void *a, *w;
    int64_t a_stride, n, out_stride;
    float *out;
} gemm_args;

static rs_status fake_gemm_open(rs_cuda_context *context, int64_t rows, int64_t cols, bool bf16, void *scratch, size_t scratch_bytes,
                                rs_cuda_gemm **out)
{
    if (scratch_bytes) {
        RS_TRY(within(false, scratch, scratch_bytes, "scratch memory"));
        RS_TRY(fake_wait(context, RS_CUDA_COMPUTE));
        memset(scratch, 0xff, scratch_bytes < POISONED ? scratch_bytes : POISONED);
    }
    RS_TRY(open_one("a product"));
    *out = rs_alloc(1, sizeof **out);
    **out = (rs_cuda_gemm){.rows = rows, .cols = cols, .bf16 = bf16};
    return RS_OK;
}

static void fake_gemm_close(rs_cuda_context *context, rs_cuda_gemm *gemm)
{
    (void)context;
    free(gemm);
    close_one();
}

static float operand(const void *data, int64_t i, bool bf16)
{
    union {
        uint32_t bits;
        float value;
    } x;
    if (!bf16)
        return ((const float *)data)[i];
    x.bits = (uint32_t)((const uint16_t *)data)[i] << 16;
    return x.value;
}

static int run_gemm(const void *args)
{
    const gemm_args *g = args;
    rs_fake_now.products++;
    for (int64_t i = 0; i < g->n; i++)
        for (int64_t row = 0; row < g->shape.rows; row++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < g->shape.cols; k++)
                sum += operand(g->a, i * g->a_stride + k, g->shape.bf16) * operand(g->w, row * g->shape.cols + k, g->shape.bf16);
            g->out[i * g->out_stride + row] = sum;
        }
    return 0;
}

static rs_status fake_gemm(rs_cuda_context *context, rs_cuda_stream stream, rs_cuda_gemm *gemm, const void *a, int64_t a_stride,
                           const void *w, int64_t n, float *out, int64_t out_stride)
{
    (void)context;
    size_t element = gemm->bf16 ? 2 : 4;
    bool aligned =
        (uintptr_t)a % 16 == 0 && (uintptr_t)w % 16 == 0 && (size_t)a_stride * element % 16 == 0 && (size_t)gemm->cols * element % 16 == 0;
    bool out_aligned = gemm->rows % 4 != 0 || ((uintptr_t)out % 16 == 0 && out_stride % 4 == 0);
    if (!aligned || !out_aligned)
        return rs_fail(RS_INTERNAL, "fake CUDA: operands of a product are not aligned");
    RS_TRY(within(false, a, ((size_t)((n - 1) * a_stride + gemm->cols)) * element, "a product's activations"));
    RS_TRY(within(false, w, (size_t)(gemm->rows * gemm->cols) * element, "a product's weights"));
    RS_TRY(within(false, out, (size_t)((n - 1) * out_stride + gemm->rows) * sizeof(float), "a product's results"));
    if (rs_fake_recording())
        return rs_fail(RS_INTERNAL, "fake CUDA: a prefill's product in a recorded step");
    gemm_args args = {.shape = *gemm, .a = a, .a_stride = a_stride, .w = w, .n = n, .out = out, .out_stride = out_stride};
    rs_fake_push((int)stream, run_gemm, &args, sizeof args);
    return RS_OK;
}

static rs_status fake_tensor_map(rs_cuda_context *context, const void *base, int64_t head_dim, int64_t tokens, int64_t planes,
                                 int box_tokens, void *out)
{
    (void)context;
    (void)box_tokens;
    memset(out, 0, RS_CUDA_TENSOR_MAP_BYTES);
    return within(false, base, (size_t)(head_dim * tokens * planes) * 2, "a tensor map");
}

const rs_cuda_driver rs_cuda_driver_table = {
    .count = fake_count,
    .facts = fake_facts,
    .reason = fake_reason,
    .open = fake_open,
    .close = fake_close,
    .stream = fake_stream,
    .device_alloc = fake_device_alloc,
    .device_free = fake_free,
    .pinned_alloc = fake_pinned_alloc,
    .pinned_free = fake_free,
    .upload = fake_upload,
    .download = fake_download,
    .wait = fake_wait,
    .event_open = fake_event_open,
    .event_close = fake_event_close,
    .event_record = fake_event_record,
    .event_after = fake_event_after,
    .event_wait = fake_event_wait,
    .graph_begin = fake_graph_begin,
    .graph_end = fake_graph_end,
    .graph_launch = fake_graph_launch,
    .graph_close = fake_graph_close,
    .gemm_open = fake_gemm_open,
    .gemm_close = fake_gemm_close,
    .gemm = fake_gemm,
    .tensor_map = fake_tensor_map,
};
