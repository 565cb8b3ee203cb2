/* One replica at work: its first rank takes orders from rank 0's server, tells its group, and all of the group step together. */
#ifndef RS_ENGINE_REPLICA_H
#define RS_ENGINE_REPLICA_H

#include "base/status.h"
#include "engine/worker.h"
#include "report/report.h"
#include "sharding/comm.h"

typedef struct rs_replica_setup {
    rs_comm *group, *messages; /* the ranks of this replica; engine/dispatch.h's */
    double grace;              /* seconds after a stop in which samples that have begun may end */
    rs_worker_setup worker;    /* without emit; room that ranks of the group have in common counts */
} rs_replica_setup;

/* Until all work of the run is done, or a stop is asked for and what has begun is done or the grace is over. Adds to the facts' times and
 * samples. Collective over the group. */
rs_status rs_replica_work(const rs_replica_setup *setup, rs_replica_facts *facts);
/* A rank that only stands by rank 0's server: sleeps until all work is done, but tells of a signal. */
rs_status rs_replica_wait(rs_comm *messages);

#endif
