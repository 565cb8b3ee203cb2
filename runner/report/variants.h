/* A variant over several points: each task over all lengths, each length over all tasks, and all of it. */
#ifndef RS_REPORT_VARIANTS_H
#define RS_REPORT_VARIANTS_H

#include <stdbool.h>
#include <stdint.h>

#include "score/curve.h"
#include "score/evidence.h"

typedef enum rs_span { RS_OVER_LENGTHS, RS_OVER_TASKS, RS_OVER_ALL } rs_span;

/* A mean over points, each weighted alike: of the first metric of tasks that generate (`score`), or of nll per token. The two cannot be
 * averaged. */
typedef struct rs_aggregate {
    rs_span span;
    int task;        /* RS_OVER_LENGTHS; else -1 */
    int64_t context; /* RS_OVER_TASKS; else 0 */
    bool text;       /* of nll per token */
    int64_t points;  /* that it is the mean of */
    bool done;       /* all of them are; else nothing below is set */
    rs_estimate value;
    bool has_curve;   /* spans at least two lengths */
    rs_estimate area; /* under the curve over log2 of the length, over its width */
    rs_interval area_interval;
    rs_reach effective, relative; /* of a score: the longest length at the threshold; at 85 % of the shortest length's */
    bool has_versus;              /* the baseline's points are done, too */
    rs_estimate versus, area_versus;
    rs_evidence evidence;
    rs_interval area_versus_interval;
} rs_aggregate;

typedef struct rs_variant {
    int rope, softmax;
    rs_aggregate *items; /* by span; tasks and contexts in the order of the report's tables. Owned */
    int n;
} rs_variant;

/* What an aggregate is made from: one point's samples, in the cells of evidence.h. */
typedef struct rs_variant_cell {
    int task;
    int64_t context;
    bool text;
    bool there;          /* the variant has this point */
    bool done, paired;   /* it is done; the baseline's is, too */
    rs_cell level, pair; /* of the variant alone; against the baseline. Weights are the aggregate's to choose */
} rs_variant_cell;

/* All aggregates of one variant. cells: [n], by task, then context. threshold: of effective lengths. */
void rs_variant_judge(rs_variant *variant, const rs_variant_cell *cells, size_t n, double threshold);

#endif
