/* Scores of one answer against its references, each in 0..1. Texts are UTF-8; an answer may hold NUL bytes. */
#ifndef RS_SCORE_METRIC_H
#define RS_SCORE_METRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n_references >= 1; bytes: the answer's n bytes. */
typedef double (*rs_metric)(const char *bytes, size_t n, char *const *references, size_t n_references);

/* RULER's string_match_all and string_match_part (evaluation of github.com/NVIDIA/RULER at c3f5e3b): the answer is stripped of white
 * space, each byte 00-1f becomes a newline, it is stripped again; then a reference counts when its lower case is in the answer's.
 * References are neither mapped nor stripped. all: share of the references found; part: 1 if any is. An empty reference is in every answer.
 */
double rs_metric_ruler_all(const char *bytes, size_t n, char *const *references, size_t n_references);
double rs_metric_ruler_part(const char *bytes, size_t n, char *const *references, size_t n_references);

/* 1 if answer and any reference, both stripped, are the same bytes. */
double rs_metric_exact(const char *bytes, size_t n, char *const *references, size_t n_references);
/* 1 if any reference occurs in the answer, byte for byte. */
double rs_metric_contains(const char *bytes, size_t n, char *const *references, size_t n_references);
/* 1 if the stripped answer begins with any (stripped) reference, and no letter or digit follows it there. */
double rs_metric_begins(const char *bytes, size_t n, char *const *references, size_t n_references);
/* 1 if the answer's first integer is the same number as any reference. An integer: ASCII digits, with a minus sign that follows no
 * letter or digit; "12,345" is 12; leading zeros count for nothing. */
double rs_metric_first_integer(const char *bytes, size_t n, char *const *references, size_t n_references);

/* White space as Python's str knows it. */
bool rs_is_space(uint32_t code);
/* White space at both ends skipped, as Python's str.strip() does; returns where the text begins, *n its bytes. */
const char *rs_strip(const char *bytes, size_t *n);

#endif
