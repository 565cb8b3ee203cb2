/* Data files of tasks: the first byte says whose. What opens also makes samples, which are scored. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tasks/registry.h"

typedef struct reader {
    const rs_task *task;
    const char *dataset; /* of longbench */
} reader;

static const reader readers[] = {
    {&rs_task_jsonl, NULL},        {&rs_task_longbench, "qasper"},        {&rs_task_longbench, "trec"}, {&rs_task_longbench, "gov_report"},
    {&rs_task_longbench, "lcc"},   {&rs_task_longbench, "passage_count"}, {&rs_task_qa_1, NULL},        {&rs_task_qa_2, NULL},
    {&rs_task_babilong_qa1, NULL},
};
enum { N_READERS = sizeof readers / sizeof *readers, CONTEXT = 256, MAX_SAMPLES = 3 };

static rs_tokenizer *tokenizer;

static void free_tokenizer(void)
{
    rs_tokenizer_free(tokenizer);
}

static const rs_tokenizer *get_tokenizer(void)
{
    if (tokenizer == NULL) {
        fuzz_check(rs_tokenizer_load(RS_TESTS "/golden/tokenizer/gemma.json", &tokenizer));
        atexit(free_tokenizer);
    }
    return tokenizer;
}

static void set(rs_params *params, const char *key, const char *value)
{
    fuzz_check(rs_param_set_string(params, rs_param_find(params->specs, key), value));
}

static void make_samples(const rs_task *task, void *state)
{
    static const char answer[] = "Paragraph 3, the bathroom.\nyes";
    int64_t n = 0;
    rs_status status = task->count(state, CONTEXT, MAX_SAMPLES, &n);
    fuzz_check(status);
    for (int64_t i = 0; status == RS_OK && i < n; i++) {
        rs_sample sample = {0};
        double scores[RS_MAX_METRICS] = {0};
        status = task->sample(state, CONTEXT, i, &sample);
        fuzz_check(status);
        if (status == RS_OK && sample.error == NULL) {
            assert((int64_t)sample.tokens.n + sample.max_new_tokens <= CONTEXT);
            task->score(state, &sample, answer, sizeof answer - 1, scores);
            assert(scores[0] >= 0 && scores[0] <= 1);
        }
        rs_sample_free(&sample);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    const reader *r = &readers[data[0] % N_READERS];
    rs_params params;
    void *state = NULL;
    fuzz_write("data", data + 1, n - 1);
    rs_params_init(&params, r->task->params);
    set(&params, "file", "data");
    if (r->dataset)
        set(&params, "dataset", r->dataset);
    if (rs_param_find(params.specs, "haystack") >= 0)
        set(&params, "haystack", "noise");
    rs_status status = rs_params_fill(&params, NULL);
    assert(status == RS_OK);
    rs_task_setup setup = {
        .params = &params, .tokenizer = get_tokenizer(), .bos = 2, .folder = fuzz_folder(), .prompt_prefix = "", .prompt_suffix = ""};
    status = r->task->open(&setup, &state);
    fuzz_check(status);
    if (status == RS_OK) {
        make_samples(r->task, state);
        r->task->close(state);
    }
    rs_params_free(&params);
    return 0;
}
