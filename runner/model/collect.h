/* Sums over the ranks of a group of what lies in a backend's memory. Always in the order of ranks (and of parts), so that a value's bits
 * depend on neither the way nor the length. Three ways: host memory is summed where it lies; device memory by a communicator that
 * works in the backend's stream; or through host memory. */
#ifndef RS_MODEL_COLLECT_H
#define RS_MODEL_COLLECT_H

#include "base/status.h"
#include "kernels/backend.h"
#include "sharding/comm.h"

typedef struct rs_collect {
    const rs_backend_ops *ops;
    rs_backend *backend;
    rs_comm *group;
    rs_comm *device; /* borrowed; NULL: no communicator in the stream */
    float *scratch;  /* device or host, by the way taken */
    size_t scratch_floats;
} rs_collect;

/* sum_floats, part_floats: the longest rs_collect_sum, and n_parts * n of the longest rs_collect_parts. With a
 * device communicator every n is a multiple of the group's size. */
rs_status rs_collect_open(rs_collect *collect, const rs_backend_ops *ops, rs_backend *backend, rs_comm *group, rs_comm *device,
                          size_t sum_floats, size_t part_floats);
void rs_collect_close(rs_collect *collect);

/* Whether sums are queued in the backend's stream (or there are none), so that the host does not wait for them. */
bool rs_collect_in_stream(const rs_collect *collect);

/* data [n] = the sum over ranks. */
rs_status rs_collect_sum(rs_collect *collect, float *data, size_t n);
/* y [n] = the sum over ranks, and over each rank's parts [n_parts, n]; n_parts is the same on every rank. */
rs_status rs_collect_parts(rs_collect *collect, const float *parts, int n_parts, size_t n, float *y);

#endif
