/* Matrix products of the CPU backend against fp64, and the property that all else rests on: a row's bits depend on the row alone,
 * whatever the number of rows and the kernel that takes them. */
#include "test_cpu.h"

typedef struct gemm_case {
    rs_dtype dtype;
    int64_t n, k, m; /* rows, in_features, out_features */
    float *weights;  /* [m, k] */
    void *a;         /* [n, k] act */
    rs_backend *backend;
    rs_matrix *w;
} gemm_case;

static rs_backend *open_backend(rs_dtype dtype, int n_threads)
{
    static const int kv_of_head[1] = {0};
    rs_backend_shape shape = {
        .n_layers = 1, .heads = 1, .kv_heads = 1, .kv_of_head = kv_of_head, .all_heads = 1, .head_dim = 16, .attention_scale = 1};
    rs_backend *backend = NULL;
    assert_int_equal(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = dtype, .n_threads = n_threads}, &backend), RS_OK);
    return backend;
}

static void case_open(gemm_case *c, rs_dtype dtype, int64_t n, int64_t k, int64_t m, int n_threads)
{
    rs_rng rng;
    rs_rng_init(&rng, 5, "gemm", (uint64_t)k, (uint64_t)m);
    *c = (gemm_case){.dtype = dtype,
                     .n = n,
                     .k = k,
                     .m = m,
                     .weights = malloc((size_t)(m * k) * sizeof(float)),
                     .a = malloc((size_t)(n * k) * sizeof(float)),
                     .backend = open_backend(dtype, n_threads)};
    for (int64_t i = 0; i < m * k; i++)
        c->weights[i] = (float)(rs_rng_unit(&rng) - 0.5);
    for (int64_t i = 0; i < n * k; i++)
        act_set(dtype, c->a, i, (float)(rs_rng_unit(&rng) - 0.5));
    /* In two slices, the second with a stride of its own. */
    rs_slice slices[2] = {{.data = c->weights, .dtype = RS_F32, .rows = m / 3, .cols = k, .stride = k},
                          {.data = c->weights + m / 3 * k, .dtype = RS_F32, .rows = m - m / 3, .cols = k, .stride = k}};
    assert_int_equal(rs_backend_cpu.matrix_load(c->backend, slices, 2, &c->w), RS_OK);
}

static void case_close(gemm_case *c)
{
    rs_backend_cpu.matrix_free(c->backend, c->w);
    rs_backend_cpu.close(c->backend);
    free(c->weights);
    free(c->a);
}

/* out rows [row, row + n) by one call. */
static void product(const gemm_case *c, int64_t row, int64_t n, float *out, int64_t out_stride)
{
    const char *a = (const char *)c->a + (size_t)(row * c->k) * act_size(c->dtype);
    assert_int_equal(rs_backend_cpu.linear(c->backend, a, c->k, c->w, n, out + row * out_stride, out_stride), RS_OK);
}

static void check_values_of(rs_dtype dtype, int64_t n, int64_t k, int64_t m)
{
    gemm_case c;
    case_open(&c, dtype, n, k, m, 2);
    float *out = malloc((size_t)(n * m) * sizeof *out);
    product(&c, 0, n, out, m);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0, size = 0;
            for (int64_t l = 0; l < k; l++) {
                double term = (double)act_at(dtype, c.a, i * k + l) * (double)rounded(dtype, c.weights[j * k + l]);
                sum += term;
                size += fabs(term);
            }
            if (!(fabs((double)out[i * m + j] - sum) <= 2e-6 * size))
                fail_msg("%s dtype %d %d x %d x %d at %d, %d: %g, not %g", getenv("ROPESWEEP_ISA"), dtype, (int)n, (int)k, (int)m, (int)i,
                         (int)j, (double)out[i * m + j], sum);
        }
    free(out);
    case_close(&c);
}

static void check_values(void)
{
    static const int64_t shapes[][3] = {{1, 32, 16},     {3, 36, 64},   {7, 100, 200}, {17, 64, 65},
                                        {130, 576, 130}, {1, 1000, 63}, {2, 50, 7},    {300, 33, 70}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_values_of(RS_F32, shapes[i][0], shapes[i][1], shapes[i][2]);
        check_values_of(RS_BF16, shapes[i][0], shapes[i][1], shapes[i][2]);
    }
}

static void test_values(void **state)
{
    (void)state;
    for_each_isa(check_values);
}

/* All rows at once against every cut, one thread, a strided output, and a strided input. */
static void check_bits_of(rs_dtype dtype, int64_t n, int64_t k, int64_t m)
{
    static const int64_t cuts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 32, 64, 100, 128, 255, 256, 257, 300};
    gemm_case c;
    case_open(&c, dtype, n, k, m, 2);
    size_t bytes = (size_t)(n * m) * sizeof(float);
    float *whole = malloc(bytes), *cut = malloc(bytes), *wide = malloc((size_t)(n * (m + 5)) * sizeof *wide);
    product(&c, 0, n, whole, m);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        int64_t most = cuts[i] < 8 ? 2 * cuts[i] : n; /* few of the small ones: their time is all in calls */
        memcpy(cut, whole, bytes);
        memset(cut, 0, (size_t)((most < n ? most : n) * m) * sizeof *cut);
        for (int64_t row = 0; row < n && row < most; row += cuts[i])
            product(&c, row, n - row < cuts[i] ? n - row : cuts[i], cut, m);
        if (memcmp(whole, cut, bytes))
            fail_msg("%s dtype %d %d x %d x %d: differs in cuts of %d", getenv("ROPESWEEP_ISA"), dtype, (int)n, (int)k, (int)m,
                     (int)cuts[i]);
    }
    product(&c, 0, n, wide, m + 5);
    for (int64_t i = 0; i < n; i++)
        assert_memory_equal(wide + i * (m + 5), whole + i * m, (size_t)m * sizeof *whole);
    /* A row whose neighbours are others and whose place is another: the last row as the first of a strided input. */
    assert_int_equal(rs_backend_cpu.linear(c.backend, (char *)c.a + (size_t)((n - 1) % 2 * k) * act_size(dtype), 2 * k, c.w, n / 2, cut, m),
                     RS_OK);
    for (int64_t i = 0; i < n / 2; i++)
        assert_memory_equal(cut + i * m, whole + ((n - 1) % 2 + 2 * i) * m, (size_t)m * sizeof *whole);
    case_close(&c);
    case_open(&c, dtype, n, k, m, 1);
    product(&c, 0, n, cut, m);
    assert_memory_equal(cut, whole, bytes);
    case_close(&c);
    free(whole);
    free(cut);
    free(wide);
}

static void check_bits(void)
{
    static const int64_t inner[] = {32, 36, 100, 576, 1000, 1536, 3072}, outer[] = {16, 64, 192, 70, 200, 576, 130};
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
            check_bits_of((rs_dtype)dtype, i == 3 ? 1100 : 300, inner[i], outer[i]); /* 1100: the path of many rows */
}

static void test_bits(void **state)
{
    (void)state;
    for_each_isa(check_bits);
}

/* Large inner dimensions, where a blocked kernel might split its sums: the fast kernels only. */
static void test_bits_deep(void **state)
{
    (void)state;
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++) {
        check_bits_of((rs_dtype)dtype, 300, 16384, 64);
        check_bits_of((rs_dtype)dtype, 1100, 4096, 256);
    }
}

static void test_dtypes(void **state)
{
    (void)state;
    static const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x8400, 0x7bff, 0x0000, 0x3555, 0x03ff};
    static const float exact[] = {1, -2, 0x1p-24f, -0x1p-14f, 65504, 0, 0x1.554p-2f, 0x1.ff8p-15f};
    rs_slice slice = {.data = half, .dtype = RS_F16, .rows = 1, .cols = 8, .stride = 8};
    float row[8];
    rs_slice_row(&slice, 0, row);
    assert_memory_equal(row, exact, sizeof exact);
}

int main(int argc, char **argv)
{
    (void)argc;
    calm_threads(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_bits_deep),
        cmocka_unit_test(test_dtypes),
    };
    return cmocka_run_group_tests_name("cpu_gemm", tests, NULL, NULL);
}
