#include "base/param.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"

enum { MAX_CHOICES = 32 };
static const double MAX_WHOLE = 9007199254740992.0; /* 2^53: every whole number up to here is a double */

size_t rs_param_count(const rs_param_spec *specs)
{
    size_t n = 0;
    while (specs[n].name)
        n++;
    return n;
}

/* --- ownership --- */

static void value_free(rs_param_value *value)
{
    free(value->string);
    free(value->vector);
    for (size_t i = 0; value->strings && i < value->n; i++)
        free(value->strings[i]);
    free(value->strings);
    *value = (rs_param_value){0};
}

void rs_params_init(rs_params *params, const rs_param_spec *specs)
{
    params->specs = specs;
    params->values = rs_alloc(rs_param_count(specs), sizeof *params->values);
}

void rs_params_free(rs_params *params)
{
    size_t n = params->values ? rs_param_count(params->specs) : 0;
    for (size_t i = 0; i < n; i++)
        value_free(&params->values[i]);
    free(params->values);
    *params = (rs_params){0};
}

static double *copy_numbers(const double *from, size_t n)
{
    double *to = rs_alloc(n, sizeof *to);
    if (n > 0)
        memcpy(to, from, n * sizeof *to);
    return to;
}

static char **copy_strings(char *const *from, size_t n)
{
    char **to = rs_alloc(n, sizeof *to);
    for (size_t i = 0; i < n; i++)
        to[i] = rs_strdup(from[i]);
    return to;
}

/* --- reading --- */

int rs_param_find(const rs_param_spec *specs, const char *name)
{
    for (int i = 0; specs[i].name; i++)
        if (strcmp(specs[i].name, name) == 0)
            return i;
    return -1;
}

const rs_param_value *rs_param_get(const rs_params *params, const char *name)
{
    int index = rs_param_find(params->specs, name);
    assert(index >= 0);
    return &params->values[index];
}

double rs_param_number(const rs_params *params, const char *name)
{
    const rs_param_value *value = rs_param_get(params, name);
    assert(value->set);
    return value->number;
}

const char *rs_param_string(const rs_params *params, const char *name)
{
    return rs_param_get(params, name)->string;
}

bool rs_param_is_set(const rs_params *params, const char *name)
{
    return rs_param_get(params, name)->set;
}

/* --- checking --- */

/* The names of a choice as an array; `storage` holds them. Returns their number. */
static size_t split_choices(const char *choices, char storage[512], const char *names[MAX_CHOICES])
{
    assert(strlen(choices) < 512);
    snprintf(storage, 512, "%s", choices);
    size_t n = 0;
    char *rest = NULL;
    for (char *name = strtok_r(storage, "|", &rest); name && n < MAX_CHOICES; name = strtok_r(NULL, "|", &rest))
        names[n++] = name;
    return n;
}

/* What a value of this kind must be, as a message says it. */
static void describe(const rs_param_spec *spec, rs_text *out)
{
    static const char *const nouns[] = {
        [RS_PARAM_NUMBER] = "a number",         [RS_PARAM_INT] = "a whole number",
        [RS_PARAM_BOOL] = "true or false",      [RS_PARAM_STRING] = "text",
        [RS_PARAM_CHOICE] = "one of ",          [RS_PARAM_VECTOR] = "a list of numbers",
        [RS_PARAM_STRINGS] = "a list of texts", [RS_PARAM_BAND] = "{wavelength: [low, high]} or {pairs: [first, last]}",
    };
    rs_text_puts(out, nouns[spec->kind]);
    if (spec->kind != RS_PARAM_CHOICE)
        return;
    char storage[512];
    const char *names[MAX_CHOICES];
    size_t n = split_choices(spec->choices, storage, names);
    for (size_t i = 0; i < n; i++)
        rs_text_printf(out, "%s%s", i ? ", " : "", names[i]);
}

/* "must be <kind>, not <got>"; `nearest` (may be NULL) is the name that was probably meant. */
static rs_status refuse(const rs_param_spec *spec, const char *got, const char *nearest)
{
    rs_text text = {0};
    rs_text_puts(&text, "must be ");
    describe(spec, &text);
    rs_text_printf(&text, ", not %s", got);
    if (nearest)
        rs_text_printf(&text, " (nearest: '%s')", nearest);
    rs_status status = rs_fail(RS_INVALID, "%s", text.data);
    rs_text_free(&text);
    return status;
}

static rs_status refuse_text(const rs_param_spec *spec, const char *got, const char *nearest)
{
    char *quoted = rs_format("'%s'", got);
    rs_status status = refuse(spec, quoted, nearest);
    free(quoted);
    return status;
}

static rs_status refuse_number(const rs_param_spec *spec, double got)
{
    char text[32];
    snprintf(text, sizeof text, "%.15g", got);
    return refuse(spec, text, NULL);
}

/* Bounds and kind of one number. `who` starts the message: "" or, where only this file knows the place, the place. */
static rs_status check_number(const rs_param_spec *spec, const char *who, double number)
{
    if (!isfinite(number))
        return rs_fail(RS_INVALID, "%smust be finite, not %g", who, number);
    if (spec->kind == RS_PARAM_INT && number != floor(number))
        return rs_fail(RS_INVALID, "%smust be a whole number, not %.15g", who, number);
    if (spec->kind == RS_PARAM_INT && fabs(number) > MAX_WHOLE)
        return rs_fail(RS_INVALID, "%smust be at most 2^53 in size, not %.15g", who, number);
    bool has_max = spec->max > spec->min && isfinite(spec->max);
    bool has_min = isfinite(spec->min) && (spec->min_open || spec->min != 0 || spec->max != 0);
    bool too_low = has_min && (spec->min_open ? number <= spec->min : number < spec->min);
    if (!too_low && !(has_max && number > spec->max))
        return RS_OK;
    if (has_min && has_max && !spec->min_open)
        return rs_fail(RS_INVALID, "%smust be between %.15g and %.15g, not %.15g", who, spec->min, spec->max, number);
    if (has_min && has_max)
        return rs_fail(RS_INVALID, "%smust be above %.15g and at most %.15g, not %.15g", who, spec->min, spec->max, number);
    if (has_max)
        return rs_fail(RS_INVALID, "%smust be at most %.15g, not %.15g", who, spec->max, number);
    return rs_fail(RS_INVALID, "%smust be %s %.15g, not %.15g", who, spec->min_open ? "above" : "at least", spec->min, number);
}

/* --- setting --- */

/* An empty value, marked as the user's, in place of what stood there. */
static rs_param_value *renew(rs_params *params, int index)
{
    rs_param_value *value = &params->values[index];
    value_free(value);
    value->set = true;
    value->given = true;
    return value;
}

rs_status rs_param_set_number(rs_params *params, int index, double number)
{
    const rs_param_spec *spec = &params->specs[index];
    if (spec->kind != RS_PARAM_NUMBER && spec->kind != RS_PARAM_INT)
        return refuse_number(spec, number);
    RS_TRY(check_number(spec, "", number));
    renew(params, index)->number = number + 0.0; /* -0 and 0 are one value */
    return RS_OK;
}

/* Digits from p on. */
static size_t digits(const char *p)
{
    return strspn(p, "0123456789");
}

/* Decimal numbers and infinities as YAML spells them; no hexadecimal, no names of C. */
static bool parse_number(const char *text, double *out)
{
    const char *p = text + (*text == '-' || *text == '+');
    if (strcmp(p, ".inf") == 0 || strcmp(p, ".Inf") == 0 || strcmp(p, ".INF") == 0) {
        *out = *text == '-' ? -INFINITY : INFINITY;
        return true;
    }
    size_t whole = digits(p);
    p += whole;
    size_t fraction = *p == '.' ? digits(p + 1) : 0;
    p += *p == '.' ? fraction + 1 : 0;
    if (whole + fraction == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        size_t exponent = digits(p);
        if (exponent == 0)
            return false;
        p += exponent;
    }
    *out = strtod(text, NULL);
    return *p == '\0';
}

static rs_status set_bool(rs_params *params, int index, const char *string)
{
    bool is_true = strcmp(string, "true") == 0 || strcmp(string, "True") == 0 || strcmp(string, "TRUE") == 0;
    bool is_false = strcmp(string, "false") == 0 || strcmp(string, "False") == 0 || strcmp(string, "FALSE") == 0;
    if (!is_true && !is_false)
        return refuse_text(&params->specs[index], string, NULL);
    renew(params, index)->number = is_true;
    return RS_OK;
}

static rs_status set_choice(rs_params *params, int index, const char *string)
{
    const rs_param_spec *spec = &params->specs[index];
    char storage[512];
    const char *names[MAX_CHOICES];
    size_t n = split_choices(spec->choices, storage, names);
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], string) == 0) {
            renew(params, index)->string = rs_strdup(names[i]);
            return RS_OK;
        }
    return refuse_text(spec, string, rs_nearest(string, names, n));
}

rs_status rs_param_set_string(rs_params *params, int index, const char *string)
{
    const rs_param_spec *spec = &params->specs[index];
    double number;
    switch (spec->kind) {
    case RS_PARAM_NUMBER:
    case RS_PARAM_INT:
        return parse_number(string, &number) ? rs_param_set_number(params, index, number) : refuse_text(spec, string, NULL);
    case RS_PARAM_BOOL:
        return set_bool(params, index, string);
    case RS_PARAM_CHOICE:
        return set_choice(params, index, string);
    case RS_PARAM_STRING: {
        char *copy = rs_strdup(string); /* `string` may be the old value */
        renew(params, index)->string = copy;
        return RS_OK;
    }
    case RS_PARAM_STRINGS: {
        char *one = rs_strdup(string);
        rs_status status = rs_param_set_strings(params, index, &one, 1);
        free(one);
        return status;
    }
    default:
        return refuse_text(spec, string, NULL);
    }
}

rs_status rs_param_set_vector(rs_params *params, int index, const double *vector, size_t n)
{
    const rs_param_spec *spec = &params->specs[index];
    if (spec->kind != RS_PARAM_VECTOR)
        return refuse(spec, "a list of numbers", NULL);
    if (n == 0)
        return rs_fail(RS_INVALID, "must have at least one number, not an empty list");
    for (size_t i = 0; i < n; i++) {
        char who[64];
        snprintf(who, sizeof who, "number %zu of %zu ", i + 1, n);
        RS_TRY(check_number(spec, who, vector[i]));
    }
    double *copy = copy_numbers(vector, n);
    for (size_t i = 0; i < n; i++)
        copy[i] += 0.0;
    rs_param_value *value = renew(params, index);
    value->vector = copy;
    value->n = n;
    return RS_OK;
}

rs_status rs_param_set_strings(rs_params *params, int index, char *const *strings, size_t n)
{
    const rs_param_spec *spec = &params->specs[index];
    if (spec->kind != RS_PARAM_STRINGS)
        return refuse(spec, "a list of texts", NULL);
    char **copy = copy_strings(strings, n);
    rs_param_value *value = renew(params, index);
    value->strings = copy;
    value->n = n;
    return RS_OK;
}

/* The two ends of a band. A wavelength's upper end may be infinite: the slowest pairs, however slow. */
static rs_status check_band(const char *which, double low, double high)
{
    bool pairs = strcmp(which, "pairs") == 0;
    if (pairs && (low != floor(low) || high != floor(high) || !isfinite(high)))
        return rs_fail(RS_INVALID, "pairs must be two whole numbers, not [%.15g, %.15g]", low, high);
    if (!(low >= 0) || !isfinite(low) || !(high >= low) || high > (pairs ? MAX_WHOLE : INFINITY))
        return rs_fail(RS_INVALID, "%s must be two numbers from 0 on, the smaller first, not [%.15g, %.15g]", which, low, high);
    return RS_OK;
}

rs_status rs_param_set_band(rs_params *params, int index, const char *which, double low, double high)
{
    static const char *const names[] = {"wavelength", "pairs"};
    const rs_param_spec *spec = &params->specs[index];
    if (spec->kind != RS_PARAM_BAND)
        return refuse(spec, "a map", NULL);
    if (strcmp(which, names[0]) != 0 && strcmp(which, names[1]) != 0)
        return refuse_text(spec, which, rs_nearest(which, names, 2));
    RS_TRY(check_band(which, low, high));
    char *copy = rs_strdup(which);
    rs_param_value *value = renew(params, index);
    value->string = copy;
    value->vector = copy_numbers((const double[]){low + 0.0, high + 0.0}, 2);
    value->n = 2;
    return RS_OK;
}

/* --- defaults --- */

/* Without the blanks and one pair of quotes around it. Freed by the caller. */
static char *trimmed(const char *from, size_t n)
{
    while (n > 0 && isspace((unsigned char)from[0])) {
        from++;
        n--;
    }
    while (n > 0 && isspace((unsigned char)from[n - 1]))
        n--;
    if (n >= 2 && (from[0] == '"' || from[0] == '\'') && from[n - 1] == from[0])
        return rs_strndup(from + 1, n - 2);
    return rs_strndup(from, n);
}

/* "[a, b]" as its elements; elements hold no commas. Freed by the caller, each too. */
static char **split_list(const char *text, size_t *n)
{
    size_t length = strlen(text), cap = 0;
    char **items = NULL;
    *n = 0;
    assert(length >= 2 && text[0] == '[' && text[length - 1] == ']');
    const char *end = text + length - 1;
    for (const char *p = text + 1; p < end;) {
        size_t k = strcspn(p, ",]");
        RS_PUSH(items, *n, cap, trimmed(p, k));
        p += k + 1;
    }
    return items;
}

static rs_status fill_list(rs_params *params, int index, const char *text)
{
    size_t n;
    char **items = split_list(text, &n);
    double *numbers = rs_alloc(n, sizeof *numbers);
    rs_status status = RS_OK;
    bool numeric = params->specs[index].kind == RS_PARAM_VECTOR;
    for (size_t i = 0; numeric && status == RS_OK && i < n; i++)
        if (!parse_number(items[i], &numbers[i]))
            status = refuse_text(&params->specs[index], items[i], NULL);
    if (status == RS_OK)
        status = numeric ? rs_param_set_vector(params, index, numbers, n) : rs_param_set_strings(params, index, items, n);
    for (size_t i = 0; i < n; i++)
        free(items[i]);
    free(items);
    free(numbers);
    return status;
}

/* A default that stands in the table. It is ours: the tests fill every table, so a failure here is a bug. */
static rs_status fill_text(rs_params *params, int index, const char *fallback)
{
    bool list = params->specs[index].kind == RS_PARAM_VECTOR || params->specs[index].kind == RS_PARAM_STRINGS;
    if (list && fallback[0] == '[')
        return fill_list(params, index, fallback);
    char *text = trimmed(fallback, strlen(fallback));
    rs_status status = rs_param_set_string(params, index, text);
    free(text);
    return status;
}

static rs_status fill_fact(rs_params *params, int index, const char *fact, const rs_model_facts *facts)
{
    bool theta = strcmp(fact, "rope_theta") == 0;
    assert(theta || strcmp(fact, "max_position_embeddings") == 0);
    if (!facts)
        return RS_OK;
    double number = theta ? facts->rope_theta : facts->max_position_embeddings;
    char who[128];
    snprintf(who, sizeof who, "%s: the model's %s ", params->specs[index].name, fact);
    RS_TRY(check_number(&params->specs[index], who, number));
    return rs_param_set_number(params, index, number);
}

static rs_status fill_one(rs_params *params, int index, const rs_model_facts *facts)
{
    static const char model[] = "model.";
    const rs_param_spec *spec = &params->specs[index];
    if (!spec->fallback)
        return RS_OK;
    if (strcmp(spec->fallback, "required") == 0)
        return rs_fail(RS_INVALID, "'%s' is missing: %s", spec->name, spec->help ? spec->help : "it is required");
    if (strncmp(spec->fallback, model, sizeof model - 1) == 0)
        return fill_fact(params, index, spec->fallback + sizeof model - 1, facts);
    return fill_text(params, index, spec->fallback);
}

rs_status rs_params_fill(rs_params *params, const rs_model_facts *facts)
{
    for (int i = 0; params->specs[i].name; i++) {
        if (params->values[i].set)
            continue;
        RS_TRY(fill_one(params, i, facts));
        params->values[i].given = false;
    }
    return RS_OK;
}

/* --- writing --- */

static void write_number(double number, rs_text *out)
{
    if (isfinite(number))
        rs_text_double(out, number == 0 ? 0 : number); /* one text for 0 and -0 */
    else
        rs_text_puts(out, number < 0 ? "\"-.inf\"" : "\".inf\""); /* JSON has none: as YAML spells it */
}

static void write_list(const rs_param_value *value, rs_text *out)
{
    rs_text_puts(out, "[");
    for (size_t i = 0; i < value->n; i++) {
        rs_text_puts(out, i ? ", " : "");
        if (value->strings)
            rs_text_json_string(out, value->strings[i], strlen(value->strings[i]));
        else
            write_number(value->vector[i], out);
    }
    rs_text_puts(out, "]");
}

static void write_value(rs_param_kind kind, const rs_param_value *value, rs_text *out)
{
    switch (kind) {
    case RS_PARAM_NUMBER:
    case RS_PARAM_INT:
        write_number(value->number, out);
        break;
    case RS_PARAM_BOOL:
        rs_text_puts(out, value->number != 0 ? "true" : "false");
        break;
    case RS_PARAM_STRING:
    case RS_PARAM_CHOICE:
        rs_text_json_string(out, value->string, strlen(value->string));
        break;
    case RS_PARAM_VECTOR:
    case RS_PARAM_STRINGS:
        write_list(value, out);
        break;
    case RS_PARAM_BAND:
        rs_text_printf(out, "{\"%s\": ", value->string);
        write_list(value, out);
        rs_text_puts(out, "}");
        break;
    }
}

void rs_params_write(const rs_params *params, bool comma, rs_text *out)
{
    for (size_t i = 0; params->specs[i].name; i++) {
        if (!params->values[i].set)
            continue;
        rs_text_printf(out, "%s\"%s\": ", comma ? ", " : "", params->specs[i].name);
        write_value(params->specs[i].kind, &params->values[i], out);
        comma = true;
    }
}
