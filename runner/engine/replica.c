#include "engine/replica.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/pulse.h"
#include "engine/dispatch.h"
#include "engine/stop.h"
#include "report/diagnostics.h"

typedef struct replica {
    const rs_replica_setup *setup;
    rs_replica_facts *facts;
    rs_worker *worker;
    rs_text outbox; /* records of a step */
    bool told;      /* the server knows of this rank's signal */
    double drop_at; /* the group's first rank, once a stop is asked for: when the grace is over; 0: none is */
} replica;

static rs_status emit(void *context, rs_unit unit, const rs_record *record, const char *const *metrics)
{
    replica *r = context;
    rs_text json = {0};
    if (record->diagnostics) {
        rs_diagnostics_write_json(record, &json);
        RS_TRY(rs_client_send_diagnostics(r->setup->messages, json.data, json.n));
        rs_text_clear(&json);
    }
    rs_record_write_json(record, metrics, &json);
    int64_t tokens = record->tokens + (record->response ? record->n_tokens : 0);
    rs_client_add_record(&r->outbox, unit, tokens, json.data, json.n);
    rs_text_free(&json);
    r->facts->samples++;
    return RS_OK;
}

/* What the group's first rank tells the others before each step. */
typedef struct word {
    int64_t n_units;
    int32_t stop, end, status;
} word;

/* Takes orders. A replica that has nothing to compute waits for some, but no longer than a moment at a time, so that each of its ranks
 * comes to see a signal. */
static rs_status listen(replica *r, rs_orders *orders)
{
    enum { NAP = 200000, NAPS = 100 };
    RS_TRY(rs_client_take_orders(r->setup->messages, orders));
    for (int i = 0; i < NAPS && rs_worker_idle(r->worker) && orders->n == 0 && !orders->stop && !orders->over; i++) {
        rs_pulse_wait("orders", rs_comm_size(r->setup->messages));
        nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
        rs_pulse_resume();
        RS_TRY(rs_client_take_orders(r->setup->messages, orders));
    }
    if (orders->stop)
        r->drop_at = rs_clock() + r->setup->grace;
    return RS_OK;
}

/* The group's first rank listens; all of it hear the same. */
static rs_status hear(replica *r, bool *end)
{
    rs_status status = RS_OK;
    rs_comm *group = r->setup->group;
    rs_orders orders = {0};
    word w = {0};
    if (rs_comm_rank(group) == 0) {
        rs_status listened = listen(r, &orders);
        bool late = r->drop_at > 0 && rs_clock() >= r->drop_at;
        w = (word){.n_units = orders.n, .stop = r->drop_at > 0, .end = orders.over || late, .status = (int32_t)listened};
    }
    RS_TRY_OUT(rs_comm_broadcast(group, &w, sizeof w, 0));
    RS_TRY_OUT((rs_status)w.status);
    if (w.stop)
        rs_worker_wind_down(r->worker);
    *end = w.end || (w.stop && rs_worker_idle(r->worker));
    if (w.n_units > 0 && !w.stop && !*end) {
        if (orders.units == NULL)
            orders.units = rs_alloc((size_t)w.n_units, sizeof *orders.units);
        RS_TRY_OUT(rs_comm_broadcast(group, orders.units, (size_t)w.n_units * sizeof *orders.units, 0));
        rs_worker_add(r->worker, orders.units, w.n_units);
    }
out:
    free(orders.units);
    return status;
}

/* *told: the server knows of this rank's signal. */
static rs_status tell_of_signal(rs_comm *messages, bool *told)
{
    if (!rs_stop_requested() || *told)
        return RS_OK;
    *told = true;
    return rs_client_ask_stop(messages);
}

/* Orders, then a step. */
static rs_status turn(replica *r, bool *end)
{
    rs_pulse_work("taking orders");
    RS_TRY(tell_of_signal(r->setup->messages, &r->told));
    double begun = rs_clock();
    bool idle = rs_worker_idle(r->worker);
    RS_TRY(hear(r, end));
    double heard = rs_clock();
    *(idle ? &r->facts->seconds_idle : &r->facts->seconds_busy) += heard - begun;
    if (*end || rs_worker_idle(r->worker))
        return RS_OK;
    rs_status status = rs_worker_step(r->worker), sent = rs_client_send_records(r->setup->messages, &r->outbox);
    r->facts->seconds_busy += rs_clock() - heard;
    return status == RS_OK ? sent : status;
}

/* All ranks of the group decide alike what fits, so they go by the one with the least room. */
static rs_status agree_on_room(rs_comm *group, rs_worker_setup *worker)
{
    int64_t mine[2] = {worker->kv_tokens, worker->longest_kv}, *all = rs_alloc((size_t)rs_comm_size(group), sizeof mine);
    rs_status status = rs_comm_gather(group, mine, sizeof mine, all);
    for (int i = 0; i < rs_comm_size(group) && status == RS_OK; i++) {
        worker->kv_tokens = all[2 * i] < worker->kv_tokens ? all[2 * i] : worker->kv_tokens;
        worker->longest_kv = all[2 * i + 1] < worker->longest_kv ? all[2 * i + 1] : worker->longest_kv;
    }
    free(all);
    return status;
}

rs_status rs_replica_work(const rs_replica_setup *setup, rs_replica_facts *facts)
{
    rs_status status = RS_OK;
    bool end = false;
    rs_worker_setup worker = setup->worker;
    replica r = {.setup = setup, .facts = facts};
    RS_TRY(agree_on_room(setup->group, &worker));
    worker.emit = rs_comm_rank(setup->group) == 0 ? emit : NULL;
    worker.emit_context = &r;
    r.worker = rs_worker_open(&worker);
    if (rs_comm_rank(setup->group) == 0)
        RS_TRY_OUT(rs_client_join(setup->messages, worker.kv_tokens, worker.max_rows));
    while (!end)
        RS_TRY_OUT(turn(&r, &end));
out:
    rs_worker_close(r.worker);
    rs_text_free(&r.outbox);
    return status;
}

rs_status rs_replica_wait(rs_comm *messages)
{
    enum { NAP = 20000000 };
    rs_orders orders = {0};
    bool told = false;
    while (!orders.over) {
        RS_TRY(tell_of_signal(messages, &told));
        rs_pulse_wait("the end", rs_comm_size(messages));
        nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
        rs_pulse_resume();
        RS_TRY(rs_client_take_orders(messages, &orders));
    }
    return RS_OK;
}
