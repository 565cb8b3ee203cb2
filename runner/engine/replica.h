/* One replica at work: its first rank takes orders from rank 0's server, tells its group, and all of the group step together. */
#ifndef RS_ENGINE_REPLICA_H
#define RS_ENGINE_REPLICA_H

#include "base/status.h"
#include "engine/worker.h"
#include "sharding/comm.h"

typedef struct rs_replica_setup {
    rs_comm *group, *messages; /* the ranks of this replica; engine/dispatch.h's */
    double grace;              /* seconds after a stop in which samples that have begun may end */
    rs_worker_setup worker;    /* without emit; room that ranks of the group have in common counts */
} rs_replica_setup;

/* Where its time went. Idle: no unit to compute, before the first and at the end too. */
typedef struct rs_replica_use {
    double seconds_busy, seconds_idle;
    int64_t samples;
} rs_replica_use;

/* Until all work of the run is done, or a stop is asked for and what has begun is done or the grace is over. Collective over the group. */
rs_status rs_replica_work(const rs_replica_setup *setup, rs_replica_use *use);

#endif
