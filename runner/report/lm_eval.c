/* DIR/lm-eval/VARIANT/results_TIME.json and samples_TASK_TIME.jsonl, as lm-evaluation-harness 0.4 lays its output folder out. VARIANT and
 * TASK are labels without what a file's name or a reader's separators cannot hold. Only points that are done are there: a mean over fewer
 * samples than its neighbours' would look like theirs. */
#include "report/lm_eval.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "report/emit.h"
#include "report/report_file.h"

enum { MAX_NAME = 120 };

/* What all variants share. */
typedef struct exporting {
    const rs_results *results;
    json_t *run; /* the last run's facts, NULL where none are known */
    time_t started;
    char stamp[32];      /* the same as names have it */
    char *folder;        /* DIR/lm-eval */
    json_t *folders;     /* the names in it that are taken */
    rs_sample_rows rows; /* scratch */
} exporting;

typedef struct variant {
    char *name, *folder;
    json_t *tasks; /* the names that are taken */
    json_t *root;  /* of results_TIME.json */
} variant;

/* A point as one of its variant's tasks. */
typedef struct entry {
    const rs_plan_point *point;
    const rs_plan_task *task;
    char *alias, *name; /* label@context, and the same as a name */
    json_t *config;     /* the task in the sweep's config, with all its keys. Borrowed */
    json_t *generation; /* how answers are generated, NULL where text is scored */
} entry;

/* --- names --- */

static bool is_safe(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("._=+,-@#", c));
}

/* The label with each run of other characters as one _. Labels that look alike then, or are cut, get numbers. Freed by the caller. */
static char *take_name(const char *label, json_t *taken)
{
    char plain[MAX_NAME + 1];
    size_t n = 0;
    for (const char *c = label; *c && n < MAX_NAME; c++)
        if (is_safe(*c))
            plain[n++] = *c;
        else if (n == 0 || plain[n - 1] != '_')
            plain[n++] = '_';
    plain[n] = '\0';
    char *name = rs_strdup(plain);
    for (int i = 2; json_object_get(taken, name); i++) {
        free(name);
        name = rs_format("%s_%d", plain, i);
    }
    json_object_set_new(taken, name, json_true());
    return name;
}

/* When the last run began; where nothing tells, when its plan was written. */
static void set_time(exporting *e)
{
    struct tm tm = {0};
    struct stat info = {0};
    const char *started = json_string_value(json_object_get(e->run, "started"));
    char *plan = rs_path_join(rs_journal_folder(e->results->journal), "plan.json");
    if (started && strptime(started, "%Y-%m-%dT%H:%M:%SZ", &tm))
        e->started = timegm(&tm);
    else if (stat(plan, &info) == 0)
        e->started = info.st_mtime;
    strftime(e->stamp, sizeof e->stamp, "%Y-%m-%dT%H-%M-%S", gmtime_r(&e->started, &tm));
    free(plan);
}

/* --- tasks --- */

static json_t *find_config(const rs_plan_file *plan, const rs_plan_task *task)
{
    size_t i;
    json_t *config;
    json_array_foreach(json_object_get(json_object_get(plan->root, "config"), "tasks"), i, config)
    {
        const char *label = json_string_value(json_object_get(config, "label"));
        if (label && strcmp(label, task->label) == 0)
            return config;
    }
    return NULL;
}

static entry open_entry(const rs_plan_file *plan, const rs_plan_point *point, json_t *taken)
{
    const rs_plan_task *task = &plan->tasks[point->task];
    entry t = {
        .point = point, .task = task, .alias = rs_format("%s@%" PRId64, task->label, point->context), .config = find_config(plan, task)};
    t.name = take_name(t.alias, taken);
    if (!task->scores_text) {
        json_int_t longest = json_integer_value(json_object_get(t.config, "max_new_tokens"));
        t.generation = json_pack("{s:b}", "do_sample", false);
        if (longest > 0)
            json_object_set_new(t.generation, "max_gen_toks", json_integer(longest));
    }
    return t;
}

static void close_entry(entry *t)
{
    free(t->alias);
    free(t->name);
    json_decref(t->generation);
}

static json_t *metrics_tree(const rs_plan_task *task)
{
    json_t *list = json_array();
    for (int m = 0; m < task->n_metrics; m++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "metric", task->metrics[m], "aggregation",
                                              !task->scores_text ? "mean"
                                              : m == 0           ? "weighted_mean"
                                                                 : "weighted_perplexity",
                                              "higher_is_better", !task->scores_text));
    return list;
}

static json_t *config_tree(const entry *t)
{
    json_t *tree = json_pack("{s:s, s:s, s:i, s:i}", "task", t->name, "output_type",
                             t->task->scores_text ? "loglikelihood_rolling" : "generate_until", "num_fewshot", 0, "repeats", 1);
    if (t->generation)
        json_object_set(tree, "generation_kwargs", t->generation);
    json_object_set_new(tree, "metric_list", metrics_tree(t->task));
    json_object_set_new(
        tree, "metadata",
        json_pack("{s:i, s:I, s:O?}", "version", t->task->version, "context", (json_int_t)t->point->context, "config", t->config));
    return tree;
}

/* A metric without a value, as of no key tokens, is left out. */
static json_t *results_tree(const entry *t, const rs_sample_rows *rows)
{
    json_t *tree = json_pack("{s:s, s:o, s:I}", "name", t->name, "alias", rs_json_text(t->alias), "sample_len", (json_int_t)rows->n);
    for (int m = 0; m < t->task->n_metrics; m++) {
        rs_estimate estimate = rs_rows_metric(t->task, m, rows);
        char *value = rs_format("%s,none", t->task->metrics[m]), *error = rs_format("%s_stderr,none", t->task->metrics[m]);
        if (isfinite(estimate.value)) {
            json_object_set_new(tree, value, json_real(estimate.value));
            json_object_set_new(tree, error, isfinite(estimate.error) ? json_real(estimate.error) : json_string("N/A"));
        }
        free(value);
        free(error);
    }
    return tree;
}

static void add_entry(variant *v, const entry *t, const rs_sample_rows *rows, rs_digest hash)
{
    json_t *higher = json_object();
    char hex[33];
    for (int m = 0; m < t->task->n_metrics; m++)
        json_object_set_new(higher, t->task->metrics[m], json_boolean(!t->task->scores_text));
    const struct {
        const char *name;
        json_t *value;
    } parts[] = {
        {"results", results_tree(t, rows)},
        {"configs", config_tree(t)},
        {"versions", json_integer(t->task->version)},
        {"n-shot", json_integer(0)},
        {"higher_is_better", higher},
        {"n-samples", json_pack("{s:I, s:I}", "original", (json_int_t)t->point->samples, "effective", (json_int_t)rows->n)},
        {"task_hashes", json_string(rs_digest_hex(hash, hex))},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_t *map = json_object_get(v->root, parts[i].name);
        if (map == NULL) {
            map = json_object();
            json_object_set_new(v->root, parts[i].name, map);
        }
        json_object_set_new(map, t->name, parts[i].value);
    }
}

static rs_status write_entry(exporting *e, variant *v, int64_t point)
{
    rs_status status = RS_OK;
    rs_point_result result = {0};
    rs_digest hash;
    char *file = NULL;
    entry t = open_entry(&e->results->plan, &e->results->plan.points[point], v->tasks);
    if (!t.point->listed)
        goto out;
    RS_TRY_OUT(rs_results_rows(e->results, point, &e->rows, &result));
    if (result.state != RS_POINT_DONE)
        goto out;
    file = rs_format("samples_%s_%s.jsonl", t.name, e->stamp);
    RS_TRY_OUT(rs_folder_create_own(e->folder));
    RS_TRY_OUT(rs_folder_create_own(v->folder));
    RS_TRY_OUT(rs_lm_eval_write_samples(e->results, point, &e->rows, t.generation, v->folder, file, &hash));
    add_entry(v, &t, &e->rows, hash);
out:
    free(file);
    free(result.reason);
    close_entry(&t);
    return status;
}

/* --- variants --- */

static variant open_variant(exporting *e, const rs_plan_point *point)
{
    const rs_plan_file *plan = &e->results->plan;
    char *label = rs_format("%s / %s", rs_plan_file_rope_label(plan, point->rope), rs_plan_file_softmax_label(plan, point->softmax));
    variant v = {.name = take_name(label, e->folders), .tasks = json_object()};
    v.folder = rs_path_join(e->folder, v.name);
    v.root = json_pack("{s:{}, s:s, s:o, s:s}", "group_subtasks", "model_source", "ropesweep", "model_name", rs_json_text(label),
                       "model_name_sanitized", v.name);
    free(label);
    return v;
}

/* lm-evaluation-harness's `config`: which model this is. */
static json_t *model_tree(const exporting *e, const rs_plan_point *point)
{
    json_t *model = json_object_get(e->results->plan.root, "model"), *tree = json_object(), *arguments = json_object();
    json_object_set(arguments, "pretrained", json_object_get(model, "path"));
    json_object_set(arguments, "dtype", json_object_get(model, "dtype"));
    json_object_set(arguments, "rope", rs_plan_file_rope(&e->results->plan, point));
    json_object_set(arguments, "softmax", rs_plan_file_softmax(&e->results->plan, point));
    json_object_set_new(tree, "model", json_string("ropesweep"));
    json_object_set_new(tree, "model_args", arguments);
    json_object_set(tree, "model_num_parameters", json_object_get(model, "parameters"));
    json_object_set(tree, "model_dtype", json_object_get(model, "dtype"));
    json_object_set(tree, "model_sha", json_object_get(model, "digest"));
    json_object_set_new(tree, "batch_size", json_null());
    json_object_set_new(tree, "batch_sizes", json_array());
    json_object_set(tree, "device", json_object_get(e->run, "device"));
    json_object_set_new(tree, "use_cache", json_null());
    json_object_set_new(tree, "gen_kwargs", json_null());
    json_object_set(tree, "random_seed", json_object_get(json_object_get(e->results->plan.root, "config"), "seed"));
    return tree;
}

static void add_run(const exporting *e, variant *v, const rs_plan_point *point)
{
    json_t *program = json_object_get(e->results->plan.root, "program"), *seconds = json_object_get(e->run, "seconds");
    char text[32];
    json_object_set_new(v->root, "config", model_tree(e, point));
    json_object_set(v->root, "git_hash", json_object_get(program, "commit"));
    json_object_set_new(v->root, "date", json_real((double)e->started));
    json_object_set(v->root, "ropesweep_version", json_object_get(program, "version"));
    if (json_is_number(seconds))
        json_object_set_new(v->root, "total_evaluation_time_seconds", json_string(rs_double_text(json_number_value(seconds), text)));
}

static rs_status write_tree(const exporting *e, const variant *v)
{
    rs_text text = {0};
    char *path = rs_format("%s/results_%s.json", v->folder, e->stamp);
    rs_emit_json_typed(v->root, &text);
    rs_text_puts(&text, "\n");
    rs_status status = rs_file_write_atomic(path, text.data, text.n);
    rs_text_free(&text);
    free(path);
    return status;
}

/* The points of one variant, which stand together: from i on; *next: the first of another. */
static rs_status write_variant(exporting *e, int64_t i, int64_t *next)
{
    const rs_plan_file *plan = &e->results->plan;
    const rs_plan_point *first = &plan->points[i];
    variant v = open_variant(e, first);
    rs_status status = RS_OK;
    for (; i < plan->n_points && plan->points[i].rope == first->rope && plan->points[i].softmax == first->softmax; i++)
        if (status == RS_OK)
            status = write_entry(e, &v, i);
    if (status == RS_OK && json_object_get(v.root, "results")) {
        add_run(e, &v, first);
        status = write_tree(e, &v);
    }
    json_decref(v.root);
    json_decref(v.tasks);
    free(v.folder);
    free(v.name);
    *next = i;
    return status;
}

rs_status rs_report_write_lm_eval(const char *folder, const rs_journal *journal)
{
    rs_results *results;
    json_t *run;
    RS_TRY(rs_report_read_run(folder, &run));
    rs_status status = rs_results_open(journal, &results);
    if (status != RS_OK) {
        json_decref(run);
        return status;
    }
    exporting e = {.results = results, .run = run, .folder = rs_path_join(folder, "lm-eval"), .folders = json_object()};
    set_time(&e);
    for (int64_t i = 0; i < results->plan.n_points && status == RS_OK;)
        status = write_variant(&e, i, &i);
    json_decref(e.run);
    json_decref(e.folders);
    free(e.folder);
    rs_sample_rows_free(&e.rows);
    rs_results_free(results);
    return status;
}
