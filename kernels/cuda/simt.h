/* The few things a kernel asks of the machine. With nvcc these are CUDA's intrinsics; the tests compile the same kernels with a C++
 * compiler against tests/simt/fiber.h, where a thread is a fiber, and shared memory checks bounds and races. Every kernel but
 * attention_hopper.cu is written against this file alone.
 *
 * Rules that make that possible: shared memory is the block's one dynamic allocation, reached through rs_shared<T> (get and set, so that
 * reads and writes are told apart); every warp operation is called by all 32 lanes; blocks are multiples of 32 threads; no atomics (sums
 * would lose their order). Global memory is plain pointers. */
#ifndef RS_CUDA_SIMT_H
#define RS_CUDA_SIMT_H

#include <stdint.h>

typedef uint16_t rs_bf16; /* storage only */

#if defined(__CUDACC__)

#include <cuda_runtime.h>
#include <math.h>

#define RS_KERNEL static __global__ void
#define RS_DEVICE static __device__ __forceinline__
#define RS_DEVICE_METHOD __device__ __forceinline__ /* of a class */
#define RS_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define RS_UNROLL _Pragma("unroll")
#define RS_NO_UNROLL _Pragma("unroll 1") /* where copies of the body would only cost registers */

/* Launches and returns CUDA's error code (0: none). kernel may be a template-id in parentheses. */
#define RS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                                          \
    (kernel<<<(grid), (block), (shared_bytes), (cudaStream_t)(stream)>>>(__VA_ARGS__), (int)cudaGetLastError())
/* Once before a kernel that wants more than 48 KB of shared memory. Returns CUDA's error code. */
#define RS_ALLOW_SHARED(kernel, bytes)                                                                                                     \
    ((int)cudaFuncSetAttribute((const void *)(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes)))
typedef dim3 rs_dim;

RS_DEVICE int rs_thread()
{
    return (int)threadIdx.x;
}
RS_DEVICE int rs_threads()
{
    return (int)blockDim.x;
}
RS_DEVICE int rs_lane()
{
    return (int)threadIdx.x & 31;
}
RS_DEVICE int rs_warp()
{
    return (int)threadIdx.x >> 5;
}
RS_DEVICE int rs_block_x()
{
    return (int)blockIdx.x;
}
RS_DEVICE int rs_block_y()
{
    return (int)blockIdx.y;
}
RS_DEVICE int rs_block_z()
{
    return (int)blockIdx.z;
}
RS_DEVICE int rs_blocks_x()
{
    return (int)gridDim.x;
}
RS_DEVICE int rs_blocks_y()
{
    return (int)gridDim.y;
}
RS_DEVICE void rs_sync()
{
    __syncthreads();
}
RS_DEVICE void rs_sync_warp()
{
    __syncwarp();
}

RS_DEVICE float rs_shuffle(float x, int lane)
{
    return __shfl_sync(0xffffffffu, x, lane);
}
RS_DEVICE int rs_shuffle(int x, int lane)
{
    return __shfl_sync(0xffffffffu, x, lane);
}
RS_DEVICE float rs_shuffle_xor(float x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, x, mask);
}
RS_DEVICE int rs_shuffle_xor(int x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, x, mask);
}
RS_DEVICE double rs_shuffle_xor(double x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, x, mask);
}
RS_DEVICE uint32_t rs_ballot(bool x)
{
    return __ballot_sync(0xffffffffu, x);
}
RS_DEVICE int rs_count_bits(uint32_t x)
{
    return __popc(x);
}

/* exp2 within 2 ulp, results below 2^-126 are 0; tanh and log within a few ulp; sin and cos of fp64 angles. */
RS_DEVICE float rs_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
RS_DEVICE float rs_log(float x)
{
    return logf(x);
}
RS_DEVICE float rs_tanh(float x)
{
    return tanhf(x);
}
RS_DEVICE void rs_sincos(double x, double *s, double *c)
{
    sincos(x, s, c);
}
RS_DEVICE float rs_fma(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
}
/* Never contracted into an fma: bits like the CPU's. */
RS_DEVICE float rs_mul(float a, float b)
{
    return __fmul_rn(a, b);
}
RS_DEVICE float rs_add(float a, float b)
{
    return __fadd_rn(a, b);
}
RS_DEVICE float rs_rsqrt_exact(float x)
{
    return __fdiv_rn(1.0f, __fsqrt_rn(x));
}
RS_DEVICE uint32_t rs_float_bits(float x)
{
    return __float_as_uint(x);
}
RS_DEVICE float rs_bits_float(uint32_t x)
{
    return __uint_as_float(x);
}

/* A typed window into the block's dynamic shared memory. Index in elements of T. */
template <class T> struct rs_shared {
    T *p;
    RS_DEVICE_METHOD T get(int i) const
    {
        return p[i];
    }
    RS_DEVICE_METHOD void set(int i, T x) const
    {
        p[i] = x;
    }
    RS_DEVICE_METHOD rs_shared<T> at(int i) const
    {
        return rs_shared<T>{p + i};
    }
};
/* The window that starts `byte` bytes into the block's shared memory (a multiple of 16) and holds n elements. */
template <class T> RS_DEVICE rs_shared<T> rs_shared_at(int byte, int n)
{
    extern __shared__ __align__(128) unsigned char rs_shared_memory[];
    (void)n;
    return rs_shared<T>{(T *)(rs_shared_memory + byte)};
}

/* 16 bytes from global to shared memory (both aligned to 16), without passing registers; zeros where !valid. They have arrived, for the
 * thread that copied, after rs_copy_wait<n>() (all but the n newest groups closed by rs_copy_commit), for the block after rs_sync too. */
template <class T> RS_DEVICE void rs_copy_async16(rs_shared<T> to, int i, const void *from, bool valid)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(to.p + i);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}
RS_DEVICE void rs_copy_commit()
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}
template <int n> RS_DEVICE void rs_copy_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(n) : "memory");
}

/* Four 8x8 tiles of bf16 (ldmatrix): lane l gives row l % 8 of tile l / 8 as its first element's index (a multiple of 8); r[t] holds tile t
 * in the mma layout: lane l has elements (l / 4, 2 (l % 4)) and the next, or of the transposed tile. */
RS_DEVICE void rs_load_tiles(uint32_t r[4], rs_shared<rs_bf16> from, int i)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(from.p + i);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
RS_DEVICE void rs_load_tiles_transposed(uint32_t r[4], rs_shared<rs_bf16> from, int i)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(from.p + i);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
/* c [16, 8] += a [16, 16] b [16, 8], fp32 sums of bf16 products (mma.m16n8k16). Lane l, g = l / 4, p = 2 (l % 4):
 * a[0] (g, p), a[1] (g + 8, p), a[2] (g, p + 8), a[3] (g + 8, p + 8); b[0] (p, g), b[1] (p + 8, g); each with its right (a) or lower (b)
 * neighbour in the high half. c[0] (g, p), c[1] (g, p + 1), c[2] (g + 8, p), c[3] (g + 8, p + 1). */
RS_DEVICE void rs_mma(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else
#include "simt/fiber.h"
#endif

/* --- built from the above --- */

RS_DEVICE float rs_from_bf16(rs_bf16 x)
{
    return rs_bits_float((uint32_t)x << 16);
}
/* To nearest even; NaN stays NaN: bit for bit the CPU backend's rounding. */
RS_DEVICE rs_bf16 rs_to_bf16(float x)
{
    uint32_t bits = rs_float_bits(x);
    if (x != x)
        return (rs_bf16)(bits >> 16 | 0x40);
    return (rs_bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
/* As rs_to_bf16, which NaN becomes which NaN apart; one instruction on a GPU. */
RS_DEVICE uint32_t rs_pack_bf16(float low, float high)
{
#if defined(__CUDACC__)
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return (uint32_t)rs_to_bf16(low) | (uint32_t)rs_to_bf16(high) << 16;
#endif
}

/* Over the 32 lanes, the same value on each; a fixed tree. */
RS_DEVICE float rs_warp_sum(float x)
{
    RS_UNROLL
    for (int mask = 16; mask; mask >>= 1)
        x = rs_add(x, rs_shuffle_xor(x, mask));
    return x;
}
/* NaN is not seen. */
RS_DEVICE float rs_warp_max(float x)
{
    RS_UNROLL
    for (int mask = 16; mask; mask >>= 1)
        x = fmaxf(x, rs_shuffle_xor(x, mask));
    return x;
}

#endif
