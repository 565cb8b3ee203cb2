/* What rank 0's server costs: the real one, with a real journal in a new FOLDER, against replicas that compute nothing and answer each unit
 * at once.
 *
 *   mpirun -n RANKS build/bench_server MODEL FOLDER [SAMPLES [STEP]]
 *
 * STEP: records of one step, sent together. Rank 0 only serves, so that its processor time is the server's. Prints a line of JSON: records
 * a second on the clock and a second of rank 0's processor time, and rank 0's peak memory over what it had before. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "bench.h"
#include "engine/dispatch.h"
#include "report/record.h"

enum { CONTEXT = 1024, BATCHES = 4 };

static rs_status nothing(void *context)
{
    (void)context;
    return RS_OK;
}

/* Four points of scored text. */
static rs_plan *make_plan(const char *model_folder, int64_t samples, rs_config **config, rs_model *model)
{
    char path[] = "/tmp/ropesweep-server-XXXXXX";
    int file = mkstemp(path);
    char *real = realpath(model_folder, NULL);
    rs_plan *plan;
    if (real == NULL || file < 0) {
        fprintf(stderr, "bench_server: %s: no such folder\n", model_folder);
        _Exit(1);
    }
    dprintf(file,
            "model: {path: %s}\nsweep: {context: %d, softmax: [1, 0.9, 0.8, 0.7]}\ntasks: [{name: perplexity, text: none, samples: %" PRId64
            "}]\n",
            real, CONTEXT, samples / 4);
    close(file);
    must(rs_config_load(path, NULL, 0, config));
    must(rs_model_load(real, model));
    rs_model_facts facts = rs_model_get_facts(model);
    must(rs_config_resolve(*config, &facts, model->head_dim));
    must(rs_plan_open(*config, model, NULL, (rs_digest){0}, false, &plan));
    unlink(path);
    free(real);
    return plan;
}

/* --- a replica --- */

static void answer(rs_comm *comm, const rs_plan *plan, rs_unit unit, rs_text *outbox)
{
    const rs_point *point = &plan->points[unit.point];
    rs_text json = {0};
    rs_record record = {.id = rs_plan_record_id(point, unit.doc_id),
                        .doc_id = unit.doc_id,
                        .tokens = CONTEXT,
                        .n_tokens = CONTEXT - 1,
                        .has_nll = true,
                        .nll = 2345.678901234,
                        .seconds = 0.123456,
                        .replica = rs_comm_rank(comm)};
    memcpy(record.point, point->id_hex, sizeof record.point);
    for (int i = 0; i < 10; i++) /* as many parts as a text of this length has */
        record.parts[0][i] = record.parts[1][i] = (rs_part){.n = CONTEXT / 10, .nll = 234.5678901234};
    rs_record_write_json(&record, NULL, &json);
    rs_client_add_record(outbox, unit, CONTEXT, json.data, json.n);
    rs_text_free(&json);
}

static void replicate(rs_comm *comm, const rs_plan *plan, int64_t step)
{
    rs_text outbox = {0};
    rs_orders orders = {0};
    must(rs_client_join(comm, BATCHES * 4096, 4096));
    while (!orders.over) {
        orders.n = 0;
        must(rs_client_take_orders(comm, &orders));
        for (int64_t i = 0; i < orders.n; i++) {
            answer(comm, plan, orders.units[i], &outbox);
            if ((i + 1) % step == 0 || i + 1 == orders.n)
                must(rs_client_send_records(comm, &outbox));
        }
    }
    free(orders.units);
    rs_text_free(&outbox);
    must(rs_client_done(comm, RS_OK));
}

/* --- rank 0 --- */

static double peak_mb(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static rs_schedule *make_schedule(const rs_plan *plan, int replicas)
{
    rs_unit_cost *costs = rs_alloc((size_t)plan->n_points, sizeof *costs);
    for (int64_t p = 0; p < plan->n_points; p++)
        costs[p] = (rs_unit_cost){plan->points[p].flops, CONTEXT};
    rs_schedule *schedule = rs_schedule_open(costs, plan->n_points, replicas);
    for (int64_t p = 0; p < plan->n_points; p++)
        for (int64_t d = 0; d < plan->points[p].n_samples; d++)
            rs_schedule_add(schedule, &(rs_unit){.point = p, .doc_id = d}, 1);
    free(costs);
    return schedule;
}

static void serve(rs_comm *comm, const rs_plan *plan, const char *folder, int64_t samples)
{
    rs_server_setup setup = {
        .comm = comm, .plan = plan, .replicas = rs_comm_size(comm) - 1, .tensor = 1, .first_rank = 1, .on_stop = nothing};
    rs_server *server;
    bool stopped;
    double before_mb = peak_mb();
    must(rs_folder_create(folder));
    must(rs_journal_open(folder, false, &setup.journal));
    must(rs_looks_open(plan, setup.journal, &setup.looks));
    setup.schedule = make_schedule(plan, setup.replicas);
    setup.progress = rs_progress_open(samples, rs_schedule_left(setup.schedule));
    double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    must(rs_server_start(&setup, &server));
    must(rs_server_join(server, &stopped));
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    double mb = peak_mb() - before_mb;
    printf("{\"what\": \"server\", \"replicas\": %d, \"samples\": %" PRId64 ", \"records_per_s\": %.0f, \"records_per_cpu_s\": %.0f, "
           "\"rank0_mb\": %.1f, \"schedule_mb\": %.1f}\n",
           setup.replicas, samples, (double)samples / wall, (double)samples / cpu, mb, (double)rs_schedule_bytes(setup.schedule) / 1e6);
    rs_progress_close(setup.progress);
    rs_schedule_close(setup.schedule);
    rs_looks_close(setup.looks);
    must(rs_journal_close(setup.journal));
}

int main(int argc, char **argv)
{
    rs_comm *world;
    rs_config *config;
    rs_model model;
    must(rs_comm_world_open(&argc, &argv, &world));
    if (argc < 3 || rs_comm_size(world) < 2) {
        fprintf(stderr, "usage: mpirun -n RANKS bench_server MODEL FOLDER [SAMPLES [STEP]], with two ranks or more\n");
        rs_comm_abort(world, 2);
    }
    rs_log_set_level(RS_LOG_SILENT);
    int64_t samples = argc > 3 ? strtoll(argv[3], NULL, 10) / 4 * 4 : 1000000;
    int64_t step = argc > 4 ? strtoll(argv[4], NULL, 10) : 1;
    rs_plan *plan = make_plan(argv[1], samples, &config, &model);
    if (rs_comm_rank(world) == 0)
        serve(world, plan, argv[2], samples);
    else
        replicate(world, plan, step);
    rs_plan_close(plan);
    rs_model_free(&model);
    rs_config_free(config);
    rs_comm_close(world);
    return 0;
}
