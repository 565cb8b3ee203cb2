/* report.html: one file that needs no other. Validity first, then what failed, then the numbers, then what made them. */
#include "report/html.h"

#include <string.h>

#include "report/emit.h"
#include "report/report_file.h"
#include "report/svg.h"

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void put_head(const rs_results *results, rs_text *out)
{
    const rs_report_summary *s = &results->summary;
    json_t *program = json_object_get(results->plan.root, "program"), *model = json_object_get(results->plan.root, "model");
    rs_text_puts(
        out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n"
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src "
             "'unsafe-inline'\">\n"
             "<title>ropesweep: ");
    rs_html_text(text_of(model, "path"), out);
    rs_text_puts(out, "</title>\n<style>\n");
    rs_text_puts(out, rs_html_style);
    rs_text_puts(out, "</style></head><body>\n<header><h1>ropesweep ");
    rs_html_text(text_of(model, "path"), out);
    rs_text_printf(out, "</h1>\n<p><span class=\"status %s\">%s</span> %d of %d points done",
                   s->complete ? "done"
                   : s->failed ? "failed"
                               : "missing",
                   s->complete ? "complete" : "partial", s->done, s->points);
    if (s->failed > 0)
        rs_text_printf(out, ", <strong>%d failed</strong>", s->failed);
    if (s->missing > 0)
        rs_text_printf(out, ", <strong>%d missing</strong>", s->missing);
    rs_text_puts(out, "</p>\n<p class=\"dim\">");
    rs_html_text(text_of(model, "architecture"), out);
    rs_text_puts(out, ", ");
    rs_html_text(text_of(model, "dtype"), out);
    rs_text_puts(out, ", weights ");
    rs_html_text(text_of(model, "digest"), out);
    rs_text_puts(out, "; ropesweep ");
    rs_html_text(text_of(program, "version"), out);
    rs_text_puts(out, " (");
    rs_html_text(text_of(program, "commit"), out);
    rs_text_puts(out, ")</p></header>\n<main>\n");
}

/* A map as a list of names and values. */
static void put_facts(json_t *map, rs_text *out)
{
    const char *key;
    json_t *value;
    rs_text text = {0};
    rs_text_puts(out, "<dl>\n");
    json_object_foreach(map, key, value)
    {
        rs_text_clear(&text);
        if (json_is_string(value))
            rs_text_puts(&text, json_string_value(value));
        else
            rs_emit_json(value, &text);
        rs_text_puts(out, "<dt>");
        rs_html_text(key, out);
        rs_text_puts(out, "</dt><dd>");
        rs_html_text(text.n ? text.data : "", out);
        rs_text_puts(out, "</dd>\n");
    }
    rs_text_puts(out, "</dl>\n");
    rs_text_free(&text);
}

/* Line by line: the escaper makes blanks of line breaks. */
static void put_config(json_t *config, rs_text *out)
{
    rs_text yaml = {0};
    rs_emit_yaml(config, 0, &yaml);
    rs_text_puts(out, "<h2 id=\"config\">Effective configuration</h2>\n<pre>");
    for (char *rest = yaml.data, *line; (line = strsep(&rest, "\n")) != NULL;) {
        rs_html_text(line, out);
        rs_text_puts(out, rest ? "\n" : "");
    }
    rs_text_puts(out, "</pre>\n");
    rs_text_free(&yaml);
}

static void put_tasks(const rs_results *results, rs_text *out)
{
    rs_grid grid;
    rs_grid_make(results, &grid);
    rs_text_puts(out, "<h2 id=\"results\">Results</h2>\n");
    for (int task = 0; task < results->plan.n_tasks; task++) {
        bool listed = false;
        for (int64_t c = 0; c < grid.n_columns; c++)
            listed = listed || grid.columns[c].task == task;
        if (!listed)
            continue;
        rs_text_puts(out, "<h3>");
        rs_html_text(results->plan.tasks[task].label, out);
        rs_text_puts(out, "</h3>\n");
        rs_html_heat(results, &grid, task, out);
        rs_html_curves(results, &grid, task, out);
    }
    rs_grid_free(&grid);
}

rs_status rs_report_write_html(const char *folder, const rs_results *results, json_t *run)
{
    rs_sink *sink;
    RS_TRY(rs_sink_open(folder, "report.html", &sink));
    rs_text *out = rs_sink_text(sink);
    put_head(results, out);
    rs_html_troubles(results, out);
    put_tasks(results, out);
    rs_html_frequencies(results, out);
    rs_html_points(results, out);
    rs_text_puts(out, "<h2 id=\"run\">Run</h2>\n");
    put_facts(run, out);
    rs_text_puts(out, "<h2 id=\"model\">Model</h2>\n");
    put_facts(json_object_get(results->plan.root, "model"), out);
    put_config(json_object_get(results->plan.root, "config"), out);
    rs_text_puts(out, "</main>\n<script>\n");
    rs_text_puts(out, rs_html_script);
    rs_text_puts(out, "</script></body></html>\n");
    return rs_sink_close(sink, RS_OK);
}
