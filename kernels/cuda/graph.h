/* Which decode steps are recorded: bookkeeping only, so that it can be tested alone.
 *
 * A step's shape is all that its launches depend on beside what stands in device memory at fixed addresses. The first step of a shape runs
 * as it comes, which grows every buffer to what it needs; the second is recorded; later ones are launched whole. */
#ifndef RS_CUDA_GRAPH_H
#define RS_CUDA_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/cuda/driver.h"

enum { RS_CUDA_GRAPHS = 16 }; /* shapes remembered */

typedef struct rs_cuda_shape {
    int64_t n;                               /* sequences, and rows */
    int64_t n_decode, n_general;             /* rows that each attention kernel takes */
    int64_t decode_longest, general_longest; /* keys that their workspaces are made for, which set the grids */
} rs_cuda_shape;

typedef struct rs_cuda_graph_entry {
    rs_cuda_shape shape;
    rs_cuda_graph *graph; /* NULL: seen, not recorded */
    uint64_t used;        /* time of the last visit; 0: empty */
} rs_cuda_graph_entry;

typedef struct rs_cuda_graphs {
    rs_cuda_graph_entry entries[RS_CUDA_GRAPHS];
    uint64_t clock;
} rs_cuda_graphs;

/* The entry of a shape, now the newest. *fresh: the shape was not known; the entry is then one that was empty or the least recently
 * visited, whose graph passes to *dropped (else NULL). */
rs_cuda_graph_entry *rs_cuda_graphs_visit(rs_cuda_graphs *graphs, const rs_cuda_shape *shape, bool *fresh, rs_cuda_graph **dropped);

#endif
