/* Byte-pair encoding: the lowest-ranked merge first, the leftmost of equals, until none is left. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/pulse.h"
#include "model/tokenizer_parts.h"

enum {
    SHORT_WORD = 64,       /* symbols; merged by search, longer ones by a heap */
    CACHED_BYTES = 64,     /* longest word that the cache takes */
    CACHED_WORDS = 1 << 18 /* then it takes no more: texts that never repeat must not fill the memory */
};

uint32_t rs_byte_to_char(unsigned char byte)
{
    /* GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for U+0100, U+0101, ... in order. */
    if ((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD))
        return byte;
    uint32_t rank = byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7Fu + 33 : 67;
    return 0x100 + rank;
}

int rs_char_to_byte(uint32_t cp)
{
    if (cp < 0x100)
        return rs_byte_to_char((unsigned char)cp) == cp ? (int)cp : -1;
    if (cp > 0x143)
        return -1;
    uint32_t rank = cp - 0x100;
    return (int)(rank <= 0x20 ? rank : rank <= 66 ? rank - 33 + 0x7F : 0xAD);
}

static void push(rs_tokens *tokens, int32_t id)
{
    RS_PUSH(tokens->ids, tokens->n, tokens->cap, id);
}

static void push_all(rs_tokens *tokens, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        push(tokens, ids[i]);
}

/* ---- Words to symbols ---- */

/* Appends the byte tokens of a character, if there is one for each of its bytes. */
static bool push_fallback(const rs_bpe *bpe, const char *spelling, size_t n, rs_tokens *symbols)
{
    for (size_t i = 0; i < n; i++)
        if (bpe->byte_ids[(unsigned char)spelling[i]] < 0)
            return false;
    for (size_t i = 0; i < n; i++)
        push(symbols, bpe->byte_ids[(unsigned char)spelling[i]]);
    return true;
}

/* Appends the symbol of one character. *unk_due: an <unk> stands before the next known character; Hugging Face lets byte
 * tokens overtake it, and so do we. */
static void push_character(const rs_bpe *bpe, const char *spelling, size_t n, rs_tokens *symbols, bool *unk_due)
{
    int32_t id = rs_vocab_find_model(&bpe->vocab, spelling, n);
    if (id >= 0) {
        if (*unk_due)
            push(symbols, bpe->unk);
        *unk_due = false;
        push(symbols, id);
    } else if (!bpe->byte_fallback || !push_fallback(bpe, spelling, n, symbols)) {
        if (bpe->unk < 0)
            return;
        if (*unk_due && !bpe->fuse_unk)
            push(symbols, bpe->unk);
        *unk_due = true;
    }
}

static void to_symbols(const rs_bpe *bpe, const char *word, size_t n, rs_tokens *symbols)
{
    bool unk_due = false;
    symbols->n = 0;
    for (size_t i = 0; i < n;) {
        size_t length = 1;
        if (!bpe->byte_level) {
            rs_utf8_decode(word + i, &length);
            push_character(bpe, word + i, length, symbols, &unk_due);
        } else if (!unk_due && bpe->byte_ids[(unsigned char)word[i]] >= 0) {
            push(symbols, bpe->byte_ids[(unsigned char)word[i]]);
        } else {
            char spelling[4];
            push_character(bpe, spelling, rs_utf8_encode(rs_byte_to_char((unsigned char)word[i]), spelling), symbols, &unk_due);
        }
        i += length;
    }
    if (unk_due)
        push(symbols, bpe->unk);
}

/* ---- Merging ---- */

#define NO_RANK UINT32_MAX

static uint32_t rank_of(const rs_bpe *bpe, int32_t left, int32_t right)
{
    const rs_merge *merge = rs_merges_find(&bpe->merges, left, right);
    return merge ? merge->rank : NO_RANK;
}

/* Merges in place; quadratic, and faster than a heap for a word. Returns the number of symbols left. */
static size_t merge_short(const rs_bpe *bpe, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_WORD]; /* of the pair that starts at a symbol */
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = bpe->merges.id_of_rank[ranks[best]];
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (n - best - 2) * sizeof *ranks);
        n--;
        if (best > 0)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
        if (best + 1 < n)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
    }
    return n;
}

/* Pairs that can merge, the first to go on top: rank << 32 | position of the left symbol. A 4-ary heap. */
typedef struct heap {
    uint64_t *items;
    size_t n, cap;
} heap;

static void sift_down(heap *h, size_t i, uint64_t item)
{
    for (;;) {
        size_t child = 4 * i + 1;
        if (child >= h->n)
            break;
        size_t end = child + 4 < h->n ? child + 4 : h->n;
        size_t least = child;
        for (size_t c = child + 1; c < end; c++)
            if (h->items[c] < h->items[least])
                least = c;
        if (h->items[least] >= item)
            break;
        h->items[i] = h->items[least];
        i = least;
    }
    h->items[i] = item;
}

static void heap_order(heap *h)
{
    for (size_t i = h->n / 4 + 1; i-- > 0;)
        if (i < h->n)
            sift_down(h, i, h->items[i]);
}

static void heap_push(heap *h, uint64_t item)
{
    RS_PUSH(h->items, h->n, h->cap, item);
    size_t i = h->n - 1;
    while (i > 0 && h->items[(i - 1) / 4] > item) {
        h->items[i] = h->items[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    h->items[i] = item;
}

static uint64_t heap_pop(heap *h)
{
    uint64_t top = h->items[0];
    uint64_t last = h->items[--h->n];
    if (h->n > 0)
        sift_down(h, 0, last);
    return top;
}

typedef struct link {
    int32_t previous, next; /* positions, or -1 */
} link;

static void offer_pair(const rs_bpe *bpe, heap *h, const int32_t *ids, int32_t left, int32_t right)
{
    uint32_t rank = rank_of(bpe, ids[left], ids[right]);
    if (rank != NO_RANK)
        heap_push(h, (uint64_t)rank << 32 | (uint32_t)left);
}

/* Merges the pair that `item` names, if it still stands. */
static void merge_one(const rs_bpe *bpe, heap *h, int32_t *ids, link *links, uint64_t item)
{
    int32_t at = (int32_t)(uint32_t)item;
    int32_t id = bpe->merges.id_of_rank[item >> 32];
    int32_t right = links[at].next;
    if (ids[at] < 0 || right < 0)
        return;
    const rs_merge *merge = rs_merges_find(&bpe->merges, ids[at], ids[right]);
    if (merge == NULL || merge->id != id)
        return;
    ids[at] = id;
    ids[right] = -1;
    links[at].next = links[right].next;
    if (links[at].next >= 0) {
        links[links[at].next].previous = at;
        offer_pair(bpe, h, ids, at, links[at].next);
    }
    if (links[at].previous >= 0)
        offer_pair(bpe, h, ids, links[at].previous, at);
}

/* Merges in place in O(n log n); *n becomes the number of symbols left. */
static rs_status merge_long(const rs_bpe *bpe, int32_t *ids, size_t *n)
{
    void *memory;
    RS_TRY(rs_try_alloc(&memory, *n, sizeof(link), "tokenizer: symbols of one word"));
    link *links = memory;
    heap h = {0};
    for (size_t i = 0; i < *n; i++) {
        links[i] = (link){.previous = (int32_t)i - 1, .next = i + 1 < *n ? (int32_t)i + 1 : -1};
        uint32_t rank = i + 1 < *n ? rank_of(bpe, ids[i], ids[i + 1]) : NO_RANK;
        if (rank != NO_RANK)
            RS_PUSH(h.items, h.n, h.cap, (uint64_t)rank << 32 | i);
    }
    heap_order(&h);
    while (h.n > 0)
        merge_one(bpe, &h, ids, links, heap_pop(&h));
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (ids[i] >= 0)
            ids[kept++] = ids[i];
    *n = kept;
    free(h.items);
    free(links);
    return RS_OK;
}

/* ---- Words ---- */

static rs_word_slot *cache_slot(const rs_word_cache *cache, uint64_t hash, const char *word, size_t n)
{
    size_t i = (size_t)hash & cache->mask;
    for (;; i = (i + 1) & cache->mask) {
        rs_word_slot *slot = &cache->slots[i];
        if (slot->key_n == 0 || (slot->hash == hash && slot->key_n == n && memcmp(cache->keys.data + slot->key_at, word, n) == 0))
            return slot;
    }
}

static void cache_grow(rs_word_cache *cache)
{
    rs_word_slot *old = cache->slots;
    size_t old_size = old ? cache->mask + 1 : 0;
    size_t size = old ? 4 * old_size : 256;
    cache->slots = rs_alloc(size, sizeof *cache->slots);
    cache->mask = size - 1;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].key_n > 0)
            *cache_slot(cache, old[i].hash, cache->keys.data + old[i].key_at, old[i].key_n) = old[i];
    free(old);
}

static void cache_put(rs_word_cache *cache, uint64_t hash, const char *word, size_t n, const rs_tokens *symbols)
{
    if (cache->n >= CACHED_WORDS)
        return;
    if (2 * (cache->n + 1) > cache->mask)
        cache_grow(cache);
    *cache_slot(cache, hash, word, n) = (rs_word_slot){.hash = hash,
                                                       .key_at = (uint32_t)cache->keys.n,
                                                       .key_n = (uint32_t)n,
                                                       .ids_at = (uint32_t)cache->ids.n,
                                                       .ids_n = (uint32_t)symbols->n};
    rs_text_append(&cache->keys, word, n);
    push_all(&cache->ids, symbols->ids, symbols->n);
    cache->n++;
}

void rs_word_cache_free(rs_word_cache *cache)
{
    free(cache->slots);
    rs_text_free(&cache->keys);
    rs_tokens_free(&cache->ids);
}

static rs_status merge_word(rs_encoder *encoder, const char *word, size_t n)
{
    const rs_bpe *bpe = &encoder->tokenizer->bpe;
    rs_tokens *symbols = &encoder->symbols;
    to_symbols(bpe, word, n, symbols);
    if (symbols->n > INT32_MAX)
        return rs_fail(RS_INVALID, "tokenizer: one word of %zu symbols is more than it takes", symbols->n);
    if (symbols->n > SHORT_WORD)
        return merge_long(bpe, symbols->ids, &symbols->n);
    symbols->n = merge_short(bpe, symbols->ids, symbols->n);
    return RS_OK;
}

static rs_status encode_word(rs_encoder *encoder, const char *word, size_t n)
{
    rs_pulse_tick();
    rs_word_cache *cache = &encoder->cache;
    uint64_t hash = 0;
    if (n <= CACHED_BYTES) {
        hash = rs_hash64(word, n);
        const rs_word_slot *slot = cache->slots ? cache_slot(cache, hash, word, n) : NULL;
        if (slot && slot->key_n > 0) {
            push_all(encoder->out, cache->ids.ids + slot->ids_at, slot->ids_n);
            return RS_OK;
        }
    }
    RS_TRY(merge_word(encoder, word, n));
    push_all(encoder->out, encoder->symbols.ids, encoder->symbols.n);
    if (n <= CACHED_BYTES)
        cache_put(cache, hash, word, n, &encoder->symbols);
    return RS_OK;
}

/* Id of a piece that is itself a token (for ignore_merges), or -1. */
static int32_t whole_piece(const rs_bpe *bpe, const char *text, size_t n)
{
    enum { LONGEST = 1024 }; /* no vocabulary has a longer token that a text could spell */
    char spelling[4 * LONGEST];
    if (!bpe->byte_level)
        return rs_vocab_find_model(&bpe->vocab, text, n);
    if (n > LONGEST)
        return -1;
    size_t length = 0;
    for (size_t i = 0; i < n; i++)
        length += rs_utf8_encode(rs_byte_to_char((unsigned char)text[i]), spelling + length);
    return rs_vocab_find_model(&bpe->vocab, spelling, length);
}

static rs_status encode_between_seams(rs_encoder *encoder, const char *text, size_t n)
{
    const rs_seams *seams = &encoder->tokenizer->bpe.seams;
    size_t start = 0, length;
    uint32_t left = rs_utf8_decode(text, &length);
    for (size_t i = length; i < n; i += length) {
        uint32_t right = rs_utf8_decode(text + i, &length);
        if (rs_seams_between(seams, left, right)) {
            RS_TRY(encode_word(encoder, text + start, i - start));
            start = i;
        }
        left = right;
    }
    return encode_word(encoder, text + start, n - start);
}

rs_status rs_bpe_encode(rs_encoder *encoder, const char *text, size_t n)
{
    const rs_bpe *bpe = &encoder->tokenizer->bpe;
    if (bpe->ignore_merges) {
        int32_t id = whole_piece(bpe, text, n);
        if (id >= 0) {
            push(encoder->out, id);
            return RS_OK;
        }
    }
    return bpe->byte_level ? encode_word(encoder, text, n) : encode_between_seams(encoder, text, n);
}
