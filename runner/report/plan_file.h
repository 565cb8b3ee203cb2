/* journal/plan.json read back: the points in the order of reports, and the parts of the plan that reports copy. */
#ifndef RS_REPORT_PLAN_FILE_H
#define RS_REPORT_PLAN_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/status.h"
#include "tasks/task.h"

/* Points of one label share a task. */
typedef struct rs_plan_task {
    char *label;
    int version;
    bool scores_text;               /* metrics follow from nll; else from the records' scores */
    bool counts_keys;               /* with scores_text: nll of key tokens only (report/key_tokens.h) */
    const char *metrics[RS_MAX_METRICS];
    int n_metrics;
    double stop_width;              /* its points stop once their interval is so narrow; 0: never */
    int64_t stop_min;               /* samples at the first look */
} rs_plan_task;

typedef struct rs_plan_point {
    char id[17];
    uint64_t key;                   /* the same as a number */
    int rope, softmax, task;        /* indices */
    int64_t context, samples;
    int64_t extra;                  /* samples beside these, from RS_EXTRA_DOC_ID on, that are part of all points' metrics and not of n */
    char inv_freq_digest[33];
    double attention_factor;
    int shard;                      /* which makes it, where the plan has shards */
    bool listed;                    /* false: another shard's */
} rs_plan_point;

typedef struct rs_plan_file {
    json_t *root;                   /* without its points */
    json_t *ropes, *softmaxes;      /* borrowed from root */
    int n_ropes, n_softmaxes, baseline_rope, baseline_softmax;
    rs_plan_task *tasks;
    int n_tasks, tasks_cap;
    int shard, n_shards;            /* this folder's; n_shards 0: it is whole */
    rs_plan_point *points;
    int64_t n_points;
    char **names;                   /* metrics' names, owned once for all tasks */
    int n_names, names_cap;
} rs_plan_file;

/* text: rs_journal_plan's; NULL is an error that says so. path names it in messages. */
rs_status rs_plan_file_parse(const char *text, const char *path, rs_plan_file *out);
void rs_plan_file_free(rs_plan_file *plan);

/* Effective entries and labels. Borrowed. */
json_t *rs_plan_file_rope(const rs_plan_file *plan, const rs_plan_point *point);
json_t *rs_plan_file_softmax(const rs_plan_file *plan, const rs_plan_point *point);
const char *rs_plan_file_rope_label(const rs_plan_file *plan, int rope);
const char *rs_plan_file_softmax_label(const rs_plan_file *plan, int softmax);
static inline bool rs_plan_file_is_baseline(const rs_plan_file *plan, const rs_plan_point *point)
{
    return point->rope == plan->baseline_rope && point->softmax == plan->baseline_softmax;
}

#endif
