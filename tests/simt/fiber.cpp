/* Fibers, barriers and the shadow of shared memory: see fiber.h. */
#undef _FORTIFY_SOURCE /* its longjmp refuses to enter another stack */
#include "simt/fiber.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <map>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define RS_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RS_FIBER_ASAN 1
#endif
#endif
#ifdef RS_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* An H100's: threads of a block, shared memory of a block that asked for more than 48 KB. STACK holds a kernel's registers. */
enum { MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / 32, MAX_SHARED = 232448, PLAIN_SHARED = 49152, STACK = 1 << 17, GUARD = 1 << 12 };
enum { INVALID_VALUE = 1, INVALID_CONFIGURATION = 9, LAUNCH_FAILURE = 719 }; /* CUDA's */

struct copy {
    int byte;
    int64_t group;
};

struct fiber {
    ucontext_t context;
    jmp_buf place;     /* where it goes on, once it has begun */
    const void *stack; /* where asan shall look for this fiber's variables */
    size_t stack_bytes;
    void *fake_stack;
    bool made, begun, left;
    const char *waits;        /* in which call; NULL: it can run */
    std::vector<copy> copies; /* not waited for */
    int64_t groups;           /* committed */
};

struct warp {
    const char *call;
    rs_fiber_lane *lanes[32];
    int arrived, at_sync, left;
    uint32_t step; /* rs_sync_warp passed */
};

enum readers { ONE_THREAD, ONE_WARP, MANY_WARPS };

/* A byte of shared memory: its last write, and who has read it since the block's last barrier. Epochs count barriers and blocks. */
struct cell {
    uint32_t write_epoch, write_step, read_epoch, read_step;
    int16_t writer, reader;
    readers who;
    bool pending; /* an asynchronous copy not waited for */
};

static fiber fibers[MAX_THREADS], launcher, *running = &launcher, *previous;
static warp warps[MAX_WARPS];
static cell cells[MAX_SHARED];
alignas(128) static unsigned char memory[MAX_SHARED];
static uint32_t epoch, first_epoch; /* now, and at the block's beginning */
static int shared_bytes_given, at_sync, n_left;
static const char *kernel_name;
static char failure[512];
static void (*kernel_body)(const void *);
static const void *kernel_closure;
static std::map<rs_fiber_function, int> allowed_shared;

rs_fiber_place rs_fiber_now;

static void print_and_abort(const char *message)
{
    fprintf(stderr, "%s\n", message);
    abort();
}
void (*rs_fiber_on_failure)(const char *message) = print_and_abort;

/* --- switching --- */

static void arrive(fiber *self)
{
#ifdef RS_FIBER_ASAN
    __sanitizer_finish_switch_fiber(self->fake_stack, &previous->stack, &previous->stack_bytes);
#endif
    running = self;
    rs_fiber_now.thread = (int)(self - fibers);
}

/* swapcontext would ask the kernel for the signal mask, which takes ten times as long as the rest. */
static void enter(fiber *to, fiber *self)
{
    if (_setjmp(self->place))
        return;
    if (to->begun)
        _longjmp(to->place, 1);
    to->begun = true;
    setcontext(&to->context);
}

static void switch_to(fiber *to)
{
    fiber *self = running;
    previous = self;
    if (to == self)
        return;
#ifdef RS_FIBER_ASAN
    __sanitizer_start_switch_fiber(&self->fake_stack, to->stack, to->stack_bytes);
#endif
    enter(to, self);
    arrive(self);
}

/* The launcher where no thread of the block can run. */
static fiber *next_fiber()
{
    int thread = rs_fiber_now.thread;
    for (int k = 0; k < rs_fiber_now.threads; k++) {
        thread = thread + 1 == rs_fiber_now.threads ? 0 : thread + 1;
        if (!fibers[thread].waits && !fibers[thread].left)
            return &fibers[thread];
    }
    return &launcher;
}

[[noreturn]] __attribute__((format(printf, 2, 3))) static void fail(int thread, const char *format, ...)
{
    rs_dim block = rs_fiber_now.block;
    int length =
        snprintf(failure, sizeof failure, "kernel %s, block (%u, %u, %u), thread %d: ", kernel_name, block.x, block.y, block.z, thread);
    va_list args;
    va_start(args, format);
    vsnprintf(failure + length, sizeof failure - (size_t)length, format, args);
    va_end(args);
    switch_to(&launcher);
    abort();
}

static void leave_kernel(fiber *self);

/* A fiber lives on from block to block; a failed launch abandons it, and it is made anew. */
static void fiber_main(int thread)
{
    fiber *self = &fibers[thread];
    self->fake_stack = NULL;
    arrive(self);
    for (;;) {
        kernel_body(kernel_closure);
        leave_kernel(self);
        switch_to(next_fiber());
    }
}

static void make_fiber(int thread)
{
    static char *stacks;
    if (!stacks) {
        void *map = mmap(NULL, (size_t)MAX_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert(map != MAP_FAILED);
        stacks = (char *)map;
        for (int i = 0; i < MAX_THREADS; i++)
            assert(mprotect(stacks + (size_t)i * STACK, GUARD, PROT_NONE) == 0);
    }
    fiber *self = &fibers[thread];
#ifdef RS_FIBER_ASAN
    __asan_unpoison_memory_region(stacks + (size_t)thread * STACK + GUARD, STACK - GUARD); /* what an abandoned fiber left */
#endif
    getcontext(&self->context);
    self->stack = stacks + (size_t)thread * STACK + GUARD;
    self->stack_bytes = STACK - GUARD;
    self->context.uc_stack.ss_sp = (void *)self->stack;
    self->context.uc_stack.ss_size = self->stack_bytes;
    self->context.uc_link = NULL;
    makecontext(&self->context, (void (*)())fiber_main, 1, thread);
    self->made = true;
    self->begun = false;
}

/* --- launches --- */

int rs_fiber_allow_shared(rs_fiber_function kernel, int bytes)
{
    if (bytes < 0 || bytes > MAX_SHARED)
        return INVALID_VALUE;
    allowed_shared[kernel] = bytes;
    return 0;
}

static bool run_block()
{
    at_sync = n_left = 0;
    first_epoch = ++epoch;
    memset(memory, 0xff, (size_t)shared_bytes_given); /* NaN */
    memset(warps, 0, sizeof warps);
    for (int i = 0; i < rs_fiber_now.threads; i++) {
        fibers[i].left = false;
        fibers[i].waits = NULL;
        fibers[i].copies.clear();
        fibers[i].groups = 0;
        if (!fibers[i].made)
            make_fiber(i);
    }
    launcher.begun = true;
    switch_to(&fibers[0]);
    assert(failure[0] || n_left == rs_fiber_now.threads);
    return !failure[0];
}

static int launch_error(rs_fiber_function kernel, rs_dim grid, rs_dim block, int shared_bytes)
{
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    auto allowed = allowed_shared.find(kernel);
    if (shared_bytes < 0 || shared_bytes > (allowed == allowed_shared.end() ? (int)PLAIN_SHARED : allowed->second))
        return INVALID_VALUE;
    if (!threads || threads > MAX_THREADS || !grid.x || !grid.y || !grid.z || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
        return INVALID_CONFIGURATION;
    return 0;
}

int rs_fiber_run(const char *name, rs_fiber_function kernel, rs_dim grid, rs_dim block, int shared_bytes, void (*body)(const void *),
                 const void *closure)
{
    int error = launch_error(kernel, grid, block, shared_bytes);
    if (error)
        return error;
    assert(block.y == 1 && block.z == 1 && block.x % 32 == 0);
    kernel_name = name;
    kernel_body = body;
    kernel_closure = closure;
    shared_bytes_given = shared_bytes;
    rs_fiber_now.threads = (int)block.x;
    rs_fiber_now.blocks = grid;
    failure[0] = 0;
    for (uint64_t i = 0, n = (uint64_t)grid.x * grid.y * grid.z; i < n; i++) {
        rs_fiber_now.block = rs_dim((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y));
        if (run_block())
            continue;
        for (fiber &abandoned : fibers)
            abandoned.made = false;
        rs_fiber_on_failure(failure);
        return LAUNCH_FAILURE;
    }
    return 0;
}

/* --- barriers --- */

static int waiting_thread(int first, int n)
{
    while (n > 1 && !fibers[first].waits)
        first++, n--;
    return first;
}

static int left_thread(int first, int n)
{
    while (n > 1 && !fibers[first].left)
        first++, n--;
    return first;
}

static void leave_kernel(fiber *self)
{
    int thread = (int)(self - fibers), first = thread & ~31;
    warp *mine = &warps[thread / 32];
    self->left = true;
    n_left++;
    mine->left++;
    if (mine->arrived)
        fail(thread, "left the kernel while thread %d waits in %s", waiting_thread(first, 32), mine->call);
    if (at_sync)
        fail(thread, "left the kernel while thread %d waits in rs_sync", waiting_thread(0, rs_fiber_now.threads));
}

static void wait_in(const char *call)
{
    running->waits = call;
    switch_to(next_fiber());
}

void rs_fiber_sync()
{
    int thread = rs_fiber_now.thread;
    warp *mine = &warps[thread / 32];
    if (n_left)
        fail(thread, "rs_sync after thread %d left the kernel", left_thread(0, rs_fiber_now.threads));
    if (mine->arrived)
        fail(thread, "rs_sync while thread %d of its warp waits in %s", waiting_thread(thread & ~31, 32), mine->call);
    mine->at_sync++;
    if (++at_sync < rs_fiber_now.threads) {
        wait_in("rs_sync");
        return;
    }
    at_sync = 0;
    epoch++;
    for (warp &each : warps)
        each.at_sync = 0;
    for (int i = 0; i < rs_fiber_now.threads; i++)
        fibers[i].waits = NULL;
}

void rs_fiber_collective(const char *name, void (*run)(rs_fiber_lane *const *lanes), rs_fiber_lane *mine)
{
    int thread = rs_fiber_now.thread, first = thread & ~31;
    warp *its = &warps[thread / 32];
    if (its->left)
        fail(thread, "%s after thread %d of its warp left the kernel", name, left_thread(first, 32));
    if (its->at_sync)
        fail(thread, "%s while thread %d of its warp waits in rs_sync", name, waiting_thread(first, 32));
    if (its->arrived && strcmp(its->call, name))
        fail(thread, "%s while thread %d of its warp waits in %s", name, waiting_thread(first, 32), its->call);
    its->call = name;
    its->lanes[thread & 31] = mine;
    if (++its->arrived < 32) {
        wait_in(name);
        return;
    }
    run(its->lanes);
    its->arrived = 0;
    for (int lane = 0; lane < 32; lane++)
        fibers[first + lane].waits = NULL;
}

static void order_warp(rs_fiber_lane *const *lanes)
{
    (void)lanes;
    warps[rs_fiber_now.thread / 32].step++;
}

void rs_fiber_sync_warp()
{
    rs_fiber_lane mine = {};
    rs_fiber_collective("rs_sync_warp", order_warp, &mine);
}

/* --- shared memory --- */

void rs_fiber_check_window(int byte, int64_t bytes)
{
    if (byte < 0 || bytes < 0 || byte + bytes > shared_bytes_given)
        fail(rs_fiber_now.thread, "a window of %lld bytes at byte %d of shared memory, of which the launch gave %d", (long long)bytes, byte,
             shared_bytes_given);
    if (byte % 16)
        fail(rs_fiber_now.thread, "a window at byte %d of shared memory, which is no multiple of 16", byte);
}

void rs_fiber_check_element(const rs_fiber_element &e, int elements, int align)
{
    if (e.i < 0 || e.i + (int64_t)elements > e.n)
        fail(rs_fiber_now.thread, "%d elements at index %d of a window of %d elements of shared memory", elements, e.i, e.n);
    if (e.byte() % align)
        fail(rs_fiber_now.thread, "index %d: byte %d of shared memory is no multiple of %d", e.i, e.byte(), align);
}

static void race(int thread, int byte, const char *verb, int other, const char *other_verb)
{
    fail(thread, "race: %s byte %d of shared memory, which thread %d %s with no barrier between them", verb, byte, other, other_verb);
}

/* Whether what `other` did at (its epoch, its step) is ordered before what `thread` does now. */
static bool ordered(int thread, int other, uint32_t other_epoch, uint32_t other_step)
{
    return other_epoch != epoch || other == thread || (other / 32 == thread / 32 && other_step < warps[thread / 32].step);
}

static void touch(int thread, int byte, bool writes)
{
    cell *c = &cells[byte];
    const char *verb = writes ? "writes" : "reads";
    bool written = c->write_epoch >= first_epoch;
    if (!written && !writes)
        fail(thread, "reads byte %d of shared memory, which this block has not written", byte);
    if (written && c->pending)
        fail(thread, "%s byte %d of shared memory before thread %d's rs_copy_wait for it", verb, byte, c->writer);
    if (written && !ordered(thread, c->writer, c->write_epoch, c->write_step))
        race(thread, byte, verb, c->writer, "wrote");
    uint32_t step = warps[thread / 32].step;
    if (writes) {
        bool alone = c->who == ONE_THREAD || (c->who == ONE_WARP && c->read_step < step);
        if (c->read_epoch == epoch && !(alone && ordered(thread, c->reader, c->read_epoch, c->read_step)))
            race(thread, byte, verb, c->reader, "(or another) read");
        c->write_epoch = epoch;
        c->write_step = step;
        c->writer = (int16_t)thread;
        c->pending = false;
        return;
    }
    if (c->read_epoch != epoch || (c->who != MANY_WARPS && c->reader / 32 == thread / 32 && c->read_step < step)) {
        c->read_epoch = epoch;
        c->read_step = step;
        c->reader = (int16_t)thread;
        c->who = ONE_THREAD;
    } else if (c->reader / 32 != thread / 32) {
        c->who = MANY_WARPS;
    } else if (c->reader != thread && c->who == ONE_THREAD) {
        c->who = ONE_WARP;
    }
}

const void *rs_fiber_read(const rs_fiber_element &e)
{
    rs_fiber_check_element(e, 1, e.align);
    for (int i = 0; i < e.size; i++)
        touch(rs_fiber_now.thread, e.byte() + i, false);
    return memory + e.byte();
}

void *rs_fiber_write(const rs_fiber_element &e)
{
    rs_fiber_check_element(e, 1, e.align);
    for (int i = 0; i < e.size; i++)
        touch(rs_fiber_now.thread, e.byte() + i, true);
    return memory + e.byte();
}

void rs_fiber_copy(const rs_fiber_element &e, const void *from, bool valid)
{
    int thread = rs_fiber_now.thread, byte = e.byte();
    if ((uintptr_t)from % 16)
        fail(thread, "rs_copy_async16 to index %d from %p, which is no multiple of 16", e.i, from);
    for (int i = 0; i < 16; i++) {
        touch(thread, byte + i, true);
        cells[byte + i].pending = true;
        memory[byte + i] = valid ? ((const unsigned char *)from)[i] : 0;
    }
    fibers[thread].copies.push_back({byte, fibers[thread].groups});
}

void rs_fiber_copy_commit()
{
    running->groups++;
}

void rs_fiber_copy_wait(int newest)
{
    std::vector<copy> later;
    for (const copy &each : running->copies) {
        if (each.group >= running->groups - newest) {
            later.push_back(each);
            continue;
        }
        for (int i = 0; i < 16; i++) {
            cells[each.byte + i].pending = false;
            touch(rs_fiber_now.thread, each.byte + i, true);
        }
    }
    running->copies.swap(later);
}

/* --- warp operations --- */

void rs_fiber_exchange(rs_fiber_lane *const *lanes)
{
    uint64_t values[32];
    for (int lane = 0; lane < 32; lane++)
        values[lane] = lanes[lanes[lane]->lane]->value;
    for (int lane = 0; lane < 32; lane++)
        lanes[lane]->value = values[lane];
}

void rs_fiber_vote(rs_fiber_lane *const *lanes)
{
    uint64_t votes = 0;
    for (int lane = 0; lane < 32; lane++)
        votes |= lanes[lane]->value << lane;
    for (int lane = 0; lane < 32; lane++)
        lanes[lane]->value = votes;
}

static void load(rs_fiber_lane *const *lanes, bool transposed)
{
    uint16_t rows[32][8];
    for (int lane = 0; lane < 32; lane++) {
        for (int i = 0; i < 16; i++)
            touch((rs_fiber_now.thread & ~31) + lane, lanes[lane]->byte + i, false);
        memcpy(rows[lane], memory + lanes[lane]->byte, 16);
    }
    for (int lane = 0; lane < 32; lane++)
        for (int tile = 0; tile < 4; tile++) {
            int row = lane / 4, column = 2 * (lane % 4);
            uint16_t first = transposed ? rows[8 * tile + column][row] : rows[8 * tile + row][column];
            uint16_t second = transposed ? rows[8 * tile + column + 1][row] : rows[8 * tile + row][column + 1];
            lanes[lane]->tiles[tile] = (uint32_t)first | (uint32_t)second << 16;
        }
}

void rs_fiber_load(rs_fiber_lane *const *lanes)
{
    load(lanes, false);
}

void rs_fiber_load_transposed(rs_fiber_lane *const *lanes)
{
    load(lanes, true);
}

static float low_half(uint32_t pair)
{
    return rs_bits_float(pair << 16);
}

static float high_half(uint32_t pair)
{
    return rs_bits_float(pair & 0xffff0000u);
}

void rs_fiber_multiply(rs_fiber_lane *const *lanes)
{
    float a[16][16], b[8][16];
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, p = 2 * (lane % 4);
        for (int r = 0; r < 4; r++) {
            a[g + r % 2 * 8][p + r / 2 * 8] = low_half(lanes[lane]->a[r]);
            a[g + r % 2 * 8][p + r / 2 * 8 + 1] = high_half(lanes[lane]->a[r]);
        }
        for (int r = 0; r < 2; r++) {
            b[g][p + r * 8] = low_half(lanes[lane]->b[r]);
            b[g][p + r * 8 + 1] = high_half(lanes[lane]->b[r]);
        }
    }
    for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < 4; r++) {
            const float *x = a[lane / 4 + r / 2 * 8], *y = b[2 * (lane % 4) + r % 2];
            double sum = (double)lanes[lane]->c[r];
            for (int k = 0; k < 16; k++)
                sum += (double)x[k] * (double)y[k];
            lanes[lane]->c[r] = (float)sum;
        }
}
