/* The comparison of two backends, operation by operation. A case is one operation on random data: its function runs on one side (a backend)
 * and appends what came out; the same function on two sides gives two outputs to compare. Every case runs in two ways, and one side's
 * two outputs must agree to the bit: backend.h's promise that a row does not depend on its company.
 *
 * An operation is one cases_*.c function that adds its cases, and one row of backend_ops.c's table. */
#ifndef RS_OPS_OPS_H
#define RS_OPS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"
#include "kernels/backend.h"

/* WHOLE: all rows of the case in one call. ALONE: every row (or sequence, in pieces) by itself, and without recorded steps. */
typedef enum ops_way { OPS_WHOLE, OPS_ALONE } ops_way;

/* How far two backends may be apart: norm bounds ||a - b|| / ||b||, max bounds |a - b| / (|b| + rms(b)) of every element. */
typedef struct ops_bound {
    double norm, max;
} ops_bound;

/* What a run yields: values are compared within the case's bound, exact ones bit for bit. */
typedef struct ops_out {
    float *values, *exact;
    int64_t n_values, n_exact;
} ops_out;

/* One opened backend and all that a case took from it, given back together at the end. */
typedef struct ops_side {
    const rs_backend_ops *ops;
    rs_backend *backend;
    rs_dtype dtype;
    void **buffers;
    rs_matrix **matrices;
    rs_table **tables;
    rs_kv **kvs;
    int n_buffers, n_matrices, n_tables, n_kvs;
    rs_kv **row_kvs; /* of ops_side_rows: one a row */
    int64_t n_row_kvs;
    rs_rope rope; /* plain, of ops_side_rows */
    rs_softmax softmax;
    rs_step step;
    rs_sequence *sequences;
    int32_t *ids;
} ops_side;

struct ops_case;
typedef rs_status ops_run(ops_side *side, const struct ops_case *c, ops_way way, ops_out *out);

typedef struct ops_case {
    const char *op;
    ops_run *run;
    ops_bound bound;
    rs_dtype dtype;
    rs_phase phase;
    int heads, kv_heads, head_dim, layers; /* of the backend's shape; where none is given ops_case_add takes 2, 1, 64, 1 */
    int64_t n, in, out;                    /* rows of the batch; width of a row that goes in, and of one that comes out */
    int form;                              /* the operation's own meaning */
    const void *more;                      /* likewise; static */
    size_t arena_bytes;
    char what[120]; /* one line for people; also the seed of the data */
} ops_case;

typedef struct ops_cases {
    ops_case *items;
    int n;
    bool small; /* tiny shapes only: a backend on fibers or under a checker */
} ops_cases;

/* Adds a case; `what` is made from the format, behind dtype and phase. */
void ops_case_add(ops_cases *cases, ops_case c, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* --- side.c --- */
rs_status ops_side_open(ops_side *side, const rs_backend_ops *ops, const ops_case *c);
void ops_side_empty(ops_side *side); /* gives back all but the backend */
void ops_side_close(ops_side *side);
/* Device memory filled with NaN, so that what nobody wrote shows. */
rs_status ops_side_buffer(ops_side *side, size_t bytes, void *out);
/* Device copies of x [n]: as fp32; as act, rounded. */
rs_status ops_side_floats(ops_side *side, const float *x, int64_t n, float **out);
rs_status ops_side_act(ops_side *side, const float *x, int64_t n, void **out);
rs_status ops_side_matrix(ops_side *side, const rs_slice *slices, int n, rs_matrix **out);
rs_status ops_side_table(ops_side *side, const rs_slice *rows, rs_table **out);
rs_status ops_side_kv(ops_side *side, int64_t capacity, int key_sets, int n_layers, rs_kv **out);
/* Begins a step of n rows in this phase, for operations that no sequence enters: one sequence of n rows, or n of one row. ids [n] or NULL.
 */
rs_status ops_side_rows(ops_side *side, rs_phase phase, int64_t n, const int32_t *ids);
/* Appends the device's numbers to values or exact. */
rs_status ops_take_floats(ops_side *side, const float *from, int64_t n, ops_out *out, bool exact);
rs_status ops_take_act(ops_side *side, const void *from, int64_t n, ops_out *out);
/* Element i of an act buffer on the device. */
void *ops_act_at(const ops_side *side, const void *act, int64_t i);

void ops_out_append(ops_out *out, const float *x, int64_t n, bool exact);
void ops_out_free(ops_out *out);

/* --- data --- */
rs_rng ops_rng(const ops_case *c);
float *ops_normal(rs_rng *rng, int64_t n, double deviation); /* [n], to be freed */
/* [rows, cols] normal numbers in the file dtype as a slice of wider rows (data is to be freed). */
rs_slice ops_slice(rs_rng *rng, rs_dtype dtype, int64_t rows, int64_t cols, double deviation);
/* By rope_type and "key=value key=value"; a band as "band=pairs:0:3". By softmax type likewise. */
rs_status ops_rope(const char *type, const char *params, int head_dim, int64_t n_final, rs_rope *out);
rs_status ops_softmax(const char *type, const char *params, rs_softmax *out);

/* Bounds that follow from the formats; the reasons stand with them in side.c. */
ops_bound ops_bound_rounded(rs_dtype dtype);            /* fp32 arithmetic row by row, then one rounding to the dtype */
ops_bound ops_bound_product(rs_dtype dtype, int64_t k); /* a sum of k products in fp32 */

/* --- cases_*.c --- */
void ops_add_memory(ops_cases *cases);
void ops_add_matrix(ops_cases *cases);
void ops_add_embed(ops_cases *cases);
void ops_add_norm(ops_cases *cases);
void ops_add_linear(ops_cases *cases);
void ops_add_glu(ops_cases *cases);
void ops_add_add(ops_cases *cases);
void ops_add_overlap(ops_cases *cases);
void ops_add_head(ops_cases *cases);
void ops_add_attention(ops_cases *cases);
void ops_add_step(ops_cases *cases);

/* --- wrong.c --- */
/* Tables that do what `right` does, but for one mistake each, which the comparison must find. */
typedef struct ops_wrong {
    const char *op, *mistake;
    bool by_rows; /* the values are within bounds: only the comparison of a row with itself in company can find it */
    rs_backend_ops table;
} ops_wrong;
int ops_wrong_tables(const rs_backend_ops *right, ops_wrong *out, int most);

#endif
