/* Windows of the user's documents, for tasks that score text. A file is a document, tokenized whole; documents stand in byte order of their
 * path. With context c and step S, window i of a document is BOS followed by its tokens [i*S, i*S + c-1); only whole windows count, never
 * across documents. A model without BOS gets the same windows without it. */
#ifndef RS_TASKS_WINDOWS_H
#define RS_TASKS_WINDOWS_H

#include "tasks/task.h"

typedef struct rs_windows rs_windows;

/* pattern: a glob. setup is borrowed. Documents are tokenized as far as a count or a sample needs them. */
rs_status rs_windows_open(const rs_task_setup *setup, const char *pattern, rs_windows **out);
void rs_windows_close(rs_windows *windows);
void rs_windows_fingerprint(const rs_windows *windows, rs_text *out);

/* How many exist, at most `wanted`; none: RS_INVALID naming the pattern and the longest document. */
rs_status rs_windows_count(rs_windows *windows, int64_t context, int64_t step, int64_t wanted, int64_t *n);
/* Appends window `index`, of all documents, to out->tokens and its place in the files to the facts. *of_document: its number in its
 * document. Thread-safe. */
rs_status rs_windows_take(rs_windows *windows, int64_t context, int64_t step, int64_t index, rs_sample *out, int64_t *of_document);

#endif
