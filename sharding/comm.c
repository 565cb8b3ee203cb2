/* comm.h's functions: what every implementation would check, then the implementation. */
#include "sharding/comm.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "sharding/comm_ops.h"

enum { MAX_TAG = 32766 }; /* MPI guarantees 32767; the last is comm_mpi's own, for sums */

rs_status rs_comm_split(rs_comm *comm, int colour, rs_comm **out)
{
    assert(colour >= 0);
    *out = NULL;
    return comm->ops->split(comm, colour, out);
}

void rs_comm_close(rs_comm *comm)
{
    if (comm)
        comm->ops->close(comm);
}

void rs_comm_abort(rs_comm *world, int exit_code)
{
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
    return n == 0 || comm->size == 1 ? RS_OK : comm->ops->sum(comm, data, n);
}

rs_status rs_comm_gather(rs_comm *comm, const void *mine, size_t bytes, void *all)
{
    return bytes == 0 ? RS_OK : comm->ops->gather(comm, mine, bytes, all);
}

rs_status rs_comm_exchange(rs_comm *comm, const void *send, size_t bytes, void *receive)
{
    return bytes == 0 ? RS_OK : comm->ops->exchange(comm, send, bytes, receive);
}

rs_status rs_comm_broadcast(rs_comm *comm, void *data, size_t bytes, int root)
{
    assert(root >= 0 && root < comm->size);
    return bytes == 0 ? RS_OK : comm->ops->broadcast(comm, data, bytes, root);
}

rs_status rs_comm_barrier(rs_comm *comm)
{
    return comm->ops->barrier(comm);
}

rs_status rs_comm_send(rs_comm *comm, int to, int tag, const void *data, size_t bytes)
{
    assert(to >= 0 && to < comm->size && tag >= 0 && tag <= MAX_TAG);
    if (bytes > INT_MAX)
        return rs_fail(RS_INTERNAL, "send on rank %d: a message of %zu bytes to rank %d; at most %d can be sent", comm->rank, bytes, to,
                       INT_MAX);
    return comm->ops->send(comm, to, tag, data, bytes);
}

rs_status rs_comm_receive(rs_comm *comm, int from, int tag, int *sender, void **data, size_t *bytes)
{
    assert((from == RS_ANY_RANK || (from >= 0 && from < comm->size)) && tag >= 0 && tag <= MAX_TAG);
    int ignored;
    *data = NULL;
    *bytes = 0;
    return comm->ops->receive(comm, from, tag, sender ? sender : &ignored, data, bytes);
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
