/* Decode steps of a two-layer decoder through every operation in the model's order, with steps recorded and run whole where the backend
 * offers that: whatever is recorded must go on reading the step's own ids, positions and caches. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

enum { LAYERS = 2, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 64, HIDDEN = 64, FF = 96, VOCABULARY = 200, MOST = 4, STEPS = 10 };
enum { WIDTH = (HEADS + 2 * KV_HEADS) * HEAD_DIM, OUT = HEADS * HEAD_DIM };

typedef struct decoder {
    ops_side *side;
    rs_table *table;
    rs_matrix *qkv[LAYERS], *o[LAYERS], *gate_up[LAYERS], *down[LAYERS], *head;
    float *norm, *x, *y, *wide;
    void *h, *heads_out, *mlp;
    rs_slice slices[2 + 4 * LAYERS];
    int n_slices;
    rs_kv *kvs[MOST];
    rs_rope ropes[MOST];
    rs_softmax policies[MOST];
} decoder;

/* How many sequences each step has: the number goes down, and comes back to what was seen before. */
static const int present[STEPS] = {3, 3, 3, 2, 2, 3, 3, 1, 1, 3};

static const rs_slice *weights(decoder *m, rs_rng *rng, int64_t rows, int64_t cols)
{
    m->slices[m->n_slices] = ops_slice(rng, m->side->dtype, rows, cols, 1 / sqrt((double)cols));
    return &m->slices[m->n_slices++];
}

static rs_status open_decoder(decoder *m, const ops_case *c, const int64_t *prior)
{
    rs_rng rng = ops_rng(c);
    float ones[HIDDEN];
    for (int i = 0; i < HIDDEN; i++)
        ones[i] = 1 + (float)(0.1 * rs_rng_normal(&rng));
    RS_TRY(ops_side_table(m->side, weights(m, &rng, VOCABULARY, HIDDEN), &m->table));
    RS_TRY(ops_side_matrix(m->side, weights(m, &rng, VOCABULARY, HIDDEN), 1, &m->head));
    for (int l = 0; l < LAYERS; l++) {
        RS_TRY(ops_side_matrix(m->side, weights(m, &rng, WIDTH, HIDDEN), 1, &m->qkv[l]));
        RS_TRY(ops_side_matrix(m->side, weights(m, &rng, HIDDEN, OUT), 1, &m->o[l]));
        RS_TRY(ops_side_matrix(m->side, weights(m, &rng, 2 * FF, HIDDEN), 1, &m->gate_up[l]));
        RS_TRY(ops_side_matrix(m->side, weights(m, &rng, HIDDEN, FF), 1, &m->down[l]));
    }
    static const char *const ropes[][2] = {{"default", ""}, {"self_extend", "group=2 window=3"}, {"yarn", "factor=4"}};
    for (int i = 0; i < 3; i++) {
        RS_TRY(ops_rope(ropes[i][0], ropes[i][1], HEAD_DIM, prior[i] + STEPS, &m->ropes[i]));
        RS_TRY(ops_softmax(i == 2 ? "adaptive" : "softmax1", "", &m->policies[i]));
        RS_TRY(ops_side_kv(m->side, prior[i] + STEPS, m->ropes[i].map.n_key_sets, LAYERS, &m->kvs[i]));
    }
    RS_TRY(ops_side_floats(m->side, ones, HIDDEN, &m->norm));
    RS_TRY(ops_side_buffer(m->side, (size_t)(c->n * HIDDEN) * sizeof(float), &m->x));
    RS_TRY(ops_side_buffer(m->side, (size_t)(c->n * HIDDEN) * sizeof(float), &m->y));
    RS_TRY(ops_side_buffer(m->side, (size_t)(c->n * WIDTH) * sizeof(float), &m->wide));
    RS_TRY(ops_side_buffer(m->side, (size_t)(c->n * HIDDEN) * sizeof(float), &m->h));
    RS_TRY(ops_side_buffer(m->side, (size_t)(c->n * OUT) * sizeof(float), &m->heads_out));
    return ops_side_buffer(m->side, (size_t)(c->n * FF) * sizeof(float), &m->mlp);
}

static rs_status layer(decoder *m, int l, int64_t n)
{
    const rs_backend_ops *ops = m->side->ops;
    rs_backend *b = m->side->backend;
    RS_TRY(ops->add_norm(b, m->x, l ? m->y : NULL, m->norm, 1e-6f, false, n, HIDDEN, m->h));
    RS_TRY(ops->linear(b, m->h, HIDDEN, m->qkv[l], n, m->wide, WIDTH));
    RS_TRY(ops->store_qkv(b, l, m->wide));
    RS_TRY(ops->attention(b, l, m->heads_out));
    RS_TRY(ops->linear(b, m->heads_out, OUT, m->o[l], n, m->y, HIDDEN));
    RS_TRY(ops->add_norm(b, m->x, m->y, m->norm, 1e-6f, false, n, HIDDEN, m->h));
    RS_TRY(ops->linear(b, m->h, HIDDEN, m->gate_up[l], n, m->wide, 2 * FF));
    RS_TRY(ops->glu(b, RS_GELU_TANH, m->wide, n, FF, m->mlp));
    return ops->linear(b, m->mlp, FF, m->down[l], n, m->y, HIDDEN);
}

static rs_status step(decoder *m, const rs_step *s, bool record, rs_head_row *rows)
{
    const rs_backend_ops *ops = m->side->ops;
    rs_backend *b = m->side->backend;
    static const int32_t targets[512] = {17, 3, -1};
    bool done = false;
    RS_TRY(ops->prepare(b, s));
    if (record)
        RS_TRY(ops->replay(b, &done));
    if (!done) {
        RS_TRY(ops->embed(b, m->table, 0, 8, m->x));
        for (int l = 0; l < LAYERS; l++)
            RS_TRY(layer(m, l, s->n));
        RS_TRY(ops->add_norm(b, m->x, m->y, m->norm, 1e-6f, false, s->n, HIDDEN, m->h));
        if (record)
            RS_TRY(ops->recorded(b));
    }
    return ops->head(b, m->h, m->head, 0, targets, 0, s->n, rows);
}

/* Prefill of sequence i alone, then of its tokens one after the other: those of the steps in which it is present. */
static rs_status take_rows(decoder *m, int first, int last, const int64_t *prior, bool record, rs_head_row results[STEPS][MOST])
{
    rs_sequence sequences[MOST];
    int32_t ids[512];
    int64_t at[MOST];
    rs_head_row unused[512];
    for (int i = first; i < last; i++) {
        for (int64_t k = 0; k < prior[i]; k++)
            ids[k] = (int32_t)((7 * k + 31 * i) % VOCABULARY);
        at[i] = prior[i];
        sequences[0] = (rs_sequence){.n_rows = prior[i], .kv = m->kvs[i], .rope = &m->ropes[i], .softmax = &m->policies[i]};
        rs_step s = {.phase = RS_PREFILL, .sequences = sequences, .n_sequences = 1, .ids = ids, .n = prior[i]};
        RS_TRY(step(m, &s, false, unused));
    }
    for (int t = 0; t < STEPS; t++) {
        int n = 0;
        for (int i = first; i < last && i < present[t]; i++, n++) {
            ids[n] = (int32_t)((11 * at[i] + 5 * i) % VOCABULARY);
            sequences[n] = (rs_sequence){
                .first_row = n, .n_rows = 1, .position = at[i]++, .kv = m->kvs[i], .rope = &m->ropes[i], .softmax = &m->policies[i]};
        }
        rs_step s = {.phase = RS_DECODE, .sequences = sequences, .n_sequences = n, .ids = ids, .n = n};
        if (n > 0)
            RS_TRY(step(m, &s, record, results[t] + first));
    }
    return RS_OK;
}

static rs_status run_step(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    decoder m = {.side = side};
    rs_head_row results[STEPS][MOST];
    const int64_t *prior = c->more;
    rs_status status = RS_OK;
    RS_TRY_OUT(open_decoder(&m, c, prior));
    if (way == OPS_WHOLE)
        RS_TRY_OUT(take_rows(&m, 0, 3, prior, side->ops->replay, results));
    for (int i = 0; way == OPS_ALONE && i < 3; i++)
        RS_TRY_OUT(take_rows(&m, i, i + 1, prior, false, results));
    for (int t = 0; t < STEPS; t++)
        for (int i = 0; i < present[t]; i++) {
            float values[] = {results[t][i].max, results[t][i].max + logf(results[t][i].sum)};
            ops_out_append(out, values, 2, false);
        }
out:
    while (side->n_tables > 0)
        side->ops->table_free(side->backend, side->tables[--side->n_tables]);
    for (int i = 0; i < m.n_slices; i++)
        free((void *)(uintptr_t)m.slices[i].data);
    return status;
}

void ops_add_step(ops_cases *cases)
{
    static const int64_t priors[][3] = {{5, 9, 3}, {120, 254, 33}};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int i = 0; i < (cases->small ? 1 : 2); i++)
            ops_case_add(
                cases,
                (ops_case){.op = "step",
                           .run = run_step,
                           /* Two layers of what the single operations may differ by, of which bf16's roundings weigh most. */
                           .bound = dtype == RS_BF16 ? (ops_bound){.norm = 1e-2, .max = 3e-2} : (ops_bound){.norm = 1e-5, .max = 5e-5},
                           .dtype = (rs_dtype)dtype,
                           .phase = RS_DECODE,
                           .heads = HEADS,
                           .kv_heads = KV_HEADS,
                           .head_dim = HEAD_DIM,
                           .layers = LAYERS,
                           .n = priors[i][1],
                           .more = priors[i]},
                "a decoder of 2 layers, 10 steps of up to 3 sequences after %d, %d, %d tokens", (int)priors[i][0], (int)priors[i][1],
                (int)priors[i][2]);
}
