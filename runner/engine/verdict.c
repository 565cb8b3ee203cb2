#include "engine/verdict.h"

#include <stddef.h>

static double silence(const rs_rank_state *rank)
{
    return rank->left ? 0 : rank->silent;
}

static double stillness_at_work(const rs_rank_state *rank)
{
    return rank->left || rank->among != 0 ? 0 : rank->still;
}

/* The rank with the largest measure above the limit, or -1. */
static int worst(const rs_rank_state *ranks, int n, double limit, double (*measure)(const rs_rank_state *))
{
    int found = -1;
    for (int i = 0; i < n; i++)
        if (measure(&ranks[i]) > (found < 0 ? limit : measure(&ranks[found])))
            found = i;
    return found;
}

/* Whether rank i waits for ranks of which none will come: each waits too, or has left. */
static bool waits_in_vain(const rs_rank_state *ranks, int n, int i, double limit)
{
    int among = ranks[i].among, first = among > 0 ? i / among * among : 0;
    if (ranks[i].left || among <= 0 || ranks[i].still <= limit)
        return false;
    for (int k = first; k < first + among && k < n; k++)
        if (!ranks[k].left && (ranks[k].among <= 0 || ranks[k].still <= limit))
            return false;
    return true;
}

/* Of ranks that wait for each other, the one whose thread was stopped in it, if any was. */
static rs_fault blame_among(const rs_rank_state *ranks, int n, int i, double limit)
{
    rs_fault fault = {.kind = RS_FAULT_DEADLOCK, .rank = i, .among = ranks[i].among};
    double longest = limit / 2;
    for (int k = i / fault.among * fault.among; k < n && k < (i / fault.among + 1) * fault.among; k++)
        if (!ranks[k].left && ranks[k].frozen > longest) {
            longest = ranks[k].frozen;
            fault.kind = RS_FAULT_STUCK;
            fault.rank = k;
        }
    return fault;
}

rs_fault rs_verdict(const rs_rank_state *ranks, int n, double limit)
{
    for (int i = 0; i < n; i++)
        if (ranks[i].dead && !ranks[i].left)
            return (rs_fault){.kind = RS_FAULT_DEAD, .rank = i};
    int rank = worst(ranks, n, limit, silence);
    if (rank >= 0)
        return (rs_fault){.kind = RS_FAULT_SILENT, .rank = rank};
    rank = worst(ranks, n, limit, stillness_at_work);
    if (rank >= 0)
        return (rs_fault){.kind = RS_FAULT_STUCK, .rank = rank};
    for (int i = 0; i < n; i++)
        if (waits_in_vain(ranks, n, i, limit))
            return blame_among(ranks, n, i, limit);
    return (rs_fault){.kind = RS_FAULT_NONE};
}
