#include "report/results.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "report/emit.h"
#include "report/judging.h"

const char *rs_point_state_name(rs_point_state state)
{
    static const char *const names[] = {"done", "failed", "missing"};
    return names[state];
}

/* --- entries by point --- */

static int by_key(const void *a, const void *b, void *context)
{
    const rs_plan_point *points = context;
    uint64_t x = points[*(const uint32_t *)a].key, y = points[*(const uint32_t *)b].key;
    return (x > y) - (x < y);
}

/* Point of the plan with this key, -1 for none. sorted: points' indices by key. */
static int64_t find_point(const rs_plan_file *plan, const uint32_t *sorted, uint64_t key)
{
    int64_t low = 0, high = plan->n_points;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (plan->points[sorted[middle]].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < plan->n_points && plan->points[sorted[low]].key == key ? (int64_t)sorted[low] : -1;
}

static int by_doc_id(const void *a, const void *b, void *context)
{
    const rs_journal *journal = context;
    int64_t x = rs_journal_at(journal, *(const uint32_t *)a)->doc_id, y = rs_journal_at(journal, *(const uint32_t *)b)->doc_id;
    return (x > y) - (x < y);
}

static bool has_sample(const rs_plan_point *point, int64_t doc_id)
{
    int64_t extra = doc_id - RS_EXTRA_DOC_ID;
    return doc_id >= 0 && (doc_id < point->samples || (extra >= 0 && extra < point->extra));
}

/* Point of each entry; -1: of none in the plan, or beyond the point's samples (an earlier config made it). */
static int32_t *place_entries(const rs_results *results)
{
    const rs_plan_file *plan = &results->plan;
    size_t n = rs_journal_count(results->journal);
    int32_t *place = rs_alloc(n, sizeof *place);
    uint32_t *sorted = rs_alloc((size_t)plan->n_points, sizeof *sorted);
    for (int64_t i = 0; i < plan->n_points; i++)
        sorted[i] = (uint32_t)i;
    qsort_r(sorted, (size_t)plan->n_points, sizeof *sorted, by_key, plan->points);
    uint64_t key = 0;
    int64_t point = -1;
    for (size_t i = 0; i < n; i++) {
        const rs_journal_entry *entry = rs_journal_at(results->journal, i);
        if (i == 0 || entry->point != key)
            point = find_point(plan, sorted, entry->point);
        key = entry->point;
        place[i] = point >= 0 && has_sample(&plan->points[point], entry->doc_id) ? (int32_t)point : -1;
    }
    free(sorted);
    return place;
}

static bool in_order(const rs_results *results, size_t from, size_t to)
{
    for (size_t i = from + 1; i < to; i++)
        if (rs_journal_at(results->journal, results->order[i - 1])->doc_id > rs_journal_at(results->journal, results->order[i])->doc_id)
            return false;
    return true;
}

static void sort_entries(rs_results *results)
{
    size_t n = rs_journal_count(results->journal), n_points = (size_t)results->plan.n_points;
    int32_t *place = place_entries(results);
    size_t *first = rs_alloc(n_points + 1, sizeof *first), *next = rs_alloc(n_points + 1, sizeof *next);
    for (size_t i = 0; i < n; i++)
        if (place[i] >= 0)
            first[place[i] + 1]++;
    for (size_t p = 0; p < n_points; p++)
        first[p + 1] += first[p];
    memcpy(next, first, (n_points + 1) * sizeof *next);
    results->first = first;
    results->order = rs_alloc(first[n_points], sizeof *results->order);
    for (size_t i = 0; i < n; i++)
        if (place[i] >= 0)
            results->order[next[place[i]]++] = (uint32_t)i;
    for (size_t p = 0; p < n_points; p++)
        if (!in_order(results, first[p], first[p + 1]))
            qsort_r(results->order + first[p], first[p + 1] - first[p], sizeof *results->order, by_doc_id,
                    (void *)(size_t)results->journal);
    free(next);
    free(place);
}

void rs_results_free(rs_results *results)
{
    if (results == NULL)
        return;
    for (int64_t i = 0; i < results->plan.n_points; i++) {
        free(results->points[i].reason);
        free(results->points[i].evidence);
        free(results->points[i].by_position);
        free(results->points[i].by_depth);
    }
    for (int64_t i = 0; i < results->n_keys; i++)
        rs_key_tokens_free(&results->keys[i].tokens);
    free(results->keys);
    for (int i = 0; i < results->n_variants; i++)
        free(results->variants[i].items);
    free(results->variants);
    free(results->points);
    free(results->order);
    free(results->first);
    rs_plan_file_free(&results->plan);
    free(results);
}

/* --- one point --- */

/* Receives each record of a point, in order of doc_id. */
typedef rs_status (*visit)(void *context, const rs_journal_entry *entry, const char *json, const rs_record *record);

static rs_status each_record(const rs_results *results, int64_t point, visit call, void *context)
{
    for (size_t i = results->first[point]; i < results->first[point + 1]; i++) {
        const rs_journal_entry *entry = rs_journal_at(results->journal, results->order[i]);
        const char *json;
        rs_record record;
        RS_TRY(rs_journal_text(results->journal, entry, &json));
        RS_TRY(rs_record_parse(json, entry->bytes, &record));
        rs_status status = call(context, entry, json, &record);
        rs_record_free(&record);
        RS_TRY(status);
    }
    return RS_OK;
}

/* --- key tokens --- */

static const rs_key_tokens *find_keys(const rs_results *results, const rs_plan_point *point)
{
    for (int64_t i = 0; i < results->n_keys; i++)
        if (results->keys[i].task == point->task && results->keys[i].context == point->context)
            return &results->keys[i].tokens;
    return NULL;
}

typedef struct key_gathering {
    rs_key_tokens *tokens;
    int64_t n; /* records that ran */
} key_gathering;

static rs_status gather_keys(void *context, const rs_journal_entry *entry, const char *json, const rs_record *record)
{
    key_gathering *g = context;
    (void)entry;
    (void)json;
    if (record->error)
        return RS_OK;
    g->n++;
    rs_key_tokens_add(g->tokens, record);
    return RS_OK;
}

/* Once for all points: each counts the same tokens. */
static rs_status read_keys(rs_results *results)
{
    rs_status status = RS_OK;
    for (int64_t i = 0; i < results->plan.n_points && status == RS_OK; i++) {
        const rs_plan_point *point = &results->plan.points[i];
        if (!results->plan.tasks[point->task].counts_keys || !rs_plan_file_is_baseline(&results->plan, point))
            continue;
        rs_point_keys keys = {.task = point->task, .context = point->context};
        rs_key_tokens_init(&keys.tokens, point->samples, point->extra);
        key_gathering g = {.tokens = &keys.tokens};
        status = each_record(results, i, gather_keys, &g);
        if (status == RS_OK && g.n == point->samples + point->extra)
            RS_PUSH(results->keys, results->n_keys, results->keys_cap, keys);
        else
            rs_key_tokens_free(&keys.tokens);
    }
    return status;
}

rs_status rs_results_open(const rs_journal *journal, rs_results **out)
{
    rs_results *results = rs_alloc(1, sizeof *results);
    char *path = rs_path_join(rs_journal_folder(journal), "plan.json");
    results->journal = journal;
    rs_status status = rs_plan_file_parse(rs_journal_plan(journal), path, &results->plan);
    free(path);
    if (status != RS_OK) {
        free(results);
        return status;
    }
    sort_entries(results);
    results->points = rs_alloc((size_t)results->plan.n_points, sizeof *results->points);
    status = read_keys(results);
    if (status == RS_OK)
        *out = results;
    else
        rs_results_free(results);
    return status;
}

/* What one pass over a point's records gathers. */
typedef struct gathering {
    const rs_plan_task *task;
    rs_sample_rows *rows;
    const rs_key_tokens *keys; /* NULL: none are known */
    int64_t n_extra;           /* that ran */
    rs_sum seconds;
    char *reason;
    rs_positions *positions; /* NULL: not wanted */
    rs_depths *depths;       /* likewise */
    rs_sink *samples;        /* NULL: samples.jsonl is not wanted */
    const rs_text *columns;  /* of the point, in front of each of its lines */
} gathering;

static rs_status write_sample(const gathering *g, const rs_journal_entry *entry, const char *json)
{
    rs_record_key key;
    bool good = rs_record_peek(json, entry->bytes, &key);
    assert(good); /* the journal took it */
    (void)good;
    rs_text *out = rs_sink_text(g->samples);
    rs_text_append(out, g->columns->data, g->columns->n);
    rs_text_printf(out, "%" PRId64, entry->doc_id);
    rs_text_append(out, json + key.rest, entry->bytes - key.rest);
    rs_text_append(out, "\n", 1);
    return rs_sink_flush(g->samples);
}

static rs_status gather(void *context, const rs_journal_entry *entry, const char *json, const rs_record *record)
{
    gathering *g = context;
    if (g->samples)
        RS_TRY(write_sample(g, entry, json));
    rs_sum_add(&g->seconds, record->seconds);
    const char *error = record->error;
    bool lacks =
        g->task->scores_text ? !record->has_nll || (g->task->counts_keys && !record->token_nll) : record->n_scores != g->task->n_metrics;
    if (error == NULL && lacks)
        error = "the record lacks the task's metrics";
    if (error) {
        if (g->reason == NULL)
            g->reason = rs_format("doc_id %" PRId64 ": %s", record->doc_id, error);
        return RS_OK;
    }
    if (record->doc_id >= RS_EXTRA_DOC_ID) {
        g->n_extra++;
        return RS_OK;
    }
    rs_sample_row row = {
        .doc_id = record->doc_id, .prompt_hash = record->prompt_hash, .nll = record->nll, .n_tokens = (double)record->n_tokens};
    memcpy(row.scores, record->scores, sizeof row.scores);
    if (g->task->counts_keys) {
        rs_position_sum sum = g->keys ? rs_key_tokens_sum(g->keys, record) : (rs_position_sum){0};
        row.nll = sum.nll;
        row.n_tokens = (double)sum.n;
    }
    RS_PUSH(g->rows->items, g->rows->n, g->rows->cap, row);
    if (g->positions && record->has_nll)
        rs_positions_add(g->positions, record);
    if (g->depths && record->n_scores > 0)
        rs_depths_add(g->depths, record);
    return RS_OK;
}

static rs_status gather_point(const rs_results *results, int64_t point, gathering *g, rs_point_result *result)
{
    const rs_plan_point *p = &results->plan.points[point];
    g->task = &results->plan.tasks[p->task];
    g->keys = find_keys(results, p);
    g->rows->n = 0;
    g->n_extra = 0;
    g->seconds = (rs_sum){0};
    g->reason = NULL;
    rs_status status = each_record(results, point, gather, g);
    if (status != RS_OK || result == NULL) {
        free(g->reason);
        return status;
    }
    result->n = g->rows->n;
    result->seconds = rs_sum_value(&g->seconds);
    result->reason = g->reason;
    result->state = g->reason ? RS_POINT_FAILED : g->rows->n == p->samples && g->n_extra == p->extra ? RS_POINT_DONE : RS_POINT_MISSING;
    return RS_OK;
}

rs_status rs_results_rows(const rs_results *results, int64_t point, rs_sample_rows *rows, rs_point_result *result)
{
    gathering g = {.rows = rows};
    return gather_point(results, point, &g, result);
}

/* --- all points --- */

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

/* judging: NULL, or what wants the samples of done points. */
static void set_metrics(const rs_results *results, int64_t i, const rs_sample_rows *rows, const baselines *all, rs_judging *judging)
{
    const rs_plan_point *point = &results->plan.points[i];
    const rs_plan_task *task = &results->plan.tasks[point->task];
    rs_point_result *result = &results->points[i];
    if (result->state != RS_POINT_DONE)
        return;
    const baseline *b = rs_plan_file_is_baseline(&results->plan, point) ? NULL : find_baseline(all, point, i);
    for (int64_t k = 0; k < rows->n && task->counts_keys; k++)
        result->key_tokens += (int64_t)rows->items[k].n_tokens;
    for (int m = 0; m < task->n_metrics; m++) {
        int64_t n = 0;
        result->metrics[m] = rs_rows_metric(task, m, rows);
        if (b)
            result->versus[m] = rs_rows_difference(task, m, rows, &b->rows, &n);
        result->has_versus = n > 0;
    }
    if (judging)
        rs_judging_add(judging, i, rows, b ? &b->rows : NULL);
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
    if (!results->plan.points[i].listed)
        return;
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

/* Memory that points use one after another. */
typedef struct scratch {
    rs_sample_rows rows;
    rs_positions positions;
    rs_text columns;
} scratch;

static rs_status evaluate_point(rs_results *results, int64_t i, const baselines *all, scratch *s, rs_judging *judging, rs_sink *samples)
{
    rs_point_result *result = &results->points[i];
    rs_depths depths = {0};
    gathering g = {.rows = &s->rows, .positions = &s->positions, .depths = &depths, .samples = samples, .columns = &s->columns};
    rs_positions_clear(&s->positions);
    write_columns(&results->plan, &results->plan.points[i], &s->columns);
    RS_TRY(gather_point(results, i, &g, result));
    if (result->state == RS_POINT_DONE) {
        result->by_position = rs_positions_estimate(&s->positions, &result->n_positions);
        result->by_depth = rs_depths_mean(&depths);
    }
    set_metrics(results, i, &s->rows, all, judging);
    count_point(results, i);
    return RS_OK;
}

rs_status rs_results_evaluate(rs_results *results, bool judge, rs_sink *samples)
{
    rs_status status = RS_OK;
    baselines all = {0};
    scratch s = {0};
    rs_judging *judging = judge ? rs_judging_open(results) : NULL;
    int64_t first = 0; /* of the variant */
    results->summary = (rs_report_summary){0};
    RS_TRY_OUT(read_baselines(results, &all));
    for (int64_t i = 0; i < results->plan.n_points; i++) {
        if (results->plan.points[i].listed)
            RS_TRY_OUT(evaluate_point(results, i, &all, &s, judging, samples));
        if (!ends_variant(&results->plan, i))
            continue;
        if (judging)
            rs_judging_variant(judging, first, i + 1);
        first = i + 1;
    }
    results->summary.complete = results->summary.done == results->summary.points;
out:
    rs_judging_close(judging);
    for (int64_t i = 0; i < all.n; i++)
        rs_sample_rows_free(&all.items[i].rows);
    free(all.items);
    rs_sample_rows_free(&s.rows);
    rs_positions_free(&s.positions);
    rs_text_free(&s.columns);
    return status;
}
