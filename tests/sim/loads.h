/* The loads of schedule_sim.c. */
#ifndef RS_TESTS_SIM_LOADS_H
#define RS_TESTS_SIM_LOADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOAD_KINDS = 12 };

typedef struct load_kind {
    int64_t n;
    double seconds; /* predicted, at speed 1 */
    int64_t tokens;
} load_kind;

typedef struct load {
    const char *name;
    int replicas;
    load_kind kinds[LOAD_KINDS];
    int64_t tokens, units; /* a replica's room */
    double spread;         /* speed of the fastest replica over the slowest's */
    double noise;          /* of a unit's seconds: standard deviation of the logarithm of what is true over what is predicted */
    bool together;         /* a replica works on all its units at once */
    bool stuck;            /* the last replica all but stops */
    double most;           /* makespan over its bound; 0: it is not attainable, and only printed */
    const char *most_text;
    double late; /* of the last replica, relative to the mean of the others; 0: units are too long for it */
} load;

extern const load loads[];
extern const size_t n_loads;

#endif
