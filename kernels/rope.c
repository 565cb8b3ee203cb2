#include "kernels/rope.h"

#include <math.h>
#include <string.h>

/* The table: one row a variant, in the order `list` prints. The struct rs_rope_variant_<row> stands in rope_variants/. */
#define VARIANTS(ROW)                                                                                                                      \
    ROW(default)                                                                                                                           \
    ROW(linear)                                                                                                                            \
    ROW(ntk)                                                                                                                               \
    ROW(dynamic)                                                                                                                           \
    ROW(ntk_by_parts)                                                                                                                      \
    ROW(yarn)                                                                                                                              \
    ROW(longrope)                                                                                                                          \
    ROW(llama3)                                                                                                                            \
    ROW(p_rope)                                                                                                                            \
    ROW(p_rope_reversed)                                                                                                                   \
    ROW(partial)                                                                                                                           \
    ROW(nope)                                                                                                                              \
    ROW(band)                                                                                                                              \
    ROW(self_extend)                                                                                                                       \
    ROW(rerope)                                                                                                                            \
    ROW(leaky_rerope)                                                                                                                      \
    ROW(dca)                                                                                                                               \
    ROW(alibi)                                                                                                                             \
    ROW(irope)

/* Other names for a row above, each with its own keys. */
#define ALIASES(ROW) ROW(proportional)

#define DECLARE(name) extern const rs_rope_variant rs_rope_variant_##name;
#define POINTER(name) &rs_rope_variant_##name,
VARIANTS(DECLARE)
ALIASES(DECLARE)

const rs_rope_variant *const rs_rope_variants[] = {VARIANTS(POINTER) NULL};
static const rs_rope_variant *const aliases[] = {ALIASES(POINTER) NULL};

static const rs_rope_variant *find_in(const rs_rope_variant *const *table, const char *name)
{
    for (; *table; table++)
        if (strcmp((*table)->name, name) == 0)
            return *table;
    return NULL;
}

const rs_rope_variant *rs_rope_variant_find(const char *name)
{
    const rs_rope_variant *variant = find_in(rs_rope_variants, name);
    return variant ? variant : find_in(aliases, name);
}

/* --- plain RoPE --- */

static int64_t identity_start(const rs_position_map *map, int64_t m, int segment)
{
    (void)map;
    return segment == 0 ? 0 : m + 1;
}

static double identity_position(const rs_position_map *map, int64_t position, int run)
{
    (void)map;
    (void)run;
    return (double)position;
}

void rs_rope_init_plain(rs_rope *rope, int head_dim)
{
    *rope = (rs_rope){
        .head_dim = head_dim,
        .rotary_dim = head_dim,
        .attention_factor = 1,
        .map = {.name = "identity",
                .n_segments = 1,
                .n_key_sets = 1,
                .start = identity_start,
                .query_position = identity_position,
                .key_position = identity_position},
        .prefix_stable = true,
    };
    for (int k = 0; k < RS_MAX_PAIRS; k++)
        rope->query_gain[k] = 1;
}

void rs_rope_fill_default(double base, int dim, double *inv_freq)
{
    for (int k = 0; k < dim / 2; k++)
        inv_freq[k] = pow(base, -2.0 * k / dim);
}

/* --- building --- */

static rs_status check_built(const char *name, const rs_rope *rope)
{
    for (int k = 0; k < rope->rotary_dim / 2; k++)
        if (!isfinite(rope->inv_freq[k]))
            return rs_fail(RS_INVALID, "%s: these values make the frequency of pair %d %g", name, k, rope->inv_freq[k]);
    if (!isfinite(rope->attention_factor) || rope->attention_factor <= 0)
        return rs_fail(RS_INVALID, "%s: these values make the attention factor %g; it must be above 0", name, rope->attention_factor);
    return RS_OK;
}

rs_status rs_rope_build(const rs_rope_variant *variant, const rs_params *params, int head_dim, int64_t n_final, rs_rope *out)
{
    if (head_dim < 2 || head_dim % 2 != 0 || head_dim > 2 * RS_MAX_PAIRS)
        return rs_fail(RS_INVALID, "head_dim must be even and between 2 and %d, not %d", 2 * RS_MAX_PAIRS, head_dim);
    rs_rope_init_plain(out, head_dim);
    out->prefix_stable = !variant->length_dependent;
    RS_TRY(variant->build(params, n_final, out));
    return check_built(variant->name, out);
}

/* --- identity of a table --- */

static void hash_number(rs_hasher *hasher, double number)
{
    number += 0.0; /* -0 and 0 are one value */
    rs_hasher_update(hasher, &number, sizeof number);
}

static void hash_map(rs_hasher *hasher, const rs_position_map *map)
{
    rs_hasher_update(hasher, map->name, strlen(map->name) + 1);
    const double numbers[] = {map->window, map->group, map->leak, map->chunk, map->span};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hash_number(hasher, numbers[i]);
}

rs_digest rs_rope_digest(const rs_rope *rope)
{
    rs_hasher *hasher = rs_hasher_open();
    hash_number(hasher, rope->head_dim);
    hash_number(hasher, rope->rotary_dim);
    for (int k = 0; k < rope->rotary_dim / 2; k++) {
        hash_number(hasher, rope->inv_freq[k]);
        hash_number(hasher, rope->query_gain[k]);
    }
    hash_number(hasher, rope->attention_factor);
    hash_number(hasher, rope->alibi);
    hash_number(hasher, rope->skip_every);
    hash_map(hasher, &rope->map);
    return rs_hasher_close(hasher);
}

/* --- use --- */

bool rs_rope_rotates(const rs_rope *rope, int layer)
{
    return rope->skip_every == 0 || (layer + 1) % rope->skip_every != 0;
}

void rs_rope_table(const rs_rope *rope, const double *positions, int64_t n, float *cos_out, float *sin_out, int64_t stride)
{
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < rope->rotary_dim / 2; k++) {
            double angle = positions[i] * rope->inv_freq[k];
            cos_out[i * stride + k] = (float)(rope->attention_factor * cos(angle));
            sin_out[i * stride + k] = (float)(rope->attention_factor * sin(angle));
        }
}

void rs_rope_rotate(const rs_rope *rope, double position, const double *x, double *y)
{
    int half = rope->rotary_dim / 2;
    for (int k = 0; k < half; k++) {
        double angle = position * rope->inv_freq[k];
        double c = rope->attention_factor * cos(angle), s = rope->attention_factor * sin(angle);
        double first = x[k], second = x[k + half];
        y[k] = first * c - second * s;
        y[k + half] = second * c + first * s;
    }
    for (int i = rope->rotary_dim; i < rope->head_dim; i++)
        y[i] = x[i];
}
