/* Attention of prefill rows on tensor cores through mma.sync, in FlashAttention-2's form (arXiv 2307.08691): a block has 64 rows of one
 * query head, a warp 16 of them, and walks over the keys in tiles that begin at multiples of their size. Tiles of keys and of values lie in
 * two buffers of shared memory, each filled while the other is multiplied.
 *
 * A position map's runs are taken one after the other, each with its own copy of the queries. The adaptive policy's entropy and the
 * statistics take a pass over the keys of their own, without values: it needs no registers beside the output's, and the output has the
 * same bits with statistics and without.
 *
 * Why a row's bits depend on the row alone: its logits and sums are made by the same chain of instructions wherever it lies in the tile; it
 * takes (run, tile) in one order; and a tile of which it sees nothing, which the block takes for another row's sake, adds weights of
 * exactly 0 to a state times exactly 1. */
#include "kernels/cuda/attention_row.h"

enum { ROWS = RS_CUDA_MMA_ROWS, WARPS = ROWS / 16, THREADS = WARPS * 32 };

/* Tiles and blocks on a multiprocessor by head_dim, such that a warp's queries, logits and output stay in registers. */
template <int E> struct rs_mma_tile {
    enum { KEYS = E == 256 ? 32 : 64, BLOCKS = E == 64 ? 3 : 2, ELEMENTS = KEYS * E, BYTES = ELEMENTS * 2 };
};

/* What a thread knows of its two rows, g and g + 8 of its warp's 16 (g = lane / 4; the four lanes of a row share its state). */
struct rs_mma_rows {
    const rs_cuda_sequence *sequence;
    int n_segments;
    int first, end; /* the block's rows */
    rs_row_scale scale[2];
    bool plain;          /* of all rows of the warp: the logits are the products times factor */
    int low[2], high[2]; /* keys of the run at hand */
};

/* A row past the end sees no key and is not written; what there is to know of it is the last row's. */
RS_DEVICE bool rs_mma_real(const rs_mma_rows &rows, int r)
{
    return rows.first + rs_warp() * 16 + rs_lane() / 4 + 8 * r < rows.end;
}
RS_DEVICE int rs_mma_row(const rs_mma_rows &rows, int r)
{
    return rs_mma_real(rows, r) ? rows.first + rs_warp() * 16 + rs_lane() / 4 + 8 * r : rows.end - 1;
}
RS_DEVICE int rs_mma_position(const rs_mma_rows &rows, int r)
{
    return (int)rows.sequence->position + rs_mma_row(rows, r);
}

/* The block's, cheaper to compute anew than to keep. */
RS_DEVICE int rs_mma_head(const rs_cuda_attention_args &args)
{
    return rs_block_x() % args.heads;
}

RS_DEVICE rs_mma_rows rs_mma_rows_of(const rs_cuda_attention_args &args)
{
    rs_cuda_tile tile = args.tiles[rs_block_x() / args.heads];
    rs_mma_rows rows = {};
    rows.sequence = args.sequences + tile.sequence;
    rows.n_segments = rs_layer_segments(rows.sequence, args.layer);
    rows.first = tile.row;
    rows.end = rows.sequence->n_rows - tile.row < ROWS ? (int)rows.sequence->n_rows : tile.row + ROWS;
    return rows;
}

RS_DEVICE void rs_mma_set_scales(rs_mma_rows *rows, const float beta[2], const rs_cuda_attention_args &args)
{
    rs_logit_shape shape = rs_logit_shape_of(rows->sequence, args, rs_mma_head(args));
    RS_UNROLL
    for (int r = 0; r < 2; r++)
        rows->scale[r] = rs_row_scale_of(shape, rows->sequence->row_scales[rs_mma_row(*rows, r)], beta[r]);
    rows->plain = shape.plain && rs_ballot(rows->scale[0].outer != 1.0f || rows->scale[1].outer != 1.0f) == 0;
}

/* Sets the rows' keys of a run; the keys [*low, *high) that any row of the block has in it, the same for all its threads. */
RS_DEVICE void rs_mma_enter_segment(rs_mma_rows *rows, int segment, int *low, int *high)
{
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        bool real = rs_mma_real(*rows, r);
        rows->low[r] = real ? rs_segment_start(rows->sequence, rows->n_segments, rs_mma_row(*rows, r), segment) : 0;
        rows->high[r] = real ? rs_segment_start(rows->sequence, rows->n_segments, rs_mma_row(*rows, r), segment + 1) : 0;
    }
    *low = 0x7fffffff;
    *high = 0;
    RS_UNROLL
    for (int i = 0; i < ROWS; i += 32) {
        int row = rows->first + rs_lane() + i < rows->end ? rows->first + rs_lane() + i : rows->first;
        int start = rs_segment_start(rows->sequence, rows->n_segments, row, segment);
        int stop = rs_segment_start(rows->sequence, rows->n_segments, row, segment + 1);
        *low = start < stop && start < *low ? start : *low;
        *high = start < stop && stop > *high ? stop : *high;
    }
    RS_UNROLL
    for (int mask = 16; mask; mask >>= 1) {
        int other_low = rs_shuffle_xor(*low, mask), other_high = rs_shuffle_xor(*high, mask);
        *low = other_low < *low ? other_low : *low;
        *high = other_high > *high ? other_high : *high;
    }
}

/* --- tiles in shared memory --- */

/* Element 8 (chunk + more) of key `key` + 8 `eights` of a tile; chunk and more have no bit in common. Rows are multiples of 128 bytes:
 * without the exclusive or, eight keys' equal chunks, which is what rs_load_tiles reads at a time, would lie in the same banks. Callers
 * know `eights` and `more` when they compile, so that one address a lane serves a whole tile. */
template <int E> RS_DEVICE int rs_mma_element(int key, int chunk, int eights, int more)
{
    return ((key * E + ((chunk ^ (key & 7)) << 3)) ^ ((more & 7) << 3)) + eights * 8 * E + (more >> 3) * 64;
}

/* Begins to copy a tile's keys or values from [capacity][E]. Those from `end` on, which no row of the block sees, are zeros: a weight of
 * 0 times what an unused part of the cache holds might be NaN. */
template <int E> RS_DEVICE void rs_mma_copy(rs_shared<rs_bf16> to, const rs_bf16 *from, int first, int end)
{
    enum { CHUNKS = E / 8, STEP = THREADS / CHUNKS }; /* of keys; STEP a multiple of 8, or 4 and the thread's key below it */
    unsigned thread = (unsigned)rs_thread();          /* unsigned, so that quotients are shifts */
    int key = (int)(thread / CHUNKS), element = rs_mma_element<E>(key, (int)(thread % CHUNKS), 0, 0);
    const rs_bf16 *source = from + (int64_t)first * E + rs_thread() * 8;
    RS_UNROLL
    for (int i = 0; i < rs_mma_tile<E>::KEYS / STEP; i++)
        rs_copy_async16(to, (element ^ (i * STEP % 8 << 3)) + i * STEP * E, source + i * THREADS * 8, first + key + i * STEP < end);
    rs_copy_commit();
}

/* --- products and logits --- */

/* The warp's queries as operands of mma. */
template <int E> RS_DEVICE void rs_mma_queries(uint32_t q[E / 16][4], const rs_mma_rows &rows, const rs_bf16 *queries)
{
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        const rs_bf16 *row = queries + (int64_t)rs_mma_row(rows, r) * E + 2 * (rs_lane() & 3);
        RS_UNROLL
        for (int k = 0; k < E / 16; k++) {
            q[k][r] = *(const uint32_t *)(row + 16 * k);
            q[k][2 + r] = *(const uint32_t *)(row + 16 * k + 8);
        }
    }
}

/* s: products of the warp's 16 rows with the tile's keys, as sums of mma. */
template <int E> RS_DEVICE void rs_mma_products(float s[][4], const uint32_t q[E / 16][4], rs_shared<rs_bf16> keys)
{
    int key = (rs_lane() & 7) + (rs_lane() >> 4) * 8, half = rs_lane() >> 3 & 1;
    RS_UNROLL
    for (int n = 0; n < rs_mma_tile<E>::KEYS / 8; n++) {
        RS_UNROLL
        for (int c = 0; c < 4; c++)
            s[n][c] = 0.0f;
    }
    RS_UNROLL
    for (int k = 0; k < E / 16; k++) {
        RS_UNROLL
        for (int n = 0; n < rs_mma_tile<E>::KEYS / 8; n += 2) {
            uint32_t b[4];
            rs_load_tiles(b, keys, rs_mma_element<E>(key, half, n, 2 * k));
            rs_mma(s[n], q[k], b);
            rs_mma(s[n + 1], q[k], b + 2);
        }
    }
}

/* Whether any row of the warp sees a key of the tile. */
template <int E> RS_DEVICE bool rs_mma_sees(const rs_mma_rows &rows, int tile)
{
    bool sees = false;
    RS_UNROLL
    for (int r = 0; r < 2; r++)
        sees = sees || (rows.low[r] < tile + rs_mma_tile<E>::KEYS && rows.high[r] > tile && rows.low[r] < rows.high[r]);
    return rs_ballot(sees) != 0;
}

/* Products into logits but for the rows' factor; unseen keys are -inf. */
template <int E> RS_DEVICE void rs_mma_logits(float s[][4], const rs_mma_rows &rows, int tile, const rs_cuda_attention_args &args)
{
    enum { KEYS = rs_mma_tile<E>::KEYS };
    int first = tile + 2 * (rs_lane() & 3);
    if (!rows.plain) { /* rare enough to fetch what it needs anew and leave the registers to the others */
        rs_logit_shape shape = rs_logit_shape_of(rows.sequence, args, rs_mma_head(args));
        const int position[2] = {rs_mma_position(rows, 0), rs_mma_position(rows, 1)};
        RS_UNROLL
        for (int n = 0; n < KEYS / 8; n++) {
            RS_UNROLL
            for (int c = 0; c < 4; c++)
                s[n][c] = rs_shape_logit(shape, rows.scale[c / 2], s[n][c], (float)(position[c / 2] - (first + n * 8 + c % 2)));
        }
    }
    bool whole = rows.low[0] <= tile && rows.low[1] <= tile && tile + KEYS <= rows.high[0] && tile + KEYS <= rows.high[1];
    if (rs_ballot(!whole) == 0)
        return;
    RS_UNROLL
    for (int n = 0; n < KEYS / 8; n++) {
        RS_UNROLL
        for (int c = 0; c < 4; c++) {
            int key = first + n * 8 + c % 2;
            s[n][c] = key >= rows.low[c / 2] && key < rows.high[c / 2] ? s[n][c] : -INFINITY;
        }
    }
}

/* The tile's largest logit of row r, over the four lanes that share it. */
template <int E> RS_DEVICE float rs_mma_most(const float s[][4], const rs_mma_rows &rows, int r)
{
    float most = -INFINITY;
    RS_UNROLL
    for (int n = 0; n < rs_mma_tile<E>::KEYS / 8; n++)
        most = fmaxf(most, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    most = fmaxf(most, rs_shuffle_xor(most, 1));
    most = fmaxf(most, rs_shuffle_xor(most, 2));
    return rs_mul(most, rows.scale[r].factor);
}

/* --- the pass without values --- */

/* What the statistics want beside the sums: logits of three keys. */
struct rs_mma_points {
    float sink, diagonal, previous;
};

/* Takes a tile's logits of row r into the thread's part of its sums. */
template <int E, bool POINTS>
RS_DEVICE void rs_mma_sum_tile(rs_row_sums *sums, rs_mma_points *points, const float s[][4], const rs_mma_rows &rows, int r, int tile)
{
    int first = tile + 2 * (rs_lane() & 3), position = rs_mma_position(rows, r);
    rs_row_sums_raise(sums, rs_mma_most<E>(s, rows, r));
    RS_UNROLL
    for (int n = 0; n < rs_mma_tile<E>::KEYS / 8; n++) {
        RS_UNROLL
        for (int c = 0; c < 2; c++) {
            int key = first + n * 8 + c;
            float logit = rs_mul(s[n][2 * r + c], rows.scale[r].factor);
            rs_row_sums_add(sums, logit, (float)(position - key));
            if (POINTS && key >= rows.low[r] && key < rows.high[r]) {
                points->sink = key == 0 ? logit : points->sink;
                points->diagonal = key == position ? logit : points->diagonal;
                points->previous = key == position - 1 ? logit : points->previous;
            }
        }
    }
}

/* sums: of all keys of the thread's two rows, on each of a row's four lanes. points: on the lane that met the key. */
template <int E, bool POINTS>
RS_DEVICE void rs_mma_sum(rs_row_sums sums[2], rs_mma_points points[2], rs_mma_rows *rows, const rs_cuda_attention_args &args)
{
    enum { KEYS = rs_mma_tile<E>::KEYS };
    rs_shared<rs_bf16> both = rs_shared_at<rs_bf16>(0, 2 * rs_mma_tile<E>::ELEMENTS);
    int end = (int)rows->sequence->position + rows->end;
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        sums[r] = rs_row_sums_none();
        points[r] = rs_mma_points{-INFINITY, -INFINITY, -INFINITY};
    }
    for (int segment = 0; segment < rows->n_segments; segment++) {
        uint32_t q[E / 16][4];
        float s[KEYS / 8][4];
        int low, high, buffer = 0;
        rs_mma_enter_segment(rows, segment, &low, &high);
        if (low >= high)
            continue;
        const rs_bf16 *keys = rs_segment_keys<rs_bf16>(rows->sequence, args, args.kv_of_head[rs_mma_head(args)], segment);
        low -= low % KEYS;
        rs_sync(); /* the run before has left both buffers */
        rs_mma_copy<E>(both, keys, low, end);
        rs_mma_queries<E>(q, *rows, rs_segment_queries<rs_bf16>(rows->sequence, args, rs_mma_head(args), segment));
        for (int tile = low; tile < high; tile += KEYS, buffer ^= 1) {
            rs_copy_wait<0>();
            rs_sync(); /* this tile is here, the tile before no longer needed */
            if (tile + KEYS < high)
                rs_mma_copy<E>(both.at((buffer ^ 1) * rs_mma_tile<E>::ELEMENTS), keys, tile + KEYS, end);
            if (!rs_mma_sees<E>(*rows, tile))
                continue;
            rs_mma_products<E>(s, q, both.at(buffer * rs_mma_tile<E>::ELEMENTS));
            rs_mma_logits<E>(s, *rows, tile, args);
            RS_UNROLL
            for (int r = 0; r < 2; r++)
                rs_mma_sum_tile<E, POINTS>(&sums[r], &points[r], s, *rows, r, tile);
        }
    }
    RS_UNROLL
    for (int r = 0; r < 2; r++)
        sums[r] = rs_row_sums_of_lanes(sums[r], 4);
}

template <int E> RS_DEVICE void rs_mma_adapt(float beta[2], rs_mma_rows *rows, const rs_cuda_attention_args &args)
{
    rs_row_sums sums[2];
    rs_mma_points points[2];
    rs_mma_sum<E, false>(sums, points, rows, args);
    RS_UNROLL
    for (int r = 0; r < 2; r++)
        beta[r] = rs_row_beta(rows->sequence->policy, rs_row_entropy(sums[r]));
}

template <int E> RS_DEVICE void rs_mma_measure(const float beta[2], rs_mma_rows *rows, const rs_cuda_attention_args &args)
{
    rs_row_sums sums[2];
    rs_mma_points points[2];
    rs_mma_sum<E, true>(sums, points, rows, args);
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        int of_row = rs_lane() & ~3, position = rs_mma_position(*rows, r), before = position > 0 ? position - 1 : 0;
        float sink = rs_shuffle(points[r].sink, of_row);
        float diagonal = rs_shuffle(points[r].diagonal, of_row + position % 8 / 2);
        float previous = rs_shuffle(points[r].previous, of_row + before % 8 / 2);
        if (rs_mma_real(*rows, r) && rs_lane() == of_row)
            rs_row_stats_write(args.stats + (rows->sequence->first_row + rs_mma_row(*rows, r)) * args.heads + rs_mma_head(args), sums[r],
                               sink, diagonal, previous, beta[r]);
    }
}

/* --- the pass with values --- */

/* The warp's output so far: o [16, E] under the running maxima, and the sum of weights as one more column, of values 1. So the sum takes
 * the same roundings as the output, and equal values come out as they went in. */
template <int E> struct rs_mma_output {
    float o[E / 8][4], sum[4], max[2];
};

/* Raises the maxima by a tile's logits and brings the output to them. */
template <int E> RS_DEVICE void rs_mma_raise(rs_mma_output<E> *out, const float s[][4], const rs_mma_rows &rows)
{
    float shrink[2];
    RS_UNROLL
    for (int r = 0; r < 2; r++)
        shrink[r] = rs_raise_max(&out->max[r], rs_mma_most<E>(s, rows, r));
    if (rs_ballot(shrink[0] != 1.0f || shrink[1] != 1.0f) == 0)
        return;
    RS_UNROLL
    for (int c = 0; c < 4; c++) {
        out->sum[c] = rs_mul(out->sum[c], shrink[c / 2]);
        RS_UNROLL
        for (int n = 0; n < E / 8; n++)
            out->o[n][c] = rs_mul(out->o[n][c], shrink[c / 2]);
    }
}

/* Weights of keys [8 n, 8 n + 16) of the tile as an operand. */
RS_DEVICE void rs_mma_weights(uint32_t p[4], const float s[][4], int n, const rs_mma_rows &rows, const float shift[2])
{
    RS_UNROLL
    for (int i = 0; i < 4; i++) {
        int r = i % 2;
        const float *pair = s[n + i / 2] + 2 * r;
        p[i] = rs_pack_bf16(rs_exp2(rs_fma(pair[0], rows.scale[r].factor, -shift[r])),
                            rs_exp2(rs_fma(pair[1], rows.scale[r].factor, -shift[r])));
    }
}

template <int E> RS_DEVICE void rs_mma_mix(rs_mma_output<E> *out, const float s[][4], const rs_mma_rows &rows, rs_shared<rs_bf16> values)
{
    int key = rs_lane() & 15, half = rs_lane() >> 4;
    const float shift[2] = {rs_shift(out->max[0]), rs_shift(out->max[1])};
    const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
    RS_UNROLL
    for (int k = 0; k < rs_mma_tile<E>::KEYS / 16; k++) {
        uint32_t p[4];
        rs_mma_weights(p, s, 2 * k, rows, shift);
        rs_mma(out->sum, p, ones);
        RS_UNROLL
        for (int n = 0; n < E / 8; n += 2) {
            uint32_t b[4];
            rs_load_tiles_transposed(b, values, rs_mma_element<E>(key, half, 2 * k, n));
            rs_mma(out->o[n], p, b);
            rs_mma(out->o[n + 1], p, b + 2);
        }
    }
}

/* Takes one run's keys and values into the output. */
template <int E>
RS_DEVICE void rs_mma_attend_segment(rs_mma_output<E> *out, rs_mma_rows *rows, int segment, const rs_cuda_attention_args &args)
{
    enum { KEYS = rs_mma_tile<E>::KEYS, ELEMENTS = rs_mma_tile<E>::ELEMENTS };
    rs_shared<rs_bf16> both = rs_shared_at<rs_bf16>(0, 2 * ELEMENTS), key_tile = both, value_tile = both.at(ELEMENTS);
    uint32_t q[E / 16][4];
    float s[KEYS / 8][4];
    int low, high, end = (int)rows->sequence->position + rows->end;
    rs_mma_enter_segment(rows, segment, &low, &high);
    if (low >= high)
        return;
    const rs_bf16 *keys = rs_segment_keys<rs_bf16>(rows->sequence, args, args.kv_of_head[rs_mma_head(args)], segment);
    const rs_bf16 *values = rs_values_of<rs_bf16>(rows->sequence, args, args.kv_of_head[rs_mma_head(args)]);
    low -= low % KEYS;
    rs_sync(); /* the run or pass before has left both buffers */
    rs_mma_copy<E>(key_tile, keys, low, end);
    rs_mma_queries<E>(q, *rows, rs_segment_queries<rs_bf16>(rows->sequence, args, rs_mma_head(args), segment));
    for (int tile = low; tile < high; tile += KEYS) {
        rs_copy_wait<0>();
        rs_sync(); /* the keys are here, the values before no longer needed */
        rs_mma_copy<E>(value_tile, values, tile, end);
        bool sees = rs_mma_sees<E>(*rows, tile);
        if (sees)
            rs_mma_products<E>(s, q, key_tile);
        rs_copy_wait<0>();
        rs_sync(); /* the values are here, the keys no longer needed */
        if (tile + KEYS < high)
            rs_mma_copy<E>(key_tile, keys, tile + KEYS, end);
        if (!sees)
            continue;
        rs_mma_logits<E>(s, *rows, tile, args);
        rs_mma_raise<E>(out, s, *rows);
        rs_mma_mix<E>(out, s, *rows, value_tile);
    }
}

template <int E> RS_DEVICE void rs_mma_write(const rs_mma_output<E> &out, const rs_mma_rows &rows, const rs_cuda_attention_args &args)
{
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        if (!rs_mma_real(rows, r))
            continue;
        rs_bf16 *to = (rs_bf16 *)args.out + ((rows.sequence->first_row + rs_mma_row(rows, r)) * args.heads + rs_mma_head(args)) * E +
                      2 * (rs_lane() & 3);
        float inverse = 1.0f / out.sum[2 * r];
        RS_UNROLL
        for (int n = 0; n < E / 8; n++)
            *(uint32_t *)(to + 8 * n) = rs_pack_bf16(rs_mul(out.o[n][2 * r], inverse), rs_mul(out.o[n][2 * r + 1], inverse));
    }
}

template <int E, bool STATS> RS_KERNEL RS_BOUNDS(THREADS, rs_mma_tile<E>::BLOCKS) rs_mma_kernel(rs_cuda_attention_args args)
{
    rs_mma_rows rows = rs_mma_rows_of(args);
    const rs_cuda_policy &policy = rows.sequence->policy;
    float beta[2] = {1.0f, 1.0f};
    rs_mma_set_scales(&rows, beta, args);
    if (policy.n_theta > 0) {
        rs_mma_adapt<E>(beta, &rows, args);
        rs_mma_set_scales(&rows, beta, args);
    }
    if (STATS)
        rs_mma_measure<E>(beta, &rows, args);
    rs_mma_output<E> out = {};
    RS_UNROLL
    for (int c = 0; c < 4; c++)
        out.sum[c] = policy.has_sink ? 1.0f : 0.0f;
    out.max[0] = out.max[1] = rs_first_max(policy);
    for (int segment = 0; segment < rows.n_segments; segment++)
        rs_mma_attend_segment<E>(&out, &rows, segment, args);
    rs_mma_write<E>(out, rows, args);
}

template <int E> static int rs_mma_launch(void *stream, const rs_cuda_attention_args *args)
{
    rs_dim grid((unsigned)args->n_tiles * (unsigned)args->heads); /* a tile's heads side by side: they share keys in the L2 cache */
    if (args->stats)
        return RS_LAUNCH((rs_mma_kernel<E, true>), grid, rs_dim(THREADS), 2 * rs_mma_tile<E>::BYTES, stream, *args);
    return RS_LAUNCH((rs_mma_kernel<E, false>), grid, rs_dim(THREADS), 2 * rs_mma_tile<E>::BYTES, stream, *args);
}

extern "C" int rs_cuda_attend_mma(void *stream, const rs_cuda_attention_args *args)
{
    if (args->n_tiles == 0)
        return 0;
    if (args->bf16 && args->head_dim == 64)
        return rs_mma_launch<64>(stream, args);
    if (args->bf16 && args->head_dim == 128)
        return rs_mma_launch<128>(stream, args);
    if (args->bf16 && args->head_dim == 256)
        return rs_mma_launch<256>(stream, args);
    return 1; /* cudaErrorInvalidValue */
}
