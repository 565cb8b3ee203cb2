/* The hash tables of BPE: spellings, merges, seams. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

static size_t power_of_two_above(size_t n)
{
    size_t size = 64;
    while (size < n)
        size *= 2;
    return size;
}

/* The slot that holds the spelling, or the empty one where it belongs. */
static rs_vocab_slot *find_slot(const rs_vocab *vocab, uint64_t hash, const char *spelling, size_t n)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    for (size_t i = (size_t)hash & vocab->mask;; i = (i + 1) & vocab->mask) {
        rs_vocab_slot *slot = &vocab->slots[i];
        if (slot->n == RS_NO_SPELLING || (slot->tag == tag && slot->n == n && memcmp(vocab->bytes.data + slot->at, spelling, n) == 0))
            return slot;
    }
}

static void put_slot(rs_vocab *vocab, int32_t id)
{
    const rs_vocab_entry *entry = &vocab->entries[id];
    const char *spelling = vocab->bytes.data + entry->at;
    uint64_t hash = rs_hash64(spelling, entry->n);
    rs_vocab_slot *slot = find_slot(vocab, hash, spelling, entry->n);
    assert(slot->n == RS_NO_SPELLING);
    *slot = (rs_vocab_slot){.tag = (uint32_t)(hash >> 32), .id = id, .at = entry->at, .n = entry->n};
}

void rs_vocab_reserve(rs_vocab *vocab, size_t n)
{
    size_t size = power_of_two_above(2 * n);
    free(vocab->slots);
    vocab->slots = rs_alloc(size, sizeof *vocab->slots);
    vocab->mask = size - 1;
    for (size_t i = 0; i < size; i++)
        vocab->slots[i].n = RS_NO_SPELLING;
    for (size_t id = 0; id < vocab->n; id++)
        if (vocab->entries[id].present)
            put_slot(vocab, (int32_t)id);
}

void rs_vocab_add(rs_vocab *vocab, const char *spelling, size_t n, int32_t id, bool in_model)
{
    assert(id >= 0 && id <= RS_TOKEN_ID_MAX);
    rs_vocab_entry absent = {0};
    while (vocab->n <= (size_t)id)
        RS_PUSH(vocab->entries, vocab->n, vocab->cap, absent);
    assert(!vocab->entries[id].present);
    if (vocab->slots == NULL || 4 * (vocab->n_used + 1) > 3 * vocab->mask)
        rs_vocab_reserve(vocab, 2 * (vocab->n_used + 1));
    uint32_t at = (uint32_t)vocab->bytes.n; /* the file is smaller than 4 GiB */
    rs_text_append(&vocab->bytes, spelling, n);
    vocab->entries[id] =
        (rs_vocab_entry){.at = at, .n = (uint32_t)n, .present = true, .in_model = in_model, .normal_at = at, .normal_n = (uint32_t)n};
    put_slot(vocab, id);
    vocab->n_used++;
}

int32_t rs_vocab_find(const rs_vocab *vocab, const char *spelling, size_t n)
{
    if (vocab->slots == NULL)
        return -1;
    const rs_vocab_slot *slot = find_slot(vocab, rs_hash64(spelling, n), spelling, n);
    return slot->n == RS_NO_SPELLING ? -1 : slot->id;
}

int32_t rs_vocab_find_model(const rs_vocab *vocab, const char *spelling, size_t n)
{
    int32_t id = rs_vocab_find(vocab, spelling, n);
    return id >= 0 && vocab->entries[id].in_model ? id : -1;
}

void rs_vocab_free(rs_vocab *vocab)
{
    rs_text_free(&vocab->bytes);
    free(vocab->entries);
    free(vocab->slots);
    *vocab = (rs_vocab){0};
}

void rs_merges_init(rs_merges *merges, size_t n)
{
    size_t size = power_of_two_above(n + n / 2 + 1);
    merges->slots = rs_alloc(size, sizeof *merges->slots);
    merges->mask = size - 1;
    merges->id_of_rank = rs_alloc(n, sizeof *merges->id_of_rank);
    merges->n = n;
}

void rs_merges_put(rs_merges *merges, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t pair = rs_merges_pair(left, right);
    size_t i = rs_merges_hash(pair) & merges->mask;
    while (merges->slots[i].pair != 0 && merges->slots[i].pair != pair)
        i = (i + 1) & merges->mask;
    merges->slots[i] = (rs_merge){.pair = pair, .rank = rank, .id = id};
    merges->id_of_rank[rank] = id;
}

void rs_merges_free(rs_merges *merges)
{
    free(merges->slots);
    free(merges->id_of_rank);
    *merges = (rs_merges){0};
}

static size_t joined_bit(uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    return (size_t)((pair ^ pair >> 21) * 0x9E3779B97F4A7C15u >> (64 - RS_SEAM_BITS));
}

static bool bit(const uint64_t *bits, size_t i)
{
    return bits[i >> 6] >> (i & 63) & 1;
}

static void set_bit(uint64_t *bits, size_t i)
{
    bits[i >> 6] |= (uint64_t)1 << (i & 63);
}

void rs_seams_init(rs_seams *seams)
{
    seams->known = rs_alloc(0x110000 / 64, sizeof *seams->known);
    seams->joined = rs_alloc(((size_t)1 << RS_SEAM_BITS) / 64, sizeof *seams->joined);
}

void rs_seams_know(rs_seams *seams, uint32_t cp)
{
    set_bit(seams->known, cp);
}

void rs_seams_join(rs_seams *seams, uint32_t left, uint32_t right)
{
    set_bit(seams->joined, joined_bit(left, right));
}

bool rs_seams_between_any(const rs_seams *seams, uint32_t left, uint32_t right)
{
    /* An unknown character is no seam: runs of them fuse into one <unk>, and those that vanish make their neighbours meet. */
    return !bit(seams->joined, joined_bit(left, right)) && bit(seams->known, left) && bit(seams->known, right);
}

void rs_seams_finish(rs_seams *seams)
{
    for (uint32_t left = 0; left < 128; left++)
        for (uint32_t right = 0; right < 128; right++)
            if (rs_seams_between_any(seams, left, right))
                set_bit(seams->ascii[left], right);
}

void rs_seams_free(rs_seams *seams)
{
    free(seams->known);
    free(seams->joined);
}
