/* Valid configs: what every form means, how entries expand, what is filled in; and that docs/config.md is what the tables say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"
#include "config/config.h"

#define MODEL "model: {path: m}\n"
#define TASKS "tasks: [{name: passkey}]\n"
#define SWEEP "sweep: {context: 512}\n"
#define ROPES(entries) MODEL TASKS "sweep:\n  context: 512\n  rope:\n" entries
#define SOFTMAXES(list) MODEL TASKS "sweep:\n  context: 512\n  softmax: " list "\n"
#define CONTEXT(value) MODEL TASKS "sweep:\n  context: " value "\n"

static char folder[] = "/tmp/ropesweep-config-XXXXXX";
static char *path;

static rs_config *load_bytes(const char *bytes, size_t n, const rs_override *overrides, size_t n_overrides)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    rs_error_clear();
    rs_config *config = NULL;
    if (rs_config_load(path, overrides, n_overrides, &config) != RS_OK)
        fail_msg("%s", rs_error_message());
    return config;
}

static rs_config *load(const char *yaml)
{
    return load_bytes(yaml, strlen(yaml), NULL, 0);
}

static rs_config *load_set(const char *yaml, const char *key, const char *value)
{
    return load_bytes(yaml, strlen(yaml), &(rs_override){key, value}, 1);
}

/* Labels of all entries of both axes, one line each axis. */
static char *labels(const rs_config *config)
{
    rs_text text = {0};
    for (int i = 0; i < config->n_ropes; i++) {
        rs_text_puts(&text, i ? "; " : "");
        rs_rope_entry_write_label(&config->ropes[i], &text);
    }
    rs_text_puts(&text, " | ");
    for (int i = 0; i < config->n_softmaxes; i++) {
        rs_text_puts(&text, i ? "; " : "");
        rs_softmax_entry_write_label(&config->softmaxes[i], &text);
    }
    return text.data;
}

static void assert_labels(rs_config *config, const char *expected)
{
    char *got = labels(config);
    assert_string_equal(got, expected);
    free(got);
    rs_config_free(config);
}

static void assert_contexts(rs_config *config, const char *expected)
{
    rs_text text = {0};
    for (int i = 0; i < config->n_contexts; i++)
        rs_text_printf(&text, "%s%lld", i ? " " : "", (long long)config->contexts[i]);
    assert_string_equal(text.data, expected);
    rs_text_free(&text);
    rs_config_free(config);
}

static void test_defaults(void **state)
{
    (void)state;
    rs_config *config = load(MODEL SWEEP TASKS);
    assert_string_equal(config->path, path);
    assert_string_equal(config->folder, folder);
    assert_int_equal(rs_param_number(&config->run, "seed"), 1234);
    assert_string_equal(rs_param_string(&config->run, "output"), "results/c");
    assert_string_equal(rs_param_string(&config->model, "dtype"), "bf16");
    assert_int_equal(rs_param_number(&config->parallel, "tensor"), 1);
    assert_int_equal(rs_param_number(&config->parallel, "deterministic"), 1);
    assert_string_equal(rs_param_string(&config->parallel, "comm"), "auto");
    assert_true(rs_param_number(&config->parallel, "comm_timeout") == 60);
    assert_true(rs_param_number(&config->parallel, "heartbeat") == 45);
    assert_int_equal(config->n_tasks, 1);
    assert_string_equal(rs_param_string(&config->tasks[0].common, "label"), "passkey");
    assert_int_equal(rs_param_number(&config->tasks[0].common, "samples"), 100);
    assert_int_equal(config->tasks[0].place.line, 3);
    assert_int_equal(config->tasks[0].place.column, 9);
    assert_labels(config, "default | T=1");
}

static void assert_output(rs_config *config, const char *expected)
{
    char *output = rs_config_output(config);
    assert_string_equal(output, expected);
    free(output);
    rs_config_free(config);
}

static void test_output(void **state)
{
    (void)state;
    char *beside = rs_format("%s/../out", folder);
    assert_output(load(MODEL SWEEP TASKS), "results/c");
    assert_output(load(MODEL SWEEP TASKS "output: ../out\n"), beside);
    assert_output(load(MODEL SWEEP TASKS "output: /tmp/x\n"), "/tmp/x");
    free(beside);
}

static void test_expansion(void **state)
{
    (void)state;
    assert_labels(load(ROPES("    - default\n    - {rope_type: default, rope_theta: [5.0e5, 1_000_000]}\n    - nope\n")),
                  "default; default rope_theta=500000; default rope_theta=1000000; nope | T=1");
    assert_labels(load(ROPES("    - {rope_type: yarn, factor: [2, 4], beta_slow: [1, 2]}\n")),
                  "yarn factor=2 beta_slow=1; yarn factor=2 beta_slow=2; yarn factor=4 beta_slow=1; yarn factor=4 beta_slow=2 | T=1");
    assert_labels(load(ROPES("    - {beta_slow: [1, 2], factor: [2, 4], rope_type: yarn}\n")),
                  "yarn factor=2 beta_slow=1; yarn factor=4 beta_slow=1; yarn factor=2 beta_slow=2; yarn factor=4 beta_slow=2 | T=1");
    assert_labels(load(ROPES("    - {rope_type: [linear, ntk], factor: [2, 4]}\n")),
                  "linear factor=2; linear factor=4; ntk factor=2; ntk factor=4 | T=1");
    assert_labels(load(ROPES("    - {rope_type: longrope, short_factor: [[1, 2], [3, 4]], long_factor: [5, 6]}\n")),
                  "longrope short_factor=1,2 long_factor=5,6; longrope short_factor=3,4 long_factor=5,6 | T=1");
    assert_labels(
        load(ROPES("    - rope_type: band\n      op: [freeze, remove]\n      band: [{wavelength: [8, .inf]}, {pairs: [0, 3]}]\n")),
        "band band=wavelength 8-inf op=freeze; band band=pairs 0-3 op=freeze; band band=wavelength 8-inf op=remove; "
        "band band=pairs 0-3 op=remove | T=1");
    assert_labels(load(ROPES("    - {rope_type: yarn, factor: 2, truncate: [true, false]}\n")),
                  "yarn factor=2 truncate=true; yarn factor=2 truncate=false | T=1");
    assert_labels(load(MODEL TASKS "sweep: {context: 512, rope: nope, softmax: adaptive}\n"), "nope | adaptive");
    assert_labels(
        load(SOFTMAXES("[1.0, {temperature: [0.8, 1.25]}, {type: temperature, temperature: 2}, adaptive, {type: top_k, k: [4, 8]}]")),
        "default | T=1; T=0.8; T=1.25; T=2; adaptive; top_k k=4; top_k k=8");
    assert_labels(load(SOFTMAXES("[{type: adaptive, theta_coefficients: [[1, 2], [3, 4, 5]]}, 1e-3]")),
                  "default | adaptive theta_coefficients=1,2; adaptive theta_coefficients=3,4,5; T=0.001");
}

/* A block of a Hugging Face config.json, as it stands there. */
static void test_pasted(void **state)
{
    (void)state;
    assert_labels(
        load(ROPES("    - {\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,\n"
                   "       \"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}\n"
                   "    - {\"type\": \"linear\", \"factor\": 2.0}\n"
                   "    - {\"type\": \"yarn\", \"rope_type\": \"yarn\", \"factor\": 2.0, \"attention_factor\": null}\n"
                   "    - {\"rope_type\": \"proportional\", \"partial_rotary_factor\": 0.25}\n")),
        "llama3 factor=8 original_max_position_embeddings=8192 low_freq_factor=1 high_freq_factor=4; linear factor=2; yarn factor=2; "
        "proportional partial_rotary_factor=0.25 | T=1");
}

static void test_context_forms(void **state)
{
    (void)state;
    assert_contexts(load(CONTEXT("8192")), "8192");
    assert_contexts(load(CONTEXT("2")), "2");
    assert_contexts(load(CONTEXT("[1024, 512]")), "1024 512");
    assert_contexts(load(CONTEXT("4096-131072*2")), "4096 8192 16384 32768 65536 131072");
    assert_contexts(load(CONTEXT("1024-4096+1024")), "1024 2048 3072 4096");
    assert_contexts(load(CONTEXT("1000-5000+3000")), "1000 4000");
    assert_contexts(load(CONTEXT("1000-5000*3")), "1000 3000");
    assert_contexts(load(CONTEXT("5-8")), "5 6 7 8");
    assert_contexts(load(CONTEXT("7-7*2")), "7");
    assert_contexts(load(CONTEXT("512,1024-2048*2, 9000")), "512 1024 2048 9000");
    assert_contexts(load(CONTEXT("\"512\"")), "512");
    assert_contexts(load(CONTEXT("[100, 512-2048*2, '3000-3002+1', 50]")), "100 512 1024 2048 3000 3001 3002 50");
    rs_config *config = load(CONTEXT("2-1000001+1"));
    assert_int_equal(config->n_contexts, 1000000);
    rs_config_free(config);
}

static void test_drawn(void **state)
{
    (void)state;
    static const char yaml[] =
        ROPES("    - default\n    - {rope_type: yarn, factor: [{log_uniform: [2, 16], n: 8}, 3]}\n"
              "    - {rope_type: self_extend, window: 64, group: {uniform: [2, 4], n: 3}}\n"
              "    - {rope_type: ntk, factor: {log_uniform: [2, 16], n: 8}}\n") "  softmax: [{temperature: {uniform: [0.5, 2], n: 2}}]\n";
    rs_config *config = load(yaml), *again = load(yaml), *other = load_set(yaml, "seed", "5");
    assert_int_equal(config->n_ropes, 1 + 9 + 3 + 8);
    char *first = labels(config), *second = labels(again), *third = labels(other);
    assert_string_equal(first, second);
    assert_string_not_equal(first, third);
    double below_root = 0;
    for (int i = 1; i <= 8; i++) {
        double factor = rs_param_number(&config->ropes[i].params, "factor");
        char text[32];
        snprintf(text, sizeof text, "%.6g", factor);
        assert_true(factor >= 2 && factor <= 16 && strtod(text, NULL) == factor);
        assert_true(factor != rs_param_number(&config->ropes[12 + i].params, "factor"));
        below_root += factor < sqrt(2.0 * 16);
    }
    assert_true(below_root > 0 && below_root < 8);
    assert_int_equal(rs_param_number(&config->ropes[9].params, "factor"), 3);
    double sum = 0;
    for (int i = 10; i < 13; i++)
        sum += rs_param_number(&config->ropes[i].params, "group");
    assert_int_equal(sum, 2 + 3 + 4);
    free(first);
    free(second);
    free(third);
    rs_config_free(config);
    rs_config_free(again);
    rs_config_free(other);
}

/* The same text however it is wrapped. */
static void test_encodings(void **state)
{
    (void)state;
    static const char *const forms[] = {
        MODEL SWEEP TASKS,
        "\xEF\xBB\xBF" MODEL SWEEP TASKS,
        "model: {path: m}\r\nsweep: {context: 512}\r\ntasks: [{name: passkey}]\r\n",
        "\xEF\xBB\xBFmodel:\r\n  path: m\r\nsweep:\r\n  context: 512\r\ntasks:\r\n  - name: passkey",
        "%YAML 1.1\n---\n" MODEL SWEEP TASKS "...\n",
        "--- # first\n" MODEL SWEEP TASKS,
        "{\"model\": {\"path\": \"m\"}, \"sweep\": {\"context\": 512}, \"tasks\": [{\"name\": \"passkey\"}]}",
        "!!map {model: {path: !!str m}, sweep: {context: !!int \"512\"}, tasks: !!seq [{name: passkey}]}",
        "model: &m {path: &p m}\nsweep: {context: &c [&n 512]}\ntasks: [&t {name: passkey}]\n",
        MODEL SWEEP "parallel:\n" TASKS,
    };
    rs_text first = {0};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        rs_config *config = load(forms[i]);
        rs_text text = {0};
        rs_config_write_json(config, &text);
        if (i == 0)
            rs_text_puts(&first, text.data);
        assert_string_equal(text.data, first.data);
        rs_text_free(&text);
        rs_config_free(config);
    }
    rs_text_free(&first);
}

static void test_aliases(void **state)
{
    (void)state;
    rs_config *config = load(MODEL "tasks:\n  - &t {name: passkey, samples: &n 7, label: a}\n  - {name: niah, samples: *n}\n"
                                   "sweep:\n  context: 512\n  rope: [&y {rope_type: yarn, factor: 4}, default]\nbaseline: {rope: *y}\n");
    assert_int_equal(rs_param_number(&config->tasks[1].common, "samples"), 7);
    assert_int_equal(config->baseline_rope, 0);
    assert_labels(config, "yarn factor=4; default | T=1");
}

static void test_overrides(void **state)
{
    (void)state;
    static const char yaml[] = MODEL "sweep: {context: 512, rope: [default, {rope_type: yarn, factor: 2}]}\n" TASKS;
    assert_labels(load_set(yaml, "sweep.rope.1.factor", "[3, 5]"), "default; yarn factor=3; yarn factor=5 | T=1");
    assert_labels(load_set(yaml, "sweep.rope", "nope"), "nope | T=1");
    assert_labels(load_set(yaml, "sweep.softmax", "[1, {type: log_n}]"), "default; yarn factor=2 | T=1; log_n");
    assert_contexts(load_set(yaml, "sweep.context", "512,1024"), "512 1024");
    assert_contexts(load_set(yaml, "sweep.context", "64-256*2"), "64 128 256");
    rs_config *config = load_set(yaml, "parallel.tensor", "4");
    assert_int_equal(rs_param_number(&config->parallel, "tensor"), 4);
    rs_config_free(config);
    config = load_set(MODEL SWEEP TASKS "parallel:\n", "parallel.tensor", "4");
    assert_int_equal(rs_param_number(&config->parallel, "tensor"), 4);
    rs_config_free(config);
    config = load_set(yaml, "tasks.0.samples", "5");
    assert_int_equal(rs_param_number(&config->tasks[0].common, "samples"), 5);
    rs_config_free(config);
    const rs_override both[] = {{"seed", "1"}, {"seed", "2"}};
    config = load_bytes(yaml, sizeof yaml - 1, both, 2);
    assert_int_equal(rs_param_number(&config->run, "seed"), 2);
    rs_config_free(config);
    const rs_override whole[] = {{"model.path", "m"}, {"sweep.context", "512"}, {"tasks", "[{name: passkey}]"}};
    rs_config_free(load_bytes("", 0, whole, 3));
}

static void test_baseline(void **state)
{
    (void)state;
    const rs_model_facts facts = {.rope_theta = 10000, .max_position_embeddings = 8192};
    rs_config *config =
        load(ROPES("    - nope\n    - {rope_type: linear, factor: [2, 4]}\n    - default\n") "  softmax: [adaptive, 1]\nbaseline: {rope: "
                                                                                             "{rope_type: default, rope_theta: 10000}, "
                                                                                             "softmax: {temperature: 1.0}}\n");
    assert_int_equal(config->baseline_softmax, 1);
    assert_int_equal(rs_config_resolve(config, &facts, 64), RS_OK);
    assert_int_equal(config->baseline_rope, 3);
    assert_int_equal(config->baseline_softmax, 1);
    assert_int_equal(rs_param_number(&config->ropes[3].params, "rope_theta"), 10000);
    rs_config_free(config);
    config = load(ROPES("    - nope\n    - {rope_type: linear, factor: [2, 4]}\n") "baseline: {rope: {rope_type: linear, factor: 4.0}}\n");
    assert_int_equal(config->baseline_rope, 2);
    rs_config_free(config);
}

/* The effective config names every value, is JSON, and read again as a config gives itself. */
static void test_json(void **state)
{
    (void)state;
    const rs_model_facts facts = {.rope_theta = 10000, .max_position_embeddings = 8192};
    rs_config *config = load(
        ROPES("    - {rope_type: yarn, factor: [2, 4]}\n    - {rope_type: ntk, factor: {log_uniform: [2, 16], n: 3}}\n"
              "    - {rope_type: band, op: freeze, band: {wavelength: [0.1, 900]}}\n") "  softmax: [0.1, adaptive]\noutput: \"a\\\"b\"\n");
    assert_int_equal(rs_config_resolve(config, &facts, 64), RS_OK);
    rs_text text = {0}, again = {0}, entry = {0};
    rs_config_write_json(config, &text);
    rs_rope_entry_write_json(&config->ropes[1], &entry);
    assert_string_equal(entry.data,
                        "{\"rope_type\": \"yarn\", \"rope_theta\": 10000, \"factor\": 4, \"original_max_position_embeddings\": 8192, "
                        "\"beta_fast\": 32, \"beta_slow\": 1, \"truncate\": true}");
    json_error_t error;
    json_t *json = json_loads(text.data, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        fail_msg("%s at %d: %s", error.text, error.position, text.data);
    assert_int_equal(json_array_size(json_object_get(json_object_get(json, "sweep"), "rope")), 6);
    assert_string_equal(json_string_value(json_object_get(json, "output")), "a\"b");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "parallel"), "batch_tokens")), 4096);
    json_decref(json);
    rs_config *reloaded = load(text.data);
    assert_int_equal(rs_config_resolve(reloaded, &facts, 64), RS_OK);
    rs_config_write_json(reloaded, &again);
    assert_string_equal(again.data, text.data);
    rs_config_free(config);
    rs_config_free(reloaded);
    rs_text_free(&text);
    rs_text_free(&again);
    rs_text_free(&entry);
}

static void test_infinity(void **state)
{
    (void)state;
    rs_config *config = load(ROPES("    - {rope_type: band, op: freeze, band: {wavelength: [8192, .inf]}}\n"));
    rs_text text = {0};
    rs_rope_entry_write_json(&config->ropes[0], &text);
    assert_string_equal(text.data, "{\"rope_type\": \"band\", \"band\": {\"wavelength\": [8192, \".inf\"]}, \"op\": \"freeze\"}");
    rs_text_free(&text);
    rs_config_free(config);
}

/* The configs that the repository ships are valid; their numbers of points are what their comments promise. */
static void test_shipped(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        rs_model_facts facts;
        int head_dim, n_ropes, n_softmaxes, n_contexts, n_tasks;
    } shipped[] = {{"long_ctx", {1e4, 8192}, 256, 9, 5, 6, 2}, {"smollm2", {1e5, 8192}, 64, 8, 3, 3, 3}};
    for (size_t i = 0; i < sizeof shipped / sizeof *shipped; i++) {
        char *name = rs_format("%s/configs/%s.yaml", RS_SOURCE, shipped[i].name);
        rs_config *config = NULL;
        rs_error_clear();
        if (rs_config_load(name, NULL, 0, &config) != RS_OK || rs_config_resolve(config, &shipped[i].facts, shipped[i].head_dim) != RS_OK)
            fail_msg("%s", rs_error_message());
        assert_int_equal(config->n_ropes, shipped[i].n_ropes);
        assert_int_equal(config->n_softmaxes, shipped[i].n_softmaxes);
        assert_int_equal(config->n_contexts, shipped[i].n_contexts);
        assert_int_equal(config->n_tasks, shipped[i].n_tasks);
        rs_config_free(config);
        free(name);
    }
}

static void test_reference(void **state)
{
    (void)state;
    rs_text expected = {0}, found = {0};
    rs_config_write_reference(&expected);
    rs_error_clear();
    assert_int_equal(rs_file_read(RS_SOURCE "/docs/config.md", 1 << 20, &found), RS_OK);
    if (strcmp(expected.data, found.data) != 0)
        fail_msg("%s", "docs/config.md is not what the tables say: ropesweep list config > docs/config.md");
    rs_text_free(&expected);
    rs_text_free(&found);
}

static int open_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    path = rs_format("%s/c.yaml", folder);
    return 0;
}

static int close_folder(void **state)
{
    (void)state;
    unlink(path);
    rmdir(folder);
    free(path);
    return 0;
}

static void test_auto_samples(void **state)
{
    (void)state;
    rs_config *config =
        load(MODEL "sweep: {context: 512}\ntasks: [{name: passkey, samples: auto}, {name: max_retrieval, stop_width: 0.25, samples: auto}, "
                   "{name: kv_lookup, samples: auto, stop_width: 0.5}]\n");
    static const double widths[] = {0.1, 0.25, 0.5};
    for (int i = 0; i < 3; i++) {
        assert_true(rs_param_number(&config->tasks[i].common, "samples") == 500);
        assert_true(rs_param_number(&config->tasks[i].common, "stop_width") == widths[i]);
    }
    rs_config_free(config);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_output),        cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_pasted),    cmocka_unit_test(test_context_forms), cmocka_unit_test(test_drawn),
        cmocka_unit_test(test_encodings), cmocka_unit_test(test_aliases),       cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_baseline),  cmocka_unit_test(test_json),          cmocka_unit_test(test_infinity),
        cmocka_unit_test(test_shipped),   cmocka_unit_test(test_reference),     cmocka_unit_test(test_auto_samples),
    };
    return cmocka_run_group_tests(all, open_folder, close_folder);
}
