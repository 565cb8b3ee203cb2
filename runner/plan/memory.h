/* What a rank's memory is given to, and what does not fit it: known before a weight is read. */
#ifndef RS_PLAN_MEMORY_H
#define RS_PLAN_MEMORY_H

#include "kernels/backend.h"
#include "plan/plan.h"

#define RS_GIB 1073741824.0

typedef struct rs_memory_plan {
    double weight_bytes, step_bytes; /* of a rank */
    double kv_bytes_per_token;       /* all layers, and the most key sets that a rope entry keeps */
    double pass_bytes_per_token;     /* of a text that passes layer by layer */
    int64_t longest;                 /* tokens of the longest context */
    double need_bytes;               /* of the longest context, the way it will be run */
    bool passes;                     /* it passes layer by layer */
    int64_t kv_tokens, longest_kv;   /* what engine/worker.h asks for */
    size_t arena_bytes;              /* what a device is asked for: all that is available; 0: not known */
} rs_memory_plan;

/* available_bytes: what a rank may take; 0: not known, and everything fits. Fails with RS_INVALID naming context, task and sizes. */
rs_status rs_memory_plan_make(const rs_plan *plan, const rs_backend_kind *kind, double available_bytes, rs_memory_plan *out);

#endif
