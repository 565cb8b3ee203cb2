/* Perplexity of the user's documents, in windows of the context's length. Exact rules: docs of `perplexity`, repeated here.
 * A file is a document, tokenized whole; documents stand in byte order of their path. With context c, window i of a document is BOS
 * followed by its tokens [i*S, i*S + c-1), S = `stride` or c-1; only whole windows count, never across documents. All tokens of a
 * document's first window are scored; of the others the last S (without a stride: all). The first `samples` windows are taken.
 * A model without BOS gets the same windows without it; their first token is not scored.
 * Source: the usual strided perplexity; differs: BOS in every window, nll summed and token-weighted, never a mean of window means.
 * Metric: nll per token in nats and its exponential. Chance: the vocabulary's size. */
#include <stdlib.h>

#include "base/memory.h"
#include "tasks/registry.h"
#include "tasks/windows.h"

static const rs_param_spec specs[] = {
    {.name = "text", .kind = RS_PARAM_STRING, .fallback = "required", .help = "glob of the documents, a file each"},
    {.name = "stride",
     .kind = RS_PARAM_INT,
     .min = 1,
     .max = 1e15,
     .help = "tokens a window moves by and scores, 1..context-2; default: context-1"},
    {0},
};

typedef struct perplexity {
    rs_task_setup setup;
    rs_windows *windows;
    int64_t stride; /* 0: whole windows */
} perplexity;

static rs_status check_params(const rs_params *params, int64_t context)
{
    if (context == 0 || !rs_param_is_set(params, "stride"))
        return RS_OK;
    double stride = rs_param_number(params, "stride");
    if (stride > (double)(context - 2))
        return rs_fail(RS_INVALID, "stride must be between 1 and context - 2, %lld, not %.0f", (long long)(context - 2), stride);
    return RS_OK;
}

static void close_task(void *state)
{
    perplexity *s = state;
    rs_windows_close(s->windows);
    free(s);
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    perplexity *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->stride = rs_param_is_set(setup->params, "stride") ? (int64_t)rs_param_number(setup->params, "stride") : 0;
    rs_status status = rs_windows_open(&s->setup, rs_param_string(setup->params, "text"), &s->windows);
    if (status == RS_OK)
        *state = s;
    else
        close_task(s);
    return status;
}

static void fingerprint(const void *state, rs_text *out)
{
    rs_windows_fingerprint(((const perplexity *)state)->windows, out);
}

static int64_t step_of(const perplexity *s, int64_t context)
{
    return s->stride ? s->stride : context - 1;
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    perplexity *s = state;
    RS_TRY(check_params(s->setup.params, context));
    return rs_windows_count(s->windows, context, step_of(s, context), wanted, n);
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    perplexity *s = state;
    int64_t window, step = step_of(s, context);
    out->kind = RS_SAMPLE_SCORE;
    RS_TRY(rs_windows_take(s->windows, context, step, doc_id, out, &window));
    out->score_from = window == 0 ? s->setup.bos >= 0 : (int64_t)out->tokens.n - step;
    if (out->score_from < 1)
        out->score_from = 1; /* nothing stands before the first token */
    return RS_OK;
}

const rs_task rs_task_perplexity = {.name = "perplexity",
                                    .summary = "nll per token of the user's documents",
                                    .source = "strided perplexity; BOS in every window, token-weighted",
                                    .chance = "perplexity of the vocabulary's size",
                                    .version = 1,
                                    .params = specs,
                                    .check = check_params,
                                    .open = open_task,
                                    .close = close_task,
                                    .count = count,
                                    .fingerprint = fingerprint,
                                    .sample = sample};
