/* Hopper's own instructions, one function each, for attention_hopper.cu. Shared memory is addressed as PTX does, by 32-bit addresses of its
 * window. tests/simt/hopper_machine.h stands in for them where the tests compile the kernel with a C++ compiler.
 *
 * Section names in quotes are the PTX ISA's. sm_90a only: elsewhere these functions have no body, and the kernel none either. */
#ifndef RS_CUDA_HOPPER_PTX_H
#define RS_CUDA_HOPPER_PTX_H

#include "kernels/cuda/hopper_layout.h"
#include "kernels/cuda/simt.h"

#if !defined(__CUDACC__)
#include "simt/hopper_machine.h"
#else

/* Launch bounds hold for sm_90a alone, so that the host can tell which body the driver has loaded (rs_hopper_ready). */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define RS_HOPPER_DEVICE 1
#define RS_HOPPER_KERNEL static __global__ void __launch_bounds__(RS_HOPPER_THREADS, 1)
#define RS_PTX(...) asm volatile(__VA_ARGS__)
#else
#define RS_HOPPER_DEVICE 0
#define RS_HOPPER_KERNEL static __global__ void
#define RS_PTX(...) ((void)0)
#endif

/* 0 where the kernel can run on the current device with so many bytes of shared memory; 801 (not supported) where the device is not of
 * compute capability 9.0 or the program holds no code of sm_90a for it. */
template <class... Args> static int rs_hopper_ready(void (*kernel)(Args...), int bytes)
{
    int device, major, minor;
    cudaError_t error = cudaGetDevice(&device);
    if (!error)
        error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (!error)
        error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    if (error)
        return (int)error;
    if (major != 9 || minor != 0)
        return (int)cudaErrorNotSupported;
    cudaFuncAttributes attributes;
    error = cudaFuncGetAttributes(&attributes, (const void *)kernel);
    if (error)
        return (int)error;
    return attributes.maxThreadsPerBlock == RS_HOPPER_THREADS ? RS_ALLOW_SHARED(kernel, bytes) : (int)cudaErrorNotSupported;
}

/* The first address of the block's dynamic shared memory that is a multiple of RS_HOPPER_PATTERN. */
RS_DEVICE uint32_t rs_hopper_shared()
{
    extern __shared__ __align__(16) unsigned char rs_hopper_memory[];
    return ((uint32_t)__cvta_generic_to_shared(rs_hopper_memory) + RS_HOPPER_PATTERN - 1) & ~(uint32_t)(RS_HOPPER_PATTERN - 1);
}
RS_DEVICE void rs_hopper_store16(uint32_t to, uint4 x)
{
    RS_PTX("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}
/* A value that is the same on all lanes, said so: what follows from it may live in uniform registers. */
RS_DEVICE int rs_hopper_uniform(int x)
{
    return __shfl_sync(0xffffffffu, x, 0);
}

/* --- registers --- */

/* The same value, of which the compiler knows nothing: what is made from it is made anew, and takes no register across a loop. */
RS_DEVICE uint32_t rs_hopper_afresh(uint32_t x)
{
    RS_PTX("" : "+r"(x));
    return x;
}

/* "setmaxnreg": the producer gives registers back, the consumers take them. */
template <int N> RS_DEVICE void rs_hopper_give_registers()
{
    RS_PTX("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> RS_DEVICE void rs_hopper_take_registers()
{
    RS_PTX("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

/* --- barriers --- */

/* "bar, barrier": named barriers; 0 is __syncthreads's. sync waits until `threads` threads have synced or arrived. */
RS_DEVICE void rs_hopper_sync(int barrier, int threads)
{
    RS_PTX("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
RS_DEVICE void rs_hopper_arrive(int barrier, int threads)
{
    RS_PTX("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/* "mbarrier": a phase is complete when `count` threads have arrived and all bytes expected have come. */
RS_DEVICE void rs_mbarrier_init(uint32_t barrier, int count)
{
    RS_PTX("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
/* Makes initialised barriers known to the copy engine. */
RS_DEVICE void rs_mbarrier_publish()
{
    RS_PTX("fence.mbarrier_init.release.cluster;" ::: "memory");
}
RS_DEVICE void rs_mbarrier_arrive(uint32_t barrier)
{
    RS_PTX("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
RS_DEVICE void rs_mbarrier_arrive_expect(uint32_t barrier, int bytes)
{
    RS_PTX("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/* Until the phase of this parity is complete: passes at once where the barrier is in its next phase. */
RS_DEVICE void rs_mbarrier_wait(uint32_t barrier, uint32_t parity)
{
    RS_PTX("{\n"
           ".reg .pred done;\n"
           "again:\n"
           "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
           "@!done bra again;\n"
           "}\n" ::"r"(barrier),
           "r"(parity)
           : "memory");
}

/* --- the copy engine --- */

/* "Proxies": shared memory that this thread wrote by ordinary stores is seen by the copy engine and the tensor cores after this and a
 * barrier. */
RS_DEVICE void rs_hopper_publish()
{
    RS_PTX("fence.proxy.async.shared::cta;" ::: "memory");
}
/* "membar, fence": a tensor map that the host wrote to global memory, before this block's first use. */
RS_DEVICE void rs_tensor_map_acquire(const void *map)
{
    RS_PTX("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}
/* "cp.async.bulk.tensor": the box at (x, y, z) of a 3-D map, zeros outside; its bytes count for the barrier. */
RS_DEVICE void rs_tensor_copy(uint32_t to, const void *map, int x, int y, int z, uint32_t barrier)
{
    RS_PTX("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
           "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
           : "memory");
}

/* --- the tensor cores --- */

/* "wgmma.fence": before the first product, and wherever accumulators or fragments were written since the last. */
RS_DEVICE void rs_wgmma_begin()
{
    RS_PTX("wgmma.fence.sync.aligned;" ::: "memory");
}
RS_DEVICE void rs_wgmma_commit()
{
    RS_PTX("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Until at most `newest` committed groups are unfinished. */
template <int newest> RS_DEVICE void rs_wgmma_wait()
{
    RS_PTX("wgmma.wait_group.sync.aligned %0;" ::"n"(newest) : "memory");
}
/* Here these registers hold their values: what makes them comes before, what reads them after, and nothing else takes their place. To the
 * compiler a product is done, and its fragments are free, as soon as it is issued; so accumulators and fragments settle before the first
 * product of a turn and after the wait for the last. */
RS_DEVICE void rs_wgmma_settle(float &x)
{
    RS_PTX("" : "+f"(x)::"memory");
}
RS_DEVICE void rs_wgmma_settle(uint32_t &x)
{
    RS_PTX("" : "+r"(x)::"memory");
}
template <class T, int N> RS_DEVICE void rs_wgmma_settle(T (&registers)[N])
{
    RS_UNROLL
    for (int i = 0; i < N; i++)
        rs_wgmma_settle(registers[i]);
}

/* Lists of registers: of the text, tens ("%10,...,%19" is RS_TEN(1), "%0,...,%9" is RS_TEN()), and of the operands. */
#define RS_TWO(t) "%" #t "0,%" #t "1"
#define RS_FOUR(t) RS_TWO(t) ",%" #t "2,%" #t "3"
#define RS_EIGHT(t) RS_FOUR(t) ",%" #t "4,%" #t "5,%" #t "6,%" #t "7"
#define RS_TEN(t) RS_EIGHT(t) ",%" #t "8,%" #t "9"
#define RS_R32 RS_TEN() "," RS_TEN(1) "," RS_TEN(2) "," RS_TWO(3)
#define RS_R40 RS_TEN() "," RS_TEN(1) "," RS_TEN(2) "," RS_TEN(3)
#define RS_R64 RS_R40 "," RS_TEN(4) "," RS_TEN(5) "," RS_FOUR(6)
#define RS_R128                                                                                                                            \
    RS_R40                                                                                                                                 \
        "," RS_TEN(4) "," RS_TEN(5) "," RS_TEN(6) "," RS_TEN(7) "," RS_TEN(8) "," RS_TEN(9) "," RS_TEN(10) "," RS_TEN(11) "," RS_EIGHT(12)
#define RS_D8(d, i)                                                                                                                        \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define RS_D32(d, i) RS_D8(d, i), RS_D8(d, i + 8), RS_D8(d, i + 16), RS_D8(d, i + 24)
#define RS_D40(d, i) RS_D32(d, i), RS_D8(d, i + 32)
#define RS_D64(d, i) RS_D32(d, i), RS_D32(d, i + 32)
#define RS_D128(d, i) RS_D64(d, i), RS_D64(d, i + 64)

/* "wgmma.mma_async": d [64, n] = or += a [64, 16] b^T, both by lines. Scales of 1 and no transposition: the immediates 1, 1, 0, 0. */
template <int N> struct rs_wgmma_by_lines;
#define RS_WGMMA_BY_LINES(n, registers, list, operands, a, b, more)                                                                        \
    template <> struct rs_wgmma_by_lines<n> {                                                                                              \
        static RS_DEVICE_METHOD void issue(float (&d)[registers], uint64_t of_a, uint64_t of_b, int add)                                   \
        {                                                                                                                                  \
            RS_PTX("{\n.reg .pred more;\nsetp.ne.b32 more, " more ", 0;\n"                                                                 \
                   "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" list "}, " a ", " b ", more, 1, 1, 0, 0;\n}\n"             \
                   : operands(d, 0)                                                                                                        \
                   : "l"(of_a), "l"(of_b), "r"(add));                                                                                      \
        }                                                                                                                                  \
    };
RS_WGMMA_BY_LINES(80, 40, RS_R40, RS_D40, "%40", "%41", "%42")
RS_WGMMA_BY_LINES(128, 64, RS_R64, RS_D64, "%64", "%65", "%66")

/* d [64, n] += a [64, 16] b, a in registers, b across lines: transposed by the last immediate. */
template <int N> struct rs_wgmma_across_lines;
#define RS_WGMMA_ACROSS_LINES(n, registers, list, operands, a, b, more)                                                                    \
    template <> struct rs_wgmma_across_lines<n> {                                                                                          \
        static RS_DEVICE_METHOD void issue(float (&d)[registers], const uint32_t *of_a, uint64_t of_b)                                     \
        {                                                                                                                                  \
            RS_PTX("{\n.reg .pred more;\nsetp.ne.b32 more, " more ", 0;\n"                                                                 \
                   "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" list "}, {" a "}, " b ", more, 1, 1, 1;\n}\n"              \
                   : operands(d, 0)                                                                                                        \
                   : "r"(of_a[0]), "r"(of_a[1]), "r"(of_a[2]), "r"(of_a[3]), "l"(of_b), "r"(1));                                           \
        }                                                                                                                                  \
    };
RS_WGMMA_ACROSS_LINES(64, 32, RS_R32, RS_D32, "%32,%33,%34,%35", "%36", "%37")
RS_WGMMA_ACROSS_LINES(128, 64, RS_R64, RS_D64, "%64,%65,%66,%67", "%68", "%69")
RS_WGMMA_ACROSS_LINES(256, 128, RS_R128, RS_D128, "%128,%129,%130,%131", "%132", "%133")

#endif
#endif
