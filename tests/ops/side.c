/* One side of the comparison: a backend, what was taken from it, and random data, the same for both sides. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "ops.h"

enum { SEED = 20240917, MOST = 64, ROW_CAPACITY = 16, ROW_POSITION = 5 };

void ops_case_add(ops_cases *cases, ops_case c, const char *format, ...)
{
    va_list args;
    int at = snprintf(c.what, sizeof c.what, "%s %s ", c.dtype == RS_BF16 ? "bf16" : "fp32", c.phase == RS_DECODE ? "decode " : "prefill");
    va_start(args, format);
    vsnprintf(c.what + at, sizeof c.what - (size_t)at, format, args);
    va_end(args);
    c.arena_bytes = (size_t)(cases->small ? 48 : 1536) << 20; /* a backend that takes its memory at once takes little */
    if (c.heads == 0) {
        c.heads = 2;
        c.kv_heads = c.layers = 1;
        c.head_dim = 64;
    }
    cases->items = rs_realloc(cases->items, (size_t)cases->n + 1, sizeof *cases->items);
    cases->items[cases->n++] = c;
}

/* --- a side --- */

rs_status ops_side_open(ops_side *side, const rs_backend_ops *ops, const ops_case *c)
{
    int kv_of_head[64];
    *side = (ops_side){.ops = ops, .dtype = c->dtype};
    for (int i = 0; i < c->heads; i++)
        kv_of_head[i] = i * c->kv_heads / c->heads;
    rs_backend_shape shape = {.n_layers = c->layers,
                              .heads = c->heads,
                              .kv_heads = c->kv_heads,
                              .kv_of_head = kv_of_head,
                              .first_head = 1,
                              .all_heads = c->heads + 2,
                              .head_dim = c->head_dim,
                              .attention_scale = 1 / sqrtf((float)c->head_dim)};
    rs_backend_options options = {.dtype = c->dtype, .n_threads = 2, .arena_bytes = c->arena_bytes, .max_rows = c->n > 0 ? c->n : 1};
    side->buffers = rs_alloc(MOST, sizeof *side->buffers);
    side->matrices = rs_alloc(MOST, sizeof(rs_matrix *));
    side->tables = rs_alloc(MOST, sizeof(rs_table *));
    side->kvs = rs_alloc(MOST, sizeof(rs_kv *));
    rs_rope_init_plain(&side->rope, c->head_dim);
    rs_rope_fill_default(1e4, c->head_dim, side->rope.inv_freq);
    rs_softmax_init_plain(&side->softmax);
    return ops->open(&shape, &options, &side->backend);
}

static void free_rows(ops_side *side)
{
    for (int64_t i = 0; i < side->n_row_kvs; i++)
        side->ops->kv_free(side->backend, side->row_kvs[i]);
    free(side->row_kvs);
    free(side->sequences);
    free(side->ids);
    side->row_kvs = NULL;
    side->sequences = NULL;
    side->ids = NULL;
    side->n_row_kvs = 0;
}

void ops_side_empty(ops_side *side)
{
    for (int i = 0; i < side->n_buffers; i++)
        side->ops->release(side->backend, side->buffers[i]);
    for (int i = 0; i < side->n_matrices; i++)
        side->ops->matrix_free(side->backend, side->matrices[i]);
    for (int i = 0; i < side->n_tables; i++)
        side->ops->table_free(side->backend, side->tables[i]);
    for (int i = 0; i < side->n_kvs; i++)
        side->ops->kv_free(side->backend, side->kvs[i]);
    free_rows(side);
    side->n_buffers = side->n_matrices = side->n_tables = side->n_kvs = 0;
}

void ops_side_close(ops_side *side)
{
    ops_side_empty(side);
    if (side->backend)
        side->ops->close(side->backend);
    free(side->buffers);
    free(side->matrices);
    free(side->tables);
    free(side->kvs);
    *side = (ops_side){0};
}

static rs_status room(int n)
{
    return n < MOST ? RS_OK : rs_fail(RS_INTERNAL, "a case takes more than %d things", MOST);
}

rs_status ops_side_buffer(ops_side *side, size_t bytes, void *out)
{
    void *buffer = NULL;
    RS_TRY(room(side->n_buffers));
    RS_TRY(side->ops->alloc(side->backend, bytes, "buffer of a case", &buffer));
    side->buffers[side->n_buffers++] = buffer;
    void *poison = malloc(bytes);
    memset(poison, 0xff, bytes);
    rs_status status = side->ops->upload(side->backend, buffer, poison, bytes);
    free(poison);
    *(void **)out = buffer;
    return status;
}

rs_status ops_side_floats(ops_side *side, const float *x, int64_t n, float **out)
{
    RS_TRY(ops_side_buffer(side, (size_t)n * sizeof *x, out));
    return side->ops->upload(side->backend, *out, x, (size_t)n * sizeof *x);
}

rs_status ops_side_act(ops_side *side, const float *x, int64_t n, void **out)
{
    if (side->dtype == RS_F32)
        return ops_side_floats(side, x, n, (float **)out);
    uint16_t *rounded = malloc((size_t)n * sizeof *rounded);
    for (int64_t i = 0; i < n; i++)
        rounded[i] = rs_bf16_from_float(x[i]);
    rs_status status = ops_side_buffer(side, (size_t)n * sizeof *rounded, out);
    if (status == RS_OK)
        status = side->ops->upload(side->backend, *out, rounded, (size_t)n * sizeof *rounded);
    free(rounded);
    return status;
}

rs_status ops_side_matrix(ops_side *side, const rs_slice *slices, int n, rs_matrix **out)
{
    RS_TRY(room(side->n_matrices));
    RS_TRY(side->ops->matrix_load(side->backend, slices, n, out));
    side->matrices[side->n_matrices++] = *out;
    return RS_OK;
}

rs_status ops_side_table(ops_side *side, const rs_slice *rows, rs_table **out)
{
    RS_TRY(room(side->n_tables));
    RS_TRY(side->ops->table_load(side->backend, rows, out));
    side->tables[side->n_tables++] = *out;
    return RS_OK;
}

rs_status ops_side_kv(ops_side *side, int64_t capacity, int key_sets, int n_layers, rs_kv **out)
{
    RS_TRY(room(side->n_kvs));
    RS_TRY(side->ops->kv_open(side->backend, capacity, key_sets, n_layers, out));
    side->kvs[side->n_kvs++] = *out;
    return RS_OK;
}

rs_status ops_side_rows(ops_side *side, rs_phase phase, int64_t n, const int32_t *ids)
{
    int64_t sequences = phase == RS_DECODE ? n : 1, rows = phase == RS_DECODE ? 1 : n;
    free_rows(side);
    side->row_kvs = rs_alloc((size_t)sequences, sizeof(rs_kv *));
    side->sequences = rs_alloc((size_t)sequences, sizeof *side->sequences);
    side->ids = rs_alloc((size_t)n, sizeof *side->ids);
    if (ids)
        memcpy(side->ids, ids, (size_t)n * sizeof *ids);
    for (int64_t i = 0; i < sequences; i++) {
        RS_TRY(side->ops->kv_open(side->backend, rows + ROW_CAPACITY, 1, 1, &side->row_kvs[i]));
        side->n_row_kvs = i + 1;
        side->sequences[i] = (rs_sequence){.first_row = i * rows,
                                           .n_rows = rows,
                                           .position = phase == RS_DECODE ? ROW_POSITION : 0,
                                           .kv = side->row_kvs[i],
                                           .rope = &side->rope,
                                           .softmax = &side->softmax};
    }
    side->step = (rs_step){.phase = phase, .sequences = side->sequences, .n_sequences = (int)sequences, .ids = side->ids, .n = n};
    return side->ops->prepare(side->backend, &side->step);
}

/* --- outputs --- */

void ops_out_append(ops_out *out, const float *x, int64_t n, bool exact)
{
    float **to = exact ? &out->exact : &out->values;
    int64_t *count = exact ? &out->n_exact : &out->n_values;
    *to = rs_realloc(*to, (size_t)(*count + n), sizeof **to);
    memcpy(*to + *count, x, (size_t)n * sizeof *x);
    *count += n;
}

void ops_out_free(ops_out *out)
{
    free(out->values);
    free(out->exact);
    *out = (ops_out){0};
}

rs_status ops_take_floats(ops_side *side, const float *from, int64_t n, ops_out *out, bool exact)
{
    float *host = malloc((size_t)n * sizeof *host);
    rs_status status = side->ops->download(side->backend, host, from, (size_t)n * sizeof *host);
    if (status == RS_OK)
        ops_out_append(out, host, n, exact);
    free(host);
    return status;
}

rs_status ops_take_act(ops_side *side, const void *from, int64_t n, ops_out *out)
{
    if (side->dtype == RS_F32)
        return ops_take_floats(side, from, n, out, false);
    uint16_t *bits = malloc((size_t)n * sizeof *bits);
    float *host = malloc((size_t)n * sizeof *host);
    rs_status status = side->ops->download(side->backend, bits, from, (size_t)n * sizeof *bits);
    for (int64_t i = 0; status == RS_OK && i < n; i++)
        host[i] = rs_bf16_to_float(bits[i]);
    if (status == RS_OK)
        ops_out_append(out, host, n, false);
    free(bits);
    free(host);
    return status;
}

void *ops_act_at(const ops_side *side, const void *act, int64_t i)
{
    return (char *)(uintptr_t)act + i * (side->dtype == RS_BF16 ? 2 : 4);
}

/* --- data --- */

rs_rng ops_rng(const ops_case *c)
{
    rs_rng rng;
    rs_rng_init(&rng, SEED, c->what, 0, 0);
    return rng;
}

/* Normal numbers out of 65,536 drawn once, four a random number: cases of a hundred million elements want them fast. */
static void draw_normal(rs_rng *rng, float *x, int64_t n, double deviation)
{
    static float pool[1 << 16];
    if (pool[0] == 0) {
        rs_rng own;
        rs_rng_init(&own, SEED, "normal numbers", 0, 0);
        for (int i = 0; i < 1 << 16; i++)
            pool[i] = (float)rs_rng_normal(&own);
    }
    uint64_t draw = 0;
    for (int64_t i = 0; i < n; i++, draw >>= 16) {
        draw = i % 4 ? draw : rs_rng_next(rng);
        x[i] = (float)deviation * pool[draw & 0xffff];
    }
}

float *ops_normal(rs_rng *rng, int64_t n, double deviation)
{
    float *x = malloc((size_t)n * sizeof *x);
    draw_normal(rng, x, n, deviation);
    return x;
}

/* A normal fp16 number between 2^-6 and 2^1, of either sign. */
static uint16_t half_bits(rs_rng *rng)
{
    uint64_t draw = rs_rng_next(rng);
    return (uint16_t)((draw & 1) << 15 | (9 + (draw >> 1) % 7) << 10 | (draw >> 8 & 0x3ff));
}

rs_slice ops_slice(rs_rng *rng, rs_dtype dtype, int64_t rows, int64_t cols, double deviation)
{
    int64_t stride = cols + 3, n = rows * stride;
    void *data = malloc((size_t)n * sizeof(float));
    if (dtype != RS_F16)
        draw_normal(rng, data, n, deviation);
    for (int64_t i = 0; dtype != RS_F32 && i < n; i++) /* in place: the 16-bit numbers never overtake the wide ones */
        ((uint16_t *)data)[i] = dtype == RS_F16 ? half_bits(rng) : rs_bf16_from_float(((float *)data)[i]);
    return (rs_slice){.data = data, .dtype = dtype, .rows = rows, .cols = cols, .stride = stride};
}

/* Sets "key=value key=value"; a band is "band=pairs:0:3". */
static rs_status set_all(rs_params *params, const char *text)
{
    char key[64], value[64];
    int read;
    for (; sscanf(text, " %63[^=]=%63s%n", key, value, &read) == 2; text += read) {
        int index = rs_param_find(params->specs, key);
        double low, high;
        if (index < 0)
            return rs_fail(RS_INTERNAL, "no key '%s'", key);
        if (sscanf(value, "pairs:%lf:%lf", &low, &high) == 2)
            RS_TRY(rs_param_set_band(params, index, "pairs", low, high));
        else
            RS_TRY(rs_param_set_string(params, index, value));
    }
    return RS_OK;
}

static const rs_model_facts facts = {.rope_theta = 1e4, .max_position_embeddings = 64};

rs_status ops_rope(const char *type, const char *text, int head_dim, int64_t n_final, rs_rope *out)
{
    const rs_rope_variant *variant = rs_rope_variant_find(type);
    rs_params params;
    if (variant == NULL)
        return rs_fail(RS_INTERNAL, "no rope '%s'", type);
    rs_params_init(&params, variant->params);
    rs_status status = set_all(&params, text);
    if (status == RS_OK)
        status = rs_params_fill(&params, &facts);
    if (status == RS_OK)
        status = rs_rope_build(variant, &params, head_dim, n_final, out);
    rs_params_free(&params);
    return status;
}

rs_status ops_softmax(const char *type, const char *text, rs_softmax *out)
{
    const rs_softmax_policy *policy = rs_softmax_policy_find(type);
    rs_params params;
    if (policy == NULL)
        return rs_fail(RS_INTERNAL, "no softmax '%s'", type);
    rs_params_init(&params, policy->params);
    rs_status status = set_all(&params, text);
    if (status == RS_OK)
        status = rs_params_fill(&params, &facts);
    if (status == RS_OK)
        status = rs_softmax_build(policy, &params, out);
    rs_params_free(&params);
    return status;
}

/* --- bounds --- */

/* fp32: a sum of a row in another order and functions good to a few units in the last place. bf16: the same, then rounded: a value next to
 * a border (about one in 10,000) may fall on its other side, one unit or 2^-7 of itself away. */
ops_bound ops_bound_rounded(rs_dtype dtype)
{
    return dtype == RS_BF16 ? (ops_bound){.norm = 2e-4, .max = 0x1p-7} : (ops_bound){.norm = 5e-7, .max = 3e-6};
}

/* k products of exact inputs summed in fp32, in two orders: sqrt(k) roundings of 2^-24 of about the result's size, one side to nearest, the
 * other perhaps by truncation (tensor cores), which makes twice the error. TF32 (3e-4) does not pass. */
ops_bound ops_bound_product(rs_dtype dtype, int64_t k)
{
    double norm = sqrt((double)k) * (dtype == RS_BF16 ? 0x1p-22 : 0x1p-23) + 0x1p-23;
    return (ops_bound){.norm = norm, .max = 8 * norm};
}
