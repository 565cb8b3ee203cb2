/* A communicator over device memory, so that sums need not pass through the host.
 *
 * rs_comm_gather, rs_comm_exchange and rs_comm_broadcast take device pointers, are queued in a stream and return before they are done.
 * rs_comm_barrier is queued too: what follows it in the stream begins when every rank's stream has come so far. Sums are the caller's: an
 * exchange, additions in rank order, a gather. Messages, sums and splits fail with RS_INTERNAL: `group` has them.
 *
 * Failures. An operation that fails, or does not finish in time, cannot be returned to anyone: other ranks wait in it for ever. Each
 * rank has a thread that watches, finds out from the others who holds them up, and ends the job (exit code 1) after one line on stderr. */
#ifndef RS_SHARDING_COMM_DEVICE_H
#define RS_SHARDING_COMM_DEVICE_H

#include "sharding/comm.h"

typedef struct rs_comm_nccl_options {
    rs_comm *group;                 /* the same ranks over host memory; borrowed */
    rs_comm *world;                 /* the job to end; borrowed */
    int device;                     /* of those that this process sees; one rank of the group a device */
    void *(*stream)(void *context); /* the cudaStream_t to queue in, asked at each operation */
    void *context;
    double timeout_seconds; /* that an operation may take after what was queued before it: as long as ranks may be apart */
} rs_comm_nccl_options;

/* Tag of messages on `group` that belong to the watching threads. */
enum { RS_COMM_WATCH_TAG = 32766 };

/* "nccl": RS_INVALID with the reason where NCCL cannot serve (not built, no device, two ranks on one device). "auto": then *out is NULL and
 * *why says so (the thread's, until the next call). "mpi", or a group of one: *out is NULL. All ranks get the same. Collective over group;
 * closing is too, and comes after the graphs that hold its operations are gone. */
rs_status rs_comm_device_open(const char *kind, const rs_comm_nccl_options *options, rs_comm **out, const char **why);

/* The same for "nccl" alone, in the module ropesweep_nccl.so. The calling thread is the one that queues; `device` becomes its current. */
typedef rs_status rs_comm_nccl_opener(const rs_comm_nccl_options *options, rs_comm **out);
rs_comm_nccl_opener rs_comm_nccl_open;

#endif
