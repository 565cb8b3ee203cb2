/* Text to token ids and back, from a Hugging Face tokenizer.json of model type BPE.
 * Two families: Gemma's (spaces become U+2581, unknown characters fall back to byte tokens, no pre-split by regex) and
 * byte-level (bytes mapped to printable characters; pre-split by the pre_tokenizer's regexes through PCRE2: GPT-2, SmolLM2, Llama 3).
 * Anything else in the file (Unigram, WordPiece, an unknown normalizer) is refused by name: what is almost right gives wrong numbers
 * without a sign. Known are: normalizers Replace (of a string) and Prepend; pre_tokenizers Split, Digits and a last ByteLevel;
 * decoders Replace, ByteFallback, Fuse, Strip, ByteLevel; Sequences of these; added tokens with all their flags. The file's
 * truncation, padding and post_processor do not count.
 * Ids equal `tokenizers`' encode(text, add_special_tokens=False): spellings of added tokens become those tokens. No BOS is added. */
#ifndef RS_MODEL_TOKENIZER_H
#define RS_MODEL_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

typedef struct rs_tokenizer rs_tokenizer; /* immutable after loading; safe to share between threads */

typedef struct rs_tokens {
    int32_t *ids;
    size_t n, cap;
} rs_tokens; /* zero-initialise; RS_PUSH-able; free with rs_tokens_free */

void rs_tokens_free(rs_tokens *tokens);

/* Loads a tokenizer.json; *out is freed with rs_tokenizer_free, and NULL on failure. RS_INVALID with the path and the offending key
 * or token, one line: PATH:LINE:COLUMN for text that is not JSON. */
rs_status rs_tokenizer_load(const char *path, rs_tokenizer **out);
void rs_tokenizer_free(rs_tokenizer *tokenizer);

/* Ids 0..n_vocab-1 exist (added tokens included; holes possible). */
int32_t rs_tokenizer_vocab_size(const rs_tokenizer *tokenizer);

/* Appends the ids of text[0..n); NUL is a character like others. Text that is not UTF-8 is RS_INVALID, with the byte offset, and so
 * is one of half a GiB; on failure out keeps what it had. O(n log n) whatever the text. */
rs_status rs_tokenizer_encode(const rs_tokenizer *tokenizer, const char *text, size_t n, rs_tokens *out);

/* Appends the bytes of ids; ids that do not exist are skipped. As Hugging Face's decode(skip_special_tokens=True,
 * clean_up_tokenization_spaces=False). */
void rs_tokenizer_decode(const rs_tokenizer *tokenizer, const int32_t *ids, size_t n, rs_text *out);

#endif
