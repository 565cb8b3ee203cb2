/* Bytes as text: RFC 4648's base64, padded. */
#ifndef RS_BASE_BASE64_H
#define RS_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

void rs_base64_encode(const unsigned char *bytes, size_t n, rs_text *out);
/* Appends the bytes that text[0..n) spells; false where it is not base64 to the letter. */
bool rs_base64_decode(const char *text, size_t n, rs_text *out);

#endif
