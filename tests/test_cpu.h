/* What the tests of the CPU backend share: random numbers, and every instruction set that the machine has. */
#ifndef RS_TEST_CPU_H
#define RS_TEST_CPU_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"

static inline void fill_normal(rs_rng *rng, float *x, int64_t n, double deviation)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(deviation * rs_rng_normal(rng));
}

static inline float rounded(rs_dtype dtype, float x)
{
    return dtype == RS_BF16 ? rs_bf16_to_float(rs_bf16_from_float(x)) : x;
}

/* Element i of an act buffer. */
static inline float act_at(rs_dtype dtype, const void *act, int64_t i)
{
    return dtype == RS_BF16 ? rs_bf16_to_float(((const uint16_t *)act)[i]) : ((const float *)act)[i];
}

static inline void act_set(rs_dtype dtype, void *act, int64_t i, float x)
{
    if (dtype == RS_BF16)
        ((uint16_t *)act)[i] = rs_bf16_from_float(x);
    else
        ((float *)act)[i] = x;
}

static inline size_t act_size(rs_dtype dtype)
{
    return dtype == RS_BF16 ? 2 : 4;
}

/* Runs `check` under every instruction set up to the machine's own. */
static inline void for_each_isa(void (*check)(void))
{
    unsetenv("ROPESWEEP_ISA");
    rs_isa most = rs_isa_detect();
    for (int isa = RS_ISA_PORTABLE; isa <= (int)most; isa++) {
        setenv("ROPESWEEP_ISA", rs_isa_name((rs_isa)isa), 1);
        check();
    }
    unsetenv("ROPESWEEP_ISA");
}

/* Starts the program anew with threads that sleep while they wait: libgomp's spin, which on a machine with more to do than processors
 * takes ten times as long as the tests. It reads the variable before main, so that setting it now is too late. */
static inline void calm_threads(char **argv)
{
    if (!getenv("OMP_WAIT_POLICY")) {
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execv("/proc/self/exe", argv);
    }
}

#endif
