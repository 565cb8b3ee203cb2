#include "tasks/prompt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MAX_SIZES = 128, GUESSED_SIZES = 12, PROBE_UNITS = 64 };

void rs_sample_free(rs_sample *sample)
{
    rs_tokens_free(&sample->tokens);
    for (size_t i = 0; i < sample->n_stops; i++)
        free(sample->stops[i]);
    for (size_t i = 0; i < sample->n_references; i++)
        free(sample->references[i]);
    free(sample->stops);
    free(sample->references);
    free(sample->facts);
    free(sample->error);
    *sample = (rs_sample){0};
}

void rs_template_append(rs_text *out, const char *template, const rs_slot *slots, size_t n_slots)
{
    for (const char *p = template; *p;) {
        size_t i = n_slots, length = 0;
        if (*p == '{')
            for (i = 0; i < n_slots; i++) {
                length = strlen(slots[i].name);
                if (strncmp(p + 1, slots[i].name, length) == 0 && p[length + 1] == '}')
                    break;
            }
        if (i < n_slots) {
            rs_text_puts(out, slots[i].value);
            p += length + 2;
        } else {
            rs_text_append(out, p++, 1);
        }
    }
    rs_text_append(out, "", 0);
}

rs_status rs_template_check(const rs_params *params, const char *name, const char *const *placeholders)
{
    const char *template = rs_param_string(params, name);
    for (; *placeholders; placeholders++)
        if (template == NULL || strstr(template, *placeholders) == NULL)
            return rs_fail(RS_INVALID, "%s must contain %s, not '%s'", name, *placeholders, template ? template : "");
    return RS_OK;
}

rs_status rs_prompt_encode(const rs_task_setup *setup, const char *input, const char *tail, rs_tokens *out)
{
    rs_text text = {0};
    rs_text_puts(&text, setup->prompt_prefix);
    rs_text_puts(&text, input);
    rs_text_puts(&text, setup->prompt_suffix);
    rs_text_puts(&text, tail);
    size_t start = out->n;
    if (setup->bos >= 0)
        RS_PUSH(out->ids, out->n, out->cap, setup->bos);
    rs_status status = rs_tokenizer_encode(setup->tokenizer, text.data, text.n, out);
    rs_text_free(&text);
    if (setup->bos >= 0 && out->n >= start + 2 && out->ids[start + 1] == setup->bos) {
        memmove(out->ids + start, out->ids + start + 1, (out->n - start - 1) * sizeof *out->ids);
        out->n--;
    }
    return status;
}

rs_status rs_prompt_position(const rs_task_setup *setup, const char *head, int64_t *position)
{
    rs_task_setup bare = *setup;
    bare.prompt_suffix = "";
    rs_tokens tokens = {0};
    rs_status status = rs_prompt_encode(&bare, head, "", &tokens);
    *position = (int64_t)tokens.n;
    rs_tokens_free(&tokens);
    return status;
}

static char *length_error(int64_t n_tokens, int64_t max_new_tokens, int64_t context)
{
    if (max_new_tokens == 0)
        return rs_format("a prompt of %lld tokens exceeds the context of %lld", (long long)n_tokens, (long long)context);
    return rs_format("a prompt of %lld tokens and max_new_tokens %lld exceed the context of %lld", (long long)n_tokens,
                     (long long)max_new_tokens, (long long)context);
}

void rs_sample_check_length(rs_sample *sample, int64_t context)
{
    if ((int64_t)sample->tokens.n + sample->max_new_tokens > context && sample->error == NULL)
        sample->error = length_error((int64_t)sample->tokens.n, sample->max_new_tokens, context);
}

void rs_sample_set_generate(rs_sample *sample, const rs_params *params)
{
    const rs_param_value *stop = rs_param_get(params, "stop");
    sample->kind = RS_SAMPLE_GENERATE;
    if (rs_param_is_set(params, "max_new_tokens"))
        sample->max_new_tokens = (int64_t)rs_param_number(params, "max_new_tokens");
    sample->stops = rs_alloc(stop->n, sizeof *sample->stops);
    for (size_t i = 0; i < stop->n; i++)
        sample->stops[sample->n_stops++] = rs_strdup(stop->strings[i]);
}

void rs_sample_add_reference(rs_sample *sample, const char *reference)
{
    sample->references = rs_realloc(sample->references, sample->n_references + 1, sizeof *sample->references);
    sample->references[sample->n_references++] = rs_strdup(reference);
}

rs_status rs_list_check(const rs_params *params, const char *name, size_t needed)
{
    const rs_param_value *list = rs_param_get(params, name);
    if (!list->set)
        return RS_OK;
    if (list->n < needed)
        return rs_fail(RS_INVALID, "%s must have at least %zu texts, not %zu", name, needed, list->n);
    for (size_t i = 0; i < list->n; i++)
        if (list->strings[i][0] == '\0')
            return rs_fail(RS_INVALID, "%s: text %zu of %zu is empty", name, i + 1, list->n);
    return RS_OK;
}

rs_status rs_drawn_count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    (void)state;
    (void)context;
    *n = wanted;
    return RS_OK;
}

static double estimated(const rs_fit *fit, int64_t units)
{
    return fit->estimate ? fit->estimate(fit->drawn, units) : (double)units;
}

/* The most units in [low, high) whose estimate is at most `cost`; low if none above it is. */
static int64_t most_units(const rs_fit *fit, double cost, int64_t low, int64_t high)
{
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (estimated(fit, middle) <= cost)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static rs_status encode_size(const rs_fit *fit, int64_t units, rs_text *input, rs_text *tail, rs_tokens *out)
{
    rs_text_clear(input);
    rs_text_clear(tail);
    rs_text_puts(input, "");
    rs_text_puts(tail, "");
    out->n = 0;
    fit->build(fit->drawn, units, input, tail);
    return rs_prompt_encode(fit->setup, input->data, tail->data, out);
}

/* Sizes proved so far: `low` fits with n_low tokens, `high` does not (or is not allowed). */
typedef struct search {
    int64_t low, high, n_low;
    double scale; /* tokens per unit of the estimate, from the last two sizes */
    int tried;
} search;

/* The next size to try, or `low` when the estimate says that one unit more would not fit. */
static int64_t next_size(const rs_fit *fit, const search *s)
{
    int64_t guess = most_units(fit, estimated(fit, s->low) + (double)(fit->budget - s->n_low) / s->scale, s->low, s->high);
    if (s->tried == 0 && fit->estimate == NULL && guess > s->low + PROBE_UNITS)
        return s->low + PROBE_UNITS; /* learn what a unit costs on a short text */
    if (guess == s->low || s->tried < GUESSED_SIZES)
        return guess;
    return s->low + (s->high - s->low) / 2;
}

void rs_fit_range(rs_fit *fit, int64_t given, int64_t least)
{
    fit->min_units = given ? given : least;
    fit->max_units = given ? given : fit->budget > least ? fit->budget : least; /* a unit has a token at least */
}

rs_status rs_fit_prompt(const rs_fit *fit, int64_t context, rs_sample *sample, int64_t *units)
{
    rs_text input = {0}, tail = {0};
    rs_tokens tokens = {0};
    rs_status status;
    search s = {.low = fit->min_units, .high = fit->max_units + 1, .scale = 1};
    *units = fit->min_units;
    RS_TRY_OUT(encode_size(fit, s.low, &input, &tail, &sample->tokens));
    s.n_low = (int64_t)sample->tokens.n;
    if (s.n_low > fit->budget) {
        sample->error = length_error(s.n_low, context - fit->budget, context);
        goto out;
    }
    int64_t anchor = s.low, n_anchor = s.n_low;
    for (; s.tried < MAX_SIZES && s.high - s.low > 1; s.tried++) {
        int64_t size = next_size(fit, &s);
        if (size == s.low)
            break;
        RS_TRY_OUT(encode_size(fit, size, &input, &tail, &tokens));
        int64_t n = (int64_t)tokens.n;
        double span = estimated(fit, size) - estimated(fit, anchor);
        if (span > 0 && n > n_anchor)
            s.scale = (double)(n - n_anchor) / span;
        if (n > fit->budget) {
            s.high = size;
            continue;
        }
        rs_tokens swap = sample->tokens;
        sample->tokens = tokens;
        tokens = swap;
        s.low = size;
        s.n_low = n;
    }
    *units = s.low;
out:
    rs_tokens_free(&tokens);
    rs_text_free(&tail);
    rs_text_free(&input);
    return status;
}
