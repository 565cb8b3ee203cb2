/* What head.c and backend.c need of gemm.c beyond the backend's own operations. */
#ifndef RS_CPU_GEMM_H
#define RS_CPU_GEMM_H

#include "kernels/cpu/cpu.h"

enum {
    RS_ROW_TILE = 256, /* rows of a full tile */
    RS_PANEL = 64,     /* columns of one of oneDNN's packed panels */
    RS_OWN_PANEL = 16  /* of one of ours */
};

rs_status rs_gemm_open(rs_isa isa, rs_dtype dtype, int n_threads, rs_gemm **out); /* *out is to be closed on failure too */
void rs_gemm_close(rs_gemm *gemm);
const char *rs_gemm_name(const rs_gemm *gemm);

int64_t rs_matrix_rows(const rs_matrix *w);    /* out_features */
int64_t rs_matrix_columns(const rs_matrix *w); /* in_features */
int64_t rs_matrix_panel(const rs_matrix *w);   /* consecutive out_features that one panel holds */

/* Before tiles of a [n, columns]: makes the kernels, and *a dense in the operands' type. */
rs_status rs_gemm_prepare(rs_backend *backend, const rs_matrix *w, int64_t n, const void **a, int64_t *a_stride);
/* Rows [row, row + n) of a, n <= RS_ROW_TILE and row a multiple of it, times panel number `panel`, by one thread of a parallel region. */
rs_status rs_gemm_tile(const rs_backend *backend, const rs_matrix *w, const void *a, int64_t row, int64_t n, int64_t panel, float *out,
                       int64_t out_stride, int thread);

/* Product of rows with one of our own panels, where oneDNN has no kernel that keeps a row independent of the others:
 * out [n, columns] = a [n, k] panel [k, RS_OWN_PANEL]. Every element is one chain over k. */
typedef void (*rs_panel_product)(const float *a, int64_t a_stride, const float *panel, int64_t k, int64_t n, int columns, float *out,
                                 int64_t out_stride);
void rs_panel_product_portable(const float *a, int64_t a_stride, const float *panel, int64_t k, int64_t n, int columns, float *out,
                               int64_t out_stride);
void rs_panel_product_avx2(const float *a, int64_t a_stride, const float *panel, int64_t k, int64_t n, int columns, float *out,
                           int64_t out_stride);

#endif
