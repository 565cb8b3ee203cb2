/* Key-value lookup: a row of pairs, then one of the keys; the answer is its value. A controlled probe for tiny models.
 * Source: ours, after associative recall (Zoology, arXiv 2312.04927). While there are keys enough, all are distinct; beyond that the
 * other keys repeat, each with the value it has, and the key asked for still stands exactly once, at a depth even over samples.
 * With its default words and templates the prompt is " key value key value ... key", what configs/models/tiny-gemma was trained on.
 * Metric: accuracy, 1 if the answer, stripped, begins with the value and no letter or digit follows. Chance: 1 in the number of values. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "score/metric.h"
#include "tasks/draw.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"
#include "tasks/words.h"

static const rs_param_spec specs[] = {
    {.name = "pairs", .kind = RS_PARAM_INT, .max = 1e6, .fallback = "0", .help = "how many; 0: as many as fit the context"},
    {.name = "keys", .kind = RS_PARAM_STRINGS, .help = "words for keys; default: 64 built-in nouns"},
    {.name = "values", .kind = RS_PARAM_STRINGS, .help = "words for values; default: 64 other nouns"},
    {.name = "depths", .kind = RS_PARAM_VECTOR, .max = 100, .help = "depths of the pair in percent, taken in turn; default: drawn"},
    RS_PARAM_ROW_TEXT("intro", "", "text before the pairs"),
    RS_PARAM_ROW_TEXT("pair", " {key} {value}", "template of a pair"),
    RS_PARAM_ROW_TEXT("query", " {key}", "template of the question"),
    RS_PARAM_ROW_TEXT("answer_prefix", "", "how the answer begins; after prompt_suffix; {key}: the key"),
    RS_PARAM_ROW_MAX_NEW_TOKENS("4"),
    RS_PARAM_ROW_STOP,
    {0},
};

typedef struct kv {
    rs_task_setup setup;
    const char **keys, **values; /* owned arrays of borrowed words */
    size_t n_keys, n_values;
    int64_t pairs;
} kv;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    RS_TRY(rs_list_check(params, "keys", 2));
    RS_TRY(rs_list_check(params, "values", 2));
    RS_TRY(rs_template_check(params, "pair", (const char *const[]){"{key}", "{value}", NULL}));
    return rs_template_check(params, "query", (const char *const[]){"{key}", NULL});
}

/* The words of a list param; absent: every second of the nouns, from `first`. */
static const char **words_of(const rs_param_value *list, size_t first, size_t *n)
{
    *n = list->set ? list->n : RS_N_NOUNS / 2;
    const char **words = rs_alloc(*n, sizeof *words);
    for (size_t i = 0; i < *n; i++)
        words[i] = list->set ? list->strings[i] : rs_nouns[2 * i + first];
    return words;
}

static void close_task(void *state)
{
    kv *s = state;
    free(s->keys);
    free(s->values);
    free(s);
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    kv *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->keys = words_of(rs_param_get(setup->params, "keys"), 0, &s->n_keys);
    s->values = words_of(rs_param_get(setup->params, "values"), 1, &s->n_values);
    s->pairs = (int64_t)rs_param_number(setup->params, "pairs");
    rs_seen seen = {0};
    rs_status status = RS_OK;
    for (size_t i = 0; i < s->n_keys && status == RS_OK; i++)
        if (!rs_seen_add(&seen, s->keys[i]))
            status = rs_fail(RS_INVALID, "keys has '%s' twice", s->keys[i]);
    rs_seen_free(&seen);
    if (status == RS_OK)
        *state = s;
    else
        close_task(s);
    return status;
}

/* What one sample draws: which key is asked for, what each key is bound to, who stands in the other pairs. */
typedef struct lookup {
    const kv *task;
    uint32_t *keys;    /* [n_keys] shuffled; keys[0] is asked for */
    uint32_t *values;  /* [n_keys] value of each key */
    uint32_t *repeats; /* [n_repeats] the other pairs' keys where there are more pairs than keys */
    double depth;
} lookup;

static lookup lookup_open(const kv *s, int64_t context, int64_t doc_id, int64_t most_pairs)
{
    lookup l = {.task = s,
                .keys = rs_alloc(s->n_keys, sizeof *l.keys),
                .values = rs_alloc(s->n_keys, sizeof *l.values),
                .repeats = rs_alloc((size_t)most_pairs, sizeof *l.repeats)};
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "kv_lookup/draw", (uint64_t)context, (uint64_t)doc_id);
    for (size_t i = 0; i < s->n_keys; i++) {
        l.keys[i] = (uint32_t)i;
        l.values[i] = (uint32_t)rs_rng_below(&rng, s->n_values);
    }
    rs_rng_shuffle(&rng, l.keys, s->n_keys, sizeof *l.keys);
    for (int64_t i = 0; i < most_pairs; i++)
        l.repeats[i] = l.keys[1 + rs_rng_below(&rng, s->n_keys - 1)];
    const rs_param_value *depths = rs_param_get(s->setup.params, "depths");
    l.depth = depths->set ? depths->vector[(uint64_t)doc_id % depths->n] / 100 : rs_draw_depth(s->setup.seed, "kv_lookup", context, doc_id);
    return l;
}

static void lookup_close(lookup *l)
{
    free(l->keys);
    free(l->values);
    free(l->repeats);
}

static int64_t place_of(const lookup *l, int64_t pairs)
{
    int64_t place = (int64_t)(l->depth * (double)pairs);
    return place < pairs ? place : pairs - 1;
}

/* Pairs [0, end) of `pairs`. */
static void write_pairs(const lookup *l, int64_t pairs, int64_t end, rs_text *out)
{
    const kv *s = l->task;
    const char *template = rs_param_string(s->setup.params, "pair");
    bool distinct = (uint64_t)pairs <= s->n_keys;
    int64_t place = place_of(l, pairs);
    for (int64_t i = 0; i < end; i++) {
        int64_t other = i < place ? i : i - 1;
        uint32_t key = i == place ? l->keys[0] : distinct ? l->keys[1 + other] : l->repeats[other];
        rs_template_append(out, template, (rs_slot[]){{"key", s->keys[key]}, {"value", s->values[l->values[key]]}}, 2);
    }
}

static void build(const void *drawn, int64_t units, rs_text *input, rs_text *tail)
{
    const lookup *l = drawn;
    const kv *s = l->task;
    const rs_params *params = s->setup.params;
    rs_slot key = {"key", s->keys[l->keys[0]]};
    rs_text_puts(input, rs_param_string(params, "intro"));
    write_pairs(l, units, units, input);
    rs_template_append(input, rs_param_string(params, "query"), &key, 1);
    rs_template_append(tail, rs_param_string(params, "answer_prefix"), &key, 1);
}

static rs_status write_facts(const lookup *l, int64_t pairs, rs_sample *out)
{
    rs_text head = {0}, facts = {0};
    int64_t place = place_of(l, pairs), position;
    rs_text_puts(&head, rs_param_string(l->task->setup.params, "intro"));
    write_pairs(l, pairs, place, &head);
    rs_status status = rs_prompt_position(&l->task->setup, head.data, &position);
    rs_text_free(&head);
    if (status != RS_OK)
        return status;
    rs_text_puts(&facts, "\"depths\": [");
    rs_text_double(&facts, pairs > 1 ? 100.0 * (double)place / (double)(pairs - 1) : 0);
    rs_text_printf(&facts, "], \"positions\": [%lld], \"pairs\": %lld", (long long)position, (long long)pairs);
    out->facts = facts.data;
    return RS_OK;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const kv *s = state;
    int64_t pairs = 0;
    rs_sample_set_generate(out, s->setup.params);
    rs_fit fit = {.setup = &s->setup, .budget = context - out->max_new_tokens, .build = build};
    rs_fit_range(&fit, s->pairs, 1);
    lookup l = lookup_open(s, context, doc_id, fit.max_units);
    fit.drawn = &l;
    rs_sample_add_reference(out, s->values[l.values[l.keys[0]]]);
    rs_status status = rs_fit_prompt(&fit, context, out, &pairs);
    if (status == RS_OK && out->error == NULL)
        status = write_facts(&l, pairs, out);
    lookup_close(&l);
    return status;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_begins(response, n, one->references, one->n_references);
}

const rs_task rs_task_kv_lookup = {.name = "kv_lookup",
                                   .summary = "a row of key-value pairs, the value of one key asked for",
                                   .source = "ours, after associative recall (arXiv 2312.04927)",
                                   .chance = "1 in the number of values (1/64)",
                                   .version = 1,
                                   .params = specs,
                                   .metrics = {"accuracy"},
                                   .check = check_params,
                                   .open = open_task,
                                   .close = close_task,
                                   .count = rs_drawn_count,
                                   .sample = sample,
                                   .score = score};
