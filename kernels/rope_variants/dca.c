/* dca: dual chunk attention. Keys keep their place within a chunk; a query's position depends on how far back the key's chunk lies.
 *   c = chunk (default floor(3 L / 4)), S = c - floor(L / 8);  key j: j % S;
 *   query m: same chunk m % S;  previous chunk min(m % S + S, c);  older min(2 S - 1, c)
 * An et al., arXiv 2402.17463. L is original_max_position_embeddings whether or not chunk is given.
 * Runs: older chunks, the previous chunk, the query's own. One key set. */
#include <math.h>

#include "kernels/rope.h"
#include "kernels/rope_variants/params.h"

static const rs_param_spec params_of_dca[] = {
    RS_ROW_ROPE_THETA,
    RS_ROW_ORIGINAL_MAX,
    {.name = "chunk",
     .kind = RS_PARAM_INT,
     .min = 1,
     .help = "c: the largest distance used, above L/8 and at most L, tokens; absent: 3/4 of original_max_position_embeddings"},
    RS_ROWS_END,
};

enum { OLDER, PREVIOUS, OWN };

static int64_t start(const rs_position_map *map, int64_t m, int segment)
{
    int64_t span = (int64_t)map->span, own = m / span * span;
    switch (segment) {
    case OLDER:
        return 0;
    case PREVIOUS:
        return own > span ? own - span : 0;
    case OWN:
        return own;
    default:
        return m + 1;
    }
}

static double query_position(const rs_position_map *map, int64_t m, int segment)
{
    double within = (double)(m % (int64_t)map->span);
    if (segment == OWN)
        return within;
    return fmin(segment == PREVIOUS ? within + map->span : 2 * map->span - 1, map->chunk);
}

static double key_position(const rs_position_map *map, int64_t j, int key_set)
{
    (void)key_set;
    return (double)(j % (int64_t)map->span);
}

static rs_status build(const rs_params *params, int64_t n_final, rs_rope *out)
{
    (void)n_final;
    double original = rs_param_number(params, "original_max_position_embeddings");
    double chunk = rs_param_is_set(params, "chunk") ? rs_param_number(params, "chunk") : floor(3 * original / 4);
    double local = floor(original / 8);
    if (chunk <= local || chunk > original)
        return rs_fail(RS_INVALID, "chunk must be above L/8 = %.15g and at most L = %.15g (original_max_position_embeddings), not %.15g",
                       local, original, chunk);
    rs_rope_fill_default(rs_param_number(params, "rope_theta"), out->rotary_dim, out->inv_freq);
    out->map = (rs_position_map){
        .name = "dca",
        .n_segments = 3,
        .n_key_sets = 1,
        .chunk = chunk,
        .span = chunk - local,
        .start = start,
        .query_position = query_position,
        .key_position = key_position,
    };
    return RS_OK;
}

const rs_rope_variant rs_rope_variant_dca = {
    .name = "dca",
    .summary = "dual chunk attention: positions restart every chunk",
    .source = "arXiv 2402.17463",
    .params = params_of_dca,
    .build = build,
};
