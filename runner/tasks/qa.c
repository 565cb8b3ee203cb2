/* Questions about documents: the ones that hold the answer stand somewhere among others that do not, as many as fit.
 * Source: RULER (arXiv 2404.06654), tasks qa_1 (SQuAD) and qa_2 (HotpotQA), on the user's file. Differs: own sentences, each a param;
 * sample i asks question i of an order drawn from the seed, the same at every context (RULER goes by the file, article by article); places
 * are drawn per sample and logged; what is left at the end goes to the next documents of the drawn order that are short enough. As in RULER
 * the documents that come with the gold ones go in first: a SQuAD article's other paragraphs; the other eight of a HotpotQA question, which
 * RULER puts in all, here as many as fit.
 * Metric: accuracy, 1 if the answer contains any of the file's (RULER's string_match_part). Chance: about 0; for questions of yes or no
 * 1/2, and "no" is in many words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "score/metric.h"
#include "tasks/prompt.h"
#include "tasks/qa_file.h"
#include "tasks/registry.h"

enum { MAX_TRIALS = 8, BYTES_A_TOKEN = 4 };

#define QA_PARAMS(file_help)                                                                                                               \
    {                                                                                                                                      \
        {.name = "file", .kind = RS_PARAM_STRING, .fallback = "required", .help = file_help},                                              \
            {.name = "docs",                                                                                                               \
             .kind = RS_PARAM_INT,                                                                                                         \
             .max = 1e6,                                                                                                                   \
             .fallback = "0",                                                                                                              \
             .help = "documents of a prompt; 0: as many as fit the context"},                                                              \
            RS_PARAM_ROW_TEXT("intro", "Below are documents and a question about them. Answer it in a few words.\n\n",                     \
                              "text before the documents"),                                                                                \
            RS_PARAM_ROW_TEXT("document", "Document {index}:\n{text}", "template of a document"),                                          \
            RS_PARAM_ROW_TEXT("separator", "\n\n", "text between documents"),                                                              \
            RS_PARAM_ROW_TEXT("question", "\n\nQuestion: {question}", "text after the documents"),                                         \
            RS_PARAM_ROW_TEXT("answer_prefix", "\nAnswer:", "how the answer begins; after prompt_suffix"),                                 \
            RS_PARAM_ROW_MAX_NEW_TOKENS("32"), RS_PARAM_ROW_STOP,                                                                          \
        {                                                                                                                                  \
            0                                                                                                                              \
        }                                                                                                                                  \
    }

static const rs_param_spec squad_specs[] = QA_PARAMS("SQuAD's JSON, 1.1 or 2.0 (dev-v2.0.json)");
static const rs_param_spec hotpot_specs[] = QA_PARAMS("HotpotQA's JSON, distractor setting (hotpot_dev_distractor_v1.json)");

typedef struct qa {
    rs_task_setup setup;
    rs_qa_file file;
    uint32_t *order; /* [file.n_questions] sample i asks question order[i] */
    int64_t docs;
} qa;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    RS_TRY(rs_template_check(params, "document", (const char *const[]){"{text}", NULL}));
    const char *tail = rs_param_string(params, "answer_prefix");
    return strstr(tail, "{question}") ? RS_OK : rs_template_check(params, "question", (const char *const[]){"{question}", NULL});
}

static rs_status open_task(const rs_task_setup *setup, rs_status (*read)(const char *, rs_qa_file *), void **state)
{
    RS_TRY(check_params(setup->params, 0));
    qa *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->docs = (int64_t)rs_param_number(setup->params, "docs");
    char *path = rs_path_join(setup->folder, rs_param_string(setup->params, "file"));
    rs_status status = read(path, &s->file);
    free(path);
    if (status != RS_OK) {
        free(s);
        return status;
    }
    rs_rng rng;
    s->order = rs_alloc(s->file.n_questions, sizeof *s->order);
    for (size_t i = 0; i < s->file.n_questions; i++)
        s->order[i] = (uint32_t)i;
    rs_rng_init(&rng, setup->seed, "qa/questions", 0, 0);
    rs_rng_shuffle(&rng, s->order, s->file.n_questions, sizeof *s->order);
    *state = s;
    return RS_OK;
}

static rs_status open_squad(const rs_task_setup *setup, void **state)
{
    return open_task(setup, rs_qa_read_squad, state);
}

static rs_status open_hotpot(const rs_task_setup *setup, void **state)
{
    return open_task(setup, rs_qa_read_hotpot, state);
}

static void close_task(void *state)
{
    qa *s = state;
    rs_qa_file_free(&s->file);
    free(s->order);
    free(s);
}

static void fingerprint(const void *state, rs_text *out)
{
    char hex[33];
    rs_text_printf(out, "file %s\n", rs_digest_hex(((const qa *)state)->file.content, hex));
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    const qa *s = state;
    (void)context;
    *n = wanted < (int64_t)s->file.n_questions ? wanted : (int64_t)s->file.n_questions;
    return RS_OK;
}

/* What one sample draws. */
typedef struct desk {
    const qa *task;
    const rs_qa_question *question;
    uint32_t *documents; /* [file.n_documents] gold, then the rest of its group, then all others, each part shuffled */
    double *cost;        /* [n_documents + 1] about how many tokens those before have */
    rs_rng places;       /* from where the documents' order in the prompt is drawn, anew for every size */
} desk;

static double cost_of(const desk *d, size_t i)
{
    return (double)strlen(d->task->file.documents[d->documents[i]]) / BYTES_A_TOKEN;
}

static desk desk_open(const qa *s, int64_t context, int64_t doc_id)
{
    const rs_qa_question *question = &s->file.questions[s->order[doc_id]];
    const rs_qa_group *group = &s->file.groups[question->group];
    desk d = {.task = s, .question = question, .documents = rs_alloc(s->file.n_documents, sizeof *d.documents)};
    bool *taken = rs_alloc(s->file.n_documents, sizeof *taken);
    size_t n = 0;
    for (size_t i = 0; i < question->n_gold; i++)
        taken[d.documents[n++] = question->gold[i]] = true;
    for (size_t i = 0; i < group->n; i++)
        if (!taken[group->documents[i]])
            taken[d.documents[n++] = group->documents[i]] = true;
    size_t n_near = n;
    for (size_t i = 0; i < s->file.n_documents; i++)
        if (!taken[i])
            d.documents[n++] = (uint32_t)i;
    free(taken);
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "qa/draw", (uint64_t)context, (uint64_t)doc_id);
    rs_rng_init(&d.places, s->setup.seed, "qa/places", (uint64_t)context, (uint64_t)doc_id);
    rs_rng_shuffle(&rng, d.documents + question->n_gold, n_near - question->n_gold, sizeof *d.documents);
    rs_rng_shuffle(&rng, d.documents + n_near, n - n_near, sizeof *d.documents);
    d.cost = rs_alloc(n + 1, sizeof *d.cost);
    for (size_t i = 0; i < n; i++)
        d.cost[i + 1] = d.cost[i] + cost_of(&d, i);
    return d;
}

static void desk_close(desk *d)
{
    free(d->documents);
    free(d->cost);
}

static double estimate(const void *drawn, int64_t units)
{
    return ((const desk *)drawn)->cost[units];
}

/* starts: NULL, or [n_gold] bytes of out before each gold document and its separator; places: how many documents stand before it. */
static void write_documents(const desk *d, int64_t units, rs_text *out, size_t *starts, int64_t *places)
{
    const rs_params *params = d->task->setup.params;
    uint32_t *order = rs_alloc((size_t)units, sizeof *order);
    for (int64_t i = 0; i < units; i++)
        order[i] = (uint32_t)i;
    rs_rng rng = d->places;
    rs_rng_shuffle(&rng, order, (size_t)units, sizeof *order);
    rs_text_puts(out, rs_param_string(params, "intro"));
    for (int64_t i = 0; i < units; i++) {
        if (starts && order[i] < d->question->n_gold) {
            starts[order[i]] = out->n;
            places[order[i]] = i;
        }
        char digits[24];
        snprintf(digits, sizeof digits, "%lld", (long long)i + 1);
        rs_slot slots[] = {{"index", digits}, {"text", d->task->file.documents[d->documents[order[i]]]}};
        rs_text_puts(out, i > 0 ? rs_param_string(params, "separator") : "");
        rs_template_append(out, rs_param_string(params, "document"), slots, 2);
    }
    free(order);
}

static void build(const void *drawn, int64_t units, rs_text *input, rs_text *tail)
{
    const desk *d = drawn;
    rs_slot question = {"question", d->question->text};
    write_documents(d, units, input, NULL, NULL);
    rs_template_append(input, rs_param_string(d->task->setup.params, "question"), &question, 1);
    rs_template_append(tail, rs_param_string(d->task->setup.params, "answer_prefix"), &question, 1);
}

/* Puts further documents in, in the drawn order, where one is short enough for what the first that did not fit leaves free. */
static rs_status fill_rest(desk *d, rs_fit *fit, int64_t context, rs_sample *out, int64_t *units)
{
    size_t n = d->task->file.n_documents;
    double tokens_a_cost = (double)out->tokens.n / (d->cost[*units] + 1);
    rs_status status = RS_OK;
    for (size_t next = (size_t)*units, trials = 0; next < n && trials < MAX_TRIALS && status == RS_OK; next++) {
        if (cost_of(d, next) * tokens_a_cost > (double)(fit->budget - (int64_t)out->tokens.n))
            continue;
        uint32_t document = d->documents[next];
        d->documents[next] = d->documents[*units];
        d->documents[*units] = document;
        rs_sample longer = {0};
        int64_t one_more = *units + 1;
        fit->min_units = fit->max_units = one_more;
        status = rs_fit_prompt(fit, context, &longer, &one_more);
        if (status == RS_OK && longer.error == NULL) {
            rs_tokens shorter = out->tokens;
            out->tokens = longer.tokens;
            longer.tokens = shorter;
            *units = one_more;
        }
        rs_sample_free(&longer);
        trials++;
    }
    return status;
}

static rs_status write_facts(const desk *d, int64_t units, rs_sample *out)
{
    size_t n_gold = d->question->n_gold;
    size_t *starts = rs_alloc(n_gold, sizeof *starts);
    int64_t *places = rs_alloc(n_gold, sizeof *places), position;
    rs_text input = {0}, facts = {0}, positions = {0};
    rs_status status = RS_OK;
    write_documents(d, units, &input, starts, places);
    for (size_t i = 0; i < n_gold; i++) {
        char *head = rs_strndup(input.data, starts[i]);
        status = rs_prompt_position(&d->task->setup, head, &position);
        free(head);
        if (status != RS_OK)
            goto out;
        rs_text_puts(&facts, i ? ", " : "\"depths\": [");
        rs_text_double(&facts, units > 1 ? 100.0 * (double)places[i] / (double)(units - 1) : 0);
        rs_text_printf(&positions, "%s%lld", i ? ", " : "", (long long)position);
    }
    rs_text_printf(&facts, "], \"positions\": [%s], \"docs\": %lld, \"question\": %zu", positions.data, (long long)units,
                   (size_t)(d->question - d->task->file.questions));
    out->facts = facts.data;
    facts = (rs_text){0};
out:
    rs_text_free(&positions);
    rs_text_free(&facts);
    rs_text_free(&input);
    free(places);
    free(starts);
    return status;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const qa *s = state;
    int64_t units = 0, n_documents = (int64_t)s->file.n_documents;
    rs_sample_set_generate(out, s->setup.params);
    desk d = desk_open(s, context, doc_id);
    rs_fit fit = {.setup = &s->setup, .budget = context - out->max_new_tokens, .drawn = &d, .build = build, .estimate = estimate};
    rs_fit_range(&fit, s->docs, (int64_t)d.question->n_gold);
    fit.max_units = fit.max_units < n_documents ? fit.max_units : n_documents;
    for (size_t i = 0; i < d.question->n_answers; i++)
        rs_sample_add_reference(out, d.question->answers[i]);
    rs_status status = RS_OK;
    if (fit.min_units > fit.max_units || fit.min_units < (int64_t)d.question->n_gold)
        out->error = rs_format("docs must be between %zu and %lld for this question, not %lld", d.question->n_gold, (long long)n_documents,
                               (long long)s->docs);
    else
        status = rs_fit_prompt(&fit, context, out, &units);
    if (status == RS_OK && out->error == NULL && s->docs == 0)
        status = fill_rest(&d, &fit, context, out, &units);
    if (status == RS_OK && out->error == NULL)
        status = write_facts(&d, units, out);
    desk_close(&d);
    return status;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_ruler_part(response, n, one->references, one->n_references);
}

#define QA_TASK(title, line, what, specs, read)                                                                                            \
    {                                                                                                                                      \
        .name = title, .summary = line,                                                                                                    \
        .source = "RULER, arXiv 2404.06654, on " what "; own sentences, questions and places drawn, as many documents as fit",             \
        .chance = "about 0; yes or no: 1/2", .version = 1, .params = specs, .metrics = {"accuracy"}, .check = check_params, .open = read,  \
        .close = close_task, .count = count, .sample = sample, .fingerprint = fingerprint, .score = score                                  \
    }

const rs_task rs_task_qa_1 =
    QA_TASK("qa_1", "a question about one of many paragraphs of the user's file", "SQuAD", squad_specs, open_squad);
const rs_task rs_task_qa_2 =
    QA_TASK("qa_2", "a question about two of many documents of the user's file", "HotpotQA", hotpot_specs, open_hotpot);
