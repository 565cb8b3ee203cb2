/* nll by position: a point's records put together, bucket by bucket. */
#ifndef RS_REPORT_POSITIONS_H
#define RS_REPORT_POSITIONS_H

#include <stddef.h>
#include <stdint.h>

#include "report/record.h"
#include "score/stats.h"

/* Of the scored tokens that have `from` to `to` tokens before them. */
typedef struct rs_position {
    int64_t from, to, n_tokens;
    rs_estimate nll_per_token; /* error: over the samples that score such tokens */
} rs_position;

/* One bucket's parts of all samples. */
typedef struct rs_position_column {
    rs_position_sum *items; /* owned */
    size_t n, cap;
} rs_position_column;

/* Zero-initialise. */
typedef struct rs_positions {
    rs_position_column columns[RS_POSITION_BUCKETS];
    bool incomplete; /* a record lacks its parts: what the others say is not the point's */
} rs_positions;

void rs_positions_clear(rs_positions *positions); /* keeps the memory */
void rs_positions_free(rs_positions *positions);
/* Takes in the parts of a record that has nll. */
void rs_positions_add(rs_positions *positions, const rs_record *record);
/* The buckets that hold tokens, in order; *n: how many. Owned by the caller; NULL and 0 where a record lacked its parts. */
rs_position *rs_positions_estimate(const rs_positions *positions, int *n);

#endif
