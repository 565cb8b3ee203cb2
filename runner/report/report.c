#include "report/report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "report/emit.h"
#include "report/report_file.h"

#define MAX_RUN_BYTES ((size_t)64 << 20)

/* --- run facts --- */

static const char *const fact_names[] = {"started", "finished", "seconds",       "ranks", "tensor", "hosts",
                                         "backend", "device",   "deterministic", "rank",  "replica"};

static json_t *text_or_null(const char *text)
{
    return text ? rs_json_text(text) : json_null();
}

static json_t *replicas_tree(const rs_run_facts *facts)
{
    json_t *list = json_array();
    for (int i = 0; i < facts->n_replicas; i++) {
        const rs_replica_facts *replica = &facts->replicas[i];
        json_t *tree = json_object();
        json_object_set_new(tree, "rank", json_integer(replica->rank));
        json_object_set_new(tree, "host", rs_json_text(replica->host));
        json_object_set_new(tree, "seconds_busy", rs_json_number(replica->seconds_busy));
        json_object_set_new(tree, "seconds_idle", rs_json_number(replica->seconds_idle));
        json_object_set_new(tree, "samples", json_integer(replica->samples));
        json_array_append_new(list, tree);
    }
    return list;
}

static json_t *facts_tree(const rs_run_facts *facts)
{
    json_t *run = json_object(), *hosts = json_array(), *ranks = json_array();
    for (int i = 0; i < facts->n_hosts; i++)
        json_array_append_new(hosts, rs_json_text(facts->hosts[i]));
    for (int i = 0; i < facts->ranks && facts->peak_rss_bytes; i++) {
        json_t *rank = json_object();
        json_object_set_new(rank, "rank", json_integer(i));
        json_object_set_new(rank, "peak_rss_mb", rs_json_number((double)(int64_t)(facts->peak_rss_bytes[i] / 1e5 + 0.5) / 10));
        json_array_append_new(ranks, rank);
    }
    json_object_set_new(run, "started", text_or_null(facts->started));
    json_object_set_new(run, "finished", text_or_null(facts->finished));
    json_object_set_new(run, "seconds", rs_json_number(facts->seconds));
    json_object_set_new(run, "ranks", json_integer(facts->ranks));
    json_object_set_new(run, "tensor", json_integer(facts->tensor));
    json_object_set_new(run, "hosts", hosts);
    json_object_set_new(run, "backend", text_or_null(facts->backend));
    json_object_set_new(run, "device", text_or_null(facts->device));
    json_object_set_new(run, "deterministic", json_boolean(facts->deterministic));
    json_object_set_new(run, "rank", ranks);
    json_object_set_new(run, "replica", replicas_tree(facts));
    return run;
}

rs_status rs_report_read_run(const char *folder, json_t **run)
{
    rs_text text = {0};
    char *path = rs_format("%s/journal/run.json", folder);
    rs_status status = RS_OK;
    struct stat info;
    *run = NULL;
    if (lstat(path, &info) == 0)
        status = rs_file_read_own(path, MAX_RUN_BYTES, &text);
    if (text.n)
        *run = json_loadb(text.data, text.n, 0, NULL);
    free(path);
    rs_text_free(&text);
    return status;
}

/* The facts of the run that journal/run.json tells of; null for what it does not tell. */
static rs_status last_facts(const char *folder, json_t **out)
{
    json_t *run = json_object(), *last;
    *out = run;
    RS_TRY(rs_report_read_run(folder, &last));
    for (size_t i = 0; i < sizeof fact_names / sizeof *fact_names; i++) {
        json_t *fact = json_object_get(last, fact_names[i]);
        json_object_set_new(run, fact_names[i], fact ? json_incref(fact) : json_null());
    }
    json_decref(last);
    return RS_OK;
}

static void put_summary(const rs_results *results, json_t *run)
{
    const rs_report_summary *summary = &results->summary;
    json_t *shard = json_object_get(results->plan.root, "shard");
    if (shard)
        json_object_set(run, "shard", shard);
    json_object_set_new(run, "status", json_string(summary->complete ? "complete" : "partial"));
    json_object_set_new(run, "points", json_integer(summary->points));
    json_object_set_new(run, "points_done", json_integer(summary->done));
    json_object_set_new(run, "points_failed", json_integer(summary->failed));
    json_object_set_new(run, "points_missing", json_integer(summary->missing));
}

/* --- journal/run.json: the last run's facts and, once all are there, which plan the reports beside it were made from --- */

static char *plan_digest(const char *plan)
{
    char hex[33];
    return rs_strdup(rs_digest_hex(rs_digest_of(plan, strlen(plan)), hex));
}

static rs_status write_run(const char *folder, json_t *run)
{
    rs_text text = {0};
    char *path = rs_format("%s/journal/run.json", folder);
    rs_emit_json(run, &text);
    rs_text_puts(&text, "\n");
    rs_status status = rs_file_write_atomic(path, text.data, text.n);
    rs_text_free(&text);
    free(path);
    return status;
}

static rs_status write_run_and_plan(const char *folder, const rs_journal *journal, json_t *run)
{
    char *digest = plan_digest(rs_journal_plan(journal));
    json_object_set_new(run, "plan_digest", json_string(digest));
    free(digest);
    return write_run(folder, run);
}

static bool has_reports(const char *folder)
{
    static const char *const names[] = {"report.yaml", "report.json", "report.csv", "report.html", "samples.jsonl"};
    struct stat info;
    bool all = true;
    for (size_t i = 0; i < sizeof names / sizeof *names && all; i++) {
        char *path = rs_path_join(folder, names[i]);
        all = lstat(path, &info) == 0 && S_ISREG(info.st_mode);
        free(path);
    }
    return all;
}

bool rs_report_is_complete(const char *folder)
{
    json_t *run;
    if (rs_report_read_run(folder, &run) != RS_OK)
        rs_error_clear(); /* they are written again, then */
    const char *status = json_string_value(json_object_get(run, "status")),
               *made_from = json_string_value(json_object_get(run, "plan_digest"));
    bool complete = status && strcmp(status, "complete") == 0 && made_from && has_reports(folder);
    if (complete) {
        rs_mapping plan = {0};
        char hex[33], *path = rs_format("%s/journal/plan.json", folder);
        complete = access(path, R_OK) == 0 && rs_file_map(path, &plan) == RS_OK &&
                   strcmp(rs_digest_hex(rs_digest_of(plan.data, plan.n), hex), made_from) == 0;
        rs_file_unmap(&plan);
        rs_error_clear();
        free(path);
    }
    json_decref(run);
    return complete;
}

/* --- all of it --- */

rs_status rs_report_write_and_show(const char *folder, const rs_journal *journal, const rs_run_facts *facts, rs_report_summary *summary,
                                   int width, rs_text *table)
{
    rs_status status = RS_OK;
    rs_results *results = NULL;
    rs_sink *samples = NULL;
    json_t *run = NULL;
    if (facts)
        run = facts_tree(facts);
    else
        RS_TRY_OUT(last_facts(folder, &run));
    RS_TRY_OUT(rs_results_open(journal, &results));
    RS_TRY_OUT(rs_sink_open(folder, "samples.jsonl", &samples));
    status = rs_results_evaluate(results, true, samples);
    put_summary(results, run);
    if (status == RS_OK) /* from here to the last file, the old ones are not taken for reports of this journal */
        status = write_run(folder, run);
    status = rs_sink_close(samples, status);
    RS_TRY_OUT(status);
    *summary = results->summary;
    RS_TRY_OUT(rs_report_write_trees(folder, results, run));
    RS_TRY_OUT(rs_report_write_csv(folder, results));
    RS_TRY_OUT(rs_report_write_html(folder, results, run));
    RS_TRY_OUT(rs_report_write_diagnostics(folder, results));
    RS_TRY_OUT(write_run_and_plan(folder, journal, run));
    if (table)
        rs_table_write(results, width, table);
out:
    json_decref(run);
    rs_results_free(results);
    return status;
}

rs_status rs_report_write(const char *folder, const rs_journal *journal, const rs_run_facts *facts, rs_report_summary *summary)
{
    return rs_report_write_and_show(folder, journal, facts, summary, 0, NULL);
}

rs_status rs_report_summarize(const rs_journal *journal, rs_report_summary *summary)
{
    rs_results *results = NULL;
    RS_TRY(rs_results_open(journal, &results));
    rs_status status = rs_results_evaluate(results, false, NULL);
    *summary = results->summary;
    rs_results_free(results);
    return status;
}
