/* One tree, two spellings: what stands in report.json stands in report.yaml. Numbers are written so that they read back to the same double. */
#ifndef RS_REPORT_EMIT_H
#define RS_REPORT_EMIT_H

#include <jansson.h>

#include "base/text.h"

/* On one line. */
void rs_emit_json(json_t *value, rs_text *out);
/* The same for readers that tell 1 from 1.0: reals have a point. */
void rs_emit_json_typed(json_t *value, rs_text *out);
/* A real so; null where it is not finite. */
void rs_emit_real(double value, rs_text *out);
/* As a block at this indentation, its first line begun by the caller, ending in a newline; what is short goes on one line, in brackets. Readable by
 * YAML 1.1 and 1.2 readers alike: strings that either would take for something else are quoted. */
void rs_emit_yaml(json_t *value, int indent, rs_text *out);

/* A number; null where it is not finite. */
json_t *rs_json_number(double value);
/* A string; bytes that are not UTF-8 become U+FFFD. */
json_t *rs_json_text(const char *string);

#endif
