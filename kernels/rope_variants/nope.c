/* nope: no positional encoding at all; every frequency is 0.
 * Kazemnejad et al., arXiv 2305.19466. */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_nope[] = {RS_ROWS_END};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)params;
    (void)n_final;
    (void)out; /* comes with all frequencies 0 */
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_nope = {
    .name = "nope",
    .summary = "no positional encoding",
    .source = "arXiv 2305.19466",
    .params = params_of_nope,
    .build = build,
};
