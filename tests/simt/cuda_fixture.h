/* A small decoder on the CUDA backend and the fake driver: what the tests of the host side share. */
#ifndef RS_SIMT_CUDA_FIXTURE_H
#define RS_SIMT_CUDA_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/cuda.h"
#include "simt/driver_fake.h"

extern const rs_backend_ops rs_backend_cuda;
static const rs_backend_ops *const ops = &rs_backend_cuda;

enum { HEADS = 2, HEAD_DIM = 64, HIDDEN = 32, WIDTH = 4 * HEAD_DIM, VOCABULARY = 40, ROWS = 64, LAYERS = 2 };

static const rs_backend_shape shape = {.n_layers = LAYERS,
                                       .heads = HEADS,
                                       .kv_heads = 1,
                                       .kv_of_head = (const int[]){0, 0},
                                       .first_head = 1,
                                       .all_heads = 4,
                                       .head_dim = HEAD_DIM,
                                       .attention_scale = 0.125f};

static inline rs_backend_options options_of(size_t arena_bytes)
{
    return (rs_backend_options){.dtype = RS_BF16, .n_threads = 2, .arena_bytes = arena_bytes, .max_rows = ROWS};
}

static inline rs_backend *open_backend(void)
{
    rs_backend *b = NULL;
    rs_backend_options options = options_of((size_t)64 << 20);
    assert_int_equal(ops->open(&shape, &options, &b), RS_OK);
    return b;
}

static inline void close_backend(rs_backend *b)
{
    ops->close(b);
    assert_int_equal(rs_fake_now.live, 0);
}

/* What stands in device memory once all that is queued has run. */
static inline void settle(rs_backend *b)
{
    assert_int_equal(b->driver->wait(b->context, RS_CUDA_COMPUTE), RS_OK);
}

static inline rs_slice slice_of(const void *data, rs_dtype dtype, int64_t rows, int64_t cols)
{
    return (rs_slice){.data = data, .dtype = dtype, .rows = rows, .cols = cols, .stride = cols};
}

/* --- a small decoder: every operation in the model's order --- */

typedef struct decoder {
    rs_backend *b;
    rs_table *table;
    rs_matrix *qkv, *out, *head;
    float *norm, *x, *y, *wide;
    void *h, *heads_out;
    rs_kv *kvs[3];
    rs_rope rope;
    rs_softmax softmax;
} decoder;

static inline rs_status load(decoder *m)
{
    float weights[WIDTH * HIDDEN], ones[HIDDEN];
    for (int i = 0; i < WIDTH * HIDDEN; i++)
        weights[i] = (float)sin(i * 0.7) * 0.3f;
    for (int i = 0; i < HIDDEN; i++)
        ones[i] = 1.0f;
    rs_slice table = slice_of(weights, RS_F32, VOCABULARY, HIDDEN), qkv = slice_of(weights, RS_F32, WIDTH, HIDDEN);
    rs_slice out = slice_of(weights, RS_F32, HIDDEN, HEADS * HEAD_DIM);
    RS_TRY(ops->table_load(m->b, &table, &m->table));
    RS_TRY(ops->matrix_load(m->b, &qkv, 1, &m->qkv));
    RS_TRY(ops->matrix_load(m->b, &out, 1, &m->out));
    RS_TRY(ops->matrix_load(m->b, &table, 1, &m->head));
    RS_TRY(ops->alloc(m->b, sizeof ones, "norm", (void **)&m->norm));
    return ops->upload(m->b, m->norm, ones, sizeof ones);
}

static inline rs_status open_decoder(decoder *m)
{
    rs_backend_options options = options_of((size_t)64 << 20);
    rs_rope_init_plain(&m->rope, HEAD_DIM);
    rs_rope_fill_default(1e4, HEAD_DIM, m->rope.inv_freq);
    rs_softmax_init_plain(&m->softmax);
    RS_TRY(ops->open(&shape, &options, &m->b));
    RS_TRY(load(m));
    RS_TRY(ops->alloc(m->b, ROWS * HIDDEN * 4, "x", (void **)&m->x));
    RS_TRY(ops->alloc(m->b, ROWS * HIDDEN * 4, "y", (void **)&m->y));
    RS_TRY(ops->alloc(m->b, ROWS * WIDTH * 4, "wide", (void **)&m->wide));
    RS_TRY(ops->alloc(m->b, ROWS * HIDDEN * 2, "h", &m->h));
    RS_TRY(ops->alloc(m->b, ROWS * HEADS * HEAD_DIM * 2, "heads", &m->heads_out));
    for (int i = 0; i < 3; i++)
        RS_TRY(ops->kv_open(m->b, 200, 1, LAYERS, &m->kvs[i]));
    return RS_OK;
}

static inline void close_decoder(decoder *m)
{
    if (!m->b)
        return;
    for (int i = 0; i < 3; i++)
        ops->kv_free(m->b, m->kvs[i]);
    ops->table_free(m->b, m->table);
    ops->matrix_free(m->b, m->qkv);
    ops->matrix_free(m->b, m->out);
    ops->matrix_free(m->b, m->head);
    void *buffers[] = {m->norm, m->x, m->y, m->wide, m->h, m->heads_out};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        ops->release(m->b, buffers[i]);
    ops->close(m->b);
}

static inline rs_status body(decoder *m, int64_t n)
{
    RS_TRY(ops->embed(m->b, m->table, 0, 3.0f, m->x));
    for (int layer = 0; layer < LAYERS; layer++) {
        RS_TRY(ops->add_norm(m->b, m->x, layer ? m->y : NULL, m->norm, 1e-6f, false, n, HIDDEN, m->h));
        RS_TRY(ops->linear(m->b, m->h, HIDDEN, m->qkv, n, m->wide, WIDTH));
        RS_TRY(ops->store_qkv(m->b, layer, m->wide));
        RS_TRY(ops->attention(m->b, layer, m->heads_out));
        RS_TRY(ops->linear(m->b, m->heads_out, HEADS * HEAD_DIM, m->out, n, m->y, HIDDEN));
        RS_TRY(ops->overlap_begin(m->b));
        RS_TRY(ops->add(m->b, m->y, m->y, n * HIDDEN));
        RS_TRY(ops->overlap_end(m->b));
        RS_TRY(ops->overlap_wait(m->b));
        RS_TRY(ops->overlap_wait(m->b)); /* again: nothing to wait for */
    }
    return ops->add_norm(m->b, m->x, m->y, m->norm, 1e-6f, false, n, HIDDEN, m->h);
}

/* Sequences 0..n_sequences of n_rows rows each at `position`. */
static inline rs_status step(decoder *m, rs_phase phase, int n_sequences, int64_t n_rows, int64_t position, bool record, rs_head_row *rows)
{
    rs_sequence sequences[3];
    int32_t ids[ROWS], targets[ROWS];
    int64_t n = n_sequences * n_rows;
    bool done = false;
    for (int s = 0; s < n_sequences; s++)
        sequences[s] = (rs_sequence){
            .first_row = s * n_rows, .n_rows = n_rows, .position = position, .kv = m->kvs[s], .rope = &m->rope, .softmax = &m->softmax};
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)((i * 7 + position * 3) % VOCABULARY);
        targets[i] = (int32_t)(i % VOCABULARY);
    }
    rs_step s = {.phase = phase, .sequences = sequences, .n_sequences = n_sequences, .ids = ids, .n = n};
    RS_TRY(ops->prepare(m->b, &s));
    memset(ids, 0xff, sizeof ids); /* the host may be ahead of the device */
    if (record)
        RS_TRY(ops->replay(m->b, &done));
    if (!done)
        RS_TRY(body(m, n));
    if (record && !done)
        RS_TRY(ops->recorded(m->b));
    return rows ? ops->head(m->b, m->h, m->head, 0, targets, 0, n, rows) : RS_OK;
}

/* A prefill in two pieces and eight decode steps, of two sequences and then of one. */
static inline rs_status run_decoder(decoder *m, bool record, rs_head_row results[8][3])
{
    rs_head_row rows[ROWS];
    RS_TRY(step(m, RS_PREFILL, 2, 20, 0, false, NULL));
    RS_TRY(step(m, RS_PREFILL, 2, 3, 20, false, rows));
    for (int i = 0; i < 8; i++)
        RS_TRY(step(m, RS_DECODE, i < 5 ? 2 : 1, 1, 23 + i, record, results[i]));
    return RS_OK;
}

#endif
