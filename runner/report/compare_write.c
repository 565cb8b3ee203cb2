/* What `compare A B` found: as a table with notes, and as a tree. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/cells.h"
#include "report/compare.h"
#include "report/emit.h"
#include "report/grid.h"
#include "report/report_file.h"

enum { N_COLUMNS = 10, LABEL_WIDTH = 48, MAX_UNMATCHED = 10 };

char *rs_compare_label(const rs_plan_file *plan, const rs_plan_point *point)
{
    return rs_format("%s / %s", rs_plan_file_rope_label(plan, point->rope), rs_plan_file_softmax_label(plan, point->softmax));
}

bool rs_gate_passes(const rs_gate *gate)
{
    return gate->matched > 0 && gate->failed == 0;
}

/* --- table --- */

static void put_side(const rs_compared_side *side, rs_cells *cells)
{
    rs_text text = {0};
    if (side->state == RS_POINT_DONE)
        rs_format_value(side->value, &text);
    else
        rs_text_puts(&text, rs_point_state_name(side->state));
    rs_cells_add(cells, text.data);
    rs_text_free(&text);
}

/* An end of an interval, to the place that its difference has. */
static void put_end(double value, double error, rs_text *out)
{
    rs_format_value((rs_estimate){value, error}, out);
}

static void put_difference(const rs_compared *item, rs_cells *cells)
{
    rs_text text = {0};
    rs_estimate d = item->difference;
    rs_interval interval = item->evidence.interval;
    rs_text_puts(&text, d.value > 0 ? "+" : "");
    rs_format_estimate(d, &text);
    rs_text_puts(&text, item->evidence.p_holm < 0.05 ? " !" : "  ");
    rs_cells_add(cells, isnan(d.value) ? "no samples  " : text.data);
    rs_text_clear(&text);
    if (isfinite(interval.low)) {
        rs_text_puts(&text, "[");
        put_end(interval.low, d.error, &text);
        rs_text_puts(&text, ", ");
        put_end(interval.high, d.error, &text);
        rs_text_puts(&text, "]");
    }
    rs_cells_add(cells, text.n ? text.data : "");
    rs_text_clear(&text);
    if (!isnan(item->evidence.p))
        rs_text_printf(&text, "%.2g", item->evidence.p);
    rs_cells_add(cells, text.n ? text.data : "");
    rs_text_clear(&text);
    rs_text_printf(&text, "%" PRId64, item->shared);
    rs_cells_add(cells, item->shared > 0 ? text.data : isnan(d.value) ? "no shared samples" : "no shared samples: unpaired");
    rs_text_free(&text);
}

static void put_item(const rs_plan_file *plan, const rs_compared *item, rs_cells *cells)
{
    const rs_plan_point *point = &plan->points[item->point];
    const rs_plan_task *task = &plan->tasks[point->task];
    char context[24], *label = rs_compare_label(plan, point), *shorter = rs_shorten(label, LABEL_WIDTH);
    snprintf(context, sizeof context, "%" PRId64, point->context);
    rs_cells_add(cells, shorter);
    rs_cells_add(cells, task->label);
    rs_cells_add(cells, task->metrics[item->metric]);
    rs_cells_add(cells, context);
    put_side(&item->a, cells);
    put_side(&item->b, cells);
    put_difference(item, cells);
    free(label);
    free(shorter);
}

static void put_heads(rs_cells *cells)
{
    static const char *const heads[N_COLUMNS] = {"variant", "task", "metric", "context", "A", "B", "B - A  ", "95 %", "p", "samples"};
    cells->n_columns = N_COLUMNS;
    for (size_t i = 0; i < N_COLUMNS; i++)
        rs_cells_add(cells, heads[i]);
}

static const char *model_digest(const rs_compare_side *s)
{
    const char *digest = json_string_value(json_object_get(json_object_get(s->results->plan.root, "model"), "digest"));
    return digest ? digest : "";
}

static void note_unmatched(const rs_compare_side *s, rs_text *out)
{
    const rs_plan_file *plan = &s->results->plan;
    for (int64_t i = 0; i < s->n_unmatched && i < MAX_UNMATCHED; i++) {
        const rs_plan_point *point = &plan->points[s->unmatched[i]];
        char *label = rs_compare_label(plan, point);
        rs_text_print_line(out, "only in %s: %s, %s at %" PRId64, s->folder, label, plan->tasks[point->task].label, point->context);
        free(label);
    }
}

static void write_gates(const rs_comparison *c, rs_text *out)
{
    for (int i = 0; i < c->n_gates; i++) {
        const rs_gate *gate = &c->gates[i];
        if (gate->matched == 0)
            rs_text_printf(out, "gate '%s' FAILED: no pair of points has this task, context and metric\n", gate->text);
        else
            rs_text_printf(out, "gate '%s' %s: %" PRId64 " of %" PRId64 " pairs hold\n", gate->text,
                           rs_gate_passes(gate) ? "passed" : "FAILED", gate->matched - gate->failed, gate->matched);
    }
}

void rs_compare_write_table(const rs_comparison *c, rs_text *out)
{
    static const size_t columns[N_COLUMNS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    rs_cells cells = {0};
    rs_text_print_line(out, "A: %s", c->a.folder);
    rs_text_print_line(out, "B: %s", c->b.folder);
    if (strcmp(model_digest(&c->a), model_digest(&c->b)) != 0)
        rs_text_puts(out, "The models differ.\n");
    rs_text_puts(out, "\n");
    put_heads(&cells);
    for (int64_t i = 0; i < c->n; i++)
        put_item(&c->a.results->plan, &c->items[i], &cells);
    rs_cells_write(&cells, columns, N_COLUMNS, 3, 1, out);
    rs_cells_free(&cells);
    rs_text_printf(out,
                   "\n%" PRId64 " pairs of points, %" PRId64 " only in A, %" PRId64
                   " only in B   ± standard error, [95 %% interval], p of each "
                   "alone; ! Holm-adjusted p < 0.05\n",
                   c->n_pairs, c->a.n_unmatched, c->b.n_unmatched);
    note_unmatched(&c->a, out);
    note_unmatched(&c->b, out);
    if (c->notes.n > 0)
        rs_text_append(out, c->notes.data, c->notes.n);
    write_gates(c, out);
}

/* --- the tree --- */

static json_t *side_tree(const rs_compared_side *side)
{
    json_t *tree = json_object();
    json_object_set_new(tree, "status", json_string(rs_point_state_name(side->state)));
    json_object_set_new(tree, "n", json_integer(side->n));
    if (side->state == RS_POINT_DONE)
        json_object_update_new(tree, rs_estimate_tree("value", side->value));
    return tree;
}

static json_t *item_tree(const rs_plan_file *plan, const rs_compared *item)
{
    const rs_plan_point *point = &plan->points[item->point];
    const rs_plan_task *task = &plan->tasks[point->task];
    json_t *tree = json_object();
    json_object_set(tree, "rope", rs_plan_file_rope(plan, point));
    json_object_set(tree, "softmax", rs_plan_file_softmax(plan, point));
    json_object_set_new(tree, "context", json_integer(point->context));
    json_object_set_new(tree, "task", rs_json_text(task->label));
    json_object_set_new(tree, "metric", rs_json_text(task->metrics[item->metric]));
    json_object_set_new(tree, "a", side_tree(&item->a));
    json_object_set_new(tree, "b", side_tree(&item->b));
    json_object_set_new(tree, "paired", json_boolean(item->shared > 0));
    if (!isnan(item->difference.value))
        json_object_set_new(tree, "b_versus_a", rs_versus_tree(item->difference, &item->evidence));
    return tree;
}

static json_t *folder_tree(const rs_compare_side *s)
{
    json_t *tree = json_object();
    json_object_set_new(tree, "folder", rs_json_text(s->folder));
    json_object_set(tree, "model", json_object_get(s->results->plan.root, "model"));
    json_object_set_new(tree, "unmatched", json_integer(s->n_unmatched));
    return tree;
}

static json_t *gates_tree(const rs_comparison *c)
{
    json_t *list = json_array();
    for (int i = 0; i < c->n_gates; i++) {
        json_t *gate = json_object();
        json_object_set_new(gate, "gate", rs_json_text(c->gates[i].text));
        json_object_set_new(gate, "passed", json_boolean(rs_gate_passes(&c->gates[i])));
        json_object_set_new(gate, "pairs", json_integer(c->gates[i].matched));
        json_object_set_new(gate, "failed", json_integer(c->gates[i].failed));
        json_array_append_new(list, gate);
    }
    return list;
}

json_t *rs_compare_tree(const rs_comparison *c)
{
    json_t *tree = json_object(), *pairs = json_array();
    json_object_set_new(tree, "schema", json_integer(1));
    json_object_set_new(tree, "a", folder_tree(&c->a));
    json_object_set_new(tree, "b", folder_tree(&c->b));
    json_object_set_new(tree, "gates", gates_tree(c));
    for (int64_t i = 0; i < c->n; i++)
        json_array_append_new(pairs, item_tree(&c->a.results->plan, &c->items[i]));
    json_object_set_new(tree, "pairs", pairs);
    return tree;
}
