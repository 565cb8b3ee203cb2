/* band: plain RoPE with something done to one band of pairs, a causal probe of what they carry.
 *   pairs first..last, or the pairs whose wavelength 2 pi / g_k (tokens a turn) lies in [lo, hi], ends included, get
 *   freeze: g = 0;  remove: the pair adds 0 to the logit;  slow: g * by;  gain: the pair's part of the logit times by, once
 * After the frequency analysis of arXiv 2410.06205, sections 4 and 6. */
#include <math.h>
#include <string.h>

#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_band[] = {
    RS_ROW_ROPE_THETA,
    {.name = "band",
     .kind = RS_PARAM_BAND,
     .fallback = "required",
     .help = "{wavelength: [low, high]} in tokens a turn, or {pairs: [first, last]} from 0"},
    {.name = "op",
     .kind = RS_PARAM_CHOICE,
     .choices = "freeze|remove|slow|gain",
     .fallback = "required",
     .help = "what is done to the pairs of the band"},
    {.name = "by", .kind = RS_PARAM_NUMBER, .max = INFINITY, .help = "factor of op slow (on the frequency) or gain (on the logit)"},
    RS_ROWS_END,
};

typedef struct band {
    bool by_wavelength;
    double low, high;
} band;

static bool holds(const band *b, int k, double frequency)
{
    double at = b->by_wavelength ? 2 * M_PI / frequency : k;
    return at >= b->low && at <= b->high;
}

/* The band, once it is known to select a pair. Expects the plain frequencies in `rope`. */
static rs_status read_band(const rs_params *params, const rs_rope *rope, band *out)
{
    const rs_param_value *value = rs_param_get(params, "band");
    *out = (band){.by_wavelength = strcmp(value->string, "wavelength") == 0, .low = value->vector[0], .high = value->vector[1]};
    int n_pairs = rope->rotary_dim / 2;
    if (!out->by_wavelength && out->high >= n_pairs)
        return rs_fail(RS_INVALID, "band: pairs [%g, %g] must lie within 0 to %d", out->low, out->high, n_pairs - 1);
    for (int k = 0; k < n_pairs; k++)
        if (holds(out, k, rope->inv_freq[k]))
            return RS_OK;
    return rs_fail(RS_INVALID, "band: no pair has a wavelength in [%g, %g]; they run from %.6g to %.6g", out->low, out->high,
                   2 * M_PI / rope->inv_freq[0], 2 * M_PI / rope->inv_freq[n_pairs - 1]);
}

/* `by` belongs to two of the operations; given with the others it would be ignored in silence. */
static rs_status read_by(const rs_params *params, const char *op, double *by)
{
    bool wanted = strcmp(op, "slow") == 0 || strcmp(op, "gain") == 0, set = rs_param_is_set(params, "by");
    *by = set ? rs_param_number(params, "by") : 1;
    if (wanted && !set)
        return rs_fail(RS_INVALID, "'by' is missing: op %s needs it", op);
    if (set && !wanted)
        return rs_fail(RS_INVALID, "by (%g) goes with op slow or gain, not %s", *by, op);
    return RS_OK;
}

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    const char *op = rs_param_string(params, "op");
    band selected;
    double by;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    RS_TRY(read_band(params, out, &selected));
    RS_TRY(read_by(params, op, &by));
    double frequency_scale = strcmp(op, "freeze") == 0 ? 0 : strcmp(op, "slow") == 0 ? by : 1;
    double gain = strcmp(op, "remove") == 0 ? 0 : strcmp(op, "gain") == 0 ? by : 1;
    for (int k = 0; k < out->rotary_dim / 2; k++)
        if (holds(&selected, k, out->inv_freq[k])) {
            out->inv_freq[k] *= frequency_scale;
            out->query_gain[k] = gain;
        }
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_band = {
    .name = "band",
    .summary = "plain RoPE with one band of pairs frozen, removed, slowed or amplified",
    .source = "after arXiv 2410.06205",
    .params = params_of_band,
    .build = build,
};
