#include "report/merge_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "report/emit.h"

/* --- plans --- */

/* What of a plan may differ between shards: where things lie and how the work was spread. The first row that a path begins with counts. */
static const struct {
    const char *path;
    bool may_differ;
} rules[] = {
    {"config.parallel.deterministic", false},
    {"config.parallel.", true},
    {"config.model.path", true},
    {"config.output", true},
    {"model.path", true},
    {"program.commit", true},
    {"shard", true},
};

enum { MAX_DIFFERENCES = 3, MAX_VALUE_BYTES = 60 };

static bool may_differ(const char *path)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strncmp(path, rules[i].path, strlen(rules[i].path)) == 0)
            return rules[i].may_differ;
    return false;
}

typedef struct differences {
    rs_text text;
    int n;
} differences;

static void put_value(json_t *value, rs_text *out)
{
    rs_text text = {0};
    if (value)
        rs_emit_json(value, &text);
    else
        rs_text_puts(&text, "absent");
    size_t n = text.n <= MAX_VALUE_BYTES ? text.n : rs_utf8_valid_prefix(text.data, MAX_VALUE_BYTES);
    rs_text_append(out, text.data, n);
    rs_text_puts(out, n < text.n ? "..." : "");
    rs_text_free(&text);
}

static void compare_values(const char *path, json_t *a, json_t *b, differences *all);

static void compare_member(const char *path, const char *name, json_t *a, json_t *b, differences *all)
{
    char *below = path[0] ? rs_format("%s.%s", path, name) : rs_strdup(name);
    compare_values(below, a, b, all);
    free(below);
}

static void compare_values(const char *path, json_t *a, json_t *b, differences *all)
{
    const char *key;
    json_t *value;
    if (may_differ(path) || (a && b && json_equal(a, b)))
        return;
    if (json_is_object(a) && json_is_object(b)) {
        json_object_foreach(a, key, value) compare_member(path, key, value, json_object_get(b, key), all);
        json_object_foreach(b, key, value) if (json_object_get(a, key) == NULL) compare_member(path, key, NULL, value, all);
    } else if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++) {
            char number[24];
            snprintf(number, sizeof number, "%zu", i);
            compare_member(path, number, json_array_get(a, i), json_array_get(b, i), all);
        }
    } else if (all->n++ < MAX_DIFFERENCES) {
        rs_text_printf(&all->text, "%s%s is ", all->n > 1 ? "; " : "", path);
        put_value(a, &all->text);
        rs_text_puts(&all->text, ", not ");
        put_value(b, &all->text);
    }
}

/* What the plans say before their points. */
static rs_status check_roots(const rs_merge_part *part, const rs_merge_part *first)
{
    differences all = {0};
    rs_status status = RS_OK;
    compare_values("", part->plan.root, first->plan.root, &all);
    if (all.n > MAX_DIFFERENCES)
        rs_text_printf(&all.text, "; and %d more", all.n - MAX_DIFFERENCES);
    if (all.n > 0)
        status = rs_fail(RS_INVALID, "%s: cannot be merged with %s: %s", part->folder, first->folder, all.text.data);
    rs_text_free(&all.text);
    return status;
}

static rs_status check_point(const rs_merge_part *part, const rs_merge_part *first, int64_t i)
{
    const rs_plan_point *x = &part->plan.points[i], *y = &first->plan.points[i];
    const rs_plan_task *a = &part->plan.tasks[x->task], *b = &first->plan.tasks[y->task];
    if (strcmp(a->label, b->label) == 0 && a->version != b->version)
        return rs_fail(RS_INVALID, "%s: cannot be merged with %s: task %s is of version %d, not %d", part->folder, first->folder, a->label,
                       a->version, b->version);
    if (x->key == y->key && x->samples == y->samples && x->extra == y->extra)
        return RS_OK;
    return rs_fail(RS_INVALID,
                   "%s: cannot be merged with %s: point %" PRId64 " (%s, context %" PRId64 ") is %s with %" PRId64
                   " samples, not %s with %" PRId64 ": its data files or tables are not the same",
                   part->folder, first->folder, i, a->label, x->context, x->id, x->samples + x->extra, y->id, y->samples + y->extra);
}

static const char *commit_of(const rs_plan_file *plan)
{
    const char *commit = json_string_value(json_object_get(json_object_get(plan->root, "program"), "commit"));
    return commit ? commit : "unknown";
}

rs_status rs_merge_check_plans(const rs_merge_part *part, const rs_merge_part *first)
{
    RS_TRY(check_roots(part, first));
    if (part->plan.n_points != first->plan.n_points)
        return rs_fail(RS_INVALID, "%s: cannot be merged with %s: it has %" PRId64 " points, not %" PRId64, part->folder, first->folder,
                       part->plan.n_points, first->plan.n_points);
    for (int64_t i = 0; i < part->plan.n_points; i++)
        RS_TRY(check_point(part, first, i));
    const char *a = commit_of(&part->plan), *b = commit_of(&first->plan);
    if (strcmp(a, b) != 0)
        rs_warn("%s: made by commit %s of the program, %s by %s", part->folder, a, first->folder, b);
    return RS_OK;
}

/* --- records --- */

/* Bytes of a record before `seconds`, which stands behind all that two runs have in common. The same characters inside a string would have
 * their quotes escaped. */
static size_t common_bytes(const char *json, size_t n)
{
    static const char tail[] = ", \"seconds\": ";
    for (size_t at = n; at-- > 0;)
        if (n - at >= sizeof tail - 1 && memcmp(json + at, tail, sizeof tail - 1) == 0)
            return at;
    return n;
}

static rs_status refuse_record(const rs_merge_part *part, const rs_merge_part *other, const rs_journal_entry *entry)
{
    const rs_plan_file *plan = &part->plan;
    for (int64_t i = 0; i < plan->n_points; i++) {
        const rs_plan_point *point = &plan->points[i];
        if (point->key == entry->point)
            return rs_fail(RS_INVALID,
                           "%s: sample %" PRId64 " of point %s (%s, %s, softmax %s, context %" PRId64
                           ") is not the one in %s: a run was not deterministic, or a folder was changed",
                           part->folder, entry->doc_id, point->id, plan->tasks[point->task].label,
                           rs_plan_file_rope_label(plan, point->rope), rs_plan_file_softmax_label(plan, point->softmax), point->context,
                           other->folder);
    }
    return rs_fail(RS_INVALID, "%s: sample %" PRId64 " of point %016" PRIx64 " is not the one in %s", part->folder, entry->doc_id,
                   entry->point, other->folder);
}

rs_status rs_merge_check_records(const rs_merge_part *part, const rs_merge_part *other, int64_t *shared)
{
    *shared = 0;
    for (size_t i = 0; i < rs_journal_count(part->journal); i++) {
        const rs_journal_entry *mine = rs_journal_at(part->journal, i), *theirs = rs_journal_find(other->journal, mine->id);
        const char *a, *b;
        if (theirs == NULL)
            continue;
        RS_TRY(rs_journal_text(part->journal, mine, &a));
        RS_TRY(rs_journal_text(other->journal, theirs, &b));
        size_t n = common_bytes(a, mine->bytes);
        if (n != common_bytes(b, theirs->bytes) || memcmp(a, b, n) != 0)
            return refuse_record(part, other, mine);
        ++*shared;
    }
    return RS_OK;
}
