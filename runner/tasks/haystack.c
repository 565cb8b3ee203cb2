#include "tasks/haystack.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "tasks/words.h"

enum { MAX_TEXT_BYTES = 1 << 30, MAX_PIECE_BYTES = 48, MAX_SENTENCE_BYTES = 1000 };

static void add_unit(rs_haystack *stack, const char *bytes, size_t n, bool boundary, bool glued)
{
    rs_hay_unit unit = {.offset = stack->bytes.n, .n = n, .boundary = boundary, .glued = glued};
    rs_text_append(&stack->bytes, bytes, n);
    RS_PUSH(stack->units, stack->n_units, stack->cap_units, unit);
}

static rs_status open_noise(const rs_params *params, rs_haystack *out)
{
    const rs_param_value *noise = rs_param_get(params, "noise");
    RS_TRY(rs_list_check(params, "noise", 1));
    size_t n = noise->set ? noise->n : RS_N_NOISE;
    for (size_t i = 0; i < n; i++) {
        const char *text = noise->set ? noise->strings[i] : rs_noise[i];
        add_unit(out, text, strlen(text), true, false);
    }
    return RS_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Whether a word closes a sentence: . ! or ? at its end, quotes and brackets after it skipped. */
static bool ends_sentence(const char *word, size_t n)
{
    static const char *const closers[] = {"\"", "'", ")", "]", "_", "\xE2\x80\x9D", "\xE2\x80\x99"};
    for (size_t i = 0; i < sizeof closers / sizeof *closers; i++) {
        size_t length = strlen(closers[i]);
        if (n > length && memcmp(word + n - length, closers[i], length) == 0) {
            n -= length;
            i = (size_t)-1;
        }
    }
    return n > 0 && strchr(".!?", word[n - 1]) != NULL;
}

/* One word as units: whole, or pieces of at most MAX_PIECE_BYTES cut between code points (scripts without spaces). */
static void add_word(rs_haystack *stack, const char *word, size_t n, bool boundary)
{
    for (size_t i = 0; i < n;) {
        size_t length = n - i < MAX_PIECE_BYTES ? n - i : MAX_PIECE_BYTES;
        while (i + length < n && ((unsigned char)word[i + length] & 0xC0) == 0x80)
            length--;
        add_unit(stack, word + i, length, boundary && i == 0, i > 0);
        i += length;
    }
}

/* Splits a text in words; a sentence begins after one that ends, after an empty line, and after 1,000 bytes without either. */
static void add_text(rs_haystack *stack, const char *text, size_t n)
{
    bool boundary = true;
    size_t sentence = 0;
    for (size_t i = 0; i < n;) {
        size_t newlines = 0;
        for (; i < n && is_blank(text[i]); i++)
            newlines += text[i] == '\n';
        size_t end = i;
        while (end < n && !is_blank(text[end]))
            end++;
        if (end == i)
            break;
        boundary = boundary || newlines > 1 || sentence > MAX_SENTENCE_BYTES;
        sentence = boundary ? end - i : sentence + end - i;
        add_word(stack, text + i, end - i, boundary);
        boundary = ends_sentence(text + i, end - i);
        i = end;
    }
}

static rs_status read_text(const char *path, rs_haystack *out)
{
    rs_text text = {0};
    rs_status status;
    RS_TRY_OUT(rs_file_read(path, MAX_TEXT_BYTES, &text));
    size_t valid = rs_utf8_valid_prefix(text.data, text.n);
    const char *nul = memchr(text.data, '\0', text.n);
    if (valid < text.n)
        status = rs_fail(RS_INVALID, "%s: byte %zu is not UTF-8", path, valid);
    else if (nul)
        status = rs_fail(RS_INVALID, "%s: byte %zu is NUL", path, (size_t)(nul - text.data));
    else {
        size_t mark = text.n >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        add_text(out, text.data + mark, text.n - mark);
    }
out:
    rs_text_free(&text);
    return status;
}

static rs_status open_text(const rs_task_setup *setup, const char *pattern, rs_haystack *out)
{
    char *full = rs_path_join(setup->folder, pattern);
    rs_paths paths = {0};
    rs_status status;
    RS_TRY_OUT(rs_paths_glob(full, &paths));
    for (size_t i = 0; i < paths.n; i++)
        RS_TRY_OUT(read_text(paths.items[i], out));
    if (out->n_units == 0)
        status = rs_fail(RS_INVALID, "%s: haystack without a word", full);
out:
    rs_paths_free(&paths);
    free(full);
    return status;
}

/* Tokens of each sentence, shared among its units by their bytes. */
static rs_status measure(const rs_task_setup *setup, rs_haystack *stack)
{
    rs_text text = {0};
    rs_tokens tokens = {0};
    rs_status status = RS_OK;
    stack->cumulative = rs_alloc(stack->n_units + 1, sizeof *stack->cumulative);
    stack->sentences = rs_alloc(stack->n_units, sizeof *stack->sentences);
    for (size_t i = 0, end; i < stack->n_units; i = end) {
        stack->sentences[stack->n_sentences++] = i;
        rs_text_clear(&text);
        for (end = i; end < stack->n_units && (end == i || !stack->units[end].boundary); end++) {
            rs_text_puts(&text, stack->units[end].glued ? "" : stack->separator);
            rs_text_append(&text, stack->bytes.data + stack->units[end].offset, stack->units[end].n);
        }
        tokens.n = 0;
        RS_TRY_OUT(rs_tokenizer_encode(setup->tokenizer, text.data, text.n, &tokens));
        size_t separator = strlen(stack->separator);
        for (size_t j = i; j < end; j++) {
            double share = (double)(stack->units[j].n + (stack->units[j].glued ? 0 : separator)) / (double)text.n;
            stack->cumulative[j + 1] = stack->cumulative[j] + share * (double)tokens.n;
        }
    }
out:
    rs_tokens_free(&tokens);
    rs_text_free(&text);
    return status;
}

rs_status rs_haystack_open(const rs_task_setup *setup, rs_haystack *out)
{
    const char *which = rs_param_string(setup->params, "haystack");
    *out = (rs_haystack){.separator = rs_param_string(setup->params, "separator")};
    out->kind = strcmp(which, "noise") == 0 ? RS_HAY_NOISE : strcmp(which, "needle") == 0 ? RS_HAY_NEEDLE : RS_HAY_TEXT;
    rs_status status;
    out->random = out->kind != RS_HAY_TEXT && strcmp(rs_param_string(setup->params, "noise_order"), "random") == 0;
    status = out->kind == RS_HAY_TEXT ? open_text(setup, which, out) : open_noise(setup->params, out);
    if (status == RS_OK)
        status = measure(setup, out);
    if (status != RS_OK)
        rs_haystack_close(out);
    return status;
}

void rs_haystack_close(rs_haystack *stack)
{
    rs_text_free(&stack->bytes);
    free(stack->units);
    free(stack->cumulative);
    free(stack->sentences);
    *stack = (rs_haystack){0};
}

void rs_haystack_fingerprint(const rs_haystack *stack, rs_text *out)
{
    char hex[33];
    rs_text_printf(out, "haystack %s\n", rs_digest_hex(rs_digest_of(stack->bytes.data ? stack->bytes.data : "", stack->bytes.n), hex));
}
