/* Ranks talking to each other: the few collectives tensor parallelism needs and the messages the scheduler needs, behind one
 * header. comm_local: one rank, no library. comm_mpi: Open MPI (the only user of mpi.h).
 * Sums are taken in rank order whatever the length, so that a value's bits do not depend on what else is in the buffer.
 *
 * Threads: collectives on one communicator are called by one thread at a time, in the same order on every rank; at the same time other
 * threads may use other communicators, and any thread may send, receive and poll on any of them.
 * While a call waits for other ranks the thread's pulse (base/pulse.h) says so.
 * Failures: every function names the operation, the rank and the library's reason; RS_INTERNAL. A rank whose collective failed cannot
 * tell the others: it calls rs_comm_abort. */
#ifndef RS_SHARDING_COMM_H
#define RS_SHARDING_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rs_comm rs_comm;

/* The world: MPI's when started under mpirun or srun (or alone: one rank, about 0.3 s). argc/argv as main got them. Once a process. */
rs_status rs_comm_world_open(int *argc, char ***argv, rs_comm **out);
/* A world of one rank without MPI: for subcommands and tests. */
rs_comm *rs_comm_local_open(void);
/* Ranks with equal colour (0 or more) form one communicator, ordered by rank. Collective. Messages of one are not seen on the other. */
rs_status rs_comm_split(rs_comm *comm, int colour, rs_comm **out);
/* Frees; for the world: finalises MPI (collective; communicators split from it are closed before; where that hangs the process ends 40 s
 * later). NULL is fine. */
void rs_comm_close(rs_comm *comm);
/* Ends every rank of the job at once with this exit code, and this process within 5 s whatever MPI does. The caller has said why on stderr.
 * Does not return. */
void rs_comm_abort(rs_comm *world, int exit_code) __attribute__((noreturn));

int rs_comm_rank(const rs_comm *comm);
int rs_comm_size(const rs_comm *comm);

/* data[i] = ((data of rank 0)[i] + (data of rank 1)[i]) + ...; every rank gets the same bits. Scratch memory is bounded whatever n. */
rs_status rs_comm_sum(rs_comm *comm, float *data, size_t n);
/* all [size, bytes]: every rank's block, in rank order; bytes is the same on every rank. */
rs_status rs_comm_gather(rs_comm *comm, const void *mine, size_t bytes, void *all);
/* send, receive [size, bytes], apart: block i of send goes to rank i, block i of receive came from rank i. */
rs_status rs_comm_exchange(rs_comm *comm, const void *send, size_t bytes, void *receive);
rs_status rs_comm_broadcast(rs_comm *comm, void *data, size_t bytes, int root);
rs_status rs_comm_barrier(rs_comm *comm);

/* Messages of up to 2 GiB - 1 bytes between two ranks of `comm` (tag 0 to 32766), from any thread. Messages from one rank with one tag
 * arrive in the order they were sent. Returns when `data` may be reused; a long message waits for its receiver, and waiting sleeps. */
rs_status rs_comm_send(rs_comm *comm, int to, int tag, const void *data, size_t bytes);
/* Waits, asleep most of the time, for a message with this tag; *data (NULL if it has no bytes) is freed by the caller with free(). from: a
 * rank or RS_ANY_RANK; the sender is stored in *sender (may be NULL). */
enum { RS_ANY_RANK = -1 };
rs_status rs_comm_receive(rs_comm *comm, int from, int tag, int *sender, void **data, size_t *bytes);
/* Whether a message with this tag waits. */
rs_status rs_comm_poll(rs_comm *comm, int tag, bool *waiting);

/* Ranks of this host, counted in rank order: *local_rank of *local_size. Collective. */
rs_status rs_comm_local(rs_comm *comm, int *local_rank, int *local_size);

#endif
