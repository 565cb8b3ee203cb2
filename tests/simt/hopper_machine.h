/* What kernels/cuda/hopper_ptx.h asks of a Hopper GPU, for the tests: a block of fibers with copies and products that run late, in any
 * order the hardware may take them, picked by a seed. Semantics are the PTX ISA's, written down once more and not taken from
 * hopper_layout.h.
 *
 * Beside wrong numbers it ends a launch with a message for: a deadlock; shared memory touched without an order that barriers, proxies'
 * fences and waits for products give (clocks of every thread, copy and product are compared); accumulators or fragments touched while a
 * product has them; descriptors, boxes and counts that the hardware would not take. */
#ifndef RS_SIMT_HOPPER_MACHINE_H
#define RS_SIMT_HOPPER_MACHINE_H

#include <stdint.h>

#include "kernels/cuda/hopper_layout.h"
#include "simt/fiber.h"

#define RS_HOPPER_DEVICE 1
#define RS_HOPPER_KERNEL static void

struct uint4 {
    unsigned x, y, z, w;
};

/* Which interleaving the next launches take. */
void rs_machine_seed(uint64_t seed);

/* A CUtensorMap as this machine reads it: bf16 [planes][tokens][width]; boxes of 64 x box elements, 128-byte swizzle. */
struct rs_machine_map {
    const uint16_t *base;
    int64_t width, tokens, planes;
    int box;
    char padding[128 - sizeof(void *) - 3 * sizeof(int64_t) - sizeof(int64_t)];
};
static_assert(sizeof(rs_machine_map) == 128, "as large as a CUtensorMap");

template <class... Args> inline int rs_hopper_ready(void (*kernel)(Args...), int bytes)
{
    return rs_fiber_allow_shared(rs_fiber_address(kernel), bytes);
}

uint32_t rs_hopper_shared();
void rs_hopper_store16(uint32_t to, uint4 x);
inline int rs_hopper_uniform(int x)
{
    return x;
}
inline uint32_t rs_hopper_afresh(uint32_t x)
{
    return x;
}
template <int N> inline void rs_hopper_give_registers()
{
}
template <int N> inline void rs_hopper_take_registers()
{
}
void rs_hopper_sync(int barrier, int threads);
void rs_hopper_arrive(int barrier, int threads);
void rs_mbarrier_init(uint32_t barrier, int count);
void rs_mbarrier_publish();
void rs_mbarrier_arrive(uint32_t barrier);
void rs_mbarrier_arrive_expect(uint32_t barrier, int bytes);
void rs_mbarrier_wait(uint32_t barrier, uint32_t parity);
void rs_hopper_publish();
void rs_tensor_map_acquire(const void *map);
void rs_tensor_copy(uint32_t to, const void *map, int x, int y, int z, uint32_t barrier);

void rs_wgmma_begin();
void rs_wgmma_commit();
void rs_machine_wait(int newest);
template <int newest> inline void rs_wgmma_wait()
{
    rs_machine_wait(newest);
}
template <class T> inline void rs_wgmma_settle(T &)
{
}

/* One product: a from shared memory (fragment NULL) or registers. */
struct rs_machine_product {
    int n;
    float *d;
    const uint32_t *fragment;
    uint64_t a, b;
    bool add;
};
void rs_machine_issue(const rs_machine_product &product);
template <int N> struct rs_wgmma_by_lines {
    static void issue(float (&d)[N / 2], uint64_t a, uint64_t b, int add)
    {
        rs_machine_issue({N, d, NULL, a, b, add != 0});
    }
};
template <int N> struct rs_wgmma_across_lines {
    static void issue(float (&d)[N / 2], const uint32_t *a, uint64_t b)
    {
        rs_machine_issue({N, d, a, 0, b, true});
    }
};

#endif
