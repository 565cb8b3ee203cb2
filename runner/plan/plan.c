#include "plan/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "model/transformer.h"
#include "version.h"

const rs_rope *rs_plan_rope(const rs_plan *plan, const rs_point *point)
{
    return &plan->ropes[point->rope * plan->config->n_contexts + point->context];
}

int64_t rs_plan_context(const rs_plan *plan, const rs_point *point)
{
    return plan->config->contexts[point->context];
}

const rs_task_entry *rs_plan_task(const rs_plan *plan, const rs_point *point)
{
    return &plan->config->tasks[point->task];
}

const char *rs_plan_label(const rs_task_entry *entry)
{
    const char *label = rs_param_string(&entry->common, "label");
    return label ? label : entry->task->name;
}

size_t rs_plan_metrics(const rs_plan *plan, const rs_point *point, const char *names[RS_MAX_METRICS + 1])
{
    const rs_task_entry *entry = rs_plan_task(plan, point);
    return rs_task_metrics(entry->task, &entry->params, names);
}

int64_t rs_plan_doc_id(const rs_point *point, int64_t i)
{
    int64_t own = point->n_samples - point->n_extra;
    return i < own ? i : RS_EXTRA_DOC_ID + (i - own);
}

rs_digest rs_plan_record_id(const rs_point *point, int64_t doc_id)
{
    uint64_t key[3] = {point->id.high, point->id.low, (uint64_t)doc_id};
    return rs_digest_of(key, sizeof key);
}

rs_stop_rule rs_plan_stop_rule(const rs_plan *plan, const rs_point *point)
{
    enum { LEAST = 20 };
    const rs_params *common = &rs_plan_task(plan, point)->common;
    if (!rs_param_is_set(common, "stop_width"))
        return (rs_stop_rule){0};
    bool given = rs_param_is_set(common, "stop_min");
    return (rs_stop_rule){rs_param_number(common, "stop_width"), given ? (int64_t)rs_param_number(common, "stop_min") : LEAST};
}

bool rs_plan_diagnostics(const rs_plan *plan, rs_diagnostics *spec)
{
    const rs_param_value *offsets = rs_param_get(&plan->config->run, "diagnostic_offsets");
    *spec = (rs_diagnostics){.n_offsets = 2, .offsets = {0, 1}, .induction_offset = -1};
    for (size_t i = 0; i < offsets->n; i++)
        spec->offsets[spec->n_offsets++] = (int64_t)offsets->vector[i];
    return rs_param_is_set(&plan->config->run, "diagnostics");
}

int64_t rs_plan_baseline_of(const rs_plan *plan, int64_t point)
{
    const rs_config *config = plan->config;
    int64_t cells = (int64_t)config->n_contexts * config->n_tasks;
    return ((int64_t)config->baseline_rope * config->n_softmaxes + config->baseline_softmax) * cells + point % cells;
}

/* The text whose digest is a point's id. Two points that could differ in any result differ here. */
static void write_key(const rs_plan *plan, const rs_point *point, rs_text *key)
{
    const rs_config *config = plan->config;
    const rs_task_entry *task = &config->tasks[point->task];
    char hex[33];
    rs_text_printf(key, "point 1\nmodel %s\ndtype %s\n", rs_digest_hex(plan->model_digest, hex), rs_param_string(&config->model, "dtype"));
    if (rs_param_number(&config->parallel, "deterministic") == 0)
        rs_text_puts(key, "sums as the ranks lie\n");
    rs_text_printf(key, "rope %s ", config->ropes[point->rope].variant->name);
    rs_params_write(&config->ropes[point->rope].params, false, key);
    rs_text_printf(key, "\ntable %s\n", rs_digest_hex(rs_rope_digest(rs_plan_rope(plan, point)), hex));
    rs_text_printf(key, "softmax %s ", config->softmaxes[point->softmax].policy->name);
    rs_params_write(&config->softmaxes[point->softmax].params, false, key);
    rs_text_printf(key, "\npolicy %s\n", rs_digest_hex(rs_softmax_digest(&plan->softmaxes[point->softmax]), hex));
    rs_text_printf(key, "context %" PRId64 "\nseed %.0f\ntask %s %d ", rs_plan_context(plan, point), rs_param_number(&config->run, "seed"),
                   task->task->name, task->task->version);
    rs_params_write(&task->params, false, key);
    const char *prefix = rs_param_string(&task->common, "prompt_prefix"), *suffix = rs_param_string(&task->common, "prompt_suffix");
    rs_text_printf(key, "\nprefix %s\nsuffix %s\n", prefix ? prefix : "", suffix ? suffix : "");
    if (plan->task_states[point->task] && task->task->fingerprint)
        task->task->fingerprint(plan->task_states[point->task], key);
}

static rs_status open_tasks(rs_plan *plan)
{
    const rs_config *config = plan->config;
    for (int i = 0; i < config->n_tasks; i++) {
        const rs_task_entry *entry = &config->tasks[i];
        const char *prefix = rs_param_string(&entry->common, "prompt_prefix"), *suffix = rs_param_string(&entry->common, "prompt_suffix");
        rs_task_setup setup = {
            .params = &entry->params,
            .tokenizer = plan->tokenizer,
            .bos = plan->model->bos,
            .seed = (uint64_t)rs_param_number(&config->run, "seed"),
            .folder = config->folder,
            .prompt_prefix = prefix ? prefix : "",
            .prompt_suffix = suffix ? suffix : "",
        };
        RS_TRY(entry->task->open(&setup, &plan->task_states[i]));
    }
    return RS_OK;
}

/* counts [n_tasks, n_contexts]: samples that exist. Fewer than asked for is worth a warning: the user counts on them. */
static rs_status count_samples(const rs_plan *plan, int64_t *counts)
{
    const rs_config *config = plan->config;
    for (int t = 0; t < config->n_tasks; t++) {
        const rs_task_entry *entry = &config->tasks[t];
        int64_t wanted = (int64_t)rs_param_number(&entry->common, "samples");
        for (int c = 0; c < config->n_contexts; c++) {
            int64_t *n = &counts[t * config->n_contexts + c];
            *n = wanted;
            if (plan->task_states[t] == NULL)
                continue;
            RS_TRY(entry->task->count(plan->task_states[t], config->contexts[c], wanted, n));
            if (*n < wanted)
                rs_warn("%s:%d:%d: task %s has %" PRId64 " samples at context %" PRId64 ", fewer than `samples: %" PRId64 "`", config->path,
                        entry->place.line, entry->place.column, rs_plan_label(entry), *n, config->contexts[c], wanted);
        }
    }
    return RS_OK;
}

static rs_status build_tables(rs_plan *plan)
{
    const rs_config *config = plan->config;
    plan->ropes = rs_alloc((size_t)(config->n_ropes * config->n_contexts), sizeof *plan->ropes);
    plan->softmaxes = rs_alloc((size_t)config->n_softmaxes, sizeof *plan->softmaxes);
    for (int r = 0; r < config->n_ropes; r++)
        for (int c = 0; c < config->n_contexts; c++)
            RS_TRY(rs_rope_build(config->ropes[r].variant, &config->ropes[r].params, plan->model->head_dim, config->contexts[c],
                                 &plan->ropes[r * config->n_contexts + c]));
    for (int s = 0; s < config->n_softmaxes; s++)
        RS_TRY(rs_softmax_build(config->softmaxes[s].policy, &config->softmaxes[s].params, &plan->softmaxes[s]));
    return RS_OK;
}

/* What a sample costs; where the point has extra ones, their number and the mean over all. */
static void add_extra(const rs_plan *plan, rs_point *point)
{
    const rs_config *config = plan->config;
    const rs_task_entry *entry = rs_plan_task(plan, point);
    int64_t context = rs_plan_context(plan, point), own = point->n_samples;
    const char *metrics[RS_MAX_METRICS + 1];
    bool generates = rs_plan_metrics(plan, point, metrics) > 0;
    point->tokens = (double)context;
    point->flops = rs_transformer_flops(plan->model, 0, context, generates ? 1 : context);
    if (!entry->task->count_extra || point->rope != config->baseline_rope || point->softmax != config->baseline_softmax)
        return;
    int64_t extra = entry->task->count_extra(&entry->params, context, own);
    double tokens = entry->task->extra_tokens(&entry->params, context);
    double flops = rs_transformer_flops(plan->model, 0, (int64_t)tokens, (int64_t)tokens), all = (double)(own + extra);
    point->n_extra = extra;
    point->n_samples = own + extra;
    point->flops = (point->flops * (double)own + flops * (double)extra) / all;
    point->tokens = (point->tokens * (double)own + tokens * (double)extra) / all;
}

static void add_point(rs_plan *plan, rs_point point)
{
    rs_text key = {0};
    write_key(plan, &point, &key);
    point.id = rs_digest_of(key.data, key.n);
    char hex[33];
    memcpy(point.id_hex, rs_digest_hex(point.id, hex), 16);
    rs_text_free(&key);
    add_extra(plan, &point);
    plan->points[plan->n_points++] = point;
}

/* Tasks that differ in label or samples only ask the same questions, and their points would share one id. */
static rs_status refuse_equal_tasks(const rs_plan *plan)
{
    const rs_config *config = plan->config;
    for (int t = 1; t < config->n_tasks; t++)
        for (int i = 0; i < t; i++) {
            const rs_task_entry *one = &config->tasks[i], *other = &config->tasks[t];
            if (memcmp(&plan->points[i].id, &plan->points[t].id, sizeof plan->points[i].id) == 0)
                return rs_fail(RS_INVALID, "%s:%d:%d: task '%s' asks the same as task '%s' at line %d: leave one of them out", config->path,
                               other->place.line, other->place.column, rs_plan_label(other), rs_plan_label(one), one->place.line);
        }
    return RS_OK;
}

rs_status rs_plan_open(const rs_config *config, const rs_model *model, const rs_tokenizer *tokenizer, rs_digest model_digest,
                       bool digest_is_full, rs_plan **out)
{
    rs_status status = RS_OK;
    rs_plan *plan = rs_alloc(1, sizeof *plan);
    *plan = (rs_plan){.config = config,
                      .model = model,
                      .tokenizer = tokenizer,
                      .model_digest = model_digest,
                      .digest_is_full = digest_is_full,
                      .n_shards = 1};
    plan->task_states = rs_alloc((size_t)config->n_tasks, sizeof *plan->task_states);
    int64_t *counts = rs_alloc((size_t)(config->n_tasks * config->n_contexts), sizeof *counts);
    *out = NULL;
    RS_TRY_OUT(build_tables(plan));
    if (tokenizer)
        RS_TRY_OUT(open_tasks(plan));
    RS_TRY_OUT(count_samples(plan, counts));
    plan->points = rs_alloc((size_t)config->n_ropes * (size_t)config->n_softmaxes * (size_t)config->n_contexts * (size_t)config->n_tasks,
                            sizeof *plan->points);
    for (int r = 0; r < config->n_ropes; r++)
        for (int s = 0; s < config->n_softmaxes; s++)
            for (int c = 0; c < config->n_contexts; c++)
                for (int t = 0; t < config->n_tasks; t++)
                    add_point(plan, (rs_point){
                                        .rope = r, .softmax = s, .context = c, .task = t, .n_samples = counts[t * config->n_contexts + c]});
    if (tokenizer)
        RS_TRY_OUT(refuse_equal_tasks(plan));
    *out = plan;
out:
    free(counts);
    if (status != RS_OK)
        rs_plan_close(plan);
    return status;
}

void rs_plan_close(rs_plan *plan)
{
    if (plan == NULL)
        return;
    for (int i = 0; i < plan->config->n_tasks; i++)
        if (plan->task_states[i])
            plan->config->tasks[i].task->close(plan->task_states[i]);
    free(plan->task_states);
    free(plan->ropes);
    free(plan->softmaxes);
    free(plan->points);
    free(plan);
}

typedef struct cost {
    double flops;
    int64_t point;
} cost;

static int dearest_first(const void *a, const void *b)
{
    const cost *x = a, *y = b;
    if (x->flops != y->flops)
        return x->flops < y->flops ? 1 : -1;
    return x->point < y->point ? -1 : 1;
}

/* The point with which a point is dealt. */
static int64_t leader_of(const rs_plan *plan, int64_t point)
{
    return rs_plan_stop_rule(plan, &plan->points[point]).width > 0 ? rs_plan_baseline_of(plan, point) : point;
}

void rs_plan_deal(rs_plan *plan, int shard, int n_shards)
{
    cost *costs = rs_alloc((size_t)plan->n_points, sizeof *costs);
    double *load = rs_alloc((size_t)n_shards, sizeof *load);
    plan->shard = shard;
    plan->n_shards = n_shards;
    for (int64_t i = 0; i < plan->n_points; i++) {
        costs[i].point = i;
        costs[leader_of(plan, i)].flops += plan->points[i].flops * (double)plan->points[i].n_samples;
    }
    if (plan->n_points)
        qsort(costs, (size_t)plan->n_points, sizeof *costs, dearest_first);
    for (int64_t i = 0; i < plan->n_points; i++) {
        int least = 0;
        for (int k = 1; k < n_shards; k++)
            least = load[k] < load[least] ? k : least;
        plan->points[costs[i].point].shard = least;
        load[least] += costs[i].flops;
    }
    for (int64_t i = 0; i < plan->n_points; i++)
        plan->points[i].shard = plan->points[leader_of(plan, i)].shard;
    free(costs);
    free(load);
}

static void write_axes(const rs_plan *plan, rs_text *out)
{
    const rs_config *config = plan->config;
    rs_text label = {0};
    rs_text_puts(out, "\"ropes\": [");
    for (int r = 0; r < config->n_ropes; r++) {
        const rs_rope *rope = &plan->ropes[r * config->n_contexts + config->n_contexts - 1];
        rs_text_clear(&label);
        rs_rope_entry_write_label(&config->ropes[r], &label);
        rs_text_puts(out, r ? ",\n  {\"label\": " : "\n  {\"label\": ");
        rs_text_json_string(out, label.data, label.n);
        rs_text_puts(out, ", \"entry\": ");
        rs_rope_entry_write_json(&config->ropes[r], out);
        rs_text_puts(out, ", \"attention_factor\": ");
        rs_text_double(out, rope->attention_factor);
        rs_text_printf(out, ", \"rotary_dim\": %d, \"inv_freq\": [", rope->rotary_dim);
        for (int k = 0; k < rope->rotary_dim / 2; k++) {
            rs_text_puts(out, k ? ", " : "");
            rs_text_double(out, rope->inv_freq[k]);
        }
        rs_text_puts(out, "]}");
    }
    rs_text_puts(out, "],\n\"softmaxes\": [");
    for (int s = 0; s < config->n_softmaxes; s++) {
        rs_text_clear(&label);
        rs_softmax_entry_write_label(&config->softmaxes[s], &label);
        rs_text_puts(out, s ? ",\n  {\"label\": " : "\n  {\"label\": ");
        rs_text_json_string(out, label.data, label.n);
        rs_text_puts(out, ", \"entry\": ");
        rs_softmax_entry_write_json(&config->softmaxes[s], out);
        rs_text_puts(out, "}");
    }
    rs_text_puts(out, "],\n");
    rs_text_free(&label);
}

static void write_point(const rs_plan *plan, const rs_point *point, rs_text *out)
{
    const rs_task_entry *entry = rs_plan_task(plan, point);
    const char *label = rs_plan_label(entry), *metrics[RS_MAX_METRICS + 1];
    size_t n_metrics = rs_plan_metrics(plan, point, metrics);
    char hex[33];
    rs_text_printf(out, "{\"id\": \"%s\", \"rope\": %d, \"softmax\": %d, \"context\": %" PRId64 ", \"task\": ", point->id_hex, point->rope,
                   point->softmax, rs_plan_context(plan, point));
    rs_text_json_string(out, label, strlen(label));
    rs_text_printf(out, ", \"task_name\": \"%s\", \"task_version\": %d, \"kind\": \"%s\", \"metrics\": [", entry->task->name,
                   entry->task->version,
                   n_metrics                  ? "generate"
                   : entry->task->count_extra ? "score_keys"
                                              : "score");
    for (size_t i = 0; i < n_metrics; i++)
        rs_text_printf(out, "%s\"%s\"", i ? ", " : "", metrics[i]);
    rs_text_printf(out, "], \"samples\": %" PRId64 ", ", point->n_samples - point->n_extra);
    rs_stop_rule stop = rs_plan_stop_rule(plan, point);
    if (stop.width > 0) {
        rs_text_puts(out, "\"stop_width\": ");
        rs_text_double(out, stop.width);
        rs_text_printf(out, ", \"stop_min\": %" PRId64 ", ", stop.least);
    }
    if (point->n_extra > 0)
        rs_text_printf(out, "\"extra\": %" PRId64 ", ", point->n_extra);
    rs_text_printf(out,
                   "\"inv_freq_digest\": \"%s\", \"attention_factor\": ", rs_digest_hex(rs_rope_digest(rs_plan_rope(plan, point)), hex));
    rs_text_double(out, rs_plan_rope(plan, point)->attention_factor);
    if (plan->n_shards > 1)
        rs_text_printf(out, ", \"shard\": %d", point->shard);
    rs_text_puts(out, "}");
}

void rs_plan_write_json(const rs_plan *plan, rs_text *out)
{
    const rs_model *model = plan->model;
    char hex[33];
    rs_text_printf(out, "{\"schema\": 1,\n\"program\": {\"name\": \"ropesweep\", \"version\": \"%s\", \"commit\": \"%s\"},\n", RS_VERSION,
                   RS_COMMIT);
    rs_text_puts(out, "\"model\": {\"path\": ");
    const char *path = rs_param_string(&plan->config->model, "path");
    rs_text_json_string(out, path, strlen(path));
    rs_text_printf(
        out, ", \"architecture\": \"%s\", \"parameters\": %" PRId64 ", \"digest\": \"%s\", \"digest_of\": \"%s\", \"dtype\": \"%s\"},\n",
        model->architecture, rs_model_parameters(model), rs_digest_hex(plan->model_digest, hex),
        plan->digest_is_full ? "all bytes" : "headers and sampled bytes", rs_param_string(&plan->config->model, "dtype"));
    rs_text_puts(out, "\"config\": ");
    rs_config_write_json(plan->config, out);
    rs_text_printf(out, ",\n\"baseline\": {\"rope\": %d, \"softmax\": %d},\n", plan->config->baseline_rope, plan->config->baseline_softmax);
    write_axes(plan, out);
    if (plan->n_shards > 1)
        rs_text_printf(out, "\"shard\": {\"index\": %d, \"count\": %d},\n", plan->shard, plan->n_shards);
    rs_text_puts(out, "\"points\": [");
    for (int64_t i = 0; i < plan->n_points; i++) {
        rs_text_puts(out, i ? ",\n  " : "\n  ");
        write_point(plan, &plan->points[i], out);
    }
    rs_text_puts(out, "]}\n");
}
