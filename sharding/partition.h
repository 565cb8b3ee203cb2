/* Who holds what in tensor parallelism: pure arithmetic, the same on every rank.
 * Part i of T of n things is [floor(i n / T), floor((i + 1) n / T)). If T divides C, part i of T is exactly the union of the C/T
 * consecutive parts of C that start at i C / T: what makes sums over fixed parts independent of T. */
#ifndef RS_SHARDING_PARTITION_H
#define RS_SHARDING_PARTITION_H

#include <stdint.h>

typedef struct rs_range {
    int64_t first, n;
} rs_range;

rs_range rs_partition(int64_t n, int parts, int part);

/* Key/value heads that query heads [heads.first, heads.first + heads.n) of all_heads read, when all_heads/all_kv queries share one:
 * replicated on several ranks where parts outnumber the key/value heads. */
rs_range rs_partition_kv(rs_range heads, int64_t all_heads, int64_t all_kv);

#endif
