/* Our own product of rows with a panel of 16 packed columns, included once an instruction set with RS_PANEL_NAME, the function it defines.
 */
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"

enum { PANEL_VECTORS = RS_OWN_PANEL / RS_VW, PANEL_ROWS = RS_VW == 4 ? 2 : 6 };

RS_INLINE void panel_rows(const float *a, int64_t a_stride, const float *panel, int64_t k, int columns, float *out, int64_t out_stride,
                          const int rows)
{
    rs_vf acc[PANEL_ROWS][PANEL_VECTORS];
    RS_UNROLL
    for (int r = 0; r < rows; r++) {
        RS_UNROLL
        for (int c = 0; c < PANEL_VECTORS; c++)
            acc[r][c] = v_set(0.0f);
    }
    for (int64_t i = 0; i < k; i++) {
        rs_vf w[PANEL_VECTORS];
        RS_UNROLL
        for (int c = 0; c < PANEL_VECTORS; c++)
            w[c] = v_load(panel + i * RS_OWN_PANEL + c * RS_VW);
        RS_UNROLL
        for (int r = 0; r < rows; r++) {
            RS_UNROLL
            for (int c = 0; c < PANEL_VECTORS; c++)
                acc[r][c] = v_fma(v_set(a[r * a_stride + i]), w[c], acc[r][c]);
        }
    }
    for (int r = 0; r < rows; r++) {
        float row[RS_OWN_PANEL];
        RS_UNROLL
        for (int c = 0; c < PANEL_VECTORS; c++)
            v_store(row + c * RS_VW, acc[r][c]);
        memcpy(out + r * out_stride, row, (size_t)columns * sizeof *row);
    }
}

void RS_PANEL_NAME(const float *a, int64_t a_stride, const float *panel, int64_t k, int64_t n, int columns, float *out, int64_t out_stride)
{
    int64_t row = 0;
    for (; row + PANEL_ROWS <= n; row += PANEL_ROWS)
        panel_rows(a + row * a_stride, a_stride, panel, k, columns, out + row * out_stride, out_stride, PANEL_ROWS);
    for (; row < n; row++)
        panel_rows(a + row * a_stride, a_stride, panel, k, columns, out + row * out_stride, out_stride, 1);
}
