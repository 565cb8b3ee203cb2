/* All points of a report: what each one's records say, and what they say against the baseline's. */
#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/pulse.h"
#include "report/emit.h"
#include "report/judging.h"
#include "report/results_parts.h"

typedef struct baseline {
    int task;
    int64_t context;
    bool done;
    rs_sample_rows rows;
} baseline;

typedef struct baselines {
    baseline *items; /* in the order of points */
    int64_t n, cap;
} baselines;

static rs_status read_baselines(const rs_results *results, baselines *all)
{
    for (int64_t i = 0; i < results->plan.n_points; i++) {
        const rs_plan_point *point = &results->plan.points[i];
        if (!rs_plan_file_is_baseline(&results->plan, point))
            continue;
        rs_point_result result = {0};
        RS_PUSH(all->items, all->n, all->cap, ((baseline){.task = point->task, .context = point->context}));
        baseline *b = &all->items[all->n - 1];
        RS_TRY(rs_results_rows(results, i, &b->rows, &result));
        b->done = result.state == RS_POINT_DONE;
        free(result.reason);
    }
    return RS_OK;
}

/* The baseline point of the same task and context, if it is done. Points repeat in the order of baselines, so i is a good guess. */
static const baseline *find_baseline(const baselines *all, const rs_plan_point *point, int64_t i)
{
    for (int64_t k = 0; k < all->n; k++) {
        const baseline *b = &all->items[(i + k) % all->n];
        if (b->task == point->task && b->context == point->context)
            return b->done ? b : NULL;
    }
    return NULL;
}

/* base: the baseline's, NULL where there is none to compare with. */
static void set_metrics(const rs_plan_task *task, rs_point_result *result, const rs_sample_rows *rows, const rs_sample_rows *base)
{
    for (int64_t k = 0; k < rows->n && task->counts_keys; k++)
        result->key_tokens += (int64_t)rows->items[k].n_tokens;
    for (int m = 0; m < task->n_metrics; m++) {
        int64_t n = 0;
        result->metrics[m] = rs_rows_metric(task, m, rows);
        if (base)
            result->versus[m] = rs_rows_difference(task, m, rows, base, &n);
        result->has_versus = n > 0;
    }
}

/* Whether the next point is another variant's, or there is none. */
static bool ends_variant(const rs_plan_file *plan, int64_t i)
{
    const rs_plan_point *point = &plan->points[i];
    return i + 1 == plan->n_points || point[1].rope != point->rope || point[1].softmax != point->softmax;
}

static void count_point(rs_results *results, int64_t i)
{
    rs_report_summary *summary = &results->summary;
    summary->points++;
    summary->done += results->points[i].state == RS_POINT_DONE;
    summary->failed += results->points[i].state == RS_POINT_FAILED;
    summary->missing += results->points[i].state == RS_POINT_MISSING;
}

/* {"point": ..., ... "doc_id": -- up to the number. */
static void write_columns(const rs_plan_file *plan, const rs_plan_point *point, rs_text *out)
{
    const char *label = plan->tasks[point->task].label;
    rs_text_clear(out);
    rs_text_printf(out, "{\"point\": \"%s\", \"task\": ", point->id);
    rs_text_json_string(out, label, strlen(label));
    rs_text_puts(out, ", \"rope\": ");
    rs_emit_json(rs_plan_file_rope(plan, point), out);
    rs_text_puts(out, ", \"softmax\": ");
    rs_emit_json(rs_plan_file_softmax(plan, point), out);
    rs_text_printf(out, ", \"context\": %" PRId64 ", \"doc_id\": ", point->context);
}

/* One of the points that are worked on side by side. */
typedef struct bench {
    int64_t point;
    rs_sample_rows rows;
    const rs_sample_rows *baseline;
    rs_splits splits;
    rs_text columns, samples;
    rs_status status;
    char *message; /* of a failure: errors are per thread */
} bench;

typedef struct evaluation {
    rs_results *results;
    baselines baselines;
    rs_judging *judging; /* NULL: not wanted */
    rs_sink *samples;    /* likewise */
    bench *benches;      /* [n] */
    int n, taken;
    size_t records; /* of the points taken */
} evaluation;

/* Points that wait for each other, a thread: more, and threads wait less. Records in memory at a time, roughly. */
enum { BENCHES_A_THREAD = 4, MAX_RECORDS = 1 << 17 };

static rs_status evaluate_point(const evaluation *e, bench *b)
{
    const rs_plan_point *point = &e->results->plan.points[b->point];
    rs_point_result *result = &e->results->points[b->point];
    rs_depths depths = {0};
    rs_gathering g = {
        .rows = &b->rows, .splits = &b->splits, .depths = &depths, .samples = e->samples ? &b->samples : NULL, .columns = &b->columns};
    rs_splits_clear(&b->splits);
    rs_text_clear(&b->samples);
    write_columns(&e->results->plan, point, &b->columns);
    RS_TRY(rs_results_gather(e->results, b->point, &g, result));
    if (result->state != RS_POINT_DONE)
        return RS_OK;
    for (rs_split split = 0; split < RS_N_SPLITS; split++)
        result->splits[split] = rs_splits_estimate(&b->splits, split);
    result->by_depth = rs_depths_mean(&depths);
    set_metrics(&e->results->plan.tasks[point->task], result, &b->rows, b->baseline);
    return RS_OK;
}

static void work_at(const evaluation *e, bench *b)
{
    b->status = evaluate_point(e, b);
    if (b->status == RS_OK)
        return;
    b->message = rs_strdup(rs_error_message());
    rs_error_clear();
}

/* The points taken so far, side by side, then what has an order: lines of samples.jsonl, the first failure. */
static rs_status work_off(evaluation *e)
{
#pragma omp parallel for schedule(dynamic, 1)
    for (int k = 0; k < e->taken; k++) {
        rs_pulse_tick();
        work_at(e, &e->benches[k]);
    }
    for (int k = 0; k < e->taken; k++) {
        bench *b = &e->benches[k];
        if (b->status != RS_OK)
            return rs_fail(b->status, "%s", b->message);
        if (e->samples && b->samples.n > 0)
            rs_text_append(rs_sink_text(e->samples), b->samples.data, b->samples.n);
        if (e->samples)
            RS_TRY(rs_sink_flush(e->samples));
        if (e->judging && e->results->points[b->point].state == RS_POINT_DONE)
            rs_judging_add(e->judging, b->point, &b->rows, b->baseline);
        count_point(e->results, b->point);
    }
    e->taken = 0;
    e->records = 0;
    return RS_OK;
}

static void take(evaluation *e, int64_t i)
{
    const rs_plan_file *plan = &e->results->plan;
    const baseline *found = rs_plan_file_is_baseline(plan, &plan->points[i]) ? NULL : find_baseline(&e->baselines, &plan->points[i], i);
    bench *b = &e->benches[e->taken++];
    e->records += e->results->first[i + 1] - e->results->first[i];
    b->point = i;
    b->baseline = found ? &found->rows : NULL;
}

static rs_status evaluate_all(evaluation *e)
{
    rs_results *results = e->results;
    int64_t first = 0; /* of the variant */
    results->summary = (rs_report_summary){0};
    RS_TRY(rs_journal_hold(results->journal));
    RS_TRY(read_baselines(results, &e->baselines));
    for (int64_t i = 0; i < results->plan.n_points; i++) {
        bool ends = ends_variant(&results->plan, i);
        if (results->plan.points[i].listed)
            take(e, i);
        if (e->taken == e->n || e->records >= MAX_RECORDS || ends)
            RS_TRY(work_off(e));
        if (ends && e->judging)
            rs_judging_variant(e->judging, first, i + 1);
        first = ends ? i + 1 : first;
    }
    results->summary.complete = results->summary.done == results->summary.points;
    return RS_OK;
}

rs_status rs_results_evaluate(rs_results *results, bool judge, rs_sink *samples)
{
    evaluation e = {.results = results,
                    .judging = judge ? rs_judging_open(results) : NULL,
                    .samples = samples,
                    .n = BENCHES_A_THREAD * omp_get_max_threads()};
    e.benches = rs_alloc((size_t)e.n, sizeof *e.benches);
    rs_status status = evaluate_all(&e);
    rs_judging_close(e.judging);
    for (int64_t i = 0; i < e.baselines.n; i++)
        rs_sample_rows_free(&e.baselines.items[i].rows);
    free(e.baselines.items);
    for (int k = 0; k < e.n; k++) {
        rs_sample_rows_free(&e.benches[k].rows);
        rs_splits_free(&e.benches[k].splits);
        rs_text_free(&e.benches[k].columns);
        rs_text_free(&e.benches[k].samples);
        free(e.benches[k].message);
    }
    free(e.benches);
    return status;
}
