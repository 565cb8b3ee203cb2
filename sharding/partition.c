#include "sharding/partition.h"

#include <assert.h>

/* floor(i n / parts) without forming i n: n = q parts + r gives i q + floor(i r / parts), and r < parts <= 2^31. */
static int64_t bound(int64_t n, int64_t parts, int64_t i)
{
    return i * (n / parts) + i * (n % parts) / parts;
}

rs_range rs_partition(int64_t n, int parts, int part)
{
    assert(n >= 0 && parts > 0 && part >= 0 && part < parts);
    int64_t first = bound(n, parts, part);
    return (rs_range){.first = first, .n = bound(n, parts, (int64_t)part + 1) - first};
}

rs_range rs_partition_kv(rs_range heads, int64_t all_heads, int64_t all_kv)
{
    assert(all_kv > 0 && all_heads % all_kv == 0);
    assert(heads.first >= 0 && heads.n >= 0 && heads.first + heads.n <= all_heads);
    int64_t group = all_heads / all_kv, first = heads.first / group;
    if (heads.n == 0)
        return (rs_range){.first = first, .n = 0};
    return (rs_range){.first = first, .n = (heads.first + heads.n - 1) / group + 1 - first};
}
