/* What each point's difference from the baseline is worth, and what each variant (rope, softmax) does over tasks and lengths. Works variant
 * by variant, so that memory holds one variant's samples and resampled values beside the baseline's. */
#ifndef RS_REPORT_JUDGING_H
#define RS_REPORT_JUDGING_H

#include "report/results.h"

typedef struct rs_judging rs_judging;

/* Writes to results->points[].evidence and results->variants. */
rs_judging *rs_judging_open(rs_results *results);
/* The samples of a done point, and those of the baseline at the same task and context: NULL where they are not done, or for the baseline
 * itself. They are read before this returns; the baseline's are the same at every call for a task and context. */
void rs_judging_add(rs_judging *judging, int64_t point, const rs_sample_rows *rows, const rs_sample_rows *baseline);
/* All points of a variant have been added: those of the plan from `first` up to `end`. */
void rs_judging_variant(rs_judging *judging, int64_t first, int64_t end);
/* All variants have. Adjusts p for the families of comparisons: all points of the report, one metric each (that of the tables; another
 * metric that would give the same p has the same p_holm, others have none); all tasks, all lengths, and all overall means of all variants.
 * Frees. */
void rs_judging_close(rs_judging *judging);

#endif
