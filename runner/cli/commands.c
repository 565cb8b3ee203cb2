#include "cli/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "model/tokenizer.h"
#include "model/transformer.h"
#include "plan/memory.h"
#include "plan/plan.h"
#include "report/emit.h"
#include "report/report.h"
#include "version.h"

enum { TABLE_WIDTH = 120 };

/* --- check --- */

/* The checkpoint's headers against the model's description; *found: there is a checkpoint at all. */
static rs_status check_checkpoint(const rs_model *model, bool *found)
{
    rs_tensor_store *store = NULL;
    *found = rs_tensor_store_exists(model->folder);
    if (!*found)
        return RS_OK;
    RS_TRY(rs_tensor_store_open(model->folder, true, &store));
    rs_status status = rs_model_check(model, store);
    rs_tensor_store_close(store);
    return status;
}

static rs_status check_tokenizer(const rs_model *model)
{
    rs_tokenizer *tokenizer = NULL;
    rs_status status = rs_run_load_tokenizer(model, &tokenizer);
    rs_tokenizer_free(tokenizer);
    return status;
}

rs_status rs_command_check(const rs_options *options)
{
    rs_status status = RS_OK;
    rs_config *config = NULL;
    rs_model model = {0};
    bool found;
    RS_TRY_OUT(rs_run_load_config(&options->run, &config, &model));
    RS_TRY_OUT(rs_run_check_tensor(config, &model, (int)rs_param_number(&config->parallel, "tensor")));
    RS_TRY_OUT(check_checkpoint(&model, &found));
    if (found)
        RS_TRY_OUT(check_tokenizer(&model));
    int64_t points = (int64_t)config->n_ropes * config->n_softmaxes * config->n_contexts * config->n_tasks;
    printf("%s: valid; %d rope x %d softmax x %d contexts x %d tasks = %" PRId64 " points\n", config->path, config->n_ropes,
           config->n_softmaxes, config->n_contexts, config->n_tasks, points);
    printf("%s: %s, %" PRId64 " parameters%s\n", model.folder, model.architecture, rs_model_parameters(&model),
           found ? "; every tensor is there in its shape" : "; no safetensors here, only config.json was checked");
out:
    rs_config_free(config);
    rs_model_free(&model);
    return status;
}

/* --- plan --- */

static void print_bytes(const char *what, double bytes)
{
    char text[32];
    printf("  %-34s %14s\n", what, rs_bytes_text(bytes, text));
}

static void print_memory(const rs_memory_plan *m)
{
    printf("memory of a rank\n");
    print_bytes("weights", m->weight_bytes);
    print_bytes(m->passes ? "longest context, layer by layer" : "keys and values, longest context",
                m->need_bytes - m->weight_bytes - m->step_bytes);
    print_bytes("buffers of a step", m->step_bytes);
    print_bytes("sum", m->need_bytes);
}

static void print_plan(const rs_plan *plan, const rs_memory_plan *memory, int ranks, int replicas)
{
    const rs_config *config = plan->config;
    int tensor = (int)rs_param_number(&config->parallel, "tensor");
    int64_t samples = 0;
    double flops = 0, tokens = 0;
    for (int64_t i = 0; i < plan->n_points; i++) {
        samples += plan->points[i].n_samples;
        tokens += plan->points[i].tokens * (double)plan->points[i].n_samples;
        flops += plan->points[i].flops * (double)plan->points[i].n_samples;
    }
    printf("%s on %s\n", config->path, plan->model->folder);
    printf("  %d rope x %d softmax x %d contexts x %d tasks = %" PRId64 " points, %" PRId64 " samples\n", config->n_ropes,
           config->n_softmaxes, config->n_contexts, config->n_tasks, plan->n_points, samples);
    printf("  %-34s %10d ranks = %d replica%s x tensor %d%s\n", "layout", ranks, replicas, replicas == 1 ? "" : "s", tensor,
           replicas < ranks / tensor ? ", and rank 0's only serves" : "");
    printf("  %-34s %10.3g PFLOP, %.3g tokens\n", "prefill work, all points", flops / 1e15, tokens);
    print_memory(memory);
    print_bytes("read from disk by a replica", memory->weight_bytes * tensor);
    printf("device-hours at a sustained rate of\n");
    const double rates[] = {0.2, 1, 100, 400};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        printf("  %6g TFLOP/s a rank %12.3g device-hours, %.3g h of this run\n", rates[i], flops / (rates[i] * 1e12) / 3600,
               flops / (rates[i] * 1e12) / 3600 / (replicas * tensor));
}

rs_status rs_command_plan(const rs_options *options)
{
    rs_status status = RS_OK;
    rs_config *config = NULL;
    rs_model model = {0};
    rs_plan *plan = NULL;
    rs_memory_plan memory;
    RS_TRY_OUT(rs_run_load_config(&options->run, &config, &model));
    int tensor = (int)rs_param_number(&config->parallel, "tensor");
    bool serves = rs_param_number(&config->parallel, "scheduler_computes") == 0;
    int replicas, ranks = options->ranks ? options->ranks : serves ? 2 * tensor : tensor;
    RS_TRY_OUT(rs_run_check_tensor(config, &model, ranks));
    RS_TRY_OUT(rs_run_count_replicas(config, ranks, &replicas));
    RS_TRY_OUT(rs_plan_open(config, &model, NULL, (rs_digest){0}, false, &plan));
    rs_plan_deal(plan, options->run.shard, options->run.n_shards);
    bool cuda = options->run.backend && strcmp(options->run.backend, "cuda") == 0;
    RS_TRY_OUT(rs_memory_plan_make(plan, cuda ? &rs_backend_kind_cuda : &rs_backend_kind_cpu,
                                   rs_param_number(&config->parallel, "memory") * RS_GIB, &memory));
    print_plan(plan, &memory, ranks, replicas);
out:
    rs_plan_close(plan);
    rs_config_free(config);
    rs_model_free(&model);
    return status;
}

/* --- report, compare, trend, merge --- */

static rs_run_result verdict(const rs_report_summary *summary)
{
    return summary->complete ? RS_RUN_COMPLETE : RS_RUN_FAILED_POINTS;
}

rs_status rs_command_report(const rs_options *options, rs_run_result *result)
{
    rs_journal *journal = NULL;
    rs_report_summary summary;
    rs_text table = {0};
    RS_TRY(rs_journal_read(options->positional[0], &journal));
    rs_status status = rs_report_write_and_show(options->positional[0], journal, NULL, &summary, TABLE_WIDTH, &table);
    if (status == RS_OK && options->format)
        status = rs_report_write_lm_eval(options->positional[0], journal);
    if (status == RS_OK) {
        fputs(table.data, stdout);
        if (options->format)
            printf("%s/lm-eval\n", options->positional[0]);
        *result = verdict(&summary);
    }
    rs_text_free(&table);
    rs_journal_close(journal);
    return status;
}

/* FILE.json holds JSON, any other YAML. */
static rs_status write_tree(json_t *tree, const char *path)
{
    rs_text text = {0};
    const char *dot = strrchr(path, '.');
    if (dot && strcmp(dot, ".json") == 0)
        rs_emit_json(tree, &text);
    else
        rs_emit_yaml(tree, 0, &text);
    rs_status status = rs_file_write_atomic(path, text.data, text.n);
    rs_text_free(&text);
    return status;
}

rs_status rs_command_compare(const rs_options *options, bool *passed)
{
    rs_text out = {0};
    json_t *tree = NULL;
    const char *output = options->run.output;
    rs_status status = rs_report_compare(options->positional[0], options->positional[1], options->gates, options->n_gates, &out,
                                         output ? &tree : NULL, passed);
    if (status == RS_OK && output)
        status = write_tree(tree, output);
    if (status == RS_OK)
        fputs(out.data, stdout);
    rs_text_free(&out);
    json_decref(tree);
    return status;
}

rs_status rs_command_trend(const rs_options *options)
{
    rs_text out = {0};
    rs_status status = rs_report_trend(options->positional, options->n_positional, options->run.output, &out);
    if (status == RS_OK)
        fputs(out.data, stdout);
    if (status == RS_OK && options->run.output)
        printf("\n%s\n", options->run.output);
    rs_text_free(&out);
    return status;
}

rs_status rs_command_merge(const rs_options *options, rs_run_result *result)
{
    rs_report_summary summary;
    char **folders = rs_alloc((size_t)options->n_positional, sizeof *folders);
    for (int i = 0; i < options->n_positional; i++)
        folders[i] = rs_strdup(options->positional[i]);
    rs_status status = rs_report_merge(folders, options->n_positional, options->run.output, &summary);
    if (status == RS_OK) {
        printf("%d points: %d done, %d failed, %d missing\n%s/report.yaml\n", summary.points, summary.done, summary.failed, summary.missing,
               options->run.output);
        *result = verdict(&summary);
    }
    for (int i = 0; i < options->n_positional; i++)
        free(folders[i]);
    free(folders);
    return status;
}

/* --- list, tokenize, version --- */

/* A default on one line, line ends as \n. */
static void print_default(const char *text)
{
    printf("; default ");
    for (; *text; text++)
        if (*text == '\n')
            printf("\\n");
        else
            putchar(*text);
}

static void print_params(const rs_param_spec *specs)
{
    for (const rs_param_spec *spec = specs; spec->name; spec++) {
        printf("    %-34s %s%s%s", spec->name, spec->help, spec->choices ? "; one of " : "", spec->choices ? spec->choices : "");
        if (spec->fallback)
            print_default(spec->fallback);
        printf("\n");
    }
}

static void list_ropes(void)
{
    for (const rs_rope_variant *const *v = rs_rope_variants; *v; v++) {
        printf("%-16s %s\n    source: %s\n", (*v)->name, (*v)->summary, (*v)->source);
        print_params((*v)->params);
    }
}

static void list_softmaxes(void)
{
    for (const rs_softmax_policy *const *p = rs_softmax_policies; *p; p++) {
        printf("%-16s %s\n    source: %s\n", (*p)->name, (*p)->summary, (*p)->source);
        print_params((*p)->params);
    }
}

static void list_tasks(void)
{
    printf("every task\n");
    print_params(rs_task_common_params);
    for (const rs_task *const *t = rs_tasks; *t; t++) {
        rs_text metrics = {0};
        rs_task_write_metrics(*t, &metrics);
        printf("%-16s %s\n    source: %s\n    metric: %s\n    chance: %s\n", (*t)->name, (*t)->summary, (*t)->source, metrics.data,
               (*t)->chance);
        print_params((*t)->params);
        rs_text_free(&metrics);
    }
}

static void list_diagnostics(void)
{
    for (int i = 0; i < RS_N_DIAGNOSTICS; i++)
        printf("%-18s %s\n", rs_diagnostic_kinds[i].name, rs_diagnostic_kinds[i].summary);
}

rs_status rs_command_list(const rs_options *options)
{
    static const char *const names[] = {"rope", "softmax", "tasks", "diagnostics", "config"};
    const char *what = options->positional[0];
    if (strcmp(what, "rope") == 0) {
        list_ropes();
    } else if (strcmp(what, "softmax") == 0) {
        list_softmaxes();
    } else if (strcmp(what, "tasks") == 0) {
        list_tasks();
    } else if (strcmp(what, "diagnostics") == 0) {
        list_diagnostics();
    } else if (strcmp(what, "config") == 0) {
        rs_text text = {0};
        rs_config_write_reference(&text);
        fputs(text.data, stdout);
        rs_text_free(&text);
    } else {
        const char *nearest = rs_nearest(what, names, sizeof names / sizeof *names);
        return rs_fail(RS_INVALID, "list: '%s' is none of rope, softmax, tasks, diagnostics, config%s%s%s", what,
                       nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
    }
    return RS_OK;
}

static rs_status read_all(FILE *in, rs_text *out)
{
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, in)) > 0;)
        rs_text_append(out, chunk, n);
    if (ferror(in))
        return rs_fail(RS_IO, "standard input: %s", strerror(errno));
    return RS_OK;
}

rs_status rs_command_tokenize(const rs_options *options)
{
    rs_status status = RS_OK;
    rs_tokenizer *tokenizer = NULL;
    rs_text text = {0}, line = {0};
    rs_tokens tokens = {0};
    char *path = rs_format("%s/tokenizer.json", options->positional[0]);
    RS_TRY_OUT(rs_tokenizer_load(path, &tokenizer));
    RS_TRY_OUT(read_all(stdin, &text));
    RS_TRY_OUT(rs_tokenizer_encode(tokenizer, text.data ? text.data : "", text.n, &tokens));
    for (size_t i = 0; i < tokens.n; i++)
        rs_text_printf(&line, "%s%" PRId32, i ? " " : "", tokens.ids[i]);
    rs_text_puts(&line, "\n");
    fputs(line.data, stdout);
out:
    rs_tokenizer_free(tokenizer);
    rs_tokens_free(&tokens);
    rs_text_free(&text);
    rs_text_free(&line);
    free(path);
    return status;
}

void rs_command_version(void)
{
    const rs_backend_ops *cuda = NULL;
    int n = 0;
    const char *why;
    printf("ropesweep %s (%s)\ncpu: %s\n", RS_VERSION, RS_COMMIT, rs_backend_cpu.describe(0));
    if (rs_backend_find("cuda", &cuda) != RS_OK || cuda->devices(&n, &why) != RS_OK) {
        printf("cuda: %s\n", rs_error_message());
        rs_error_clear();
    }
    for (int device = 0; device < n; device++)
        printf("cuda: device %d: %s\n", device, cuda->describe(device));
}

void rs_command_help(void)
{
    rs_text keys = {0};
    rs_config_write_help(&keys);
    printf("%s\nconfig keys (all of them, with every variant's: ropesweep list config)\n%s", rs_help_text, keys.data);
    rs_text_free(&keys);
}
