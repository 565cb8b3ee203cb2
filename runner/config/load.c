/* rs_config_load: the sections in turn, then the checks that need several of them. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "config/internal.h"
#include "kernels/diagnostics.h"

void rs_rope_entry_free(rs_rope_entry *entry)
{
    rs_params_free(&entry->params);
}

void rs_softmax_entry_free(rs_softmax_entry *entry)
{
    rs_params_free(&entry->params);
}

void rs_config_free(rs_config *config)
{
    if (config == NULL)
        return;
    for (int i = 0; i < config->n_ropes; i++)
        rs_rope_entry_free(&config->ropes[i]);
    for (int i = 0; i < config->n_softmaxes; i++)
        rs_softmax_entry_free(&config->softmaxes[i]);
    for (int i = 0; i < config->n_tasks; i++) {
        rs_params_free(&config->tasks[i].common);
        rs_params_free(&config->tasks[i].params);
    }
    rs_rope_entry_free(&config->wanted_rope);
    rs_softmax_entry_free(&config->wanted_softmax);
    rs_params_free(&config->run);
    rs_params_free(&config->model);
    rs_params_free(&config->parallel);
    rs_yaml_close(config->yaml);
    free(config->ropes);
    free(config->softmaxes);
    free(config->contexts);
    free(config->tasks);
    free(config->path);
    free(config->folder);
    free(config);
}

/* --- the top of the file --- */

static rs_status fail_top_key(const rs_config *config, const rs_node *key)
{
    rs_names names = {0};
    for (const rs_section *section = rs_config_sections; section->name; section++) {
        if (section->name[0])
            rs_names_add(&names, section->name);
        else
            rs_names_add_params(&names, section->params);
    }
    rs_status status = RS_OK;
    for (const rs_section *section = rs_config_sections; section->name && status == RS_OK; section++) {
        bool has = section->params && section->params != rs_task_common_params && rs_param_find(section->params, key->text) >= 0;
        for (const rs_key_row *row = section->keys; row && row->name && strcmp(section->name, "sweep") == 0; row++)
            has = has || strcmp(row->name, key->text) == 0;
        if (has)
            status =
                rs_yaml_fail(config->yaml, key->place, "unknown key ('%s'), did you mean '%s.%s'?", key->text, section->name, key->text);
    }
    if (status == RS_OK)
        status = rs_fail_word(config->yaml, key->place, "unknown key", key->text, names.items, names.n);
    rs_names_free(&names);
    return status;
}

static rs_status read_top(rs_config *config)
{
    const rs_node *root = config->yaml->root;
    if (root == NULL)
        return rs_yaml_fail(config->yaml, (rs_place){.line = 1, .column = 1}, "the file is empty: it needs model, sweep and tasks");
    if (root->kind != RS_NODE_MAP)
        return rs_yaml_fail(config->yaml, root->place, "a config is a map of model, sweep, tasks, ..., not %s%s%s",
                            root->kind == RS_NODE_LIST ? "a list" : "a single value ('",
                            root->kind == RS_NODE_LIST ? "" : rs_show(root->text).text, root->kind == RS_NODE_LIST ? "" : "')");
    for (int i = 0; i < root->n; i++) {
        int index = rs_param_find(config->run.specs, root->keys[i]->text);
        if (index >= 0)
            RS_TRY(rs_convert_param(config->yaml, root->items[i], &config->run, index));
        else if (root->keys[i]->text[0] == '\0' || rs_section_find(root->keys[i]->text) == NULL)
            return fail_top_key(config, root->keys[i]);
    }
    return rs_params_fill(&config->run, NULL);
}

static rs_status check_diagnostic(const rs_config *config, const rs_node *at, const char *name)
{
    rs_names names = {0};
    bool known = strcmp(name, "all") == 0;
    for (int i = 0; i < RS_N_DIAGNOSTICS; i++) {
        known = known || strcmp(name, rs_diagnostic_kinds[i].name) == 0;
        rs_names_add(&names, rs_diagnostic_kinds[i].name);
    }
    rs_names_add(&names, "all");
    rs_status status = known ? RS_OK : rs_fail_word(config->yaml, at->place, "unknown diagnostic", name, names.items, names.n);
    rs_names_free(&names);
    return status;
}

static rs_status check_diagnostics(const rs_config *config)
{
    const rs_node *node = rs_node_get(config->yaml->root, "diagnostics"), *offsets = rs_node_get(config->yaml->root, "diagnostic_offsets");
    const rs_param_value *wanted = rs_param_get(&config->run, "diagnostics"), *at = rs_param_get(&config->run, "diagnostic_offsets");
    for (size_t i = 0; i < wanted->n; i++)
        RS_TRY(check_diagnostic(config, node->kind == RS_NODE_LIST ? node->items[i] : node, wanted->strings[i]));
    if (at->set && !wanted->set)
        return rs_yaml_fail(config->yaml, offsets->place, "diagnostic_offsets needs diagnostics: [positional_heads]");
    if (at->n > RS_MAX_OFFSETS - 2)
        return rs_yaml_fail(config->yaml, offsets->place, "diagnostic_offsets: %zu numbers, more than %d", at->n, RS_MAX_OFFSETS - 2);
    for (size_t i = 0; i < at->n; i++)
        for (size_t k = 0; k <= i; k++)
            if (at->vector[i] != floor(at->vector[i]) || (k < i && at->vector[k] == at->vector[i]))
                return rs_yaml_fail(config->yaml, offsets->place, "diagnostic_offsets must be whole and different numbers ('%.15g')",
                                    at->vector[i]);
    return RS_OK;
}

/* results/NAME of .../NAME.yaml, where the file does not say. */
static void fill_output(rs_config *config)
{
    rs_param_value *output = &config->run.values[rs_param_find(config->run.specs, "output")];
    if (output->set)
        return;
    const char *slash = strrchr(config->path, '/'), *name = slash ? slash + 1 : config->path, *dot = strrchr(name, '.');
    bool yaml = dot && dot > name && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
    output->string = rs_format("results/%.*s", (int)(yaml ? (size_t)(dot - name) : strlen(name)), name);
    output->set = true;
}

char *rs_config_output(const rs_config *config)
{
    const rs_param_value *output = rs_param_get(&config->run, "output");
    return output->given ? rs_path_join(config->folder, output->string) : rs_strdup(output->string);
}

/* --- sections --- */

/* A map whose keys have forms of their own (sweep, baseline); null is an empty map. */
static rs_status check_keys(const rs_config *config, const rs_node *map, const char *section)
{
    if (map->kind != RS_NODE_MAP && !rs_node_is_null(map))
        return rs_yaml_fail(config->yaml, map->place, "%s must be a map%s%s%s", section, map->kind == RS_NODE_LIST ? ", not a list" : " ('",
                            map->text ? rs_show(map->text).text : "", map->text ? "')" : "");
    rs_names names = {0};
    for (const rs_key_row *row = rs_section_find(section)->keys; row->name; row++)
        rs_names_add(&names, row->name);
    rs_status status = RS_OK;
    char *what = rs_format("unknown key in %s", section);
    for (int i = 0; i < map->n && status == RS_OK; i++) {
        bool known = false;
        for (size_t k = 0; k < names.n; k++)
            known = known || strcmp(names.items[k], map->keys[i]->text) == 0;
        if (!known)
            status = rs_fail_word(config->yaml, map->keys[i]->place, what, map->keys[i]->text, names.items, names.n);
    }
    free(what);
    rs_names_free(&names);
    return status;
}

static rs_status read_sweep(rs_config *config)
{
    const rs_node *root = config->yaml->root, *sweep = rs_node_get(root, "sweep");
    if (sweep == NULL)
        return rs_yaml_fail(config->yaml, root->place, "'sweep' is missing: it says what is swept (rope, softmax, context)");
    RS_TRY(check_keys(config, sweep, "sweep"));
    RS_TRY(rs_read_ropes(config, rs_node_get(sweep, "rope")));
    RS_TRY(rs_read_softmaxes(config, rs_node_get(sweep, "softmax")));
    const rs_node *context = rs_node_get(sweep, "context");
    if (context == NULL)
        return rs_yaml_fail(config->yaml, sweep->place, "'sweep.context' is missing: tokens of one sample, like 4096-131072*2");
    return rs_read_contexts(config, context);
}

static rs_status read_baseline(rs_config *config)
{
    const rs_node *baseline = rs_node_get(config->yaml->root, "baseline");
    if (baseline == NULL)
        return RS_OK;
    RS_TRY(check_keys(config, baseline, "baseline"));
    const rs_node *rope = rs_node_get(baseline, "rope"), *softmax = rs_node_get(baseline, "softmax");
    if (rope)
        RS_TRY(rs_read_one_rope(config, rope, &config->wanted_rope));
    if (softmax)
        RS_TRY(rs_read_one_softmax(config, softmax, &config->wanted_softmax));
    return RS_OK;
}

static rs_status check_points(const rs_config *config)
{
    double points = (double)config->n_ropes * config->n_softmaxes * config->n_contexts * config->n_tasks;
    if (points <= RS_MAX_POINTS)
        return RS_OK;
    const rs_node *root = config->yaml->root;
    return rs_yaml_fail(config->yaml, root->keys[rs_node_index(root, "sweep")]->place,
                        "%.0f points (%d rope x %d softmax x %d contexts x %d tasks), more than %d", points, config->n_ropes,
                        config->n_softmaxes, config->n_contexts, config->n_tasks, RS_MAX_POINTS);
}

static rs_status read_all(rs_config *config)
{
    const rs_yaml *tree = config->yaml;
    RS_TRY(read_top(config));
    RS_TRY(check_diagnostics(config));
    fill_output(config);
    const rs_node *model = rs_node_get(tree->root, "model");
    if (model == NULL)
        return rs_yaml_fail(tree, tree->root->place, "'model.path' is missing: a Hugging Face folder");
    RS_TRY(rs_convert_section(tree, model, "model", &config->model));
    RS_TRY(rs_convert_section(tree, rs_node_get(tree->root, "parallel"), "parallel", &config->parallel));
    RS_TRY(read_sweep(config));
    RS_TRY(rs_read_tasks(config, rs_node_get(tree->root, "tasks")));
    RS_TRY(check_points(config));
    RS_TRY(rs_check_duplicates(config));
    RS_TRY(read_baseline(config));
    return rs_find_baseline(config, false);
}

rs_status rs_config_load(const char *path, const rs_override *overrides, size_t n_overrides, rs_config **out)
{
    *out = NULL;
    rs_config *config = rs_alloc(1, sizeof *config);
    config->path = rs_strdup(path);
    config->folder = rs_path_folder(path);
    rs_params_init(&config->run, rs_config_run_params);
    rs_params_init(&config->model, rs_config_model_params);
    rs_params_init(&config->parallel, rs_config_parallel_params);
    rs_status status = rs_yaml_open(path, &config->yaml);
    for (size_t i = 0; i < n_overrides && status == RS_OK; i++)
        status = rs_yaml_set(config->yaml, overrides[i].key, overrides[i].value);
    if (status == RS_OK)
        status = read_all(config);
    if (status == RS_OK)
        *out = config;
    else
        rs_config_free(config);
    return status;
}

/* --- errors of later phases --- */

/* Place of the deepest node on the way to `key`; 0 where not even the first step stands in the file. *whole: the key itself does. */
static rs_place find_place(const rs_config *config, const char *key, bool *whole)
{
    const rs_node *node = config->yaml->root;
    rs_place place = {0};
    char *steps = rs_strdup(key), *rest = steps;
    *whole = true;
    for (char *step = strsep(&rest, "."); step && *whole; step = strsep(&rest, ".")) {
        int i = node->kind == RS_NODE_MAP ? rs_node_index(node, step) : -1;
        if (node->kind == RS_NODE_LIST && step[0] >= '0' && step[0] <= '9' && atol(step) < node->n)
            i = (int)atol(step);
        *whole = i >= 0;
        if (i >= 0) {
            node = node->items[i];
            place = node->place;
        }
    }
    free(steps);
    return place;
}

rs_status rs_config_fail_at(const rs_config *config, const char *key, const char *format, ...)
{
    char what[1600];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    bool whole;
    rs_place place = find_place(config, key, &whole);
    return rs_yaml_fail(config->yaml, place, "%s%s%s", whole ? "" : key, whole ? "" : " (default): ", what);
}

rs_status rs_config_fail_place(const rs_config *config, rs_place place, const char *format, ...)
{
    char what[1600];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rs_yaml_fail_text(config->yaml, place, what);
}
