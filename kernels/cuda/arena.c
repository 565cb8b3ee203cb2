#include "kernels/cuda/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void rs_cuda_arena_open(rs_cuda_arena *arena, size_t total)
{
    *arena = (rs_cuda_arena){.total = total / RS_CUDA_ALIGNMENT * RS_CUDA_ALIGNMENT};
    arena->free = arena->total;
    RS_PUSH(arena->spans, arena->n, arena->cap, ((rs_cuda_span){.bytes = arena->total}));
}

void rs_cuda_arena_close(rs_cuda_arena *arena)
{
    free(arena->spans);
    *arena = (rs_cuda_arena){0};
}

size_t rs_cuda_arena_largest(const rs_cuda_arena *arena)
{
    size_t most = 0;
    for (size_t i = 0; i < arena->n; i++)
        if (!arena->spans[i].taken && arena->spans[i].bytes > most)
            most = arena->spans[i].bytes;
    return most;
}

static rs_status refuse(const rs_cuda_arena *arena, size_t bytes, const char *what)
{
    const double mib = 1024.0 * 1024.0;
    return rs_fail(RS_NO_MEMORY, "device memory: %s wants %.1f MiB; of %.1f MiB %.1f are free, %.1f in one piece", what,
                   (double)bytes / mib, (double)arena->total / mib, (double)arena->free / mib, (double)rs_cuda_arena_largest(arena) / mib);
}

/* Opens a gap of one span at i, or closes it. */
static void shift(rs_cuda_arena *arena, size_t i, bool open)
{
    size_t tail = (arena->n - i - (open ? 0 : 1)) * sizeof *arena->spans;
    if (open)
        RS_PUSH(arena->spans, arena->n, arena->cap, (rs_cuda_span){0});
    else
        arena->n--;
    memmove(&arena->spans[i + (open ? 1 : 0)], &arena->spans[i + (open ? 0 : 1)], tail);
}

rs_status rs_cuda_arena_take(rs_cuda_arena *arena, size_t bytes, const char *what, size_t *offset)
{
    if (bytes > arena->total)
        return refuse(arena, bytes, what);
    size_t need = bytes ? (bytes + RS_CUDA_ALIGNMENT - 1) / RS_CUDA_ALIGNMENT * RS_CUDA_ALIGNMENT : RS_CUDA_ALIGNMENT, i = 0;
    while (i < arena->n && (arena->spans[i].taken || arena->spans[i].bytes < need))
        i++;
    if (i == arena->n)
        return refuse(arena, bytes, what);
    if (arena->spans[i].bytes > need) {
        shift(arena, i, true);
        arena->spans[i + 1].offset += need;
        arena->spans[i + 1].bytes -= need;
        arena->spans[i].bytes = need;
    }
    arena->spans[i].taken = true;
    arena->free -= need;
    *offset = arena->spans[i].offset;
    return RS_OK;
}

static size_t find(const rs_cuda_arena *arena, size_t offset)
{
    size_t low = 0, high = arena->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (arena->spans[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void rs_cuda_arena_give(rs_cuda_arena *arena, size_t offset)
{
    size_t i = find(arena, offset);
    assert(arena->spans[i].taken && arena->spans[i].offset == offset);
    arena->spans[i].taken = false;
    arena->free += arena->spans[i].bytes;
    if (i + 1 < arena->n && !arena->spans[i + 1].taken) {
        arena->spans[i].bytes += arena->spans[i + 1].bytes;
        shift(arena, i + 1, false);
    }
    if (i > 0 && !arena->spans[i - 1].taken) {
        arena->spans[i - 1].bytes += arena->spans[i].bytes;
        shift(arena, i, false);
    }
}
