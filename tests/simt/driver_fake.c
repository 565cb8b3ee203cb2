#include "simt/driver_fake.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "kernels/cuda/driver.h"
#include "kernels/cuda/kernels.h"

enum { POISONED = 64 << 20, MOST_BLOCKS = 64, LAUNCH_FAILED = 719 };

rs_fake rs_fake_now = {.devices = 1};

/* Where a stream stood when an event was recorded. */
typedef struct mark {
    bool passed;
    int stream, holders;
} mark;

struct rs_cuda_event {
    mark *mark; /* NULL: not recorded, or in a graph */
};

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

typedef struct copy_args {
    void *to;
    const void *from;
    size_t bytes;
} copy_args;

/* One thing queued: what runs, and its arguments as they were. */
typedef struct work {
    struct work *next;
    int (*run)(const struct work *);
    union {
        rs_cuda_embed_args embed;
        rs_cuda_norm_args add_norm;
        rs_cuda_glu_args glu;
        rs_cuda_table_args rope_table;
        rs_cuda_store_args store;
        rs_cuda_attention_args attention;
        rs_cuda_skinny_args skinny;
        rs_cuda_pad_args pad;
        rs_cuda_head_args head_reduce;
        gemm_args gemm;
        copy_args copy;
        struct {
            float *a;
            const float *b;
            int64_t n;
        } add;
        mark *mark;
        rs_cuda_graph *graph;
    } args;
} work;

typedef struct queue {
    work *first, **last;
} queue;

struct rs_cuda_graph {
    queue work;
};

typedef struct block {
    char *data;
    size_t bytes;
    bool pinned;
} block;

/* One device, opened once at a time. */
struct rs_cuda_context {
    bool open;
    queue streams[RS_CUDA_STREAMS];
    int code; /* of the first launch that failed */
    bool recording;
    queue recorded;
    block blocks[MOST_BLOCKS];
};
static rs_cuda_context device;

/* --- things that are opened --- */

static rs_status open_one(const char *what)
{
    rs_fake_now.opened++;
    if (rs_fake_now.fail_at > 0 && --rs_fake_now.fail_at == 0)
        return rs_fail(RS_NO_MEMORY, "fake CUDA: %s: told to fail", what);
    if (device.recording)
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

/* --- queues --- */

static void release_mark(mark *m)
{
    if (m && --m->holders == 0)
        free(m);
}

static void run_first(int stream)
{
    queue *q = &device.streams[stream];
    work *w = q->first;
    int code = w->run(w);
    device.code = device.code ? device.code : code;
    q->first = w->next;
    if (!q->first)
        q->last = &q->first;
    free(w);
}

static void run_all(void)
{
    for (int i = 0; i < RS_CUDA_STREAMS; i++)
        while (device.streams[i].first)
            run_first(i);
}

static void run_to(mark *m)
{
    while (!m->passed)
        run_first(m->stream);
}

static work *push(int stream, int (*run)(const work *))
{
    queue *q = device.recording ? &device.recorded : &device.streams[stream];
    work *w = rs_alloc(1, sizeof *w);
    w->run = run;
    *q->last = w;
    q->last = &w->next;
    return w;
}

/* After a push is complete. */
static void pushed(void)
{
    if (rs_fake_now.eager && !device.recording)
        run_all();
}

static int is_stream(const void *stream)
{
    const queue *q = stream;
    return device.open && q >= device.streams && q < device.streams + RS_CUDA_STREAMS;
}

static int stream_number(const void *stream)
{
    return (int)((const queue *)stream - device.streams);
}

/* --- launches --- */

#define WRAP(name, field, type)                                                                                                            \
    int __real_rs_cuda_##name(void *stream, const type *args);                                                                             \
    int __wrap_rs_cuda_##name(void *stream, const type *args);                                                                             \
    static int run_##name(const work *w)                                                                                                   \
    {                                                                                                                                      \
        rs_fake_now.kernels++;                                                                                                             \
        return __real_rs_cuda_##name(NULL, &w->args.field);                                                                                \
    }                                                                                                                                      \
    int __wrap_rs_cuda_##name(void *stream, const type *args)                                                                              \
    {                                                                                                                                      \
        if (!is_stream(stream))                                                                                                            \
            return __real_rs_cuda_##name(stream, args);                                                                                    \
        push(stream_number(stream), run_##name)->args.field = *args;                                                                       \
        pushed();                                                                                                                          \
        return 0;                                                                                                                          \
    }

WRAP(embed, embed, rs_cuda_embed_args)
WRAP(add_norm, add_norm, rs_cuda_norm_args)
WRAP(glu, glu, rs_cuda_glu_args)
WRAP(rope_table, rope_table, rs_cuda_table_args)
WRAP(store, store, rs_cuda_store_args)
WRAP(attend_general, attention, rs_cuda_attention_args)
WRAP(attend_mma, attention, rs_cuda_attention_args)
WRAP(attend_decode, attention, rs_cuda_attention_args)
WRAP(skinny, skinny, rs_cuda_skinny_args)
WRAP(pad, pad, rs_cuda_pad_args)
WRAP(head_reduce, head_reduce, rs_cuda_head_args)

int __real_rs_cuda_add(void *stream, float *a, const float *b, int64_t n);
int __wrap_rs_cuda_add(void *stream, float *a, const float *b, int64_t n);

static int run_add(const work *w)
{
    rs_fake_now.kernels++;
    return __real_rs_cuda_add(NULL, w->args.add.a, w->args.add.b, w->args.add.n);
}

int __wrap_rs_cuda_add(void *stream, float *a, const float *b, int64_t n)
{
    if (!is_stream(stream))
        return __real_rs_cuda_add(stream, a, b, n);
    work *w = push(stream_number(stream), run_add);
    w->args.add.a = a;
    w->args.add.b = b;
    w->args.add.n = n;
    pushed();
    return 0;
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
        .name = "fibers", .software = "fake driver", .major = 8, .multiprocessors = 2, .total_bytes = total, .free_bytes = total};
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
    for (int i = 0; i < RS_CUDA_STREAMS; i++)
        device.streams[i].last = &device.streams[i].first;
    *out = &device;
    return RS_OK;
}

static void fake_close(rs_cuda_context *context)
{
    run_all();
    context->open = false;
    close_one();
}

static void *fake_stream(rs_cuda_context *context, rs_cuda_stream which)
{
    return &context->streams[which];
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
    run_all(); /* as CUDA does */
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

static int run_copy(const work *w)
{
    memcpy(w->args.copy.to, w->args.copy.from, w->args.copy.bytes);
    return 0;
}

static int run_upload(const work *w)
{
    rs_fake_now.uploads++;
    return run_copy(w);
}

static rs_status push_copy(rs_cuda_stream stream, int (*run)(const work *), void *to, const void *from, size_t bytes)
{
    if (device.recording)
        return rs_fail(RS_INTERNAL, "fake CUDA: a copy while work is recorded");
    push((int)stream, run)->args.copy = (copy_args){.to = to, .from = from, .bytes = bytes};
    pushed();
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
    return device.code ? rs_fail(RS_IO, "fake CUDA: %s (%d)", fake_reason(device.code), device.code) : RS_OK;
}

static rs_status fake_wait(rs_cuda_context *context, rs_cuda_stream stream)
{
    if (context->recording)
        return rs_fail(RS_INTERNAL, "fake CUDA: the host waits while work is recorded");
    while (context->streams[stream].first)
        run_first((int)stream);
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
    release_mark(event->mark);
    free(event);
    close_one();
}

static int run_record(const work *w)
{
    w->args.mark->passed = true;
    release_mark(w->args.mark);
    return 0;
}

static int run_after(const work *w)
{
    run_to(w->args.mark);
    release_mark(w->args.mark);
    return 0;
}

/* A recording is one queue in the order of the calls, so that nothing in it need wait. */
static rs_status fake_event_record(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream)
{
    release_mark(event->mark);
    event->mark = NULL;
    if (context->recording)
        return RS_OK;
    event->mark = rs_alloc(1, sizeof *event->mark);
    *event->mark = (mark){.stream = (int)stream, .holders = 2};
    push((int)stream, run_record)->args.mark = event->mark;
    pushed();
    return RS_OK;
}

static rs_status fake_event_after(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream)
{
    if (context->recording || !event->mark)
        return RS_OK;
    event->mark->holders++;
    push((int)stream, run_after)->args.mark = event->mark;
    pushed();
    return RS_OK;
}

static rs_status fake_event_wait(rs_cuda_context *context, rs_cuda_event *event)
{
    if (context->recording)
        return rs_fail(RS_INTERNAL, "fake CUDA: the host waits while work is recorded");
    if (event->mark)
        run_to(event->mark);
    return failure();
}

/* --- graphs --- */

static rs_status fake_graph_begin(rs_cuda_context *context)
{
    context->recording = true;
    context->recorded = (queue){0};
    context->recorded.last = &context->recorded.first;
    return RS_OK;
}

static rs_status fake_graph_end(rs_cuda_context *context, rs_cuda_graph **out)
{
    context->recording = false;
    RS_TRY(open_one("a graph"));
    *out = rs_alloc(1, sizeof **out);
    (*out)->work = context->recorded;
    return RS_OK;
}

static int run_graph(const work *w)
{
    int code = 0;
    rs_fake_now.graph_launches++;
    for (const work *each = w->args.graph->work.first; each && !code; each = each->next)
        code = each->run(each);
    return code;
}

static rs_status fake_graph_launch(rs_cuda_context *context, rs_cuda_graph *graph)
{
    (void)context;
    push(RS_CUDA_COMPUTE, run_graph)->args.graph = graph;
    pushed();
    return RS_OK;
}

static void fake_graph_close(rs_cuda_context *context, rs_cuda_graph *graph)
{
    (void)context;
    run_all();
    for (work *w = graph->work.first, *next; w; w = next) {
        next = w->next;
        free(w);
    }
    free(graph);
    close_one();
}

/* --- products --- */

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

static int run_gemm(const work *w)
{
    const gemm_args *g = &w->args.gemm;
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
    size_t element = gemm->bf16 ? 2 : 4;
    bool aligned =
        (uintptr_t)a % 16 == 0 && (uintptr_t)w % 16 == 0 && (size_t)a_stride * element % 16 == 0 && (size_t)gemm->cols * element % 16 == 0;
    bool out_aligned = gemm->rows % 4 != 0 || ((uintptr_t)out % 16 == 0 && out_stride % 4 == 0);
    if (!aligned || !out_aligned)
        return rs_fail(RS_INTERNAL, "fake CUDA: operands of a product are not aligned");
    RS_TRY(within(false, a, ((size_t)((n - 1) * a_stride + gemm->cols)) * element, "a product's activations"));
    RS_TRY(within(false, w, (size_t)(gemm->rows * gemm->cols) * element, "a product's weights"));
    RS_TRY(within(false, out, (size_t)((n - 1) * out_stride + gemm->rows) * sizeof(float), "a product's results"));
    if (context->recording)
        return rs_fail(RS_INTERNAL, "fake CUDA: a prefill's product in a recorded step");
    push((int)stream, run_gemm)->args.gemm =
        (gemm_args){.shape = *gemm, .a = a, .a_stride = a_stride, .w = w, .n = n, .out = out, .out_stride = out_stride};
    pushed();
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
