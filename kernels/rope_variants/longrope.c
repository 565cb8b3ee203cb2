/* longrope: every pair slowed by its own factor, one list for sequences within the trained context and one beyond it.
 *   inv_freq[k] = 1 / (ext_k b^(2k/d)),  ext = long_factor if the final length > L, else short_factor
 *   a = attention_factor, else 1 if s <= 1, else sqrt(1 + ln s / ln L);  s = factor, else maximum / L
 * Ding et al., arXiv 2402.13753; transformers `_compute_longrope_parameters`. The list is chosen by the final length, not step by step. */
#include <math.h>

#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

#define EXTENSION(key, when)                                                                                                               \
    {                                                                                                                                      \
        .name = key, .kind = RS_PARAM_VECTOR, .min_open = true, .fallback = "required",                                                    \
        .help = "a divisor for each pair (head_dim/2 of them), " when                                                                      \
    }

static const rs_param_spec params_of_longrope[] = {
    RS_ROW_ROPE_THETA,
    EXTENSION("short_factor", "for sequences up to original_max_position_embeddings"),
    EXTENSION("long_factor", "for longer sequences"),
    {.name = "factor",
     .kind = RS_PARAM_NUMBER,
     .min_open = true,
     .help = "absent: max_position_embeddings / original_max_position_embeddings"},
    RS_ROW_ORIGINAL_MAX,
    {.name = "max_position_embeddings",
     .kind = RS_PARAM_INT,
     .min = 2,
     .fallback = "model.max_position_embeddings",
     .help = "context after extension, tokens; read where factor is absent"},
    RS_ROW_ATTENTION_FACTOR,
    RS_ROWS_END,
};

static rs_status check_length(const rs_params *params, const char *name, int head_dim)
{
    size_t n = rs_param_get(params, name)->n;
    if (n != (size_t)head_dim / 2)
        return rs_fail(RS_INVALID, "%s must have head_dim/2 = %d numbers, not %zu", name, head_dim / 2, n);
    return RS_OK;
}

static double attention_factor(const rs_params *params, double original)
{
    if (rs_param_is_set(params, "attention_factor"))
        return rs_param_number(params, "attention_factor");
    double factor = rs_param_is_set(params, "factor") ? rs_param_number(params, "factor")
                                                      : rs_param_number(params, "max_position_embeddings") / original;
    return factor <= 1 ? 1 : sqrt(1 + log(factor) / log(original));
}

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    RS_TRY(check_length(params, "short_factor", out->head_dim));
    RS_TRY(check_length(params, "long_factor", out->head_dim));
    double original = rs_param_number(params, "original_max_position_embeddings");
    const double *extension = rs_param_get(params, (double)n_final > original ? "long_factor" : "short_factor")->vector;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    for (int k = 0; k < out->rotary_dim / 2; k++)
        out->inv_freq[k] /= extension[k];
    out->attention_factor = attention_factor(params, original);
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_longrope = {
    .name = "longrope",
    .summary = "LongRoPE: a searched divisor for each pair, short and long lists",
    .source = "arXiv 2402.13753",
    .params = params_of_longrope,
    .build = build,
    .length_dependent = true,
};
