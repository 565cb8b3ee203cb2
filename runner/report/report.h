/* From the plan and the journal's records to the files of the output folder.
 *
 * What may differ between two runs of one config: `seconds`, `started`, `finished`, `hosts`, and the lists `rank` (what each rank used:
 * peak memory) and `replica` (where its time went), beside what the launch itself chose (`ranks`, `tensor`, `device`). A point is done when
 * all its samples ran, failed when any could not (reason: the first by doc_id), else missing; only done points have metrics. Records of
 * points or samples that the plan does not have are left out.
 *
 * The plan is the JSON text that the run wrote to
 * journal/plan.json, so that `report`, `merge` and `compare` need nothing but folders:
 *   {"schema": 1, "program": {name, version, commit}, "model": {path, architecture, parameters, digest, digest_of, dtype}, "config": {...},
 *    "baseline": {"rope": i, "softmax": j},
 *    "ropes": [{"label", "entry": {effective keys}, "inv_freq": [...] (at the largest context), "attention_factor"}...],
 *    "softmaxes": [{"label", "entry"}...],
 *    "points": [{"id", "rope": i, "softmax": j, "context", "task": label, "task_name", "task_version", "kind":
 * "score"|"score_keys"|"generate", "metrics": [names], "samples": n, "stop_width": w, "stop_min": n (where points stop early), "extra": n
 * (where there are any), "inv_freq_digest", "attention_factor"}...], "shard": {"index", "count"} or absent; where it is there, each point
 * has its "shard", and reports list the points of this one} */
#ifndef RS_REPORT_REPORT_H
#define RS_REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/status.h"
#include "base/text.h"
#include "report/journal.h"

/* Where a replica's time went. Idle: it had no sample to compute. */
typedef struct rs_replica_facts {
    int rank; /* its first */
    char host[64];
    double seconds_busy, seconds_idle;
    int64_t samples; /* that it returned */
} rs_replica_facts;

/* Facts of this run that enter the report's `run`; for `ropesweep report DIR` they come from journal/run.json of the last run. */
typedef struct rs_run_facts {
    char *started, *finished; /* ISO 8601, UTC */
    double seconds;
    int ranks, tensor;
    char **hosts; /* short names, each once */
    int n_hosts;
    const char *backend;    /* "cpu" */
    const char *device;     /* "avx512_bf16, oneDNN 2.6.3" */
    double *peak_rss_bytes; /* [ranks] */
    rs_replica_facts *replicas;
    int n_replicas;
    bool deterministic;
} rs_run_facts;

typedef struct rs_report_summary {
    int points, done, failed, missing;
    bool complete; /* every point done */
} rs_report_summary;

/* Writes samples.jsonl, report.json, report.yaml, report.csv and report.html of `folder` from its journal, each atomically, and before and
 * after them journal/run.json. facts NULL: those that journal/run.json tells of the last run. */
rs_status rs_report_write(const char *folder, const rs_journal *journal, const rs_run_facts *facts, rs_report_summary *summary);
/* The same, and the table for the terminal from the same evaluation; table NULL: not wanted. */
rs_status rs_report_write_and_show(const char *folder, const rs_journal *journal, const rs_run_facts *facts, rs_report_summary *summary,
                                   int width, rs_text *table);
/* FOLDER/lm-eval/: the done points in lm-evaluation-harness's layout, under the time of the last run. */
rs_status rs_report_write_lm_eval(const char *folder, const rs_journal *journal);
/* What is done, without writing anything. */
rs_status rs_report_summarize(const rs_journal *journal, rs_report_summary *summary);
/* Whether `folder` holds all reports of a run that ended complete (journal/run.json says so; it says so once they are there). */
bool rs_report_is_complete(const char *folder);
/* The table for the terminal: one row a (rope, softmax), columns task x context, value and standard error; the failed points below.
 * `width`: columns that fit. */
rs_status rs_report_write_table(const rs_journal *journal, int width, rs_text *out);

/* `compare A B`: differences of metrics of points that both hold, paired by sample where the samples are the same. gates: "TASK[@CONTEXT]
 * METRIC OP VALUE". out: the table; tree: the same for programs, or NULL. *passed false: a gate failed. */
rs_status rs_report_compare(const char *folder_a, const char *folder_b, char *const *gates, int n_gates, rs_text *out, json_t **tree,
                            bool *passed);

/* `trend DIR...`: the metrics of every point over folders, the oldest first, and which gates of DIR/compare.json (`compare`'s -o) failed.
 * page: the HTML file to write, or NULL; out: the table. */
rs_status rs_report_trend(const char *const *folders, int n, const char *page, rs_text *out);

/* `merge DIR... -o DIR`: joins the journals of shards of one plan. Refuses different plans; names what is missing or double. */
rs_status rs_report_merge(char *const *folders, int n_folders, const char *output, rs_report_summary *summary);

#endif
