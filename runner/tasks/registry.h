/* The tasks there are, one line each; registry.c lists them. */
#ifndef RS_TASKS_REGISTRY_H
#define RS_TASKS_REGISTRY_H

#include "tasks/task.h"

extern const rs_task rs_task_perplexity;
extern const rs_task rs_task_longppl;
extern const rs_task rs_task_jsonl;
extern const rs_task rs_task_longbench;
extern const rs_task rs_task_passkey;
extern const rs_task rs_task_niah;
extern const rs_task rs_task_niah_single_1, rs_task_niah_single_2, rs_task_niah_single_3;
extern const rs_task rs_task_niah_multikey_1, rs_task_niah_multikey_2, rs_task_niah_multikey_3;
extern const rs_task rs_task_niah_multivalue, rs_task_niah_multiquery;
extern const rs_task rs_task_vt, rs_task_cwe, rs_task_fwe, rs_task_qa_1, rs_task_qa_2;
extern const rs_task rs_task_max_retrieval;
extern const rs_task rs_task_kv_lookup;
extern const rs_task rs_task_copy;
extern const rs_task rs_task_induction;
extern const rs_task rs_task_nolima;
extern const rs_task rs_task_babilong_qa1, rs_task_babilong_qa2, rs_task_babilong_qa3, rs_task_babilong_qa4, rs_task_babilong_qa5;
extern const rs_task rs_task_clrs_text;

#endif
