/* partial: the first fraction p of the dimensions rotates as a smaller RoPE of its own; the rest passes through.
 *   dr = int(d p), even;  inv_freq[k] = b^(-2k/dr), pairs (k, k + dr/2)
 * GPT-NeoX (arXiv 2204.06745); transformers partial_rotary_factor with the default type.
 * dr = 0 is NoPE, written as a full table of pairs that do not rotate, so that no kernel meets an empty table. */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_partial[] = {
    RS_ROW_ROPE_THETA,
    {.name = "p", .kind = RS_PARAM_NUMBER, .max = 1, .fallback = "required", .help = "fraction of the dimensions that rotates, 0 to 1"},
    RS_ROWS_END,
};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    double p = rs_param_number(params, "p");
    int rotary_dim = (int)(out->head_dim * p);
    if (rotary_dim % 2 != 0)
        return rs_fail(RS_INVALID, "p %g of head_dim %d is %d dimensions; they must be even to form pairs", p, out->head_dim, rotary_dim);
    if (rotary_dim == 0)
        return RS_OK;
    out->rotary_dim = rotary_dim;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), rotary_dim, out->inv_freq);
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_partial = {
    .name = "partial",
    .summary = "the first fraction p of the dimensions rotates, the rest passes through",
    .source = "GPT-NeoX, arXiv 2204.06745",
    .params = params_of_partial,
    .build = build,
};
