/* Drawing without repetition: words, numbers, uuids and letters of one sample, all distinct; and depths that cover 0..1 evenly over
 * samples. */
#ifndef RS_TASKS_DRAW_H
#define RS_TASKS_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

typedef enum rs_draw_kind { RS_DRAW_WORD, RS_DRAW_NUMBER, RS_DRAW_UUID, RS_DRAW_UPPER, RS_DRAW_LOWER } rs_draw_kind;
#define RS_DRAW_CHOICES "word|number|uuid"
rs_draw_kind rs_draw_kind_of(const char *choice); /* one of RS_DRAW_CHOICES */

/* Digests of what was given out, in open addressing. Two texts of one digest (2^-64 each pair) count as the same: harmless. */
typedef struct rs_seen {
    uint64_t *slots; /* 0: free */
    size_t n, cap;
} rs_seen;
bool rs_seen_add(rs_seen *seen, const char *text); /* false: it was there */
void rs_seen_free(rs_seen *seen);

typedef struct rs_drawer {
    rs_rng *rng;   /* borrowed */
    rs_seen *seen; /* borrowed; shared by drawers whose texts must differ */
    rs_draw_kind kind;
    int digits;         /* NUMBER: how many; the first is not 0. UPPER, LOWER: how many letters A..Z, a..z */
    char *const *words; /* WORD: borrowed; NULL: built-in "adjective-noun" */
    size_t n_words;
    uint32_t *order; /* WORD: what is left is order[n_taken..n_words); owned */
    size_t n_taken;
    const char *avoid; /* all but WORD: borrowed text, of n_avoid bytes, in which no drawn text occurs; NULL: none */
    size_t n_avoid;
} rs_drawer;

void rs_drawer_init(rs_drawer *drawer, rs_rng *rng, rs_seen *seen, rs_draw_kind kind, int digits, char *const *words, size_t n_words);
void rs_drawer_free(rs_drawer *drawer);
/* A text that `seen` had not; NULL when there is none left (words) or none found in many tries (numbers). Freed by the caller. */
char *rs_drawer_next(rs_drawer *drawer);
/* Any text of this kind, repeats allowed, even if seen. Freed by the caller. */
char *rs_drawer_any(rs_drawer *drawer);

/* A depth in [0, 1) for doc_id: steps of the golden ratio from an offset drawn for (seed, name, context), so that any run of samples
 * covers all depths evenly and no sample depends on how many there are. */
double rs_draw_depth(uint64_t seed, const char *name, int64_t context, int64_t doc_id);

#endif
