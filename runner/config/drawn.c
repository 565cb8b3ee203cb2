/* Numbers drawn from a range: {log_uniform: [2, 16], n: 8}. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "config/internal.h"

enum { MAX_DRAWS = 10000, MAX_MISSES = 1000 };

typedef struct draw {
    bool logarithmic, whole;
    double low, high;
    int64_t n;
} draw;

bool rs_node_is_draw(const rs_node *node)
{
    return rs_node_index(node, "log_uniform") >= 0 || rs_node_index(node, "uniform") >= 0;
}

static rs_status read_draw(const rs_yaml *tree, const rs_node *node, draw *out)
{
    static const char *const keys[] = {"uniform", "log_uniform", "n"};
    const rs_node *ends = NULL, *count = rs_node_get(node, "n");
    for (int i = 0; i < node->n; i++) {
        const char *key = node->keys[i]->text;
        if (strcmp(key, keys[0]) != 0 && strcmp(key, keys[1]) != 0 && strcmp(key, keys[2]) != 0)
            return rs_fail_word(tree, node->keys[i]->place, "unknown key of a drawn number", key, keys, 3);
        if (strcmp(key, keys[2]) == 0)
            continue;
        if (ends)
            return rs_yaml_fail(tree, node->keys[i]->place, "uniform and log_uniform exclude each other ('%s')", key);
        ends = node->items[i];
        out->logarithmic = strcmp(key, keys[1]) == 0;
    }
    const char *name = out->logarithmic ? keys[1] : keys[0];
    if (count == NULL)
        return rs_yaml_fail(tree, node->place, "a drawn number needs 'n' (how many are drawn)");
    RS_TRY(rs_convert_int(tree, count, "n", 1, MAX_DRAWS, &out->n));
    if (ends->kind != RS_NODE_LIST || ends->n != 2)
        return rs_yaml_fail(tree, ends->place, "%s must be a list of two numbers", name);
    RS_TRY(rs_convert_number(tree, ends->items[0], name, &out->low));
    RS_TRY(rs_convert_number(tree, ends->items[1], name, &out->high));
    if (out->whole) {
        out->low = ceil(out->low);
        out->high = floor(out->high);
    }
    if (!isfinite(out->low) || !isfinite(out->high) || out->low >= out->high || (out->logarithmic && out->low <= 0))
        return rs_yaml_fail(tree, ends->place, "%s must be two finite numbers, the smaller first%s, not [%s, %s]", name,
                            out->logarithmic ? " and above 0" : "", rs_show(ends->items[0]->text).text, rs_show(ends->items[1]->text).text);
    return RS_OK;
}

/* Six digits: enough to sweep, short enough to be typed again, and the same whatever the last bit of exp and log. */
static double draw_one(const draw *d, rs_rng *rng)
{
    double u = rs_rng_unit(rng);
    double value = d->logarithmic ? exp(log(d->low) + u * (log(d->high) - log(d->low))) : d->low + u * (d->high - d->low);
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    value = d->whole ? rint(value) : strtod(text, NULL);
    return fmin(fmax(value, d->low), d->high);
}

static bool holds(const double *values, size_t n, double value)
{
    for (size_t i = 0; i < n; i++)
        if (values[i] == value)
            return true;
    return false;
}

rs_status rs_draw(const rs_yaml *tree, const rs_node *node, uint64_t seed, const char *axis, int entry, const char *key, bool whole,
                  double **values, size_t *n_values)
{
    draw d = {.whole = whole};
    RS_TRY(read_draw(tree, node, &d));
    char *name = rs_format("draw/%s", axis);
    rs_rng rng;
    rs_rng_init(&rng, seed, name, (uint64_t)entry, rs_hash64(key, strlen(key)));
    free(name);
    *values = rs_alloc((size_t)d.n, sizeof **values);
    *n_values = 0;
    /* A value drawn twice would be a duplicate point: it is drawn again, unless the range has hardly more values than n. */
    for (int misses = 0; *n_values < (size_t)d.n;) {
        double value = draw_one(&d, &rng);
        if (!holds(*values, *n_values, value))
            (*values)[(*n_values)++] = value;
        else if (++misses == MAX_MISSES)
            return rs_yaml_fail(tree, node->place, "%s: the range does not have %lld different values", key, (long long)d.n);
    }
    return RS_OK;
}
