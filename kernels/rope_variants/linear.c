/* linear: position interpolation, every pair slowed by the same factor s.
 *   inv_freq[k] = g_k / s
 * Chen et al., arXiv 2306.15595; transformers `_compute_linear_scaling_rope_parameters`. */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_linear[] = {RS_ROW_ROPE_THETA, RS_ROW_FACTOR, RS_ROWS_END};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    double factor = rs_param_number(params, "factor");
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    for (int k = 0; k < out->rotary_dim / 2; k++)
        out->inv_freq[k] /= factor;
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_linear = {
    .name = "linear",
    .summary = "position interpolation: all frequencies divided by factor",
    .source = "arXiv 2306.15595",
    .params = params_of_linear,
    .build = build,
};
