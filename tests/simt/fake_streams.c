#include "simt/fake_streams.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cuda/driver.h"
#include "simt/driver_fake.h"

struct rs_fake_mark {
    bool passed;
    int stream, holders;
};

static struct {
    rs_fake_queue queues[RS_CUDA_STREAMS], recorded;
    bool recording;
    int code;
} streams;

void rs_fake_streams_open(void)
{
    memset(&streams, 0, sizeof streams);
    for (int i = 0; i < RS_CUDA_STREAMS; i++)
        streams.queues[i].last = &streams.queues[i].first;
}

void *rs_fake_stream_handle(int stream)
{
    return &streams.queues[stream];
}

int rs_fake_stream_of(const void *handle)
{
    for (int i = 0; i < RS_CUDA_STREAMS; i++)
        if (handle == &streams.queues[i])
            return i;
    return -1;
}

static void run_first(int stream)
{
    rs_fake_queue *q = &streams.queues[stream];
    rs_fake_work *w = q->first;
    int code = w->run(w->args);
    streams.code = streams.code ? streams.code : code;
    q->first = w->next;
    if (!q->first)
        q->last = &q->first;
    free(w);
}

void rs_fake_push(int stream, int (*run)(const void *args), const void *args, size_t bytes)
{
    rs_fake_queue *q = streams.recording ? &streams.recorded : &streams.queues[stream];
    rs_fake_work *w = rs_alloc(1, sizeof *w);
    assert(bytes <= sizeof w->args);
    w->run = run;
    memcpy(w->args, args, bytes);
    *q->last = w;
    q->last = &w->next;
    if (!streams.recording && (rs_fake_now.eager >> stream & 1))
        rs_fake_run(stream);
}

void rs_fake_run(int stream)
{
    while (streams.queues[stream].first)
        run_first(stream);
}

void rs_fake_run_all(void)
{
    for (int i = 0; i < RS_CUDA_STREAMS; i++)
        rs_fake_run(i);
}

int rs_fake_code(void)
{
    return streams.code;
}

/* --- marks --- */

static int run_mark(const void *args)
{
    rs_fake_mark *mark = *(rs_fake_mark *const *)args;
    mark->passed = true;
    rs_fake_mark_release(mark);
    return 0;
}

rs_fake_mark *rs_fake_mark_push(int stream)
{
    rs_fake_mark *mark = rs_alloc(1, sizeof *mark);
    *mark = (rs_fake_mark){.stream = stream, .holders = 2};
    rs_fake_push(stream, run_mark, &mark, sizeof mark);
    return mark;
}

static int run_follow(const void *args)
{
    rs_fake_mark *mark = *(rs_fake_mark *const *)args;
    rs_fake_mark_run(mark);
    rs_fake_mark_release(mark);
    return 0;
}

void rs_fake_mark_follow(int stream, rs_fake_mark *mark)
{
    mark->holders++;
    rs_fake_push(stream, run_follow, &mark, sizeof mark);
}

void rs_fake_mark_run(rs_fake_mark *mark)
{
    while (!mark->passed)
        run_first(mark->stream);
}

void rs_fake_mark_release(rs_fake_mark *mark)
{
    if (mark && --mark->holders == 0)
        free(mark);
}

/* --- recordings --- */

void rs_fake_record(void)
{
    streams.recording = true;
    streams.recorded = (rs_fake_queue){.last = &streams.recorded.first};
}

bool rs_fake_recording(void)
{
    return streams.recording;
}

rs_fake_queue rs_fake_recorded(void)
{
    streams.recording = false;
    return streams.recorded;
}

int rs_fake_queue_run(const rs_fake_queue *queue)
{
    int code = 0;
    for (const rs_fake_work *w = queue->first; w && !code; w = w->next)
        code = w->run(w->args);
    return code;
}

void rs_fake_queue_free(rs_fake_queue *queue)
{
    for (rs_fake_work *w = queue->first, *next; w; w = next) {
        next = w->next;
        free(w);
    }
}
