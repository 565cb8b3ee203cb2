/* alibi: no rotation; a penalty on the scaled logit, linear in the distance, steeper for earlier heads.
 *   bias = -slope_h (m - j),  slope_h = 2^(-8 h / H), h = 1..H
 * Press et al., arXiv 2108.12409. The slopes follow the formula for any H (the paper's code interpolates where H is
 * not a power of two). */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_alibi[] = {RS_ROWS_END};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)params;
    (void)n_final;
    out->alibi = true;
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_alibi = {
    .name = "alibi",
    .summary = "ALiBi: no rotation, a penalty linear in the distance",
    .source = "arXiv 2108.12409",
    .params = params_of_alibi,
    .build = build,
};
