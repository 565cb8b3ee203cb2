/* self_extend: exact positions near, positions grouped by G far, so that far distances stay within what was trained.
 *   rel = m - j;  rel < w: rel;  else floor(m/G) - floor(j/G) + w - floor(w/G)
 * Jin et al., arXiv 2401.01325 and the authors' code (group_size_2 - group_size_2 // group_size_1).
 * Runs: far (keys grouped), near (keys plain). Key sets: 0 plain, 1 grouped. */
#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_self_extend[] = {
    RS_ROW_ROPE_THETA,
    {.name = "group", .kind = RS_PARAM_INT, .min = 1, .fallback = "required", .help = "tokens that share a far position"},
    RS_ROW_WINDOW,
    RS_ROWS_END,
};

static int64_t start(const rs_position_map *map, int64_t m, int segment)
{
    int64_t near = m + 1 - (int64_t)map->window;
    return segment == 0 ? 0 : segment == 1 ? (near > 0 ? near : 0) : m + 1;
}

static double query_position(const rs_position_map *map, int64_t m, int segment)
{
    int64_t group = (int64_t)map->group, window = (int64_t)map->window;
    return (double)(segment == 0 ? m / group + window - window / group : m);
}

static double key_position(const rs_position_map *map, int64_t j, int key_set)
{
    return (double)(key_set == 1 ? j / (int64_t)map->group : j);
}

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    out->map = (rs_position_map){
        .name = "self_extend",
        .n_segments = 2,
        .n_key_sets = 2,
        .key_set = {1, 0},
        .window = rs_param_number(params, "window"),
        .group = rs_param_number(params, "group"),
        .start = start,
        .query_position = query_position,
        .key_position = key_position,
    };
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_self_extend = {
    .name = "self_extend",
    .summary = "Self-Extend: exact positions within window, grouped ones beyond",
    .source = "arXiv 2401.01325",
    .params = params_of_self_extend,
    .build = build,
};
