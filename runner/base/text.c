#include "base/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void reserve(rs_text *text, size_t more)
{
    size_t need = text->n + more + 1;
    if (need <= text->cap)
        return;
    size_t cap = text->cap ? text->cap : 64;
    while (cap < need)
        cap *= 2;
    text->data = rs_realloc(text->data, cap, 1);
    text->cap = cap;
}

void rs_text_append(rs_text *text, const char *bytes, size_t n)
{
    reserve(text, n);
    if (n > 0)
        memcpy(text->data + text->n, bytes, n);
    text->n += n;
    text->data[text->n] = '\0';
}

void rs_text_puts(rs_text *text, const char *string)
{
    rs_text_append(text, string, strlen(string));
}

static void print(rs_text *text, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n > 0) {
        reserve(text, (size_t)n);
        vsnprintf(text->data + text->n, (size_t)n + 1, format, again);
        text->n += (size_t)n;
    }
    va_end(again);
}

void rs_text_printf(rs_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print(text, format, args);
    va_end(args);
}

void rs_text_print_line(rs_text *text, const char *format, ...)
{
    size_t from = text->n;
    va_list args;
    va_start(args, format);
    print(text, format, args);
    va_end(args);
    if (text->n > from)
        rs_line_flatten(text->data + from);
    rs_text_puts(text, "\n");
}

void rs_text_clear(rs_text *text)
{
    text->n = 0;
    if (text->data)
        text->data[0] = '\0';
}

void rs_text_free(rs_text *text)
{
    free(text->data);
    *text = (rs_text){0};
}

const char *rs_double_text(double value, char buffer[32])
{
    if (!isfinite(value)) {
        strcpy(buffer, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return buffer;
    }
    if (value > -1e15 && value < 1e15 && value == (double)(int64_t)value && !(value == 0 && signbit(value))) { /* "10", not "1e+01" */
        snprintf(buffer, 32, "%" PRId64, (int64_t)value);
        return buffer;
    }
    for (int digits = 15; digits <= 17; digits++) { /* a decimal of up to 15 digits comes back from a double, without zeros behind it */
        snprintf(buffer, 32, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value)
            break;
    }
    return buffer;
}

const char *rs_bytes_text(double bytes, char buffer[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    for (; bytes >= 1023.5 && unit + 1 < sizeof units / sizeof *units; unit++)
        bytes /= 1024;
    snprintf(buffer, 32, "%.4g %s", bytes, units[unit]);
    return buffer;
}

void rs_text_double(rs_text *text, double value)
{
    char buffer[32];
    rs_text_puts(text, isfinite(value) ? rs_double_text(value, buffer) : "null");
    /* YAML 1.1 readers take "1e-05" for a string: a float needs a point in its mantissa. */
    if (isfinite(value) && strchr(buffer, 'e') && !strchr(buffer, '.')) {
        char *e = strchr(buffer, 'e');
        text->n -= strlen(e);
        char tail[40];
        snprintf(tail, sizeof tail, ".0%s", e);
        rs_text_puts(text, tail);
    }
}

/* Bytes of the UTF-8 sequence at p (at most n are there), or 0 if it is not valid. RFC 3629, table 3-7 of Unicode. */
static size_t sequence_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4 : 0;
    if (length == 0 || length > n)
        return 0;
    unsigned low = 0x80, high = 0xBF;
    if (p[0] == 0xE0)
        low = 0xA0;
    else if (p[0] == 0xED)
        high = 0x9F;
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

void rs_line_flatten(char *line)
{
    for (unsigned char *p = (unsigned char *)line; *p; p++) {
        bool wide = p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0; /* U+0080 to U+009F */
        if (*p < 0x20 || *p == 0x7F || wide)
            *p = ' ';
        if (wide)
            *++p = ' ';
    }
}

size_t rs_utf8_valid_prefix(const char *bytes, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t length = sequence_length((const unsigned char *)bytes + i, n - i);
        if (length == 0)
            break;
        i += length;
    }
    return i;
}

/* The character of a whole sequence of up to three bytes; for longer ones some other beyond them. */
static unsigned character(const unsigned char *p, size_t length)
{
    return length == 1   ? p[0]
           : length == 2 ? (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu)
           : length == 3 ? (p[0] & 0xFu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu)
                         : 0x10000;
}

/* Controls; and what JSON takes as it is and YAML refuses, or folds as a line break. */
static bool needs_escape(unsigned c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 || c == 0xFEFF || c == 0xFFFE || c == 0xFFFF;
}

void rs_text_json_string(rs_text *text, const char *bytes, size_t n)
{
    rs_text_puts(text, "\"");
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)bytes[i];
        size_t length = sequence_length((const unsigned char *)bytes + i, n - i);
        if (c == '"' || c == '\\')
            rs_text_printf(text, "\\%c", c);
        else if (c == '\n')
            rs_text_puts(text, "\\n");
        else if (c == '\t')
            rs_text_puts(text, "\\t");
        else if (c == '\r')
            rs_text_puts(text, "\\r");
        else if (length == 0)
            rs_text_puts(text, "\\ufffd");
        else if (needs_escape(character((const unsigned char *)bytes + i, length)))
            rs_text_printf(text, "\\u%04x", character((const unsigned char *)bytes + i, length));
        else
            rs_text_append(text, bytes + i, length);
        i += length ? length : 1;
    }
    rs_text_puts(text, "\"");
}

/* Damerau-Levenshtein (adjacent swaps count one), names cut at 63 bytes. */
static unsigned distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    static _Thread_local unsigned d[MAX + 1][MAX + 1];
    size_t n = strlen(a), m = strlen(b);
    n = n < MAX ? n : MAX - 1;
    m = m < MAX ? m : MAX - 1;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            unsigned best = d[i - 1][j - 1] + (ca != cb);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) && tolower((unsigned char)a[i - 2]) == cb)
                best = d[i - 2][j - 2] + 1 < best ? d[i - 2][j - 2] + 1 : best;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *rs_nearest(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    unsigned best_distance = (unsigned)strlen(word) / 2 + 2;
    for (size_t i = 0; i < n; i++) {
        unsigned d = distance(word, candidates[i]);
        if (d < best_distance) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}
