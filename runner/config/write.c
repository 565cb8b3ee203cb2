/* The effective configuration as JSON, and entries as short labels. */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "config/internal.h"

void rs_rope_entry_write_json(const rs_rope_entry *entry, rs_text *out)
{
    rs_text_printf(out, "{\"rope_type\": \"%s\"", entry->variant->name);
    rs_params_write(&entry->params, true, out);
    rs_text_puts(out, "}");
}

void rs_softmax_entry_write_json(const rs_softmax_entry *entry, rs_text *out)
{
    rs_text_printf(out, "{\"type\": \"%s\"", entry->policy->name);
    rs_params_write(&entry->params, true, out);
    rs_text_puts(out, "}");
}

static void write_section(const char *name, const rs_params *params, rs_text *out)
{
    rs_text_printf(out, ", \"%s\": {", name);
    rs_params_write(params, false, out);
    rs_text_puts(out, "}");
}

static void write_sweep(const rs_config *config, rs_text *out)
{
    rs_text_puts(out, ", \"sweep\": {\"rope\": [");
    for (int i = 0; i < config->n_ropes; i++) {
        rs_text_puts(out, i ? ", " : "");
        rs_rope_entry_write_json(&config->ropes[i], out);
    }
    rs_text_puts(out, "], \"softmax\": [");
    for (int i = 0; i < config->n_softmaxes; i++) {
        rs_text_puts(out, i ? ", " : "");
        rs_softmax_entry_write_json(&config->softmaxes[i], out);
    }
    rs_text_puts(out, "], \"context\": [");
    for (int i = 0; i < config->n_contexts; i++)
        rs_text_printf(out, "%s%lld", i ? ", " : "", (long long)config->contexts[i]);
    rs_text_puts(out, "]}");
}

void rs_config_write_json(const rs_config *config, rs_text *out)
{
    rs_text_puts(out, "{");
    rs_params_write(&config->run, false, out);
    write_section("model", &config->model, out);
    write_section("parallel", &config->parallel, out);
    write_sweep(config, out);
    rs_text_puts(out, ", \"tasks\": [");
    for (int i = 0; i < config->n_tasks; i++) {
        rs_text_puts(out, i ? ", {" : "{");
        rs_params_write(&config->tasks[i].common, false, out);
        rs_params_write(&config->tasks[i].params, true, out);
        rs_text_puts(out, "}");
    }
    rs_text_puts(out, "], \"baseline\": {\"rope\": ");
    rs_rope_entry_write_json(&config->ropes[config->baseline_rope], out);
    rs_text_puts(out, ", \"softmax\": ");
    rs_softmax_entry_write_json(&config->softmaxes[config->baseline_softmax], out);
    rs_text_puts(out, "}}");
}

/* --- labels --- */

static void write_label_number(double number, rs_text *out)
{
    if (isinf(number))
        rs_text_puts(out, number > 0 ? "inf" : "-inf");
    else
        rs_text_double(out, number);
}

/* A long vector as its length and a digest: two of them must not look the same. */
static void write_label_vector(const rs_param_value *value, rs_text *out)
{
    enum { SHORT = 5 };
    if (value->n > SHORT) {
        rs_text_printf(out, "%zu#%06x", value->n, (unsigned)(rs_hash64(value->vector, value->n * sizeof *value->vector) >> 40));
        return;
    }
    for (size_t i = 0; i < value->n; i++) {
        rs_text_puts(out, i ? "," : "");
        write_label_number(value->vector[i], out);
    }
}

static void write_label_value(rs_param_kind kind, const rs_param_value *value, rs_text *out)
{
    switch (kind) {
    case RS_PARAM_NUMBER:
    case RS_PARAM_INT:
        write_label_number(value->number, out);
        break;
    case RS_PARAM_BOOL:
        rs_text_puts(out, value->number > 0 ? "true" : "false");
        break;
    case RS_PARAM_STRING:
    case RS_PARAM_CHOICE:
        rs_text_puts(out, value->string);
        break;
    case RS_PARAM_VECTOR:
        write_label_vector(value, out);
        break;
    case RS_PARAM_STRINGS:
        rs_text_puts(out, value->n ? value->strings[0] : "");
        break;
    case RS_PARAM_BAND:
        rs_text_printf(out, "%s ", value->string);
        write_label_number(value->vector[0], out);
        rs_text_puts(out, "-");
        write_label_number(value->vector[1], out);
        break;
    }
}

static void write_label(const char *type, const rs_params *params, rs_text *out)
{
    rs_text_puts(out, type);
    for (size_t i = 0; params->specs[i].name; i++) {
        if (!params->values[i].given)
            continue;
        rs_text_printf(out, " %s=", params->specs[i].name);
        write_label_value(params->specs[i].kind, &params->values[i], out);
    }
}

void rs_rope_entry_write_label(const rs_rope_entry *entry, rs_text *out)
{
    write_label(entry->variant->name, &entry->params, out);
}

void rs_softmax_entry_write_label(const rs_softmax_entry *entry, rs_text *out)
{
    if (strcmp(entry->policy->name, "temperature") != 0) {
        write_label(entry->policy->name, &entry->params, out);
        return;
    }
    rs_text_puts(out, "T=");
    write_label_number(rs_param_number(&entry->params, "temperature"), out);
}
