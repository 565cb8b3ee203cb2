/* Needles in a haystack: sentences that bind a key to a value, hidden in long text; the value of some keys is asked for.
 * Source: RULER (arXiv 2404.06654), tasks niah_*; the form goes back to Kamradt's "needle in a haystack" (2023).
 * Differs: own sentences, each template a param; every depth is drawn per sample and logged (RULER re-draws only the needles' order); the
 * haystack is cut by bisection, so short contexts are full; the user's text begins at a random sentence, not always its first; keys are
 * "adjective-noun" of built-in lists.
 * Metric: accuracy, the share of the values asked for that the answer contains (RULER's string_match_all).
 * Chance: 0 to the digits shown: 7-digit numbers and uuids are not guessed; with short word lists, the share of an answer's words in them.
 */
#include "tasks/niah.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "score/metric.h"
#include "tasks/draw.h"
#include "tasks/haystack.h"

enum { PROBE = 16 };

typedef struct niah {
    rs_task_setup setup;
    rs_haystack stack;
    size_t n_keys, n_values, n_queries;
    int digits;
    rs_draw_kind key_kind, value_kind;
    const rs_param_value *keys, *values; /* word lists, where set */
} niah;

static rs_status check_list(const rs_params *params, const char *list, const char *type, size_t needed)
{
    const rs_param_value *words = rs_param_get(params, list);
    if (!words->set)
        return RS_OK;
    if (strcmp(rs_param_string(params, type), "word") != 0)
        return rs_fail(RS_INVALID, "%s needs %s: word, not '%s'", list, type, rs_param_string(params, type));
    return rs_list_check(params, list, needed);
}

rs_status rs_niah_check(const rs_params *params, int64_t context)
{
    (void)context;
    size_t n_keys = (size_t)rs_param_number(params, "n_keys"), n_values = (size_t)rs_param_number(params, "n_values");
    size_t n_queries = (size_t)rs_param_number(params, "n_queries");
    if (n_queries > n_keys)
        return rs_fail(RS_INVALID, "n_queries must be at most n_keys, %zu, not %zu", n_keys, n_queries);
    size_t distractors = strcmp(rs_param_string(params, "haystack"), "needle") == 0;
    RS_TRY(check_list(params, "keys", "key_type", n_keys + distractors));
    RS_TRY(check_list(params, "values", "value_type", n_keys * n_values + distractors));
    RS_TRY(rs_template_check(params, "needle", (const char *const[]){"{key}", "{value}", NULL}));
    const char *tail = rs_param_string(params, "answer_prefix");
    return strstr(tail, "{key}") ? RS_OK : rs_template_check(params, "question", (const char *const[]){"{key}", NULL});
}

rs_status rs_niah_open(const rs_task_setup *setup, void **state)
{
    const rs_params *params = setup->params;
    RS_TRY(rs_niah_check(params, 0));
    niah *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->n_keys = (size_t)rs_param_number(params, "n_keys");
    s->n_values = (size_t)rs_param_number(params, "n_values");
    s->n_queries = (size_t)rs_param_number(params, "n_queries");
    s->digits = (int)rs_param_number(params, "digits");
    s->key_kind = rs_draw_kind_of(rs_param_string(params, "key_type"));
    s->value_kind = rs_draw_kind_of(rs_param_string(params, "value_type"));
    s->keys = rs_param_get(params, "keys");
    s->values = rs_param_get(params, "values");
    rs_status status = rs_haystack_open(setup, &s->stack);
    if (status != RS_OK) {
        free(s);
        return status;
    }
    *state = s;
    return RS_OK;
}

void rs_niah_close(void *state)
{
    niah *s = state;
    rs_haystack_close(&s->stack);
    free(s);
}

/* What one sample draws. */
typedef struct hunt {
    const niah *task;
    rs_rng rng;
    rs_seen seen;
    rs_drawer keys, values;
    rs_needle *needles; /* key by key, those asked for first */
    size_t n_needles;
    char **distractors;
    size_t n_distractors, cap_distractors;
    rs_text asked;       /* "a, b and c" */
    const char *lacking; /* set: "keys" or "values" ran out */
} hunt;

static char *needle_text(const niah *s, const char *key, const char *value)
{
    rs_text text = {0};
    rs_template_append(&text, rs_param_string(s->setup.params, "needle"), (rs_slot[]){{"key", key}, {"value", value}}, 2);
    return text.data;
}

static void hunt_open(hunt *h, const niah *s, int64_t context, int64_t doc_id)
{
    *h = (hunt){.task = s};
    rs_rng_init(&h->rng, s->setup.seed, "niah/draw", (uint64_t)context, (uint64_t)doc_id);
    rs_drawer_init(&h->keys, &h->rng, &h->seen, s->key_kind, s->digits, s->keys->strings, s->keys->n);
    rs_drawer_init(&h->values, &h->rng, &h->seen, s->value_kind, s->digits, s->values->strings, s->values->n);
    h->keys.avoid = h->values.avoid = s->stack.bytes.data;
    h->keys.n_avoid = h->values.n_avoid = s->stack.bytes.n;
    h->needles = rs_alloc(s->n_keys * s->n_values, sizeof *h->needles);
    rs_text_puts(&h->asked, "");
}

static void hunt_close(hunt *h)
{
    for (size_t i = 0; i < h->n_needles; i++)
        free(h->needles[i].text);
    for (size_t i = 0; i < h->n_distractors; i++)
        free(h->distractors[i]);
    free(h->needles);
    free(h->distractors);
    rs_text_free(&h->asked);
    rs_drawer_free(&h->keys);
    rs_drawer_free(&h->values);
    rs_seen_free(&h->seen);
}

/* Key k with its values; those asked for become references. */
static bool draw_key(hunt *h, size_t k, rs_sample *out)
{
    const niah *s = h->task;
    char *key = rs_drawer_next(&h->keys);
    if (key == NULL) {
        h->lacking = "keys";
        return false;
    }
    if (k < s->n_queries)
        rs_text_printf(&h->asked, "%s%s", k == 0 ? "" : k + 1 == s->n_queries ? " and " : ", ", key);
    for (size_t v = 0; v < s->n_values && !h->lacking; v++) {
        char *value = rs_drawer_next(&h->values);
        if (value == NULL) {
            h->lacking = "values";
            break;
        }
        h->needles[h->n_needles++].text = needle_text(s, key, value);
        if (k < s->n_queries)
            rs_sample_add_reference(out, value);
        free(value);
    }
    free(key);
    return h->lacking == NULL;
}

/* A value that is no answer: words may repeat among needles that nobody asks for. */
static char *distractor_value(hunt *h, const rs_sample *sample)
{
    if (h->values.kind != RS_DRAW_WORD)
        return rs_drawer_next(&h->values);
    for (int tries = 0; tries < 1000; tries++) {
        char *value = rs_drawer_any(&h->values);
        bool answer = false;
        for (size_t i = 0; i < sample->n_references; i++)
            answer = answer || strcmp(value, sample->references[i]) == 0;
        if (!answer)
            return value;
        free(value);
    }
    return NULL;
}

static void draw_distractors(hunt *h, const rs_sample *sample, size_t wanted)
{
    while (h->n_distractors < wanted) {
        char *key = rs_drawer_next(&h->keys), *value = key ? distractor_value(h, sample) : NULL;
        if (value == NULL) {
            h->lacking = key ? "values" : "keys";
            free(key);
            return;
        }
        RS_PUSH(h->distractors, h->n_distractors, h->cap_distractors, needle_text(h->task, key, value));
        free(key);
        free(value);
    }
}

/* Enough of them for the context: a few tell what one costs, and half as many again are drawn as should fit. */
static rs_status fill_haystack(hunt *h, const rs_sample *sample, int64_t context)
{
    rs_text text = {0};
    rs_tokens tokens = {0};
    rs_status status = RS_OK;
    draw_distractors(h, sample, PROBE);
    for (size_t i = 0; i < h->n_distractors; i++) {
        rs_text_puts(&text, h->task->stack.separator);
        rs_text_puts(&text, h->distractors[i]);
    }
    if (h->lacking)
        goto out;
    RS_TRY_OUT(rs_tokenizer_encode(h->task->setup.tokenizer, text.data, text.n, &tokens));
    double each = (double)(tokens.n ? tokens.n : 1) / PROBE;
    draw_distractors(h, sample, PROBE + (size_t)(1.5 * (double)context / each));
out:
    rs_tokens_free(&tokens);
    rs_text_free(&text);
    return status;
}

static char *expand(const hunt *h, const char *name)
{
    rs_text text = {0};
    rs_template_append(&text, rs_param_string(h->task->setup.params, name), (rs_slot[]){{"key", h->asked.data}}, 1);
    return text.data;
}

static rs_status hide(hunt *h, int64_t context, rs_sample *out)
{
    char *intro = expand(h, "intro"), *question = expand(h, "question"), *tail = expand(h, "answer_prefix");
    rs_burial burial = {.stack = &h->task->stack,
                        .setup = &h->task->setup,
                        .intro = intro,
                        .question = question,
                        .answer_prefix = tail,
                        .needles = h->needles,
                        .n_needles = h->n_needles,
                        .distractors = h->distractors,
                        .n_distractors = h->n_distractors,
                        .rng = &h->rng};
    rs_status status = rs_bury(&burial, context, out);
    free(intro);
    free(question);
    free(tail);
    return status;
}

rs_status rs_niah_sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const niah *s = state;
    hunt h;
    rs_status status = RS_OK;
    rs_sample_set_generate(out, s->setup.params);
    hunt_open(&h, s, context, doc_id);
    for (size_t k = 0; k < s->n_keys && draw_key(&h, k, out); k++)
        ;
    for (size_t j = 0; j < h.n_needles; j++)
        h.needles[j].depth = rs_needle_depth(s->setup.params, s->setup.seed, "niah", context, doc_id, j, &h.rng);
    if (!h.lacking && s->stack.kind == RS_HAY_NEEDLE)
        RS_TRY_OUT(fill_haystack(&h, out, context));
    if (h.lacking)
        out->error = rs_format("%s ran out: too few distinct ones for %lld tokens of needles", h.lacking, (long long)context);
    else
        status = hide(&h, context, out);
out:
    hunt_close(&h);
    return status;
}

void rs_niah_score(const void *state, const rs_sample *sample, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_ruler_all(response, n, sample->references, sample->n_references);
}

void rs_niah_fingerprint(const void *state, rs_text *out)
{
    rs_haystack_fingerprint(&((const niah *)state)->stack, out);
}
