/* What a launcher tells a process of its place among the others, in the environment, before MPI is started. */
#ifndef RS_ENGINE_LAUNCH_H
#define RS_ENGINE_LAUNCH_H

#include "base/status.h"

typedef struct rs_launch {
    const char *launcher;       /* "mpirun", "srun"; NULL: this process was started by nobody who says so */
    int rank, size, local_rank; /* size 0, local_rank -1: it does not say */
} rs_launch;

rs_launch rs_launch_find(void);

/* Before MPI: can ranks that were launched so find each other? RS_INVALID says what to start them with. */
rs_status rs_launch_check_before(const rs_launch *launch);
/* After: did they? Warns where MPI counts the ranks of this host otherwise than the launcher. */
rs_status rs_launch_check(const rs_launch *launch, int size, int local_rank);

#endif
