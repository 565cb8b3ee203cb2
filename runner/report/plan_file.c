#include "report/plan_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/scan.h"

static const char *intern(rs_plan_file *plan, const char *name)
{
    for (int i = 0; i < plan->n_names; i++)
        if (strcmp(plan->names[i], name) == 0)
            return plan->names[i];
    RS_PUSH(plan->names, plan->n_names, plan->names_cap, rs_strdup(name));
    return plan->names[plan->n_names - 1];
}

static bool read_metrics(rs_plan_file *plan, json_t *names, rs_plan_task *task)
{
    size_t i;
    json_t *name;
    if (task->scores_text) {
        task->metrics[task->n_metrics++] = intern(plan, task->counts_keys ? "nll_per_key_token" : "nll_per_token");
        task->metrics[task->n_metrics++] = intern(plan, task->counts_keys ? "longppl" : "perplexity");
        return true;
    }
    if (!json_is_array(names) || json_array_size(names) > RS_MAX_METRICS)
        return false;
    json_array_foreach(names, i, name)
    {
        if (!json_is_string(name))
            return false;
        task->metrics[task->n_metrics++] = intern(plan, json_string_value(name));
    }
    return true;
}

/* Index of the point's task, which is added when its label is new; -1: not a task. `guess` is where it stands if points repeat in order. */
static int find_task(rs_plan_file *plan, json_t *point, int64_t guess)
{
    const char *label = json_string_value(json_object_get(point, "task")), *kind = json_string_value(json_object_get(point, "kind"));
    if (label == NULL || kind == NULL)
        return -1;
    for (int i = 0; i < plan->n_tasks; i++) {
        int at = (int)((guess + i) % plan->n_tasks);
        if (strcmp(plan->tasks[at].label, label) == 0)
            return at;
    }
    bool counts_keys = strcmp(kind, "score_keys") == 0;
    rs_plan_task task = {.scores_text = counts_keys || strcmp(kind, "score") == 0, .counts_keys = counts_keys};
    if (!read_metrics(plan, json_object_get(point, "metrics"), &task))
        return -1;
    task.stop_width = json_number_value(json_object_get(point, "stop_width"));
    task.stop_min = json_integer_value(json_object_get(point, "stop_min"));
    if (!(task.stop_width >= 0) || (task.stop_width > 0 && (task.stop_min < 1 || task.scores_text)))
        return -1;
    task.label = rs_strdup(label);
    task.version = (int)json_integer_value(json_object_get(point, "task_version"));
    RS_PUSH(plan->tasks, plan->n_tasks, plan->tasks_cap, task);
    return plan->n_tasks - 1;
}

static bool read_index(json_t *object, const char *name, int n, int *out)
{
    json_t *value = json_object_get(object, name);
    *out = (int)json_integer_value(value);
    return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) < n;
}

enum { MAX_SHARDS = 1000000, MAX_SAMPLES = 1000000000 }; /* what a config may ask for */

static bool read_shard(rs_plan_file *plan, json_t *shard)
{
    return read_index(shard, "count", MAX_SHARDS + 1, &plan->n_shards) && read_index(shard, "index", plan->n_shards, &plan->shard);
}

static bool read_point(rs_plan_file *plan, json_t *object, int64_t i, rs_plan_point *point)
{
    const char *id = json_string_value(json_object_get(object, "id"));
    const char *digest = json_string_value(json_object_get(object, "inv_freq_digest"));
    if (id == NULL || strlen(id) != 16 || !rs_scan_hex(id, 16, &point->key) || digest == NULL || strlen(digest) > 32)
        return false;
    memcpy(point->id, id, 17);
    memcpy(point->inv_freq_digest, digest, strlen(digest) + 1);
    point->context = json_integer_value(json_object_get(object, "context"));
    point->samples = json_integer_value(json_object_get(object, "samples"));
    point->extra = json_integer_value(json_object_get(object, "extra"));
    point->attention_factor = json_number_value(json_object_get(object, "attention_factor"));
    point->task = find_task(plan, object, i);
    if (plan->n_shards > 0 && !read_index(object, "shard", plan->n_shards, &point->shard))
        return false;
    point->listed = plan->n_shards == 0 || point->shard == plan->shard;
    return point->task >= 0 && point->context > 0 && point->samples > 0 && point->samples <= MAX_SAMPLES && point->extra >= 0 &&
           point->extra <= RS_EXTRA_DOC_ID && point->extra % point->samples == 0 &&
           read_index(object, "rope", plan->n_ropes, &point->rope) && read_index(object, "softmax", plan->n_softmaxes, &point->softmax);
}

static bool read_axis(json_t *axis, int *n)
{
    size_t i;
    json_t *entry;
    *n = (int)json_array_size(axis);
    json_array_foreach(axis, i, entry) if (!json_is_string(json_object_get(entry, "label")) ||
                                           !json_is_object(json_object_get(entry, "entry"))) return false;
    return *n > 0;
}

static const char *read_plan(rs_plan_file *plan)
{
    json_t *baseline = json_object_get(plan->root, "baseline"), *points = json_object_get(plan->root, "points");
    plan->ropes = json_object_get(plan->root, "ropes");
    plan->softmaxes = json_object_get(plan->root, "softmaxes");
    if (json_integer_value(json_object_get(plan->root, "schema")) != 1)
        return "schema";
    if (!read_axis(plan->ropes, &plan->n_ropes))
        return "ropes";
    if (!read_axis(plan->softmaxes, &plan->n_softmaxes))
        return "softmaxes";
    if (!read_index(baseline, "rope", plan->n_ropes, &plan->baseline_rope) ||
        !read_index(baseline, "softmax", plan->n_softmaxes, &plan->baseline_softmax))
        return "baseline";
    if (json_object_get(plan->root, "shard") && !read_shard(plan, json_object_get(plan->root, "shard")))
        return "shard";
    if (!json_is_array(points) || !json_is_object(json_object_get(plan->root, "model")) ||
        !json_is_object(json_object_get(plan->root, "config")))
        return "points, model or config";
    plan->points = rs_alloc(json_array_size(points), sizeof *plan->points);
    size_t i;
    json_t *point;
    json_array_foreach(points, i, point)
    {
        if (!read_point(plan, point, plan->n_points, &plan->points[plan->n_points]))
            return "points";
        plan->n_points++;
    }
    json_object_del(plan->root, "points"); /* a tree of a million points is large */
    return NULL;
}

rs_status rs_plan_file_parse(const char *text, const char *path, rs_plan_file *out)
{
    json_error_t error;
    *out = (rs_plan_file){0};
    if (text == NULL)
        return rs_fail(RS_INVALID, "%s: no such file; without the plan the records have no meaning", path);
    out->root = json_loads(text, JSON_ALLOW_NUL, &error);
    if (out->root == NULL)
        return rs_fail(RS_INVALID, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    const char *wrong = read_plan(out);
    if (wrong == NULL)
        return RS_OK;
    int64_t at = out->n_points;
    rs_plan_file_free(out);
    return rs_fail(RS_INVALID, "%s: `%s` is not what a run writes there (after %" PRId64 " points)", path, wrong, at);
}

void rs_plan_file_free(rs_plan_file *plan)
{
    for (int i = 0; i < plan->n_tasks; i++)
        free(plan->tasks[i].label);
    for (int i = 0; i < plan->n_names; i++)
        free(plan->names[i]);
    free(plan->tasks);
    free(plan->names);
    free(plan->points);
    json_decref(plan->root);
    *plan = (rs_plan_file){0};
}

json_t *rs_plan_file_rope(const rs_plan_file *plan, const rs_plan_point *point)
{
    return json_object_get(json_array_get(plan->ropes, (size_t)point->rope), "entry");
}

json_t *rs_plan_file_softmax(const rs_plan_file *plan, const rs_plan_point *point)
{
    return json_object_get(json_array_get(plan->softmaxes, (size_t)point->softmax), "entry");
}

const char *rs_plan_file_rope_label(const rs_plan_file *plan, int rope)
{
    return json_string_value(json_object_get(json_array_get(plan->ropes, (size_t)rope), "label"));
}

const char *rs_plan_file_softmax_label(const rs_plan_file *plan, int softmax)
{
    return json_string_value(json_object_get(json_array_get(plan->softmaxes, (size_t)softmax), "label"));
}
