/* The deadline after a signal, in processes of their own. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/stop.h"
#include "sharding/comm_ops.h"

enum { DEADLINE = 1, LONG = 20, CAME_THROUGH = 9 };

static void stay(double seconds)
{
    for (double begun = rs_clock(); rs_clock() - begun < seconds;)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* The exit code of a process that does this. */
static int code_of(void (*body)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        body();
        _exit(CAME_THROUGH);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void late(void)
{
    rs_stop_install(DEADLINE);
    raise(SIGTERM);
    stay(LONG);
}

static void twice_late(void)
{
    rs_stop_install(DEADLINE);
    for (int i = 0; i < 1000; i++) { /* later signals do not put it off */
        raise(i % 2 ? SIGUSR1 : SIGINT);
        stay(0.02);
    }
}

static void in_time(void)
{
    rs_stop_install(DEADLINE);
    if (rs_stop_requested())
        _exit(1);
    raise(SIGUSR1);
    rs_stop_done();
    stay(DEADLINE + 0.5);
    raise(SIGTERM);
    stay(DEADLINE + 0.5);
    _exit(rs_stop_requested() ? CAME_THROUGH : 1);
}

static void asked_without_signal(void)
{
    rs_stop_install(DEADLINE);
    rs_stop_request();
    stay(DEADLINE + 0.5);
    _exit(rs_stop_requested() ? CAME_THROUGH : 1);
}

static void hangs_at_the_end(void)
{
    rs_comm_end_within(DEADLINE, 75);
    stay(LONG);
}

static void test_deadlines(void **state)
{
    (void)state;
    assert_int_equal(code_of(late), 75);
    assert_int_equal(code_of(twice_late), 75);
    assert_int_equal(code_of(in_time), CAME_THROUGH);
    assert_int_equal(code_of(asked_without_signal), CAME_THROUGH);
    assert_int_equal(code_of(hangs_at_the_end), 75);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_deadlines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
