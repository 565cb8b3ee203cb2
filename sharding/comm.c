/* comm.h's functions: what every implementation would check, then the implementation. */
#include "sharding/comm.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/pulse.h"
#include "sharding/comm_ops.h"

enum { MAX_TAG = 32766, ABORT_SECONDS = 5 }; /* MPI guarantees tag 32767; the last is comm_mpi's own, for sums */

static unsigned last_seconds;
static int last_code;

static void *leave(void *context)
{
    sleep(last_seconds);
    dprintf(STDERR_FILENO, "ropesweep: MPI did not end within %u s; leaving without it\n", last_seconds);
    _exit(last_code);
    return context;
}

void rs_comm_end_within(unsigned seconds, int exit_code)
{
    pthread_t thread;
    last_seconds = seconds;
    last_code = exit_code;
    if (pthread_create(&thread, NULL, leave, NULL) == 0)
        pthread_detach(thread);
}

/* Around calls that other ranks take part in: the thread's pulse shows that it waits for them. */
static void wait_for(const char *what, const rs_comm *comm)
{
    if (comm->size > 1)
        rs_pulse_wait(what, comm->size);
}

static rs_status resumed(rs_status status)
{
    rs_pulse_resume();
    return status;
}

rs_status rs_comm_split(rs_comm *comm, int colour, rs_comm **out)
{
    assert(colour >= 0);
    *out = NULL;
    wait_for("a split", comm);
    return resumed(comm->ops->split(comm, colour, out));
}

void rs_comm_close(rs_comm *comm)
{
    if (comm == NULL)
        return;
    wait_for("the others to close", comm);
    comm->ops->close(comm);
    rs_pulse_resume();
}

void rs_comm_abort(rs_comm *world, int exit_code)
{
    rs_comm_end_within(ABORT_SECONDS, exit_code);
    fflush(NULL);
    world->ops->abort(world, exit_code);
    _exit(exit_code);
}

int rs_comm_rank(const rs_comm *comm)
{
    return comm->rank;
}

int rs_comm_size(const rs_comm *comm)
{
    return comm->size;
}

rs_status rs_comm_sum(rs_comm *comm, float *data, size_t n)
{
    if (n == 0 || comm->size == 1)
        return RS_OK;
    wait_for("a sum", comm);
    return resumed(comm->ops->sum(comm, data, n));
}

rs_status rs_comm_gather(rs_comm *comm, const void *mine, size_t bytes, void *all)
{
    if (bytes == 0)
        return RS_OK;
    wait_for("a gather", comm);
    return resumed(comm->ops->gather(comm, mine, bytes, all));
}

rs_status rs_comm_exchange(rs_comm *comm, const void *send, size_t bytes, void *receive)
{
    if (bytes == 0)
        return RS_OK;
    wait_for("an exchange", comm);
    return resumed(comm->ops->exchange(comm, send, bytes, receive));
}

rs_status rs_comm_broadcast(rs_comm *comm, void *data, size_t bytes, int root)
{
    assert(root >= 0 && root < comm->size);
    if (bytes == 0)
        return RS_OK;
    wait_for("a broadcast", comm);
    return resumed(comm->ops->broadcast(comm, data, bytes, root));
}

rs_status rs_comm_barrier(rs_comm *comm)
{
    wait_for("a barrier", comm);
    return resumed(comm->ops->barrier(comm));
}

rs_status rs_comm_send(rs_comm *comm, int to, int tag, const void *data, size_t bytes)
{
    assert(to >= 0 && to < comm->size && tag >= 0 && tag <= MAX_TAG);
    if (bytes > INT_MAX)
        return rs_fail(RS_INTERNAL, "send on rank %d: a message of %zu bytes to rank %d; at most %d can be sent", comm->rank, bytes, to,
                       INT_MAX);
    wait_for("a receiver", comm);
    return resumed(comm->ops->send(comm, to, tag, data, bytes));
}

rs_status rs_comm_receive(rs_comm *comm, int from, int tag, int *sender, void **data, size_t *bytes)
{
    assert((from == RS_ANY_RANK || (from >= 0 && from < comm->size)) && tag >= 0 && tag <= MAX_TAG);
    int ignored;
    *data = NULL;
    *bytes = 0;
    wait_for("a message", comm);
    return resumed(comm->ops->receive(comm, from, tag, sender ? sender : &ignored, data, bytes));
}

rs_status rs_comm_poll(rs_comm *comm, int tag, bool *waiting)
{
    assert(tag >= 0 && tag <= MAX_TAG);
    return comm->ops->poll(comm, tag, waiting);
}

rs_status rs_comm_local(rs_comm *comm, int *local_rank, int *local_size)
{
    return comm->ops->local(comm, local_rank, local_size);
}
