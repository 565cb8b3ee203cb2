/* When is a difference known well enough? An interval that may be looked at after every sample (Waudby-Smith and Ramdas 2024, hedged
 * capital): a bet against each value that the mean could have would rarely win if it were the mean; the values that lost no such bet are
 * the interval. It holds the mean at all times at once with 95 %, so that stopping when it is narrow takes nothing from it. */
#ifndef RS_SCORE_SEQUENCE_H
#define RS_SCORE_SEQUENCE_H

#include <stdint.h>

#include "score/resample.h"

/* Of the mean of differences d[0..n), each in [-1, 1], in the order they were drawn. width: what one hopes for; bets are placed to win when
 * the interval is about so narrow. */
rs_interval rs_sequence_interval(const double *d, int64_t n, double width);

/* The fixed schedule of looks: `least` samples, then half as many again each time, at last `most`. n: samples at the last look, 0 before
 * the first. */
int64_t rs_sequence_look(int64_t n, int64_t least, int64_t most);

/* How many of the paired samples a, b [n] (scores in [0, 1], whole from the first on) settle it: the first look at which the interval of a
 * - b is no wider than `width`, or `most`; -1: looks beyond n are needed. */
int64_t rs_sequence_settle(const double *a, const double *b, int64_t n, double width, int64_t least, int64_t most);

#endif
