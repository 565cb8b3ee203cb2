/* Where ranks compute: the cores that a launcher left to each of them, how many threads these are worth, and which device. A core counts
 * once, however many hyperthreads it has: two threads of this program on one core are slower than one. */
#ifndef RS_ENGINE_PLACE_H
#define RS_ENGINE_PLACE_H

#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

struct hwloc_topology; /* hwloc.h is included in place.c only */
struct hwloc_bitmap_s;

enum { RS_PLACE_CORES = 2048, RS_PLACE_HOST = 64, RS_PLACE_ID = 16 };

/* What a rank tells the others; of fixed size, so that it can be gathered. */
typedef struct rs_rank_place {
    char host[RS_PLACE_HOST];             /* short name */
    uint64_t cores[RS_PLACE_CORES / 64];  /* of the host; a bit for each that this rank may use */
    int32_t host_cores;                   /* that any rank might have been given */
    int32_t asked;                        /* threads; 0: as many as it has cores */
    unsigned char device_id[RS_PLACE_ID]; /* tells the devices of a host apart, whoever counts them; zeros: the host itself */
} rs_rank_place;

/* This process's host and cores. */
rs_status rs_place_find(rs_rank_place *out);
/* The cores of a topology (loaded whole, with what is not allowed) that `bound` has a hyperthread of. */
void rs_place_cores(struct hwloc_topology *topology, const struct hwloc_bitmap_s *bound, rs_rank_place *out);

/* Threads of a rank: what it asked for, or its share of cores: each is divided evenly by the ranks that may use it. At least 1. */
int rs_place_threads(const rs_rank_place *all, int n, int rank);
/* Ranks that compute on the same device as this one, itself included. */
int rs_place_sharers(const rs_rank_place *all, int n, int rank);
/* What somebody should know who cares for speed, a line each: cores with more threads than one, cores left idle by a binding, ranks that
 * share cores for want of one, GPUs that ranks share. launcher: NULL: none. */
void rs_place_notes(const rs_rank_place *all, int n, const char *launcher, rs_text *out);

#endif
