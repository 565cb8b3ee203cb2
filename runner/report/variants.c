#include "report/variants.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/pulse.h"

/* NoLiMa's: the share of the shortest length's score that a length must keep. */
static const double kept_share = 0.85;

/* The cells of one aggregate, sorted by context, and what they are weighted with. */
typedef struct selection {
    const rs_variant_cell **cells;
    rs_cell *level, *pair;
    size_t n;
    int64_t *lengths; /* the different contexts, rising */
    size_t n_lengths;
    bool done, paired;
} selection;

static bool belongs(const rs_aggregate *a, const rs_variant_cell *c)
{
    return c->there && c->text == a->text && (a->span != RS_OVER_LENGTHS || c->task == a->task) &&
           (a->span != RS_OVER_TASKS || c->context == a->context);
}

static int by_context(const void *a, const void *b)
{
    const rs_variant_cell *x = *(const rs_variant_cell *const *)a, *y = *(const rs_variant_cell *const *)b;
    if (x->context != y->context)
        return x->context < y->context ? -1 : 1;
    return (x->task > y->task) - (x->task < y->task);
}

static selection select_cells(const rs_aggregate *a, const rs_variant_cell *cells, size_t n)
{
    selection s = {.cells = rs_alloc(n, sizeof *s.cells),
                   .level = rs_alloc(n, sizeof *s.level),
                   .pair = rs_alloc(n, sizeof *s.pair),
                   .lengths = rs_alloc(n, sizeof *s.lengths),
                   .done = true,
                   .paired = true};
    for (size_t i = 0; i < n; i++)
        if (belongs(a, &cells[i]))
            s.cells[s.n++] = &cells[i];
    qsort(s.cells, s.n, sizeof *s.cells, by_context);
    for (size_t k = 0; k < s.n; k++) {
        s.done = s.done && s.cells[k]->done;
        s.paired = s.paired && s.cells[k]->paired;
        s.level[k] = s.cells[k]->level;
        s.pair[k] = s.cells[k]->pair;
        if (k == 0 || s.cells[k]->context != s.cells[k - 1]->context)
            s.lengths[s.n_lengths++] = s.cells[k]->context;
    }
    return s;
}

static void selection_free(selection *s)
{
    free(s->cells);
    free(s->level);
    free(s->pair);
    free(s->lengths);
}

/* How many cells from `first` on have its context. */
static size_t same_length(const selection *s, size_t first)
{
    size_t n = 1;
    while (first + n < s->n && s->cells[first + n]->context == s->cells[first]->context)
        n++;
    return n;
}

static void weigh(selection *s, size_t k, double weight)
{
    s->level[k].weight = s->pair[k].weight = weight;
}

/* Each length's share of the area, dealt evenly to the tasks there. */
static void weigh_area(selection *s)
{
    double *weights = rs_alloc(s->n_lengths, sizeof *weights);
    rs_curve_weights(s->lengths, s->n_lengths, weights);
    for (size_t first = 0, length = 0, n; first < s->n; first += n, length++) {
        n = same_length(s, first);
        for (size_t k = first; k < first + n; k++)
            weigh(s, k, weights[length] / (double)n);
    }
    free(weights);
}

static void judge_reaches(rs_aggregate *a, selection *s, double threshold)
{
    double *values = rs_alloc(s->n_lengths, sizeof *values), **replicates = rs_alloc(s->n_lengths, sizeof *replicates);
    for (size_t first = 0, length = 0, n; first < s->n; first += n, length++) {
        n = same_length(s, first);
        rs_sum sum = {0};
        for (size_t k = first; k < first + n; k++) {
            weigh(s, k, 1 / (double)n);
            rs_sum_add(&sum, s->level[k].value.value);
        }
        values[length] = rs_sum_value(&sum) / (double)n;
        replicates[length] = rs_alloc(RS_RESAMPLES, sizeof **replicates);
        rs_sum_replicates(s->level + first, n, replicates[length]);
    }
    const double *const *curves = (const double *const *)replicates;
    a->effective = rs_curve_reach(s->lengths, values, curves, s->n_lengths, threshold, false);
    a->relative = rs_curve_reach(s->lengths, values, curves, s->n_lengths, kept_share, true);
    for (size_t length = 0; length < s->n_lengths; length++)
        free(replicates[length]);
    free(replicates);
    free(values);
}

static void judge(rs_aggregate *a, const rs_variant_cell *cells, size_t n, double threshold)
{
    rs_evidence evidence;
    selection s = select_cells(a, cells, n);
    a->points = (int64_t)s.n;
    a->done = s.done;
    a->has_versus = s.done && s.paired;
    a->has_curve = s.done && s.n_lengths > 1;
    for (size_t k = 0; k < s.n; k++)
        weigh(&s, k, 1 / (double)s.n);
    if (a->done)
        a->value = rs_sum_values(s.level, s.n);
    if (a->has_versus)
        rs_judge(s.pair, s.n, &a->versus, &a->evidence);
    if (a->has_curve) {
        weigh_area(&s);
        rs_judge(s.level, s.n, &a->area, &evidence);
        a->area_interval = evidence.interval;
        if (a->has_versus)
            rs_judge(s.pair, s.n, &a->area_versus, &evidence);
        a->area_versus_interval = evidence.interval;
    }
    if (a->has_curve && !a->text)
        judge_reaches(a, &s, threshold);
    selection_free(&s);
}

/* An aggregate for each task, each context and all, as far as cells belong to it. */
static void list(rs_variant *variant, const rs_variant_cell *cells, size_t n)
{
    int cap = 0;
    for (int span = RS_OVER_LENGTHS; span <= RS_OVER_ALL; span++)
        for (size_t i = 0; i < n; i++) {
            rs_aggregate a = {.span = (rs_span)span,
                              .task = span == RS_OVER_LENGTHS ? cells[i].task : -1,
                              .context = span == RS_OVER_TASKS ? cells[i].context : 0,
                              .text = cells[i].text};
            bool known = !cells[i].there;
            for (int k = 0; k < variant->n && !known; k++) {
                const rs_aggregate *b = &variant->items[k];
                known = b->span == a.span && b->task == a.task && b->context == a.context && b->text == a.text;
            }
            if (!known)
                RS_PUSH(variant->items, variant->n, cap, a);
        }
}

static int by_place(const void *a, const void *b)
{
    const rs_aggregate *x = a, *y = b;
    if (x->span != y->span)
        return x->span < y->span ? -1 : 1;
    if (x->task != y->task)
        return x->task < y->task ? -1 : 1;
    if (x->context != y->context)
        return x->context < y->context ? -1 : 1;
    return (x->text > y->text) - (x->text < y->text);
}

void rs_variant_judge(rs_variant *variant, const rs_variant_cell *cells, size_t n, double threshold)
{
    list(variant, cells, n);
    qsort(variant->items, (size_t)variant->n, sizeof *variant->items, by_place);
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < variant->n; i++) {
        rs_pulse_tick();
        judge(&variant->items[i], cells, n, threshold);
    }
}
