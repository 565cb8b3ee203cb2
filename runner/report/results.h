/* What the records say of each point: whether it is done, its metrics, and how it differs from the baseline, sample by sample. */
#ifndef RS_REPORT_RESULTS_H
#define RS_REPORT_RESULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "report/depths.h"
#include "report/journal.h"
#include "report/key_tokens.h"
#include "report/plan_file.h"
#include "report/report.h"
#include "report/sink.h"
#include "report/splits.h"
#include "report/variants.h"
#include "score/evidence.h"
#include "score/stats.h"

typedef enum rs_point_state { RS_POINT_DONE, RS_POINT_FAILED, RS_POINT_MISSING } rs_point_state;
const char *rs_point_state_name(rs_point_state state);

typedef struct rs_point_result {
    rs_point_state state;
    int64_t n; /* samples that ran */
    double seconds;
    char *reason;                        /* of a failed point: its first error. Owned */
    rs_estimate metrics[RS_MAX_METRICS]; /* of a done point; as many as its task has */
    rs_estimate versus[RS_MAX_METRICS];  /* less the baseline's */
    bool has_versus;
    rs_interval sequence;  /* with evidence, where the task has a stop rule: the interval of the first metric that it went by */
    rs_evidence *evidence; /* of each `versus`, where evaluation judged; else NULL. Owned */
    rs_split_result splits[RS_N_SPLITS]; /* of a done point that scores text */
    int64_t key_tokens;                  /* of all samples, where the task counts them */
    rs_depth *by_depth;                  /* [RS_DEPTH_BINS] of a done point whose records tell depths, else NULL. Owned */
} rs_point_result;

/* What a done baseline's point says of the texts of its task and context. */
typedef struct rs_point_keys {
    int task;
    int64_t context;
    rs_key_tokens tokens;
} rs_point_keys;

/* What pairing and averaging need of a sample that ran. */
typedef struct rs_sample_row {
    int64_t doc_id;
    rs_digest prompt_hash;
    double nll, n_tokens, scores[RS_MAX_METRICS];
} rs_sample_row;

typedef struct rs_sample_rows {
    rs_sample_row *items; /* by doc_id; owned */
    int64_t n, cap;
} rs_sample_rows;

typedef struct rs_results {
    const rs_journal *journal;
    rs_plan_file plan;
    rs_point_result *points; /* [plan.n_points] */
    uint32_t *order;         /* entries of the journal, by point, then doc_id */
    size_t *first;           /* [n_points + 1]: where a point's entries begin in `order` */
    rs_point_keys *keys;     /* [n_keys] */
    int64_t n_keys, keys_cap;
    rs_variant *variants; /* [n_variants] of listed points, where evaluation judged */
    int n_variants;
    rs_report_summary summary; /* of listed points */
} rs_results;

/* Reads the plan and sorts the journal's entries by point. */
rs_status rs_results_open(const rs_journal *journal, rs_results **out);
/* Fills `points` and `summary`. judge: `evidence` and `variants` too, which takes longer. samples: NULL, or where samples.jsonl goes. */
rs_status rs_results_evaluate(rs_results *results, bool judge, rs_sink *samples);
void rs_results_free(rs_results *results);
/* Samples of a point, extra ones included, that have no record. */
int64_t rs_results_missing(const rs_results *results, int64_t point);

/* The samples of one point that ran; result (NULL: not wanted) gets state, n, seconds and reason. */
rs_status rs_results_rows(const rs_results *results, int64_t point, rs_sample_rows *rows, rs_point_result *result);
void rs_sample_rows_free(rs_sample_rows *rows);

/* A metric of these rows. */
rs_estimate rs_rows_metric(const rs_plan_task *task, int metric, const rs_sample_rows *rows);
/* Pairs the samples that both hold with the same prompt: their indices go to ia and ib, which have room for as many as a has. Returns how
 * many. */
int64_t rs_rows_share(const rs_sample_rows *a, const rs_sample_rows *b, int64_t *ia, int64_t *ib);
/* metric(a) - metric(b) over the samples that both hold with the same prompt; *n: how many these are (0: the estimate is NaN). */
rs_estimate rs_rows_difference(const rs_plan_task *task, int metric, const rs_sample_rows *a, const rs_sample_rows *b, int64_t *n);

#endif
