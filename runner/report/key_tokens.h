/* Key tokens (LongPPL, arXiv 2410.23771): which tokens of its texts a baseline's point finds, and what another point's nll of them is. */
#ifndef RS_REPORT_KEY_TOKENS_H
#define RS_REPORT_KEY_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "report/record.h"

/* A token is key if nll in its short window less nll in the whole text is above RS_KEY_GAIN, and the latter below RS_KEY_NLL. */
#define RS_KEY_GAIN 2.0f
#define RS_KEY_NLL 2.0f

typedef struct rs_key_text {
    float *nll;   /* [n] of the scored tokens in the whole text; NULL once all windows have been seen */
    bool *is_key; /* [n] */
    int64_t n, n_seen;
} rs_key_text;

typedef struct rs_key_tokens {
    rs_key_text *texts; /* [n_texts] by doc_id */
    int64_t n_texts, n_windows;
} rs_key_tokens;

/* n_windows: short windows of all texts together. */
void rs_key_tokens_init(rs_key_tokens *keys, int64_t n_texts, int64_t n_windows);
void rs_key_tokens_free(rs_key_tokens *keys);
/* Takes the baseline's records in order of doc_id: all texts, then their short windows. One that does not fit where it should is left out,
 * and its text has no key tokens. */
void rs_key_tokens_add(rs_key_tokens *keys, const rs_record *record);
/* Sums of a text's record over the key tokens: nll and their number. */
rs_part rs_key_tokens_sum(const rs_key_tokens *keys, const rs_record *record);

#endif
