/* Memory, matrices, embedding and the operations that work row by row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

static const ops_bound equal = {0, 0}; /* one rounding at most, of the same exact number */

static const char *phase_rows(rs_phase phase)
{
    return phase == RS_DECODE ? "sequences" : "rows";
}

/* --- alloc, upload, download --- */

/* Three buffers, written at once or in pieces of growing size, the last one first. */
static rs_status run_memory(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    int64_t n = c->out;
    rs_rng rng = ops_rng(c);
    float *x = ops_normal(&rng, 3 * n, 1), *buffer[3];
    rs_status status = RS_OK;
    for (int i = 0; i < 3; i++)
        RS_TRY_OUT(ops_side_buffer(side, (size_t)n * sizeof *x, &buffer[i]));
    for (int i = 2; i >= 0; i--)
        for (int64_t at = 0; at < n;) {
            int64_t piece = way == OPS_WHOLE ? n : at + 1;
            piece = n - at < piece ? n - at : piece;
            RS_TRY_OUT(side->ops->upload(side->backend, buffer[i] + at, x + i * n + at, (size_t)piece * sizeof *x));
            at += piece;
        }
    for (int i = 0; i < 3; i++)
        RS_TRY_OUT(ops_take_floats(side, buffer[i], n, out, true));
    RS_TRY_OUT(ops_take_floats(side, buffer[1] + n / 2, n - n / 2, out, true));
out:
    free(x);
    return status;
}

/* What cannot be had is refused by name, and the backend works on. */
static rs_status run_no_memory(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    void *buffer = NULL;
    float refused = 0, x = 1.5f, *good;
    (void)c, (void)way;
    if (side->ops->alloc(side->backend, (size_t)1 << 56, "an elephant", &buffer) == RS_NO_MEMORY)
        refused = strstr(rs_error_message(), "an elephant") != NULL;
    rs_error_clear();
    ops_out_append(out, &refused, 1, true);
    RS_TRY(ops_side_floats(side, &x, 1, &good));
    return ops_take_floats(side, good, 1, out, true);
}

/* What a person is told: the numbers differ by machine, so only their sense is looked at. */
static rs_status run_facts(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    int n = 0;
    const char *why = NULL, *line = side->ops->describe(0);
    rs_device_memory memory = {0};
    (void)c, (void)way;
    RS_TRY(side->ops->devices(&n, &why));
    RS_TRY(side->ops->memory(0, &memory));
    size_t one = side->ops->kv_bytes(side->backend, 100, 1, 1), two = side->ops->kv_bytes(side->backend, 100, 2, 1),
           layers = side->ops->kv_bytes(side->backend, 100, 1, 4), longer = side->ops->kv_bytes(side->backend, 1000, 1, 1);
    float sense[] = {n >= 1, line && line[0] && !strchr(line, '\n'),
                     memory.total_bytes > 0 && memory.free_bytes > 0 && memory.free_bytes <= memory.total_bytes,
                     one > 0 && two > one && two <= 2 * one && layers == 4 * one && longer > 4 * one,
                     side->ops->kind->name[0] != 0 && side->ops->kind->row_block > 0};
    ops_out_append(out, sense, sizeof sense / sizeof *sense, true);
    return RS_OK;
}

void ops_add_memory(ops_cases *cases)
{
    static const int64_t sizes[] = {1, 7, 4097, 3000001};
    for (size_t i = 0; i < (cases->small ? 3 : sizeof sizes / sizeof *sizes); i++)
        ops_case_add(cases, (ops_case){.op = "memory", .run = run_memory, .bound = equal, .out = sizes[i]}, "three buffers of %lld floats",
                     (long long)sizes[i]);
    ops_case_add(cases, (ops_case){.op = "memory", .run = run_no_memory, .bound = equal}, "more than there is");
    ops_case_add(cases, (ops_case){.op = "memory", .run = run_facts, .bound = equal}, "devices, describe, memory, kv_bytes");
}

/* --- matrix_load --- */

/* Slices of three dtypes stacked by rows, read back through products with unit vectors: exact whatever the order of sums. */
static rs_status run_matrix(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    static const rs_dtype dtypes[3] = {RS_F32, RS_F16, RS_BF16};
    rs_rng rng = ops_rng(c);
    rs_slice slices[3];
    rs_matrix *w;
    rs_status status = RS_OK;
    int64_t k = c->in, rows = 0;
    for (int i = 0; i < 3; i++) {
        slices[i] = ops_slice(&rng, dtypes[i], c->out + i, k, 1);
        rows += slices[i].rows;
    }
    float *unit = calloc((size_t)(k * k), sizeof *unit), *product;
    void *a;
    for (int64_t i = 0; i < k; i++)
        unit[i * k + i] = 1;
    RS_TRY_OUT(ops_side_matrix(side, slices, 3, &w));
    for (int i = 0; i < 3; i++) /* the slices may go */
        memset((void *)(uintptr_t)slices[i].data, 0xff, (size_t)(slices[i].rows * slices[i].stride) * (dtypes[i] == RS_F32 ? 4 : 2));
    RS_TRY_OUT(ops_side_act(side, unit, k * k, &a));
    RS_TRY_OUT(ops_side_buffer(side, (size_t)(k * rows) * sizeof *product, &product));
    RS_TRY_OUT(ops_side_rows(side, c->phase, k, NULL));
    for (int64_t i = 0, step = way == OPS_WHOLE ? k : 1; i < k; i += step)
        RS_TRY_OUT(side->ops->linear(side->backend, ops_act_at(side, a, i * k), k, w, step, product + i * rows, rows));
    RS_TRY_OUT(ops_take_floats(side, product, k * rows, out, true));
    float bytes = (float)(side->ops->matrix_bytes(w) >= (size_t)(rows * k) * (side->dtype == RS_BF16 ? 2 : 4));
    ops_out_append(out, &bytes, 1, true);
out:
    for (int i = 0; i < 3; i++)
        free((void *)(uintptr_t)slices[i].data);
    free(unit);
    return status;
}

void ops_add_matrix(ops_cases *cases)
{
    static const int64_t shapes[][2] = {{16, 5}, {64, 24}, {200, 129}};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int i = 0; i < (cases->small ? 2 : 3); i++)
            ops_case_add(cases,
                         (ops_case){.op = "matrix_load",
                                    .run = run_matrix,
                                    .bound = equal,
                                    .dtype = (rs_dtype)dtype,
                                    .n = shapes[i][0],
                                    .in = shapes[i][0],
                                    .out = shapes[i][1]},
                         "fp32, fp16, bf16 slices of %lld rows of %lld", (long long)shapes[i][1], (long long)shapes[i][0]);
}

/* --- table_load, embed --- */

enum { FIRST_ID = 100 };

/* form: dtype of the file. Ids below, in and above the table's run. */
static rs_status run_embed(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    rs_rng rng = ops_rng(c);
    int64_t n = c->n, d = c->out, rows = c->in;
    rs_slice slice = ops_slice(&rng, (rs_dtype)c->form, rows, d, 1);
    rs_table *table;
    float *x;
    rs_status status = RS_OK;
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = FIRST_ID - 2 + (int32_t)rs_rng_below(&rng, (uint64_t)rows + 4);
    ids[0] = FIRST_ID + (int32_t)rows - 1;
    RS_TRY_OUT(ops_side_table(side, &slice, &table));
    RS_TRY_OUT(ops_side_buffer(side, (size_t)(n * d) * sizeof *x, &x));
    for (int64_t i = 0, step = way == OPS_WHOLE ? n : 1; i < n; i += step) {
        RS_TRY_OUT(ops_side_rows(side, c->phase, step, ids + i));
        RS_TRY_OUT(side->ops->embed(side->backend, table, FIRST_ID, 45.25f, x + i * d));
    }
    RS_TRY_OUT(ops_take_floats(side, x, n * d, out, true));
out:
    free(ids);
    /* The table may read the slice until it is freed. */
    while (side->n_tables > 0)
        side->ops->table_free(side->backend, side->tables[--side->n_tables]);
    free((void *)(uintptr_t)slice.data);
    return status;
}

void ops_add_embed(ops_cases *cases)
{
    static const char *const names[] = {"fp32", "bf16", "fp16"};
    static const int64_t shapes[][3] = {{5, 7, 16}, {9, 30, 72}, {33, 1000, 576}, {700, 5000, 3072}};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int file = RS_F32; file <= RS_F16; file++)
            for (int phase = RS_PREFILL; phase <= RS_DECODE; phase++)
                for (int i = file; i < (cases->small ? 2 : 4); i += file == RS_F32 ? 1 : 2)
                    if (phase == RS_PREFILL || shapes[i][0] < 100)
                        ops_case_add(cases,
                                     (ops_case){.op = "embed",
                                                .run = run_embed,
                                                .bound = equal,
                                                .dtype = (rs_dtype)dtype,
                                                .phase = (rs_phase)phase,
                                                .form = file,
                                                .n = shapes[i][0],
                                                .in = shapes[i][1],
                                                .out = shapes[i][2]},
                                     "%lld %s of %lld x %lld %s", (long long)shapes[i][0], phase_rows((rs_phase)phase),
                                     (long long)shapes[i][1], (long long)shapes[i][2], names[file]);
}

/* --- add_norm --- */

enum { NORM_Y = 1, NORM_CAST_FIRST = 2, NORM_SUM_ONLY = 4 };

static rs_status run_norm(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    rs_rng rng = ops_rng(c);
    int64_t n = c->n, d = c->out;
    float *x_host = ops_normal(&rng, n * d, 3), *y_host = ops_normal(&rng, n * d, 1), *w_host = ops_normal(&rng, d, 1), *x, *y, *w;
    void *h = NULL;
    rs_status status = RS_OK;
    for (int64_t i = 0; i < n; i++) /* rows of very different size: eps counts in some */
        for (int64_t k = 0; k < d; k++)
            x_host[i * d + k] *= (float)(i % 3 == 2 ? 1e-3 : 1);
    RS_TRY_OUT(ops_side_floats(side, x_host, n * d, &x));
    RS_TRY_OUT(ops_side_floats(side, y_host, n * d, &y));
    RS_TRY_OUT(ops_side_floats(side, w_host, d, &w));
    RS_TRY_OUT(ops_side_buffer(side, (size_t)(n * d) * sizeof *x, &h));
    RS_TRY_OUT(ops_side_rows(side, c->phase, n, NULL));
    for (int64_t i = 0, step = way == OPS_WHOLE ? n : 1; i < n; i += step)
        RS_TRY_OUT(side->ops->add_norm(side->backend, x + i * d, c->form & NORM_Y ? y + i * d : NULL, c->form & NORM_SUM_ONLY ? NULL : w,
                                       1e-5f, c->form & NORM_CAST_FIRST, step, d,
                                       c->form & NORM_SUM_ONLY ? NULL : ops_act_at(side, h, i * d)));
    RS_TRY_OUT(ops_take_floats(side, x, n * d, out, true));
    if (!(c->form & NORM_SUM_ONLY))
        RS_TRY_OUT(ops_take_act(side, h, n * d, out));
out:
    free(x_host);
    free(y_host);
    free(w_host);
    return status;
}

void ops_add_norm(ops_cases *cases)
{
    static const int64_t shapes[][2] = {{1, 64}, {5, 100}, {3, 1}, {130, 576}, {67, 3072}, {33, 8193}};
    static const int forms[] = {0, NORM_Y, NORM_CAST_FIRST, NORM_Y | NORM_CAST_FIRST, NORM_Y | NORM_SUM_ONLY};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int phase = RS_PREFILL; phase <= RS_DECODE; phase++)
            for (int i = phase == RS_DECODE; i < (cases->small ? 3 : 6); i += phase == RS_DECODE ? 3 : 1)
                for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
                    ops_bound bound = ops_bound_rounded((rs_dtype)dtype);
                    if (forms[f] & NORM_CAST_FIRST && dtype == RS_BF16) /* two roundings: a value next to a border may fall twice */
                        bound = (ops_bound){.norm = 2 * bound.norm, .max = 2 * bound.max};
                    ops_case_add(cases,
                                 (ops_case){.op = "add_norm",
                                            .run = run_norm,
                                            .bound = bound,
                                            .dtype = (rs_dtype)dtype,
                                            .phase = (rs_phase)phase,
                                            .form = forms[f],
                                            .n = shapes[i][0],
                                            .out = shapes[i][1]},
                                 "%lld x %lld%s%s%s", (long long)shapes[i][0], (long long)shapes[i][1], forms[f] & NORM_Y ? ", with y" : "",
                                 forms[f] & NORM_CAST_FIRST ? ", cast first" : "", forms[f] & NORM_SUM_ONLY ? ", sum only" : "");
                }
}

/* --- linear --- */

enum { LINEAR_STRIDED = 1 };

static rs_status run_linear(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    rs_rng rng = ops_rng(c);
    int64_t n = c->n, a_stride = c->in + (c->form & LINEAR_STRIDED ? 24 : 0), out_stride = c->out + (c->form & LINEAR_STRIDED ? 16 : 0);
    float *a_host = ops_normal(&rng, n * a_stride, 1), *product;
    rs_slice slice = ops_slice(&rng, side->dtype, c->out, c->in, 1 / sqrt((double)c->in));
    rs_matrix *w;
    void *a;
    rs_status status = RS_OK;
    RS_TRY_OUT(ops_side_matrix(side, &slice, 1, &w));
    RS_TRY_OUT(ops_side_act(side, a_host, n * a_stride, &a));
    RS_TRY_OUT(ops_side_buffer(side, (size_t)(n * out_stride) * sizeof *product, &product));
    if (way == OPS_WHOLE)
        RS_TRY_OUT(ops_side_rows(side, c->phase, n, NULL));
    for (int64_t i = 0, step = way == OPS_WHOLE ? n : 1; i < n; i += step) {
        if (way == OPS_ALONE)
            RS_TRY_OUT(ops_side_rows(side, c->phase, 1, NULL));
        RS_TRY_OUT(
            side->ops->linear(side->backend, ops_act_at(side, a, i * a_stride), a_stride, w, step, product + i * out_stride, out_stride));
    }
    for (int64_t i = 0; i < n; i++)
        RS_TRY_OUT(ops_take_floats(side, product + i * out_stride, c->out, out, false));
out:
    free(a_host);
    free((void *)(uintptr_t)slice.data);
    return status;
}

void ops_add_linear(ops_cases *cases)
{
    static const int64_t tiny[][3] = {{1, 64, 24}, {3, 40, 17}, {9, 128, 33}};
    static const int64_t full[][3] = {{1, 64, 96},     {7, 576, 1536},   {33, 36, 17},     {130, 1536, 576},
                                      {513, 256, 320}, {40, 3072, 9216}, {32, 24576, 512}, {2049, 512, 1024}};
    const int64_t(*shapes)[3] = cases->small ? tiny : full;
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int phase = RS_PREFILL; phase <= RS_DECODE; phase++)
            for (int i = 0; i < (cases->small ? 3 : 8); i++)
                for (int form = 0; form <= (i % 3 == 1 ? LINEAR_STRIDED : 0); form++)
                    if (phase == RS_PREFILL || shapes[i][0] < 100)
                        ops_case_add(cases,
                                     (ops_case){.op = "linear",
                                                .run = run_linear,
                                                .bound = ops_bound_product((rs_dtype)dtype, shapes[i][1]),
                                                .dtype = (rs_dtype)dtype,
                                                .phase = (rs_phase)phase,
                                                .form = form,
                                                .n = shapes[i][0],
                                                .in = shapes[i][1],
                                                .out = shapes[i][2]},
                                     "%lld %s, %lld -> %lld%s", (long long)shapes[i][0], phase_rows((rs_phase)phase),
                                     (long long)shapes[i][1], (long long)shapes[i][2], form ? ", strided" : "");
}

/* --- glu --- */

static rs_status run_glu(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    rs_rng rng = ops_rng(c);
    int64_t n = c->n, f = c->out;
    float *host = ops_normal(&rng, n * 2 * f, 2), *gate_up;
    void *y;
    rs_status status = RS_OK;
    host[0] = -60; /* far tails */
    host[2 * f * n - f - 1] = 30;
    RS_TRY_OUT(ops_side_floats(side, host, n * 2 * f, &gate_up));
    RS_TRY_OUT(ops_side_buffer(side, (size_t)(n * f) * sizeof *host, &y));
    RS_TRY_OUT(ops_side_rows(side, c->phase, n, NULL));
    for (int64_t i = 0, step = way == OPS_WHOLE ? n : 1; i < n; i += step)
        RS_TRY_OUT(side->ops->glu(side->backend, (rs_activation)c->form, gate_up + i * 2 * f, step, f, ops_act_at(side, y, i * f)));
    RS_TRY_OUT(ops_take_act(side, y, n * f, out));
out:
    free(host);
    return status;
}

void ops_add_glu(ops_cases *cases)
{
    static const int64_t shapes[][2] = {{1, 64}, {5, 33}, {2, 1}, {130, 1536}, {17, 24576}};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int phase = RS_PREFILL; phase <= RS_DECODE; phase++)
            for (int i = phase == RS_DECODE; i < (cases->small ? 3 : 5); i += phase == RS_DECODE ? 3 : 1)
                for (int activation = RS_SILU; activation <= RS_GELU_TANH; activation++)
                    ops_case_add(cases,
                                 (ops_case){.op = "glu",
                                            .run = run_glu,
                                            .bound = ops_bound_rounded((rs_dtype)dtype),
                                            .dtype = (rs_dtype)dtype,
                                            .phase = (rs_phase)phase,
                                            .form = activation,
                                            .n = shapes[i][0],
                                            .out = shapes[i][1]},
                                 "%lld x %lld, %s", (long long)shapes[i][0], (long long)shapes[i][1],
                                 activation == RS_SILU ? "SiLU" : "GELU (tanh)");
}

/* --- add, overlap --- */

static rs_status run_add(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    rs_rng rng = ops_rng(c);
    int64_t n = c->out;
    float *host = ops_normal(&rng, 2 * n, 1), *a, *b;
    rs_status status = RS_OK;
    RS_TRY_OUT(ops_side_floats(side, host, n, &a));
    RS_TRY_OUT(ops_side_floats(side, host + n, n, &b));
    for (int64_t at = 0, piece = way == OPS_WHOLE ? n : n / 3 + 1; at < n; at += piece)
        RS_TRY_OUT(side->ops->add(side->backend, a + at, b + at, n - at < piece ? n - at : piece));
    RS_TRY_OUT(ops_take_floats(side, a, n, out, true));
    RS_TRY_OUT(ops_take_floats(side, b, n, out, true));
out:
    free(host);
    return status;
}

void ops_add_add(ops_cases *cases)
{
    static const int64_t sizes[] = {1, 1023, 4096, 1000003};
    for (int i = 0; i < (cases->small ? 3 : 4); i++)
        ops_case_add(cases, (ops_case){.op = "add", .run = run_add, .bound = equal, .n = 1, .out = sizes[i]}, "%lld floats",
                     (long long)sizes[i]);
}

/* Buffers: a before, b beside (needs a), c meanwhile, d after the wait (needs b and c). ALONE does the same without overlapping. */
static rs_status run_overlap(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    const rs_backend_ops *ops = side->ops;
    bool beside = way == OPS_WHOLE && ops->overlap_begin;
    rs_rng rng = ops_rng(c);
    int64_t n = c->out;
    float *host = ops_normal(&rng, 4 * n, 1), *x[4];
    rs_status status = RS_OK;
    for (int i = 0; i < 4; i++)
        RS_TRY_OUT(ops_side_floats(side, host + i * n, n, &x[i]));
    for (int round = 0; round < 3; round++) {
        RS_TRY_OUT(ops->add(side->backend, x[0], x[3], n));
        if (beside)
            RS_TRY_OUT(ops->overlap_begin(side->backend));
        for (int again = 0; again < 4; again++)
            RS_TRY_OUT(ops->add(side->backend, x[1], x[0], n));
        if (beside)
            RS_TRY_OUT(ops->overlap_end(side->backend));
        RS_TRY_OUT(ops->add(side->backend, x[2], x[0], n));
        if (beside)
            RS_TRY_OUT(ops->overlap_wait(side->backend));
        RS_TRY_OUT(ops->add(side->backend, x[3], x[1], n));
        RS_TRY_OUT(ops->add(side->backend, x[3], x[2], n));
    }
    for (int i = 0; i < 4; i++)
        RS_TRY_OUT(ops_take_floats(side, x[i], n, out, true));
out:
    free(host);
    return status;
}

void ops_add_overlap(ops_cases *cases)
{
    static const int64_t sizes[] = {500, 3000000};
    for (int i = 0; i < (cases->small ? 1 : 2); i++)
        ops_case_add(cases, (ops_case){.op = "overlap", .run = run_overlap, .bound = equal, .n = 1, .out = sizes[i]},
                     "a chain over four buffers of %lld", (long long)sizes[i]);
}
