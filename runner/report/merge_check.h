/* What may be merged: plans of one sweep, and records that do not contradict each other. */
#ifndef RS_REPORT_MERGE_CHECK_H
#define RS_REPORT_MERGE_CHECK_H

#include "report/journal.h"
#include "report/plan_file.h"

/* A folder to be merged. */
typedef struct rs_merge_part {
    const char *folder;
    rs_journal *journal;
    rs_plan_file plan;
} rs_merge_part;

/* RS_INVALID where the two are not parts of one sweep: both folders and what differs are named. */
rs_status rs_merge_check_plans(const rs_merge_part *part, const rs_merge_part *first);

/* RS_INVALID where both have a sample and not the same of it; *shared: how many they share. */
rs_status rs_merge_check_records(const rs_merge_part *part, const rs_merge_part *other, int64_t *shared);

#endif
