/* Variable tracking: a value is given to a variable, that variable to a second, and so on, in sentences far apart; which variables have
 * the value?
 * Source: RULER (arXiv 2404.06654), task vt. Differs: own sentences, each a param; every place is drawn per sample and logged (the asked
 * chain's sentences first; within a chain they keep their order); the context is filled by bisection; names in the solved example are
 * as long as the others, and a value may be 99999.
 * Metric: accuracy, the share of the chain's variables that the answer contains (RULER's string_match_all). Chance: 0, names are not
 * guessed; with one chain, whoever copies every name of the text scores 1. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "score/metric.h"
#include "tasks/draw.h"
#include "tasks/haystack.h"
#include "tasks/registry.h"

enum { MAX_EXAMPLE_HOPS = 10 };

static const rs_param_spec specs[] = {
    RS_PARAM_ROW_HAYSTACK("noise", "noise, or a glob of text files"),
    RS_PARAM_ROWS_NOISE,
    {.name = "num_chains", .kind = RS_PARAM_INT, .min = 1, .max = 100, .fallback = "1", .help = "chains in the text; one is asked for"},
    {.name = "num_hops",
     .kind = RS_PARAM_INT,
     .min = 1,
     .max = 100,
     .fallback = "4",
     .help = "copies along a chain, which has one variable more"},
    {.name = "name_letters", .kind = RS_PARAM_INT, .min = 1, .max = 32, .fallback = "5", .help = "letters of a variable's name"},
    {.name = "digits", .kind = RS_PARAM_INT, .min = 1, .max = 18, .fallback = "5", .help = "of a value; the first is not 0"},
    {.name = "example_tokens",
     .kind = RS_PARAM_INT,
     .max = 1048576,
     .fallback = "500",
     .help = "tokens of the solved example before the text, which is filled as the text is; 0: no example"},
    RS_PARAM_ROW_TEXT("intro", "In the text below, variables get their values. Keep track of every one of them.\n",
                      "text before the haystack"),
    RS_PARAM_ROW_TEXT("assignment", "Let {name} be {value}.", "template of a chain's first sentence"),
    RS_PARAM_ROW_TEXT("copy", "Let {name} be {source}.", "template of its other sentences; {source}: the variable before"),
    RS_PARAM_ROW_TEXT("question", "\nWhich variables in the text above have the value {value}?",
                      "text after the haystack; {n}: how many do"),
    RS_PARAM_ROW_TEXT("answer_prefix", " These {n} variables have the value {value}:", "how the answer begins; after prompt_suffix"),
    RS_PARAM_ROW_TEXT("answer_item", " {name}", "template of a variable in the example's answer"),
    RS_PARAM_ROW_TEXT("example_end", "\n\n", "text after the example"),
    RS_PARAM_ROW_MAX_NEW_TOKENS("30"),
    RS_PARAM_ROW_STOP,
    {0},
};

typedef struct vt {
    rs_task_setup setup;
    rs_haystack stack;
    size_t n_chains, n_hops;
    int letters, digits;
    int64_t example_tokens;
} vt;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    if (strcmp(rs_param_string(params, "haystack"), "needle") == 0)
        return rs_fail(RS_INVALID, "haystack must be noise or a glob of text files, not 'needle'");
    double chains = rs_param_number(params, "num_chains"), variables = chains * (rs_param_number(params, "num_hops") + 1);
    if (pow(26, rs_param_number(params, "name_letters")) < 4 * variables) /* the example has as many again */
        return rs_fail(RS_INVALID, "name_letters %.0f are too few for %.0f variables", rs_param_number(params, "name_letters"), variables);
    if (9 * pow(10, rs_param_number(params, "digits") - 1) < 4 * chains)
        return rs_fail(RS_INVALID, "digits %.0f are too few for %.0f chains", rs_param_number(params, "digits"), chains);
    RS_TRY(rs_template_check(params, "assignment", (const char *const[]){"{name}", "{value}", NULL}));
    RS_TRY(rs_template_check(params, "copy", (const char *const[]){"{name}", "{source}", NULL}));
    RS_TRY(rs_template_check(params, "answer_item", (const char *const[]){"{name}", NULL}));
    const char *tail = rs_param_string(params, "answer_prefix");
    return strstr(tail, "{value}") ? RS_OK : rs_template_check(params, "question", (const char *const[]){"{value}", NULL});
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    const rs_params *params = setup->params;
    RS_TRY(check_params(params, 0));
    vt *s = rs_alloc(1, sizeof *s);
    *s = (vt){.setup = *setup,
              .n_chains = (size_t)rs_param_number(params, "num_chains"),
              .n_hops = (size_t)rs_param_number(params, "num_hops"),
              .letters = (int)rs_param_number(params, "name_letters"),
              .digits = (int)rs_param_number(params, "digits"),
              .example_tokens = (int64_t)rs_param_number(params, "example_tokens")};
    rs_status status = rs_haystack_open(setup, &s->stack);
    if (status == RS_OK)
        *state = s;
    else
        free(s);
    return status;
}

static void close_task(void *state)
{
    vt *s = state;
    rs_haystack_close(&s->stack);
    free(s);
}

static void fingerprint(const void *state, rs_text *out)
{
    rs_haystack_fingerprint(&((const vt *)state)->stack, out);
}

/* What one sample draws; names and values differ between the example and the text. */
typedef struct tracking {
    const vt *task;
    rs_rng rng;
    rs_seen seen;
    rs_drawer names, values;
    bool lacking; /* the haystack holds all that were drawn */
} tracking;

/* The chains of the example or of the text; the first is asked for. */
typedef struct chains {
    rs_needle *needles; /* chain by chain */
    size_t n_needles;
    char *value, **names; /* [n_names] of the first chain */
    size_t n_names;
} chains;

static void chains_close(chains *c)
{
    for (size_t i = 0; i < c->n_needles; i++)
        free(c->needles[i].text);
    for (size_t i = 0; i < c->n_names; i++)
        free(c->names[i]);
    free(c->needles);
    free(c->names);
    free(c->value);
}

static int by_depth(const void *a, const void *b)
{
    const rs_needle *left = a, *right = b;
    return (left->depth > right->depth) - (left->depth < right->depth);
}

static char *sentence(const vt *s, const char *template, const rs_slot slots[2])
{
    rs_text text = {0};
    rs_template_append(&text, rs_param_string(s->setup.params, template), slots, 2);
    return text.data;
}

/* One chain's sentences, in the order in which they stand; the first chain's value and names are kept. */
static void add_chain(tracking *t, size_t n_hops, chains *c)
{
    rs_needle *first = c->needles + c->n_needles;
    char *value = rs_drawer_next(&t->values), *source = NULL, *name = NULL;
    for (size_t h = 0; h <= n_hops; h++) /* depths alone, to be sorted before they get their sentences */
        first[h].depth = rs_rng_unit(&t->rng);
    qsort(first, n_hops + 1, sizeof *first, by_depth);
    for (size_t h = 0; h <= n_hops && value; h++) {
        free(source);
        source = name;
        name = rs_drawer_next(&t->names);
        if (name == NULL)
            break;
        first[h].text = h == 0 ? sentence(t->task, "assignment", (rs_slot[]){{"name", name}, {"value", value}})
                               : sentence(t->task, "copy", (rs_slot[]){{"name", name}, {"source", source}});
        c->n_needles++;
        if (first == c->needles)
            c->names[c->n_names++] = rs_strdup(name);
    }
    t->lacking = t->lacking || name == NULL;
    free(source);
    free(name);
    if (first == c->needles)
        c->value = value;
    else
        free(value);
}

static chains chains_draw(tracking *t, size_t n_hops)
{
    chains c = {.needles = rs_alloc(t->task->n_chains * (n_hops + 1), sizeof *c.needles), .names = rs_alloc(n_hops + 1, sizeof *c.names)};
    for (size_t i = 0; i < t->task->n_chains && !t->lacking; i++)
        add_chain(t, n_hops, &c);
    return c;
}

static void expand(const vt *s, const char *name, const chains *c, rs_text *out)
{
    char n[24];
    snprintf(n, sizeof n, "%zu", c->n_names);
    rs_template_append(out, rs_param_string(s->setup.params, name), (rs_slot[]){{"value", c->value}, {"n", n}}, 2);
}

static rs_burial burial_of(tracking *t, const chains *c, const rs_text *intro, const rs_text *question, const rs_text *tail)
{
    return (rs_burial){.stack = &t->task->stack,
                       .setup = &t->task->setup,
                       .intro = intro->data,
                       .question = question->data,
                       .answer_prefix = tail->data,
                       .needles = c->needles,
                       .n_needles = c->n_needles,
                       .rng = &t->rng};
}

/* A smaller text of the same form with its answer. */
static rs_status write_example(tracking *t, rs_text *out)
{
    const vt *s = t->task;
    rs_text intro = {0}, question = {0}, answer = {0};
    rs_status status = RS_OK;
    chains c = chains_draw(t, s->n_hops < MAX_EXAMPLE_HOPS ? s->n_hops : MAX_EXAMPLE_HOPS);
    if (!t->lacking) {
        expand(s, "intro", &c, &intro);
        expand(s, "question", &c, &question);
        expand(s, "answer_prefix", &c, &answer);
        for (size_t i = 0; i < c.n_names; i++)
            rs_template_append(&answer, rs_param_string(s->setup.params, "answer_item"), (rs_slot[]){{"name", c.names[i]}}, 1);
        rs_text_puts(&answer, rs_param_string(s->setup.params, "example_end"));
        rs_burial burial = burial_of(t, &c, &intro, &question, &answer);
        status = rs_bury_text(&burial, s->example_tokens, out);
    }
    chains_close(&c);
    rs_text_free(&answer);
    rs_text_free(&question);
    rs_text_free(&intro);
    return status;
}

static rs_status write_prompt(tracking *t, const chains *c, rs_text *intro, int64_t context, rs_sample *out)
{
    rs_text question = {0}, tail = {0};
    expand(t->task, "intro", c, intro);
    expand(t->task, "question", c, &question);
    expand(t->task, "answer_prefix", c, &tail);
    for (size_t i = 0; i < c->n_names; i++)
        rs_sample_add_reference(out, c->names[i]);
    rs_burial burial = burial_of(t, c, intro, &question, &tail);
    rs_status status = rs_bury(&burial, context, out);
    rs_text_free(&tail);
    rs_text_free(&question);
    return status;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const vt *s = state;
    tracking t = {.task = s};
    rs_text intro = {0};
    rs_sample_set_generate(out, s->setup.params);
    rs_rng_init(&t.rng, s->setup.seed, "vt/draw", (uint64_t)context, (uint64_t)doc_id);
    rs_drawer_init(&t.names, &t.rng, &t.seen, RS_DRAW_UPPER, s->letters, NULL, 0);
    rs_drawer_init(&t.values, &t.rng, &t.seen, RS_DRAW_NUMBER, s->digits, NULL, 0);
    t.names.avoid = t.values.avoid = s->stack.bytes.data;
    t.names.n_avoid = t.values.n_avoid = s->stack.bytes.n;
    rs_status status = s->example_tokens > 0 ? write_example(&t, &intro) : RS_OK;
    chains c = chains_draw(&t, s->n_hops);
    if (t.lacking)
        out->error = rs_strdup("the haystack holds every name or value that was drawn: raise name_letters or digits");
    else if (status == RS_OK)
        status = write_prompt(&t, &c, &intro, context, out);
    chains_close(&c);
    rs_text_free(&intro);
    rs_drawer_free(&t.names);
    rs_drawer_free(&t.values);
    rs_seen_free(&t.seen);
    return status;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_ruler_all(response, n, one->references, one->n_references);
}

const rs_task rs_task_vt = {.name = "vt",
                            .summary = "a chain of variables in a long text, all that have one value asked for",
                            .source = "RULER, arXiv 2404.06654; own sentences, every place drawn per sample, text cut by bisection",
                            .chance = "0; 1 for copying every name of the text while there is one chain",
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
