/* Perplexity of the user's documents, in windows of the context's length. Exact rules: docs of `perplexity`, repeated here.
 * A file is a document, tokenized whole; documents stand in byte order of their path. With context c, window i of a document is BOS
 * followed by its tokens [i*S, i*S + c-1), S = `stride` or c-1; only whole windows count, never across documents. All tokens of a
 * document's first window are scored; of the others the last S (without a stride: all). The first `samples` windows are taken.
 * A model without BOS gets the same windows without it; their first token is not scored.
 * Source: the usual strided perplexity; differs: BOS in every window, nll summed and token-weighted, never a mean of window means.
 * Metric: nll per token in nats and its exponential. Chance: the vocabulary's size. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

enum { MAX_TEXT_BYTES = 1 << 30 };

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
    char *pattern;
    rs_paths paths;
    int64_t stride;       /* 0: whole windows */
    pthread_mutex_t lock; /* over n_ready, and documents from n_ready on; those before it never change */
    rs_tokens *documents; /* [paths.n] */
    size_t n_ready;       /* documents tokenized so far: only as many as a count or a sample needed */
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
    for (size_t i = 0; i < s->paths.n; i++)
        rs_tokens_free(&s->documents[i]);
    free(s->documents);
    free(s->pattern);
    rs_paths_free(&s->paths);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    if (setup->prompt_prefix[0] || setup->prompt_suffix[0])
        return rs_fail(RS_INVALID, "perplexity takes no %s: its windows are the documents' text alone",
                       setup->prompt_prefix[0] ? "prompt_prefix" : "prompt_suffix");
    char *pattern = rs_path_join(setup->folder, rs_param_string(setup->params, "text"));
    rs_paths paths = {0};
    rs_status status = rs_paths_glob(pattern, &paths);
    if (status != RS_OK) {
        free(pattern);
        return status;
    }
    perplexity *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->pattern = pattern;
    s->paths = paths;
    s->stride = rs_param_is_set(setup->params, "stride") ? (int64_t)rs_param_number(setup->params, "stride") : 0;
    s->documents = rs_alloc(paths.n, sizeof *s->documents);
    pthread_mutex_init(&s->lock, NULL);
    *state = s;
    return RS_OK;
}

/* Every file's content, in order. One that cannot be read fails when it is needed, with its own message. */
static void fingerprint(const void *state, rs_text *out)
{
    const perplexity *s = state;
    char hex[33];
    for (size_t i = 0; i < s->paths.n; i++) {
        rs_mapping file;
        if (rs_file_map(s->paths.items[i], &file) != RS_OK) {
            rs_error_clear();
            continue;
        }
        rs_text_printf(out, "text %s\n", rs_digest_hex(rs_digest_of(file.data ? (const char *)file.data : "", file.n), hex));
        rs_file_unmap(&file);
    }
}

static rs_status tokenize(const perplexity *s, const char *path, rs_tokens *out)
{
    rs_text text = {0};
    rs_status status;
    RS_TRY_OUT(rs_file_read(path, MAX_TEXT_BYTES, &text));
    size_t valid = rs_utf8_valid_prefix(text.data, text.n);
    if (valid < text.n)
        status = rs_fail(RS_INVALID, "%s: byte %zu is not UTF-8", path, valid);
    else
        status = rs_tokenizer_encode(s->setup.tokenizer, text.data, text.n, out);
out:
    rs_text_free(&text);
    return status;
}

static int64_t step_of(const perplexity *s, int64_t context)
{
    return s->stride ? s->stride : context - 1;
}

static int64_t windows_in(const perplexity *s, int64_t context, size_t document)
{
    int64_t n = (int64_t)s->documents[document].n, body = context - 1;
    return n < body ? 0 : (n - body) / step_of(s, context) + 1;
}

/* Tokenizes documents in order until `wanted` windows exist or none is left. *n: how many exist, at most `wanted`; where `document` is
 * set: the last of them is window *window of *document. */
static rs_status find_windows(perplexity *s, int64_t context, int64_t wanted, int64_t *n, size_t *document, int64_t *window)
{
    rs_status status = RS_OK;
    int64_t before = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->paths.n && before < wanted; i++) {
        if (i == s->n_ready) {
            status = tokenize(s, s->paths.items[i], &s->documents[i]);
            if (status != RS_OK) {
                rs_tokens_free(&s->documents[i]);
                break;
            }
            s->n_ready++;
        }
        int64_t here = windows_in(s, context, i);
        if (document && before + here >= wanted) {
            *document = i;
            *window = wanted - 1 - before;
        }
        before += here;
    }
    pthread_mutex_unlock(&s->lock);
    *n = before < wanted ? before : wanted;
    return status;
}

static rs_status count(void *state, int64_t context, int64_t wanted, int64_t *n)
{
    perplexity *s = state;
    RS_TRY(check_params(s->setup.params, context));
    RS_TRY(find_windows(s, context, wanted, n, NULL, NULL));
    if (*n > 0)
        return RS_OK;
    size_t longest = 0;
    for (size_t i = 1; i < s->paths.n; i++)
        longest = s->documents[i].n > s->documents[longest].n ? i : longest;
    return rs_fail(RS_INVALID, "%s: no document fills a window of context %lld (BOS and %lld tokens); the longest, %s, has %zu tokens",
                   s->pattern, (long long)context, (long long)(context - 1), s->paths.items[longest], s->documents[longest].n);
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    perplexity *s = state;
    size_t document = 0;
    int64_t window = 0, n = 0;
    RS_TRY(find_windows(s, context, doc_id + 1, &n, &document, &window));
    if (n <= doc_id)
        return rs_fail(RS_INTERNAL, "%s: window %lld was asked for, there are %lld", s->pattern, (long long)doc_id, (long long)n);
    int64_t step = step_of(s, context), start = window * step, body = context - 1;
    bool bos = s->setup.bos >= 0;
    out->kind = RS_SAMPLE_SCORE;
    if (bos)
        RS_PUSH(out->tokens.ids, out->tokens.n, out->tokens.cap, s->setup.bos);
    for (int64_t i = start; i < start + body; i++)
        RS_PUSH(out->tokens.ids, out->tokens.n, out->tokens.cap, s->documents[document].ids[i]);
    out->score_from = window == 0 ? bos : (int64_t)out->tokens.n - step;
    if (out->score_from < 1)
        out->score_from = 1; /* nothing stands before the first token */
    const char *path = s->paths.items[document], *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    rs_text facts = {0};
    rs_text_puts(&facts, "\"document\": ");
    rs_text_json_string(&facts, name, strlen(name));
    rs_text_printf(&facts, ", \"document_index\": %zu, \"first_token\": %lld", document, (long long)start);
    out->facts = facts.data;
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
