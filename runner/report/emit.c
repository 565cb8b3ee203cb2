#include "report/emit.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

enum { SHORT_LINE = 120 };

json_t *rs_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *rs_json_text(const char *string)
{
    size_t n = strlen(string);
    if (rs_utf8_valid_prefix(string, n) == n)
        return json_stringn(string, n);
    rs_text literal = {0};
    rs_text_json_string(&literal, string, n);
    json_t *value = json_loadb(literal.data, literal.n, JSON_DECODE_ANY, NULL);
    rs_text_free(&literal);
    return value;
}

/* --- YAML's strings --- */

/* Words that some YAML reader takes for a boolean or null. A lone letter is in YAML 1.1's list, but no reader in use minds it: the
 * contract's own `n: 10` stays as it is, values are quoted to be sure. */
static bool is_reserved(const char *s, size_t n, bool key)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (n == strlen(words[i]) && !(key && n == 1) && strncasecmp(s, words[i], n) == 0)
            return true;
    return false;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A name or a path. Digests are quoted always: some of them would read as numbers, and a column of ids should look alike. */
static bool is_plain(const char *s, size_t n, bool key)
{
    if (n == 0 || !(is_letter(s[0]) || s[0] == '/') || is_reserved(s, n, key))
        return false;
    bool hexadecimal = true;
    for (size_t i = 0; i < n; i++) {
        bool digit = s[i] >= '0' && s[i] <= '9';
        if (!is_letter(s[i]) && !digit && !memchr("_./-", s[i], 4))
            return false;
        hexadecimal = hexadecimal && (digit || (s[i] >= 'a' && s[i] <= 'f'));
    }
    return !(hexadecimal && n >= 8);
}

/* JSON's literal is YAML's too but for characters that YAML does not print, or breaks lines at: C1 controls, U+2028, U+2029, a byte-order
 * mark, U+FFFE and U+FFFF. */
static void put_quoted(const char *s, size_t n, rs_text *out)
{
    rs_text literal = {0};
    rs_text_json_string(&literal, s, n);
    const unsigned char *p = (const unsigned char *)literal.data;
    for (size_t i = 0; i < literal.n; i++) {
        unsigned code = 0;
        if (p[i] == 0xC2 && p[i + 1] < 0xA0)
            code = p[i + 1];
        else if ((p[i] == 0xE2 && p[i + 1] == 0x80 && (p[i + 2] == 0xA8 || p[i + 2] == 0xA9)) ||
                 (p[i] == 0xEF && ((p[i + 1] == 0xBB && p[i + 2] == 0xBF) || (p[i + 1] == 0xBF && p[i + 2] >= 0xBE))))
            code = (p[i] & 0xFu) << 12 | (p[i + 1] & 0x3Fu) << 6 | (p[i + 2] & 0x3Fu);
        if (code == 0) {
            rs_text_append(out, literal.data + i, 1);
            continue;
        }
        rs_text_printf(out, "\\u%04x", code);
        i += code < 0x800 ? 1 : 2;
    }
    rs_text_free(&literal);
}

typedef enum spelling { SPELL_JSON, SPELL_JSON_TYPED, SPELL_YAML } spelling;

static void put_string(const char *s, size_t n, spelling in, bool key, rs_text *out)
{
    if (in != SPELL_YAML)
        rs_text_json_string(out, s, n);
    else if (is_plain(s, n, key))
        rs_text_append(out, s, n);
    else
        put_quoted(s, n, out);
}

/* --- trees --- */

void rs_emit_real(double value, rs_text *out)
{
    size_t from = out->n;
    rs_text_double(out, value);
    if (isfinite(value) && strchr(out->data + from, '.') == NULL)
        rs_text_puts(out, ".0");
}

static void put_flow(json_t *value, spelling in, rs_text *out)
{
    size_t i;
    const char *key;
    json_t *item;
    bool first = true;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        rs_text_puts(out, "{");
        json_object_foreach(value, key, item)
        {
            rs_text_puts(out, first ? "" : ", ");
            put_string(key, strlen(key), in, true, out);
            rs_text_puts(out, ": ");
            put_flow(item, in, out);
            first = false;
        }
        rs_text_puts(out, "}");
        break;
    case JSON_ARRAY:
        rs_text_puts(out, "[");
        json_array_foreach(value, i, item)
        {
            rs_text_puts(out, i ? ", " : "");
            put_flow(item, in, out);
        }
        rs_text_puts(out, "]");
        break;
    case JSON_STRING:
        put_string(json_string_value(value), json_string_length(value), in, false, out);
        break;
    case JSON_INTEGER:
        rs_text_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        if (in == SPELL_JSON_TYPED)
            rs_emit_real(json_real_value(value), out);
        else
            rs_text_double(out, json_real_value(value));
        break;
    default:
        rs_text_puts(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    }
}

void rs_emit_json(json_t *value, rs_text *out)
{
    put_flow(value, SPELL_JSON, out);
}

void rs_emit_json_typed(json_t *value, rs_text *out)
{
    put_flow(value, SPELL_JSON_TYPED, out);
}

/* Appends on the line that was begun if the value is short or has no parts; otherwise appends nothing. */
static bool put_short(json_t *value, rs_text *out)
{
    size_t from = out->n;
    bool has_parts = (json_is_object(value) && json_object_size(value) > 0) || (json_is_array(value) && json_array_size(value) > 0);
    put_flow(value, SPELL_YAML, out);
    if (!has_parts || out->n - from <= SHORT_LINE)
        return true;
    out->n = from;
    out->data[from] = '\0';
    return false;
}

static void put_member(const char *key, json_t *item, int indent, rs_text *out)
{
    put_string(key, strlen(key), SPELL_YAML, true, out);
    rs_text_puts(out, ": ");
    if (put_short(item, out)) {
        rs_text_puts(out, "\n");
        return;
    }
    out->data[out->n - 1] = '\n';
    rs_text_printf(out, "%*s", indent + 2, "");
    rs_emit_yaml(item, indent + 2, out);
}

void rs_emit_yaml(json_t *value, int indent, rs_text *out)
{
    size_t i;
    const char *key;
    json_t *item;
    bool first = true;
    if (json_is_object(value) && json_object_size(value) > 0) {
        json_object_foreach(value, key, item)
        {
            rs_text_printf(out, "%*s", first ? 0 : indent, "");
            put_member(key, item, indent, out);
            first = false;
        }
    } else if (json_is_array(value) && json_array_size(value) > 0) {
        json_array_foreach(value, i, item)
        {
            rs_text_printf(out, "%*s- ", i ? indent : 0, "");
            if (put_short(item, out))
                rs_text_puts(out, "\n");
            else
                rs_emit_yaml(item, indent + 2, out);
        }
    } else {
        put_flow(value, SPELL_YAML, out);
        rs_text_puts(out, "\n");
    }
}
