/* The whole forward in fp32 against tests/golden: transformers where it has the variant, else the slow fp64 reference. Every rope and
 * softmax entry goes through the program's own config parser. ROPESWEEP_TEST_BACKEND names the backend; cpu where it is not set. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/memory.h"
#include "config/config.h"
#include "model/model.h"
#include "model/transformer.h"
#include "sharding/comm.h"

#ifndef LOGIT_STEP
#define LOGIT_STEP 16
#endif
enum { MAX_ROWS = 128, ARENA_MIB = 1024 };

static rs_comm *world;
static const rs_backend_ops *backend;

typedef struct fixture {
    rs_model model;
    rs_tensor_store *store;
    rs_comm *comm;
    rs_transformer *transformer;
    json_t *golden;
} fixture;

static void must(rs_status status)
{
    if (status != RS_OK)
        fail_msg("%s", rs_error_message());
}

/* False: the ranks do not divide this model's heads. */
static bool fixture_open(fixture *f, const char *name)
{
    char *folder = rs_format("%s/golden/%s", RS_TESTS, name), *json = rs_format("%s.json", folder);
    json_error_t error;
    must(rs_model_load(folder, &f->model));
    if (f->model.heads % rs_comm_size(world) != 0) {
        rs_model_free(&f->model);
        free(folder);
        free(json);
        return false;
    }
    must(rs_tensor_store_open(folder, false, &f->store));
    must(rs_model_check(&f->model, f->store));
    f->comm = world;
    rs_transformer_options options = {.dtype = RS_F32,
                                      .n_threads = rs_comm_size(world) == 1 ? 2 : 1,
                                      .arena_bytes = (size_t)ARENA_MIB << 20, /* ranks may share a device */
                                      .max_rows = MAX_ROWS};
    must(rs_transformer_open(&f->model, f->store, backend, f->comm, &options, &f->transformer));
    f->golden = json_load_file(json, 0, &error);
    if (f->golden == NULL)
        fail_msg("%s: %s", json, error.text);
    free(folder);
    free(json);
    return true;
}

static void fixture_close(fixture *f)
{
    rs_transformer_close(f->transformer);
    rs_tensor_store_close(f->store);
    rs_model_free(&f->model);
    json_decref(f->golden);
}

/* A config of one rope and one softmax entry, as the golden writes them. */
static rs_config *entry_config(const fixture *f, const char *rope, const char *softmax, int64_t context)
{
    char path[] = "/tmp/ropesweep-parity-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd,
            "model: {path: %s}\nsweep:\n  rope: [%s]\n  softmax: [%s]\n  context: %lld\ntasks:\n  - {name: perplexity, text: none.txt}\n",
            f->model.folder, rope, softmax, (long long)context);
    close(fd);
    rs_config *config = NULL;
    must(rs_config_load(path, NULL, 0, &config));
    rs_model_facts facts = rs_model_get_facts(&f->model);
    must(rs_config_resolve(config, &facts, f->model.head_dim));
    unlink(path);
    return config;
}

typedef struct stage {
    rs_rope rope;
    rs_softmax softmax;
    rs_kv *kv;
    int32_t ids[MAX_ROWS];
    int64_t n;
    rs_phase phase;
    const char *what;
} stage;

static rs_token_result *run_rows(const fixture *f, stage *s, int64_t first, int64_t rows, const int32_t *targets)
{
    static rs_token_result results[MAX_ROWS];
    rs_sequence sequence = {.n_rows = rows, .position = first, .kv = s->kv, .rope = &s->rope, .softmax = &s->softmax};
    rs_step step = {.phase = s->phase, .sequences = &sequence, .n_sequences = 1, .ids = s->ids + first, .n = rows};
    must(rs_transformer_step(f->transformer, &step, targets, results));
    return results;
}

static void check_nll(const fixture *f, stage *s, const json_t *golden)
{
    int32_t targets[MAX_ROWS];
    double sum = 0, expected = json_number_value(json_object_get(golden, "nll_sum"));
    for (int64_t i = 0; i + 1 < s->n; i++)
        targets[i] = s->ids[i + 1];
    targets[s->n - 1] = RS_TARGET_NONE;
    rs_token_result *results = run_rows(f, s, 0, s->n, targets);
    for (int64_t i = 0; i + 1 < s->n; i++) {
        double token = json_number_value(json_array_get(json_object_get(golden, "nll"), (size_t)i));
        assert_true(results[i].finite);
        if (fabs(results[i].nll - token) > 2e-4)
            fail_msg("%s: nll of token %lld is %.8f, not %.8f", s->what, (long long)i + 1, results[i].nll, token);
        sum += results[i].nll;
    }
    if (fabs(sum / expected - 1) > 1e-5)
        fail_msg("%s: nll sum %.8f, not %.8f", s->what, sum, expected);
}

/* The logits at one position: its row again and again over the same cache, each time with another target. All of them on the CPU, every
 * LOGIT_STEP-th where a step of one row takes a thousand times as long as its arithmetic. */
static void check_logits(const fixture *f, stage *s, const json_t *golden)
{
    const char *position_text;
    json_t *expected, *all = json_object_get(golden, "logits");
    json_object_foreach(all, position_text, expected)
    {
        int64_t position = atoll(position_text);
        for (size_t id = 0; id < json_array_size(expected); id += backend->kind->host_memory ? 1 : LOGIT_STEP) {
            int32_t target = (int32_t)id;
            float logit = run_rows(f, s, position, 1, &target)->target_logit;
            if (fabs((double)logit - json_number_value(json_array_get(expected, id))) > 1e-4)
                fail_msg("%s: logit of token %zu at %lld is %.6f, not %.6f", s->what, id, (long long)position, (double)logit,
                         json_number_value(json_array_get(expected, id)));
        }
    }
}

static void check_table(const stage *s, const json_t *golden)
{
    size_t k;
    json_t *value;
    json_array_foreach(json_object_get(golden, "inv_freq"), k,
                       value) if (fabs(s->rope.inv_freq[k] - json_number_value(value)) > 1e-12 * fabs(json_number_value(value)))
        fail_msg("%s: inv_freq[%zu] is %.17g, not %.17g", s->what, k, s->rope.inv_freq[k], json_number_value(value));
    assert_true(fabs(s->rope.attention_factor - json_number_value(json_object_get(golden, "attention_factor"))) < 1e-12);
}

static void check_sequence(const fixture *f, const json_t *golden, const json_t *ids, const json_t *expected)
{
    char *rope = json_dumps(json_object_get(golden, "rope"), JSON_ENCODE_ANY),
         *softmax = json_dumps(json_object_get(golden, "softmax"), JSON_ENCODE_ANY);
    stage s = {.n = (int64_t)json_array_size(ids), .what = NULL};
    char *what = rs_format("rope %s, softmax %s, %lld tokens (%s)", rope, softmax, (long long)s.n,
                           json_string_value(json_object_get(golden, "source")));
    s.what = what;
    for (int64_t i = 0; i < s.n; i++)
        s.ids[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    rs_config *config = entry_config(f, rope, softmax, s.n);
    must(rs_rope_build(config->ropes[0].variant, &config->ropes[0].params, f->model.head_dim, s.n, &s.rope));
    must(rs_softmax_build(config->softmaxes[0].policy, &config->softmaxes[0].params, &s.softmax));
    must(rs_transformer_kv_open(f->transformer, s.n, &s.rope, &s.kv));
    check_table(&s, expected);
    check_nll(f, &s, expected);
    if (rs_comm_size(world) == 1) /* thousands of one-row steps: with ranks, nll says the same in one */
        check_logits(f, &s, expected);
    rs_transformer_kv_free(f->transformer, s.kv);
    rs_config_free(config);
    free(what);
    free(rope);
    free(softmax);
}

static void check_model(const char *name)
{
    fixture f = {0};
    size_t i;
    json_t *golden;
    if (!fixture_open(&f, name))
        return;
    json_t *sequences = json_object_get(f.golden, "sequences");
    json_array_foreach(json_object_get(f.golden, "goldens"), i, golden) for (size_t q = 0; q < json_array_size(sequences); q++)
        check_sequence(&f, golden, json_array_get(sequences, q), json_array_get(json_object_get(golden, "seq"), q));
    assert_true(i > 80);
    fixture_close(&f);
}

static void gemma_mha(void **state)
{
    (void)state;
    check_model("gemma_mha");
}

static void gemma_mqa(void **state)
{
    (void)state;
    check_model("gemma_mqa");
}

static void llama_gqa(void **state)
{
    (void)state;
    check_model("llama_gqa");
}

/* Greedy decoding, one row a step over the cache. Every gap between the two largest logits is at least 7e-3. */
static void check_greedy(const json_t *entry)
{
    fixture f = {0};
    if (!fixture_open(&f, json_string_value(json_object_get(entry, "model"))))
        return;
    char *rope = json_dumps(json_object_get(entry, "rope"), JSON_ENCODE_ANY),
         *softmax = json_dumps(json_object_get(entry, "softmax"), JSON_ENCODE_ANY);
    json_t *prompt = json_object_get(entry, "prompt"), *tokens = json_object_get(entry, "tokens");
    int64_t n = (int64_t)json_array_size(prompt), n_final = n + (int64_t)json_array_size(tokens);
    rs_config *config = entry_config(&f, rope, softmax, n_final);
    stage s = {.n = n, .what = rope};
    int32_t targets[MAX_ROWS];
    must(rs_rope_build(config->ropes[0].variant, &config->ropes[0].params, f.model.head_dim, n_final, &s.rope));
    must(rs_softmax_build(config->softmaxes[0].policy, &config->softmaxes[0].params, &s.softmax));
    must(rs_transformer_kv_open(f.transformer, n_final, &s.rope, &s.kv));
    for (int64_t i = 0; i < n; i++) {
        s.ids[i] = (int32_t)json_integer_value(json_array_get(prompt, (size_t)i));
        targets[i] = i + 1 < n ? RS_TARGET_NONE : RS_TARGET_GREEDY;
    }
    int32_t best = run_rows(&f, &s, 0, n, targets)[n - 1].best_id;
    s.phase = RS_DECODE;
    for (int64_t i = 0; i < (int64_t)json_array_size(tokens); i++) {
        assert_int_equal(best, json_integer_value(json_array_get(tokens, (size_t)i)));
        s.ids[n + i] = best;
        int32_t greedy = RS_TARGET_GREEDY;
        best = run_rows(&f, &s, n + i, 1, &greedy)[0].best_id;
    }
    rs_transformer_kv_free(f.transformer, s.kv);
    rs_config_free(config);
    free(rope);
    free(softmax);
    fixture_close(&f);
}

static void greedy(void **state)
{
    (void)state;
    json_t *all = json_load_file(RS_TESTS "/golden/greedy.json", 0, NULL), *entry;
    size_t i;
    assert_non_null(all);
    json_array_foreach(all, i, entry) check_greedy(entry);
    assert_true(i >= 6);
    json_decref(all);
}

static rs_status find_backend(void)
{
#ifdef PARITY_BACKEND /* linked in */
    extern const rs_backend_ops PARITY_BACKEND;
    backend = &PARITY_BACKEND;
    return RS_OK;
#else
    const char *name = getenv("ROPESWEEP_TEST_BACKEND");
    return rs_backend_find(name ? name : "cpu", &backend);
#endif
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemma_mha),
        cmocka_unit_test(gemma_mqa),
        cmocka_unit_test(llama_gqa),
        cmocka_unit_test(greedy),
    };
    rs_log_set_level(RS_LOG_QUIET);
    must(find_backend());
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        must(rs_comm_world_open(&argc, &argv, &world));
    else /* alone MPI is not needed, and what it leaves behind would hide our leaks */
        world = rs_comm_local_open();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed && rs_comm_size(world) > 1) /* the other ranks may wait for this one */
        rs_comm_abort(world, 1);
    rs_comm_close(world);
    return failed;
}
