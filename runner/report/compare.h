/* What the files of `compare A B` share: pairs of points, judged. */
#ifndef RS_REPORT_COMPARE_H
#define RS_REPORT_COMPARE_H

#include "report/gate.h"
#include "report/results.h"

typedef struct rs_compare_side {
    const char *folder;
    rs_journal *journal;
    rs_results *results;
    int64_t *unmatched; /* [n_unmatched] points that the other side does not have. Owned */
    int64_t n_unmatched, cap;
} rs_compare_side;

typedef struct rs_compared_side {
    rs_point_state state;
    int64_t n;
    rs_estimate value; /* where it is done */
} rs_compared_side;

/* One metric of a pair of points. */
typedef struct rs_compared {
    int64_t point; /* A's */
    int metric;
    rs_compared_side a, b;
    int64_t shared;         /* samples that both hold */
    rs_estimate difference; /* B - A: of these; where there are none, of all samples of both, which are then no pairs */
    rs_evidence evidence;   /* of that; p and p_holm of pairs only */
} rs_compared;

typedef struct rs_comparison {
    rs_compare_side a, b;
    rs_compared *items; /* in A's order of points */
    int64_t n, cap, n_pairs;
    rs_gate *gates;
    int n_gates;
    rs_text notes; /* of gates that fail */
} rs_comparison;

/* The same for points of two plans that have rope, softmax, context and task in common. */
rs_digest rs_compare_key(const rs_plan_file *plan, const rs_plan_point *point);
/* "yarn factor=4 / T=1" of A's point. Freed by the caller. */
char *rs_compare_label(const rs_plan_file *plan, const rs_plan_point *point);
/* Whether a gate has something to hold, and all of it holds. */
bool rs_gate_passes(const rs_gate *gate);

/* The table, the notes and the gates. */
void rs_compare_write_table(const rs_comparison *c, rs_text *out);
json_t *rs_compare_tree(const rs_comparison *c);

#endif
