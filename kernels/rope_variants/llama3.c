/* llama3: by wavelength lambda_k = 2 pi / g_k against the trained context L.
 *   lambda < L/high_freq_factor: g_k;  lambda > L/low_freq_factor: g_k / s;
 *   else t = (L/lambda - low) / (high - low), inv_freq[k] = (1 - t) g_k / s + t g_k
 * Llama 3.1, models/llama3/reference_impl/model.py `apply_scaling`; transformers `_compute_llama3_parameters`. */
#include <math.h>

#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_llama3[] = {
    RS_ROW_ROPE_THETA,
    {.name = "factor", .kind = RS_PARAM_NUMBER, .min_open = true, .fallback = "8", .help = "by how much slow pairs are slowed"},
    RS_ROW_ORIGINAL_MAX,
    {.name = "low_freq_factor",
     .kind = RS_PARAM_NUMBER,
     .min_open = true,
     .fallback = "1",
     .help = "turns within the trained context below which a pair is slowed in full"},
    {.name = "high_freq_factor",
     .kind = RS_PARAM_NUMBER,
     .min_open = true,
     .fallback = "4",
     .help = "turns above which a pair is left alone"},
    RS_ROWS_END,
};

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    double factor = rs_param_number(params, "factor");
    double original = rs_param_number(params, "original_max_position_embeddings");
    double low = rs_param_number(params, "low_freq_factor"), high = rs_param_number(params, "high_freq_factor");
    if (low >= high)
        return rs_fail(RS_INVALID, "low_freq_factor (%g) must be below high_freq_factor (%g)", low, high);
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    for (int k = 0; k < out->rotary_dim / 2; k++) {
        double g = out->inv_freq[k], wavelength = 2 * M_PI / g;
        double t = (original / wavelength - low) / (high - low);
        if (wavelength > original / low)
            out->inv_freq[k] = g / factor;
        else if (wavelength >= original / high)
            out->inv_freq[k] = (1 - t) * g / factor + t * g;
    }
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_llama3 = {
    .name = "llama3",
    .summary = "Llama 3.1: long wavelengths slowed by factor, short kept, a ramp between",
    .source = "Llama 3.1 reference implementation",
    .params = params_of_llama3,
    .build = build,
};
