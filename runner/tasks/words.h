/* Built-in words and sentences, ours; any task's own lists replace them. All words are lower-case ASCII and distinct within their list. */
#ifndef RS_TASKS_WORDS_H
#define RS_TASKS_WORDS_H

#include <stddef.h>

enum { RS_N_NOUNS = 128, RS_N_ADJECTIVES = 128, RS_N_NOISE = 24, RS_N_COMMON_WORDS = 2473 };

extern const char *const rs_nouns[RS_N_NOUNS]; /* of three letters; even ones serve as keys, odd ones as values */
extern const char *const rs_adjectives[RS_N_ADJECTIVES];
extern const char *const rs_noise[RS_N_NOISE]; /* sentences that say nothing about keys or numbers */
/* Of four to nine letters, by alphabet; none occurs inside another, so that a word found in an answer is that word. */
extern const char *const rs_common_words[RS_N_COMMON_WORDS];

#endif
