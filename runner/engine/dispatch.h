/* Who does what: rank 0 runs a small server thread beside its own worker; the first rank of each replica asks it for units and sends it
 * records. Longest units go first, those that a look at earlier samples asks for behind them, and the last ones in ever smaller hands, so
 * that no replica idles long. Messages are bytes through sharding/comm.h on a communicator of their own. */
#ifndef RS_ENGINE_DISPATCH_H
#define RS_ENGINE_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/looks.h"
#include "engine/progress.h"
#include "plan/plan.h"
#include "report/journal.h"
#include "sharding/comm.h"

/* --- rank 0 --- */

typedef struct rs_server rs_server;

typedef struct rs_server_setup {
    rs_comm *comm; /* every rank of the world, for these messages only */
    const rs_plan *plan;
    const rs_unit *units; /* in the order they are handed out; borrowed */
    int64_t n_units;
    int replicas, tensor;                /* replica r is led by rank r * tensor */
    rs_looks *looks;                     /* likewise the server thread's while it runs */
    rs_journal *journal;                 /* the server thread is its only user between start and join */
    rs_progress *progress;               /* likewise */
    rs_status (*on_stop)(void *context); /* called once, from the server thread, when a stop is asked for: write what is known */
    void *on_stop_context;
    int grace_seconds; /* after a stop: how long replicas may take before the job is aborted with 75 */
} rs_server_setup;

rs_status rs_server_start(const rs_server_setup *setup, rs_server **out);
/* Waits until every replica has said that it is done; *stopped: not all units were handed out because a stop was asked for. Frees. */
rs_status rs_server_join(rs_server *server, bool *stopped);

/* --- the first rank of a replica --- */

/* Asks for units of about `tokens` tokens. None: *later says whether there may be some later, when records of others have come; else there
 * is no work left, or the run stops. units freed by the caller. */
rs_status rs_client_request(rs_comm *comm, int64_t tokens, rs_unit **units, int64_t *n, bool *later);
/* A record's JSON; point and tokens for the progress line. */
rs_status rs_client_send_record(rs_comm *comm, int64_t point, int64_t tokens, const char *json, size_t n);
/* This replica has finished, with this status; the message is the thread's error. */
rs_status rs_client_done(rs_comm *comm, rs_status result);
/* Whether the server asks to drop everything. */
rs_status rs_client_stop_asked(rs_comm *comm, bool *stop);

/* --- any rank --- */

/* Tells the server of a signal that this rank got. */
rs_status rs_client_ask_stop(rs_comm *comm);

#endif
