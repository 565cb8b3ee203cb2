#include "engine/launch.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* mpirun first: inside a Slurm job both speak, and Slurm of the job, or of the daemons that mpirun started. A batch script is no rank: it
 * has SLURM_PROCID, but no step. */
static const struct {
    const char *launcher, *rank, *size, *local_rank; /* NULL: it does not say */
} launchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"},
    {"a PMI launcher", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"},
    {"a PMIx launcher", "PMIX_RANK", NULL, NULL},
};

static int number(const char *name, int otherwise)
{
    const char *text = name ? getenv(name) : NULL;
    return text ? atoi(text) : otherwise;
}

rs_launch rs_launch_find(void)
{
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
        if (getenv(launchers[i].rank) && (launchers[i].size == NULL || getenv(launchers[i].size)))
            return (rs_launch){.launcher = launchers[i].launcher,
                               .rank = number(launchers[i].rank, 0),
                               .size = number(launchers[i].size, 0),
                               .local_rank = number(launchers[i].local_rank, -1)};
    return (rs_launch){.local_rank = -1};
}

rs_status rs_launch_check_before(const rs_launch *launch)
{
    if (launch->launcher == NULL || strcmp(launch->launcher, "srun") != 0 || launch->size < 2 || getenv("PMIX_RANK") || getenv("PMI_RANK"))
        return RS_OK;
    return rs_fail(RS_INVALID,
                   "srun started %d tasks that cannot find each other: use `srun --mpi=pmix` (what there is: `srun --mpi=list`), or "
                   "mpirun in place of srun",
                   launch->size);
}

rs_status rs_launch_check(const rs_launch *launch, int size, int local_rank)
{
    if (launch->size > 0 && launch->size != size)
        return rs_fail(RS_INVALID,
                       "%s started %d tasks, but MPI joined %d: is it another MPI's launcher? Open MPI's are mpirun and `srun --mpi=pmix`",
                       launch->launcher, launch->size, size);
    if (launch->local_rank >= 0 && launch->local_rank != local_rank)
        rs_warn("%s says that this is rank %d of its host, MPI says %d: ranks that cannot share memory may take the same cores or device",
                launch->launcher, launch->local_rank, local_rank);
    return RS_OK;
}
