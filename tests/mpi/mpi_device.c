/* rs_comm_device_open and the real module, where there is one. Without a GPU, or with one that all ranks share, it must say so and not
 * hang; alone on a GPU it works. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/module.h"
#include "sharding/comm.h"
#include "sharding/comm_device.h"

static rs_comm *world;

#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            fprintf(stderr, "%s:%d: rank %d: %s (%s)\n", __FILE__, __LINE__, rs_comm_rank(world), #condition, rs_error_message());         \
            rs_comm_abort(world, 1);                                                                                                       \
        }                                                                                                                                  \
    } while (0)

static void *default_stream(void *context)
{
    return context;
}

/* Every rank takes device 0: "rank 0 (host): cudaSetDevice: ..." or "ranks 0 and 1 share GPU ...". */
static bool says_why(const char *reason)
{
#ifdef RS_HAS_NCCL
    return strncmp(reason, "rank 0 (", 8) == 0 || strncmp(reason, "ranks 0 and 1 share GPU ", 24) == 0;
#else
    return strcmp(reason, "rank 0: no ropesweep_nccl.so beside the program: it was built without it") == 0;
#endif
}

static void test_group(const rs_comm_nccl_options *options)
{
    rs_comm *comm = NULL;
    const char *why = NULL;
    CHECK(rs_comm_device_open("mpi", options, &comm, &why) == RS_OK && comm == NULL);
    if (rs_comm_size(world) == 1) {
        CHECK(rs_comm_device_open("nccl", options, &comm, &why) == RS_OK && comm == NULL);
        return;
    }
    CHECK(rs_comm_device_open("nccl", options, &comm, &why) == RS_INVALID && comm == NULL && says_why(rs_error_message()));
    if (rs_comm_rank(world) == 0)
        printf("%s\n", rs_error_message());
    rs_error_clear();
    CHECK(rs_comm_device_open("auto", options, &comm, &why) == RS_OK && comm == NULL && says_why(why));
    CHECK(rs_error_message()[0] == '\0');
}

/* One rank on a GPU: NCCL itself, from its initialisation to its end. */
static void test_alone(const rs_comm_nccl_options *options)
{
    void *symbol = NULL;
    rs_comm_nccl_opener *open = NULL;
    rs_comm *comm = NULL;
#ifndef RS_HAS_NCCL
    CHECK(rs_module_symbol("ropesweep_nccl.so", "rs_comm_nccl_open", &symbol) == RS_INVALID && symbol == NULL);
    return;
#endif
    CHECK(rs_module_symbol("ropesweep_nccl.so", "rs_comm_nccl_opem", &symbol) == RS_INVALID && symbol == NULL);
    CHECK(strstr(rs_error_message(), "of another version"));
    rs_error_clear();
    CHECK(rs_module_symbol("ropesweep_nccl.so", "rs_comm_nccl_open", &symbol) == RS_OK);
    memcpy(&open, &symbol, sizeof open);
    rs_status status = open(options, &comm);
    if (status == RS_INVALID) {
        CHECK(comm == NULL && says_why(rs_error_message()));
        return;
    }
    CHECK(status == RS_OK);
    for (int i = 0; i < 1000; i++)
        CHECK(rs_comm_barrier(comm) == RS_OK);
    rs_comm_close(comm);
}

int main(int argc, char **argv)
{
    if (rs_comm_world_open(&argc, &argv, &world) != RS_OK) {
        fprintf(stderr, "%s\n", rs_error_message());
        return 1;
    }
    rs_comm_nccl_options options = {.group = world, .world = world, .stream = default_stream, .timeout_seconds = 60};
    double start = rs_clock();
    test_group(&options);
    if (rs_comm_size(world) == 1)
        test_alone(&options);
    CHECK(rs_clock() - start < 60);
    rs_comm_close(world);
    return 0;
}
