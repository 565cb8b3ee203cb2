/* Finds a rank that died, stopped or stands still, names it with its host and what it was at, and ends the job.
 *
 * Each rank has a small thread. It looks at the pulses of its process, beats to rank 0 and has each beat answered, one at a time, so that a
 * rank that does not listen blocks nobody. Rank 0 judges all ranks (engine/verdict.h); the others judge rank 0 by its answers, a little
 * later; and each looks after one process of its own host, of whose end the kernel tells at once. A verdict is one line on stderr. What was
 * found until then stays in the journal, rank 0 writes reports of it if that takes no longer than some seconds, and the job ends with exit
 * code 75. A process that was stopped itself, and goes on, blames nobody for that time. */
#ifndef RS_ENGINE_WATCH_H
#define RS_ENGINE_WATCH_H

#include "base/pulse.h"
#include "base/status.h"
#include "sharding/comm.h"

typedef struct rs_watch rs_watch;

/* The calling thread's pulse is watched from here on. limit: seconds; 0, or one rank alone: nobody watches. Collective over world. */
rs_status rs_watch_open(rs_comm *world, double limit, rs_watch **out);
/* Waits until every rank has come here. NULL is fine. Collective over world. */
void rs_watch_close(rs_watch *watch);

/* The pulse of another thread of this process, for rs_pulse_attach; NULL where nobody watches. Once. */
rs_pulse *rs_watch_second_pulse(rs_watch *watch);
/* A rank's host, up to the first dot. */
const char *rs_watch_host(const rs_watch *watch, int rank);

#endif
