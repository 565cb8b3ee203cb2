/* Score by the depth at which a sample's needle lies, for the tasks whose records say it (`depths`, percent; the first is that of the
 * needle asked for first). */
#ifndef RS_REPORT_DEPTHS_H
#define RS_REPORT_DEPTHS_H

#include <stdint.h>

#include "report/record.h"
#include "score/stats.h"

enum { RS_DEPTH_BINS = 10 }; /* bin b: 10 b <= depth < 10 (b + 1) percent; 100 falls into the last */

/* Zero-initialise; again for the next point. */
typedef struct rs_depths {
    rs_sum scores[RS_DEPTH_BINS]; /* of the first metric */
    int64_t n[RS_DEPTH_BINS];
    bool any;
} rs_depths;

typedef struct rs_depth {
    int64_t n;    /* samples; 0: none fell here */
    double score; /* their mean */
} rs_depth;

/* Takes in a record that has scores; one without depths is left out. */
void rs_depths_add(rs_depths *depths, const rs_record *record);
/* [RS_DEPTH_BINS], owned by the caller; NULL where no record had depths. */
rs_depth *rs_depths_mean(const rs_depths *depths);

#endif
