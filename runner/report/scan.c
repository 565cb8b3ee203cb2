#include "report/scan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

void rs_scan_space(rs_scan *scan)
{
    while (scan->p < scan->end && (*scan->p == ' ' || *scan->p == '\t' || *scan->p == '\n' || *scan->p == '\r'))
        scan->p++;
}

bool rs_scan_byte(rs_scan *scan, char byte)
{
    rs_scan_space(scan);
    if (scan->p == scan->end || *scan->p != byte)
        return false;
    scan->p++;
    rs_scan_space(scan);
    return true;
}

/* A digit's value plus one; 0: no digit. */
static const unsigned char hex_values[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

bool rs_scan_hex(const char *digits, size_t n, uint64_t *out)
{
    uint64_t value = 0;
    unsigned wrong = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = hex_values[(unsigned char)digits[i]] - 1u;
        wrong |= digit;
        value = value << 4 | (digit & 15u);
    }
    *out = value;
    return wrong < 16;
}

static bool scan_hex4(rs_scan *scan, uint32_t *out)
{
    uint32_t value = 0;
    if (scan->end - scan->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *scan->p++;
        char lower = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
        uint64_t digit;
        if (!rs_scan_hex(&lower, 1, &digit))
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return true;
}

static void put_utf8(rs_text *out, uint32_t c)
{
    char bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3F));
    bytes[0] = (char)(lead[n] | c);
    rs_text_append(out, bytes, n);
}

/* Behind a backslash. */
static bool scan_escape(rs_scan *scan, rs_text *out)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (scan->p == scan->end)
        return false;
    char c = *scan->p++;
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        if (out)
            rs_text_append(out, &bytes[name - names], 1);
        return true;
    }
    uint32_t code, low;
    if (c != 'u' || !scan_hex4(scan, &code) || (code >= 0xDC00 && code <= 0xDFFF))
        return false;
    if (code >= 0xD800 && code <= 0xDBFF) {
        if (scan->end - scan->p < 2 || scan->p[0] != '\\' || scan->p[1] != 'u')
            return false;
        scan->p += 2;
        if (!scan_hex4(scan, &low) || low < 0xDC00 || low > 0xDFFF)
            return false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (out)
        put_utf8(out, code);
    return true;
}

bool rs_scan_string(rs_scan *scan, rs_text *out)
{
    rs_scan_space(scan);
    if (scan->p == scan->end || *scan->p++ != '"')
        return false;
    for (;;) {
        const char *start = scan->p;
        bool ascii = true;
        while (scan->p < scan->end && *scan->p != '"' && *scan->p != '\\' && (unsigned char)*scan->p >= 0x20) {
            ascii = ascii && (unsigned char)*scan->p < 0x80;
            scan->p++;
        }
        size_t n = (size_t)(scan->p - start);
        if (!ascii && rs_utf8_valid_prefix(start, n) != n)
            return false;
        if (out)
            rs_text_append(out, start, n);
        if (scan->p == scan->end || (unsigned char)*scan->p < 0x20)
            return false;
        if (*scan->p++ == '"')
            return true;
        if (!scan_escape(scan, out))
            return false;
    }
}

static bool scan_digits(rs_scan *scan)
{
    const char *start = scan->p;
    while (scan->p < scan->end && *scan->p >= '0' && *scan->p <= '9')
        scan->p++;
    return scan->p > start;
}

/* Over one number as JSON spells it; *whole: it has neither fraction nor exponent. */
static bool scan_number_text(rs_scan *scan, bool *whole)
{
    *whole = true;
    if (scan->p < scan->end && *scan->p == '-')
        scan->p++;
    if (scan->p < scan->end && *scan->p == '0')
        scan->p++;
    else if (!scan_digits(scan))
        return false;
    if (scan->p < scan->end && *scan->p == '.') {
        *whole = false;
        scan->p++;
        if (!scan_digits(scan))
            return false;
    }
    if (scan->p < scan->end && (*scan->p == 'e' || *scan->p == 'E')) {
        *whole = false;
        scan->p++;
        if (scan->p < scan->end && (*scan->p == '+' || *scan->p == '-'))
            scan->p++;
        if (!scan_digits(scan))
            return false;
    }
    return true;
}

static bool scan_word(rs_scan *scan, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(scan->end - scan->p) < n || memcmp(scan->p, word, n) != 0)
        return false;
    scan->p += n;
    return true;
}

/* strtod and strtoll want a NUL behind the digits; numbers of any sane length are copied to the stack for it. */
enum { MAX_NUMBER = 400 };

/* Up to 15 digits over a power of ten are one division of two numbers that fp64 holds exactly, and so rounded as strtod rounds. */
static bool short_decimal(const char *text, const char *end, double *out)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool negative = *text == '-', fraction = false;
    int64_t digits = 0;
    int n = 0, decimals = 0;
    for (const char *p = text + negative; p < end; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (*p < '0' || *p > '9' || n++ == 15)
            return false;
        digits = 10 * digits + (*p - '0');
        decimals += fraction;
    }
    *out = (negative ? -(double)digits : (double)digits) / powers[decimals];
    return true;
}

bool rs_scan_number(rs_scan *scan, double *out)
{
    rs_scan_space(scan);
    if (scan_word(scan, "null")) {
        *out = NAN;
        return true;
    }
    char copy[MAX_NUMBER + 1];
    const char *start = scan->p;
    bool whole;
    if (!scan_number_text(scan, &whole) || scan->p - start > MAX_NUMBER)
        return false;
    if (short_decimal(start, scan->p, out))
        return true;
    memcpy(copy, start, (size_t)(scan->p - start));
    copy[scan->p - start] = '\0';
    *out = strtod(copy, NULL);
    return isfinite(*out);
}

bool rs_scan_int(rs_scan *scan, int64_t *out)
{
    rs_scan_space(scan);
    char copy[32];
    const char *start = scan->p;
    bool whole;
    double value;
    if (!scan_number_text(scan, &whole) || !whole || scan->p - start >= (ptrdiff_t)sizeof copy)
        return false;
    if (short_decimal(start, scan->p, &value)) {
        *out = (int64_t)value;
        return true;
    }
    memcpy(copy, start, (size_t)(scan->p - start));
    copy[scan->p - start] = '\0';
    errno = 0;
    *out = strtoll(copy, NULL, 10);
    return errno == 0;
}

static bool scan_any(rs_scan *scan, int depth);

/* The rest of an object or a list behind its opening bracket. */
static bool scan_members(rs_scan *scan, char close, int depth)
{
    if (rs_scan_byte(scan, close))
        return true;
    do {
        if (close == '}' && (!rs_scan_string(scan, NULL) || !rs_scan_byte(scan, ':')))
            return false;
        if (!scan_any(scan, depth + 1))
            return false;
    } while (rs_scan_byte(scan, ','));
    return rs_scan_byte(scan, close);
}

static bool scan_any(rs_scan *scan, int depth)
{
    double number;
    rs_scan_space(scan);
    if (depth > MAX_DEPTH || scan->p == scan->end)
        return false;
    switch (*scan->p) {
    case '{':
    case '[':
        scan->p++;
        return scan_members(scan, scan->p[-1] == '{' ? '}' : ']', depth);
    case '"':
        return rs_scan_string(scan, NULL);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    default:
        return rs_scan_number(scan, &number);
    }
}

bool rs_scan_skip(rs_scan *scan)
{
    return scan_any(scan, 0);
}
