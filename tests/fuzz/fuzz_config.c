/* A config: read, resolved with a model's facts and planned without weights. The effective configuration, written and read back, is itself.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "plan/plan.h"

enum { MAX_POINTS = 400 }; /* more are as good as these, and slow */

static bool is_small(const rs_config *config)
{
    return (double)config->n_ropes * config->n_softmaxes * config->n_contexts * config->n_tasks <= MAX_POINTS;
}

/* NULL where it is refused, or too large to go on with. */
static rs_config *load(const char *name)
{
    static const rs_model_facts facts = {.rope_theta = 10000, .max_position_embeddings = 4096};
    rs_config *config = NULL;
    char *path = fuzz_path(name);
    fuzz_check(rs_config_load(path, NULL, 0, &config));
    free(path);
    if (config && is_small(config)) {
        rs_status status = rs_config_resolve(config, &facts, 16);
        fuzz_check(status);
        if (status == RS_OK)
            return config;
    }
    rs_config_free(config);
    return NULL;
}

static void check_read_back(const rs_text *first)
{
    rs_text again = {0};
    fuzz_write("config.yaml", first->data, first->n);
    rs_config *config = load("config.yaml");
    if (config == NULL) {
        fprintf(stderr, "not read back: %s\n", first->data);
        abort();
    }
    rs_config_write_json(config, &again);
    if (again.n != first->n || memcmp(again.data, first->data, first->n) != 0) {
        fprintf(stderr, "%s\nread back is\n%s\n", first->data, again.data);
        abort();
    }
    rs_config_free(config);
    rs_text_free(&again);
}

static void check_plan(const rs_config *config)
{
    static char architecture[] = "llama", folder[] = ".";
    static const rs_model model = {.folder = folder,
                                   .architecture = architecture,
                                   .vocab = 64,
                                   .hidden = 64,
                                   .ff = 128,
                                   .layers = 2,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .head_dim = 16,
                                   .max_positions = 4096,
                                   .rope_theta = 10000,
                                   .bos = 1};
    rs_plan *plan = NULL;
    rs_text text = {0};
    fuzz_check(rs_plan_open(config, &model, NULL, (rs_digest){1, 2}, true, &plan));
    if (plan) {
        rs_plan_deal(plan, 0, 2);
        rs_plan_write_json(plan, &text);
    }
    rs_text_free(&text);
    rs_plan_close(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_write("config.yaml", data, n);
    rs_config *config = load("config.yaml");
    if (config == NULL)
        return 0;
    rs_text text = {0};
    rs_config_write_json(config, &text);
    check_read_back(&text);
    check_plan(config);
    rs_text_free(&text);
    rs_config_free(config);
    return 0;
}
