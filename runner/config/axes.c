/* The rope and softmax axes: an entry is a type and its keys; lists and drawn numbers in it expand to one entry per combination. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/internal.h"

/* What differs between the two axes. */
typedef struct axis {
    const char *name, *type_key;
    const void *(*find)(const char *type);
    const rs_param_spec *(*specs)(const void *what);
    const char *(*type_at)(size_t i); /* NULL past the last */
} axis;

typedef struct entry {
    const void *what;
    rs_params params;
    rs_place place;
} entry;

typedef struct reader {
    const rs_yaml *tree;
    const axis *axis;
    uint64_t seed;
    int index; /* of the entry being read, as written: drawn numbers depend on it */
    entry *entries;
    int n, cap;
} reader;

/* One value that a key may take: a node, or a number drawn at that node. */
typedef struct alternative {
    const rs_node *node;
    bool drawn;
    double number;
} alternative;

typedef struct key_axis {
    const char *name;
    const rs_node *key;
    alternative *items;
    size_t n, cap;
} key_axis;

typedef struct expansion {
    key_axis *keys;
    int n_keys;
    int type; /* index of the type's key, or -1: every combination is of type `what` */
    const void *what;
} expansion;

static const void *find_rope(const char *type)
{
    return rs_rope_variant_find(type);
}

static const rs_param_spec *rope_specs(const void *what)
{
    return ((const rs_rope_variant *)what)->params;
}

static const char *rope_type_at(size_t i)
{
    return rs_rope_variants[i] ? rs_rope_variants[i]->name : NULL;
}

static const void *find_softmax(const char *type)
{
    return rs_softmax_policy_find(type);
}

static const rs_param_spec *softmax_specs(const void *what)
{
    return ((const rs_softmax_policy *)what)->params;
}

static const char *softmax_type_at(size_t i)
{
    return rs_softmax_policies[i] ? rs_softmax_policies[i]->name : NULL;
}

static const axis rope_axis = {"rope", "rope_type", find_rope, rope_specs, rope_type_at};
static const axis softmax_axis = {"softmax", "type", find_softmax, softmax_specs, softmax_type_at};

/* The type that a scalar names. */
static rs_status find_type(const reader *r, const rs_node *node, const void **what)
{
    double number;
    *what = NULL;
    if (node->kind != RS_NODE_SCALAR)
        return rs_yaml_fail(r->tree, node->place, "%s must be a name, not %s", r->axis->type_key, rs_node_kind_text(node));
    if (rs_scalar_kind(node, &number) != RS_SCALAR_STRING)
        return rs_yaml_fail(r->tree, node->place, "%s must be a name ('%s')", r->axis->type_key, rs_show(node->text).text);
    *what = r->axis->find(node->text);
    if (*what)
        return RS_OK;
    rs_names names = {0};
    for (size_t i = 0; r->axis->type_at(i); i++)
        rs_names_add(&names, r->axis->type_at(i));
    char *message = rs_format("unknown %s", r->axis->type_key);
    rs_status status = rs_fail_word(r->tree, node->place, message, node->text, names.items, names.n);
    free(message);
    rs_names_free(&names);
    return status;
}

static bool known_anywhere(const axis *a, const char *key)
{
    for (size_t i = 0; a->type_at(i); i++)
        if (rs_param_find(a->specs(a->find(a->type_at(i))), key) >= 0)
            return true;
    return false;
}

/* A key that this type does not take: another type's, or a misspelt one. */
static rs_status fail_key(const reader *r, const rs_node *key, const char *type, const rs_param_spec *specs)
{
    rs_names names = {0};
    rs_names_add_params(&names, specs);
    char *what = rs_format("unknown key of %s '%s'", r->axis->type_key, type);
    rs_status status;
    if (known_anywhere(r->axis, key->text)) {
        rs_text takes = {0};
        for (size_t i = 0; i < names.n; i++)
            rs_text_printf(&takes, "%s%s", i ? ", " : "", names.items[i]);
        status = rs_yaml_fail(r->tree, key->place, "%s '%s' does not take this key ('%s'); it takes %s", r->axis->type_key, type, key->text,
                              names.n ? takes.data : "none");
        rs_text_free(&takes);
    } else {
        rs_names_add(&names, r->axis->type_key);
        status = rs_fail_word(r->tree, key->place, what, key->text, names.items, names.n);
    }
    free(what);
    rs_names_free(&names);
    return status;
}

/* --- alternatives of one key --- */

static rs_status add_draws(const reader *r, key_axis *key, const rs_node *node, bool whole)
{
    double *values = NULL;
    size_t n = 0;
    rs_status status = rs_draw(r->tree, node, r->seed, r->axis->name, r->index, key->name, whole, &values, &n);
    if (status == RS_OK && key->n + n > RS_MAX_AXIS)
        status = rs_yaml_fail(r->tree, node->place, "more than %d values of %s", RS_MAX_AXIS, key->name);
    for (size_t i = 0; i < n && status == RS_OK; i++) {
        alternative drawn = {.node = node, .drawn = true, .number = values[i]};
        RS_PUSH(key->items, key->n, key->cap, drawn);
    }
    free(values);
    return status;
}

static rs_status add_alternative(const reader *r, key_axis *key, const rs_node *node, const rs_param_spec *spec)
{
    bool numeric = spec && (spec->kind == RS_PARAM_NUMBER || spec->kind == RS_PARAM_INT);
    if (numeric && rs_node_is_draw(node))
        return add_draws(r, key, node, spec->kind == RS_PARAM_INT);
    alternative plain = {.node = node};
    RS_PUSH(key->items, key->n, key->cap, plain);
    return RS_OK;
}

/* spec NULL: the type's own key. A vector is one value; a list of lists is several. */
static rs_status read_alternatives(const reader *r, key_axis *key, const rs_node *node, const rs_param_spec *spec)
{
    bool many = node->kind == RS_NODE_LIST;
    if (many && node->n == 0)
        return rs_yaml_fail(r->tree, node->place, "%s is an empty list ('[]')", key->name);
    if (many && spec && spec->kind == RS_PARAM_VECTOR)
        many = node->items[0]->kind == RS_NODE_LIST;
    if (!many)
        return add_alternative(r, key, node, spec);
    for (int i = 0; i < node->n; i++)
        RS_TRY(add_alternative(r, key, node->items[i], spec));
    return RS_OK;
}

/* --- one entry --- */

static void expansion_free(expansion *e)
{
    for (int i = 0; i < e->n_keys; i++)
        free(e->keys[i].items);
    free(e->keys);
}

/* The key that names the type: rope_type, or `type` as older Hugging Face configs write it (both may stand there and agree). */
static rs_status find_type_key(const reader *r, const rs_node *map, int *index)
{
    *index = rs_node_index(map, r->axis->type_key);
    int old = rs_node_index(map, "type");
    if (*index >= 0 && old >= 0 && old != *index) {
        const rs_node *a = map->items[*index], *b = map->items[old];
        if (a->kind != RS_NODE_SCALAR || b->kind != RS_NODE_SCALAR || strcmp(a->text, b->text) != 0)
            return rs_yaml_fail(r->tree, map->keys[old]->place, "type is the old name of rope_type and says something else ('%s')",
                                rs_show(b->text ? b->text : "").text);
    }
    if (*index < 0)
        *index = old;
    return RS_OK;
}

static rs_status fail_untyped(const reader *r, const rs_node *map)
{
    const char *wanted[] = {r->axis->type_key};
    for (int i = 0; i < map->n; i++)
        if (!known_anywhere(r->axis, map->keys[i]->text) && rs_nearest(map->keys[i]->text, wanted, 1))
            return rs_fail_word(r->tree, map->keys[i]->place, "unknown key", map->keys[i]->text, wanted, 1);
    return rs_yaml_fail(r->tree, map->place, "a %s entry that is a map needs '%s'", r->axis->name, r->axis->type_key);
}

/* Keys against the table of each type that the entry names; `what` is the type where none is named. specs: that of the first type. */
static rs_status check_keys(const reader *r, const rs_node *map, const key_axis *types, const void *what, const rs_param_spec **specs)
{
    size_t n_types = types->n ? types->n : 1;
    for (size_t t = 0; t < n_types; t++) {
        const char *type = types->n ? types->items[t].node->text : "temperature";
        if (types->n)
            RS_TRY(find_type(r, types->items[t].node, &what));
        const rs_param_spec *rows = r->axis->specs(what);
        *specs = t == 0 ? rows : *specs;
        for (int i = 0; i < map->n; i++) {
            const char *key = map->keys[i]->text;
            bool is_type = strcmp(key, r->axis->type_key) == 0 || strcmp(key, "type") == 0;
            if (!is_type && rs_param_find(rows, key) < 0)
                return fail_key(r, map->keys[i], type, rows);
        }
    }
    return RS_OK;
}

static bool is_explicit_null(const rs_node *node)
{
    return rs_node_is_null(node) && node->text[0] != '\0';
}

static rs_status read_keys(const reader *r, const rs_node *map, expansion *e)
{
    int type_at;
    RS_TRY(find_type_key(r, map, &type_at));
    if (type_at < 0 && r->axis == &softmax_axis && rs_node_index(map, "temperature") >= 0)
        e->what = r->axis->find("temperature");
    else if (type_at < 0)
        return fail_untyped(r, map);
    e->keys = rs_alloc((size_t)map->n, sizeof *e->keys);
    key_axis types = {0};
    rs_status status = RS_OK;
    const rs_param_spec *specs = NULL;
    if (type_at >= 0) {
        types = (key_axis){.name = r->axis->type_key, .key = map->keys[type_at]};
        status = read_alternatives(r, &types, map->items[type_at], NULL);
    }
    if (status == RS_OK)
        status = check_keys(r, map, &types, e->what, &specs);
    for (int i = 0; i < map->n && status == RS_OK; i++) {
        key_axis *key = &e->keys[e->n_keys];
        *key = (key_axis){.name = map->keys[i]->text, .key = map->keys[i]};
        int row = rs_param_find(specs, key->name);
        if (i == type_at) {
            e->type = e->n_keys++;
            *key = types;
            types = (key_axis){0};
        } else if (row >= 0 && !is_explicit_null(map->items[i])) {
            e->n_keys++;
            status = read_alternatives(r, key, map->items[i], &specs[row]);
        }
    }
    free(types.items);
    return status;
}

/* One combination: `at` has the alternative of each key. */
static rs_status build_entry(reader *r, const expansion *e, const size_t *at, rs_place place)
{
    entry built = {.what = e->what, .place = place};
    if (e->type >= 0)
        RS_TRY(find_type(r, e->keys[e->type].items[at[e->type]].node, &built.what));
    rs_params_init(&built.params, r->axis->specs(built.what));
    rs_status status = RS_OK;
    for (int i = 0; i < e->n_keys && status == RS_OK; i++) {
        if (i == e->type)
            continue;
        const alternative *value = &e->keys[i].items[at[i]];
        int index = rs_param_find(built.params.specs, e->keys[i].name);
        if (value->drawn)
            status = rs_convert_drawn(r->tree, value->node, value->number, &built.params, index);
        else
            status = rs_convert_param(r->tree, value->node, &built.params, index);
    }
    if (status == RS_OK) {
        const char *type = e->type >= 0 ? e->keys[e->type].items[at[e->type]].node->text : "temperature";
        char *where = rs_format("%s '%s'", r->axis->type_key, type);
        status = rs_fill_at(r->tree, place, where, &built.params, NULL);
        free(where);
    }
    if (status == RS_OK)
        RS_PUSH(r->entries, r->n, r->cap, built);
    else
        rs_params_free(&built.params);
    return status;
}

static rs_status expand(reader *r, const expansion *e, rs_place place)
{
    size_t total = 1;
    for (int i = 0; i < e->n_keys; i++) {
        total *= e->keys[i].n;
        if (total > (size_t)(RS_MAX_AXIS - r->n))
            return rs_yaml_fail(r->tree, place, "more than %d %s entries", RS_MAX_AXIS, r->axis->name);
    }
    size_t *at = rs_alloc((size_t)e->n_keys, sizeof *at);
    rs_status status = RS_OK;
    for (size_t point = 0; point < total && status == RS_OK; point++) {
        status = build_entry(r, e, at, place);
        for (int i = e->n_keys - 1; i >= 0 && ++at[i] == e->keys[i].n; i--) /* the last key runs fastest */
            at[i] = 0;
    }
    free(at);
    return status;
}

/* A type alone, or a number that stands for {type: temperature, temperature: T}. */
static rs_status read_scalar_entry(reader *r, const rs_node *node)
{
    double number;
    rs_scalar kind = rs_scalar_kind(node, &number);
    bool is_temperature = r->axis == &softmax_axis && (kind == RS_SCALAR_INT || kind == RS_SCALAR_NUMBER);
    if (!is_temperature && kind != RS_SCALAR_STRING)
        return rs_yaml_fail(r->tree, node->place, "a %s entry must be a %s or a map ('%s')", r->axis->name, r->axis->type_key,
                            rs_show(node->text).text);
    alternative value = {.node = node};
    key_axis key = {.name = is_temperature ? "temperature" : r->axis->type_key, .items = &value, .n = 1};
    expansion e = {
        .keys = &key, .n_keys = 1, .type = is_temperature ? -1 : 0, .what = is_temperature ? r->axis->find("temperature") : NULL};
    return expand(r, &e, node->place);
}

static rs_status read_entry(reader *r, const rs_node *node)
{
    if (node->kind == RS_NODE_SCALAR)
        return read_scalar_entry(r, node);
    if (node->kind == RS_NODE_LIST)
        return rs_yaml_fail(r->tree, node->place, "a %s entry must be a %s or a map, not a list", r->axis->name, r->axis->type_key);
    expansion e = {.type = -1};
    rs_status status = read_keys(r, node, &e);
    if (status == RS_OK)
        status = expand(r, &e, node->place);
    expansion_free(&e);
    return status;
}

/* A list of entries, or one. node NULL: `fallback` alone. */
static rs_status read_axis(reader *r, const rs_node *node, const char *fallback)
{
    rs_node absent = {.kind = RS_NODE_SCALAR, .text = (char[16]){0}, .plain = true};
    if (node == NULL) {
        strncpy(absent.text, fallback, 15);
        return read_entry(r, &absent);
    }
    if (node->kind != RS_NODE_LIST)
        return read_entry(r, node);
    if (node->n == 0)
        return rs_yaml_fail(r->tree, node->place, "%s is an empty list ('[]')", r->axis->name);
    for (r->index = 0; r->index < node->n; r->index++)
        RS_TRY(read_entry(r, node->items[r->index]));
    return RS_OK;
}

static reader reader_of(const rs_config *config, const axis *a)
{
    return (reader){.tree = config->yaml, .axis = a, .seed = (uint64_t)rs_param_number(&config->run, "seed")};
}

rs_status rs_read_ropes(rs_config *config, const rs_node *node)
{
    reader r = reader_of(config, &rope_axis);
    rs_status status = read_axis(&r, node, "default");
    config->ropes = rs_alloc((size_t)r.n, sizeof *config->ropes);
    for (int i = 0; i < r.n; i++)
        config->ropes[config->n_ropes++] = (rs_rope_entry){r.entries[i].what, r.entries[i].params, r.entries[i].place};
    free(r.entries);
    return status;
}

rs_status rs_read_softmaxes(rs_config *config, const rs_node *node)
{
    reader r = reader_of(config, &softmax_axis);
    rs_status status = read_axis(&r, node, "1");
    config->softmaxes = rs_alloc((size_t)r.n, sizeof *config->softmaxes);
    for (int i = 0; i < r.n; i++)
        config->softmaxes[config->n_softmaxes++] = (rs_softmax_entry){r.entries[i].what, r.entries[i].params, r.entries[i].place};
    free(r.entries);
    return status;
}

/* Reads an entry that must not expand; *out owns it. */
static rs_status read_one(reader *r, const rs_node *node, entry *out)
{
    rs_status status = read_entry(r, node);
    if (status == RS_OK && r->n != 1)
        status = rs_yaml_fail(r->tree, node->place, "baseline.%s must be one entry, not %d", r->axis->name, r->n);
    for (int i = status == RS_OK; i < r->n; i++)
        rs_params_free(&r->entries[i].params);
    *out = status == RS_OK ? r->entries[0] : (entry){0};
    free(r->entries);
    return status;
}

rs_status rs_read_one_rope(rs_config *config, const rs_node *node, rs_rope_entry *out)
{
    reader r = reader_of(config, &rope_axis);
    entry one;
    rs_status status = read_one(&r, node, &one);
    *out = (rs_rope_entry){one.what, one.params, one.place};
    return status;
}

rs_status rs_read_one_softmax(rs_config *config, const rs_node *node, rs_softmax_entry *out)
{
    reader r = reader_of(config, &softmax_axis);
    entry one;
    rs_status status = read_one(&r, node, &one);
    *out = (rs_softmax_entry){one.what, one.params, one.place};
    return status;
}
