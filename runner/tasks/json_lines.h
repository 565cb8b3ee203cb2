/* Files of one JSON object a line, read whole before the first point: a fault in the last line shows before anything is computed. */
#ifndef RS_TASKS_JSON_LINES_H
#define RS_TASKS_JSON_LINES_H

#include <stdbool.h>

#include <jansson.h>

#include "base/hash.h"
#include "base/status.h"

/* Takes one line's object. place: "FILE:LINE", for messages. */
typedef rs_status (*rs_json_line)(void *context, const json_t *object, const char *place);

/* Calls `take` for every line, in order. RS_INVALID with FILE:LINE: for an empty file, an empty line but at the end (a sample's number is
 * its line's), bytes that are no UTF-8 or NUL, and what is not one JSON object. A byte-order mark and CRLF are fine. *content: of the file.
 */
rs_status rs_json_lines_read(const char *path, rs_json_line take, void *context, rs_digest *content);

/* Members, copied. members: what the object must have, in words, for the message where `key` is missing, so that a misspelt key shows. */
rs_status rs_json_get_string(const json_t *object, const char *key, bool required, const char *members, const char *place, char **out);
/* A list of at least one string. */
rs_status rs_json_get_strings(const json_t *object, const char *key, const char *members, const char *place, char ***out, size_t *n);
void rs_strings_free(char **strings, size_t n);

#endif
