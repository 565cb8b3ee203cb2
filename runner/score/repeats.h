/* How far back each token of a text stood last: what a model that copies would have to reach. */
#ifndef RS_SCORE_REPEATS_H
#define RS_SCORE_REPEATS_H

#include <stddef.h>
#include <stdint.h>

/* distances[i] = i - j for the largest j < i with ids[j] == ids[i], 0 where there is none. [n] */
void rs_repeat_distances(const int32_t *ids, size_t n, int64_t *distances);

#endif
