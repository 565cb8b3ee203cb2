/* `ropesweep CONFIG`: the phases of a run, in order. */
#ifndef RS_ENGINE_RUN_H
#define RS_ENGINE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "config/config.h"
#include "engine/launch.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "sharding/comm.h"

typedef struct rs_run_options {
    const char *config_path;
    const rs_override *overrides;
    size_t n_overrides;
    const char *output;  /* --output, relative to the current folder; NULL: the config's */
    bool fresh;          /* --fresh */
    int64_t limit;       /* --limit: samples a point at most; 0: no limit */
    const char *backend; /* --backend; NULL: the best there is */
    int shard, n_shards; /* --shard I/N; 0/1: all */
    const rs_launch *launch;
    int grace; /* --grace: seconds after a signal in which running samples may end; 0: they are dropped */
} rs_run_options;

typedef enum rs_run_result { RS_RUN_COMPLETE, RS_RUN_FAILED_POINTS, RS_RUN_STOPPED } rs_run_result;

/* Collective over world. The message of a failure stands on the rank that reports it: *speaks says whether that is this one. */
rs_status rs_run(rs_comm *world, const rs_run_options *options, rs_run_result *result, bool *speaks);

/* What run, plan and check do alike: the config with --limit applied, and the model's description with the config resolved against it. */
rs_status rs_run_load_config(const rs_run_options *options, rs_config **config, rs_model *model);
/* The model's tokenizer.json, which must not know more tokens than the model. */
rs_status rs_run_load_tokenizer(const rs_model *model, rs_tokenizer **out);
/* `tensor` against a number of ranks and the model's heads. */
rs_status rs_run_check_tensor(const rs_config *config, const rs_model *model, int ranks);
/* Copies of the model that compute on so many ranks: all, or all but rank 0's (parallel.scheduler_computes). RS_INVALID where none does. */
rs_status rs_run_count_replicas(const rs_config *config, int ranks, int *replicas);

#endif
