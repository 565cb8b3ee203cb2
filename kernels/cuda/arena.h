/* Who has which part of one large block: first fit, neighbours joined when given back. Arithmetic over offsets only; the memory itself is
 * the caller's. */
#ifndef RS_CUDA_ARENA_H
#define RS_CUDA_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { RS_CUDA_ALIGNMENT = 256 }; /* of every part: what kernels and matrix products want at most */

typedef struct rs_cuda_span {
    size_t offset, bytes;
    bool taken;
} rs_cuda_span;

typedef struct rs_cuda_arena {
    rs_cuda_span *spans; /* the whole block, in order; no two free ones are neighbours */
    size_t n, cap;
    size_t total, free;
} rs_cuda_arena;

/* total is rounded down to whole alignments. */
void rs_cuda_arena_open(rs_cuda_arena *arena, size_t total);
void rs_cuda_arena_close(rs_cuda_arena *arena);

/* Fails with RS_NO_MEMORY: what was asked for what, the largest part that is free, all that is free, the total. */
rs_status rs_cuda_arena_take(rs_cuda_arena *arena, size_t bytes, const char *what, size_t *offset);
/* offset: as take gave it. */
void rs_cuda_arena_give(rs_cuda_arena *arena, size_t offset);
size_t rs_cuda_arena_largest(const rs_cuda_arena *arena);

#endif
