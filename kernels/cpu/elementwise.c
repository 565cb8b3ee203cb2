/* The row-wise operations: rows shared out among the threads. */
#include <omp.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"

int rs_cpu_thread(void)
{
    return omp_get_thread_num();
}

static size_t act_bytes(const rs_backend *backend)
{
    return backend->dtype == RS_BF16 ? 2 : 4;
}

/* The checkpoint's own rows, read where they are mapped. */
struct rs_table {
    rs_slice rows;
};

rs_status rs_cpu_table_load(rs_backend *backend, const rs_slice *rows, rs_table **out)
{
    (void)backend;
    *out = rs_alloc(1, sizeof **out);
    (*out)->rows = *rows;
    return RS_OK;
}

void rs_cpu_table_free(rs_backend *backend, rs_table *table)
{
    (void)backend;
    free(table);
}

size_t rs_cpu_table_bytes(const rs_table *table)
{
    (void)table;
    return 0;
}

rs_status rs_cpu_embed(rs_backend *backend, const rs_table *rows, int32_t first_id, float scale, float *x)
{
    const rs_slice *table = &rows->rows;
    const int32_t *ids = backend->step->ids;
    int64_t n = backend->step->n;
    bool bf16 = backend->dtype == RS_BF16;
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float *row = x + i * table->cols;
        int64_t id = (int64_t)ids[i] - first_id;
        if (id < 0 || id >= table->rows) {
            for (int64_t c = 0; c < table->cols; c++)
                row[c] = 0.0f;
            continue;
        }
        rs_slice_row(table, id, row);
        for (int64_t c = 0; c < table->cols; c++)
            row[c] = (bf16 ? rs_bf16_to_float(rs_bf16_from_float(row[c])) : row[c]) * scale;
    }
    return RS_OK;
}

rs_status rs_cpu_add_norm(rs_backend *backend, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n,
                          int64_t d, void *h)
{
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        backend->elementwise->norm_row(x + i * d, y ? y + i * d : NULL, weight, eps, cast_first, d, backend->dtype == RS_BF16,
                                       h ? (char *)h + (size_t)(i * d) * act_bytes(backend) : NULL);
    return RS_OK;
}

rs_status rs_cpu_glu(rs_backend *backend, rs_activation activation, const float *gate_up, int64_t n, int64_t f, void *out)
{
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        backend->elementwise->glu_row(activation, gate_up + 2 * i * f, gate_up + 2 * i * f + f, f, backend->dtype == RS_BF16,
                                      (char *)out + (size_t)(i * f) * act_bytes(backend));
    return RS_OK;
}

rs_status rs_cpu_add(rs_backend *backend, float *a, const float *b, int64_t n)
{
    enum { CHUNK = 16384 };
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i += CHUNK)
        backend->elementwise->add_row(a + i, b + i, n - i < CHUNK ? n - i : CHUNK);
    return RS_OK;
}
