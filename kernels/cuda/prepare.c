/* What a step needs beside its activations, packed into one pinned block and sent by one copy: descriptors, ids, lists of work, positions.
 * The tables of cos and sin are then made on the device.
 *
 * The block lands at one address for the backend's life, and what recorded steps read stands first in it, so that steps of one shape have
 * it at the same place. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"

_Static_assert((int)RS_CUDA_SEGMENTS == RS_MAX_SEGMENTS && (int)RS_CUDA_KEY_SETS == RS_MAX_KEY_SETS && (int)RS_CUDA_THETA == RS_MAX_THETA,
               "kernels.h and the tables of variants disagree");

enum {
    OPEN_SEQUENCES = 64, /* for which blocks are made at open; more make them grow */
    MAP_ALIGNMENT = 64   /* of tensor maps */
};

/* A block while it is filled from front to back: what is written at `host` will stand at `device`. */
typedef struct staging {
    char *host, *device;
    size_t used, bytes;
} staging;

static void *put(staging *to, size_t bytes, size_t alignment)
{
    size_t at = (to->used + alignment - 1) / alignment * alignment;
    assert(at + bytes <= to->bytes);
    to->used = at + bytes;
    return to->host + at;
}

static void *on_device(const staging *to, const void *host)
{
    return to->device + ((const char *)host - to->host);
}

/* --- sizes --- */

/* At least what a step's block takes: per row ids, lists, starts, scales and the positions of every table, per sequence all else. */
static size_t block_bytes(int64_t rows, int64_t sequences)
{
    size_t row = 2 * sizeof(int32_t) + sizeof(rs_cuda_tile) + RS_MAX_SEGMENTS * sizeof(int64_t) + sizeof(float) +
                 (RS_MAX_KEY_SETS + RS_MAX_SEGMENTS) * sizeof(double);
    size_t sequence = sizeof(rs_cuda_sequence) + 2 * RS_CUDA_TENSOR_MAP_BYTES + 2 * RS_MAX_PAIRS * sizeof(double) + 2 * MAP_ALIGNMENT;
    return (size_t)rows * row + (size_t)sequences * sequence + 16 * MAP_ALIGNMENT;
}

static void close_stages(rs_backend *b)
{
    for (int i = 0; i < RS_CUDA_STAGES; i++) {
        b->driver->pinned_free(b->context, b->stages[i].data);
        b->stages[i].data = NULL;
    }
    b->stage_bytes = 0;
}

/* Blocks of at least `bytes` bytes, on the host and on the device. */
static rs_status grow_stages(rs_backend *b, size_t bytes)
{
    size_t size = 65536;
    if (bytes <= b->stage_bytes)
        return RS_OK;
    while (size < bytes)
        size *= 2;
    RS_TRY(b->driver->wait(b->context, RS_CUDA_COMPUTE)); /* the old blocks are still read */
    close_stages(b);
    for (int i = 0; i < RS_CUDA_STAGES; i++)
        RS_TRY(b->driver->pinned_alloc(b->context, size, "descriptors of a step", (void **)&b->stages[i].data));
    RS_TRY(rs_cuda_grow(b, &b->step_block, size, "descriptors of a step"));
    b->stage_bytes = size;
    return RS_OK;
}

static size_t query_bytes(const rs_backend *b, const rs_sequence *sequence)
{
    return (size_t)sequence->n_rows * (size_t)sequence->rope->map.n_segments * (size_t)(b->shape.heads * b->shape.head_dim) * b->act;
}

/* Cosines, or sines, of one table a key set and one a segment: at most what a sequence needs. */
static size_t table_floats(const rs_sequence *sequence)
{
    const rs_rope *rope = sequence->rope;
    return (size_t)sequence->n_rows * (size_t)(rope->rotary_dim / 2) * (size_t)(rope->map.n_key_sets + rope->map.n_segments);
}

rs_status rs_cuda_stages_open(rs_backend *b)
{
    size_t rows = (size_t)b->max_rows, e = (size_t)b->shape.head_dim, sequences = rows < OPEN_SEQUENCES ? rows : OPEN_SEQUENCES;
    for (int i = 0; i < RS_CUDA_STAGES; i++)
        RS_TRY(b->driver->event_open(b->context, &b->stages[i].passed));
    RS_TRY(grow_stages(b, block_bytes(b->max_rows, (int64_t)sequences)));
    RS_TRY(rs_cuda_grow(b, &b->queries, rows * (size_t)b->shape.heads * e * b->act, "rotated queries"));
    return rs_cuda_grow(b, &b->tables, rows * e * 2 * sizeof(float), "tables of cos and sin");
}

void rs_cuda_stages_close(rs_backend *b)
{
    close_stages(b);
    for (int i = 0; i < RS_CUDA_STAGES; i++)
        b->driver->event_close(b->context, b->stages[i].passed);
    free(b->twins);
    free(b->table_jobs);
    free(b->tiles);
}

/* --- descriptors --- */

static rs_cuda_policy policy_of(const rs_softmax *softmax)
{
    rs_cuda_policy policy = {.normalizer = (int)softmax->normalizer,
                             .has_sink = softmax->has_sink,
                             .cap = (float)softmax->cap,
                             .sink = (float)softmax->sink,
                             .n_theta = softmax->n_theta,
                             .entropy_threshold = (float)softmax->entropy_threshold,
                             .alpha = (float)softmax->alpha,
                             .k = softmax->k};
    memcpy(policy.theta, softmax->theta, sizeof policy.theta);
    return policy;
}

/* All but the tables. */
static rs_cuda_sequence describe(const rs_sequence *sequence, char *queries)
{
    const rs_rope *rope = sequence->rope;
    rs_cuda_sequence made = {.first_row = sequence->first_row,
                             .n_rows = sequence->n_rows,
                             .position = sequence->position,
                             .capacity = sequence->kv->capacity,
                             .keys = sequence->kv->keys,
                             .values = sequence->kv->values,
                             .cache_layers = sequence->kv->n_layers,
                             .cache_key_sets = sequence->kv->key_sets,
                             .rotary_dim = rope->rotary_dim,
                             .n_segments = rope->map.n_segments,
                             .n_key_sets = rope->map.n_key_sets,
                             .skip_every = rope->skip_every,
                             .alibi = rope->alibi,
                             .queries = queries,
                             .policy = policy_of(sequence->softmax)};
    memcpy(made.key_set, rope->map.key_set, sizeof made.key_set);
    return made;
}

/* Descriptors, ids and the sequence of each row. Returns the descriptors on the host, to be completed. */
static rs_cuda_sequence *put_sequences(rs_backend *b, const rs_step *step, staging *to)
{
    rs_cuda_sequence *made = put(to, (size_t)step->n_sequences * sizeof *made, MAP_ALIGNMENT);
    int32_t *ids = put(to, (size_t)step->n * sizeof *ids, sizeof(int64_t));
    int32_t *row_sequence = put(to, (size_t)step->n * sizeof *row_sequence, sizeof(int64_t));
    char *queries = b->queries.data;
    memcpy(ids, step->ids, (size_t)step->n * sizeof *ids);
    for (int s = 0; s < step->n_sequences; s++) {
        const rs_sequence *sequence = &step->sequences[s];
        made[s] = describe(sequence, queries);
        queries += query_bytes(b, sequence);
        for (int64_t i = 0; i < sequence->n_rows; i++)
            row_sequence[sequence->first_row + i] = s;
    }
    b->step.sequences = on_device(to, made);
    b->step.ids = on_device(to, ids);
    b->step.row_sequence = on_device(to, row_sequence);
    return made;
}

/* --- lists of work --- */

/* Dearest first; of equals in the order of the batch. */
static int by_cost(const void *a, const void *b)
{
    const rs_cuda_ranked_tile *x = a, *y = b;
    if (x->keys != y->keys)
        return x->keys > y->keys ? -1 : 1;
    if (x->tile.sequence != y->tile.sequence)
        return x->tile.sequence < y->tile.sequence ? -1 : 1;
    return x->tile.row < y->tile.row ? -1 : x->tile.row > y->tile.row;
}

static void put_tiles(rs_backend *b, const rs_step *step, rs_cuda_route route, staging *to)
{
    int32_t n = b->step.counts[route], at = 0;
    int rows = rs_cuda_route_rows(route);
    rs_cuda_tile *tiles = put(to, (size_t)n * sizeof *tiles, sizeof(int64_t));
    for (int s = 0; s < step->n_sequences; s++) {
        const rs_sequence *sequence = &step->sequences[s];
        if (rs_cuda_route_of(b, step->phase, sequence) != route)
            continue;
        for (int64_t row = 0; row < sequence->n_rows; row += rows) {
            int64_t end = row + rows < sequence->n_rows ? row + rows : sequence->n_rows;
            b->tiles[at++] = (rs_cuda_ranked_tile){.keys = sequence->position + end, .tile = {.sequence = s, .row = (int32_t)row}};
        }
    }
    qsort(b->tiles, (size_t)n, sizeof *b->tiles, by_cost);
    for (int32_t i = 0; i < n; i++)
        tiles[i] = b->tiles[i].tile;
    b->step.lists[route] = on_device(to, tiles);
}

static void put_decode(rs_backend *b, const rs_step *step, staging *to)
{
    int32_t *list = put(to, (size_t)b->step.counts[RS_CUDA_DECODE] * sizeof *list, sizeof(int64_t)), at = 0;
    for (int s = 0; s < step->n_sequences; s++)
        if (rs_cuda_route_of(b, step->phase, &step->sequences[s]) == RS_CUDA_DECODE)
            list[at++] = s;
    b->step.lists[RS_CUDA_DECODE] = on_device(to, list);
}

static void put_lists(rs_backend *b, const rs_step *step, staging *to)
{
    put_decode(b, step, to);
    for (int route = 0; route < RS_CUDA_DECODE; route++)
        put_tiles(b, step, (rs_cuda_route)route, to);
    if (b->step.counts[RS_CUDA_HOPPER] == 0)
        return;
    char *maps = put(to, (size_t)step->n_sequences * sizeof step->sequences->kv->maps, MAP_ALIGNMENT);
    for (int s = 0; s < step->n_sequences; s++)
        memcpy(maps + (size_t)s * sizeof step->sequences->kv->maps, step->sequences[s].kv->maps, sizeof step->sequences->kv->maps);
    b->step.tensor_maps = on_device(to, maps);
}

/* --- tables --- */

/* The launches of a step that make cos and sin, the last of them still growing: it takes the positions written since `first`. */
typedef struct tabling {
    rs_backend *b;
    const rs_step *step;
    staging *to;
    rs_cuda_sequence *made; /* descriptors */
    int n_jobs;
    const double *first;
    float *cosine, *sine; /* where the last launch begins */
} tabling;

static bool has_gain(const rs_rope *rope)
{
    for (int k = 0; k < rope->rotary_dim / 2; k++)
        if (rope->query_gain[k] != 1.0)
            return true;
    return false;
}

static const double *put_numbers(staging *to, const double *numbers, int n)
{
    return memcpy(put(to, (size_t)n * sizeof *numbers, sizeof *numbers), numbers, (size_t)n * sizeof *numbers);
}

static const double *put_positions(staging *to, const rs_sequence *sequence, double (*position)(const rs_position_map *, int64_t, int),
                                   int which)
{
    double *positions = put(to, (size_t)sequence->n_rows * sizeof *positions, sizeof *positions);
    for (int64_t i = 0; i < sequence->n_rows; i++)
        positions[i] = position(&sequence->rope->map, sequence->position + i, which);
    return positions;
}

/* Where the table of positions just written will stand. */
static void place(const tabling *t, const rs_rope *rope, const double *positions, const float **cosine, const float **sine)
{
    int64_t at = (positions - t->first) * (rope->rotary_dim / 2);
    *cosine = t->cosine + at;
    *sine = t->sine + at;
}

static void begin_job(tabling *t)
{
    t->first = put(t->to, 0, sizeof(double));
}

static void end_job(tabling *t, const rs_rope *rope, const double *inv_freq, const double *gain)
{
    int64_t n = (const double *)put(t->to, 0, sizeof(double)) - t->first, half = rope->rotary_dim / 2;
    t->b->table_jobs[t->n_jobs++] = (rs_cuda_table_args){.positions = on_device(t->to, t->first),
                                                         .inv_freq = on_device(t->to, inv_freq),
                                                         .gain = gain ? on_device(t->to, gain) : NULL,
                                                         .factor = rope->attention_factor,
                                                         .n = n,
                                                         .half = (int)half,
                                                         .cosine = t->cosine,
                                                         .sine = t->sine};
    t->cosine += n * half;
    t->sine += n * half;
}

/* A query table whose positions are those of a key set is that key set's, unless gains tell them apart. */
static void plain_tables(const tabling *t, int s, bool gain)
{
    const rs_sequence *sequence = &t->step->sequences[s];
    const rs_position_map *map = &sequence->rope->map;
    rs_cuda_sequence *made = &t->made[s];
    const double *keys[RS_MAX_KEY_SETS];
    for (int set = 0; set < map->n_key_sets; set++) {
        keys[set] = put_positions(t->to, sequence, map->key_position, set);
        place(t, sequence->rope, keys[set], &made->key_cos[set], &made->key_sin[set]);
    }
    for (int segment = 0; segment < map->n_segments && !gain; segment++) {
        int set = map->key_set[segment];
        size_t used = t->to->used;
        const double *positions = put_positions(t->to, sequence, map->query_position, segment);
        bool equal = !memcmp(positions, keys[set], (size_t)sequence->n_rows * sizeof *positions);
        if (equal)
            t->to->used = used;
        place(t, sequence->rope, equal ? keys[set] : positions, &made->query_cos[segment], &made->query_sin[segment]);
    }
}

static void gain_tables(const tabling *t, int s)
{
    const rs_sequence *sequence = &t->step->sequences[s];
    for (int segment = 0; segment < sequence->rope->map.n_segments; segment++)
        place(t, sequence->rope, put_positions(t->to, sequence, sequence->rope->map.query_position, segment),
              &t->made[s].query_cos[segment], &t->made[s].query_sin[segment]);
}

/* Tables of all sequences from s on that have its rope: one launch, two where queries have gains. */
static void rope_tables(tabling *t, int s)
{
    const rs_rope *rope = t->step->sequences[s].rope;
    bool gain = has_gain(rope);
    const double *inv_freq = put_numbers(t->to, rope->inv_freq, rope->rotary_dim / 2);
    const double *gains = gain ? put_numbers(t->to, rope->query_gain, rope->rotary_dim / 2) : NULL;
    begin_job(t);
    for (int i = s; i < t->step->n_sequences; i++)
        if (t->step->sequences[i].rope == rope && t->b->twins[i] < 0)
            plain_tables(t, i, gain);
    end_job(t, rope, inv_freq, NULL);
    if (!gain)
        return;
    begin_job(t);
    for (int i = s; i < t->step->n_sequences; i++)
        if (t->step->sequences[i].rope == rope && t->b->twins[i] < 0)
            gain_tables(t, i);
    end_job(t, rope, inv_freq, gains);
}

static bool same_rope(const rs_sequence *a, const rs_sequence *b)
{
    return a->rope == b->rope;
}

static bool same_tables(const rs_sequence *a, const rs_sequence *b)
{
    return a->rope == b->rope && a->position == b->position && a->n_rows == b->n_rows;
}

/* The first sequence before s that is alike, or -1. */
static int earlier(const rs_step *step, int s, bool (*alike)(const rs_sequence *, const rs_sequence *))
{
    for (int i = 0; i < s; i++)
        if (alike(&step->sequences[i], &step->sequences[s]))
            return i;
    return -1;
}

static void share(const rs_cuda_sequence *from, rs_cuda_sequence *to)
{
    memcpy(to->query_cos, from->query_cos, sizeof to->query_cos);
    memcpy(to->query_sin, from->query_sin, sizeof to->query_sin);
    memcpy(to->key_cos, from->key_cos, sizeof to->key_cos);
    memcpy(to->key_sin, from->key_sin, sizeof to->key_sin);
    to->starts = from->starts;
}

static void put_scales(const rs_step *step, rs_cuda_sequence *made, staging *to)
{
    float *scales = put(to, (size_t)step->n * sizeof *scales, sizeof(double));
    for (int s = 0; s < step->n_sequences; s++) {
        const rs_sequence *sequence = &step->sequences[s];
        made[s].row_scales = (const float *)on_device(to, scales) + sequence->first_row;
        for (int64_t i = 0; i < sequence->n_rows; i++)
            scales[sequence->first_row + i] = rs_softmax_row_scale(sequence->softmax, sequence->position + i + 1);
    }
}

static void put_starts(const rs_sequence *sequence, rs_cuda_sequence *made, staging *to)
{
    const rs_position_map *map = &sequence->rope->map;
    if (map->n_segments == 1)
        return;
    int64_t *starts = put(to, (size_t)sequence->n_rows * RS_MAX_SEGMENTS * sizeof *starts, sizeof *starts);
    for (int64_t i = 0; i < sequence->n_rows; i++)
        for (int segment = 0; segment < RS_MAX_SEGMENTS; segment++)
            starts[i * RS_MAX_SEGMENTS + segment] = segment < map->n_segments ? map->start(map, sequence->position + i, segment) : 0;
    made->starts = on_device(to, starts);
}

/* Segment starts, cos and sin. floats: room for all cosines. Returns the number of launches in b->table_jobs. */
static int put_tables(rs_backend *b, const rs_step *step, size_t floats, rs_cuda_sequence *made, staging *to)
{
    float *base = (float *)(void *)b->tables.data;
    tabling t = {.b = b, .step = step, .to = to, .made = made, .cosine = base, .sine = base + floats};
    for (int s = 0; s < step->n_sequences; s++) {
        b->twins[s] = earlier(step, s, same_tables);
        if (b->twins[s] < 0)
            put_starts(&step->sequences[s], &made[s], to);
    }
    for (int s = 0; s < step->n_sequences; s++)
        if (step->sequences[s].rope->rotary_dim > 0 && earlier(step, s, same_rope) < 0)
            rope_tables(&t, s);
    for (int s = 0; s < step->n_sequences; s++)
        if (b->twins[s] >= 0)
            share(&made[b->twins[s]], &made[s]);
    return t.n_jobs;
}

/* --- the step --- */

static rs_status check(const rs_backend *b, const rs_step *step)
{
    int64_t rows = 0;
    for (int s = 0; s < step->n_sequences; s++) {
        const rs_sequence *sequence = &step->sequences[s];
        if (sequence->position + sequence->n_rows > sequence->kv->capacity || sequence->rope->map.n_key_sets > sequence->kv->key_sets)
            return rs_fail(RS_INTERNAL, "a sequence of %lld tokens and %d key sets does not fit its cache",
                           (long long)(sequence->position + sequence->n_rows), sequence->rope->map.n_key_sets);
        if (sequence->first_row + sequence->n_rows > step->n || (step->phase == RS_DECODE && sequence->n_rows != 1))
            return rs_fail(RS_INTERNAL, "a step's sequence has %lld rows from %lld: not of this step", (long long)sequence->n_rows,
                           (long long)sequence->first_row);
        rows += sequence->n_rows;
    }
    if (rows != step->n || step->n > b->max_rows)
        return rs_fail(RS_INTERNAL, "a step of %lld rows, %lld of them in sequences; at most %lld", (long long)step->n, (long long)rows,
                       (long long)b->max_rows);
    return RS_OK;
}

/* Host lists and device buffers for the step. */
static rs_status make_room(rs_backend *b, const rs_step *step, size_t *floats)
{
    size_t queries = 0;
    *floats = 0;
    for (int s = 0; s < step->n_sequences; s++) {
        queries += query_bytes(b, &step->sequences[s]);
        *floats += table_floats(&step->sequences[s]);
    }
    if (step->n_sequences > b->cap_sequences) {
        b->cap_sequences = 2 * step->n_sequences;
        b->twins = rs_realloc(b->twins, (size_t)b->cap_sequences, sizeof *b->twins);
        b->table_jobs = rs_realloc(b->table_jobs, (size_t)b->cap_sequences * 2, sizeof *b->table_jobs);
    }
    if (step->n > b->cap_tiles) {
        b->cap_tiles = b->max_rows;
        b->tiles = rs_realloc(b->tiles, (size_t)b->cap_tiles, sizeof *b->tiles);
    }
    RS_TRY(grow_stages(b, block_bytes(step->n, step->n_sequences)));
    RS_TRY(rs_cuda_grow(b, &b->queries, queries, "rotated queries"));
    return rs_cuda_grow(b, &b->tables, 2 * *floats * sizeof(float), "tables of cos and sin");
}

rs_status rs_cuda_prepare(rs_backend *b, const rs_step *step)
{
    size_t floats;
    rs_cuda_abandon(b);
    RS_TRY(check(b, step));
    RS_TRY(make_room(b, step, &floats));
    b->step = (rs_cuda_prepared){.phase = step->phase, .n = step->n};
    RS_TRY(rs_cuda_attention_plan(b, step));

    rs_cuda_pinned *stage = &b->stages[b->next_stage];
    b->next_stage = (b->next_stage + 1) % RS_CUDA_STAGES;
    RS_TRY(b->driver->event_wait(b->context, stage->passed));
    staging to = {.host = stage->data, .device = b->step_block.data, .bytes = b->stage_bytes};
    rs_cuda_sequence *made = put_sequences(b, step, &to);
    put_lists(b, step, &to);
    put_scales(step, made, &to);
    int n_jobs = put_tables(b, step, floats, made, &to);
    RS_TRY(b->driver->upload(b->context, RS_CUDA_COMPUTE, to.device, to.host, to.used));
    RS_TRY(b->driver->event_record(b->context, stage->passed, RS_CUDA_COMPUTE));
    for (int i = 0; i < n_jobs; i++)
        RS_TRY(rs_cuda_launched(b, rs_cuda_rope_table(rs_cuda_stream_of(b), &b->table_jobs[i]), "tables of cos and sin"));
    return RS_OK;
}
