/* The needle tasks' functions; niah_presets.c makes registry rows of them. */
#ifndef RS_TASKS_NIAH_H
#define RS_TASKS_NIAH_H

#include "tasks/task.h"

rs_status rs_niah_check(const rs_params *params, int64_t context);
rs_status rs_niah_open(const rs_task_setup *setup, void **state);
void rs_niah_close(void *state);
rs_status rs_niah_sample(void *state, int64_t context, int64_t doc_id, rs_sample *out);
void rs_niah_fingerprint(const void *state, rs_text *out);
void rs_niah_score(const void *state, const rs_sample *sample, const char *response, size_t n, double *scores);

#endif
