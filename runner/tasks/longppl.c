/* LongPPL: perplexity over key tokens, those that a long context makes likely and a short one does not. A text is a window of perplexity's
 * (without a stride). Each of its tokens from position short_context on is scored after all that stand before it. Under the baseline they
 * are scored once more, `slide` tokens at a time, in windows of short_context + slide tokens that end with them. A token is key if the
 * baseline's nll falls by more than 2 from the short window to the whole text and is then below 2 (report/key_tokens.h): one set for all
 * variants, found once.
 * Source: LongPPL (arXiv 2410.23771) and its PyPI package longppl. Differs: the evaluator is the sweep's baseline; every window begins with
 * BOS, in the place of its first token; in a model without BOS that place stays empty, which is the package with trunc_len =
 * short_context - 1; key tokens of all texts count alike, where the package knows one text.
 * Metric: nll per key token in nats, and its exponential. Chance: the vocabulary's size. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tasks/registry.h"
#include "tasks/windows.h"

static const rs_param_spec specs[] = {
    {.name = "text", .kind = RS_PARAM_STRING, .fallback = "required", .help = "glob of the documents, a file each"},
    {.name = "short_context",
     .kind = RS_PARAM_INT,
     .min = 2,
     .max = 1e15,
     .fallback = "4096",
     .help = "tokens that a short window has before those it scores, BOS included; below the context"},
    {.name = "slide", .kind = RS_PARAM_INT, .min = 1, .max = 1e15, .fallback = "1024", .help = "tokens that a short window scores"},
    {0},
};

typedef struct longppl {
    rs_task_setup setup;
    rs_windows *windows;
    int64_t short_context, slide;
} longppl;

static rs_status check_params(const rs_params *params, int64_t context)
{
    double least = rs_param_number(params, "short_context");
    if (context > 0 && least >= (double)context)
        return rs_fail(RS_INVALID, "short_context must be below the context, %lld, not %.0f", (long long)context, least);
    return RS_OK;
}

/* Short windows of a text; the last may score less than `slide` tokens. */
static int64_t windows_of(const rs_params *params, int64_t context)
{
    int64_t slide = (int64_t)rs_param_number(params, "slide");
    return (context - (int64_t)rs_param_number(params, "short_context") + slide - 1) / slide;
}

static void close_task(void *state)
{
    longppl *s = state;
    rs_windows_close(s->windows);
    free(s);
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    longppl *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->short_context = (int64_t)rs_param_number(setup->params, "short_context");
    s->slide = (int64_t)rs_param_number(setup->params, "slide");
    rs_status status = rs_windows_open(&s->setup, rs_param_string(setup->params, "text"), &s->windows);
    if (status == RS_OK)
        *state = s;
    else
        close_task(s);
    return status;
}

static void fingerprint(const void *state, rs_text *out)
{
    rs_windows_fingerprint(((const longppl *)state)->windows, out);
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    longppl *s = state;
    RS_TRY(check_params(s->setup.params, context));
    return rs_windows_count(s->windows, context, context - 1, wanted, n);
}

static int64_t count_extra(const rs_params *params, int64_t context, int64_t n)
{
    return n * windows_of(params, context);
}

static double extra_tokens(const rs_params *params, int64_t context)
{
    double most = rs_param_number(params, "short_context") + rs_param_number(params, "slide");
    return most < (double)context ? most : (double)context;
}

/* Cuts a text, whose first place is BOS's, to its short window number w. */
static void cut_window(const longppl *s, int64_t context, int64_t w, rs_sample *out)
{
    int64_t bos = s->setup.bos >= 0, first = w * s->slide, end = first + s->short_context + s->slide;
    end = end < context ? end : context;
    memmove(out->tokens.ids + bos, out->tokens.ids + bos + first, (size_t)(end - first - 1) * sizeof *out->tokens.ids);
    out->tokens.n = (size_t)(end - first - 1 + bos);
    rs_text facts = {0};
    rs_text_printf(&facts, "%s, \"short_window\": %lld", out->facts, (long long)w);
    free(out->facts);
    out->facts = facts.data;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    longppl *s = state;
    int64_t of_document, per_text = windows_of(s->setup.params, context), extra = doc_id - RS_EXTRA_DOC_ID;
    out->kind = RS_SAMPLE_SCORE;
    RS_TRY(rs_windows_take(s->windows, context, context - 1, extra < 0 ? doc_id : extra / per_text, out, &of_document));
    if (extra >= 0)
        cut_window(s, context, extra % per_text, out);
    out->score_from = s->short_context - (s->setup.bos < 0);
    return RS_OK;
}

const rs_task rs_task_longppl = {.name = "longppl",
                                 .summary = "LongPPL: nll of the tokens for which the baseline needs the long context",
                                 .source = "arXiv 2410.23771; the evaluator is the baseline; BOS in every window",
                                 .chance = "perplexity of the vocabulary's size",
                                 .version = 1,
                                 .params = specs,
                                 .check = check_params,
                                 .open = open_task,
                                 .close = close_task,
                                 .count = count,
                                 .count_extra = count_extra,
                                 .extra_tokens = extra_tokens,
                                 .sample = sample,
                                 .fingerprint = fingerprint};
