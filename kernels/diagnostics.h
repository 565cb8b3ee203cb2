/* What attention tells of itself while it runs: sums over a sequence's rows, for each layer and head, of numbers that describe a row's
 * coefficients. No n x n matrix exists anywhere. A row is one query position; its coefficients are the weights that mix the values (a
 * sink's own weight is not among them).
 *
 * Bits: every row's numbers depend on the row alone (backend.h), and each sum takes the rows in order, one after the other, in fp64. So the
 * sums depend neither on the batch, nor on how a prefill was cut, nor on ranks and threads. */
#ifndef RS_KERNELS_DIAGNOSTICS_H
#define RS_KERNELS_DIAGNOSTICS_H

#include <stddef.h>
#include <stdint.h>

enum { RS_MAX_OFFSETS = 18, RS_DIAGNOSTIC_BUCKETS = 31 };

/* Of one query head; logarithms are natural. Up to RS_HEAD_SPREAD a row has one number for each sum. */
typedef enum rs_head_sum {
    RS_HEAD_ENTROPY,        /* -sum a ln a */
    RS_HEAD_EFFECTIVE_N,    /* e^entropy */
    RS_HEAD_PARTICIPATION,  /* (sum a)^2 / sum a^2; 0 where a sink has all the weight */
    RS_HEAD_MAX,            /* the largest a */
    RS_HEAD_DISTANCE,       /* sum a (i - j) */
    RS_HEAD_SINK,           /* a of key 0 */
    RS_HEAD_INDUCTION,      /* a of the key `induction_offset` before the row; of rows from `induction_from` on only */
    RS_HEAD_ADAPTIVE,       /* 1 where the adaptive temperature acts: beta > 1 */
    RS_HEAD_VIOLATIONS,     /* 1 where a coefficient lies outside (1/n) e^(-+spread/temperature); NaN where the normalizer is no softmax */
    RS_HEAD_SPREAD,         /* max z - min z over the visible keys: z scaled, biased and capped, before any temperature */
    RS_HEAD_SPREAD_SQUARED, /* its square, for the deviation */
    RS_HEAD_SPREAD_MIN,     /* the smallest, and the largest, spread of a row */
    RS_HEAD_SPREAD_MAX,
    RS_HEAD_FIXED,
    RS_ROW_FIXED = RS_HEAD_SPREAD + 1 /* numbers of a row */
} rs_head_sum;

/* The sums of one sequence over one rank's heads (or, gathered, over all). A head's are RS_HEAD_FIXED numbers, then a of the key offsets[k]
 * before the row for each offset (0 where there is none), then entropies and largest a by bucket: bucket b has the rows that see 2^b to
 * 2^(b+1) - 1 keys. */
typedef struct rs_diagnostics {
    int n_layers, heads, kv_heads;
    int pairs;     /* head_dim / 2 */
    int n_buckets; /* enough for every row */
    int n_offsets;
    int64_t offsets[RS_MAX_OFFSETS];
    int64_t induction_offset, induction_from; /* offset -1: none */
    int64_t rows;                             /* that were summed; whoever makes the steps counts them */
    double *sums;
} rs_diagnostics;

/* What a config may ask to see of them. */
typedef enum rs_diagnostic {
    RS_SHOW_ENTROPY,
    RS_SHOW_SPREAD,
    RS_SHOW_POSITIONAL,
    RS_SHOW_NORMS,
    RS_SHOW_INDUCTION,
    RS_N_DIAGNOSTICS
} rs_diagnostic;
typedef struct rs_diagnostic_kind {
    const char *name, *summary;
} rs_diagnostic_kind;
extern const rs_diagnostic_kind rs_diagnostic_kinds[RS_N_DIAGNOSTICS];

/* rows: the most there will be. Offset 0, the diagonal, and 1, the previous token, stand first in every list. */
void rs_diagnostics_init(rs_diagnostics *diagnostics, int64_t rows);
void rs_diagnostics_free(rs_diagnostics *diagnostics);

size_t rs_diagnostics_count(const rs_diagnostics *diagnostics); /* of sums */
int rs_diagnostics_head_width(const rs_diagnostics *diagnostics);
double *rs_diagnostics_head(const rs_diagnostics *diagnostics, int layer, int head);
/* [pairs] sums of the norms of elements (k, k + pairs) after projection, before rotation: of query head `part`, then of the key heads, then
 * of the value heads. */
double *rs_diagnostics_norms(const rs_diagnostics *diagnostics, int layer, int part);

/* Takes in a row's numbers: RS_ROW_FIXED, then one an offset. visible: keys that it sees. */
void rs_diagnostics_add_row(const rs_diagnostics *diagnostics, double *head, const float *row, int64_t visible);
/* All sums of another sequence of the same shape; n_buckets may be smaller there. */
void rs_diagnostics_merge(rs_diagnostics *into, const rs_diagnostics *from);
/* Copies the sums of heads [0, part.heads) of `part` to heads first_head.. of `whole`, and those of its key and value heads likewise. */
void rs_diagnostics_place(rs_diagnostics *whole, const rs_diagnostics *part, int first_head, int first_kv_head);

static inline int rs_diagnostics_bucket(int64_t visible)
{
    return 63 - __builtin_clzll((unsigned long long)visible);
}

#endif
