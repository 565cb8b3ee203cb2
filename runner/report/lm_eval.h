/* Results in the layout of lm-evaluation-harness 0.4: a (rope, softmax) is a model, a task at a context is a task. */
#ifndef RS_REPORT_LM_EVAL_H
#define RS_REPORT_LM_EVAL_H

#include "report/results.h"

/* Writes FOLDER/NAME, a line a sample of a done point: rows are its samples, which lead its entries. generation: settings of generated
 * answers, NULL where text is scored. task_hash: digest of all lines' doc_hash, prompt_hash and target_hash. */
rs_status rs_lm_eval_write_samples(const rs_results *results, int64_t point, const rs_sample_rows *rows, json_t *generation,
                                   const char *folder, const char *name, rs_digest *task_hash);

#endif
