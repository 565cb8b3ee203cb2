/* Causal attention of prefill for Hopper: tensor cores through wgmma, tiles through the copy engine, as FlashAttention-3 lays the work out
 * (arXiv 2407.08608). A block takes 128 rows of one head. Its producer warpgroup copies tiles of keys and values to shared memory; its two
 * consumers, the halves, hold 64 rows each: S = Q K^T from shared memory, the softmax in registers, O += P V with P in registers. While a
 * half's softmax of one tile runs, the tensor cores have its product with the values of the tile before and the other half's products.
 *
 * Why a row's bits depend on the row alone: tiles of keys begin at multiples of their size, each logit and each element of O is one chain
 * over them from the first to the last, and what a row does not see enters with a weight of exactly 0 and a rescaling of exactly 1. As on
 * the CPU (kernels/cpu/attention_kernel.h) the row's sum adds the weights as rounded for P V.
 *
 * The adaptive policy's entropy, and the sums behind rs_cuda_row_stats, come from passes over the keys alone before the last one: they need
 * registers that the last pass gives to O, and leave its bits as they are. */
#include "kernels/cuda/attention_row.h"
#include "kernels/cuda/hopper_ptx.h"

/* Named barriers: whose turn it is (one a half), among the threads of a half (one each), between the halves. */
enum { TURN = 1, HALF = 3, HALVES = 5 };
enum { BOTH = 2 * RS_HOPPER_GROUP };                        /* threads of the halves */
enum { PRODUCER_REGISTERS = 24, CONSUMER_REGISTERS = 240 }; /* a thread; 168 before they are shared out */

/* What a block works at. */
struct hopper_block {
    const rs_cuda_sequence *sequence;
    int index;       /* of the sequence */
    int head;        /* of queries */
    int row, n_rows; /* rows of the sequence: first, number */
    int first, end;  /* position of the first, tokens of the sequence after this step */
    int key_passes;  /* passes over the keys alone */
    int tiles[2];    /* that each half needs; a half without rows needs none */
    uint32_t shared; /* where rs_hopper_plan begins */
};

/* The stages of keys or of values. */
struct hopper_ring {
    uint32_t tiles, full, empty;
};

template <int HEAD_DIM> RS_DEVICE hopper_ring key_ring(uint32_t shared)
{
    uint32_t barriers = shared + rs_hopper_plan<HEAD_DIM>::barriers;
    return hopper_ring{shared + rs_hopper_plan<HEAD_DIM>::key_tiles, barriers, barriers + 8 * RS_HOPPER_STAGES};
}
template <int HEAD_DIM> RS_DEVICE hopper_ring value_ring(uint32_t shared)
{
    uint32_t barriers = shared + rs_hopper_plan<HEAD_DIM>::barriers + 16 * RS_HOPPER_STAGES;
    return hopper_ring{shared + rs_hopper_plan<HEAD_DIM>::value_tiles, barriers, barriers + 8 * RS_HOPPER_STAGES};
}

template <int HEAD_DIM> RS_DEVICE int tiles_of_half(const hopper_block &block, int half)
{
    int rows = block.n_rows - half * RS_HOPPER_HALF;
    rows = rows < RS_HOPPER_HALF ? rows : RS_HOPPER_HALF;
    return rows <= 0 ? 0 : rs_hopper_tiles(block.first + half * RS_HOPPER_HALF + rows - 1, rs_hopper_plan<HEAD_DIM>::keys);
}

/* Heads of a tile are neighbours in the grid: those of one key head find its keys in the L2 cache. */
template <int HEAD_DIM> RS_DEVICE hopper_block block_of(const rs_cuda_attention_args &args)
{
    rs_cuda_tile tile = args.tiles[rs_block_x() / args.heads];
    hopper_block block = {};
    block.sequence = args.sequences + tile.sequence;
    block.index = tile.sequence;
    block.head = rs_block_x() % args.heads;
    block.row = tile.row;
    int64_t rows = block.sequence->n_rows - tile.row;
    block.n_rows = rows < RS_CUDA_HOPPER_ROWS ? (int)rows : (int)RS_CUDA_HOPPER_ROWS;
    block.first = (int)(block.sequence->position + tile.row);
    block.end = (int)(block.sequence->position + block.sequence->n_rows);
    block.key_passes = (block.sequence->policy.n_theta > 0) + (args.stats != NULL);
    block.tiles[0] = tiles_of_half<HEAD_DIM>(block, 0);
    block.tiles[1] = tiles_of_half<HEAD_DIM>(block, 1);
    block.shared = rs_hopper_shared();
    return block;
}

/* --- the producer --- */

template <int HEAD_DIM> RS_DEVICE void load_tile(const hopper_ring &ring, int i, const void *map, int tile, int plane)
{
    typedef rs_hopper_plan<HEAD_DIM> plan;
    uint32_t stage = rs_hopper_stage(i), full = ring.full + 8 * stage, to = ring.tiles + stage * plan::tile_bytes;
    rs_mbarrier_wait(ring.empty + 8 * stage, rs_hopper_parity(i) ^ 1);
    rs_mbarrier_arrive_expect(full, plan::tile_bytes);
    for (int x = 0; x < HEAD_DIM; x += RS_HOPPER_LINE_WIDTH)
        rs_tensor_copy(to + (uint32_t)(x * plan::keys * 2), map, x, tile * plan::keys, plane, full);
}

/* Keys of every pass; in the last the values of a tile after the keys of the next, as the consumers want them. */
template <int HEAD_DIM> RS_DEVICE void load_tiles(const rs_cuda_attention_args &args, const hopper_block &block)
{
    const char *maps = (const char *)args.tensor_maps + (int64_t)block.index * 2 * 128;
    const rs_cuda_sequence *sequence = block.sequence;
    hopper_ring keys = key_ring<HEAD_DIM>(block.shared), values = value_ring<HEAD_DIM>(block.shared);
    int values_plane = args.layer % sequence->cache_layers * args.kv_heads + args.kv_of_head[block.head];
    int set = rs_layer_rotates(sequence, args.layer) ? sequence->key_set[0] : 0;
    int keys_plane = values_plane * sequence->cache_key_sets + set;
    int n = block.tiles[1] ? block.tiles[1] : block.tiles[0], i = 0;
    rs_tensor_map_acquire(maps);
    rs_tensor_map_acquire(maps + 128);
    for (int pass = 0; pass < block.key_passes; pass++)
        for (int tile = 0; tile < n; tile++)
            load_tile<HEAD_DIM>(keys, i++, maps, tile, keys_plane);
    for (int tile = 0; tile < n; tile++) {
        load_tile<HEAD_DIM>(keys, i++, maps, tile, keys_plane);
        if (tile > 0)
            load_tile<HEAD_DIM>(values, tile - 1, maps + 128, tile - 1, values_plane);
    }
    load_tile<HEAD_DIM>(values, n - 1, maps + 128, n - 1, values_plane);
}

/* --- a consumer --- */

/* What a thread knows: its half, and its two rows, rs_hopper_row(thread, 0) of the half and 8 further on. Rows beyond the sequence are
 * computed as copies of the last one, with queries of 0, and not written. */
struct hopper_consumer {
    int half, thread;
    int tiles, tiles_of_other;
    hopper_ring keys, values;
    uint32_t queries; /* the half's, in shared memory */
    int position[2];
    rs_logit_shape shape;
    rs_row_scale scale[2];
    bool shaped; /* some row of the warp: a product is not its logit but for the factor */
};

/* A stage that this warp has read. */
RS_DEVICE void release(const hopper_ring &ring, int i)
{
    if (rs_lane() == 0)
        rs_mbarrier_arrive(ring.empty + 8 * rs_hopper_stage(i));
}
RS_DEVICE void wait_full(const hopper_ring &ring, int i)
{
    rs_mbarrier_wait(ring.full + 8 * rs_hopper_stage(i), rs_hopper_parity(i));
}
RS_DEVICE void take_turn(const hopper_consumer &self, int turn, int turns_of_other)
{
    if (rs_hopper_waits(self.half, turn, turns_of_other))
        rs_hopper_sync(TURN + self.half, BOTH);
}
RS_DEVICE void pass_turn(const hopper_consumer &self, int turn, int turns_of_other)
{
    if (rs_hopper_passes(self.half, turn, turns_of_other))
        rs_hopper_arrive(TURN + 1 - self.half, BOTH);
}

template <int HEAD_DIM> RS_DEVICE void load_queries(const rs_cuda_attention_args &args, const hopper_block &block, int half, int thread)
{
    typedef rs_hopper_plan<HEAD_DIM> plan;
    const rs_bf16 *queries = rs_segment_queries<rs_bf16>(block.sequence, args, block.head, 0) + (int64_t)block.row * HEAD_DIM;
    RS_UNROLL
    for (int at = thread; at < RS_HOPPER_HALF * HEAD_DIM / 8; at += RS_HOPPER_GROUP) {
        int row = at / (HEAD_DIM / 8), column = at % (HEAD_DIM / 8) * 8, of_block = half * RS_HOPPER_HALF + row;
        uint4 x = {0, 0, 0, 0};
        if (of_block < block.n_rows)
            x = *(const uint4 *)(queries + (int64_t)of_block * HEAD_DIM + column);
        rs_hopper_store16(block.shared + (uint32_t)(half * plan::half_bytes + rs_hopper_byte(RS_HOPPER_HALF, row, column)), x);
    }
    rs_hopper_publish();
    rs_hopper_sync(HALF + half, RS_HOPPER_GROUP);
}

/* The rows' factors for these betas. */
RS_DEVICE void scale_rows(const hopper_block &block, hopper_consumer *self, const float (&beta)[2])
{
    bool shaped = !self->shape.plain;
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        int64_t row = self->position[r] - block.sequence->position;
        self->scale[r] = rs_row_scale_of(self->shape, block.sequence->row_scales[row], beta[r]);
        shaped = shaped || self->scale[r].outer != 1.0f;
    }
    self->shaped = rs_ballot(shaped) != 0;
}

template <int HEAD_DIM> RS_DEVICE hopper_consumer consumer_of(const rs_cuda_attention_args &args, const hopper_block &block, int half)
{
    hopper_consumer self = {};
    self.half = half;
    self.thread = rs_thread() % RS_HOPPER_GROUP;
    self.tiles = half == 0 ? block.tiles[0] : block.tiles[1];
    self.tiles_of_other = half == 0 ? block.tiles[1] : block.tiles[0];
    self.keys = key_ring<HEAD_DIM>(block.shared);
    self.values = value_ring<HEAD_DIM>(block.shared);
    self.queries = block.shared + (uint32_t)(half * rs_hopper_plan<HEAD_DIM>::half_bytes);
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        int row = half * RS_HOPPER_HALF + rs_hopper_row(self.thread, 2 * r);
        self.position[r] = block.first + (row < block.n_rows ? row : block.n_rows - 1);
    }
    self.shape = rs_logit_shape_of(block.sequence, args, block.head);
    return self;
}

/* Issues s = Q K^T for the i-th tile of keys. */
template <int HEAD_DIM, int N> RS_DEVICE void multiply_keys(const hopper_consumer &self, int i, float (&s)[N])
{
    typedef rs_hopper_plan<HEAD_DIM> plan;
    uint64_t queries = rs_hopper_by_lines(rs_hopper_afresh(self.queries));
    uint64_t keys = rs_hopper_by_lines(rs_hopper_afresh(self.keys.tiles + rs_hopper_stage(i) * plan::tile_bytes));
    rs_wgmma_begin();
    RS_UNROLL
    for (int step = 0; step < HEAD_DIM / 16; step++)
        rs_wgmma_by_lines<plan::keys>::issue(s, rs_hopper_advance(queries, rs_hopper_step_by_lines(RS_HOPPER_HALF, step)),
                                             rs_hopper_advance(keys, rs_hopper_step_by_lines(plan::keys, step)), step > 0);
    rs_wgmma_commit();
}

/* Issues o += P V for the i-th tile of values. */
template <int HEAD_DIM, int N, int M>
RS_DEVICE void multiply_values(const hopper_consumer &self, int i, const uint32_t (&p)[M], float (&o)[N])
{
    typedef rs_hopper_plan<HEAD_DIM> plan;
    uint32_t tile = rs_hopper_afresh(self.values.tiles + rs_hopper_stage(i) * plan::tile_bytes);
    uint64_t values = rs_hopper_across_lines(tile, plan::keys);
    rs_wgmma_begin();
    RS_UNROLL
    for (int step = 0; step < plan::keys / 16; step++)
        rs_wgmma_across_lines<HEAD_DIM>::issue(o, p + 4 * step, rs_hopper_advance(values, rs_hopper_step_across_lines(step)));
    rs_wgmma_commit();
}

/* How far the thread's row r sees into a tile, counted from the thread's first column: it sees register i where rs_hopper_column(0, i), a
 * constant, is not beyond. The difference is the key's distance. */
template <int HEAD_DIM> RS_DEVICE int reach(const hopper_consumer &self, int tile, int r)
{
    return self.position[r] - tile * rs_hopper_plan<HEAD_DIM>::keys - rs_hopper_column(self.thread, 0);
}

template <int N>
RS_DEVICE void shape_products(const rs_logit_shape &shape, const rs_row_scale (&scale)[2], const float (&reach)[2], float (&s)[N])
{
    RS_UNROLL
    for (int i = 0; i < N; i++)
        s[i] = rs_shape_logit(shape, scale[i / 2 % 2], s[i], rs_add(reach[i / 2 % 2], -(float)rs_hopper_column(0, i)));
}

/* Makes products logits but for the factor, and those of keys that a row does not see -inf. One loop a case, so that none branches. */
template <int HEAD_DIM, int N> RS_DEVICE void shape_logits(const hopper_block &block, const hopper_consumer &self, int tile, float (&s)[N])
{
    int seen[2] = {reach<HEAD_DIM>(self, tile, 0), reach<HEAD_DIM>(self, tile, 1)};
    float distance[2] = {(float)seen[0], (float)seen[1]};
    rs_logit_shape shape = self.shape;
    if (self.shaped && shape.plain)
        shape_products(rs_logit_shape{0.0f, 0.0f, 0.0f, 0.0f, true}, self.scale, distance, s);
    else if (self.shaped && shape.cap > 0.0f)
        shape_products(rs_logit_shape{shape.scale, shape.slope, shape.cap, shape.inverse_cap, false}, self.scale, distance, s);
    else if (self.shaped)
        shape_products(rs_logit_shape{shape.scale, shape.slope, 0.0f, 0.0f, false}, self.scale, distance, s);
    if (rs_hopper_cut(tile, rs_hopper_plan<HEAD_DIM>::keys, block.first + self.half * RS_HOPPER_HALF)) {
        RS_UNROLL
        for (int i = 0; i < N; i++)
            s[i] = rs_hopper_column(0, i) > seen[i / 2 % 2] ? -INFINITY : s[i];
    }
}

/* --- passes over the keys alone --- */

/* Logits of keys 0, m and m - 1, on the lane that holds them, -inf elsewhere. */
struct hopper_marks {
    float sink, diagonal, previous;
};

template <int HEAD_DIM, int N>
RS_DEVICE void mark_keys(const hopper_block &block, const hopper_consumer &self, int tile, const float (&z)[N], hopper_marks (&marks)[2])
{
    if (tile == 0 && self.thread % 4 == 0) {
        marks[0].sink = z[0];
        marks[1].sink = z[2];
    }
    if (!rs_hopper_near(tile, rs_hopper_plan<HEAD_DIM>::keys, block.first + self.half * RS_HOPPER_HALF))
        return;
    RS_UNROLL
    for (int i = 0; i < N; i++) {
        int distance = reach<HEAD_DIM>(self, tile, i / 2 % 2) - rs_hopper_column(0, i);
        hopper_marks &mark = marks[i / 2 % 2];
        mark.diagonal = distance == 0 ? z[i] : mark.diagonal;
        mark.previous = distance == 1 ? z[i] : mark.previous;
    }
}

/* Adds a tile's logits, -inf where unseen, to the sums of the thread's own columns. */
template <int HEAD_DIM, int N> RS_DEVICE void add_logits(const hopper_consumer &self, int tile, const float (&z)[N], rs_row_sums (&sums)[2])
{
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        float most = -INFINITY, distance = (float)reach<HEAD_DIM>(self, tile, r);
        RS_UNROLL
        for (int i = 2 * r; i < N; i += i % 2 ? 3 : 1)
            most = fmaxf(most, z[i]);
        rs_row_sums_raise(&sums[r], most);
        RS_UNROLL
        for (int i = 2 * r; i < N; i += i % 2 ? 3 : 1)
            if (z[i] > -INFINITY)
                rs_row_sums_add(&sums[r], z[i], rs_add(distance, -(float)rs_hopper_column(0, i)));
    }
}

/* One pass: sums and marks of the thread's own columns. `loaded`: tiles of keys loaded before. */
template <int HEAD_DIM>
RS_DEVICE void sum_keys(const hopper_block &block, const hopper_consumer &self, int loaded, rs_row_sums (&sums)[2],
                        hopper_marks (&marks)[2])
{
    int tile = 0;
    for (; tile < self.tiles; tile++) {
        float s[rs_hopper_plan<HEAD_DIM>::keys / 2];
        take_turn(self, tile, self.tiles_of_other);
        wait_full(self.keys, loaded + tile);
        multiply_keys<HEAD_DIM>(self, loaded + tile, s);
        pass_turn(self, tile, self.tiles_of_other);
        rs_wgmma_wait<0>();
        rs_wgmma_settle(s);
        release(self.keys, loaded + tile);
        shape_logits<HEAD_DIM>(block, self, tile, s);
        RS_UNROLL
        for (int i = 0; i < rs_hopper_plan<HEAD_DIM>::keys / 2; i++)
            s[i] = rs_mul(s[i], self.scale[i / 2 % 2].factor);
        mark_keys<HEAD_DIM>(block, self, tile, s, marks);
        add_logits<HEAD_DIM>(self, tile, s, sums);
    }
    for (; tile < self.tiles_of_other; tile++) {
        wait_full(self.keys, loaded + tile);
        release(self.keys, loaded + tile);
    }
    if (self.tiles_of_other > 0) /* turns begin anew */
        rs_hopper_sync(HALVES, BOTH);
}

RS_DEVICE float of_quad(float x)
{
    x = fmaxf(x, rs_shuffle_xor(x, 1));
    return fmaxf(x, rs_shuffle_xor(x, 2));
}

RS_DEVICE bool writes_row(const hopper_block &block, const hopper_consumer &self, int r)
{
    return self.half * RS_HOPPER_HALF + rs_hopper_row(self.thread, 2 * r) < block.n_rows;
}

/* The passes before the last one; leaves the rows' scales as the last one needs them. Returns the tiles of keys loaded. */
template <int HEAD_DIM> RS_DEVICE int sum_rows(const rs_cuda_attention_args &args, const hopper_block &block, hopper_consumer *self)
{
    float beta[2] = {1.0f, 1.0f};
    int loaded = 0, tiles = self->tiles > self->tiles_of_other ? self->tiles : self->tiles_of_other;
    scale_rows(block, self, beta);
    if (block.sequence->policy.n_theta > 0) {
        rs_row_sums sums[2] = {rs_row_sums_none(), rs_row_sums_none()};
        hopper_marks marks[2] = {};
        sum_keys<HEAD_DIM>(block, *self, loaded, sums, marks);
        RS_UNROLL
        for (int r = 0; r < 2; r++)
            beta[r] = rs_row_beta(block.sequence->policy, rs_row_entropy(rs_row_sums_of_lanes(sums[r], 4)));
        scale_rows(block, self, beta);
        loaded += tiles;
    }
    if (args.stats) {
        rs_row_sums sums[2] = {rs_row_sums_none(), rs_row_sums_none()};
        hopper_marks marks[2] = {{-INFINITY, -INFINITY, -INFINITY}, {-INFINITY, -INFINITY, -INFINITY}};
        sum_keys<HEAD_DIM>(block, *self, loaded, sums, marks);
        RS_UNROLL
        for (int r = 0; r < 2; r++) {
            rs_row_sums all = rs_row_sums_of_lanes(sums[r], 4);
            float sink = of_quad(marks[r].sink), diagonal = of_quad(marks[r].diagonal), previous = of_quad(marks[r].previous);
            int64_t row = block.sequence->first_row + self->position[r] - block.sequence->position;
            if (writes_row(block, *self, r) && self->thread % 4 == 0)
                rs_row_stats_write(args.stats + row * args.heads + block.head, all, sink, diagonal, previous, beta[r]);
        }
        loaded += tiles;
    }
    return loaded;
}

/* --- the pass over keys and values --- */

/* The softmax of the thread's rows: maximum in units of log 2, and the part of the sum that its own columns make. */
struct hopper_softmax {
    float max[2], sum[2];
};

/* The softmax of a tile: logits become weights, as rounded for P V. alpha: what to multiply O by. */
template <int N> RS_DEVICE void weigh(const hopper_consumer &self, float (&s)[N], hopper_softmax *softmax, float (&alpha)[2])
{
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        float most = -INFINITY, factor = self.scale[r].factor, sum = 0.0f;
        RS_UNROLL
        for (int i = 2 * r; i < N; i += 4)
            most = fmaxf(most, fmaxf(s[i], s[i + 1]));
        alpha[r] = rs_raise_max(&softmax->max[r], rs_mul(of_quad(most), factor));
        float shift = -rs_shift(softmax->max[r]);
        RS_UNROLL
        for (int i = 2 * r; i < N; i += 4) {
            uint32_t pair = rs_pack_bf16(rs_exp2(rs_fma(s[i], factor, shift)), rs_exp2(rs_fma(s[i + 1], factor, shift)));
            s[i] = rs_bits_float(pair << 16);
            s[i + 1] = rs_bits_float(pair & 0xffff0000u);
            sum = rs_add(sum, rs_add(s[i], s[i + 1]));
        }
        softmax->sum[r] = rs_fma(softmax->sum[r], alpha[r], sum);
    }
}

/* Weights as operands of P V. Not before the products that read p are done, which is why weigh leaves them in s. */
template <int N, int M> RS_DEVICE void pack_weights(const float (&s)[N], uint32_t (&p)[M])
{
    RS_UNROLL
    for (int i = 0; i < M; i++)
        p[i] = rs_pack_bf16(s[2 * i], s[2 * i + 1]);
}

/* Most tiles raise no maximum: a factor of 1 is left out, which changes no bits. The wait stands below the branch because the compiler
 * would take one that follows the softmax directly to before it. */
template <int N> RS_DEVICE void rescale(float (&o)[N], const float (&alpha)[2])
{
    if (!rs_ballot(alpha[0] != 1.0f || alpha[1] != 1.0f))
        return;
    rs_wgmma_wait<0>();
    rs_wgmma_settle(o);
    RS_UNROLL
    for (int i = 0; i < N; i++)
        o[i] = rs_mul(o[i], alpha[i / 2 % 2]);
}

/* Values beyond the sequence's end are whatever the cache held, perhaps NaN, and 0 NaN = NaN: makes them 0. The halves share the work where
 * both have this tile. */
template <int HEAD_DIM> RS_DEVICE void clear_tail(const hopper_block &block, const hopper_consumer &self, int tile)
{
    typedef rs_hopper_plan<HEAD_DIM> plan;
    int first = block.end - tile * plan::keys;
    if (first >= plan::keys)
        return;
    bool both = self.tiles == self.tiles_of_other;
    int threads = both ? (int)BOTH : (int)RS_HOPPER_GROUP, thread = self.thread + (both ? self.half * RS_HOPPER_GROUP : 0);
    uint32_t to = self.values.tiles + rs_hopper_stage(tile) * plan::tile_bytes;
    for (int at = first * (HEAD_DIM / 8) + thread; at < plan::keys * (HEAD_DIM / 8); at += threads)
        rs_hopper_store16(to + (uint32_t)rs_hopper_byte(plan::keys, at / (HEAD_DIM / 8), at % (HEAD_DIM / 8) * 8), uint4{0, 0, 0, 0});
    rs_hopper_publish();
    rs_hopper_sync(both ? HALVES : HALF + self.half, threads);
}

/* Adding 0 makes a sum of -0 what it is where a later tile, of weight 0, was added to it. */
template <int HEAD_DIM, int N>
RS_DEVICE void write_rows(const rs_cuda_attention_args &args, const hopper_block &block, const hopper_consumer &self,
                          const hopper_softmax &softmax, const float (&o)[N])
{
    RS_UNROLL
    for (int r = 0; r < 2; r++) {
        float sum = rs_add(softmax.sum[r], rs_shuffle_xor(softmax.sum[r], 1));
        float inverse = 1.0f / rs_add(sum, rs_shuffle_xor(sum, 2));
        if (!writes_row(block, self, r))
            continue;
        int64_t row = block.sequence->first_row + self.position[r] - block.sequence->position;
        rs_bf16 *out = (rs_bf16 *)args.out + (row * args.heads + block.head) * HEAD_DIM;
        RS_UNROLL
        for (int i = 2 * r; i < N; i += 4)
            *(uint32_t *)(out + rs_hopper_column(self.thread, i)) =
                rs_pack_bf16(rs_fma(o[i], inverse, 0.0f), rs_fma(o[i + 1], inverse, 0.0f));
    }
}

/* Turn 0 multiplies the first keys, turn t the keys of tile t and the values of tile t - 1, the last turn the last values. */
template <int HEAD_DIM>
RS_DEVICE void attend_rows(const rs_cuda_attention_args &args, const hopper_block &block, const hopper_consumer &self, int loaded)
{
    constexpr int keys = rs_hopper_plan<HEAD_DIM>::keys;
    const rs_cuda_policy &policy = block.sequence->policy;
    int turns_of_other = self.tiles_of_other ? self.tiles_of_other + 1 : 0;
    float seed = policy.has_sink && self.thread % 4 == 0 ? 1.0f : 0.0f, alpha[2], o[HEAD_DIM / 2];
    hopper_softmax softmax = {{rs_first_max(policy), rs_first_max(policy)}, {seed, seed}};
    uint32_t p[keys / 4];
    {
        float s[keys / 2];
        take_turn(self, 0, turns_of_other);
        wait_full(self.keys, loaded);
        multiply_keys<HEAD_DIM>(self, loaded, s);
        pass_turn(self, 0, turns_of_other);
        rs_wgmma_wait<0>();
        rs_wgmma_settle(s);
        release(self.keys, loaded);
        shape_logits<HEAD_DIM>(block, self, 0, s);
        weigh(self, s, &softmax, alpha);
        pack_weights(s, p);
    }
    RS_UNROLL
    for (int i = 0; i < HEAD_DIM / 2; i++)
        o[i] = 0.0f;
    for (int tile = 1; tile < self.tiles; tile++) {
        float s[keys / 2];
        rs_wgmma_settle(o);
        rs_wgmma_settle(p);
        take_turn(self, tile, turns_of_other);
        wait_full(self.keys, loaded + tile);
        multiply_keys<HEAD_DIM>(self, loaded + tile, s);
        wait_full(self.values, tile - 1);
        multiply_values<HEAD_DIM>(self, tile - 1, p, o);
        pass_turn(self, tile, turns_of_other);
        rs_wgmma_wait<1>();
        rs_wgmma_settle(s);
        release(self.keys, loaded + tile);
        shape_logits<HEAD_DIM>(block, self, tile, s);
        weigh(self, s, &softmax, alpha);
        rescale(o, alpha);
        rs_wgmma_wait<0>();
        rs_wgmma_settle(o);
        rs_wgmma_settle(p);
        release(self.values, tile - 1);
        pack_weights(s, p);
    }
    wait_full(self.values, self.tiles - 1);
    clear_tail<HEAD_DIM>(block, self, self.tiles - 1);
    rs_wgmma_settle(o);
    rs_wgmma_settle(p);
    take_turn(self, self.tiles, turns_of_other);
    multiply_values<HEAD_DIM>(self, self.tiles - 1, p, o);
    pass_turn(self, self.tiles, turns_of_other);
    rs_wgmma_wait<0>();
    rs_wgmma_settle(o);
    write_rows<HEAD_DIM>(args, block, self, softmax, o);
}

/* --- the kernel --- */

template <int HEAD_DIM> RS_DEVICE void init_barriers(const hopper_block &block)
{
    hopper_ring rings[2] = {key_ring<HEAD_DIM>(block.shared), value_ring<HEAD_DIM>(block.shared)};
    int readers = RS_HOPPER_GROUP / 32 * (block.tiles[1] ? 2 : 1); /* warps */
    for (const hopper_ring &ring : rings)
        for (uint32_t stage = 0; stage < RS_HOPPER_STAGES; stage++) {
            rs_mbarrier_init(ring.full + 8 * stage, 1);
            rs_mbarrier_init(ring.empty + 8 * stage, readers);
        }
    rs_mbarrier_publish();
}

template <int HEAD_DIM> RS_DEVICE void run_block(const rs_cuda_attention_args &args)
{
    hopper_block block = block_of<HEAD_DIM>(args);
    int group = rs_hopper_uniform(rs_thread() / RS_HOPPER_GROUP);
    if (rs_thread() == 0)
        init_barriers<HEAD_DIM>(block);
    rs_sync();
    if (group == 0) {
        rs_hopper_give_registers<PRODUCER_REGISTERS>();
        if (rs_thread() == 0)
            load_tiles<HEAD_DIM>(args, block);
    } else {
        rs_hopper_take_registers<CONSUMER_REGISTERS>();
        if (group == 2 && block.tiles[1] == 0)
            return;
        hopper_consumer self = consumer_of<HEAD_DIM>(args, block, group - 1);
        load_queries<HEAD_DIM>(args, block, self.half, self.thread);
        int loaded = sum_rows<HEAD_DIM>(args, block, &self);
        attend_rows<HEAD_DIM>(args, block, self, loaded);
    }
}

template <int HEAD_DIM> RS_HOPPER_KERNEL attend_hopper(rs_cuda_attention_args args)
{
    if (RS_HOPPER_DEVICE)
        run_block<HEAD_DIM>(args);
}

template <int HEAD_DIM> static int launch(void *stream, const rs_cuda_attention_args *args)
{
    static_assert(rs_hopper_plan<HEAD_DIM>::bytes <= RS_HOPPER_SHARED, "more shared memory than a block may have");
    int error = rs_hopper_ready(attend_hopper<HEAD_DIM>, rs_hopper_plan<HEAD_DIM>::bytes);
    if (error || args->n_tiles == 0)
        return error;
    return RS_LAUNCH((attend_hopper<HEAD_DIM>), rs_dim((unsigned)(args->n_tiles * args->heads)), rs_dim(RS_HOPPER_THREADS),
                     rs_hopper_plan<HEAD_DIM>::bytes, stream, *args);
}

int rs_cuda_attend_hopper(void *stream, const rs_cuda_attention_args *args)
{
    switch (args->head_dim) {
    case 64:
        return launch<64>(stream, args);
    case 128:
        return launch<128>(stream, args);
    case 256:
        return launch<256>(stream, args);
    default:
        return 801;
    }
}
