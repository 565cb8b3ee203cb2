/* Prompts from a file: one JSON object a line with input, outputs and maybe answer_prefix; other members are ignored.
 * Source: the files that RULER's generators write (github.com/NVIDIA/RULER) run as they are; RULER's `length` counts input, answer_prefix
 * and the answer without a BOS, so a file made for length L needs context L+1. Differs: samples are numbered by line, from 0.
 * Prompt: BOS + tokens(prompt_prefix + input + prompt_suffix + answer_prefix), the text tokenized whole.
 * Metric: the one that `metric` names, under that name. Chance: the file's. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "score/metric.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

enum { MAX_FILE_BYTES = 1 << 30 };

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
    for (size_t i = 0; i < one->n_outputs; i++)
        free(one->outputs[i]);
    free(one->outputs);
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

static const char *type_name(const json_t *value)
{
    static const char *const names[] = {"an object", "an array", "a string", "a number", "a number", "true", "false", "null"};
    return names[json_typeof(value)];
}

/* A string member. Absent: the message names what is there instead, so that a misspelt key shows. */
static rs_status get_string(const json_t *object, const char *key, bool required, const char *place, char **out)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL && required)
        return rs_fail(RS_INVALID, "%s: no \"%s\"; its members must be \"input\", \"outputs\" and perhaps \"answer_prefix\"", place, key);
    if (value && !json_is_string(value))
        return rs_fail(RS_INVALID, "%s: \"%s\" must be a string, not %s", place, key, type_name(value));
    *out = rs_strdup(value ? json_string_value(value) : "");
    return RS_OK;
}

static rs_status get_outputs(const json_t *object, const char *place, record *out)
{
    const json_t *list = json_object_get(object, "outputs");
    if (list == NULL)
        return rs_fail(RS_INVALID, "%s: no \"outputs\"; its members must be \"input\", \"outputs\" and perhaps \"answer_prefix\"", place);
    if (!json_is_array(list))
        return rs_fail(RS_INVALID, "%s: \"outputs\" must be a list of strings, not %s", place, type_name(list));
    size_t n = json_array_size(list);
    if (n == 0)
        return rs_fail(RS_INVALID, "%s: \"outputs\" is empty: an answer needs a reference", place);
    out->outputs = rs_alloc(n, sizeof *out->outputs);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_string(value))
            return rs_fail(RS_INVALID, "%s: \"outputs\"[%zu] must be a string, not %s", place, i, type_name(value));
        out->outputs[out->n_outputs++] = rs_strdup(json_string_value(value));
    }
    return RS_OK;
}

static rs_status read_record(const json_t *root, const char *place, record *out)
{
    if (!json_is_object(root))
        return rs_fail(RS_INVALID, "%s: must be a JSON object, not %s", place, type_name(root));
    RS_TRY(get_string(root, "input", true, place, &out->input));
    RS_TRY(get_string(root, "answer_prefix", false, place, &out->answer_prefix));
    if (out->input[0] == '\0' && out->answer_prefix[0] == '\0')
        return rs_fail(RS_INVALID, "%s: \"input\" is empty", place);
    return get_outputs(root, place, out);
}

static rs_status read_line(jsonl *s, const char *line, size_t n, const char *place)
{
    size_t valid = rs_utf8_valid_prefix(line, n);
    if (valid < n)
        return rs_fail(RS_INVALID, "%s: byte %zu of the line is not UTF-8", place, valid + 1);
    const char *nul = memchr(line, '\0', n);
    if (nul)
        return rs_fail(RS_INVALID, "%s: byte %zu of the line is NUL", place, (size_t)(nul - line) + 1);
    if (strspn(line, " \t\r\n") >= n)
        return rs_fail(RS_INVALID, "%s: an empty line; a sample's number is its line's", place);
    json_error_t error;
    json_t *root = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    if (root == NULL)
        return rs_fail(RS_INVALID, "%s: not valid JSON: %s (byte %d of the line)", place, error.text, error.position);
    record one = {0};
    rs_status status = read_record(root, place, &one);
    json_decref(root);
    if (status == RS_OK)
        RS_PUSH(s->records, s->n, s->cap, one);
    else
        record_free(&one);
    return status;
}

/* Every line, so that a fault in the last shows before the first point. Empty lines at the end of the file count for nothing. */
static rs_status read_lines(jsonl *s, const char *path, rs_text *text)
{
    size_t start = text->n >= 3 && memcmp(text->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0, end = text->n, number = 1;
    while (end > start && strchr(" \t\r\n", text->data[end - 1]) && text->data[end - 1] != '\0')
        end--;
    text->data[end] = '\0';
    if (end == start)
        return rs_fail(RS_INVALID, "%s:1: an empty file; it needs a JSON object a line", path);
    rs_status status = RS_OK;
    for (size_t i = start; i < end && status == RS_OK; number++) {
        const char *newline = memchr(text->data + i, '\n', end - i);
        size_t stop = newline ? (size_t)(newline - text->data) : end;
        char *place = rs_format("%s:%zu", path, number);
        status = read_line(s, text->data + i, stop - i, place);
        free(place);
        i = stop + 1;
    }
    return status;
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    jsonl *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->metric = metric_of(metric_name(setup->params));
    char *path = rs_path_join(setup->folder, rs_param_string(setup->params, "file"));
    rs_text text = {0};
    rs_status status;
    RS_TRY_OUT(rs_file_read(path, MAX_FILE_BYTES, &text));
    s->content = rs_digest_of(text.data, text.n);
    RS_TRY_OUT(read_lines(s, path, &text));
    *state = s;
out:
    rs_text_free(&text);
    free(path);
    if (status != RS_OK)
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
