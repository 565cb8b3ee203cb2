/* One step of the decoder. The order of operations is rope-and-softmax's section 1, the same for Gemma 1 and Llama:
 *   x = embed(ids); per layer: x += o(attention(qkv(norm(x)))), x += down(act(gate(norm(x))) * up(norm(x))); head(norm(x)). */
#include "model/transformer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pulse.h"
#include "model/collect.h"
#include "model/transformer_weights.h"
#include "sharding/comm_device.h"
#include "sharding/partition.h"

struct rs_transformer {
    const rs_model *model;
    const rs_backend_ops *ops;
    rs_backend *backend;
    rs_comm *group;
    rs_transformer_options options;
    rs_weights weights;
    float *x, *y, *qkv, *gate_up, *partial; /* fp32: [rows, d], [rows, d], [rows, (h + 2 hk) e], [block, 2 f], [parts, block, d] */
    void *h, *heads_out, *mlp;              /* act: [rows, d], [rows, h e], [block, f] */
    rs_collect collect;
    int64_t row_block;                  /* rows that pass through the MLP together: their buffer stays small at any batch */
    rs_head_row *head_local, *head_all; /* [parts of this rank or of all, rows] */
};

static int64_t act_bytes(const rs_transformer *t)
{
    return t->options.dtype == RS_BF16 ? 2 : 4;
}

static void *act_at(const rs_transformer *t, void *act, int64_t element)
{
    return (char *)act + element * act_bytes(t);
}

static void *stream_of(void *context)
{
    const rs_transformer *t = context;
    return t->ops->stream(t->backend);
}

/* A communicator in the backend's stream where there is one; it shares out sums evenly, which odd sizes do not allow. */
static rs_status open_device_comm(rs_transformer *t, rs_comm **out)
{
    const char *why = NULL;
    rs_comm_nccl_options options = {
        .group = t->group,
        .world = t->options.world,
        .device = t->options.device,
        .stream = stream_of,
        .context = t,
        .timeout_seconds = t->options.comm_timeout,
    };
    *out = NULL;
    if (rs_comm_size(t->group) == 1 || t->options.comm == NULL)
        return RS_OK;
    if (t->ops->stream == NULL)
        return strcmp(t->options.comm, "nccl") == 0 ? rs_fail(RS_INVALID, "parallel.comm: nccl adds up GPU memory; this run is on the CPU")
                                                    : RS_OK;
    if (t->model->hidden % rs_comm_size(t->group) != 0) {
        rs_warn("%d ranks do not divide hidden_size %lld: sums pass through host memory", rs_comm_size(t->group),
                (long long)t->model->hidden);
        return RS_OK;
    }
    RS_TRY(rs_comm_device_open(t->options.comm, &options, out, &why));
    if (*out == NULL && why && rs_comm_rank(t->group) == 0)
        rs_warn("sums over ranks pass through host memory: %s", why);
    return RS_OK;
}

static rs_status open_buffers(rs_transformer *t)
{
    const rs_model *m = t->model;
    const rs_weights *w = &t->weights;
    size_t rows = (size_t)t->options.max_rows, block = (size_t)t->row_block, d = (size_t)m->hidden;
    size_t e = (size_t)m->head_dim, heads = (size_t)w->heads.n, act = (size_t)act_bytes(t), f = (size_t)w->ff.n;
    rs_backend *b = t->backend;
    RS_TRY(t->ops->alloc(b, rows * d * 4, "residual stream", (void **)&t->x));
    RS_TRY(t->ops->alloc(b, rows * d * 4, "layer output", (void **)&t->y));
    RS_TRY(t->ops->alloc(b, rows * d * act, "normed activations", &t->h));
    RS_TRY(t->ops->alloc(b, rows * (heads + 2 * (size_t)w->kv_heads.n) * e * 4, "queries, keys and values", (void **)&t->qkv));
    RS_TRY(t->ops->alloc(b, rows * heads * e * act, "attention output", &t->heads_out));
    RS_TRY(t->ops->alloc(b, block * 2 * f * 4, "gate and up", (void **)&t->gate_up));
    RS_TRY(t->ops->alloc(b, block * f * act, "MLP activations", &t->mlp));
    size_t parts = (size_t)w->n_parts, all_parts = parts * (size_t)rs_comm_size(t->group);
    bool gathers = rs_comm_size(t->group) > 1; /* else each part is added as it comes */
    if (t->options.deterministic)
        RS_TRY(t->ops->alloc(b, (gathers ? parts : 1) * block * d * 4, "partial sums", (void **)&t->partial));
    RS_TRY(rs_try_alloc((void **)&t->head_local, parts * rows, sizeof *t->head_local, "head results"));
    return rs_try_alloc((void **)&t->head_all, all_parts * rows, sizeof *t->head_all, "head results of all ranks");
}

/* Fails on every rank of the group where it failed on one: what follows is collective, and would wait for that one for ever. */
static rs_status agree_in_group(const rs_transformer *t, rs_status mine)
{
    int size = rs_comm_size(t->group), status = (int)mine, *all = rs_alloc((size_t)size, sizeof *all);
    rs_status rc = rs_comm_gather(t->group, &status, sizeof status, all);
    for (int rank = 0; rc == RS_OK && mine == RS_OK && rank < size; rank++)
        if (all[rank] != RS_OK)
            rc = rs_fail(RS_PEER, "rank %d of the group could not open its part of the model", rank);
    free(all);
    return mine == RS_OK ? rc : mine;
}

static rs_status open_collect(rs_transformer *t)
{
    size_t parts = (size_t)t->weights.n_parts, d = (size_t)t->model->hidden;
    size_t sums = (size_t)t->options.max_rows * d, part_sums = t->options.deterministic ? parts * (size_t)t->row_block * d : 0;
    rs_comm *device;
    rs_pulse_guarded("opening NCCL");
    RS_TRY(open_device_comm(t, &device));
    rs_pulse_work("opening buffers");
    return agree_in_group(t, rs_collect_open(&t->collect, t->ops, t->backend, t->group, device, sums, part_sums));
}

/* Where NCCL adds up, a rank that waits for others waits for its device: NCCL's own watch finds out who is late. */
static void enter_phase(const rs_transformer *t, const char *phase)
{
    if (t->collect.device)
        rs_pulse_guarded(phase);
    else
        rs_pulse_work(phase);
}

static rs_status open_alone(rs_transformer *t, const rs_tensor_store *store, const rs_backend_shape *shape,
                            const rs_backend_options *options)
{
    rs_pulse_work("loading weights");
    RS_TRY(t->ops->open(shape, options, &t->backend));
    RS_TRY(rs_weights_load(&t->weights, t->model, store, t->ops, t->backend));
    return open_buffers(t);
}

rs_status rs_transformer_open(const rs_model *model, const rs_tensor_store *store, const rs_backend_ops *ops, rs_comm *group,
                              const rs_transformer_options *options, rs_transformer **out)
{
    rs_status status = RS_OK;
    rs_transformer *t = rs_alloc(1, sizeof *t);
    t->model = model;
    t->ops = ops;
    t->group = group;
    t->options = *options;
    t->row_block = options->max_rows < ops->kind->row_block ? options->max_rows : ops->kind->row_block;
    *out = NULL;
    rs_weights_place(&t->weights, model, rs_comm_rank(group), rs_comm_size(group), options->deterministic);
    int *kv_of_head = rs_alloc((size_t)t->weights.heads.n, sizeof *kv_of_head);
    for (int64_t i = 0; i < t->weights.heads.n; i++)
        kv_of_head[i] = (int)((t->weights.heads.first + i) * model->kv_heads / model->heads - t->weights.kv_heads.first);
    rs_backend_shape shape = {
        .n_layers = model->layers,
        .heads = (int)t->weights.heads.n,
        .kv_heads = (int)t->weights.kv_heads.n,
        .kv_of_head = kv_of_head,
        .first_head = (int)t->weights.heads.first,
        .all_heads = model->heads,
        .head_dim = model->head_dim,
        .attention_scale = model->attention_scale,
    };
    rs_backend_options backend = {
        .dtype = options->dtype,
        .n_threads = options->n_threads,
        .device = options->device,
        .arena_bytes = options->arena_bytes,
        .max_rows = options->max_rows,
    };
    RS_TRY_OUT(agree_in_group(t, open_alone(t, store, &shape, &backend)));
    RS_TRY_OUT(open_collect(t));
    *out = t;
out:
    free(kv_of_head);
    if (status != RS_OK)
        rs_transformer_close(t);
    return status;
}

void rs_transformer_close(rs_transformer *t)
{
    if (t == NULL)
        return;
    rs_comm *device = t->collect.device;
    if (t->backend) {
        void *buffers[] = {t->x, t->y, t->qkv, t->gate_up, t->partial, t->h, t->heads_out, t->mlp};
        for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
            t->ops->release(t->backend, buffers[i]);
        rs_collect_close(&t->collect);
        rs_weights_free(&t->weights, t->ops, t->backend);
        t->ops->close(t->backend);
    }
    rs_comm_close(device); /* after the recorded steps that use it */
    free(t->head_local);
    free(t->head_all);
    free(t);
}

/* What one rank has no room for none may go on with. */
static rs_status agree_on_memory(const rs_transformer *t, rs_status mine)
{
    int size = rs_comm_size(t->group), status = (int)mine, *all = rs_alloc((size_t)size, sizeof *all);
    rs_status rc = rs_comm_gather(t->group, &status, sizeof status, all);
    for (int rank = 0; rc == RS_OK && mine == RS_OK && rank < size; rank++)
        if (all[rank] != RS_OK)
            rc = rs_fail((rs_status)all[rank], "rank %d of the group has no memory for it", rank);
    free(all);
    return mine == RS_OK ? rc : mine;
}

rs_status rs_transformer_kv_open(rs_transformer *t, int64_t capacity, const rs_rope *rope, rs_kv **out)
{
    rs_kv *kv = NULL;
    rs_status status = agree_on_memory(t, t->ops->kv_open(t->backend, capacity, rope->map.n_key_sets, t->model->layers, &kv));
    if (status == RS_OK)
        *out = kv;
    else if (kv)
        t->ops->kv_free(t->backend, kv);
    return status;
}

void rs_transformer_kv_free(rs_transformer *t, rs_kv *kv)
{
    t->ops->kv_free(t->backend, kv);
}

size_t rs_transformer_weight_bytes(const rs_transformer *t)
{
    return rs_weights_bytes(&t->weights, t->ops);
}

/* y [n, d] = sum over ranks of a [n, a_stride] W^T, W's inner dimension sharded; n <= row_block in deterministic mode.
 * Deterministic: every fixed part of the inner dimension gives its own partial sum, and all are added in the order of parts. */
static rs_status row_parallel(rs_transformer *t, void *a, const rs_split *split, int64_t n, float *y)
{
    int64_t d = t->model->hidden, stride = split->columns;
    if (!t->options.deterministic) {
        RS_TRY(t->ops->linear(t->backend, a, stride, split->parts[0], n, y, d));
        return rs_collect_sum(&t->collect, y, (size_t)(n * d));
    }
    int n_parts = t->weights.n_parts, size = rs_comm_size(t->group);
    if (size == 1) { /* nothing to gather: each part is added as it comes */
        RS_TRY(t->ops->linear(t->backend, a, stride, split->parts[0], n, y, d));
        for (int i = 1; i < n_parts; i++) {
            RS_TRY(t->ops->linear(t->backend, act_at(t, a, split->first[i]), stride, split->parts[i], n, t->partial, d));
            RS_TRY(t->ops->add(t->backend, y, t->partial, n * d));
        }
        return RS_OK;
    }
    for (int i = 0; i < n_parts; i++)
        RS_TRY(t->ops->linear(t->backend, act_at(t, a, split->first[i]), stride, split->parts[i], n, t->partial + i * n * d, d));
    return rs_collect_parts(&t->collect, t->partial, n_parts, (size_t)(n * d), y);
}

static rs_status fill_ones(rs_transformer *t, void *act, int64_t n)
{
    size_t bytes = (size_t)(n * act_bytes(t));
    uint16_t *ones = rs_alloc(bytes, 1);
    for (size_t i = 0; i < bytes / 2; i++) /* 1 in bf16; in fp32 the halves 3f80 3f80, a number near 1 */
        ones[i] = 0x3F80;
    rs_status status = t->ops->upload(t->backend, act, ones, bytes);
    free(ones);
    return status;
}

/* Best of a few runs: what the sums take when nothing else is in the way. */
static rs_status time_sums(rs_transformer *t, const rs_split *o, const rs_split *down, double *seconds)
{
    float last;
    *seconds = INFINITY;
    for (int i = 0; i < 3; i++) {
        RS_TRY(rs_comm_barrier(t->group));
        double start = rs_clock();
        RS_TRY(row_parallel(t, t->heads_out, o, t->row_block, t->y));
        RS_TRY(row_parallel(t, t->mlp, down, t->row_block, t->y));
        RS_TRY(t->ops->download(t->backend, &last, t->y, sizeof last)); /* a device may run behind */
        *seconds = fmin(*seconds, rs_clock() - start);
    }
    return RS_OK;
}

rs_status rs_transformer_deterministic_cost(rs_transformer *t, const rs_tensor_store *store, double *fixed, double *plain)
{
    rs_status status = RS_OK;
    rs_split o = {0}, down = {0};
    int64_t rows = t->row_block;
    enter_phase(t, "timing sums");
    RS_TRY_OUT(agree_in_group(t, rs_weights_load_plain(&t->weights, t->model, store, t->ops, t->backend, &o, &down)));
    RS_TRY_OUT(fill_ones(t, t->heads_out, rows * o.columns));
    RS_TRY_OUT(fill_ones(t, t->mlp, rows * down.columns));
    RS_TRY_OUT(time_sums(t, &t->weights.layers[0].o, &t->weights.layers[0].down, fixed));
    t->options.deterministic = false;
    status = time_sums(t, &o, &down, plain);
    t->options.deterministic = true;
out:
    rs_split_free(&o, t->ops, t->backend);
    rs_split_free(&down, t->ops, t->backend);
    return status;
}

static rs_status attention_block(rs_transformer *t, int layer, int64_t n)
{
    const rs_layer_weights *w = &t->weights.layers[layer];
    int64_t width = (t->weights.heads.n + 2 * t->weights.kv_heads.n) * t->model->head_dim, d = t->model->hidden;
    RS_TRY(t->ops->linear(t->backend, t->h, d, w->qkv, n, t->qkv, width));
    RS_TRY(t->ops->store_qkv(t->backend, layer, t->qkv));
    RS_TRY(t->ops->attention(t->backend, layer, t->heads_out));
    int64_t step = t->options.deterministic ? t->row_block : n;
    for (int64_t row = 0; row < n; row += step) {
        int64_t rows = n - row < step ? n - row : step;
        RS_TRY(row_parallel(t, act_at(t, t->heads_out, row * w->o.columns), &w->o, rows, t->y + row * d));
    }
    return RS_OK;
}

/* y rows of the MLP's down projection. A block's sum over ranks runs beside the next block's products where the backend can and
 * nothing is shared between them: fixed parts are, in t->partial. */
static rs_status down_block(rs_transformer *t, const rs_split *down, int64_t rows, float *y)
{
    int64_t d = t->model->hidden;
    bool overlaps = !t->options.deterministic && rs_comm_size(t->group) > 1 && rs_collect_in_stream(&t->collect);
    if (!overlaps)
        return row_parallel(t, t->mlp, down, rows, y);
    RS_TRY(t->ops->linear(t->backend, t->mlp, down->columns, down->parts[0], rows, y, d));
    RS_TRY(t->ops->overlap_begin(t->backend));
    RS_TRY(rs_collect_sum(&t->collect, y, (size_t)(rows * d)));
    return t->ops->overlap_end(t->backend);
}

static rs_status mlp_block(rs_transformer *t, int layer, int64_t n)
{
    const rs_layer_weights *w = &t->weights.layers[layer];
    int64_t d = t->model->hidden, f = t->weights.ff.n;
    for (int64_t row = 0; row < n; row += t->row_block) {
        int64_t rows = n - row < t->row_block ? n - row : t->row_block;
        RS_TRY(t->ops->linear(t->backend, act_at(t, t->h, row * d), d, w->gate_up, rows, t->gate_up, 2 * f));
        RS_TRY(t->ops->glu(t->backend, t->model->activation, t->gate_up, rows, f, t->mlp));
        RS_TRY(down_block(t, &w->down, rows, t->y + row * d));
    }
    return t->ops->overlap_wait ? t->ops->overlap_wait(t->backend) : RS_OK;
}

/* x [n, d] through one layer; its MLP's output is left in t->y, not yet added. pending: what to add to x first, or NULL. */
static rs_status layer_block(rs_transformer *t, int layer, float *x, const float *pending, int64_t n)
{
    const rs_model *m = t->model;
    const rs_layer_weights *w = &t->weights.layers[layer];
    rs_pulse_tick();
    RS_TRY(t->ops->add_norm(t->backend, x, pending, w->attention_norm, m->norm_eps, m->norm_cast_first, n, m->hidden, t->h));
    RS_TRY(attention_block(t, layer, n));
    RS_TRY(t->ops->add_norm(t->backend, x, t->y, w->mlp_norm, m->norm_eps, m->norm_cast_first, n, m->hidden, t->h));
    return mlp_block(t, layer, n);
}

static rs_status check_ids(const rs_transformer *t, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= t->model->vocab)
            return rs_fail(RS_INVALID, "token %d: the model's vocabulary has %lld", ids[i], (long long)t->model->vocab);
    return RS_OK;
}

static rs_status embed(rs_transformer *t, int64_t n, float *x)
{
    const rs_model *m = t->model;
    float scale = m->embed_scale ? rs_weights_round(sqrtf((float)m->hidden), t->options.dtype) : 1.0f;
    RS_TRY(t->ops->embed(t->backend, t->weights.embedding, (int32_t)t->weights.vocab.first, scale, x));
    return rs_collect_sum(&t->collect, x, (size_t)(n * m->hidden));
}

/* log-sum-exp over the parts in their order; a row that no part's target falls in keeps target -inf. */
static rs_token_result merge_head(const rs_head_row *parts, int n_parts, int64_t stride, int32_t target)
{
    rs_token_result result = {.best = -INFINITY, .best_id = -1};
    float max = -INFINITY, target_logit = -INFINITY;
    double sum = 0.0;
    bool finite = true;
    for (int i = 0; i < n_parts; i++) {
        const rs_head_row *part = &parts[i * stride];
        finite = finite && isfinite(part->max) && isfinite(part->sum);
        max = part->max > max ? part->max : max;
        if (part->best > result.best) {
            result.best = part->best;
            result.best_id = part->best_id;
        }
        target_logit = part->target > target_logit ? part->target : target_logit;
    }
    for (int i = 0; i < n_parts; i++)
        sum += (double)parts[i * stride].sum * exp((double)parts[i * stride].max - (double)max);
    result.target_logit = target_logit;
    result.finite = finite && (target < 0 || isfinite(target_logit));
    if (target >= 0 && result.finite)
        result.nll = (double)max + log(sum) - (double)target_logit;
    return result;
}

/* The head on rows [first, first + n). */
static rs_status head_run(rs_transformer *t, const int32_t *targets, int64_t first, int64_t n, rs_token_result *results)
{
    const rs_weights *w = &t->weights;
    for (int i = 0; i < w->n_parts; i++)
        RS_TRY(t->ops->head(t->backend, act_at(t, t->h, first * t->model->hidden), w->head[i], (int32_t)w->head_first[i], targets + first,
                            t->model->final_cap, n, t->head_local + i * n));
    RS_TRY(rs_comm_gather(t->group, t->head_local, (size_t)(w->n_parts * n) * sizeof *t->head_local, t->head_all));
    int all_parts = w->n_parts * rs_comm_size(t->group);
    for (int64_t row = 0; row < n; row++)
        results[first + row] = merge_head(t->head_all + row, all_parts, n, targets[first + row]);
    return RS_OK;
}

static rs_status head(rs_transformer *t, const int32_t *targets, int64_t n, rs_token_result *results)
{
    for (int64_t row = 0; row < n;) {
        int64_t end = row;
        while (end < n && targets[end] != RS_TARGET_NONE)
            end++;
        if (end > row)
            RS_TRY(head_run(t, targets, row, end - row, results));
        row = end + 1;
    }
    return RS_OK;
}

static rs_status final_norm(rs_transformer *t, float *x, const float *pending, int64_t n)
{
    const rs_model *m = t->model;
    return t->ops->add_norm(t->backend, x, pending, t->weights.final_norm, m->norm_eps, m->norm_cast_first, n, m->hidden, t->h);
}

/* Everything between ids and the head. */
static rs_status step_body(rs_transformer *t, int64_t n)
{
    RS_TRY(embed(t, n, t->x));
    for (int layer = 0; layer < t->model->layers; layer++)
        RS_TRY(layer_block(t, layer, t->x, layer ? t->y : NULL, n));
    return final_norm(t, t->x, t->y, n);
}

rs_status rs_transformer_step(rs_transformer *t, const rs_step *step, const int32_t *targets, rs_token_result *results)
{
    bool records = step->phase == RS_DECODE && t->ops->replay && rs_collect_in_stream(&t->collect), done = false;
    assert(step->n > 0 && step->n <= t->options.max_rows);
    enter_phase(t, step->phase == RS_PREFILL ? "computing a prefill" : "computing a decode step");
    RS_TRY(check_ids(t, step->ids, step->n));
    RS_TRY(t->ops->prepare(t->backend, step));
    if (records)
        RS_TRY(t->ops->replay(t->backend, &done));
    if (!done)
        RS_TRY(step_body(t, step->n));
    if (records && !done)
        RS_TRY(t->ops->recorded(t->backend));
    return head(t, targets, step->n, results);
}

void rs_transformer_diagnostics_init(const rs_transformer *t, int64_t rows, rs_diagnostics *d)
{
    d->n_layers = t->model->layers;
    d->heads = (int)t->weights.heads.n;
    d->kv_heads = (int)t->weights.kv_heads.n;
    d->pairs = t->model->head_dim / 2;
    rs_diagnostics_init(d, rows);
}

/* The shape of another rank's sums. */
static rs_diagnostics diagnostics_of(const rs_transformer *t, const rs_diagnostics *like, int rank, rs_weights *place)
{
    rs_diagnostics d = *like;
    *place = (rs_weights){0};
    rs_weights_place(place, t->model, rank, rs_comm_size(t->group), false);
    d.heads = (int)place->heads.n;
    d.kv_heads = (int)place->kv_heads.n;
    return d;
}

rs_status rs_transformer_diagnostics_gather(const rs_transformer *t, const rs_diagnostics *mine, rs_diagnostics *whole)
{
    int size = rs_comm_size(t->group);
    size_t most = 0;
    rs_weights place;
    for (int rank = 0; rank < size; rank++) {
        rs_diagnostics part = diagnostics_of(t, mine, rank, &place);
        most = rs_diagnostics_count(&part) > most ? rs_diagnostics_count(&part) : most;
    }
    double *block = rs_alloc(most, sizeof *block), *all = rs_alloc(most * (size_t)size, sizeof *all);
    memcpy(block, mine->sums, rs_diagnostics_count(mine) * sizeof *block);
    rs_status status = rs_comm_gather(t->group, block, most * sizeof *block, all);
    *whole = *mine;
    whole->heads = t->model->heads;
    whole->kv_heads = t->model->kv_heads;
    whole->sums = rs_alloc(rs_diagnostics_count(whole), sizeof *whole->sums);
    for (int rank = 0; rank < size && status == RS_OK; rank++) {
        rs_diagnostics part = diagnostics_of(t, mine, rank, &place);
        part.sums = all + (size_t)rank * most;
        rs_diagnostics_place(whole, &part, (int)place.heads.first, (int)place.kv_heads.first);
    }
    free(block);
    free(all);
    return status;
}

/* The rows of one chunk through one layer; x: of the chunk. */
static rs_status pass_chunk(rs_transformer *t, int layer, const rs_step *step, float *x)
{
    const rs_model *m = t->model;
    RS_TRY(t->ops->prepare(t->backend, step));
    if (layer == 0)
        RS_TRY(embed(t, step->n, x));
    RS_TRY(layer_block(t, layer, x, NULL, step->n));
    return t->ops->add_norm(t->backend, x, t->y, NULL, 0, false, step->n, m->hidden, NULL);
}

rs_status rs_transformer_pass(rs_transformer *t, const rs_rope *rope, const rs_softmax *softmax, const int32_t *ids, const int32_t *targets,
                              int64_t n, rs_diagnostics *diagnostics, rs_token_result *results)
{
    rs_status status = RS_OK;
    rs_sequence sequence = {.rope = rope, .softmax = softmax, .diagnostics = diagnostics};
    int64_t d = t->model->hidden, chunk = t->options.max_rows;
    float *x = NULL;
    enter_phase(t, "computing a whole text");
    RS_TRY(check_ids(t, ids, n));
    status = t->ops->kv_open(t->backend, n, rope->map.n_key_sets, 1, &sequence.kv);
    if (status == RS_OK)
        status = t->ops->alloc(t->backend, (size_t)(n * d) * sizeof *x, "residual stream of a whole text", (void **)&x);
    RS_TRY_OUT(agree_on_memory(t, status));
    for (int layer = 0; layer < t->model->layers; layer++)
        for (int64_t row = 0; row < n; row += chunk) {
            sequence.position = row;
            sequence.n_rows = n - row < chunk ? n - row : chunk;
            rs_step step = {.phase = RS_PREFILL, .sequences = &sequence, .n_sequences = 1, .ids = ids + row, .n = sequence.n_rows};
            RS_TRY_OUT(pass_chunk(t, layer, &step, x + row * d));
        }
    for (int64_t row = 0; row < n; row += chunk) {
        int64_t rows = n - row < chunk ? n - row : chunk;
        RS_TRY_OUT(final_norm(t, x + row * d, NULL, rows));
        RS_TRY_OUT(head(t, targets + row, rows, results + row));
    }
out:
    t->ops->release(t->backend, x);
    if (sequence.kv)
        t->ops->kv_free(t->backend, sequence.kv);
    return status;
}

rs_memory_estimate rs_transformer_estimate(const rs_model *m, const rs_backend_kind *kind, rs_dtype dtype, int tensor, int64_t max_rows,
                                           bool deterministic)
{
    rs_weights place = {0};
    rs_weights_place(&place, m, 0, tensor, false);
    double act = dtype == RS_BF16 ? 2 : 4, e = m->head_dim, d = (double)m->hidden, heads = (double)place.heads.n;
    double kv = (double)place.kv_heads.n, f = (double)place.ff.n, rows = (double)max_rows, block = fmin(rows, (double)kind->row_block);
    double layer = (heads + 2 * kv) * e * d + heads * e * d + 3 * f * d;
    rs_memory_estimate estimate = {
        .weight_bytes = (layer * m->layers + (double)place.vocab.n * d) * act + (2.0 * m->layers + 1) * d * 4,
        .kv_bytes_per_token = 2 * kv * e * act * m->layers,
        .step_bytes = rows * (8 * d + act * d + (heads + 2 * kv) * e * 4 + 2 * heads * e * act) + block * f * (8 + act),
        .pass_bytes_per_token = 2 * kv * e * act + 4 * d,
    };
    if (!kind->host_memory) /* the embedding's rows beside the head's: a CPU reads them where the checkpoint is mapped */
        estimate.weight_bytes += (double)place.vocab.n * d * act;
    if (deterministic) /* its own parts and everybody's; alone, one at a time */
        estimate.step_bytes += block * d * 4 * (tensor > 1 ? heads + m->heads : 1);
    return estimate;
}

double rs_transformer_flops(const rs_model *m, int64_t first, int64_t rows, int64_t scored)
{
    double e = m->head_dim, d = (double)m->hidden, heads = m->heads, n = (double)rows;
    double linear = 2 * d * e * (2 * heads + 2.0 * m->kv_heads) + 6 * d * (double)m->ff;
    double visible = n * (double)first + n * (n + 1) / 2; /* query-key pairs */
    return n * m->layers * linear + 4 * heads * e * visible * m->layers + 2 * d * (double)m->vocab * (double)scored;
}
