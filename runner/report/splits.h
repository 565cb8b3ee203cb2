/* nll by position and by distance: a point's records put together, bucket by bucket. */
#ifndef RS_REPORT_SPLITS_H
#define RS_REPORT_SPLITS_H

#include <stddef.h>
#include <stdint.h>

#include "report/record.h"
#include "score/stats.h"

/* Of the scored tokens whose value of the split is `from` to `to`. */
typedef struct rs_bucket {
    int64_t from, to, n_tokens;
    rs_estimate nll_per_token; /* error: over the samples that score such tokens */
} rs_bucket;

/* One split of a point: the buckets that hold tokens, in order. */
typedef struct rs_split_result {
    rs_bucket *buckets; /* [n], NULL for none. Owned */
    int n;
} rs_split_result;

/* One bucket's parts of all samples. */
typedef struct rs_split_column {
    rs_part *items; /* owned */
    size_t n, cap;
} rs_split_column;

/* Zero-initialise. */
typedef struct rs_splits {
    rs_split_column columns[RS_N_SPLITS][RS_BUCKETS];
    bool incomplete[RS_N_SPLITS]; /* a record lacks its parts: what the others say is not the point's */
} rs_splits;

void rs_splits_clear(rs_splits *splits); /* keeps the memory */
void rs_splits_free(rs_splits *splits);
/* Takes in the parts of a record that has nll. */
void rs_splits_add(rs_splits *splits, const rs_record *record);
/* No buckets where a record lacked its parts. */
rs_split_result rs_splits_estimate(const rs_splits *splits, rs_split split);

#endif
