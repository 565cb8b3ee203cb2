/* Random numbers that depend on nothing but their key, so that a sample is the same whoever draws it, in whatever order. */
#ifndef RS_BASE_RNG_H
#define RS_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct rs_rng {
    uint64_t s[4]; /* xoshiro256** */
} rs_rng;

/* A stream keyed by (seed, name, a, b), for example (run seed, "niah/needle", context, doc_id). */
void rs_rng_init(rs_rng *rng, uint64_t seed, const char *name, uint64_t a, uint64_t b);
uint64_t rs_rng_next(rs_rng *rng);
uint64_t rs_rng_below(rs_rng *rng, uint64_t n); /* uniform on 0..n-1, without modulo bias; n > 0 */
double rs_rng_unit(rs_rng *rng);                /* uniform on [0, 1), 53 bits */
double rs_rng_normal(rs_rng *rng);              /* standard normal */
void rs_rng_shuffle(rs_rng *rng, void *items, size_t n, size_t item_size);

#endif
