/* The real scheduler on replicas that are only simulated, 1 to 4,096 of them, in simulated time: the same numbers on every machine.
 *
 *   schedule_sim [NAME-PART]
 *
 * prints for each load the makespan over its bound, max(work / sum of speeds, longest unit / fastest speed), which no schedule can beat;
 * how much later the last replica ends than the others do in the mean; how long replicas idle; and what rank 0 has to do: messages a
 * simulated second and memory. Exits 1 where a number is above the load's limit.
 *
 * A replica works on its units one after another (scored texts), or on all that it holds at once, each slower the more there are
 * (generation). A message takes LATENCY on its way and SERVICE at rank 0, one after another. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "engine/schedule.h"
#include "loads.h"

static const double LATENCY = 1e-3, SERVICE = 2e-5;

enum { HAND = 128 };

typedef enum event_kind { JOIN, RECORD, ARRIVAL, END_OF_UNIT, TICK } event_kind;

typedef struct event {
    double time;
    int64_t number; /* of equal times the first made goes first */
    event_kind kind;
    int replica;
    int64_t version; /* END_OF_UNIT: of the replica's work; an older one is void */
    rs_unit unit;
} event;

typedef struct held {
    rs_unit unit;
    double rest; /* seconds at speed 1 */
} held;

typedef struct machine {
    double speed, begun, idle, last_end; /* begun: when what it holds was last brought up to date */
    held *held;
    int64_t n, cap, version;
} machine;

typedef struct sim {
    const load *load;
    rs_schedule *schedule;
    machine *machines;
    double *actual; /* [n_units] by ticket: seconds at speed 1 */
    int64_t n_units, n_points;
    event *heap;
    int64_t n_heap, cap_heap, events;
    double now, server_free, over, work, longest;
    int64_t messages, twice;
} sim;

/* --- events --- */

static bool before(const event *a, const event *b)
{
    return a->time != b->time ? a->time < b->time : a->number < b->number;
}

static void at(sim *s, double time, event e)
{
    e.time = time;
    e.number = s->events++;
    RS_PUSH(s->heap, s->n_heap, s->cap_heap, e);
    int64_t i = s->n_heap - 1;
    for (; i > 0 && before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static event next(sim *s)
{
    event first = s->heap[0], last = s->heap[--s->n_heap];
    int64_t i = 0;
    for (int64_t child = 1; child < s->n_heap; child = 2 * i + 1) {
        if (child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    if (s->n_heap > 0)
        s->heap[i] = last;
    return first;
}

/* --- a replica --- */

/* Units it works on now. */
static int64_t active(const sim *s, const machine *m)
{
    return s->load->together ? m->n : m->n > 0;
}

static void advance(sim *s, machine *m)
{
    double spent = s->now - m->begun;
    for (int64_t i = 0; i < active(s, m); i++)
        m->held[i].rest -= spent * m->speed / (double)active(s, m);
    m->idle += m->n == 0 ? spent : 0;
    m->begun = s->now;
}

static int64_t soonest(const sim *s, const machine *m)
{
    int64_t found = 0;
    for (int64_t i = 1; i < active(s, m); i++)
        found = m->held[i].rest < m->held[found].rest ? i : found;
    return found;
}

static void set_end(sim *s, int replica)
{
    machine *m = &s->machines[replica];
    m->version++;
    if (m->n > 0) {
        double rest = fmax(0, m->held[soonest(s, m)].rest) * (double)active(s, m) / m->speed;
        at(s, s->now + rest, (event){.kind = END_OF_UNIT, .replica = replica, .version = m->version});
    }
}

static void take(sim *s, int replica, rs_unit unit)
{
    machine *m = &s->machines[replica];
    advance(s, m);
    RS_PUSH(m->held, m->n, m->cap, ((held){unit, s->actual[unit.ticket]}));
    if (m->n == 1 || s->load->together)
        set_end(s, replica);
}

static void end_unit(sim *s, int replica)
{
    machine *m = &s->machines[replica];
    advance(s, m);
    int64_t i = soonest(s, m);
    at(s, s->now + LATENCY, (event){.kind = RECORD, .replica = replica, .unit = m->held[i].unit});
    memmove(&m->held[i], &m->held[i + 1], (size_t)(m->n - i - 1) * sizeof *m->held);
    m->n--;
    m->last_end = s->now;
    set_end(s, replica);
}

/* --- rank 0 --- */

/* Rank 0 is done with a message that it took up at `now` or when it had time. */
static double serve(sim *s)
{
    s->messages++;
    s->server_free = fmax(s->now, s->server_free) + SERVICE;
    return s->server_free;
}

static void hand_out(sim *s, int replica)
{
    rs_unit units[HAND];
    int64_t n = HAND;
    while (n == HAND) {
        n = rs_schedule_take(s->schedule, replica, s->now, units, HAND);
        double sent = n > 0 ? serve(s) : 0;
        for (int64_t i = 0; i < n; i++)
            at(s, sent + LATENCY, (event){.kind = ARRIVAL, .replica = replica, .unit = units[i]});
    }
}

static void record(sim *s, const event *e)
{
    serve(s);
    if (!rs_schedule_done(s->schedule, e->replica, e->unit.ticket, s->now))
        s->twice++;
    if (rs_schedule_over(s->schedule))
        s->over = s->server_free;
    hand_out(s, e->replica);
}

static void tick(sim *s)
{
    for (int i = 0; i < s->load->replicas; i++)
        if (rs_schedule_idle(s->schedule, i))
            hand_out(s, i);
    at(s, s->now + fmax(0.01, 1e-4 * s->now), (event){.kind = TICK});
}

static void handle(sim *s, const event *e)
{
    s->now = e->time;
    switch (e->kind) {
    case JOIN:
        serve(s);
        rs_schedule_join(s->schedule, e->replica, s->load->tokens, s->load->units);
        hand_out(s, e->replica);
        return;
    case RECORD:
        record(s, e);
        return;
    case ARRIVAL:
        take(s, e->replica, e->unit);
        return;
    case END_OF_UNIT:
        if (e->version == s->machines[e->replica].version)
            end_unit(s, e->replica);
        return;
    case TICK:
        tick(s);
    }
}

/* --- one load --- */

static double uniform(rs_rng *rng)
{
    return ((double)rs_rng_below(rng, 1u << 30) + 0.5) / (1u << 30);
}

/* The prediction times a factor of median 1. */
static double actual_seconds(const sim *s, rs_rng *rng, double predicted)
{
    double normal = sqrt(-2 * log(uniform(rng))) * cos(2 * acos(-1.0) * uniform(rng));
    return predicted * exp(s->load->noise * normal);
}

static void add_units(sim *s, rs_rng *rng)
{
    rs_unit_cost costs[LOAD_KINDS];
    for (; s->n_points < LOAD_KINDS && s->load->kinds[s->n_points].n > 0; s->n_points++)
        costs[s->n_points] = (rs_unit_cost){s->load->kinds[s->n_points].seconds, s->load->kinds[s->n_points].tokens};
    s->schedule = rs_schedule_open(costs, s->n_points, s->load->replicas);
    for (int64_t p = 0; p < s->n_points; p++)
        s->n_units += s->load->kinds[p].n;
    s->actual = rs_alloc((size_t)s->n_units, sizeof *s->actual);
    int64_t ticket = 0;
    for (int64_t p = 0; p < s->n_points; p++)
        for (int64_t d = 0; d < s->load->kinds[p].n; d++, ticket++) {
            s->actual[ticket] = actual_seconds(s, rng, costs[p].seconds);
            s->work += s->actual[ticket];
            s->longest = fmax(s->longest, s->actual[ticket]);
            rs_schedule_add(s->schedule, &(rs_unit){.point = p, .doc_id = d}, 1);
        }
}

/* Speeds from 1 to `spread`, the extremes among them; returns their sum. */
static double start_machines(sim *s, rs_rng *rng, double *fastest)
{
    double sum = 0;
    *fastest = 0;
    s->machines = rs_alloc((size_t)s->load->replicas, sizeof *s->machines);
    for (int i = 0; i < s->load->replicas; i++) {
        double share = i == 0 ? 0 : i == s->load->replicas - 1 ? 1 : uniform(rng);
        s->machines[i].speed = pow(s->load->spread, share);
        sum += s->machines[i].speed;
        *fastest = fmax(*fastest, s->machines[i].speed);
        at(s, 1e-3 * uniform(rng), (event){.kind = JOIN, .replica = i});
    }
    if (s->load->stuck) /* the last one all but stops */
        s->machines[s->load->replicas - 1].speed = 1e-9;
    return s->load->stuck ? sum - *fastest : sum;
}

/* How much later the last replica ends than the mean of the others. */
static double lateness(const sim *s)
{
    double last = 0, sum = 0;
    int n = 0;
    for (int i = 0; i < s->load->replicas; i++) {
        double end = s->machines[i].last_end;
        if (!(end > 0))
            continue;
        last = fmax(last, end);
        sum += end;
        n++;
    }
    return n > 1 ? last / ((sum - last) / (n - 1)) - 1 : 0;
}

static double idle_share(sim *s)
{
    double idle = 0;
    for (int i = 0; i < s->load->replicas; i++) {
        advance(s, &s->machines[i]);
        idle += s->machines[i].idle;
    }
    return idle / (s->now * s->load->replicas);
}

static bool simulate(const load *l)
{
    sim s = {.load = l};
    rs_rng rng;
    rs_rng_init(&rng, 1, l->name, 0, 0);
    add_units(&s, &rng);
    double fastest, speeds = start_machines(&s, &rng, &fastest);
    at(&s, 0.01, (event){.kind = TICK});
    while (!(s.over > 0)) {
        event e = next(&s);
        handle(&s, &e);
    }
    double bound = fmax(s.work / speeds, s.longest / fastest), ratio = s.over / bound, late = lateness(&s);
    bool good = (l->most == 0 || ratio <= l->most) && (l->late == 0 || late <= l->late);
    printf("%-28s %5d %8" PRId64 " %9.1f %7.3f %6s %7.1f%% %6s %6.1f%% %9.0f %7.1f %6" PRId64 "%s\n", l->name, l->replicas, s.n_units,
           s.over, ratio, l->most > 0 ? l->most_text : "-", 100 * late, l->late > 0 ? "5%" : "-", 100 * idle_share(&s),
           (double)s.messages / s.over, (double)rs_schedule_bytes(s.schedule) / (double)s.n_units, s.twice, good ? "" : "  TOO MUCH");
    for (int i = 0; i < l->replicas; i++)
        free(s.machines[i].held);
    free(s.machines);
    free(s.heap);
    free(s.actual);
    rs_schedule_close(s.schedule);
    return good;
}

int main(int argc, char **argv)
{
    bool good = true;
    printf("%-28s %5s %8s %9s %7s %6s %8s %6s %7s %9s %7s %6s\n", "load", "repl.", "units", "seconds", "/ bound", "most", "last", "most",
           "idle", "messages", "bytes", "made");
    printf("%-28s %5s %8s %9s %7s %6s %8s %6s %7s %9s %7s %6s\n", "", "", "", "", "", "", "later", "", "", "a second", "a unit", "twice");
    for (size_t i = 0; i < n_loads; i++)
        if (argc < 2 || strstr(loads[i].name, argv[1]))
            good = simulate(&loads[i]) && good;
    return good ? 0 : 1;
}
