/* Threads, barriers and launches of the machine: see hopper_machine.h. It stands in for fiber.cpp where a program links both. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "simt/hopper_state.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define RS_SWITCH(keep, bottom, bytes) __sanitizer_start_switch_fiber(keep, bottom, bytes)
#define RS_ARRIVE(keep, bottom, bytes) __sanitizer_finish_switch_fiber(keep, bottom, bytes)
#else
#define RS_SWITCH(keep, bottom, bytes) ((void)0)
#define RS_ARRIVE(keep, bottom, bytes) ((void)0)
#endif

using namespace hopper;

enum { STACK = 1 << 18 };

struct fiber {
    ucontext_t context;
    void *fake_stack; /* asan's */
    std::vector<char> stack = std::vector<char>(STACK);
    bool done;
    std::function<bool()> ready; /* empty: runs */
};

struct warp {
    int arrived;
    uint32_t generation;
    const char *name;
    rs_fiber_lane *lanes[32];
};

struct named_barrier {
    int arrived = 0, threads = 0;
    history joined;
    std::vector<int> waiting;
};

rs_fiber_place rs_fiber_now;

static fiber fibers[THREADS], *running;
static thread_state states[THREADS];
static ucontext_t scheduler;
[[maybe_unused]] static const void *scheduler_stack;
[[maybe_unused]] static size_t scheduler_bytes;
static warp warps[WARPS];
static named_barrier barriers[16];
static mbarrier mbarriers[MBARRIERS];
static int n_mbarriers;
static uint64_t random_state = 1;
static uint32_t haste; /* of copies and products: 0 only where no thread can go on, 1 now and then, 2 at once */
static void (*kernel_body)(const void *);
static const void *kernel_closure;

void rs_machine_seed(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    haste = (uint32_t)(seed % 3);
}

uint32_t hopper::random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % n;
}

void hopper::fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "block %u, thread %d: ", rs_fiber_now.block.x, rs_fiber_now.thread);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

/* --- threads --- */

static void suspend()
{
    fiber *self = running;
    RS_SWITCH(&self->fake_stack, scheduler_stack, scheduler_bytes);
    swapcontext(&self->context, &scheduler);
    RS_ARRIVE(self->fake_stack, &scheduler_stack, &scheduler_bytes);
}

static void resume(fiber *to)
{
    void *fake_stack = NULL;
    RS_SWITCH(&fake_stack, to->stack.data(), to->stack.size());
    swapcontext(&scheduler, &to->context);
    RS_ARRIVE(fake_stack, NULL, NULL);
    (void)fake_stack;
}

void hopper::wait_until(const std::function<bool()> &ready)
{
    if (ready())
        return;
    running->ready = ready;
    suspend();
    running->ready = nullptr;
}

void hopper::breathe()
{
    if (random_below(16) == 0)
        suspend();
}

thread_state &hopper::state_of(int thread)
{
    return states[thread];
}

thread_state &hopper::self()
{
    return states[rs_fiber_now.thread];
}

uint32_t hopper::tick()
{
    return ++self().before.at[rs_fiber_now.thread];
}

static void fiber_main()
{
    RS_ARRIVE(NULL, &scheduler_stack, &scheduler_bytes);
    kernel_body(kernel_closure);
    running->done = true;
    suspend();
}

void rs_fiber_collective(const char *name, void (*run)(rs_fiber_lane *const *lanes), rs_fiber_lane *mine)
{
    warp *its = &warps[rs_fiber_now.thread / 32];
    if (its->arrived && strcmp(its->name, name))
        fail("%s while its warp waits in %s", name, its->name);
    its->name = name;
    its->lanes[rs_fiber_now.thread % 32] = mine;
    uint32_t generation = its->generation;
    if (++its->arrived == 32) {
        run(its->lanes);
        its->arrived = 0;
        its->generation++;
    }
    wait_until([=] { return its->generation != generation; });
}

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
        votes |= (uint64_t)(lanes[lane]->value != 0) << lane;
    for (int lane = 0; lane < 32; lane++)
        lanes[lane]->value = votes;
}

/* --- barriers --- */

static void arrive_at(named_barrier *barrier, int threads, bool waits)
{
    if (barrier->arrived && barrier->threads != threads)
        fail("%d threads at a barrier of %d", threads, barrier->threads);
    barrier->threads = threads;
    barrier->joined.join(self().before);
    tick();
    if (waits)
        barrier->waiting.push_back(rs_fiber_now.thread);
    if (++barrier->arrived < threads)
        return;
    for (int thread : barrier->waiting)
        state_of(thread).before.join(barrier->joined);
    *barrier = named_barrier();
}

static void sync_at(int number, int threads)
{
    int thread = rs_fiber_now.thread;
    named_barrier *barrier = &barriers[number];
    arrive_at(barrier, threads, true);
    wait_until([=] {
        for (int waiting : barrier->waiting)
            if (waiting == thread)
                return false;
        return true;
    });
}

void rs_fiber_sync()
{
    sync_at(0, THREADS);
}

void rs_hopper_sync(int barrier, int threads)
{
    if (barrier < 1 || barrier > 15 || threads % 32 || threads > THREADS)
        fail("bar.sync %d, %d", barrier, threads);
    sync_at(barrier, threads);
}

void rs_hopper_arrive(int barrier, int threads)
{
    if (barrier < 1 || barrier > 15 || threads % 32 || threads > THREADS)
        fail("bar.arrive %d, %d", barrier, threads);
    arrive_at(&barriers[barrier], threads, false);
    breathe();
}

mbarrier *hopper::mbarrier_at(uint32_t address)
{
    for (int i = 0; i < n_mbarriers; i++)
        if (mbarriers[i].address == address)
            return &mbarriers[i];
    fail("no mbarrier at %#x", address);
}

void hopper::complete(mbarrier *barrier)
{
    if (barrier->pending < 0)
        fail("more arrivals at the mbarrier at %#x than its count of %d", barrier->address, barrier->count);
    if (barrier->pending || barrier->bytes)
        return;
    barrier->phase++;
    barrier->pending = barrier->count;
    barrier->done = barrier->arrived;
    barrier->arrived = history();
}

void rs_mbarrier_init(uint32_t address, int count)
{
    if (address % 8 || n_mbarriers == MBARRIERS || count < 1)
        fail("mbarrier.init at %#x with count %d", address, count);
    mbarrier *barrier = &mbarriers[n_mbarriers];
    *barrier = mbarrier();
    barrier->number = n_mbarriers++;
    barrier->address = address;
    barrier->count = barrier->pending = count;
}

void rs_mbarrier_publish()
{
    for (int i = 0; i < n_mbarriers; i++)
        mbarriers[i].published = true;
}

void rs_mbarrier_arrive(uint32_t address)
{
    rs_mbarrier_arrive_expect(address, 0);
}

void rs_mbarrier_arrive_expect(uint32_t address, int bytes)
{
    mbarrier *barrier = mbarrier_at(address);
    barrier->bytes += bytes;
    barrier->pending--;
    barrier->arrived.join(self().before);
    tick();
    complete(barrier);
    breathe();
}

void rs_mbarrier_wait(uint32_t address, uint32_t parity)
{
    mbarrier *barrier = mbarrier_at(address);
    wait_until([=] { return (barrier->phase & 1) != parity; });
    self().before.join(barrier->done);
}

/* --- launches --- */

static bool run_fiber()
{
    uint32_t first = random_below(THREADS);
    for (uint32_t i = 0; i < THREADS; i++) {
        int thread = (int)((first + i) % THREADS);
        rs_fiber_now.thread = thread;
        running = &fibers[thread];
        if (running->done || (running->ready && !running->ready()))
            continue;
        resume(running);
        return true;
    }
    return false;
}

static int living()
{
    int n = 0;
    for (const fiber &each : fibers)
        n += !each.done;
    return n;
}

static void run_block()
{
    memset(warps, 0, sizeof warps);
    n_mbarriers = 0;
    for (named_barrier &each : barriers)
        each = named_barrier();
    for (int thread = 0; thread < THREADS; thread++) {
        fiber *made = &fibers[thread];
        states[thread] = thread_state();
        states[thread].before.at[thread] = 1;
        made->done = false;
        made->ready = nullptr;
        getcontext(&made->context);
        made->context.uc_stack.ss_sp = made->stack.data();
        made->context.uc_stack.ss_size = made->stack.size();
        makecontext(&made->context, fiber_main, 0);
    }
    while (living()) {
        bool engine_first = haste == 2 || (haste == 1 && random_below(4) == 0);
        if (!(engine_first && engine_step()) && !run_fiber() && !engine_step())
            fail("deadlock: %d threads wait, the last of them this", living());
    }
    engine_check_end();
    for (const named_barrier &each : barriers)
        if (each.arrived)
            fail("the block ended with arrivals at a barrier that nobody waited for");
}

int rs_fiber_allow_shared(rs_fiber_function kernel, int bytes)
{
    (void)kernel;
    return bytes > SHARED ? 1 : 0;
}

int rs_fiber_run(const char *name, rs_fiber_function kernel, rs_dim grid, rs_dim block, int bytes, void (*body)(const void *),
                 const void *closure)
{
    (void)name;
    (void)kernel;
    if (bytes > SHARED - 1024 || block.x != THREADS || !grid.x)
        return 1;
    kernel_body = body;
    kernel_closure = closure;
    rs_fiber_now.threads = THREADS;
    rs_fiber_now.blocks = grid;
    for (unsigned i = 0; i < grid.x; i++) {
        rs_fiber_now.block = rs_dim(i);
        engine_reset(bytes);
        run_block();
    }
    return 0;
}
