/* Digests that name content: XXH3-128 (xxHash). Not against an adversary; against mistakes. */
#ifndef RS_BASE_HASH_H
#define RS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct rs_digest {
    uint64_t high, low;
} rs_digest;

rs_digest rs_digest_of(const void *bytes, size_t n);
/* 32 lower-case hexadecimal digits and a NUL; returns hex. */
const char *rs_digest_hex(rs_digest digest, char hex[33]);
uint64_t rs_hash64(const void *bytes, size_t n);

/* A digest over pieces. */
typedef struct rs_hasher rs_hasher;
rs_hasher *rs_hasher_open(void);
void rs_hasher_update(rs_hasher *hasher, const void *bytes, size_t n);
rs_digest rs_hasher_close(rs_hasher *hasher); /* frees */

#endif
