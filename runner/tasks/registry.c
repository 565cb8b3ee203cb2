#include "tasks/registry.h"

#include <string.h>

const rs_task *const rs_tasks[] = {
    &rs_task_perplexity,
    &rs_task_longppl,
    &rs_task_jsonl,
    &rs_task_longbench,
    &rs_task_passkey,
    &rs_task_niah,
    &rs_task_niah_single_1,
    &rs_task_niah_single_2,
    &rs_task_niah_single_3,
    &rs_task_niah_multikey_1,
    &rs_task_niah_multikey_2,
    &rs_task_niah_multikey_3,
    &rs_task_niah_multivalue,
    &rs_task_niah_multiquery,
    &rs_task_vt,
    &rs_task_cwe,
    &rs_task_fwe,
    &rs_task_qa_1,
    &rs_task_qa_2,
    &rs_task_max_retrieval,
    &rs_task_kv_lookup,
    &rs_task_copy,
    &rs_task_induction,
    &rs_task_nolima,
    &rs_task_babilong_qa1,
    &rs_task_babilong_qa2,
    &rs_task_babilong_qa3,
    &rs_task_babilong_qa4,
    &rs_task_babilong_qa5,
    &rs_task_clrs_text,
    NULL,
};

const rs_task *rs_task_find(const char *name)
{
    for (const rs_task *const *task = rs_tasks; *task; task++)
        if (strcmp((*task)->name, name) == 0)
            return *task;
    return NULL;
}

size_t rs_task_metrics(const rs_task *task, const rs_params *params, const char *names[RS_MAX_METRICS + 1])
{
    size_t n = 0;
    if (task->metric_name)
        names[n++] = task->metric_name(params);
    else
        while (task->metrics[n]) {
            names[n] = task->metrics[n];
            n++;
        }
    names[n] = NULL;
    return n;
}

void rs_task_write_metrics(const rs_task *task, rs_text *out)
{
    if (task->score == NULL) {
        rs_text_puts(out, task->count_extra ? "nll_per_key_token and longppl of given tokens" : "nll_per_token and perplexity of given tokens");
        return;
    }
    for (size_t i = 0; task->metrics[i] && !task->metric_name; i++)
        rs_text_printf(out, "%s%s", i ? ", " : "", task->metrics[i]);
    rs_text_printf(out, "%s of a generated answer", task->metric_name ? "the one that a parameter chooses," : "");
}
