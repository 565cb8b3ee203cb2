/* Files of bAbI: stories of numbered lines with questions between, read whole. */
#ifndef RS_TASKS_BABI_H
#define RS_TASKS_BABI_H

#include <stddef.h>

#include "base/hash.h"
#include "base/status.h"

typedef struct rs_babi_question {
    char *text, *answer;
    size_t first, end; /* the facts that stand before it in its story: facts[first..end) */
    size_t support;    /* the first of the facts that it names, an index of facts */
    size_t line;       /* of the file, from 1 */
} rs_babi_question;

typedef struct rs_babi {
    char **facts; /* [n_facts] of all stories, in the file's order */
    size_t n_facts, cap_facts;
    rs_babi_question *questions; /* [n_questions] at least one */
    size_t n_questions, cap_questions;
    char **labels; /* [n_labels] the answers there are, each once, in lower case */
    size_t n_labels, cap_labels;
    rs_digest content; /* of the file */
} rs_babi;

/* A line is "NUMBER text" or "NUMBER question<TAB>answer<TAB>numbers of the supporting facts"; 1 begins a story, in which lines count up.
 * RS_INVALID with FILE:LINE: for anything else. Freed with rs_babi_free, also after a failure. */
rs_status rs_babi_read(const char *path, rs_babi *out);
void rs_babi_free(rs_babi *babi);

#endif
