/* Where points with a stop rule stopped, from their records alone: what engine/looks.h decided while they came. */
#include <stdlib.h>

#include "base/memory.h"
#include "report/results_parts.h"
#include "score/sequence.h"

/* The first scores of samples that both hold, from the first sample on without a gap. Returns how many. */
static int64_t common_prefix(const rs_sample_rows *a, const rs_sample_rows *b, double *scores_a, double *scores_b)
{
    int64_t n = 0;
    while (n < a->n && n < b->n && a->items[n].doc_id == n && b->items[n].doc_id == n &&
           a->items[n].prompt_hash.high == b->items[n].prompt_hash.high && a->items[n].prompt_hash.low == b->items[n].prompt_hash.low) {
        scores_a[n] = a->items[n].scores[0];
        scores_b[n] = b->items[n].scores[0];
        n++;
    }
    return n;
}

/* The samples that a point takes: fewer than all where that settled it. */
static rs_status find_stop(const rs_results *results, int64_t point, const rs_sample_rows *baseline, int64_t *samples)
{
    const rs_plan_point *p = &results->plan.points[point];
    const rs_plan_task *task = &results->plan.tasks[p->task];
    rs_sample_rows rows = {0};
    rs_status status = rs_results_rows(results, point, &rows, NULL);
    double *a = rs_alloc((size_t)rows.n, sizeof *a), *b = rs_alloc((size_t)rows.n, sizeof *b);
    int64_t n = status == RS_OK ? common_prefix(&rows, baseline, a, b) : 0;
    int64_t stop = rs_sequence_settle(a, b, n, task->stop_width, task->stop_min, p->samples);
    *samples = stop >= 0 ? stop : p->samples;
    free(a);
    free(b);
    rs_sample_rows_free(&rows);
    return status;
}

/* All points of the baseline point's task and context; it itself takes as many samples as the one that takes most. */
static rs_status find_stops(const rs_results *results, int64_t baseline, int64_t *samples)
{
    const rs_plan_file *plan = &results->plan;
    rs_sample_rows rows = {0};
    rs_status status = rs_results_rows(results, baseline, &rows, NULL);
    int64_t most = 0;
    for (int64_t i = 0; i < plan->n_points && status == RS_OK; i++) {
        const rs_plan_point *p = &plan->points[i];
        if (i == baseline || p->task != plan->points[baseline].task || p->context != plan->points[baseline].context)
            continue;
        status = find_stop(results, i, &rows, &samples[i]);
        most = samples[i] > most ? samples[i] : most;
    }
    samples[baseline] = most > 0 ? most : plan->points[baseline].samples;
    rs_sample_rows_free(&rows);
    return status;
}

rs_status rs_results_stop(rs_results *results, bool *any)
{
    rs_plan_file *plan = &results->plan;
    int64_t *samples = rs_alloc((size_t)plan->n_points, sizeof *samples);
    rs_status status = RS_OK;
    for (int64_t i = 0; i < plan->n_points; i++)
        samples[i] = plan->points[i].samples;
    for (int64_t i = 0; i < plan->n_points && status == RS_OK; i++)
        if (plan->tasks[plan->points[i].task].stop_width > 0 && rs_plan_file_is_baseline(plan, &plan->points[i]))
            status = find_stops(results, i, samples);
    *any = false;
    for (int64_t i = 0; i < plan->n_points; i++) {
        *any = *any || samples[i] < plan->points[i].samples;
        plan->points[i].samples = samples[i];
    }
    free(samples);
    return status;
}
