/* samples_TASK_TIME.jsonl: a sample's line, its members in lm-evaluation-harness's order. What a record does not hold is not made up: `doc`
 * is what was drawn, `arguments` names the prompt by its hash, and hashes are XXH3-128 as everywhere here. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/emit.h"
#include "report/lm_eval.h"

/* One sample's parts that are digested before they are written. */
typedef struct parts {
    rs_text doc, target;
} parts;

static void write_doc(const rs_record *record, rs_text *out)
{
    char hex[33];
    bool has_facts = record->facts && record->facts[0];
    rs_text_clear(out);
    rs_text_printf(out, "{\"tokens\": %" PRId64 ", \"prompt_hash\": \"%s\"%s%s}", record->tokens, rs_digest_hex(record->prompt_hash, hex),
                   has_facts ? ", " : "", has_facts ? record->facts : "");
}

/* The reference; several as a JSON list, which is also how Python writes one of them. */
static void write_target(const rs_record *record, rs_text *out)
{
    rs_text_clear(out);
    if (record->n_references == 1) {
        rs_text_puts(out, record->references[0]);
        return;
    }
    for (size_t i = 0; i < record->n_references; i++) {
        rs_text_puts(out, i ? ", " : "[");
        rs_text_json_string(out, record->references[i], strlen(record->references[i]));
    }
    rs_text_puts(out, record->n_references ? "]" : "");
}

static void put_arguments(const rs_record *record, json_t *generation, rs_text *out)
{
    char hex[33];
    rs_text_printf(out, ", \"arguments\": {\"gen_args_0\": {\"arg_0\": \"prompt of %" PRId64 " tokens, hash %s\"", record->tokens,
                   rs_digest_hex(record->prompt_hash, hex));
    if (generation) {
        rs_text_puts(out, ", \"arg_1\": ");
        rs_emit_json(generation, out);
    }
    rs_text_puts(out, "}}");
}

/* An answer, or the log-likelihood of a text: both are strings there. */
static void put_response(const rs_record *record, rs_text *out)
{
    char number[32];
    const char *response = record->response ? record->response : rs_double_text(-record->nll, number);
    rs_text_json_string(out, response, record->response ? record->response_bytes : strlen(response));
}

/* A score; of a text what lm-evaluation-harness's weighted means are made from: [sum over the tokens, number of tokens]. */
static void put_metric(const rs_plan_task *task, int metric, const rs_sample_row *row, rs_text *out)
{
    rs_text_printf(out, ", \"%s\": ", task->metrics[metric]);
    if (!task->scores_text) {
        rs_emit_real(row->scores[metric], out);
        return;
    }
    rs_text_puts(out, "[");
    rs_emit_real(metric == 0 ? row->nll : 0 - row->nll, out);
    rs_text_printf(out, ", %.0f]", row->n_tokens);
}

static void put_hash(const char *name, rs_digest digest, rs_hasher *all, rs_text *out)
{
    char hex[33];
    rs_hasher_update(all, rs_digest_hex(digest, hex), 32);
    rs_text_printf(out, ", \"%s\": \"%s\"", name, hex);
}

static void put_sample(const rs_plan_task *task, const rs_record *record, const rs_sample_row *row, json_t *generation, parts *p,
                       rs_hasher *all, rs_text *out)
{
    write_doc(record, &p->doc);
    write_target(record, &p->target);
    rs_text_printf(out, "{\"doc_id\": %" PRId64 ", \"doc\": %s, \"target\": ", record->doc_id, p->doc.data);
    rs_text_json_string(out, p->target.data, p->target.n);
    put_arguments(record, generation, out);
    rs_text_puts(out, ", \"resps\": [[");
    put_response(record, out);
    rs_text_puts(out, "]], \"filtered_resps\": [");
    put_response(record, out);
    rs_text_puts(out, "], \"filter\": \"none\", \"metrics\": [");
    for (int m = 0; m < task->n_metrics; m++)
        rs_text_printf(out, "%s\"%s\"", m ? ", " : "", task->metrics[m]);
    rs_text_puts(out, "]");
    put_hash("doc_hash", rs_digest_of(p->doc.data, p->doc.n), all, out);
    put_hash("prompt_hash", record->prompt_hash, all, out);
    put_hash("target_hash", rs_digest_of(p->target.data, p->target.n), all, out);
    for (int m = 0; m < task->n_metrics; m++)
        put_metric(task, m, row, out);
    rs_text_puts(out, "}\n");
}

rs_status rs_lm_eval_write_samples(const rs_results *results, int64_t point, const rs_sample_rows *rows, json_t *generation,
                                   const char *folder, const char *name, rs_digest *task_hash)
{
    const rs_plan_task *task = &results->plan.tasks[results->plan.points[point].task];
    rs_status status = RS_OK;
    rs_sink *sink = NULL;
    parts p = {0};
    rs_hasher *all = rs_hasher_open();
    RS_TRY_OUT(rs_sink_open(folder, name, &sink));
    for (int64_t k = 0; k < rows->n; k++) {
        const rs_journal_entry *entry = rs_journal_at(results->journal, results->order[results->first[point] + (size_t)k]);
        const char *json;
        rs_record record;
        RS_TRY_OUT(rs_journal_text(results->journal, entry, &json));
        RS_TRY_OUT(rs_record_parse(json, entry->bytes, &record));
        put_sample(task, &record, &rows->items[k], generation, &p, all, rs_sink_text(sink));
        rs_record_free(&record);
        RS_TRY_OUT(rs_sink_flush(sink));
    }
out:
    *task_hash = rs_hasher_close(all);
    rs_text_free(&p.doc);
    rs_text_free(&p.target);
    return rs_sink_close(sink, status);
}
