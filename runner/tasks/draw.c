#include "tasks/draw.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "tasks/words.h"

enum { MAX_DRAWS = 1000 };

rs_draw_kind rs_draw_kind_of(const char *choice)
{
    return choice[0] == 'w' ? RS_DRAW_WORD : choice[0] == 'n' ? RS_DRAW_NUMBER : RS_DRAW_UUID;
}

static bool insert(uint64_t *slots, size_t cap, uint64_t digest)
{
    size_t i = (size_t)digest & (cap - 1);
    while (slots[i] != 0 && slots[i] != digest)
        i = (i + 1) & (cap - 1);
    bool is_new = slots[i] == 0;
    slots[i] = digest;
    return is_new;
}

bool rs_seen_add(rs_seen *seen, const char *text)
{
    if (2 * (seen->n + 1) > seen->cap) {
        size_t cap = seen->cap ? 2 * seen->cap : 64;
        uint64_t *slots = rs_alloc(cap, sizeof *slots);
        for (size_t i = 0; i < seen->cap; i++)
            if (seen->slots[i] != 0)
                insert(slots, cap, seen->slots[i]);
        free(seen->slots);
        seen->slots = slots;
        seen->cap = cap;
    }
    uint64_t digest = rs_hash64(text, strlen(text));
    bool is_new = insert(seen->slots, seen->cap, digest ? digest : 1);
    seen->n += is_new;
    return is_new;
}

void rs_seen_free(rs_seen *seen)
{
    free(seen->slots);
    *seen = (rs_seen){0};
}

void rs_drawer_init(rs_drawer *drawer, rs_rng *rng, rs_seen *seen, rs_draw_kind kind, int digits, char *const *words, size_t n_words)
{
    *drawer = (rs_drawer){.rng = rng, .seen = seen, .kind = kind, .digits = digits, .words = words, .n_words = n_words};
    if (kind != RS_DRAW_WORD)
        return;
    if (words == NULL)
        drawer->n_words = (size_t)RS_N_ADJECTIVES * RS_N_NOUNS;
    drawer->order = rs_alloc(drawer->n_words, sizeof *drawer->order);
    for (size_t i = 0; i < drawer->n_words; i++)
        drawer->order[i] = (uint32_t)i;
}

void rs_drawer_free(rs_drawer *drawer)
{
    free(drawer->order);
    drawer->order = NULL;
}

static char *word(const rs_drawer *drawer, size_t i)
{
    if (drawer->words)
        return rs_strdup(drawer->words[i]);
    return rs_format("%s-%s", rs_adjectives[i / RS_N_NOUNS], rs_nouns[i % RS_N_NOUNS]);
}

static char *number(rs_drawer *drawer)
{
    uint64_t first = 1;
    for (int i = 1; i < drawer->digits; i++)
        first *= 10;
    return rs_format("%llu", (unsigned long long)(first + rs_rng_below(drawer->rng, 9 * first)));
}

static char *uuid(rs_drawer *drawer)
{
    unsigned long long a = rs_rng_next(drawer->rng), b = rs_rng_next(drawer->rng);
    return rs_format("%08llx-%04llx-4%03llx-%04llx-%012llx", a >> 32, a >> 16 & 0xFFFF, a & 0xFFF, (b >> 48 & 0x3FFF) | 0x8000,
                     b & 0xFFFFFFFFFFFF);
}

static char *letters(rs_drawer *drawer, char first)
{
    rs_text text = {0};
    for (int i = 0; i < drawer->digits; i++) {
        char letter = (char)(first + (int)rs_rng_below(drawer->rng, 26));
        rs_text_append(&text, &letter, 1);
    }
    return text.data;
}

char *rs_drawer_any(rs_drawer *drawer)
{
    switch (drawer->kind) {
    case RS_DRAW_WORD:
        return word(drawer, (size_t)rs_rng_below(drawer->rng, drawer->n_words));
    case RS_DRAW_NUMBER:
        return number(drawer);
    case RS_DRAW_UUID:
        return uuid(drawer);
    default:
        return letters(drawer, drawer->kind == RS_DRAW_UPPER ? 'A' : 'a');
    }
}

/* One step of a Fisher-Yates shuffle. */
static char *next_word(rs_drawer *drawer)
{
    size_t left = drawer->n_words - drawer->n_taken;
    if (left == 0)
        return NULL;
    size_t j = drawer->n_taken + (size_t)rs_rng_below(drawer->rng, left);
    uint32_t taken = drawer->order[j];
    drawer->order[j] = drawer->order[drawer->n_taken];
    drawer->order[drawer->n_taken++] = taken;
    return word(drawer, taken);
}

char *rs_drawer_next(rs_drawer *drawer)
{
    bool words = drawer->kind == RS_DRAW_WORD;
    for (int tries = 0; words || tries < MAX_DRAWS; tries++) { /* words run out by themselves */
        char *text = words ? next_word(drawer) : rs_drawer_any(drawer);
        if (text == NULL)
            return NULL;
        bool avoided = !words && drawer->avoid && memmem(drawer->avoid, drawer->n_avoid, text, strlen(text)) != NULL;
        if (!avoided && rs_seen_add(drawer->seen, text))
            return text;
        free(text);
    }
    return NULL;
}

double rs_draw_depth(uint64_t seed, const char *name, int64_t context, int64_t doc_id)
{
    rs_rng rng;
    char *key = rs_format("%s/depth", name);
    rs_rng_init(&rng, seed, key, (uint64_t)context, 0);
    free(key);
    uint64_t turns = rs_rng_next(&rng) + (uint64_t)doc_id * 0x9E3779B97F4A7C15u; /* 2^64 divided by the golden ratio */
    return (double)(turns >> 11) * 0x1p-53;
}
