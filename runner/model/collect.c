#include "model/collect.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { STAGED = 1 << 22 }; /* floats that pass through host memory at a time */

rs_status rs_collect_open(rs_collect *c, const rs_backend_ops *ops, rs_backend *backend, rs_comm *group, rs_comm *device, size_t sum_floats,
                          size_t part_floats)
{
    size_t size = (size_t)rs_comm_size(group), most = sum_floats > part_floats ? sum_floats : part_floats;
    *c = (rs_collect){.ops = ops, .backend = backend, .group = group, .device = device};
    if (size == 1)
        return RS_OK;
    if (device) {
        c->scratch_floats = most;
        return ops->alloc(backend, most * sizeof(float), "sums over ranks", (void **)&c->scratch);
    }
    /* Parts of all ranks, and this rank's where they must be fetched first. */
    c->scratch_floats = part_floats * (ops->kind->host_memory ? size : size + 1);
    if (!ops->kind->host_memory && c->scratch_floats < STAGED)
        c->scratch_floats = STAGED;
    if (c->scratch_floats == 0)
        return RS_OK;
    return rs_try_alloc((void **)&c->scratch, c->scratch_floats, sizeof(float), "sums over ranks");
}

void rs_collect_close(rs_collect *c)
{
    if (c->device)
        c->ops->release(c->backend, c->scratch);
    else
        free(c->scratch);
    *c = (rs_collect){0};
}

bool rs_collect_in_stream(const rs_collect *c)
{
    return rs_comm_size(c->group) == 1 || c->device;
}

/* Every rank gets its share [n / size] of every rank's `parts` vectors, adds them rank by rank and part by part, and gives its sums to all.
 */
static rs_status sum_in_stream(rs_collect *c, const float *parts, int n_parts, size_t n, float *y)
{
    size_t size = (size_t)rs_comm_size(c->group), share = n / size;
    for (int part = 0; part < n_parts; part++)
        RS_TRY(rs_comm_exchange(c->device, parts + (size_t)part * n, share * sizeof(float), c->scratch + (size_t)part * n));
    for (size_t rank = 0; rank < size; rank++)
        for (int part = 0; part < n_parts; part++)
            if (rank > 0 || part > 0)
                RS_TRY(c->ops->add(c->backend, c->scratch, c->scratch + (size_t)part * n + rank * share, (int64_t)share));
    return rs_comm_gather(c->device, c->scratch, share * sizeof(float), y);
}

static rs_status sum_staged(rs_collect *c, float *data, size_t n)
{
    for (size_t done = 0; done < n; done += STAGED) {
        size_t now = n - done < STAGED ? n - done : STAGED;
        RS_TRY(c->ops->download(c->backend, c->scratch, data + done, now * sizeof(float)));
        RS_TRY(rs_comm_sum(c->group, c->scratch, now));
        RS_TRY(c->ops->upload(c->backend, data + done, c->scratch, now * sizeof(float)));
    }
    return RS_OK;
}

rs_status rs_collect_sum(rs_collect *c, float *data, size_t n)
{
    if (rs_comm_size(c->group) == 1)
        return RS_OK;
    if (c->device)
        return sum_in_stream(c, data, 1, n, data);
    if (c->ops->kind->host_memory)
        return rs_comm_sum(c->group, data, n);
    return sum_staged(c, data, n);
}

/* sum[0..n) += parts 1, 2, ... of all [n_all, n]: its first n floats become the sum. */
static void add_all(float *restrict all, size_t n_all, size_t n)
{
    for (size_t part = 1; part < n_all; part++) {
        const float *restrict from = all + part * n;
        for (size_t i = 0; i < n; i++)
            all[i] += from[i];
    }
}

rs_status rs_collect_parts(rs_collect *c, const float *parts, int n_parts, size_t n, float *y)
{
    size_t size = (size_t)rs_comm_size(c->group), mine = (size_t)n_parts * n, all_parts = (size_t)n_parts * size;
    if (c->device)
        return sum_in_stream(c, parts, n_parts, n, y);
    if (c->ops->kind->host_memory) {
        RS_TRY(rs_comm_gather(c->group, parts, mine * sizeof(float), c->scratch));
        memcpy(y, c->scratch, n * sizeof(float));
        for (size_t i = 1; i < all_parts; i++)
            RS_TRY(c->ops->add(c->backend, y, c->scratch + i * n, (int64_t)n));
        return RS_OK;
    }
    float *fetched = c->scratch + all_parts * n;
    RS_TRY(c->ops->download(c->backend, fetched, parts, mine * sizeof(float)));
    RS_TRY(rs_comm_gather(c->group, fetched, mine * sizeof(float), c->scratch));
    add_all(c->scratch, all_parts, n);
    return c->ops->upload(c->backend, y, c->scratch, n * sizeof(float));
}
