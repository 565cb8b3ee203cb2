/* Question files with documents: SQuAD's and HotpotQA's JSON, read whole. */
#ifndef RS_TASKS_QA_FILE_H
#define RS_TASKS_QA_FILE_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

typedef struct rs_qa_question {
    char *text;
    char **answers; /* [n_answers] any will do; at least one, none empty */
    size_t n_answers;
    uint32_t *gold; /* [n_gold] documents that hold the answer */
    size_t n_gold;
    size_t group; /* documents that come with it: its article's paragraphs, its own distractors; the gold ones among them */
} rs_qa_question;

typedef struct rs_qa_group {
    uint32_t *documents; /* [n] */
    size_t n, cap;
} rs_qa_group;

typedef struct rs_qa_file {
    char **documents; /* [n_documents] all different */
    size_t n_documents, cap_documents;
    rs_qa_group *groups;
    size_t n_groups, cap_groups;
    rs_qa_question *questions; /* those that have an answer, in the file's order */
    size_t n_questions, cap_questions;
    uint32_t *slots; /* of a table that finds a document by its text */
    size_t n_slots;
    rs_digest content;
} rs_qa_file;

/* {"data": [{"paragraphs": [{"context", "qas": [{"question", "answers": [{"text"}], "is_impossible"}]}]}]}, SQuAD 1.1 and 2.0; questions
 * without an answer (is_impossible) are left out. A document is a paragraph. */
rs_status rs_qa_read_squad(const char *path, rs_qa_file *out);
/* [{"question", "answer", "context": [[title, [sentence, ...]], ...], "supporting_facts": [[title, sentence number], ...]}], HotpotQA's
 * distractor setting. A document is a title, a newline and the sentences; the gold ones are those that supporting_facts names. */
rs_status rs_qa_read_hotpot(const char *path, rs_qa_file *out);
/* RS_INVALID: FILE:LINE for what is no UTF-8 or no JSON, else FILE: and the member's place, "data[3].paragraphs[0].qas[2]". On failure
 * *out is freed. */
void rs_qa_file_free(rs_qa_file *file);

#endif
