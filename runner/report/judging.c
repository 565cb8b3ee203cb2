#include "report/judging.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/pulse.h"
#include "report/columns.h"
#include "report/grid.h"
#include "score/sequence.h"

enum { KEPT_RESAMPLES = 4 };                   /* sets of resamples, for the numbers of samples met last */
static const double default_threshold = 0.856; /* RULER's: what Llama 2 7B scores at 4096 tokens */

/* A task at a context, and the baseline's samples there. */
typedef struct stratum {
    int task;
    int64_t context;
    rs_columns baseline; /* n 0: not yet seen */
} stratum;

/* One point of the variant at hand. */
typedef struct held {
    int64_t point; /* -1: the variant has none here; -2: it is not done */
    rs_columns own;
    rs_columns shared, against; /* where not all samples are shared: those that are, of this point and of the baseline */
    bool paired, whole;
} held;
enum { NOT_THERE = -1, NOT_DONE = -2 };

struct rs_judging {
    rs_results *results;
    double threshold;
    stratum *strata; /* [n_strata], by task, then context */
    size_t n_strata;
    held *held; /* [n_strata] */
    rs_resample_pool pool;
    int variants_cap;
};

/* --- strata --- */

static int by_stratum(const void *a, const void *b)
{
    const stratum *x = a, *y = b;
    if (x->task != y->task)
        return x->task < y->task ? -1 : 1;
    return (x->context > y->context) - (x->context < y->context);
}

static void list_strata(rs_judging *j)
{
    const rs_plan_file *plan = &j->results->plan;
    stratum *all = rs_alloc((size_t)plan->n_points, sizeof *all);
    for (int64_t i = 0; i < plan->n_points; i++)
        all[i] = (stratum){.task = plan->points[i].task, .context = plan->points[i].context};
    qsort(all, (size_t)plan->n_points, sizeof *all, by_stratum);
    for (int64_t i = 0; i < plan->n_points; i++)
        if (i == 0 || by_stratum(&all[i], &all[j->n_strata - 1]) != 0)
            all[j->n_strata++] = all[i];
    j->strata = rs_realloc(all, j->n_strata, sizeof *all);
}

static size_t find_stratum(const rs_judging *j, const rs_plan_point *point)
{
    stratum key = {.task = point->task, .context = point->context};
    const stratum *found = bsearch(&key, j->strata, j->n_strata, sizeof key, by_stratum);
    return (size_t)(found - j->strata);
}

rs_judging *rs_judging_open(rs_results *results)
{
    rs_judging *j = rs_alloc(1, sizeof *j);
    json_t *config = json_object_get(results->plan.root, "config"), *threshold = json_object_get(config, "length_threshold");
    j->results = results;
    j->pool.seed = (uint64_t)json_integer_value(json_object_get(config, "seed"));
    j->threshold = json_is_number(threshold) ? json_number_value(threshold) : default_threshold;
    list_strata(j);
    j->held = rs_alloc(j->n_strata, sizeof *j->held);
    for (size_t s = 0; s < j->n_strata; s++)
        j->held[s].point = NOT_THERE;
    return j;
}

/* --- one variant --- */

static void hold_shared(held *h, const rs_plan_task *task, const rs_sample_rows *rows, const rs_sample_rows *baseline)
{
    int64_t *a = rs_alloc((size_t)rows->n, sizeof *a), *b = rs_alloc((size_t)rows->n, sizeof *b);
    size_t n = (size_t)rs_rows_share(rows, baseline, a, b);
    h->paired = n > 0;
    h->whole = (int64_t)n == rows->n && (int64_t)n == baseline->n;
    if (h->paired && !h->whole) {
        h->shared = rs_columns_of(task, rows, a, n);
        h->against = rs_columns_of(task, baseline, b, n);
    }
    free(a);
    free(b);
}

void rs_judging_add(rs_judging *j, int64_t point, const rs_sample_rows *rows, const rs_sample_rows *baseline)
{
    const rs_plan_file *plan = &j->results->plan;
    const rs_plan_task *task = &plan->tasks[plan->points[point].task];
    size_t s = find_stratum(j, &plan->points[point]);
    held *h = &j->held[s];
    *h = (held){.point = point, .own = rs_columns_of(task, rows, NULL, (size_t)rows->n)};
    if (baseline == NULL)
        return;
    hold_shared(h, task, rows, baseline);
    rs_columns *b = &j->strata[s].baseline;
    if (h->whole && b->n == 0) {
        *b = rs_columns_of(task, baseline, NULL, (size_t)baseline->n);
        rs_columns_resample(&j->pool, &b, 1);
    }
}

static void resample_variant(rs_judging *j)
{
    rs_columns **all = rs_alloc(3 * j->n_strata, sizeof *all);
    size_t n = 0;
    for (size_t s = 0; s < j->n_strata; s++) {
        all[n++] = &j->held[s].own;
        all[n++] = &j->held[s].shared;
        all[n++] = &j->held[s].against;
    }
    rs_columns_resample(&j->pool, all, n);
    free(all);
}

static rs_cell pair_cell(const rs_judging *j, size_t s, int metric)
{
    const held *h = &j->held[s];
    const rs_plan_task *task = &j->results->plan.tasks[j->strata[s].task];
    return h->whole ? rs_columns_cell(task, metric, &h->own, &j->strata[s].baseline, s)
                    : rs_columns_cell(task, metric, &h->shared, &h->against, s);
}

/* Of samples that are whole from the first on, as those of points that may stop are. */
static rs_interval sequence_of(const rs_cell *cell, double width)
{
    double *d = rs_alloc(cell->n, sizeof *d);
    for (size_t i = 0; i < cell->n; i++)
        d[i] = cell->ya[i] - cell->yb[i];
    rs_interval interval = rs_sequence_interval(d, (int64_t)cell->n, width);
    free(d);
    return interval;
}

static void judge_point(const rs_judging *j, size_t s)
{
    const held *h = &j->held[s];
    const rs_plan_task *task = &j->results->plan.tasks[j->strata[s].task];
    rs_point_result *result = &j->results->points[h->point];
    result->evidence = rs_alloc((size_t)task->n_metrics, sizeof *result->evidence);
    for (int m = 0; m < task->n_metrics; m++) {
        rs_cell cell = pair_cell(j, s, m);
        rs_estimate difference;
        rs_judge(&cell, 1, &difference, &result->evidence[m]);
        if (task->stop_width > 0 && m == 0)
            result->sequence = sequence_of(&cell, task->stop_width);
    }
}

static void judge_variant(rs_judging *j, rs_variant *variant)
{
    rs_variant_cell *cells = rs_alloc(j->n_strata, sizeof *cells);
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t s = 0; s < j->n_strata; s++) {
        const held *h = &j->held[s];
        cells[s] = (rs_variant_cell){.task = j->strata[s].task,
                                     .context = j->strata[s].context,
                                     .text = j->results->plan.tasks[j->strata[s].task].scores_text,
                                     .there = h->point != NOT_THERE,
                                     .done = h->point >= 0,
                                     .paired = h->paired};
        if (cells[s].done)
            cells[s].level = rs_columns_cell(&j->results->plan.tasks[cells[s].task], 0, &h->own, NULL, s);
        if (cells[s].paired)
            cells[s].pair = pair_cell(j, s, 0);
    }
    rs_variant_judge(variant, cells, j->n_strata, j->threshold);
    free(cells);
}

/* The rest of the variant's points: those that are there, but not done. Returns whether any is this report's. */
static bool mark_unfinished(rs_judging *j, int64_t first, int64_t end)
{
    bool listed = false;
    for (int64_t i = first; i < end; i++) {
        held *h = &j->held[find_stratum(j, &j->results->plan.points[i])];
        listed = listed || j->results->plan.points[i].listed;
        if (h->point == NOT_THERE)
            h->point = NOT_DONE;
    }
    return listed;
}

void rs_judging_variant(rs_judging *j, int64_t first, int64_t end)
{
    rs_results *results = j->results;
    if (mark_unfinished(j, first, end)) {
        rs_variant variant = {.rope = results->plan.points[first].rope, .softmax = results->plan.points[first].softmax};
        resample_variant(j);
#pragma omp parallel for schedule(dynamic, 1)
        for (size_t s = 0; s < j->n_strata; s++)
            if (j->held[s].paired) {
                rs_pulse_tick();
                judge_point(j, s);
            }
        judge_variant(j, &variant);
        RS_PUSH(results->variants, results->n_variants, j->variants_cap, variant);
    }
    for (size_t s = 0; s < j->n_strata; s++) {
        rs_columns_free(&j->held[s].own);
        rs_columns_free(&j->held[s].shared);
        rs_columns_free(&j->held[s].against);
        j->held[s] = (held){.point = NOT_THERE};
    }
}

/* --- families --- */

/* The p of one metric a comparison, and where their adjusted ones go. */
typedef struct family {
    const double **p;
    double **adjusted;
    size_t n, cap, adjusted_cap;
} family;

static void join(family *f, rs_evidence *evidence)
{
    size_t n = f->n;
    RS_PUSH(f->p, n, f->cap, &evidence->p);
    RS_PUSH(f->adjusted, f->n, f->adjusted_cap, &evidence->p_holm);
}

static void adjust(family *f)
{
    rs_holm(f->p, f->adjusted, f->n);
    free(f->p);
    free(f->adjusted);
}

static void adjust_points(rs_results *results)
{
    family all = {0};
    for (int64_t i = 0; i < results->plan.n_points; i++)
        if (results->points[i].evidence)
            join(&all, &results->points[i].evidence[rs_grid_metric(&results->plan.tasks[results->plan.points[i].task])]);
    adjust(&all);
    for (int64_t i = 0; i < results->plan.n_points; i++)
        if (results->points[i].evidence && results->plan.tasks[results->plan.points[i].task].scores_text)
            results->points[i].evidence[0].p_holm = results->points[i].evidence[1].p_holm; /* the same test */
}

static void adjust_variants(rs_results *results, rs_span span)
{
    family all = {0};
    for (int v = 0; v < results->n_variants; v++)
        for (int i = 0; i < results->variants[v].n; i++) {
            rs_aggregate *a = &results->variants[v].items[i];
            if (a->span == span && a->has_versus)
                join(&all, &a->evidence);
        }
    adjust(&all);
}

void rs_judging_close(rs_judging *j)
{
    if (j == NULL)
        return;
    adjust_points(j->results);
    for (int span = RS_OVER_LENGTHS; span <= RS_OVER_ALL; span++)
        adjust_variants(j->results, (rs_span)span);
    for (size_t s = 0; s < j->n_strata; s++)
        rs_columns_free(&j->strata[s].baseline);
    rs_resample_pool_free(&j->pool);
    free(j->strata);
    free(j->held);
    free(j);
}
