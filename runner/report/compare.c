/* `compare A B`: points of the same rope, softmax, context and task, their metrics' differences B - A sample by sample, and gates on them.
 */
#include "report/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "report/columns.h"
#include "report/emit.h"
#include "report/grid.h"

enum { BATCH = 32 }; /* pairs that are resampled together */

typedef struct key_of_point {
    rs_digest key;
    int64_t point;
} key_of_point;

/* One pair of points, while it is judged. */
typedef struct pair {
    int64_t point; /* a's */
    const rs_plan_task *task;
    rs_sample_rows rows_a, rows_b;
    rs_point_result result_a, result_b;
    int64_t shared;
    rs_columns columns_a, columns_b; /* of the shared samples; where there are none, of all */
    rs_compared items[RS_MAX_METRICS];
} pair;

typedef struct comparing {
    rs_comparison c;
    key_of_point *keys; /* of b's listed points, sorted */
    int64_t n_keys;
    pair pairs[BATCH];
    int n;
    rs_resample_pool pool;
} comparing;

rs_digest rs_compare_key(const rs_plan_file *plan, const rs_plan_point *point)
{
    rs_text text = {0};
    rs_emit_json(rs_plan_file_rope(plan, point), &text);
    rs_emit_json(rs_plan_file_softmax(plan, point), &text);
    rs_text_printf(&text, "%" PRId64 " %s", point->context, plan->tasks[point->task].label);
    rs_digest key = rs_digest_of(text.data, text.n);
    rs_text_free(&text);
    return key;
}

static int by_key(const void *a, const void *b)
{
    const key_of_point *x = a, *y = b;
    if (x->key.high != y->key.high)
        return x->key.high < y->key.high ? -1 : 1;
    return (x->key.low > y->key.low) - (x->key.low < y->key.low);
}

static void index_b(comparing *k)
{
    const rs_plan_file *plan = &k->c.b.results->plan;
    k->keys = rs_alloc((size_t)plan->n_points, sizeof *k->keys);
    for (int64_t i = 0; i < plan->n_points; i++)
        if (plan->points[i].listed)
            k->keys[k->n_keys++] = (key_of_point){rs_compare_key(plan, &plan->points[i]), i};
    qsort(k->keys, (size_t)k->n_keys, sizeof *k->keys, by_key);
}

/* --- pairs --- */

static void set_columns(pair *p)
{
    size_t n = (size_t)p->rows_a.n;
    int64_t *ia = rs_alloc(n, sizeof *ia), *ib = rs_alloc(n, sizeof *ib);
    p->shared = rs_rows_share(&p->rows_a, &p->rows_b, ia, ib);
    bool pairs = p->shared > 0;
    p->columns_a = rs_columns_of(p->task, &p->rows_a, pairs ? ia : NULL, (size_t)(pairs ? p->shared : p->rows_a.n));
    p->columns_b = rs_columns_of(p->task, &p->rows_b, pairs ? ib : NULL, (size_t)(pairs ? p->shared : p->rows_b.n));
    free(ia);
    free(ib);
}

static rs_compared_side side_of(const pair *p, int metric, const rs_sample_rows *rows, const rs_point_result *result)
{
    return (rs_compared_side){result->state, rows->n, rs_rows_metric(p->task, metric, rows)};
}

static void judge(pair *p, int metric)
{
    rs_compared *item = &p->items[metric];
    *item = (rs_compared){.point = p->point,
                          .metric = metric,
                          .a = side_of(p, metric, &p->rows_a, &p->result_a),
                          .b = side_of(p, metric, &p->rows_b, &p->result_b),
                          .shared = p->shared,
                          .difference = {NAN, NAN},
                          .evidence = {.p = NAN, .p_holm = NAN}};
    if (p->shared > 0) {
        rs_cell cell = rs_columns_cell(p->task, metric, &p->columns_b, &p->columns_a, 0);
        rs_judge(&cell, 1, &item->difference, &item->evidence);
    } else if (p->rows_a.n > 0 && p->rows_b.n > 0) {
        rs_cell cells[] = {rs_columns_cell(p->task, metric, &p->columns_b, NULL, 0),
                           rs_columns_cell(p->task, metric, &p->columns_a, NULL, 1)};
        cells[1].weight = -1;
        rs_judge(cells, 2, &item->difference, &item->evidence);
    }
}

static void apply_gates(rs_comparison *c, const pair *p, int metric)
{
    const rs_plan_file *plan = &c->a.results->plan;
    const rs_plan_point *point = &plan->points[p->point];
    bool both_done = p->result_a.state == RS_POINT_DONE && p->result_b.state == RS_POINT_DONE;
    rs_estimate d = p->shared > 0 ? p->items[metric].difference : (rs_estimate){NAN, NAN};
    char *label = rs_compare_label(plan, point);
    for (int i = 0; i < c->n_gates; i++) {
        rs_gate *gate = &c->gates[i];
        if (!rs_gate_matches(gate, p->task->label, point->context, p->task->metrics[metric]))
            continue;
        gate->matched++;
        if (both_done && rs_gate_holds(gate, d.value))
            continue;
        gate->failed++;
        rs_text_printf(&c->notes, "gate '%s' fails: %s at %" PRId64 ": ", gate->text, label, point->context);
        if (both_done)
            rs_format_estimate(d, &c->notes);
        else
            rs_text_printf(&c->notes, "the point is %s in A, %s in B", rs_point_state_name(p->result_a.state),
                           rs_point_state_name(p->result_b.state));
        rs_text_puts(&c->notes, "\n");
    }
    free(label);
}

static void free_pair(pair *p)
{
    rs_sample_rows_free(&p->rows_a);
    rs_sample_rows_free(&p->rows_b);
    rs_columns_free(&p->columns_a);
    rs_columns_free(&p->columns_b);
    free(p->result_a.reason);
    free(p->result_b.reason);
    *p = (pair){0};
}

static void judge_batch(comparing *k)
{
    rs_columns *all[2 * BATCH];
    for (int i = 0; i < k->n; i++) {
        all[2 * i] = &k->pairs[i].columns_a;
        all[2 * i + 1] = &k->pairs[i].columns_b;
    }
    rs_columns_resample(&k->pool, all, (size_t)k->n * 2);
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < k->n; i++)
        for (int m = 0; m < k->pairs[i].task->n_metrics; m++)
            judge(&k->pairs[i], m);
    for (int i = 0; i < k->n; i++) {
        for (int m = 0; m < k->pairs[i].task->n_metrics; m++) {
            apply_gates(&k->c, &k->pairs[i], m);
            RS_PUSH(k->c.items, k->c.n, k->c.cap, k->pairs[i].items[m]);
        }
        free_pair(&k->pairs[i]);
    }
    k->n = 0;
}

static rs_status take_pair(comparing *k, int64_t a, int64_t b)
{
    const rs_plan_file *plan = &k->c.a.results->plan;
    pair *p = &k->pairs[k->n++];
    *p = (pair){.point = a, .task = &plan->tasks[plan->points[a].task]};
    RS_TRY(rs_results_rows(k->c.a.results, a, &p->rows_a, &p->result_a));
    RS_TRY(rs_results_rows(k->c.b.results, b, &p->rows_b, &p->result_b));
    set_columns(p);
    k->c.n_pairs++;
    if (k->n == BATCH)
        judge_batch(k);
    return RS_OK;
}

/* --- all pairs --- */

static bool same_metrics(const rs_plan_task *a, const rs_plan_task *b)
{
    bool same = a->scores_text == b->scores_text && a->n_metrics == b->n_metrics;
    for (int m = 0; same && m < a->n_metrics; m++)
        same = strcmp(a->metrics[m], b->metrics[m]) == 0;
    return same;
}

static rs_status compare_points(comparing *k)
{
    rs_compare_side *sa = &k->c.a, *sb = &k->c.b;
    const rs_plan_file *a = &sa->results->plan, *b = &sb->results->plan;
    bool *used = rs_alloc((size_t)b->n_points, sizeof *used);
    rs_status status = RS_OK;
    for (int64_t i = 0; i < a->n_points && status == RS_OK; i++) {
        if (!a->points[i].listed)
            continue;
        key_of_point key = {.key = rs_compare_key(a, &a->points[i])};
        const key_of_point *found = bsearch(&key, k->keys, (size_t)k->n_keys, sizeof key, by_key);
        if (found == NULL || !same_metrics(&a->tasks[a->points[i].task], &b->tasks[b->points[found->point].task])) {
            RS_PUSH(sa->unmatched, sa->n_unmatched, sa->cap, i);
            continue;
        }
        used[found->point] = true;
        status = take_pair(k, i, found->point);
    }
    for (int64_t i = 0; i < b->n_points; i++)
        if (b->points[i].listed && !used[i])
            RS_PUSH(sb->unmatched, sb->n_unmatched, sb->cap, i);
    free(used);
    if (status == RS_OK)
        judge_batch(k);
    return status;
}

/* One metric a pair of points, as in a report. */
static void adjust(rs_comparison *c)
{
    const double **p = rs_alloc((size_t)c->n, sizeof *p);
    double **adjusted = rs_alloc((size_t)c->n, sizeof *adjusted);
    const rs_plan_file *plan = &c->a.results->plan;
    size_t n = 0;
    for (int64_t i = 0; i < c->n; i++) {
        if (c->items[i].metric != rs_grid_metric(&plan->tasks[plan->points[c->items[i].point].task]))
            continue;
        p[n] = &c->items[i].evidence.p;
        adjusted[n++] = &c->items[i].evidence.p_holm;
    }
    rs_holm(p, adjusted, n);
    for (int64_t i = 0; i + 1 < c->n; i++)
        if (plan->tasks[plan->points[c->items[i].point].task].scores_text && c->items[i].metric == 0)
            c->items[i].evidence.p_holm = c->items[i + 1].evidence.p_holm; /* the same test */
    free(p);
    free(adjusted);
}

/* --- both folders --- */

static rs_status open_side(const char *folder, rs_compare_side *out)
{
    out->folder = folder;
    RS_TRY(rs_journal_read(folder, &out->journal));
    return rs_results_open(out->journal, &out->results);
}

static void close_side(rs_compare_side *s)
{
    rs_results_free(s->results);
    rs_journal_close(s->journal);
    free(s->unmatched);
}

/* What a gate may have meant: "" or "; did you mean 'x'?". Freed by the caller. */
static char *suggestion(const char *word, const char *const *names, int n)
{
    const char *nearest = rs_nearest(word, names, (size_t)n);
    return nearest ? rs_format("; did you mean '%s'?", nearest) : rs_strdup("");
}

/* A gate on a task, metric or context that A does not have is a typo, not a regression. */
static rs_status check_gate(const rs_plan_file *plan, const rs_gate *gate)
{
    const rs_plan_task *task = NULL;
    const char **labels = rs_alloc((size_t)plan->n_tasks, sizeof *labels);
    rs_status status = RS_OK;
    bool context = gate->context == 0, metric = false;
    for (int i = 0; i < plan->n_tasks; i++) {
        labels[i] = plan->tasks[i].label;
        task = strcmp(labels[i], gate->task) == 0 ? &plan->tasks[i] : task;
    }
    for (int64_t i = 0; i < plan->n_points; i++)
        context = context || plan->points[i].context == gate->context;
    for (int i = 0; task && i < task->n_metrics; i++)
        metric = metric || strcmp(task->metrics[i], gate->metric) == 0;
    char *hint = task ? suggestion(gate->metric, task->metrics, task->n_metrics) : suggestion(gate->task, labels, plan->n_tasks);
    if (task == NULL)
        status = rs_fail(RS_INVALID, "--gate '%s': there is no task '%s'%s", gate->text, gate->task, hint);
    else if (!metric)
        status = rs_fail(RS_INVALID, "--gate '%s': task %s has no metric '%s'%s", gate->text, gate->task, gate->metric, hint);
    else if (!context)
        status = rs_fail(RS_INVALID, "--gate '%s': no point has context %" PRId64, gate->text, gate->context);
    free(hint);
    free(labels);
    return status;
}

static void comparing_free(comparing *k)
{
    for (int i = 0; i < k->n; i++)
        free_pair(&k->pairs[i]);
    for (int i = 0; i < k->c.n_gates; i++)
        rs_gate_free(&k->c.gates[i]);
    rs_resample_pool_free(&k->pool);
    close_side(&k->c.a);
    close_side(&k->c.b);
    rs_text_free(&k->c.notes);
    free(k->c.gates);
    free(k->c.items);
    free(k->keys);
    free(k);
}

rs_status rs_report_compare(const char *folder_a, const char *folder_b, char *const *gates, int n_gates, rs_text *out, json_t **tree,
                            bool *passed)
{
    rs_status status = RS_OK;
    comparing *k = rs_alloc(1, sizeof *k);
    rs_comparison *c = &k->c;
    c->gates = rs_alloc((size_t)n_gates, sizeof *c->gates);
    *passed = true;
    for (; c->n_gates < n_gates; c->n_gates++)
        RS_TRY_OUT(rs_gate_parse(gates[c->n_gates], &c->gates[c->n_gates]));
    RS_TRY_OUT(open_side(folder_a, &c->a));
    RS_TRY_OUT(open_side(folder_b, &c->b));
    for (int i = 0; i < c->n_gates; i++)
        RS_TRY_OUT(check_gate(&c->a.results->plan, &c->gates[i]));
    k->pool.seed = (uint64_t)json_integer_value(json_object_get(json_object_get(c->a.results->plan.root, "config"), "seed"));
    index_b(k);
    RS_TRY_OUT(compare_points(k));
    adjust(c);
    for (int i = 0; i < c->n_gates; i++)
        *passed = *passed && rs_gate_passes(&c->gates[i]);
    rs_compare_write_table(c, out);
    if (tree)
        *tree = rs_compare_tree(c);
out:
    comparing_free(k);
    return status;
}
