/* diagnostics.json: means over all rows of all samples of each done point. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/diagnostics.h"
#include "report/emit.h"
#include "report/report_file.h"
#include "report/results.h"

typedef struct shown {
    bool kinds[RS_N_DIAGNOSTICS];
    rs_diagnostics spec;
} shown;

/* A point's sums. */
typedef struct totals {
    rs_diagnostics sums;
    int64_t bucket_rows[RS_DIAGNOSTIC_BUCKETS], induction_rows;
} totals;

/* What the plan's config asks for; false: nothing. */
static bool read_wanted(const rs_results *results, shown *out)
{
    json_t *config = json_object_get(results->plan.root, "config"), *name, *offset;
    size_t i;
    *out = (shown){.spec = {.n_offsets = 2, .offsets = {0, 1}, .induction_offset = -1}};
    json_array_foreach(json_object_get(config, "diagnostics"), i, name)
    {
        for (int k = 0; k < RS_N_DIAGNOSTICS; k++)
            if (strcmp(json_string_value(name), "all") == 0 || strcmp(json_string_value(name), rs_diagnostic_kinds[k].name) == 0)
                out->kinds[k] = true;
    }
    json_array_foreach(json_object_get(config, "diagnostic_offsets"), i, offset)
    {
        if (out->spec.n_offsets < RS_MAX_OFFSETS)
            out->spec.offsets[out->spec.n_offsets++] = (int64_t)json_number_value(offset);
    }
    return json_object_get(config, "diagnostics") != NULL;
}

/* --- sums --- */

static void add_sample(totals *t, const rs_diagnostics *d, int64_t induction_rows)
{
    if (t->sums.sums == NULL) {
        t->sums = *d;
        t->sums.rows = 0;
        rs_diagnostics_init(&t->sums, (int64_t)1 << (RS_DIAGNOSTIC_BUCKETS - 1));
    }
    rs_diagnostics_merge(&t->sums, d);
    t->induction_rows += induction_rows;
    for (int b = 0; b < RS_DIAGNOSTIC_BUCKETS; b++) {
        int64_t from = (int64_t)1 << b, to = d->rows < 2 * from - 1 ? d->rows : 2 * from - 1;
        t->bucket_rows[b] += to >= from ? to - from + 1 : 0;
    }
}

/* In order of doc_id. *whole: every sample's sums were there. */
static rs_status add_samples(const rs_results *results, int64_t point, const shown *wanted, totals *t, bool *whole)
{
    const rs_journal *journal = rs_journal_diagnostics(results->journal);
    *whole = journal != NULL;
    for (size_t i = results->first[point]; i < results->first[point + 1] && *whole; i++) {
        const rs_journal_entry *record = rs_journal_at(results->journal, results->order[i]), *entry;
        const char *json;
        rs_diagnostics d;
        int64_t induction_rows;
        if (record->doc_id >= RS_EXTRA_DOC_ID)
            continue;
        entry = rs_journal_find(journal, rs_diagnostics_id(record->id, &wanted->spec));
        *whole = entry != NULL;
        if (entry == NULL)
            break;
        RS_TRY(rs_journal_text(journal, entry, &json));
        RS_TRY(rs_diagnostics_parse(json, entry->bytes, &wanted->spec, &d, &induction_rows));
        bool fits = t->sums.sums == NULL || (d.n_layers == t->sums.n_layers && d.heads == t->sums.heads && d.kv_heads == t->sums.kv_heads &&
                                             d.pairs == t->sums.pairs);
        if (fits)
            add_sample(t, &d, induction_rows);
        rs_diagnostics_free(&d);
        if (!fits)
            return rs_fail(RS_INVALID, "journal/diagnostics.log: samples of one point have sums of different models");
    }
    return RS_OK;
}

/* --- the tree --- */

static json_t *mean(double sum, int64_t rows)
{
    return rs_json_number(rows > 0 ? sum / (double)rows : NAN);
}

static json_t *by_position(const totals *t, const double *entropy, const double *most)
{
    json_t *list = json_array();
    for (int b = 0; b < RS_DIAGNOSTIC_BUCKETS && t->bucket_rows[b] > 0; b++) {
        json_t *tree = json_object();
        json_object_set_new(tree, "keys_from", json_integer((json_int_t)1 << b));
        json_object_set_new(tree, "rows", json_integer(t->bucket_rows[b]));
        json_object_set_new(tree, "entropy", mean(entropy[b], t->bucket_rows[b]));
        json_object_set_new(tree, "max_coefficient", mean(most[b], t->bucket_rows[b]));
        json_array_append_new(list, tree);
    }
    return list;
}

static void put_entropy(json_t *tree, const totals *t, const double *head)
{
    const double *entropy = head + RS_HEAD_FIXED + t->sums.n_offsets;
    json_object_set_new(tree, "entropy", mean(head[RS_HEAD_ENTROPY], t->sums.rows));
    json_object_set_new(tree, "effective_n", mean(head[RS_HEAD_EFFECTIVE_N], t->sums.rows));
    json_object_set_new(tree, "participation", mean(head[RS_HEAD_PARTICIPATION], t->sums.rows));
    json_object_set_new(tree, "max_coefficient", mean(head[RS_HEAD_MAX], t->sums.rows));
    json_object_set_new(tree, "adaptive_share", mean(head[RS_HEAD_ADAPTIVE], t->sums.rows));
    json_object_set_new(tree, "by_position", by_position(t, entropy, entropy + t->sums.n_buckets));
}

static void put_spread(json_t *tree, const totals *t, const double *head)
{
    double rows = (double)t->sums.rows, average = head[RS_HEAD_SPREAD] / rows, violations = head[RS_HEAD_VIOLATIONS];
    json_object_set_new(tree, "logit_spread_mean", rs_json_number(average));
    json_object_set_new(tree, "logit_spread_std", rs_json_number(sqrt(fmax(0, head[RS_HEAD_SPREAD_SQUARED] / rows - average * average))));
    json_object_set_new(tree, "logit_spread_min", rs_json_number(head[RS_HEAD_SPREAD_MIN]));
    json_object_set_new(tree, "logit_spread_max", rs_json_number(head[RS_HEAD_SPREAD_MAX]));
    json_object_set_new(tree, "dispersion_bound_holds", isnan(violations) ? json_null() : json_boolean(violations == 0));
    json_object_set_new(tree, "dispersion_bound_violations", isnan(violations) ? json_null() : json_integer((json_int_t)violations));
}

static void put_positional(json_t *tree, const totals *t, const double *head)
{
    const double *offsets = head + RS_HEAD_FIXED;
    json_t *others = json_object();
    json_object_set_new(tree, "mean_distance", mean(head[RS_HEAD_DISTANCE], t->sums.rows));
    json_object_set_new(tree, "sink_mass", mean(head[RS_HEAD_SINK], t->sums.rows));
    json_object_set_new(tree, "diagonal_mass", mean(offsets[0], t->sums.rows));
    json_object_set_new(tree, "previous_token_mass", mean(offsets[1], t->sums.rows));
    for (int k = 2; k < t->sums.n_offsets; k++) {
        char *name = rs_format("%" PRId64, t->sums.offsets[k]);
        json_object_set_new(others, name, mean(offsets[k], t->sums.rows));
        free(name);
    }
    json_object_set_new(tree, "offset_mass", others);
}

static json_t *head_tree(const totals *t, const shown *wanted, const double *head)
{
    json_t *tree = json_object();
    if (wanted->kinds[RS_SHOW_ENTROPY])
        put_entropy(tree, t, head);
    if (wanted->kinds[RS_SHOW_SPREAD])
        put_spread(tree, t, head);
    if (wanted->kinds[RS_SHOW_POSITIONAL])
        put_positional(tree, t, head);
    if (wanted->kinds[RS_SHOW_INDUCTION])
        json_object_set_new(tree, "induction_score", mean(head[RS_HEAD_INDUCTION], t->induction_rows));
    return tree;
}

/* [part][pair] of `n` heads from `first` on. */
static json_t *norms_tree(const totals *t, int layer, int first, int n)
{
    json_t *list = json_array();
    for (int part = first; part < first + n; part++) {
        json_t *pairs = json_array();
        for (int k = 0; k < t->sums.pairs; k++)
            json_array_append_new(pairs, mean(rs_diagnostics_norms(&t->sums, layer, part)[k], t->sums.rows));
        json_array_append_new(list, pairs);
    }
    return list;
}

static json_t *layer_tree(const totals *t, const shown *wanted, int layer, int64_t *violations)
{
    json_t *tree = json_object(), *heads = json_array();
    const rs_diagnostics *d = &t->sums;
    for (int head = 0; head < d->heads; head++) {
        double broken = rs_diagnostics_head(d, layer, head)[RS_HEAD_VIOLATIONS];
        *violations += broken > 0 ? (int64_t)broken : 0;
        json_array_append_new(heads, head_tree(t, wanted, rs_diagnostics_head(d, layer, head)));
    }
    json_object_set_new(tree, "heads", heads);
    if (wanted->kinds[RS_SHOW_NORMS]) {
        json_object_set_new(tree, "query_norm", norms_tree(t, layer, 0, d->heads));
        json_object_set_new(tree, "key_norm", norms_tree(t, layer, d->heads, d->kv_heads));
        json_object_set_new(tree, "value_norm", norms_tree(t, layer, d->heads + d->kv_heads, d->kv_heads));
    }
    return tree;
}

static json_t *point_tree(const rs_results *results, int64_t i, const shown *wanted, const totals *t)
{
    const rs_plan_point *point = &results->plan.points[i];
    const char *label = results->plan.tasks[point->task].label;
    json_t *tree = json_object(), *layers = json_array();
    int64_t violations = 0;
    json_object_set_new(tree, "id", json_string(point->id));
    json_object_set(tree, "rope", rs_plan_file_rope(&results->plan, point));
    json_object_set(tree, "softmax", rs_plan_file_softmax(&results->plan, point));
    json_object_set_new(tree, "context", json_integer(point->context));
    json_object_set_new(tree, "task", rs_json_text(label));
    json_object_set_new(tree, "rows", json_integer(t->sums.rows));
    for (int layer = 0; layer < t->sums.n_layers; layer++)
        json_array_append_new(layers, layer_tree(t, wanted, layer, &violations));
    json_object_set_new(tree, "layers", layers);
    if (violations > 0)
        rs_warn("point %s (%s, context %" PRId64 "): coefficients of %" PRId64
                " rows lie outside the dispersion bound, which no softmax's can: do not trust this run",
                point->id, label, point->context, violations);
    return tree;
}

static rs_status write_point(const rs_results *results, int64_t i, const shown *wanted, rs_sink *sink, bool *first)
{
    totals t = {0};
    bool whole;
    rs_status status = add_samples(results, i, wanted, &t, &whole);
    if (status == RS_OK && !whole)
        rs_warn("point %s: sums of attention of some samples are missing; the run's command makes them", results->plan.points[i].id);
    if (status == RS_OK && whole && t.sums.sums) {
        json_t *tree = point_tree(results, i, wanted, &t);
        rs_text_puts(rs_sink_text(sink), *first ? "\n  " : ",\n  ");
        rs_emit_json(tree, rs_sink_text(sink));
        json_decref(tree);
        *first = false;
        status = rs_sink_flush(sink);
    }
    rs_diagnostics_free(&t.sums);
    return status;
}

rs_status rs_report_write_diagnostics(const char *folder, const rs_results *results)
{
    rs_status status = RS_OK;
    shown wanted;
    rs_sink *sink = NULL;
    bool first = true;
    if (!read_wanted(results, &wanted)) {
        char *path = rs_path_join(folder, "diagnostics.json");
        unlink(path);
        free(path);
        return RS_OK;
    }
    RS_TRY(rs_sink_open(folder, "diagnostics.json", &sink));
    rs_text_puts(rs_sink_text(sink), "{\"schema\": 1,\n\"points\": [");
    for (int64_t i = 0; i < results->plan.n_points && status == RS_OK; i++)
        if (results->plan.points[i].listed && results->points[i].state == RS_POINT_DONE)
            status = write_point(results, i, &wanted, sink, &first);
    rs_text_puts(rs_sink_text(sink), "]}\n");
    return rs_sink_close(sink, status);
}
