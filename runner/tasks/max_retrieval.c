/* Maximum of a list of numbers, as text.
 * Source: "softmax is not enough" (arXiv 2410.01104), its prompt for language models. Differs: own sentences, each a param; the maximum
 * itself is drawn first, uniform in low+1..high, and the others uniform in low..maximum-1: it stands once, and neither the number of items
 * nor the bounds give it away. Its place is even over samples.
 * Metric: accuracy, 1 if the answer's first integer is the maximum. Chance: 1/(high - low). */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "score/metric.h"
#include "tasks/draw.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

static const rs_param_spec specs[] = {
    {.name = "items", .kind = RS_PARAM_INT, .max = 1e6, .fallback = "0", .help = "how many numbers; 0: as many as fit the context"},
    {.name = "low", .kind = RS_PARAM_INT, .min = -1e15, .max = 1e15, .fallback = "0", .help = "smallest number"},
    {.name = "high", .kind = RS_PARAM_INT, .min = -1e15, .max = 1e15, .fallback = "99", .help = "largest number"},
    RS_PARAM_ROW_TEXT("intro", "Here is a list of numbers:", "text before the numbers"),
    RS_PARAM_ROW_TEXT("item", " {value}", "template of a number"),
    RS_PARAM_ROW_TEXT("separator", ",", "text between numbers"),
    RS_PARAM_ROW_TEXT("question", ".\nWhich of them is the largest?", "text after the numbers"),
    RS_PARAM_ROW_TEXT("answer_prefix", " The largest number is", "how the answer begins; after prompt_suffix"),
    RS_PARAM_ROW_MAX_NEW_TOKENS("8"),
    RS_PARAM_ROW_STOP,
    {0},
};

typedef struct max_task {
    rs_task_setup setup;
    int64_t items, low, high;
} max_task;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    double low = rs_param_number(params, "low"), high = rs_param_number(params, "high");
    if (high <= low)
        return rs_fail(RS_INVALID, "high must be above low, %.0f, not %.0f", low, high);
    return rs_template_check(params, "item", (const char *const[]){"{value}", NULL});
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    max_task *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->items = (int64_t)rs_param_number(setup->params, "items");
    s->low = (int64_t)rs_param_number(setup->params, "low");
    s->high = (int64_t)rs_param_number(setup->params, "high");
    *state = s;
    return RS_OK;
}

/* What one sample draws. */
typedef struct numbers {
    const max_task *task;
    int64_t *others; /* [most] all below the maximum */
    int64_t maximum;
    double depth;
} numbers;

static int64_t place_of(const numbers *drawn, int64_t items)
{
    return (int64_t)(drawn->depth * (double)items);
}

/* Numbers [0, end) of `items`. */
static void write_items(const numbers *drawn, int64_t items, int64_t end, rs_text *out)
{
    const rs_params *params = drawn->task->setup.params;
    const char *template = rs_param_string(params, "item"), *separator = rs_param_string(params, "separator");
    int64_t place = place_of(drawn, items);
    for (int64_t i = 0; i < end; i++) {
        char digits[32];
        snprintf(digits, sizeof digits, "%lld", (long long)(i == place ? drawn->maximum : drawn->others[i < place ? i : i - 1]));
        rs_text_puts(out, i > 0 ? separator : "");
        rs_template_append(out, template, (rs_slot[]){{"value", digits}}, 1);
    }
}

static void build(const void *drawn, int64_t units, rs_text *input, rs_text *tail)
{
    const numbers *one = drawn;
    const rs_params *params = one->task->setup.params;
    rs_text_puts(input, rs_param_string(params, "intro"));
    write_items(one, units, units, input);
    rs_text_puts(input, rs_param_string(params, "question"));
    rs_text_puts(tail, rs_param_string(params, "answer_prefix"));
}

static rs_status write_facts(const numbers *drawn, int64_t items, rs_sample *out)
{
    rs_text head = {0}, facts = {0};
    int64_t place = place_of(drawn, items), position;
    rs_text_puts(&head, rs_param_string(drawn->task->setup.params, "intro"));
    write_items(drawn, items, place, &head);
    rs_status status = rs_prompt_position(&drawn->task->setup, head.data, &position);
    rs_text_free(&head);
    if (status != RS_OK)
        return status;
    rs_text_puts(&facts, "\"depths\": [");
    rs_text_double(&facts, 100.0 * (double)place / (double)(items - 1));
    rs_text_printf(&facts, "], \"positions\": [%lld], \"items\": %lld", (long long)position, (long long)items);
    out->facts = facts.data;
    return RS_OK;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const max_task *s = state;
    int64_t items = 0;
    rs_sample_set_generate(out, s->setup.params);
    rs_fit fit = {.setup = &s->setup, .budget = context - out->max_new_tokens, .build = build};
    rs_fit_range(&fit, s->items == 1 ? 2 : s->items, 2);
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "max_retrieval/draw", (uint64_t)context, (uint64_t)doc_id);
    numbers drawn = {.task = s, .others = rs_alloc((size_t)fit.max_units, sizeof *drawn.others)};
    drawn.maximum = s->low + 1 + (int64_t)rs_rng_below(&rng, (uint64_t)(s->high - s->low));
    for (int64_t i = 0; i < fit.max_units; i++)
        drawn.others[i] = s->low + (int64_t)rs_rng_below(&rng, (uint64_t)(drawn.maximum - s->low));
    drawn.depth = rs_draw_depth(s->setup.seed, "max_retrieval", context, doc_id);
    fit.drawn = &drawn;
    char digits[32];
    snprintf(digits, sizeof digits, "%lld", (long long)drawn.maximum);
    rs_sample_add_reference(out, digits);
    rs_status status = rs_fit_prompt(&fit, context, out, &items);
    if (status == RS_OK && out->error == NULL)
        status = write_facts(&drawn, items, out);
    free(drawn.others);
    return status;
}

static void score(const void *state, const rs_sample *one, const char *response, size_t n, double *scores)
{
    (void)state;
    scores[0] = rs_metric_first_integer(response, n, one->references, one->n_references);
}

const rs_task rs_task_max_retrieval = {.name = "max_retrieval",
                                       .summary = "the largest of a list of numbers, as text",
                                       .source = "softmax is not enough, arXiv 2410.01104; own sentences, the maximum drawn uniformly",
                                       .chance = "1/(high - low)",
                                       .version = 1,
                                       .params = specs,
                                       .metrics = {"accuracy"},
                                       .check = check_params,
                                       .open = open_task,
                                       .close = free,
                                       .count = rs_drawn_count,
                                       .sample = sample,
                                       .score = score};
