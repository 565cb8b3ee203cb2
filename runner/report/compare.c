/* `compare A B`: points of the same rope, softmax, context and task, their metrics' differences B - A sample by sample, and gates on them.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "report/cells.h"
#include "report/emit.h"
#include "report/gate.h"
#include "report/grid.h"
#include "report/report.h"

enum { N_COLUMNS = 8, LABEL_WIDTH = 48, MAX_UNMATCHED = 10 };

typedef struct side {
    const char *folder;
    rs_journal *journal;
    rs_results *results;
    int64_t unmatched;
} side;

typedef struct key_of_point {
    rs_digest key;
    int64_t point;
} key_of_point;

typedef struct comparison {
    side a, b;
    key_of_point *keys; /* of b's listed points, sorted */
    int64_t n_keys, n_pairs;
    rs_gate *gates;
    int n_gates;
    rs_cells cells;
    rs_text notes; /* of gates that fail, and of unmatched points */
} comparison;

static rs_digest point_key(const rs_plan_file *plan, const rs_plan_point *point)
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

static void index_b(comparison *c)
{
    const rs_plan_file *plan = &c->b.results->plan;
    c->keys = rs_alloc((size_t)plan->n_points, sizeof *c->keys);
    for (int64_t i = 0; i < plan->n_points; i++)
        if (plan->points[i].listed)
            c->keys[c->n_keys++] = (key_of_point){point_key(plan, &plan->points[i]), i};
    qsort(c->keys, (size_t)c->n_keys, sizeof *c->keys, by_key);
}

/* --- one pair --- */

typedef struct pair {
    const rs_plan_point *point; /* a's */
    const rs_plan_task *task;   /* a's */
    rs_sample_rows rows_a, rows_b;
    rs_point_result result_a, result_b;
    char *label; /* of the variant */
} pair;

static void put_side(const pair *p, int metric, const rs_sample_rows *rows, const rs_point_result *result, rs_cells *cells)
{
    rs_text text = {0};
    if (result->state == RS_POINT_DONE)
        rs_format_value(rs_rows_metric(p->task, metric, rows), &text);
    else
        rs_text_puts(&text, rs_point_state_name(result->state));
    rs_cells_add(cells, text.data);
    rs_text_free(&text);
}

static void put_difference(rs_estimate d, int64_t shared, rs_cells *cells)
{
    rs_text text = {0};
    rs_text_puts(&text, d.value > 0 ? "+" : "");
    rs_format_estimate(d, &text);
    bool stands_out = isfinite(d.error) && fabs(d.value) > 2 * d.error && d.value != 0;
    rs_text_puts(&text, stands_out ? " !" : "  ");
    rs_cells_add(cells, shared > 0 ? text.data : "no shared samples  ");
    rs_text_clear(&text);
    rs_text_printf(&text, "%" PRId64, shared);
    rs_cells_add(cells, text.data);
    rs_text_free(&text);
}

static void apply_gates(comparison *c, const pair *p, const char *metric, rs_estimate d)
{
    bool both_done = p->result_a.state == RS_POINT_DONE && p->result_b.state == RS_POINT_DONE;
    for (int i = 0; i < c->n_gates; i++) {
        rs_gate *gate = &c->gates[i];
        if (!rs_gate_matches(gate, p->task->label, p->point->context, metric))
            continue;
        gate->matched++;
        if (both_done && rs_gate_holds(gate, d.value))
            continue;
        gate->failed++;
        rs_text_printf(&c->notes, "gate '%s' fails: %s at %" PRId64 ": ", gate->text, p->label, p->point->context);
        if (both_done)
            rs_format_estimate(d, &c->notes);
        else
            rs_text_printf(&c->notes, "the point is %s in A, %s in B", rs_point_state_name(p->result_a.state),
                           rs_point_state_name(p->result_b.state));
        rs_text_puts(&c->notes, "\n");
    }
}

static void put_pair(comparison *c, const pair *p)
{
    for (int m = 0; m < p->task->n_metrics; m++) {
        char context[24], *label = rs_shorten(p->label, LABEL_WIDTH);
        int64_t shared;
        rs_estimate d = rs_rows_difference(p->task, m, &p->rows_b, &p->rows_a, &shared);
        snprintf(context, sizeof context, "%" PRId64, p->point->context);
        rs_cells_add(&c->cells, label);
        rs_cells_add(&c->cells, p->task->label);
        rs_cells_add(&c->cells, p->task->metrics[m]);
        rs_cells_add(&c->cells, context);
        put_side(p, m, &p->rows_a, &p->result_a, &c->cells);
        put_side(p, m, &p->rows_b, &p->result_b, &c->cells);
        put_difference(d, shared, &c->cells);
        apply_gates(c, p, p->task->metrics[m], d);
        free(label);
    }
}

static bool same_metrics(const rs_plan_task *a, const rs_plan_task *b)
{
    bool same = a->scores_text == b->scores_text && a->n_metrics == b->n_metrics;
    for (int m = 0; same && m < a->n_metrics; m++)
        same = strcmp(a->metrics[m], b->metrics[m]) == 0;
    return same;
}

static rs_status compare_pair(comparison *c, int64_t a, int64_t b)
{
    rs_status status = RS_OK;
    const rs_plan_file *plan = &c->a.results->plan;
    pair p = {.point = &plan->points[a], .task = &plan->tasks[plan->points[a].task]};
    p.label = rs_format("%s / %s", rs_plan_file_rope_label(plan, p.point->rope), rs_plan_file_softmax_label(plan, p.point->softmax));
    RS_TRY_OUT(rs_results_rows(c->a.results, a, &p.rows_a, &p.result_a));
    RS_TRY_OUT(rs_results_rows(c->b.results, b, &p.rows_b, &p.result_b));
    put_pair(c, &p);
out:
    rs_sample_rows_free(&p.rows_a);
    rs_sample_rows_free(&p.rows_b);
    free(p.result_a.reason);
    free(p.result_b.reason);
    free(p.label);
    return status;
}

/* --- all pairs --- */

static void note_unmatched(comparison *c, side *s, const rs_plan_point *point)
{
    const rs_plan_file *plan = &s->results->plan;
    if (s->unmatched++ < MAX_UNMATCHED)
        rs_text_printf(&c->notes, "only in %s: %s / %s, %s at %" PRId64 "\n", s->folder, rs_plan_file_rope_label(plan, point->rope),
                       rs_plan_file_softmax_label(plan, point->softmax), plan->tasks[point->task].label, point->context);
}

static rs_status compare_points(comparison *c)
{
    const rs_plan_file *a = &c->a.results->plan, *b = &c->b.results->plan;
    bool *used = rs_alloc((size_t)b->n_points, sizeof *used);
    rs_status status = RS_OK;
    for (int64_t i = 0; i < a->n_points && status == RS_OK; i++) {
        if (!a->points[i].listed)
            continue;
        key_of_point key = {.key = point_key(a, &a->points[i])};
        const key_of_point *found = bsearch(&key, c->keys, (size_t)c->n_keys, sizeof key, by_key);
        if (found == NULL || !same_metrics(&a->tasks[a->points[i].task], &b->tasks[b->points[found->point].task])) {
            note_unmatched(c, &c->a, &a->points[i]);
            continue;
        }
        used[found->point] = true;
        c->n_pairs++;
        status = compare_pair(c, i, found->point);
    }
    for (int64_t i = 0; i < b->n_points; i++)
        if (b->points[i].listed && !used[i])
            note_unmatched(c, &c->b, &b->points[i]);
    free(used);
    return status;
}

static void put_heads(rs_cells *cells)
{
    static const char *const heads[N_COLUMNS] = {"variant", "task", "metric", "context", "A", "B", "B - A  ", "samples"};
    cells->n_columns = N_COLUMNS;
    for (size_t i = 0; i < N_COLUMNS; i++)
        rs_cells_add(cells, heads[i]);
}

static const char *model_digest(const side *s)
{
    const char *digest = json_string_value(json_object_get(json_object_get(s->results->plan.root, "model"), "digest"));
    return digest ? digest : "";
}

static void write_comparison(const comparison *c, rs_text *out, bool *passed)
{
    static const size_t columns[N_COLUMNS] = {0, 1, 2, 3, 4, 5, 6, 7};
    rs_text_printf(out, "A: %s\nB: %s\n", c->a.folder, c->b.folder);
    if (strcmp(model_digest(&c->a), model_digest(&c->b)) != 0)
        rs_text_puts(out, "The models differ.\n");
    rs_text_puts(out, "\n");
    rs_cells_write(&c->cells, columns, N_COLUMNS, 3, 1, out);
    rs_text_printf(out,
                   "\n%" PRId64 " pairs of points, %" PRId64 " only in A, %" PRId64 " only in B   ± standard error, ! beyond two of them\n",
                   c->n_pairs, c->a.unmatched, c->b.unmatched);
    if (c->notes.n > 0)
        rs_text_append(out, c->notes.data, c->notes.n);
    for (int i = 0; i < c->n_gates; i++) {
        const rs_gate *gate = &c->gates[i];
        bool good = gate->matched > 0 && gate->failed == 0;
        *passed = *passed && good;
        if (gate->matched == 0)
            rs_text_printf(out, "gate '%s' FAILED: no pair of points has this task, context and metric\n", gate->text);
        else
            rs_text_printf(out, "gate '%s' %s: %" PRId64 " of %" PRId64 " pairs hold\n", gate->text, good ? "passed" : "FAILED",
                           gate->matched - gate->failed, gate->matched);
    }
}

static rs_status open_side(const char *folder, side *out)
{
    out->folder = folder;
    RS_TRY(rs_journal_read(folder, &out->journal));
    return rs_results_open(out->journal, &out->results);
}

static void close_side(side *s)
{
    rs_results_free(s->results);
    rs_journal_close(s->journal);
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

rs_status rs_report_compare(const char *folder_a, const char *folder_b, char *const *gates, int n_gates, rs_text *out, bool *passed)
{
    rs_status status = RS_OK;
    comparison c = {.gates = rs_alloc((size_t)n_gates, sizeof *c.gates)};
    *passed = true;
    for (; c.n_gates < n_gates; c.n_gates++)
        RS_TRY_OUT(rs_gate_parse(gates[c.n_gates], &c.gates[c.n_gates]));
    RS_TRY_OUT(open_side(folder_a, &c.a));
    RS_TRY_OUT(open_side(folder_b, &c.b));
    for (int i = 0; i < c.n_gates; i++)
        RS_TRY_OUT(check_gate(&c.a.results->plan, &c.gates[i]));
    index_b(&c);
    put_heads(&c.cells);
    RS_TRY_OUT(compare_points(&c));
    write_comparison(&c, out, passed);
out:
    for (int i = 0; i < c.n_gates; i++)
        rs_gate_free(&c.gates[i]);
    free(c.gates);
    free(c.keys);
    close_side(&c.a);
    close_side(&c.b);
    rs_cells_free(&c.cells);
    rs_text_free(&c.notes);
    return status;
}
