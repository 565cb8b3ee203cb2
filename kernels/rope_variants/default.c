/* default: rotary embedding as published.
 *   inv_freq[k] = g_k = b^(-2k/d), k = 0..d/2-1
 * Su et al., RoFormer, arXiv 2104.09864; transformers `compute_default_rope_parameters`. */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_default[] = {RS_ROW_ROPE_THETA, RS_ROWS_END};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_default = {
    .name = "default",
    .summary = "RoPE as the model was trained",
    .source = "arXiv 2104.09864",
    .params = params_of_default,
    .build = build,
};
