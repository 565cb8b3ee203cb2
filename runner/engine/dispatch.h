/* Who does what: rank 0 runs a small server thread, beside its own worker or alone, that gives units to the first rank of each replica as
 * engine/schedule.h says and takes their records. Nobody asks for units: a replica says once what it has room for, and the server answers
 * records. Messages are bytes through sharding/comm.h on a communicator of their own, and short, so that sending never waits for a
 * replica that computes. */
#ifndef RS_ENGINE_DISPATCH_H
#define RS_ENGINE_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pulse.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/looks.h"
#include "engine/progress.h"
#include "engine/schedule.h"
#include "plan/plan.h"
#include "report/journal.h"
#include "sharding/comm.h"

/* --- rank 0 --- */

typedef struct rs_server rs_server;

typedef struct rs_server_setup {
    rs_comm *comm; /* every rank of the world, for these messages only */
    const rs_plan *plan;
    int replicas, tensor, first_rank;    /* replica r is led by rank first_rank + r * tensor; ranks below
                                          * first_rank wait for the end */
    rs_schedule *schedule;               /* of these replicas, with units; the server thread is its only user between start and join */
    rs_looks *looks;                     /* likewise */
    rs_journal *journal;                 /* likewise */
    rs_progress *progress;               /* likewise */
    rs_status (*on_stop)(void *context); /* called once, from the server thread, when a stop is asked for: write what is known */
    void *on_stop_context;
    double patience; /* seconds after a stop in which every replica must have ended, or the job is aborted with 75 */
    rs_pulse *pulse; /* the server thread's; NULL: nobody watches it */
} rs_server_setup;

rs_status rs_server_start(const rs_server_setup *setup, rs_server **out);
/* Waits until every replica has said that it is done; *stopped: not all units were handed out because a stop was asked for. Frees. */
rs_status rs_server_join(rs_server *server, bool *stopped);

/* --- the first rank of a replica --- */

/* This replica has room for so many tokens and units at once. */
rs_status rs_client_join(rs_comm *comm, int64_t tokens, int64_t units);

typedef struct rs_orders {
    rs_unit *units; /* to compute; freed by the caller */
    int64_t n, cap;
    bool stop; /* a stop was asked for: there are no more units */
    bool over; /* all records are there: drop what others have done meanwhile */
} rs_orders;

/* Appends what the server has sent since the last time; does not wait. */
rs_status rs_client_take_orders(rs_comm *comm, rs_orders *orders);
/* Puts a record's JSON into what is to be sent; tokens for the progress line. */
void rs_client_add_record(rs_text *outbox, rs_unit unit, int64_t tokens, const char *json, size_t n);
/* Sends what there is in one message, and empties it: a step's records cost rank 0 and the replica one wait for each other. */
rs_status rs_client_send_records(rs_comm *comm, rs_text *outbox);
/* A record's sums of attention, ahead of the record: where that stands in the journal, these do. */
rs_status rs_client_send_diagnostics(rs_comm *comm, const char *json, size_t n);
/* This replica has finished, with this status; the message is the thread's error. */
rs_status rs_client_done(rs_comm *comm, rs_status result);

/* --- any rank --- */

/* Tells the server of a signal that this rank got. */
rs_status rs_client_ask_stop(rs_comm *comm);

#endif
