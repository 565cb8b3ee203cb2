/* What is known of differences, and of variants, as report.json and report.yaml tell it. */
#include <math.h>

#include "report/emit.h"
#include "report/report_file.h"

static void put_number(json_t *tree, const char *name, double value)
{
    json_object_set_new(tree, name, rs_json_number(value));
}

void rs_put_interval(json_t *tree, const char *name, rs_interval interval)
{
    json_t *ends = isfinite(interval.low) && isfinite(interval.high) ? json_array() : json_null();
    if (json_is_array(ends)) {
        json_array_append_new(ends, json_real(interval.low));
        json_array_append_new(ends, json_real(interval.high));
    }
    json_object_set_new(tree, name, ends);
}

json_t *rs_estimate_tree(const char *name, rs_estimate estimate)
{
    json_t *tree = json_object();
    put_number(tree, name, estimate.value);
    put_number(tree, "stderr", estimate.error);
    return tree;
}

json_t *rs_versus_tree(rs_estimate difference, const rs_evidence *evidence)
{
    json_t *tree = rs_estimate_tree("difference", difference);
    rs_put_interval(tree, "interval", evidence->interval);
    put_number(tree, "p", evidence->p);
    put_number(tree, "p_holm", evidence->p_holm);
    put_number(tree, "effect_size", evidence->effect);
    put_number(tree, "odds", evidence->odds);
    put_number(tree, "mde", evidence->mde);
    json_object_set_new(tree, "n", json_integer(evidence->n));
    json_object_set_new(tree, "higher", json_integer(evidence->higher));
    json_object_set_new(tree, "lower", json_integer(evidence->lower));
    return tree;
}

static json_t *reach_tree(rs_reach reach)
{
    json_t *tree = json_object(), *ends = json_array();
    json_object_set_new(tree, "length", json_integer(reach.length));
    json_array_append_new(ends, json_integer(reach.low));
    json_array_append_new(ends, json_integer(reach.high));
    json_object_set_new(tree, "interval", ends);
    return tree;
}

static json_t *area_tree(const rs_aggregate *a)
{
    json_t *tree = rs_estimate_tree("value", a->area);
    rs_put_interval(tree, "interval", a->area_interval);
    if (a->has_versus) {
        json_t *versus = rs_estimate_tree("difference", a->area_versus);
        rs_put_interval(versus, "interval", a->area_versus_interval);
        json_object_set_new(tree, "versus_baseline", versus);
    }
    return tree;
}

static json_t *aggregate_tree(const rs_plan_file *plan, const rs_aggregate *a)
{
    json_t *tree = json_object();
    const rs_plan_task *task = a->span == RS_OVER_LENGTHS ? &plan->tasks[a->task] : NULL;
    if (task)
        json_object_set_new(tree, "task", rs_json_text(task->label));
    if (a->span == RS_OVER_TASKS)
        json_object_set_new(tree, "context", json_integer(a->context));
    json_object_set_new(tree, "metric", json_string(task ? task->metrics[0] : a->text ? "nll_per_token" : "score"));
    json_object_set_new(tree, "points", json_integer(a->points));
    json_object_set_new(tree, "status", json_string(a->done ? "done" : "missing"));
    if (!a->done)
        return tree;
    put_number(tree, "value", a->value.value);
    put_number(tree, "stderr", a->value.error);
    if (a->has_curve && !a->text) {
        json_object_set_new(tree, "effective_length", reach_tree(a->effective));
        json_object_set_new(tree, "relative_length", reach_tree(a->relative));
    }
    if (a->has_curve)
        json_object_set_new(tree, "area", area_tree(a));
    if (a->has_versus)
        json_object_set_new(tree, "versus_baseline", rs_versus_tree(a->versus, &a->evidence));
    return tree;
}

json_t *rs_variant_tree(const rs_results *results, const rs_variant *variant)
{
    static const char *const names[] = {[RS_OVER_LENGTHS] = "tasks", [RS_OVER_TASKS] = "contexts", [RS_OVER_ALL] = "overall"};
    const rs_plan_file *plan = &results->plan;
    const rs_plan_point place = {.rope = variant->rope, .softmax = variant->softmax};
    json_t *tree = json_object(), *lists[] = {json_array(), json_array(), json_array()};
    json_object_set(tree, "rope", rs_plan_file_rope(plan, &place));
    json_object_set(tree, "softmax", rs_plan_file_softmax(plan, &place));
    json_object_set_new(tree, "baseline", json_boolean(rs_plan_file_is_baseline(plan, &place)));
    for (int i = 0; i < variant->n; i++)
        json_array_append_new(lists[variant->items[i].span], aggregate_tree(plan, &variant->items[i]));
    for (int span = RS_OVER_LENGTHS; span <= RS_OVER_ALL; span++)
        json_object_set_new(tree, names[span], lists[span]);
    return tree;
}
