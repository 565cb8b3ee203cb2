/* ntk_by_parts: pairs that turn often within the trained context stay, pairs that turn seldom are interpolated, a ramp between.
 *   r = L / lambda_k turns;  gamma = clamp((r - alpha) / (beta - alpha), 0, 1);  inv_freq[k] = (1 - gamma) g_k / s + gamma g_k
 * YaRN, arXiv 2309.00071, definition 2, without the attention factor that `yarn` adds. */
#include <math.h>

#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_ntk_by_parts[] = {
    RS_ROW_ROPE_THETA,
    RS_ROW_FACTOR,
    RS_ROW_ORIGINAL_MAX,
    {.name = "alpha",
     .kind = RS_PARAM_NUMBER,
     .max = INFINITY,
     .fallback = "1",
     .help = "turns within the trained context below which a pair is interpolated in full"},
    {.name = "beta", .kind = RS_PARAM_NUMBER, .min_open = true, .fallback = "32", .help = "turns above which a pair is left alone"},
    RS_ROWS_END,
};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    double factor = rs_param_number(params, "factor");
    double original = rs_param_number(params, "original_max_position_embeddings");
    double alpha = rs_param_number(params, "alpha"), beta = rs_param_number(params, "beta");
    if (alpha >= beta)
        return rs_fail(RS_INVALID, "alpha (%g) must be below beta (%g)", alpha, beta);
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    for (int k = 0; k < out->rotary_dim / 2; k++) {
        double g = out->inv_freq[k];
        double turns = original * g / (2 * M_PI);
        double gamma = fmin(fmax((turns - alpha) / (beta - alpha), 0), 1);
        out->inv_freq[k] = (1 - gamma) * g / factor + gamma * g;
    }
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_ntk_by_parts = {
    .name = "ntk_by_parts",
    .summary = "slow pairs interpolated, fast pairs kept, a ramp in turns between",
    .source = "arXiv 2309.00071, definition 2",
    .params = params_of_ntk_by_parts,
    .build = build,
};
