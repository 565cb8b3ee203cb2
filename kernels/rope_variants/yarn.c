/* yarn: slow pairs interpolated, fast pairs kept, a ramp over the pair's index between, and sharper attention.
 *   cd(r) = d ln(L / (2 pi r)) / (2 ln b);  lo = cd(beta_fast), hi = cd(beta_slow), floored and ceiled if truncate;
 *   lo = max(lo, 0), hi = min(hi, d-1), hi += 0.001 if equal;  ramp_k = clamp((k - lo) / (hi - lo), 0, 1)
 *   inv_freq[k] = (g_k / s) ramp_k + g_k (1 - ramp_k)
 *   gm(s, m) = 1 if s <= 1 else 0.1 m ln s + 1
 *   a = attention_factor, else gm(s, mscale) / gm(s, mscale_all_dim) if both are given, else gm(s, 1)
 * Peng et al., arXiv 2309.00071; transformers `_compute_yarn_parameters`, from which come index
 * ramp, truncate, the mscale keys (DeepSeek), and that a beta or mscale of 0 counts as absent. */
#include <math.h>

#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_yarn[] = {
    RS_ROW_ROPE_THETA,
    RS_ROW_FACTOR,
    RS_ROW_ORIGINAL_MAX,
    {.name = "beta_fast",
     .kind = RS_PARAM_NUMBER,
     .max = INFINITY,
     .fallback = "32",
     .help = "turns within the trained context above which a pair is left alone; 0: 32"},
    {.name = "beta_slow",
     .kind = RS_PARAM_NUMBER,
     .max = INFINITY,
     .fallback = "1",
     .help = "turns below which a pair is interpolated in full; 0: 1"},
    {.name = "mscale",
     .kind = RS_PARAM_NUMBER,
     .help = "with mscale_all_dim: gm(s, mscale)/gm(s, mscale_all_dim) is the factor; 0: absent"},
    {.name = "mscale_all_dim", .kind = RS_PARAM_NUMBER, .help = "see mscale; 0: absent"},
    RS_ROW_ATTENTION_FACTOR,
    {.name = "truncate", .kind = RS_PARAM_BOOL, .fallback = "true", .help = "the ramp's ends are rounded outwards to whole pairs"},
    RS_ROWS_END,
};

/* The pair that turns r times within the trained context, as a real number. */
static double correction_dim(int d, double base, double original, double r)
{
    return d * log(original / (2 * M_PI * r)) / (2 * log(base));
}

static double gain_of(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* A number that is not given, or given as 0, is `absent`. */
static double number_or(const rs_params *params, const char *name, double absent)
{
    double number = rs_param_is_set(params, name) ? rs_param_number(params, name) : 0;
    return number != 0 ? number : absent;
}

static double attention_factor(const rs_params *params, double factor)
{
    if (rs_param_is_set(params, "attention_factor"))
        return rs_param_number(params, "attention_factor");
    double mscale = number_or(params, "mscale", 0), all_dim = number_or(params, "mscale_all_dim", 0);
    return mscale != 0 && all_dim != 0 ? gain_of(factor, mscale) / gain_of(factor, all_dim) : gain_of(factor, 1);
}

static void fill(double factor, double low, double high, rs_rope *out)
{
    for (int k = 0; k < out->rotary_dim / 2; k++) {
        double g = out->inv_freq[k];
        double ramp = fmin(fmax((k - low) / (high - low), 0), 1);
        out->inv_freq[k] = g / factor * ramp + g * (1 - ramp);
    }
}

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    double base = rs_param_number(params, "rope_theta"), factor = rs_param_number(params, "factor");
    double original = rs_param_number(params, "original_max_position_embeddings");
    double fast = number_or(params, "beta_fast", 32), slow = number_or(params, "beta_slow", 1);
    if (fast < slow)
        return rs_fail(RS_INVALID, "beta_fast (%g) must not be below beta_slow (%g)", fast, slow);
    double low = correction_dim(out->rotary_dim, base, original, fast), high = correction_dim(out->rotary_dim, base, original, slow);
    if (rs_param_number(params, "truncate") != 0) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, out->rotary_dim - 1);
    high += high == low ? 0.001 : 0;
    rs_rope_fill_default(base, out->rotary_dim, out->inv_freq);
    fill(factor, low, high, out);
    out->attention_factor = attention_factor(params, factor);
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_yarn = {
    .name = "yarn",
    .summary = "YaRN: interpolation by parts and an attention factor",
    .source = "arXiv 2309.00071",
    .params = params_of_yarn,
    .build = build,
};
