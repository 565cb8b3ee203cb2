/* LongBench v1, its English tasks, from the user's copies of its JSONL files: a line is {input, context, answers, all_classes, dataset,
 * _id}. Source: LongBench (arXiv 2308.14508; github.com/THUDM/LongBench). Differs: own prompts (`template` takes any other); a prompt that
 * does not fit is an error of its sample unless overflow is middle, which takes tokens out and does not tokenize what is left again
 * (upstream does); samsum's answer does not end at a newline, of which nothing is scored. Metric: the data set's own, the greatest over the
 * references. Chance: 0 but for trec (1 in 50) and the two passage tasks. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "score/longbench.h"
#include "score/metric.h"
#include "tasks/json_lines.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

typedef struct dataset {
    const char *name, *metric_name;
    rs_metric metric; /* NULL: classification, which has the line's classes too */
    int64_t max_new_tokens;
    bool first_line; /* what counts of the answer */
    const char *template;
} dataset;

#define ANSWER_ONLY "Give the answer alone, without an explanation.\n\n"
#define PASSAGES_QA                                                                                                                        \
    "Below are several passages. Answer the question from them in as few words as possible. " ANSWER_ONLY                                  \
    "Passages:\n{context}\n\nQuestion: {input}\nAnswer:"
#define F1 "f1", rs_metric_token_f1
#define ROUGE "rouge_l", rs_metric_rouge_l
#define EDIT "edit_similarity", rs_metric_edit_similarity

static const dataset datasets[] = {
    {"narrativeqa", F1, 128, false,
     "Below is a story or a film script. Answer the question about it in as few words as possible, a phrase if you can. " ANSWER_ONLY
     "Story:\n{context}\n\nQuestion: {input}\nAnswer:"},
    {"qasper", F1, 128, false,
     "Below is a scientific article. Answer the question about it with a phrase or one sentence. Write \"unanswerable\" if the article "
     "does "
     "not say; answer yes-or-no questions with \"yes\", \"no\" or \"unanswerable\". " ANSWER_ONLY
     "Article:\n{context}\n\nQuestion: {input}\nAnswer:"},
    {"multifieldqa_en", F1, 64, false,
     "Read the text and answer the question about it briefly.\n\nText:\n{context}\n\n" ANSWER_ONLY "Question: {input}\nAnswer:"},
    {"hotpotqa", F1, 32, false, PASSAGES_QA},
    {"2wikimqa", F1, 32, false, PASSAGES_QA},
    {"musique", F1, 32, false, PASSAGES_QA},
    {"gov_report", ROUGE, 512, false,
     "Below is a report by a government agency. Summarize it on one page.\n\nReport:\n{context}\n\nSummary:"},
    {"qmsum", ROUGE, 512, false,
     "Below is the transcript of a meeting. Answer the request about it in one or more sentences.\n\nTranscript:\n{context}\n\n"
     "Request: {input}\nAnswer:"},
    {"multi_news", ROUGE, 512, false,
     "Below are several news articles on one event. Summarize them together on one page.\n\nArticles:\n{context}\n\nSummary:"},
    {"trec", "classification", NULL, 64, true, "Tell the type of the last question, as the examples do.\n\n{context}\n{input}"},
    {"triviaqa", F1, 32, true,
     "Answer the last question from the passage before it, with the answer alone. The examples show how.\n\n{context}\n\n{input}"},
    {"samsum", ROUGE, 128, true, "Summarize the last dialogue in a few short sentences, as the examples do.\n\n{context}\n\n{input}"},
    {"passage_count", "count", rs_metric_count, 32, false,
     "Below are numbered paragraphs, some of which repeat others. Count how many different paragraphs there are.\n\n{context}\n\n"
     "Write the number alone. The number of different paragraphs is:"},
    {"passage_retrieval_en", "retrieval", rs_metric_retrieval, 32, false,
     "Below are 30 numbered paragraphs of Wikipedia, and a summary of one of them. Tell which one it is.\n\n{context}\n\n"
     "Summary:\n{input}\n\nWrite the paragraph's number in the form \"Paragraph 1\". The summary is of:"},
    {"lcc", EDIT, 64, false, "Write the next line of this code.\n{context}Next line:\n"},
    {"repobench-p", EDIT, 64, false, "Write the next line of the last file below.\n{context}{input}Next line:\n"},
};
enum { N_DATASETS = sizeof datasets / sizeof *datasets };

static const rs_param_spec specs[] = {
    {.name = "file", .kind = RS_PARAM_STRING, .fallback = "required", .help = "the data set's JSON lines, as LongBench publishes them"},
    {.name = "dataset",
     .kind = RS_PARAM_CHOICE,
     .choices = "narrativeqa|qasper|multifieldqa_en|hotpotqa|2wikimqa|musique|gov_report|qmsum|multi_news|trec|triviaqa|samsum|"
                "passage_count|passage_retrieval_en|lcc|repobench-p",
     .fallback = "required",
     .help = "gives template, max_new_tokens and metric"},
    {.name = "template", .kind = RS_PARAM_STRING, .help = "prompt with {context} and perhaps {input}; default: the data set's"},
    {.name = "max_new_tokens",
     .kind = RS_PARAM_INT,
     .min = 1,
     .max = 1048576,
     .help = "tokens an answer may have; part of the context; default: the data set's (32 to 512)"},
    {.name = "overflow",
     .kind = RS_PARAM_CHOICE,
     .choices = "error|middle",
     .fallback = "error",
     .help = "of a prompt longer than the context: error of the sample, or its middle is taken out and the sample says how much"},
    RS_PARAM_ROW_STOP,
    {0},
};

typedef struct record {
    char *input, *context, *source_id;
    char **answers, **classes;
    size_t n_answers, n_classes;
} record;

typedef struct longbench {
    rs_task_setup setup;
    const dataset *dataset;
    const char *template;
    record *records;
    size_t n, cap;
    rs_digest content; /* of the file */
} longbench;

static const dataset *dataset_of(const rs_params *params)
{
    const char *name = rs_param_string(params, "dataset");
    for (int i = 0; name && i < N_DATASETS; i++)
        if (strcmp(datasets[i].name, name) == 0)
            return &datasets[i];
    return &datasets[0];
}

static const char *metric_name(const rs_params *params)
{
    return dataset_of(params)->metric_name;
}

static int64_t answer_tokens(const rs_params *params)
{
    bool given = rs_param_is_set(params, "max_new_tokens");
    return given ? (int64_t)rs_param_number(params, "max_new_tokens") : dataset_of(params)->max_new_tokens;
}

static rs_status check_params(const rs_params *params, int64_t context)
{
    int64_t answer = answer_tokens(params);
    if (rs_param_is_set(params, "template"))
        RS_TRY(rs_template_check(params, "template", (const char *const[]){"{context}", NULL}));
    if (context > 0 && answer > context - 2)
        return rs_fail(RS_INVALID, "max_new_tokens %lld leave no room for a prompt at context %lld", (long long)answer, (long long)context);
    return RS_OK;
}

static void record_free(record *one)
{
    rs_strings_free(one->answers, one->n_answers);
    rs_strings_free(one->classes, one->n_classes);
    free(one->input);
    free(one->context);
    free(one->source_id);
}

static void close_task(void *state)
{
    longbench *s = state;
    for (size_t i = 0; i < s->n; i++)
        record_free(&s->records[i]);
    free(s->records);
    free(s);
}

/* LongBench-E's files hold lines of NAME_e. */
static rs_status check_dataset(const longbench *s, const json_t *object, const char *place)
{
    const char *name = json_string_value(json_object_get(object, "dataset"));
    size_t n = strlen(s->dataset->name);
    if (name == NULL || (strncmp(name, s->dataset->name, n) == 0 && (name[n] == '\0' || strcmp(name + n, "_e") == 0)))
        return RS_OK;
    return rs_fail(RS_INVALID, "%s: \"dataset\" is '%s', but the task's dataset is %s", place, name, s->dataset->name);
}

/* What the data set's metric needs of a line's answers and classes. */
static rs_status check_answers(const longbench *s, const record *one, const char *place)
{
    for (size_t i = 0; i < one->n_answers && s->dataset->metric == rs_metric_retrieval; i++)
        if (!rs_names_paragraph(one->answers[i]))
            return rs_fail(RS_INVALID, "%s: \"answers\"[%zu] must name a paragraph as \"Paragraph 7\", not '%s'", place, i,
                           one->answers[i]);
    for (size_t i = 0; i < one->n_answers && s->dataset->metric == NULL; i++) {
        bool known = false;
        for (size_t k = 0; k < one->n_classes; k++)
            known = known || strcmp(one->answers[i], one->classes[k]) == 0;
        if (!known)
            return rs_fail(RS_INVALID, "%s: \"answers\"[%zu], '%s', is not one of \"all_classes\"", place, i, one->answers[i]);
    }
    return RS_OK;
}

static rs_status take_line(void *state, const json_t *object, const char *place)
{
    static const char members[] = "\"input\", \"context\", \"answers\" and, of trec, \"all_classes\"";
    longbench *s = state;
    record one = {0};
    rs_status status;
    RS_TRY_OUT(check_dataset(s, object, place));
    RS_TRY_OUT(rs_json_get_string(object, "input", true, members, place, &one.input));
    RS_TRY_OUT(rs_json_get_string(object, "context", true, members, place, &one.context));
    RS_TRY_OUT(rs_json_get_string(object, "_id", false, members, place, &one.source_id));
    if (one.context[0] == '\0')
        RS_TRY_OUT(rs_fail(RS_INVALID, "%s: \"context\" is empty", place));
    RS_TRY_OUT(rs_json_get_strings(object, "answers", members, place, &one.answers, &one.n_answers));
    if (s->dataset->metric == NULL)
        RS_TRY_OUT(rs_json_get_strings(object, "all_classes", members, place, &one.classes, &one.n_classes));
    RS_TRY_OUT(check_answers(s, &one, place));
    RS_PUSH(s->records, s->n, s->cap, one);
    return RS_OK;
out:
    record_free(&one);
    return status;
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    longbench *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->dataset = dataset_of(setup->params);
    s->template = rs_param_is_set(setup->params, "template") ? rs_param_string(setup->params, "template") : s->dataset->template;
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
    const longbench *s = state;
    RS_TRY(check_params(s->setup.params, context));
    *n = wanted < (int64_t)s->n ? wanted : (int64_t)s->n;
    return RS_OK;
}

static void fingerprint(const void *state, rs_text *out)
{
    char hex[33];
    rs_text_printf(out, "file %s\n", rs_digest_hex(((const longbench *)state)->content, hex));
}

/* Takes the middle out: as many tokens stay at the front as at the end. Returns how many went. */
static int64_t cut_middle(rs_tokens *tokens, int64_t room)
{
    int64_t n = (int64_t)tokens->n, half = room / 2;
    if (n <= room)
        return 0;
    memmove(tokens->ids + half, tokens->ids + n - half, (size_t)half * sizeof *tokens->ids);
    tokens->n = (size_t)(2 * half);
    return n - 2 * half;
}

static void write_facts(const record *one, int64_t truncated, rs_sample *out)
{
    rs_text facts = {0};
    if (one->source_id[0]) {
        rs_text_puts(&facts, "\"source_id\": ");
        rs_text_json_string(&facts, one->source_id, strlen(one->source_id));
    }
    if (truncated > 0)
        rs_text_printf(&facts, "%s\"truncated\": %lld", facts.n ? ", " : "", (long long)truncated);
    out->facts = facts.data;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const longbench *s = state;
    const rs_params *params = s->setup.params;
    if (doc_id < 0 || doc_id >= (int64_t)s->n)
        return rs_fail(RS_INTERNAL, "%s: line %lld was asked for, there are %zu", rs_param_string(params, "file"), (long long)doc_id + 1,
                       s->n);
    const record *one = &s->records[doc_id];
    rs_text text = {0};
    rs_template_append(&text, s->template, (rs_slot[]){{"context", one->context}, {"input", one->input}}, 2);
    rs_status status = rs_prompt_encode(&s->setup, text.data, "", &out->tokens);
    rs_text_free(&text);
    RS_TRY(status);
    rs_sample_set_generate(out, params);
    out->max_new_tokens = answer_tokens(params);
    out->item = (size_t)doc_id;
    for (size_t i = 0; i < one->n_answers; i++)
        rs_sample_add_reference(out, one->answers[i]);
    bool middle = strcmp(rs_param_string(params, "overflow"), "middle") == 0;
    write_facts(one, middle ? cut_middle(&out->tokens, context - out->max_new_tokens) : 0, out);
    rs_sample_check_length(out, context);
    return RS_OK;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    const longbench *s = state;
    const record *line = &s->records[one->item];
    if (s->dataset->first_line)
        response = rs_first_line(response, &n);
    if (s->dataset->metric)
        scores[0] = s->dataset->metric(response, n, line->answers, line->n_answers);
    else
        scores[0] = rs_metric_classification(response, n, line->answers, line->n_answers, line->classes, line->n_classes);
}

const rs_task rs_task_longbench = {.name = "longbench",
                                   .summary = "LongBench's English tasks: questions, summaries, classes, counts, code",
                                   .source = "arXiv 2308.14508, from the user's files; own prompts",
                                   .chance = "0; trec 1 in 50",
                                   .version = 1,
                                   .params = specs,
                                   .metrics = {"f1"},
                                   .metric_name = metric_name,
                                   .check = check_params,
                                   .open = open_task,
                                   .close = close_task,
                                   .count = count,
                                   .sample = sample,
                                   .fingerprint = fingerprint,
                                   .score = score};
