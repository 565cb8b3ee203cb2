/* The rows: a field's name, type, bounds, default and help stand here and nowhere else. */
#include <string.h>

#include "config/internal.h"

#define END                                                                                                                                \
    {                                                                                                                                      \
        .name = NULL                                                                                                                       \
    }

const rs_param_spec rs_config_run_params[] = {
    {"seed", RS_PARAM_INT, 0, 9007199254740992.0, false, NULL, "1234",
     "samples and drawn numbers depend on it and on nothing else that varies"},
    {"output", RS_PARAM_STRING, 0, 0, false, NULL, NULL,
     "folder of the results, relative to the config's folder; absent: results/NAME of NAME.yaml, in the current folder"},
    {"length_threshold", RS_PARAM_NUMBER, 0, 1, false, NULL, "0.856",
     "score that a context must reach to count in effective lengths; RULER's"},
    {"diagnostics", RS_PARAM_STRINGS, 0, 0, false, NULL, NULL,
     "what diagnostics.json shows of attention: names of `list diagnostics`, or all; absent: none; on the CPU"},
    {"diagnostic_offsets", RS_PARAM_VECTOR, 2, 1 << 30, false, NULL, NULL,
     "with positional_heads: at most 16 distances in tokens whose mass is added up too"},
    END,
};

const rs_param_spec rs_config_model_params[] = {
    {"path", RS_PARAM_STRING, 0, 0, false, NULL, "required",
     "a Hugging Face folder (config.json, safetensors, tokenizer.json), relative to the config's folder"},
    {"dtype", RS_PARAM_CHOICE, 0, 0, false, "fp32|bf16", "bf16",
     "type of weights and matrix products; sums, norms and softmax are fp32 always"},
    END,
};

const rs_param_spec rs_config_parallel_params[] = {
    {"tensor", RS_PARAM_INT, 1, 4096, false, NULL, "1", "ranks that share one copy of the model; the rest of the world is further copies"},
    {"batch_tokens", RS_PARAM_INT, 1, 1 << 24, false, NULL, "4096", "the most tokens of one packed batch; results never depend on it"},
    {"threads", RS_PARAM_INT, 0, 4096, false, NULL, "0", "threads of a rank; 0: the cores it may run on"},
    {"memory", RS_PARAM_NUMBER, 0, 1e6, false, NULL, "0",
     "GiB of its device that a rank may take; 0: what is free, shared among the ranks of the device"},
    {"comm", RS_PARAM_CHOICE, 0, 0, false, "auto|nccl|mpi", "auto",
     "how ranks add up what lies in GPU memory: nccl, one GPU a rank; mpi, through host memory; auto: nccl where it can"},
    {"comm_timeout", RS_PARAM_NUMBER, 1, 86400, false, NULL, "60",
     "seconds after which a stuck NCCL operation ends the run; it names the rank at fault"},
    {"heartbeat", RS_PARAM_INT, 0, 86400, false, NULL, "45",
     "seconds after which a silent or stuck rank ends the run; it is named, exit code 75; 0: nobody watches"},
    {"deterministic", RS_PARAM_BOOL, 0, 0, false, NULL, "true",
     "the same bits for every `tensor`, at a cost that is printed; false: sums as the ranks lie, within rounding"},
    {"scheduler_computes", RS_PARAM_BOOL, 0, 0, false, NULL, "true",
     "rank 0's replica computes too; false: it only hands out samples and keeps records, which takes a replica more"},
    END,
};

const rs_param_spec rs_task_common_params[] = {
    {"name", RS_PARAM_STRING, 0, 0, false, NULL, "required", "which task; see below"},
    {"label", RS_PARAM_STRING, 0, 0, false, NULL, NULL, "what reports call it, unique; absent: its name"},
    {"samples", RS_PARAM_INT, 1, 1000000000, false, NULL, "100", "samples at each context; auto: at most 500, stop_width 0.1"},
    {"stop_width", RS_PARAM_NUMBER, 0, 2, true, NULL, NULL,
     "tasks with a score: a point stops before `samples` once the 95 % interval of its difference from the baseline is no wider"},
    {"stop_min", RS_PARAM_INT, 1, 1000000000, false, NULL, NULL,
     "with stop_width: samples before the first look at the interval; absent: 20"},
    {"prompt_prefix", RS_PARAM_STRING, 0, 0, false, NULL, NULL, "text before each prompt, for chat models"},
    {"prompt_suffix", RS_PARAM_STRING, 0, 0, false, NULL, NULL, "text after each prompt"},
    END,
};

static const rs_key_row sweep_keys[] = {
    {"rope", "list of rope entries", "[default]",
     "a rope_type, or a map with `rope_type` and its keys; any value may be a list: the entry expands"},
    {"softmax", "list of softmax entries", "[1]", "a temperature, a type, or a map with `type` and its keys; lists expand likewise"},
    {"context", "whole numbers and ranges", "required",
     "tokens of one sample, BOS and generated tokens included, from 2 on: a number, a list, 4096-131072*2 or 1024-8192+1024"},
    END,
};

static const rs_key_row baseline_keys[] = {
    {"rope", "rope entry", "the first", "must be an entry of the sweep"},
    {"softmax", "softmax entry", "the first", "must be an entry of the sweep"},
    END,
};

const rs_section rs_config_sections[] = {
    {"", rs_config_run_params, NULL, "At the top of the file."},
    {"model", rs_config_model_params, NULL, "The checkpoint."},
    {"parallel", rs_config_parallel_params, NULL, "How the work is spread. Nothing here changes a result beyond rounding."},
    {"sweep", NULL, sweep_keys, "The grid: every rope entry with every softmax entry at every context, on every task."},
    {"tasks", rs_task_common_params, NULL, "A list of maps. Every task takes these keys beside its own. Required."},
    {"baseline", NULL, baseline_keys, "What differences are measured against."},
    END,
};

const rs_section *rs_section_find(const char *name)
{
    for (const rs_section *section = rs_config_sections; section->name; section++)
        if (strcmp(section->name, name) == 0)
            return section;
    return NULL;
}
