#include "score/lower.h"

#include <stdbool.h>
#include <stdlib.h>

#include "score/lower_table.h"

enum { CAPITAL_I_DOT = 0x130, CAPITAL_SIGMA = 0x3A3, SMALL_SIGMA = 0x3C3, FINAL_SIGMA = 0x3C2 };

uint32_t rs_utf8_decode(const char *bytes, size_t n, size_t *length)
{
    const unsigned char *p = (const unsigned char *)bytes;
    *length = 1;
    if (p[0] < 0x80)
        return p[0];
    size_t want = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (n < want || rs_utf8_valid_prefix(bytes, want) != want)
        return UINT32_MAX;
    uint32_t code = p[0] & (0xFFu >> (want + 1));
    for (size_t i = 1; i < want; i++)
        code = code << 6 | (p[i] & 0x3F);
    *length = want;
    return code;
}

static void append_code(rs_text *out, uint32_t code)
{
    char bytes[4];
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3F));
    static const uint32_t lead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    bytes[0] = (char)(lead[n] | code);
    rs_text_append(out, bytes, n);
}

static uint32_t lower_code(uint32_t code)
{
    size_t low = 0, high = sizeof lower_ranges / sizeof *lower_ranges;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const lower_range *range = &lower_ranges[middle];
        if (code > range->last)
            low = middle + 1;
        else if (code < range->first)
            high = middle;
        else
            return (code - range->first) % range->step == 0 ? (uint32_t)((int32_t)code + range->delta) : code;
    }
    return code;
}

static int compare_class(const void *key, const void *item)
{
    uint32_t code = *(const uint32_t *)key;
    const class_range *range = item;
    return code < range->first ? -1 : code > range->last;
}

#define IN_CLASS(code, table) (bsearch(&(code), table, sizeof(table) / sizeof *(table), sizeof *(table), compare_class) != NULL)

/* Whether the sigma at bytes[at..at+2) ends a word: a cased letter before it and none after it, ignorable ones skipped. */
static bool ends_word(const char *bytes, size_t n, size_t at)
{
    size_t i = at, length;
    bool before = false;
    while (i > 0 && !before) {
        size_t end = i--;
        while (i > 0 && end - i < 4 && ((unsigned char)bytes[i] & 0xC0) == 0x80)
            i--;
        uint32_t code = rs_utf8_decode(bytes + i, n - i, &length);
        before = !IN_CLASS(code, ignorable_ranges) && IN_CLASS(code, cased_ranges);
        if (!before && !IN_CLASS(code, ignorable_ranges))
            return false;
    }
    if (!before)
        return false;
    for (i = at + 2; i < n; i += length) {
        uint32_t code = rs_utf8_decode(bytes + i, n - i, &length);
        if (!IN_CLASS(code, ignorable_ranges))
            return !IN_CLASS(code, cased_ranges);
    }
    return true;
}

void rs_lower(const char *bytes, size_t n, rs_text *out)
{
    size_t length;
    for (size_t i = 0; i < n; i += length) {
        uint32_t code = rs_utf8_decode(bytes + i, n - i, &length);
        if (code == UINT32_MAX)
            rs_text_append(out, bytes + i, 1);
        else if (code < 0x80)
            append_code(out, code >= 'A' && code <= 'Z' ? code + 32 : code);
        else if (code == CAPITAL_I_DOT)
            rs_text_puts(out, "i\xCC\x87");
        else if (code == CAPITAL_SIGMA)
            append_code(out, ends_word(bytes, n, i) ? FINAL_SIGMA : SMALL_SIGMA);
        else
            append_code(out, lower_code(code));
    }
    rs_text_append(out, "", 0);
}
