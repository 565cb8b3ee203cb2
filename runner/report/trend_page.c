/* The page of `trend`: the runs with their gates, and a chart a task and context, a curve a variant. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "report/trend.h"

/* --- runs --- */

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void put_gates(const rs_night *night, rs_text *out)
{
    size_t i;
    json_t *gate;
    json_array_foreach(json_object_get(night->compared, "gates"), i, gate)
    {
        bool passed = json_is_true(json_object_get(gate, "passed"));
        rs_text_printf(out, "%s<span class=\"status %s\">%s</span> ", i ? "<br/>" : "", passed ? "done" : "failed",
                       passed ? "passed" : "FAILED");
        rs_html_text(text_of(gate, "gate"), out);
        if (!passed)
            rs_text_printf(out, ": fails on %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " pairs",
                           json_integer_value(json_object_get(gate, "failed")), json_integer_value(json_object_get(gate, "pairs")));
    }
}

static void put_night(const rs_night *night, rs_text *out)
{
    rs_text_puts(out, "<tr><th scope=\"row\">");
    rs_html_text(night->name, out);
    rs_text_puts(out, "</th><td>");
    rs_html_text(night->started, out);
    rs_text_printf(out, "</td><td class=\"num\">%d of %d</td><td>", night->summary.done, night->summary.points);
    rs_html_text(text_of(json_object_get(night->compared, "a"), "folder"), out);
    rs_text_puts(out, "</td><td>");
    put_gates(night, out);
    rs_text_puts(out, "</td></tr>\n");
}

static void put_nights(const rs_trend *t, rs_text *out)
{
    rs_text_puts(out, "<section aria-labelledby=\"runs\"><h2 id=\"runs\">Runs</h2>\n");
    rs_html_table_open("Runs", "sort", NULL, out);
    rs_text_puts(out, "<thead><tr><th scope=\"col\">run</th><th scope=\"col\">started</th><th scope=\"col\" class=\"num\">points done</th>"
                      "<th scope=\"col\">compared with</th><th scope=\"col\">gates</th></tr></thead><tbody>\n");
    for (int i = t->n_nights; i-- > 0;) /* the last is looked for first */
        put_night(&t->nights[i], out);
    rs_html_table_close(out);
    rs_text_puts(out, "</section>\n");
}

/* --- charts --- */

static bool same_chart(const rs_series *a, const rs_series *b)
{
    return a->context == b->context && strcmp(a->task, b->task) == 0;
}

/* A variant has one key and one colour on the whole page: its place among those of the first chart, or else among all. */
static int variant_of(const rs_trend *t, const rs_series *s)
{
    int n = 0;
    for (const rs_series *other = t->series; strcmp(other->variant, s->variant) != 0; other++)
        n += !other->baseline && same_chart(other, t->series);
    return n;
}

static rs_curve make_curve(const rs_trend *t, const rs_series *s)
{
    int variant = variant_of(t, s);
    size_t n = (size_t)t->n_nights;
    rs_curve curve = {.label = s->variant,
                      .x = rs_alloc(n, sizeof(double)),
                      .y = rs_alloc(n, sizeof(double)),
                      .low = rs_alloc(n, sizeof(double)),
                      .high = rs_alloc(n, sizeof(double)),
                      .n = t->n_nights,
                      .colour = s->baseline                ? -1
                                : variant < RS_SVG_COLOURS ? variant
                                                           : RS_SVG_COLOURS};
    if (s->baseline)
        snprintf(curve.key, sizeof curve.key, "b");
    else
        snprintf(curve.key, sizeof curve.key, "v%d", variant);
    for (int i = 0; i < t->n_nights; i++) {
        const rs_night_value *v = &s->values[i];
        curve.x[i] = i + 1;
        curve.y[i] = v->done ? v->value.value : NAN;
        curve.low[i] = v->done ? v->interval.low : NAN;
        curve.high[i] = v->done ? v->interval.high : NAN;
    }
    return curve;
}

/* The baseline is drawn last, above all. */
static void take_curves(const rs_trend *t, const rs_series *first, rs_chart *chart)
{
    const rs_series *end = t->series + t->n_series;
    chart->curves = rs_alloc((size_t)t->n_series, sizeof *chart->curves);
    for (int baseline = 0; baseline < 2; baseline++)
        for (const rs_series *s = first; s < end; s++)
            if (same_chart(s, first) && s->baseline == (baseline == 1))
                chart->curves[chart->n_curves++] = make_curve(t, s);
}

static void free_curves(rs_chart *chart)
{
    for (int c = 0; c < chart->n_curves; c++) {
        free(chart->curves[c].x);
        free(chart->curves[c].y);
        free(chart->curves[c].low);
        free(chart->curves[c].high);
    }
    free(chart->curves);
}

static void put_chart(const rs_trend *t, const rs_series *first, rs_chart frame, rs_text *out)
{
    char *title = rs_format("%s at context %" PRId64 ": %s, 95 %% intervals", first->task, first->context, first->metric);
    frame.title = title;
    frame.y_label = first->metric;
    take_curves(t, first, &frame);
    rs_svg_write(&frame, out);
    free_curves(&frame);
    free(title);
}

static void put_charts(const rs_trend *t, rs_text *out)
{
    const char **names = rs_alloc((size_t)t->n_nights, sizeof *names);
    double *marks = rs_alloc((size_t)t->n_nights, sizeof *marks);
    rs_chart frame = {
        .x_label = "run", .numbers = true, .names = names, .n_names = t->n_nights, .marks = marks, .mark_label = "gate failed"};
    for (int i = 0; i < t->n_nights; i++) {
        names[i] = t->nights[i].name;
        if (t->nights[i].failed)
            marks[frame.n_marks++] = i + 1;
    }
    rs_text_puts(out, "<section aria-labelledby=\"metrics\"><h2 id=\"metrics\">Metrics</h2>\n");
    for (int64_t i = 0; i < t->n_series; i++) {
        bool known = false;
        for (int64_t j = 0; j < i && !known; j++)
            known = same_chart(&t->series[j], &t->series[i]);
        if (!known)
            put_chart(t, &t->series[i], frame, out);
    }
    rs_text_puts(out, "</section>\n");
    free(names);
    free(marks);
}

/* --- the page --- */

static void put_verdict(const rs_trend *t, rs_text *out)
{
    const rs_night *last = &t->nights[t->n_nights - 1];
    bool complete = last->summary.complete;
    rs_text_printf(out, "<header><h1>ropesweep: %d run%s, ", t->n_nights, t->n_nights == 1 ? "" : "s");
    rs_html_text(t->nights[0].name, out);
    rs_text_puts(out, " to ");
    rs_html_text(last->name, out);
    rs_text_printf(out, "</h1>\n<p>The last of them: <span class=\"status %s\">%s</span>", complete ? "done" : "missing",
                   complete ? "complete" : "partial");
    rs_text_puts(out, last->failed ? " <span class=\"status failed\">a gate failed</span></p></header>\n" : "</p></header>\n");
}

rs_status rs_trend_write_page(const rs_trend *t, const char *path)
{
    rs_text out = {0};
    rs_html_head("trend", &out);
    put_verdict(t, &out);
    rs_text_puts(&out, "<main id=\"main\">\n");
    put_nights(t, &out);
    put_charts(t, &out);
    rs_html_foot(&out);
    rs_status status = rs_file_write_atomic(path, out.data, out.n);
    rs_text_free(&out);
    return status;
}
