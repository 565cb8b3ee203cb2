/* The sweep as points and units of work. A point is one (rope, softmax, context, task); a unit is one sample of one point. Ids come from
 * content alone: the model's digest, dtype, tables, task version and parameters, seed; never from ranks, batches or places in the file. */
#ifndef RS_PLAN_PLAN_H
#define RS_PLAN_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"
#include "config/config.h"
#include "model/model.h"
#include "model/tokenizer.h"

typedef struct rs_point {
    int rope, softmax, context, task; /* indices into the config's axes */
    int64_t n_samples;                /* the last n_extra of them are the baseline's extra ones (rs_task.count_extra) */
    int64_t n_extra;
    rs_digest id;
    char id_hex[17];
    double flops, tokens; /* of one sample, predicted; the mean where extra ones are shorter */
    int shard;            /* which of n_shards makes it */
} rs_point;

typedef struct rs_unit {
    int64_t point, doc_id;
    int64_t ticket; /* its number in the run's schedule */
} rs_unit;

typedef struct rs_plan {
    const rs_config *config;
    const rs_model *model;
    const rs_tokenizer *tokenizer;
    void **task_states;    /* [n_tasks], opened tasks */
    rs_rope *ropes;        /* [n_ropes, n_contexts], built at n_final = context */
    rs_softmax *softmaxes; /* [n_softmaxes] */
    rs_point *points;      /* task fastest, then context, softmax, rope slowest: the order of reports */
    int64_t n_points;
    rs_digest model_digest;
    bool digest_is_full; /* of all bytes, not of samples of them */
    int shard, n_shards; /* this run's; 0 of 1 without --shard */
} rs_plan;

/* Opens the tasks and lists the points. config is resolved. tokenizer NULL: only counts and costs (`plan`): tasks stay closed, every point
 * is taken to have its `samples`. Borrows all arguments. */
rs_status rs_plan_open(const rs_config *config, const rs_model *model, const rs_tokenizer *tokenizer, rs_digest model_digest,
                       bool digest_is_full, rs_plan **out);
void rs_plan_close(rs_plan *plan);

const rs_rope *rs_plan_rope(const rs_plan *plan, const rs_point *point);
int64_t rs_plan_context(const rs_plan *plan, const rs_point *point);
const rs_task_entry *rs_plan_task(const rs_plan *plan, const rs_point *point);
/* Names of the point's scores, NULL-terminated; returns how many: none for a task that scores text by nll. */
size_t rs_plan_metrics(const rs_plan *plan, const rs_point *point, const char *names[RS_MAX_METRICS + 1]);
const char *rs_plan_label(const rs_task_entry *entry);

/* When the points of a task stop before their samples are all taken: width 0 for never. */
typedef struct rs_stop_rule {
    double width;  /* of the paired difference's interval (score/sequence.h) */
    int64_t least; /* samples at the first look */
} rs_stop_rule;
rs_stop_rule rs_plan_stop_rule(const rs_plan *plan, const rs_point *point);
/* The baseline's point of the same task and context. */
int64_t rs_plan_baseline_of(const rs_plan *plan, int64_t point);

/* Whether sums of attention are wanted, and at which offsets. */
bool rs_plan_diagnostics(const rs_plan *plan, rs_diagnostics *spec);

/* Deals the points to n_shards runs, dearest first, each to the one that has least: this run is number `shard`. Points that may stop early
 * go where their baseline's goes, for they look at its samples. */
void rs_plan_deal(rs_plan *plan, int shard, int n_shards);

/* The doc_id of a point's i-th sample. */
int64_t rs_plan_doc_id(const rs_point *point, int64_t i);
/* Content id of one sample of a point. */
rs_digest rs_plan_record_id(const rs_point *point, int64_t doc_id);

/* Appends journal/plan.json's text (report/report.h says its form). */
void rs_plan_write_json(const rs_plan *plan, rs_text *out);

#endif
