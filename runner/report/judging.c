#include "report/judging.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/grid.h"
#include "score/resample.h"

enum { KEPT_RESAMPLES = 4 };                   /* sets of resamples, for the numbers of samples met last */
static const double default_threshold = 0.856; /* RULER's: what Llama 2 7B scores at 4096 tokens */

/* Some samples' values as columns: a column a metric, or nll with the tokens as weights; and each column's value in every resample. */
typedef struct columns {
    size_t n;
    int count;
    double *y[RS_MAX_METRICS], *w; /* w NULL: a mean */
    double *replicates[RS_MAX_METRICS];
} columns;

/* A task at a context, and the baseline's samples there. */
typedef struct stratum {
    int task;
    int64_t context;
    columns baseline; /* n 0: not yet seen */
} stratum;

/* One point of the variant at hand. */
typedef struct held {
    int64_t point; /* -1: the variant has none here; -2: it is not done */
    columns own;
    columns shared, against; /* where not all samples are shared: those that are, of this point and of the baseline */
    bool paired, whole;
} held;
enum { NOT_THERE = -1, NOT_DONE = -2 };

struct rs_judging {
    rs_results *results;
    uint64_t seed;
    double threshold;
    stratum *strata; /* [n_strata], by task, then context */
    size_t n_strata;
    held *held; /* [n_strata] */
    rs_resample *resamples[KEPT_RESAMPLES];
    size_t sizes[KEPT_RESAMPLES];
    int next; /* whose place the next set of resamples takes */
    int variants_cap;
};

/* --- columns --- */

static columns columns_of(const rs_plan_task *task, const rs_sample_rows *rows, const int64_t *chosen, size_t n)
{
    columns c = {.n = n, .count = task->scores_text ? 1 : task->n_metrics};
    if (task->scores_text)
        c.w = rs_alloc(n, sizeof *c.w);
    for (int k = 0; k < c.count; k++) {
        c.y[k] = rs_alloc(n, sizeof *c.y[k]);
        c.replicates[k] = rs_alloc(RS_RESAMPLES, sizeof *c.replicates[k]);
    }
    for (size_t i = 0; i < n; i++) {
        const rs_sample_row *row = &rows->items[chosen ? chosen[i] : (int64_t)i];
        for (int k = 0; k < c.count; k++)
            c.y[k][i] = task->scores_text ? row->nll : row->scores[k];
        if (c.w)
            c.w[i] = row->n_tokens;
    }
    return c;
}

static void columns_free(columns *c)
{
    for (int k = 0; k < c->count; k++) {
        free(c->y[k]);
        free(c->replicates[k]);
    }
    free(c->w);
    *c = (columns){0};
}

/* --- resampling --- */

static const rs_resample *resample_of(rs_judging *j, size_t n)
{
    for (int i = 0; i < KEPT_RESAMPLES; i++)
        if (j->resamples[i] && j->sizes[i] == n)
            return j->resamples[i];
    int i = j->next++ % KEPT_RESAMPLES;
    rs_resample_close(j->resamples[i]);
    j->sizes[i] = n;
    return j->resamples[i] = rs_resample_open(j->seed, n);
}

/* Columns that wait for their resampled values. */
typedef struct waiting {
    rs_column *items;
    size_t *n; /* samples of each */
    size_t count, cap, n_cap;
} waiting;

static void wait_for(waiting *w, const columns *c)
{
    size_t count = w->count;
    for (int k = 0; k < c->count; k++) {
        RS_PUSH(w->n, count, w->n_cap, c->n);
        RS_PUSH(w->items, w->count, w->cap, ((rs_column){c->y[k], c->w, c->replicates[k]}));
    }
}

/* Those of as many samples go together. */
static void resample_all(rs_judging *j, waiting *w)
{
    for (size_t from = 0; from < w->count;) {
        size_t end = from, n = w->n[from];
        for (size_t i = from; i < w->count; i++) {
            if (w->n[i] != n)
                continue;
            rs_column column = w->items[i];
            w->items[i] = w->items[end];
            w->n[i] = w->n[end];
            w->items[end] = column;
            w->n[end++] = n;
        }
        rs_resample_means(resample_of(j, n), w->items + from, end - from);
        from = end;
    }
    free(w->items);
    free(w->n);
}

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
    j->seed = (uint64_t)json_integer_value(json_object_get(config, "seed"));
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
        h->shared = columns_of(task, rows, a, n);
        h->against = columns_of(task, baseline, b, n);
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
    *h = (held){.point = point, .own = columns_of(task, rows, NULL, (size_t)rows->n)};
    if (baseline == NULL)
        return;
    hold_shared(h, task, rows, baseline);
    columns *b = &j->strata[s].baseline;
    if (h->whole && b->n == 0) {
        *b = columns_of(task, baseline, NULL, (size_t)baseline->n);
        waiting w = {0};
        wait_for(&w, b);
        resample_all(j, &w);
    }
}

static void resample_variant(rs_judging *j)
{
    waiting w = {0};
    for (size_t s = 0; s < j->n_strata; s++) {
        const held *h = &j->held[s];
        if (h->point < 0)
            continue;
        wait_for(&w, &h->own);
        wait_for(&w, &h->shared);
        wait_for(&w, &h->against);
    }
    resample_all(j, &w);
}

static rs_cell level_cell(const rs_judging *j, size_t s, int column)
{
    const columns *a = &j->held[s].own;
    rs_cell cell = {.ya = a->y[column], .wa = a->w, .ra = a->replicates[column], .n = a->n, .number = s, .weight = 1};
    rs_cell_measure(&cell);
    return cell;
}

static rs_cell pair_cell(const rs_judging *j, size_t s, int column, bool exponential)
{
    const held *h = &j->held[s];
    const columns *a = h->whole ? &h->own : &h->shared, *b = h->whole ? &j->strata[s].baseline : &h->against;
    rs_cell cell = {.ya = a->y[column],
                    .wa = a->w,
                    .yb = b->y[column],
                    .wb = b->w,
                    .ra = a->replicates[column],
                    .rb = b->replicates[column],
                    .n = a->n,
                    .exponential = exponential,
                    .number = s,
                    .weight = 1};
    rs_cell_measure(&cell);
    return cell;
}

static void judge_point(const rs_judging *j, size_t s)
{
    const held *h = &j->held[s];
    const rs_plan_task *task = &j->results->plan.tasks[j->strata[s].task];
    rs_point_result *result = &j->results->points[h->point];
    result->evidence = rs_alloc((size_t)task->n_metrics, sizeof *result->evidence);
    for (int m = 0; m < task->n_metrics; m++) {
        rs_cell cell = pair_cell(j, s, task->scores_text ? 0 : m, task->scores_text && m == 1);
        rs_estimate difference;
        rs_judge(&cell, 1, &difference, &result->evidence[m]);
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
            cells[s].level = level_cell(j, s, 0);
        if (cells[s].paired)
            cells[s].pair = pair_cell(j, s, 0, false);
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
            if (j->held[s].paired)
                judge_point(j, s);
        judge_variant(j, &variant);
        RS_PUSH(results->variants, results->n_variants, j->variants_cap, variant);
    }
    for (size_t s = 0; s < j->n_strata; s++) {
        columns_free(&j->held[s].own);
        columns_free(&j->held[s].shared);
        columns_free(&j->held[s].against);
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
        columns_free(&j->strata[s].baseline);
    for (int i = 0; i < KEPT_RESAMPLES; i++)
        rs_resample_close(j->resamples[i]);
    free(j->strata);
    free(j->held);
    free(j);
}
