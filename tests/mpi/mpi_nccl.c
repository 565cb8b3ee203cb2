/* comm_nccl over a fake of NCCL and CUDA (tests/simt/nccl_fake.c), on as many ranks as it is started with. No argument: what must work.
 * MODE RANK: what goes wrong on that rank; nccl_failures.py holds what must come of it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cuda_runtime_api.h>

#include "base/clock.h"
#include "base/memory.h"
#include "sharding/comm.h"
#include "sharding/comm_device.h"
#include "simt/nccl_fake.h"

static rs_comm *world;
static int rank, size;

#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            fprintf(stderr, "%s:%d: rank %d: %s (%s)\n", __FILE__, __LINE__, rank, #condition, rs_error_message());                        \
            rs_comm_abort(world, 2);                                                                                                       \
        }                                                                                                                                  \
    } while (0)

static rs_comm_nccl_options options(double timeout_seconds)
{
    return (rs_comm_nccl_options){.group = world, .world = world, .stream = nccl_fake_stream, .timeout_seconds = timeout_seconds};
}

static rs_comm *open_comm(double timeout_seconds)
{
    static char bus_id[16];
    snprintf(bus_id, sizeof bus_id, "0000:%02x:00.0", (unsigned)rank);
    nccl_fake_wish.bus_id = bus_id;
    rs_comm_nccl_options o = options(timeout_seconds);
    rs_comm *comm = NULL;
    CHECK(rs_comm_nccl_open(&o, &comm) == RS_OK && comm);
    return comm;
}

/* --- what must work --- */

static unsigned char byte_of(int from, int to, size_t i)
{
    return (unsigned char)(31 * from + 7 * to + (int)(i % 251));
}

static void test_blocks(rs_comm *comm, size_t n)
{
    unsigned char *send = rs_alloc((size_t)size * n, 1), *received = rs_alloc((size_t)size * n, 1);
    for (int to = 0; to < size; to++)
        for (size_t i = 0; i < n; i++)
            send[(size_t)to * n + i] = byte_of(rank, to, i);
    CHECK(rs_comm_exchange(comm, send, n, received) == RS_OK);
    nccl_fake_wait();
    for (int from = 0; from < size; from++)
        for (size_t i = 0; i < n; i++)
            CHECK(received[(size_t)from * n + i] == byte_of(from, rank, i));
    memset(received, 0, (size_t)size * n);
    CHECK(rs_comm_gather(comm, send, n, received) == RS_OK);
    nccl_fake_wait();
    for (int from = 0; from < size; from++)
        for (size_t i = 0; i < n; i++)
            CHECK(received[(size_t)from * n + i] == byte_of(from, 0, i));
    for (int root = 0; root < size; root++) {
        memset(received, rank == root ? root + 1 : 0, n);
        CHECK(rs_comm_broadcast(comm, received, n, root) == RS_OK);
        nccl_fake_wait();
        for (size_t i = 0; i < n; i++)
            CHECK(received[i] == root + 1);
    }
    free(received);
    free(send);
}

typedef struct sum {
    float *exchanged;
    size_t share;
} sum;

static void add_ranks(void *context)
{
    sum *s = context;
    for (int from = 1; from < size; from++)
        for (size_t i = 0; i < s->share; i++)
            s->exchanged[i] += s->exchanged[(size_t)from * s->share + i];
}

static float term(int of, size_t i)
{
    return (float)(1 + (i * 7919 + (size_t)of * 104729) % 1000) * (of % 2 ? 1e-5f : 1e4f);
}

/* The caller's sum: exchange, additions in rank order and gather, all queued without waiting; n floats, a multiple of size. */
static void test_sum(rs_comm *comm, size_t share)
{
    size_t n = share * (size_t)size;
    float *data = rs_alloc(n, sizeof *data);
    sum s = {.exchanged = rs_alloc(n, sizeof *data), .share = share};
    for (size_t i = 0; i < n; i++)
        data[i] = term(rank, i);
    CHECK(rs_comm_exchange(comm, data, share * sizeof *data, s.exchanged) == RS_OK);
    nccl_fake_launch(add_ranks, &s);
    CHECK(rs_comm_gather(comm, s.exchanged, share * sizeof *data, data) == RS_OK);
    nccl_fake_wait();
    for (size_t i = 0; i < n; i++) {
        float want = term(0, i);
        for (int from = 1; from < size; from++)
            want += term(from, i);
        CHECK(memcmp(&want, &data[i], sizeof want) == 0);
    }
    free(s.exchanged);
    free(data);
}

static void sleep_some(void *context)
{
    (void)context;
    nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
}

/* What no rank may see before all ranks' streams came to the barrier. */
static void test_barrier(rs_comm *comm)
{
    double before = rs_clock();
    CHECK(rs_comm_barrier(world) == RS_OK);
    if (rank == size - 1)
        nccl_fake_launch(sleep_some, NULL);
    CHECK(rs_comm_barrier(comm) == RS_OK);
    nccl_fake_wait();
    CHECK(rs_clock() - before >= 0.25);
}

/* More operations than are watched at a time, none waited for. */
static void test_run_ahead(rs_comm *comm)
{
    enum { N = 300 };
    int *all = rs_alloc((size_t)(N * size), sizeof *all), mine[N];
    for (int i = 0; i < N; i++) {
        mine[i] = 1000 * i + rank;
        CHECK(rs_comm_gather(comm, &mine[i], sizeof *mine, all + i * size) == RS_OK);
    }
    nccl_fake_wait();
    for (int i = 0; i < N * size; i++)
        CHECK(all[i] == 1000 * (i / size) + i % size);
    CHECK(cudaGetLastError() == cudaSuccess);
    free(all);
}

static void test_graph(rs_comm *comm)
{
    int mine = 0, *all = rs_alloc((size_t)size, sizeof *all);
    nccl_fake_capture_begin();
    CHECK(rs_comm_gather(comm, &mine, sizeof mine, all) == RS_OK);
    nanosleep(&(struct timespec){.tv_nsec = 120000000}, NULL); /* the watch looks in */
    nccl_fake_capture_end();
    for (int i = 1; i <= 3; i++) {
        mine = 100 * i + rank;
        nccl_fake_graph_launch();
        CHECK(rs_comm_barrier(comm) == RS_OK);
        nccl_fake_wait();
        for (int from = 0; from < size; from++)
            CHECK(all[from] == 100 * i + from);
    }
    nccl_fake_graph_free();
    free(all);
}

static void test_no_such(rs_comm *comm)
{
    float value = 0;
    rs_comm *part = NULL;
    void *data = NULL;
    size_t bytes = 0;
    bool waiting = false;
    CHECK(size == 1 || (rs_comm_sum(comm, &value, 1) == RS_INTERNAL && strncmp(rs_error_message(), "sum on rank", 11) == 0));
    rs_error_clear();
    CHECK(rs_comm_split(comm, 0, &part) == RS_INTERNAL && strncmp(rs_error_message(), "split on rank", 13) == 0);
    rs_error_clear();
    CHECK(rs_comm_send(comm, 0, 1, "", 1) == RS_INTERNAL && strncmp(rs_error_message(), "send on rank", 12) == 0);
    rs_error_clear();
    CHECK(rs_comm_receive(comm, 0, 1, NULL, &data, &bytes) == RS_INTERNAL && strncmp(rs_error_message(), "receive on rank", 15) == 0);
    rs_error_clear();
    CHECK(rs_comm_poll(comm, 1, &waiting) == RS_INTERNAL && strncmp(rs_error_message(), "poll on rank", 12) == 0);
    rs_error_clear();
}

/* Kernels of a quarter of a second each before operations that may take a second: what waits in the queue is not late. */
static void test_queue_is_not_lateness(void)
{
    rs_comm *comm = open_comm(1);
    int mine = rank, *all = rs_alloc((size_t)size, sizeof *all);
    for (int i = 0; i < 6; i++) {
        nccl_fake_launch(sleep_some, NULL);
        CHECK(rs_comm_gather(comm, &mine, sizeof mine, all) == RS_OK);
    }
    nccl_fake_wait();
    free(all);
    rs_comm_close(comm);
}

static void expect_refusal(const char *want)
{
    rs_comm_nccl_options o = options(30);
    rs_comm *comm = NULL;
    CHECK(rs_comm_nccl_open(&o, &comm) == RS_INVALID && comm == NULL && strstr(rs_error_message(), want));
    rs_error_clear();
    CHECK(cudaGetLastError() == cudaSuccess);
}

/* Every rank hears the same, whichever it is about. */
static void test_refusals(void)
{
    char want[64];
    nccl_fake_wish.bus_id = rank == size - 1 ? NULL : rank == 0 ? "a" : "b";
    snprintf(want, sizeof want, "rank %d (", size - 1);
    expect_refusal(want);
    nccl_fake_wish.bus_id = rank == size - 1 ? NULL : "a"; /* shared too, but a device is missing first */
    expect_refusal("cudaSetDevice: no device (fake)");
    if (size < 2)
        return;
    char bus_id[16];
    snprintf(bus_id, sizeof bus_id, "0000:%02x:00.0", (unsigned)(rank == size - 1 ? 0 : rank));
    nccl_fake_wish.bus_id = bus_id;
    snprintf(want, sizeof want, "ranks 0 and %d share GPU 0000:00:00.0 of ", size - 1);
    expect_refusal(want);
    expect_refusal("NCCL needs one GPU a rank: use parallel.comm: mpi");
}

static void test_all(void)
{
    nccl_fake_open();
    for (int polls = 0; polls <= 3; polls += 3) {
        nccl_fake_wish.polls = polls;
        rs_comm *comm = open_comm(60);
        CHECK(rs_comm_rank(comm) == rank && rs_comm_size(comm) == size);
        test_blocks(comm, 1);
        test_blocks(comm, 70001);
        test_sum(comm, 1);
        test_sum(comm, 1234);
        test_barrier(comm);
        test_run_ahead(comm);
        test_graph(comm);
        test_no_such(comm);
        rs_comm_close(comm);
    }
    if (size == 2)
        test_queue_is_not_lateness();
    test_refusals();
    CHECK(nccl_fake_close() == 0);
}

/* --- what goes wrong --- */

static void never_end(void *context)
{
    (void)context;
    for (;;)
        pause();
}

static void fail(const char *mode, int victim)
{
    bool hit = rank == victim;
    printf("pid %d\n", (int)getpid());
    fflush(stdout);
    nccl_fake_open();
    if (strcmp(mode, "init") == 0)
        nccl_fake_wish.polls = hit ? -1 : 3;
    if (strcmp(mode, "network") == 0)
        nccl_fake_wish.cut_at = 4;
    if (strcmp(mode, "error") == 0)
        nccl_fake_wish.error_at = hit ? 4 : 0;
    rs_comm *comm = open_comm(1);
    char mine[64] = "", *all = rs_alloc((size_t)size, sizeof mine);
    for (int i = 0; i < 3; i++)
        CHECK(rs_comm_gather(comm, mine, sizeof mine, all) == RS_OK);
    nccl_fake_wait();
    CHECK(rs_comm_barrier(world) == RS_OK);
    if (hit && strcmp(mode, "host") == 0)
        never_end(NULL);
    if (hit && strcmp(mode, "stop") == 0)
        raise(SIGSTOP);
    if (hit && strcmp(mode, "device") == 0)
        nccl_fake_launch(never_end, NULL);
    if (hit && strcmp(mode, "another") == 0)
        CHECK(rs_comm_exchange(comm, all, 16, all) == RS_OK);
    for (int i = 0; i < 3; i++)
        CHECK(rs_comm_gather(comm, mine, sizeof mine, all) == RS_OK);
    nccl_fake_wait();
    fprintf(stderr, "rank %d went on\n", rank);
}

int main(int argc, char **argv)
{
    if (rs_comm_world_open(&argc, &argv, &world) != RS_OK) {
        fprintf(stderr, "%s\n", rs_error_message());
        return 1;
    }
    rank = rs_comm_rank(world);
    size = rs_comm_size(world);
    if (argc > 2)
        fail(argv[1], atoi(argv[2]));
    else
        test_all();
    rs_comm_close(world);
    return 0;
}
