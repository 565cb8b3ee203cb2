#include "engine/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/stop.h"

enum {
    TAG_TO_SERVER = 1,
    TAG_ORDERS,
    HAND = 128 /* units of one message: 3 KB, which MPI sends without waiting for the receiver */
};

typedef enum message_kind { JOIN, DIAGNOSTICS, RECORDS, DONE, ASK_STOP } message_kind;

static const double LEAST_PATIENCE = 3;

/* Every message to the server starts with this; records or an error's text follow. */
typedef struct message_head {
    int32_t kind, status;
    int64_t tokens, units; /* JOIN: the room */
} message_head;

/* A record: this and its JSON. */
typedef struct record_head {
    rs_unit unit;
    int64_t tokens; /* that were computed */
    uint64_t bytes; /* of the JSON */
} record_head;

typedef enum order_kind { UNITS, STOP, OVER } order_kind;

typedef struct order {
    int32_t kind, n;
    rs_unit units[HAND];
} order;

struct rs_server {
    rs_server_setup setup;
    pthread_t thread;
    rs_unit *wanted; /* scratch: what a record made wanted */
    int64_t wanted_cap;
    int replicas_done;
    bool stopping, over;
    double stop_deadline, idle_due;
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

/* --- orders --- */

static rs_status send_to_rank(rs_server *s, int rank, const order *o)
{
    return rs_comm_send(s->setup.comm, rank, TAG_ORDERS, o, offsetof(order, units) + (size_t)o->n * sizeof o->units[0]);
}

static rs_status send_order(rs_server *s, int replica, const order *o)
{
    return send_to_rank(s, s->setup.first_rank + replica * s->setup.tensor, o);
}

static rs_status send_all(rs_server *s, order_kind kind)
{
    order o = {.kind = (int32_t)kind};
    for (int replica = 0; replica < s->setup.replicas; replica++)
        RS_TRY(send_order(s, replica, &o));
    return RS_OK;
}

static rs_status hand_out(rs_server *s, int replica)
{
    order o = {.kind = UNITS, .n = HAND};
    while (!s->stopping && !s->over && o.n == HAND) {
        o.n = (int32_t)rs_schedule_take(s->setup.schedule, replica, rs_clock(), o.units, HAND);
        if (o.n > 0)
            RS_TRY(send_order(s, replica, &o));
    }
    return RS_OK;
}

/* New units, a faster replica's end or a late one may have made work for those that have none. Looking takes a tenth of the time at most:
 * with thousands of them it takes milliseconds. */
static rs_status wake_idle(rs_server *s)
{
    const double interval = 0.01;
    double begun = rs_clock();
    if (begun < s->idle_due)
        return RS_OK;
    for (int replica = 0; replica < s->setup.replicas; replica++)
        if (rs_schedule_idle(s->setup.schedule, replica))
            RS_TRY(hand_out(s, replica));
    double ended = rs_clock();
    s->idle_due = ended + fmax(interval, 9 * (ended - begun));
    return RS_OK;
}

static rs_status begin_stop(rs_server *s)
{
    if (s->stopping)
        return RS_OK;
    s->stopping = true;
    s->stop_deadline = rs_clock() + s->setup.patience;
    RS_TRY(send_all(s, STOP));
    rs_pulse_work("writing partial reports");
    rs_status status = s->setup.on_stop(s->setup.on_stop_context);
    s->stop_deadline = fmax(s->stop_deadline, rs_clock() + LEAST_PATIENCE); /* replicas may have waited for this thread meanwhile */
    return status;
}

/* When all is done, or nothing more can be kept. */
static rs_status end_if_over(rs_server *s)
{
    if (s->over || s->stopping || !(rs_schedule_over(s->setup.schedule) || s->status != RS_OK))
        return RS_OK;
    s->over = true;
    return send_all(s, OVER);
}

/* --- what replicas say --- */

/* A record may settle a point, or send it on to its next look. */
static rs_status look_at(rs_server *s, int64_t point, const char *json, size_t n)
{
    int64_t wanted = 0;
    double left = rs_schedule_left(s->setup.schedule);
    RS_TRY(rs_looks_take(s->setup.looks, point, json, n, &s->wanted, &wanted, &s->wanted_cap));
    rs_schedule_add(s->setup.schedule, s->wanted, wanted);
    if (wanted > 0)
        s->idle_due = 0;
    rs_progress_grow(s->setup.progress, wanted, rs_schedule_left(s->setup.schedule) - left);
    return RS_OK;
}

static rs_status take_record(rs_server *s, int replica, const record_head *head, const char *json)
{
    double left = rs_schedule_left(s->setup.schedule);
    if (!rs_schedule_done(s->setup.schedule, replica, head->unit.ticket, rs_clock()))
        return RS_OK;
    RS_TRY(rs_journal_append(s->setup.journal, json, head->bytes));
    rs_progress_add(s->setup.progress, 1, head->tokens, left - rs_schedule_left(s->setup.schedule));
    return look_at(s, head->unit.point, json, head->bytes);
}

static rs_status take_records(rs_server *s, int replica, const char *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        record_head head;
        assert(n - at >= sizeof head);
        memcpy(&head, data + at, sizeof head);
        at += sizeof head;
        assert(n - at >= head.bytes);
        RS_TRY(take_record(s, replica, &head, data + at));
        at += head.bytes;
    }
    return hand_out(s, replica);
}

static rs_status take_result(rs_server *s, int sender, rs_status result, const char *text, size_t n)
{
    char message[1024];
    s->replicas_done++;
    if (result != RS_OK) {
        snprintf(message, sizeof message, "rank %d: %.*s", sender, (int)n, text);
        note_failure(s, result, message);
    }
    return RS_OK;
}

static rs_status handle(rs_server *s, int sender, const char *data, size_t bytes)
{
    message_head head;
    assert(bytes >= sizeof head);
    memcpy(&head, data, sizeof head);
    const char *body = data + sizeof head;
    size_t n = bytes - sizeof head;
    int replica = (sender - s->setup.first_rank) / s->setup.tensor;
    rs_pulse_work(head.kind == RECORDS ? "keeping records" : "answering replicas");
    switch ((message_kind)head.kind) {
    case JOIN:
        rs_schedule_join(s->setup.schedule, replica, head.tokens, head.units);
        return hand_out(s, replica);
    case DIAGNOSTICS:
        return rs_journal_append(rs_journal_diagnostics(s->setup.journal), body, n);
    case RECORDS:
        return take_records(s, replica, body, n);
    case DONE:
        return take_result(s, sender, (rs_status)head.status, body, n);
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
    rs_pulse_attach(s->setup.pulse);
    while (s->replicas_done < s->setup.replicas) {
        bool served = false;
        rs_status status = serve_one(s, &served);
        if (status == RS_OK && rs_stop_requested())
            status = begin_stop(s);
        if (status == RS_OK)
            status = rs_journal_tick(s->setup.journal);
        if (status == RS_OK)
            status = wake_idle(s);
        if (status != RS_OK) /* the disk is full, or a message cannot be sent: hand out no more and end in order */
            note_failure(s, status, rs_error_message());
        if (end_if_over(s) != RS_OK)
            note_failure(s, RS_INTERNAL, rs_error_message());
        rs_error_clear();
        if (s->stopping && rs_clock() > s->stop_deadline) {
            rs_warn("a replica did not stop within %.0f s; ending the job, what is done is kept", s->setup.patience);
            rs_comm_abort(s->setup.comm, 75);
        }
        rs_progress_show(s->setup.progress, 0);
        if (!served) {
            rs_pulse_wait("messages of replicas", rs_comm_size(s->setup.comm));
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        }
    }
    rs_pulse_wait("nothing more", rs_comm_size(s->setup.comm));
    return NULL;
}

rs_status rs_server_start(const rs_server_setup *setup, rs_server **out)
{
    rs_server *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    int rc = pthread_create(&s->thread, NULL, serve, s);
    if (rc != 0) {
        free(s);
        return rs_fail(RS_INTERNAL, "the scheduler's thread cannot start: %s", strerror(rc));
    }
    *out = s;
    return RS_OK;
}

/* Turns now and then, as a thread that waits does and one that was stopped does not. */
static void join_awake(pthread_t thread)
{
    struct timespec until;
    do {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
    } while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT);
}

rs_status rs_server_join(rs_server *s, bool *stopped)
{
    rs_pulse_wait("the other replicas", rs_comm_size(s->setup.comm));
    join_awake(s->thread);
    rs_pulse_resume();
    rs_progress_show(s->setup.progress, 1);
    *stopped = s->stopping;
    rs_status status = s->status == RS_OK ? RS_OK : rs_fail(s->status, "%s", s->message);
    for (int rank = 1; rank < s->setup.first_rank; rank++) {
        rs_status sent = send_to_rank(s, rank, &(order){.kind = OVER});
        status = status == RS_OK ? sent : status;
    }
    free(s->wanted);
    free(s);
    return status;
}

/* --- the first rank of a replica --- */

static rs_status send_to_server(rs_comm *comm, message_head head, const char *body, size_t n)
{
    char *data = rs_alloc(1, sizeof head + n);
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, body, n);
    rs_status status = rs_comm_send(comm, 0, TAG_TO_SERVER, data, sizeof head + n);
    free(data);
    return status;
}

rs_status rs_client_join(rs_comm *comm, int64_t tokens, int64_t units)
{
    return send_to_server(comm, (message_head){.kind = JOIN, .tokens = tokens, .units = units}, "", 0);
}

static rs_status receive_order(rs_comm *comm, rs_orders *orders)
{
    void *data;
    size_t bytes;
    RS_TRY(rs_comm_receive(comm, 0, TAG_ORDERS, NULL, &data, &bytes));
    const order *o = data;
    assert(bytes >= offsetof(order, units) && bytes == offsetof(order, units) + (size_t)o->n * sizeof o->units[0]);
    orders->stop = orders->stop || o->kind == STOP;
    orders->over = orders->over || o->kind == OVER;
    for (int32_t i = 0; i < o->n; i++)
        RS_PUSH(orders->units, orders->n, orders->cap, o->units[i]);
    free(data);
    return RS_OK;
}

rs_status rs_client_take_orders(rs_comm *comm, rs_orders *orders)
{
    bool waiting;
    RS_TRY(rs_comm_poll(comm, TAG_ORDERS, &waiting));
    while (waiting) {
        RS_TRY(receive_order(comm, orders));
        RS_TRY(rs_comm_poll(comm, TAG_ORDERS, &waiting));
    }
    return RS_OK;
}

void rs_client_add_record(rs_text *outbox, rs_unit unit, int64_t tokens, const char *json, size_t n)
{
    record_head head = {.unit = unit, .tokens = tokens, .bytes = n};
    rs_text_append(outbox, (const char *)&head, sizeof head);
    rs_text_append(outbox, json, n);
}

rs_status rs_client_send_records(rs_comm *comm, rs_text *outbox)
{
    if (outbox->n == 0)
        return RS_OK;
    rs_status status = send_to_server(comm, (message_head){.kind = RECORDS}, outbox->data, outbox->n);
    rs_text_clear(outbox);
    return status;
}

rs_status rs_client_send_diagnostics(rs_comm *comm, const char *json, size_t n)
{
    return send_to_server(comm, (message_head){.kind = DIAGNOSTICS}, json, n);
}

rs_status rs_client_done(rs_comm *comm, rs_status result)
{
    const char *message = result == RS_OK ? "" : rs_error_message();
    return send_to_server(comm, (message_head){.kind = DONE, .status = (int32_t)result}, message, strlen(message));
}

rs_status rs_client_ask_stop(rs_comm *comm)
{
    return send_to_server(comm, (message_head){.kind = ASK_STOP}, "", 0);
}
