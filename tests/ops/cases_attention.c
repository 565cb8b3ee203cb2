/* store_qkv and attention together, for what lies between them (queries, caches) is the backend's own: every kind of position map and
 * softmax policy, ragged batches, prefill that goes on where one ended, decoding, caches of all layers and of one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

enum { MAX_PARTS = 4 };

/* One sequence: `prior` tokens in an earlier prefill step, then `rows` more, in one prefill step or in as many decode steps. */
typedef struct part {
    int64_t prior, rows;
    const char *rope, *rope_params, *softmax, *softmax_params;
} part;

typedef struct shape {
    int heads, kv_heads, head_dim;
} shape;

typedef struct plan {
    part parts[MAX_PARTS];
    int n_parts;
    bool one_layer; /* caches of one layer: the layers run one after the other over all rows */
    bool used;      /* caches held something else before */
} plan;

typedef struct run {
    ops_side *side;
    const ops_case *c;
    const plan *plan;
    rs_rope ropes[MAX_PARTS];
    rs_softmax policies[MAX_PARTS];
    rs_kv *kvs[MAX_PARTS];
    float *qkv[MAX_PARTS]; /* [layers][prior + rows][width] */
    float *out[MAX_PARTS]; /* [layers][prior + rows][h e] */
    int64_t width, out_width;
    float *step_qkv; /* device */
    void *step_out;
} run;

static int64_t tokens_of(const part *p)
{
    return p->prior + p->rows;
}

/* One layer of one step, whose sequences' rows lie one after the other as the pieces say; in[i] is the part of piece i. */
static rs_status one_layer(run *r, int layer, const rs_step *step, const int *in)
{
    const rs_backend_ops *ops = r->side->ops;
    for (int i = 0; i < step->n_sequences; i++) {
        const rs_sequence *s = &step->sequences[i];
        const float *from = r->qkv[in[i]] + (layer * tokens_of(&r->plan->parts[in[i]]) + s->position) * r->width;
        RS_TRY(ops->upload(r->side->backend, r->step_qkv + s->first_row * r->width, from, (size_t)(s->n_rows * r->width) * sizeof(float)));
    }
    RS_TRY(ops->store_qkv(r->side->backend, layer, r->step_qkv));
    RS_TRY(ops->attention(r->side->backend, layer, r->step_out));
    for (int i = 0; i < step->n_sequences; i++) {
        const rs_sequence *s = &step->sequences[i];
        ops_out got = {0};
        rs_status status =
            ops_take_act(r->side, ops_act_at(r->side, r->step_out, s->first_row * r->out_width), s->n_rows * r->out_width, &got);
        if (status == RS_OK)
            memcpy(r->out[in[i]] + (layer * tokens_of(&r->plan->parts[in[i]]) + s->position) * r->out_width, got.values,
                   (size_t)got.n_values * sizeof(float));
        ops_out_free(&got);
        RS_TRY(status);
    }
    return RS_OK;
}

/* first[i], rows[i]: what piece of each part the step takes; 0 rows: none. Rows lie in the reverse order of the sequences. */
static rs_status one_step(run *r, int first_layer, int layers, rs_phase phase, const int64_t *first, const int64_t *rows)
{
    rs_sequence sequences[MAX_PARTS];
    int in[MAX_PARTS], n = 0;
    int64_t at = 0;
    for (int i = r->plan->n_parts - 1; i >= 0; i--)
        at += rows[i];
    rs_step step = {.phase = phase, .sequences = sequences, .n = at};
    for (int i = 0; i < r->plan->n_parts; i++) {
        if (rows[i] == 0)
            continue;
        at -= rows[i];
        in[n] = i;
        sequences[n++] = (rs_sequence){
            .first_row = at, .n_rows = rows[i], .position = first[i], .kv = r->kvs[i], .rope = &r->ropes[i], .softmax = &r->policies[i]};
    }
    step.n_sequences = n;
    if (n == 0)
        return RS_OK;
    int32_t *ids = calloc((size_t)step.n, sizeof *ids);
    step.ids = ids;
    rs_status status = r->side->ops->prepare(r->side->backend, &step);
    for (int layer = first_layer; status == RS_OK && layer < first_layer + layers; layer++)
        status = one_layer(r, layer, &step, in);
    free(ids);
    return status;
}

/* All steps of the sequences from part a up to, not including, b; pieces: 1, 2, 3, ... rows a prefill step instead of all. */
static rs_status all_steps(run *r, int a, int b, int first_layer, int layers, bool pieces)
{
    int64_t first[MAX_PARTS] = {0}, rows[MAX_PARTS] = {0}, done[MAX_PARTS] = {0}, size = 1;
    bool decode = r->c->phase == RS_DECODE;
    for (bool more = true; more; size = size > 5 ? 1 : size + 1) { /* prefill */
        more = false;
        for (int i = a; i < b; i++) {
            int64_t prior = r->plan->parts[i].prior, end = decode || done[i] < prior ? prior : tokens_of(&r->plan->parts[i]);
            first[i] = done[i];
            rows[i] = pieces && end - done[i] > size ? size : end - done[i];
            done[i] += rows[i];
            more = more || rows[i] > 0;
        }
        RS_TRY(one_step(r, first_layer, layers, RS_PREFILL, first, rows));
    }
    for (bool more = decode; more;) {
        more = false;
        for (int i = a; i < b; i++) {
            first[i] = done[i];
            rows[i] = done[i] < tokens_of(&r->plan->parts[i]);
            done[i] += rows[i];
            more = more || rows[i] > 0;
        }
        RS_TRY(one_step(r, first_layer, layers, RS_DECODE, first, rows));
    }
    return RS_OK;
}

static rs_status over_layers(run *r, int a, int b, bool pieces)
{
    if (!r->plan->one_layer)
        return all_steps(r, a, b, 0, r->c->layers, pieces);
    for (int layer = 0; layer < r->c->layers; layer++)
        RS_TRY(all_steps(r, a, b, layer, 1, pieces));
    return RS_OK;
}

/* Another text in the caches first: infinities and NaN that nothing of the case may see. */
static rs_status use_caches(run *r)
{
    float *own[MAX_PARTS];
    rs_status status;
    for (int i = 0; i < r->plan->n_parts; i++) {
        int64_t n = r->c->layers * tokens_of(&r->plan->parts[i]) * r->width;
        own[i] = r->qkv[i];
        r->qkv[i] = malloc((size_t)n * sizeof(float));
        for (int64_t k = 0; k < n; k++)
            r->qkv[i][k] = k % 2 ? NAN : INFINITY;
    }
    status = over_layers(r, 0, r->plan->n_parts, false);
    for (int i = 0; i < r->plan->n_parts; i++) {
        free(r->qkv[i]);
        r->qkv[i] = own[i];
    }
    return status;
}

static rs_status open_run(run *r)
{
    rs_rng rng = ops_rng(r->c);
    for (int i = 0; i < r->plan->n_parts; i++) {
        const part *p = &r->plan->parts[i];
        int64_t n = tokens_of(p), queries = r->out_width;
        RS_TRY(ops_rope(p->rope, p->rope_params, r->c->head_dim, n, &r->ropes[i]));
        RS_TRY(ops_softmax(p->softmax, p->softmax_params, &r->policies[i]));
        RS_TRY(ops_side_kv(r->side, n, r->ropes[i].map.n_key_sets, r->plan->one_layer ? 1 : r->c->layers, &r->kvs[i]));
        r->qkv[i] = ops_normal(&rng, r->c->layers * n * r->width, 1);
        r->out[i] = calloc((size_t)(r->c->layers * n * queries), sizeof(float));
        for (int64_t row = 0; row < r->c->layers * n; row++) /* logits wide enough to tell policies apart */
            for (int64_t k = 0; k < queries; k++)
                r->qkv[i][row * r->width + k] *= 2;
    }
    RS_TRY(ops_side_buffer(r->side, (size_t)(r->c->n * r->width) * sizeof(float), &r->step_qkv));
    return ops_side_buffer(r->side, (size_t)(r->c->n * r->out_width) * sizeof(float), &r->step_out);
}

static rs_status run_attention(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    run r = {.side = side,
             .c = c,
             .plan = c->more,
             .width = (int64_t)(c->heads + 2 * c->kv_heads) * c->head_dim,
             .out_width = (int64_t)c->heads * c->head_dim};
    rs_status status = RS_OK;
    RS_TRY_OUT(open_run(&r));
    if (r.plan->used && way == OPS_WHOLE)
        RS_TRY_OUT(use_caches(&r));
    if (way == OPS_WHOLE)
        RS_TRY_OUT(over_layers(&r, 0, r.plan->n_parts, false));
    for (int i = r.plan->n_parts - 1; way == OPS_ALONE && i >= 0; i--)
        RS_TRY_OUT(over_layers(&r, i, i + 1, true));
    for (int i = 0; i < r.plan->n_parts; i++)
        ops_out_append(out, r.out[i], c->layers * tokens_of(&r.plan->parts[i]) * r.out_width, false);
out:
    for (int i = 0; i < r.plan->n_parts; i++) {
        free(r.qkv[i]);
        free(r.out[i]);
    }
    return status;
}

/* fp32: logits of up to about 15, each off by a few units of 2^-24 of that, become weights off by a few 1e-6. bf16: weights are rounded
 * (2^-9) against a maximum that each backend takes over its own run of keys, then the output is. */
static ops_bound bound_of(rs_dtype dtype)
{
    return dtype == RS_BF16 ? (ops_bound){.norm = 5e-3, .max = 3e-2} : (ops_bound){.norm = 1e-5, .max = 1e-4};
}

static void add(ops_cases *cases, rs_dtype dtype, rs_phase phase, shape s, int layers, const plan *p, const char *what)
{
    int64_t n = 0;
    for (int i = 0; i < p->n_parts; i++)
        n += p->parts[i].prior > p->parts[i].rows ? p->parts[i].prior : p->parts[i].rows;
    ops_case_add(cases,
                 (ops_case){.op = "attention",
                            .run = run_attention,
                            .bound = bound_of(dtype),
                            .dtype = dtype,
                            .phase = phase,
                            .heads = s.heads,
                            .kv_heads = s.kv_heads,
                            .head_dim = s.head_dim,
                            .layers = layers,
                            .n = n,
                            .more = p},
                 "%d/%d x %d, %s", s.heads, s.kv_heads, s.head_dim, what);
}

/* --- one sequence: every map with plain softmax, every policy with plain RoPE and with runs --- */

typedef struct named_map {
    const char *type, *params;
    int layers;
} named_map;
static const named_map maps[] = {
    {"default", "", 1},
    {"yarn", "factor=4", 1},
    {"partial", "p=0.5", 1},
    {"p_rope", "p=0.25", 1},
    {"nope", "", 1},
    {"band", "band=pairs:0:3 op=gain by=0.25", 1},
    {"alibi", "", 1},
    {"irope", "", 4}, /* the last of four is not rotated */
    {"self_extend", "group=4 window=20", 1},
    {"rerope", "window=13", 1},
    {"leaky_rerope", "window=13 leak=4", 1},
    {"dca", "chunk=16", 1},
};
enum { PLAIN = 0, SELF_EXTEND = 8, DCA = 11 };
static const char *const policies[][2] = {
    {"temperature", "temperature=1"},
    {"temperature", "temperature=0.4"},
    {"adaptive", ""},
    {"log_n", ""},
    {"qwen_logn", ""},
    {"ssmax", "s=0.4"},
    {"softcap", "cap=5"},
    {"softmax1", ""},
    {"sink", "logit=1.5"},
    {"top_k", "k=7"},
    {"sparsemax", ""},
    {"entmax", "alpha=1.5"},
};
enum { N_MAPS = sizeof maps / sizeof *maps, N_POLICIES = sizeof policies / sizeof *policies, ADAPTIVE = 2 };

static plan kept[1024]; /* of the cases, for as long as the program runs */
static int n_kept;

static plan *keep(plan p)
{
    if (n_kept == sizeof kept / sizeof *kept)
        abort();
    kept[n_kept] = p;
    return &kept[n_kept++];
}

static void add_variant(ops_cases *cases, rs_dtype dtype, rs_phase phase, shape s, int64_t prior, int64_t rows, int map, int policy)
{
    char what[64];
    const plan *p =
        keep((plan){.parts = {{prior, rows, maps[map].type, maps[map].params, policies[policy][0], policies[policy][1]}}, .n_parts = 1});
    snprintf(what, sizeof what, "%s, %s %s, %d + %d", maps[map].type, policies[policy][0], policies[policy][1], (int)prior, (int)rows);
    add(cases, dtype, phase, s, maps[map].layers, p, what);
}

static void add_variants(ops_cases *cases, rs_dtype dtype, rs_phase phase, shape s, int64_t prior, int64_t rows)
{
    for (int map = 0; map < N_MAPS; map++)
        add_variant(cases, dtype, phase, s, prior, rows, map, map == SELF_EXTEND ? ADAPTIVE : 0);
    for (int policy = 1; policy < N_POLICIES; policy++)
        add_variant(cases, dtype, phase, s, prior, rows, policy == ADAPTIVE ? DCA : PLAIN, policy);
}

static void add_shapes(ops_cases *cases, rs_phase phase)
{
    static const shape shapes[] = {{1, 1, 16}, {9, 3, 64}, {8, 1, 256}, {4, 4, 128}, {3, 1, 80}, {16, 16, 256}, {6, 2, 36}};
    static const int64_t lengths[] = {1, 17, 128, 129, 300, 700};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t l = s % 2; l < sizeof lengths / sizeof *lengths; l += 2)
                add_variant(cases, (rs_dtype)dtype, phase, shapes[s], phase == RS_DECODE ? lengths[l] : 0,
                            phase == RS_DECODE ? 3 : lengths[l], PLAIN, l == 4 ? ADAPTIVE : 0);
}

/* --- ragged batches --- */

static const plan ragged = {.parts = {{0, 70, "default", "", "temperature", "temperature=1"},
                                      {33, 40, "self_extend", "group=4 window=20", "adaptive", ""},
                                      {130, 1, "yarn", "factor=4", "softcap", "cap=5"},
                                      {5, 129, "dca", "chunk=16", "sink", "logit=1.5"}},
                            .n_parts = 4};
static const plan ragged_sparse = {.parts = {{10, 30, "alibi", "", "top_k", "k=7"},
                                             {0, 21, "default", "", "temperature", "temperature=1"},
                                             {64, 2, "rerope", "window=13", "entmax", "alpha=1.5"}},
                                   .n_parts = 3,
                                   .used = true};
static const plan layer_major = {.parts = {{64, 50, "default", "", "temperature", "temperature=1"}}, .n_parts = 1, .one_layer = true};
static const plan layer_major_runs = {
    .parts = {{31, 100, "self_extend", "group=4 window=20", "adaptive", ""}}, .n_parts = 1, .one_layer = true, .used = true};
static const plan decode = {.parts = {{70, 5, "default", "", "temperature", "temperature=1"},
                                      {3, 9, "self_extend", "group=4 window=20", "adaptive", ""},
                                      {300, 4, "default", "", "sink", "logit=1.5"},
                                      {127, 3, "alibi", "", "softcap", "cap=5"}},
                            .n_parts = 4};
static const plan decode_used = {
    .parts = {{260, 3, "default", "", "adaptive", ""}, {0, 20, "dca", "chunk=16", "top_k", "k=3"}}, .n_parts = 2, .used = true};
static const plan tiny_ragged = {.parts = {{0, 20, "default", "", "temperature", "temperature=1"},
                                           {5, 3, "self_extend", "group=2 window=3", "adaptive", ""},
                                           {9, 1, "dca", "chunk=4 original_max_position_embeddings=8", "sink", "logit=1.5"}},
                                 .n_parts = 3,
                                 .used = true};
static const plan tiny_layers = {
    .parts = {{6, 12, "rerope", "window=5", "temperature", "temperature=1"}}, .n_parts = 1, .one_layer = true, .used = true};
static const plan tiny_decode = {.parts = {{10, 2, "default", "", "temperature", "temperature=1"},
                                           {3, 3, "self_extend", "group=2 window=3", "adaptive", ""},
                                           {5, 1, "alibi", "", "softcap", "cap=5"}},
                                 .n_parts = 3};

static void add_small(ops_cases *cases)
{
    const shape mma = {2, 1, 64}, general = {3, 1, 20};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++) {
        rs_dtype type = (rs_dtype)dtype;
        add(cases, type, RS_PREFILL, mma, 2, &tiny_ragged, "ragged, used caches");
        add(cases, type, RS_PREFILL, mma, 2, &tiny_layers, "caches of one layer");
        add(cases, type, RS_DECODE, mma, 2, &tiny_decode, "ragged");
        add_variant(cases, type, RS_PREFILL, general, 5, 12, SELF_EXTEND, ADAPTIVE);
        for (int policy = 0; policy < N_POLICIES; policy += 1 + 3 * (type == RS_F32))
            add_variant(cases, type, RS_PREFILL, mma, 0, 18, PLAIN, policy);
    }
    add_variant(cases, RS_BF16, RS_PREFILL, (shape){1, 1, 128}, 60, 14, PLAIN, ADAPTIVE);
    add_variant(cases, RS_BF16, RS_DECODE, (shape){2, 1, 256}, 20, 1, PLAIN, ADAPTIVE);
    add_variant(cases, RS_BF16, RS_DECODE, (shape){1, 1, 128}, 300, 1, PLAIN, 0);
}

void ops_add_attention(ops_cases *cases)
{
    if (cases->small) {
        add_small(cases);
        return;
    }
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++) {
        rs_dtype type = (rs_dtype)dtype;
        static const shape wide = {9, 3, 64}, gemma = {4, 4, 256};
        add_variants(cases, type, RS_PREFILL, (shape){4, 2, 64}, 0, 200);
        add_variants(cases, type, RS_PREFILL, (shape){2, 1, 256}, 70, 131);
        add_variants(cases, type, RS_DECODE, (shape){4, 2, 128}, 150, 3);
        add(cases, type, RS_PREFILL, wide, 2, &ragged, "ragged");
        add(cases, type, RS_PREFILL, gemma, 2, &ragged, "ragged");
        add(cases, type, RS_PREFILL, wide, 2, &ragged_sparse, "ragged, used caches");
        add(cases, type, RS_PREFILL, wide, 3, &layer_major, "caches of one layer");
        add(cases, type, RS_PREFILL, gemma, 3, &layer_major_runs, "caches of one layer, used");
        add(cases, type, RS_DECODE, wide, 2, &decode, "ragged");
        add(cases, type, RS_DECODE, gemma, 2, &decode, "ragged");
        add(cases, type, RS_DECODE, wide, 2, &decode_used, "used caches");
    }
    add_shapes(cases, RS_PREFILL);
    add_shapes(cases, RS_DECODE);
}
