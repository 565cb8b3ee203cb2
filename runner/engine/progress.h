/* What a person sees while a run goes: on a terminal one line that renews itself, in a log file a line now and then. */
#ifndef RS_ENGINE_PROGRESS_H
#define RS_ENGINE_PROGRESS_H

#include <stdint.h>

typedef struct rs_progress rs_progress;

/* Totals of the work that lies ahead in this run. */
rs_progress *rs_progress_open(int64_t samples, double flops);
/* There is more of it than was known. */
void rs_progress_grow(rs_progress *progress, int64_t samples, double flops);
void rs_progress_add(rs_progress *progress, int64_t samples, int64_t tokens, double flops);
/* Shows the state if it is time to; `last`: shows it in any case and ends the line. */
void rs_progress_show(rs_progress *progress, int last);
void rs_progress_close(rs_progress *progress);

#endif
