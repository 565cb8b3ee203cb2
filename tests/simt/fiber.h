/* The machine that kernels/cuda/simt.h describes, for the tests: a thread is a fiber, blocks run one after the other, and a launch returns
 * when its grid is done. What a GPU leaves undefined ends the launch here, with a message that names kernel, block, thread and index:
 *
 * - shared memory out of its window or of what the launch gave, misaligned, or read before this block wrote it;
 * - two threads at one byte of it, at least one writing, without rs_sync between them - or rs_sync_warp, within a warp. Shuffles and the
 *   other warp operations order no memory, as CUDA has it;
 * - bytes of an asynchronous copy touched before the copying thread's rs_copy_wait;
 * - rs_sync or a warp operation that some threads miss, because they left the kernel or wait in another one.
 *
 * Races are told from barriers passed, not from the order in which fibers happen to run. */
#ifndef RS_SIMT_FIBER_H
#define RS_SIMT_FIBER_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define RS_KERNEL static void
#define RS_DEVICE static inline
#define RS_DEVICE_METHOD inline
#define RS_BOUNDS(threads, blocks)
#define RS_UNROLL
#define RS_NO_UNROLL
#define RS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                                          \
    ((void)(stream), rs_fiber_launch(#kernel, rs_fiber_address(kernel), (grid), (block), (int)(shared_bytes), [&] { kernel(__VA_ARGS__); }))
#define RS_ALLOW_SHARED(kernel, bytes) rs_fiber_allow_shared(rs_fiber_address(kernel), (int)(bytes))

struct rs_dim {
    unsigned x, y, z;
    rs_dim(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz)
    {
    }
};

/* Called once for a launch that broke a rule. The default prints and aborts; where it returns, the launch gives 719 (launch failure). */
extern void (*rs_fiber_on_failure)(const char *message);

/* --- for this header --- */

struct rs_fiber_place {
    int thread, threads;
    rs_dim block, blocks;
};
extern rs_fiber_place rs_fiber_now;

typedef void (*rs_fiber_function)();
template <class... Args> inline rs_fiber_function rs_fiber_address(void (*kernel)(Args...))
{
    return (rs_fiber_function)kernel;
}
int rs_fiber_run(const char *name, rs_fiber_function kernel, rs_dim grid, rs_dim block, int shared_bytes, void (*body)(const void *),
                 const void *closure);
int rs_fiber_allow_shared(rs_fiber_function kernel, int bytes);
template <class Body>
inline int rs_fiber_launch(const char *name, rs_fiber_function kernel, rs_dim grid, rs_dim block, int shared_bytes, const Body &body)
{
    return rs_fiber_run(
        name, kernel, grid, block, shared_bytes, [](const void *closure) { (*(const Body *)closure)(); }, &body);
}

/* What one lane brings to a warp operation and takes from it. */
struct rs_fiber_lane {
    uint64_t value;
    int lane;
    int byte; /* of shared memory */
    float *c;
    const uint32_t *a, *b;
    uint32_t *tiles;
};
void rs_fiber_collective(const char *name, void (*run)(rs_fiber_lane *const *lanes), rs_fiber_lane *mine);
void rs_fiber_exchange(rs_fiber_lane *const *lanes);
void rs_fiber_vote(rs_fiber_lane *const *lanes);
void rs_fiber_multiply(rs_fiber_lane *const *lanes);
void rs_fiber_load(rs_fiber_lane *const *lanes);
void rs_fiber_load_transposed(rs_fiber_lane *const *lanes);

/* Element i of a window of n elements; a typed window's operations end here. */
struct rs_fiber_element {
    int window, n, i, size, align;
    int byte() const
    {
        return window + i * size;
    }
};
const void *rs_fiber_read(const rs_fiber_element &element);
void *rs_fiber_write(const rs_fiber_element &element);
void rs_fiber_check_window(int byte, int64_t bytes);
void rs_fiber_check_element(const rs_fiber_element &element, int elements, int align);
void rs_fiber_copy(const rs_fiber_element &element, const void *from, bool valid);
void rs_fiber_copy_commit();
void rs_fiber_copy_wait(int newest);
void rs_fiber_sync();
void rs_fiber_sync_warp();

template <class T> inline T rs_fiber_shuffle(const char *name, T x, int from)
{
    rs_fiber_lane mine = {};
    memcpy(&mine.value, &x, sizeof x);
    mine.lane = from & 31;
    rs_fiber_collective(name, rs_fiber_exchange, &mine);
    memcpy(&x, &mine.value, sizeof x);
    return x;
}

/* --- what kernels call --- */

RS_DEVICE int rs_thread()
{
    return rs_fiber_now.thread;
}
RS_DEVICE int rs_threads()
{
    return rs_fiber_now.threads;
}
RS_DEVICE int rs_lane()
{
    return rs_fiber_now.thread & 31;
}
RS_DEVICE int rs_warp()
{
    return rs_fiber_now.thread >> 5;
}
RS_DEVICE int rs_block_x()
{
    return (int)rs_fiber_now.block.x;
}
RS_DEVICE int rs_block_y()
{
    return (int)rs_fiber_now.block.y;
}
RS_DEVICE int rs_block_z()
{
    return (int)rs_fiber_now.block.z;
}
RS_DEVICE int rs_blocks_x()
{
    return (int)rs_fiber_now.blocks.x;
}
RS_DEVICE int rs_blocks_y()
{
    return (int)rs_fiber_now.blocks.y;
}
RS_DEVICE void rs_sync()
{
    rs_fiber_sync();
}
RS_DEVICE void rs_sync_warp()
{
    rs_fiber_sync_warp();
}

RS_DEVICE float rs_shuffle(float x, int lane)
{
    return rs_fiber_shuffle("rs_shuffle of float", x, lane);
}
RS_DEVICE int rs_shuffle(int x, int lane)
{
    return rs_fiber_shuffle("rs_shuffle of int", x, lane);
}
RS_DEVICE float rs_shuffle_xor(float x, int mask)
{
    return rs_fiber_shuffle("rs_shuffle_xor of float", x, rs_lane() ^ mask);
}
RS_DEVICE int rs_shuffle_xor(int x, int mask)
{
    return rs_fiber_shuffle("rs_shuffle_xor of int", x, rs_lane() ^ mask);
}
RS_DEVICE double rs_shuffle_xor(double x, int mask)
{
    return rs_fiber_shuffle("rs_shuffle_xor of double", x, rs_lane() ^ mask);
}
RS_DEVICE uint32_t rs_ballot(bool x)
{
    rs_fiber_lane mine = {};
    mine.value = x;
    rs_fiber_collective("rs_ballot", rs_fiber_vote, &mine);
    return (uint32_t)mine.value;
}
RS_DEVICE int rs_count_bits(uint32_t x)
{
    return __builtin_popcount(x);
}

RS_DEVICE float rs_exp2(float x)
{
    float y = exp2f(x);
    return y < 0x1p-126f ? 0.0f : y;
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
    *s = sin(x);
    *c = cos(x);
}
RS_DEVICE float rs_fma(float a, float b, float c)
{
    return fmaf(a, b, c);
}
RS_DEVICE float rs_mul(float a, float b)
{
    return a * b;
}
RS_DEVICE float rs_add(float a, float b)
{
    return a + b;
}
RS_DEVICE float rs_rsqrt_exact(float x)
{
    return 1.0f / sqrtf(x);
}
RS_DEVICE uint32_t rs_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
RS_DEVICE float rs_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

template <class T> struct rs_shared {
    int byte, n;
    rs_fiber_element element(int i) const
    {
        return {byte, n, i, (int)sizeof(T), (int)alignof(T)};
    }
    T get(int i) const
    {
        T x;
        memcpy(&x, rs_fiber_read(element(i)), sizeof x);
        return x;
    }
    void set(int i, T x) const
    {
        memcpy(rs_fiber_write(element(i)), &x, sizeof x);
    }
    rs_shared<T> at(int i) const
    {
        rs_fiber_check_element(element(i), 0, 1);
        return {byte + i * (int)sizeof(T), n - i};
    }
};
template <class T> RS_DEVICE rs_shared<T> rs_shared_at(int byte, int n)
{
    rs_fiber_check_window(byte, n * (int64_t)sizeof(T));
    return {byte, n};
}

template <class T> RS_DEVICE void rs_copy_async16(rs_shared<T> to, int i, const void *from, bool valid)
{
    rs_fiber_check_element(to.element(i), (int)(16 / sizeof(T)), 16);
    rs_fiber_copy(to.element(i), from, valid);
}
RS_DEVICE void rs_copy_commit()
{
    rs_fiber_copy_commit();
}
template <int n> RS_DEVICE void rs_copy_wait()
{
    rs_fiber_copy_wait(n);
}

RS_DEVICE void rs_load_tiles(uint32_t r[4], rs_shared<uint16_t> from, int i)
{
    rs_fiber_lane mine = {};
    rs_fiber_check_element(from.element(i), 8, 16);
    mine.byte = from.element(i).byte();
    mine.tiles = r;
    rs_fiber_collective("rs_load_tiles", rs_fiber_load, &mine);
}
RS_DEVICE void rs_load_tiles_transposed(uint32_t r[4], rs_shared<uint16_t> from, int i)
{
    rs_fiber_lane mine = {};
    rs_fiber_check_element(from.element(i), 8, 16);
    mine.byte = from.element(i).byte();
    mine.tiles = r;
    rs_fiber_collective("rs_load_tiles_transposed", rs_fiber_load_transposed, &mine);
}
/* Here c + the 16 products, k ascending, is summed in fp64 and rounded once. */
RS_DEVICE void rs_mma(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    rs_fiber_lane mine = {};
    mine.c = c;
    mine.a = a;
    mine.b = b;
    rs_fiber_collective("rs_mma", rs_fiber_multiply, &mine);
}

#endif
