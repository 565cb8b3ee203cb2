/* The world of one rank without MPI: collectives are the identity, messages to oneself keep their order by tag and wake a waiting thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sharding/comm.h"

static void test_collectives(void **state)
{
    (void)state;
    rs_comm *world = rs_comm_local_open(), *part;
    assert_int_equal(rs_comm_rank(world), 0);
    assert_int_equal(rs_comm_size(world), 1);
    float data[3] = {1.0f, -2.0f, 3.5f}, copy[3] = {0};
    assert_int_equal(rs_comm_sum(world, data, 3), RS_OK);
    assert_int_equal(rs_comm_broadcast(world, data, sizeof data, 0), RS_OK);
    assert_int_equal(rs_comm_gather(world, data, sizeof data, copy), RS_OK);
    assert_memory_equal(data, copy, sizeof data);
    float received[3] = {0};
    assert_int_equal(rs_comm_exchange(world, data, sizeof data, received), RS_OK);
    assert_memory_equal(data, received, sizeof data);
    assert_true(data[0] == 1.0f && data[1] == -2.0f && data[2] == 3.5f);
    int rank = 9, size = 9;
    assert_int_equal(rs_comm_barrier(world), RS_OK);
    assert_int_equal(rs_comm_local(world, &rank, &size), RS_OK);
    assert_int_equal(rank, 0);
    assert_int_equal(size, 1);
    assert_int_equal(rs_comm_split(world, 4, &part), RS_OK);
    assert_int_equal(rs_comm_size(part), 1);
    rs_comm_close(part);
    rs_comm_close(world);
    rs_comm_close(NULL);
}

static void expect(rs_comm *comm, int tag, const char *text)
{
    void *data;
    size_t bytes;
    int sender = 9;
    assert_int_equal(rs_comm_receive(comm, RS_ANY_RANK, tag, &sender, &data, &bytes), RS_OK);
    assert_int_equal(sender, 0);
    assert_int_equal(bytes, strlen(text));
    assert_true(bytes > 0 || data == NULL);
    if (bytes > 0)
        assert_memory_equal(data, text, bytes);
    free(data);
}

static void test_messages(void **state)
{
    (void)state;
    rs_comm *world = rs_comm_local_open();
    bool waiting = true;
    assert_int_equal(rs_comm_poll(world, 1, &waiting), RS_OK);
    assert_false(waiting);
    assert_int_equal(rs_comm_send(world, 0, 1, "first", 5), RS_OK);
    assert_int_equal(rs_comm_send(world, 0, 2, "other", 5), RS_OK);
    assert_int_equal(rs_comm_send(world, 0, 1, NULL, 0), RS_OK);
    assert_int_equal(rs_comm_send(world, 0, 3, "never taken", 11), RS_OK);
    assert_int_equal(rs_comm_poll(world, 2, &waiting), RS_OK);
    assert_true(waiting);
    expect(world, 2, "other");
    expect(world, 1, "first");
    expect(world, 1, "");
    assert_int_equal(rs_comm_send(world, 0, 1, "", (size_t)INT_MAX + 1), RS_INTERNAL);
    assert_non_null(strstr(rs_error_message(), "2147483648 bytes"));
    rs_error_clear();
    rs_comm_close(world);
}

static void *send_late(void *world)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    rs_comm_send(world, 0, 7, "late", 4);
    return NULL;
}

static void test_receive_waits(void **state)
{
    (void)state;
    rs_comm *world = rs_comm_local_open();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_late, world), 0);
    expect(world, 7, "late");
    pthread_join(thread, NULL);
    rs_comm_close(world);
}

static void test_abort(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0)
        rs_comm_abort(rs_comm_local_open(), 75);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 75);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collectives),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_receive_waits),
        cmocka_unit_test(test_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
