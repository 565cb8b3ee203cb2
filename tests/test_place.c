/* Where ranks compute: cores of made-up machines, threads of ranks bound in every way, what is said of it, and what launchers say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hwloc.h>
#include <stdlib.h>
#include <string.h>

#include "engine/launch.h"
#include "engine/place.h"

/* --- cores --- */

/* allowed: NULL: all. */
static rs_rank_place cores_of(const char *machine, const char *allowed, const char *bound)
{
    hwloc_topology_t topology;
    rs_rank_place place = {.host = "a"};
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    assert_int_equal(hwloc_topology_init(&topology), 0);
    assert_int_equal(hwloc_topology_set_synthetic(topology, machine), 0);
    assert_int_equal(hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    if (allowed) {
        hwloc_bitmap_list_sscanf(set, allowed);
        assert_int_equal(hwloc_topology_allow(topology, set, NULL, HWLOC_ALLOW_FLAG_CUSTOM), 0);
    }
    hwloc_bitmap_list_sscanf(set, bound);
    rs_place_cores(topology, set, &place);
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(topology);
    return place;
}

static void test_hyperthreads_are_no_cores(void **state)
{
    (void)state;
    const char *machine = "pack:2 core:4 pu:2"; /* 16 hyperthreads, two and two of a core */
    assert_int_equal(cores_of(machine, NULL, "0-15").cores[0], 0xff);
    assert_int_equal(cores_of(machine, NULL, "0-15").host_cores, 8);
    assert_int_equal(cores_of(machine, NULL, "1").cores[0], 1);
    assert_int_equal(cores_of(machine, NULL, "0,1").cores[0], 1);
    assert_int_equal(cores_of(machine, NULL, "0,2,9").cores[0], 0x13);
    assert_int_equal(cores_of("pu:4", NULL, "1-2").cores[0], 6); /* a machine that does not tell its cores */
}

static void test_a_control_group_keeps_the_numbers(void **state)
{
    (void)state;
    rs_rank_place place = cores_of("pack:2 core:4 pu:2", "8-15", "12-15");
    assert_int_equal(place.host_cores, 4);
    assert_int_equal(place.cores[0], 0xc0);
}

static void test_many_cores(void **state)
{
    (void)state;
    rs_rank_place place = cores_of("pack:2 core:128 pu:1", NULL, "64,255");
    assert_int_equal(place.cores[0], 0);
    assert_int_equal(place.cores[1], 1);
    assert_true(place.cores[3] == UINT64_C(1) << 63);
    assert_int_equal(rs_place_threads(&place, 1, 0), 2);
}

static void test_this_process(void **state)
{
    (void)state;
    rs_rank_place place;
    assert_int_equal(rs_place_find(&place), RS_OK);
    assert_true(place.host_cores >= 1 && strlen(place.host) > 0 && strchr(place.host, '.') == NULL);
    assert_in_range(rs_place_threads(&place, 1, 0), 1, place.host_cores);
}

/* --- threads --- */

typedef struct seat {
    const char *host;
    uint64_t cores;
    int asked, threads; /* threads: what is expected */
} seat;

static void check_threads(const seat *seats, int n)
{
    rs_rank_place *all = calloc((size_t)n, sizeof *all);
    for (int i = 0; i < n; i++) {
        strcpy(all[i].host, seats[i].host);
        all[i].cores[0] = seats[i].cores;
        all[i].asked = seats[i].asked;
    }
    for (int i = 0; i < n; i++)
        assert_int_equal(rs_place_threads(all, n, i), seats[i].threads);
    free(all);
}

#define CHECK_THREADS(...)                                                                                                                 \
    do {                                                                                                                                   \
        static const seat seats[] = {__VA_ARGS__};                                                                                         \
        check_threads(seats, (int)(sizeof seats / sizeof *seats));                                                                         \
    } while (0)

static void test_threads(void **state)
{
    (void)state;
    CHECK_THREADS({"a", 0xff, 0, 8});                                                          /* alone */
    CHECK_THREADS({"a", 0x0f, 0, 4}, {"a", 0xf0, 0, 4});                                       /* bound */
    CHECK_THREADS({"a", 0xff, 0, 4}, {"a", 0xff, 0, 4});                                       /* not bound */
    CHECK_THREADS({"a", 0xff, 0, 2}, {"a", 0xff, 0, 2}, {"a", 0xff, 0, 2});                    /* 8 of 3 */
    CHECK_THREADS({"a", 0x0f, 0, 2}, {"a", 0x0f, 0, 2}, {"a", 0xf0, 0, 2}, {"a", 0xf0, 0, 2}); /* bound to a socket, two and two */
    CHECK_THREADS({"a", 0x0f, 0, 3}, {"a", 0x3c, 0, 3});                                       /* two of their own, half of two */
    CHECK_THREADS({"a", 0x01, 0, 1}, {"a", 0x01, 0, 1}, {"a", 0x01, 0, 1});                    /* crowded */
    CHECK_THREADS({"a", 0xff, 0, 8}, {"b", 0xff, 0, 8});                                       /* each on a host of its own */
    CHECK_THREADS({"a", 0xff, 3, 3}, {"a", 0xff, 0, 4});                                       /* asked for */
    CHECK_THREADS({"n1", 0xff, 0, 8}, {"n10", 0x0f, 0, 4});                                    /* not the same name */
}

/* As many ranks as cores, none bound: one each, though n times 1/n is less than 1 for some n. */
static void test_shares_add_up(void **state)
{
    (void)state;
    rs_rank_place *all = calloc(200, sizeof *all);
    for (int n = 1; n <= 200; n++) {
        for (int i = 0; i < n; i++)
            all[i].cores[(n - 1) / 64] |= UINT64_C(1) << (n - 1) % 64;
        for (int w = 0; w < n; w++)
            all[n - 1].cores[w / 64] |= UINT64_C(1) << w % 64;
        assert_int_equal(rs_place_threads(all, n, n / 2), 1);
    }
    free(all);
}

/* --- notes --- */

static void check_notes(const rs_rank_place *all, int n, const char *launcher, const char *expected)
{
    rs_text notes = {0};
    rs_place_notes(all, n, launcher, &notes);
    assert_string_equal(notes.n ? notes.data : "", expected);
    rs_text_free(&notes);
}

static void test_notes_of_cores(void **state)
{
    (void)state;
    rs_rank_place bound[] = {{.host = "a", .cores = {0x0f}, .host_cores = 8}, {.host = "a", .cores = {0xf0}, .host_cores = 8}};
    rs_rank_place loose[] = {{.host = "a", .cores = {0xff}, .host_cores = 8}, {.host = "a", .cores = {0xff}, .host_cores = 8}};
    rs_rank_place lean[] = {{.host = "a", .cores = {1}, .host_cores = 8}, {.host = "a", .cores = {2}, .host_cores = 8}};
    rs_rank_place crowd[] = {{.host = "a", .cores = {1}, .host_cores = 1},
                             {.host = "a", .cores = {1}, .host_cores = 1},
                             {.host = "b", .cores = {1}, .host_cores = 1},
                             {.host = "b", .cores = {1}, .host_cores = 1}};
    rs_rank_place greedy = {.host = "a", .cores = {3}, .host_cores = 2, .asked = 3};
    check_notes(bound, 2, "srun", "");
    check_notes(bound, 2, "mpirun", "");
    check_notes(loose, 2, "mpirun", "");
    check_notes(loose, 2, "srun", "a: srun bound none of 2 ranks: `--cpu-bind=cores --cpus-per-task=4` gives each its own cores\n");
    check_notes(loose, 1, "srun", "");
    check_notes(lean, 2, "srun", "");
    check_notes(lean, 2, "mpirun",
                "a: mpirun bound 2 ranks to 2 of 8 cores: if the others are free, `--map-by slot:PE=4` gives each its share\n");
    check_notes(crowd, 4, "srun",
                "a and 1 more host: 2 ranks with 2 threads on 1 core wait for each other: parallel.threads, or fewer ranks\n");
    check_notes(&greedy, 1, NULL, "a: 1 rank with 3 threads on 2 cores wait for each other: parallel.threads, or fewer ranks\n");
}

static void test_notes_of_devices(void **state)
{
    (void)state;
    rs_rank_place all[4] = {{.host = "a", .cores = {1}, .device_id = {7}},
                            {.host = "a", .cores = {2}, .device_id = {7}},
                            {.host = "a", .cores = {4}, .device_id = {8}},
                            {.host = "b", .cores = {1}, .device_id = {7}}};
    assert_int_equal(rs_place_sharers(all, 4, 0), 2);
    assert_int_equal(rs_place_sharers(all, 4, 2), 1);
    assert_int_equal(rs_place_sharers(all, 4, 3), 1);
    check_notes(all, 4, "srun", "a: 2 ranks share one GPU: they wait for each other\n");
    memset(all[0].device_id, 0, sizeof all[0].device_id); /* the host's own memory: its ranks divide it, and there is nothing to say */
    memset(all[1].device_id, 0, sizeof all[1].device_id);
    assert_int_equal(rs_place_sharers(all, 4, 0), 2);
    check_notes(all, 4, "srun", "");
}

/* --- launchers --- */

static int clear_environment(void **state)
{
    (void)state;
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK",
                                        "OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_LOCAL_RANK",
                                        "SLURM_PROCID",
                                        "SLURM_STEP_NUM_TASKS",
                                        "SLURM_LOCALID",
                                        "PMI_RANK",
                                        "PMI_SIZE",
                                        "MPI_LOCALRANKID",
                                        "PMIX_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    rs_error_clear();
    return 0;
}

static void set_srun(void)
{
    setenv("SLURM_PROCID", "5", 1);
    setenv("SLURM_STEP_NUM_TASKS", "8", 1);
    setenv("SLURM_LOCALID", "1", 1);
}

static void check_launch(const char *launcher, int rank, int size, int local_rank)
{
    rs_launch launch = rs_launch_find();
    assert_string_equal(launch.launcher, launcher);
    assert_int_equal(launch.rank, rank);
    assert_int_equal(launch.size, size);
    assert_int_equal(launch.local_rank, local_rank);
}

static void test_launchers(void **state)
{
    (void)state;
    assert_null(rs_launch_find().launcher);
    setenv("SLURM_PROCID", "0", 1); /* a batch script */
    assert_null(rs_launch_find().launcher);
    setenv("PMIX_RANK", "3", 1);
    check_launch("a PMIx launcher", 3, 0, -1);
    set_srun();
    check_launch("srun", 5, 8, 1);
    setenv("OMPI_COMM_WORLD_RANK", "2", 1); /* mpirun in a Slurm job */
    setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "0", 1);
    check_launch("mpirun", 2, 4, 0);
}

static void test_tasks_that_cannot_meet(void **state)
{
    (void)state;
    set_srun();
    rs_launch launch = rs_launch_find();
    assert_int_equal(rs_launch_check_before(&launch), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "srun --mpi=pmix"));
    setenv("PMIX_RANK", "5", 1);
    assert_int_equal(rs_launch_check_before(&launch), RS_OK);
    assert_int_equal(rs_launch_check(&launch, 8, 1), RS_OK);
    rs_error_clear();
    assert_int_equal(rs_launch_check(&launch, 1, 0), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "srun started 8 tasks, but MPI joined 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hyperthreads_are_no_cores),
        cmocka_unit_test(test_a_control_group_keeps_the_numbers),
        cmocka_unit_test(test_many_cores),
        cmocka_unit_test(test_this_process),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_shares_add_up),
        cmocka_unit_test(test_notes_of_cores),
        cmocka_unit_test(test_notes_of_devices),
        cmocka_unit_test_setup(test_launchers, clear_environment),
        cmocka_unit_test_setup(test_tasks_that_cannot_meet, clear_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
