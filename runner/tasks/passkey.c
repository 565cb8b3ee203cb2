/* Passkey retrieval: a number of five digits in one sentence of a long text that says nothing.
 * Source: Mohtashami and Jaggi (arXiv 2305.16300), as YaRN and LongRoPE use it. Differs: own sentences, each a param; the depth is drawn
 * per sample, evenly over samples, and logged; the context is filled exactly (BOS and the answer's 10 tokens included).
 * Metric: accuracy, 1 if the answer's first integer is the key. Chance: 1/90000. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "score/metric.h"
#include "tasks/draw.h"
#include "tasks/haystack.h"
#include "tasks/registry.h"

static const rs_param_spec specs[] = {
    RS_PARAM_ROW_HAYSTACK("noise", "noise, or a glob of text files"),
    RS_PARAM_ROWS_NOISE,
    {.name = "digits", .kind = RS_PARAM_INT, .min = 1, .max = 18, .fallback = "5", .help = "of the key; the first is not 0"},
    RS_PARAM_ROW_DEPTHS,
    RS_PARAM_ROW_TEXT("intro", "One important fact stands among many idle sentences. Find it and keep it in mind.\n",
                      "text before the haystack"),
    RS_PARAM_ROW_TEXT("needle", "The pass key is {key}. Keep it well: {key} is the pass key.", "template of the key sentence"),
    RS_PARAM_ROW_TEXT("question", "\nWhat was the pass key?", "text after the haystack"),
    RS_PARAM_ROW_TEXT("answer_prefix", " The pass key is", "how the answer begins; after prompt_suffix"),
    RS_PARAM_ROW_MAX_NEW_TOKENS("10"),
    RS_PARAM_ROW_STOP,
    {0},
};

typedef struct passkey {
    rs_task_setup setup;
    rs_haystack stack;
} passkey;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    if (strcmp(rs_param_string(params, "haystack"), "needle") == 0)
        return rs_fail(RS_INVALID, "haystack must be noise or a glob of text files, not 'needle'");
    return rs_template_check(params, "needle", (const char *const[]){"{key}", NULL});
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    passkey *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    rs_status status = rs_haystack_open(setup, &s->stack);
    if (status == RS_OK)
        *state = s;
    else
        free(s);
    return status;
}

static void close_task(void *state)
{
    passkey *s = state;
    rs_haystack_close(&s->stack);
    free(s);
}

static void fingerprint(const void *state, rs_text *out)
{
    rs_haystack_fingerprint(&((const passkey *)state)->stack, out);
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const passkey *s = state;
    const rs_params *params = s->setup.params;
    rs_rng rng;
    rs_seen seen = {0};
    rs_drawer keys;
    rs_text text = {0};
    rs_status status = RS_OK;
    rs_sample_set_generate(out, params);
    rs_rng_init(&rng, s->setup.seed, "passkey/draw", (uint64_t)context, (uint64_t)doc_id);
    rs_drawer_init(&keys, &rng, &seen, RS_DRAW_NUMBER, (int)rs_param_number(params, "digits"), NULL, 0);
    keys.avoid = s->stack.bytes.data;
    keys.n_avoid = s->stack.bytes.n;
    char *key = rs_drawer_next(&keys);
    if (key == NULL) {
        out->error = rs_strdup("the haystack holds every key that was drawn: raise digits");
    } else {
        rs_template_append(&text, rs_param_string(params, "needle"), (rs_slot[]){{"key", key}}, 1);
        rs_sample_add_reference(out, key);
        rs_needle needle = {text.data, rs_needle_depth(params, s->setup.seed, "passkey", context, doc_id, 0, &rng)};
        rs_burial burial = {.stack = &s->stack,
                            .setup = &s->setup,
                            .intro = rs_param_string(params, "intro"),
                            .question = rs_param_string(params, "question"),
                            .answer_prefix = rs_param_string(params, "answer_prefix"),
                            .needles = &needle,
                            .n_needles = 1,
                            .rng = &rng};
        status = rs_bury(&burial, context, out);
    }
    free(key);
    rs_text_free(&text);
    rs_drawer_free(&keys);
    rs_seen_free(&seen);
    return status;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_first_integer(response, n, one->references, one->n_references);
}

const rs_task rs_task_passkey = {.name = "passkey",
                                 .summary = "five digits in one sentence of a long noise text",
                                 .source = "Mohtashami and Jaggi, arXiv 2305.16300; own sentences, depths even over samples",
                                 .chance = "1/90000",
                                 .version = 1,
                                 .params = specs,
                                 .metrics = {"accuracy"},
                                 .check = check_params,
                                 .open = open_task,
                                 .close = close_task,
                                 .count = rs_drawn_count,
                                 .sample = sample,
                                 .fingerprint = fingerprint,
                                 .score = score};
