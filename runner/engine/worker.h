/* One replica's loop body: takes units of work, packs their sequences into ragged steps (decode rows first, then pieces of prefills) and
 * turns finished ones into records. Every rank of a tensor-parallel group runs the same worker on the same units in lockstep: all decisions
 * follow from results that are the same bits on every rank. */
#ifndef RS_ENGINE_WORKER_H
#define RS_ENGINE_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "model/transformer.h"
#include "plan/plan.h"
#include "report/record.h"

typedef struct rs_worker rs_worker;

typedef struct rs_worker_setup {
    const rs_plan *plan;         /* borrowed, with opened tasks */
    rs_transformer *transformer; /* borrowed */
    int64_t max_rows;            /* rows of a step */
    int64_t kv_tokens;           /* capacity of all caches together; a single longer sequence runs alone */
    int64_t longest_kv;          /* a scored text of more tokens passes layer by layer, without a whole cache */
    int replica;
    /* Called for each finished sample. The record is the callee's to read, not to keep. NULL: this rank does not report. */
    rs_status (*emit)(void *context, rs_unit unit, const rs_record *record, const char *const *metrics);
    void *emit_context;
} rs_worker_setup;

rs_worker *rs_worker_open(const rs_worker_setup *setup);
void rs_worker_close(rs_worker *worker); /* unfinished samples are dropped */

void rs_worker_add(rs_worker *worker, const rs_unit *units, int64_t n);
bool rs_worker_idle(const rs_worker *worker);
/* Gives up what has not begun: units of which no token has passed through the model. Likewise the same on every rank. */
void rs_worker_wind_down(rs_worker *worker);

/* Admits what fits and runs one step. Collective over the group. */
rs_status rs_worker_step(rs_worker *worker);

#endif
