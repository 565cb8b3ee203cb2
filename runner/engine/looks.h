/* Points that stop early (`stop_width`): how many of its samples each wants so far. A point is looked at when it and the baseline's point
 * of its task and context hold all samples up to a size of a fixed schedule, and nothing else is looked at: not which sample came first,
 * who made it, or how often the run was cut off. So every run, on any number of replicas, stops every point at the same sample; reports
 * come to the same number from the records alone (report/stops.c). The baseline goes on as long as any of its points does. Points without a
 * rule want all at once. */
#ifndef RS_ENGINE_LOOKS_H
#define RS_ENGINE_LOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "plan/plan.h"
#include "report/journal.h"

typedef struct rs_looks rs_looks;

/* Looks at this shard's points as far as the journal's records go. Borrows the plan. */
rs_status rs_looks_open(const rs_plan *plan, const rs_journal *journal, rs_looks **out);
void rs_looks_close(rs_looks *looks); /* NULL is fine */

/* The point's first so many samples are wanted. */
int64_t rs_looks_wanted(const rs_looks *looks, int64_t point);
/* Whether samples may come to be wanted that are not yet. */
bool rs_looks_pending(const rs_looks *looks);
/* A record has come, as its JSON. What is wanted now and was not before goes onto units [n, cap]. */
rs_status rs_looks_take(rs_looks *looks, int64_t point, const char *json, size_t bytes, rs_unit **units, int64_t *n, int64_t *cap);

#endif
