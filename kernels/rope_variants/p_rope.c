/* p_rope and p_rope_reversed: only a fraction p of the pairs rotates, the fastest or the slowest ones.
 *   K = int(p d / 2).  p_rope: inv_freq[k] = g_k (divided by factor if given) for k < K, else 0.
 *   p_rope_reversed: inv_freq[k] = 0 for k < d/2 - K, else g_k.
 * The denominator stays the full head_dim and pairs stay (k, k + d/2): p = 1 is RoPE, p = 0 NoPE.
 * Barbero et al., arXiv 2410.06205, section 6; transformers `_compute_proportional_rope_parameters`, whose name for it,
 * proportional, is an alias with Hugging Face's key partial_rotary_factor. */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

#define FRACTION(key)                                                                                                                      \
    {                                                                                                                                      \
        .name = key, .kind = RS_PARAM_NUMBER, .max = 1, .fallback = "required", .help = "fraction of the pairs that rotates, 0 to 1"       \
    }
#define OPTIONAL_FACTOR                                                                                                                    \
    {                                                                                                                                      \
        .name = "factor", .kind = RS_PARAM_NUMBER, .min_open = true, .help = "divides the frequencies that are kept; absent: 1"            \
    }

static const rs_param_spec params_of_p_rope[] = {RS_ROW_ROPE_THETA, FRACTION("p"), OPTIONAL_FACTOR, RS_ROWS_END};
static const rs_param_spec params_of_proportional[] = {RS_ROW_ROPE_THETA, FRACTION("partial_rotary_factor"), OPTIONAL_FACTOR, RS_ROWS_END};
static const rs_param_spec params_of_p_rope_reversed[] = {RS_ROW_ROPE_THETA, FRACTION("p"), RS_ROWS_END};

static int pairs_of(double p, int dim)
{
    return (int)(p * dim / 2);
}

static rs_status fill(const rs_params *params, double p, rs_rope *out)
{
    double factor = rs_param_is_set(params, "factor") ? rs_param_number(params, "factor") : 1;
    int kept = pairs_of(p, out->rotary_dim);
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    for (int k = 0; k < out->rotary_dim / 2; k++)
        out->inv_freq[k] = k < kept ? out->inv_freq[k] / factor : 0;
    return RS_OK;
}

static rs_status build_p_rope(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    return fill(params, rs_param_number(params, "p"), out);
}

static rs_status build_proportional(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    return fill(params, rs_param_number(params, "partial_rotary_factor"), out);
}

static rs_status build_reversed(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    int kept = pairs_of(rs_param_number(params, "p"), out->rotary_dim);
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    for (int k = 0; k < out->rotary_dim / 2 - kept; k++)
        out->inv_freq[k] = 0;
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_p_rope = {
    .name = "p_rope",
    .summary = "p-RoPE: the fastest fraction p of the pairs rotates, the rest does not",
    .source = "arXiv 2410.06205, section 6",
    .params = params_of_p_rope,
    .build = build_p_rope,
};

const rs_rope_variant rs_rope_variant_proportional = {
    .name = "proportional",
    .summary = "p_rope under Hugging Face's name and key",
    .source = "arXiv 2410.06205, section 6; Gemma 4",
    .params = params_of_proportional,
    .build = build_proportional,
};

const rs_rope_variant rs_rope_variant_p_rope_reversed = {
    .name = "p_rope_reversed",
    .summary = "the slowest fraction p of the pairs rotates, the rest does not",
    .source = "arXiv 2410.06205, section 6 (ablation)",
    .params = params_of_p_rope_reversed,
    .build = build_reversed,
};
