/* The streams of the fake driver: what is pushed runs as late as it may, or at once where rs_fake_now.eager says so. What is pushed while
 * work is recorded goes to the recording instead. */
#ifndef RS_SIMT_FAKE_STREAMS_H
#define RS_SIMT_FAKE_STREAMS_H

#include <stdbool.h>
#include <stddef.h>

enum { RS_FAKE_ARGS = 256 }; /* bytes of a launch's arguments, at most */

typedef struct rs_fake_work {
    struct rs_fake_work *next;
    int (*run)(const void *args); /* returns CUDA's error code */
    _Alignas(16) char args[RS_FAKE_ARGS];
} rs_fake_work;

typedef struct rs_fake_queue {
    rs_fake_work *first, **last;
} rs_fake_queue;

/* Where a stream stood when an event was recorded; shared by the event and by work that waits for it. */
typedef struct rs_fake_mark rs_fake_mark;

void rs_fake_streams_open(void);
/* The handle of a stream, and the stream of a handle: -1 where it is none. */
void *rs_fake_stream_handle(int stream);
int rs_fake_stream_of(const void *handle);

/* args are copied. */
void rs_fake_push(int stream, int (*run)(const void *args), const void *args, size_t bytes);
void rs_fake_run(int stream); /* all of it */
void rs_fake_run_all(void);
int rs_fake_code(void); /* of the first launch that failed, 0 for none */

rs_fake_mark *rs_fake_mark_push(int stream);
void rs_fake_mark_follow(int stream, rs_fake_mark *mark); /* what comes next in the stream comes after the mark */
void rs_fake_mark_run(rs_fake_mark *mark);                /* its stream, up to there */
void rs_fake_mark_release(rs_fake_mark *mark);            /* may be NULL */

void rs_fake_record(void);
bool rs_fake_recording(void);
rs_fake_queue rs_fake_recorded(void); /* ends the recording, which is the caller's */
int rs_fake_queue_run(const rs_fake_queue *queue);
void rs_fake_queue_free(rs_fake_queue *queue);

#endif
