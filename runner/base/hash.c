#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/memory.h"
#include "base/pulse.h"

rs_digest rs_digest_of(const void *bytes, size_t n)
{
    XXH128_hash_t h = XXH3_128bits(bytes, n);
    return (rs_digest){.high = h.high64, .low = h.low64};
}

const char *rs_digest_hex(rs_digest digest, char hex[33])
{
    snprintf(hex, 33, "%016" PRIx64 "%016" PRIx64, digest.high, digest.low);
    return hex;
}

uint64_t rs_hash64(const void *bytes, size_t n)
{
    return XXH3_64bits(bytes, n);
}

enum { PIECE_BYTES = 16 << 20 };

struct rs_hasher {
    XXH3_state_t *state;
};

rs_hasher *rs_hasher_open(void)
{
    rs_hasher *hasher = rs_alloc(1, sizeof *hasher);
    hasher->state = XXH3_createState();
    XXH3_128bits_reset(hasher->state);
    return hasher;
}

void rs_hasher_update(rs_hasher *hasher, const void *bytes, size_t n)
{
    const char *from = bytes;
    for (size_t piece; n > 0; from += piece, n -= piece) {
        piece = n < PIECE_BYTES ? n : PIECE_BYTES;
        XXH3_128bits_update(hasher->state, from, piece);
        rs_pulse_tick(); /* a mapped file may lie behind a slow network */
    }
}

rs_digest rs_hasher_close(rs_hasher *hasher)
{
    XXH128_hash_t h = XXH3_128bits_digest(hasher->state);
    XXH3_freeState(hasher->state);
    free(hasher);
    return (rs_digest){.high = h.high64, .low = h.low64};
}
