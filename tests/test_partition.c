/* Partitions cover, do not overlap, are even, and refine one another; key/value heads of a rank's queries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sharding/partition.h"

static const int64_t lengths[] = {0,        1, 2, 3, 7, 8, 9, 48, 576, 1536, 3072, 16384, 24576, 49152, 256000, 128256, INT64_C(1) << 40,
                                  INT64_MAX};
static const int counts[] = {1, 2, 3, 4, 5, 7, 8, 16, 64, 1000, 1 << 20};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_cover(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t j = 0; j < COUNT(counts) - 1; j++) {
            int64_t n = lengths[i], next = 0;
            int parts = counts[j];
            for (int part = 0; part < parts; part++) {
                rs_range range = rs_partition(n, parts, part);
                assert_int_equal(range.first, next);
                assert_true(range.n == n / parts || range.n == n / parts + 1);
                next += range.n;
            }
            assert_int_equal(next, n);
        }
}

static void test_formula(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 200; n++)
        for (int parts = 1; parts < 40; parts++)
            for (int part = 0; part < parts; part++) {
                rs_range range = rs_partition(n, parts, part);
                assert_int_equal(range.first, part * n / parts);
                assert_int_equal(range.first + range.n, (part + 1) * n / parts);
            }
}

static void test_no_overflow(void **state)
{
    (void)state;
    int parts = 1 << 20;
    rs_range last = rs_partition(INT64_MAX, parts, parts - 1);
    assert_true(last.first > 0 && last.n > 0);
    assert_true(last.first + (last.n - 1) == INT64_MAX - 1);
}

static void test_refine(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (int coarse = 1; coarse <= 16; coarse++)
            for (int fold = 1; fold <= 8; fold++)
                for (int part = 0; part < coarse; part++) {
                    rs_range whole = rs_partition(lengths[i], coarse, part);
                    rs_range first = rs_partition(lengths[i], coarse * fold, part * fold);
                    rs_range last = rs_partition(lengths[i], coarse * fold, part * fold + fold - 1);
                    assert_int_equal(whole.first, first.first);
                    assert_int_equal(whole.first + whole.n, last.first + last.n);
                }
}

static void test_kv(void **state)
{
    (void)state;
    static const struct {
        int heads, kv, parts, part;
        int64_t first, n;
    } cases[] = {
        {8, 1, 1, 0, 0, 1},   {8, 1, 8, 5, 0, 1},  {16, 16, 4, 1, 4, 4}, {16, 1, 8, 7, 0, 1}, {16, 2, 8, 3, 0, 1},
        {16, 2, 8, 4, 1, 1},  {16, 2, 2, 1, 1, 1}, {9, 3, 3, 2, 2, 1},   {9, 3, 9, 4, 1, 1},  {32, 8, 8, 7, 7, 1},
        {32, 8, 16, 7, 3, 1}, {32, 8, 2, 0, 0, 4}, {9, 3, 2, 0, 0, 2},   {9, 3, 2, 1, 1, 2}, /* queries 0..3 read 0 and 1, 4..8 read 1 and
                                                                                                2: one head on both */
        {2, 2, 3, 0, 0, 0},                                                                  /* a rank without queries reads nothing */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rs_range heads = rs_partition(cases[i].heads, cases[i].parts, cases[i].part);
        rs_range kv = rs_partition_kv(heads, cases[i].heads, cases[i].kv);
        assert_int_equal(kv.first, cases[i].first);
        assert_int_equal(kv.n, cases[i].n);
    }
}

static void test_kv_reads_what_queries_need(void **state)
{
    (void)state;
    for (int kv_heads = 1; kv_heads <= 8; kv_heads++)
        for (int group = 1; group <= 8; group++)
            for (int parts = 1; parts <= kv_heads * group; parts++)
                for (int part = 0; part < parts; part++) {
                    rs_range heads = rs_partition(kv_heads * group, parts, part);
                    rs_range kv = rs_partition_kv(heads, kv_heads * group, kv_heads);
                    assert_int_equal(kv.first, heads.first / group);
                    assert_int_equal(kv.first + kv.n - 1, (heads.first + heads.n - 1) / group);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cover),  cmocka_unit_test(test_formula), cmocka_unit_test(test_no_overflow),
        cmocka_unit_test(test_refine), cmocka_unit_test(test_kv),      cmocka_unit_test(test_kv_reads_what_queries_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
