/* Matrix products by cuBLASLt, with algorithms chosen once a weight shape.
 *
 * A row's bits may depend on neither n nor what a clock said while algorithms were tried. So none may cut the inner dimension among blocks,
 * and the fastest is taken only of those whose results equal, bit for bit and for every n that is tried, those of one reference: the first
 * that cuBLASLt proposes, a function of the shape, the library and the device, and that agrees with itself for all these n. Then all that
 * the clock decides is the time. */
#include "kernels/cuda/driver_cuda.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

enum {
    BUCKETS = 2,            /* few rows, many rows: each has its algorithm */
    FEW_ROWS = 512,         /* the most that are few */
    TRIED_FEW = 128,        /* n at which few rows are timed */
    TRIED_MANY = 4096,      /* and many, or as many as the scratch memory holds */
    COMPARED_ROWS = 500,    /* rows of results that are compared, at most */
    CANDIDATES = 8,         /* tried */
    PROPOSED = 4,           /* of them for each bucket */
    ASKED = 16,             /* of cuBLASLt, among which PROPOSED should be fit */
    REPEATS = 4,            /* timed */
    PIECE = (4 << 20) - 272 /* bytes of random numbers, again and again; no multiple of a row */
};

struct rs_cuda_gemm {
    int64_t rows, cols;
    bool bf16;
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatmulAlgo_t algorithms[BUCKETS];
};

static rs_status check_blas(cublasStatus_t code, const char *what, const rs_cuda_gemm *gemm, int64_t n)
{
    if (code == CUBLAS_STATUS_SUCCESS)
        return RS_OK;
    return rs_fail(RS_IO, "cuBLASLt: %s of [%lld, %lld] by [%lld, %lld] %s: %s", what, (long long)n, (long long)gemm->cols,
                   (long long)gemm->rows, (long long)gemm->cols, gemm->bf16 ? "bf16" : "fp32", cublasLtGetStatusString(code));
}

/* --- one product --- */

/* Row-major out [n, rows] = a w^T is column-major out^T [rows, n] = w^T' a^T, with w as it lies transposed. */
typedef struct layouts {
    cublasLtMatrixLayoutOpaque_t w, a, out;
} layouts;

static cublasStatus_t make_layouts(const rs_cuda_gemm *gemm, int64_t n, int64_t a_stride, int64_t out_stride, layouts *l)
{
    cudaDataType_t type = gemm->bf16 ? CUDA_R_16BF : CUDA_R_32F;
    uint64_t rows = (uint64_t)gemm->rows, cols = (uint64_t)gemm->cols;
    cublasStatus_t code = cublasLtMatrixLayoutInit(&l->w, type, cols, rows, gemm->cols);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = cublasLtMatrixLayoutInit(&l->a, type, cols, (uint64_t)n, a_stride);
    if (code == CUBLAS_STATUS_SUCCESS)
        code = cublasLtMatrixLayoutInit(&l->out, CUDA_R_32F, rows, (uint64_t)n, out_stride);
    return code;
}

static cublasStatus_t multiply(rs_cuda_context *context, cudaStream_t stream, rs_cuda_gemm *gemm, const cublasLtMatmulAlgo_t *algorithm,
                               const void *a, int64_t a_stride, const void *w, int64_t n, float *out, int64_t out_stride)
{
    const float one = 1.0f, zero = 0.0f;
    layouts l;
    cublasStatus_t code = make_layouts(gemm, n, a_stride, out_stride, &l);
    if (code != CUBLAS_STATUS_SUCCESS)
        return code;
    return cublasLtMatmul(context->blas, &gemm->product, &one, w, &l.w, a, &l.a, &zero, out, &l.out, out, &l.out, algorithm,
                          context->workspace, RS_CUDA_WORKSPACE, stream);
}

/* fp32 is pedantic: no TF32, no emulation, whatever the environment says. */
static cublasStatus_t make_product(rs_cuda_gemm *gemm)
{
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasStatus_t code = cublasLtMatmulDescInit(&gemm->product, gemm->bf16 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC, CUDA_R_32F);
    if (code != CUBLAS_STATUS_SUCCESS)
        return code;
    return cublasLtMatmulDescSetAttribute(&gemm->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
}

/* --- proposals --- */

static cublasStatus_t prefer(const rs_cuda_gemm *gemm, cublasLtMatmulPreferenceOpaque_t *preference)
{
    const uint64_t workspace = RS_CUDA_WORKSPACE;
    const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE, in = 16, out = gemm->rows % 4 == 0 ? 16 : 4;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t bytes;
    } wanted[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &in, sizeof in},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &in, sizeof in},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &out, sizeof out},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out, sizeof out},
    };
    cublasStatus_t code = cublasLtMatmulPreferenceInit(preference);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && code == CUBLAS_STATUS_SUCCESS; i++)
        code = cublasLtMatmulPreferenceSetAttribute(preference, wanted[i].name, wanted[i].value, wanted[i].bytes);
    return code;
}

/* Whether one block sums the whole inner dimension, as far as the algorithm tells. */
static bool is_whole(const cublasLtMatmulAlgo_t *algorithm)
{
    int32_t splits = 0;
    uint32_t reduction = 0;
    size_t written;
    return cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits, sizeof splits, &written) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &reduction, sizeof reduction, &written) ==
               CUBLAS_STATUS_SUCCESS &&
           splits <= 1 && reduction == CUBLASLT_REDUCTION_SCHEME_NONE;
}

typedef struct candidates {
    cublasLtMatmulAlgo_t items[CANDIDATES];
    int n;
} candidates;

static bool is_known(const candidates *c, const cublasLtMatmulAlgo_t *algorithm)
{
    for (int i = 0; i < c->n; i++)
        if (!memcmp(&c->items[i], algorithm, sizeof *algorithm))
            return true;
    return false;
}

/* Adds the first PROPOSED that cuBLASLt proposes for n rows. */
static rs_status propose(rs_cuda_context *context, rs_cuda_gemm *gemm, int64_t n, candidates *c)
{
    cublasLtMatmulHeuristicResult_t results[ASKED];
    cublasLtMatmulPreferenceOpaque_t preference;
    layouts l;
    int found = 0, end = c->n + PROPOSED;
    RS_TRY(check_blas(prefer(gemm, &preference), "choosing the algorithm", gemm, n));
    RS_TRY(check_blas(make_layouts(gemm, n, gemm->cols, gemm->rows, &l), "choosing the algorithm", gemm, n));
    cublasStatus_t code =
        cublasLtMatmulAlgoGetHeuristic(context->blas, &gemm->product, &l.w, &l.a, &l.out, &l.out, &preference, ASKED, results, &found);
    if (code != CUBLAS_STATUS_NOT_SUPPORTED) /* then nothing was found */
        RS_TRY(check_blas(code, "choosing the algorithm", gemm, n));
    for (int i = 0; i < found && c->n < end; i++)
        if (results[i].state == CUBLAS_STATUS_SUCCESS && is_whole(&results[i].algo) && !is_known(c, &results[i].algo))
            c->items[c->n++] = results[i].algo;
    return RS_OK;
}

/* --- trials --- */

typedef struct trial {
    rs_cuda_context *context;
    rs_cuda_gemm *gemm;
    cudaStream_t stream;
    char *a, *w; /* random */
    float *out;
    int64_t rows;     /* of a, and of out: n at which many rows are timed */
    char *piece;      /* pinned */
    float *reference; /* [COMPARED_ROWS, gemm->rows], host */
    cudaEvent_t begin, end;
} trial;

/* Signs and mantissas at random, magnitudes from 1/8 to 2. */
static void draw(char *to, bool bf16)
{
    uint32_t state = 2463534242u;
    for (size_t i = 0; i + 4 <= PIECE; i += 4) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        uint32_t bits = bf16 ? (state & 0x807f807fu) | 0x3e003e00u | (state >> 1 & 0x01800180u)
                             : (state & 0x807fffffu) | 0x3e000000u | (state >> 1 & 0x01800000u);
        memcpy(to + i, &bits, sizeof bits);
    }
}

static rs_status fill(const trial *t, char *to, size_t bytes)
{
    for (size_t done = 0; done < bytes; done += PIECE)
        RS_TRY(rs_cuda_check(
            cudaMemcpyAsync(to + done, t->piece, bytes - done < PIECE ? bytes - done : PIECE, cudaMemcpyHostToDevice, t->stream),
            "copying random numbers"));
    return RS_OK;
}

static void close_trial(trial *t)
{
    cudaFreeHost(t->piece);
    free(t->reference);
    if (t->begin)
        cudaEventDestroy(t->begin);
    if (t->end)
        cudaEventDestroy(t->end);
}

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Cuts the scratch memory up; leaves t->rows at 0 where it is too little. */
static void lay_out(trial *t, char *scratch, size_t bytes)
{
    size_t element = t->gemm->bf16 ? 2 : 4, w = aligned((size_t)(t->gemm->rows * t->gemm->cols) * element);
    size_t row = (size_t)t->gemm->cols * element + (size_t)t->gemm->rows * sizeof(float);
    size_t rows = bytes > w + 256 ? (bytes - w - 256) / row : 0;
    if (rows < FEW_ROWS)
        return;
    t->rows = rows < TRIED_MANY ? (int64_t)rows : TRIED_MANY;
    t->w = scratch;
    t->a = scratch + w;
    t->out = (float *)(void *)(t->a + aligned((size_t)(t->rows * t->gemm->cols) * element));
}

static rs_status open_trial(trial *t)
{
    size_t element = t->gemm->bf16 ? 2 : 4;
    RS_TRY(rs_try_alloc((void **)&t->reference, (size_t)(COMPARED_ROWS * t->gemm->rows), sizeof(float), "results to compare with"));
    RS_TRY(rs_cuda_check(cudaHostAlloc((void **)&t->piece, PIECE, cudaHostAllocDefault), "pinned memory"));
    RS_TRY(rs_cuda_check(cudaEventCreate(&t->begin), "opening an event"));
    RS_TRY(rs_cuda_check(cudaEventCreate(&t->end), "opening an event"));
    draw(t->piece, t->gemm->bf16);
    RS_TRY(fill(t, t->w, (size_t)(t->gemm->rows * t->gemm->cols) * element));
    return fill(t, t->a, (size_t)(t->rows * t->gemm->cols) * element);
}

static cublasStatus_t run(const trial *t, const cublasLtMatmulAlgo_t *algorithm, int64_t n)
{
    return multiply(t->context, t->stream, t->gemm, algorithm, t->a, t->gemm->cols, t->w, n, t->out, t->gemm->rows);
}

/* The first rows of the results: kept as the reference, or compared with it. */
static rs_status look(const trial *t, int64_t n, bool keep, bool *equal)
{
    size_t bytes = (size_t)((n < COMPARED_ROWS ? n : COMPARED_ROWS) * t->gemm->rows) * sizeof(float);
    for (size_t done = 0; done < bytes; done += PIECE) {
        size_t piece = bytes - done < PIECE ? bytes - done : PIECE;
        RS_TRY(rs_cuda_check(cudaMemcpyAsync(t->piece, (const char *)t->out + done, piece, cudaMemcpyDeviceToHost, t->stream),
                             "copying results"));
        RS_TRY(rs_cuda_check(cudaStreamSynchronize(t->stream), "trying matrix products"));
        if (keep)
            memcpy((char *)t->reference + done, t->piece, piece);
        else
            *equal = *equal && !memcmp((const char *)t->reference + done, t->piece, piece);
    }
    return RS_OK;
}

/* Whether the algorithm runs for every n and gives the reference's bits. first: it is the reference. */
static rs_status fits(const trial *t, const cublasLtMatmulAlgo_t *algorithm, bool first, bool *fit)
{
    const int64_t tried[] = {COMPARED_ROWS, 1, 17, TRIED_FEW, t->rows};
    *fit = true;
    for (size_t i = 0; i < sizeof tried / sizeof *tried && *fit; i++) {
        *fit = run(t, algorithm, tried[i]) == CUBLAS_STATUS_SUCCESS;
        if (*fit)
            RS_TRY(look(t, tried[i], first && i == 0, fit));
    }
    return RS_OK;
}

static rs_status measure(const trial *t, const cublasLtMatmulAlgo_t *algorithm, int64_t n, float *milliseconds)
{
    RS_TRY(rs_cuda_check(cudaEventRecord(t->begin, t->stream), "timing"));
    for (int i = 0; i < REPEATS; i++)
        RS_TRY(check_blas(run(t, algorithm, n), "a product", t->gemm, n));
    RS_TRY(rs_cuda_check(cudaEventRecord(t->end, t->stream), "timing"));
    RS_TRY(rs_cuda_check(cudaEventSynchronize(t->end), "timing"));
    return rs_cuda_check(cudaEventElapsedTime(milliseconds, t->begin, t->end), "timing");
}

/* The fastest of those that agree with the first that agrees with itself. */
static rs_status try_all(const trial *t, const candidates *c)
{
    const int64_t n[BUCKETS] = {TRIED_FEW, t->rows};
    float best[BUCKETS] = {0}, milliseconds;
    bool first = true, fit;
    for (int i = 0; i < c->n; i++) {
        RS_TRY(fits(t, &c->items[i], first, &fit));
        for (int bucket = 0; bucket < BUCKETS && fit; bucket++) {
            RS_TRY(measure(t, &c->items[i], n[bucket], &milliseconds));
            if (first || milliseconds < best[bucket]) {
                best[bucket] = milliseconds;
                t->gemm->algorithms[bucket] = c->items[i];
            }
        }
        first = first && !fit;
    }
    if (first)
        rs_warn("cuBLASLt has no product of [n, %lld] by [%lld, %lld] whose bits do not change with n: results may depend on the batch",
                (long long)t->gemm->cols, (long long)t->gemm->rows, (long long)t->gemm->cols);
    return RS_OK;
}

/* --- driver.h --- */

rs_status rs_cuda_gemm_open(rs_cuda_context *context, int64_t rows, int64_t cols, bool bf16, void *scratch, size_t scratch_bytes,
                            rs_cuda_gemm **out)
{
    rs_status status;
    rs_cuda_gemm *gemm = rs_alloc(1, sizeof *gemm);
    *gemm = (rs_cuda_gemm){.rows = rows, .cols = cols, .bf16 = bf16};
    trial t = {.context = context, .gemm = gemm, .stream = context->streams[RS_CUDA_COMPUTE]};
    candidates c = {.n = 0};
    lay_out(&t, scratch, scratch_bytes);
    RS_TRY_OUT(check_blas(make_product(gemm), "describing the product", gemm, TRIED_MANY));
    RS_TRY_OUT(propose(context, gemm, TRIED_MANY, &c));
    RS_TRY_OUT(propose(context, gemm, TRIED_FEW, &c));
    if (c.n == 0) {
        status = check_blas(CUBLAS_STATUS_NOT_SUPPORTED, "the product", gemm, TRIED_MANY);
        goto out;
    }
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        gemm->algorithms[bucket] = c.items[0];
    if (t.rows > 0) {
        RS_TRY_OUT(open_trial(&t));
        RS_TRY_OUT(try_all(&t, &c));
        RS_TRY_OUT(rs_cuda_check(cudaStreamSynchronize(t.stream), "trying matrix products"));
    }
    *out = gemm;
    gemm = NULL;
out:
    close_trial(&t);
    free(gemm);
    return status;
}

void rs_cuda_gemm_close(rs_cuda_context *context, rs_cuda_gemm *gemm)
{
    (void)context;
    free(gemm);
}

rs_status rs_cuda_gemm_run(rs_cuda_context *context, rs_cuda_stream stream, rs_cuda_gemm *gemm, const void *a, int64_t a_stride,
                           const void *w, int64_t n, float *out, int64_t out_stride)
{
    const cublasLtMatmulAlgo_t *algorithm = &gemm->algorithms[n > FEW_ROWS];
    return check_blas(multiply(context, context->streams[stream], gemm, algorithm, a, a_stride, w, n, out, out_stride), "a product", gemm,
                      n);
}
