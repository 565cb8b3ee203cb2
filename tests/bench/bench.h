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

/* What a run took: the least wall time of several, and the mean of the processors' time over all threads (on a shared machine, and where
 * threads wait in a loop, the two tell different things; a single run's is off by up to a clock tick a thread). */
typedef struct timing {
    double wall, cpu;
} timing;

static inline timing time_of(void (*run)(void *), void *argument, double at_least)
{
    timing took = {.wall = 1e30};
    run(argument);
    int n = 0;
    double before = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    for (double spent = 0; spent < at_least; n++) {
        double wall = seconds_of(CLOCK_MONOTONIC);
        run(argument);
        wall = seconds_of(CLOCK_MONOTONIC) - wall;
        took.wall = wall < took.wall ? wall : took.wall;
        spent += wall;
    }
    took.cpu = (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - before) / n;
    return took;
}

static inline void must(rs_status status)
{
    if (status != RS_OK) {
        fprintf(stderr, "error: %s\n", rs_error_message());
        exit(1);
    }
}

#endif
