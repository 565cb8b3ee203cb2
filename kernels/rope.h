/* Rotary position embedding as data. A variant is host code (fp64) that fills an rs_rope; kernels read the tables made from it
 * and never know a variant's name. One file of rope_variants/ and one row of rope.c's table add a variant.
 * Formulas: docs/design.md; sources stand in each variant's file. */
#ifndef RS_KERNELS_ROPE_H
#define RS_KERNELS_ROPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/param.h"
#include "base/status.h"

enum { RS_MAX_PAIRS = 256, RS_MAX_SEGMENTS = 3, RS_MAX_KEY_SETS = 2 };

/* Which positions a query at m and a key at j are rotated to. The keys 0..m of a query fall into n_segments runs, far to near:
 * run s holds start(m, s) <= j < start(m, s + 1), with start(m, 0) = 0 and start(m, n_segments) = m + 1; a run may be empty.
 * Within a run the query is rotated to query_position(m, s) and the key to key_position(j, key_set[s]); a key is rotated once a
 * key set, so the cache holds n_key_sets copies. Plain RoPE: one run, one set, both positions the token's own. */
typedef struct rs_position_map {
    const char *name;              /* what kind of map; with the numbers below it names the functions in the digest. Borrowed, static */
    int n_segments;                /* 1..RS_MAX_SEGMENTS */
    int n_key_sets;                /* 1..RS_MAX_KEY_SETS */
    int key_set[RS_MAX_SEGMENTS];  /* of each segment */
    double window, group, leak, chunk, span; /* what the functions below need; meaning is the variant's own */
    int64_t (*start)(const struct rs_position_map *map, int64_t m, int segment);
    double (*query_position)(const struct rs_position_map *map, int64_t m, int segment);
    double (*key_position)(const struct rs_position_map *map, int64_t j, int key_set);
} rs_position_map;

typedef struct rs_rope {
    int head_dim;
    int rotary_dim;                 /* even, <= head_dim; pair k is (k, k + rotary_dim/2); dims beyond pass through */
    double inv_freq[RS_MAX_PAIRS];  /* [rotary_dim/2], radians per position; 0: the pair does not rotate */
    double attention_factor;        /* multiplies cos and sin of queries and keys */
    double query_gain[RS_MAX_PAIRS]; /* [rotary_dim/2], times the pair's part of the logit (applied to the query only) */
    rs_position_map map;
    bool alibi;                     /* adds -slope_h * (m - j) to the scaled logit, slope_h = 2^(-8 (h+1) / n_heads), h from 0 */
    int skip_every;                 /* layers l (from 0) with (l + 1) % skip_every == 0 are not rotated; 0: all rotate */
    bool prefix_stable;             /* what is computed for a position does not depend on the sequence's final length */
} rs_rope;

typedef struct rs_rope_variant {
    const char *name;               /* rope_type */
    const char *summary;            /* one line for `ropesweep list rope` */
    const char *source;
    const rs_param_spec *params;
    /* Fills *out, which comes zeroed but for head_dim and the defaults of plain RoPE (see rs_rope_init_plain). params are
     * filled. n_final: tokens of the sequence, prompt and generated. Message on failure: key and value, no place. */
    rs_status (*build)(const rs_params *params, int64_t n_final, rs_rope *out);
    bool length_dependent;          /* build reads n_final */
} rs_rope_variant;

/* All variants, in the order `list` prints; NULL-terminated array of pointers. */
extern const rs_rope_variant *const rs_rope_variants[];
/* By rope_type; aliases ("proportional") included: variants of their own keys that are not in the list. NULL if unknown. */
const rs_rope_variant *rs_rope_variant_find(const char *name);

/* Builds the table for one entry. params must be filled (rs_params_fill with the model's facts).
 * Checks for every variant: head_dim even and <= 2*RS_MAX_PAIRS, all frequencies finite, attention factor finite and > 0. */
rs_status rs_rope_build(const rs_rope_variant *variant, const rs_params *params, int head_dim, int64_t n_final, rs_rope *out);

/* Digest of all that enters the arithmetic (inv_freq, factor, gains, rotary_dim, map, alibi, skip_every). */
rs_digest rs_rope_digest(const rs_rope *rope);

/* Whether layer l (from 0) is rotated. */
bool rs_rope_rotates(const rs_rope *rope, int layer);

/* cos and sin for one list of positions, angles in fp64, rounded once to fp32, attention factor included.
 * positions: [n]; cos_out, sin_out: [n, rotary_dim/2] with row stride `stride` floats. */
void rs_rope_table(const rs_rope *rope, const double *positions, int64_t n, float *cos_out, float *sin_out, int64_t stride);

/* Reference rotation of one head vector, fp64: x [head_dim] -> y [head_dim]. For tests and for reading. */
void rs_rope_rotate(const rs_rope *rope, double position, const double *x, double *y);

/* --- for the files of rope_variants/ --- */
void rs_rope_init_plain(rs_rope *rope, int head_dim); /* identity map, factor 1, gains 1, all dims rotary, prefix_stable */
/* inv_freq[k] = base^(-2k/dim), k < dim/2 */
void rs_rope_fill_default(double base, int dim, double *inv_freq);

#endif
