#include "engine/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/stop.h"

enum { TAG_TO_SERVER = 1, TAG_UNITS, TAG_STOP };

typedef enum message_kind { ASK_UNITS, RECORD, DONE, ASK_STOP } message_kind;

/* Every message to the server starts with this; a record's JSON or an error's text follows. */
typedef struct message_head {
    int32_t kind, status;
    int64_t tokens, point;
} message_head;

/* The reply of a server that has no unit now, but may have some. */
static const rs_unit LATER = {.point = -1};

/* Units to hand out, from `next` on. */
typedef struct queue {
    const rs_unit *units;
    int64_t n, next;
} queue;

struct rs_server {
    rs_server_setup setup;
    pthread_t thread;
    queue planned, wanted; /* from the beginning; by looks since then */
    rs_unit *wanted_units; /* owned */
    int64_t wanted_cap;
    double flops_left; /* of units not yet handed out */
    int replicas_done;
    bool stopping;
    double stop_deadline;
    rs_status status;
    char message[1024]; /* of the first failure: errors are per thread, and join runs on another */
};

static void note_failure(rs_server *s, rs_status status, const char *message)
{
    if (s->status != RS_OK)
        return;
    s->status = status;
    snprintf(s->message, sizeof s->message, "%s", message);
}

static double unit_flops(const rs_server *s, const rs_unit *unit)
{
    return s->setup.plan->points[unit->point].flops;
}

/* Units for one request: as many as it wants, but near the end no more than a share of what is left. */
static rs_status hand_out(rs_server *s, int to, int64_t tokens)
{
    queue *q = s->planned.next < s->planned.n ? &s->planned : &s->wanted;
    int64_t first = q->next;
    double flops = 0, most = s->flops_left / (2.0 * s->setup.replicas);
    bool open = !s->stopping && s->status == RS_OK;
    while (open && q->next < q->n) {
        const rs_point *point = &s->setup.plan->points[q->units[q->next].point];
        int64_t context = rs_plan_context(s->setup.plan, point);
        if (q->next > first && (tokens < context || flops + point->flops > most))
            break;
        tokens -= context;
        flops += point->flops;
        q->next++;
    }
    s->flops_left -= flops;
    if (open && q->next == first && rs_looks_pending(s->setup.looks))
        return rs_comm_send(s->setup.comm, to, TAG_UNITS, &LATER, sizeof LATER);
    return rs_comm_send(s->setup.comm, to, TAG_UNITS, q->units + first, (size_t)(q->next - first) * sizeof *q->units);
}

/* A record may settle a point, or send it on to its next look. */
static rs_status look_at(rs_server *s, int64_t point, const char *json, size_t n)
{
    int64_t before = s->wanted.n;
    double flops = 0;
    RS_TRY(rs_looks_take(s->setup.looks, point, json, n, &s->wanted_units, &s->wanted.n, &s->wanted_cap));
    s->wanted.units = s->wanted_units;
    for (int64_t i = before; i < s->wanted.n; i++)
        flops += unit_flops(s, &s->wanted.units[i]);
    s->flops_left += flops;
    rs_progress_grow(s->setup.progress, s->wanted.n - before, flops);
    return RS_OK;
}

static rs_status begin_stop(rs_server *s)
{
    if (s->stopping)
        return RS_OK;
    s->stopping = true;
    s->stop_deadline = rs_clock() + s->setup.grace_seconds;
    for (int replica = 0; replica < s->setup.replicas; replica++)
        RS_TRY(rs_comm_send(s->setup.comm, replica * s->setup.tensor, TAG_STOP, "", 0));
    return s->setup.on_stop(s->setup.on_stop_context);
}

static rs_status handle(rs_server *s, int sender, const char *data, size_t bytes)
{
    message_head head;
    assert(bytes >= sizeof head);
    memcpy(&head, data, sizeof head);
    const char *body = data + sizeof head;
    size_t n = bytes - sizeof head;
    switch ((message_kind)head.kind) {
    case ASK_UNITS:
        return hand_out(s, sender, head.tokens);
    case RECORD:
        RS_TRY(rs_journal_append(s->setup.journal, body, n));
        rs_progress_add(s->setup.progress, 1, head.tokens, s->setup.plan->points[head.point].flops);
        return look_at(s, head.point, body, n);
    case DONE:
        s->replicas_done++;
        if (head.status != RS_OK) {
            char message[1024];
            snprintf(message, sizeof message, "rank %d: %.*s", sender, (int)n, body);
            note_failure(s, (rs_status)head.status, message);
        }
        return RS_OK;
    case ASK_STOP:
        return begin_stop(s);
    }
    return RS_OK;
}

static rs_status serve_one(rs_server *s, bool *served)
{
    rs_status status = RS_OK;
    void *data = NULL;
    size_t bytes;
    int sender;
    RS_TRY(rs_comm_poll(s->setup.comm, TAG_TO_SERVER, served));
    if (!*served)
        return RS_OK;
    RS_TRY(rs_comm_receive(s->setup.comm, RS_ANY_RANK, TAG_TO_SERVER, &sender, &data, &bytes));
    status = handle(s, sender, data, bytes);
    free(data);
    return status;
}

static void *serve(void *argument)
{
    rs_server *s = argument;
    while (s->replicas_done < s->setup.replicas) {
        bool served = false;
        rs_status status = serve_one(s, &served);
        if (status == RS_OK && rs_stop_requested())
            status = begin_stop(s);
        if (status == RS_OK)
            status = rs_journal_tick(s->setup.journal);
        if (status != RS_OK) { /* the disk is full, or a message cannot be sent: hand out no more and end in order */
            note_failure(s, status, rs_error_message());
            rs_error_clear();
        }
        if (s->stopping && rs_clock() > s->stop_deadline) {
            rs_warn("a replica did not stop within %d s; ending the job", s->setup.grace_seconds);
            rs_comm_abort(s->setup.comm, 75);
        }
        rs_progress_show(s->setup.progress, 0);
        if (!served)
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

rs_status rs_server_start(const rs_server_setup *setup, rs_server **out)
{
    rs_server *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->planned = (queue){.units = setup->units, .n = setup->n_units};
    for (int64_t i = 0; i < setup->n_units; i++)
        s->flops_left += unit_flops(s, &setup->units[i]);
    int rc = pthread_create(&s->thread, NULL, serve, s);
    if (rc != 0) {
        free(s);
        return rs_fail(RS_INTERNAL, "the scheduler's thread cannot start: %s", strerror(rc));
    }
    *out = s;
    return RS_OK;
}

rs_status rs_server_join(rs_server *s, bool *stopped)
{
    pthread_join(s->thread, NULL);
    rs_progress_show(s->setup.progress, 1);
    *stopped = s->stopping;
    rs_status status = s->status == RS_OK ? RS_OK : rs_fail(s->status, "%s", s->message);
    free(s->wanted_units);
    free(s);
    return status;
}

static rs_status send_to_server(rs_comm *comm, message_head head, const char *body, size_t n)
{
    char *data = rs_alloc(1, sizeof head + n);
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, body, n);
    rs_status status = rs_comm_send(comm, 0, TAG_TO_SERVER, data, sizeof head + n);
    free(data);
    return status;
}

rs_status rs_client_request(rs_comm *comm, int64_t tokens, rs_unit **units, int64_t *n, bool *later)
{
    int sender;
    size_t bytes;
    RS_TRY(send_to_server(comm, (message_head){.kind = ASK_UNITS, .tokens = tokens}, "", 0));
    RS_TRY(rs_comm_receive(comm, 0, TAG_UNITS, &sender, (void **)units, &bytes));
    *n = (int64_t)(bytes / sizeof **units);
    *later = *n == 1 && (*units)[0].point == LATER.point;
    *n = *later ? 0 : *n;
    return RS_OK;
}

rs_status rs_client_send_record(rs_comm *comm, int64_t point, int64_t tokens, const char *json, size_t n)
{
    return send_to_server(comm, (message_head){.kind = RECORD, .point = point, .tokens = tokens}, json, n);
}

rs_status rs_client_done(rs_comm *comm, rs_status result)
{
    const char *message = result == RS_OK ? "" : rs_error_message();
    return send_to_server(comm, (message_head){.kind = DONE, .status = (int32_t)result}, message, strlen(message));
}

rs_status rs_client_stop_asked(rs_comm *comm, bool *stop)
{
    return rs_comm_poll(comm, TAG_STOP, stop);
}

rs_status rs_client_ask_stop(rs_comm *comm)
{
    return send_to_server(comm, (message_head){.kind = ASK_STOP}, "", 0);
}
