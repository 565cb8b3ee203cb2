#include "engine/run.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pulse.h"
#include "engine/dispatch.h"
#include "engine/place.h"
#include "engine/replica.h"
#include "engine/stop.h"
#include "engine/watch.h"
#include "model/tokenizer.h"
#include "model/transformer.h"
#include "plan/memory.h"
#include "plan/plan.h"
#include "report/diagnostics.h"
#include "report/report.h"

/* After the grace, a replica ends with its step, and a rank that heard of no stop by now ends itself: before Slurm's default of 30 s with
 * the default grace of 20 s. */
enum { STEP_SECONDS = 5, LATEST_SECONDS = 7, TABLE_WIDTH = 120 };

typedef struct run {
    rs_comm *world, *group, *messages;
    const rs_run_options *options;
    bool *speaks;
    rs_config *config;
    rs_model model;
    rs_tokenizer *tokenizer;
    rs_tensor_store *store;
    rs_plan *plan;
    const rs_backend_ops *ops;
    int device, n_threads;
    double available; /* bytes of the device's memory that this rank may take */
    rs_memory_plan memory;
    rs_transformer *transformer;
    rs_watch *watch;
    /* rank 0 only */
    char *folder;
    rs_journal *journal;
    rs_looks *looks;
    rs_unit *units;
    rs_schedule *schedule;
    rs_progress *progress;
    rs_run_facts facts;
    struct timespec started;
    bool unchanged; /* everything stood there already: nothing is written */
    /* every rank */
    int64_t n_units;
    int tensor, replicas, first_rank; /* the first rank that computes: ranks below only serve */
    rs_replica_facts use;             /* of this rank's time */
} run;

/* --- agreement --- */

/* The phase ends alike on every rank: with RS_OK, or with the failure of the lowest rank that has one of its own; that rank speaks. */
static rs_status agree(run *r, rs_status mine)
{
    int size = rs_comm_size(r->world), rank = rs_comm_rank(r->world);
    int *all = rs_alloc((size_t)size, sizeof *all), status = (int)mine;
    rs_status rc = rs_comm_gather(r->world, &status, sizeof status, all);
    *r->speaks = false;
    for (int i = 0; rc == RS_OK && i < size; i++)
        if (all[i] != RS_OK && all[i] != RS_PEER) {
            *r->speaks = i == rank;
            rc = (rs_status)all[i];
        }
    free(all);
    return rc;
}

static void now_text(char text[32])
{
    time_t t = time(NULL);
    struct tm tm;
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
}

/* --- phase 1: what the files say --- */

rs_status rs_run_check_tensor(const rs_config *config, const rs_model *model, int ranks)
{
    int tensor = (int)rs_param_number(&config->parallel, "tensor");
    if (model->heads % tensor != 0)
        return rs_config_fail_at(config, "parallel.tensor", "tensor: %d does not divide the model's %d attention heads", tensor,
                                 model->heads);
    if (ranks % tensor != 0)
        return rs_config_fail_at(config, "parallel.tensor",
                                 "tensor: %d does not divide the %d rank%s of this run (start it with a multiple of %d)", tensor, ranks,
                                 ranks == 1 ? "" : "s", tensor);
    return RS_OK;
}

static bool scheduler_computes(const rs_config *config)
{
    return rs_param_number(&config->parallel, "scheduler_computes") != 0;
}

rs_status rs_run_count_replicas(const rs_config *config, int ranks, int *replicas)
{
    int tensor = (int)rs_param_number(&config->parallel, "tensor");
    *replicas = ranks / tensor - (scheduler_computes(config) ? 0 : 1);
    if (*replicas < 1)
        return rs_config_fail_at(config, "parallel.scheduler_computes",
                                 "scheduler_computes: false leaves none of the %d rank%s to compute (start it with %d or more)", ranks,
                                 ranks == 1 ? "" : "s", 2 * tensor);
    return RS_OK;
}

rs_status rs_run_load_config(const rs_run_options *options, rs_config **config, rs_model *model)
{
    RS_TRY(rs_config_load(options->config_path, options->overrides, options->n_overrides, config));
    for (int i = 0; options->limit > 0 && i < (*config)->n_tasks; i++) {
        rs_params *common = &(*config)->tasks[i].common;
        if (rs_param_number(common, "samples") > (double)options->limit)
            RS_TRY(rs_param_set_number(common, rs_param_find(common->specs, "samples"), (double)options->limit));
    }
    char *folder = rs_path_join((*config)->folder, rs_param_string(&(*config)->model, "path"));
    rs_status status = rs_model_load(folder, model);
    free(folder);
    RS_TRY(status);
    rs_model_facts facts = rs_model_get_facts(model);
    RS_TRY(rs_config_resolve(*config, &facts, model->head_dim));
    if (model->rope_note)
        for (int i = 0; i < (*config)->n_ropes; i++)
            if (strcmp((*config)->ropes[i].variant->name, "default") == 0) {
                rs_warn("%s: the checkpoint's own RoPE scaling (%s) is not part of `default`; list it as an entry to use it",
                        options->config_path, model->rope_note);
                break;
            }
    return RS_OK;
}

rs_status rs_run_load_tokenizer(const rs_model *model, rs_tokenizer **out)
{
    char *path = rs_format("%s/tokenizer.json", model->folder);
    rs_status status = rs_tokenizer_load(path, out);
    if (status == RS_OK && rs_tokenizer_vocab_size(*out) > model->vocab)
        status = rs_fail(RS_INVALID, "%s: %d tokens, but config.json's vocab_size is %" PRId64, path, rs_tokenizer_vocab_size(*out),
                         model->vocab);
    free(path);
    return status;
}

static rs_status load_files(run *r)
{
    RS_TRY(rs_run_load_config(r->options, &r->config, &r->model));
    RS_TRY(rs_run_check_tensor(r->config, &r->model, rs_comm_size(r->world)));
    RS_TRY(rs_run_count_replicas(r->config, rs_comm_size(r->world), &r->replicas));
    RS_TRY(rs_run_load_tokenizer(&r->model, &r->tokenizer));
    RS_TRY(rs_tensor_store_open(r->model.folder, false, &r->store));
    return rs_model_check(&r->model, r->store);
}

static rs_status open_plan(run *r)
{
    struct {
        rs_digest digest;
        bool full;
        int status;
    } provenance = {.status = RS_OK};
    if (rs_comm_rank(r->world) == 0) /* reads up to the whole checkpoint: once is enough */
        provenance.status = (int)rs_model_digest(&r->model, r->store, &provenance.digest, &provenance.full);
    RS_TRY(rs_comm_broadcast(r->world, &provenance, sizeof provenance, 0));
    if (provenance.status != RS_OK)
        return (rs_status)provenance.status;
    return rs_plan_open(r->config, &r->model, r->tokenizer, provenance.digest, provenance.full, &r->plan);
}

/* --- phase 2: what is left to do (rank 0) --- */

/* Its record is, and where sums of attention are wanted they are too. */
static bool is_there(const run *r, const rs_point *point, int64_t doc_id)
{
    rs_diagnostics spec;
    rs_digest id = rs_plan_record_id(point, doc_id);
    bool wanted = rs_plan_diagnostics(r->plan, &spec) && doc_id < RS_EXTRA_DOC_ID;
    return rs_journal_find(r->journal, id) &&
           (!wanted || rs_journal_find(rs_journal_diagnostics(r->journal), rs_diagnostics_id(id, &spec)));
}

/* Lists what is left of this shard. *reused: records that stand for its samples; *others: for other shards' samples;
 * *lacking: that stand, but for sums of attention. */
static void list_units(run *r, int64_t *reused, int64_t *others, int64_t *lacking)
{
    int64_t cap = 0;
    *reused = *others = *lacking = 0;
    for (int64_t p = 0; p < r->plan->n_points; p++) {
        const rs_point *point = &r->plan->points[p];
        bool mine = point->shard == r->plan->shard;
        for (int64_t i = 0; i < rs_looks_wanted(r->looks, p); i++) {
            int64_t d = rs_plan_doc_id(point, i);
            if (is_there(r, point, d))
                ++*(mine ? reused : others);
            else if (mine && rs_journal_find(r->journal, rs_plan_record_id(point, d)))
                ++*lacking;
            if (mine && !is_there(r, point, d))
                RS_PUSH(r->units, r->n_units, cap, ((rs_unit){.point = p, .doc_id = d}));
        }
    }
}

/* Takes the plan down unless it stands there already; a finished run of the same plan is left as it is. */
static rs_status keep_plan(run *r)
{
    rs_text json = {0};
    rs_status status = RS_OK;
    rs_plan_write_json(r->plan, &json);
    const char *old = rs_journal_plan(r->journal);
    bool same = old && strcmp(old, json.data) == 0;
    r->unchanged = same && r->n_units == 0 && rs_report_is_complete(r->folder);
    if (!same)
        status = rs_journal_write_plan(r->journal, json.data, json.n);
    rs_text_free(&json);
    return status;
}

static void say_what_is_reused(const run *r, int64_t reused, int64_t unasked)
{
    if (reused > 0)
        rs_info("%s: %" PRId64 " of %" PRId64 " samples are there already and are reused", r->folder, reused, reused + r->n_units);
    if (unasked > 0)
        rs_info("%s: %" PRId64 " samples there are not asked for by these settings and are kept", r->folder, unasked);
}

static rs_status open_journal(run *r)
{
    int64_t reused, others, lacking;
    r->folder = r->options->output ? rs_strdup(r->options->output) : rs_config_output(r->config);
    RS_TRY(rs_folder_create(r->folder));
    RS_TRY(rs_journal_open(r->folder, r->options->fresh, &r->journal));
    if (rs_param_is_set(&r->config->run, "diagnostics"))
        RS_TRY(rs_journal_keep_diagnostics(r->journal));
    RS_TRY(rs_looks_open(r->plan, r->journal, &r->looks));
    list_units(r, &reused, &others, &lacking);
    size_t before = rs_journal_count(r->journal);
    if (reused + lacking == 0 && others > 0)
        return rs_fail(RS_INVALID, "%s: holds another shard of this sweep; give each shard its own --output and join them with merge",
                       r->folder);
    if (before > 0 && reused + lacking == 0)
        return rs_fail(RS_INVALID,
                       "%s: holds %zu records of another configuration, none of which this one can use; give another --output, or --fresh "
                       "to move them aside",
                       r->folder, before);
    if (lacking > 0)
        rs_info("%s: %" PRId64 " samples stand there without diagnostics; these are made now", r->folder, lacking);
    say_what_is_reused(r, reused, (int64_t)before - reused - lacking - others);
    return keep_plan(r);
}

static rs_status prepare_output(run *r)
{
    rs_status status = RS_OK;
    if (rs_comm_rank(r->world) == 0)
        status = open_journal(r);
    RS_TRY(agree(r, status));
    return rs_comm_broadcast(r->world, &r->n_units, sizeof r->n_units, 0);
}

/* --- phase 3: the work --- */

/* This rank's cores, its backend and its device of that. */
static rs_status choose_place(run *r, rs_rank_place *mine, rs_device_memory *memory)
{
    int local_rank, local_size, n;
    const char *why;
    RS_TRY(rs_comm_local(r->world, &local_rank, &local_size));
    RS_TRY(rs_launch_check(r->options->launch, rs_comm_size(r->world), local_rank));
    RS_TRY(rs_place_find(mine));
    memcpy(r->use.host, mine->host, sizeof mine->host);
    RS_TRY(rs_backend_find(r->options->backend, &r->ops));
    if (rs_param_is_set(&r->config->run, "diagnostics") && !r->ops->kind->diagnostics)
        return rs_config_fail_at(r->config, "diagnostics",
                                 "diagnostics are computed on the CPU only: run with --backend cpu, or without them");
    RS_TRY(r->ops->devices(&n, &why));
    r->device = local_rank % n;
    RS_TRY(r->ops->memory(r->device, memory));
    mine->asked = (int32_t)rs_param_number(&r->config->parallel, "threads");
    memcpy(mine->device_id, memory->id, sizeof mine->device_id);
    return RS_OK;
}

static void list_hosts(run *r, const rs_rank_place *all, int n)
{
    r->facts.hosts = rs_alloc((size_t)n, sizeof *r->facts.hosts);
    for (int i = 0; i < n; i++) {
        bool known = false;
        for (int j = 0; j < r->facts.n_hosts; j++)
            known = known || strcmp(r->facts.hosts[j], all[i].host) == 0;
        if (!known)
            r->facts.hosts[r->facts.n_hosts++] = rs_strdup(all[i].host);
    }
}

/* Rank 0 says what there is to say of all. */
static void note_places(const run *r, const rs_rank_place *all, int n)
{
    rs_text notes = {0};
    rs_place_notes(all, n, r->options->launch->launcher, &notes);
    for (char *line = notes.data, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        rs_warn("%s", line);
    }
    rs_text_free(&notes);
    for (int i = 0; i < n && rs_log_get_level() >= RS_LOG_VERBOSE; i++)
        rs_debug("rank %d: %s, %d threads", i, all[i].host, rs_place_threads(all, n, i));
}

/* Where every rank computes, and what of the device's memory this one may take. */
static rs_status find_places(run *r)
{
    rs_rank_place mine;
    rs_device_memory memory;
    int size = rs_comm_size(r->world), rank = rs_comm_rank(r->world);
    RS_TRY(agree(r, choose_place(r, &mine, &memory)));
    rs_rank_place *all = rs_alloc((size_t)size, sizeof *all);
    rs_status status = rs_comm_gather(r->world, &mine, sizeof mine, all);
    if (status == RS_OK) {
        double asked = rs_param_number(&r->config->parallel, "memory") * RS_GIB;
        r->n_threads = rs_place_threads(all, size, rank);
        r->available = asked > 0 ? asked : (double)memory.free_bytes / rs_place_sharers(all, size, rank);
        list_hosts(r, all, size);
        if (rank == 0)
            note_places(r, all, size);
    }
    free(all);
    return status;
}

static bool computes(const run *r)
{
    return rs_comm_rank(r->world) >= r->first_rank;
}

/* Before a weight is read: does everything fit? */
static rs_status plan_memory(run *r)
{
    if (!computes(r))
        return RS_OK;
    return rs_memory_plan_make(r->plan, r->ops->kind, r->available, &r->memory);
}

static rs_status open_model(run *r)
{
    rs_transformer_options options = {
        .device = r->device,
        .arena_bytes = r->memory.arena_bytes,
        .comm = rs_param_string(&r->config->parallel, "comm"),
        .comm_timeout = rs_param_number(&r->config->parallel, "comm_timeout"),
        .world = r->world,
        .dtype = strcmp(rs_param_string(&r->config->model, "dtype"), "bf16") == 0 ? RS_BF16 : RS_F32,
        .n_threads = r->n_threads,
        .max_rows = (int64_t)rs_param_number(&r->config->parallel, "batch_tokens"),
        .deterministic = rs_param_number(&r->config->parallel, "deterministic") != 0,
    };
    RS_TRY(rs_transformer_open(&r->model, r->store, r->ops, r->group, &options, &r->transformer));
    if (!options.deterministic)
        return RS_OK;
    double fixed, plain;
    RS_TRY(rs_transformer_deterministic_cost(r->transformer, r->store, &fixed, &plain));
    rs_info("deterministic: a layer's output projections and their sums take %.2f ms instead of %.2f ms", 1e3 * fixed, 1e3 * plain);
    return RS_OK;
}

/* Returns when every replica's work is done. */
static rs_status work(run *r)
{
    if (!computes(r)) /* rank 0 waits for its server */
        return rs_comm_rank(r->world) == 0 ? RS_OK : rs_replica_wait(r->messages);
    rs_replica_setup setup = {
        .group = r->group,
        .messages = r->messages,
        .grace = r->options->grace,
        .worker = {.plan = r->plan,
                   .transformer = r->transformer,
                   .max_rows = (int64_t)rs_param_number(&r->config->parallel, "batch_tokens"),
                   .kv_tokens = r->memory.kv_tokens,
                   .longest_kv = r->memory.longest_kv,
                   .replica = rs_comm_rank(r->world) / r->tensor},
    };
    return rs_replica_work(&setup, &r->use);
}

/* --- phase 4: reports (rank 0) --- */

/* table: NULL, or where the terminal's goes. */
static rs_status write_reports(run *r, rs_report_summary *summary, rs_text *table)
{
    char text[32];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    now_text(text);
    free(r->facts.finished);
    r->facts.finished = rs_strdup(text);
    r->facts.seconds = (double)(t.tv_sec - r->started.tv_sec) + 1e-9 * (double)(t.tv_nsec - r->started.tv_nsec);
    return rs_report_write_and_show(r->folder, r->journal, &r->facts, summary, TABLE_WIDTH, table);
}

static rs_status on_stop(void *context)
{
    run *r = context;
    rs_report_summary summary;
    rs_info("asked to stop: what is done is kept; the same command goes on from here");
    return write_reports(r, &summary, NULL);
}

static rs_status collect_memory(run *r)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double mine = (double)usage.ru_maxrss * 1024.0;
    r->facts.peak_rss_bytes = rs_alloc((size_t)rs_comm_size(r->world), sizeof *r->facts.peak_rss_bytes);
    return rs_comm_gather(r->world, &mine, sizeof mine, r->facts.peak_rss_bytes);
}

/* Where each computing replica's time went, as its first rank saw it. */
static rs_status collect_use(run *r)
{
    int size = rs_comm_size(r->world);
    r->use.rank = rs_comm_rank(r->world);
    rs_replica_facts *all = rs_alloc((size_t)size, sizeof *all);
    rs_status status = rs_comm_gather(r->world, &r->use, sizeof r->use, all);
    for (int i = 0; i < r->replicas; i++)
        all[i] = all[r->first_rank + i * r->tensor];
    r->facts.replicas = all;
    r->facts.n_replicas = r->replicas;
    for (int i = 0; i < r->replicas; i++)
        rs_debug("replica of rank %d on %s: %" PRId64 " samples, %.2f s busy, %.2f s idle", all[i].rank, all[i].host, all[i].samples,
                 all[i].seconds_busy, all[i].seconds_idle);
    return status;
}

/* The units that are left, longest first by the plan's prediction. */
static rs_schedule *open_schedule(const run *r)
{
    rs_unit_cost *costs = rs_alloc((size_t)r->plan->n_points, sizeof *costs);
    for (int64_t i = 0; i < r->plan->n_points; i++)
        costs[i] = (rs_unit_cost){r->plan->points[i].flops, rs_plan_context(r->plan, &r->plan->points[i])};
    rs_schedule *schedule = rs_schedule_open(costs, r->plan->n_points, r->replicas);
    rs_schedule_add(schedule, r->units, r->n_units);
    free(costs);
    return schedule;
}

static rs_status start_server(run *r, rs_server **server)
{
    r->schedule = open_schedule(r);
    r->progress = rs_progress_open(r->n_units, rs_schedule_left(r->schedule));
    rs_server_setup setup = {
        .comm = r->messages,
        .plan = r->plan,
        .replicas = r->replicas,
        .tensor = r->tensor,
        .first_rank = r->first_rank,
        .schedule = r->schedule,
        .looks = r->looks,
        .journal = r->journal,
        .progress = r->progress,
        .on_stop = on_stop,
        .on_stop_context = r,
        .patience = r->options->grace + STEP_SECONDS,
        .pulse = rs_watch_second_pulse(r->watch),
    };
    return rs_server_start(&setup, server);
}

/* Weights, server, loop. Returns when every replica has ended. */
static rs_status compute(run *r, bool *stopped)
{
    rs_server *server = NULL;
    int rank = rs_comm_rank(r->world), heard_stop = 0;
    RS_TRY(rs_comm_split(r->world, rank / r->tensor, &r->group));
    RS_TRY(rs_comm_split(r->world, 0, &r->messages));
    RS_TRY(agree(r, computes(r) ? open_model(r) : RS_OK));
    RS_TRY(agree(r, rank == 0 ? start_server(r, &server) : RS_OK));
    rs_status status = work(r);
    if (status != RS_OK && rs_comm_size(r->group) > 1) { /* the others of the group wait in a collective for ever */
        fprintf(stderr, "ropesweep: rank %d (%s): %s\n", rank, rs_watch_host(r->watch, rank), rs_error_message());
        rs_comm_abort(r->world, 1);
    }
    if (rs_comm_rank(r->group) == 0 && computes(r)) {
        rs_status told = rs_client_done(r->messages, status);
        status = status == RS_OK ? told : status;
    }
    if (rank == 0) {
        rs_status served = rs_server_join(server, stopped);
        heard_stop = *stopped;
        status = status == RS_OK ? served : status;
    }
    RS_TRY(rs_comm_broadcast(r->world, &heard_stop, sizeof heard_stop, 0));
    *stopped = heard_stop != 0;
    rs_stop_done();
    return agree(r, status);
}

/* Reports where anything changed, and the table on the terminal. */
static rs_status report(run *r, rs_report_summary *summary)
{
    rs_text table = {0};
    rs_text *shown = rs_log_get_level() >= RS_LOG_NORMAL ? &table : NULL;
    rs_status status = rs_journal_sync(r->journal);
    rs_pulse_work("writing reports");
    if (status == RS_OK)
        status = r->unchanged ? rs_report_summarize(r->journal, summary) : write_reports(r, summary, shown);
    if (status == RS_OK && r->unchanged && shown)
        status = rs_report_write_table(r->journal, TABLE_WIDTH, shown);
    if (table.n) {
        fputs(table.data, stdout);
        char *folder = rs_path_tidy(r->folder);
        printf("\n%s/report.yaml\n%s/report.json\n%s/samples.jsonl\n%s/report.html\n", folder, folder, folder, folder);
        fflush(stdout);
        free(folder);
    }
    rs_text_free(&table);
    return status;
}

static rs_status finish(run *r, bool stopped, rs_run_result *result)
{
    int verdict[2] = {RS_OK, RS_RUN_COMPLETE};
    rs_pulse_work("writing reports");
    if (r->n_units > 0) {
        RS_TRY(collect_memory(r));
        RS_TRY(collect_use(r));
    }
    if (rs_comm_rank(r->world) == 0) {
        rs_report_summary summary = {0};
        verdict[0] = (int)report(r, &summary);
        rs_status closed = rs_journal_close(r->journal);
        r->journal = NULL;
        verdict[0] = verdict[0] == RS_OK ? (int)closed : verdict[0];
        verdict[1] = stopped && summary.missing > 0            ? RS_RUN_STOPPED
                     : summary.failed > 0 || !summary.complete ? RS_RUN_FAILED_POINTS
                                                               : RS_RUN_COMPLETE;
    }
    RS_TRY(agree(r, (rs_status)verdict[0]));
    RS_TRY(rs_comm_broadcast(r->world, verdict, sizeof verdict, 0));
    *result = (rs_run_result)verdict[1];
    return RS_OK;
}

static void run_close(run *r)
{
    rs_transformer_close(r->transformer);
    rs_looks_close(r->looks);
    rs_plan_close(r->plan);
    rs_tensor_store_close(r->store);
    rs_tokenizer_free(r->tokenizer);
    rs_model_free(&r->model);
    rs_config_free(r->config);
    if (r->journal) /* a failure stands already */
        (void)rs_journal_close(r->journal);
    if (r->progress)
        rs_progress_close(r->progress);
    for (int i = 0; i < r->facts.n_hosts; i++)
        free(r->facts.hosts[i]);
    free(r->facts.hosts);
    free(r->facts.peak_rss_bytes);
    free(r->facts.replicas);
    free(r->facts.started);
    free(r->facts.finished);
    rs_schedule_close(r->schedule);
    free(r->units);
    free(r->folder);
    rs_watch_close(r->watch);
    rs_comm_close(r->messages);
    rs_comm_close(r->group);
}

/* From the first look into the output folder to the last report. */
static rs_status in_folder(run *r, rs_run_result *result)
{
    bool stopped = false;
    RS_TRY(prepare_output(r));
    r->facts.ranks = rs_comm_size(r->world);
    r->facts.tensor = r->tensor;
    r->facts.backend = r->ops->kind->name;
    r->facts.device = r->ops->describe(r->device);
    r->facts.deterministic = rs_param_number(&r->config->parallel, "deterministic") != 0;
    rs_status status = r->n_units > 0 ? compute(r, &stopped) : RS_OK;
    if (status == RS_OK)
        return finish(r, stopped, result);
    if (r->journal) { /* what was found before the failure is worth a report; the failure itself stays the message */
        rs_report_summary summary;
        (void)write_reports(r, &summary, NULL);
    }
    return status;
}

static rs_status run_phases(run *r, rs_run_result *result)
{
    RS_TRY(agree(r, load_files(r)));
    r->tensor = (int)rs_param_number(&r->config->parallel, "tensor");
    r->first_rank = scheduler_computes(r->config) ? 0 : r->tensor;
    RS_TRY(agree(r, rs_watch_open(r->world, rs_param_number(&r->config->parallel, "heartbeat"), &r->watch)));
    rs_pulse_work("reading the tasks' files");
    RS_TRY(agree(r, open_plan(r)));
    rs_plan_deal(r->plan, r->options->shard, r->options->n_shards);
    RS_TRY(find_places(r));
    RS_TRY(agree(r, plan_memory(r)));
    rs_stop_install((unsigned)(r->options->grace + LATEST_SECONDS));
    rs_pulse_work("opening the journal");
    rs_status status = in_folder(r, result);
    if (status == RS_IO) /* a full or broken disk: the same command goes on once there is a good one */
        *result = RS_RUN_STOPPED;
    return status;
}

rs_status rs_run(rs_comm *world, const rs_run_options *options, rs_run_result *result, bool *speaks)
{
    char text[32];
    run r = {.world = world, .options = options, .speaks = speaks};
    *speaks = rs_comm_rank(world) == 0;
    if (rs_comm_rank(world) != 0)
        rs_log_set_level(RS_LOG_SILENT);
    now_text(text);
    clock_gettime(CLOCK_MONOTONIC, &r.started);
    r.facts.started = rs_strdup(text);
    rs_status status = run_phases(&r, result);
    run_close(&r);
    return status;
}
