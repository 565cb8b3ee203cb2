/* The fibers that CUDA kernels are tested on: each kind of bug, in the smallest kernel that has it, is told from its correct neighbour;
 * what warp operations give is compared with what their documentation says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

#include "kernels/cuda/simt.h"

static char message[512];

static void keep_message(const char *text)
{
    snprintf(message, sizeof message, "%s", text);
}

/* Runs `launch`, which must break a rule whose message has these words. */
#define assert_breaks(launch, words)                                                                                                       \
    do {                                                                                                                                   \
        message[0] = 0;                                                                                                                    \
        assert_int_equal(launch, 719);                                                                                                     \
        if (!strstr(message, words))                                                                                                       \
            fail_msg("\"%s\" does not say \"%s\"", message, words);                                                                        \
    } while (0)

#define assert_runs(launch) assert_int_equal(launch, 0)

/* --- bounds, alignment, initialisation --- */

RS_KERNEL touch_kernel(int byte, int n, int write, int read)
{
    rs_shared<float> window = rs_shared_at<float>(byte, n);
    if (rs_thread() == 5) {
        window.set(write, 1.0f);
        (void)window.get(read);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    assert_runs(RS_LAUNCH(touch_kernel, 1, 32, 64, NULL, 16, 12, 11, 11));
    assert_breaks(RS_LAUNCH(touch_kernel, 1, 32, 64, NULL, 0, 8, 8, 0), "thread 5: 1 elements at index 8 of a window of 8");
    assert_breaks(RS_LAUNCH(touch_kernel, 1, 32, 64, NULL, 0, 8, 0, -1), "thread 5: 1 elements at index -1 of a window of 8");
    assert_breaks(RS_LAUNCH(touch_kernel, 1, 32, 64, NULL, 16, 13, 0, 0), "a window of 52 bytes at byte 16 of shared memory");
    assert_breaks(RS_LAUNCH(touch_kernel, 1, 32, 64, NULL, 8, 4, 0, 0), "no multiple of 16");
    assert_breaks(RS_LAUNCH(touch_kernel, 1, 32, 64, NULL, 0, 8, 0, 1),
                  "thread 5: reads byte 4 of shared memory, which this block has not");
    assert_non_null(strstr(message, "kernel touch_kernel, block (0, 0, 0)"));
}

template <class T> RS_KERNEL part_kernel(int start)
{
    rs_shared<uint16_t> all = rs_shared_at<uint16_t>(0, 16);
    if (rs_thread() == 0) {
        rs_shared<T> part{all.at(start).byte, 2};
        part.set(0, 1);
    }
}

static void test_alignment(void **state)
{
    (void)state;
    assert_runs(RS_LAUNCH((part_kernel<uint32_t>), 1, 32, 64, NULL, 2));
    assert_breaks(RS_LAUNCH((part_kernel<uint32_t>), 1, 32, 64, NULL, 3), "byte 6 of shared memory is no multiple of 4");
    assert_breaks(RS_LAUNCH((part_kernel<uint32_t>), 1, 32, 64, NULL, 17), "0 elements at index 17 of a window of 16");
}

/* What one block wrote is not there for the next. */
RS_KERNEL last_block_kernel()
{
    rs_shared<int> window = rs_shared_at<int>(0, 1);
    if (rs_block_y() == 0 && rs_thread() == 0)
        window.set(0, 1);
    if (rs_block_y() == 1 && rs_thread() == 0)
        (void)window.get(0);
}

static void test_blocks_share_nothing(void **state)
{
    (void)state;
    assert_runs(RS_LAUNCH(last_block_kernel, rs_dim(3, 1), 32, 16, NULL));
    assert_breaks(RS_LAUNCH(last_block_kernel, rs_dim(3, 2), 32, 16, NULL), "block (0, 1, 0), thread 0: reads byte 0");
}

/* --- races --- */

enum barrier { NO_BARRIER, WARP_BARRIER, SHUFFLE, BLOCK_BARRIER };

static void pass(barrier which)
{
    if (which == WARP_BARRIER)
        rs_sync_warp();
    if (which == SHUFFLE)
        (void)rs_shuffle(1, 0);
    if (which == BLOCK_BARRIER)
        rs_sync();
}

/* Thread `first` does one thing to element 1, thread `second` another, with a barrier between. */
RS_KERNEL race_kernel(barrier which, int first, bool first_writes, int second, bool second_writes)
{
    rs_shared<uint16_t> window = rs_shared_at<uint16_t>(0, 2);
    if (rs_thread() == 0)
        window.set(1, 1);
    rs_sync();
    if (rs_thread() == first)
        first_writes ? window.set(1, 2) : (void)window.get(1);
    pass(which);
    if (rs_thread() == second)
        second_writes ? window.set(1, 3) : (void)window.get(1);
}

static void test_races(void **state)
{
    (void)state;
    for (int writes = 1; writes < 4; writes++) {
        bool one = writes & 1, two = writes & 2;
        assert_breaks(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, NO_BARRIER, 3, one, 4, two), "race: ");
        assert_breaks(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, NO_BARRIER, 4, one, 3, two), "race: ");
        assert_breaks(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, SHUFFLE, 3, one, 4, two), "race: ");
        assert_breaks(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, WARP_BARRIER, 3, one, 40, two), "race: ");
        assert_breaks(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, WARP_BARRIER, 40, one, 3, two), "race: ");
        assert_runs(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, WARP_BARRIER, 3, one, 4, two));
        assert_runs(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, BLOCK_BARRIER, 3, one, 40, two));
        assert_runs(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, NO_BARRIER, 3, one, 3, two));
    }
    assert_runs(RS_LAUNCH(race_kernel, 1, 64, 64, NULL, NO_BARRIER, 3, false, 40, false));
}

/* Every thread in `readers` (a bit a thread of the first two warps) reads; after a warp barrier thread `writer` writes. */
RS_KERNEL readers_kernel(uint64_t readers, int writer)
{
    rs_shared<int> window = rs_shared_at<int>(0, 1);
    if (rs_thread() == 0)
        window.set(0, 1);
    rs_sync();
    if (readers >> rs_thread() & 1)
        (void)window.get(0);
    rs_sync_warp();
    if (rs_thread() == writer)
        window.set(0, 2);
}

static void test_many_readers(void **state)
{
    (void)state;
    assert_runs(RS_LAUNCH(readers_kernel, 1, 64, 64, NULL, 0xffffffffull, 7));
    assert_breaks(RS_LAUNCH(readers_kernel, 1, 64, 64, NULL, 0xffffffffull, 40), "race: writes byte 0");
    assert_breaks(RS_LAUNCH(readers_kernel, 1, 64, 64, NULL, 0x1000000ffull, 7), "race: writes byte 0");
    assert_breaks(RS_LAUNCH(readers_kernel, 1, 64, 64, NULL, 0x100000001ull, 40), "race: writes byte 0");
}

/* Neighbouring bytes are no race. */
RS_KERNEL bytes_kernel(int *sum)
{
    rs_shared<uint8_t> window = rs_shared_at<uint8_t>(0, 64);
    window.set(rs_thread(), (uint8_t)rs_thread());
    rs_sync();
    if (rs_thread() == 0)
        for (int i = 0; i < 64; i++)
            *sum += window.get(i);
}

static void test_bytes(void **state)
{
    (void)state;
    int sum = 0;
    assert_runs(RS_LAUNCH(bytes_kernel, 1, 64, 64, NULL, &sum));
    assert_int_equal(sum, 63 * 64 / 2);
}

/* --- asynchronous copies --- */

/* Two groups of one copy each; waits for all but `newest`, then thread `reader` reads the copy `which`. */
template <int newest> RS_KERNEL copy_kernel(const float *from, int which, int reader, barrier after, int index, bool valid, float *out)
{
    rs_shared<float> window = rs_shared_at<float>(0, 12);
    if (rs_thread() == 0) {
        rs_copy_async16(window, index, from, true);
        rs_copy_commit();
        rs_copy_async16(window, 4, from + 4, valid);
        rs_copy_commit();
        rs_copy_wait<newest>();
    }
    pass(after);
    if (rs_thread() == reader)
        out[0] = window.get(4 * which + 1);
}

static void test_copies(void **state)
{
    (void)state;
    alignas(16) static const float from[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    float out = -1;
    assert_runs(RS_LAUNCH((copy_kernel<1>), 1, 32, 64, NULL, from, 0, 0, NO_BARRIER, 0, true, &out));
    assert_true(out == 1);
    assert_runs(RS_LAUNCH((copy_kernel<0>), 1, 32, 64, NULL, from, 1, 9, BLOCK_BARRIER, 0, true, &out));
    assert_true(out == 5);
    assert_runs(RS_LAUNCH((copy_kernel<0>), 1, 32, 64, NULL, from, 1, 9, BLOCK_BARRIER, 0, false, &out));
    assert_true(out == 0);
    assert_breaks(RS_LAUNCH((copy_kernel<1>), 1, 32, 64, NULL, from, 1, 0, NO_BARRIER, 0, true, &out), "before thread 0's rs_copy_wait");
    assert_breaks(RS_LAUNCH((copy_kernel<2>), 1, 32, 64, NULL, from, 0, 0, NO_BARRIER, 0, true, &out), "before thread 0's rs_copy_wait");
    assert_breaks(RS_LAUNCH((copy_kernel<0>), 1, 32, 64, NULL, from, 1, 9, NO_BARRIER, 0, true, &out), "race: reads byte 20");
    assert_breaks(RS_LAUNCH((copy_kernel<0>), 1, 32, 64, NULL, from, 1, 9, BLOCK_BARRIER, 2, true, &out), "byte 8 of shared memory is no");
    assert_breaks(RS_LAUNCH((copy_kernel<0>), 1, 32, 64, NULL, from + 1, 1, 9, BLOCK_BARRIER, 0, true, &out), "which is no multiple of 16");
    assert_breaks(RS_LAUNCH((copy_kernel<0>), 1, 32, 64, NULL, from, 1, 9, BLOCK_BARRIER, 12, true, &out), "4 elements at index 12");
}

/* A copy into what another thread may still read. */
RS_KERNEL early_copy_kernel(const float *from, barrier before)
{
    rs_shared<float> window = rs_shared_at<float>(0, 4);
    if (rs_thread() < 4)
        window.set(rs_thread(), 1);
    rs_sync();
    if (rs_thread() == 33)
        (void)window.get(2);
    pass(before);
    if (rs_thread() == 0)
        rs_copy_async16(window, 0, from, true);
}

static void test_early_copy(void **state)
{
    (void)state;
    alignas(16) static const float from[4] = {0, 1, 2, 3};
    assert_runs(RS_LAUNCH(early_copy_kernel, 1, 64, 64, NULL, from, BLOCK_BARRIER));
    assert_breaks(RS_LAUNCH(early_copy_kernel, 1, 64, 64, NULL, from, WARP_BARRIER),
                  "race: writes byte 8 of shared memory, which thread 33");
}

/* --- divergence --- */

RS_KERNEL leave_kernel_early(int leaves, barrier others)
{
    if (rs_thread() == leaves)
        return;
    pass(others);
}

RS_KERNEL split_kernel(int odd, barrier its, barrier others)
{
    pass(rs_thread() == odd ? its : others);
    pass(rs_thread() == odd ? others : its);
}

static void test_divergence(void **state)
{
    (void)state;
    assert_runs(RS_LAUNCH(leave_kernel_early, 1, 64, 0, NULL, -1, BLOCK_BARRIER));
    assert_runs(RS_LAUNCH(leave_kernel_early, 1, 64, 0, NULL, 3, NO_BARRIER));
    assert_breaks(RS_LAUNCH(leave_kernel_early, 1, 64, 0, NULL, 3, BLOCK_BARRIER),
                  "thread 3: left the kernel while thread 0 waits in rs_sync");
    assert_breaks(RS_LAUNCH(leave_kernel_early, 1, 64, 0, NULL, 0, BLOCK_BARRIER), "thread 1: rs_sync after thread 0 left the kernel");
    assert_breaks(RS_LAUNCH(leave_kernel_early, 1, 64, 0, NULL, 35, SHUFFLE),
                  "thread 35: left the kernel while thread 32 waits in rs_shuffle");
    assert_breaks(RS_LAUNCH(leave_kernel_early, 1, 64, 0, NULL, 32, SHUFFLE),
                  "thread 33: rs_shuffle of int after thread 32 of its warp left");
    assert_breaks(RS_LAUNCH(split_kernel, 1, 64, 0, NULL, 5, SHUFFLE, BLOCK_BARRIER),
                  "rs_shuffle of int while thread 0 of its warp waits in");
    assert_breaks(RS_LAUNCH(split_kernel, 1, 64, 0, NULL, 5, BLOCK_BARRIER, SHUFFLE),
                  "rs_sync while thread 0 of its warp waits in rs_shuffle");
    assert_breaks(RS_LAUNCH(split_kernel, 1, 64, 0, NULL, 5, WARP_BARRIER, SHUFFLE),
                  "rs_sync_warp while thread 0 of its warp waits in rs_shu");
}

/* --- what warp operations give --- */

RS_KERNEL warp_kernel(float *out)
{
    int lane = rs_lane();
    float *mine = out + 8 * (rs_threads() * rs_block_x() + rs_thread());
    mine[0] = rs_shuffle((float)lane, 31 - lane);
    mine[1] = (float)rs_shuffle_xor(rs_thread(), 4);
    mine[2] = (float)(rs_shuffle_xor(0x1p900 * lane, 1) * 0x1p-901);
    mine[3] = (float)rs_count_bits(rs_ballot(lane % 3 == 0));
    mine[4] = rs_warp_sum((float)lane);
    mine[5] = rs_warp_max(lane == 7 ? NAN : (float)(lane ^ 21));
    mine[6] = (float)rs_warp();
    mine[7] = (float)(rs_block_x() + 100 * rs_blocks_x());
}

static void test_warp_operations(void **state)
{
    (void)state;
    enum { BLOCKS = 3, THREADS = 96 };
    static float out[BLOCKS * THREADS * 8];
    assert_runs(RS_LAUNCH(warp_kernel, BLOCKS, THREADS, 0, NULL, out));
    for (int i = 0; i < BLOCKS * THREADS; i++) {
        int thread = i % THREADS, lane = thread % 32;
        const float *mine = out + 8 * i;
        assert_true(mine[0] == (float)(31 - lane));
        assert_true(mine[1] == (float)(thread ^ 4));
        assert_true(mine[2] == 0.5f * (float)(lane ^ 1));
        assert_true(mine[3] == 11);
        assert_true(mine[4] == 31 * 32 / 2);
        assert_true(mine[5] == 31);
        assert_true(mine[6] == (float)(thread / 32));
        assert_true(mine[7] == (float)(i / THREADS + 300));
    }
}

/* c [16, 8] = c + a [16, 16] b [16, 8] by the documented layout; a through rs_load_tiles where `tiles`. a and b in bf16. */
RS_KERNEL product_kernel(const rs_bf16 *a, const rs_bf16 *b, float *c, bool tiles)
{
    int lane = rs_lane(), g = lane / 4, p = 2 * (lane % 4);
    rs_shared<rs_bf16> left = rs_shared_at<rs_bf16>(0, 256), right = rs_shared_at<rs_bf16>(512, 128);
    for (int i = lane; i < 256; i += 32)
        left.set(i, a[i]);
    for (int i = lane; i < 128; i += 32)
        right.set(i, b[i]);
    rs_sync();
    uint32_t x[4], y[4];
    if (tiles) {
        /* Tiles of a in the order of its registers; b's two tiles transposed, twice. */
        rs_load_tiles(x, left, (lane % 16) * 16 + lane / 16 * 8);
        rs_load_tiles_transposed(y, right, (lane % 16) * 8);
    } else {
        for (int r = 0; r < 4; r++) {
            int at = (g + r % 2 * 8) * 16 + p + r / 2 * 8;
            x[r] = (uint32_t)left.get(at) | (uint32_t)left.get(at + 1) << 16;
        }
        for (int r = 0; r < 2; r++)
            y[r] = (uint32_t)right.get((p + 8 * r) * 8 + g) | (uint32_t)right.get((p + 8 * r + 1) * 8 + g) << 16;
    }
    float sums[4];
    for (int r = 0; r < 4; r++)
        sums[r] = c[(g + r / 2 * 8) * 8 + p + r % 2];
    rs_mma(sums, x, y);
    for (int r = 0; r < 4; r++)
        c[(g + r / 2 * 8) * 8 + p + r % 2] = sums[r];
}

static void test_products(void **state)
{
    (void)state;
    for (int tiles = 0; tiles < 2; tiles++) {
        /* Small integers: every product and sum is exact. */
        rs_bf16 a[256], b[128];
        float c[128], expected[128];
        for (int i = 0; i < 256; i++)
            a[i] = rs_to_bf16((float)(i * 7 % 23 - 11));
        for (int i = 0; i < 128; i++)
            b[i] = rs_to_bf16((float)(i * 5 % 19 - 9));
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 8; j++) {
                int total = i - j;
                c[8 * i + j] = (float)total;
                for (int k = 0; k < 16; k++)
                    total += ((16 * i + k) * 7 % 23 - 11) * ((8 * k + j) * 5 % 19 - 9);
                expected[8 * i + j] = (float)total;
            }
        assert_runs(RS_LAUNCH(product_kernel, 1, 32, 768, NULL, a, b, c, tiles == 1));
        assert_memory_equal(c, expected, sizeof c);
    }
}

/* Four 8x8 tiles of their own numbers. */
RS_KERNEL tiles_kernel(uint32_t *plain, uint32_t *transposed, int start)
{
    rs_shared<rs_bf16> window = rs_shared_at<rs_bf16>(0, 512);
    for (int i = rs_lane(); i < 512; i += 32)
        window.set(i, (rs_bf16)i);
    rs_sync_warp();
    rs_load_tiles(plain + 4 * rs_lane(), window, 8 * rs_lane() + start);
    rs_load_tiles_transposed(transposed + 4 * rs_lane(), window, 8 * rs_lane());
}

static void test_tiles(void **state)
{
    (void)state;
    uint32_t plain[128], transposed[128];
    assert_runs(RS_LAUNCH(tiles_kernel, 1, 32, 1024, NULL, plain, transposed, 0));
    for (int lane = 0; lane < 32; lane++)
        for (int tile = 0; tile < 4; tile++) {
            int row = lane / 4, column = 2 * (lane % 4);
            uint32_t along = (uint32_t)(64 * tile + 8 * row + column), across = (uint32_t)(64 * tile + 8 * column + row);
            assert_int_equal(plain[4 * lane + tile], along | (along + 1) << 16);
            assert_int_equal(transposed[4 * lane + tile], across | (across + 8) << 16);
        }
    assert_breaks(RS_LAUNCH(tiles_kernel, 1, 32, 1024, NULL, plain, transposed, 4), "byte 504 of shared memory is no multiple of 16");
    assert_breaks(RS_LAUNCH(tiles_kernel, 1, 32, 1024, NULL, plain, transposed, 264), "8 elements at index 512 of a window of 512");
}

/* --- launches --- */

template <int n> RS_KERNEL big_kernel(int *out)
{
    if (rs_thread() == rs_threads() - 1)
        *out += n;
}

static void test_launches(void **state)
{
    (void)state;
    int out = 0;
    assert_int_equal(RS_LAUNCH((big_kernel<1>), 1, 32, 49153, NULL, &out), 1);
    assert_int_equal(RS_ALLOW_SHARED((big_kernel<1>), 232449), 1);
    assert_int_equal(RS_ALLOW_SHARED((big_kernel<1>), 232448), 0);
    assert_int_equal(RS_LAUNCH((big_kernel<1>), 2, 1024, 232448, NULL, &out), 0);
    assert_int_equal(out, 2);
    assert_int_equal(RS_LAUNCH((big_kernel<2>), 1, 32, 49153, NULL, &out), 1);
    assert_int_equal(RS_LAUNCH((big_kernel<2>), 1, 1056, 0, NULL, &out), 9);
    assert_int_equal(RS_LAUNCH((big_kernel<2>), 0, 32, 0, NULL, &out), 9);
    assert_int_equal(RS_LAUNCH((big_kernel<2>), rs_dim(1, 65536), 32, 0, NULL, &out), 9);
    assert_int_equal(out, 2);
}

int main(void)
{
    rs_fiber_on_failure = keep_message;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),          cmocka_unit_test(test_alignment),    cmocka_unit_test(test_blocks_share_nothing),
        cmocka_unit_test(test_races),           cmocka_unit_test(test_many_readers), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_copies),          cmocka_unit_test(test_early_copy),   cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_warp_operations), cmocka_unit_test(test_products),     cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_launches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
