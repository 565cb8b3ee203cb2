#include "engine/schedule.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

/* Units in a queue or, once handed out, in their replica's list. A unit's ticket is its index; NONE ends a list. */
enum { NONE = -1 };

typedef struct list {
    int64_t first, last;
} list;

typedef struct item {
    rs_unit unit;
    int64_t next;
    bool done, twice; /* has its record; is held by two replicas */
} item;

/* Points of one cost. */
typedef struct kind {
    rs_unit_cost cost;
    list queue;
} kind;

typedef struct replica {
    bool joined, filling;  /* filling: it was cut short by `most` */
    int64_t tokens, units; /* room that is left */
    int64_t held;
    double cost;  /* of what it holds */
    double since; /* when it began to work on what it holds: the last record, or the hand that ended its idling */
    double done, busy;
    double rate;   /* cost a second; 0: not known */
    list given;    /* what it was given and may still hold, oldest first */
    int64_t alone; /* of these, without a record and held by it alone */
} replica;

struct rs_schedule {
    kind *kinds; /* dearest first */
    int64_t n_kinds, first_kind;
    int64_t *kind_of; /* [n_points] */
    int64_t n_points;
    replica *replicas;
    int n_replicas;
    item *items;
    int64_t n_items, cap;
    int64_t n_open;    /* without a record */
    double left;       /* their cost */
    double done, busy; /* sums over replicas */
    double rates;      /* sum of those that are known */
    int n_known;
};

/* --- opening --- */

typedef struct order {
    rs_unit_cost cost;
    int64_t point;
} order;

static int dearest_first(const void *a, const void *b)
{
    const order *x = a, *y = b;
    if (x->cost.seconds != y->cost.seconds)
        return x->cost.seconds < y->cost.seconds ? 1 : -1;
    if (x->cost.tokens != y->cost.tokens)
        return x->cost.tokens < y->cost.tokens ? 1 : -1;
    return (x->point > y->point) - (x->point < y->point);
}

static void make_kinds(rs_schedule *s, const rs_unit_cost *costs)
{
    order *orders = rs_alloc((size_t)s->n_points, sizeof *orders);
    s->kinds = rs_alloc((size_t)s->n_points, sizeof *s->kinds);
    s->kind_of = rs_alloc((size_t)s->n_points, sizeof *s->kind_of);
    for (int64_t i = 0; i < s->n_points; i++)
        orders[i] = (order){costs[i], i};
    if (s->n_points)
        qsort(orders, (size_t)s->n_points, sizeof *orders, dearest_first);
    for (int64_t i = 0; i < s->n_points; i++) {
        const rs_unit_cost *cost = &orders[i].cost, *before = i ? &orders[i - 1].cost : NULL;
        assert(cost->seconds > 0);
        if (before == NULL || cost->seconds != before->seconds || cost->tokens != before->tokens)
            s->kinds[s->n_kinds++] = (kind){*cost, {NONE, NONE}};
        s->kind_of[orders[i].point] = s->n_kinds - 1;
    }
    free(orders);
    s->kinds = rs_realloc(s->kinds, (size_t)s->n_kinds + 1, sizeof *s->kinds);
}

rs_schedule *rs_schedule_open(const rs_unit_cost *costs, int64_t n_points, int replicas)
{
    rs_schedule *s = rs_alloc(1, sizeof *s);
    s->n_points = n_points;
    s->n_replicas = replicas;
    s->replicas = rs_alloc((size_t)replicas, sizeof *s->replicas);
    for (int i = 0; i < replicas; i++)
        s->replicas[i] = (replica){.given = {NONE, NONE}};
    make_kinds(s, costs);
    return s;
}

void rs_schedule_close(rs_schedule *s)
{
    if (s == NULL)
        return;
    free(s->kinds);
    free(s->kind_of);
    free(s->replicas);
    free(s->items);
    free(s);
}

/* --- lists --- */

static void push(rs_schedule *s, list *l, int64_t ticket)
{
    s->items[ticket].next = NONE;
    if (l->first == NONE)
        l->first = ticket;
    else
        s->items[l->last].next = ticket;
    l->last = ticket;
}

static int64_t pop(const rs_schedule *s, list *l)
{
    int64_t ticket = l->first;
    l->first = s->items[ticket].next;
    return ticket;
}

static kind *kind_of(const rs_schedule *s, int64_t ticket)
{
    return &s->kinds[s->kind_of[s->items[ticket].unit.point]];
}

void rs_schedule_add(rs_schedule *s, const rs_unit *units, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t ticket = s->n_items, k = s->kind_of[units[i].point];
        RS_PUSH(s->items, s->n_items, s->cap, (item){.unit = units[i]});
        s->items[ticket].unit.ticket = ticket;
        push(s, &s->kinds[k].queue, ticket);
        s->first_kind = k < s->first_kind ? k : s->first_kind;
        s->left += s->kinds[k].cost.seconds;
    }
    s->n_open += n;
}

void rs_schedule_join(rs_schedule *s, int replica_index, int64_t tokens, int64_t units)
{
    s->replicas[replica_index].joined = true;
    s->replicas[replica_index].tokens = tokens;
    s->replicas[replica_index].units = units > 0 ? units : 1;
}

/* The dearest kind of at most `limit` that has units. */
static kind *next_kind(rs_schedule *s, double limit)
{
    while (s->first_kind < s->n_kinds && s->kinds[s->first_kind].queue.first == NONE)
        s->first_kind++;
    for (int64_t k = s->first_kind; k < s->n_kinds; k++)
        if (s->kinds[k].queue.first != NONE && s->kinds[k].cost.seconds <= limit)
            return &s->kinds[k];
    return NULL;
}

/* --- rates --- */

/* The first records say little, as what is under way is not in them: they are weighed against the mean. */
static void learn(rs_schedule *s, replica *r, double cost, double now)
{
    double spent = now > r->since ? now - r->since : 0;
    r->since = now;
    r->done += cost;
    r->busy += spent;
    s->done += cost;
    s->busy += spent;
    if (!(s->busy > 0))
        return;
    s->n_known += r->rate == 0;
    s->rates -= r->rate;
    r->rate = (r->done + cost) / (r->busy + cost * s->busy / s->done);
    s->rates += r->rate;
}

/* Of all replicas, where those that have returned nothing are like the others. */
static double mean_rate(const rs_schedule *s)
{
    return s->n_known > 0 ? s->rates / s->n_known : 1;
}

static double rate_of(const rs_schedule *s, const replica *r)
{
    return r->rate > 0 ? r->rate : mean_rate(s);
}

/* What it would do of all that is not done if all ended together. */
static double share(const rs_schedule *s, const replica *r)
{
    return s->left * rate_of(s, r) / (mean_rate(s) * s->n_replicas);
}

/* Seconds until the replica will probably have done what it holds; when that is overdue, as long again as it has taken. */
static double rest_of(const rs_schedule *s, const replica *r, double now)
{
    double waited = now - r->since;
    return r->held > 0 ? fmax(r->cost / rate_of(s, r) - waited, waited) : 0;
}

/* The dearest unit for an idle replica. One above its share makes it end last: better it leaves such a unit to one that is faster by enough
 * to end it sooner after all that it holds. */
static double most_for_idle(const rs_schedule *s, const replica *r, double now)
{
    const double clearly = 1.1;
    double most = INFINITY;
    for (int i = 0; i < s->n_replicas; i++) {
        const replica *other = &s->replicas[i];
        double its = rate_of(s, other), mine = rate_of(s, r);
        if (other->joined && its > clearly * mine)
            most = fmin(most, rest_of(s, other, now) / (1 / mine - 1 / its));
    }
    return fmax(most, share(s, r));
}

/* What the replica is to take next; NULL: nothing now. */
static kind *next_for(rs_schedule *s, const replica *r, double now)
{
    kind *k = next_kind(s, INFINITY);
    if (k == NULL || r->units == 0)
        return NULL;
    if (r->held == 0)
        return k->cost.seconds <= share(s, r) ? k : next_kind(s, most_for_idle(s, r, now));
    return k->cost.tokens <= r->tokens && r->cost + k->cost.seconds <= share(s, r) / 2 ? k : NULL;
}

/* --- hands --- */

static void give(rs_schedule *s, replica *r, int64_t ticket, double now)
{
    const rs_unit_cost *cost = &kind_of(s, ticket)->cost;
    if (r->held == 0)
        r->since = now;
    r->held++;
    r->cost += cost->seconds;
    r->tokens -= cost->tokens;
    r->units--;
}

/* The last given of a replica's units that it holds alone. */
static int64_t last_alone(const rs_schedule *s, const replica *r)
{
    int64_t found = NONE;
    for (int64_t i = r->given.first; i != NONE; i = s->items[i].next)
        if (!s->items[i].done && !s->items[i].twice)
            found = i;
    return found;
}

/* The replica that will probably end last of those that hold a unit alone, and when; NULL: none does. */
static replica *latest(const rs_schedule *s, double now, double *rest)
{
    replica *found = NULL;
    *rest = 0;
    for (int i = 0; i < s->n_replicas; i++) {
        replica *r = &s->replicas[i];
        double its = r->alone > 0 ? rest_of(s, r, now) : 0;
        if (its > *rest) {
            *rest = its;
            found = r;
        }
    }
    return found;
}

static int64_t take_late(rs_schedule *s, replica *r, double now, rs_unit *units)
{
    double rest;
    replica *holder = s->n_known > 0 ? latest(s, now, &rest) : NULL;
    int64_t ticket = holder ? last_alone(s, holder) : NONE;
    if (ticket == NONE || kind_of(s, ticket)->cost.seconds / rate_of(s, r) >= rest)
        return 0;
    s->items[ticket].twice = true;
    holder->alone--;
    give(s, r, ticket, now);
    units[0] = s->items[ticket].unit;
    return 1;
}

/* A replica is filled up when half of what it may hold is done, so that hands are few. */
static int64_t take_queued(rs_schedule *s, replica *r, double now, rs_unit *units, int64_t most)
{
    int64_t n = 0;
    kind *k = NULL;
    if (r->held > 0 && !r->filling && r->cost > share(s, r) / 4)
        return 0;
    while (n < most && (k = next_for(s, r, now)) != NULL) {
        int64_t ticket = pop(s, &k->queue);
        give(s, r, ticket, now);
        push(s, &r->given, ticket);
        r->alone++;
        units[n++] = s->items[ticket].unit;
    }
    r->filling = n == most;
    return n;
}

int64_t rs_schedule_take(rs_schedule *s, int replica_index, double now, rs_unit *units, int64_t most)
{
    replica *r = &s->replicas[replica_index];
    if (!r->joined || most < 1)
        return 0;
    int64_t n = take_queued(s, r, now, units, most);
    if (n == 0 && r->held == 0 && next_kind(s, INFINITY) == NULL)
        n = take_late(s, r, now, units);
    return n;
}

bool rs_schedule_done(rs_schedule *s, int replica_index, int64_t ticket, double now)
{
    replica *r = &s->replicas[replica_index];
    item *unit = &s->items[ticket];
    const rs_unit_cost *cost = &kind_of(s, ticket)->cost;
    bool first = !unit->done;
    unit->done = true;
    r->held--;
    r->cost = r->held > 0 ? r->cost - cost->seconds : 0; /* sums of doubles need not come back to 0 */
    r->tokens += cost->tokens;
    r->units++;
    learn(s, r, cost->seconds, now);
    if (first && !unit->twice)
        r->alone--;
    while (r->given.first != NONE && s->items[r->given.first].done)
        (void)pop(s, &r->given);
    s->n_open -= first;
    if (first)
        s->left = s->n_open > 0 ? s->left - cost->seconds : 0;
    return first;
}

/* --- questions --- */

bool rs_schedule_idle(const rs_schedule *s, int replica_index)
{
    return s->replicas[replica_index].joined && s->replicas[replica_index].held == 0;
}

bool rs_schedule_over(const rs_schedule *s)
{
    return s->n_open == 0;
}

double rs_schedule_left(const rs_schedule *s)
{
    return s->left;
}

int64_t rs_schedule_bytes(const rs_schedule *s)
{
    return s->cap * (int64_t)sizeof *s->items + s->n_replicas * (int64_t)sizeof *s->replicas +
           (s->n_kinds + 1) * (int64_t)sizeof *s->kinds + s->n_points * (int64_t)sizeof *s->kind_of + (int64_t)sizeof *s;
}
