/* The arithmetic of attention_hopper.cu that needs no GPU: where things lie in shared memory, how the tensor cores are told, who waits for
 * whom. tests/simt/test_hopper_layout.cpp checks it on the host. Section names are the PTX ISA's. */
#ifndef RS_CUDA_HOPPER_LAYOUT_H
#define RS_CUDA_HOPPER_LAYOUT_H

#include <stdint.h>

#include "kernels/cuda/kernels.h"

#if defined(__CUDACC__)
#define RS_EITHER static constexpr __host__ __device__ __forceinline__
#else
#define RS_EITHER static constexpr inline
#endif

/* A block is a producer warpgroup and two consumers, the halves, of 64 query rows each (the m64 of wgmma). */
enum {
    RS_HOPPER_GROUP = 128, /* threads of a warpgroup */
    RS_HOPPER_THREADS = 3 * RS_HOPPER_GROUP,
    RS_HOPPER_HALF = 64,       /* rows */
    RS_HOPPER_STAGES = 2,      /* tiles of keys, and of values, in shared memory */
    RS_HOPPER_LINE = 128,      /* bytes of a line: 64 elements, the width of the widest swizzle */
    RS_HOPPER_LINE_WIDTH = 64, /* elements */
    RS_HOPPER_PATTERN = 1024,  /* bytes after which the swizzle repeats: 8 lines. Tiles begin at multiples of it */
    RS_HOPPER_SHARED = 232448  /* what a block may have on compute capability 9.0 */
};

/* --- shared memory --- */

/* A tile [rows][head_dim] of bf16 lies as head_dim / 64 runs of `rows` lines: what a TMA box of 64 x rows writes under
 * CU_TENSOR_MAP_SWIZZLE_128B. Byte of an element ("Tensor Swizzling Modes"): 16-byte chunk c of line r lies at chunk c ^ (r % 8). */
RS_EITHER int rs_hopper_byte(int rows, int row, int column)
{
    int in_line = column % RS_HOPPER_LINE_WIDTH;
    int chunk = (in_line / 8) ^ (row % 8);
    return (column / RS_HOPPER_LINE_WIDTH * rows + row) * RS_HOPPER_LINE + chunk * 16 + in_line % 8 * 2;
}

/* Where a block's parts begin, in bytes from the first multiple of RS_HOPPER_PATTERN. Queries: one tile of 64 rows a half. Barriers (8
 * bytes each): full and empty of the stages of keys, then of values. */
template <int HEAD_DIM> struct rs_hopper_plan {
    static constexpr int keys = HEAD_DIM == 256 ? RS_CUDA_HOPPER_KEYS_256 : RS_CUDA_HOPPER_KEYS;
    static constexpr int half_bytes = RS_HOPPER_HALF * HEAD_DIM * 2;
    static constexpr int tile_bytes = keys * HEAD_DIM * 2;
    static constexpr int key_tiles = 2 * half_bytes;
    static constexpr int value_tiles = key_tiles + RS_HOPPER_STAGES * tile_bytes;
    static constexpr int barriers = value_tiles + RS_HOPPER_STAGES * tile_bytes;
    static constexpr int end = barriers + 4 * RS_HOPPER_STAGES * 8;
    static constexpr int bytes = end + RS_HOPPER_PATTERN - 16; /* dynamic shared memory begins at a multiple of 16 at least */
};

/* --- matrix descriptors --- */

/* "Matrix Descriptor Format" of wgmma: bits 0-13 start address, 16-29 leading and 32-45 stride dimension byte offset, each in units of 16
 * bytes; 49-51 base offset, 0 as tiles begin at multiples of the pattern; 62-63 swizzling mode, 1 for 128 bytes. */
RS_EITHER uint64_t rs_hopper_descriptor(uint32_t address, uint32_t leading, uint32_t stride)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}
/* Operands whose lines run along the inner dimension (queries, keys; "K-major"): the stride leads from 8 lines to the next 8; the leading
 * offset has no meaning under a swizzle that is as wide as a line. */
RS_EITHER uint64_t rs_hopper_by_lines(uint32_t tile)
{
    return rs_hopper_descriptor(tile, 16, RS_HOPPER_PATTERN);
}
/* Operands whose lines run along the outer dimension (values: key j is inner and a line; "MN-major"): the leading offset leads from 64
 * columns to the next 64, the stride from 8 lines to the next 8. */
RS_EITHER uint64_t rs_hopper_across_lines(uint32_t tile, int rows)
{
    return rs_hopper_descriptor(tile, (uint32_t)rows * RS_HOPPER_LINE, RS_HOPPER_PATTERN);
}
/* Bytes from a tile's beginning to its inner indices [16 step, 16 step + 16): 32 bytes along a line, which the hardware's swizzle of
 * address bits leaves whole, or 16 lines. No sum leaves the address field: shared memory ends below 2^18. */
RS_EITHER uint32_t rs_hopper_step_by_lines(int rows, int step)
{
    return (uint32_t)(step / 4 * rows * RS_HOPPER_LINE + step % 4 * 32);
}
RS_EITHER uint32_t rs_hopper_step_across_lines(int step)
{
    return (uint32_t)(step * 16 * RS_HOPPER_LINE);
}
RS_EITHER uint64_t rs_hopper_advance(uint64_t descriptor, uint32_t bytes)
{
    return (descriptor >> 32 << 32) | ((uint32_t)descriptor + (bytes >> 4));
}

/* --- accumulators --- */

/* Which element of a product [64, n] a warpgroup's thread holds in register i ("Register Fragments", m64nNk16, D). Registers 8 k to 8 k +
 * 7, rounded to pairs, are the fragment A of columns [16 k, 16 k + 16): weights go from one product to the next without moving. */
RS_EITHER int rs_hopper_row(int thread, int i)
{
    return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
RS_EITHER int rs_hopper_column(int thread, int i)
{
    return thread % 4 * 2 + i / 4 * 8 + i % 2;
}

/* --- tiles of keys --- */

/* Tiles that a row at position `last` needs. Tiles begin at multiples of `keys`, for every row of every call. */
RS_EITHER int rs_hopper_tiles(int last, int keys)
{
    return last / keys + 1;
}
/* Whether a tile holds keys that the row at position `first` does not see. */
RS_EITHER bool rs_hopper_cut(int tile, int keys, int first)
{
    return (tile + 1) * keys > first + 1;
}
/* Whether a tile holds the key of position `first` or the one before it, or later ones. */
RS_EITHER bool rs_hopper_near(int tile, int keys, int first)
{
    return (tile + 1) * keys > first - 1;
}

/* --- who waits for whom --- */

/* The i-th tile loaded lies in this stage; its full barrier completes the phase of this parity, and its empty barrier the one that the load
 * of tile i + RS_HOPPER_STAGES waits for ("mbarrier.test_wait": phases alternate from parity 0). */
RS_EITHER uint32_t rs_hopper_stage(int i)
{
    return (uint32_t)i % RS_HOPPER_STAGES;
}
RS_EITHER uint32_t rs_hopper_parity(int i)
{
    return (uint32_t)i / RS_HOPPER_STAGES % 2;
}

/* The halves take turns at issuing products, so that one half's softmax runs below the other's products: turn 0 of half 0, turn 0 of half
 * 1, turn 1 of half 0... A half waits before its turn for the other to have passed its own last one, if there is such a turn, and tells the
 * other after its turn if the other has one to come: every arrival at a barrier is met by one wait, and they alternate. */
RS_EITHER bool rs_hopper_waits(int half, int turn, int turns_of_other)
{
    int before = half == 0 ? turn - 1 : turn;
    return before >= 0 && before < turns_of_other;
}
RS_EITHER bool rs_hopper_passes(int half, int turn, int turns_of_other)
{
    return (half == 0 ? turn : turn + 1) < turns_of_other;
}

#endif
