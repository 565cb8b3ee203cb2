/* One node to one value, by its row; and a map of nodes to a table of them. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "config/internal.h"

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

/* Length of a run of digits, single underscores between digits allowed; 0 if there is none. */
static size_t digit_run(const char *text)
{
    size_t i = 0;
    while ((text[i] >= '0' && text[i] <= '9') ||
           (i > 0 && text[i] == '_' && text[i - 1] != '_' && text[i + 1] >= '0' && text[i + 1] <= '9'))
        i++;
    return i;
}

/* Whether `text` is a decimal number as a whole. A leading zero is refused: YAML 1.1 reads 010 as eight, 1.2 as ten. */
static bool is_decimal(const char *text, bool *whole)
{
    const char *p = text + (*text == '+' || *text == '-');
    size_t before = digit_run(p);
    if (before > 1 && p[0] == '0')
        return false;
    p += before;
    *whole = *p == '\0';
    size_t after = 0;
    if (*p == '.') {
        after = digit_run(++p);
        p += after;
    }
    if (before + after == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '+' || p[1] == '-');
        size_t exponent = digit_run(p);
        if (exponent == 0)
            return false;
        p += exponent;
    }
    return *p == '\0';
}

static double decimal_value(const char *text)
{
    char *clean = rs_strdup(text), *to = clean;
    for (const char *from = text; *from; from++)
        if (*from != '_')
            *to++ = *from;
    *to = '\0';
    double value = strtod(clean, NULL);
    free(clean);
    return value;
}

rs_scalar rs_scalar_kind(const rs_node *scalar, double *number)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL}, *const falses[] = {"false", "False", "FALSE", NULL};
    static const char *const infinities[] = {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", NULL};
    static const char *const minus_infinities[] = {"-.inf", "-.Inf", "-.INF", NULL}, *const nans[] = {".nan", ".NaN", ".NAN", NULL};
    const char *text = scalar->text;
    bool whole = false;
    *number = 0;
    if (!scalar->plain)
        return RS_SCALAR_STRING;
    if (is_one_of(text, nulls))
        return RS_SCALAR_NULL;
    *number = is_one_of(text, trues);
    if (*number > 0 || is_one_of(text, falses))
        return RS_SCALAR_BOOL;
    *number = is_one_of(text, infinities) ? INFINITY : is_one_of(text, minus_infinities) ? -INFINITY : is_one_of(text, nans) ? NAN : 0;
    if (!isfinite(*number))
        return RS_SCALAR_NUMBER;
    if (!is_decimal(text, &whole))
        return RS_SCALAR_STRING;
    *number = decimal_value(text);
    return whole ? RS_SCALAR_INT : RS_SCALAR_NUMBER;
}

bool rs_node_is_null(const rs_node *node)
{
    double number;
    return node->kind == RS_NODE_SCALAR && rs_scalar_kind(node, &number) == RS_SCALAR_NULL;
}

/* "NAME must be WHAT ...": what stands there instead, with a word on why where the text looks right. */
static rs_status fail_type(const rs_yaml *tree, const rs_node *node, const char *name, const char *what)
{
    double number;
    if (node->kind != RS_NODE_SCALAR)
        return rs_yaml_fail(tree, node->place, "%s must be %s, not %s", name, what, rs_node_kind_text(node));
    if (rs_node_is_null(node))
        return rs_yaml_fail(tree, node->place, "%s must be %s, and has no value ('%s')", name, what, node->text);
    rs_node bare = {.kind = RS_NODE_SCALAR, .text = node->text, .plain = true};
    bool numeric = rs_scalar_kind(&bare, &number) == RS_SCALAR_INT || rs_scalar_kind(&bare, &number) == RS_SCALAR_NUMBER;
    const char *hint = !node->plain && numeric ? "; the quotes make it a text" : "";
    return rs_yaml_fail(tree, node->place, "%s must be %s ('%s')%s", name, what, rs_show(node->text).text, hint);
}

rs_status rs_refail(const rs_yaml *tree, rs_place place, const char *name, rs_status status)
{
    if (status != RS_INVALID)
        return status;
    char *what = name ? rs_format("%s %s", name, rs_error_message()) : rs_strdup(rs_error_message());
    rs_error_clear();
    rs_yaml_fail_text(tree, place, what);
    free(what);
    return status;
}

rs_status rs_convert_number(const rs_yaml *tree, const rs_node *node, const char *name, double *out)
{
    rs_scalar kind = node->kind == RS_NODE_SCALAR ? rs_scalar_kind(node, out) : RS_SCALAR_STRING;
    if ((kind != RS_SCALAR_INT && kind != RS_SCALAR_NUMBER) || isnan(*out))
        return fail_type(tree, node, name, "a number");
    return RS_OK;
}

static rs_status convert_whole(const rs_yaml *tree, const rs_node *node, const char *name, double *out)
{
    if (node->kind != RS_NODE_SCALAR || rs_scalar_kind(node, out) != RS_SCALAR_INT)
        return fail_type(tree, node, name, "a whole number");
    return RS_OK;
}

rs_status rs_convert_int(const rs_yaml *tree, const rs_node *node, const char *name, int64_t low, int64_t high, int64_t *out)
{
    double number;
    RS_TRY(convert_whole(tree, node, name, &number));
    if (!(number >= (double)low && number <= (double)high))
        return rs_yaml_fail(tree, node->place, "%s must be from %lld to %lld ('%s')", name, (long long)low, (long long)high,
                            rs_show(node->text).text);
    *out = (int64_t)number;
    return RS_OK;
}

static rs_status set_number(const rs_yaml *tree, const rs_node *node, rs_params *params, int index)
{
    const rs_param_spec *spec = &params->specs[index];
    double number;
    if (spec->kind == RS_PARAM_INT)
        RS_TRY(convert_whole(tree, node, spec->name, &number));
    else
        RS_TRY(rs_convert_number(tree, node, spec->name, &number));
    return rs_refail(tree, node->place, spec->name, rs_param_set_number(params, index, number));
}

rs_status rs_convert_drawn(const rs_yaml *tree, const rs_node *node, double number, rs_params *params, int index)
{
    return rs_refail(tree, node->place, params->specs[index].name, rs_param_set_number(params, index, number));
}

static rs_status set_bool(const rs_yaml *tree, const rs_node *node, rs_params *params, int index)
{
    static const char *const yes[] = {"yes", "on", "y", "1", NULL}, *const no[] = {"no", "off", "n", "0", NULL};
    const char *name = params->specs[index].name;
    double number;
    if (node->kind == RS_NODE_SCALAR && rs_scalar_kind(node, &number) == RS_SCALAR_BOOL)
        return rs_param_set_string(params, index, number > 0 ? "true" : "false");
    for (int i = 0; node->kind == RS_NODE_SCALAR && node->plain && yes[i]; i++)
        if (strcasecmp(node->text, yes[i]) == 0 || strcasecmp(node->text, no[i]) == 0)
            return rs_yaml_fail(tree, node->place, "%s must be true or false ('%s'), did you mean '%s'?", name, node->text,
                                strcasecmp(node->text, yes[i]) == 0 ? "true" : "false");
    return fail_type(tree, node, name, "true or false");
}

static rs_status check_string(const rs_yaml *tree, const rs_node *node, const char *name)
{
    double number;
    if (node->kind != RS_NODE_SCALAR || rs_scalar_kind(node, &number) == RS_SCALAR_NULL)
        return fail_type(tree, node, name, "a text");
    if (rs_scalar_kind(node, &number) != RS_SCALAR_STRING)
        return rs_yaml_fail(tree, node->place, "%s must be a text ('%s'); put it in quotes", name, rs_show(node->text).text);
    return RS_OK;
}

static rs_status set_choice(const rs_yaml *tree, const rs_node *node, rs_params *params, int index)
{
    const rs_param_spec *spec = &params->specs[index];
    RS_TRY(check_string(tree, node, spec->name));
    rs_names names = {0};
    char *choices = rs_strdup(spec->choices), *rest = NULL;
    bool valid = false;
    for (char *word = strtok_r(choices, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
        rs_names_add(&names, word);
        valid = valid || strcmp(word, node->text) == 0;
    }
    rs_status status = RS_OK;
    char *what = rs_format("unknown %s", spec->name);
    if (valid)
        status = rs_param_set_string(params, index, node->text);
    else
        status = rs_fail_word(tree, node->place, what, node->text, names.items, names.n);
    free(what);
    free(choices);
    rs_names_free(&names);
    return status;
}

static rs_status set_vector(const rs_yaml *tree, const rs_node *node, rs_params *params, int index)
{
    const char *name = params->specs[index].name;
    if (node->kind != RS_NODE_LIST)
        return fail_type(tree, node, name, "a list of numbers");
    if (node->n == 0)
        return rs_yaml_fail(tree, node->place, "%s is an empty list ('[]')", name);
    double *numbers = rs_alloc((size_t)node->n, sizeof *numbers);
    rs_status status = RS_OK;
    for (int i = 0; i < node->n && status == RS_OK; i++)
        status = rs_convert_number(tree, node->items[i], name, &numbers[i]);
    if (status == RS_OK)
        status = rs_refail(tree, node->place, name, rs_param_set_vector(params, index, numbers, (size_t)node->n));
    free(numbers);
    return status;
}

static rs_status set_strings(const rs_yaml *tree, const rs_node *node, rs_params *params, int index)
{
    const char *name = params->specs[index].name;
    if (node->kind == RS_NODE_MAP)
        return fail_type(tree, node, name, "a text or a list of texts");
    if (node->kind == RS_NODE_LIST && node->n == 0)
        return rs_yaml_fail(tree, node->place, "%s is an empty list ('[]')", name);
    bool single = node->kind == RS_NODE_SCALAR;
    size_t n = single ? 1 : (size_t)node->n;
    char **strings = rs_alloc(n, sizeof *strings);
    rs_status status = RS_OK;
    for (size_t i = 0; i < n && status == RS_OK; i++) {
        const rs_node *item = single ? node : node->items[i];
        status = check_string(tree, item, name);
        strings[i] = item->text;
    }
    if (status == RS_OK)
        status = rs_refail(tree, node->place, name, rs_param_set_strings(params, index, strings, n));
    free(strings);
    return status;
}

/* JSON has no infinity: the effective configuration spells it as a text, and can be read back. */
static rs_status convert_end(const rs_yaml *tree, const rs_node *node, const char *name, double *out)
{
    bool infinite = node->kind == RS_NODE_SCALAR && strcmp(node->text, ".inf") == 0;
    *out = INFINITY;
    return infinite ? RS_OK : rs_convert_number(tree, node, name, out);
}

static rs_status set_band(const rs_yaml *tree, const rs_node *node, rs_params *params, int index)
{
    static const char *const kinds[] = {"wavelength", "pairs"};
    const char *name = params->specs[index].name;
    if (node->kind != RS_NODE_MAP || node->n == 0)
        return fail_type(tree, node, name, "{wavelength: [low, high]} or {pairs: [first, last]}");
    for (int i = 0; i < node->n; i++)
        if (strcmp(node->keys[i]->text, kinds[0]) != 0 && strcmp(node->keys[i]->text, kinds[1]) != 0)
            return rs_fail_word(tree, node->keys[i]->place, "unknown key in band", node->keys[i]->text, kinds, 2);
    if (node->n != 1)
        return rs_yaml_fail(tree, node->keys[1]->place, "a band has wavelength or pairs, not both ('%s')", node->keys[1]->text);
    const char *which = node->keys[0]->text;
    const rs_node *ends = node->items[0];
    if (ends->kind != RS_NODE_LIST || ends->n != 2)
        return rs_yaml_fail(tree, ends->place, "%s must be a list of two numbers%s", which,
                            ends->kind == RS_NODE_LIST  ? ""
                            : ends->kind == RS_NODE_MAP ? ", not a map"
                                                        : ", not one value");
    double low, high;
    RS_TRY(convert_end(tree, ends->items[0], which, &low));
    RS_TRY(convert_end(tree, ends->items[1], which, &high));
    return rs_refail(tree, ends->place, NULL, rs_param_set_band(params, index, which, low, high));
}

rs_status rs_convert_param(const rs_yaml *tree, const rs_node *node, rs_params *params, int index)
{
    const rs_param_spec *spec = &params->specs[index];
    switch (spec->kind) {
    case RS_PARAM_NUMBER:
    case RS_PARAM_INT:
        return set_number(tree, node, params, index);
    case RS_PARAM_BOOL:
        return set_bool(tree, node, params, index);
    case RS_PARAM_STRING:
        RS_TRY(check_string(tree, node, spec->name));
        return rs_refail(tree, node->place, spec->name, rs_param_set_string(params, index, node->text));
    case RS_PARAM_CHOICE:
        return set_choice(tree, node, params, index);
    case RS_PARAM_VECTOR:
        return set_vector(tree, node, params, index);
    case RS_PARAM_STRINGS:
        return set_strings(tree, node, params, index);
    case RS_PARAM_BAND:
        return set_band(tree, node, params, index);
    }
    return rs_fail(RS_INTERNAL, "%s: a row of no known kind", spec->name);
}

void rs_names_add(rs_names *names, const char *name)
{
    RS_PUSH(names->items, names->n, names->cap, name);
}

void rs_names_add_params(rs_names *names, const rs_param_spec *specs)
{
    for (; specs->name; specs++)
        rs_names_add(names, specs->name);
}

void rs_names_free(rs_names *names)
{
    free(names->items);
    *names = (rs_names){0};
}

rs_status rs_fail_word(const rs_yaml *tree, rs_place place, const char *what, const char *word, const char *const *names, size_t n)
{
    const char *nearest = rs_nearest(word, names, n);
    if (nearest)
        return rs_yaml_fail(tree, place, "%s ('%s'), did you mean '%s'?", what, rs_show(word).text, nearest);
    rs_text text = {0};
    rs_text_printf(&text, "%s ('%s')%s", what, rs_show(word).text, n ? "; valid: " : "");
    for (size_t i = 0; i < n; i++)
        rs_text_printf(&text, "%s%s", i ? ", " : "", names[i]);
    rs_yaml_fail_text(tree, place, text.data);
    rs_text_free(&text);
    return RS_INVALID;
}

/* A key that no row has. Where it belongs to another section, that is what was meant. */
static rs_status fail_key(const rs_yaml *tree, const rs_node *key, const char *section, const rs_param_spec *specs)
{
    for (const rs_section *other = rs_config_sections; other->name; other++)
        if (other->params && other->params != specs && other->params != rs_task_common_params &&
            rs_param_find(other->params, key->text) >= 0)
            return rs_yaml_fail(tree, key->place, "unknown key in %s ('%s'), did you mean '%s%s%s'?", section, key->text, other->name,
                                other->name[0] ? "." : "", key->text);
    rs_names names = {0};
    rs_names_add_params(&names, specs);
    char *what = rs_format("unknown key in %s", section);
    rs_status status = rs_fail_word(tree, key->place, what, key->text, names.items, names.n);
    free(what);
    rs_names_free(&names);
    return status;
}

rs_status rs_fill_at(const rs_yaml *tree, rs_place place, const char *where, rs_params *params, const rs_model_facts *facts)
{
    for (int i = 0; params->specs[i].name; i++) {
        const rs_param_spec *spec = &params->specs[i];
        if (!params->values[i].set && spec->fallback && strcmp(spec->fallback, "required") == 0)
            return rs_yaml_fail(tree, place, "%s needs '%s' (%s)", where, spec->name, spec->help);
    }
    return rs_refail(tree, place, NULL, rs_params_fill(params, facts));
}

rs_status rs_convert_section(const rs_yaml *tree, const rs_node *map, const char *section, rs_params *params)
{
    rs_place place = map ? map->place : (rs_place){0};
    if (map && map->kind != RS_NODE_MAP && !rs_node_is_null(map))
        return fail_type(tree, map, section, "a map");
    for (int i = 0; map && i < map->n; i++) {
        int index = rs_param_find(params->specs, map->keys[i]->text);
        if (index < 0)
            return fail_key(tree, map->keys[i], section, params->specs);
        RS_TRY(rs_convert_param(tree, map->items[i], params, index));
    }
    return rs_fill_at(tree, place, section, params, NULL);
}
