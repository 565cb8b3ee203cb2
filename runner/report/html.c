/* report.html: one file that needs no other. Whether the run is whole and what failed first, then the numbers, then what made them. The
 * markup is HTML and well-formed XML at once. */
#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/emit.h"
#include "report/report_file.h"

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

void rs_html_head(const char *title, rs_text *out)
{
    rs_text_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src "
                      "'unsafe-inline'\"/>\n<title>ropesweep: ");
    rs_html_text(title, out);
    rs_text_puts(out, "</title>\n<style>\n");
    rs_text_puts(out, rs_html_style);
    rs_text_puts(out, "</style></head><body>\n<a class=\"skip\" href=\"#main\">Skip to the results</a>\n");
}

void rs_html_foot(rs_text *out)
{
    rs_text_puts(out, "</main>\n<script>//<![CDATA[\n");
    rs_text_puts(out, rs_html_script);
    rs_text_puts(out, "//]]></script></body></html>\n");
}

/* --- verdict --- */

/* How many comparisons of the first metric stand after Holm's correction; nothing where that is not known. */
static void put_comparisons(const rs_results *results, rs_text *out)
{
    int64_t better = 0, worse = 0, known = 0;
    for (int64_t i = 0; i < results->plan.n_points; i++) {
        const rs_point_result *result = &results->points[i];
        const rs_plan_point *point = &results->plan.points[i];
        if (!point->listed || result->state != RS_POINT_DONE || !result->has_versus)
            continue;
        rs_html_versus versus = rs_html_versus_baseline(result, 0);
        bool up = versus.difference > 0, good = results->plan.tasks[point->task].scores_text ? !up : up;
        known += versus.p_holm >= 0;
        better += rs_html_differs(versus) && good;
        worse += rs_html_differs(versus) && !good;
    }
    if (known > 0)
        rs_text_printf(
            out,
            "<p>Of %lld comparisons with the baseline %lld are better and %lld worse at p below 0.05 after Holm's correction over all "
            "of them.</p>\n",
            (long long)known, (long long)better, (long long)worse);
}

static void put_verdict(const rs_results *results, rs_text *out)
{
    const rs_report_summary *s = &results->summary;
    const char *class = s->complete ? "done" : s->failed ? "failed" : "missing";
    rs_text_puts(out, "<header><h1>ropesweep ");
    rs_html_text(text_of(json_object_get(results->plan.root, "model"), "path"), out);
    rs_text_printf(out, "</h1>\n<p><span class=\"status %s\">%s</span> %d of %d points done", class, s->complete ? "complete" : "partial",
                   s->done, s->points);
    if (s->failed > 0)
        rs_text_printf(out, ", <strong>%d failed</strong>", s->failed);
    if (s->missing > 0)
        rs_text_printf(out, ", <strong>%d missing</strong>", s->missing);
    rs_text_puts(out, "</p>\n");
    put_comparisons(results, out);
}

/* --- facts --- */

static void put_list(json_t *list, rs_text *out)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        rs_text_puts(out, i ? ", " : "");
        rs_text_puts(out, json_is_string(item) ? json_string_value(item) : "");
    }
}

static void put_fact(const char *name, json_t *value, rs_text *out)
{
    rs_text text = {0};
    if (value == NULL || json_is_null(value))
        return;
    if (json_is_string(value))
        rs_text_puts(&text, json_string_value(value));
    else if (json_is_number(value)) /* one decimal; a number read back from run.json may have become an integer */
        rs_text_printf(&text, "%.15g", round(json_number_value(value) * 10) / 10);
    else if (json_is_array(value))
        put_list(value, &text);
    else
        rs_emit_json(value, &text);
    rs_text_puts(out, "<div><dt>");
    rs_html_text(name, out);
    rs_text_puts(out, "</dt><dd>");
    rs_html_text(text.n ? text.data : "", out);
    rs_text_puts(out, "</dd></div>\n");
    rs_text_free(&text);
}

/* Of many ranks, the largest: report.yaml has each. */
static void put_peak(json_t *ranks, rs_text *out)
{
    size_t i;
    json_t *rank, *most = NULL;
    json_array_foreach(ranks, i, rank)
    {
        json_t *peak = json_object_get(rank, "peak_rss_mb");
        most = most && json_number_value(most) >= json_number_value(peak) ? most : peak;
    }
    put_fact("most memory of a rank, MB", most, out);
}

static void put_facts(json_t *root, json_t *run, rs_text *out)
{
    static const char *const of_model[] = {"architecture", "parameters", "dtype", "digest"};
    static const char *const of_run[] = {"started", "finished", "seconds", "ranks",         "tensor",
                                         "hosts",   "backend",  "device",  "deterministic", "shard"};
    json_t *model = json_object_get(root, "model"), *program = json_object_get(root, "program");
    rs_text_puts(out, "<dl class=\"facts\">\n");
    for (size_t i = 0; i < sizeof of_model / sizeof *of_model; i++)
        put_fact(of_model[i], json_object_get(model, of_model[i]), out);
    for (size_t i = 0; i < sizeof of_run / sizeof *of_run; i++)
        put_fact(of_run[i], json_object_get(run, of_run[i]), out);
    put_peak(json_object_get(run, "rank"), out);
    char *version = rs_format("%s (%s)", text_of(program, "version"), text_of(program, "commit"));
    json_t *text = rs_json_text(version);
    put_fact("ropesweep", text, out);
    json_decref(text);
    free(version);
    rs_text_puts(out, "</dl></header>\n");
}

/* --- the parts, each with a link to it where it has something to say --- */

typedef struct part {
    const char *id, *title;
    void (*put)(const rs_html_page *page);
} part;

static void put_for_tasks(const rs_html_page *page, void (*put)(const rs_html_page *page, int task))
{
    for (int task = 0; task < page->results->plan.n_tasks; task++)
        if (rs_html_has_task(page, task))
            put(page, task);
}

static void put_curves(const rs_html_page *page)
{
    put_for_tasks(page, rs_html_curves);
}

static void put_heat(const rs_html_page *page)
{
    put_for_tasks(page, rs_html_heat);
}

static void put_depths(const rs_html_page *page)
{
    put_for_tasks(page, rs_html_depths);
}

static void put_forest(const rs_html_page *page)
{
    put_for_tasks(page, rs_html_forest);
}

static void put_lengths(const rs_html_page *page)
{
    put_for_tasks(page, rs_html_lengths);
}

static void put_config(const rs_html_page *page)
{
    rs_text yaml = {0};
    rs_emit_yaml(json_object_get(page->results->plan.root, "config"), 0, &yaml);
    rs_text_puts(page->out, "<pre tabindex=\"0\">");
    for (char *rest = yaml.data, *line; (line = strsep(&rest, "\n")) != NULL;) { /* the escaper makes blanks of line breaks */
        rs_html_text(line, page->out);
        rs_text_puts(page->out, rest ? "\n" : "");
    }
    rs_text_puts(page->out, "</pre>\n");
    rs_text_free(&yaml);
}

static void put_part(const rs_html_page *page, const part *p, rs_text *contents)
{
    rs_text *out = page->out;
    size_t before = out->n;
    rs_text_printf(out, "<section aria-labelledby=\"%s\"><h2 id=\"%s\">%s</h2>\n", p->id, p->id, p->title);
    size_t head = out->n;
    p->put(page);
    if (out->n == head) {
        out->n = before;
        out->data[before] = '\0';
        return;
    }
    rs_text_puts(out, "</section>\n");
    rs_text_printf(contents, "<li><a href=\"#%s\">%s</a></li>\n", p->id, p->title);
}

static const part parts[] = {
    {"troubles", "Failed and missing points", rs_html_troubles},
    {"curves", "Score against length", put_curves},
    {"maps", "Variants by context", put_heat},
    {"depths", "Depth by context", put_depths},
    {"differences", "Differences from the baseline", put_forest},
    {"lengths", "Effective length", put_lengths},
    {"positions", "Loss by position and by distance", rs_html_splits},
    {"frequencies", "Effective frequencies", rs_html_frequencies},
    {"points-list", "All points", rs_html_points},
    {"config", "Effective configuration", put_config},
};

rs_status rs_report_write_html(const char *folder, const rs_results *results, json_t *run)
{
    rs_sink *sink;
    rs_html_page page;
    rs_text body = {0}, contents = {0};
    RS_TRY(rs_sink_open(folder, "report.html", &sink));
    rs_text *out = rs_sink_text(sink);
    rs_html_page_open(results, &body, &page);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        put_part(&page, &parts[i], &contents);
    rs_html_page_close(&page);
    rs_html_head(text_of(json_object_get(results->plan.root, "model"), "path"), out);
    put_verdict(results, out);
    put_facts(results->plan.root, run, out);
    rs_text_puts(out, "<nav aria-label=\"Contents\"><ul>\n");
    rs_text_append(out, contents.data, contents.n);
    rs_text_puts(out, "</ul></nav>\n<main id=\"main\">\n");
    rs_text_append(out, body.data, body.n);
    rs_html_foot(out);
    rs_text_free(&contents);
    rs_text_free(&body);
    return rs_sink_close(sink, RS_OK);
}
