/* `merge DIR... -o DIR`: the shards of one plan become one folder. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/emit.h"
#include "report/merge_check.h"
#include "report/report_file.h"

typedef struct merging {
    rs_journal *output;
    rs_merge_part *parts; /* [n_parts] */
    int n_parts;
    const rs_merge_part *sharded; /* the first that is a shard and no merge; NULL: none is */
    bool *shards;                 /* of that one's: which are here */
    int64_t taken;
    json_t *run; /* facts of all runs together */
} merging;

/* --- the plan --- */

static rs_status note_shard(merging *m, const rs_merge_part *part)
{
    const rs_plan_file *plan = &part->plan;
    if (plan->n_shards == 0)
        return RS_OK;
    if (m->sharded == NULL) {
        m->sharded = part;
        m->shards = rs_alloc((size_t)plan->n_shards, sizeof *m->shards);
    }
    const rs_merge_part *other = m->sharded;
    if (plan->n_shards != other->plan.n_shards)
        return rs_fail(RS_INVALID, "%s: is one of %d shards, %s one of %d", part->folder, plan->n_shards, other->folder,
                       other->plan.n_shards);
    if (m->shards[plan->shard])
        rs_warn("%s: shard %d/%d is there twice", part->folder, plan->shard, plan->n_shards);
    m->shards[plan->shard] = true;
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

/* What tells of single ranks of one run is left out, as ranks of several runs have the same numbers. */
static bool of_all_runs(const char *key)
{
    return strcmp(key, "hosts") != 0 && strcmp(key, "rank") != 0 && strcmp(key, "replica") != 0;
}

/* Seconds and ranks add up; the rest is the first run's. */
static rs_status add_facts(merging *m, const char *folder)
{
    json_t *one, *value;
    const char *key;
    RS_TRY(rs_report_read_run(folder, &one));
    if (one == NULL)
        return RS_OK;
    double seconds = json_number_value(json_object_get(m->run, "seconds")) + json_number_value(json_object_get(one, "seconds"));
    json_int_t ranks = json_integer_value(json_object_get(m->run, "ranks")) + json_integer_value(json_object_get(one, "ranks"));
    json_object_foreach(one, key, value) if (json_object_get(m->run, key) == NULL && of_all_runs(key)) json_object_set(m->run, key, value);
    keep_date(m->run, one, "started", -1);
    keep_date(m->run, one, "finished", 1);
    json_object_set_new(m->run, "seconds", json_real(seconds));
    json_object_set_new(m->run, "ranks", json_integer(ranks));
    add_hosts(m->run, one);
    json_decref(one);
    return RS_OK;
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
        if (rs_journal_find(m->output, entry->id))
            continue;
        RS_TRY(rs_journal_text(journal, entry, &json));
        RS_TRY(rs_journal_append(m->output, json, entry->bytes));
        m->taken++;
    }
    return RS_OK;
}

/* Sums of attention that stand beside the records. */
static rs_status take_diagnostics(const merging *m, const rs_journal *journal)
{
    const rs_journal *from = rs_journal_diagnostics(journal);
    const char *json;
    if (from == NULL)
        return RS_OK;
    RS_TRY(rs_journal_keep_diagnostics(m->output));
    for (size_t i = 0; i < rs_journal_count(from); i++) {
        RS_TRY(rs_journal_text(from, rs_journal_at(from, i), &json));
        RS_TRY(rs_journal_append(rs_journal_diagnostics(m->output), json, rs_journal_at(from, i)->bytes));
    }
    return RS_OK;
}

static rs_status check_against(const rs_merge_part *part, const rs_merge_part *other)
{
    int64_t shared;
    RS_TRY(rs_merge_check_records(part, other, &shared));
    if (shared > 0)
        rs_warn("%s: %" PRId64 " samples are in %s too, the same; each counts once", part->folder, shared, other->folder);
    return RS_OK;
}

/* Reads the folder and holds it against all before it. */
static rs_status open_part(merging *m, const char *folder)
{
    rs_merge_part *part = &m->parts[m->n_parts++];
    part->folder = folder;
    RS_TRY(rs_journal_read(folder, &part->journal));
    char *path = rs_path_join(rs_journal_folder(part->journal), "plan.json");
    rs_status status = rs_plan_file_parse(rs_journal_plan(part->journal), path, &part->plan);
    free(path);
    RS_TRY(status);
    RS_TRY(rs_merge_check_plans(part, &m->parts[0]));
    RS_TRY(note_shard(m, part));
    for (int i = 0; i < m->n_parts - 1; i++)
        RS_TRY(check_against(part, &m->parts[i]));
    return add_facts(m, folder);
}

/* What an earlier merge left in the output folder must not contradict the parts either. */
static rs_status check_output(const merging *m, const char *output)
{
    rs_merge_part there = {.folder = output, .journal = m->output};
    for (int i = 0; i < m->n_parts; i++) {
        int64_t shared;
        RS_TRY(rs_merge_check_records(&m->parts[i], &there, &shared));
    }
    return RS_OK;
}

/* --- gaps --- */

enum { MAX_NAMED_POINTS = 20 };

static void warn_of_shard(const merging *m, const rs_results *results, int shard)
{
    int64_t points = 0, samples = 0;
    for (int64_t i = 0; i < results->plan.n_points; i++)
        if (m->sharded->plan.points[i].shard == shard) {
            int64_t missing = rs_results_missing(results, i);
            points += missing > 0;
            samples += missing;
        }
    if (samples > 0)
        rs_warn("merge: shard %d/%d is missing: %" PRId64 " samples of %" PRId64 " points", shard, m->sharded->plan.n_shards, samples,
                points);
}

static void warn_of_point(const rs_results *results, int64_t i)
{
    const rs_plan_file *plan = &results->plan;
    const rs_plan_point *point = &plan->points[i];
    rs_warn("merge: point %s (%s, %s, softmax %s, context %" PRId64 "): %" PRId64 " of %" PRId64 " samples are missing", point->id,
            plan->tasks[point->task].label, rs_plan_file_rope_label(plan, point->rope), rs_plan_file_softmax_label(plan, point->softmax),
            point->context, rs_results_missing(results, i), point->samples + point->extra);
}

/* Shards by number, and samples that those which are here lack, by point. */
static rs_status warn_of_gaps(const merging *m)
{
    rs_results *results = NULL;
    int64_t lacking = 0;
    RS_TRY(rs_results_open(m->output, &results));
    for (int i = 0; m->sharded && i < m->sharded->plan.n_shards; i++)
        if (!m->shards[i])
            warn_of_shard(m, results, i);
    for (int64_t i = 0; i < results->plan.n_points; i++) {
        bool named = m->sharded && !m->shards[m->sharded->plan.points[i].shard]; /* with its shard */
        if (!named && rs_results_missing(results, i) > 0 && lacking++ < MAX_NAMED_POINTS)
            warn_of_point(results, i);
    }
    if (lacking > MAX_NAMED_POINTS)
        rs_warn("merge: samples of %" PRId64 " points are missing in all", lacking);
    rs_results_free(results);
    return RS_OK;
}

rs_status rs_report_merge(char *const *folders, int n_folders, const char *output, rs_report_summary *summary)
{
    rs_status status = RS_OK;
    merging m = {.run = json_pack("{s:[]}", "hosts"), .parts = rs_alloc((size_t)n_folders, sizeof *m.parts)};
    for (int i = 0; i < n_folders; i++) /* all are checked before the output is touched */
        RS_TRY_OUT(open_part(&m, folders[i]));
    RS_TRY_OUT(rs_journal_open(output, false, &m.output));
    RS_TRY_OUT(write_whole_plan(&m, rs_journal_plan(m.parts[0].journal)));
    RS_TRY_OUT(check_output(&m, output));
    for (int i = 0; i < n_folders; i++)
        RS_TRY_OUT(take_records(&m, m.parts[i].journal));
    for (int i = 0; i < n_folders; i++)
        RS_TRY_OUT(take_diagnostics(&m, m.parts[i].journal));
    rs_info("merge: %" PRId64 " records taken", m.taken);
    RS_TRY_OUT(warn_of_gaps(&m));
    RS_TRY_OUT(write_facts(&m));
    RS_TRY_OUT(rs_report_write(output, m.output, NULL, summary));
out:
    for (int i = 0; i < m.n_parts; i++) {
        rs_journal_close(m.parts[i].journal);
        rs_plan_file_free(&m.parts[i].plan);
    }
    free(m.parts);
    rs_status closed = rs_journal_close(m.output);
    free(m.shards);
    json_decref(m.run);
    return status == RS_OK ? closed : status;
}
