/* The arithmetic of hopper_layout.h against the PTX ISA's rules written down plainly, and against counting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <set>
#include <vector>

extern "C" {
#include <cmocka.h>
}

#include "kernels/cuda/hopper_layout.h"

/* --- shared memory --- */

/* Parts follow one another, tiles begin where the swizzle does, and all fit into what a block may have. */
template <int HEAD_DIM> static void check_plan(int keys, int kilobytes)
{
    typedef rs_hopper_plan<HEAD_DIM> plan;
    assert_int_equal(plan::keys, keys);
    assert_int_equal(plan::keys % 16, 0); /* the inner dimension of a product with values */
    assert_int_equal(plan::half_bytes, 64 * HEAD_DIM * 2);
    assert_int_equal(plan::tile_bytes, keys * HEAD_DIM * 2);
    assert_int_equal(plan::key_tiles, 2 * plan::half_bytes);
    assert_int_equal(plan::value_tiles, plan::key_tiles + 2 * plan::tile_bytes);
    assert_int_equal(plan::barriers, kilobytes * 1024);
    assert_int_equal(plan::barriers, plan::value_tiles + 2 * plan::tile_bytes);
    assert_int_equal(plan::end, plan::barriers + 64);
    for (int part : {plan::half_bytes, plan::tile_bytes, plan::key_tiles, plan::value_tiles, keys * 128})
        assert_int_equal(part % 1024, 0);
    assert_true(plan::bytes <= 227 * 1024);
    for (int base = 0; base < 1024; base += 16) /* wherever dynamic shared memory begins */
        assert_true((base + 1023) / 1024 * 1024 + plan::end <= base + plan::bytes);
}

static void test_plan(void **state)
{
    (void)state;
    check_plan<64>(128, 16 + 2 * 2 * 16);
    check_plan<128>(128, 32 + 2 * 2 * 32);
    check_plan<256>(80, 224);
}

/* What the copy engine does to a box of `rows` lines of 64: address bits 4-6 are exclusive-ored with bits 7-9. */
static int swizzled(int byte)
{
    return byte ^ (byte >> 3 & 0x70);
}

static void test_swizzle(void **state)
{
    (void)state;
    for (int rows : {64, 80, 128}) {
        std::set<int> taken;
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < 256; column++) {
                int byte = rs_hopper_byte(rows, row, column), box = column / 64 * rows * 128;
                assert_int_equal(byte, box + swizzled(row * 128 + column % 64 * 2));
                assert_true(byte >= 0 && byte < rows * 512 && taken.insert(byte).second);
            }
        /* Eight threads that store or load neighbouring chunks of a line, or a chunk of eight lines, meet no bank twice. */
        for (int row = 0; row < rows; row += 8) {
            std::set<int> along, across;
            for (int i = 0; i < 8; i++) {
                along.insert(rs_hopper_byte(rows, row, 8 * i) % 128);
                across.insert(rs_hopper_byte(rows, row + i, 8) % 128);
            }
            assert_true(along.size() == 8 && across.size() == 8);
        }
    }
}

/* --- descriptors --- */

static void test_descriptor_bits(void **state)
{
    (void)state;
    uint64_t d = rs_hopper_descriptor(0x2a7f0, 0x1c00, 0x3fff0);
    assert_true((d & 0x3fff) == 0x2a7f);
    assert_true((d >> 16 & 0x3fff) == 0x1c0);
    assert_true((d >> 32 & 0x3fff) == 0x3fff);
    assert_true((d >> 49 & 7) == 0);
    assert_true(d >> 62 == 1);
    assert_true((d & 0x3ff1c000c000c000u) == 0);
    assert_true(rs_hopper_advance(d, 0x440) == d + 0x44);
}

/* "Shared Memory Matrix Layout", "Strides": where the tensor core looks for an element, in bytes. */
static int element_at(uint64_t d, bool across, int outer, int inner)
{
    int start = (int)(d & 0x3fff) * 16, leading = (int)(d >> 16 & 0x3fff) * 16, stride = (int)(d >> 32 & 0x3fff) * 16;
    if (across)
        return swizzled(start + outer / 64 * leading + outer % 64 * 2 + inner / 8 * stride + inner % 8 * 128);
    return swizzled(start + outer / 8 * stride + outer % 8 * 128 + inner * 2);
}

/* Every step of a product meets the elements that copies put there. */
static void check_walk(int rows, int head_dim, int base)
{
    uint64_t lines = rs_hopper_by_lines((uint32_t)base), across = rs_hopper_across_lines((uint32_t)base, rows);
    for (int step = 0; step < head_dim / 16; step++) {
        uint64_t d = rs_hopper_advance(lines, rs_hopper_step_by_lines(rows, step));
        for (int row = 0; row < rows; row++)
            for (int k = 0; k < 16; k++)
                assert_int_equal(element_at(d, false, row, k), base + rs_hopper_byte(rows, row, 16 * step + k));
    }
    for (int step = 0; step < rows / 16; step++) {
        uint64_t d = rs_hopper_advance(across, rs_hopper_step_across_lines(step));
        for (int column = 0; column < head_dim; column++)
            for (int k = 0; k < 16; k++)
                assert_int_equal(element_at(d, true, column, k), base + rs_hopper_byte(rows, 16 * step + k, column));
    }
}

static void test_walks(void **state)
{
    (void)state;
    for (int base : {1024, 64 * 1024, 184 * 1024}) {
        check_walk(64, 256, base); /* queries; and as no operand is, values of 64 */
        check_walk(80, 256, base);
        check_walk(128, 128, base);
        check_walk(128, 64, base);
    }
}

/* --- accumulators --- */

/* Register i of thread t: warp t / 32 has 16 rows; within, d[0], d[1] at (lane / 4, 2 (lane % 4)), d[2], d[3] 8 rows below, d[4] and so on
 * 8 columns to the right. As fragment a of 16 columns: a[0], a[1] = the upper and lower half of columns 0-7, a[2], a[3] of columns 8-15. */
static void test_accumulators(void **state)
{
    (void)state;
    for (int n : {64, 80, 128, 256}) {
        std::set<std::pair<int, int>> taken;
        for (int thread = 0; thread < 128; thread++)
            for (int i = 0; i < n / 2; i++) {
                int row = rs_hopper_row(thread, i), column = rs_hopper_column(thread, i);
                assert_true(row / 16 == thread / 32 && row % 8 == thread % 32 / 4 && row % 16 / 8 == i % 4 / 2);
                assert_true(column / 8 == i / 4 && column % 8 / 2 == thread % 4 && column % 2 == i % 2);
                assert_true(row < 64 && column < n && taken.insert({row, column}).second);
                assert_int_equal(column - rs_hopper_column(thread, 0), rs_hopper_column(0, i));
            }
        assert_int_equal((int)taken.size(), 64 * n);
    }
    for (int thread = 0; thread < 128; thread++)
        for (int pair = 0; pair < 32; pair++) {
            int step = pair / 4, a = pair % 4;
            assert_int_equal(rs_hopper_column(thread, 2 * pair), 16 * step + a / 2 * 8 + thread % 4 * 2);
            assert_int_equal(rs_hopper_row(thread, 2 * pair) % 16, thread % 32 / 4 + a % 2 * 8);
        }
}

/* --- tiles --- */

static void test_tiles(void **state)
{
    (void)state;
    for (int keys : {80, 128})
        for (int position = 0; position < 600; position++) {
            int tiles = 0;
            for (int first = 0; first <= position; first += keys)
                tiles++;
            assert_int_equal(rs_hopper_tiles(position, keys), tiles);
            for (int tile = 0; tile < 9; tile++) {
                int unseen = 0, close = 0;
                for (int key = tile * keys; key < (tile + 1) * keys; key++) {
                    unseen += key > position;
                    close += key >= position - 1;
                }
                assert_int_equal(rs_hopper_cut(tile, keys, position), unseen > 0);
                assert_int_equal(rs_hopper_near(tile, keys, position), close > 0);
            }
        }
}

/* --- who waits for whom --- */

/* A ring of stages with a barrier pair each, as "mbarrier" has it: a wait for a parity passes while the barrier is in a phase of the
 * other. The producer loads ahead as far as it may, and never over a tile that was not read. */
static void test_ring(void **state)
{
    (void)state;
    int phase_full[2] = {0, 0}, phase_empty[2] = {0, 0}, holds[2] = {-1, -1}, loaded = 0;
    for (int read = 0; read < 100; read++) {
        while ((uint32_t)(phase_empty[rs_hopper_stage(loaded)] & 1) != (rs_hopper_parity(loaded) ^ 1)) {
            holds[rs_hopper_stage(loaded)] = loaded;
            phase_full[rs_hopper_stage(loaded)]++;
            loaded++;
        }
        assert_int_equal(loaded, read + 2);
        assert_true((uint32_t)(phase_full[rs_hopper_stage(read)] & 1) != rs_hopper_parity(read));
        assert_int_equal(holds[rs_hopper_stage(read)], read);
        phase_empty[rs_hopper_stage(read)]++;
    }
}

/* Halves with any numbers of turns: they go in order, every arrival meets a wait, and no second arrival comes before it. */
static void test_turns(void **state)
{
    (void)state;
    for (int first = 0; first < 6; first++)
        for (int second = 0; second < 6; second++) {
            int turns[2] = {first, second}, done[2] = {0, 0}, arrivals[2] = {0, 0};
            for (bool moved = true; moved;) {
                moved = false;
                for (int half = 0; half < 2; half++) {
                    int turn = done[half], other = turns[1 - half];
                    if (turn == turns[half])
                        continue;
                    bool waits = rs_hopper_waits(half, turn, other);
                    if (waits && !arrivals[half])
                        continue;
                    assert_true(!waits || arrivals[half] == 1);
                    arrivals[half] -= waits;
                    /* the turns before this one are over: of both halves, as far as they go */
                    assert_true(done[1 - half] >= std::min(other, half == 0 ? turn : turn + 1));
                    arrivals[1 - half] += rs_hopper_passes(half, turn, other);
                    assert_true(arrivals[1 - half] <= 1);
                    done[half]++;
                    moved = true;
                }
            }
            assert_true(done[0] == first && done[1] == second && !arrivals[0] && !arrivals[1]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),  cmocka_unit_test(test_swizzle), cmocka_unit_test(test_descriptor_bits),
        cmocka_unit_test(test_walks), cmocka_unit_test(test_tiles),   cmocka_unit_test(test_accumulators),
        cmocka_unit_test(test_ring),  cmocka_unit_test(test_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
