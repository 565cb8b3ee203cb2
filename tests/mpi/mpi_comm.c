/* comm_mpi on as many ranks as it is started with. No argument: everything; `abort`: the last rank ends the job with code 7 while the
 * others wait. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "sharding/comm.h"

static rs_comm *world;

#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            fprintf(stderr, "%s:%d: rank %d: %s (%s)\n", __FILE__, __LINE__, rs_comm_rank(world), #condition, rs_error_message());         \
            rs_comm_abort(world, 1);                                                                                                       \
        }                                                                                                                                  \
    } while (0)

/* Rank's term of element i: magnitudes from 1e-6 to 1e6, so that another order of summing gives other bits. */
static float term(int rank, size_t i)
{
    uint64_t x = (i + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)(rank + 1) * UINT64_C(0xD1B54A32D192ED03);
    x = (x ^ (x >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 32;
    float mantissa = (float)(x & 0xFFFFFF) / 8388608.0f - 1.0f;
    return ldexpf(mantissa, (int)(x >> 40 & 31) - 16);
}

static void test_sum(size_t n)
{
    float *data = rs_alloc(n, sizeof *data);
    for (size_t i = 0; i < n; i++)
        data[i] = term(rs_comm_rank(world), i);
    CHECK(rs_comm_sum(world, data, n) == RS_OK);
    for (size_t i = 0; i < n; i++) {
        float want = term(0, i);
        for (int rank = 1; rank < rs_comm_size(world); rank++)
            want += term(rank, i);
        CHECK(memcmp(&want, &data[i], sizeof want) == 0);
    }
    free(data);
}

static void test_sums(void)
{
    static const size_t lengths[] = {
        0, 1, 2, 3, 7, 576, 4095, 4096, 4097, 4099, 100003, 1 << 18, (1 << 18) + 1, (1 << 20) - 1, (1 << 20) + 5, 3000001};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        test_sum(lengths[i]);
}

static void test_gather_broadcast(void)
{
    int rank = rs_comm_rank(world), size = rs_comm_size(world);
    int mine[2] = {rank, -rank};
    int *all = rs_alloc((size_t)size, sizeof mine);
    CHECK(rs_comm_gather(world, mine, sizeof mine, all) == RS_OK);
    for (int i = 0; i < size; i++)
        CHECK(all[2 * i] == i && all[2 * i + 1] == -i);
    free(all);
    for (int root = 0; root < size; root++) {
        char text[32] = "";
        if (rank == root)
            snprintf(text, sizeof text, "from %d", root);
        char want[32];
        snprintf(want, sizeof want, "from %d", root);
        CHECK(rs_comm_broadcast(world, text, sizeof text, root) == RS_OK);
        CHECK(strcmp(text, want) == 0);
    }
    CHECK(rs_comm_barrier(world) == RS_OK);
    int local_rank = -1, local_size = -1;
    CHECK(rs_comm_local(world, &local_rank, &local_size) == RS_OK);
    CHECK(local_rank == rank && local_size == size); /* these tests start all ranks on one host */
}

/* Byte i of what `from` sends to `to`: never the same for another pair at the same place. */
static unsigned char parcel(int from, int to, size_t i)
{
    return (unsigned char)(31 * from + 7 * to + (int)(i % 251) + (int)(i >> 20));
}

static void test_exchange(size_t bytes)
{
    int rank = rs_comm_rank(world), size = rs_comm_size(world);
    unsigned char *send = rs_alloc((size_t)size * bytes + 1, 1), *receive = rs_alloc((size_t)size * bytes + 1, 1);
    for (int to = 0; to < size; to++)
        for (size_t i = 0; i < bytes; i++)
            send[(size_t)to * bytes + i] = parcel(rank, to, i);
    receive[(size_t)size * bytes] = 0xA5;
    CHECK(rs_comm_exchange(world, send, bytes, receive) == RS_OK);
    for (int from = 0; from < size; from++)
        for (size_t i = 0; i < bytes; i++)
            CHECK(receive[(size_t)from * bytes + i] == parcel(from, rank, i));
    CHECK(receive[(size_t)size * bytes] == 0xA5);
    free(receive);
    free(send);
}

static void test_exchanges(void)
{
    static const size_t lengths[] = {0, 1, 3, 4096, 100001};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        test_exchange(lengths[i]);
    if (rs_comm_size(world) <= 2)
        test_exchange((2 << 24) + 5); /* in three pieces */
}

static void test_split(void)
{
    int rank = rs_comm_rank(world), size = rs_comm_size(world);
    rs_comm *part = NULL;
    CHECK(rs_comm_split(world, rank % 2, &part) == RS_OK);
    CHECK(rs_comm_rank(part) == rank / 2 && rs_comm_size(part) == (size + 1 - rank % 2) / 2);
    float value = (float)rank, want = 0;
    for (int i = rank % 2; i < size; i += 2)
        want += (float)i;
    CHECK(rs_comm_sum(part, &value, 1) == RS_OK && value == want);
    rs_comm_close(part);
}

static void send_block(int to, char *block, size_t n)
{
    memset(block, 'a' + rs_comm_rank(world) % 26, n);
    CHECK(rs_comm_send(world, to, 5, block, n) == RS_OK);
}

static void receive_block(int from, size_t n)
{
    int sender = -1;
    void *data = NULL;
    size_t bytes = 0;
    CHECK(rs_comm_receive(world, from, 5, &sender, &data, &bytes) == RS_OK);
    CHECK(sender == from && bytes == n && ((char *)data)[n - 1] == 'a' + from % 26);
    free(data);
}

/* Long messages (beyond the library's eager limit, so that a send waits for its receiver) around the ring. */
static void test_long_messages(void)
{
    int rank = rs_comm_rank(world), size = rs_comm_size(world);
    size_t n = 3 << 20;
    char *block = rs_alloc(n, 1);
    if (rank % 2 == 0 && size > 1)
        send_block((rank + 1) % size, block, n);
    if (size > 1)
        receive_block((rank + size - 1) % size, n);
    if (rank % 2 == 1)
        send_block((rank + 1) % size, block, n);
    free(block);
}

/* Short and empty ones from all to rank 0, which takes them in another order. */
static void test_messages(void)
{
    int rank = rs_comm_rank(world), size = rs_comm_size(world), sender = -1;
    size_t bytes;
    void *data = NULL;
    CHECK(rs_comm_send(world, 0, 6, &rank, sizeof rank) == RS_OK);
    CHECK(rs_comm_send(world, 0, 7, NULL, 0) == RS_OK);
    bool waiting = false;
    for (int i = 0; rank == 0 && i < size; i++) {
        CHECK(rs_comm_receive(world, i, 7, NULL, &data, &bytes) == RS_OK && bytes == 0 && data == NULL);
        CHECK(rs_comm_receive(world, RS_ANY_RANK, 6, &sender, &data, &bytes) == RS_OK);
        CHECK(bytes == sizeof sender && memcmp(data, &sender, bytes) == 0);
        free(data);
    }
    CHECK(rs_comm_barrier(world) == RS_OK);
    CHECK(rs_comm_poll(world, 6, &waiting) == RS_OK && !waiting);
    if (rank == size - 1)
        CHECK(rs_comm_send(world, 0, 8, "x", 1) == RS_OK);
    while (rank == 0 && !waiting)
        CHECK(rs_comm_poll(world, 8, &waiting) == RS_OK);
    if (rank == 0)
        CHECK(rs_comm_receive(world, RS_ANY_RANK, 8, &sender, &data, &bytes) == RS_OK && sender == size - 1);
    free(rank == 0 ? data : NULL);
}

static double thread_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *send_late(void *comm)
{
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    for (int to = 0; to < rs_comm_size(comm); to++)
        CHECK(rs_comm_send(comm, to, 9, "go", 2) == RS_OK);
    return NULL;
}

/* A rank that waits half a second for a message leaves its core to others. */
static void test_receive_sleeps(void)
{
    pthread_t thread;
    if (rs_comm_rank(world) == 0)
        CHECK(pthread_create(&thread, NULL, send_late, world) == 0);
    void *data = NULL;
    size_t bytes = 0;
    double before = thread_seconds();
    CHECK(rs_comm_receive(world, 0, 9, NULL, &data, &bytes) == RS_OK && bytes == 2);
    CHECK(thread_seconds() - before < 0.15);
    free(data);
    if (rs_comm_rank(world) == 0)
        pthread_join(thread, NULL);
}

enum { N_ERRANDS = 200 };

/* The scheduler's thread: rank 0 hands every rank its errands as it asks, the others ask. */
static void *errands(void *control)
{
    int rank = rs_comm_rank(control), size = rs_comm_size(control), sender = 0;
    void *data;
    size_t bytes;
    for (int i = 0; i < (rank == 0 ? N_ERRANDS * (size - 1) : N_ERRANDS); i++) {
        if (rank != 0)
            CHECK(rs_comm_send(control, 0, 1, &i, sizeof i) == RS_OK);
        CHECK(rs_comm_receive(control, rank == 0 ? RS_ANY_RANK : 0, rank == 0 ? 1 : 2, &sender, &data, &bytes) == RS_OK);
        CHECK(bytes == sizeof i && (rank == 0 || memcmp(data, &i, bytes) == 0));
        if (rank == 0)
            CHECK(rs_comm_send(control, sender, 2, data, bytes) == RS_OK);
        free(data);
    }
    return NULL;
}

static void test_threads(void)
{
    rs_comm *control = NULL, *tensor = NULL;
    CHECK(rs_comm_split(world, 0, &control) == RS_OK && rs_comm_split(world, 0, &tensor) == RS_OK);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, errands, control) == 0);
    for (size_t step = 0; step < 100; step++) {
        size_t n = step % 3 == 0 ? 50000 : 100;
        float *data = rs_alloc(n, sizeof *data);
        for (size_t i = 0; i < n; i++)
            data[i] = (float)rs_comm_rank(tensor) + (float)step;
        CHECK(rs_comm_sum(tensor, data, n) == RS_OK);
        int size = rs_comm_size(tensor);
        CHECK(data[n - 1] == (float)(size * (size - 1) / 2) + (float)(step * (size_t)size));
        free(data);
    }
    pthread_join(thread, NULL);
    rs_comm_close(tensor);
    rs_comm_close(control);
}

/* Ranks that disagree on a length: an error with the operation and the rank, not the end of the process. */
static void test_failure_is_named(void)
{
    rs_comm *broken = NULL;
    CHECK(rs_comm_split(world, 0, &broken) == RS_OK);
    int rank = rs_comm_rank(broken);
    char data[64] = "";
    rs_status status = rs_comm_broadcast(broken, data, rank == 0 ? 64 : 8, 0);
    if (rank != 0) {
        char want[32];
        snprintf(want, sizeof want, "MPI_Bcast on rank %d of", rank);
        CHECK(status == RS_INTERNAL && strstr(rs_error_message(), want) && strstr(rs_error_message(), "runcate"));
        rs_error_clear();
    }
    CHECK(rs_comm_barrier(world) == RS_OK);
    rs_comm_close(broken);
}

int main(int argc, char **argv)
{
    if (rs_comm_world_open(&argc, &argv, &world) != RS_OK) {
        fprintf(stderr, "%s\n", rs_error_message());
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "abort") == 0) {
        if (rs_comm_rank(world) == rs_comm_size(world) - 1)
            rs_comm_abort(world, 7);
        rs_comm_barrier(world);
    }
    test_sums();
    test_gather_broadcast();
    test_exchanges();
    test_split();
    test_long_messages();
    test_messages();
    test_receive_sleeps();
    test_threads();
    if (rs_comm_size(world) == 2)
        test_failure_is_named();
    rs_comm_close(world);
    return 0;
}
