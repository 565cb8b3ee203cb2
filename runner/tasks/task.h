/* A benchmark: a few functions and one struct that names them; registry.c's row is the only other line.
 * A task makes samples, the same under every variant: they depend on (task parameters, seed, context, doc_id) and the tokenizer, nothing
 * else. */
#ifndef RS_TASKS_TASK_H
#define RS_TASKS_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/param.h"
#include "base/status.h"
#include "base/text.h"
#include "model/tokenizer.h"

enum { RS_MAX_METRICS = 4 };

/* doc_id of the first sample that only the baseline's points have (rs_task.count_extra); their own begin at 0. */
#define RS_EXTRA_DOC_ID ((int64_t)1000000000000)

/* What every task entry has beside its own keys; parsed by config. */
extern const rs_param_spec rs_task_common_params[]; /* name, label, samples, prompt_prefix, prompt_suffix */

typedef struct rs_task_setup {
    const rs_params *params;                   /* the task's own, filled; borrowed for the life of the state */
    const rs_tokenizer *tokenizer;             /* borrowed likewise */
    int32_t bos;                               /* put before every prompt; -1: the model has none */
    uint64_t seed;                             /* of the run */
    const char *folder;                        /* relative paths in params are relative to it */
    const char *prompt_prefix, *prompt_suffix; /* text around each prompt; "" if unset */
} rs_task_setup;

typedef enum rs_sample_kind { RS_SAMPLE_SCORE, RS_SAMPLE_GENERATE } rs_sample_kind;

typedef struct rs_sample {
    rs_sample_kind kind;
    rs_tokens tokens;       /* the prompt, BOS included; owned */
    int64_t score_from;     /* SCORE: tokens [score_from, n) are scored, each given all before it; >= 1 */
    int64_t max_new_tokens; /* GENERATE */
    int64_t period;         /* SCORE: token i is token i - period from score_from on; 0: nothing is repeated */
    char **stops;           /* GENERATE: text that ends the answer (cut before it); owned */
    size_t n_stops;
    char **references; /* GENERATE: acceptable answers; owned */
    size_t n_references;
    size_t item; /* the task's own, for score(): which entry of its file the sample is of */
    char *facts; /* what was drawn, as members of a JSON object without braces: "\"depths\": [12.5]"; NULL: none; owned */
    char *error; /* set: this sample cannot run, and why (a prompt longer than the context); owned */
} rs_sample;
void rs_sample_free(rs_sample *sample);

typedef struct rs_task {
    const char *name;
    const char *summary; /* one line for `list tasks` */
    const char *source;  /* paper or repository, and what differs */
    const char *chance;  /* score of guessing, in words */
    int version;         /* part of content ids: raise it whenever samples or scores change */
    const rs_param_spec *params;
    /* Names of what score() fills, NULL-terminated; SCORE tasks: none (nll_per_token, perplexity follow). */
    const char *metrics[RS_MAX_METRICS + 1];
    /* NULL, or: the one metric's name where a parameter chooses it (jsonl); read through rs_task_metrics. */
    const char *(*metric_name)(const rs_params *params);

    /* NULL, or: whether filled params make sense together and at this context (0: at any). RS_INVALID, message without a place:
     * config knows it and calls this for every context of the sweep. count() and open() check the same again. */
    rs_status (*check)(const rs_params *params, int64_t context);

    /* Reads and checks the task's files, before the first point: RS_INVALID with FILE:LINE: for JSONL. Tokenizes what is shared. */
    rs_status (*open)(const rs_task_setup *setup, void **state);
    void (*close)(void *state);
    /* How many samples exist at this context, at most `wanted` (fewer: the caller warns; none: RS_INVALID naming the file). */
    rs_status (*count)(void *state, int64_t context, int64_t wanted, int64_t *n);
    /* NULL, or (SCORE): the baseline's points have so many more samples, n of their own being there, from RS_EXTRA_DOC_ID on; records hold
     * every scored token's nll, and metrics are over the tokens that those of the baseline find (report/key_tokens.h). A sample's doc_id
     * must say the same whatever n is. */
    int64_t (*count_extra)(const rs_params *params, int64_t context, int64_t n);
    double (*extra_tokens)(const rs_params *params, int64_t context); /* about how long such a sample is */
    /* Makes sample doc_id (0-based). Thread-safe: state is read only. */
    rs_status (*sample)(void *state, int64_t context, int64_t doc_id, rs_sample *out);
    /* GENERATE: scores[i] in 0..1 for metrics[i], from the answer's n bytes (UTF-8, may hold NUL; need not end in one). */
    void (*score)(const void *state, const rs_sample *sample, const char *response, size_t n, double *scores);
    /* NULL for a task without files, or: appends lines that name its data files' content (digests): changed data, other content ids. */
    void (*fingerprint)(const void *state, rs_text *out);
} rs_task;

extern const rs_task *const rs_tasks[]; /* NULL-terminated */
const rs_task *rs_task_find(const char *name);
/* Names of the metrics that score() fills under these params; returns how many. names: NULL-terminated. */
size_t rs_task_metrics(const rs_task *task, const rs_params *params, const char *names[RS_MAX_METRICS + 1]);
/* What it reports and of what, in words: "accuracy of a generated answer". */
void rs_task_write_metrics(const rs_task *task, rs_text *out);

#endif
