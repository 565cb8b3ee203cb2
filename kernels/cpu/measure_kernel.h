/* The part of diagnostics that runs inside the attention of a tile, included once an instruction set by attention_kernel.h: running sums of
 * each row, one a lane, so that a tile adds to them without a sum over lanes. */

enum { AT_L = 0, AT_U = 16, AT_W2 = 32, AT_DISTANCE = 48, AT_LOW = 64, AT_HIGH = 80, AT_OFFSETS = RS_MEASURE_LANES };
enum { AT_SINK = AT_OFFSETS + RS_MAX_OFFSETS + 1 };

static float *measure_at(const attend_state *state, int row)
{
    return state->measured + (size_t)row * RS_MEASURE_FLOATS;
}

static void measure_begin(const attend_state *state)
{
    for (int row = 0; row < state->task->n_rows; row++) {
        float *at = measure_at(state, row);
        memset(at, 0, AT_LOW * sizeof *at);
        for (int i = 0; i < 16; i++) {
            at[AT_LOW + i] = INFINITY;
            at[AT_HIGH + i] = -INFINITY;
        }
        for (int i = AT_OFFSETS; i < RS_MEASURE_FLOATS; i++)
            at[i] = -INFINITY;
    }
}

/* The smallest and the largest of the logits of row r of the block that it sees, as they stand in S. */
static void measure_range(const attend_state *state, int r, int64_t visible)
{
    const float *s = state->s + r * RS_KEY_TILE;
    float *at = measure_at(state, state->row + r);
    rs_vf low = v_load(at + AT_LOW), high = v_load(at + AT_HIGH);
    int n = visible < state->n_keys ? (int)visible : state->n_keys, j = 0;
    for (; j + RS_VW <= n; j += RS_VW) {
        rs_vf z = v_load(s + j);
        low = v_min(z, low);
        high = v_max(z, high);
    }
    if (j < n) {
        rs_vf z = v_load(s + j);
        low = v_min(v_between(z, 0, n - j, low), low);
        high = v_max(v_between(z, 0, n - j, high), high);
    }
    v_store(at + AT_LOW, low);
    v_store(at + AT_HIGH, high);
}

/* The running sums of the row at hand. */
typedef struct tally {
    rs_vf l, u, w2, distance, away; /* away: how far before the row the lanes' next keys lie */
} tally;

/* To the new maximum: weights shrink by alpha, and their logarithms by the step. */
RS_INLINE tally tally_begin(const attend_state *state, int r, float max, float alpha)
{
    int row = state->row + r;
    const float *at = measure_at(state, row);
    tally t = {v_load(at + AT_L), v_load(at + AT_U), v_load(at + AT_W2), v_load(at + AT_DISTANCE), v_set(0.0f)};
    if (alpha != 1.0f && state->max[row] > -INFINITY) {
        rs_vf a = v_set(alpha);
        t.u = a * v_fma(v_set(state->max[row] - max), t.l, t.u);
        t.l = a * t.l;
        t.w2 = a * (a * t.w2);
        t.distance = a * t.distance;
    }
    t.away = v_set((float)(position_of(state->task, row) - state->tile)) - v_iota();
    return t;
}

/* Weights e = 2^x of the next RS_VW keys. */
RS_INLINE void tally_add(tally *t, rs_vf x, rs_vf e)
{
    x = v_max(v_set(-200.0f), x); /* so that a weight of 0 times -inf is 0 */
    t->l = t->l + e;
    t->u = v_fma(x, e, t->u);
    t->w2 = v_fma(e, e, t->w2);
    t->distance = v_fma(t->away, e, t->distance);
    t->away = t->away - v_set((float)RS_VW);
}

RS_INLINE void tally_end(const attend_state *state, int r, const tally *t)
{
    float *at = measure_at(state, state->row + r);
    v_store(at + AT_L, t->l);
    v_store(at + AT_U, t->u);
    v_store(at + AT_W2, t->w2);
    v_store(at + AT_DISTANCE, t->distance);
}

/* values: one a key, [0, n) of which begin at key `first`; keeps those of key 0 and of the keys at the row's offsets, times `factor`. */
static void measure_offsets(const attend_state *state, int row, const float *values, float factor, int64_t first, int64_t n)
{
    const rs_diagnostics *spec = state->task->measure->spec;
    float *at = measure_at(state, row);
    int64_t here = position_of(state->task, row) - first;
    if (first == 0)
        at[AT_SINK] = values[0] * factor;
    for (int k = 0; k <= spec->n_offsets; k++) {
        int64_t offset = k < spec->n_offsets ? spec->offsets[k] : spec->induction_offset, key = here - offset;
        if (offset >= 0 && key >= 0 && key < n)
            at[AT_OFFSETS + k] = values[key] * factor;
    }
}

static float measure_sum(const float *lanes)
{
    return v_hsum(v_load(lanes));
}

/* What logits give: unit and scale, and how far they reach. */
static rs_row_state measure_logits(const attend_state *state, int row)
{
    const rs_attend *task = state->task;
    float *at = measure_at(state, row);
    bool plain = !task->slopes && !(task->softmax->cap > 0);
    return (rs_row_state){
        .low = -v_hmax(v_set(0.0f) - v_load(at + AT_LOW)),
        .high = v_hmax(v_load(at + AT_HIGH)),
        .unit = plain ? task->attention_scale : 1.0f,
        .scale = task->row_scales[position_of(task, row) - task->first_position] * state->beta[row],
        .beta = state->beta[row],
        .offsets = at + AT_OFFSETS,
    };
}

static void measure_softmax_row(const attend_state *state, int row)
{
    const rs_softmax *softmax = state->task->softmax;
    float *at = measure_at(state, row), max = state->max[row];
    rs_row_state s = measure_logits(state, row);
    float a = s.low * s.unit * s.scale * RS_LOG2E, b = s.high * s.unit * s.scale * RS_LOG2E;
    s.l = measure_sum(at + AT_L);
    s.u = measure_sum(at + AT_U) * RS_LN2;
    s.w2 = measure_sum(at + AT_W2);
    s.distance = measure_sum(at + AT_DISTANCE);
    s.shift = max * RS_LN2;
    s.total = s.l + (softmax->has_sink ? exp2f((float)(softmax->sink * (double)RS_LOG2E) - max) : 0.0f);
    s.max = softmax->has_sink ? exp2f((a > b ? a : b) - max) : 1.0f;
    for (int k = 0; k <= state->task->measure->spec->n_offsets; k++)
        at[AT_OFFSETS + k] = exp2f(at[AT_OFFSETS + k] - max);
    s.sink = exp2f(at[AT_SINK] - max);
    rs_measure_row(state->task, row, &s);
}

/* The same of weights [n] that stand there; sink: the weight of the policy's sink. */
static void measure_sparse_row(const attend_state *state, int row, const float *weights, int64_t n, float sink)
{
    double l = 0, u = 0, w2 = 0, distance = 0;
    float *at = measure_at(state, row);
    rs_row_state s = measure_logits(state, row);
    for (int64_t j = 0; j < n; j++) {
        double w = (double)weights[j];
        if (w > 0) {
            l += w;
            u += w * (double)logf(weights[j]);
            w2 += w * w;
            distance += w * (double)(n - 1 - j);
            s.max = weights[j] > s.max ? weights[j] : s.max;
        }
    }
    s.l = (float)l;
    s.u = (float)u;
    s.w2 = (float)w2;
    s.distance = (float)distance;
    s.total = (float)(l + (double)sink);
    for (int k = 0; k <= state->task->measure->spec->n_offsets; k++)
        at[AT_OFFSETS + k] = 0.0f;
    measure_offsets(state, row, weights, 1.0f, 0, n);
    s.sink = at[AT_SINK];
    rs_measure_row(state->task, row, &s);
}
