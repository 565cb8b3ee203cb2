/* Ids to text: the decoder's steps, each from a list of strings to a list of strings. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

typedef struct strings {
    rs_text bytes;
    size_t *ends; /* [n] string i is bytes[ends[i - 1] .. ends[i]) */
    size_t n, cap;
} strings;

static void end_string(strings *list)
{
    RS_PUSH(list->ends, list->n, list->cap, list->bytes.n);
}

static void add_string(strings *list, const char *bytes, size_t n)
{
    rs_text_append(&list->bytes, bytes, n);
    end_string(list);
}

static const char *string_at(const strings *list, size_t i, size_t *n)
{
    size_t start = i == 0 ? 0 : list->ends[i - 1];
    *n = list->ends[i] - start;
    return list->bytes.data + start;
}

static void clear(strings *list)
{
    rs_text_clear(&list->bytes);
    list->n = 0;
}

/* Bytes of the broken sequence at p: the longest part that some continuation would have made valid, or one byte
 * (Unicode 3.9, table 3-7). */
static size_t broken_length(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0xE0 || u[0] > 0xF4 || n < 2)
        return 1;
    unsigned low = u[0] == 0xE0 ? 0xA0 : u[0] == 0xF0 ? 0x90 : 0x80;
    unsigned high = u[0] == 0xED ? 0x9F : u[0] == 0xF4 ? 0x8F : 0xBF;
    if (u[1] < low || u[1] > high)
        return 1;
    return u[0] >= 0xF0 && n > 2 && (u[2] & 0xC0) == 0x80 ? 3 : 2;
}

/* Appends bytes; each broken sequence becomes one U+FFFD. */
static void append_lossy(rs_text *out, const char *bytes, size_t n)
{
    while (n > 0) {
        size_t valid = rs_utf8_valid_prefix(bytes, n);
        rs_text_append(out, bytes, valid);
        bytes += valid;
        n -= valid;
        if (n == 0)
            return;
        size_t broken = broken_length(bytes, n);
        rs_text_puts(out, REPLACEMENT);
        bytes += broken;
        n -= broken;
    }
}

static void replace(const rs_decode_step *step, const strings *in, strings *out)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *p = string_at(in, i, &n);
        const char *end = p + n;
        const char *hit;
        while (p < end && (hit = memmem(p, (size_t)(end - p), step->from.data, step->from.n)) != NULL) {
            rs_text_append(&out->bytes, p, (size_t)(hit - p));
            rs_text_append(&out->bytes, step->to.data, step->to.n);
            p = hit + step->from.n;
        }
        add_string(out, p, (size_t)(end - p));
    }
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The byte that a token "<0x41>" stands for, or -1. */
static int byte_of(const char *token, size_t n)
{
    if (n != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>')
        return -1;
    int high = hex_digit(token[3]), low = hex_digit(token[4]);
    if (token[3] == '+') /* Rust reads "+A" as a number too */
        return low;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static void end_bytes(strings *out, rs_text *run)
{
    if (run->n > 0 && rs_utf8_valid_prefix(run->data, run->n) == run->n)
        add_string(out, run->data, run->n);
    else
        for (size_t i = 0; i < run->n; i++)
            add_string(out, REPLACEMENT, strlen(REPLACEMENT));
    rs_text_clear(run);
}

static void byte_fallback(const strings *in, strings *out)
{
    rs_text run = {0};
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *token = string_at(in, i, &n);
        int byte = byte_of(token, n);
        if (byte >= 0) {
            char c = (char)byte;
            rs_text_append(&run, &c, 1);
        } else {
            end_bytes(out, &run);
            add_string(out, token, n);
        }
    }
    end_bytes(out, &run);
    rs_text_free(&run);
}

static void strip(const rs_decode_step *step, const strings *in, strings *out)
{
    size_t width = step->from.n;
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *p = string_at(in, i, &n);
        for (size_t k = 0; k < step->start && n >= width && memcmp(p, step->from.data, width) == 0; k++) {
            p += width;
            n -= width;
        }
        for (size_t k = 0; k < step->stop && n >= width && memcmp(p + n - width, step->from.data, width) == 0; k++)
            n -= width;
        add_string(out, p, n);
    }
}

/* Bytes of one byte-level token; a token with a character outside the alphabet stands for itself. */
static void unspell(const char *token, size_t n, rs_text *out)
{
    size_t before = out->n;
    for (size_t i = 0; i < n;) {
        size_t length;
        int byte = rs_char_to_byte(rs_utf8_decode(token + i, &length));
        if (byte < 0) {
            out->n = before;
            rs_text_append(out, token, n);
            return;
        }
        char c = (char)byte;
        rs_text_append(out, &c, 1);
        i += length;
    }
}

static void byte_level(const strings *in, strings *out)
{
    rs_text all = {0};
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *token = string_at(in, i, &n);
        unspell(token, n, &all);
    }
    append_lossy(&out->bytes, all.data, all.n);
    end_string(out);
    rs_text_free(&all);
}

static void run_step(const rs_decode_step *step, const strings *in, strings *out)
{
    clear(out);
    switch (step->kind) {
    case RS_DECODE_REPLACE:
        replace(step, in, out);
        break;
    case RS_DECODE_BYTE_FALLBACK:
        byte_fallback(in, out);
        break;
    case RS_DECODE_FUSE:
        add_string(out, in->bytes.data, in->bytes.n);
        break;
    case RS_DECODE_STRIP:
        strip(step, in, out);
        break;
    case RS_DECODE_BYTE_LEVEL:
        byte_level(in, out);
        break;
    }
}

void rs_tokenizer_decode(const rs_tokenizer *tokenizer, const int32_t *ids, size_t n, rs_text *out)
{
    const rs_vocab *vocab = &tokenizer->bpe.vocab;
    strings a = {0}, b = {0};
    for (size_t i = 0; i < n; i++) {
        bool known = ids[i] >= 0 && (size_t)ids[i] < vocab->n && vocab->entries[ids[i]].present;
        if (!known || vocab->entries[ids[i]].special)
            continue;
        if (!tokenizer->has_decoder && a.n > 0)
            rs_text_puts(&a.bytes, " ");
        const rs_vocab_entry *entry = &vocab->entries[ids[i]];
        add_string(&a, vocab->bytes.data + entry->normal_at, entry->normal_n);
    }
    for (size_t i = 0; i < tokenizer->n_steps; i++) {
        run_step(&tokenizer->steps[i], &a, &b);
        strings t = a;
        a = b;
        b = t;
    }
    rs_text_append(out, a.bytes.data, a.bytes.n);
    rs_text_free(&a.bytes);
    rs_text_free(&b.bytes);
    free(a.ends);
    free(b.ends);
}
