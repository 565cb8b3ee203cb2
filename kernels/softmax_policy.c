#include "kernels/softmax_policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* --- the policies: a table of keys, a build, a row each. Formulas: rs_softmax in the header. --- */

#define ROWS_END                                                                                                                           \
    {                                                                                                                                      \
        .name = NULL                                                                                                                       \
    }
#define ROW_ORIGINAL_MAX                                                                                                                   \
    {                                                                                                                                      \
        .name = "original_max_position_embeddings", .kind = RS_PARAM_INT, .min = 2, .fallback = "model.max_position_embeddings",           \
        .help = "L, the number of keys at which nothing changes, tokens"                                                                   \
    }

static const rs_param_spec no_params[] = {ROWS_END};

/* softmax(z / T) */
static const rs_param_spec temperature_params[] = {
    {.name = "temperature", .kind = RS_PARAM_NUMBER, .min_open = true, .fallback = "required", .help = "T of softmax(z / T)"},
    ROWS_END,
};

static rs_status build_temperature(const rs_params *params, rs_softmax *out)
{
    out->scale_const = 1 / rs_param_number(params, "temperature");
    return RS_OK;
}

/* beta = max(P(H), 1) where the row's entropy H is above 0.5 nats, else 1. The paper's polynomial, highest power first. */
static const rs_param_spec adaptive_params[] = {
    {.name = "theta_coefficients",
     .kind = RS_PARAM_VECTOR,
     .fallback = "[-0.037, 0.481, -2.3, 4.917, -1.791]",
     .help = "polynomial of the entropy in nats, highest power first"},
    ROWS_END,
};

static rs_status build_adaptive(const rs_params *params, rs_softmax *out)
{
    const rs_param_value *theta = rs_param_get(params, "theta_coefficients");
    if (theta->n > RS_MAX_THETA)
        return rs_fail(RS_INVALID, "theta_coefficients must have at most %d numbers, not %zu", RS_MAX_THETA, theta->n);
    out->n_theta = (int)theta->n;
    memcpy(out->theta, theta->vector, theta->n * sizeof *theta->vector);
    out->entropy_threshold = 0.5;
    return RS_OK;
}

/* z ln N / ln L */
static const rs_param_spec log_n_params[] = {ROW_ORIGINAL_MAX, ROWS_END};

static rs_status build_log_n(const rs_params *params, rs_softmax *out)
{
    out->scale_const = 0;
    out->scale_log_n = 1 / log(rs_param_number(params, "original_max_position_embeddings"));
    return RS_OK;
}

/* z max(1, ln N / ln L): the query at position p sees N = p + 1 keys */
static rs_status build_qwen_logn(const rs_params *params, rs_softmax *out)
{
    out->scale_floor = 1;
    return build_log_n(params, out);
}

/* z s ln N */
static const rs_param_spec ssmax_params[] = {
    {.name = "s",
     .kind = RS_PARAM_NUMBER,
     .min_open = true,
     .fallback = "required",
     .help = "s of softmax(s ln N z), the same for all heads"},
    ROWS_END,
};

static rs_status build_ssmax(const rs_params *params, rs_softmax *out)
{
    out->scale_const = 0;
    out->scale_log_n = rs_param_number(params, "s");
    return RS_OK;
}

/* z (0.1 ln s + 1)^2, 1 for s <= 1: YaRN's attention factor without its frequencies */
static const rs_param_spec yarn_params[] = {
    {.name = "factor",
     .kind = RS_PARAM_NUMBER,
     .min_open = true,
     .fallback = "required",
     .help = "s, by how much the context is stretched"},
    ROWS_END,
};

static rs_status build_yarn(const rs_params *params, rs_softmax *out)
{
    double factor = rs_param_number(params, "factor"), gain = factor <= 1 ? 1 : 0.1 * log(factor) + 1;
    out->scale_const = gain * gain;
    return RS_OK;
}

/* cap tanh(z / cap) */
static const rs_param_spec softcap_params[] = {
    {.name = "cap", .kind = RS_PARAM_NUMBER, .min_open = true, .fallback = "required", .help = "logits stay within -cap..cap"},
    ROWS_END,
};

static rs_status build_softcap(const rs_params *params, rs_softmax *out)
{
    out->cap = rs_param_number(params, "cap");
    return RS_OK;
}

/* e^z / (1 + sum e^z): a sink at logit 0 */
static rs_status build_softmax1(const rs_params *params, rs_softmax *out)
{
    (void)params;
    out->has_sink = true;
    return RS_OK;
}

static const rs_param_spec sink_params[] = {
    {.name = "logit",
     .kind = RS_PARAM_NUMBER,
     .fallback = "required",
     .help = "of the extra key whose weight is dropped, the same for all heads"},
    ROWS_END,
};

static rs_status build_sink(const rs_params *params, rs_softmax *out)
{
    out->has_sink = true;
    out->sink = rs_param_number(params, "logit");
    return RS_OK;
}

static const rs_param_spec top_k_params[] = {
    {.name = "k", .kind = RS_PARAM_INT, .min = 1, .fallback = "required", .help = "keys that keep a weight"},
    ROWS_END,
};

static rs_status build_top_k(const rs_params *params, rs_softmax *out)
{
    out->normalizer = RS_NORMALIZE_TOP_K;
    out->k = (int64_t)rs_param_number(params, "k");
    return RS_OK;
}

static rs_status build_sparsemax(const rs_params *params, rs_softmax *out)
{
    (void)params;
    out->normalizer = RS_NORMALIZE_ENTMAX;
    out->alpha = 2;
    return RS_OK;
}

/* Above 2 a weight rises from the threshold with infinite slope: rounding there, (6e-8)^(1/(alpha-1)) in fp32, would show. */
static const rs_param_spec entmax_params[] = {
    {.name = "alpha",
     .kind = RS_PARAM_NUMBER,
     .min = 1,
     .max = 2,
     .min_open = true,
     .fallback = "1.5",
     .help = "above 1 (softmax) to 2 (sparsemax)"},
    ROWS_END,
};

static rs_status build_entmax(const rs_params *params, rs_softmax *out)
{
    out->normalizer = RS_NORMALIZE_ENTMAX;
    out->alpha = rs_param_number(params, "alpha");
    return RS_OK;
}

/* A row: type, summary, source, keys, build. */
#define ROW &(const rs_softmax_policy)

const rs_softmax_policy *const rs_softmax_policies[] = {
    ROW{"temperature", "softmax(z/T)", "-", temperature_params, build_temperature},
    ROW{"adaptive", "temperature from the row's entropy", "arXiv 2410.01104", adaptive_params, build_adaptive},
    ROW{"log_n", "logits times ln N / ln L", "Su; Chiang and Cholak, arXiv 2202.12172", log_n_params, build_log_n},
    ROW{"qwen_logn", "logits times max(1, ln N / ln L)", "Qwen, arXiv 2309.16609", log_n_params, build_qwen_logn},
    ROW{"ssmax", "scalable softmax: logits times s ln N", "arXiv 2501.19399", ssmax_params, build_ssmax},
    ROW{"yarn", "logits times (0.1 ln s + 1)^2", "YaRN, arXiv 2309.00071", yarn_params, build_yarn},
    ROW{"softcap", "logits through cap tanh(z/cap)", "Gemma 2, arXiv 2408.00118", softcap_params, build_softcap},
    ROW{"softmax1", "one more in the denominator: weights may sum to less than 1", "Miller 2023", no_params, build_softmax1},
    ROW{"sink", "an extra logit takes part, its weight is dropped", "gpt-oss, arXiv 2508.10925", sink_params, build_sink},
    ROW{"top_k", "softmax over the k largest logits", "-", top_k_params, build_top_k},
    ROW{"sparsemax", "projection on the simplex: exact zeros", "arXiv 1602.02068", no_params, build_sparsemax},
    ROW{"entmax", "between softmax and sparsemax, with exact zeros", "arXiv 1905.05702", entmax_params, build_entmax},
    NULL,
};

const rs_softmax_policy *rs_softmax_policy_find(const char *name)
{
    for (const rs_softmax_policy *const *policy = rs_softmax_policies; *policy; policy++)
        if (strcmp((*policy)->name, name) == 0)
            return *policy;
    return NULL;
}

/* --- building --- */

void rs_softmax_init_plain(rs_softmax *softmax)
{
    *softmax = (rs_softmax){.normalizer = RS_NORMALIZE_EXP, .scale_const = 1};
}

rs_status rs_softmax_build(const rs_softmax_policy *policy, const rs_params *params, rs_softmax *out)
{
    rs_softmax_init_plain(out);
    RS_TRY(policy->build(params, out));
    if (!isfinite(out->scale_const) || !isfinite(out->scale_log_n))
        return rs_fail(RS_INVALID, "%s: these values make the scale of the logits infinite", policy->name);
    return RS_OK;
}

rs_digest rs_softmax_digest(const rs_softmax *softmax)
{
    double numbers[11 + RS_MAX_THETA] = {
        softmax->normalizer, softmax->scale_const, softmax->scale_log_n, softmax->scale_floor,       softmax->cap,   softmax->has_sink,
        softmax->sink,       softmax->n_theta,     (double)softmax->k,   softmax->entropy_threshold, softmax->alpha,
    };
    for (int i = 0; i < softmax->n_theta; i++)
        numbers[11 + i] = softmax->theta[i];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] += 0.0; /* -0 and 0 are one value */
    return rs_digest_of(numbers, sizeof numbers);
}

/* --- what is computed once a row --- */

static double row_scale(const rs_softmax *softmax, int64_t n_visible)
{
    return fmax(softmax->scale_floor, softmax->scale_const + softmax->scale_log_n * log((double)n_visible));
}

float rs_softmax_row_scale(const rs_softmax *softmax, int64_t n_visible)
{
    return (float)row_scale(softmax, n_visible);
}

static double beta_of(const rs_softmax *softmax, double entropy)
{
    if (softmax->n_theta == 0 || !(entropy > softmax->entropy_threshold))
        return 1;
    double p = 0;
    for (int i = 0; i < softmax->n_theta; i++)
        p = p * entropy + softmax->theta[i];
    return fmax(p, 1);
}

float rs_softmax_beta(const rs_softmax *softmax, float entropy)
{
    return (float)beta_of(softmax, entropy);
}

/* --- the reference --- */

static double largest(const double *z, int64_t n)
{
    double max = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, z[i]);
    return max;
}

/* w = softmax(z) over z and, if has_sink, the sink. w may be z. */
static void softmax_exp(const double *z, int64_t n, bool has_sink, double sink, double *w)
{
    double max = largest(z, n);
    if (has_sink)
        max = fmax(max, sink);
    double sum = has_sink ? exp(sink - max) : 0;
    for (int64_t i = 0; i < n; i++) {
        w[i] = exp(z[i] - max);
        sum += w[i];
    }
    for (int64_t i = 0; i < n; i++)
        w[i] /= sum;
}

/* H = -sum p ln(p + 1e-9) of p = softmax(z), as the paper's code has it. */
static double entropy_of(const double *z, int64_t n)
{
    double *p = rs_alloc((size_t)n, sizeof *p), entropy = 0;
    softmax_exp(z, n, false, 0, p);
    for (int64_t i = 0; i < n; i++)
        entropy -= p[i] * log(p[i] + 1e-9);
    free(p);
    return entropy;
}

typedef struct ranked {
    double z;
    int64_t index;
} ranked;

/* Larger first; of equals the earlier. */
static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->z != y->z)
        return x->z > y->z ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Lowers all but the k largest to -inf, whose weight is 0. */
static void keep_top_k(double *z, int64_t n, int64_t k)
{
    if (k >= n)
        return;
    ranked *order = rs_alloc((size_t)n, sizeof *order);
    for (int64_t i = 0; i < n; i++)
        order[i] = (ranked){.z = z[i], .index = i};
    qsort(order, (size_t)n, sizeof *order, by_rank);
    for (int64_t i = k; i < n; i++)
        z[order[i].index] = -INFINITY;
    free(order);
}

static double entmax_sum(const double *x, int64_t n, double tau, double power)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] > tau ? pow(x[i] - tau, power) : 0;
    return sum;
}

/* The threshold at which the weights sum to 1, for x whose largest is 0: halved until the doubles run out. At tau = -1 the
 * largest alone has weight 1; at -n^(1-alpha) n equal ones have. */
static double entmax_threshold(const double *x, int64_t n, double alpha)
{
    double power = 1 / (alpha - 1), low = -1, high = -pow((double)n, 1 - alpha);
    for (;;) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high)
            return low;
        if (entmax_sum(x, n, middle, power) >= 1)
            low = middle;
        else
            high = middle;
    }
}

/* w = entmax(z). z is overwritten; w may not be z. */
static void entmax(double *z, int64_t n, double alpha, double *w)
{
    double max = largest(z, n), power = 1 / (alpha - 1);
    for (int64_t i = 0; i < n; i++)
        z[i] = (alpha - 1) * (z[i] - max);
    double tau = entmax_threshold(z, n, alpha), sum = entmax_sum(z, n, tau, power);
    for (int64_t i = 0; i < n; i++)
        w[i] = z[i] > tau ? pow(z[i] - tau, power) / sum : 0;
}

static void entmax_row(const rs_softmax *softmax, const double *z, int64_t n, double *weights)
{
    int64_t all = n + softmax->has_sink;
    double *x = rs_alloc((size_t)all, sizeof *x), *w = rs_alloc((size_t)all, sizeof *w);
    memcpy(x, z, (size_t)n * sizeof *x);
    if (softmax->has_sink)
        x[n] = softmax->sink;
    entmax(x, all, softmax->alpha, w);
    memcpy(weights, w, (size_t)n * sizeof *w);
    free(x);
    free(w);
}

void rs_softmax_row(const rs_softmax *softmax, const double *z, int64_t n, double *weights)
{
    double scale = row_scale(softmax, n);
    for (int64_t i = 0; i < n; i++)
        weights[i] = scale * (softmax->cap > 0 ? softmax->cap * tanh(z[i] / softmax->cap) : z[i]);
    double beta = softmax->n_theta > 0 ? beta_of(softmax, entropy_of(weights, n)) : 1;
    for (int64_t i = 0; i < n; i++)
        weights[i] *= beta;
    if (softmax->normalizer == RS_NORMALIZE_ENTMAX) {
        entmax_row(softmax, weights, n, weights);
        return;
    }
    if (softmax->normalizer == RS_NORMALIZE_TOP_K)
        keep_top_k(weights, n, softmax->k);
    softmax_exp(weights, n, softmax->has_sink, softmax->sink, weights);
}
