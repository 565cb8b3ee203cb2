#include "kernels/cuda/cuda.h"

static bool same(const rs_cuda_shape *a, const rs_cuda_shape *b)
{
    return a->n == b->n && a->n_decode == b->n_decode && a->n_general == b->n_general && a->decode_longest == b->decode_longest &&
           a->general_longest == b->general_longest;
}

rs_cuda_graph_entry *rs_cuda_graphs_visit(rs_cuda_graphs *graphs, const rs_cuda_shape *shape, bool *fresh, rs_cuda_graph **dropped)
{
    rs_cuda_graph_entry *entry = NULL, *oldest = graphs->entries;
    for (int i = 0; i < RS_CUDA_GRAPHS; i++) {
        rs_cuda_graph_entry *each = &graphs->entries[i];
        if (each->used && same(&each->shape, shape))
            entry = each;
        if (each->used < oldest->used)
            oldest = each;
    }
    *fresh = !entry;
    *dropped = NULL;
    if (!entry) {
        entry = oldest;
        *dropped = entry->graph;
        *entry = (rs_cuda_graph_entry){.shape = *shape};
    }
    entry->used = ++graphs->clock;
    return entry;
}

rs_status rs_cuda_replay(rs_backend *b, bool *done)
{
    const rs_cuda_prepared *step = &b->step;
    rs_cuda_shape shape = {.n = step->n,
                           .n_decode = step->counts[RS_CUDA_DECODE],
                           .n_general = step->counts[RS_CUDA_GENERAL],
                           .decode_longest = step->longest[RS_CUDA_DECODE],
                           .general_longest = step->longest[RS_CUDA_GENERAL]};
    rs_cuda_graph *dropped;
    bool fresh;
    rs_cuda_graph_entry *entry = rs_cuda_graphs_visit(&b->graphs, &shape, &fresh, &dropped);
    if (dropped)
        b->driver->graph_close(b->context, dropped);
    *done = entry->graph != NULL;
    if (*done)
        return b->driver->graph_launch(b->context, entry->graph);
    if (fresh)
        return RS_OK;
    RS_TRY(b->driver->graph_begin(b->context));
    b->recording = entry;
    return RS_OK;
}

rs_status rs_cuda_recorded(rs_backend *b)
{
    rs_cuda_graph_entry *entry = b->recording;
    if (!entry)
        return RS_OK;
    b->recording = NULL;
    RS_TRY(b->driver->graph_end(b->context, &entry->graph));
    return b->driver->graph_launch(b->context, entry->graph);
}

void rs_cuda_abandon(rs_backend *b)
{
    rs_cuda_graph *graph;
    if (b->recording && b->driver->graph_end(b->context, &graph) == RS_OK)
        b->driver->graph_close(b->context, graph);
    b->recording = NULL;
}

void rs_cuda_graphs_forget(rs_backend *b)
{
    for (int i = 0; i < RS_CUDA_GRAPHS; i++)
        if (b->graphs.entries[i].graph)
            b->driver->graph_close(b->context, b->graphs.entries[i].graph);
    b->graphs = (rs_cuda_graphs){0};
}
