/* irope: plain RoPE, but every fourth layer is not rotated.
 *   layer l (from 0) does not rotate where (l + 1) % 4 == 0
 * Llama 4 (transformers Llama4TextConfig.no_rope_layers, interval 4), without its query scaling. */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_irope[] = {RS_ROW_ROPE_THETA, RS_ROWS_END};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    out->skip_every = 4;
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_irope = {
    .name = "irope",
    .summary = "iRoPE: every fourth layer goes without rotation",
    .source = "Llama 4",
    .params = params_of_irope,
    .build = build,
};
