/* Timing for the benchmarks of the CPU backend. */
#ifndef RS_BENCH_H
#define RS_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/rng.h"
#include "base/status.h"
#include "kernels/backend.h"

static inline double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What a run took: the least of several, as the wall sees it and as the processors do (on a shared machine the two differ). */
typedef struct timing {
    double wall, cpu;
} timing;

static inline timing time_of(void (*run)(void *), void *argument, double at_least)
{
    timing best = {1e30, 1e30};
    run(argument);
    for (double spent = 0; spent < at_least;) {
        double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        run(argument);
        wall = seconds_of(CLOCK_MONOTONIC) - wall;
        cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        best.wall = wall < best.wall ? wall : best.wall;
        best.cpu = cpu < best.cpu ? cpu : best.cpu;
        spent += wall;
    }
    return best;
}

static inline void must(rs_status status)
{
    if (status != RS_OK) {
        fprintf(stderr, "error: %s\n", rs_error_message());
        exit(1);
    }
}

#endif
