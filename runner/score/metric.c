#include "score/metric.h"

#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "score/lower.h"

bool rs_is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

const char *rs_strip(const char *bytes, size_t *n)
{
    size_t length;
    while (*n > 0 && rs_is_space(rs_utf8_decode(bytes, *n, &length))) {
        bytes += length;
        *n -= length;
    }
    while (*n > 0) {
        size_t start = *n - 1;
        while (start > 0 && *n - start < 4 && ((unsigned char)bytes[start] & 0xC0) == 0x80)
            start--;
        if (!rs_is_space(rs_utf8_decode(bytes + start, *n - start, &length)) || start + length != *n)
            break;
        *n = start;
    }
    return bytes;
}

static bool occurs(const char *part, size_t n_part, const char *whole, size_t n_whole)
{
    return n_part == 0 || (n_whole >= n_part && memmem(whole, n_whole, part, n_part) != NULL);
}

/* How many references are in the answer by RULER's rules. */
static size_t ruler_found(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    rs_text mapped = {0}, answer = {0}, reference = {0};
    bytes = rs_strip(bytes, &n);
    rs_text_append(&mapped, bytes, n);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)mapped.data[i] < 0x20)
            mapped.data[i] = '\n';
    const char *start = rs_strip(mapped.data, &n);
    rs_lower(start, n, &answer);
    size_t found = 0;
    for (size_t i = 0; i < n_references; i++) {
        rs_text_clear(&reference);
        rs_lower(references[i], strlen(references[i]), &reference);
        found += occurs(reference.data, reference.n, answer.data, answer.n);
    }
    rs_text_free(&reference);
    rs_text_free(&answer);
    rs_text_free(&mapped);
    return found;
}

double rs_metric_ruler_all(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    return (double)ruler_found(bytes, n, references, n_references) / (double)n_references;
}

double rs_metric_ruler_part(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    return ruler_found(bytes, n, references, n_references) > 0 ? 1.0 : 0.0;
}

double rs_metric_exact(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    bytes = rs_strip(bytes, &n);
    for (size_t i = 0; i < n_references; i++) {
        size_t m = strlen(references[i]);
        const char *reference = rs_strip(references[i], &m);
        if (m == n && memcmp(reference, bytes, n) == 0)
            return 1.0;
    }
    return 0.0;
}

double rs_metric_contains(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    for (size_t i = 0; i < n_references; i++)
        if (occurs(references[i], strlen(references[i]), bytes, n))
            return 1.0;
    return 0.0;
}

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

double rs_metric_begins(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    bytes = rs_strip(bytes, &n);
    for (size_t i = 0; i < n_references; i++) {
        size_t m = strlen(references[i]);
        const char *reference = rs_strip(references[i], &m);
        if (m <= n && memcmp(reference, bytes, m) == 0 && (m == n || !is_word_byte(bytes[m])))
            return 1.0;
    }
    return 0.0;
}

/* An integer in text, leading zeros dropped; n 0: none. */
typedef struct integer {
    bool negative;
    const char *digits;
    size_t n;
} integer;

static integer first_integer(const char *bytes, size_t n)
{
    size_t i = 0;
    while (i < n && !(bytes[i] >= '0' && bytes[i] <= '9'))
        i++;
    integer found = {.negative = i > 0 && i < n && bytes[i - 1] == '-' && (i == 1 || !is_word_byte(bytes[i - 2]))};
    size_t end = i;
    while (end < n && bytes[end] >= '0' && bytes[end] <= '9')
        end++;
    while (i + 1 < end && bytes[i] == '0')
        i++;
    found.digits = bytes + i;
    found.n = end - i;
    if (found.n == 1 && *found.digits == '0')
        found.negative = false;
    return found;
}

double rs_metric_first_integer(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    integer answer = first_integer(bytes, n);
    for (size_t i = 0; i < n_references && answer.n > 0; i++) {
        integer reference = first_integer(references[i], strlen(references[i]));
        if (reference.n == answer.n && reference.negative == answer.negative && memcmp(reference.digits, answer.digits, answer.n) == 0)
            return 1.0;
    }
    return 0.0;
}
