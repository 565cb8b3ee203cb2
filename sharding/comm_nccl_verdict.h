/* After a failure on one rank: what each rank tells the others, and who is to blame. Knows neither NCCL nor CUDA. */
#ifndef RS_SHARDING_COMM_NCCL_VERDICT_H
#define RS_SHARDING_COMM_NCCL_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "sharding/comm.h"

/* Operations are counted from 1, alike on every rank. Sent as bytes: all ranks run the same program. */
typedef struct rs_nccl_report {
    uint64_t started, reached, finished; /* the last that the host began, that the device came to, that is done */
    char operation[16];                  /* the oldest that is not done, finished + 1; "" where none is */
    uint64_t bytes;                      /* of that */
    char failure[320];                   /* "": nothing failed here */
    char host[64];
} rs_nccl_report;

/* Tells every rank of `group` and hears every rank that answers within `seconds`. reports, heard: [size], by rank; reports[rank of this
 * process] is what it tells, the others keep what they hold (their host) until heard. */
void rs_nccl_hear(rs_comm *group, double seconds, rs_nccl_report *reports, bool *heard);

/* One sentence: the rank that failed, is silent, or is behind, and in what. timeout_seconds: that the operation was given. */
void rs_nccl_verdict(const rs_nccl_report *reports, const bool *heard, int size, double timeout_seconds, rs_text *sentence);

#endif
