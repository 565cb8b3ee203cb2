/* Lower case of UTF-8 text as Python's str.lower() makes it, whatever the locale and the C library. */
#ifndef RS_SCORE_LOWER_H
#define RS_SCORE_LOWER_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* Appends the lower case of bytes[0..n). Bytes that are not UTF-8 pass unchanged. */
void rs_lower(const char *bytes, size_t n, rs_text *out);

/* The code point at bytes[0] and its length in *length; a byte that begins no valid sequence: UINT32_MAX and 1. n > 0. */
uint32_t rs_utf8_decode(const char *bytes, size_t n, size_t *length);

#endif
