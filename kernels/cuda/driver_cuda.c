/* driver.h over the CUDA runtime. libcuda is not linked, so that the module loads, and says what is missing, where there is no driver. */
#include "kernels/cuda/driver_cuda.h"

#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { LEAST_MAJOR = 8 }; /* of compute capabilities: bf16 on tensor cores, cp.async */

#if CUDART_VERSION < 12000
#error "CUDA 12.0 or newer is needed"
#endif

struct rs_cuda_event {
    cudaEvent_t event;
};

struct rs_cuda_graph {
    cudaGraphExec_t graph;
};

rs_status rs_cuda_check(cudaError_t code, const char *what)
{
    if (code == cudaSuccess)
        return RS_OK;
    return rs_fail(code == cudaErrorMemoryAllocation ? RS_NO_MEMORY : RS_IO, "CUDA: %s: %s (%d)", what, cudaGetErrorString(code),
                   (int)code);
}

/* --- devices --- */

static rs_status cuda_count(int *n, const char **why)
{
    int seen = 0;
    cudaError_t code = cudaGetDeviceCount(&seen);
    *n = 0;
    *why = cudaGetErrorString(code);
    if (code != cudaSuccess || seen == 0)
        return RS_OK;
    while (*n < seen) {
        int major = 0;
        if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, *n) != cudaSuccess || major < LEAST_MAJOR)
            break;
        ++*n;
    }
    *why = *n ? NULL : "the first device's compute capability is below 8.0";
    return RS_OK;
}

/* Free memory is told of the current device only. */
static rs_status memory_of(int device, rs_cuda_facts *facts)
{
    int current;
    RS_TRY(rs_cuda_check(cudaGetDevice(&current), "asking for the device"));
    RS_TRY(rs_cuda_check(cudaSetDevice(device), "choosing the device"));
    cudaError_t code = cudaMemGetInfo(&facts->free_bytes, &facts->total_bytes);
    RS_TRY(rs_cuda_check(cudaSetDevice(current), "choosing the device"));
    return rs_cuda_check(code, "asking for free memory");
}

static rs_status cuda_facts(int device, rs_cuda_facts *facts)
{
    struct cudaDeviceProp properties;
    int driver = 0, runtime = 0;
    size_t blas = cublasLtGetVersion();
    *facts = (rs_cuda_facts){0};
    RS_TRY(rs_cuda_check(cudaGetDeviceProperties(&properties, device), "asking for the device's properties"));
    RS_TRY(rs_cuda_check(cudaDriverGetVersion(&driver), "asking for the driver's version"));
    RS_TRY(rs_cuda_check(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version"));
    snprintf(facts->name, sizeof facts->name, "%.90s", properties.name);
    snprintf(facts->software, sizeof facts->software, "driver %d.%d, runtime %d.%d, cuBLASLt %zu.%zu.%zu", driver / 1000,
             driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, blas / 10000, blas / 100 % 100, blas % 100);
    facts->major = properties.major;
    facts->minor = properties.minor;
    facts->multiprocessors = properties.multiProcessorCount;
    memcpy(facts->uuid, properties.uuid.bytes, sizeof facts->uuid);
#ifdef RS_CUDA_WITH_HOPPER
    facts->hopper_kernels = properties.major == 9 && properties.minor == 0;
#endif
    return memory_of(device, facts);
}

static const char *cuda_reason(int code)
{
    return cudaGetErrorString((cudaError_t)code);
}

/* --- context --- */

static void cuda_close(rs_cuda_context *context)
{
    if (!context)
        return;
    cudaFree(context->workspace);
    if (context->blas)
        cublasLtDestroy(context->blas);
    for (int i = 0; i < RS_CUDA_STREAMS; i++)
        if (context->streams[i])
            cudaStreamDestroy(context->streams[i]);
    free(context);
}

/* Collectives come first where they compete: other ranks wait for them. */
static rs_status open_streams(rs_cuda_context *context)
{
    int least, greatest;
    RS_TRY(rs_cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for priorities"));
    for (int i = 0; i < RS_CUDA_STREAMS; i++)
        RS_TRY(
            rs_cuda_check(cudaStreamCreateWithPriority(&context->streams[i], cudaStreamNonBlocking, i == RS_CUDA_SIDE ? greatest : least),
                          "opening a stream"));
    return RS_OK;
}

static rs_status cuda_open(int device, rs_cuda_context **out)
{
    rs_status status;
    rs_cuda_context *context = rs_alloc(1, sizeof *context);
    context->device = device;
    RS_TRY_OUT(rs_cuda_check(cudaSetDevice(device), "choosing the device"));
    RS_TRY_OUT(open_streams(context));
    if (cublasLtCreate(&context->blas) != CUBLAS_STATUS_SUCCESS) {
        status = rs_fail(RS_IO, "cuBLASLt cannot be opened");
        goto out;
    }
    RS_TRY_OUT(rs_cuda_check(cudaMalloc(&context->workspace, RS_CUDA_WORKSPACE), "allocating a workspace for matrix products"));
    *out = context;
    return RS_OK;
out:
    cuda_close(context);
    return status;
}

static void *cuda_stream(rs_cuda_context *context, rs_cuda_stream which)
{
    return context->streams[which];
}

/* --- memory --- */

static rs_status cuda_device_alloc(rs_cuda_context *context, size_t bytes, const char *what, void **out)
{
    (void)context;
    cudaError_t code = cudaMalloc(out, bytes);
    if (code == cudaSuccess)
        return RS_OK;
    return rs_fail(RS_NO_MEMORY, "CUDA: %zu MiB of device memory for %s: %s", bytes >> 20, what, cudaGetErrorString(code));
}

static void cuda_device_free(rs_cuda_context *context, void *memory)
{
    (void)context;
    cudaFree(memory);
}

static rs_status cuda_pinned_alloc(rs_cuda_context *context, size_t bytes, const char *what, void **out)
{
    (void)context;
    cudaError_t code = cudaHostAlloc(out, bytes, cudaHostAllocDefault);
    if (code == cudaSuccess)
        return RS_OK;
    return rs_fail(RS_NO_MEMORY, "CUDA: %zu KiB of pinned memory for %s: %s", bytes >> 10, what, cudaGetErrorString(code));
}

static void cuda_pinned_free(rs_cuda_context *context, void *memory)
{
    (void)context;
    cudaFreeHost(memory);
}

static rs_status cuda_upload(rs_cuda_context *context, rs_cuda_stream stream, void *to, const void *from, size_t bytes)
{
    return rs_cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, context->streams[stream]), "copying to the device");
}

static rs_status cuda_download(rs_cuda_context *context, rs_cuda_stream stream, void *to, const void *from, size_t bytes)
{
    return rs_cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, context->streams[stream]), "copying from the device");
}

static rs_status cuda_wait(rs_cuda_context *context, rs_cuda_stream stream)
{
    return rs_cuda_check(cudaStreamSynchronize(context->streams[stream]), "waiting for the device");
}

/* --- events --- */

static rs_status cuda_event_open(rs_cuda_context *context, rs_cuda_event **out)
{
    rs_cuda_event *event = rs_alloc(1, sizeof *event);
    (void)context;
    rs_status status = rs_cuda_check(cudaEventCreateWithFlags(&event->event, cudaEventDisableTiming), "opening an event");
    *out = status == RS_OK ? event : NULL;
    if (status != RS_OK)
        free(event);
    return status;
}

static void cuda_event_close(rs_cuda_context *context, rs_cuda_event *event)
{
    (void)context;
    if (!event)
        return;
    cudaEventDestroy(event->event);
    free(event);
}

static rs_status cuda_event_record(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream)
{
    return rs_cuda_check(cudaEventRecord(event->event, context->streams[stream]), "recording an event");
}

static rs_status cuda_event_after(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream)
{
    return rs_cuda_check(cudaStreamWaitEvent(context->streams[stream], event->event, 0), "putting a stream behind an event");
}

static rs_status cuda_event_wait(rs_cuda_context *context, rs_cuda_event *event)
{
    (void)context;
    return rs_cuda_check(cudaEventSynchronize(event->event), "waiting for an event");
}

/* --- graphs --- */

static rs_status cuda_graph_begin(rs_cuda_context *context)
{
    return rs_cuda_check(cudaStreamBeginCapture(context->streams[RS_CUDA_COMPUTE], cudaStreamCaptureModeThreadLocal),
                         "beginning to record a step");
}

static rs_status cuda_graph_end(rs_cuda_context *context, rs_cuda_graph **out)
{
    cudaGraph_t recorded = NULL;
    cudaGraphExec_t graph = NULL;
    RS_TRY(rs_cuda_check(cudaStreamEndCapture(context->streams[RS_CUDA_COMPUTE], &recorded), "recording a step"));
    rs_status status = rs_cuda_check(cudaGraphInstantiate(&graph, recorded, 0), "making a graph of a step");
    cudaGraphDestroy(recorded);
    RS_TRY(status);
    *out = rs_alloc(1, sizeof **out);
    (*out)->graph = graph;
    return RS_OK;
}

static rs_status cuda_graph_launch(rs_cuda_context *context, rs_cuda_graph *graph)
{
    return rs_cuda_check(cudaGraphLaunch(graph->graph, context->streams[RS_CUDA_COMPUTE]), "launching a recorded step");
}

static void cuda_graph_close(rs_cuda_context *context, rs_cuda_graph *graph)
{
    (void)context;
    cudaGraphExecDestroy(graph->graph); /* one that runs is freed when it is done */
    free(graph);
}

/* --- tensor maps --- */

typedef CUresult (*encode_tiled)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *,
                                 const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill);

static rs_status find_encode(encode_tiled *out)
{
    enum cudaDriverEntryPointQueryResult found;
    void *address = NULL;
#if CUDART_VERSION >= 12050
    cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address, 12000, cudaEnableDefault, &found);
#else
    cudaError_t code = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &address, cudaEnableDefault, &found);
#endif
    RS_TRY(rs_cuda_check(code, "looking for cuTensorMapEncodeTiled"));
    if (found != cudaDriverEntryPointSuccess)
        return rs_fail(RS_IO, "CUDA: this driver has no cuTensorMapEncodeTiled");
    memcpy(out, &address, sizeof *out);
    return RS_OK;
}

static rs_status cuda_tensor_map(rs_cuda_context *context, const void *base, int64_t head_dim, int64_t tokens, int64_t planes,
                                 int box_tokens, void *out)
{
    encode_tiled encode = NULL;
    CUtensorMap map;
    cuuint64_t sizes[3] = {(cuuint64_t)head_dim, (cuuint64_t)tokens, (cuuint64_t)planes};
    cuuint64_t strides[2] = {(cuuint64_t)head_dim * 2, (cuuint64_t)(head_dim * tokens) * 2}; /* bytes, of all but the innermost */
    cuuint32_t box[3] = {64, (cuuint32_t)box_tokens, 1}, steps[3] = {1, 1, 1};
    (void)context;
    _Static_assert(sizeof map == RS_CUDA_TENSOR_MAP_BYTES, "driver.h knows the size");
    RS_TRY(find_encode(&encode));
    CUresult code = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, (void *)(uintptr_t)base, sizes, strides, box, steps,
                           CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                           CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (code != CUDA_SUCCESS)
        return rs_fail(RS_IO, "CUDA: a tensor map of [%lld, %lld, %lld] by %d: error %d", (long long)planes, (long long)tokens,
                       (long long)head_dim, box_tokens, (int)code);
    memcpy(out, &map, sizeof map);
    return RS_OK;
}

const rs_cuda_driver rs_cuda_driver_table = {
    .count = cuda_count,
    .facts = cuda_facts,
    .reason = cuda_reason,
    .open = cuda_open,
    .close = cuda_close,
    .stream = cuda_stream,
    .device_alloc = cuda_device_alloc,
    .device_free = cuda_device_free,
    .pinned_alloc = cuda_pinned_alloc,
    .pinned_free = cuda_pinned_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .wait = cuda_wait,
    .event_open = cuda_event_open,
    .event_close = cuda_event_close,
    .event_record = cuda_event_record,
    .event_after = cuda_event_after,
    .event_wait = cuda_event_wait,
    .graph_begin = cuda_graph_begin,
    .graph_end = cuda_graph_end,
    .graph_launch = cuda_graph_launch,
    .graph_close = cuda_graph_close,
    .gemm_open = rs_cuda_gemm_open,
    .gemm_close = rs_cuda_gemm_close,
    .gemm = rs_cuda_gemm_run,
    .tensor_map = cuda_tensor_map,
};
