/* `merge DIR... -o DIR`: the shards of one plan become one folder. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/emit.h"
#include "report/report_file.h"

typedef struct merging {
    rs_journal *output;
    rs_plan_file first; /* the plan that all must share */
    const char *first_folder;
    bool *shards; /* [n_shards]: which are here; NULL where the plans have no shards */
    int n_shards;
    int64_t taken, doubled;
    json_t *run; /* facts of all runs together */
} merging;

/* --- the plan --- */

static const char *digest_of(const rs_plan_file *plan)
{
    const char *digest = json_string_value(json_object_get(json_object_get(plan->root, "model"), "digest"));
    return digest ? digest : "none";
}

static rs_status check_same_plan(const merging *m, const rs_plan_file *plan, const char *folder)
{
    const rs_plan_file *first = &m->first;
    const char *where = m->first_folder;
    if (strcmp(digest_of(plan), digest_of(first)) != 0)
        return rs_fail(RS_INVALID, "%s: its model (digest %s) is not that of %s (%s)", folder, digest_of(plan), where, digest_of(first));
    if (plan->n_points != first->n_points)
        return rs_fail(RS_INVALID, "%s: its plan has %" PRId64 " points, that of %s %" PRId64 "; only shards of one plan can be merged",
                       folder, plan->n_points, where, first->n_points);
    for (int64_t i = 0; i < plan->n_points; i++) {
        const rs_plan_point *x = &plan->points[i], *y = &first->points[i];
        if (x->key != y->key)
            return rs_fail(RS_INVALID, "%s: point %" PRId64 " of its plan is %s, in %s it is %s; only shards of one plan can be merged",
                           folder, i, x->id, where, y->id);
        if (x->samples != y->samples)
            return rs_fail(RS_INVALID, "%s: point %s has %" PRId64 " samples, in %s %" PRId64, folder, x->id, x->samples, where,
                           y->samples);
    }
    for (int i = 0; i < plan->n_tasks && i < first->n_tasks; i++)
        if (plan->tasks[i].stop_width != first->tasks[i].stop_width || plan->tasks[i].stop_min != first->tasks[i].stop_min)
            return rs_fail(RS_INVALID, "%s: task %s stops by another rule than in %s", folder, plan->tasks[i].label, where);
    return RS_OK;
}

static rs_status note_shard(merging *m, const rs_plan_file *plan, const char *folder)
{
    json_t *shard = json_object_get(plan->root, "shard");
    int64_t index = json_integer_value(json_object_get(shard, "index")), count = json_integer_value(json_object_get(shard, "count"));
    if (shard == NULL)
        return RS_OK;
    if (count < 1 || count > 1000000 || index < 0 || index >= count)
        return rs_fail(RS_INVALID, "%s/journal/plan.json: `shard` is not what a run writes there", folder);
    if (m->shards == NULL) {
        m->n_shards = (int)count;
        m->shards = rs_alloc((size_t)count, sizeof *m->shards);
    }
    if (count != m->n_shards)
        return rs_fail(RS_INVALID, "%s: is a shard of %" PRId64 ", others are of %d", folder, count, m->n_shards);
    if (m->shards[index])
        rs_warn("%s: shard %" PRId64 "/%d is there twice", folder, index, m->n_shards);
    m->shards[index] = true;
    return RS_OK;
}

/* The plan without its division into shards, in the form that a run writes. */
static rs_status write_whole_plan(merging *m, const char *text)
{
    json_t *root = json_loads(text, JSON_ALLOW_NUL, NULL), *points = json_incref(json_object_get(root, "points")), *part;
    const char *key;
    size_t i;
    rs_text out = {0};
    json_object_del(root, "shard");
    json_object_del(root, "points");
    json_object_foreach(root, key, part)
    {
        rs_text_printf(&out, "%s\"%s\": ", out.n ? ",\n" : "{", key);
        rs_emit_json(part, &out);
    }
    rs_text_puts(&out, ",\n\"points\": [");
    json_array_foreach(points, i, part)
    {
        json_object_del(part, "shard");
        rs_text_puts(&out, i ? ",\n  " : "\n  ");
        rs_emit_json(part, &out);
    }
    rs_text_puts(&out, "]}\n");
    json_decref(points);
    json_decref(root);
    rs_status status = RS_OK;
    if (rs_journal_plan(m->output) && strcmp(rs_journal_plan(m->output), out.data) != 0)
        status = rs_fail(RS_INVALID, "%s: holds another plan's results; name a new folder", rs_journal_folder(m->output));
    if (status == RS_OK)
        status = rs_journal_write_plan(m->output, out.data, out.n);
    rs_text_free(&out);
    return status;
}

/* --- facts of the runs --- */

/* The earlier (sign < 0) or later of two ISO dates. */
static void keep_date(json_t *all, json_t *one, const char *name, int sign)
{
    const char *old = json_string_value(json_object_get(all, name)), *date = json_string_value(json_object_get(one, name));
    if (date && (old == NULL || strcmp(date, old) * sign > 0))
        json_object_set_new(all, name, json_string(date));
}

static void add_hosts(json_t *all, json_t *one)
{
    size_t i, k;
    json_t *host, *known, *hosts = json_object_get(all, "hosts");
    json_array_foreach(json_object_get(one, "hosts"), i, host)
    {
        bool there = false;
        json_array_foreach(hosts, k, known) there = there || json_equal(known, host);
        if (!there)
            json_array_append(hosts, host);
    }
}

/* Seconds and ranks add up; the rest is the first run's. */
static void add_facts(merging *m, const char *folder)
{
    json_t *one = rs_report_read_run(folder), *value;
    const char *key;
    if (one == NULL)
        return;
    double seconds = json_number_value(json_object_get(m->run, "seconds")) + json_number_value(json_object_get(one, "seconds"));
    json_int_t ranks = json_integer_value(json_object_get(m->run, "ranks")) + json_integer_value(json_object_get(one, "ranks"));
    json_object_foreach(one, key, value) if (json_object_get(m->run, key) == NULL && strcmp(key, "hosts") != 0 && strcmp(key, "rank") != 0)
        json_object_set(m->run, key, value);
    keep_date(m->run, one, "started", -1);
    keep_date(m->run, one, "finished", 1);
    json_object_set_new(m->run, "seconds", json_real(seconds));
    json_object_set_new(m->run, "ranks", json_integer(ranks));
    add_hosts(m->run, one);
    json_decref(one);
}

static rs_status write_facts(const merging *m)
{
    rs_text text = {0};
    char *path = rs_path_join(rs_journal_folder(m->output), "run.json");
    rs_emit_json(m->run, &text);
    rs_status status = rs_file_write_atomic(path, text.data, text.n);
    rs_text_free(&text);
    free(path);
    return status;
}

/* --- records --- */

static rs_status take_records(merging *m, rs_journal *journal)
{
    for (size_t i = 0; i < rs_journal_count(journal); i++) {
        const rs_journal_entry *entry = rs_journal_at(journal, i);
        const char *json;
        if (rs_journal_find(m->output, entry->id)) {
            m->doubled++;
            continue;
        }
        RS_TRY(rs_journal_text(journal, entry, &json));
        RS_TRY(rs_journal_append(m->output, json, entry->bytes));
        m->taken++;
    }
    return RS_OK;
}

static rs_status check_folder(merging *m, const char *folder, const rs_journal *journal)
{
    rs_plan_file plan;
    char *path = rs_path_join(rs_journal_folder(journal), "plan.json");
    rs_status status = rs_plan_file_parse(rs_journal_plan(journal), path, &plan);
    free(path);
    RS_TRY(status);
    bool is_first = m->first_folder == NULL;
    if (is_first) {
        m->first = plan;
        m->first_folder = folder;
    } else {
        status = check_same_plan(m, &plan, folder);
    }
    if (status == RS_OK)
        status = note_shard(m, &plan, folder);
    if (!is_first)
        rs_plan_file_free(&plan);
    return status;
}

static void warn_of_gaps(const merging *m)
{
    for (int i = 0; i < m->n_shards; i++)
        if (!m->shards[i])
            rs_warn("merge: shard %d/%d is missing; its points are reported as missing", i, m->n_shards);
    if (m->doubled > 0)
        rs_warn("merge: %" PRId64 " records are in more than one folder; the first of each counts", m->doubled);
    rs_info("merge: %" PRId64 " records taken", m->taken);
}

rs_status rs_report_merge(char *const *folders, int n_folders, const char *output, rs_report_summary *summary)
{
    rs_status status = RS_OK;
    merging m = {.run = json_pack("{s:[]}", "hosts")};
    rs_journal **journals = rs_alloc((size_t)n_folders, sizeof(rs_journal *));
    for (int i = 0; i < n_folders; i++) { /* all are checked before the output is touched */
        RS_TRY_OUT(rs_journal_read(folders[i], &journals[i]));
        RS_TRY_OUT(check_folder(&m, folders[i], journals[i]));
        add_facts(&m, folders[i]);
    }
    RS_TRY_OUT(rs_journal_open(output, false, &m.output));
    RS_TRY_OUT(write_whole_plan(&m, rs_journal_plan(journals[0])));
    for (int i = 0; i < n_folders; i++)
        RS_TRY_OUT(take_records(&m, journals[i]));
    warn_of_gaps(&m);
    RS_TRY_OUT(write_facts(&m));
    RS_TRY_OUT(rs_report_write(output, m.output, NULL, summary));
out:
    for (int i = 0; i < n_folders; i++)
        rs_journal_close(journals[i]);
    free(journals);
    rs_status closed = rs_journal_close(m.output);
    rs_plan_file_free(&m.first);
    free(m.shards);
    json_decref(m.run);
    return status == RS_OK ? closed : status;
}
