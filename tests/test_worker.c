/* A device that has no room for a cache: the sample waits for others to end, or fails with the sizes named, and the rest goes on. */
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
#include "engine/worker.h"

enum { SAMPLES = 4, TOKENS = 40 };

static int room, open_caches; /* caches that the device holds at once */

static rs_status small_kv_open(rs_backend *backend, int64_t capacity, int key_sets, int n_layers, rs_kv **out)
{
    if (open_caches == room)
        return rs_fail(RS_NO_MEMORY, "keys and values: no room for %lld tokens", (long long)capacity);
    open_caches++;
    return rs_backend_cpu.kv_open(backend, capacity, key_sets, n_layers, out);
}

static void small_kv_free(rs_backend *backend, rs_kv *kv)
{
    open_caches--;
    rs_backend_cpu.kv_free(backend, kv);
}

static void must(rs_status status)
{
    if (status != RS_OK)
        fail_msg("%s", rs_error_message());
}

typedef struct found {
    int n;
    double nll[SAMPLES];
    char error[SAMPLES][80];
} found;

static rs_status take(void *context, rs_unit unit, const rs_record *record, const char *const *metrics)
{
    (void)metrics;
    found *f = context;
    f->n++;
    f->nll[unit.doc_id] = record->nll;
    snprintf(f->error[unit.doc_id], sizeof f->error[0], "%s", record->error ? record->error : "");
    return RS_OK;
}

typedef struct setup {
    char *folder;
    rs_config *config;
    rs_model model;
    rs_tokenizer *tokenizer;
    rs_tensor_store *store;
    rs_plan *plan;
    rs_comm *comm;
} setup;

static int open_setup(void **state)
{
    static setup s;
    char folder[] = "/tmp/ropesweep-worker-XXXXXX";
    assert_non_null(mkdtemp(folder));
    s.folder = rs_strdup(folder);
    char *text = rs_format("%s/a.txt", folder), *config = rs_format("%s/c.yaml", folder);
    FILE *file = fopen(text, "w");
    for (int i = 0; i < SAMPLES * TOKENS; i++)
        fprintf(file, " %d", i % 97);
    fclose(file);
    file = fopen(config, "w");
    fprintf(file,
            "model: {path: %s/configs/models/tiny-gemma, dtype: fp32}\nsweep: {context: %d}\ntasks: [{name: perplexity, text: a.txt, "
            "samples: %d}]\n",
            RS_SOURCE, TOKENS, SAMPLES);
    fclose(file);
    must(rs_config_load(config, NULL, 0, &s.config));
    must(rs_model_load(RS_SOURCE "/configs/models/tiny-gemma", &s.model));
    rs_model_facts facts = rs_model_get_facts(&s.model);
    must(rs_config_resolve(s.config, &facts, s.model.head_dim));
    must(rs_tokenizer_load(RS_SOURCE "/configs/models/tiny-gemma/tokenizer.json", &s.tokenizer));
    must(rs_tensor_store_open(s.model.folder, false, &s.store));
    must(rs_plan_open(s.config, &s.model, s.tokenizer, (rs_digest){0}, false, &s.plan));
    s.comm = rs_comm_local_open();
    unlink(text);
    unlink(config);
    rmdir(folder);
    free(text);
    free(config);
    *state = &s;
    return 0;
}

static int close_setup(void **state)
{
    setup *s = *state;
    rs_comm_close(s->comm);
    rs_plan_close(s->plan);
    rs_tensor_store_close(s->store);
    rs_tokenizer_free(s->tokenizer);
    rs_model_free(&s->model);
    rs_config_free(s->config);
    free(s->folder);
    return 0;
}

enum { NEVER = -1 };

/* wind_down: after so many steps. */
static found run_until(const setup *s, int caches, int64_t longest_kv, int wind_down)
{
    found f = {0};
    rs_backend_ops ops = rs_backend_cpu;
    rs_transformer *transformer = NULL;
    rs_transformer_options options = {.dtype = RS_F32, .n_threads = 1, .max_rows = 64};
    ops.kv_open = small_kv_open;
    ops.kv_free = small_kv_free;
    room = caches;
    must(rs_transformer_open(&s->model, s->store, &ops, s->comm, &options, &transformer));
    rs_worker_setup worker_setup = {.plan = s->plan,
                                    .transformer = transformer,
                                    .max_rows = 64,
                                    .kv_tokens = 10 * TOKENS,
                                    .longest_kv = longest_kv,
                                    .emit = take,
                                    .emit_context = &f};
    rs_worker *worker = rs_worker_open(&worker_setup);
    for (int64_t i = 0; i < SAMPLES; i++)
        rs_worker_add(worker, &(rs_unit){.doc_id = i}, 1);
    for (int steps = 0; !rs_worker_idle(worker); steps++) {
        if (steps == wind_down)
            rs_worker_wind_down(worker);
        if (!rs_worker_idle(worker))
            must(rs_worker_step(worker));
        assert_true(steps < 100);
    }
    rs_worker_close(worker);
    rs_transformer_close(transformer);
    assert_int_equal(open_caches, 0);
    return f;
}

static found run(const setup *s, int caches, int64_t longest_kv)
{
    found f = run_until(s, caches, longest_kv, NEVER);
    assert_int_equal(f.n, SAMPLES);
    return f;
}

static void one_after_the_other(void **state)
{
    found free_run = run(*state, SAMPLES, 1000), tight = run(*state, 1, 1000);
    for (int i = 0; i < SAMPLES; i++) {
        assert_string_equal(tight.error[i], "");
        assert_true(tight.nll[i] > 0 && tight.nll[i] == free_run.nll[i]);
    }
}

static void fails_and_goes_on(void **state)
{
    static const int64_t layer_by_layer[] = {1000, 1};
    for (int i = 0; i < 2; i++) {
        found f = run(*state, 0, layer_by_layer[i]);
        for (int d = 0; d < SAMPLES; d++)
            assert_non_null(strstr(f.error[d], "no room for"));
        assert_string_equal(rs_error_message(), "");
    }
}

/* Texts that pass layer by layer wait until caches have gone, and give the same. */
static void whole_texts(void **state)
{
    found steps = run(*state, SAMPLES, 1000), layers = run(*state, 1, 1);
    for (int i = 0; i < SAMPLES; i++)
        assert_true(layers.nll[i] > 0 && layers.nll[i] == steps.nll[i]);
}

/* A step has room for one text and a part of the next: these two end, the two that have not begun are given up. */
static void winds_down(void **state)
{
    found whole = run(*state, SAMPLES, 1000), some = run_until(*state, SAMPLES, 1000, 1);
    assert_int_equal(some.n, 2);
    for (int i = 0; i < SAMPLES; i++)
        assert_true(some.nll[i] == (i < 2 ? whole.nll[i] : 0));
    assert_int_equal(run_until(*state, SAMPLES, 1000, 0).n, 0); /* nothing has begun before the first step */
    assert_int_equal(run_until(*state, 1, 1000, 1).n, 1);       /* the others wait for room */
    assert_int_equal(run_until(*state, SAMPLES, 1, 1).n, 1);    /* layer by layer, one after the other */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(fails_and_goes_on),
        cmocka_unit_test(whole_texts),
        cmocka_unit_test(winds_down),
    };
    return cmocka_run_group_tests(tests, open_setup, close_setup);
}
