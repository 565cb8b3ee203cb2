/* Textbook algorithms, their inputs and outputs written out as CLRS-Text writes them, without the trace of steps between.
 * Source: CLRS-Text (arXiv 2406.04229), minimum, insertion_sort, binary_search, find_maximum_subarray_kadane and bfs; its form to the
 * character: "minimum:\nkey: [0.4 0.123]\nmin:\n". Differs: own generator and sizes; the smallest key stands once and its place, the place
 * searched for and the source node are even over samples; graphs have no loops at a node.
 * Answers are those of CLRS's algorithms: binary_search the first place whose key is not below the target; kadane the first end of a
 * largest sum, and the first start for it; bfs the predecessor of each node, the lowest of those that reach it first, itself if none.
 * Metric: accuracy, 1 if the numbers of the answer's first line that is not empty are those of the right answer, whatever brackets and
 * commas. Chance: 1 in the length (minimum, binary_search), else 0. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "score/metric.h"
#include "tasks/clrs.h"
#include "tasks/draw.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

enum { SPARE_TOKENS = 8 }; /* an answer may have more tokens than the right one */

static const rs_param_spec specs[] = {
    {.name = "algo",
     .kind = RS_PARAM_CHOICE,
     .choices = RS_CLRS_CHOICES,
     .fallback = "minimum",
     .help = "asked for: index of the least, sorted list, index of a target, ends of the largest sum, predecessors in a graph"},
    {.name = "length",
     .kind = RS_PARAM_INT,
     .max = 1e6,
     .fallback = "0",
     .help = "numbers, or nodes of the graph; 0: as many as fit the context with the answer and 8 tokens more"},
    {.name = "decimals", .kind = RS_PARAM_INT, .min = 1, .max = 9, .fallback = "3", .help = "of a number"},
    {.name = "edges", .kind = RS_PARAM_NUMBER, .max = 1, .fallback = "0.25", .help = "share of the pairs of nodes that are joined (bfs)"},
    RS_PARAM_ROW_TEXT("question", "{algo}:\n{inputs}\n", "the prompt; {inputs}: each with its name"),
    RS_PARAM_ROW_TEXT("answer_prefix", "{outputs}:\n", "how the answer begins; after prompt_suffix; {outputs}: their names"),
    {0},
};

typedef struct clrs {
    rs_task_setup setup;
    const rs_clrs_algorithm *algorithm;
    int64_t length; /* 0: by the context */
} clrs;

/* One sample about to be made. */
typedef struct exercise {
    const clrs *task;
    rs_clrs_problem problem;
} exercise;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    return rs_template_check(params, "question", (const char *const[]){"{inputs}", NULL});
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    clrs *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->algorithm = rs_clrs_find(rs_param_string(setup->params, "algo"));
    s->length = (int64_t)rs_param_number(setup->params, "length");
    *state = s;
    return RS_OK;
}

static void write_question(const exercise *e, int64_t n, rs_text *out)
{
    const clrs *s = e->task;
    rs_text inputs = {0};
    s->algorithm->inputs(&e->problem, n, n, &inputs);
    rs_slot slots[] = {{"algo", s->algorithm->title}, {"inputs", inputs.data}};
    rs_template_append(out, rs_param_string(s->setup.params, "question"), slots, 2);
    rs_text_free(&inputs);
}

static void write_tail(const clrs *s, rs_text *out)
{
    rs_template_append(out, rs_param_string(s->setup.params, "answer_prefix"), (rs_slot[]){{"outputs", s->algorithm->outputs}}, 1);
}

/* Prompt and right answer: both must fit, and some answers are as long as their inputs. */
static void build(const void *drawn, int64_t units, rs_text *input, rs_text *tail)
{
    const exercise *e = drawn;
    int64_t places[RS_CLRS_MAX_PLACES];
    write_question(e, units, input);
    write_tail(e->task, tail);
    e->task->algorithm->solve(&e->problem, units, places, tail);
}

static double square(const void *drawn, int64_t units)
{
    (void)drawn;
    return (double)units * (double)units;
}

/* The prompt without the answer with which its size was found. */
static rs_status encode_prompt(const exercise *e, int64_t n, int64_t context, rs_sample *out)
{
    const clrs *s = e->task;
    rs_text input = {0}, tail = {0};
    rs_tokens answer = {0};
    rs_status status;
    write_question(e, n, &input);
    write_tail(s, &tail);
    RS_TRY_OUT(rs_tokenizer_encode(s->setup.tokenizer, out->references[0], strlen(out->references[0]), &answer));
    out->tokens.n = 0;
    RS_TRY_OUT(rs_prompt_encode(&s->setup, input.data, tail.data, &out->tokens));
    int64_t room = context - (int64_t)out->tokens.n, needed = (int64_t)answer.n + SPARE_TOKENS;
    out->max_new_tokens = needed < room ? needed : room;
out:
    rs_tokens_free(&answer);
    rs_text_free(&tail);
    rs_text_free(&input);
    return status;
}

/* Tokens before item `place` of the inputs. */
static rs_status find_position(const exercise *e, int64_t n, int64_t place, int64_t *position)
{
    const clrs *s = e->task;
    const char *template = rs_param_string(s->setup.params, "question");
    char *before = rs_strndup(template, (size_t)(strstr(template, "{inputs}") - template));
    rs_text head = {0};
    rs_template_append(&head, before, (rs_slot[]){{"algo", s->algorithm->title}}, 1);
    s->algorithm->inputs(&e->problem, n, place, &head);
    free(before);
    rs_status status = rs_prompt_position(&s->setup, head.data, position);
    rs_text_free(&head);
    return status;
}

static rs_status write_facts(const exercise *e, int64_t n, const int64_t *places, size_t n_places, rs_sample *out)
{
    rs_text depths = {0}, positions = {0}, facts = {0};
    rs_status status = RS_OK;
    for (size_t i = 0; i < n_places; i++) {
        int64_t position;
        RS_TRY_OUT(find_position(e, n, places[i], &position));
        rs_text_puts(&depths, i ? ", " : "");
        rs_text_double(&depths, n > 1 ? 100.0 * (double)places[i] / (double)(n - 1) : 0);
        rs_text_printf(&positions, "%s%lld", i ? ", " : "", (long long)position);
    }
    if (n_places > 0)
        rs_text_printf(&facts, "\"depths\": [%s], \"positions\": [%s], ", depths.data, positions.data);
    rs_text_printf(&facts, "\"length\": %lld", (long long)n);
    out->facts = facts.data;
out:
    rs_text_free(&positions);
    rs_text_free(&depths);
    return status;
}

static rs_status finish(const exercise *e, int64_t n, int64_t context, rs_sample *out)
{
    rs_text answer = {0};
    int64_t places[RS_CLRS_MAX_PLACES];
    size_t n_places = e->task->algorithm->solve(&e->problem, n, places, &answer);
    rs_sample_add_reference(out, answer.data);
    rs_text_free(&answer);
    RS_TRY(encode_prompt(e, n, context, out));
    return write_facts(e, n, places, n_places, out);
}

/* Draws and sizes. *n 0: it does not fit. */
static rs_status make(exercise *e, int64_t context, int64_t doc_id, rs_sample *out, int64_t *n)
{
    const clrs *s = e->task;
    rs_rng rng;
    rs_fit fit = {.setup = &s->setup, .budget = context - SPARE_TOKENS, .drawn = e, .build = build};
    rs_fit_range(&fit, s->length, 1);
    *n = 0;
    if (s->algorithm->square) {
        fit.estimate = square;
        fit.max_units = s->length ? s->length : 1 + (int64_t)sqrt((double)fit.max_units);
    }
    /* A number, or a cell of a matrix, has a token at least: do not even draw what is far too long. */
    if (s->length > 0 && (s->algorithm->square ? square(NULL, s->length) : (double)s->length) > (double)fit.budget)
        return RS_OK;
    e->problem.most = fit.max_units;
    rs_rng_init(&rng, s->setup.seed, "clrs_text/draw", (uint64_t)context, (uint64_t)doc_id);
    s->algorithm->draw(&e->problem, &rng);
    RS_TRY(rs_fit_prompt(&fit, context, out, n));
    *n = out->error ? 0 : *n;
    return RS_OK;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const clrs *s = state;
    const rs_params *params = s->setup.params;
    int64_t n;
    exercise e = {.task = s};
    e.problem.decimals = (int)rs_param_number(params, "decimals");
    e.problem.edges = rs_param_number(params, "edges");
    e.problem.depth = rs_draw_depth(s->setup.seed, "clrs_text", context, doc_id);
    out->kind = RS_SAMPLE_GENERATE;
    rs_status status = make(&e, context, doc_id, out, &n);
    if (status == RS_OK && n > 0)
        status = finish(&e, n, context, out);
    if (status == RS_OK && n == 0) {
        free(out->error);
        out->error = rs_format("length %lld: the problem, its answer and %d tokens exceed the context of %lld",
                               (long long)(s->length ? s->length : 1), SPARE_TOKENS, (long long)context);
    }
    rs_clrs_problem_free(&e.problem);
    return status;
}

/* The words of the first line that is not empty, one blank between them; brackets and commas are blanks. */
static char *normalized(const char *bytes, size_t n)
{
    rs_text out = {0};
    bytes = rs_strip(bytes, &n);
    rs_text_puts(&out, "");
    bool gap = false;
    for (size_t i = 0; i < n && bytes[i] != '\n' && bytes[i] != '\0'; i++) {
        if (strchr(" \t\r[](),", bytes[i])) {
            gap = out.n > 0;
            continue;
        }
        rs_text_append(&out, " ", gap);
        rs_text_append(&out, bytes + i, 1);
        gap = false;
    }
    return out.data;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    char *answer = normalized(response, n), *right = normalized(one->references[0], strlen(one->references[0]));
    scores[0] = strcmp(answer, right) == 0 ? 1.0 : 0.0;
    free(answer);
    free(right);
}

const rs_task rs_task_clrs_text = {.name = "clrs_text",
                                   .summary = "inputs of a textbook algorithm, its output asked for",
                                   .source = "CLRS-Text, arXiv 2406.04229, its form without traces; own generator, sized to the context",
                                   .chance = "1 in the length (minimum, binary_search), else 0",
                                   .version = 1,
                                   .params = specs,
                                   .metrics = {"accuracy"},
                                   .check = check_params,
                                   .open = open_task,
                                   .close = free,
                                   .count = rs_drawn_count,
                                   .sample = sample,
                                   .score = score};
