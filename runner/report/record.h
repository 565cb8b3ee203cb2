/* The result of one sample, and its one written form: a JSON object on a line. The same text travels from a replica to rank 0, lies in the
 * journal and, behind its point's columns, in samples.jsonl. */
#ifndef RS_REPORT_RECORD_H
#define RS_REPORT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"
#include "kernels/diagnostics.h"
#include "tasks/task.h"

/* The nll of scored tokens in parts: by how many tokens stand before them in the window (BOS at position 0), and by how many tokens ago the
 * same token stood there last (0: never). Bucket 0 holds the value 0, bucket b the values 2^(b-1) to 2^b - 1. */
typedef enum rs_split { RS_BY_POSITION, RS_BY_DISTANCE, RS_N_SPLITS } rs_split;
extern const char *const rs_split_names[RS_N_SPLITS]; /* "by_position", "by_distance" */
enum { RS_BUCKETS = 64 };
typedef struct rs_part {
    int64_t n;
    double nll;
} rs_part;

static inline int rs_bucket_of(int64_t value) /* >= 0 */
{
    return value == 0 ? 0 : 64 - __builtin_clzll((unsigned long long)value);
}

static inline int64_t rs_bucket_from(int bucket)
{
    return bucket == 0 ? 0 : (int64_t)1 << (bucket - 1);
}

typedef struct rs_record {
    rs_digest id;   /* content id: the point's and doc_id */
    char point[17]; /* id of the point, 16 hexadecimal digits */
    int64_t doc_id;
    int64_t tokens;        /* of the prompt or document, BOS included */
    int64_t n_tokens;      /* scored (nll) or generated */
    rs_digest prompt_hash; /* XXH3-128 of the prompt's ids as little-endian int32 */
    bool has_nll;
    double nll;                             /* sum over scored tokens, nats */
    rs_part parts[RS_N_SPLITS][RS_BUCKETS]; /* the same sum in parts; all 0 where an older version made the record */
    float *token_nll; /* [n_tokens] of each scored token, for tasks that count key tokens only; NULL: not kept. Owned */
    char *response;   /* generated text, NUL-terminated beyond response_bytes (may hold NUL); NULL for scoring tasks. Owned */
    size_t response_bytes;
    char **references; /* owned; cut at a NUL, which no task's reference holds */
    size_t n_references;
    double scores[RS_MAX_METRICS];
    int n_scores;   /* in the order of the task's metrics */
    char *facts;    /* members of a JSON object without braces, or NULL. Owned */
    char *error;    /* why the sample could not run, or NULL. Owned */
    double seconds; /* may differ between runs, as may replica */
    int replica;
    const rs_diagnostics *diagnostics; /* of its rows, kept beside the record (report/diagnostics.h); NULL: none. Borrowed */
} rs_record;

void rs_record_free(rs_record *record);

/* {"id": ..., "point": ..., "doc_id": ..., "tokens": ..., "prompt_hash": ..., "n_tokens": ..., "nll": ..., "by_position": [[2^b, n,
 * nll]...], "by_distance": [[0, n, nll], [2^b, n, nll]...], "token_nll": base64 of fp32, "resps": [...], "target": [...], "scores":
 * {metric: value}, "depths"... (facts), "error": ..., "seconds": ..., "replica": ...} without a newline; absent members are left out. The
 * first three members always stand first and in this order. metrics: names, NULL-terminated. */
void rs_record_write_json(const rs_record *record, const char *const *metrics, rs_text *out);
/* Reads that form back, its members in any order. RS_INVALID where it is not one. Scores come in the order they stand in; members that are
 * not named above are facts, kept to the letter. */
rs_status rs_record_parse(const char *json, size_t n, rs_record *out);

/* The first three members alone, without a look at the rest: what an index needs of millions of records. */
typedef struct rs_record_key {
    rs_digest id;
    uint64_t point;
    int64_t doc_id;
    size_t rest; /* where the text goes on behind them: at a comma or the closing brace */
} rs_record_key;
bool rs_record_peek(const char *json, size_t n, rs_record_key *out);

#endif
