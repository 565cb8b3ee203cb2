/* Frequent words: a text of coded words, how often each stands falling with its rank; which are the most frequent?
 * Source: RULER (arXiv 2404.06654), task fwe: in a text of n words the one of rank k stands floor(n k^-alpha / zeta(alpha)) times, rank 1
 * is a mark that says nothing, ranks 2, 3 and 4 are asked for. Differs: own sentences, each a param; words and their order are drawn per
 * sample (RULER shuffles alike each time); n is found by bisection (RULER goes in steps) and never so small that ranks 4 and 5 draw level.
 * Logged: the first place of each word asked for, how often each stands, n, how many different words there are.
 * Metric: accuracy, the share of the words asked for that the answer contains (RULER's string_match_all). Chance: num_asked in the number
 * of different words, about 0.2 at 1024, 0.03 at 32768. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "score/metric.h"
#include "tasks/draw.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

enum { TOKENS_A_WORD = 50, MAX_VOCABULARY = 100000 };

static const rs_param_spec specs[] = {
    {.name = "alpha", .kind = RS_PARAM_NUMBER, .min = 1.1, .max = 10, .fallback = "2", .help = "how fast frequencies fall with the rank"},
    {.name = "coded_wordlen", .kind = RS_PARAM_INT, .min = 1, .max = 32, .fallback = "6", .help = "letters of a word"},
    {.name = "vocab_size",
     .kind = RS_PARAM_INT,
     .min = 2,
     .max = MAX_VOCABULARY,
     .help = "ranks, the mark included; default: a fiftieth of the prompt's tokens"},
    {.name = "num_words", .kind = RS_PARAM_INT, .max = 1e8, .fallback = "0", .help = "n of the law; 0: as many as fit the context"},
    {.name = "num_asked", .kind = RS_PARAM_INT, .min = 1, .max = 100, .fallback = "3", .help = "words asked for, from rank 2 on"},
    RS_PARAM_ROW_TEXT("noise", "...", "what stands for rank 1"),
    RS_PARAM_ROW_TEXT("intro", "Here is a text of coded words. Count how often each of them stands in it.\n", "text before the words"),
    RS_PARAM_ROW_TEXT("separator", " ", "text between words"),
    RS_PARAM_ROW_TEXT("question", "\nDots are no words. Which {n} coded words stand in the text most often?",
                      "text after the words; {n}: num_asked"),
    RS_PARAM_ROW_TEXT("answer_prefix",
                      " The {n} most frequent coded words are:", "how the answer begins; after prompt_suffix; {n}: num_asked"),
    RS_PARAM_ROW_MAX_NEW_TOKENS("50"),
    RS_PARAM_ROW_STOP,
    {0},
};

typedef struct fwe {
    rs_task_setup setup;
    double alpha, zeta;
    size_t n_asked;
} fwe;

/* Riemann's zeta for s > 1: the first terms, and Euler and Maclaurin's sum of the others, of which the next term would be below 1e-14. */
static double zeta(double s)
{
    const double n = 1000;
    double sum = 0;
    for (double k = 1; k < n; k++)
        sum += pow(k, -s);
    return sum + pow(n, 1 - s) / (s - 1) + pow(n, -s) / 2 + s * pow(n, -s - 1) / 12;
}

/* How often rank k (from 1) stands in a text of n words. */
static int64_t times_of(const fwe *s, int64_t n, size_t rank)
{
    return (int64_t)((double)n * pow((double)rank, -s->alpha) / s->zeta);
}

static size_t vocabulary_size(const rs_params *params, int64_t context)
{
    if (rs_param_is_set(params, "vocab_size"))
        return (size_t)rs_param_number(params, "vocab_size");
    int64_t size = (context - (int64_t)rs_param_number(params, "max_new_tokens")) / TOKENS_A_WORD;
    int64_t least = (int64_t)rs_param_number(params, "num_asked") + 1;
    size = size < MAX_VOCABULARY ? size : MAX_VOCABULARY;
    return (size_t)(size > least ? size : least);
}

/* The fewest words from which on the rank asked for last stands more often than the next, in every longer text too. */
static int64_t least_words(const fwe *s)
{
    double last = pow((double)s->n_asked + 1, -s->alpha), next = pow((double)s->n_asked + 2, -s->alpha);
    return (int64_t)ceil(s->zeta / (last - next)) + 1;
}

static rs_status check_params(const rs_params *params, int64_t context)
{
    fwe law = {.alpha = rs_param_number(params, "alpha"), .n_asked = (size_t)rs_param_number(params, "num_asked")};
    law.zeta = zeta(law.alpha);
    int64_t given = (int64_t)rs_param_number(params, "num_words"), least = least_words(&law);
    if (given > 0 && given < least)
        return rs_fail(RS_INVALID, "num_words must be 0 or at least %lld for ranks %zu and %zu to differ, not %lld", (long long)least,
                       law.n_asked + 1, law.n_asked + 2, (long long)given);
    size_t vocabulary = vocabulary_size(params, context);
    if (vocabulary <= law.n_asked)
        return rs_fail(RS_INVALID, "vocab_size must be above num_asked, %zu, not %zu", law.n_asked, vocabulary);
    if (pow(26, rs_param_number(params, "coded_wordlen")) < 2 * (double)vocabulary)
        return rs_fail(RS_INVALID, "coded_wordlen %.0f is too short for %zu different words", rs_param_number(params, "coded_wordlen"),
                       vocabulary);
    return RS_OK;
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    fwe *s = rs_alloc(1, sizeof *s);
    *s = (fwe){
        .setup = *setup, .alpha = rs_param_number(setup->params, "alpha"), .n_asked = (size_t)rs_param_number(setup->params, "num_asked")};
    s->zeta = zeta(s->alpha);
    *state = s;
    return RS_OK;
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    RS_TRY(check_params(((const fwe *)state)->setup.params, context));
    return rs_drawn_count(state, context, wanted, n);
}

/* What one sample draws. */
typedef struct coded {
    const fwe *task;
    char **words; /* [n_words] by rank; the first is the mark */
    size_t n_words;
    rs_rng order; /* from where the order is drawn, anew for every size */
} coded;

static coded coded_open(const fwe *s, int64_t context, int64_t doc_id)
{
    const rs_params *params = s->setup.params;
    coded c = {.task = s, .n_words = vocabulary_size(params, context)};
    rs_rng rng;
    rs_seen seen = {0};
    rs_drawer letters;
    rs_rng_init(&rng, s->setup.seed, "fwe/draw", (uint64_t)context, (uint64_t)doc_id);
    rs_rng_init(&c.order, s->setup.seed, "fwe/order", (uint64_t)context, (uint64_t)doc_id);
    rs_drawer_init(&letters, &rng, &seen, RS_DRAW_LOWER, (int)rs_param_number(params, "coded_wordlen"), NULL, 0);
    c.words = rs_alloc(c.n_words, sizeof *c.words);
    c.words[0] = rs_strdup(rs_param_string(params, "noise"));
    rs_seen_add(&seen, c.words[0]);
    for (size_t i = 1; i < c.n_words; i++)
        c.words[i] = rs_drawer_next(&letters); /* check_params saw to it that half of all words remain */
    rs_drawer_free(&letters);
    rs_seen_free(&seen);
    return c;
}

static void coded_close(coded *c)
{
    for (size_t i = 0; i < c->n_words; i++)
        free(c->words[i]);
    free(c->words);
}

static size_t total_of(const coded *c, int64_t n)
{
    int64_t total = 0;
    for (size_t rank = 1; rank <= c->n_words; rank++)
        total += times_of(c->task, n, rank);
    return (size_t)total;
}

static double estimate(const void *drawn, int64_t units)
{
    return (double)total_of(drawn, units);
}

static void write_text(const coded *c, const char *template, rs_text *out)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", c->task->n_asked);
    rs_template_append(out, rs_param_string(c->task->setup.params, template), &(rs_slot){"n", digits}, 1);
}

/* starts: NULL, or [n_asked] bytes of out before each asked word's first place and its separator; SIZE_MAX before the call. */
static void write_input(const coded *c, int64_t n, rs_text *out, size_t *starts)
{
    const char *separator = rs_param_string(c->task->setup.params, "separator");
    size_t total = total_of(c, n), filled = 0;
    uint32_t *order = rs_alloc(total, sizeof *order);
    for (size_t word = 0; word < c->n_words; word++)
        for (int64_t i = times_of(c->task, n, word + 1); i > 0; i--)
            order[filled++] = (uint32_t)word;
    rs_rng rng = c->order;
    rs_rng_shuffle(&rng, order, total, sizeof *order);
    write_text(c, "intro", out);
    for (size_t i = 0; i < total; i++) {
        size_t word = order[i];
        if (starts && word >= 1 && word <= c->task->n_asked && starts[word - 1] == SIZE_MAX)
            starts[word - 1] = out->n;
        rs_text_puts(out, i > 0 ? separator : "");
        rs_text_puts(out, c->words[word]);
    }
    write_text(c, "question", out);
    free(order);
}

static void build(const void *drawn, int64_t units, rs_text *input, rs_text *tail)
{
    write_input(drawn, units, input, NULL);
    write_text(drawn, "answer_prefix", tail);
}

static rs_status write_facts(const coded *c, int64_t n, rs_sample *out)
{
    size_t n_asked = c->task->n_asked, different = 0;
    size_t *starts = rs_alloc(n_asked, sizeof *starts);
    rs_text input = {0}, facts = {0}, times = {0};
    rs_status status = RS_OK;
    memset(starts, 0xFF, n_asked * sizeof *starts);
    write_input(c, n, &input, starts);
    for (size_t i = 0; i < n_asked; i++) {
        int64_t position;
        char *head = rs_strndup(input.data, starts[i]);
        status = rs_prompt_position(&c->task->setup, head, &position);
        free(head);
        if (status != RS_OK)
            goto out;
        rs_text_printf(&facts, "%s%lld", i ? ", " : "\"positions\": [", (long long)position);
        rs_text_printf(&times, "%s%lld", i ? ", " : "", (long long)times_of(c->task, n, i + 2));
    }
    for (size_t rank = 2; rank <= c->n_words; rank++)
        different += times_of(c->task, n, rank) > 0;
    rs_text_printf(&facts, "], \"times\": [%s], \"num_words\": %lld, \"different\": %zu", times.data, (long long)n, different);
    out->facts = facts.data;
    facts = (rs_text){0};
out:
    rs_text_free(&times);
    rs_text_free(&facts);
    rs_text_free(&input);
    free(starts);
    return status;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const fwe *s = state;
    int64_t n = 0, given = (int64_t)rs_param_number(s->setup.params, "num_words");
    rs_sample_set_generate(out, s->setup.params);
    int64_t least = given ? given : least_words(s), marks = times_of(s, least, 1);
    if (marks > context) { /* said without writing them */
        out->error = rs_format("rank 1 alone, %lld times, exceeds the context of %lld", (long long)marks, (long long)context);
        return RS_OK;
    }
    coded c = coded_open(s, context, doc_id);
    rs_fit fit = {.setup = &s->setup, .budget = context - out->max_new_tokens, .drawn = &c, .build = build, .estimate = estimate};
    fit.min_units = least;
    fit.max_units = given ? given : least + (int64_t)((double)context * s->zeta); /* rank 1 alone exceeds the context */
    for (size_t i = 1; i <= s->n_asked; i++)
        rs_sample_add_reference(out, c.words[i]);
    rs_status status = rs_fit_prompt(&fit, context, out, &n);
    if (status == RS_OK && out->error == NULL)
        status = write_facts(&c, n, out);
    coded_close(&c);
    return status;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_ruler_all(response, n, one->references, one->n_references);
}

const rs_task rs_task_fwe = {.name = "fwe",
                             .summary = "the most frequent of coded words whose frequencies fall with their rank",
                             .source = "RULER, arXiv 2404.06654; own sentences, words and order drawn per sample",
                             .chance = "num_asked in the number of different words: 0.2 at 1024, 0.03 at 32768",
                             .version = 1,
                             .params = specs,
                             .metrics = {"accuracy"},
                             .check = check_params,
                             .open = open_task,
                             .close = free,
                             .count = count,
                             .sample = sample,
                             .score = score};
