/* Common words: a numbered list in which a few words stand more often than the others; which are they? A solved example goes before.
 * Source: RULER (arXiv 2404.06654), task cwe. Differs: own sentences, each a param; own words, none inside another; the order of the list
 * is drawn per sample (RULER shuffles alike each time), the example shares no word with the list, and the list grows word by word until
 * the context is full. Where it needs more words than there are, all of them are pairs, "river-lamp". Below a context of 4096 RULER's
 * small frequencies stand. Logged: the first place of each word asked for, how many entries and other words the list has.
 * Metric: accuracy, the share of the common words that the answer contains (RULER's string_match_all). Chance: num_cw in the number of
 * different words, about 0.2 at 1024, 0.1 at 4096, 0.01 at 32768. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "score/metric.h"
#include "tasks/draw.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"
#include "tasks/words.h"

enum { SMALL_CONTEXT = 4096, MAX_COUNT = 10000 }; /* below SMALL_CONTEXT RULER's frequencies are small */

#define COUNT_ROW(key, least, help_text)                                                                                                   \
    {                                                                                                                                      \
        .name = key, .kind = RS_PARAM_INT, .min = least, .max = MAX_COUNT, .help = help_text                                               \
    }

static const rs_param_spec specs[] = {
    {.name = "num_cw", .kind = RS_PARAM_INT, .min = 1, .max = 1000, .fallback = "10", .help = "common words, all asked for"},
    COUNT_ROW("freq_cw", 2, "entries of each common word; default: 30, or 6 below a context of 4096"),
    COUNT_ROW("freq_ucw", 1, "entries of each other word; default: 3, or 1 below 4096"),
    {.name = "num_ucw", .kind = RS_PARAM_INT, .max = 1e6, .fallback = "0", .help = "other words; 0: as many as fit the context"},
    COUNT_ROW("example_words", 0,
              "different words of the solved example, common ones included; 0: no example; default: 40, or 20 below 4096"),
    COUNT_ROW("example_freq_cw", 2, "entries of each common word of the example; default: 10, or 3 below 4096"),
    COUNT_ROW("example_freq_ucw", 1, "entries of each other word of the example; default: 3, or 1 below 4096"),
    {.name = "words",
     .kind = RS_PARAM_STRINGS,
     .help = "what is drawn from; too few for a context: pairs of them; default: 2473 built-in words"},
    RS_PARAM_ROW_TEXT("intro", "Some words of this numbered list stand in it more often than the others. Find out which.\n",
                      "text before a list; {n}: num_cw"),
    RS_PARAM_ROW_TEXT("item", "{index}. {word}", "template of an entry"),
    RS_PARAM_ROW_TEXT("separator", " ", "text between entries"),
    RS_PARAM_ROW_TEXT("question", "\nWhich {n} words stand in the list most often?", "text after a list; {n}: num_cw"),
    RS_PARAM_ROW_TEXT("answer_prefix", " The {n} most frequent words are:", "how the answer begins; after prompt_suffix; {n}: num_cw"),
    RS_PARAM_ROW_TEXT("answer_item", " {index}. {word}", "template of a word in the example's answer"),
    RS_PARAM_ROW_TEXT("example_end", "\n\n", "text after the example"),
    RS_PARAM_ROW_MAX_NEW_TOKENS("120"),
    RS_PARAM_ROW_STOP,
    {0},
};

/* How a list is made: common words first. */
typedef struct shape {
    int64_t n_common, freq_common, n_other, freq_other;
} shape;

static int64_t number_or(const rs_params *params, const char *name, int64_t otherwise)
{
    return rs_param_is_set(params, name) ? (int64_t)rs_param_number(params, name) : otherwise;
}

static shape list_shape(const rs_params *params, int64_t context)
{
    bool small = context < SMALL_CONTEXT;
    return (shape){.n_common = (int64_t)rs_param_number(params, "num_cw"),
                   .freq_common = number_or(params, "freq_cw", small ? 6 : 30),
                   .n_other = (int64_t)rs_param_number(params, "num_ucw"),
                   .freq_other = number_or(params, "freq_ucw", small ? 1 : 3)};
}

/* n_common 0: no example. */
static shape example_shape(const rs_params *params, int64_t context)
{
    bool small = context < SMALL_CONTEXT;
    int64_t n_common = (int64_t)rs_param_number(params, "num_cw"), words = number_or(params, "example_words", small ? 20 : 40);
    if (words == 0)
        return (shape){0};
    return (shape){.n_common = n_common,
                   .freq_common = number_or(params, "example_freq_cw", small ? 3 : 10),
                   .n_other = words - n_common,
                   .freq_other = number_or(params, "example_freq_ucw", small ? 1 : 3)};
}

static rs_status check_params(const rs_params *params, int64_t context)
{
    RS_TRY(rs_list_check(params, "words", 2));
    RS_TRY(rs_template_check(params, "item", (const char *const[]){"{word}", NULL}));
    RS_TRY(rs_template_check(params, "answer_item", (const char *const[]){"{word}", NULL}));
    if (context == 0)
        return RS_OK;
    shape list = list_shape(params, context), example = example_shape(params, context);
    if (list.freq_common <= list.freq_other)
        return rs_fail(RS_INVALID, "freq_cw must be above freq_ucw, %lld, not %lld", (long long)list.freq_other,
                       (long long)list.freq_common);
    if (example.n_other < 0)
        return rs_fail(RS_INVALID, "example_words must be 0 or at least num_cw, %lld, not %lld", (long long)example.n_common,
                       (long long)(example.n_common + example.n_other));
    if (example.n_other > 0 && example.freq_common <= example.freq_other)
        return rs_fail(RS_INVALID, "example_freq_cw must be above example_freq_ucw, %lld, not %lld", (long long)example.freq_other,
                       (long long)example.freq_common);
    return RS_OK;
}

typedef struct cwe {
    rs_task_setup setup;
    const char *const *words; /* borrowed */
    size_t n_words;
} cwe;

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    const rs_param_value *list = rs_param_get(setup->params, "words");
    rs_seen seen = {0};
    rs_status status = RS_OK;
    for (size_t i = 0; list->set && i < list->n && status == RS_OK; i++)
        if (!rs_seen_add(&seen, list->strings[i]))
            status = rs_fail(RS_INVALID, "words has '%s' twice", list->strings[i]);
    rs_seen_free(&seen);
    if (status != RS_OK)
        return status;
    cwe *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->words = list->set ? (const char *const *)list->strings : rs_common_words;
    s->n_words = list->set ? list->n : RS_N_COMMON_WORDS;
    *state = s;
    return RS_OK;
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    RS_TRY(check_params(((const cwe *)state)->setup.params, context));
    return rs_drawn_count(state, context, wanted, n);
}

/* What one sample draws. */
typedef struct counting {
    const cwe *task;
    shape example, list; /* list.n_other: 0, the size tried says */
    char **words;        /* [n_words] of the example, then of the list; in each the common ones first */
    size_t n_words;
    rs_text example_text;        /* with its answer */
    rs_rng example_order, order; /* from where the entries' orders are drawn, anew for every size */
} counting;

static void counting_close(counting *c)
{
    for (size_t i = 0; i < c->n_words; i++)
        free(c->words[i]);
    free(c->words);
    rs_text_free(&c->example_text);
}

static size_t n_example(const counting *c)
{
    return (size_t)(c->example.n_common + c->example.n_other);
}

static void draw_words(counting *c, rs_rng *rng, bool pairs, size_t wanted)
{
    const cwe *s = c->task;
    rs_seen seen = {0};
    uint32_t *order = rs_alloc(s->n_words, sizeof *order);
    for (size_t i = 0; i < s->n_words; i++)
        order[i] = (uint32_t)i;
    rs_rng_shuffle(rng, order, s->n_words, sizeof *order);
    c->words = rs_alloc(wanted, sizeof *c->words);
    while (c->n_words < wanted) {
        const char *first = s->words[pairs ? rs_rng_below(rng, s->n_words) : order[c->n_words]];
        char *word = pairs ? rs_format("%s-%s", first, s->words[rs_rng_below(rng, s->n_words)]) : rs_strdup(first);
        if (rs_seen_add(&seen, word))
            c->words[c->n_words++] = word;
        else
            free(word);
    }
    free(order);
    rs_seen_free(&seen);
}

/* The numbers of a list's words, each as often as it has entries, in a drawn order. */
static uint32_t *draw_entries(const shape *list, rs_rng rng, size_t *n)
{
    size_t common = (size_t)(list->n_common * list->freq_common);
    *n = common + (size_t)(list->n_other * list->freq_other);
    uint32_t *entries = rs_alloc(*n, sizeof *entries);
    for (size_t i = 0; i < *n; i++)
        entries[i] =
            (uint32_t)(i < common ? i / (size_t)list->freq_common : (size_t)list->n_common + (i - common) / (size_t)list->freq_other);
    rs_rng_shuffle(&rng, entries, *n, sizeof *entries);
    return entries;
}

static void write_item(const counting *c, const char *template, size_t index, const char *word, rs_text *out)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", index);
    rs_template_append(out, rs_param_string(c->task->setup.params, template), (rs_slot[]){{"index", digits}, {"word", word}}, 2);
}

static void write_text(const counting *c, const char *template, rs_text *out)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)c->list.n_common);
    rs_template_append(out, rs_param_string(c->task->setup.params, template), &(rs_slot){"n", digits}, 1);
}

/* Intro, entries, question. starts: NULL, or [n_common] bytes of out before each common word's first entry and its separator; SIZE_MAX
 * before the call. */
static void write_list(const counting *c, const shape *list, char *const *words, rs_rng order, rs_text *out, size_t *starts)
{
    const char *separator = rs_param_string(c->task->setup.params, "separator");
    size_t n;
    uint32_t *entries = draw_entries(list, order, &n);
    write_text(c, "intro", out);
    for (size_t i = 0; i < n; i++) {
        if (starts && (int64_t)entries[i] < list->n_common && starts[entries[i]] == SIZE_MAX)
            starts[entries[i]] = out->n;
        rs_text_puts(out, i > 0 ? separator : "");
        write_item(c, "item", i + 1, words[entries[i]], out);
    }
    write_text(c, "question", out);
    free(entries);
}

static void write_example(counting *c)
{
    rs_text *out = &c->example_text;
    rs_text_puts(out, "");
    if (n_example(c) == 0)
        return;
    write_list(c, &c->example, c->words, c->example_order, out, NULL);
    write_text(c, "answer_prefix", out);
    for (int64_t i = 0; i < c->example.n_common; i++)
        write_item(c, "answer_item", (size_t)i + 1, c->words[i], out);
    rs_text_puts(out, rs_param_string(c->task->setup.params, "example_end"));
}

static void write_input(const counting *c, int64_t n_other, rs_text *input, size_t *starts)
{
    shape list = c->list;
    list.n_other = n_other;
    rs_text_puts(input, c->example_text.data);
    write_list(c, &list, c->words + n_example(c), c->order, input, starts);
}

static void build(const void *drawn, int64_t units, rs_text *input, rs_text *tail)
{
    write_input(drawn, units, input, NULL);
    write_text(drawn, "answer_prefix", tail);
}

static rs_status write_facts(const counting *c, int64_t n_other, bool pairs, rs_sample *out)
{
    rs_text input = {0}, facts = {0};
    size_t *starts = rs_alloc((size_t)c->list.n_common, sizeof *starts);
    rs_status status = RS_OK;
    for (int64_t i = 0; i < c->list.n_common; i++)
        starts[i] = SIZE_MAX;
    write_input(c, n_other, &input, starts);
    rs_text_puts(&facts, "\"positions\": [");
    for (int64_t i = 0; i < c->list.n_common; i++) {
        int64_t position;
        char *head = rs_strndup(input.data, starts[i]);
        status = rs_prompt_position(&c->task->setup, head, &position);
        free(head);
        if (status != RS_OK)
            goto out;
        rs_text_printf(&facts, "%s%lld", i ? ", " : "", (long long)position);
    }
    int64_t entries = c->list.n_common * c->list.freq_common + n_other * c->list.freq_other;
    rs_text_printf(&facts, "], \"entries\": %lld, \"num_ucw\": %lld", (long long)entries, (long long)n_other);
    rs_text_puts(&facts, pairs ? ", \"pairs\": true" : "");
    out->facts = facts.data;
    facts = (rs_text){0};
out:
    rs_text_free(&facts);
    rs_text_free(&input);
    free(starts);
    return status;
}

/* Different pairs that are found by drawing without many repeats. */
static int64_t max_pairs(size_t n_words)
{
    return (int64_t)(n_words * n_words / 2);
}

/* The sample with single words or with pairs. *enough: the list did not end for want of words. */
static rs_status try_words(const cwe *s, int64_t context, int64_t doc_id, bool pairs, rs_sample *out, bool *enough)
{
    const rs_params *params = s->setup.params;
    counting c = {.task = s, .example = example_shape(params, context), .list = list_shape(params, context)};
    int64_t fixed = (int64_t)n_example(&c) + c.list.n_common, n_other = 0;
    int64_t most = (pairs ? max_pairs(s->n_words) : (int64_t)s->n_words) - fixed;
    rs_fit fit = {.setup = &s->setup, .budget = context - out->max_new_tokens, .build = build, .drawn = &c};
    rs_fit_range(&fit, c.list.n_other, 1);
    *enough = most >= fit.min_units;
    if (!*enough)
        return RS_OK;
    fit.max_units = fit.max_units < most ? fit.max_units : most;
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "cwe/draw", (uint64_t)context, (uint64_t)doc_id);
    rs_rng_init(&c.example_order, s->setup.seed, "cwe/example", (uint64_t)context, (uint64_t)doc_id);
    rs_rng_init(&c.order, s->setup.seed, "cwe/order", (uint64_t)context, (uint64_t)doc_id);
    draw_words(&c, &rng, pairs, (size_t)(fixed + fit.max_units));
    write_example(&c);
    rs_status status = rs_fit_prompt(&fit, context, out, &n_other);
    *enough = n_other < most || c.list.n_other > 0;
    if (status == RS_OK && out->error == NULL && *enough)
        status = write_facts(&c, n_other, pairs, out);
    for (int64_t i = 0; status == RS_OK && *enough && i < c.list.n_common; i++)
        rs_sample_add_reference(out, c.words[n_example(&c) + (size_t)i]);
    counting_close(&c);
    return status;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    bool enough;
    rs_sample_set_generate(out, ((const cwe *)state)->setup.params);
    RS_TRY(try_words(state, context, doc_id, false, out, &enough));
    if (!enough && out->error == NULL)
        RS_TRY(try_words(state, context, doc_id, true, out, &enough));
    if (!enough && out->error == NULL)
        out->error = rs_format("words has too few texts, even for pairs of them, to fill %lld tokens", (long long)context);
    return RS_OK;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_ruler_all(response, n, one->references, one->n_references);
}

const rs_task rs_task_cwe = {.name = "cwe",
                             .summary = "the words that stand most often in a numbered list",
                             .source = "RULER, arXiv 2404.06654; own sentences and words, the order drawn per sample",
                             .chance = "num_cw in the number of different words: 0.2 at 1024, 0.01 at 32768",
                             .version = 1,
                             .params = specs,
                             .metrics = {"accuracy"},
                             .check = check_params,
                             .open = open_task,
                             .close = free,
                             .count = count,
                             .sample = sample,
                             .score = score};
