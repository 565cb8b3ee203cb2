/* NCCL and CUDA's runtime on host memory, over MPI: one device with one stream, a thread that does in order what is queued. Holds its
 * caller to NCCL's rules (no call while one is in progress, no two threads in one communicator, events in no capture) and fails on demand.
 */
#ifndef RS_TESTS_NCCL_FAKE_H
#define RS_TESTS_NCCL_FAKE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nccl_fake {
    const char *bus_id; /* of this rank's device; NULL: it has none */
    int polls;          /* how often a call is still in progress when asked; < 0: initialisation stays so for ever */
    uint64_t error_at;  /* this collective, counted from 1, fails behind the host's back; 0: none */
    uint64_t cut_at;    /* this one begins on the device and never ends; 0: none */
} nccl_fake;
extern nccl_fake nccl_fake_wish;

/* Collective over MPI_COMM_WORLD, around all else. close says how many events, allocations and communicators nobody gave back. */
void nccl_fake_open(void);
int nccl_fake_close(void);

/* The rs_comm_nccl_options.stream of the one stream. */
void *nccl_fake_stream(void *context);
/* A kernel: fn(context) in its turn. */
void nccl_fake_launch(void (*fn)(void *context), void *context);
/* Waits until the stream has done all. */
void nccl_fake_wait(void);
/* From begin to end nothing is done but recorded; a launch does it. */
void nccl_fake_capture_begin(void);
void nccl_fake_capture_end(void);
void nccl_fake_graph_launch(void);
void nccl_fake_graph_free(void); /* a communicator waits for it before it can be finalised */

#endif
