/* Prompts from a file: one JSON object a line with input, outputs and maybe answer_prefix; other members are ignored.
 * Source: the files that RULER's generators write (github.com/NVIDIA/RULER) run as they are; RULER's `length` counts input, answer_prefix
 * and the answer without a BOS, so a file made for length L needs context L+1. Differs: samples are numbered by line, from 0.
 * Prompt: BOS + tokens(prompt_prefix + input + prompt_suffix + answer_prefix), the text tokenized whole.
 * Metric: the one that `metric` names, under that name. Chance: the file's. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "score/metric.h"
#include "tasks/json_lines.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

static const rs_param_spec specs[] = {
    {.name = "file", .kind = RS_PARAM_STRING, .fallback = "required", .help = "JSON lines {input, outputs, answer_prefix (optional)}"},
    {.name = "metric",
     .kind = RS_PARAM_CHOICE,
     .choices = "ruler_all|ruler_part|exact|contains",
     .fallback = "ruler_all",
     .help = "ruler_all: share of the outputs found, ruler_part: any found, exact: equal, contains: any found, case kept"},
    RS_PARAM_ROW_MAX_NEW_TOKENS("128"),
    RS_PARAM_ROW_STOP,
    {0},
};

typedef struct record {
    char *input, *answer_prefix;
    char **outputs;
    size_t n_outputs;
} record;

typedef struct jsonl {
    rs_task_setup setup;
    rs_metric metric;
    record *records;
    size_t n, cap;
    rs_digest content; /* of the file */
} jsonl;

static const char *metric_name(const rs_params *params)
{
    return rs_param_string(params, "metric");
}

static rs_metric metric_of(const char *name)
{
    static const struct {
        const char *name;
        rs_metric metric;
    } metrics[] = {{"ruler_all", rs_metric_ruler_all}, {"ruler_part", rs_metric_ruler_part}, {"exact", rs_metric_exact}};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        if (strcmp(metrics[i].name, name) == 0)
            return metrics[i].metric;
    return rs_metric_contains;
}

static void record_free(record *one)
{
    rs_strings_free(one->outputs, one->n_outputs);
    free(one->input);
    free(one->answer_prefix);
}

static void close_task(void *state)
{
    jsonl *s = state;
    for (size_t i = 0; i < s->n; i++)
        record_free(&s->records[i]);
    free(s->records);
    free(s);
}

static rs_status take_line(void *state, const json_t *object, const char *place)
{
    static const char members[] = "\"input\", \"outputs\" and perhaps \"answer_prefix\"";
    jsonl *s = state;
    record one = {0};
    rs_status status;
    RS_TRY_OUT(rs_json_get_string(object, "input", true, members, place, &one.input));
    RS_TRY_OUT(rs_json_get_string(object, "answer_prefix", false, members, place, &one.answer_prefix));
    if (one.input[0] == '\0' && one.answer_prefix[0] == '\0')
        RS_TRY_OUT(rs_fail(RS_INVALID, "%s: \"input\" is empty", place));
    RS_TRY_OUT(rs_json_get_strings(object, "outputs", members, place, &one.outputs, &one.n_outputs));
    RS_PUSH(s->records, s->n, s->cap, one);
    return RS_OK;
out:
    record_free(&one);
    return status;
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    jsonl *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->metric = metric_of(metric_name(setup->params));
    char *path = rs_path_join(setup->folder, rs_param_string(setup->params, "file"));
    rs_status status = rs_json_lines_read(path, take_line, s, &s->content);
    free(path);
    if (status == RS_OK)
        *state = s;
    else
        close_task(s);
    return status;
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    const jsonl *s = state;
    (void)context;
    *n = wanted < (int64_t)s->n ? wanted : (int64_t)s->n;
    return RS_OK;
}

static void fingerprint(const void *state, rs_text *out)
{
    char hex[33];
    rs_text_printf(out, "file %s\n", rs_digest_hex(((const jsonl *)state)->content, hex));
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const jsonl *s = state;
    if (doc_id < 0 || doc_id >= (int64_t)s->n)
        return rs_fail(RS_INTERNAL, "%s: line %lld was asked for, there are %zu", rs_param_string(s->setup.params, "file"),
                       (long long)doc_id + 1, s->n);
    const record *one = &s->records[doc_id];
    rs_sample_set_generate(out, s->setup.params);
    RS_TRY(rs_prompt_encode(&s->setup, one->input, one->answer_prefix, &out->tokens));
    for (size_t i = 0; i < one->n_outputs; i++)
        rs_sample_add_reference(out, one->outputs[i]);
    rs_sample_check_length(out, context);
    return RS_OK;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    const jsonl *s = state;
    scores[0] = s->metric(response, n, one->references, one->n_references);
}

const rs_task rs_task_jsonl = {.name = "jsonl",
                               .summary = "prompts and references from a JSON lines file (RULER's run as they are)",
                               .source = "the user's file; RULER's format, github.com/NVIDIA/RULER",
                               .chance = "the file's",
                               .version = 1,
                               .params = specs,
                               .metrics = {"ruler_all"},
                               .metric_name = metric_name,
                               .open = open_task,
                               .close = close_task,
                               .count = count,
                               .sample = sample,
                               .fingerprint = fingerprint,
                               .score = score};
