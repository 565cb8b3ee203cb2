/* Backends with one mistake each. A comparison that lets one pass is worth nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

static const rs_backend_ops *right; /* one self-test at a time */

/* --- how a result is spoilt --- */

/* One float of the device's memory times `by`. */
static rs_status spoil(rs_backend *backend, float *at, float by)
{
    float x;
    RS_TRY(right->download(backend, &x, at, sizeof x));
    x *= by;
    return right->upload(backend, at, &x, sizeof x);
}

/* The sign of a 16-bit half of the device's memory: of an fp32 number or a bf16 one, it is wrong enough. */
static rs_status flip(rs_backend *backend, void *at, size_t byte)
{
    unsigned char x;
    RS_TRY(right->download(backend, &x, (char *)at + byte, 1));
    x ^= 0x80;
    return right->upload(backend, (char *)at + byte, &x, 1);
}

static rs_status short_upload(rs_backend *backend, void *to, const void *from, size_t bytes)
{
    return right->upload(backend, to, from, bytes - (bytes > 16));
}

static rs_status first_slice_twice(rs_backend *backend, const rs_slice *slices, int n, rs_matrix **out)
{
    rs_slice *wrong = malloc((size_t)n * sizeof *wrong);
    memcpy(wrong, slices, (size_t)n * sizeof *wrong);
    if (n > 1)
        wrong[1].stride = wrong[1].cols;
    rs_status status = right->matrix_load(backend, wrong, n, out);
    free(wrong);
    return status;
}

static rs_status id_off_by_one(rs_backend *backend, const rs_table *table, int32_t first_id, float scale, float *x)
{
    return right->embed(backend, table, first_id + 1, scale, x);
}

static rs_status other_eps(rs_backend *backend, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n,
                           int64_t d, void *h)
{
    return right->add_norm(backend, x, y, weight, 1.01f * eps, cast_first, n, d, h);
}

static rs_status other_rounding(rs_backend *backend, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n,
                                int64_t d, void *h)
{
    return right->add_norm(backend, x, y, weight, eps, !cast_first, n, d, h);
}

static rs_status tf32_product(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out,
                              int64_t out_stride)
{
    RS_TRY(right->linear(backend, a, a_stride, w, n, out, out_stride));
    for (int64_t i = 0; i < n; i++)
        RS_TRY(spoil(backend, out + i * out_stride, 1 + 0x1p-11f));
    return RS_OK;
}

static rs_status nan_product(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out,
                             int64_t out_stride)
{
    RS_TRY(right->linear(backend, a, a_stride, w, n, out, out_stride));
    return spoil(backend, out + (n - 1) * out_stride, NAN);
}

static rs_status last_row_unwritten(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out,
                                    int64_t out_stride)
{
    return n > 1 ? right->linear(backend, a, a_stride, w, n - 1, out, out_stride) : RS_OK;
}

static rs_status company_counts(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out,
                                int64_t out_stride)
{
    RS_TRY(right->linear(backend, a, a_stride, w, n, out, out_stride));
    return n > 1 ? spoil(backend, out, 1 + 0x1p-23f) : RS_OK;
}

static rs_status other_activation(rs_backend *backend, rs_activation activation, const float *gate_up, int64_t n, int64_t f, void *out)
{
    return right->glu(backend, activation == RS_SILU ? RS_GELU_TANH : RS_SILU, gate_up, n, f, out);
}

static rs_status one_missing(rs_backend *backend, float *a, const float *b, int64_t n)
{
    return n > 1 ? right->add(backend, a, b, n - 1) : RS_OK;
}

static rs_status swapped_layer(rs_backend *backend, int layer, const float *qkv)
{
    return right->store_qkv(backend, layer ? layer - 1 : layer, qkv);
}

static rs_status one_sign(rs_backend *backend, int layer, void *out)
{
    RS_TRY(right->attention(backend, layer, out));
    return flip(backend, out, 1);
}

/* Sequences of one row a position before where they are. */
static rs_status early(rs_backend *backend, const rs_step *step)
{
    static rs_sequence wrong[512]; /* borrowed, like the step, until the next one */
    static rs_step early_step;
    early_step = *step;
    for (int i = 0; i < step->n_sequences && i < 512; i++) {
        wrong[i] = step->sequences[i];
        wrong[i].position -= wrong[i].position > 0 && wrong[i].n_rows == 1;
    }
    early_step.sequences = wrong;
    return right->prepare(backend, &early_step);
}

static rs_status higher_twin(rs_backend *backend, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap,
                             int64_t n, rs_head_row *rows)
{
    RS_TRY(right->head(backend, h, w, first_id, targets, cap, n, rows));
    rows[n - 1].best_id++;
    return RS_OK;
}

static rs_status forgotten_cap(rs_backend *backend, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap,
                               int64_t n, rs_head_row *rows)
{
    (void)cap;
    return right->head(backend, h, w, first_id, targets, 0, n, rows);
}

int ops_wrong_tables(const rs_backend_ops *of, ops_wrong *out, int most)
{
    int n = 0;
    right = of;
#define WRONG(operation, words, rows, member, function)                                                                                    \
    if (n < most) {                                                                                                                        \
        out[n] = (ops_wrong){.op = operation, .mistake = words, .by_rows = rows, .table = *of};                                            \
        out[n++].table.member = function;                                                                                                  \
    }
    WRONG("memory", "upload leaves the last byte out", false, upload, short_upload)
    WRONG("matrix_load", "a slice's stride is ignored", false, matrix_load, first_slice_twice)
    WRONG("embed", "ids off by one", false, embed, id_off_by_one)
    WRONG("add_norm", "eps 1% larger", false, add_norm, other_eps)
    WRONG("add_norm", "rounded at the wrong place", false, add_norm, other_rounding)
    WRONG("linear", "one column in ten-bit precision", false, linear, tf32_product)
    WRONG("linear", "one NaN", false, linear, nan_product)
    WRONG("linear", "the last row is not written", false, linear, last_row_unwritten)
    WRONG("linear", "one bit depends on the other rows", true, linear, company_counts)
    WRONG("glu", "the other activation", false, glu, other_activation)
    WRONG("add", "the last element left out", false, add, one_missing)
    WRONG("overlap", "the last element left out", false, add, one_missing)
    WRONG("attention", "keys in the wrong layer", false, store_qkv, swapped_layer)
    WRONG("attention", "one sign", false, attention, one_sign)
    WRONG("attention", "single rows one position early", false, prepare, early)
    WRONG("head", "another token is the choice", false, head, higher_twin)
    WRONG("head", "no cap", false, head, forgotten_cap)
    WRONG("step", "single rows one position early", false, prepare, early)
#undef WRONG
    return n;
}
