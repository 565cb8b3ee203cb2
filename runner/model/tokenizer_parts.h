/* The parts of a tokenizer, shared by the tokenizer_*.c files and by nobody else.
 * Text -> added tokens (tokenizer_added.c) -> normalizer -> normalized added tokens -> pre_tokenizer stages
 * (tokenizer_split.c, regexes in tokenizer_regex.c) -> words -> BPE (tokenizer_bpe.c, tables in tokenizer_vocab.c).
 * All text in here is valid UTF-8: encode checks it once, jansson checks the file. */
#ifndef RS_MODEL_TOKENIZER_PARTS_H
#define RS_MODEL_TOKENIZER_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"
#include "model/tokenizer.h"

/* ---- Unicode (tokenizer_unicode.c) ---- */

/* Code point of the sequence at p; *n: its bytes. */
static inline uint32_t rs_utf8_decode(const char *p, size_t *n)
{
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0x80) {
        *n = 1;
        return u[0];
    }
    if (u[0] < 0xE0) {
        *n = 2;
        return (u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu);
    }
    if (u[0] < 0xF0) {
        *n = 3;
        return (u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu);
    }
    *n = 4;
    return (u[0] & 0x07u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu);
}

/* First byte of the character that ends just before p. */
static inline const char *rs_utf8_before(const char *p)
{
    do
        p--;
    while (((unsigned char)*p & 0xC0) == 0x80);
    return p;
}

/* Writes cp as UTF-8; returns its bytes, 1..4. */
size_t rs_utf8_encode(uint32_t cp, char out[4]);
bool rs_unicode_is_space(uint32_t cp);   /* White_Space */
bool rs_unicode_is_numeric(uint32_t cp); /* category N, as Rust's char::is_numeric */
/* Whether text has a character that PCRE2 may class otherwise than Oniguruma does: see rs_regex. */
bool rs_unicode_has_divergent(const char *text, size_t n);
/* Appends \x{..}-\x{..} ranges: the characters of a category ("L" or "Lu") that PCRE2's older tables lack. */
void rs_unicode_put_additions(const char *category, rs_text *out);

/* ---- Regexes (tokenizer_regex.c) ---- */

/* A pattern in Oniguruma's syntax, compiled by PCRE2 to mean what it means there. Two programs: `fast` is right for all text
 * without divergent characters, `full` spells out the classes where the two libraries' Unicode tables differ. Immutable. */
typedef struct rs_regex rs_regex;

/* On failure RS_INVALID without a message; `why` says what of the pattern is not supported. */
rs_status rs_regex_compile(const char *pattern, rs_regex **out, rs_text *why);
/* A pattern that matches `literal` itself. Freed with rs_text_free. */
rs_text rs_regex_quote(const char *literal);
void rs_regex_free(rs_regex *regex);

/* What matching writes to: one a call of encode. Zero-initialise; free with rs_matcher_free. */
typedef struct rs_matcher {
    void *data, *context, *jit_stack; /* pcre2_match_data, pcre2_match_context, pcre2_jit_stack */
    bool full;                        /* use the full program */
} rs_matcher;
void rs_matcher_free(rs_matcher *matcher);

/* Next match at or after `from` in text[0..n). *found false where none is left. RS_NO_MEMORY or RS_INTERNAL from PCRE2. */
rs_status rs_regex_next(const rs_regex *regex, rs_matcher *matcher, const char *text, size_t n, size_t from, bool *found, size_t *start,
                        size_t *stop);

/* ---- Tables (tokenizer_vocab.c) ---- */

#define RS_TOKEN_ID_MAX ((1 << 24) - 1) /* far above any vocabulary; bounds what a bad file makes us allocate */

typedef struct rs_vocab_entry {
    uint32_t at, n;               /* spelling: bytes[at..at+n) */
    bool present;                 /* false: a hole */
    bool in_model;                /* in model.vocab: BPE may produce it */
    bool added;                   /* in added_tokens */
    bool special;                 /* an added token that decode skips */
    uint32_t normal_at, normal_n; /* spelling that decode sees: normalized added tokens */
} rs_vocab_entry;

/* A slot of the hash table. It repeats the entry's place, so that a look-up touches one slot and the spelling. */
typedef struct rs_vocab_slot {
    uint32_t tag; /* upper half of the hash */
    int32_t id;
    uint32_t at, n; /* n RS_NO_SPELLING: empty */
} rs_vocab_slot;
#define RS_NO_SPELLING UINT32_MAX

/* Spellings to ids and back. Zero-initialise. */
typedef struct rs_vocab {
    rs_text bytes;
    rs_vocab_entry *entries; /* [n] by id */
    size_t n, cap;
    rs_vocab_slot *slots; /* [mask + 1] open addressing */
    size_t mask, n_used;
} rs_vocab;

void rs_vocab_reserve(rs_vocab *vocab, size_t n); /* makes room for n spellings */

/* Adds a spelling that is not there yet, at an id 0..RS_TOKEN_ID_MAX that is free (both asserted). */
void rs_vocab_add(rs_vocab *vocab, const char *spelling, size_t n, int32_t id, bool in_model);
int32_t rs_vocab_find(const rs_vocab *vocab, const char *spelling, size_t n);       /* or -1 */
int32_t rs_vocab_find_model(const rs_vocab *vocab, const char *spelling, size_t n); /* only in_model; or -1 */
void rs_vocab_free(rs_vocab *vocab);

/* One merge: two ids that become a third. The lowest rank goes first. */
typedef struct rs_merge {
    uint64_t pair; /* rs_merges_pair of the two; 0: an empty slot */
    uint32_t rank;
    int32_t id;
} rs_merge;

typedef struct rs_merges {
    rs_merge *slots; /* [mask + 1] open addressing */
    size_t mask;
    int32_t *id_of_rank; /* [n] */
    size_t n;
} rs_merges;

void rs_merges_init(rs_merges *merges, size_t n);
void rs_merges_put(rs_merges *merges, int32_t left, int32_t right, uint32_t rank, int32_t id); /* a pair seen again: the later counts */
void rs_merges_free(rs_merges *merges);

static inline uint64_t rs_merges_pair(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

static inline size_t rs_merges_hash(uint64_t pair)
{
    return (size_t)((pair ^ pair >> 29) * 0x9E3779B97F4A7C15u >> 32);
}

static inline const rs_merge *rs_merges_find(const rs_merges *merges, int32_t left, int32_t right)
{
    uint64_t pair = rs_merges_pair(left, right);
    size_t i = rs_merges_hash(pair) & merges->mask;
    while (merges->slots[i].pair != 0) {
        if (merges->slots[i].pair == pair)
            return &merges->slots[i];
        i = (i + 1) & merges->mask;
    }
    return NULL;
}

/* Seams: places no merge can cross, because both characters are known and no merge joins the one to the other. BPE of a text is
 * the BPE of its parts between seams, which are short (a word, mostly) and repeat: so a novel that is one "word" to a tokenizer
 * without pre-splitting needs no heap, and a cache works. Sets only ever err towards fewer seams. */
typedef struct rs_seams {
    uint64_t *known;        /* [0x110000 / 64] bit: a token of this one character exists */
    uint64_t *joined;       /* [1 << RS_SEAM_BITS / 64] bit of the hash of a pair of characters: a merge joins them */
    uint64_t ascii[128][2]; /* bit: a seam between two ASCII characters */
} rs_seams;
#define RS_SEAM_BITS 22

void rs_seams_init(rs_seams *seams);
void rs_seams_know(rs_seams *seams, uint32_t cp);
void rs_seams_join(rs_seams *seams, uint32_t left, uint32_t right);
void rs_seams_finish(rs_seams *seams); /* after the last know and join */
void rs_seams_free(rs_seams *seams);
bool rs_seams_between_any(const rs_seams *seams, uint32_t left, uint32_t right);

static inline bool rs_seams_between(const rs_seams *seams, uint32_t left, uint32_t right)
{
    if ((left | right) < 128)
        return seams->ascii[left][right >> 6] >> (right & 63) & 1;
    return rs_seams_between_any(seams, left, right);
}

/* ---- The tokenizer ---- */

typedef struct rs_bpe {
    rs_vocab vocab;
    rs_merges merges;
    rs_seams seams;  /* character mode only */
    bool byte_level; /* words are bytes, each spelled as a printable character; else words are characters */
    bool byte_fallback, fuse_unk, ignore_merges;
    int32_t unk;           /* or -1: unknown characters vanish, as in Hugging Face */
    int32_t byte_ids[256]; /* byte_level: id of the byte's character; byte_fallback: id of "<0xNN>"; or -1 */
} rs_bpe;

/* An added token's rules; its spelling is in the vocabulary. */
typedef struct rs_added {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
} rs_added;

/* Finds added tokens, leftmost and of these the longest: a trie. */
typedef struct rs_trie_node {
    int32_t child, sibling; /* or -1 */
    int32_t added;          /* index of the added token that ends here, or -1 */
    unsigned char byte;
} rs_trie_node;
typedef struct rs_trie {
    rs_trie_node *nodes;
    size_t n, cap;
    int32_t roots[256]; /* node of each first byte, or -1 */
} rs_trie;

typedef enum rs_edit_kind { RS_EDIT_PREPEND, RS_EDIT_REPLACE } rs_edit_kind;
typedef struct rs_edit { /* one step of the normalizer */
    rs_edit_kind kind;
    rs_text from, to;
} rs_edit;

typedef enum rs_split_kind { RS_SPLIT_REGEX, RS_SPLIT_DIGITS, RS_SPLIT_BYTE_LEVEL } rs_split_kind;
typedef enum rs_split_behavior {
    RS_SPLIT_ISOLATED,
    RS_SPLIT_REMOVED,
    RS_SPLIT_CONTIGUOUS,
    RS_SPLIT_WITH_PREVIOUS,
    RS_SPLIT_WITH_NEXT
} rs_split_behavior;
typedef struct rs_split { /* one stage of the pre_tokenizer */
    rs_split_kind kind;
    rs_split_behavior behavior;
    rs_regex *regex; /* NULL: no split by regex (byte level with use_regex false) */
    bool invert, add_prefix_space;
} rs_split;

typedef enum rs_decode_kind {
    RS_DECODE_REPLACE,
    RS_DECODE_BYTE_FALLBACK,
    RS_DECODE_FUSE,
    RS_DECODE_STRIP,
    RS_DECODE_BYTE_LEVEL
} rs_decode_kind;
typedef struct rs_decode_step {
    rs_decode_kind kind;
    rs_text from, to;   /* replace; strip: from is the one character */
    size_t start, stop; /* strip: at most so many characters */
} rs_decode_step;

struct rs_tokenizer {
    rs_bpe bpe;
    rs_added *added;
    size_t n_added, cap_added;
    rs_trie plain, normalized; /* added tokens looked for before and after the normalizer */
    rs_regex *word;            /* one word character; NULL where no added token is single_word */
    rs_edit *edits;
    size_t n_edits, cap_edits;
    rs_split *splits;
    size_t n_splits, cap_splits;
    rs_decode_step *steps;
    size_t n_steps, cap_steps;
    bool has_decoder; /* without one, tokens are joined by spaces, as in Hugging Face */
};

/* Fills a zeroed tokenizer from the file's text. RS_INVALID; the caller frees in any case. (tokenizer_json.c) */
rs_status rs_tokenizer_parse(rs_tokenizer *tokenizer, const char *path, const char *text, size_t n);

/* ---- Encoding ---- */

/* Words met in this call and their ids. */
typedef struct rs_word_slot {
    uint64_t hash;
    uint32_t key_at, key_n; /* key_n 0: empty */
    uint32_t ids_at, ids_n;
} rs_word_slot;
typedef struct rs_word_cache {
    rs_word_slot *slots;
    size_t mask, n;
    rs_text keys;
    rs_tokens ids;
} rs_word_cache;

/* The state of one call of encode. Zeroed but for tokenizer and out. */
typedef struct rs_encoder {
    const rs_tokenizer *tokenizer;
    rs_tokens *out;
    rs_matcher matcher;
    rs_word_cache cache;
    rs_tokens symbols;    /* of the word at hand */
    rs_text normal, swap; /* normalizer's output and its second buffer */
    rs_text prefixed;     /* a piece with the space that add_prefix_space puts before it */
} rs_encoder;

/* Character that byte-level spelling uses for a byte, and back (-1: none). */
uint32_t rs_byte_to_char(unsigned char byte);
int rs_char_to_byte(uint32_t cp);

/* Appends the ids of one pre-tokenized piece. (tokenizer_bpe.c) */
rs_status rs_bpe_encode(rs_encoder *encoder, const char *text, size_t n);
void rs_word_cache_free(rs_word_cache *cache);

/* Runs text through the stages and each piece through BPE. (tokenizer_split.c) */
rs_status rs_splits_run(rs_encoder *encoder, const char *text, size_t n);

/* The part of a text up to the next added token, or the token. Zero-initialise but for trie, text, n. (tokenizer_added.c) */
typedef struct rs_added_scan {
    const rs_trie *trie;
    const char *text;
    size_t n;
    size_t at;    /* where the search goes on */
    size_t taken; /* text before this was handed out */
    bool held;    /* a token follows the text part handed out last */
    int32_t held_id;
    size_t held_start, held_stop;
} rs_added_scan;
void rs_trie_init(rs_trie *trie);
void rs_trie_add(rs_trie *trie, const char *spelling, size_t n, int32_t added);
void rs_trie_free(rs_trie *trie);
/* False at the end. *id: the token, or -1 for text[*start..*stop). */
rs_status rs_added_next(rs_encoder *encoder, rs_added_scan *scan, bool *found, int32_t *id, size_t *start, size_t *stop);

/* Applies the normalizer; the result is encoder->normal. (tokenizer_split.c) */
void rs_edits_run(const rs_tokenizer *tokenizer, const char *text, size_t n, rs_text *out, rs_text *swap);

#endif
