#include "report/depths.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Bin of the first depth that the facts name; -1: none. They are members as a task wrote them, so one key is looked for, nothing is parsed.
 */
static int bin_of(const char *facts)
{
    static const char key[] = "\"depths\": [";
    const char *found = facts ? strstr(facts, key) : NULL;
    char *end = NULL;
    double depth = found ? strtod(found + sizeof key - 1, &end) : 0;
    if (found == NULL || end == found + sizeof key - 1 || !(depth >= 0 && depth <= 100))
        return -1;
    int bin = (int)(depth * RS_DEPTH_BINS / 100);
    return bin < RS_DEPTH_BINS ? bin : RS_DEPTH_BINS - 1;
}

void rs_depths_add(rs_depths *depths, const rs_record *record)
{
    int bin = bin_of(record->facts);
    if (bin < 0)
        return;
    rs_sum_add(&depths->scores[bin], record->scores[0]);
    depths->n[bin]++;
    depths->any = true;
}

rs_depth *rs_depths_mean(const rs_depths *depths)
{
    if (!depths->any)
        return NULL;
    rs_depth *all = rs_alloc(RS_DEPTH_BINS, sizeof *all);
    for (int b = 0; b < RS_DEPTH_BINS; b++)
        if (depths->n[b] > 0)
            all[b] = (rs_depth){depths->n[b], rs_sum_value(&depths->scores[b]) / (double)depths->n[b]};
    return all;
}
