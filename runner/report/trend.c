/* `trend DIR...`: reads the runs one after the other, and shows the last of them as a table. */
#include "report/trend.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "report/cells.h"
#include "report/compare.h"
#include "report/emit.h"
#include "report/report_file.h"

enum { LABEL_WIDTH = 48, SHOWN = 5, MAX_BYTES = 1 << 30 }; /* SHOWN: runs that fit a terminal */

/* --- reading --- */

/* Plans of one sweep list their points in one order: the series wanted is most often that behind the last one found. */
static rs_series *find_series(rs_trend *t, rs_digest key, int64_t *next)
{
    for (int64_t i = 0; i < t->n_series; i++) {
        rs_series *s = &t->series[(*next + i) % t->n_series];
        if (s->key.high == key.high && s->key.low == key.low) {
            *next = s - t->series + 1;
            return s;
        }
    }
    return NULL;
}

static rs_series *add_series(rs_trend *t, rs_digest key, const rs_plan_file *plan, const rs_plan_point *point)
{
    const rs_plan_task *task = &plan->tasks[point->task];
    rs_series s = {
        .key = key,
        .variant = rs_compare_label(plan, point),
        .task = rs_strdup(task->label),
        .metric = rs_strdup(task->metrics[rs_grid_metric(task)]),
        .context = point->context,
        .scores_text = task->scores_text,
        .baseline = rs_plan_file_is_baseline(plan, point),
        .values = rs_alloc((size_t)t->n_nights, sizeof *s.values),
    };
    RS_PUSH(t->series, t->n_series, t->cap, s);
    return &t->series[t->n_series - 1];
}

static void take_points(rs_trend *t, int night, const rs_results *results)
{
    const rs_plan_file *plan = &results->plan;
    int64_t next = 0;
    for (int64_t i = 0; i < plan->n_points; i++) {
        const rs_plan_point *point = &plan->points[i];
        const rs_plan_task *task = &plan->tasks[point->task];
        int metric = rs_grid_metric(task);
        if (!point->listed)
            continue;
        rs_digest key = rs_compare_key(plan, point);
        rs_series *s = find_series(t, key, &next);
        s = s ? s : add_series(t, key, plan, point);
        if (results->points[i].state == RS_POINT_DONE && strcmp(s->metric, task->metrics[metric]) == 0)
            s->values[night] =
                (rs_night_value){true, results->points[i].metrics[metric], rs_html_metric_interval(task, &results->points[i], metric)};
    }
}

/* compare.json is another program's input too, and may be anybody's: what is not as expected counts for nothing. */
static void read_gates(const char *folder, rs_night *night)
{
    rs_text text = {0};
    char *path = rs_format("%s/compare.json", folder);
    if (access(path, R_OK) == 0 && rs_file_read(path, MAX_BYTES, &text) == RS_OK)
        night->compared = json_loadb(text.data, text.n, 0, NULL);
    size_t i;
    json_t *gate;
    json_array_foreach(json_object_get(night->compared, "gates"), i, gate) night->failed =
        night->failed || json_is_false(json_object_get(gate, "passed"));
    free(path);
    rs_text_free(&text);
}

static char *last_part(const char *folder)
{
    size_t end = strlen(folder), from;
    while (end > 1 && folder[end - 1] == '/')
        end--;
    for (from = end; from > 0 && folder[from - 1] != '/'; from--)
        ;
    return rs_strndup(folder + from, end - from);
}

static rs_status read_night(rs_trend *t, int i, const char *folder)
{
    rs_status status = RS_OK;
    rs_night *night = &t->nights[i];
    rs_journal *journal = NULL;
    rs_results *results = NULL;
    json_t *run;
    night->name = last_part(folder);
    RS_TRY_OUT(rs_report_read_run(folder, &run));
    const char *started = json_string_value(json_object_get(run, "started"));
    night->started = rs_strdup(started ? started : "");
    json_decref(run);
    RS_TRY_OUT(rs_journal_read(folder, &journal));
    RS_TRY_OUT(rs_results_open(journal, &results));
    RS_TRY_OUT(rs_results_evaluate(results, false, NULL));
    night->summary = results->summary;
    take_points(t, i, results);
    read_gates(folder, night);
out:
    rs_results_free(results);
    rs_journal_close(journal);
    return status;
}

static void trend_free(rs_trend *t)
{
    for (int i = 0; i < t->n_nights; i++) {
        free(t->nights[i].name);
        free(t->nights[i].started);
        json_decref(t->nights[i].compared);
    }
    for (int64_t i = 0; i < t->n_series; i++) {
        free(t->series[i].variant);
        free(t->series[i].task);
        free(t->series[i].metric);
        free(t->series[i].values);
    }
    free(t->nights);
    free(t->series);
}

/* --- the table --- */

static const char *verdict(const rs_night *night)
{
    return night->failed ? "FAILED" : json_object_get(night->compared, "gates") ? "passed" : "";
}

static void put_heads(const rs_trend *t, int first, rs_cells *cells)
{
    static const char *const heads[] = {"task", "metric", "context", "variant"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        rs_cells_add(cells, heads[i]);
    for (int i = first; i < t->n_nights; i++)
        rs_cells_add(cells, t->nights[i].name);
    rs_cells_add(cells, "gates");
    for (int i = 0; i < 3; i++)
        rs_cells_add(cells, "");
    for (int i = first; i < t->n_nights; i++)
        rs_cells_add(cells, verdict(&t->nights[i]));
}

static void put_series(const rs_trend *t, const rs_series *s, int first, rs_cells *cells)
{
    char *context = rs_format("%" PRId64, s->context), *variant = rs_shorten(s->variant, LABEL_WIDTH);
    rs_cells_add(cells, s->task);
    rs_cells_add(cells, s->metric);
    rs_cells_add(cells, context);
    rs_cells_add(cells, variant);
    for (int i = first; i < t->n_nights; i++) {
        rs_text text = {0};
        if (s->values[i].done)
            rs_format_estimate(s->values[i].value, &text);
        rs_cells_add(cells, text.n ? text.data : "-");
        rs_text_free(&text);
    }
    free(context);
    free(variant);
}

static void write_table(const rs_trend *t, rs_text *out)
{
    static const size_t columns[4 + SHOWN] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    int first = t->n_nights > SHOWN ? t->n_nights - SHOWN : 0;
    rs_cells cells = {.n_columns = (size_t)(4 + t->n_nights - first)};
    put_heads(t, first, &cells);
    for (int64_t i = 0; i < t->n_series; i++)
        put_series(t, &t->series[i], first, &cells);
    rs_cells_write(&cells, columns, cells.n_columns, 4, 2, out);
    rs_text_printf(out, "\n%d of %d runs   ± standard error   -: not done\n", t->n_nights - first, t->n_nights);
    rs_cells_free(&cells);
}

rs_status rs_report_trend(const char *const *folders, int n, const char *page, rs_text *out)
{
    rs_status status = RS_OK;
    rs_trend t = {.nights = rs_alloc((size_t)n, sizeof *t.nights), .n_nights = n};
    for (int i = n; i-- > 0;)
        RS_TRY_OUT(read_night(&t, i, folders[i]));
    write_table(&t, out);
    if (page)
        status = rs_trend_write_page(&t, page);
out:
    trend_free(&t);
    return status;
}
