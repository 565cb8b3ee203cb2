#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/hash.h"

/* splitmix64: spreads one word over the generator's state (Steele, Lea and Flood 2014). */
static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void rs_rng_init(rs_rng *rng, uint64_t seed, const char *name, uint64_t a, uint64_t b)
{
    uint64_t key[4] = {seed, rs_hash64(name, strlen(name)), a, b};
    uint64_t state = rs_hash64(key, sizeof key);
    for (int i = 0; i < 4; i++)
        rng->s[i] = mix(&state);
}

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* xoshiro256** (Blackman and Vigna 2018). */
uint64_t rs_rng_next(rs_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t rs_rng_below(rs_rng *rng, uint64_t n)
{
    assert(n > 0);
    uint64_t unfair = (0 - n) % n, x; /* 2^64 mod n values at the bottom would be drawn once too often */
    do
        x = rs_rng_next(rng);
    while (x < unfair);
    return x % n;
}

double rs_rng_unit(rs_rng *rng)
{
    return (double)(rs_rng_next(rng) >> 11) * 0x1p-53;
}

double rs_rng_normal(rs_rng *rng)
{
    double radius = sqrt(-2.0 * log(1.0 - rs_rng_unit(rng)));
    return radius * cos(6.283185307179586 * rs_rng_unit(rng));
}

void rs_rng_shuffle(rs_rng *rng, void *items, size_t n, size_t item_size)
{
    char *base = items, spare[64];
    assert(item_size <= sizeof spare);
    for (size_t i = n; i > 1; i--) {
        size_t j = rs_rng_below(rng, i);
        memcpy(spare, base + (i - 1) * item_size, item_size);
        memmove(base + (i - 1) * item_size, base + j * item_size, item_size);
        memcpy(base + j * item_size, spare, item_size);
    }
}
