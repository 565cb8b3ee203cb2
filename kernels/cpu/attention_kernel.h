/* Flash-style attention of one tile of query rows over one kv head, included once an instruction set with
 *   RS_ATTEND_NAME    the name of the table it defines
 * For every row block (6 rows) and key tile (128 keys, aligned to position 0): logits S = Q K^T in registers, the row's policy and
 * the online softmax on S, weights P rounded to the operand type, O = O * alpha + P V.
 *
 * Why a row's bits depend on the row alone: logit (r, j) is one chain of dot products over the units of head_dim, element (r, d) of a
 * tile's P V one chain over the tile's keys, and the rescalings happen at the same keys for all; a key that a row does not see enters
 * with a weight of exactly 0, and a tile that it does not see at all multiplies its state by exactly 1.
 *
 * The row sum l adds the weights as rounded for P V, not before: the output is then an exact mean of values with positive weights,
 * and the part of the rounding error that all keys share cancels. Logits enter in units of log 2 (scale times log2 e in one factor). */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/sparse_kernel.h"

enum {
    KEY_VECTORS = RS_KEY_TILE / RS_VW,
    GRANULE = 32,                 /* keys; logits are made in runs of so many */
    COLUMNS = RS_VW == 16 ? 4 : 2 /* vectors of keys or of values beside RS_ROW_BLOCK rows in the register file */
};

/* Unit-wise dot product: acc + a . b, where a holds a unit a lane and b is one unit for all lanes. */
RS_INLINE rs_vf dot(rs_vf acc, rs_vf a, rs_unit b, bool bf16)
{
    float whole;
    memcpy(&whole, &b, sizeof whole);
    if (!bf16)
        return v_fma(a, v_set(whole), acc);
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)_mm512_set1_epi32((int)b));
#else
    rs_unit high_bits = b & 0xffff0000U, low_bits = b << 16;
    float high, low;
    memcpy(&high, &high_bits, sizeof high);
    memcpy(&low, &low_bits, sizeof low);
#if RS_VW == 16
    rs_vf a_high = _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0xffff0000)));
    rs_vf a_low = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 16));
#elif RS_VW == 8
    rs_vf a_high = _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32((int)0xffff0000)));
    rs_vf a_low = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 16));
#else
    typedef uint32_t bits __attribute__((vector_size(16)));
    rs_vf a_high = (rs_vf)((bits)a & 0xffff0000U), a_low = (rs_vf)((bits)a << 16);
#endif
    return v_fma(a_low, v_set(low), v_fma(a_high, v_set(high), acc));
#endif
}

RS_INLINE rs_vf load_units(const rs_unit *p)
{
    return v_load((const float *)(const void *)p);
}

/* s[r][0 .. columns * RS_VW) = q[r] . keys; rows and columns are literals at every call. keys: first of the run, in its block of 64. */
RS_INLINE void logits_run(const rs_unit *q, const rs_unit *keys, int units, float *s, bool bf16, const int rows, const int columns)
{
    rs_vf acc[RS_ROW_BLOCK][COLUMNS];
    RS_UNROLL
    for (int r = 0; r < rows; r++) {
        RS_UNROLL
        for (int c = 0; c < columns; c++)
            acc[r][c] = v_set(0.0f);
    }
    for (int u = 0; u < units; u++) {
        rs_vf key[COLUMNS];
        RS_UNROLL
        for (int c = 0; c < columns; c++)
            key[c] = load_units(keys + u * RS_KEY_BLOCK + c * RS_VW);
        RS_UNROLL
        for (int r = 0; r < rows; r++) {
            rs_unit b = q[r * units + u];
            RS_UNROLL
            for (int c = 0; c < columns; c++)
                acc[r][c] = dot(acc[r][c], key[c], b, bf16);
        }
    }
    RS_UNROLL
    for (int r = 0; r < rows; r++) {
        RS_UNROLL
        for (int c = 0; c < columns; c++)
            v_store(s + r * RS_KEY_TILE + c * RS_VW, acc[r][c]);
    }
}

/* s[rows][0..n_keys) of one tile; n_keys a multiple of GRANULE. tile_keys: the tile's first block. */
RS_INLINE void logits_rows(const rs_unit *q, const rs_unit *tile_keys, int units, int n_keys, float *s, bool bf16, const int rows)
{
    int step = COLUMNS * RS_VW;
    for (int j = 0; j < n_keys; j += step) {
        const rs_unit *keys = tile_keys + (size_t)(j / RS_KEY_BLOCK) * (size_t)units * RS_KEY_BLOCK + j % RS_KEY_BLOCK;
        if (j + step <= n_keys)
            logits_run(q, keys, units, s + j, bf16, rows, COLUMNS);
        else
            logits_run(q, keys, units, s + j, bf16, rows, COLUMNS / 2);
    }
}

static void logits(const rs_unit *q, const rs_unit *tile_keys, int units, int n_keys, float *s, bool bf16, int rows)
{
#define RS_CASE(n)                                                                                                                         \
    case n:                                                                                                                                \
        if (bf16)                                                                                                                          \
            logits_rows(q, tile_keys, units, n_keys, s, true, n);                                                                          \
        else                                                                                                                               \
            logits_rows(q, tile_keys, units, n_keys, s, false, n);                                                                         \
        break
    switch (rows) {
        RS_CASE(1);
        RS_CASE(2);
        RS_CASE(3);
        RS_CASE(4);
        RS_CASE(5);
        RS_CASE(6);
    }
#undef RS_CASE
}

/* o[r][0 .. columns * RS_VW) = o * alpha[r] + sum over units of p[r][u] . values[u]. */
RS_INLINE void mix_run(const rs_unit *p, const rs_unit *values, int width, int units, const float *alpha, float *o, bool bf16,
                       const int rows, const int columns)
{
    rs_vf acc[RS_ROW_BLOCK][COLUMNS];
    RS_UNROLL
    for (int r = 0; r < rows; r++) {
        RS_UNROLL
        for (int c = 0; c < columns; c++)
            acc[r][c] = v_set(0.0f);
    }
    for (int u = 0; u < units; u++) {
        rs_vf value[COLUMNS];
        RS_UNROLL
        for (int c = 0; c < columns; c++)
            value[c] = load_units(values + (int64_t)u * width + c * RS_VW);
        RS_UNROLL
        for (int r = 0; r < rows; r++) {
            rs_unit b = p[r * RS_KEY_TILE + u];
            RS_UNROLL
            for (int c = 0; c < columns; c++)
                acc[r][c] = dot(acc[r][c], value[c], b, bf16);
        }
    }
    RS_UNROLL
    for (int r = 0; r < rows; r++) {
        RS_UNROLL
        for (int c = 0; c < columns; c++) {
            float *at = o + (int64_t)r * width + c * RS_VW;
            v_store(at, v_fma(v_load(at), v_set(alpha[r]), acc[r][c]));
        }
    }
}

RS_INLINE void mix_rows(const rs_unit *p, const rs_unit *values, int width, int units, const float *alpha, float *o, bool bf16,
                        const int rows)
{
    int d = 0;
    for (; d + COLUMNS * RS_VW <= width; d += COLUMNS * RS_VW)
        mix_run(p, values + d, width, units, alpha, o + d, bf16, rows, COLUMNS);
    for (; d < width; d += RS_VW)
        mix_run(p, values + d, width, units, alpha, o + d, bf16, rows, 1);
}

static void mix(const rs_unit *p, const rs_unit *values, int width, int units, const float *alpha, float *o, bool bf16, int rows)
{
#define RS_CASE(n)                                                                                                                         \
    case n:                                                                                                                                \
        if (bf16)                                                                                                                          \
            mix_rows(p, values, width, units, alpha, o, true, n);                                                                          \
        else                                                                                                                               \
            mix_rows(p, values, width, units, alpha, o, false, n);                                                                         \
        break
    switch (rows) {
        RS_CASE(1);
        RS_CASE(2);
        RS_CASE(3);
        RS_CASE(4);
        RS_CASE(5);
        RS_CASE(6);
    }
#undef RS_CASE
}

/* The workspace of one task and the row block at hand. */
typedef struct attend_state {
    const rs_attend *task;
    float *output;      /* [n_rows][value_width] */
    float *max, *sum;   /* [n_rows] running; max in units of log 2 */
    float *beta;        /* [n_rows] adaptive factor, 1 without */
    float *s, *other;   /* [RS_ROW_BLOCK][RS_KEY_TILE] logits; of one segment */
    rs_unit *p;         /* [RS_ROW_BLOCK][RS_KEY_TILE] weights as operands */
    float *z, *scratch; /* sparse policies: [RS_ROW_BLOCK][z_stride] all logits of a row block; one row more */
    int64_t z_stride;
    int row, rows;              /* the row block */
    int64_t tile;               /* first key of the tile */
    int n_keys;                 /* of the tile, up to the block's last visible one */
    float factor[RS_ROW_BLOCK]; /* from S to logits in units of log 2 */
    float *measured;            /* [n_rows][RS_MEASURE_FLOATS] running diagnostics; NULL: none are wanted, or not yet */
} attend_state;

RS_INLINE int64_t position_of(const rs_attend *task, int row)
{
    return task->first_position + row / task->group;
}

RS_INLINE int round_up(int n, int step)
{
    return (n + step - 1) / step * step;
}

/* Selects the row block and tile; false where no row of the block sees the tile. */
static bool enter(attend_state *state, int row, int64_t tile)
{
    const rs_attend *task = state->task;
    state->row = row;
    state->rows = task->n_rows - row < RS_ROW_BLOCK ? task->n_rows - row : RS_ROW_BLOCK;
    state->tile = tile;
    int64_t n = position_of(task, row + state->rows - 1) + 1 - tile;
    state->n_keys = n < RS_KEY_TILE ? (int)n : RS_KEY_TILE;
    return n > 0;
}

#include "kernels/cpu/measure_kernel.h"

/* [low, high) of segment `segment` of a row, relative to the tile. */
RS_INLINE void segment_range(const attend_state *state, int row, int segment, int64_t *low, int64_t *high)
{
    const rs_attend *task = state->task;
    int64_t position = position_of(task, row);
    const int64_t *starts = task->starts + (position - task->first_position) * RS_MAX_SEGMENTS;
    *low = starts[segment] - state->tile;
    *high = (segment + 1 < task->n_segments ? starts[segment + 1] : position + 1) - state->tile;
}

/* Which segments any row of the block has keys of in this tile, as bits. */
static unsigned segments_here(const attend_state *state)
{
    unsigned here = 0;
    for (int segment = 0; segment < state->task->n_segments; segment++)
        for (int r = 0; r < state->rows; r++) {
            int64_t low, high;
            segment_range(state, state->row + r, segment, &low, &high);
            if (low < high && low < state->n_keys && high > 0)
                here |= 1U << segment;
        }
    return here;
}

static void segment_logits(const attend_state *state, int segment, float *s)
{
    const rs_attend *task = state->task;
    const rs_unit *q = task->queries[segment] + (size_t)state->row * (size_t)task->query_units;
    const rs_unit *keys = task->keys[task->key_set[segment]] + (size_t)state->tile * (size_t)task->query_units;
    logits(q, keys, task->query_units, round_up(state->n_keys, GRANULE), s, task->bf16, state->rows);
}

/* Raw products S of the row block with the tile's keys, each key under the rotation of the segment that it falls into. */
static void products(const attend_state *state)
{
    unsigned here = state->task->starts ? segments_here(state) : 1;
    bool alone = !(here & (here - 1));
    for (int segment = 0; segment < state->task->n_segments; segment++) {
        if (!(here >> segment & 1))
            continue;
        segment_logits(state, segment, alone ? state->s : state->other);
        for (int r = 0; !alone && r < state->rows; r++) {
            int64_t low, high;
            segment_range(state, state->row + r, segment, &low, &high);
            float *to = state->s + r * RS_KEY_TILE;
            const float *from = state->other + r * RS_KEY_TILE;
            for (int j = 0; j < state->n_keys; j += RS_VW)
                v_store(to + j, v_between(v_load(from + j), low - j, high - j, v_load(to + j)));
        }
    }
}

/* Position bias and cap turn a row's products into scaled logits. */
static void bias_and_cap(const attend_state *state, int r)
{
    const rs_attend *task = state->task;
    float *s = state->s + r * RS_KEY_TILE;
    int row = state->row + r;
    float cap = (float)task->softmax->cap;
    rs_vf scale = v_set(task->attention_scale);
    rs_vf slope = v_set(task->slopes ? task->slopes[row % task->group] : 0.0f);
    for (int j = 0; j < state->n_keys; j += RS_VW) {
        rs_vf z = v_load(s + j) * scale;
        if (task->slopes)
            z = v_fma(slope, v_iota() + v_set((float)(state->tile + j - position_of(task, row))), z);
        if (cap > 0)
            z = v_set(cap) * v_tanh(z / v_set(cap));
        v_store(s + j, z);
    }
}

/* Makes S of the row block and tile: every visible key's logit is S * factor[r], the others are -inf. factor > 0. */
static void make_logits(attend_state *state)
{
    const rs_attend *task = state->task;
    bool plain = !task->slopes && !(task->softmax->cap > 0);
    products(state);
    int width = round_up(state->n_keys, GRANULE);
    for (int r = 0; r < state->rows; r++) {
        int64_t position = position_of(task, state->row + r), visible = position + 1 - state->tile;
        float *s = state->s + r * RS_KEY_TILE;
        double scale = (double)task->row_scales[position - task->first_position] * state->beta[state->row + r] * (double)RS_LOG2E;
        float factor = (float)(plain ? scale * task->attention_scale : scale);
        if (!plain)
            bias_and_cap(state, r);
        if (state->measured)
            measure_range(state, r, visible);
        if (!(factor > 0)) { /* its sign would turn the order, and -inf, around */
            for (int j = 0; j < width; j += RS_VW)
                v_store(s + j, v_load(s + j) * v_set(factor));
            factor = 1.0f;
        }
        state->factor[r] = factor;
        for (int j = visible < 0 ? 0 : (int)visible / RS_VW * RS_VW; j < width; j += RS_VW)
            v_store(s + j, v_between(v_load(s + j), 0, visible - j, v_set(-INFINITY)));
    }
}

/* New running maxima of the block's rows into max_new and 2^(old - new) into alpha. */
RS_INLINE void raise_max(const attend_state *state, float *max_new, float *alpha)
{
    int width = round_up(state->n_keys, GRANULE);
    float delta[16] = {0};
    for (int r = 0; r < state->rows; r++) {
        const float *s = state->s + r * RS_KEY_TILE;
        rs_vf most = v_load(s), more = v_load(s + RS_VW);
        for (int j = 2 * RS_VW; j < width; j += 2 * RS_VW) {
            most = v_max(most, v_load(s + j));
            more = v_max(more, v_load(s + j + RS_VW));
        }
        float old = state->max[state->row + r], tile_max = v_hmax(v_max(most, more)) * state->factor[r];
        max_new[r] = tile_max > old ? tile_max : old;
        delta[r] = old - max_new[r];
    }
    for (int r = 0; r < RS_ROW_BLOCK; r += RS_VW)
        v_store(alpha + r, v_exp2(v_load(delta + r), 1));
}

/* Row r of the block: p = 2^(S factor - max) as operands; returns their sum. t: NULL, or takes them in before they are rounded. */
RS_INLINE float weights_bf16(const attend_state *state, int r, float max, tally *t)
{
    const float *s = state->s + r * RS_KEY_TILE;
    uint16_t *p = (uint16_t *)(state->p + r * RS_KEY_TILE);
    int width = round_up(state->n_keys, GRANULE);
    rs_vf factor = v_set(state->factor[r]), shift = v_set(-max), sum = v_set(0.0f);
#if defined(__AVX512BF16__)
    rs_vf ones = _mm512_castsi512_ps(_mm512_set1_epi32(0x3f803f80));
    for (int j = 0; j < width; j += 32) {
        rs_vf x = v_fma(v_load(s + j), factor, shift), y = v_fma(v_load(s + j + 16), factor, shift);
        rs_vf low = v_exp2(x, 0), high = v_exp2(y, 0);
        __m512bh pair = _mm512_cvtne2ps_pbh(high, low);
        memcpy(p + j, &pair, sizeof pair);
        sum = _mm512_dpbf16_ps(sum, pair, (__m512bh)ones);
        if (t) {
            tally_add(t, x, low);
            tally_add(t, y, high);
        }
    }
#else
    for (int j = 0; j < width; j += RS_VW) {
        rs_vf x = v_fma(v_load(s + j), factor, shift), e = v_exp2(x, 0);
        v_store_bf16(p + j, e);
        sum = sum + v_load_bf16(p + j);
        if (t)
            tally_add(t, x, e);
    }
#endif
    return v_hsum(sum);
}

RS_INLINE float weights_f32(const attend_state *state, int r, float max, tally *t)
{
    const float *s = state->s + r * RS_KEY_TILE;
    float *p = (float *)(void *)(state->p + r * RS_KEY_TILE);
    int width = round_up(state->n_keys, GRANULE);
    rs_vf factor = v_set(state->factor[r]), shift = v_set(-max), sum = v_set(0.0f);
    for (int j = 0; j < width; j += RS_VW) {
        rs_vf x = v_fma(v_load(s + j), factor, shift), e = v_exp2(x, 1);
        v_store(p + j, e);
        sum = sum + e;
        if (t)
            tally_add(t, x, e);
    }
    return v_hsum(sum);
}

/* o of the row block = o * alpha + p V of the tile. */
static void mix_block(const attend_state *state, const float *alpha)
{
    const rs_attend *task = state->task;
    int keys_per_unit = task->bf16 ? 2 : 1;
    const rs_unit *values = task->values + (size_t)(state->tile / keys_per_unit) * (size_t)task->value_width;
    mix(state->p, values, task->value_width, (state->n_keys + keys_per_unit - 1) / keys_per_unit, alpha,
        state->output + (size_t)state->row * (size_t)task->value_width, task->bf16, state->rows);
}

static float measured_weights(const attend_state *state, int r, float max, float alpha)
{
    tally t = tally_begin(state, r, max, alpha);
    float sum = state->task->bf16 ? weights_bf16(state, r, max, &t) : weights_f32(state, r, max, &t);
    tally_end(state, r, &t);
    measure_offsets(state, state->row + r, state->s + r * RS_KEY_TILE, state->factor[r], state->tile, state->n_keys);
    return sum;
}

static void softmax_block(attend_state *state)
{
    float max_new[RS_ROW_BLOCK], alpha[16];
    make_logits(state);
    raise_max(state, max_new, alpha);
    for (int r = 0; r < state->rows; r++) {
        float *sum = state->sum + state->row + r, added;
        if (state->measured)
            added = measured_weights(state, r, max_new[r], alpha[r]);
        else
            added = state->task->bf16 ? weights_bf16(state, r, max_new[r], NULL) : weights_f32(state, r, max_new[r], NULL);
        *sum = *sum * alpha[r] + added;
        state->max[state->row + r] = max_new[r];
    }
    mix_block(state, alpha);
}

/* One tile's part of the entropy: l = sum e^(z - m), u = sum (z - m) e^(z - m), in units of log 2; `sum` holds l, `output` u. */
static void entropy_block(attend_state *state, float *u)
{
    float max_new[RS_ROW_BLOCK], alpha[16];
    make_logits(state);
    raise_max(state, max_new, alpha);
    int width = round_up(state->n_keys, GRANULE);
    for (int r = 0; r < state->rows; r++) {
        int row = state->row + r;
        rs_vf factor = v_set(state->factor[r]), shift = v_set(-max_new[r]), tile_l = v_set(0.0f), tile_u = v_set(0.0f);
        for (int j = 0; j < width; j += RS_VW) {
            /* Bounded, so that a weight of 0 times -inf is 0. */
            rs_vf x = v_max(v_set(-200.0f), v_fma(v_load(state->s + r * RS_KEY_TILE + j), factor, shift));
            rs_vf e = v_exp2(x, !state->task->bf16);
            tile_l = tile_l + e;
            tile_u = v_fma(x, e, tile_u);
        }
        float delta = state->max[row] - max_new[r], l = state->sum[row];
        u[row] = v_hsum(tile_u) + (l > 0 ? alpha[r] * (u[row] + delta * l) : 0.0f);
        state->sum[row] = l * alpha[r] + v_hsum(tile_l);
        state->max[row] = max_new[r];
    }
}

static void reset_rows(attend_state *state, bool sink)
{
    for (int row = 0; row < state->task->n_rows; row++) {
        state->max[row] = sink ? (float)(state->task->softmax->sink * (double)RS_LOG2E) : -INFINITY;
        state->sum[row] = sink ? 1.0f : 0.0f;
    }
}

/* The adaptive policy's first phase: beta of every row, from the entropy of its softmax (without the sink). */
static void adaptive_phase(attend_state *state)
{
    const rs_attend *task = state->task;
    float *u = state->output; /* not yet in use */
    int64_t end = position_of(task, task->n_rows - 1) + 1;
    reset_rows(state, false);
    memset(u, 0, (size_t)task->n_rows * sizeof *u);
    for (int64_t tile = 0; tile < end; tile += RS_KEY_TILE)
        for (int row = 0; row < task->n_rows; row += RS_ROW_BLOCK)
            if (enter(state, row, tile))
                entropy_block(state, u);
    for (int row = 0; row < task->n_rows; row++)
        state->beta[row] = rs_softmax_beta(task->softmax, logf(state->sum[row]) - RS_LN2 * (u[row] / state->sum[row]));
}

/* Rows [row, row + 6) whose policy needs all logits of a row at once. */
static void sparse_rows(attend_state *state, int row)
{
    const rs_attend *task = state->task;
    /* entmax is not invariant to the logits' base, top_k's softmax is made of powers of 2. */
    float unit = task->softmax->normalizer == RS_NORMALIZE_ENTMAX ? RS_LN2 : 1.0f;
    static const float keep[RS_ROW_BLOCK] = {1, 1, 1, 1, 1, 1};
    int64_t tile;
    for (tile = 0; enter(state, row, tile); tile += RS_KEY_TILE) {
        make_logits(state);
        for (int r = 0; r < state->rows; r++)
            for (int j = 0; j < round_up(state->n_keys, GRANULE); j += RS_VW)
                v_store(state->z + r * state->z_stride + tile + j, v_load(state->s + r * RS_KEY_TILE + j) * v_set(state->factor[r] * unit));
    }
    for (int r = 0; r < state->rows; r++) {
        float *z = state->z + r * state->z_stride;
        int64_t visible = position_of(task, row + r) + 1;
        state->sum[row + r] = sparse_weights(task->softmax, z, visible, state->scratch);
        if (state->measured)
            measure_sparse_row(state, row + r, z, visible, state->sum[row + r]);
        memset(z + visible, 0, (size_t)(state->z_stride - visible) * sizeof *z);
    }
    for (tile = 0; enter(state, row, tile); tile += RS_KEY_TILE) {
        for (int r = 0; r < state->rows; r++) {
            rs_unit *p = state->p + r * RS_KEY_TILE;
            rs_vf sum = v_set(0.0f);
            for (int j = 0; j < RS_KEY_TILE; j += RS_VW) {
                rs_vf weight = v_load(state->z + r * state->z_stride + tile + j);
                if (task->bf16) {
                    v_store_bf16((uint16_t *)p + j, weight);
                    weight = v_load_bf16((uint16_t *)p + j);
                } else {
                    v_store((float *)(void *)p + j, weight);
                }
                sum = sum + weight;
            }
            state->sum[row + r] += v_hsum(sum);
        }
        mix_block(state, keep);
    }
}

static void write_row(const attend_state *state, int row)
{
    const rs_attend *task = state->task;
    const float *o = state->output + (size_t)row * (size_t)task->value_width;
    int64_t at = row / task->group * task->out_stride + task->out_columns[row % task->group];
    rs_vf sum = v_set(state->sum[row]);
    for (int d = 0; d < task->head_dim; d += RS_VW) {
        rs_vf value = v_load(o + d) / sum;
        size_t n = (size_t)(task->head_dim - d < RS_VW ? task->head_dim - d : RS_VW);
        if (task->bf16) {
            uint16_t lanes[RS_VW];
            v_store_bf16(lanes, value);
            memcpy(task->out + (size_t)(at + d) * sizeof *lanes, lanes, n * sizeof *lanes);
        } else {
            float lanes[RS_VW];
            v_store(lanes, value);
            memcpy(task->out + (size_t)(at + d) * sizeof *lanes, lanes, n * sizeof *lanes);
        }
    }
}

/* Lays the arrays out in the task's workspace; the sizes are rs_attend_work_floats's. */
static void lay_out(attend_state *state)
{
    const rs_attend *task = state->task;
    int rows = round_up(task->n_rows, 16);
    float *at = task->work;
    state->s = at;
    state->other = at += RS_ROW_BLOCK * RS_KEY_TILE;
    state->p = (rs_unit *)(void *)(at += RS_ROW_BLOCK * RS_KEY_TILE);
    state->max = at += RS_ROW_BLOCK * RS_KEY_TILE;
    state->sum = at += rows;
    state->beta = at += rows;
    state->output = at += rows;
    state->z = at += (size_t)rows * (size_t)task->value_width;
    state->z_stride = (position_of(task, task->n_rows - 1) + RS_KEY_TILE) / RS_KEY_TILE * RS_KEY_TILE;
    state->scratch = state->z + RS_ROW_BLOCK * state->z_stride;
}

/* Diagnostics begin when the row's own temperature is known; they lie at the end of the workspace. */
static void begin_measuring(attend_state *state)
{
    const rs_attend *task = state->task;
    size_t rest = rs_attend_work_floats(task->softmax, task->n_rows, task->value_width, position_of(task, task->n_rows - 1) + 1, false);
    if (task->measure == NULL)
        return;
    state->measured = task->work + rest;
    measure_begin(state);
}

static void attend(const rs_attend *task)
{
    attend_state state = {.task = task};
    int64_t end = position_of(task, task->n_rows - 1) + 1;
    lay_out(&state);
    for (int row = 0; row < task->n_rows; row++)
        state.beta[row] = 1.0f;
    if (task->softmax->n_theta > 0)
        adaptive_phase(&state);
    begin_measuring(&state);
    memset(state.output, 0, (size_t)task->n_rows * (size_t)task->value_width * sizeof *state.output);
    if (task->softmax->normalizer == RS_NORMALIZE_EXP) {
        reset_rows(&state, task->softmax->has_sink);
        for (int64_t tile = 0; tile < end; tile += RS_KEY_TILE)
            for (int row = 0; row < task->n_rows; row += RS_ROW_BLOCK)
                if (enter(&state, row, tile))
                    softmax_block(&state);
    } else {
        for (int row = 0; row < task->n_rows; row += RS_ROW_BLOCK)
            sparse_rows(&state, row);
    }
    for (int row = 0; row < task->n_rows; row++)
        write_row(&state, row);
    for (int row = 0; state.measured && task->softmax->normalizer == RS_NORMALIZE_EXP && row < task->n_rows; row++)
        measure_softmax_row(&state, row);
}

const rs_attention_kernels RS_ATTEND_NAME = {.attend = attend};
