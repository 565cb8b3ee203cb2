/* Being asked to stop: SIGTERM, SIGUSR1 (Slurm's warning before the limit) and SIGINT only set a flag that the loops read. */
#ifndef RS_ENGINE_STOP_H
#define RS_ENGINE_STOP_H

#include <stdbool.h>

/* deadline: seconds after the first signal in which this process must have come to rs_stop_done; else it says so and ends with exit
 * code 75. */
void rs_stop_install(unsigned deadline);
bool rs_stop_requested(void);
/* As if a signal had come, without a deadline; from any thread. */
void rs_stop_request(void);
/* What is left to do is worth waiting for: there is no deadline any more. */
void rs_stop_done(void);

#endif
