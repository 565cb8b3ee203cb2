/* What the two files that call the CUDA toolkit share. */
#ifndef RS_CUDA_DRIVER_CUDA_H
#define RS_CUDA_DRIVER_CUDA_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "kernels/cuda/driver.h"

enum { RS_CUDA_WORKSPACE = 32 << 20 }; /* of matrix products */

struct rs_cuda_context {
    int device;
    cudaStream_t streams[RS_CUDA_STREAMS];
    cublasLtHandle_t blas;
    void *workspace;
};

/* A call's code as a status; `what` names the call. */
rs_status rs_cuda_check(cudaError_t code, const char *what);

/* driver_cuda_gemm.c, as driver.h says. */
rs_status rs_cuda_gemm_open(rs_cuda_context *context, int64_t rows, int64_t cols, bool bf16, void *scratch, size_t scratch_bytes,
                            rs_cuda_gemm **out);
void rs_cuda_gemm_close(rs_cuda_context *context, rs_cuda_gemm *gemm);
rs_status rs_cuda_gemm_run(rs_cuda_context *context, rs_cuda_stream stream, rs_cuda_gemm *gemm, const void *a, int64_t a_stride,
                           const void *w, int64_t n, float *out, int64_t out_stride);

#endif
