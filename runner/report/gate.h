/* `compare`'s gates: "TASK[@CONTEXT] METRIC OP VALUE", a bound on the differences B - A of every pair that it names. */
#ifndef RS_REPORT_GATE_H
#define RS_REPORT_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef enum rs_gate_op { RS_GATE_GE, RS_GATE_LE, RS_GATE_EQ, RS_GATE_GT, RS_GATE_LT } rs_gate_op;

typedef struct rs_gate {
    const char *text;    /* as given; borrowed */
    char *task, *metric; /* owned */
    int64_t context;     /* 0: any */
    rs_gate_op op;
    double value;
    int64_t matched, failed;
} rs_gate;

/* RS_INVALID naming the gate and what is wrong with it. */
rs_status rs_gate_parse(const char *text, rs_gate *out);
void rs_gate_free(rs_gate *gate);

bool rs_gate_matches(const rs_gate *gate, const char *task, int64_t context, const char *metric);
/* False for a difference that is no number. */
bool rs_gate_holds(const rs_gate *gate, double difference);

#endif
