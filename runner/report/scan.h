/* A strict forward reader of JSON text. Records are read by it and not through a tree: there are millions of them, and facts keep their
 * letters. Each function reads one thing at the cursor, moves on and returns true, or returns false; the cursor is then of no use. */
#ifndef RS_REPORT_SCAN_H
#define RS_REPORT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

typedef struct rs_scan {
    const char *p, *end;
} rs_scan;

void rs_scan_space(rs_scan *scan);
/* This byte, white space around it skipped. */
bool rs_scan_byte(rs_scan *scan, char byte);
/* A string, decoded onto the end of `out` (NULL: only checked). It may hold NUL; invalid UTF-8 and lone surrogates are refused. */
bool rs_scan_string(rs_scan *scan, rs_text *out);
/* A finite number; null is NaN. */
bool rs_scan_number(rs_scan *scan, double *out);
/* A whole number that fits. */
bool rs_scan_int(rs_scan *scan, int64_t *out);
/* Any value. */
bool rs_scan_skip(rs_scan *scan);

/* n hexadecimal digits (lower case, n <= 16) as a number; false where one is none. */
bool rs_scan_hex(const char *digits, size_t n, uint64_t *out);

#endif
