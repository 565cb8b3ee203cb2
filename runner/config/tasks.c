/* The task list: common keys, the task's own, labels, and what a task's keys must be against the contexts. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/internal.h"

static rs_status find_task(const rs_config *config, const rs_node *map, const rs_task **out)
{
    const rs_node *name = rs_node_get(map, "name");
    double number;
    if (name == NULL) {
        static const char *const wanted[] = {"name"};
        for (int i = 0; i < map->n; i++)
            if (rs_nearest(map->keys[i]->text, wanted, 1) && rs_param_find(rs_task_common_params, map->keys[i]->text) < 0)
                return rs_fail_word(config->yaml, map->keys[i]->place, "unknown key in a task", map->keys[i]->text, wanted, 1);
        return rs_yaml_fail(config->yaml, map->place, "a task needs 'name'");
    }
    if (name->kind != RS_NODE_SCALAR)
        return rs_yaml_fail(config->yaml, name->place, "name must be a task, not %s", rs_node_kind_text(name));
    *out = rs_scalar_kind(name, &number) == RS_SCALAR_STRING ? rs_task_find(name->text) : NULL;
    if (*out)
        return RS_OK;
    rs_names names = {0};
    for (size_t i = 0; rs_tasks[i]; i++)
        rs_names_add(&names, rs_tasks[i]->name);
    rs_status status = rs_fail_word(config->yaml, name->place, "unknown task", name->text, names.items, names.n);
    rs_names_free(&names);
    return status;
}

static rs_status fail_key(const rs_config *config, const rs_node *key, const rs_task *task)
{
    rs_names names = {0};
    rs_names_add_params(&names, task->params);
    rs_names_add_params(&names, rs_task_common_params);
    char *what = rs_format("unknown key of task '%s'", task->name);
    rs_status status = rs_fail_word(config->yaml, key->place, what, key->text, names.items, names.n);
    free(what);
    rs_names_free(&names);
    return status;
}

static bool is_auto(const rs_node *key, const rs_node *item)
{
    return strcmp(key->text, "samples") == 0 && item->kind == RS_NODE_SCALAR && strcmp(item->text, "auto") == 0;
}

/* `samples: auto` is short for these two; a stop_width that is given stands. */
static void set_auto(rs_params *common)
{
    static const double most = 500, width = 0.1; /* RULER's number of samples */
    common->values[rs_param_find(common->specs, "samples")] = (rs_param_value){.set = true, .given = true, .number = most};
    if (!rs_param_is_set(common, "stop_width"))
        common->values[rs_param_find(common->specs, "stop_width")] = (rs_param_value){.set = true, .number = width};
}

static rs_status read_task(rs_config *config, const rs_node *map)
{
    const rs_yaml *tree = config->yaml;
    const rs_task *task = NULL;
    if (map->kind != RS_NODE_MAP)
        return rs_yaml_fail(tree, map->place, "a task must be a map with 'name'%s%s%s", map->kind == RS_NODE_LIST ? ", not a list" : " ('",
                            map->text ? rs_show(map->text).text : "", map->text ? "')" : "");
    RS_TRY(find_task(config, map, &task));
    rs_task_entry *entry = &config->tasks[config->n_tasks++];
    *entry = (rs_task_entry){.task = task, .place = map->place};
    rs_params_init(&entry->common, rs_task_common_params);
    rs_params_init(&entry->params, task->params);
    for (int i = 0; i < map->n; i++) {
        if (is_auto(map->keys[i], map->items[i])) {
            set_auto(&entry->common);
            continue;
        }
        int common = rs_param_find(rs_task_common_params, map->keys[i]->text), own = rs_param_find(task->params, map->keys[i]->text);
        if (common < 0 && own < 0)
            return fail_key(config, map->keys[i], task);
        RS_TRY(own >= 0 ? rs_convert_param(tree, map->items[i], &entry->params, own)
                        : rs_convert_param(tree, map->items[i], &entry->common, common));
    }
    char *where = rs_format("task '%s'", task->name);
    rs_status status = rs_fill_at(tree, map->place, where, &entry->common, NULL);
    if (status == RS_OK)
        status = rs_fill_at(tree, map->place, where, &entry->params, NULL);
    free(where);
    return status;
}

static rs_status check_label(rs_config *config, int index)
{
    rs_task_entry *entry = &config->tasks[index];
    rs_param_value *label = &entry->common.values[rs_param_find(rs_task_common_params, "label")];
    if (!label->set) {
        label->string = rs_strdup(entry->task->name);
        label->set = true;
    }
    const rs_node *node = rs_node_get(rs_node_get(config->yaml->root, "tasks")->items[index], label->given ? "label" : "name");
    if (label->string[0] == '\0')
        return rs_yaml_fail(config->yaml, node->place, "label must not be empty ('')");
    for (int i = 0; i < index; i++)
        if (strcmp(rs_param_string(&config->tasks[i].common, "label"), label->string) == 0)
            return rs_yaml_fail(config->yaml, node->place, "two tasks are called the same, first at line %d ('%s'): give one a label",
                                config->tasks[i].place.line, rs_show(label->string).text);
    return RS_OK;
}

/* Place of the key that a message begins with, where the task's map has it; else the task's. */
static rs_place place_of_message(const rs_node *map, const char *message)
{
    for (int i = 0; i < map->n; i++) {
        size_t n = strlen(map->keys[i]->text);
        if (strncmp(message, map->keys[i]->text, n) == 0 && (message[n] == ' ' || message[n] == ':'))
            return map->items[i]->place;
    }
    return map->place;
}

/* What only the task knows of its keys: together, and at each context. */
static rs_status check_params(const rs_config *config, int index)
{
    const rs_task_entry *entry = &config->tasks[index];
    if (entry->task->check == NULL)
        return RS_OK;
    const rs_node *map = rs_node_get(config->yaml->root, "tasks")->items[index];
    rs_status status = entry->task->check(&entry->params, 0);
    for (int i = 0; i < config->n_contexts && status == RS_OK; i++)
        status = entry->task->check(&entry->params, config->contexts[i]);
    return rs_refail(config->yaml, place_of_message(map, rs_error_message()), NULL, status);
}

/* Stopping early is for scores from 0 to 1, which alone have bounds to bet on. */
static rs_status check_stop(const rs_config *config, int index)
{
    const rs_task_entry *entry = &config->tasks[index];
    const rs_node *map = rs_node_get(config->yaml->root, "tasks")->items[index];
    const char *metrics[RS_MAX_METRICS + 1];
    bool width = rs_param_is_set(&entry->common, "stop_width"), least = rs_param_is_set(&entry->common, "stop_min");
    if (least && !width)
        return rs_yaml_fail(config->yaml, rs_node_get(map, "stop_min")->place, "stop_min says nothing without stop_width");
    if (width && rs_task_metrics(entry->task, &entry->params, metrics) == 0) {
        const rs_node *node = rs_node_get(map, "stop_width");
        return rs_yaml_fail(config->yaml, node ? node->place : rs_node_get(map, "samples")->place,
                            "task '%s' has no score that %s could judge", entry->task->name, node ? "stop_width" : "samples: auto");
    }
    return RS_OK;
}

rs_status rs_read_tasks(rs_config *config, const rs_node *node)
{
    const rs_yaml *tree = config->yaml;
    if (node == NULL)
        return rs_yaml_fail(tree, tree->root->place, "'tasks' is missing: a list of maps with 'name'");
    if (node->kind != RS_NODE_LIST)
        return rs_yaml_fail(tree, node->place, "tasks must be a list of maps with 'name'%s%s%s",
                            node->kind == RS_NODE_MAP ? ", not a map" : " ('", node->text ? rs_show(node->text).text : "",
                            node->text ? "')" : "");
    if (node->n == 0)
        return rs_yaml_fail(tree, node->place, "tasks is an empty list ('[]')");
    if (node->n > RS_MAX_TASKS)
        return rs_yaml_fail(tree, node->items[RS_MAX_TASKS]->place, "more than %d tasks", RS_MAX_TASKS);
    config->tasks = rs_alloc((size_t)node->n, sizeof *config->tasks);
    for (int i = 0; i < node->n; i++)
        RS_TRY(read_task(config, node->items[i]));
    for (int i = 0; i < node->n; i++) {
        RS_TRY(check_label(config, i));
        RS_TRY(check_params(config, i));
        RS_TRY(check_stop(config, i));
    }
    return RS_OK;
}
