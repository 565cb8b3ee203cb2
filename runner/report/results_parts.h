/* What the files that evaluate results share. */
#ifndef RS_REPORT_RESULTS_PARTS_H
#define RS_REPORT_RESULTS_PARTS_H

#include "report/results.h"

/* What one pass over a point's records gathers. */
typedef struct rs_gathering {
    const rs_plan_task *task;
    rs_sample_rows *rows;
    const rs_key_tokens *keys; /* NULL: none are known */
    int64_t n_extra;           /* that ran */
    rs_sum seconds;
    char *reason;
    rs_splits *splits; /* NULL: not wanted */
    rs_depths *depths;       /* likewise */
    rs_text *samples;        /* NULL: the lines of samples.jsonl are not wanted */
    const rs_text *columns;  /* of the point, in front of each of its lines */
} rs_gathering;

/* Passes over a point's records; what rows and samples held before is gone. result (NULL: not wanted) gets state, n, seconds and reason.
 * Several threads may do so at once after rs_journal_hold. */
rs_status rs_results_gather(const rs_results *results, int64_t point, rs_gathering *g, rs_point_result *result);

/* Sets the plan's samples of points that stopped early to those that they took; *any: of one at least. */
rs_status rs_results_stop(rs_results *results, bool *any);

#endif
