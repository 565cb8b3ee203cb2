/* report.json and report.yaml: one tree a part, written twice. */
#include <math.h>

#include "report/emit.h"
#include "report/report_file.h"

static json_t *rope_tree(const rs_plan_file *plan, const rs_plan_point *point)
{
    json_t *rope = json_copy(rs_plan_file_rope(plan, point));
    json_object_set_new(rope, "inv_freq_digest", json_string(point->inv_freq_digest));
    json_object_set_new(rope, "attention_factor", rs_json_number(point->attention_factor));
    return rope;
}

static json_t *split_tree(const rs_split_result *split)
{
    json_t *list = json_array();
    for (int i = 0; i < split->n; i++) {
        const rs_bucket *bucket = &split->buckets[i];
        json_t *tree = json_object();
        json_object_set_new(tree, "from", json_integer(bucket->from));
        json_object_set_new(tree, "to", json_integer(bucket->to));
        json_object_set_new(tree, "n_tokens", json_integer(bucket->n_tokens));
        json_object_set_new(tree, "nll_per_token", rs_estimate_tree("value", bucket->nll_per_token));
        json_array_append_new(list, tree);
    }
    return list;
}

static json_t *versus_tree(const rs_plan_task *task, const rs_point_result *result, int metric)
{
    json_t *tree = rs_versus_tree(result->versus[metric], &result->evidence[metric]);
    if (task->stop_width > 0 && metric == 0)
        rs_put_interval(tree, "confidence_sequence", result->sequence);
    return tree;
}

static json_t *point_tree(const rs_results *results, int64_t i)
{
    const rs_plan_file *plan = &results->plan;
    const rs_plan_point *point = &plan->points[i];
    const rs_plan_task *task = &plan->tasks[point->task];
    const rs_point_result *result = &results->points[i];
    json_t *tree = json_object(), *metrics = json_object(), *versus = json_object();
    json_object_set_new(tree, "id", json_string(point->id));
    json_object_set_new(tree, "rope", rope_tree(plan, point));
    json_object_set(tree, "softmax", rs_plan_file_softmax(plan, point));
    json_object_set_new(tree, "context", json_integer(point->context));
    json_object_set_new(tree, "task", rs_json_text(task->label));
    json_object_set_new(tree, "status", json_string(rs_point_state_name(result->state)));
    if (result->reason)
        json_object_set_new(tree, "reason", rs_json_text(result->reason));
    json_object_set_new(tree, "n", json_integer(result->n));
    json_object_set_new(tree, "samples", json_integer(point->samples));
    for (int m = 0; m < task->n_metrics && result->state == RS_POINT_DONE; m++) {
        json_object_set_new(metrics, task->metrics[m], rs_estimate_tree("value", result->metrics[m]));
        if (result->has_versus)
            json_object_set_new(versus, task->metrics[m], versus_tree(task, result, m));
    }
    json_object_set_new(tree, "metrics", metrics);
    if (result->has_versus)
        json_object_set(tree, "versus_baseline", versus);
    json_decref(versus);
    if (task->counts_keys && result->state == RS_POINT_DONE)
        json_object_set_new(tree, "key_tokens", json_integer(result->key_tokens));
    for (rs_split split = 0; split < RS_N_SPLITS; split++)
        if (result->splits[split].n > 0)
            json_object_set_new(tree, rs_split_names[split], split_tree(&result->splits[split]));
    json_object_set_new(tree, "seconds", rs_json_number(result->seconds));
    return tree;
}

/* All but the points. */
static json_t *head_tree(const rs_results *results, json_t *run)
{
    json_t *tree = json_object(), *root = results->plan.root;
    json_object_set_new(tree, "schema", json_integer(1));
    json_object_set(tree, "program", json_object_get(root, "program"));
    json_object_set(tree, "run", run);
    json_object_set(tree, "model", json_object_get(root, "model"));
    json_object_set(tree, "config", json_object_get(root, "config"));
    return tree;
}

static rs_status write_points(const rs_results *results, rs_sink *json, rs_sink *yaml)
{
    bool first = true;
    for (int64_t i = 0; i < results->plan.n_points; i++) {
        if (!results->plan.points[i].listed)
            continue;
        json_t *tree = point_tree(results, i);
        rs_text_puts(rs_sink_text(json), first ? "\n  " : ",\n  ");
        rs_emit_json(tree, rs_sink_text(json));
        rs_text_puts(rs_sink_text(yaml), first ? "\n  - " : "  - ");
        rs_emit_yaml(tree, 4, rs_sink_text(yaml));
        json_decref(tree);
        first = false;
        RS_TRY(rs_sink_flush(json));
        RS_TRY(rs_sink_flush(yaml));
    }
    rs_text_puts(rs_sink_text(json), "],\n");
    rs_text_puts(rs_sink_text(yaml), first ? " []\n" : "");
    return RS_OK;
}

static rs_status write_variants(const rs_results *results, rs_sink *json, rs_sink *yaml)
{
    rs_text_puts(rs_sink_text(json), "\"variants\": [");
    rs_text_puts(rs_sink_text(yaml), results->n_variants ? "variants:\n" : "variants: []\n");
    for (int i = 0; i < results->n_variants; i++) {
        json_t *tree = rs_variant_tree(results, &results->variants[i]);
        rs_text_puts(rs_sink_text(json), i ? ",\n  " : "\n  ");
        rs_emit_json(tree, rs_sink_text(json));
        rs_text_puts(rs_sink_text(yaml), "  - ");
        rs_emit_yaml(tree, 4, rs_sink_text(yaml));
        json_decref(tree);
        RS_TRY(rs_sink_flush(json));
        RS_TRY(rs_sink_flush(yaml));
    }
    rs_text_puts(rs_sink_text(json), "]}\n");
    return RS_OK;
}

rs_status rs_report_write_trees(const char *folder, const rs_results *results, json_t *run)
{
    rs_status status = RS_OK;
    rs_sink *json = NULL, *yaml = NULL;
    json_t *head = head_tree(results, run), *part;
    const char *key;
    RS_TRY_OUT(rs_sink_open(folder, "report.json", &json));
    RS_TRY_OUT(rs_sink_open(folder, "report.yaml", &yaml));
    json_object_foreach(head, key, part)
    {
        rs_text_puts(rs_sink_text(json), json_object_iter_at(head, key) == json_object_iter(head) ? "{" : "");
        rs_text_printf(rs_sink_text(json), "\"%s\": ", key);
        rs_emit_json(part, rs_sink_text(json));
        rs_text_puts(rs_sink_text(json), ",\n");
    }
    rs_emit_yaml(head, 0, rs_sink_text(yaml));
    rs_text_puts(rs_sink_text(json), "\"points\": [");
    rs_text_puts(rs_sink_text(yaml), "points:");
    RS_TRY_OUT(write_points(results, json, yaml));
    RS_TRY_OUT(write_variants(results, json, yaml));
out:
    json_decref(head);
    status = rs_sink_close(json, status);
    return rs_sink_close(yaml, status);
}
