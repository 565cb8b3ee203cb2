/* The tables as text: docs/config.md and --help. */
#include <math.h>
#include <string.h>

#include "config/internal.h"

static const char *kind_text(rs_param_kind kind)
{
    static const char *const names[] = {
        [RS_PARAM_NUMBER] = "number",          [RS_PARAM_INT] = "whole number",
        [RS_PARAM_BOOL] = "true or false",     [RS_PARAM_STRING] = "text",
        [RS_PARAM_CHOICE] = "one of",          [RS_PARAM_VECTOR] = "list of numbers",
        [RS_PARAM_STRINGS] = "text or a list", [RS_PARAM_BAND] = "band",
    };
    return names[kind];
}

static void write_number(double number, rs_text *out)
{
    if (number == rint(number) && fabs(number) < 1e16)
        rs_text_printf(out, "%.0f", number);
    else
        rs_text_double(out, number);
}

/* "1 to 4096", "above 0", "" where every number goes. The reading of a row is that of base/param.h. */
static void write_bounds(const rs_param_spec *spec, rs_text *out)
{
    bool has_max = isfinite(spec->max) && spec->max > spec->min;
    bool has_min = spec->min_open || spec->min != 0 || spec->max != 0;
    if (spec->kind == RS_PARAM_BOOL || spec->kind == RS_PARAM_STRING || spec->kind == RS_PARAM_STRINGS || spec->kind == RS_PARAM_BAND)
        return;
    if (has_min && has_max && !spec->min_open) {
        write_number(spec->min, out);
        rs_text_puts(out, " to ");
        write_number(spec->max, out);
        return;
    }
    if (has_min) {
        rs_text_puts(out, spec->min_open ? "above " : "at least ");
        write_number(spec->min, out);
    }
    if (has_max) {
        rs_text_puts(out, has_min ? ", at most " : "at most ");
        write_number(spec->max, out);
    }
}

/* Table cells cannot hold a bar. */
static void write_cell(const char *text, rs_text *out)
{
    for (; *text; text++)
        rs_text_append(out, *text == '|' ? "\\|" : text, *text == '|' ? 2 : 1);
}

static void write_choices(const char *choices, rs_text *out)
{
    for (; *choices; choices++)
        rs_text_append(out, *choices == '|' ? ", " : choices, *choices == '|' ? 2 : 1);
}

static void write_default(const rs_param_spec *spec, rs_text *out)
{
    if (spec->fallback == NULL) {
        rs_text_puts(out, "-");
    } else if (strcmp(spec->fallback, "required") == 0) {
        rs_text_puts(out, "required");
    } else if (strncmp(spec->fallback, "model.", 6) == 0) {
        rs_text_printf(out, "the model's %s", spec->fallback + 6);
    } else if (spec->kind == RS_PARAM_STRING) { /* templates have line ends and blanks at their ends */
        rs_text quoted = {0};
        const char *text = spec->fallback;
        size_t n = strlen(text);
        bool in_quotes = n >= 2 && (text[0] == '\'' || text[0] == '"') && text[n - 1] == text[0];
        rs_text_json_string(&quoted, text + in_quotes, n - 2 * (size_t)in_quotes);
        rs_text_puts(out, "`");
        write_cell(quoted.data, out);
        rs_text_puts(out, "`");
        rs_text_free(&quoted);
    } else {
        rs_text_printf(out, "`%s`", spec->fallback);
    }
}

static void write_row(const rs_param_spec *spec, rs_text *out)
{
    rs_text_printf(out, "| `%s` | %s", spec->name, kind_text(spec->kind));
    if (spec->choices) {
        rs_text_puts(out, spec->kind == RS_PARAM_CHOICE ? " " : " of ");
        write_choices(spec->choices, out);
    }
    rs_text_puts(out, " | ");
    write_default(spec, out);
    rs_text_puts(out, " | ");
    write_bounds(spec, out);
    rs_text_puts(out, " | ");
    write_cell(spec->help ? spec->help : "", out);
    rs_text_puts(out, " |\n");
}

static void write_table(const rs_param_spec *specs, rs_text *out)
{
    if (specs->name == NULL) {
        rs_text_puts(out, "No keys.\n");
        return;
    }
    rs_text_puts(out, "| key | type | default | bounds | meaning |\n|---|---|---|---|---|\n");
    for (; specs->name; specs++)
        write_row(specs, out);
}

static void write_keys(const rs_key_row *rows, rs_text *out)
{
    rs_text_puts(out, "| key | type | default | meaning |\n|---|---|---|---|\n");
    for (; rows->name; rows++) {
        rs_text_printf(out, "| `%s` | %s | %s | ", rows->name, rows->type, rows->fallback);
        write_cell(rows->help, out);
        rs_text_puts(out, " |\n");
    }
}

static const char intro[] =
    "# Configuration reference\n\n"
    "Made from the program's own tables (runner/config/fields.c, kernels/rope_variants/, kernels/softmax_policy.c, runner/tasks/);\n"
    "`ropesweep list config` prints it.\n\n"
    "A config is one YAML file. A relative path in it is relative to the config's own folder. `--set key=value` replaces or adds a\n"
    "value before the file is checked: names joined by dots, elements of a list by their number from 0, the value as YAML\n"
    "(`--set model.dtype=fp32`, `--set sweep.context=[512,1024]`, `--set tasks.0.samples=5`). A number written in quotes is a text.\n"
    "Everything is checked before any weight is read; an error names the file, line and column, the offending text and the nearest\n"
    "valid name. Aliases work; merge keys, duplicate keys and several documents are errors.\n\n";

static const char entries[] =
    "## Entries of the sweep\n\n"
    "A rope entry is a type (`yarn` needs keys, so it is a map: `{rope_type: yarn, factor: 4}`). The keys are Hugging Face's, so a\n"
    "`rope_scaling` block of a config.json can be pasted; its older name `type` for `rope_type` is read too, and `null` means absent.\n"
    "A softmax entry is a number T (`{type: temperature, temperature: T}`), a type, or a map.\n\n"
    "Any value may be a list: the entry becomes one per element, and one per combination where several values are lists (the first\n"
    "key runs slowest). Where the value is itself a list of numbers, a list of lists expands. A number may be drawn:\n"
    "`factor: {log_uniform: [2, 16], n: 8}`, or `uniform`; the eight values depend on `seed` and the entry's place in its list, have\n"
    "six digits, and are stored in the report's config.\n\n"
    "Contexts: a number, a list, or a text of ranges as in llama-bench: `4096-131072*2` (4096, 8192, ... 131072), `1024-8192+1024`,\n"
    "joined by commas. At most 1,000,000 points in all; entries or contexts that say the same twice are an error.\n\n";

void rs_config_write_reference(rs_text *out)
{
    rs_text_puts(out, intro);
    for (const rs_section *section = rs_config_sections; section->name; section++) {
        rs_text_printf(out, "## %s\n\n%s\n\n", section->name[0] ? section->name : "Top level", section->help);
        if (section->params)
            write_table(section->params, out);
        else
            write_keys(section->keys, out);
        rs_text_puts(out, "\n");
    }
    rs_text_puts(out, entries);
    rs_text_puts(out, "## rope_type\n\n");
    for (const rs_rope_variant *const *v = rs_rope_variants; *v; v++) {
        rs_text_printf(out, "### %s\n\n%s. Source: %s.\n\n", (*v)->name, (*v)->summary, (*v)->source);
        write_table((*v)->params, out);
        rs_text_puts(out, "\n");
    }
    rs_text_puts(out, "## softmax type\n\n");
    for (const rs_softmax_policy *const *p = rs_softmax_policies; *p; p++) {
        rs_text_printf(out, "### %s\n\n%s. Source: %s.\n\n", (*p)->name, (*p)->summary, (*p)->source);
        write_table((*p)->params, out);
        rs_text_puts(out, "\n");
    }
    rs_text_puts(out, "## Tasks by name\n\nThe keys of each beside the common ones above.\n");
    for (const rs_task *const *t = rs_tasks; *t; t++) {
        rs_text_printf(out, "\n### %s\n\n%s. Source: %s. Metric: ", (*t)->name, (*t)->summary, (*t)->source);
        rs_task_write_metrics(*t, out);
        rs_text_printf(out, ". Guessing scores: %s.\n\n", (*t)->chance);
        write_table((*t)->params, out);
    }
}

static void write_help_line(const char *section, const char *name, const char *fallback, const char *help, rs_text *out)
{
    rs_text key = {0};
    rs_text_printf(&key, "%s%s%s", section, section[0] ? "." : "", name);
    size_t clause = strcspn(help, ";:("); /* a screen's line: the rest is in the reference */
    while (clause > 0 && help[clause - 1] == ' ')
        clause--;
    rs_text_printf(out, "  %-24s %.*s", key.data, (int)clause, help);
    if (fallback)
        rs_text_printf(out, " (%s%s)", strcmp(fallback, "required") == 0 ? "" : "default ", fallback);
    rs_text_puts(out, "\n");
    rs_text_free(&key);
}

void rs_config_write_help(rs_text *out)
{
    for (const rs_section *section = rs_config_sections; section->name; section++) {
        for (const rs_param_spec *spec = section->params; spec && spec->name; spec++) {
            bool lists = spec->kind == RS_PARAM_STRINGS || spec->kind == RS_PARAM_VECTOR;
            bool for_few = lists || (section->params == rs_task_common_params && spec->fallback == NULL); /* a screen holds 40 lines */
            if (!for_few)
                write_help_line(section->name, spec->name, spec->fallback, spec->help, out);
        }
        for (const rs_key_row *row = section->keys; row && row->name; row++)
            write_help_line(section->name, row->name, row->fallback, row->help, out);
    }
}
