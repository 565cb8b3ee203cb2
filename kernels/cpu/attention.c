/* Cuts a batch's attention into tasks - one sequence, one kv head, one run of query positions - and shares them out. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/pulse.h"
#include "kernels/cpu/cpu.h"

typedef struct task_list {
    const rs_sequence *sequences;
    int64_t *first; /* [n_sequences + 1] tasks before each sequence */
    int64_t *tiles; /* [n_sequences] query tiles of one kv head */
} task_list;

/* Positions whose query rows, with `group` rows each, fill a tile. */
static int64_t tile_positions(int group)
{
    return group < RS_QUERY_ROWS ? RS_QUERY_ROWS / group : 1;
}

static int largest_group(const rs_backend *backend)
{
    int most = 1;
    for (int k = 0; k < backend->shape.kv_heads; k++)
        if (backend->first_slot[k + 1] - backend->first_slot[k] > most)
            most = backend->first_slot[k + 1] - backend->first_slot[k];
    return most;
}

size_t rs_attend_work_floats(const rs_softmax *softmax, int n_rows, int value_width, int64_t n_keys, bool measure)
{
    size_t rows = ((size_t)n_rows + 15) / 16 * 16, floats = 3 * RS_ROW_BLOCK * RS_KEY_TILE + rows * (size_t)(3 + value_width);
    if (measure)
        floats += rows * RS_MEASURE_FLOATS;
    if (softmax->normalizer != RS_NORMALIZE_EXP)
        floats += (RS_ROW_BLOCK + 1) * ((size_t)n_keys / RS_KEY_TILE + 1) * RS_KEY_TILE + 16;
    return (floats + 15) / 16 * 16;
}

static rs_status grow_work(rs_backend *backend, const rs_sequence *sequences, int n_sequences)
{
    int group = largest_group(backend);
    size_t most = 0;
    for (int s = 0; s < n_sequences; s++) {
        size_t floats = rs_attend_work_floats(
            sequences[s].softmax, (int)(tile_positions(group) * group < RS_QUERY_ROWS ? RS_QUERY_ROWS : tile_positions(group) * group),
            backend->value_width, sequences[s].position + sequences[s].n_rows, sequences[s].diagnostics != NULL);
        most = floats > most ? floats : most;
    }
    if (most <= backend->work_floats)
        return RS_OK;
    free(backend->work);
    backend->work = NULL;
    backend->work_floats = 0;
    RS_TRY(rs_try_alloc((void **)&backend->work, most * (size_t)backend->n_threads, sizeof(float), "workspace of attention"));
    backend->work_floats = most;
    return RS_OK;
}

/* The part of a task that its sequence and kv head decide. */
static rs_attend describe(const rs_backend *backend, int layer, const rs_sequence *sequence, const rs_prepared *made, int kv_head)
{
    bool rotates = rs_rope_rotates(sequence->rope, layer);
    rs_attend task = {
        .bf16 = backend->dtype == RS_BF16,
        .n_segments = rotates ? sequence->rope->map.n_segments : 1,
        .key_set = sequence->rope->map.key_set,
        .slopes = sequence->rope->alibi ? backend->slopes + backend->first_slot[kv_head] : NULL,
        .softmax = sequence->softmax,
        .attention_scale = backend->shape.attention_scale,
        .group = backend->first_slot[kv_head + 1] - backend->first_slot[kv_head],
        .head_dim = backend->shape.head_dim,
        .query_units = backend->query_units,
        .value_width = backend->value_width,
        .out_stride = (int64_t)backend->shape.heads * backend->shape.head_dim,
        .out_columns = backend->out_columns + backend->first_slot[kv_head],
        .values = rs_kv_values(backend, sequence->kv, layer, kv_head),
    };
    static const int first_set[1] = {0};
    if (!rotates)
        task.key_set = first_set;
    for (int set = 0; set < sequence->kv->key_sets; set++)
        task.keys[set] = rs_kv_keys(backend, sequence->kv, layer, kv_head, set);
    for (int segment = 0; segment < task.n_segments; segment++)
        task.queries[segment] = backend->queries + made->query_offset +
                                (size_t)((int64_t)segment * backend->shape.heads + backend->first_slot[kv_head]) *
                                    (size_t)sequence->n_rows * (size_t)backend->query_units;
    task.starts = task.n_segments > 1 ? made->starts : NULL;
    task.row_scales = made->row_scales;
    return task;
}

/* Tile `tile` of a sequence's kv head. */
static void run_tile(const rs_backend *backend, int layer, int s, const rs_sequence *sequence, int kv_head, int64_t tile, char *out)
{
    rs_attend task = describe(backend, layer, sequence, &backend->prepared[s], kv_head);
    int64_t positions = tile_positions(task.group), first = tile * positions;
    int64_t n = sequence->n_rows - first < positions ? sequence->n_rows - first : positions;
    for (int segment = 0; segment < task.n_segments; segment++)
        task.queries[segment] += (size_t)(first * task.group) * (size_t)task.query_units;
    if (task.starts)
        task.starts += first * RS_MAX_SEGMENTS;
    task.row_scales += first;
    task.first_position = sequence->position + first;
    task.n_rows = (int)(n * task.group);
    task.out = out + (size_t)((sequence->first_row + first) * task.out_stride) * (task.bf16 ? 2 : 4);
    task.work = backend->work + backend->work_floats * (size_t)rs_cpu_thread();
    rs_measure measure;
    if (sequence->diagnostics) {
        measure = rs_measure_of(backend, s, kv_head, first);
        task.measure = &measure;
    }
    backend->attention->attend(&task);
}

/* Task number -> its sequence (tasks of a sequence: tile-major from the last, longest tile down). */
static void run_task(const rs_backend *backend, int layer, const task_list *tasks, int n_sequences, int64_t number, char *out)
{
    int low = 0, high = n_sequences - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (tasks->first[middle] <= number)
            low = middle;
        else
            high = middle - 1;
    }
    int64_t of_sequence = number - tasks->first[low], kv_heads = backend->shape.kv_heads;
    int kv_head = (int)(of_sequence % kv_heads);
    int64_t tile = tasks->tiles[low] - 1 - of_sequence / kv_heads,
            positions = tile_positions(backend->first_slot[kv_head + 1] - backend->first_slot[kv_head]);
    if (backend->first_slot[kv_head + 1] > backend->first_slot[kv_head] && tile * positions < tasks->sequences[low].n_rows)
        run_tile(backend, layer, low, &tasks->sequences[low], kv_head, tile, out);
}

rs_status rs_cpu_attention(rs_backend *backend, int layer, void *out)
{
    const rs_sequence *sequences = backend->step->sequences;
    int n_sequences = backend->step->n_sequences;
    RS_TRY(grow_work(backend, sequences, n_sequences));
    int64_t positions = tile_positions(largest_group(backend));
    task_list tasks = {.sequences = sequences,
                       .first = rs_alloc((size_t)n_sequences + 1, sizeof *tasks.first),
                       .tiles = rs_alloc((size_t)n_sequences + 1, sizeof *tasks.tiles)};
    for (int s = 0; s < n_sequences; s++) {
        tasks.tiles[s] = (sequences[s].n_rows + positions - 1) / positions;
        tasks.first[s + 1] = tasks.first[s] + tasks.tiles[s] * backend->shape.kv_heads;
    }
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int64_t number = 0; number < tasks.first[n_sequences]; number++) {
        rs_pulse_tick();
        run_task(backend, layer, &tasks, n_sequences, number, out);
    }
    free(tasks.first);
    free(tasks.tiles);
    if (backend->measures)
        rs_measure_sum(backend, layer);
    return RS_OK;
}
