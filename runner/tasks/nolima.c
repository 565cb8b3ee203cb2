/* NoLiMa: a needle in the user's text and a question that has no word in common with it: who knows the world can tell the answer, who
 * looks for the question's words cannot.
 * Source: NoLiMa (arXiv 2502.05167). Differs: own needles, questions and names, each a param; one question a needle; the depth is even
 * over samples; the user's text begins at a random sentence and is not cleared of passages that happen to bear on the question. Entries
 * are taken in turn; the name is drawn from those that the text does not have.
 * Words in common: a word of the question and one of the needle that are equal, or one begins with the other and has four letters at
 * least, an s or d at their ends dropped ("lives", "lived"); a list of small words (the, is, who, ...) does not count.
 * Metric: accuracy, 1 if the answer contains the name (or what the entry says). Chance: 0, a name is not guessed. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "score/lower.h"
#include "score/metric.h"
#include "tasks/haystack.h"
#include "tasks/registry.h"

static const rs_param_spec specs[] = {
    RS_PARAM_ROW_HAYSTACK("required", "a glob of text files, or noise"),
    RS_PARAM_ROWS_NOISE,
    {.name = "entries",
     .kind = RS_PARAM_STRINGS,
     .help = "'needle | question | answer' each, {name}: a name; needle and question share no word; default: 16 built-in"},
    {.name = "names", .kind = RS_PARAM_STRINGS, .help = "who {name} may be, if not in the haystack; default: 32 built-in"},
    RS_PARAM_ROW_DEPTHS,
    RS_PARAM_ROW_TEXT("intro", "Read the text below. A question about someone in it follows.\n", "text before the haystack"),
    RS_PARAM_ROW_TEXT("question", "\n\nQuestion: {question}", "text after the haystack"),
    RS_PARAM_ROW_TEXT("answer_prefix", "\nThe answer is the person called", "how the answer begins; after prompt_suffix"),
    RS_PARAM_ROW_MAX_NEW_TOKENS("24"),
    RS_PARAM_ROW_STOP,
    {0},
};

enum { N_ENTRIES = 16, N_NAMES = 32, PARTS = 3, MIN_STEM = 4 };

static const char *const built_in_entries[N_ENTRIES] = {
    "{name} rents a flat right behind the Sagrada Familia. | Who has been to Barcelona? | {name}",
    "From the kitchen window {name} sees the Charles Bridge. | Who could show us around Prague? | {name}",
    "{name} sells postcards in front of the Alhambra. | Who works in Granada? | {name}",
    "The desk of {name} looks out on the Brandenburg Gate. | Who can be met in Berlin? | {name}",
    "{name} rows past the Little Mermaid before breakfast. | Who has been to Copenhagen? | {name}",
    "A studio opposite the Hagia Sophia belongs to {name}. | Who spends many days in Turkey? | {name}",
    "{name} paints the Atomium again and again from a balcony. | Who stays in Belgium? | {name}",
    "Last spring {name} restored some tiles inside the Taj Mahal. | Who has visited India? | {name}",
    "{name} guards the entrance of the Uffizi at night. | Who earns a living in Florence? | {name}",
    "As a child {name} played in the shadow of the Acropolis. | Who comes from Athens? | {name}",
    "{name} feeds the pigeons by the Petronas Towers. | Who has been to Malaysia? | {name}",
    "Every evening {name} jogs twice around the Rijksmuseum. | Who is at home in Amsterdam? | {name}",
    "{name} mends ropes a few steps from the old warship Vasa. | Who has a job in Sweden? | {name}",
    "{name} tuned the piano of the Sydney Opera House for years. | Who knows Australia well? | {name}",
    "{name} proposed among the terraces of Machu Picchu. | Who has been to Peru? | {name}",
    "{name} can stomach nothing that has milk in it. | Who must leave a slice of cheddar to the others? | {name}",
};

static const char *const built_in_names[N_NAMES] = {
    "Aiko",     "Amara",   "Bojan", "Chidi",   "Chiara",  "Dilara",  "Eluned",   "Farid",  "Femke",  "Gunnar", "Ilse",
    "Ingrid",   "Joaquim", "Kofi",  "Lakshmi", "Leilani", "Mateusz", "Mireille", "Nadeem", "Nneka",  "Oksana", "Priya",
    "Ragnhild", "Saoirse", "Soren", "Tariq",   "Tomasz",  "Ulrike",  "Xiomara",  "Yusuf",  "Zeynep", "Zsofia",
};

typedef struct entry {
    char *needle, *question, *answer; /* the question before its template */
} entry;

typedef struct nolima {
    rs_task_setup setup;
    rs_haystack stack;
    entry *entries;
    size_t n_entries;
    const char **names; /* [n_names] those that the haystack does not have; borrowed */
    size_t n_names;
} nolima;

/* --- entries --- */

static void entry_free(entry *one)
{
    free(one->needle);
    free(one->question);
    free(one->answer);
}

static char *with_name(const char *template, const char *name)
{
    rs_text text = {0};
    rs_template_append(&text, template, (rs_slot[]){{"name", name}}, 1);
    return text.data;
}

/* place: begins the message. */
static rs_status split(const char *text, const char *place, entry *out)
{
    char **parts[PARTS] = {&out->needle, &out->question, &out->answer};
    size_t n = 0;
    for (const char *at = text; at; n++) {
        const char *bar = strchr(at, '|');
        size_t length = bar ? (size_t)(bar - at) : strlen(at);
        const char *part = rs_strip(at, &length);
        if (n == PARTS || length == 0)
            break;
        *parts[n] = rs_strndup(part, length);
        at = bar ? bar + 1 : NULL;
        if (at == NULL && n == PARTS - 1)
            return RS_OK;
    }
    return rs_fail(RS_INVALID, "%s must be 'needle | question | answer', not '%s'", place, text);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

/* The next word of a text in lower case; false: none is left. */
static bool next_word(const char **at, const char **word, size_t *n)
{
    while (**at && !is_letter(**at))
        (*at)++;
    *word = *at;
    while (is_letter(**at))
        (*at)++;
    *n = (size_t)(*at - *word);
    return *n > 0;
}

static bool is_small(const char *word, size_t n)
{
    static const char *const words[] = {
        "about", "after", "all",   "also", "an",   "and",   "any",   "are",   "as",    "at",    "be",   "been", "before", "but",
        "by",    "can",   "could", "did",  "do",   "does",  "few",   "for",   "from",  "had",   "has",  "have", "he",     "her",
        "his",   "how",   "in",    "into", "is",   "it",    "its",   "many",  "may",   "more",  "most", "much", "must",   "no",
        "not",   "of",    "off",   "on",   "once", "one",   "or",    "other", "out",   "over",  "she",  "so",   "some",   "than",
        "that",  "the",   "their", "them", "then", "there", "they",  "this",  "those", "to",    "too",  "up",   "us",     "very",
        "was",   "well",  "were",  "what", "when", "where", "which", "who",   "whom",  "whose", "why",  "will", "with",   "would",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == n && memcmp(words[i], word, n) == 0)
            return true;
    return n < 2;
}

static size_t stem(const char *word, size_t n)
{
    return n > MIN_STEM && (word[n - 1] == 's' || word[n - 1] == 'd') ? n - 1 : n;
}

static bool alike(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t i = stem(a, n_a), j = stem(b, n_b), shorter = i < j ? i : j;
    return memcmp(a, b, shorter) == 0 && (i == j || shorter >= MIN_STEM);
}

static rs_status compare_words(const char *question, const char *needle, const char *place)
{
    const char *word, *other;
    size_t n, n_other;
    while (next_word(&question, &word, &n)) {
        if (is_small(word, n))
            continue;
        for (const char *at = needle; next_word(&at, &other, &n_other);)
            if (!is_small(other, n_other) && alike(word, n, other, n_other))
                return rs_fail(RS_INVALID, "%s needle and question share a word: '%.*s' and '%.*s'", place, (int)n_other, other, (int)n,
                               word);
    }
    return RS_OK;
}

static char *lower(const char *template)
{
    rs_text text = {0};
    char *whole = with_name(template, built_in_names[0]);
    rs_lower(whole, strlen(whole), &text);
    free(whole);
    return text.data;
}

static rs_status check_entry(const entry *one, const char *place)
{
    char *needle = lower(one->needle), *question = lower(one->question), *answer = lower(one->answer);
    rs_status status = compare_words(question, needle, place);
    if (status == RS_OK && strstr(question, answer))
        status = rs_fail(RS_INVALID, "%s the question has the answer '%s'", place, one->answer);
    free(needle);
    free(question);
    free(answer);
    return status;
}

/* Entry i of the param, or of those built in. */
static rs_status read_entry(const rs_params *params, size_t i, entry *out)
{
    const rs_param_value *list = rs_param_get(params, "entries");
    char *place = rs_format("entries: text %zu of %zu:", i + 1, list->set ? list->n : N_ENTRIES);
    *out = (entry){0};
    rs_status status = split(list->set ? list->strings[i] : built_in_entries[i], place, out);
    if (status == RS_OK)
        status = check_entry(out, place);
    free(place);
    return status;
}

static size_t entry_count(const rs_params *params)
{
    const rs_param_value *list = rs_param_get(params, "entries");
    return list->set ? list->n : N_ENTRIES;
}

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    if (strcmp(rs_param_string(params, "haystack"), "needle") == 0)
        return rs_fail(RS_INVALID, "haystack must be a glob of text files or noise, not 'needle'");
    RS_TRY(rs_list_check(params, "entries", 1));
    RS_TRY(rs_list_check(params, "names", 1));
    RS_TRY(rs_template_check(params, "question", (const char *const[]){"{question}", NULL}));
    rs_status status = RS_OK;
    for (size_t i = 0; i < entry_count(params) && status == RS_OK; i++) {
        entry one;
        status = read_entry(params, i, &one);
        entry_free(&one);
    }
    return status;
}

/* --- open --- */

static void close_task(void *state)
{
    nolima *s = state;
    for (size_t i = 0; i < s->n_entries; i++)
        entry_free(&s->entries[i]);
    free(s->entries);
    free(s->names);
    rs_haystack_close(&s->stack);
    free(s);
}

/* Names that do not stand in the haystack, where they would be taken for the needle's. */
static rs_status gather_names(nolima *s)
{
    const rs_param_value *list = rs_param_get(s->setup.params, "names");
    size_t n = list->set ? list->n : N_NAMES;
    s->names = rs_alloc(n, sizeof *s->names);
    for (size_t i = 0; i < n; i++) {
        const char *name = list->set ? list->strings[i] : built_in_names[i];
        if (memmem(s->stack.bytes.data, s->stack.bytes.n, name, strlen(name)) == NULL)
            s->names[s->n_names++] = name;
    }
    return s->n_names > 0 ? RS_OK : rs_fail(RS_INVALID, "names: each of the %zu stands in the haystack too", n);
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    nolima *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->entries = rs_alloc(entry_count(setup->params), sizeof *s->entries);
    rs_status status = rs_haystack_open(setup, &s->stack);
    if (status == RS_OK)
        status = gather_names(s);
    for (; status == RS_OK && s->n_entries < entry_count(setup->params); s->n_entries++)
        status = read_entry(setup->params, s->n_entries, &s->entries[s->n_entries]);
    if (status == RS_OK)
        *state = s;
    else
        close_task(s);
    return status;
}

static void fingerprint(const void *state, rs_text *out)
{
    rs_haystack_fingerprint(&((const nolima *)state)->stack, out);
}

/* --- samples --- */

static rs_status bury(const nolima *s, const entry *one, const char *name, double depth, rs_rng *rng, int64_t context, rs_sample *out)
{
    char *asked = with_name(one->question, name);
    rs_text question = {0};
    rs_template_append(&question, rs_param_string(s->setup.params, "question"), (rs_slot[]){{"question", asked}}, 1);
    rs_needle needle = {with_name(one->needle, name), depth};
    rs_burial burial = {.stack = &s->stack,
                        .setup = &s->setup,
                        .intro = rs_param_string(s->setup.params, "intro"),
                        .question = question.data,
                        .answer_prefix = rs_param_string(s->setup.params, "answer_prefix"),
                        .needles = &needle,
                        .n_needles = 1,
                        .rng = rng};
    rs_status status = rs_bury(&burial, context, out);
    free(needle.text);
    rs_text_free(&question);
    free(asked);
    return status;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const nolima *s = state;
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "nolima/draw", (uint64_t)context, (uint64_t)doc_id);
    size_t which = (size_t)doc_id % s->n_entries;
    const char *name = s->names[rs_rng_below(&rng, s->n_names)];
    double depth = rs_needle_depth(s->setup.params, s->setup.seed, "nolima", context, doc_id, 0, &rng);
    rs_sample_set_generate(out, s->setup.params);
    char *answer = with_name(s->entries[which].answer, name);
    rs_sample_add_reference(out, answer);
    free(answer);
    RS_TRY(bury(s, &s->entries[which], name, depth, &rng, context, out));
    if (out->error)
        return RS_OK;
    char *facts = rs_format("%s, \"entry\": %zu", out->facts, which);
    free(out->facts);
    out->facts = facts;
    return RS_OK;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_contains(response, n, one->references, one->n_references);
}

const rs_task rs_task_nolima = {.name = "nolima",
                                .summary = "a needle in the user's text, asked for without one of its words",
                                .source = "NoLiMa, arXiv 2502.05167; own needles and questions, depths even over samples",
                                .chance = "0 (a name is not guessed)",
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
