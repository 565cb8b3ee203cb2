/* Being asked to stop: SIGTERM, SIGUSR1 (Slurm's warning before the limit) and SIGINT only set a flag that the loops read. */
#ifndef RS_ENGINE_STOP_H
#define RS_ENGINE_STOP_H

#include <stdbool.h>

void rs_stop_install(void);
bool rs_stop_requested(void);

#endif
