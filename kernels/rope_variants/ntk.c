/* ntk and dynamic: plain RoPE on a larger base, so that the slowest pair is slowed by the factor and the fastest not at all.
 *   ntk:      b' = b * s^(d/(d-2))
 *   dynamic:  b' = b * (s n/L - (s-1))^(d/(d-2)),  n = max(final length, L)
 * bloc97, "NTK-aware scaled RoPE" (2023), and emozilla's dynamic form; YaRN, arXiv 2309.00071;
 * transformers `_compute_dynamic_ntk_parameters`. Two differences from transformers, on purpose: L is
 * original_max_position_embeddings where that is given (there: always the config's maximum), and n is the final length of the
 * sequence, not the length so far: one table a sequence, so prompt and continuation are rotated alike. */
#include <math.h>

#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_ntk[] = {RS_ROW_ROPE_THETA, RS_ROW_FACTOR, RS_ROWS_END};
static const rs_param_spec params_of_dynamic[] = {RS_ROW_ROPE_THETA, RS_ROW_FACTOR, RS_ROW_ORIGINAL_MAX, RS_ROWS_END};

/* Slows the slowest pair by `stretch`. */
static rs_status fill(const rs_params *params, double stretch, rs_rope *out)
{
    int d = out->rotary_dim;
    if (d <= 2)
        return rs_fail(RS_INVALID, "ntk and dynamic need a head_dim above 2 (their exponent is d/(d-2)), not %d", d);
    double base = rs_param_number(params, "rope_theta") * pow(stretch, (double)d / (d - 2));
    if (!isfinite(base))
        return rs_fail(RS_INVALID, "factor %g is too large: the base of the frequencies overflows", rs_param_number(params, "factor"));
    rs_rope_fill_default(base, d, out->inv_freq);
    return RS_OK;
}

static rs_status build_ntk(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    return fill(params, rs_param_number(params, "factor"), out);
}

static rs_status build_dynamic(const rs_params *params, int64_t n_final, rs_rope *out)
{
    double factor = rs_param_number(params, "factor");
    double original = rs_param_number(params, "original_max_position_embeddings");
    double n = fmax((double)n_final, original);
    return fill(params, factor * n / original - (factor - 1), out);
}

const rs_rope_variant rs_rope_variant_ntk = {
    .name = "ntk",
    .summary = "NTK-aware: base raised so that the slowest pair is slowed by factor",
    .source = "bloc97 2023; arXiv 2309.00071, definition 1",
    .params = params_of_ntk,
    .build = build_ntk,
};

const rs_rope_variant rs_rope_variant_dynamic = {
    .name = "dynamic",
    .summary = "NTK-aware with the factor grown from the sequence's final length",
    .source = "emozilla 2023; arXiv 2309.00071",
    .params = params_of_dynamic,
    .build = build_dynamic,
    .length_dependent = true,
};
