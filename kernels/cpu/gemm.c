/* Matrix products. oneDNN's batch-reduced GEMM ("brg") does the work, called by one thread on a tile at a time; our own threads share
 * out the tiles.
 *
 * The rule that a row's bits depend on the row alone rests on a property of these kernels that tests/test_cpu_gemm.c checks: element
 * (i, j) is one chain of fused multiply-adds over k, whatever the tile's height and width. oneDNN's other kernels ("gemm:jit") do
 * not have it - they differ between one row and several, and between heights - so where no brg kernel exists (before AVX-512) our own
 * panel product takes over. brg wants dense operands: a tile narrower than the output goes through a thread's buffer. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <dnnl.h>

#include "base/memory.h"
#include "base/pulse.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

/* One oneDNN primitive for one shape, and the memory objects to call it with, three and a scratchpad per thread. */
typedef struct product {
    int64_t m, k, n;
    dnnl_primitive_t primitive;
    dnnl_memory_t *memories; /* [n_threads][4]: a, w, out, scratchpad */
    size_t scratch_bytes;
} product;

struct rs_gemm {
    bool use_dnnl;
    bool bf16;  /* operands of the product; a bf16 model without the instructions multiplies in fp32 */
    bool widen; /* act is bf16, operands are not */
    rs_panel_product own;
    int n_threads;
    dnnl_engine_t engine;
    dnnl_stream_t *streams; /* [n_threads] */
    product **products;
    size_t n_products, cap_products;
    char **scratch; /* [n_threads] */
    size_t scratch_bytes;
    float *tiles; /* [n_threads][RS_ROW_TILE][RS_PANEL] */
    char *dense;  /* a copy of a: widened or made dense */
    size_t dense_bytes;
};

struct rs_matrix {
    int64_t n, k; /* out_features, in_features */
    int64_t k_padded;
    bool bf16;
    int64_t panel; /* columns of one panel */
    size_t panel_bytes;
    char *data; /* [panels] */
};

static rs_status dnnl_check(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success)
        return RS_OK;
    if (status == dnnl_out_of_memory)
        return rs_fail(RS_NO_MEMORY, "oneDNN: no memory for %s", what);
    return rs_fail(RS_INTERNAL, "oneDNN: %s failed with status %d", what, (int)status);
}

static dnnl_data_type_t operand_type(const rs_gemm *gemm)
{
    return gemm->bf16 ? dnnl_bf16 : dnnl_f32;
}

/* The primitive's description for [m, k] x [k, n]; NULL where oneDNN has no brg kernel for it. */
static dnnl_primitive_desc_t describe(const rs_gemm *gemm, int64_t m, int64_t k, int64_t n)
{
    dnnl_dims_t a_dims = {m, k}, w_dims = {k, n}, out_dims = {m, n};
    dnnl_memory_desc_t a, w, out;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t made = NULL;
    const char *name = "";
    if (dnnl_primitive_attr_create(&attributes) != dnnl_success)
        return NULL;
    dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    dnnl_primitive_attr_set_fpmath_mode(attributes, dnnl_fpmath_mode_strict); /* whatever ONEDNN_DEFAULT_FPMATH_MODE says */
    bool ok = dnnl_memory_desc_init_by_tag(&a, 2, a_dims, operand_type(gemm), dnnl_ab) == dnnl_success &&
              dnnl_memory_desc_init_by_tag(&w, 2, w_dims, operand_type(gemm), dnnl_format_tag_any) == dnnl_success &&
              dnnl_memory_desc_init_by_tag(&out, 2, out_dims, dnnl_f32, dnnl_ab) == dnnl_success &&
              dnnl_matmul_desc_init(&matmul, &a, &w, NULL, &out) == dnnl_success &&
              dnnl_primitive_desc_create(&made, &matmul, attributes, gemm->engine, NULL) == dnnl_success;
    dnnl_primitive_attr_destroy(attributes);
    if (!ok)
        return NULL;
    if (dnnl_primitive_desc_query(made, dnnl_query_impl_info_str, 0, &name) == dnnl_success && !strncmp(name, "brg", 3))
        return made;
    dnnl_primitive_desc_destroy(made);
    return NULL;
}

/* Whether a packed layout is the one that load_panel writes: blocks of RS_PANEL columns, each [k / group][RS_PANEL][group]
 * with the group of k that one 32-bit lane holds, padded along k. */
static bool layout_known(const rs_gemm *gemm, const dnnl_memory_desc_t *w, int64_t *k_padded)
{
    const dnnl_blocking_desc_t *b = &w->format_desc.blocking;
    if (w->format_kind != dnnl_blocked || w->extra.flags != 0 || w->padded_dims[1] % RS_PANEL != 0)
        return false;
    *k_padded = w->padded_dims[0];
    if (b->strides[1] != *k_padded * RS_PANEL)
        return false;
    bool columns = b->inner_idxs[1] == 1 && b->inner_blks[1] == RS_PANEL && b->inner_idxs[0] == 0;
    if (!gemm->bf16)
        return b->inner_nblks == 2 && columns && b->strides[0] == b->inner_blks[0] * RS_PANEL;
    return b->inner_nblks == 3 && columns && b->inner_idxs[2] == 0 && b->inner_blks[2] == 2 &&
           b->strides[0] == b->inner_blks[0] * 2 * RS_PANEL;
}

/* oneDNN reads the number of threads when a primitive is made, and again when it runs: one, both times. */
static rs_status product_make(rs_gemm *gemm, int64_t m, int64_t k, int64_t n, product **out)
{
    product *p = rs_alloc(1, sizeof *p);
    int threads = omp_get_max_threads();
    int64_t k_padded;
    *p = (product){.m = m, .k = k, .n = n, .memories = rs_alloc((size_t)gemm->n_threads * 4, sizeof *p->memories)};
    *out = p;
    omp_set_num_threads(1);
    dnnl_primitive_desc_t made = describe(gemm, m, k, n);
    dnnl_status_t status = made ? dnnl_primitive_create(&p->primitive, made) : dnnl_unimplemented;
    omp_set_num_threads(threads);
    if (status != dnnl_success) {
        if (made)
            dnnl_primitive_desc_destroy(made);
        return dnnl_check(status, "making a matrix product");
    }
    const dnnl_memory_desc_t *descs[4] = {
        dnnl_primitive_desc_query_md(made, dnnl_query_src_md, 0), dnnl_primitive_desc_query_md(made, dnnl_query_weights_md, 0),
        dnnl_primitive_desc_query_md(made, dnnl_query_dst_md, 0), dnnl_primitive_desc_query_md(made, dnnl_query_scratchpad_md, 0)};
    if (!layout_known(gemm, descs[1], &k_padded))
        status = dnnl_unimplemented;
    p->scratch_bytes = dnnl_memory_desc_get_size(descs[3]);
    for (int i = 0; i < gemm->n_threads * 4 && status == dnnl_success; i++)
        status = dnnl_memory_create(&p->memories[i], descs[i % 4], gemm->engine, DNNL_MEMORY_NONE);
    dnnl_primitive_desc_destroy(made);
    return dnnl_check(status, "a matrix product's buffers");
}

static void product_free(const rs_gemm *gemm, product *p)
{
    if (!p)
        return;
    for (int i = 0; i < gemm->n_threads * 4; i++)
        if (p->memories[i])
            dnnl_memory_destroy(p->memories[i]);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    free(p->memories);
    free(p);
}

static product *product_find(const rs_gemm *gemm, int64_t m, int64_t k, int64_t n)
{
    for (size_t i = 0; i < gemm->n_products; i++) {
        product *p = gemm->products[i];
        if (p->m == m && p->k == k && p->n == n)
            return p;
    }
    return NULL;
}

static rs_status grow_scratch(rs_gemm *gemm, size_t bytes)
{
    if (bytes <= gemm->scratch_bytes)
        return RS_OK;
    gemm->scratch_bytes = 0;
    for (int i = 0; i < gemm->n_threads; i++) {
        free(gemm->scratch[i]);
        gemm->scratch[i] = NULL;
        RS_TRY(rs_try_alloc((void **)&gemm->scratch[i], bytes, 1, "scratch of a matrix product"));
    }
    gemm->scratch_bytes = bytes;
    return RS_OK;
}

/* Heights that products are made for: a row tile is cut into these, largest first. */
static int64_t height_below(int64_t n)
{
    if (n <= 8)
        return n;
    int64_t height = 8;
    while (2 * height <= n && 2 * height <= RS_ROW_TILE)
        height *= 2;
    return height;
}

/* Makes the products that tiles of `rows` rows and of n columns need. */
static rs_status ensure(rs_gemm *gemm, int64_t rows, int64_t k, int64_t n)
{
    while (gemm->use_dnnl && rows > 0) {
        int64_t height = height_below(rows);
        rows -= height;
        if (product_find(gemm, height, k, n))
            continue;
        product *made;
        rs_status status = product_make(gemm, height, k, n, &made);
        if (status == RS_OK)
            status = grow_scratch(gemm, made->scratch_bytes);
        if (status != RS_OK) {
            product_free(gemm, made);
            return status;
        }
        RS_PUSH(gemm->products, gemm->n_products, gemm->cap_products, made);
    }
    return RS_OK;
}

/* out [rows, n] dense = a [rows, k] dense x packed columns w, by one thread. */
static dnnl_status_t run(const rs_gemm *gemm, int64_t rows, int64_t k, int64_t n, const char *a, const char *w, float *out, int thread)
{
    size_t element = gemm->bf16 ? 2 : 4;
    while (rows > 0) {
        rs_pulse_tick();
        const product *p = product_find(gemm, height_below(rows), k, n);
        dnnl_memory_t *memory = p->memories + (ptrdiff_t)thread * 4;
        dnnl_memory_set_data_handle(memory[0], (void *)(uintptr_t)a);
        dnnl_memory_set_data_handle(memory[1], (void *)(uintptr_t)w);
        dnnl_memory_set_data_handle(memory[2], out);
        dnnl_memory_set_data_handle(memory[3], gemm->scratch[thread]);
        dnnl_exec_arg_t arguments[] = {
            {DNNL_ARG_SRC, memory[0]}, {DNNL_ARG_WEIGHTS, memory[1]}, {DNNL_ARG_DST, memory[2]}, {DNNL_ARG_SCRATCHPAD, memory[3]}};
        dnnl_status_t status = dnnl_primitive_execute(p->primitive, gemm->streams[thread], p->scratch_bytes ? 4 : 3, arguments);
        if (status != dnnl_success)
            return status;
        rows -= p->m;
        a += (size_t)(p->m * k) * element;
        out += p->m * n;
    }
    return dnnl_success;
}

rs_status rs_gemm_open(rs_isa isa, rs_dtype dtype, int n_threads, rs_gemm **out)
{
    rs_gemm *gemm = rs_alloc(1, sizeof *gemm);
    *out = gemm;
    gemm->n_threads = n_threads;
    gemm->own = isa >= RS_ISA_AVX2 ? rs_panel_product_avx2 : rs_panel_product_portable;
    gemm->streams = rs_alloc((size_t)n_threads, sizeof *gemm->streams);
    gemm->scratch = rs_alloc((size_t)n_threads, sizeof *gemm->scratch);
    RS_TRY(dnnl_check(dnnl_engine_create(&gemm->engine, dnnl_cpu, 0), "opening the engine"));
    for (int i = 0; i < n_threads; i++)
        RS_TRY(dnnl_check(dnnl_stream_create(&gemm->streams[i], gemm->engine, dnnl_stream_default_flags), "opening a stream"));
    RS_TRY(rs_try_alloc((void **)&gemm->tiles, (size_t)n_threads * RS_ROW_TILE * RS_PANEL, sizeof(float), "tiles of matrix products"));
    /* bf16 where this oneDNN on this machine has a brg kernel for it, else fp32 by brg, else our own. */
    for (int bf16 = dtype == RS_BF16 && isa >= RS_ISA_AVX512BF16; bf16 >= 0 && isa >= RS_ISA_AVX512 && !gemm->use_dnnl; bf16--) {
        gemm->bf16 = bf16;
        product *probe;
        gemm->use_dnnl = product_make(gemm, 2, 64, RS_PANEL, &probe) == RS_OK;
        product_free(gemm, probe);
        rs_error_clear();
    }
    gemm->bf16 = gemm->bf16 && gemm->use_dnnl;
    gemm->widen = dtype == RS_BF16 && !gemm->bf16;
    return RS_OK;
}

void rs_gemm_close(rs_gemm *gemm)
{
    if (!gemm)
        return;
    for (size_t i = 0; i < gemm->n_products; i++)
        product_free(gemm, gemm->products[i]);
    free(gemm->products);
    for (int i = 0; i < gemm->n_threads; i++) {
        if (gemm->streams[i])
            dnnl_stream_destroy(gemm->streams[i]);
        free(gemm->scratch[i]);
    }
    if (gemm->engine)
        dnnl_engine_destroy(gemm->engine);
    free(gemm->streams);
    free(gemm->scratch);
    free(gemm->tiles);
    free(gemm->dense);
    free(gemm);
}

const char *rs_gemm_name(const rs_gemm *gemm)
{
    return !gemm->use_dnnl ? "own fp32" : gemm->bf16 ? "oneDNN bf16" : "oneDNN fp32";
}

/* --- weights --- */

int64_t rs_matrix_rows(const rs_matrix *w)
{
    return w->n;
}

int64_t rs_matrix_columns(const rs_matrix *w)
{
    return w->k;
}

int64_t rs_matrix_panel(const rs_matrix *w)
{
    return w->panel;
}

static int64_t n_panels(const rs_matrix *w)
{
    return (w->n + w->panel - 1) / w->panel;
}

static int64_t panel_columns(const rs_matrix *w, int64_t panel)
{
    int64_t left = w->n - panel * w->panel;
    return left < w->panel ? left : w->panel;
}

/* Packs column c of a panel, a row of W: [k_padded / group][panel][group], group 2 for bf16 and 1 for fp32. */
static void load_column(const rs_matrix *w, const float *row, bool round, char *panel, int64_t c)
{
    if (w->bf16) {
        uint16_t *to = (uint16_t *)(void *)panel + 2 * c;
        for (int64_t k = 0; k < w->k; k++)
            to[(k / 2) * 2 * w->panel + k % 2] = rs_bf16_from_float(row[k]);
        return;
    }
    float *to = (float *)(void *)panel + c;
    for (int64_t k = 0; k < w->k; k++)
        to[k * w->panel] = round ? rs_bf16_to_float(rs_bf16_from_float(row[k])) : row[k];
}

/* row: [k] workspace. */
static void load_panel(const rs_matrix *w, const rs_slice *slices, bool round, int64_t panel, float *row)
{
    char *to = w->data + (size_t)panel * w->panel_bytes;
    memset(to, 0, w->panel_bytes);
    for (int64_t c = 0; c < panel_columns(w, panel); c++) {
        const rs_slice *slice = slices;
        int64_t index = panel * w->panel + c;
        while (index >= slice->rows)
            index -= (slice++)->rows;
        rs_slice_row(slice, index, row);
        load_column(w, row, round, to, c);
    }
}

/* Padding of k in the layout that oneDNN wants. */
static rs_status padded_k(const rs_gemm *gemm, int64_t k, int64_t *out)
{
    dnnl_primitive_desc_t made = describe(gemm, RS_ROW_TILE, k, RS_PANEL);
    bool known = made && layout_known(gemm, dnnl_primitive_desc_query_md(made, dnnl_query_weights_md, 0), out);
    if (made)
        dnnl_primitive_desc_destroy(made);
    return known ? RS_OK : rs_fail(RS_INTERNAL, "oneDNN packs weights of %lld rows in a layout not known here", (long long)k);
}

rs_status rs_cpu_matrix_load(rs_backend *backend, const rs_slice *slices, int n_slices, rs_matrix **out)
{
    const rs_gemm *gemm = backend->gemm;
    rs_matrix *w = rs_alloc(1, sizeof *w);
    w->k = w->k_padded = slices[0].cols;
    for (int i = 0; i < n_slices; i++)
        w->n += slices[i].rows;
    w->bf16 = gemm->bf16;
    w->panel = gemm->use_dnnl ? RS_PANEL : RS_OWN_PANEL;
    rs_status status = gemm->use_dnnl ? padded_k(gemm, w->k, &w->k_padded) : RS_OK;
    w->panel_bytes = (size_t)(w->k_padded * w->panel) * (w->bf16 ? 2 : 4);
    float *rows = NULL;
    RS_TRY_OUT(status);
    RS_TRY_OUT(rs_try_alloc((void **)&rows, (size_t)(backend->n_threads * w->k), sizeof *rows, "rows of weights"));
    RS_TRY_OUT(rs_try_alloc((void **)&w->data, (size_t)n_panels(w), w->panel_bytes, "weights"));
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
    for (int64_t panel = 0; panel < n_panels(w); panel++)
        load_panel(w, slices, gemm->widen, panel, rows + rs_cpu_thread() * w->k);
    *out = w;
out:
    free(rows);
    if (status != RS_OK)
        rs_cpu_matrix_free(backend, w);
    return status;
}

void rs_cpu_matrix_free(rs_backend *backend, rs_matrix *matrix)
{
    (void)backend;
    if (!matrix)
        return;
    free(matrix->data);
    free(matrix);
}

size_t rs_cpu_matrix_bytes(const rs_matrix *matrix)
{
    return (size_t)n_panels(matrix) * matrix->panel_bytes;
}

/* --- products --- */

/* Makes *a dense and of the operands' type. */
static rs_status densify(rs_backend *backend, int64_t n, int64_t k, const void **a, int64_t *a_stride)
{
    rs_gemm *gemm = backend->gemm;
    if (*a_stride == k && !gemm->widen)
        return RS_OK;
    size_t element = gemm->bf16 ? 2 : 4, needed = (size_t)(n * k) * element;
    if (needed > gemm->dense_bytes) {
        free(gemm->dense);
        gemm->dense = NULL;
        gemm->dense_bytes = 0;
        RS_TRY(rs_try_alloc((void **)&gemm->dense, needed, 1, "operand of a matrix product"));
        gemm->dense_bytes = needed;
    }
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        char *to = gemm->dense + (size_t)(i * k) * element;
        if (gemm->widen)
            backend->elementwise->from_bf16((const uint16_t *)*a + i * *a_stride, k, (float *)(void *)to);
        else
            memcpy(to, (const char *)*a + (size_t)(i * *a_stride) * element, (size_t)k * element);
    }
    *a = gemm->dense;
    *a_stride = k;
    return RS_OK;
}

/* Makes the products of full tiles and of the last one. */
static rs_status ensure_tiles(rs_gemm *gemm, int64_t n, int64_t tile, int64_t k, int64_t columns)
{
    if (n >= tile)
        RS_TRY(ensure(gemm, tile, k, columns));
    return ensure(gemm, n % tile, k, columns);
}

rs_status rs_gemm_prepare(rs_backend *backend, const rs_matrix *w, int64_t n, const void **a, int64_t *a_stride)
{
    RS_TRY(densify(backend, n, w->k, a, a_stride));
    RS_TRY(ensure_tiles(backend->gemm, n, RS_ROW_TILE, w->k, w->panel < w->n ? w->panel : w->n));
    return w->n % w->panel ? ensure_tiles(backend->gemm, n, RS_ROW_TILE, w->k, w->n % w->panel) : RS_OK;
}

rs_status rs_gemm_tile(const rs_backend *backend, const rs_matrix *w, const void *a, int64_t row, int64_t n, int64_t panel, float *out,
                       int64_t out_stride, int thread)
{
    const rs_gemm *gemm = backend->gemm;
    int64_t columns = panel_columns(w, panel);
    const char *packed = w->data + (size_t)panel * w->panel_bytes;
    if (!gemm->use_dnnl) {
        rs_pulse_tick();
        gemm->own((const float *)a + row * w->k, w->k, (const float *)(const void *)packed, w->k, n, (int)columns, out, out_stride);
        return RS_OK;
    }
    const char *rows = (const char *)a + (size_t)(row * w->k) * (gemm->bf16 ? 2 : 4);
    if (out_stride == columns)
        return dnnl_check(run(gemm, n, w->k, columns, rows, packed, out, thread), "a matrix product");
    float *tile = gemm->tiles + (size_t)thread * RS_ROW_TILE * RS_PANEL;
    RS_TRY(dnnl_check(run(gemm, n, w->k, columns, rows, packed, tile, thread), "a matrix product"));
    for (int64_t i = 0; i < n; i++)
        memcpy(out + i * out_stride, tile + i * columns, (size_t)columns * sizeof *out);
    return RS_OK;
}

/* Many rows into dense output: whole rows of the output at once, no buffer between. */
static rs_status linear_tall(rs_backend *backend, const char *a, const rs_matrix *w, int64_t n, int64_t tile, float *out)
{
    const rs_gemm *gemm = backend->gemm;
    size_t row_bytes = (size_t)w->k * (gemm->bf16 ? 2 : 4);
    dnnl_status_t worst = dnnl_success;
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int64_t row = 0; row < n; row += tile) {
        int64_t rows = n - row < tile ? n - row : tile;
        dnnl_status_t status = run(gemm, rows, w->k, w->n, a + (size_t)row * row_bytes, w->data, out + row * w->n, rs_cpu_thread());
        if (status != dnnl_success) {
#pragma omp atomic write
            worst = status;
        }
    }
    return dnnl_check(worst, "a matrix product");
}

rs_status rs_cpu_linear(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out, int64_t out_stride)
{
    int64_t tall = 4 * backend->n_threads; /* tiles that keep the threads evenly busy */
    int64_t tile = n >= tall * RS_ROW_TILE ? RS_ROW_TILE : RS_ROW_TILE / 2;
    if (backend->gemm->use_dnnl && out_stride == w->n && n >= tall * tile) {
        RS_TRY(densify(backend, n, w->k, &a, &a_stride));
        RS_TRY(ensure_tiles(backend->gemm, n, tile, w->k, w->n));
        return linear_tall(backend, a, w, n, tile, out);
    }
    RS_TRY(rs_gemm_prepare(backend, w, n, &a, &a_stride));
    int64_t panels = n_panels(w), tasks = (n + RS_ROW_TILE - 1) / RS_ROW_TILE * panels;
    rs_status worst = RS_OK;
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t row = task / panels * RS_ROW_TILE, panel = task % panels, rows = n - row < RS_ROW_TILE ? n - row : RS_ROW_TILE;
        rs_status status =
            rs_gemm_tile(backend, w, a, row, rows, panel, out + row * out_stride + panel * w->panel, out_stride, rs_cpu_thread());
        if (status != RS_OK) {
#pragma omp atomic write
            worst = status;
        }
    }
    return worst;
}
