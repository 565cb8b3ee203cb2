#include "tasks/windows.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

enum { MAX_TEXT_BYTES = 1 << 30 };

struct rs_windows {
    const rs_task_setup *setup;
    char *pattern;
    rs_paths paths;
    pthread_mutex_t lock; /* over n_ready, and documents from n_ready on; those before it never change */
    rs_tokens *documents; /* [paths.n] */
    size_t n_ready;       /* documents tokenized so far */
};

rs_status rs_windows_open(const rs_task_setup *setup, const char *pattern, rs_windows **out)
{
    if (setup->prompt_prefix[0] || setup->prompt_suffix[0])
        return rs_fail(RS_INVALID, "a task that scores text takes no %s: its windows are the documents' text alone",
                       setup->prompt_prefix[0] ? "prompt_prefix" : "prompt_suffix");
    char *path = rs_path_join(setup->folder, pattern);
    rs_paths paths = {0};
    rs_status status = rs_paths_glob(path, &paths);
    if (status != RS_OK) {
        free(path);
        return status;
    }
    rs_windows *w = rs_alloc(1, sizeof *w);
    w->setup = setup;
    w->pattern = path;
    w->paths = paths;
    w->documents = rs_alloc(paths.n, sizeof *w->documents);
    pthread_mutex_init(&w->lock, NULL);
    *out = w;
    return RS_OK;
}

void rs_windows_close(rs_windows *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->paths.n; i++)
        rs_tokens_free(&w->documents[i]);
    free(w->documents);
    free(w->pattern);
    rs_paths_free(&w->paths);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* Every file's content, in order. One that cannot be read fails when it is needed, with its own message. */
void rs_windows_fingerprint(const rs_windows *w, rs_text *out)
{
    char hex[33];
    for (size_t i = 0; i < w->paths.n; i++) {
        rs_mapping file;
        if (rs_file_map(w->paths.items[i], &file) != RS_OK) {
            rs_error_clear();
            continue;
        }
        rs_text_printf(out, "text %s\n", rs_digest_hex(rs_digest_of(file.data ? (const char *)file.data : "", file.n), hex));
        rs_file_unmap(&file);
    }
}

static rs_status tokenize(const rs_windows *w, const char *path, rs_tokens *out)
{
    rs_text text = {0};
    rs_status status;
    RS_TRY_OUT(rs_file_read(path, MAX_TEXT_BYTES, &text));
    size_t valid = rs_utf8_valid_prefix(text.data, text.n);
    if (valid < text.n)
        status = rs_fail(RS_INVALID, "%s: byte %zu is not UTF-8", path, valid);
    else
        status = rs_tokenizer_encode(w->setup->tokenizer, text.data, text.n, out);
out:
    rs_text_free(&text);
    return status;
}

static int64_t windows_in(const rs_windows *w, int64_t context, int64_t step, size_t document)
{
    int64_t n = (int64_t)w->documents[document].n, body = context - 1;
    return n < body ? 0 : (n - body) / step + 1;
}

/* Tokenizes documents in order until `wanted` windows exist or none is left. *n: how many exist, at most `wanted`; where `document` is
 * set: the last of them is window *window of *document. */
static rs_status find(rs_windows *w, int64_t context, int64_t step, int64_t wanted, int64_t *n, size_t *document, int64_t *window)
{
    rs_status status = RS_OK;
    int64_t before = 0;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->paths.n && before < wanted; i++) {
        if (i == w->n_ready) {
            status = tokenize(w, w->paths.items[i], &w->documents[i]);
            if (status != RS_OK) {
                rs_tokens_free(&w->documents[i]);
                break;
            }
            w->n_ready++;
        }
        int64_t here = windows_in(w, context, step, i);
        if (document && before + here >= wanted) {
            *document = i;
            *window = wanted - 1 - before;
        }
        before += here;
    }
    pthread_mutex_unlock(&w->lock);
    *n = before < wanted ? before : wanted;
    return status;
}

rs_status rs_windows_count(rs_windows *w, int64_t context, int64_t step, int64_t wanted, int64_t *n)
{
    RS_TRY(find(w, context, step, wanted, n, NULL, NULL));
    if (*n > 0)
        return RS_OK;
    size_t longest = 0;
    for (size_t i = 1; i < w->paths.n; i++)
        longest = w->documents[i].n > w->documents[longest].n ? i : longest;
    return rs_fail(RS_INVALID, "%s: no document fills a window of context %lld (BOS and %lld tokens); the longest, %s, has %zu tokens",
                   w->pattern, (long long)context, (long long)(context - 1), w->paths.items[longest], w->documents[longest].n);
}

static void write_facts(const char *path, size_t document, int64_t start, rs_sample *out)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    rs_text facts = {0};
    rs_text_puts(&facts, "\"document\": ");
    rs_text_json_string(&facts, name, strlen(name));
    rs_text_printf(&facts, ", \"document_index\": %zu, \"first_token\": %lld", document, (long long)start);
    out->facts = facts.data;
}

rs_status rs_windows_take(rs_windows *w, int64_t context, int64_t step, int64_t index, rs_sample *out, int64_t *of_document)
{
    size_t document = 0;
    int64_t n = 0;
    RS_TRY(find(w, context, step, index + 1, &n, &document, of_document));
    if (n <= index)
        return rs_fail(RS_INTERNAL, "%s: window %lld was asked for, there are %lld", w->pattern, (long long)index, (long long)n);
    int64_t start = *of_document * step;
    if (w->setup->bos >= 0)
        RS_PUSH(out->tokens.ids, out->tokens.n, out->tokens.cap, w->setup->bos);
    for (int64_t i = start; i < start + context - 1; i++)
        RS_PUSH(out->tokens.ids, out->tokens.n, out->tokens.cap, w->documents[document].ids[i]);
    write_facts(w->paths.items[document], document, start, out);
    return RS_OK;
}
