#include "engine/looks.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/record.h"
#include "score/sequence.h"

/* A point with a rule. */
typedef struct look {
    double *scores; /* [samples]; NaN: no record yet. NULL for a point without a rule, or another shard's */
    int64_t prefix; /* samples from the first on that ran */
    bool failed;    /* the next one cannot run */
    int64_t wanted;
    bool settled; /* `wanted` is final */
} look;

struct rs_looks {
    const rs_plan *plan;
    look *points; /* [plan->n_points] */
    int64_t pending;
};

static const double NOT_ABLE = -1; /* in place of a score */

static int64_t cells_of(const rs_plan *plan)
{
    return (int64_t)plan->config->n_contexts * plan->config->n_tasks;
}

static void extend_prefix(look *l, int64_t samples)
{
    while (l->prefix < samples && l->scores[l->prefix] >= 0)
        l->prefix++;
    l->failed = l->prefix < samples && l->scores[l->prefix] == NOT_ABLE;
}

/* A point of the plan against its baseline's: where it stops, or the look that it goes on to. Where a sample of either cannot run, no more
 * looks are possible, and the point is left to take all of its samples. */
static void settle(rs_looks *looks, int64_t point)
{
    const rs_point *p = &looks->plan->points[point];
    look *l = &looks->points[point];
    const look *b = &looks->points[rs_plan_baseline_of(looks->plan, point)];
    int64_t n = l->prefix < b->prefix ? l->prefix : b->prefix;
    bool ends = (l->failed && l->prefix == n) || (b->failed && b->prefix == n);
    if (l->settled || (n < l->wanted && !ends))
        return;
    rs_stop_rule rule = rs_plan_stop_rule(looks->plan, p);
    int64_t stop = rs_sequence_settle(l->scores, b->scores, n, rule.width, rule.least, p->n_samples);
    l->settled = stop >= 0 || ends;
    l->wanted = stop >= 0 ? stop : p->n_samples;
    for (int64_t size = 0; !l->settled && size <= n;)
        l->wanted = size = rs_sequence_look(size, rule.least, p->n_samples);
    looks->pending -= l->settled;
}

/* The baseline's point wants what the most demanding of its points wants; all, where it has none. */
static void follow(rs_looks *looks, int64_t baseline)
{
    int64_t most = 0;
    for (int64_t i = baseline % cells_of(looks->plan); i < looks->plan->n_points; i += cells_of(looks->plan))
        if (i != baseline && looks->points[i].wanted > most)
            most = looks->points[i].wanted;
    looks->points[baseline].wanted = most > 0 ? most : looks->plan->points[baseline].n_samples;
}

/* All points of a baseline's task and context. */
static void settle_all(rs_looks *looks, int64_t baseline)
{
    for (int64_t i = baseline % cells_of(looks->plan); i < looks->plan->n_points; i += cells_of(looks->plan))
        if (i != baseline)
            settle(looks, i);
}

/* --- records --- */

static rs_status take_score(look *l, const rs_plan *plan, int64_t point, const char *json, size_t bytes)
{
    rs_record record;
    RS_TRY(rs_record_parse(json, bytes, &record));
    if (record.doc_id >= 0 && record.doc_id < plan->points[point].n_samples) {
        bool able = record.error == NULL && record.n_scores > 0 && record.scores[0] >= 0;
        l->scores[record.doc_id] = able ? record.scores[0] : NOT_ABLE;
    }
    rs_record_free(&record);
    extend_prefix(l, plan->points[point].n_samples);
    return RS_OK;
}

static rs_status read_journal(rs_looks *looks, const rs_journal *journal, int64_t point)
{
    const rs_point *p = &looks->plan->points[point];
    for (int64_t d = 0; d < p->n_samples; d++) {
        const rs_journal_entry *entry = rs_journal_find(journal, rs_plan_record_id(p, d));
        const char *json;
        if (entry == NULL)
            continue;
        RS_TRY(rs_journal_text(journal, entry, &json));
        RS_TRY(take_score(&looks->points[point], looks->plan, point, json, entry->bytes));
    }
    return RS_OK;
}

static rs_status open_point(rs_looks *looks, const rs_journal *journal, int64_t point)
{
    const rs_plan *plan = looks->plan;
    const rs_point *p = &plan->points[point];
    look *l = &looks->points[point];
    rs_stop_rule rule = rs_plan_stop_rule(plan, p);
    l->wanted = p->n_samples;
    l->settled = true;
    if (!(rule.width > 0) || p->shard != plan->shard)
        return RS_OK;
    l->scores = rs_alloc((size_t)p->n_samples, sizeof *l->scores);
    for (int64_t d = 0; d < p->n_samples; d++)
        l->scores[d] = NAN;
    if (point != rs_plan_baseline_of(plan, point)) {
        l->wanted = rs_sequence_look(0, rule.least, p->n_samples);
        l->settled = false;
        looks->pending++;
    }
    return read_journal(looks, journal, point);
}

rs_status rs_looks_open(const rs_plan *plan, const rs_journal *journal, rs_looks **out)
{
    rs_status status = RS_OK;
    rs_looks *looks = rs_alloc(1, sizeof *looks);
    *out = NULL;
    looks->plan = plan;
    looks->points = rs_alloc((size_t)plan->n_points, sizeof *looks->points);
    for (int64_t i = 0; i < plan->n_points; i++)
        RS_TRY_OUT(open_point(looks, journal, i));
    for (int64_t i = 0; i < plan->n_points; i++)
        if (looks->points[i].scores && i == rs_plan_baseline_of(plan, i)) {
            settle_all(looks, i);
            follow(looks, i);
        }
    *out = looks;
out:
    if (status != RS_OK)
        rs_looks_close(looks);
    return status;
}

void rs_looks_close(rs_looks *looks)
{
    if (looks == NULL)
        return;
    for (int64_t i = 0; i < looks->plan->n_points; i++)
        free(looks->points[i].scores);
    free(looks->points);
    free(looks);
}

int64_t rs_looks_wanted(const rs_looks *looks, int64_t point)
{
    return looks->points[point].wanted;
}

bool rs_looks_pending(const rs_looks *looks)
{
    return looks->pending > 0;
}

/* --- new units --- */

typedef struct units {
    rs_unit **items;
    int64_t *n, *cap;
} units;

static void want(const rs_looks *looks, int64_t point, int64_t before, units u)
{
    const look *l = &looks->points[point];
    for (int64_t d = before; d < l->wanted; d++)
        if (isnan(l->scores[d]))
            RS_PUSH(*u.items, *u.n, *u.cap, ((rs_unit){.point = point, .doc_id = d}));
}

static void settle_and_want(rs_looks *looks, int64_t point, units u)
{
    int64_t before = looks->points[point].wanted;
    settle(looks, point);
    want(looks, point, before, u);
}

rs_status rs_looks_take(rs_looks *looks, int64_t point, const char *json, size_t bytes, rs_unit **items, int64_t *n, int64_t *cap)
{
    units u = {items, n, cap};
    int64_t baseline = rs_plan_baseline_of(looks->plan, point), before = looks->points[baseline].wanted;
    if (looks->points[point].scores == NULL)
        return RS_OK;
    RS_TRY(take_score(&looks->points[point], looks->plan, point, json, bytes));
    if (point != baseline)
        settle_and_want(looks, point, u);
    for (int64_t i = point % cells_of(looks->plan); i < looks->plan->n_points && point == baseline; i += cells_of(looks->plan))
        if (i != baseline)
            settle_and_want(looks, i, u);
    follow(looks, baseline);
    want(looks, baseline, before, u);
    return RS_OK;
}
