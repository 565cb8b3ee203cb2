/* Who gets which units when: small cases whose answer follows from the rules that engine/schedule.h states. tests/sim has the large ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/schedule.h"

enum { MOST = 64, ROOM = 1000000 };

static rs_unit got[MOST];

static void add(rs_schedule *s, int64_t point, int64_t first, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        rs_schedule_add(s, &(rs_unit){.point = point, .doc_id = first + i}, 1);
}

/* All replicas have joined with room for everything; `n` units of point 0 wait. */
static rs_schedule *start(const rs_unit_cost *costs, int64_t points, int replicas, int64_t n)
{
    rs_schedule *s = rs_schedule_open(costs, points, replicas);
    for (int i = 0; i < replicas; i++)
        rs_schedule_join(s, i, ROOM, ROOM);
    add(s, 0, 0, n);
    return s;
}

static int64_t take(rs_schedule *s, int replica, double now)
{
    return rs_schedule_take(s, replica, now, got, MOST);
}

/* A lone replica works everything off, one unit at a time; the order in which units were given. */
static void work_off(rs_schedule *s, rs_unit *order)
{
    int64_t n = 0, done = 0;
    while (!rs_schedule_over(s)) {
        for (int64_t i = take(s, 0, (double)done), k = 0; k < i; k++)
            order[n++] = got[k];
        assert_true(rs_schedule_done(s, 0, order[done].ticket, (double)done + 1));
        done++;
    }
    assert_int_equal(n, done);
}

static void test_longest_first(void **state)
{
    (void)state;
    const rs_unit_cost costs[] = {{2, 1}, {7, 1}, {7, 1}, {1, 1}};
    const int64_t expected[][2] = {{1, 0}, {1, 1}, {2, 5}, {0, 0}, {0, 1}, {0, 2}, {3, 9}};
    rs_unit order[8];
    rs_schedule *s = start(costs, 4, 1, 3);
    add(s, 3, 9, 1);
    add(s, 1, 0, 2);
    add(s, 2, 5, 1);
    work_off(s, order);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(order[i].point, expected[i][0]);
        assert_int_equal(order[i].doc_id, expected[i][1]);
    }
    assert_int_equal(take(s, 0, 99), 0);
    rs_schedule_close(s);
}

static void test_later_units_by_length(void **state)
{
    (void)state;
    const rs_unit_cost costs[] = {{1, 1}, {5, 1}};
    rs_schedule *s = start(costs, 2, 2, 8);
    assert_int_equal(take(s, 0, 0), 2);
    add(s, 1, 0, 1);
    assert_int_equal(take(s, 1, 0), 1); /* of 8 + 5 its share is 6.5, and a second one would be above half of it */
    assert_int_equal(got[0].point, 1);
    rs_schedule_close(s);
}

static void test_half_of_the_share(void **state)
{
    (void)state;
    const rs_unit_cost cost = {3, 1};
    rs_schedule *s = start(&cost, 1, 2, 16);
    assert_int_equal(take(s, 0, 0), 4); /* half of 8 */
    assert_int_equal(take(s, 0, 0), 0);
    assert_int_equal(take(s, 1, 0), 4);
    assert_int_equal(take(s, 1, 0), 0);
    assert_true(rs_schedule_left(s) == 48);
    assert_true(rs_schedule_done(s, 0, 0, 3)); /* 3 of 15 left held: more than a quarter of 7.5 */
    assert_int_equal(take(s, 0, 3), 0);
    assert_true(rs_schedule_left(s) == 45);
    rs_schedule_close(s);
}

static void test_last_units_singly(void **state)
{
    (void)state;
    const rs_unit_cost cost = {1, 1};
    rs_schedule *s = start(&cost, 1, 4, 5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(take(s, i, 0), 1);
    assert_true(rs_schedule_done(s, 2, 2, 1));
    assert_true(rs_schedule_idle(s, 2));
    assert_int_equal(take(s, 2, 1), 1);
    assert_false(rs_schedule_idle(s, 2));
    rs_schedule_close(s);
}

static void test_room(void **state)
{
    (void)state;
    const rs_unit_cost cost = {1, 40};
    rs_schedule *s = rs_schedule_open(&cost, 1, 2);
    add(s, 0, 0, 100);
    assert_int_equal(take(s, 0, 0), 0); /* it has not joined */
    rs_schedule_join(s, 0, 100, ROOM);
    rs_schedule_join(s, 1, 10, 7);
    assert_int_equal(take(s, 0, 0), 2);
    assert_int_equal(take(s, 1, 0), 1); /* longer than all its room: alone */
    assert_true(rs_schedule_done(s, 0, 0, 1));
    assert_int_equal(take(s, 0, 1), 1);
    rs_schedule_close(s);
    s = rs_schedule_open(&cost, 1, 1);
    add(s, 0, 0, 100);
    rs_schedule_join(s, 0, ROOM, 7);
    assert_int_equal(rs_schedule_take(s, 0, 0, got, 5), 5); /* cut short: there is more */
    assert_int_equal(rs_schedule_take(s, 0, 0, got, 5), 2);
    assert_int_equal(rs_schedule_take(s, 0, 0, got, 5), 0);
    rs_schedule_close(s);
}

/* Each replica returns n units that took it `seconds` each, one after another, having been given them at once. */
static void return_units(rs_schedule *s, int replica, int64_t n, double seconds)
{
    rs_unit mine[MOST];
    for (int64_t i = 0; i < n; i++)
        mine[i] = got[i];
    for (int64_t i = 0; i < n; i++)
        rs_schedule_done(s, replica, mine[i].ticket, (double)(i + 1) * seconds);
}

static void test_speed_is_learnt(void **state)
{
    (void)state;
    const rs_unit_cost cost = {1, 1};
    rs_schedule *s = start(&cost, 1, 2, 80);
    int64_t a = take(s, 0, 0);
    assert_int_equal(a, 20);
    return_units(s, 0, a, 1);
    assert_int_equal(take(s, 1, 0), 15); /* half of half of 60 */
    return_units(s, 1, 15, 3);
    a = take(s, 0, 100);
    int64_t b = take(s, 1, 100);
    assert_true(a + b > 20 && a > 2 * b && a < 4 * b); /* three times as fast, and the mean weighs a little */
    rs_schedule_close(s);
}

static void test_long_unit_for_the_fast(void **state)
{
    (void)state;
    const rs_unit_cost costs[] = {{1, 1}, {100, 1}};
    rs_schedule *s = start(costs, 2, 2, 40);
    return_units(s, 0, take(s, 0, 0), 1);
    return_units(s, 1, take(s, 1, 0), 4);
    add(s, 1, 0, 1);
    /* The slow one, asking first, would end the long unit after the fast one did even if that ended its own work before. */
    assert_true(take(s, 1, 50) >= 1);
    assert_int_equal(got[0].point, 0);
    assert_true(take(s, 0, 50) >= 1);
    assert_int_equal(got[0].point, 1);
    rs_schedule_close(s);
}

static void test_late_unit_is_made_twice(void **state)
{
    (void)state;
    const rs_unit_cost cost = {10, 1};
    rs_schedule *s = start(&cost, 1, 2, 4);
    for (int replica = 0; replica < 2; replica++)
        assert_int_equal(take(s, replica, 0), 1);
    assert_true(rs_schedule_done(s, 1, 1, 10));
    assert_int_equal(take(s, 1, 10), 1);
    assert_true(rs_schedule_done(s, 1, got[0].ticket, 20));
    assert_int_equal(take(s, 1, 20), 1);
    assert_true(rs_schedule_done(s, 1, got[0].ticket, 30));
    assert_int_equal(take(s, 1, 30), 1); /* what replica 0 has had since 0, three times as long as it should take */
    assert_int_equal(got[0].ticket, 0);
    assert_false(rs_schedule_over(s));
    assert_true(rs_schedule_done(s, 1, 0, 40));
    assert_true(rs_schedule_over(s));
    assert_false(rs_schedule_done(s, 0, 0, 41)); /* the second of its records */
    assert_true(rs_schedule_over(s) && rs_schedule_left(s) == 0);
    assert_true(rs_schedule_idle(s, 0) && rs_schedule_idle(s, 1));
    rs_schedule_close(s);
}

static void test_unit_in_time_is_left_alone(void **state)
{
    (void)state;
    const rs_unit_cost cost = {10, 1};
    rs_schedule *s = start(&cost, 1, 2, 3);
    (void)take(s, 0, 0);
    (void)take(s, 1, 0);
    assert_true(rs_schedule_done(s, 0, 0, 10));
    assert_int_equal(take(s, 0, 10), 1);
    assert_true(rs_schedule_done(s, 1, 1, 10.5));
    assert_int_equal(take(s, 1, 10.5), 0); /* the other will be done at 20, this one would be at 20.5 */
    rs_schedule_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_first),
        cmocka_unit_test(test_later_units_by_length),
        cmocka_unit_test(test_half_of_the_share),
        cmocka_unit_test(test_last_units_singly),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_speed_is_learnt),
        cmocka_unit_test(test_long_unit_for_the_fast),
        cmocka_unit_test(test_late_unit_is_made_twice),
        cmocka_unit_test(test_unit_in_time_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
