/* Who holds a job up, from what its ranks last said of themselves. Knows neither threads nor messages: engine/watch.h has them. */
#ifndef RS_ENGINE_VERDICT_H
#define RS_ENGINE_VERDICT_H

#include <stdbool.h>

typedef struct rs_rank_state {
    double silent; /* seconds since it was last heard */
    double still;  /* seconds in which it did not get on, as it says */
    double frozen; /* seconds in which its thread used no processor time */
    int among;     /* as in base/pulse.h: it works, is guarded, or waits for ranks of its aligned block of so many */
    bool dead;     /* its process has ended */
    bool left;     /* it has said that it has nothing more to do */
} rs_rank_state;

typedef enum rs_fault_kind {
    RS_FAULT_NONE,
    RS_FAULT_DEAD,
    RS_FAULT_SILENT,  /* stopped, dead or cut off */
    RS_FAULT_STUCK,   /* beats, but does not get on with what it works on; or all wait, and it is the one that does not even turn */
    RS_FAULT_DEADLOCK /* waits, and so does everyone it could wait for */
} rs_fault_kind;

typedef struct rs_fault {
    rs_fault_kind kind;
    int rank;  /* at fault; the lowest of several that are so equally */
    int among; /* of a deadlock: ranks that wait for each other */
} rs_fault;

/* limit: seconds that a rank may be silent or stand still. A rank that waits for another is not to blame while that one may be. */
rs_fault rs_verdict(const rs_rank_state *ranks, int n, double limit);

#endif
