/* kernels/cuda/driver.h on host memory. A device that is as late as it may be: what is queued in a stream runs when the host waits for it,
 * or when another stream's work that follows it does, and not before; so that host memory rewritten too early, or streams that do not wait
 * for each other, show as wrong numbers. Launches are taken by the linker's --wrap: those in a fake stream are queued with their arguments
 * as they are, and what is recorded as a graph runs again with just these.
 *
 * Copies and products must lie in memory that was allocated for them; an allocation may be told to fail; the beginning of device memory
 * holds NaNs at first. */
#ifndef RS_SIMT_DRIVER_FAKE_H
#define RS_SIMT_DRIVER_FAKE_H

#include <stddef.h>

typedef struct rs_fake {
    int devices;        /* that count tells; 1 */
    int fail_at;        /* the k-th thing opened or allocated from now on fails, then 0; 0: none does */
    int opened, live;   /* contexts, memory, events, graphs and products: ever, now */
    int device_allocs;  /* ever */
    int kernels;        /* run, those of graphs included */
    int graph_launches; /* run */
    int uploads;        /* run, as products of prefills */
    int products;
    unsigned eager; /* bit i: stream i is never late */
} rs_fake;
extern rs_fake rs_fake_now;

#endif
