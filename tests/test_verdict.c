/* Who is to blame: tables of what ranks say of themselves, and the rank that a person would point at. Limit: 45 s. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/pulse.h"
#include "engine/verdict.h"

#define LIMIT 45.0
#define WORKS .among = 0
#define WAITS(n) .among = (n)
#define GUARDED .among = RS_PULSE_GUARDED

typedef struct table {
    const char *name;
    int n;
    rs_rank_state ranks[6];
    rs_fault_kind kind;
    int rank, among;
} table;

static const table tables[] = {
    {"all work", 3, {{WORKS}, {WORKS, .still = 44, .silent = 1}, {WORKS, .silent = 44}}, RS_FAULT_NONE, 0, 0},
    {"exactly the limit is within it", 2, {{WORKS, .still = 45}, {WORKS, .silent = 45}}, RS_FAULT_NONE, 0, 0},
    {"one is silent, its group waits for it", 4, {{WORKS}, {WORKS}, {WAITS(2), .still = 46}, {WORKS, .silent = 46}}, RS_FAULT_SILENT, 3, 0},
    {"one is silent, and waited when it was last heard", 2, {{WAITS(2), .still = 50}, {WAITS(2), .silent = 47}}, RS_FAULT_SILENT, 1, 0},
    {"two are silent: the one that was so first", 3, {{WORKS}, {WORKS, .silent = 46}, {WORKS, .silent = 50}}, RS_FAULT_SILENT, 2, 0},
    {"two of one host are silent alike: the lower", 3, {{WORKS}, {WORKS, .silent = 46}, {WORKS, .silent = 46}}, RS_FAULT_SILENT, 1, 0},
    {"one stands still at work, all others wait for it",
     4,
     {{WAITS(4), .still = 60}, {WORKS, .still = 46}, {WAITS(4), .still = 58}, {WAITS(2), .still = 46}},
     RS_FAULT_STUCK,
     1,
     0},
    {"two stand still: the one that did so first", 2, {{WORKS, .still = 47}, {WORKS, .still = 60}}, RS_FAULT_STUCK, 1, 0},
    {"silence goes before standing still", 2, {{WORKS, .still = 90}, {WORKS, .silent = 46}}, RS_FAULT_SILENT, 1, 0},
    {"a death goes before all", 3, {{WORKS, .silent = 90}, {WORKS, .still = 90}, {WORKS, .dead = true}}, RS_FAULT_DEAD, 2, 0},
    {"all replicas but one have ended, and wait",
     4,
     {{WAITS(4), .still = 900}, {WAITS(4), .still = 900}, {WORKS, .still = 2}, {WAITS(2), .still = 3}},
     RS_FAULT_NONE,
     0,
     0},
    {"a group waits for its member that works", 2, {{WAITS(2), .still = 300}, {WORKS, .still = 5}}, RS_FAULT_NONE, 0, 0},
    {"a group waits for each other, the rest works",
     4,
     {{WORKS}, {WORKS}, {WAITS(2), .still = 50}, {WAITS(2), .still = 46}},
     RS_FAULT_DEADLOCK,
     2,
     2},
    {"a group waits, and one member only since a moment ago", 2, {{WAITS(2), .still = 50}, {WAITS(2), .still = 1}}, RS_FAULT_NONE, 0, 0},
    {"everybody waits", 3, {{WAITS(3), .still = 46}, {WAITS(3), .still = 46}, {WAITS(3), .still = 46}}, RS_FAULT_DEADLOCK, 0, 3},
    {"everybody waits, and one thread does not even turn",
     3,
     {{WAITS(3), .still = 46}, {WAITS(3), .still = 46, .frozen = 1}, {WAITS(3), .still = 46, .frozen = 45}},
     RS_FAULT_STUCK,
     2,
     0},
    {"a thread of another group that sleeps is not to blame",
     4,
     {{WAITS(2), .still = 2, .frozen = 99}, {WORKS}, {WAITS(2), .still = 46}, {WAITS(2), .still = 46}},
     RS_FAULT_DEADLOCK,
     2,
     2},
    {"what another watch looks after is not judged", 2, {{GUARDED, .still = 300}, {GUARDED, .still = 300}}, RS_FAULT_NONE, 0, 0},
    {"but heard it must be", 2, {{GUARDED, .still = 300}, {GUARDED, .silent = 46}}, RS_FAULT_SILENT, 1, 0},
    {"who has left may be silent and dead", 3, {{WORKS}, {WORKS, .left = true, .silent = 900, .dead = true}, {WORKS}}, RS_FAULT_NONE, 0, 0},
    {"who waits for one that has left waits in vain", 2, {{WAITS(2), .still = 46}, {WAITS(2), .left = true}}, RS_FAULT_DEADLOCK, 0, 2},
    {"nobody", 0, {{WORKS}}, RS_FAULT_NONE, 0, 0},
};

static void test_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const table *t = &tables[i];
        rs_fault fault = rs_verdict(t->ranks, t->n, LIMIT);
        if (fault.kind != t->kind || fault.rank != t->rank || (t->kind == RS_FAULT_DEADLOCK && fault.among != t->among))
            fail_msg("%s: kind %d, rank %d, among %d", t->name, (int)fault.kind, fault.rank, fault.among);
    }
}

/* A pulse as its watcher reads it. */
static void test_pulse(void **state)
{
    (void)state;
    rs_pulse pulse = {.phase = NULL};
    rs_pulse_work("nobody's"); /* no pulse yet */
    rs_pulse_attach(&pulse);
    rs_pulse_work("loading");
    unsigned long long moves = pulse.moves;
    assert_string_equal(pulse.phase, "loading");
    rs_pulse_tick();
    assert_true(pulse.moves > moves);
    static const char sum[] = "a sum";
    rs_pulse_wait(sum, 4);
    moves = pulse.moves;
    rs_pulse_wait(sum, 4); /* looking again is not getting on */
    assert_int_equal(pulse.moves, moves);
    assert_int_equal(pulse.among, 4);
    assert_string_equal(pulse.wait, "a sum");
    assert_string_equal(pulse.phase, "loading");
    rs_pulse_resume();
    assert_true(pulse.moves > moves);
    assert_int_equal(pulse.among, 0);
    assert_null(pulse.wait);
    rs_pulse_guarded("a step");
    rs_pulse_wait(sum, 2);
    rs_pulse_resume();
    assert_int_equal(pulse.among, RS_PULSE_GUARDED);
    rs_pulse_attach(NULL);
    moves = pulse.moves;
    rs_pulse_tick();
    assert_int_equal(pulse.moves, moves);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables), cmocka_unit_test(test_pulse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
