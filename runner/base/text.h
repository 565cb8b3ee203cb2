/* Text that grows, and the small text questions every layer asks. */
#ifndef RS_BASE_TEXT_H
#define RS_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A byte string that grows; data is always NUL-terminated once anything was appended. Zero-initialise; free with rs_text_free. */
typedef struct rs_text {
    char *data;
    size_t n; /* bytes, without the NUL */
    size_t cap;
} rs_text;

void rs_text_append(rs_text *text, const char *bytes, size_t n);
void rs_text_puts(rs_text *text, const char *string);
void rs_text_printf(rs_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rs_text_clear(rs_text *text); /* keeps the memory */
void rs_text_free(rs_text *text);

/* Shortest decimal form that strtod reads back to the same double; "inf", "-inf", "nan" for those. buffer: 32 bytes. Returns buffer. */
const char *rs_double_text(double value, char buffer[32]);
/* Appends that form as YAML and JSON both read it (non-finite: null). */
void rs_text_double(rs_text *text, double value);
/* Bytes as a person reads them: "1.25 GiB". buffer: 32 bytes. Returns buffer. */
const char *rs_bytes_text(double bytes, char buffer[32]);
/* Appends a JSON string literal, quotes included, which YAML reads as the same. Bytes that are not UTF-8 become U+FFFD. */
void rs_text_json_string(rs_text *text, const char *bytes, size_t n);

/* Length of the valid UTF-8 prefix; equals n where all is valid (no surrogates, no overlong forms). */
size_t rs_utf8_valid_prefix(const char *bytes, size_t n);

/* Makes spaces of control characters: what comes from a file must neither break nor colour the line that shows it. */
void rs_line_flatten(char *line);
/* Appends such a line and its end. */
void rs_text_print_line(rs_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The candidate nearest to `word` by edit distance (case ignored), or NULL when none is near enough to be meant. */
const char *rs_nearest(const char *word, const char *const *candidates, size_t n);

#endif
