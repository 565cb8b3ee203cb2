/* Diagnostics of attention: from a row's running sums to its numbers, and from the rows' numbers to the sequences' sums. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"

/* Lemma 2.1 of arXiv 2410.01104: (1/n) e^(-spread) <= a <= (1/n) e^spread for logits as softmax sees them; a sink is one more of them. What
 * rounding can do to the logarithm of a coefficient lies far below the margin. */
static float violates_bound(const rs_attend *task, const rs_row_state *s, int64_t visible)
{
    const rs_softmax *softmax = task->softmax;
    if (softmax->normalizer != RS_NORMALIZE_EXP)
        return NAN;
    float a = s->low * s->unit * s->scale, b = s->high * s->unit * s->scale;
    float low = fminf(a, b), high = fmaxf(a, b), ln_total = logf(s->total) + s->shift, ln_n = logf((float)visible);
    if (softmax->has_sink) {
        low = fminf(low, (float)softmax->sink);
        high = fmaxf(high, (float)softmax->sink);
        ln_n = logf((float)visible + 1);
    }
    float spread = high - low, margin = 1e-4f * (1 + fabsf(low) + fabsf(high));
    bool holds = high - ln_total <= spread - ln_n + margin && low - ln_total >= -spread - ln_n - margin;
    return holds ? 0 : 1;
}

void rs_measure_row(const rs_attend *task, int row, const rs_row_state *s)
{
    const rs_measure *measure = task->measure;
    int64_t position = task->first_position + row / task->group;
    float *to = measure->rows + row % task->group * measure->slot_stride + row / task->group * measure->width;
    float entropy = fmaxf(0, (logf(s->total) * s->l - s->u) / s->total);
    to[RS_HEAD_ENTROPY] = entropy;
    to[RS_HEAD_EFFECTIVE_N] = expf(entropy);
    to[RS_HEAD_PARTICIPATION] = s->w2 > 0 ? s->l * (s->l / s->w2) : 0;
    to[RS_HEAD_MAX] = s->max / s->total;
    to[RS_HEAD_DISTANCE] = s->distance / s->total;
    to[RS_HEAD_SINK] = s->sink / s->total;
    to[RS_HEAD_INDUCTION] = measure->spec->induction_offset >= 0 && position >= measure->spec->induction_from
                                ? s->offsets[measure->spec->n_offsets] / s->total
                                : 0;
    to[RS_HEAD_ADAPTIVE] = s->beta > 1 ? 1 : 0;
    to[RS_HEAD_VIOLATIONS] = violates_bound(task, s, position + 1);
    to[RS_HEAD_SPREAD] = (s->high - s->low) * s->unit;
    for (int k = 0; k < measure->spec->n_offsets; k++)
        to[RS_ROW_FIXED + k] = s->offsets[k] / s->total;
}

static size_t row_width(const rs_sequence *sequence)
{
    return RS_ROW_FIXED + (size_t)sequence->diagnostics->n_offsets;
}

rs_status rs_measure_prepare(rs_backend *backend)
{
    const rs_step *step = backend->step;
    size_t floats = 0;
    backend->measures = false;
    for (int s = 0; s < step->n_sequences; s++) {
        const rs_sequence *sequence = &step->sequences[s];
        if (sequence->diagnostics == NULL)
            continue;
        backend->measures = true;
        backend->prepared[s].measure_offset = floats;
        floats += (size_t)backend->shape.heads * (size_t)sequence->n_rows * row_width(sequence);
    }
    if (floats <= backend->row_values_cap)
        return RS_OK;
    free(backend->row_values);
    backend->row_values = NULL;
    backend->row_values_cap = 0;
    RS_TRY(rs_try_alloc((void **)&backend->row_values, floats, sizeof *backend->row_values, "diagnostics of a step's rows"));
    backend->row_values_cap = floats;
    return RS_OK;
}

static float *slot_values(const rs_backend *backend, int s, int slot)
{
    const rs_sequence *sequence = &backend->step->sequences[s];
    return backend->row_values + backend->prepared[s].measure_offset + (size_t)slot * (size_t)sequence->n_rows * row_width(sequence);
}

rs_measure rs_measure_of(const rs_backend *backend, int s, int kv_head, int64_t position)
{
    const rs_sequence *sequence = &backend->step->sequences[s];
    size_t width = row_width(sequence);
    return (rs_measure){.spec = sequence->diagnostics,
                        .rows = slot_values(backend, s, backend->first_slot[kv_head]) + (size_t)position * width,
                        .slot_stride = sequence->n_rows * (int64_t)width,
                        .width = (int)width};
}

/* The rows of one head in their order. */
static void sum_slot(const rs_backend *backend, int layer, int s, int slot)
{
    const rs_sequence *sequence = &backend->step->sequences[s];
    const rs_diagnostics *d = sequence->diagnostics;
    double *head = rs_diagnostics_head(d, layer, backend->slot_head[slot]);
    const float *row = slot_values(backend, s, slot);
    for (int64_t i = 0; i < sequence->n_rows; i++, row += row_width(sequence))
        rs_diagnostics_add_row(d, head, row, sequence->position + i + 1);
}

void rs_measure_sum(const rs_backend *backend, int layer)
{
    const rs_step *step = backend->step;
    int slots = backend->first_slot[backend->shape.kv_heads];
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < (int64_t)step->n_sequences * slots; i++)
        if (step->sequences[i / slots].diagnostics)
            sum_slot(backend, layer, (int)(i / slots), (int)(i % slots));
}

void rs_measure_norms(const rs_backend *backend, int layer, const float *qkv)
{
    const rs_step *step = backend->step;
    int64_t parts = backend->shape.heads + 2 * (int64_t)backend->shape.kv_heads, head_dim = backend->shape.head_dim;
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < step->n_sequences * parts; i++) {
        const rs_sequence *sequence = &step->sequences[i / parts];
        if (sequence->diagnostics == NULL)
            continue;
        double *sums = rs_diagnostics_norms(sequence->diagnostics, layer, (int)(i % parts));
        const float *x = qkv + (sequence->first_row * parts + i % parts) * head_dim;
        for (int64_t row = 0; row < sequence->n_rows; row++, x += parts * head_dim)
            backend->elementwise->add_pair_norms(x, (int)head_dim / 2, sums);
    }
}
