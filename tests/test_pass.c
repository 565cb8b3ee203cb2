/* A text that passes layer by layer gives the bits that steps over a whole cache give, whatever the chunks; and the planner chooses the way
 * by memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "config/config.h"
#include "model/transformer.h"
#include "plan/memory.h"

enum { ROWS = 90 };

static void must(rs_status status)
{
    if (status != RS_OK)
        fail_msg("%s", rs_error_message());
}

typedef struct setup {
    rs_model model;
    rs_tensor_store *store;
    rs_comm *comm;
    int32_t ids[ROWS], targets[ROWS];
    rs_rope rope;
    rs_softmax softmax;
} setup;

static void open_model(setup *s, const char *name)
{
    rs_rng rng;
    char *folder = rs_format("%s/golden/%s", RS_TESTS, name);
    must(rs_model_load(folder, &s->model));
    must(rs_tensor_store_open(folder, false, &s->store));
    free(folder);
    s->comm = rs_comm_local_open();
    rs_rng_init(&rng, 3, "pass", 0, 0);
    for (int i = 0; i < ROWS; i++)
        s->ids[i] = (int32_t)rs_rng_below(&rng, (uint64_t)s->model.vocab);
    for (int i = 0; i < ROWS; i++)
        s->targets[i] = i % 7 == 5 || i + 1 == ROWS ? RS_TARGET_NONE : s->ids[i + 1];
}

static void close_model(setup *s)
{
    rs_comm_close(s->comm);
    rs_tensor_store_close(s->store);
    rs_model_free(&s->model);
}

static rs_config *load(const setup *s, const char *rope, const char *tasks, const char *parallel)
{
    char path[] = "/tmp/ropesweep-pass-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "model: {path: %s}\nparallel: {%s}\nsweep:\n  rope: [%s]\n  context: %d\ntasks: [%s]\n", s->model.folder, parallel, rope,
            ROWS, tasks);
    close(fd);
    rs_config *config = NULL;
    must(rs_config_load(path, NULL, 0, &config));
    rs_model_facts facts = rs_model_get_facts(&s->model);
    must(rs_config_resolve(config, &facts, s->model.head_dim));
    unlink(path);
    return config;
}

static rs_transformer *open_transformer(const setup *s, rs_dtype dtype, int64_t max_rows)
{
    rs_transformer *t = NULL;
    rs_transformer_options options = {.dtype = dtype, .n_threads = 2, .max_rows = max_rows, .deterministic = dtype == RS_BF16};
    must(rs_transformer_open(&s->model, s->store, &rs_backend_cpu, s->comm, &options, &t));
    return t;
}

static void check_equal(const setup *s, rs_dtype dtype, int64_t chunk, const rs_token_result *expected)
{
    rs_token_result results[ROWS];
    rs_transformer *t = open_transformer(s, dtype, chunk);
    must(rs_transformer_pass(t, &s->rope, &s->softmax, s->ids, s->targets, ROWS, NULL, results));
    for (int i = 0; i < ROWS; i++)
        if (s->targets[i] != RS_TARGET_NONE)
            assert_true(results[i].nll == expected[i].nll && results[i].best_id == expected[i].best_id && results[i].finite);
    rs_transformer_close(t);
}

static void check_entry(setup *s, const char *rope, rs_dtype dtype)
{
    rs_token_result expected[ROWS];
    rs_config *config = load(s, rope, "{name: perplexity, text: none.txt}", "");
    must(rs_rope_build(config->ropes[0].variant, &config->ropes[0].params, s->model.head_dim, ROWS, &s->rope));
    must(rs_softmax_build(config->softmaxes[0].policy, &config->softmaxes[0].params, &s->softmax));
    rs_transformer *t = open_transformer(s, dtype, ROWS);
    rs_sequence sequence = {.n_rows = ROWS, .rope = &s->rope, .softmax = &s->softmax};
    rs_step step = {.sequences = &sequence, .n_sequences = 1, .ids = s->ids, .n = ROWS};
    must(rs_transformer_kv_open(t, ROWS, &s->rope, &sequence.kv));
    must(rs_transformer_step(t, &step, s->targets, expected));
    rs_transformer_kv_free(t, sequence.kv);
    rs_transformer_close(t);
    check_equal(s, dtype, ROWS, expected);
    check_equal(s, dtype, 17, expected);
    check_equal(s, dtype, 1, expected);
    rs_config_free(config);
}

static void pass_equals_steps(void **state)
{
    (void)state;
    static const char *const models[] = {"gemma_mqa", "llama_gqa"};
    static const char *const ropes[] = {"default", "{rope_type: self_extend, group: 4, window: 32}", "{rope_type: irope}"};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        setup s = {0};
        open_model(&s, models[m]);
        for (size_t r = 0; r < sizeof ropes / sizeof *ropes; r++) {
            check_entry(&s, ropes[r], RS_F32);
            check_entry(&s, ropes[r], RS_BF16);
        }
        close_model(&s);
    }
}

static rs_status plan_memory(const setup *s, const char *task, double available, rs_memory_plan *memory)
{
    rs_plan *plan = NULL;
    rs_config *config = load(s, "default", task, "batch_tokens: 8");
    must(rs_plan_open(config, &s->model, NULL, (rs_digest){0}, false, &plan));
    rs_status status = rs_memory_plan_make(plan, &rs_backend_kind_cpu, available, memory);
    rs_plan_close(plan);
    rs_config_free(config);
    return status;
}

/* Room for the whole cache, for one layer's, for less. */
static void memory_decides(void **state)
{
    (void)state;
    static const char scored[] = "{name: perplexity, text: none.txt}", generated[] = "{name: jsonl, file: none.jsonl}";
    setup s = {0};
    rs_memory_plan memory;
    open_model(&s, "gemma_mha");
    must(plan_memory(&s, scored, 0, &memory));
    double beside = memory.weight_bytes + memory.step_bytes, cache = ROWS * memory.kv_bytes_per_token,
           one = ROWS * memory.pass_bytes_per_token;
    /* bf16; keys and values of every layer; one layer's, and 4 bytes an element of the residual stream */
    assert_true(memory.kv_bytes_per_token == 2.0 * 2 * s.model.layers * s.model.kv_heads * s.model.head_dim);
    assert_true(memory.pass_bytes_per_token == 2.0 * 2 * s.model.kv_heads * s.model.head_dim + 4.0 * (double)s.model.hidden);
    must(plan_memory(&s, scored, beside + cache + 1, &memory));
    assert_true(!memory.passes && memory.longest_kv >= ROWS);
    assert_true(one < cache);
    must(plan_memory(&s, scored, beside + cache - 1, &memory));
    assert_true(memory.passes && memory.longest_kv < ROWS && memory.need_bytes == beside + one);
    assert_int_equal(plan_memory(&s, scored, beside + one - 1, &memory), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "perplexity at context 90"));
    rs_error_clear();
    assert_int_equal(plan_memory(&s, generated, beside + cache - 1, &memory), RS_INVALID); /* a generated text needs its cache */
    assert_non_null(strstr(rs_error_message(), "keys and values"));
    rs_error_clear();
    must(plan_memory(&s, generated, beside + cache + 1, &memory));
    close_model(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pass_equals_steps),
        cmocka_unit_test(memory_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
