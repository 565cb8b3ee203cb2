/* LongBench's scores of an answer (arXiv 2308.14508), each in 0..1 and the greatest over the references. Bytes that are not UTF-8 count as
 * U+FFFD. What its evaluation does that is easy to get wrong is in longbench.c. */
#ifndef RS_SCORE_LONGBENCH_H
#define RS_SCORE_LONGBENCH_H

#include <stdbool.h>
#include <stddef.h>

/* F1 of the words that answer and reference have in common, each as often as in both: lower case, ASCII punctuation dropped, then the
 * articles a, an, the (SQuAD's normalisation). */
double rs_metric_token_f1(const char *bytes, size_t n, char *const *references, size_t n_references);
/* ROUGE-L's F by the Python package rouge 1.0.1. */
double rs_metric_rouge_l(const char *bytes, size_t n, char *const *references, size_t n_references);
/* Of the answer's first line that has no `, # or //: twice the longest common subsequence over both lengths, in characters, rounded to
 * a whole percent. */
double rs_metric_edit_similarity(const char *bytes, size_t n, char *const *references, size_t n_references);
/* Of the numbers in the answer, the share that is the reference; a number: digits, compared as text. */
double rs_metric_count(const char *bytes, size_t n, char *const *references, size_t n_references);
/* The same with the number in the reference's first "Paragraph N". */
double rs_metric_retrieval(const char *bytes, size_t n, char *const *references, size_t n_references);
bool rs_names_paragraph(const char *reference);
/* 1 over the number of classes that the answer holds, where the reference is one of them. Classes that are part of the reference's name do
 * not count, but for one that stands right behind another that does not. */
double rs_metric_classification(const char *bytes, size_t n, char *const *references, size_t n_references, char *const *classes,
                                size_t n_classes);

/* The answer's first line behind leading newlines; returns where it begins, *n its bytes. */
const char *rs_first_line(const char *bytes, size_t *n);

#endif
