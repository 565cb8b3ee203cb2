/* Attention of one row and head a block, for what the fast kernels do not take: any head_dim, fp32, top-k, entmax. The row's logits lie in
 * the block's part of `work` and become its weights in place. Between the products and the mixing of values, thread t has keys t,
 * t + THREADS, ..., so that only sums over the row need the block; they are taken in one order, whatever the number of blocks. */
#include "kernels/cuda/attention_row.h"

extern "C" {
#include "kernels/softmax_policy.h"
}

enum {
    THREADS = 128,
    WARPS = THREADS / 32,
    KEY_LANES = 8, /* that share a key's product: a sector of memory at a time */
    WIDEST = 512,  /* head_dim */
    GROUPS = 2,    /* of threads, each mixing every second key's values */
    LANES = THREADS / GROUPS,
    PAIRS = WIDEST / 2 / LANES, /* of columns, a thread */
    QUERIES_AT = 0,             /* bytes in shared memory: [RS_CUDA_SEGMENTS][WIDEST] floats, then [GROUPS][WIDEST] */
    OUTPUT_AT = QUERIES_AT + RS_CUDA_SEGMENTS * WIDEST * 4,
    SCRATCH_AT = OUTPUT_AT + GROUPS * WIDEST * 4, /* what reductions leave: [WARPS] of up to 32 bytes */
    SHARED_BYTES = SCRATCH_AT + WARPS * 32
};

struct rs_general_row {
    const rs_cuda_sequence *sequence;
    int head, n_keys, n_segments;
    int64_t row;
    float *z; /* [n_keys] */
};

/* --- over the block --- */

struct rs_add_op {
    template <class T> RS_DEVICE_METHOD static T of(T a, T b)
    {
        return a + b;
    }
};
struct rs_max_op {
    template <class T> RS_DEVICE_METHOD static T of(T a, T b)
    {
        return fmaxf(a, b); /* NaN is not seen */
    }
};

/* The same on each thread, by a fixed tree. */
template <class Op, class T> RS_DEVICE T rs_general_reduce(T x)
{
    rs_shared<T> scratch = rs_shared_at<T>(SCRATCH_AT, WARPS);
    for (int mask = 16; mask; mask >>= 1)
        x = Op::of(x, rs_shuffle_xor(x, mask));
    rs_sync();
    if (rs_lane() == 0)
        scratch.set(rs_warp(), x);
    rs_sync();
    x = scratch.get(0);
    for (int warp = 1; warp < WARPS; warp++)
        x = Op::of(x, scratch.get(warp));
    return x;
}

RS_DEVICE rs_row_sums rs_general_merge(rs_row_sums sums)
{
    enum { FIELDS = 6 };
    rs_shared<float> scratch = rs_shared_at<float>(SCRATCH_AT, WARPS * FIELDS);
    sums = rs_row_sums_of_lanes(sums, 32);
    rs_sync();
    if (rs_lane() == 0) {
        const float fields[FIELDS] = {sums.max, sums.min, sums.sum, sums.first, sums.square, sums.distance};
        for (int i = 0; i < FIELDS; i++)
            scratch.set(rs_warp() * FIELDS + i, fields[i]);
    }
    rs_sync();
    sums = rs_row_sums_none();
    for (int i = 0; i < WARPS * FIELDS; i += FIELDS)
        sums = rs_row_sums_merge(sums, rs_row_sums{scratch.get(i), scratch.get(i + 1), scratch.get(i + 2), scratch.get(i + 3),
                                                   scratch.get(i + 4), scratch.get(i + 5)});
    return sums;
}

/* --- logits --- */

RS_DEVICE float rs_general_float(float x)
{
    return x;
}
RS_DEVICE float rs_general_float(rs_bf16 x)
{
    return rs_from_bf16(x);
}

/* The row's queries, one copy a segment, into shared memory. */
template <class T> RS_DEVICE void rs_general_load_queries(const rs_general_row &row, const rs_cuda_attention_args &args)
{
    rs_shared<float> queries = rs_shared_at<float>(QUERIES_AT, RS_CUDA_SEGMENTS * WIDEST);
    for (int segment = 0; segment < row.n_segments; segment++) {
        const T *from = rs_segment_queries<T>(row.sequence, args, row.head, segment) + row.row * args.head_dim;
        for (int d = rs_thread(); d < args.head_dim; d += THREADS)
            queries.set(segment * WIDEST + d, rs_general_float(from[d]));
    }
    rs_sync();
}

/* Product of a query in shared memory and a key, over the KEY_LANES lanes that share it; on each of them. */
template <class T> RS_DEVICE float rs_general_product(rs_shared<float> query, const T *key, int head_dim)
{
    float even = 0.0f, odd = 0.0f;
    for (int d = 2 * (rs_lane() % KEY_LANES); d < head_dim; d += 2 * KEY_LANES) {
        even = rs_fma(query.get(d), rs_general_float(key[d]), even);
        odd = rs_fma(query.get(d + 1), rs_general_float(key[d + 1]), odd);
    }
    float product = rs_add(even, odd);
    for (int mask = 1; mask < KEY_LANES; mask *= 2)
        product = rs_add(product, rs_shuffle_xor(product, mask));
    return product;
}

/* z = scaled products, with bias and cap, before the row's factor. */
template <class T> RS_DEVICE void rs_general_logits(const rs_general_row &row, const rs_cuda_attention_args &args)
{
    enum { WARP_KEYS = 32 / KEY_LANES };
    rs_shared<float> queries = rs_shared_at<float>(QUERIES_AT, RS_CUDA_SEGMENTS * WIDEST);
    rs_logit_shape shape = rs_logit_shape_of(row.sequence, args, row.head);
    int segment = 0, kv_head = args.kv_of_head[row.head];
    for (int first = rs_warp() * WARP_KEYS; first < row.n_keys; first += WARPS * WARP_KEYS) {
        int mine = first + rs_lane() / KEY_LANES, key = mine < row.n_keys ? mine : row.n_keys - 1;
        while (key >= rs_segment_start(row.sequence, row.n_segments, row.row, segment + 1))
            segment++;
        const T *keys = rs_segment_keys<T>(row.sequence, args, kv_head, segment);
        float product = rs_general_product<T>(queries.at(segment * WIDEST), keys + (int64_t)key * args.head_dim, args.head_dim);
        if (mine == key && rs_lane() % KEY_LANES == 0)
            row.z[key] = rs_shape_logit(shape, rs_row_scale{1.0f, 1.0f}, product, (float)(row.n_keys - 1 - key));
    }
    rs_sync();
}

RS_DEVICE float rs_general_max(const rs_general_row &row, float factor)
{
    float most = -INFINITY;
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        most = fmaxf(most, rs_mul(row.z[key], factor));
    return rs_general_reduce<rs_max_op>(most);
}

RS_DEVICE rs_row_sums rs_general_sums(const rs_general_row &row, float factor)
{
    rs_row_sums sums = rs_row_sums_none();
    sums.max = rs_general_max(row, factor);
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        rs_row_sums_add(&sums, rs_mul(row.z[key], factor), (float)(row.n_keys - 1 - key));
    return rs_general_merge(sums);
}

RS_DEVICE float rs_general_factor(const rs_general_row &row, const rs_cuda_attention_args &args, float beta)
{
    rs_row_scale scale = rs_row_scale_of(rs_logit_shape_of(row.sequence, args, row.head), row.sequence->row_scales[row.row], beta);
    return rs_mul(scale.outer, scale.factor);
}

/* Logits in units of log 2; beta of the adaptive policy. */
RS_DEVICE float rs_general_scale(const rs_general_row &row, const rs_cuda_attention_args &args)
{
    float beta = 1.0f, factor = rs_general_factor(row, args, beta);
    if (row.sequence->policy.n_theta > 0) {
        beta = rs_row_beta(row.sequence->policy, rs_row_entropy(rs_general_sums(row, factor)));
        factor = rs_general_factor(row, args, beta);
    }
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        row.z[key] = rs_mul(row.z[key], factor);
    return beta;
}

RS_DEVICE void rs_general_measure(const rs_general_row &row, const rs_cuda_attention_args &args, float beta)
{
    rs_row_sums sums = rs_general_sums(row, 1.0f); /* and so all logits are written */
    if (rs_thread() == 0)
        rs_row_stats_write(args.stats + (row.sequence->first_row + row.row) * args.heads + row.head, sums, row.z[0], row.z[row.n_keys - 1],
                           row.n_keys > 1 ? row.z[row.n_keys - 2] : -INFINITY, beta);
    rs_sync(); /* before they become weights */
}

/* --- weights: each normalizer replaces z and returns the sink's --- */

RS_DEVICE float rs_general_exp(const rs_general_row &row)
{
    float sink = rs_first_max(row.sequence->policy), max = fmaxf(sink, rs_general_max(row, 1.0f));
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        row.z[key] = rs_exp2(rs_add(row.z[key], -max));
    return row.sequence->policy.has_sink ? rs_exp2(rs_add(sink, -max)) : 0.0f;
}

/* An unsigned integer in the order of the floats; -0 equals 0, NaN comes after all. */
RS_DEVICE uint32_t rs_general_order(float x)
{
    uint32_t bits = rs_float_bits(rs_add(x, 0.0f));
    if (x != x)
        return 0xffffffffu;
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* What top-k takes: all beyond a threshold, and at it the keys up to `last`. */
struct rs_general_choice {
    uint32_t threshold;
    int last;
};
RS_DEVICE bool rs_general_taken(rs_general_choice choice, float z, int key)
{
    uint32_t order = rs_general_order(z);
    return order > choice.threshold || (order == choice.threshold && key <= choice.last);
}
RS_DEVICE int rs_general_count(const rs_general_row &row, rs_general_choice choice)
{
    int count = 0;
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        count += rs_general_taken(choice, row.z[key], key);
    return rs_general_reduce<rs_add_op>(count);
}

/* The k largest; of equals at the k-th place the earlier keys. */
RS_DEVICE rs_general_choice rs_general_choose(const rs_general_row &row, int k)
{
    rs_general_choice choice = {0, row.n_keys - 1};
    int count = row.n_keys;
    for (uint32_t bit = 0x80000000u; bit && count != k; bit >>= 1) { /* the largest threshold that k keys reach */
        int reached = rs_general_count(row, rs_general_choice{choice.threshold | bit, choice.last});
        if (reached >= k) {
            choice.threshold |= bit;
            count = reached;
        }
    }
    for (int low = 0; count != k && low < choice.last;) { /* the first key up to which they are k */
        int middle = low + (choice.last - low) / 2;
        if (rs_general_count(row, rs_general_choice{choice.threshold, middle}) >= k)
            choice.last = middle;
        else
            low = middle + 1;
    }
    return choice;
}

RS_DEVICE float rs_general_top_k(const rs_general_row &row)
{
    const rs_cuda_policy &policy = row.sequence->policy;
    rs_general_choice choice = rs_general_choose(row, policy.k < row.n_keys ? (int)policy.k : row.n_keys);
    float sink = rs_first_max(policy), max = fmaxf(sink, rs_general_max(row, 1.0f));
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        row.z[key] = rs_general_taken(choice, row.z[key], key) ? rs_exp2(rs_add(row.z[key], -max)) : 0.0f;
    return policy.has_sink ? rs_exp2(rs_add(sink, -max)) : 0.0f;
}

/* x^power for x > 0; sparsemax's and 1.5-entmax's powers cheaply. */
RS_DEVICE double rs_general_power(double x, double power)
{
    return power == 1.0 ? x : power == 2.0 ? x * x : pow(x, power);
}

/* weights [x - tau]_+^(1 / (alpha - 1)) of x = (alpha - 1) (logit - largest). Their sum is convex and falls with tau, so that Newton's
 * steps from tau = -1, where it is at least 1, climb to the root without passing it. */
struct rs_general_entmax {
    double unit, max, power, tau; /* x = unit * z - max */
};
RS_DEVICE double rs_general_above(const rs_general_entmax &entmax, float z)
{
    return entmax.unit * (double)z - entmax.max - entmax.tau;
}
RS_DEVICE void rs_general_add(const rs_general_entmax &entmax, float z, double *sum, double *slope)
{
    double above = rs_general_above(entmax, z);
    if (!(above > 0.0))
        return;
    double weight = rs_general_power(above, entmax.power);
    *sum += weight;
    *slope += entmax.power * weight / above;
}
/* One step; false where it does not climb. */
RS_DEVICE bool rs_general_climb(const rs_general_row &row, rs_general_entmax *entmax, float sink)
{
    double sum = 0.0, slope = 0.0;
    if (rs_thread() == 0)
        rs_general_add(*entmax, sink, &sum, &slope);
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        rs_general_add(*entmax, row.z[key], &sum, &slope);
    sum = rs_general_reduce<rs_add_op>(sum);
    slope = rs_general_reduce<rs_add_op>(slope);
    double step = (sum - 1.0) / slope;
    if (!(step > 1e-14))
        return false;
    entmax->tau += step;
    return true;
}

RS_DEVICE float rs_general_weigh(const rs_general_entmax &entmax, float z)
{
    double above = rs_general_above(entmax, z);
    return above <= 0.0 ? 0.0f : (float)rs_general_power(above, entmax.power); /* NaN stays NaN */
}

RS_DEVICE float rs_general_entmax_row(const rs_general_row &row)
{
    const rs_cuda_policy &policy = row.sequence->policy;
    double scale = (double)policy.alpha - 1.0, unit = scale / RS_LOG2E;
    float sink = rs_first_max(policy), max = fmaxf(sink, rs_general_max(row, 1.0f));
    rs_general_entmax entmax = {unit, unit * (double)max, 1.0 / scale, -1.0};
    for (int step = 0; step < 100 && rs_general_climb(row, &entmax, sink); step++) {
    }
    for (int key = rs_thread(); key < row.n_keys; key += THREADS)
        row.z[key] = rs_general_weigh(entmax, row.z[key]);
    return policy.has_sink ? rs_general_weigh(entmax, sink) : 0.0f;
}

/* --- output --- */

/* Rounds weights to the dtype; their sum as rounded, and the sink's. */
template <class T> RS_DEVICE float rs_general_round(const rs_general_row &row, float sink)
{
    float sum = 0.0f;
    for (int key = rs_thread(); key < row.n_keys; key += THREADS) {
        float weight = sizeof(T) == sizeof(rs_bf16) ? rs_from_bf16(rs_to_bf16(row.z[key])) : row.z[key];
        row.z[key] = weight;
        sum = rs_add(sum, weight);
    }
    return rs_add(rs_general_reduce<rs_add_op>(sum), sink); /* and so all weights are written */
}

/* Each group's sums of weights times values, into shared memory. */
template <class T> RS_DEVICE void rs_general_mix(const rs_general_row &row, const rs_cuda_attention_args &args)
{
    rs_shared<float> output = rs_shared_at<float>(OUTPUT_AT, GROUPS * WIDEST);
    const T *values = rs_values_of<T>(row.sequence, args, args.kv_of_head[row.head]);
    int group = rs_thread() / LANES, first = 2 * (rs_thread() % LANES);
    float o[PAIRS][2] = {};
    for (int key = group; key < row.n_keys; key += GROUPS) {
        float weight = row.z[key];
        if (weight == 0.0f)
            continue;
        const T *v = values + (int64_t)key * args.head_dim;
        RS_UNROLL
        for (int i = 0; i < PAIRS; i++) {
            int d = first + i * 2 * LANES;
            if (d < args.head_dim) {
                o[i][0] = rs_fma(weight, rs_general_float(v[d]), o[i][0]);
                o[i][1] = rs_fma(weight, rs_general_float(v[d + 1]), o[i][1]);
            }
        }
    }
    RS_UNROLL
    for (int i = 0; i < PAIRS; i++) {
        int d = first + i * 2 * LANES;
        if (d < args.head_dim) {
            output.set(group * WIDEST + d, o[i][0]);
            output.set(group * WIDEST + d + 1, o[i][1]);
        }
    }
    rs_sync();
}

RS_DEVICE void rs_general_store(float *to, float x)
{
    *to = x;
}
RS_DEVICE void rs_general_store(rs_bf16 *to, float x)
{
    *to = rs_to_bf16(x);
}

template <class T> RS_DEVICE void rs_general_write(const rs_general_row &row, const rs_cuda_attention_args &args, float sum)
{
    rs_shared<float> output = rs_shared_at<float>(OUTPUT_AT, GROUPS * WIDEST);
    T *to = (T *)args.out + ((row.sequence->first_row + row.row) * args.heads + row.head) * args.head_dim;
    for (int d = rs_thread(); d < args.head_dim; d += THREADS) {
        float o = output.get(d);
        for (int group = 1; group < GROUPS; group++)
            o = rs_add(o, output.get(group * WIDEST + d));
        rs_general_store(to + d, o / sum);
    }
}

template <class T> RS_DEVICE void rs_general_attend(const rs_general_row &row, const rs_cuda_attention_args &args)
{
    rs_general_load_queries<T>(row, args);
    rs_general_logits<T>(row, args);
    float beta = rs_general_scale(row, args), sink;
    if (args.stats)
        rs_general_measure(row, args, beta);
    if (row.sequence->policy.normalizer == RS_NORMALIZE_TOP_K)
        sink = rs_general_top_k(row);
    else if (row.sequence->policy.normalizer == RS_NORMALIZE_ENTMAX)
        sink = rs_general_entmax_row(row);
    else
        sink = rs_general_exp(row);
    float sum = rs_general_round<T>(row, sink);
    rs_general_mix<T>(row, args);
    rs_general_write<T>(row, args, sum);
}

template <class T> RS_KERNEL RS_BOUNDS(THREADS, 4) rs_general_kernel(rs_cuda_attention_args args, int64_t block_floats)
{
    float *work = args.work + rs_block_x() * block_floats;
    for (int64_t at = rs_block_x(); at < (int64_t)args.n_tiles * args.heads; at += rs_blocks_x()) {
        rs_cuda_tile tile = args.tiles[at / args.heads];
        const rs_cuda_sequence *sequence = args.sequences + tile.sequence;
        rs_general_row row = {
            sequence, (int)(at % args.heads), (int)sequence->position + tile.row + 1, rs_layer_segments(sequence, args.layer), tile.row,
            work};
        rs_general_attend<T>(row, args);
    }
}

/* Whole cache lines. */
extern "C" int64_t rs_cuda_general_floats(int64_t longest_row)
{
    return (longest_row + 31) / 32 * 32;
}

extern "C" int rs_cuda_attend_general(void *stream, const rs_cuda_attention_args *args)
{
    if (args->n_tiles == 0)
        return 0;
    int64_t block_floats = rs_cuda_general_floats(args->longest_row), fit = args->work_floats / block_floats;
    int64_t blocks = (int64_t)args->n_tiles * args->heads;
    if (fit == 0 || args->head_dim > WIDEST || args->head_dim % 2 != 0)
        return 1; /* cudaErrorInvalidValue */
    rs_dim grid((unsigned)(blocks < fit ? blocks : fit));
    if (args->bf16)
        return RS_LAUNCH((rs_general_kernel<rs_bf16>), grid, rs_dim(THREADS), SHARED_BYTES, stream, *args, block_floats);
    return RS_LAUNCH((rs_general_kernel<float>), grid, rs_dim(THREADS), SHARED_BYTES, stream, *args, block_floats);
}
