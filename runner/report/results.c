#include "report/results.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "report/results_parts.h"

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
        for (rs_split split = 0; split < RS_N_SPLITS; split++)
            free(results->points[i].splits[split].buckets);
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

int64_t rs_results_missing(const rs_results *results, int64_t point)
{
    const rs_plan_point *p = &results->plan.points[point];
    return p->samples + p->extra - (int64_t)(results->first[point + 1] - results->first[point]);
}

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
        size_t there = results->first[i + 1] - results->first[i];
        if (there < (uint64_t)point->samples || there - (uint64_t)point->samples < (uint64_t)point->extra)
            continue; /* and a plan.json that asks for 10^18 samples gets no room for them */
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

/* Records beyond the sample at which a point stopped are of another run of the folder, and no part of this one's results. */
static rs_status stop_points(rs_results *results)
{
    bool any;
    RS_TRY(rs_results_stop(results, &any));
    if (!any)
        return RS_OK;
    free(results->order);
    free(results->first);
    sort_entries(results);
    return RS_OK;
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
        status = stop_points(results);
    if (status == RS_OK)
        *out = results;
    else
        rs_results_free(results);
    return status;
}

static void write_sample(const rs_gathering *g, const rs_journal_entry *entry, const char *json)
{
    rs_record_key key;
    bool good = rs_record_peek(json, entry->bytes, &key);
    assert(good); /* the journal took it */
    (void)good;
    rs_text *out = g->samples;
    rs_text_append(out, g->columns->data, g->columns->n);
    rs_text_printf(out, "%" PRId64, entry->doc_id);
    rs_text_append(out, json + key.rest, entry->bytes - key.rest);
    rs_text_append(out, "\n", 1);
}

static rs_status gather(void *context, const rs_journal_entry *entry, const char *json, const rs_record *record)
{
    rs_gathering *g = context;
    if (g->samples)
        write_sample(g, entry, json);
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
        rs_part sum = g->keys ? rs_key_tokens_sum(g->keys, record) : (rs_part){0};
        row.nll = sum.nll;
        row.n_tokens = (double)sum.n;
    }
    RS_PUSH(g->rows->items, g->rows->n, g->rows->cap, row);
    if (g->splits && record->has_nll)
        rs_splits_add(g->splits, record);
    if (g->depths && record->n_scores > 0)
        rs_depths_add(g->depths, record);
    return RS_OK;
}

rs_status rs_results_gather(const rs_results *results, int64_t point, rs_gathering *g, rs_point_result *result)
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
    rs_gathering g = {.rows = rows};
    return rs_results_gather(results, point, &g, result);
}
