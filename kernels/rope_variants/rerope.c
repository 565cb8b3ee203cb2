/* rerope and leaky_rerope: exact distances within the window; beyond it the distance stands still, or grows 1/k as fast.
 *   rel = m - j;  rerope: min(rel, w);  leaky_rerope: rel < w: rel, else w + (rel - w) / k
 * Su, "Rectified Rotary Position Embeddings" (2023), github.com/bojone/rerope.
 * Runs: far, near. Key sets: 0 plain, 1 far: every key at 0 (rerope), keys at j/k (leaky_rerope). */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_rerope[] = {RS_ROW_ROPE_THETA, RS_ROW_WINDOW, RS_ROWS_END};
static const rs_param_spec params_of_leaky_rerope[] = {
    RS_ROW_ROPE_THETA,
    RS_ROW_WINDOW,
    {.name = "leak",
     .kind = RS_PARAM_NUMBER,
     .min_open = true,
     .fallback = "required",
     .help = "k: tokens a step of distance beyond window"},
    RS_ROWS_END,
};

static int64_t start(const rs_position_map *map, int64_t m, int segment)
{
    int64_t near = m + 1 - (int64_t)map->window;
    return segment == 0 ? 0 : segment == 1 ? (near > 0 ? near : 0) : m + 1;
}

static double constant_query(const rs_position_map *map, int64_t m, int segment)
{
    return segment == 0 ? map->window : (double)m;
}

static double constant_key(const rs_position_map *map, int64_t j, int key_set)
{
    (void)map;
    return key_set == 1 ? 0 : (double)j;
}

static double leaky_query(const rs_position_map *map, int64_t m, int segment)
{
    return segment == 0 ? map->window + ((double)m - map->window) / map->leak : (double)m;
}

static double leaky_key(const rs_position_map *map, int64_t j, int key_set)
{
    return key_set == 1 ? (double)j / map->leak : (double)j;
}

static rs_position_map two_runs(const char *name, const rs_params *params)
{
    return (rs_position_map){
        .name = name,
        .n_segments = 2,
        .n_key_sets = 2,
        .key_set = {1, 0},
        .window = rs_param_number(params, "window"),
        .start = start,
        .query_position = constant_query,
        .key_position = constant_key,
    };
}

static rs_status build_rerope(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    out->map = two_runs("rerope", params);
    return RS_OK;
}

static rs_status build_leaky(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    out->map = two_runs("leaky_rerope", params);
    out->map.leak = rs_param_number(params, "leak");
    out->map.query_position = leaky_query;
    out->map.key_position = leaky_key;
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_rerope = {
    .name = "rerope",
    .summary = "ReRoPE: distances cut at window",
    .source = "github.com/bojone/rerope",
    .params = params_of_rerope,
    .build = build_rerope,
};

const rs_rope_variant rs_rope_variant_leaky_rerope = {
    .name = "leaky_rerope",
    .summary = "Leaky ReRoPE: distances beyond window grow 1/leak as fast",
    .source = "github.com/bojone/rerope",
    .params = params_of_leaky_rerope,
    .build = build_leaky,
};
