/* The head: log-sum-exp, target and greedy choice of logits that nobody keeps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

enum { FIRST_ID = 1000, HEAD_CAP = 1, HEAD_NO_TARGETS = 2 };

/* Two tokens with the same weights: of equal logits the lower id is the choice. */
static void make_twins(rs_slice *w, int64_t id)
{
    size_t item = w->dtype == RS_F32 ? 4 : 2;
    char *data = (char *)(uintptr_t)w->data;
    memcpy(data + (size_t)((w->rows - 1) * w->stride) * item, data + (size_t)(id * w->stride) * item, (size_t)w->cols * item);
}

/* Values: max, log-sum-exp, target, best. Exact: the choice, and which targets lie elsewhere. */
static void take_row(const rs_head_row *row, ops_out *out)
{
    bool elsewhere = row->target == -INFINITY;
    float values[] = {row->max, row->max + logf(row->sum), elsewhere ? 0 : row->target, row->best};
    float exact[] = {(float)row->best_id, elsewhere};
    ops_out_append(out, values, 4, false);
    ops_out_append(out, exact, 2, true);
}

static rs_status run_head(ops_side *side, const ops_case *c, ops_way way, ops_out *out)
{
    rs_rng rng = ops_rng(c);
    int64_t n = c->n, d = c->in, vocabulary = c->out;
    float *h_host = ops_normal(&rng, n * d, 1), cap = c->form & HEAD_CAP ? 2.5f : 0;
    rs_slice slice = ops_slice(&rng, side->dtype, vocabulary, d, 3 / sqrt((double)d));
    int32_t *targets = malloc((size_t)n * sizeof *targets);
    rs_head_row *rows = malloc((size_t)n * sizeof *rows);
    rs_matrix *w;
    void *h;
    rs_status status = RS_OK;
    make_twins(&slice, vocabulary / 3);
    for (int64_t i = 0; i < n; i++)
        targets[i] = c->form & HEAD_NO_TARGETS || i % 4 == 3 ? -1 : FIRST_ID - 2 + (int32_t)rs_rng_below(&rng, (uint64_t)vocabulary + 4);
    RS_TRY_OUT(ops_side_matrix(side, &slice, 1, &w));
    RS_TRY_OUT(ops_side_act(side, h_host, n * d, &h));
    if (way == OPS_WHOLE)
        RS_TRY_OUT(ops_side_rows(side, c->phase, n, NULL));
    for (int64_t i = 0, step = way == OPS_WHOLE ? n : 1; i < n; i += step) {
        if (way == OPS_ALONE)
            RS_TRY_OUT(ops_side_rows(side, c->phase, 1, NULL));
        RS_TRY_OUT(side->ops->head(side->backend, ops_act_at(side, h, i * d), w, FIRST_ID, targets + i, cap, step, rows + i));
    }
    for (int64_t i = 0; i < n; i++)
        take_row(&rows[i], out);
out:
    free(h_host);
    free((void *)(uintptr_t)slice.data);
    free(targets);
    free(rows);
    return status;
}

void ops_add_head(ops_cases *cases)
{
    static const int64_t tiny[][3] = {{1, 64, 70}, {3, 40, 300}};
    static const int64_t full[][3] = {{1, 64, 5000}, {3, 36, 17}, {33, 576, 49152}, {130, 256, 2049}, {600, 128, 4096}, {5, 3072, 32001}};
    const int64_t(*shapes)[3] = cases->small ? tiny : full;
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int phase = RS_PREFILL; phase <= RS_DECODE; phase++)
            for (int i = 0; i < (cases->small ? 2 : 6); i++)
                for (int form = 0; form < 3; form++) {
                    ops_bound bound = ops_bound_product((rs_dtype)dtype, shapes[i][1]);
                    bound.norm += 0x1p-22; /* the sum over the vocabulary, whose logarithm is taken */
                    bound.max += 0x1p-20;
                    if (phase == RS_PREFILL || shapes[i][0] < 100)
                        ops_case_add(cases,
                                     (ops_case){.op = "head",
                                                .run = run_head,
                                                .bound = bound,
                                                .dtype = (rs_dtype)dtype,
                                                .phase = (rs_phase)phase,
                                                .form = form,
                                                .n = shapes[i][0],
                                                .in = shapes[i][1],
                                                .out = shapes[i][2]},
                                     "%lld rows, %lld tokens of %lld%s", (long long)shapes[i][0], (long long)shapes[i][2],
                                     (long long)shapes[i][1],
                                     form == HEAD_CAP ? ", cap"
                                     : form           ? ", no targets"
                                                      : "");
                }
}
