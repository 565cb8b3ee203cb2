/* Allocation. Small things (names, tables, lists) use these, which end the process with a message when memory is gone:
 * nothing useful can follow. Buffers whose size a file or a config decides use rs_try_alloc and report RS_NO_MEMORY. */
#ifndef RS_BASE_MEMORY_H
#define RS_BASE_MEMORY_H

#include <stddef.h>

#include "base/status.h"

void *rs_alloc(size_t count, size_t size);              /* zeroed; count*size checked for overflow */
void *rs_realloc(void *old, size_t count, size_t size); /* new bytes are not zeroed */
char *rs_strdup(const char *text);
char *rs_strndup(const char *text, size_t n);
char *rs_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* 64-byte aligned, not zeroed; *out is freed with free(). `what` names the buffer in the message. */
rs_status rs_try_alloc(void **out, size_t count, size_t size, const char *what);

/* Growable array: doubles `*items` so that index n_items is writable. RS_PUSH(array.items, array.n, array.cap, value). */
#define RS_PUSH(items, n, cap, value)                                                                                                      \
    do {                                                                                                                                   \
        if ((n) == (cap)) {                                                                                                                \
            (cap) = (cap) ? 2 * (cap) : 8;                                                                                                 \
            (items) = rs_realloc((items), (size_t)(cap), sizeof *(items));                                                                 \
        }                                                                                                                                  \
        (items)[(n)++] = (value);                                                                                                          \
    } while (0)

#endif
