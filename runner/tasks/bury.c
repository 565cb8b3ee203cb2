/* Hiding needles in a haystack: which unit stands where, how many fit, and what the sample's facts say of it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tasks/draw.h"
#include "tasks/haystack.h"

double rs_needle_depth(const rs_params *params, uint64_t seed, const char *name, int64_t context, int64_t doc_id, size_t j, rs_rng *rng)
{
    const rs_param_value *depths = rs_param_get(params, "depths");
    if (depths->set)
        return depths->vector[((uint64_t)doc_id + j) % depths->n] / 100;
    return j == 0 ? rs_draw_depth(seed, name, context, doc_id) : rs_rng_unit(rng);
}

static const rs_hay_unit *unit_at(const rs_burial *burial, int64_t i)
{
    size_t index = burial->order ? burial->order[i] : (burial->start + (size_t)i) % burial->stack->n_units;
    return &burial->stack->units[index];
}

/* Units before a needle: its depth of them, moved to the nearest place where a sentence begins. */
static int64_t gap_of(const rs_burial *burial, double depth, int64_t units)
{
    int64_t gap = (int64_t)(depth * (double)(units + 1));
    gap = gap > units ? units : gap;
    if (burial->stack->kind != RS_HAY_TEXT || gap == units)
        return gap;
    int64_t back = gap, on = gap;
    while (back > 0 && !unit_at(burial, back)->boundary)
        back--;
    while (on < units && !unit_at(burial, on)->boundary)
        on++;
    return gap - back <= on - gap ? back : on;
}

/* Joins pieces by the separator. */
typedef struct joiner {
    rs_text *text;
    const char *separator;
    bool begun;
} joiner;

static void join(joiner *to, const char *bytes, size_t n, bool glued)
{
    if (to->begun && !glued)
        rs_text_puts(to->text, to->separator);
    rs_text_append(to->text, bytes, n);
    to->begun = true;
}

static void join_hay(const rs_burial *burial, int64_t i, joiner *to)
{
    const rs_hay_unit *unit = unit_at(burial, i);
    join(to, burial->stack->bytes.data + unit->offset, unit->n, unit->glued);
}

static void join_unit(const rs_burial *burial, int64_t i, joiner *to)
{
    if (burial->stack->kind == RS_HAY_NEEDLE)
        join(to, burial->distractors[i], strlen(burial->distractors[i]), false);
    else
        join_hay(burial, i, to);
}

/* Needles in the order in which they stand. */
static void sort_needles(const rs_burial *burial, int64_t units, size_t *order, int64_t *gaps)
{
    for (size_t j = 0; j < burial->n_needles; j++) {
        int64_t gap = gap_of(burial, burial->needles[j].depth, units);
        size_t k = j;
        for (; k > 0 && gaps[k - 1] > gap; k--) {
            gaps[k] = gaps[k - 1];
            order[k] = order[k - 1];
        }
        gaps[k] = gap;
        order[k] = j;
    }
}

/* The prompt with this many units. order, gaps, offsets: [n_needles] by place: which needle, units before it, bytes
 * before it and its separator. */
static void compose(const rs_burial *burial, int64_t units, rs_text *input, size_t *order, int64_t *gaps, size_t *offsets)
{
    joiner to = {.text = input, .separator = burial->stack->separator};
    sort_needles(burial, units, order, gaps);
    rs_text_puts(input, burial->intro);
    for (int64_t i = 0; i < burial->padding; i++)
        join_hay(burial, i, &to);
    size_t next = 0;
    for (int64_t i = 0; i <= units; i++) {
        for (; next < burial->n_needles && gaps[next] == i; next++) {
            const char *text = burial->needles[order[next]].text;
            offsets[next] = input->n;
            join(&to, text, strlen(text), false);
        }
        if (i < units)
            join_unit(burial, i, &to);
    }
    rs_text_puts(input, burial->question);
}

typedef struct places {
    size_t *order, *offsets;
    int64_t *gaps;
} places;

static places places_open(size_t n)
{
    return (places){rs_alloc(n, sizeof(size_t)), rs_alloc(n, sizeof(size_t)), rs_alloc(n, sizeof(int64_t))};
}

static void places_close(places *p)
{
    free(p->order);
    free(p->offsets);
    free(p->gaps);
}

static void build(const void *drawn, int64_t units, rs_text *input, rs_text *tail)
{
    const rs_burial *burial = drawn;
    places p = places_open(burial->n_needles);
    compose(burial, units, input, p.order, p.gaps, p.offsets);
    places_close(&p);
    rs_text_puts(tail, burial->answer_prefix);
}

/* The same with a fixed number of distractors and this much noise before them. */
static void build_padded(const void *drawn, int64_t padding, rs_text *input, rs_text *tail)
{
    rs_burial burial = *(const rs_burial *)drawn;
    burial.padding = padding;
    build(&burial, burial.units, input, tail);
}

static double estimate(const void *drawn, int64_t units)
{
    const rs_burial *burial = drawn;
    const rs_haystack *stack = burial->stack;
    if (burial->order)
        return burial->mean_cost * (double)units;
    size_t end = burial->start + (size_t)units;
    return (double)(end / stack->n_units) * stack->cumulative[stack->n_units] + stack->cumulative[end % stack->n_units] -
           stack->cumulative[burial->start];
}

/* Tokens before each needle and its separator: the text up to there, tokenized piece by piece. positions: [n_needles] by needle. */
static rs_status find_positions(const rs_burial *burial, const rs_text *input, const places *p, int64_t *positions)
{
    rs_text head = {0};
    rs_tokens tokens = {0};
    rs_status status = RS_OK;
    int32_t bos = burial->setup->bos;
    rs_text_puts(&head, burial->setup->prompt_prefix);
    for (size_t k = 0, from = 0; k < burial->n_needles; from = p->offsets[k++]) {
        rs_text_append(&head, input->data + from, p->offsets[k] - from);
        RS_TRY_OUT(rs_tokenizer_encode(burial->setup->tokenizer, head.data, head.n, &tokens));
        bool spelt = tokens.n > 0 && tokens.ids[0] == bos; /* the text brought the BOS itself */
        positions[p->order[k]] = (int64_t)tokens.n + (bos >= 0 && !spelt);
        rs_text_clear(&head);
    }
out:
    rs_tokens_free(&tokens);
    rs_text_free(&head);
    return status;
}

/* The j-th needle that the facts name. */
static size_t named(const rs_burial *burial, size_t j)
{
    return j == 0 ? burial->first : j <= burial->first ? j - 1 : j;
}

static rs_status write_facts(const rs_burial *burial, int64_t units, rs_sample *sample)
{
    rs_text input = {0}, facts = {0};
    places p = places_open(burial->n_needles);
    int64_t *positions = rs_alloc(burial->n_needles, sizeof *positions);
    double *depths = rs_alloc(burial->n_needles, sizeof *depths);
    rs_status status;
    compose(burial, units, &input, p.order, p.gaps, p.offsets);
    RS_TRY_OUT(find_positions(burial, &input, &p, positions));
    for (size_t k = 0; k < burial->n_needles; k++)
        depths[p.order[k]] = units > 0 ? 100.0 * (double)p.gaps[k] / (double)units : 0;
    rs_text_puts(&facts, "\"depths\": [");
    for (size_t j = 0; j < burial->n_needles; j++) {
        rs_text_puts(&facts, j ? ", " : "");
        rs_text_double(&facts, depths[named(burial, j)]);
    }
    rs_text_puts(&facts, "], \"positions\": [");
    for (size_t j = 0; j < burial->n_needles; j++)
        rs_text_printf(&facts, "%s%lld", j ? ", " : "", (long long)positions[named(burial, j)]);
    rs_text_printf(&facts, "], \"units\": %lld", (long long)units);
    if (burial->padding > 0)
        rs_text_printf(&facts, ", \"padding\": %lld", (long long)burial->padding);
    if (burial->stack->kind == RS_HAY_TEXT)
        rs_text_printf(&facts, ", \"start_byte\": %zu", burial->stack->units[burial->start].offset);
    sample->facts = facts.data;
    facts = (rs_text){0};
out:
    free(depths);
    free(positions);
    places_close(&p);
    rs_text_free(&facts);
    rs_text_free(&input);
    return status;
}

/* Where the text begins, or which unit of noise stands where. */
static void draw_units(rs_burial *burial, int64_t max_units)
{
    const rs_haystack *stack = burial->stack;
    burial->start = 0;
    burial->order = NULL;
    burial->units = burial->padding = 0;
    if (stack->kind == RS_HAY_TEXT)
        burial->start = stack->sentences[rs_rng_below(burial->rng, stack->n_sentences)];
    if (!stack->random)
        return;
    burial->order = rs_alloc((size_t)max_units, sizeof *burial->order);
    for (int64_t i = 0; i < max_units; i++)
        burial->order[i] = (uint32_t)rs_rng_below(burial->rng, stack->n_units);
    burial->mean_cost = stack->cumulative[stack->n_units] / (double)stack->n_units;
}

rs_status rs_bury(rs_burial *burial, int64_t context, rs_sample *sample)
{
    bool needles = burial->stack->kind == RS_HAY_NEEDLE;
    int64_t budget = context - sample->max_new_tokens, most = budget > 0 ? budget : 0; /* a unit has a token at least */
    rs_fit fit = {.setup = burial->setup, .budget = budget, .max_units = most, .drawn = burial, .build = build, .estimate = estimate};
    if (needles) {
        fit.max_units = (int64_t)burial->n_distractors;
        fit.estimate = NULL;
    }
    draw_units(burial, most);
    rs_status status = rs_fit_prompt(&fit, context, sample, &burial->units);
    if (status == RS_OK && sample->error == NULL && needles) {
        fit.max_units = fit.budget - (int64_t)sample->tokens.n;
        fit.build = build_padded;
        fit.estimate = estimate;
        status = rs_fit_prompt(&fit, context, sample, &burial->padding);
    }
    if (status == RS_OK && sample->error == NULL)
        status = write_facts(burial, burial->units, sample);
    free(burial->order);
    burial->order = NULL;
    return status;
}

rs_status rs_bury_text(rs_burial *burial, int64_t tokens, rs_text *out)
{
    assert(burial->stack->kind != RS_HAY_NEEDLE);
    rs_task_setup bare = *burial->setup;
    bare.bos = -1;
    bare.prompt_prefix = bare.prompt_suffix = "";
    rs_sample sample = {0};
    rs_fit fit = {.setup = &bare, .budget = tokens, .max_units = tokens, .drawn = burial, .build = build, .estimate = estimate};
    draw_units(burial, tokens);
    rs_status status = rs_fit_prompt(&fit, tokens, &sample, &burial->units);
    if (status == RS_OK)
        build(burial, burial->units, out, out);
    rs_sample_free(&sample);
    free(burial->order);
    burial->order = NULL;
    return status;
}
