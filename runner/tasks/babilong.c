/* BABILong: the facts of a bAbI story, in order, among sentences of the user's text; a question about them at the end.
 * Source: BABILong (arXiv 2406.10149), tasks qa1..qa5 of bAbI (arXiv 1502.05698). Differs: own instructions with one solved example, each
 * text a param; the context is filled exactly, background included; the first fact that the question names lies at a depth even over
 * samples, the facts before it uniform before, those after it uniform behind (BABILong: all uniform, sorted); the questions are the file's
 * in its order, at each context those whose facts fit it (BABILong: those with at most context/8 facts).
 * The sample's depths and positions begin with that fact; "support" is its number in the story.
 * Metric: accuracy, 1 if of all the answers the file knows, in lower case, the right one alone is in the answer's first sentence; those
 * that the question mentions do not count. A sentence ends at a full stop or, beside BABILong, at a line's end.
 * Chance: 1 in the number of labels: 1/6, qa5 1/7. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "score/lower.h"
#include "score/metric.h"
#include "tasks/babi.h"
#include "tasks/draw.h"
#include "tasks/haystack.h"
#include "tasks/registry.h"

typedef struct babilong {
    rs_task_setup setup;
    rs_babi babi;
    rs_haystack stack;
    int64_t max_facts;
    int64_t *bare; /* [n_questions] tokens of the prompt without background */
} babilong;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    if (strcmp(rs_param_string(params, "haystack"), "needle") == 0)
        return rs_fail(RS_INVALID, "haystack must be a glob of text files or noise, not 'needle'");
    return rs_template_check(params, "question", (const char *const[]){"{question}", NULL});
}

static void close_task(void *state)
{
    babilong *s = state;
    rs_haystack_close(&s->stack);
    rs_babi_free(&s->babi);
    free(s->bare);
    free(s);
}

static char *question_text(const babilong *s, const rs_babi_question *question)
{
    rs_text text = {0};
    rs_template_append(&text, rs_param_string(s->setup.params, "question"), (rs_slot[]){{"question", question->text}}, 1);
    return text.data;
}

/* Tokens that each question's prompt has with its facts alone. */
static rs_status measure(babilong *s)
{
    const rs_params *params = s->setup.params;
    rs_text input = {0};
    rs_tokens tokens = {0};
    rs_status status = RS_OK;
    s->bare = rs_alloc(s->babi.n_questions, sizeof *s->bare);
    for (size_t i = 0; i < s->babi.n_questions; i++) {
        const rs_babi_question *q = &s->babi.questions[i];
        char *question = question_text(s, q);
        rs_text_clear(&input);
        rs_text_puts(&input, rs_param_string(params, "intro"));
        for (size_t k = q->first; k < q->end; k++)
            rs_text_printf(&input, "%s%s", k > q->first ? s->stack.separator : "", s->babi.facts[k]);
        rs_text_puts(&input, question);
        free(question);
        tokens.n = 0;
        RS_TRY_OUT(rs_prompt_encode(&s->setup, input.data, rs_param_string(params, "answer_prefix"), &tokens));
        s->bare[i] = (int64_t)tokens.n;
    }
out:
    rs_tokens_free(&tokens);
    rs_text_free(&input);
    return status;
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    babilong *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->max_facts = (int64_t)rs_param_number(setup->params, "max_facts");
    char *path = rs_path_join(setup->folder, rs_param_string(setup->params, "file"));
    rs_status status;
    RS_TRY_OUT(rs_babi_read(path, &s->babi));
    RS_TRY_OUT(rs_haystack_open(setup, &s->stack));
    RS_TRY_OUT(measure(s));
    *state = s;
out:
    free(path);
    if (status != RS_OK)
        close_task(s);
    return status;
}

static void fingerprint(const void *state, rs_text *out)
{
    const babilong *s = state;
    char hex[33];
    rs_text_printf(out, "file %s\n", rs_digest_hex(s->babi.content, hex));
    rs_haystack_fingerprint(&s->stack, out);
}

/* The question of sample doc_id, or NULL behind the last; *n: how many the context has before it. */
static const rs_babi_question *find_question(const babilong *s, int64_t context, int64_t doc_id, int64_t *n)
{
    int64_t budget = context - (int64_t)rs_param_number(s->setup.params, "max_new_tokens");
    *n = 0;
    for (size_t i = 0; i < s->babi.n_questions; i++) {
        const rs_babi_question *q = &s->babi.questions[i];
        if (s->bare[i] > budget || (s->max_facts > 0 && (int64_t)(q->end - q->first) > s->max_facts))
            continue;
        if ((*n)++ == doc_id)
            return q;
    }
    return NULL;
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    const babilong *s = state;
    find_question(s, context, wanted - 1, n);
    if (*n > 0)
        return RS_OK;
    return rs_fail(RS_INVALID, "%s: no question%s has facts that fit a context of %lld", rs_param_string(s->setup.params, "file"),
                   s->max_facts ? " of at most max_facts" : "", (long long)context);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Depths of n facts in their order, the one at `place` even over samples. */
static double *draw_depths(const babilong *s, int64_t context, int64_t doc_id, size_t n, size_t place, rs_rng *rng)
{
    double *depths = rs_alloc(n, sizeof *depths);
    double pivot = rs_draw_depth(s->setup.seed, "babilong", context, doc_id);
    for (size_t i = 0; i < n; i++) {
        double at = rs_rng_unit(rng);
        depths[i] = i < place ? pivot * at : i == place ? pivot : pivot + (1 - pivot) * at;
    }
    qsort(depths, n, sizeof *depths, by_size);
    return depths;
}

static rs_status bury(const babilong *s, const rs_babi_question *q, int64_t context, int64_t doc_id, rs_sample *out)
{
    size_t n = q->end - q->first;
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "babilong/draw", (uint64_t)context, (uint64_t)doc_id);
    double *depths = draw_depths(s, context, doc_id, n, q->support - q->first, &rng);
    rs_needle *needles = rs_alloc(n, sizeof *needles);
    for (size_t i = 0; i < n; i++)
        needles[i] = (rs_needle){s->babi.facts[q->first + i], depths[i]};
    char *question = question_text(s, q);
    rs_burial burial = {.stack = &s->stack,
                        .setup = &s->setup,
                        .intro = rs_param_string(s->setup.params, "intro"),
                        .question = question,
                        .answer_prefix = rs_param_string(s->setup.params, "answer_prefix"),
                        .needles = needles,
                        .n_needles = n,
                        .first = q->support - q->first,
                        .rng = &rng};
    rs_status status = rs_bury(&burial, context, out);
    free(question);
    free(needles);
    free(depths);
    return status;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const babilong *s = state;
    int64_t before;
    const rs_babi_question *q = find_question(s, context, doc_id, &before);
    if (q == NULL)
        return rs_fail(RS_INTERNAL, "%s: question %lld was asked for, there are %lld", rs_param_string(s->setup.params, "file"),
                       (long long)doc_id, (long long)before);
    rs_sample_set_generate(out, s->setup.params);
    rs_sample_add_reference(out, q->answer);
    out->item = (size_t)(q - s->babi.questions);
    RS_TRY(bury(s, q, context, doc_id, out));
    if (out->error)
        return RS_OK;
    char *facts = rs_format("%s, \"support\": %zu, \"line\": %zu", out->facts, q->support - q->first, q->line);
    free(out->facts);
    out->facts = facts;
    return RS_OK;
}

static bool mentions(const rs_text *text, const char *label)
{
    return strstr(text->data, label) != NULL;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    const babilong *s = state;
    rs_text answer = {0}, question = {0}, right = {0};
    response = rs_strip(response, &n);
    size_t sentence = 0;
    while (sentence < n && response[sentence] != '.' && response[sentence] != '\n' && response[sentence] != '\0')
        sentence++;
    const char *asked = s->babi.questions[one->item].text;
    rs_lower(response, sentence, &answer);
    rs_lower(asked, strlen(asked), &question);
    rs_lower(one->references[0], strlen(one->references[0]), &right);
    bool found = false, other = false;
    for (size_t i = 0; i < s->babi.n_labels && answer.n > 0; i++) {
        const char *label = s->babi.labels[i];
        if (strcmp(label, right.data) == 0)
            found = mentions(&answer, label);
        else
            other = other || (mentions(&answer, label) && !mentions(&question, label));
    }
    scores[0] = found && !other ? 1.0 : 0.0;
    rs_text_free(&right);
    rs_text_free(&question);
    rs_text_free(&answer);
}

#define BABILONG_PARAMS(intro)                                                                                                             \
    {                                                                                                                                      \
        {.name = "file", .kind = RS_PARAM_STRING, .fallback = "required", .help = "a bAbI file of this task: numbered lines"},             \
            RS_PARAM_ROW_HAYSTACK("required", "background: a glob of text files, or noise"), RS_PARAM_ROWS_NOISE,                          \
            {.name = "max_facts",                                                                                                          \
             .kind = RS_PARAM_INT,                                                                                                         \
             .max = 1e6,                                                                                                                   \
             .fallback = "0",                                                                                                              \
             .help = "questions with more are left out; 0: as many as fit, so that short contexts have the short stories only"},           \
            RS_PARAM_ROW_TEXT("intro", intro, "text before the background"),                                                               \
            RS_PARAM_ROW_TEXT("question", "\n\nAnswer in one word, as in the example. {question}", "text after the background"),           \
            RS_PARAM_ROW_TEXT("answer_prefix", " Answer:", "how the answer begins; after prompt_suffix"),                                  \
            RS_PARAM_ROW_MAX_NEW_TOKENS("20"), RS_PARAM_ROW_STOP,                                                                          \
        {                                                                                                                                  \
            0                                                                                                                              \
        }                                                                                                                                  \
    }

#define BABILONG_TASK(title, line, guess, specs)                                                                                           \
    {                                                                                                                                      \
        .name = title, .summary = line, .source = "BABILong, arXiv 2406.10149; own sentences, the first supporting fact even over depths", \
        .chance = guess, .version = 1, .params = specs, .metrics = {"accuracy"}, .check = check_params, .open = open_task,                 \
        .close = close_task, .count = count, .sample = sample, .fingerprint = fingerprint, .score = score                                  \
    }

static const rs_param_spec one_fact[] = BABILONG_PARAMS(
    "Some sentences of the text below tell where people go. Everybody is where he or she went last.\n"
    "Example: Rosa went to the attic. Karl moved to the cellar. Rosa went back to the porch. Where is Rosa? Answer: porch\n\n");
static const rs_param_spec two_facts[] = BABILONG_PARAMS(
    "Some sentences of the text below tell where people go, what they pick up and what they put down. A thing is where the one who has it "
    "is, or where it was put down.\n"
    "Example: Rosa went to the attic. Rosa took the lamp. Rosa moved to the porch. Where is the lamp? Answer: porch\n\n");
static const rs_param_spec three_facts[] = BABILONG_PARAMS(
    "Some sentences of the text below tell where people go, what they pick up and what they put down. A thing moves with the one who has "
    "it and stays where it was put down.\n"
    "Example: Rosa went to the attic. Rosa took the lamp. Rosa moved to the porch. Where was the lamp before the porch? Answer: attic\n\n");
static const rs_param_spec two_arguments[] = BABILONG_PARAMS(
    "Some sentences of the text below tell how rooms lie to each other.\n"
    "Example: The attic is north of the porch. The porch is north of the cellar. What is the porch north of? Answer: cellar\n\n");
static const rs_param_spec three_arguments[] = BABILONG_PARAMS(
    "Some sentences of the text below tell where people go, what they pick up and what they give to each other.\n"
    "Example: Rosa took the lamp there. Rosa went to the attic. Rosa gave the lamp to Karl. Who gave the lamp to Karl? Answer: Rosa\n\n");

const rs_task rs_task_babilong_qa1 =
    BABILONG_TASK("babilong_qa1", "where a person is: one fact of a story in the user's text", "1/6", one_fact);
const rs_task rs_task_babilong_qa2 =
    BABILONG_TASK("babilong_qa2", "where a thing is: two facts of a story in the user's text", "1/6", two_facts);
const rs_task rs_task_babilong_qa3 =
    BABILONG_TASK("babilong_qa3", "where a thing was before: three facts of a story in the user's text", "1/6", three_facts);
const rs_task rs_task_babilong_qa4 =
    BABILONG_TASK("babilong_qa4", "how rooms lie to each other: relations in the user's text", "1/6", two_arguments);
const rs_task rs_task_babilong_qa5 =
    BABILONG_TASK("babilong_qa5", "who gave what to whom: relations in the user's text", "1/7", three_arguments);
