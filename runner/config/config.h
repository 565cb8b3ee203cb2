/* The validated configuration: what a YAML file and --set say, every value checked, nothing read from weights.
 * A change of the file format is a row of fields.c; docs/config.md and --help are made from the same rows. */
#ifndef RS_CONFIG_CONFIG_H
#define RS_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/param.h"
#include "base/status.h"
#include "base/text.h"
#include "kernels/rope.h"
#include "kernels/softmax_policy.h"
#include "tasks/task.h"

typedef struct rs_place {
    int line, column; /* from 1; 0: not from the file (--set, default) */
    const char *set;  /* "--set key=value" where that gave it, else NULL; borrowed from the config */
} rs_place;

typedef struct rs_rope_entry {
    const rs_rope_variant *variant;
    rs_params params;
    rs_place place;
} rs_rope_entry;

typedef struct rs_softmax_entry {
    const rs_softmax_policy *policy;
    rs_params params;
    rs_place place;
} rs_softmax_entry;

typedef struct rs_task_entry {
    const rs_task *task;
    rs_params common; /* rs_task_common_params, filled */
    rs_params params; /* the task's own, filled */
    rs_place place;
} rs_task_entry;

typedef struct rs_config {
    char *path, *folder;  /* of the file; relative paths are relative to folder */
    rs_params run;        /* seed, output: the keys that stand at the top of the file */
    rs_params model;      /* path, dtype */
    rs_params parallel;   /* tensor, batch_tokens, threads, comm, deterministic, ... */
    rs_rope_entry *ropes; /* expanded: one entry a point axis value */
    int n_ropes;
    rs_softmax_entry *softmaxes;
    int n_softmaxes;
    int64_t *contexts;
    int n_contexts;
    rs_task_entry *tasks;
    int n_tasks;
    int baseline_rope, baseline_softmax; /* indices, known after rs_config_resolve; 0 where `baseline` is absent */
    rs_rope_entry wanted_rope;           /* baseline.rope as written; variant NULL: absent */
    rs_softmax_entry wanted_softmax;
    struct rs_yaml *yaml; /* the file as read, for the places of later errors */
} rs_config;

extern const rs_param_spec rs_config_run_params[], rs_config_model_params[], rs_config_parallel_params[];

typedef struct rs_override { /* --set key=value: key dotted ("model.dtype", "sweep.context", "tasks.0.samples"), value as YAML */
    const char *key, *value;
} rs_override;

/* Parses and validates. RS_INVALID with "FILE:LINE:COLUMN: what ('offending text'), did you mean 'name'?"; for a value that --set gave,
 * "--set key=value: what ...". Params of ropes and softmaxes are checked for kinds and bounds, and filled but for "model.*" defaults. */
rs_status rs_config_load(const char *path, const rs_override *overrides, size_t n_overrides, rs_config **out);
void rs_config_free(rs_config *config); /* NULL is fine */

/* The output folder, relative to the current folder: `output` is relative to the config's folder, its default to the current one.
 * Freed by the caller. */
char *rs_config_output(const rs_config *config);

/* Fills "model.*" defaults once the model's facts are known and builds every rope and softmax once (head_dim, each context as n_final), so
 * that impossible entries fail with their place. Refuses duplicate points (two rope entries that fill to the same values, ...). */
rs_status rs_config_resolve(rs_config *config, const rs_model_facts *facts, int head_dim);

/* Fails with the place of a key (that of its nearest parent in the file where it is a default) put in front of `what`: how later phases
 * report what only they can know (tensor that does not divide the heads). key: "parallel.tensor", "tasks.0.text". RS_INVALID. */
rs_status rs_config_fail_at(const rs_config *config, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for the place of an entry. */
rs_status rs_config_fail_place(const rs_config *config, rs_place place, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The effective configuration as one JSON object (keys in file order of fields.c), for report and content comparison; `out` is appended. */
void rs_config_write_json(const rs_config *config, rs_text *out);
/* One entry as a JSON object: {"rope_type": "yarn", "factor": 4, ...}. */
void rs_rope_entry_write_json(const rs_rope_entry *entry, rs_text *out);
void rs_softmax_entry_write_json(const rs_softmax_entry *entry, rs_text *out);
/* Short names for tables: "yarn factor=4", "T=0.8", "adaptive"; only what the user gave. */
void rs_rope_entry_write_label(const rs_rope_entry *entry, rs_text *out);
void rs_softmax_entry_write_label(const rs_softmax_entry *entry, rs_text *out);

/* The field tables as Markdown (docs/config.md), and as the lines of --help. */
void rs_config_write_reference(rs_text *out);
void rs_config_write_help(rs_text *out);

#endif
