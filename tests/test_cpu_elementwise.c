/* Row-wise operations and the head of the CPU backend against fp64, the error bounds of their mathematical functions, and their bits. */
#include "test_cpu.h"

static rs_backend *open_backend(rs_dtype dtype, int n_threads)
{
    static const int kv_of_head[1] = {0};
    rs_backend_shape shape = {
        .n_layers = 1, .heads = 1, .kv_heads = 1, .kv_of_head = kv_of_head, .all_heads = 1, .head_dim = 16, .attention_scale = 1};
    rs_backend *backend = NULL;
    assert_int_equal(rs_backend_cpu.open(&shape, &(rs_backend_options){.dtype = dtype, .n_threads = n_threads}, &backend), RS_OK);
    return backend;
}

/* --- functions --- */

typedef struct bound {
    int which;
    const char *name;
    double low, high, relative, absolute; /* |error| <= relative |f| + absolute */
    double (*exact)(double x);
} bound;

static double exact_silu(double x)
{
    return x / (1 + exp(-x));
}

static double exact_gelu(double x)
{
    return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static const bound bounds[] = {
    {0, "exp2 precise", -125.9, 1, 1.5e-7, 0, exp2},
    {1, "exp2 fast", -125.9, 1, 8e-6, 0, exp2},
    {2, "exp", -87, 88, 1.3e-7, 0, exp},
    {3, "tanh", -12, 12, 2.5e-7, 0, tanh},
    {3, "tanh near 0", -1e-3, 1e-3, 1.5e-7, 0, tanh},
    {4, "SiLU", -80, 80, 4e-7, 0, exact_silu},
    {5, "GELU", -2, 100, 6e-7, 0, exact_gelu},
    {5, "GELU, left tail", -8, -2, 0, 4e-8, exact_gelu},
};

static const rs_elementwise_kernels *kernels_now(void)
{
    rs_isa isa = rs_isa_detect();
    return isa == RS_ISA_PORTABLE ? &rs_elementwise_portable : isa == RS_ISA_AVX2 ? &rs_elementwise_avx2 : &rs_elementwise_avx512;
}

static void check_functions(void)
{
    enum { N = 200000 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        const bound *b = &bounds[i];
        double worst = 0;
        for (int k = 0; k < N; k++)
            x[k] = (float)(b->low + (b->high - b->low) * k / (N - 1));
        kernels_now()->function(b->which, x, N, y);
        for (int k = 0; k < N; k++) {
            double exact = b->exact((double)x[k]), error = fabs((double)y[k] - exact) / (b->relative * fabs(exact) + b->absolute + 1e-45);
            worst = error > worst || isnan(error) ? error : worst;
        }
        if (!(worst <= 1))
            fail_msg("%s %s: %g of the bound", getenv("ROPESWEEP_ISA"), b->name, worst);
    }
    free(x);
    free(y);
}

static void test_functions(void **state)
{
    (void)state;
    for_each_isa(check_functions);
}

static void check_edges(void)
{
    static const float x[] = {-INFINITY, -1e30f, -200, 0, NAN, INFINITY, 100};
    enum { N = sizeof x / sizeof *x };
    float y[N];
    for (int which = 0; which < 2; which++) {
        kernels_now()->function(which, x, 5, y);
        assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 1 && isnan(y[4]));
    }
    kernels_now()->function(2, x, N, y);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 1 && isnan(y[4]) && isinf(y[5]) && isinf(y[6]));
    kernels_now()->function(3, x, N, y);
    assert_true(y[0] == -1 && y[3] == 0 && isnan(y[4]) && y[5] == 1);
    kernels_now()->function(4, x, N, y);
    assert_true(fabsf(y[2]) < 1e-30f && y[3] == 0 && isnan(y[4]) && isinf(y[5]) && y[6] == 100);
    kernels_now()->function(5, x, N, y);
    assert_true(fabsf(y[2]) < 1e-30f && y[3] == 0 && isnan(y[4]) && isinf(y[5]) && y[6] == 100);
}

static void test_edges(void **state)
{
    (void)state;
    for_each_isa(check_edges);
}

/* --- rows --- */

static const int64_t widths[] = {1, 3, 16, 17, 64, 100, 576};
enum { N_WIDTHS = sizeof widths / sizeof *widths, ROWS = 5, MOST = 576 };

/* To a unit in the last place of the dtype: values next to a rounding border may fall either way. */
static void assert_act(rs_dtype dtype, const void *act, int64_t i, double expected, const char *what)
{
    double tolerance = (dtype == RS_BF16 ? 0x1p-8 : 1e-6) * fabs(expected) + 1e-30;
    if (!(fabs((double)act_at(dtype, act, i) - expected) <= tolerance))
        fail_msg("%s %s dtype %d element %d: %g, not %g", getenv("ROPESWEEP_ISA"), what, dtype, (int)i, (double)act_at(dtype, act, i),
                 expected);
}

static void check_norm_of(rs_dtype dtype, int64_t d, bool cast_first, bool with_y)
{
    float x[ROWS * MOST], y[ROWS * MOST], sum[ROWS * MOST], weight[MOST], h[ROWS * MOST];
    rs_rng rng;
    rs_rng_init(&rng, 6, "norm", (uint64_t)d, 0);
    fill_normal(&rng, x, ROWS * d, 3);
    fill_normal(&rng, y, ROWS * d, 1);
    fill_normal(&rng, weight, d, 1);
    for (int64_t i = 0; i < ROWS * d; i++)
        sum[i] = with_y ? x[i] + y[i] : x[i];
    rs_backend *backend = open_backend(dtype, 2);
    assert_int_equal(rs_backend_cpu.add_norm(backend, x, with_y ? y : NULL, weight, 1e-5f, cast_first, ROWS, d, h), RS_OK);
    assert_memory_equal(x, sum, (size_t)(ROWS * d) * sizeof *x);
    for (int64_t i = 0; i < ROWS; i++) {
        double square = 0;
        for (int64_t c = 0; c < d; c++)
            square += (double)sum[i * d + c] * (double)sum[i * d + c];
        for (int64_t c = 0; c < d; c++) {
            double normal = (double)sum[i * d + c] / sqrt(square / (double)d + 1e-5);
            if (cast_first)
                normal = (double)rounded(dtype, (float)normal);
            assert_act(dtype, h, i * d + c, normal * (double)weight[c], "norm");
        }
    }
    assert_int_equal(rs_backend_cpu.add_norm(backend, x, y, weight, 1e-5f, cast_first, ROWS, d, NULL), RS_OK);
    for (int64_t i = 0; i < ROWS * d; i++)
        assert_true(x[i] == sum[i] + y[i]);
    rs_backend_cpu.close(backend);
}

static void check_glu_of(rs_dtype dtype, int64_t f, rs_activation activation)
{
    float gate_up[2 * ROWS * MOST], out[ROWS * MOST];
    rs_rng rng;
    rs_rng_init(&rng, 7, "glu", (uint64_t)f, 0);
    fill_normal(&rng, gate_up, 2 * ROWS * f, 2);
    for (int64_t i = 0; i < ROWS * f; i++) /* off GELU's left tail, where the bound is absolute */
        gate_up[i / f * 2 * f + i % f] = fmaxf(gate_up[i / f * 2 * f + i % f], -2);
    rs_backend *backend = open_backend(dtype, 2);
    assert_int_equal(rs_backend_cpu.glu(backend, activation, gate_up, ROWS, f, out), RS_OK);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t c = 0; c < f; c++) {
            double gate = (double)gate_up[2 * i * f + c], up = (double)gate_up[2 * i * f + f + c];
            assert_act(dtype, out, i * f + c, (activation == RS_SILU ? exact_silu(gate) : exact_gelu(gate)) * up, "glu");
        }
    rs_backend_cpu.close(backend);
}

static void check_embed_of(rs_dtype dtype, int64_t d)
{
    float table[7 * MOST], x[ROWS * MOST];
    static const int32_t ids[ROWS] = {103, 99, 100, 106, 107};
    rs_rng rng;
    rs_rng_init(&rng, 8, "embed", (uint64_t)d, 0);
    fill_normal(&rng, table, 7 * d, 1);
    rs_slice slice = {.data = table, .dtype = RS_F32, .rows = 7, .cols = d, .stride = d};
    rs_backend *backend = open_backend(dtype, 2);
    rs_table *rows = NULL;
    assert_int_equal(rs_backend_cpu.table_load(backend, &slice, &rows), RS_OK);
    assert_int_equal(rs_backend_cpu.prepare(backend, &(rs_step){.ids = ids, .n = ROWS}), RS_OK);
    assert_int_equal(rs_backend_cpu.embed(backend, rows, 100, 45.25f, x), RS_OK);
    for (int64_t i = 0; i < ROWS * d; i++) {
        int32_t row = ids[i / d] - 100;
        assert_true(x[i] == (row < 0 || row >= 7 ? 0 : rounded(dtype, table[row * d + i % d]) * 45.25f));
    }
    rs_backend_cpu.table_free(backend, rows);
    rs_backend_cpu.close(backend);
}

static void check_rows(void)
{
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (int i = 0; i < N_WIDTHS; i++) {
            for (int form = 0; form < 4; form++)
                check_norm_of((rs_dtype)dtype, widths[i], form & 1, form & 2);
            check_glu_of((rs_dtype)dtype, widths[i], RS_SILU);
            check_glu_of((rs_dtype)dtype, widths[i], RS_GELU_TANH);
            check_embed_of((rs_dtype)dtype, widths[i]);
        }
}

static void test_rows(void **state)
{
    (void)state;
    for_each_isa(check_rows);
}

static void check_add(void)
{
    enum { N = 40003 };
    float *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    for (int i = 0; i < N; i++) {
        a[i] = (float)i;
        b[i] = 0.5f;
    }
    rs_backend *backend = open_backend(RS_F32, 2);
    assert_int_equal(rs_backend_cpu.add(backend, a, b, N), RS_OK);
    for (int i = 0; i < N; i++)
        assert_true(a[i] == (float)i + 0.5f);
    rs_backend_cpu.close(backend);
    free(a);
    free(b);
}

static void test_add(void **state)
{
    (void)state;
    for_each_isa(check_add);
}

/* --- head --- */

typedef struct head_case {
    rs_dtype dtype;
    int64_t n, d, vocabulary;
    float *weights;
    void *h;
    int32_t *targets;
    rs_head_row *rows;
} head_case;

enum { FIRST_ID = 1000 };

static void head_open(head_case *c, rs_dtype dtype, int64_t n, int64_t d, int64_t vocabulary)
{
    rs_rng rng;
    rs_rng_init(&rng, 9, "head", (uint64_t)n, (uint64_t)vocabulary);
    *c = (head_case){.dtype = dtype,
                     .n = n,
                     .d = d,
                     .vocabulary = vocabulary,
                     .weights = malloc((size_t)(vocabulary * d) * sizeof(float)),
                     .h = malloc((size_t)(n * d) * sizeof(float)),
                     .targets = malloc((size_t)n * sizeof(int32_t)),
                     .rows = malloc((size_t)n * sizeof(rs_head_row))};
    fill_normal(&rng, c->weights, vocabulary * d, 1);
    memcpy(c->weights + (vocabulary - 1) * d, c->weights + 3 % vocabulary * d,
           (size_t)d * sizeof(float)); /* equal logits: the lower id counts */
    for (int64_t i = 0; i < n * d; i++)
        act_set(dtype, c->h, i, (float)rs_rng_normal(&rng));
    for (int64_t i = 0; i < n; i++)
        c->targets[i] = i % 4 == 3 ? -1 : FIRST_ID - 2 + (int32_t)rs_rng_below(&rng, (uint64_t)vocabulary + 4);
}

static void head_close(head_case *c)
{
    free(c->weights);
    free(c->h);
    free(c->targets);
    free(c->rows);
}

static void head_run(const head_case *c, int n_threads, int64_t step, float cap, rs_head_row *rows)
{
    rs_backend *backend = open_backend(c->dtype, n_threads);
    rs_slice slice = {.data = c->weights, .dtype = RS_F32, .rows = c->vocabulary, .cols = c->d, .stride = c->d};
    rs_matrix *w = NULL;
    assert_int_equal(rs_backend_cpu.matrix_load(backend, &slice, 1, &w), RS_OK);
    for (int64_t i = 0; i < c->n; i += step)
        assert_int_equal(rs_backend_cpu.head(backend, (char *)c->h + (size_t)(i * c->d) * act_size(c->dtype), w, FIRST_ID, c->targets + i,
                                             cap, c->n - i < step ? c->n - i : step, rows + i),
                         RS_OK);
    rs_backend_cpu.matrix_free(backend, w);
    rs_backend_cpu.close(backend);
}

static void check_head_row(const head_case *c, int64_t i, float cap, double *z)
{
    double max = -INFINITY, sum = 0;
    int64_t best = 0;
    for (int64_t v = 0; v < c->vocabulary; v++) {
        z[v] = 0;
        for (int64_t k = 0; k < c->d; k++)
            z[v] += (double)act_at(c->dtype, c->h, i * c->d + k) * (double)rounded(c->dtype, c->weights[v * c->d + k]);
        if (cap > 0)
            z[v] = (double)cap * tanh(z[v] / (double)cap);
        if (z[v] > max) {
            max = z[v];
            best = v;
        }
    }
    for (int64_t v = 0; v < c->vocabulary; v++)
        sum += exp(z[v] - max);
    const rs_head_row *row = &c->rows[i];
    int64_t target = c->targets[i] - FIRST_ID;
    assert_true(fabs((double)row->max + log((double)row->sum) - (max + log(sum))) < 2e-5);
    assert_true(fabs((double)row->max - max) < 2e-5 && fabs((double)row->best - max) < 2e-5);
    assert_true(row->best_id == best + FIRST_ID || z[row->best_id - FIRST_ID] > max - 1e-5);
    if (c->targets[i] >= 0 && target >= 0 && target < c->vocabulary)
        assert_true(fabs((double)row->target - z[target]) < 2e-5);
    else
        assert_true(row->target == -INFINITY);
}

static void check_head(void)
{
    static const int64_t shapes[][3] = {{1, 64, 5000}, {3, 36, 17}, {17, 100, 2049}, {130, 16, 700}, {5, 33, 1}, {300, 32, 4096}};
    for (int dtype = RS_F32; dtype <= RS_BF16; dtype++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int capped = 0; capped < 2; capped++) {
                head_case c;
                head_open(&c, (rs_dtype)dtype, shapes[s][0], shapes[s][1], shapes[s][2]);
                float cap = capped ? 30 : 0;
                head_run(&c, 2, c.n, cap, c.rows);
                double *z = malloc((size_t)c.vocabulary * sizeof *z);
                for (int64_t i = 0; i<c.n; i += c.n> 50 ? 29 : 1)
                    check_head_row(&c, i, cap, z);
                rs_head_row *cut = calloc((size_t)c.n, sizeof *cut);
                head_run(&c, 1, 7, cap, cut);
                assert_memory_equal(cut, c.rows, (size_t)c.n * sizeof *cut);
                free(cut);
                free(z);
                head_close(&c);
            }
}

static void test_head(void **state)
{
    (void)state;
    for_each_isa(check_head);
}

/* Of two equal logits the lower id is the greedy choice, in one panel and across groups. */
static void check_ties(void)
{
    enum { D = 16, V = 5000 };
    float *weights = calloc(V * D, sizeof *weights), h[D];
    static const int32_t targets[1] = {-1};
    rs_head_row row;
    for (int k = 0; k < D; k++)
        h[k] = weights[3 * D + k] = weights[7 * D + k] = weights[4999 * D + k] = 1;
    rs_slice slice = {.data = weights, .dtype = RS_F32, .rows = V, .cols = D, .stride = D};
    rs_backend *backend = open_backend(RS_F32, 2);
    rs_matrix *w = NULL;
    assert_int_equal(rs_backend_cpu.matrix_load(backend, &slice, 1, &w), RS_OK);
    assert_int_equal(rs_backend_cpu.head(backend, h, w, 0, targets, 0, 1, &row), RS_OK);
    assert_int_equal(row.best_id, 3);
    /* One NaN anywhere is seen. */
    h[5] = NAN;
    assert_int_equal(rs_backend_cpu.head(backend, h, w, 0, targets, 0, 1, &row), RS_OK);
    assert_true(isnan(row.sum) || isnan(row.max));
    h[5] = INFINITY;
    assert_int_equal(rs_backend_cpu.head(backend, h, w, 0, targets, 0, 1, &row), RS_OK);
    assert_true(!isfinite(row.sum) || !isfinite(row.max));
    rs_backend_cpu.matrix_free(backend, w);
    rs_backend_cpu.close(backend);
    free(weights);
}

static void test_ties(void **state)
{
    (void)state;
    for_each_isa(check_ties);
}

int main(int argc, char **argv)
{
    (void)argc;
    calm_threads(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions), cmocka_unit_test(test_edges), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_add),       cmocka_unit_test(test_head),  cmocka_unit_test(test_ties),
    };
    return cmocka_run_group_tests_name("cpu_elementwise", tests, NULL, NULL);
}
