/* What depends on positions only, once a step: rotation tables, segment starts, row scales. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"

/* The arena grows by whole blocks; earlier pointers stay good until the next step. */
typedef struct rs_arena_block {
    struct rs_arena_block *next;
    size_t used, cap;
    _Alignas(64) char data[];
} rs_arena_block;

static rs_status take(rs_backend *backend, size_t bytes, void *out)
{
    rs_arena_block *block = backend->arena;
    bytes = (bytes + 63) / 64 * 64;
    if (!block || block->cap - block->used < bytes) {
        size_t cap = bytes > 65536 ? bytes : 65536;
        RS_TRY(rs_try_alloc((void **)&block, sizeof *block + cap, 1, "tables of a step"));
        *block = (rs_arena_block){.next = backend->arena, .cap = cap};
        backend->arena = block;
    }
    *(void **)out = block->data + block->used;
    block->used += bytes;
    return RS_OK;
}

void rs_arena_free(rs_backend *backend)
{
    while (backend->arena) {
        rs_arena_block *next = backend->arena->next;
        free(backend->arena);
        backend->arena = next;
    }
}

/* Keeps the first block, which is the newest and so the largest. */
static void arena_rewind(rs_backend *backend)
{
    if (!backend->arena)
        return;
    rs_arena_block *keep = backend->arena;
    backend->arena = keep->next;
    rs_arena_free(backend);
    *keep = (rs_arena_block){.cap = keep->cap};
    backend->arena = keep;
}

static bool has_gain(const rs_rope *rope)
{
    for (int k = 0; k < rope->rotary_dim / 2; k++)
        if (rope->query_gain[k] != 1.0)
            return true;
    return false;
}

/* cos and sin of a list of positions, gains multiplied in where `gain`. */
static rs_status make_table(rs_backend *backend, const rs_rope *rope, const double *positions, int64_t n, bool gain, const float **cosine,
                            const float **sine)
{
    int64_t half = rope->rotary_dim / 2;
    float *c, *s;
    RS_TRY(take(backend, (size_t)(n * half) * sizeof *c, &c));
    RS_TRY(take(backend, (size_t)(n * half) * sizeof *s, &s));
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        rs_rope_table(rope, positions + i, 1, c + i * half, s + i * half, half);
        for (int64_t k = 0; gain && k < half; k++) {
            c[i * half + k] = (float)(c[i * half + k] * rope->query_gain[k]);
            s[i * half + k] = (float)(s[i * half + k] * rope->query_gain[k]);
        }
    }
    *cosine = c;
    *sine = s;
    return RS_OK;
}

/* Tables of one sequence. A query table whose positions are those of a key set is that key set's, unless gains tell them apart. */
static rs_status make_tables(rs_backend *backend, const rs_sequence *sequence, rs_prepared *made)
{
    const rs_rope *rope = sequence->rope;
    const rs_position_map *map = &rope->map;
    int64_t n = sequence->n_rows;
    bool gain = has_gain(rope);
    double *key_positions[RS_MAX_KEY_SETS], *positions;
    for (int set = 0; set < map->n_key_sets; set++) {
        RS_TRY(take(backend, (size_t)n * sizeof(double), &key_positions[set]));
        for (int64_t i = 0; i < n; i++)
            key_positions[set][i] = map->key_position(map, sequence->position + i, set);
        RS_TRY(make_table(backend, rope, key_positions[set], n, false, &made->key_cos[set], &made->key_sin[set]));
    }
    for (int segment = 0; segment < map->n_segments; segment++) {
        RS_TRY(take(backend, (size_t)n * sizeof(double), &positions));
        for (int64_t i = 0; i < n; i++)
            positions[i] = map->query_position(map, sequence->position + i, segment);
        int set = map->key_set[segment];
        if (!gain && !memcmp(positions, key_positions[set], (size_t)n * sizeof(double))) {
            made->query_cos[segment] = made->key_cos[set];
            made->query_sin[segment] = made->key_sin[set];
        } else {
            RS_TRY(make_table(backend, rope, positions, n, gain, &made->query_cos[segment], &made->query_sin[segment]));
        }
    }
    return RS_OK;
}

static rs_status make_starts(rs_backend *backend, const rs_sequence *sequence, rs_prepared *made)
{
    const rs_position_map *map = &sequence->rope->map;
    int64_t *starts;
    made->starts = NULL;
    if (map->n_segments == 1)
        return RS_OK;
    RS_TRY(take(backend, (size_t)sequence->n_rows * RS_MAX_SEGMENTS * sizeof *starts, &starts));
    for (int64_t i = 0; i < sequence->n_rows; i++)
        for (int segment = 0; segment < map->n_segments; segment++)
            starts[i * RS_MAX_SEGMENTS + segment] = map->start(map, sequence->position + i, segment);
    made->starts = starts;
    return RS_OK;
}

static rs_status make_scales(rs_backend *backend, const rs_sequence *sequence, rs_prepared *made)
{
    float *scales;
    RS_TRY(take(backend, (size_t)sequence->n_rows * sizeof *scales, &scales));
    for (int64_t i = 0; i < sequence->n_rows; i++)
        scales[i] = rs_softmax_row_scale(sequence->softmax, sequence->position + i + 1);
    made->row_scales = scales;
    return RS_OK;
}

/* An earlier sequence of the batch that has the same rope and positions. */
static const rs_prepared *same_tables(const rs_backend *backend, int s)
{
    const rs_sequence *these = backend->step->sequences;
    for (int i = 0; i < s; i++)
        if (these[i].rope == these[s].rope && these[i].position == these[s].position && these[i].n_rows == these[s].n_rows)
            return &backend->prepared[i];
    return NULL;
}

rs_status rs_cpu_prepare(rs_backend *backend, const rs_step *step)
{
    const rs_sequence *sequences = step->sequences;
    int n_sequences = step->n_sequences;
    size_t queries = 0;
    arena_rewind(backend);
    backend->step = step;
    RS_TRY(take(backend, (size_t)n_sequences * sizeof *backend->prepared, &backend->prepared));
    for (int i = 0; i < n_sequences; i++) {
        const rs_sequence *sequence = &sequences[i];
        rs_prepared *made = &backend->prepared[i];
        const rs_prepared *same = same_tables(backend, i);
        if (sequence->position + sequence->n_rows > sequence->kv->capacity || sequence->rope->map.n_key_sets > sequence->kv->key_sets)
            return rs_fail(RS_INTERNAL, "a sequence of %lld tokens and %d key sets does not fit its cache",
                           (long long)(sequence->position + sequence->n_rows), sequence->rope->map.n_key_sets);
        *made = same ? *same : (rs_prepared){0};
        if (!same) {
            RS_TRY(make_tables(backend, sequence, made));
            RS_TRY(make_starts(backend, sequence, made));
        }
        RS_TRY(make_scales(backend, sequence, made));
        made->query_offset = queries;
        queries +=
            (size_t)sequence->n_rows * (size_t)sequence->rope->map.n_segments * (size_t)backend->shape.heads * (size_t)backend->query_units;
    }
    RS_TRY(rs_measure_prepare(backend));
    if (queries <= backend->queries_cap)
        return RS_OK;
    free(backend->queries);
    backend->queries = NULL;
    backend->queries_cap = 0;
    RS_TRY(rs_try_alloc((void **)&backend->queries, queries, sizeof *backend->queries, "rotated queries"));
    backend->queries_cap = queries;
    return RS_OK;
}
