/* kernels/cuda/arena.c against a plain map of units, each free or taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "kernels/cuda/arena.h"

enum { UNITS = 300, STEPS = 20000, UNIT = RS_CUDA_ALIGNMENT };

typedef struct plain {
    int owner[UNITS]; /* 0: free */
} plain;

/* The first run of n free units, or -1. */
static int first_fit(const plain *map, int n)
{
    for (int at = 0, run = 0; at < UNITS; at++) {
        run = map->owner[at] ? 0 : run + 1;
        if (run == n)
            return at - n + 1;
    }
    return -1;
}

static int longest(const plain *map)
{
    int most = 0;
    for (int at = 0, run = 0; at < UNITS; at++) {
        run = map->owner[at] ? 0 : run + 1;
        most = run > most ? run : most;
    }
    return most;
}

static int count_free(const plain *map)
{
    int n = 0;
    for (int at = 0; at < UNITS; at++)
        n += map->owner[at] == 0;
    return n;
}

static void give_random(rs_rng *rng, rs_cuda_arena *arena, plain *map)
{
    int at = (int)rs_rng_below(rng, UNITS), owner = map->owner[at];
    if (owner == 0)
        return;
    while (at > 0 && map->owner[at - 1] == owner)
        at--;
    rs_cuda_arena_give(arena, (size_t)at * UNIT);
    for (; at < UNITS && map->owner[at] == owner; at++)
        map->owner[at] = 0;
}

static void take_random(rs_rng *rng, rs_cuda_arena *arena, plain *map, int name)
{
    size_t bytes = rs_rng_below(rng, rs_rng_below(rng, 8) == 0 ? 60 * UNIT : 9 * UNIT), offset = 0;
    int n = bytes ? (int)((bytes + UNIT - 1) / UNIT) : 1, expected = first_fit(map, n);
    rs_status status = rs_cuda_arena_take(arena, bytes, "something", &offset);
    assert_int_equal(status, expected < 0 ? RS_NO_MEMORY : RS_OK);
    rs_error_clear();
    if (expected < 0)
        return;
    assert_int_equal(offset, (size_t)expected * UNIT);
    for (int i = 0; i < n; i++)
        map->owner[expected + i] = name;
}

static void test_random(void **state)
{
    rs_rng rng;
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        rs_cuda_arena arena;
        plain map = {{0}};
        rs_rng_init(&rng, seed, "arena", 0, 0);
        rs_cuda_arena_open(&arena, UNITS * UNIT + 17);
        assert_int_equal(arena.total, UNITS * UNIT);
        for (int step = 1; step <= STEPS; step++) {
            if (rs_rng_below(&rng, 100) < 45)
                give_random(&rng, &arena, &map);
            else
                take_random(&rng, &arena, &map, step);
            assert_int_equal(arena.free, (size_t)count_free(&map) * UNIT);
            assert_int_equal(rs_cuda_arena_largest(&arena), (size_t)longest(&map) * UNIT);
        }
        for (int at = 0; at < UNITS; at++) /* all of it comes back as one piece */
            if (map.owner[at] && (at == 0 || map.owner[at - 1] != map.owner[at]))
                rs_cuda_arena_give(&arena, (size_t)at * UNIT);
        assert_int_equal(arena.n, 1);
        assert_int_equal(rs_cuda_arena_largest(&arena), UNITS * UNIT);
        rs_cuda_arena_close(&arena);
    }
}

/* Much is free and little of it together: refused, with the numbers that say why. */
static void test_message(void **state)
{
    enum { MIB = 1 << 20 };
    rs_cuda_arena arena;
    size_t offsets[8], offset;
    (void)state;
    rs_cuda_arena_open(&arena, 8 * MIB);
    for (int i = 0; i < 8; i++)
        assert_int_equal(rs_cuda_arena_take(&arena, MIB, "a piece", &offsets[i]), RS_OK);
    for (int i = 0; i < 8; i += 2)
        rs_cuda_arena_give(&arena, offsets[i]);
    assert_int_equal(rs_cuda_arena_take(&arena, 3 * MIB, "a key-value cache", &offset), RS_NO_MEMORY);
    assert_string_equal(rs_error_message(), "device memory: a key-value cache wants 3.0 MiB; of 8.0 MiB 4.0 are free, 1.0 in one piece");
    rs_error_clear();
    assert_int_equal(rs_cuda_arena_take(&arena, SIZE_MAX, "too much", &offset), RS_NO_MEMORY);
    rs_error_clear();
    rs_cuda_arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
