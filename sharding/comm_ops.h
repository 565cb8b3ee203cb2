/* What a way of communicating implements: the operations of comm.h. Private to sharding/comm*.c. */
#ifndef RS_SHARDING_COMM_OPS_H
#define RS_SHARDING_COMM_OPS_H

#include "sharding/comm.h"

typedef struct rs_comm_ops {
    rs_status (*split)(rs_comm *comm, int colour, rs_comm **out);
    void (*close)(rs_comm *comm);
    void (*abort)(rs_comm *world, int exit_code);
    rs_status (*sum)(rs_comm *comm, float *data, size_t n);
    rs_status (*gather)(rs_comm *comm, const void *mine, size_t bytes, void *all);
    rs_status (*exchange)(rs_comm *comm, const void *send, size_t bytes, void *receive);
    rs_status (*broadcast)(rs_comm *comm, void *data, size_t bytes, int root);
    rs_status (*barrier)(rs_comm *comm);
    rs_status (*send)(rs_comm *comm, int to, int tag, const void *data, size_t bytes);
    rs_status (*receive)(rs_comm *comm, int from, int tag, int *sender, void **data, size_t *bytes);
    rs_status (*poll)(rs_comm *comm, int tag, bool *waiting);
    rs_status (*local)(rs_comm *comm, int *local_rank, int *local_size);
} rs_comm_ops;

/* The first member of every implementation's own struct. */
struct rs_comm {
    const rs_comm_ops *ops;
    int rank, size;
};

/* MPI may hang where a peer is gone, whatever it was asked for: past these seconds the process ends itself with this exit code. Called
 * once, when nothing is left but to end. */
void rs_comm_end_within(unsigned seconds, int exit_code);

#endif
