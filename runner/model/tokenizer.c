/* The tokenizer's public face: loading, looking up, and the order of the steps of encode. */
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "model/tokenizer_parts.h"

#define FILE_BYTES_MAX ((size_t)1 << 28) /* sixteen times the largest in use */

void rs_tokens_free(rs_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (rs_tokens){0};
}

rs_status rs_tokenizer_load(const char *path, rs_tokenizer **out)
{
    *out = NULL;
    rs_text text = {0};
    rs_tokenizer *tokenizer = rs_alloc(1, sizeof *tokenizer);
    rs_status status = rs_file_read(path, FILE_BYTES_MAX, &text);
    if (status == RS_OK) {
        status = rs_tokenizer_parse(tokenizer, path, text.data, text.n);
    }
    rs_text_free(&text);
    if (status != RS_OK)
        rs_tokenizer_free(tokenizer);
    else
        *out = tokenizer;
    return status;
}

void rs_tokenizer_free(rs_tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    rs_vocab_free(&tokenizer->bpe.vocab);
    rs_merges_free(&tokenizer->bpe.merges);
    rs_seams_free(&tokenizer->bpe.seams);
    free(tokenizer->added);
    rs_trie_free(&tokenizer->plain);
    rs_trie_free(&tokenizer->normalized);
    rs_regex_free(tokenizer->word);
    for (size_t i = 0; i < tokenizer->n_edits; i++) {
        rs_text_free(&tokenizer->edits[i].from);
        rs_text_free(&tokenizer->edits[i].to);
    }
    for (size_t i = 0; i < tokenizer->n_splits; i++)
        rs_regex_free(tokenizer->splits[i].regex);
    for (size_t i = 0; i < tokenizer->n_steps; i++) {
        rs_text_free(&tokenizer->steps[i].from);
        rs_text_free(&tokenizer->steps[i].to);
    }
    free(tokenizer->edits);
    free(tokenizer->splits);
    free(tokenizer->steps);
    free(tokenizer);
}

int32_t rs_tokenizer_vocab_size(const rs_tokenizer *tokenizer)
{
    return (int32_t)tokenizer->bpe.vocab.n;
}

/* Text between added tokens, normalized: those that are looked for after the normalizer, and what lies between. */
static rs_status encode_normalized(rs_encoder *encoder, const char *text, size_t n)
{
    rs_added_scan scan = {.trie = &encoder->tokenizer->normalized, .text = text, .n = n};
    for (;;) {
        bool found;
        int32_t id;
        size_t start, stop;
        RS_TRY(rs_added_next(encoder, &scan, &found, &id, &start, &stop));
        if (!found)
            return RS_OK;
        if (id >= 0)
            RS_PUSH(encoder->out->ids, encoder->out->n, encoder->out->cap, id);
        else
            RS_TRY(rs_splits_run(encoder, text + start, stop - start));
    }
}

static rs_status encode_text(rs_encoder *encoder, const char *text, size_t n)
{
    const rs_tokenizer *tokenizer = encoder->tokenizer;
    rs_added_scan scan = {.trie = &tokenizer->plain, .text = text, .n = n};
    for (;;) {
        bool found;
        int32_t id;
        size_t start, stop;
        RS_TRY(rs_added_next(encoder, &scan, &found, &id, &start, &stop));
        if (!found)
            return RS_OK;
        if (id >= 0) {
            RS_PUSH(encoder->out->ids, encoder->out->n, encoder->out->cap, id);
        } else if (tokenizer->n_edits == 0) {
            RS_TRY(encode_normalized(encoder, text + start, stop - start));
        } else {
            rs_edits_run(tokenizer, text + start, stop - start, &encoder->normal, &encoder->swap);
            RS_TRY(encode_normalized(encoder, encoder->normal.data, encoder->normal.n));
        }
    }
}

rs_status rs_tokenizer_encode(const rs_tokenizer *tokenizer, const char *text, size_t n, rs_tokens *out)
{
    if (n >= (size_t)INT32_MAX / 4)
        return rs_fail(RS_INVALID, "text of %zu bytes is more than the tokenizer takes at once (%d)", n, INT32_MAX / 4);
    size_t valid = rs_utf8_valid_prefix(text, n);
    if (valid != n)
        return rs_fail(RS_INVALID, "text is not UTF-8 at byte offset %zu (0x%02X)", valid, (unsigned char)text[valid]);
    size_t before = out->n;
    rs_encoder encoder = {.tokenizer = tokenizer, .out = out};
    rs_status status = encode_text(&encoder, text, n);
    if (status != RS_OK)
        out->n = before;
    rs_matcher_free(&encoder.matcher);
    rs_word_cache_free(&encoder.cache);
    rs_tokens_free(&encoder.symbols);
    rs_text_free(&encoder.normal);
    rs_text_free(&encoder.swap);
    rs_text_free(&encoder.prefixed);
    return status;
}
