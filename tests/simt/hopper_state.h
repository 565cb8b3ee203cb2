/* What the two halves of the machine of hopper_machine.h share: hopper_machine.cpp has threads and barriers, hopper_engine.cpp shared
 * memory, copies and products. */
#ifndef RS_SIMT_HOPPER_STATE_H
#define RS_SIMT_HOPPER_STATE_H

#include <functional>
#include <vector>

#include "simt/hopper_machine.h"

namespace hopper
{

enum {
    THREADS = 384,
    WARPS = THREADS / 32,
    GROUP = 128,
    GROUPS = THREADS / GROUP,
    MBARRIERS = 16,
    SHARED = 232448,
    BASE = 1024 + 16, /* of dynamic shared memory: no multiple of 1024 */
};

/* What has happened: a count for each thread, for the products that each warp has a part in, for the copies that each mbarrier counts. An
 * event is before what a thread does now if the thread's history has reached the event's count. */
enum { PRODUCTS = THREADS, COPIES = PRODUCTS + WARPS, CLOCKS = COPIES + MBARRIERS };
struct history {
    uint32_t at[CLOCKS] = {};
    void join(const history &other)
    {
        for (int i = 0; i < CLOCKS; i++)
            at[i] = at[i] > other.at[i] ? at[i] : other.at[i];
    }
};

struct mbarrier {
    uint32_t address = 0;
    int number = 0, count = 0, pending = 0;
    int64_t bytes = 0;
    uint32_t phase = 0;
    bool published = false;
    history arrived, done;
};

/* A thread's accumulators while products have them: the real ones hold poison. */
struct loan {
    float *d;
    int n;
    uint32_t until; /* group */
    float value[128];
};

/* What a thread has under way. */
struct thread_state {
    history before;
    uint32_t issued = 0, committed = 0; /* products, groups */
    bool fenced = false;
    std::vector<loan> loans;
    std::vector<uint32_t> stored; /* chunks, not published */
    std::vector<const void *> maps;
};

/* hopper_machine.cpp */
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char *format, ...);
uint32_t random_below(uint32_t n);
thread_state &state_of(int thread);
thread_state &self(); /* of the running thread */
uint32_t tick();      /* a new event of the running thread */
void wait_until(const std::function<bool()> &ready);
void breathe(); /* somewhere else goes on now and then */
mbarrier *mbarrier_at(uint32_t address);
void complete(mbarrier *barrier); /* its phase, if nothing is missing */

/* hopper_engine.cpp */
void engine_reset(int shared_bytes);
bool engine_step(); /* one copy or product; false: there is none */
void engine_check_end();

} // namespace hopper

#endif
