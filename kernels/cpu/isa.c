/* Which instruction set the kernels run with. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernels/cpu/cpu.h"

static const char *const names[] = {"portable", "avx2", "avx512", "avx512bf16"};

const char *rs_isa_name(rs_isa isa)
{
    return names[isa];
}

#if defined(__x86_64__)
#include <cpuid.h>

/* AVX512_BF16: leaf 7, subleaf 1, EAX bit 5; __builtin_cpu_supports of clang 14 does not know the name. */
static bool has_bf16(void)
{
    unsigned a = 0, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}

static rs_isa machine_isa(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return RS_ISA_PORTABLE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq"))
        return RS_ISA_AVX2;
    return has_bf16() ? RS_ISA_AVX512BF16 : RS_ISA_AVX512;
}
#else
static rs_isa machine_isa(void)
{
    return RS_ISA_PORTABLE;
}
#endif

rs_isa rs_isa_detect(void)
{
    rs_isa isa = machine_isa();
    const char *cap = getenv("ROPESWEEP_ISA");
    if (!cap || !*cap)
        return isa;
    for (int i = RS_ISA_PORTABLE; i <= RS_ISA_AVX512BF16; i++)
        if (!strcmp(cap, names[i]))
            return i < (int)isa ? (rs_isa)i : isa;
    rs_warn("ROPESWEEP_ISA=%s is none of portable, avx2, avx512, avx512bf16; not used", cap);
    return isa;
}
