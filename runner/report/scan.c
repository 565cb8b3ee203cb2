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

bool rs_scan_hex(const char *digits, size_t n, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        char c = digits[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return false;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = value;
    return true;
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
    if (!scan_number_text(scan, &whole) || !whole || scan->p - start >= (ptrdiff_t)sizeof copy)
        return false;
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
