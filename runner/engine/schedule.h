/* Which units a replica gets now: a function of what was asked and answered so far, without messages, threads or a clock of its own, so
 * that tests/sim drives the same code as a run does.
 *
 * Units go longest first. A replica holds at most half of what its speed entitles it to of all that is not done, so hands shrink towards
 * the end, down to single units, and none ends much later than the others. Speeds are learnt from the records. An idle replica leaves a
 * unit that is too long for it to a faster one that would end it sooner. When none are left to hand out, idle replicas compute once more
 * what another seems to be late with; the first record counts, and which one it is shows in no result, since a record's bits do not depend
 * on its replica. */
#ifndef RS_ENGINE_SCHEDULE_H
#define RS_ENGINE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "plan/plan.h"

typedef struct rs_schedule rs_schedule;

/* What one sample of a point takes. */
typedef struct rs_unit_cost {
    double seconds; /* in any one unit of time or work: only ratios count */
    int64_t tokens; /* of a replica's caches */
} rs_unit_cost;

/* costs [n_points], copied. Replicas are numbered from 0. */
rs_schedule *rs_schedule_open(const rs_unit_cost *costs, int64_t n_points, int replicas);
void rs_schedule_close(rs_schedule *schedule); /* NULL is fine */

/* More units, at the beginning and later. Those of one point are handed out in this order. */
void rs_schedule_add(rs_schedule *schedule, const rs_unit *units, int64_t n);
/* The replica can take units: `tokens` of caches and `units` at once. Times are seconds and never go back. */
void rs_schedule_join(rs_schedule *schedule, int replica, int64_t tokens, int64_t units);
/* What the replica gets now: at most `most` units; 0: it has enough, or there are none for it. To be asked again when it got `most`, when
 * it has returned a record, and now and then while it is idle. */
int64_t rs_schedule_take(rs_schedule *schedule, int replica, double now, rs_unit *units, int64_t most);
/* The replica has returned this unit's record. Whether it is the first of this unit. */
bool rs_schedule_done(rs_schedule *schedule, int replica, int64_t ticket, double now);

/* Whether the replica has joined and holds nothing. */
bool rs_schedule_idle(const rs_schedule *schedule, int replica);
/* Whether every unit added so far has its record. */
bool rs_schedule_over(const rs_schedule *schedule);
/* Work without a record, in costs' unit. */
double rs_schedule_left(const rs_schedule *schedule);
/* Memory it takes now. */
int64_t rs_schedule_bytes(const rs_schedule *schedule);

#endif
