/* Opens a communicator over device memory out of the module that has NCCL, if every rank can. */
#include "sharding/comm_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/module.h"

typedef struct answer {
    bool loaded;
    char reason[512];
} answer;

/* The lowest rank's reason where any rank has no module: the others must not wait for it. */
static rs_status load_everywhere(rs_comm *group, rs_comm_nccl_opener **out)
{
    void *symbol = NULL;
    answer mine = {.loaded = rs_module_symbol("ropesweep_nccl.so", "rs_comm_nccl_open", &symbol) == RS_OK};
    snprintf(mine.reason, sizeof mine.reason, "%s", rs_error_message());
    rs_error_clear();
    answer *all = rs_alloc((size_t)rs_comm_size(group), sizeof *all);
    rs_status status = rs_comm_gather(group, &mine, sizeof mine, all);
    for (int rank = 0; status == RS_OK && rank < rs_comm_size(group); rank++)
        if (!all[rank].loaded)
            status = rs_fail(RS_INVALID, "rank %d: %s", rank, all[rank].reason);
    free(all);
    memcpy(out, &symbol, sizeof symbol);
    return status;
}

rs_status rs_comm_device_open(const char *kind, const rs_comm_nccl_options *options, rs_comm **out, const char **why)
{
    static _Thread_local char reason[1024];
    *out = NULL;
    *why = "";
    if (strcmp(kind, "mpi") == 0 || rs_comm_size(options->group) == 1)
        return RS_OK;
    rs_comm_nccl_opener *open = NULL;
    rs_status status = load_everywhere(options->group, &open);
    if (status == RS_OK)
        status = open(options, out);
    if (status != RS_INVALID || strcmp(kind, "auto") != 0)
        return status;
    snprintf(reason, sizeof reason, "%s", rs_error_message());
    rs_error_clear();
    *why = reason;
    return RS_OK;
}
