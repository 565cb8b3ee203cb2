/* Copy: random words, a mark, the same words again; the second copy is scored. A probe of induction heads for tiny models.
 * Source: ours; with the default words and templates the text is " w1 ... wn copy w1 ... wn", what configs/models/tiny-gemma was trained
 * on. Words are drawn with repetition; the two copies fill the context.
 * Metric: nll per token over the second copy, in nats, and its exponential. Chance: ln of the number of words (4.85 nats of 128). */
#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"
#include "tasks/words.h"

static const rs_param_spec specs[] = {
    {.name = "items", .kind = RS_PARAM_INT, .max = 1e6, .fallback = "0", .help = "words of a copy; 0: as many as fit the context"},
    {.name = "words", .kind = RS_PARAM_STRINGS, .help = "what is drawn from; default: 128 built-in nouns"},
    RS_PARAM_ROW_TEXT("intro", "", "text before the first copy"),
    RS_PARAM_ROW_TEXT("item", " {word}", "template of a word"),
    RS_PARAM_ROW_TEXT("mark", " copy", "text between the copies; before prompt_suffix"),
    {0},
};

typedef struct copy_task {
    rs_task_setup setup;
    int64_t items;
    const rs_param_value *words;
} copy_task;

static rs_status check_params(const rs_params *params, int64_t context)
{
    (void)context;
    RS_TRY(rs_list_check(params, "words", 1));
    return rs_template_check(params, "item", (const char *const[]){"{word}", NULL});
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    RS_TRY(check_params(setup->params, 0));
    copy_task *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->items = (int64_t)rs_param_number(setup->params, "items");
    s->words = rs_param_get(setup->params, "words");
    *state = s;
    return RS_OK;
}

typedef struct drawn_words {
    const copy_task *task;
    const char **words; /* [most] borrowed */
} drawn_words;

static void write_words(const drawn_words *drawn, int64_t items, rs_text *out)
{
    const char *template = rs_param_string(drawn->task->setup.params, "item");
    for (int64_t i = 0; i < items; i++)
        rs_template_append(out, template, (rs_slot[]){{"word", drawn->words[i]}}, 1);
}

static void build(const void *from, int64_t units, rs_text *input, rs_text *tail)
{
    const drawn_words *drawn = from;
    const rs_params *params = drawn->task->setup.params;
    rs_text_puts(input, rs_param_string(params, "intro"));
    write_words(drawn, units, input);
    rs_text_puts(input, rs_param_string(params, "mark"));
    write_words(drawn, units, tail);
}

/* The second copy's first token: where the whole prompt's ids leave those of the text before the copy (a merge may cross the joint). */
static rs_status find_copy(const drawn_words *drawn, int64_t items, rs_sample *out)
{
    rs_text input = {0}, tail = {0};
    rs_tokens head = {0};
    build(drawn, items, &input, &tail);
    rs_status status = rs_prompt_encode(&drawn->task->setup, input.data, "", &head);
    size_t same = 0;
    while (same < head.n && same < out->tokens.n && head.ids[same] == out->tokens.ids[same])
        same++;
    out->score_from = same > 0 ? (int64_t)same : 1;
    out->facts = rs_format("\"items\": %lld", (long long)items);
    rs_tokens_free(&head);
    rs_text_free(&tail);
    rs_text_free(&input);
    return status;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const copy_task *s = state;
    int64_t items = 0;
    out->kind = RS_SAMPLE_SCORE;
    rs_fit fit = {.setup = &s->setup, .budget = context, .build = build};
    rs_fit_range(&fit, s->items, 1);
    drawn_words drawn = {.task = s, .words = rs_alloc((size_t)fit.max_units, sizeof *drawn.words)};
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "copy/draw", (uint64_t)context, (uint64_t)doc_id);
    for (int64_t i = 0; i < fit.max_units; i++)
        drawn.words[i] = s->words->set ? s->words->strings[rs_rng_below(&rng, s->words->n)] : rs_nouns[rs_rng_below(&rng, RS_N_NOUNS)];
    fit.drawn = &drawn;
    rs_status status = rs_fit_prompt(&fit, context, out, &items);
    if (status == RS_OK && out->error == NULL)
        status = find_copy(&drawn, items, out);
    free(drawn.words);
    return status;
}

const rs_task rs_task_copy = {.name = "copy",
                              .summary = "random words and the same again, nll of the second copy",
                              .source = "ours; induction heads",
                              .chance = "ln of the number of words, 4.85 nats of 128",
                              .version = 1,
                              .params = specs,
                              .check = check_params,
                              .open = open_task,
                              .close = free,
                              .count = rs_drawn_count,
                              .sample = sample};
