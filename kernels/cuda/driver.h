/* What the host side of the CUDA backend asks of CUDA, as a table: driver_cuda.c calls the toolkit; the tests put a fake below the same
 * host code (tests/simt/driver_fake.c), which counts, checks and fails on demand. Every function returns an rs_status whose message names
 * the call, the size and CUDA's reason. One context a process and device; its functions are called from one thread. */
#ifndef RS_CUDA_DRIVER_H
#define RS_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rs_cuda_context rs_cuda_context; /* one device, opened */
typedef struct rs_cuda_event rs_cuda_event;
typedef struct rs_cuda_graph rs_cuda_graph; /* recorded work, instantiated */
typedef struct rs_cuda_gemm rs_cuda_gemm;   /* one shape class of products: its algorithms, chosen once */

enum { RS_CUDA_TENSOR_MAP_BYTES = 128 }; /* sizeof(CUtensorMap) */

/* COMPUTE: everything by default. SIDE: collectives that overlap it. COPY: uploads of weights. */
typedef enum rs_cuda_stream { RS_CUDA_COMPUTE, RS_CUDA_SIDE, RS_CUDA_COPY, RS_CUDA_STREAMS } rs_cuda_stream;

typedef struct rs_cuda_facts {
    char name[96];     /* "NVIDIA H200" */
    char software[96]; /* "driver 13.0, runtime 13.0, cuBLASLt 13.1.0" */
    int major, minor;  /* compute capability */
    int multiprocessors;
    unsigned char uuid[16];
    size_t total_bytes, free_bytes; /* now */
    bool hopper_kernels;            /* compute capability 9.0, and built with them */
} rs_cuda_facts;

typedef struct rs_cuda_driver {
    /* Devices that this process sees; 0 and RS_OK where there is no driver or no device; *why then says so (static). */
    rs_status (*count)(int *n, const char **why);
    rs_status (*facts)(int device, rs_cuda_facts *facts);
    const char *(*reason)(int code); /* what a code that a launch function of kernels.h returned means; static */

    rs_status (*open)(int device, rs_cuda_context **out);
    void (*close)(rs_cuda_context *context);
    void *(*stream)(rs_cuda_context *context, rs_cuda_stream which); /* cudaStream_t */

    rs_status (*device_alloc)(rs_cuda_context *context, size_t bytes, const char *what, void **out);
    void (*device_free)(rs_cuda_context *context, void *memory);
    rs_status (*pinned_alloc)(rs_cuda_context *context, size_t bytes, const char *what, void **out);
    void (*pinned_free)(rs_cuda_context *context, void *memory);

    /* In the stream; host memory must be pinned and stay as it is until the stream has passed. */
    rs_status (*upload)(rs_cuda_context *context, rs_cuda_stream stream, void *to, const void *from, size_t bytes);
    rs_status (*download)(rs_cuda_context *context, rs_cuda_stream stream, void *to, const void *from, size_t bytes);
    /* Waits for all that was queued in the stream; reports what failed in it. */
    rs_status (*wait)(rs_cuda_context *context, rs_cuda_stream stream);

    rs_status (*event_open)(rs_cuda_context *context, rs_cuda_event **out);
    void (*event_close)(rs_cuda_context *context, rs_cuda_event *event);
    rs_status (*event_record)(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream);
    rs_status (*event_after)(rs_cuda_context *context, rs_cuda_event *event, rs_cuda_stream stream); /* the stream waits for the event */
    rs_status (*event_wait)(rs_cuda_context *context, rs_cuda_event *event);                         /* the host does */

    /* COMPUTE's work between begin and end is recorded, not run. launch runs it. */
    rs_status (*graph_begin)(rs_cuda_context *context);
    rs_status (*graph_end)(rs_cuda_context *context, rs_cuda_graph **out);
    rs_status (*graph_launch)(rs_cuda_context *context, rs_cuda_graph *graph);
    void (*graph_close)(rs_cuda_context *context, rs_cuda_graph *graph);

    /* out fp32 [n, rows] (out_stride) = a [n, cols] (a_stride) w^T, w [rows, cols]; bf16 or fp32 inputs, fp32 sums (no TF32). Strides in
     * elements; a, w and their rows are aligned to 16 bytes, and so are out and its rows where rows is a multiple of 4. gemm_open chooses the
     * algorithms for a weight shape. All of them give the same bits for a row, whatever n: no split of the inner dimension, and where several
     * are timed only those whose results equal the first one's bit for bit on random data are candidates. scratch: device memory to try them
     * in, free again on return; with too little of it the first is taken untried. */
    rs_status (*gemm_open)(rs_cuda_context *context, int64_t rows, int64_t cols, bool bf16, void *scratch, size_t scratch_bytes,
                           rs_cuda_gemm **out);
    void (*gemm_close)(rs_cuda_context *context, rs_cuda_gemm *gemm);
    rs_status (*gemm)(rs_cuda_context *context, rs_cuda_stream stream, rs_cuda_gemm *gemm, const void *a, int64_t a_stride, const void *w,
                      int64_t n, float *out, int64_t out_stride);

    /* A CUtensorMap over bf16 [planes][tokens][head_dim] with boxes of box_tokens x 64 elements and the 128-byte swizzle, to `out` (host,
     * RS_CUDA_TENSOR_MAP_BYTES). */
    rs_status (*tensor_map)(rs_cuda_context *context, const void *base, int64_t head_dim, int64_t tokens, int64_t planes, int box_tokens,
                            void *out);
} rs_cuda_driver;

extern const rs_cuda_driver rs_cuda_driver_table; /* the one that is linked */

#endif
