/* Attention of one new row a sequence, bound by reading K and V once.
 *
 * The keys of a row are cut into runs of RS_CUDA_SPLIT. A block takes runs of one sequence and kv head, for all query heads that read it:
 * they are the 16 rows of rs_mma. K and V of its runs pass through one ring of shared memory, 16 KB a stage and three ahead, so that 2
 * blocks a multiprocessor have 96 KB in flight (4.8 TB/s x 600 ns want 22). A run leaves a record: its maximum, the sum of its weights and
 * their mean of V times that sum; a second kernel merges the records in order. Weights are rounded relative to their run's maximum.
 *
 * The adaptive policy needs a row's entropy first: a pass over K leaves the products and the runs' entropies in the records, and the main
 * pass takes the products from there: K is read once under any policy.
 *
 * A row's bits depend on its own sequence: runs begin at multiples of RS_CUDA_SPLIT, whoever takes them. */
#include "kernels/cuda/attention_row.h"

enum {
    NOT_SUPPORTED = 801,
    THREADS = 128,
    WARPS = THREADS / 32,
    HEADS = 16,                /* rows of rs_mma */
    STAGE = 8192,              /* elements: 16 KB of K or V */
    STAGES = 4,                /* of the ring */
    PITCH = RS_CUDA_SPLIT + 4, /* floats between rows of products: fewer bank conflicts */
    LANE_KEYS = RS_CUDA_SPLIT / 32,
    CROWD = 2 * 132, /* blocks that a card holds at once */
    FEWEST = 4,      /* blocks for a sequence and kv head, where its batch alone is a crowd: lengths may differ */
    MERGE_THREADS = 256,
    MERGE_COLUMNS = 64,
    MERGE_GROUPS = MERGE_THREADS / MERGE_COLUMNS, /* each merges every fourth run */
    MERGE_BATCH = 8                               /* records that a thread asks for at once */
};

/* What a run leaves for each head: e floats of output, this, and RS_CUDA_SPLIT products. */
typedef struct decode_run {
    float max, sum, beta;
    float sink, diagonal, previous; /* logits of keys 0, m, m - 1 where the run has them */
    rs_row_sums entropy, sums;      /* of the adaptive policy's first pass; for rs_cuda_row_stats */
} decode_run;
enum { RUN_FLOATS = 32 };
static_assert(sizeof(decode_run) <= RUN_FLOATS * sizeof(float), "a run's state has outgrown its place");

static int64_t record_floats(int head_dim)
{
    return head_dim + RUN_FLOATS + RS_CUDA_SPLIT;
}

/* Where the records lie: [n_decode][heads][max_runs]. */
typedef struct decode_records {
    float *data;
    int64_t max_runs, floats; /* floats of one */
    int head_dim, heads;
} decode_records;

RS_DEVICE float *record_output(const decode_records &records, int index, int head, int run)
{
    int64_t at = ((int64_t)index * records.heads + head) * records.max_runs + run;
    return records.data + at * records.floats;
}
RS_DEVICE decode_run *record_run(const decode_records &records, int index, int head, int run)
{
    return (decode_run *)(record_output(records, index, head, run) + records.head_dim);
}
RS_DEVICE float *record_products(const decode_records &records, int index, int head, int run)
{
    return record_output(records, index, head, run) + records.head_dim + RUN_FLOATS;
}

/* The row and kv head of a block. */
typedef struct decode_row {
    const rs_cuda_sequence *sequence;
    int index, kv_head; /* of decode_sequences */
    int n_keys, n_runs, n_segments;
    int starts[RS_CUDA_SEGMENTS]; /* no key reaches those beyond the last */
    const rs_bf16 *keys[RS_CUDA_SEGMENTS], *values;
    bool adaptive;
} decode_row;

RS_DEVICE decode_row row_of_block(const rs_cuda_attention_args &args)
{
    decode_row row;
    row.index = rs_block_x() / args.kv_heads;
    row.kv_head = rs_block_x() % args.kv_heads;
    row.sequence = args.sequences + args.decode_sequences[row.index];
    row.n_keys = (int)row.sequence->position + 1;
    row.n_runs = (row.n_keys + RS_CUDA_SPLIT - 1) / RS_CUDA_SPLIT;
    row.n_segments = rs_layer_segments(row.sequence, args.layer);
    RS_UNROLL
    for (int segment = 0; segment < RS_CUDA_SEGMENTS; segment++) {
        bool here = segment < row.n_segments;
        row.starts[segment] = here ? rs_segment_start(row.sequence, row.n_segments, 0, segment) : INT32_MAX;
        row.keys[segment] = rs_segment_keys<rs_bf16>(row.sequence, args, row.kv_head, here ? segment : 0);
    }
    row.values = rs_values_of<rs_bf16>(row.sequence, args, row.kv_head);
    row.adaptive = row.sequence->policy.n_theta > 0;
    return row;
}

/* The one segment of a row that has the key. */
RS_DEVICE int segment_of(const decode_row &row, int key)
{
    int segment = 0;
    RS_UNROLL
    for (int next = 1; next < RS_CUDA_SEGMENTS; next++)
        segment += key >= row.starts[next];
    return segment;
}

/* --- shared memory --- */

template <int e> struct decode_shared {
    enum {
        ring_at = 0,
        queries_at = STAGES * STAGE * 2,
        weights_at = queries_at + RS_CUDA_SEGMENTS * HEADS * e * 2,
        products_at = weights_at + HEADS * RS_CUDA_SPLIT * 2,
        heads_at = products_at + HEADS * PITCH * 4,
        betas_at = heads_at + HEADS * 4,
        bytes = betas_at + HEADS * 4
    };
    rs_shared<rs_bf16> ring, queries; /* stages; [segments][HEADS][e] */
    rs_shared<rs_bf16> weights;       /* [HEADS][RS_CUDA_SPLIT] */
    rs_shared<float> products;        /* [HEADS][PITCH] */
    rs_shared<int> heads;             /* [HEADS] the query head of each row */
    rs_shared<float> betas;           /* [HEADS] */
};

template <int e> RS_DEVICE decode_shared<e> shared_of_block()
{
    typedef decode_shared<e> s;
    return s{rs_shared_at<rs_bf16>(s::ring_at, STAGES * STAGE),
             rs_shared_at<rs_bf16>(s::queries_at, RS_CUDA_SEGMENTS * HEADS * e),
             rs_shared_at<rs_bf16>(s::weights_at, HEADS * RS_CUDA_SPLIT),
             rs_shared_at<float>(s::products_at, HEADS * PITCH),
             rs_shared_at<int>(s::heads_at, HEADS),
             rs_shared_at<float>(s::betas_at, HEADS)};
}

/* Index of a 16-byte chunk in rows of `width` elements; any 8 rows of one chunk lie in different banks. */
template <int width> RS_DEVICE int chunk_at(int row, int chunk)
{
    return row * width + (chunk ^ (row & 7)) * 8;
}

/* --- the ring --- */

/* The stages that a block passes through: of each of its runs K, then V, in pieces of STAGE / e keys; where `once` only one of them. */
typedef struct decode_stages {
    int first_run, step, total; /* runs first_run, first_run + step, ...; stages of all */
    bool once, values_only;
} decode_stages;

template <int e> RS_DEVICE decode_stages stages_of_block(const decode_row &row, bool once, bool values_only)
{
    int runs = (row.n_runs - rs_block_y() + rs_blocks_y() - 1) / rs_blocks_y();
    return decode_stages{rs_block_y(), rs_blocks_y(), runs * (RS_CUDA_SPLIT * e / STAGE) * (once ? 1 : 2), once, values_only};
}

/* Asks for a stage, a group of copies of its own even where there is none. Keys that the row does not see are zeros. */
template <int e> RS_DEVICE void fetch(const decode_row &row, const decode_stages &stages, rs_shared<rs_bf16> ring, int stage)
{
    const int keys = STAGE / e, pieces = RS_CUDA_SPLIT / keys, chunks = e / 8;
    if (stage < stages.total) {
        int per_run = stages.once ? pieces : 2 * pieces, place = stage % per_run;
        int first_key = (stages.first_run + stage / per_run * stages.step) * RS_CUDA_SPLIT + place % pieces * keys;
        bool values = stages.values_only || place >= pieces;
        rs_shared<rs_bf16> to = ring.at(stage % STAGES * STAGE);
        RS_UNROLL
        for (int i = 0; i < keys; i += THREADS / chunks) {
            int at = i + rs_thread() / chunks, chunk = rs_thread() % chunks, key = first_key + at, segment = segment_of(row, key);
            const rs_bf16 *from = values ? row.values : segment == 0 ? row.keys[0] : segment == 1 ? row.keys[1] : row.keys[2];
            bool seen = key < row.n_keys;
            rs_copy_async16(to, chunk_at<e>(at, chunk), seen ? from + (int64_t)key * e + chunk * 8 : from, seen);
        }
    }
    rs_copy_commit();
}

/* Waits for a stage and asks for the one that takes the place of the stage before, which all warps have read. */
template <int e> RS_DEVICE rs_shared<rs_bf16> await(const decode_row &row, const decode_stages &stages, rs_shared<rs_bf16> ring, int stage)
{
    rs_copy_wait<STAGES - 2>();
    rs_sync();
    fetch<e>(row, stages, ring, stage + STAGES - 1);
    return ring.at(stage % STAGES * STAGE);
}

/* --- the arithmetic of a run --- */

/* Products of the heads with a stage's keys, each under its segment's rotation. first_key: the stage's. Each warp takes a quarter. */
template <int e> RS_DEVICE void multiply_keys(const decode_row &row, const decode_shared<e> &shared, rs_shared<rs_bf16> keys, int first_key)
{
    int lane = rs_lane();
    for (int tile = rs_warp() * STAGE / e / WARPS; tile < (rs_warp() + 1) * STAGE / e / WARPS; tile += 8) {
        int key = first_key + tile, last = key + 7 < row.n_keys ? key + 7 : row.n_keys - 1;
        for (int segment = segment_of(row, key); key <= last && segment <= segment_of(row, last); segment++) {
            float c[2][4] = {};
            RS_UNROLL
            for (int k = 0; k < e / 8; k += 4) {
                uint32_t q[2][4], b[4];
                rs_load_tiles(b, keys, chunk_at<e>(tile + (lane & 7), k + (lane >> 3)));
                rs_load_tiles(q[0], shared.queries, chunk_at<e>(segment * HEADS + (lane & 15), k + (lane >> 4)));
                rs_load_tiles(q[1], shared.queries, chunk_at<e>(segment * HEADS + (lane & 15), k + 2 + (lane >> 4)));
                rs_mma(c[0], q[0], b);
                rs_mma(c[1], q[1], b + 2);
            }
            RS_UNROLL
            for (int i = 0; i < 4; i++) {
                int head = lane / 4 + (i >> 1) * 8, column = lane % 4 * 2 + (i & 1);
                if (segment_of(row, key + column) == segment)
                    shared.products.set(head * PITCH + key % RS_CUDA_SPLIT + column, rs_add(c[0][i], c[1][i]));
            }
        }
    }
}

/* o [16 heads, this warp's quarter of e] += weights V of a stage, `first` its first key within the run. */
template <int e> RS_DEVICE void mix_values(float o[e / 32][4], rs_shared<rs_bf16> weights, rs_shared<rs_bf16> values, int first, int n_keys)
{
    int lane = rs_lane();
    for (int key = 0; key < STAGE / e && first + key < n_keys; key += 16) {
        uint32_t p[4], v[4];
        rs_load_tiles(p, weights, chunk_at<RS_CUDA_SPLIT>(lane & 15, (first + key) / 8 + (lane >> 4)));
        RS_UNROLL
        for (int i = 0; i < e / 32; i += 2) {
            rs_load_tiles_transposed(v, values, chunk_at<e>(key + (lane & 15), rs_warp() * (e / 32) + i + (lane >> 4)));
            rs_mma(o[i], p, v);
            rs_mma(o[i + 1], p, v + 2);
        }
    }
}

/* A lane's logits of a run, in units of log 2: keys lane, lane + 32, ...; -inf where the row sees none. Returns the run's largest. */
RS_DEVICE float lane_logits(const decode_row &row, const rs_cuda_attention_args &args, int head, float beta, int run,
                            const float products[LANE_KEYS], float logits[LANE_KEYS])
{
    rs_logit_shape shape = rs_logit_shape_of(row.sequence, args, head);
    rs_row_scale scale = rs_row_scale_of(shape, row.sequence->row_scales[0], beta);
    float most = -INFINITY;
    RS_UNROLL
    for (int i = 0; i < LANE_KEYS; i++) {
        int distance = row.n_keys - 1 - (run * RS_CUDA_SPLIT + i * 32 + rs_lane());
        logits[i] = distance < 0 ? -INFINITY : rs_mul(rs_shape_logit(shape, scale, products[i], (float)distance), scale.factor);
        most = logits[i] > most ? logits[i] : most;
    }
    return rs_warp_max(most);
}

/* All sums over a run's keys. */
RS_DEVICE rs_row_sums run_sums(const decode_row &row, int run, float max, const float logits[LANE_KEYS])
{
    rs_row_sums sums = rs_row_sums_none();
    sums.max = max;
    RS_UNROLL
    for (int i = 0; i < LANE_KEYS; i++) {
        int distance = row.n_keys - 1 - (run * RS_CUDA_SPLIT + i * 32 + rs_lane());
        if (distance >= 0)
            rs_row_sums_add(&sums, logits[i], (float)distance);
    }
    return rs_row_sums_of_lanes(sums, 32);
}

/* Writes the logits that rs_cuda_row_stats names, if the run has them. */
RS_DEVICE void note_logits(const decode_row &row, int run, const float logits[LANE_KEYS], decode_run *to)
{
    RS_UNROLL
    for (int i = 0; i < LANE_KEYS; i++) {
        int key = run * RS_CUDA_SPLIT + i * 32 + rs_lane();
        if (key == 0)
            to->sink = logits[i];
        if (key == row.n_keys - 1)
            to->diagonal = logits[i];
        if (key == row.n_keys - 2)
            to->previous = logits[i];
    }
}

/* Weights of a run for one head, rounded, into its row of shared memory; returns their sum. */
RS_DEVICE float write_weights(rs_shared<rs_bf16> weights, int place, float max, const float logits[LANE_KEYS])
{
    float sum = 0.0f;
    RS_UNROLL
    for (int i = 0; i < LANE_KEYS; i++) {
        int key = i * 32 + rs_lane();
        rs_bf16 weight = rs_to_bf16(rs_exp2(rs_add(logits[i], -max)));
        weights.set(chunk_at<RS_CUDA_SPLIT>(place, key / 8) + key % 8, weight);
        sum = rs_add(sum, rs_from_bf16(weight));
    }
    return rs_warp_sum(sum);
}

/* A lane's products of a run with one head, from this block's shared memory or as the adaptive policy's first pass kept them. */
RS_DEVICE void lane_products(const decode_row &row, rs_shared<float> shared, const float *kept, int run, float products[LANE_KEYS])
{
    RS_UNROLL
    for (int i = 0; i < LANE_KEYS; i++) {
        int key = i * 32 + rs_lane();
        bool seen = run * RS_CUDA_SPLIT + key < row.n_keys;
        products[i] = !seen ? 0.0f : kept ? kept[key] : shared.get(key);
    }
}

/* The first pass: keeps a run's products with one head and what its entropy needs. */
RS_DEVICE void measure(const decode_row &row, const rs_cuda_attention_args &args, const decode_records &records, rs_shared<float> shared,
                       int head, int run)
{
    float products[LANE_KEYS], logits[LANE_KEYS], *kept = record_products(records, row.index, head, run);
    lane_products(row, shared, NULL, run, products);
    float max = lane_logits(row, args, head, 1.0f, run, products, logits);
    rs_row_sums sums = run_sums(row, run, max, logits);
    RS_UNROLL
    for (int i = 0; i < LANE_KEYS; i++)
        kept[i * 32 + rs_lane()] = products[i];
    if (rs_lane() == 0)
        record_run(records, row.index, head, run)->entropy = sums;
}

/* The main pass: a run's weights for the head at `place`, into shared memory, and its state into the record. */
template <int e>
RS_DEVICE void weigh(const decode_row &row, const rs_cuda_attention_args &args, const decode_records &records,
                     const decode_shared<e> &shared, int place, int run)
{
    int head = shared.heads.get(place);
    float products[LANE_KEYS], logits[LANE_KEYS], beta = shared.betas.get(place);
    decode_run *to = record_run(records, row.index, head, run);
    lane_products(row, shared.products.at(place * PITCH), row.adaptive ? record_products(records, row.index, head, run) : NULL, run,
                  products);
    float max = lane_logits(row, args, head, beta, run, products, logits);
    float sum = write_weights(shared.weights, place, max, logits);
    if (args.stats) {
        rs_row_sums sums = run_sums(row, run, max, logits);
        note_logits(row, run, logits, to);
        if (rs_lane() == 0)
            to->sums = sums;
    }
    if (rs_lane() == 0) {
        to->max = max;
        to->sum = sum;
        to->beta = beta;
    }
}

/* This warp's quarter of the outputs, into the run's records. */
template <int e>
RS_DEVICE void write_outputs(const decode_row &row, const decode_records &records, rs_shared<int> heads, int n_heads, int run,
                             const float o[e / 32][4])
{
    RS_UNROLL
    for (int half = 0; half < 2; half++) {
        int place = rs_lane() / 4 + half * 8;
        if (place >= n_heads)
            continue;
        float *to = record_output(records, row.index, heads.get(place), run) + rs_warp() * (e / 4) + rs_lane() % 4 * 2;
        RS_UNROLL
        for (int i = 0; i < e / 32; i++) {
            to[i * 8] = o[i][half * 2];
            to[i * 8 + 1] = o[i][half * 2 + 1];
        }
    }
}

/* --- a block --- */

/* Up to 16 heads that read the kv head, from its `first` on, into shared memory. Returns how many. */
RS_DEVICE int list_heads(const rs_cuda_attention_args &args, int kv_head, int first, rs_shared<int> heads)
{
    int before = 0;
    for (int base = 0; base < args.heads; base += 32) {
        int head = base + rs_lane();
        bool reads = head < args.heads && args.kv_of_head[head] == kv_head;
        uint32_t readers = rs_ballot(reads);
        int place = before + rs_count_bits(readers & ((1u << rs_lane()) - 1)) - first;
        if (reads && place >= 0 && place < HEADS && rs_warp() == 0)
            heads.set(place, head);
        before += rs_count_bits(readers);
    }
    return before - first < HEADS ? before - first : HEADS;
}

/* Every lane gets beta of the adaptive policy for one head, from what the first pass left. */
RS_DEVICE float beta_of(const decode_row &row, const decode_records &records, int head)
{
    rs_row_sums sums = rs_row_sums_none();
    for (int run = rs_lane(); run < row.n_runs; run += 32)
        sums = rs_row_sums_merge(sums, record_run(records, row.index, head, run)->entropy);
    return rs_row_beta(row.sequence->policy, rs_row_entropy(rs_row_sums_of_lanes(sums, 32)));
}

/* What the listed heads need before their first run. The queries' copies join the first stage's group. */
template <int e, bool entropy>
RS_DEVICE void prepare_heads(const decode_row &row, const rs_cuda_attention_args &args, const decode_records &records,
                             const decode_shared<e> &shared, int n_heads)
{
    const int chunks = e / 8;
    for (int i = rs_thread(); i < row.n_segments * HEADS * chunks; i += THREADS) {
        int line = i / chunks, place = line % HEADS, chunk = i % chunks;
        const rs_bf16 *from =
            rs_segment_queries<rs_bf16>(row.sequence, args, shared.heads.get(place < n_heads ? place : 0), line / HEADS) + chunk * 8;
        rs_copy_async16(shared.queries, chunk_at<e>(line, chunk), from, place < n_heads);
    }
    for (int i = n_heads * RS_CUDA_SPLIT + rs_thread(); i < HEADS * RS_CUDA_SPLIT; i += THREADS)
        shared.weights.set(i, 0);
    for (int place = rs_warp(); place < n_heads; place += WARPS) {
        float beta = !entropy && row.adaptive ? beta_of(row, records, shared.heads.get(place)) : 1.0f;
        if (rs_lane() == 0)
            shared.betas.set(place, beta);
    }
}

/* All runs of this block for the listed heads. */
template <int e, bool entropy>
RS_DEVICE void take_runs(const decode_row &row, const rs_cuda_attention_args &args, const decode_records &records,
                         const decode_shared<e> &shared, int n_heads)
{
    const int keys = STAGE / e;
    decode_stages stages = stages_of_block<e>(row, entropy || row.adaptive, !entropy && row.adaptive);
    int stage = 0;
    for (; stage < STAGES - 1; stage++)
        fetch<e>(row, stages, shared.ring, stage);
    stage = 0;
    for (int run = stages.first_run; run < row.n_runs; run += stages.step) {
        for (int first = 0; first < RS_CUDA_SPLIT && !stages.values_only; first += keys)
            multiply_keys<e>(row, shared, await<e>(row, stages, shared.ring, stage++), run * RS_CUDA_SPLIT + first);
        rs_sync();
        for (int place = rs_warp(); place < n_heads; place += WARPS) {
            if (entropy)
                measure(row, args, records, shared.products.at(place * PITCH), shared.heads.get(place), run);
            else
                weigh<e>(row, args, records, shared, place, run);
        }
        if (entropy)
            continue;
        float o[e / 32][4] = {};
        for (int first = 0; first < RS_CUDA_SPLIT; first += keys) /* the first wait also waits for the weights */
            mix_values<e>(o, shared.weights, await<e>(row, stages, shared.ring, stage++), first, row.n_keys - run * RS_CUDA_SPLIT);
        write_outputs<e>(row, records, shared.heads, n_heads, run, o);
    }
}

/* Grid: sequences times kv heads, blocks that share out the runs. */
template <int e, bool entropy> RS_KERNEL RS_BOUNDS(THREADS, 2) attend_runs(rs_cuda_attention_args args, decode_records records)
{
    decode_row row = row_of_block(args);
    decode_shared<e> shared = shared_of_block<e>();
    if (rs_block_y() >= row.n_runs || (entropy && !row.adaptive))
        return;
    for (int first = 0, n_heads = HEADS; n_heads == HEADS; first += HEADS) {
        n_heads = list_heads(args, row.kv_head, first, shared.heads);
        if (n_heads <= 0)
            return;
        rs_sync();
        prepare_heads<e, entropy>(row, args, records, shared, n_heads);
        take_runs<e, entropy>(row, args, records, shared, n_heads);
        rs_sync();
    }
}

/* --- merging the runs --- */

/* Output of some keys times the sum of their weights, all relative to 2^max. */
typedef struct mixture {
    float max, sum, output;
} mixture;

RS_DEVICE mixture merge_mixtures(mixture a, mixture b)
{
    float shrink_a = rs_raise_max(&a.max, b.max), shrink_b = rs_raise_max(&b.max, a.max);
    return mixture{a.max, rs_fma(a.sum, shrink_a, rs_mul(b.sum, shrink_b)), rs_fma(a.output, shrink_a, rs_mul(b.output, shrink_b))};
}

/* One column over runs first, first + MERGE_GROUPS, ... */
RS_DEVICE mixture merge_runs(const decode_records &records, int index, int head, int n_runs, int first, int column)
{
    mixture all = {-INFINITY, 0.0f, 0.0f}, some[MERGE_BATCH];
    for (; first < n_runs; first += MERGE_BATCH * MERGE_GROUPS) {
        RS_UNROLL
        for (int i = 0; i < MERGE_BATCH; i++) {
            int run = first + i * MERGE_GROUPS, at = run < n_runs ? run : first;
            const decode_run *state = record_run(records, index, head, at);
            some[i] = mixture{run < n_runs ? state->max : -INFINITY, state->sum, record_output(records, index, head, at)[column]};
        }
        RS_UNROLL
        for (int i = 0; i < MERGE_BATCH; i++)
            all = merge_mixtures(all, some[i]);
    }
    return all;
}

/* By one warp. */
RS_DEVICE void merge_stats(const decode_records &records, int index, int head, int n_keys, rs_cuda_row_stats *to)
{
    rs_row_sums sums = rs_row_sums_none();
    for (int run = rs_lane(); run * RS_CUDA_SPLIT < n_keys; run += 32)
        sums = rs_row_sums_merge(sums, record_run(records, index, head, run)->sums);
    sums = rs_row_sums_of_lanes(sums, 32);
    if (rs_lane() != 0)
        return;
    const decode_run *first = record_run(records, index, head, 0), *last = record_run(records, index, head, (n_keys - 1) / RS_CUDA_SPLIT);
    float previous = n_keys > 1 ? record_run(records, index, head, (n_keys - 2) / RS_CUDA_SPLIT)->previous : -INFINITY;
    rs_row_stats_write(to, sums, first->sink, last->diagonal, previous, first->beta);
}

/* Grid: heads, sequences, columns by 64. */
RS_KERNEL RS_BOUNDS(MERGE_THREADS, 1) merge_records(rs_cuda_attention_args args, decode_records records)
{
    int head = rs_block_x(), index = rs_block_y();
    const rs_cuda_sequence *sequence = args.sequences + args.decode_sequences[index];
    int n_keys = (int)sequence->position + 1, n_runs = (n_keys + RS_CUDA_SPLIT - 1) / RS_CUDA_SPLIT;
    int lane = rs_thread() % MERGE_COLUMNS, group = rs_thread() / MERGE_COLUMNS, column = rs_block_z() * MERGE_COLUMNS + lane;
    int64_t row = sequence->first_row * args.heads + head;
    rs_shared<float> parts = rs_shared_at<float>(0, 3 * MERGE_THREADS);

    if (args.stats && rs_block_z() == 0 && rs_warp() == 0)
        merge_stats(records, index, head, n_keys, args.stats + row);
    mixture part = merge_runs(records, index, head, n_runs, group, column);
    parts.set(rs_thread(), part.max);
    parts.set(MERGE_THREADS + rs_thread(), part.sum);
    parts.set(2 * MERGE_THREADS + rs_thread(), part.output);
    rs_sync();
    if (group > 0)
        return;
    mixture all = {rs_first_max(sequence->policy), sequence->policy.has_sink ? 1.0f : 0.0f, 0.0f};
    for (int at = lane; at < MERGE_THREADS; at += MERGE_COLUMNS)
        all = merge_mixtures(all, mixture{parts.get(at), parts.get(MERGE_THREADS + at), parts.get(2 * MERGE_THREADS + at)});
    ((rs_bf16 *)args.out)[row * records.head_dim + column] = rs_to_bf16(all.output / all.sum);
}

/* --- launching --- */

template <int e, bool entropy>
static int launch_runs(void *stream, rs_dim grid, const rs_cuda_attention_args *args, const decode_records *records)
{
    int error = RS_ALLOW_SHARED((attend_runs<e, entropy>), decode_shared<e>::bytes);
    return error ? error : RS_LAUNCH((attend_runs<e, entropy>), grid, THREADS, decode_shared<e>::bytes, stream, *args, *records);
}

template <int e> static int launch_decode(void *stream, const rs_cuda_attention_args *args)
{
    int64_t rows = (int64_t)args->n_decode * args->heads, pairs = (int64_t)args->n_decode * args->kv_heads;
    decode_records records = {args->work, args->work_floats / (rows * record_floats(e)), record_floats(e), e, args->heads};
    int64_t blocks = pairs * FEWEST < CROWD ? CROWD / pairs : (int64_t)FEWEST;
    rs_dim grid((unsigned)pairs, (unsigned)(blocks < records.max_runs ? blocks : records.max_runs));
    int error = launch_runs<e, true>(stream, grid, args, &records);
    if (!error)
        error = launch_runs<e, false>(stream, grid, args, &records);
    if (error)
        return error;
    rs_dim merge_grid((unsigned)args->heads, (unsigned)args->n_decode, e / MERGE_COLUMNS);
    return RS_LAUNCH(merge_records, merge_grid, MERGE_THREADS, 3 * MERGE_THREADS * (int)sizeof(float), stream, *args, records);
}

extern "C" int rs_cuda_attend_decode(void *stream, const rs_cuda_attention_args *args)
{
    if (args->n_decode == 0)
        return 0;
    if (!args->bf16)
        return NOT_SUPPORTED;
    switch (args->head_dim) {
    case 64:
        return launch_decode<64>(stream, args);
    case 128:
        return launch_decode<128>(stream, args);
    case 256:
        return launch_decode<256>(stream, args);
    }
    return NOT_SUPPORTED;
}

extern "C" int64_t rs_cuda_decode_floats(int32_t n_decode, int heads, int head_dim, int64_t longest_row)
{
    return (int64_t)n_decode * heads * ((longest_row + RS_CUDA_SPLIT - 1) / RS_CUDA_SPLIT) * record_floats(head_dim);
}
