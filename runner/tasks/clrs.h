/* The algorithms of clrs_text: what each draws, how its inputs are written, what its answer is. */
#ifndef RS_TASKS_CLRS_H
#define RS_TASKS_CLRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/text.h"

#define RS_CLRS_CHOICES "minimum|insertion_sort|binary_search|kadane|bfs"
enum { RS_CLRS_MAX_PLACES = 2 };

/* What one sample draws: the problem of any size up to `most` is made of its beginning. */
typedef struct rs_clrs_problem {
    /* set by the caller */
    int64_t most;
    int decimals;
    double edges; /* share of the pairs of nodes that are joined */
    double depth; /* 0..1: where the answer lies (minimum, binary_search), which node is the source (bfs) */
    /* set by draw */
    int64_t *numbers;  /* [most] in units of 10^-decimals; owned */
    uint8_t *adjacent; /* [most * most] bfs; owned */
    int64_t least;     /* minimum: the smallest number, below all of `numbers` */
    double part;       /* binary_search: where the target lies between two keys */
} rs_clrs_problem;

typedef struct rs_clrs_algorithm {
    const char *choice, *title, *outputs; /* the config's word for it; the names in the text */
    bool square;                          /* the inputs grow as the square of the length */
    void (*draw)(rs_clrs_problem *p, rs_rng *rng);
    /* Appends the inputs of length n >= 1; stop < n: what stands before item `stop` and its separator. */
    void (*inputs)(const rs_clrs_problem *p, int64_t n, int64_t stop, rs_text *out);
    /* Appends the answer. places: [RS_CLRS_MAX_PLACES] the items it is found at; returns how many. */
    size_t (*solve)(const rs_clrs_problem *p, int64_t n, int64_t *places, rs_text *out);
} rs_clrs_algorithm;

const rs_clrs_algorithm *rs_clrs_find(const char *choice); /* one of RS_CLRS_CHOICES */
void rs_clrs_problem_free(rs_clrs_problem *p);

#endif
