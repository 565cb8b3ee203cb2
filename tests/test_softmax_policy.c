/* Softmax policies against numbers worked out elsewhere in fp64, and against closed forms written out here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "entry.h"
#include "kernels/softmax_policy.h"

static const rs_model_facts tiny = {.rope_theta = 10000, .max_position_embeddings = 4096};
static const double RTOL = 5.5e-9; /* half a unit of the ninth digit, the last one printed */

#define CLOSE(got, want) assert_true(close_to((got), (want), RTOL, __LINE__))

static bool close_to(double got, double want, double rtol, int line)
{
    if (fabs(got - want) <= rtol * fabs(want))
        return true;
    print_error("line %d: %.12g, expected %.12g\n", line, got, want);
    return false;
}

static rs_status try_build(const char *type, const char *entry, rs_softmax *out)
{
    const rs_softmax_policy *policy = rs_softmax_policy_find(type);
    assert_non_null(policy);
    rs_params params;
    rs_error_clear();
    rs_status status = entry_params(&params, policy->params, entry, &tiny);
    if (status == RS_OK)
        status = rs_softmax_build(policy, &params, out);
    rs_params_free(&params);
    return status;
}

static rs_softmax build(const char *type, const char *entry)
{
    rs_softmax softmax;
    if (try_build(type, entry, &softmax) != RS_OK)
        fail_msg("%s %s: %s", type, entry, rs_error_message());
    return softmax;
}

/* --- rows --- */

static void rows_of_three(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry;
        double z[3], want[3];
    } cases[] = {
        {"temperature", "temperature=1", {2, 1, 0}, {0.665240956, 0.244728471, 0.0900305732}},
        {"softmax1", "", {2, 1, 0}, {0.610295685, 0.224515236, 0.0825945394}},
        {"sink", "logit=0.5", {2, 1, 0}, {0.57925853, 0.213097304, 0.0783941172}},
        {"sparsemax", "", {2, 1, 0}, {1, 0, 0}},
        {"entmax", "alpha=2", {2, 1, 0}, {1, 0, 0}},
        {"entmax", "alpha=1.5", {2, 1, 0}, {0.830718914, 0.169281086, 0}},
        {"entmax", "", {2, 1, 0}, {0.830718914, 0.169281086, 0}},
        {"top_k", "k=2", {2, 1, 0}, {0.731058579, 0.268941421, 0}},
        {"ssmax", "s=.43", {2, 1, 0}, {0.49695447, 0.309852113, 0.193193416}},
        {"adaptive", "", {2, 1, 0}, {0.665240956, 0.244728471, 0.0900305732}},
        {"sparsemax", "", {1, .8, .1}, {0.6, 0.4, 0}},
        {"entmax", "alpha=1.5", {1, .8, .1}, {0.529247894, 0.393749043, 0.0770030628}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_softmax softmax = build(cases[i].type, cases[i].entry);
        double w[3];
        rs_softmax_row(&softmax, cases[i].z, 3, w);
        for (int k = 0; k < 3; k++)
            if (!close_to(w[k], cases[i].want[k], RTOL, __LINE__))
                fail_msg("%s %s, weight %d", cases[i].type, cases[i].entry, k);
    }
}

/* Weights of [120, 60, 0] under cap 50: the softmax of the three capped logits. */
static void softcap(void **state)
{
    (void)state;
    static const double z[] = {120, 60, 0}, capped[] = {49.1837429, 41.6827304, 0};
    rs_softmax softmax = build("softcap", "cap=50");
    double w[3];
    rs_softmax_row(&softmax, z, 3, w);
    assert_true(softmax.cap == 50);
    for (int i = 1; i < 3; i++)
        assert_true(fabs(log(w[0] / w[i]) - (capped[0] - capped[i])) < 1e-7);
}

/* Fills z with `first`, then n - 1 zeros. */
static void one_and_zeros(double first, int n, double *z)
{
    memset(z, 0, (size_t)n * sizeof *z);
    z[0] = first;
}

/* max over the row of z's softmax, and of what `softmax` makes of it. */
static void check_adaptive(const double *z, int n, double entropy, double poly, double beta, double max_before, double max_after)
{
    enum { MAX_N = 1024 };
    double before[MAX_N], after[MAX_N], h = 0, p = 0;
    rs_softmax plain = build("temperature", "temperature=1"), adaptive = build("adaptive", "");
    rs_softmax_row(&plain, z, n, before);
    rs_softmax_row(&adaptive, z, n, after);
    for (int i = 0; i < n; i++)
        h -= before[i] * log(before[i] + 1e-9);
    CLOSE(h, entropy);
    for (int i = 0; i < adaptive.n_theta; i++)
        p += adaptive.theta[i] * pow(h, adaptive.n_theta - 1 - i);
    CLOSE(p, poly);
    assert_true(close_to((double)rs_softmax_beta(&adaptive, (float)entropy), beta, 3e-7, __LINE__));
    CLOSE(before[0], max_before);
    CLOSE(after[0], max_after);
}

static void adaptive_temperature(void **state)
{
    (void)state;
    static const double falling[] = {2, 1, 0}, spread[] = {1, .5, 0, -.5, -1};
    double z[1024];
    check_adaptive(falling, 3, 0.832395579, 0.96791419, 1, 0.665240956, 0.665240956);
    one_and_zeros(3, 8, z);
    check_adaptive(z, 8, 1.07432142, 1.38398166, 1.38398166, 0.741559489, 0.900790133);
    check_adaptive(spread, 5, 1.39428496, 1.75736262, 1.75736262, 0.428655529, 0.591985848);
    one_and_zeros(6, 4, z);
    check_adaptive(z, 4, 0.0516969406, -1.54288687, 1, 0.992618633, 0.992618633);
    one_and_zeros(4, 128, z);
    check_adaptive(z, 128, 3.99918148, 2.38889108, 2.38889108, 0.300653669, 0.991087758);
    one_and_zeros(0, 1024, z);
    check_adaptive(z, 1024, 6.93147078, -3.43726811, 1, 1.0 / 1024, 1.0 / 1024);
}

/* The 1e-9 inside the logarithm counts where keys are many: against the closed form for [8, 0 x 1023]. */
static void adaptive_entropy_has_its_epsilon(void **state)
{
    (void)state;
    double z[1024], w[1024], sum = exp(8) + 1023, first = exp(8) / sum, other = 1 / sum;
    rs_softmax adaptive = build("adaptive", "");
    one_and_zeros(8, 1024, z);
    rs_softmax_row(&adaptive, z, 1024, w);
    double h = -first * log(first + 1e-9) - 1023 * other * log(other + 1e-9);
    double beta = -0.037 * pow(h, 4) + 0.481 * pow(h, 3) - 2.3 * pow(h, 2) + 4.917 * h - 1.791;
    assert_true(beta > 1);
    assert_true(fabs(log(w[0] / w[1]) - 8 * beta) < 1e-9);
}

/* beta rises above 1 only between the two roots of P = 1, and peaks where the document says. */
static void adaptive_range(void **state)
{
    (void)state;
    rs_softmax s = build("adaptive", "");
    assert_true(rs_softmax_beta(&s, 0.8485F) == 1 && rs_softmax_beta(&s, 0.8487F) > 1);
    assert_true(rs_softmax_beta(&s, 5.9444F) > 1 && rs_softmax_beta(&s, 5.9447F) == 1);
    assert_true(fabs((double)rs_softmax_beta(&s, 4.412F) - 2.421388) < 1e-6);
    /* Below the threshold the polynomial does not count: this one is 3 everywhere. */
    rs_softmax three = build("adaptive", "theta_coefficients=[3]");
    assert_true(rs_softmax_beta(&three, 0.5F) == 1 && rs_softmax_beta(&three, 0.51F) == 3);
    rs_softmax plain = build("temperature", "temperature=1");
    assert_true(rs_softmax_beta(&plain, 2) == 1);
}

/* --- scales --- */

static void row_scales(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry;
        int64_t n;
        double want;
    } cases[] = {
        {"temperature", "temperature=0.8", 10, 1.25},
        {"log_n", "", 4096, 1},
        {"log_n", "", 64, 0.5},
        {"log_n", "", 1, 0},
        {"log_n", "original_max_position_embeddings=1024", 1048576, 2},
        {"qwen_logn", "", 64, 1},
        {"qwen_logn", "original_max_position_embeddings=1024", 1048576, 2},
        {"ssmax", "s=.5", 1, 0},
        {"ssmax", "s=.5", 100, 0.5 * 4.605170186},
        {"yarn", "factor=2", 7, 1.14343397},
        {"yarn", "factor=4", 7, 1.29647699},
        {"yarn", "factor=8", 7, 1.45912908},
        {"yarn", "factor=0.5", 7, 1},
        {"softcap", "cap=50", 7, 1},
        {"entmax", "", 7, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_softmax softmax = build(cases[i].type, cases[i].entry);
        if (!close_to((double)rs_softmax_row_scale(&softmax, cases[i].n), cases[i].want, 1e-7, __LINE__))
            fail_msg("%s %s at %ld", cases[i].type, cases[i].entry, (long)cases[i].n);
    }
}

/* --- the normalizers against closed forms --- */

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Threshold of sparsemax by sorting (Martins and Astudillo, algorithm 1). */
static double sparsemax_tau(const double *z, int n)
{
    double sorted[512], sum = 0, tau = 0;
    memcpy(sorted, z, (size_t)n * sizeof *z);
    qsort(sorted, (size_t)n, sizeof *sorted, descending);
    for (int k = 0; k < n; k++) {
        sum += sorted[k];
        if (1 + (k + 1) * sorted[k] > sum)
            tau = (sum - 1) / (k + 1);
    }
    return tau;
}

/* Threshold of 1.5-entmax by sorting (Peters, Niculae and Martins, algorithm 2), on z/2. */
static double entmax15_tau(const double *z, int n)
{
    double sorted[512], sum = 0, squares = 0, tau = 0;
    for (int i = 0; i < n; i++)
        sorted[i] = z[i] / 2;
    qsort(sorted, (size_t)n, sizeof *sorted, descending);
    for (int k = 0; k < n; k++) {
        sum += sorted[k];
        squares += sorted[k] * sorted[k];
        double mean = sum / (k + 1), spread = squares - sum * mean;
        double candidate = spread <= 1 ? mean - sqrt((1 - spread) / (k + 1)) : INFINITY;
        if (candidate <= sorted[k])
            tau = candidate;
    }
    return tau;
}

static void entmax_matches_sorting(void **state)
{
    (void)state;
    rs_rng rng;
    rs_rng_init(&rng, 3, "entmax", 0, 0);
    rs_softmax two = build("sparsemax", ""), half = build("entmax", "alpha=1.5");
    for (int trial = 0; trial < 300; trial++) {
        double z[512], w[512];
        int n = 1 + (int)rs_rng_below(&rng, 512);
        double spread = pow(10, 3 * rs_rng_unit(&rng) - 2);
        for (int i = 0; i < n; i++)
            z[i] = spread * rs_rng_normal(&rng);
        double tau = sparsemax_tau(z, n);
        rs_softmax_row(&two, z, n, w);
        for (int i = 0; i < n; i++)
            assert_true(fabs(w[i] - fmax(z[i] - tau, 0)) < 1e-12);
        tau = entmax15_tau(z, n);
        rs_softmax_row(&half, z, n, w);
        for (int i = 0; i < n; i++)
            assert_true(fabs(w[i] - pow(fmax(z[i] / 2 - tau, 0), 2)) < 1e-12);
    }
}

/* Any alpha: weights sum to 1 and, on the support, w^(alpha-1) - (alpha-1) z is one constant, not above that of the zeros. */
static void entmax_conditions(void **state)
{
    (void)state;
    static const char *const entries[] = {"alpha=1.05", "alpha=1.25", "alpha=1.5", "alpha=1.75", "alpha=2"};
    static const double alphas[] = {1.05, 1.25, 1.5, 1.75, 2};
    rs_rng rng;
    rs_rng_init(&rng, 4, "entmax", 0, 0);
    for (int trial = 0; trial < 200; trial++) {
        double z[64], w[64], sum = 0, a = alphas[trial % 5];
        rs_softmax softmax = build("entmax", entries[trial % 5]);
        for (int i = 0; i < 64; i++)
            z[i] = rs_rng_normal(&rng);
        rs_softmax_row(&softmax, z, 64, w);
        int top = 0;
        for (int i = 0; i < 64; i++) {
            sum += w[i];
            top = z[i] > z[top] ? i : top;
        }
        assert_true(fabs(sum - 1) < 1e-12);
        double constant = pow(w[top], a - 1) - (a - 1) * z[top];
        for (int i = 0; i < 64; i++)
            if (w[i] > 0)
                assert_true(fabs(pow(w[i], a - 1) - (a - 1) * z[i] - constant) < 1e-9);
            else
                assert_true(-(a - 1) * z[i] >= constant - 1e-9);
    }
}

static void top_k_keeps_the_earlier_of_equals(void **state)
{
    (void)state;
    static const double z[] = {1, 3, 3, 2, 3, 0};
    static const double want2[] = {0, 0.5, 0.5, 0, 0, 0};
    double w[6], plain[6];
    rs_softmax two = build("top_k", "k=2"), all = build("top_k", "k=100"), exact = build("top_k", "k=6"), one = build("top_k", "k=1");
    rs_softmax softmax = build("temperature", "temperature=1");
    rs_softmax_row(&two, z, 6, w);
    for (int i = 0; i < 6; i++)
        assert_true(fabs(w[i] - want2[i]) < 1e-15);
    rs_softmax_row(&one, z, 6, w);
    assert_true(w[1] == 1 && w[2] == 0 && w[4] == 0);
    rs_softmax_row(&softmax, z, 6, plain);
    rs_softmax_row(&all, z, 6, w);
    assert_memory_equal(w, plain, sizeof w);
    rs_softmax_row(&exact, z, 6, w);
    assert_memory_equal(w, plain, sizeof w);
}

/* What no policy combines but the struct can say: a sink beside entmax and top-k, a scale below a cap. */
static void combinations(void **state)
{
    (void)state;
    static const double z[] = {1, .8}, with_sink[] = {0.6, 0.4};
    double w[2];
    rs_softmax sparse = build("sparsemax", "");
    sparse.has_sink = true;
    sparse.sink = .1; /* [1, .8, .1]: the sink's weight is 0 */
    rs_softmax_row(&sparse, z, 2, w);
    for (int i = 0; i < 2; i++)
        CLOSE(w[i], with_sink[i]);
    sparse.sink = 5; /* takes all */
    rs_softmax_row(&sparse, z, 2, w);
    assert_true(w[0] == 0 && w[1] == 0);
    rs_softmax top = build("top_k", "k=1");
    top.has_sink = true; /* e^1 / (e^1 + e^0), e = the logistic function at 1 */
    rs_softmax_row(&top, z, 2, w);
    CLOSE(w[0], 0.731058579);
    assert_true(w[1] == 0);
    rs_softmax capped = build("softcap", "cap=2");
    capped.scale_const = 3; /* applied after the cap */
    rs_softmax_row(&capped, z, 2, w);
    CLOSE(log(w[0] / w[1]), 6 * (tanh(0.5) - tanh(0.4)));
}

static void extremes_stay_finite(void **state)
{
    (void)state;
    static const double z[] = {1e4, 9.999e3, -1e4};
    for (const rs_softmax_policy *const *policy = rs_softmax_policies; *policy; policy++) {
        static const struct {
            const char *type, *entry;
        } entries[] = {{"temperature", "temperature=0.01"},
                       {"ssmax", "s=1"},
                       {"yarn", "factor=4"},
                       {"softcap", "cap=50"},
                       {"sink", "logit=-1e4"},
                       {"top_k", "k=2"}};
        const char *entry = "";
        for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
            entry = strcmp(entries[i].type, (*policy)->name) == 0 ? entries[i].entry : entry;
        rs_softmax softmax = build((*policy)->name, entry);
        double w[3], sum = 0;
        rs_softmax_row(&softmax, z, 3, w);
        for (int i = 0; i < 3; i++)
            sum += w[i];
        assert_true(fabs(sum - 1) < 1e-12);
        double lone = -7, weight;
        rs_softmax_row(&softmax, &lone, 1, &weight);
        assert_true(weight > 0 || (softmax.has_sink && softmax.sink > -7));
    }
}

/* --- registry and refusals --- */

static void digests_tell_policies_apart(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry;
    } entries[] = {
        {"temperature", "temperature=1"},
        {"temperature", "temperature=2"},
        {"adaptive", ""},
        {"adaptive", "theta_coefficients=[1,2]"},
        {"log_n", ""},
        {"qwen_logn", ""},
        {"ssmax", "s=.43"},
        {"yarn", "factor=4"},
        {"softcap", "cap=50"},
        {"softmax1", ""},
        {"sink", "logit=.5"},
        {"top_k", "k=2"},
        {"top_k", "k=3"},
        {"sparsemax", ""},
        {"entmax", ""},
    };
    enum { N = sizeof entries / sizeof *entries };
    rs_digest digests[N];
    for (int i = 0; i < N; i++) {
        rs_softmax softmax = build(entries[i].type, entries[i].entry);
        digests[i] = rs_softmax_digest(&softmax);
        for (int j = 0; j < i; j++)
            assert_true(digests[i].high != digests[j].high || digests[i].low != digests[j].low);
    }
    rs_softmax one = build("sink", "logit=0"), same = build("softmax1", ""), negative = build("sink", "logit=-0.0");
    assert_true(rs_softmax_digest(&one).low == rs_softmax_digest(&same).low);
    assert_true(rs_softmax_digest(&one).low == rs_softmax_digest(&negative).low);
    assert_null(rs_softmax_policy_find("softmaxx"));
}

static void bad_entries_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *type, *entry, *words[2];
    } cases[] = {
        {"temperature", "", {"'temperature'", "missing"}},
        {"temperature", "temperature=0", {"above 0", "not 0"}},
        {"temperature", "temperature=-1", {"above 0", "not -1"}},
        {"temperature", "temperature=.inf", {"finite", "inf"}},
        {"temperature", "temperature=nan", {"number", "'nan'"}},
        {"temperature", "temperature=1e-310", {"temperature", "infinite"}},
        {"adaptive", "theta_coefficients=[]", {"at least one", "empty"}},
        {"adaptive", "theta_coefficients=[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", {"theta_coefficients", "at most 16"}},
        {"log_n", "original_max_position_embeddings=1", {"at least 2", "not 1"}},
        {"qwen_logn", "original_max_position_embeddings=-8", {"at least 2", "not -8"}},
        {"ssmax", "", {"'s'", "missing"}},
        {"ssmax", "s=0", {"above 0", "not 0"}},
        {"yarn", "", {"'factor'", "missing"}},
        {"yarn", "factor=0", {"above 0", "not 0"}},
        {"softcap", "", {"'cap'", "missing"}},
        {"softcap", "cap=0", {"above 0", "not 0"}},
        {"sink", "", {"'logit'", "missing"}},
        {"sink", "logit=high", {"number", "'high'"}},
        {"top_k", "", {"'k'", "missing"}},
        {"top_k", "k=0", {"at least 1", "not 0"}},
        {"top_k", "k=1.5", {"whole number", "1.5"}},
        {"entmax", "alpha=1", {"above 1", "not 1"}},
        {"entmax", "alpha=2.5", {"at most 2", "not 2.5"}},
        {"entmax", "alpha=0.5", {"above 1", "not 0.5"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_softmax softmax;
        if (try_build(cases[i].type, cases[i].entry, &softmax) != RS_INVALID)
            fail_msg("%s %s is not refused", cases[i].type, cases[i].entry);
        for (int w = 0; w < 2; w++)
            if (!strstr(rs_error_message(), cases[i].words[w]))
                fail_msg("%s %s: no '%s' in: %s", cases[i].type, cases[i].entry, cases[i].words[w], rs_error_message());
    }
    rs_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_three),
        cmocka_unit_test(softcap),
        cmocka_unit_test(adaptive_temperature),
        cmocka_unit_test(adaptive_entropy_has_its_epsilon),
        cmocka_unit_test(adaptive_range),
        cmocka_unit_test(row_scales),
        cmocka_unit_test(entmax_matches_sorting),
        cmocka_unit_test(entmax_conditions),
        cmocka_unit_test(top_k_keeps_the_earlier_of_equals),
        cmocka_unit_test(combinations),
        cmocka_unit_test(extremes_stay_finite),
        cmocka_unit_test(digests_tell_policies_apart),
        cmocka_unit_test(bad_entries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
