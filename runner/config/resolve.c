/* What needs all entries at once, or the model's facts: duplicates, the baseline, entries that cannot be built. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/internal.h"

/* An entry as text that is the same for the same values, however they were written. */
typedef struct canonical {
    char *text;
    int index;
} canonical;

static char *canonical_text(const char *type, const rs_params *params)
{
    rs_text text = {0};
    rs_text_printf(&text, "%s: ", type);
    rs_params_write(params, false, &text);
    return text.data;
}

static int by_text(const void *a, const void *b)
{
    const canonical *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* Index of the earliest entry that repeats an earlier one, or -1; sorts and frees. */
static int find_repeat(canonical *entries, int n, int *first)
{
    qsort(entries, (size_t)n, sizeof *entries, by_text);
    int repeat = -1;
    for (int i = 1, start = 0; i < n; i++) {
        if (strcmp(entries[i].text, entries[start].text) != 0) {
            start = i;
        } else if (repeat < 0 || entries[i].index < repeat) {
            repeat = entries[i].index;
            *first = entries[start].index;
        }
    }
    for (int i = 0; i < n; i++)
        free(entries[i].text);
    free(entries);
    return repeat;
}

static rs_status fail_repeat(const rs_config *config, const char *axis, rs_place place, rs_place first, rs_text *label)
{
    rs_status status;
    if (first.line == 0 || (first.line == place.line && first.column == place.column))
        status = rs_yaml_fail(config->yaml, place, "duplicate %s entry: these values stand twice ('%s')", axis, rs_show(label->data).text);
    else
        status = rs_yaml_fail(config->yaml, place, "duplicate %s entry: the same values as at line %d, column %d ('%s')", axis, first.line,
                              first.column, rs_show(label->data).text);
    rs_text_free(label);
    return status;
}

rs_status rs_check_duplicates(const rs_config *config)
{
    int first = 0;
    rs_text label = {0};
    canonical *entries = rs_alloc((size_t)config->n_ropes, sizeof *entries);
    for (int i = 0; i < config->n_ropes; i++)
        entries[i] = (canonical){canonical_text(config->ropes[i].variant->name, &config->ropes[i].params), i};
    int repeat = find_repeat(entries, config->n_ropes, &first);
    if (repeat >= 0) {
        rs_rope_entry_write_label(&config->ropes[repeat], &label);
        return fail_repeat(config, "rope", config->ropes[repeat].place, config->ropes[first].place, &label);
    }
    entries = rs_alloc((size_t)config->n_softmaxes, sizeof *entries);
    for (int i = 0; i < config->n_softmaxes; i++)
        entries[i] = (canonical){canonical_text(config->softmaxes[i].policy->name, &config->softmaxes[i].params), i};
    repeat = find_repeat(entries, config->n_softmaxes, &first);
    if (repeat >= 0) {
        rs_softmax_entry_write_label(&config->softmaxes[repeat], &label);
        return fail_repeat(config, "softmax", config->softmaxes[repeat].place, config->softmaxes[first].place, &label);
    }
    return RS_OK;
}

/* Whether a value still waits for the model. */
static bool is_pending(const rs_params *params)
{
    for (size_t i = 0; params->specs[i].name; i++)
        if (!params->values[i].set && params->specs[i].fallback && strncmp(params->specs[i].fallback, "model.", 6) == 0)
            return true;
    return false;
}

/* Compares the wanted entry with one of the sweep. May become true once both are filled: *later. */
static bool is_wanted(const char *wanted, const rs_params *wanted_params, const char *type, const rs_params *params, bool *later)
{
    char *text = canonical_text(type, params);
    bool same = strcmp(text, wanted) == 0;
    *later = *later || (params->specs == wanted_params->specs && (is_pending(params) || is_pending(wanted_params)));
    free(text);
    return same;
}

static rs_status find_rope(rs_config *config, bool final)
{
    const rs_rope_entry *wanted = &config->wanted_rope;
    char *text = canonical_text(wanted->variant->name, &wanted->params);
    bool found = false, later = false;
    for (int i = 0; i < config->n_ropes && !found; i++) {
        found = is_wanted(text, &wanted->params, config->ropes[i].variant->name, &config->ropes[i].params, &later);
        config->baseline_rope = found ? i : 0;
    }
    free(text);
    if (found || (later && !final))
        return RS_OK;
    rs_text label = {0};
    rs_rope_entry_write_label(wanted, &label);
    rs_status status =
        rs_yaml_fail(config->yaml, wanted->place, "baseline.rope is not an entry of sweep.rope ('%s')", rs_show(label.data).text);
    rs_text_free(&label);
    return status;
}

static rs_status find_softmax(rs_config *config, bool final)
{
    const rs_softmax_entry *wanted = &config->wanted_softmax;
    char *text = canonical_text(wanted->policy->name, &wanted->params);
    bool found = false, later = false;
    for (int i = 0; i < config->n_softmaxes && !found; i++) {
        found = is_wanted(text, &wanted->params, config->softmaxes[i].policy->name, &config->softmaxes[i].params, &later);
        config->baseline_softmax = found ? i : 0;
    }
    free(text);
    if (found || (later && !final))
        return RS_OK;
    rs_text label = {0};
    rs_softmax_entry_write_label(wanted, &label);
    rs_status status =
        rs_yaml_fail(config->yaml, wanted->place, "baseline.softmax is not an entry of sweep.softmax ('%s')", rs_show(label.data).text);
    rs_text_free(&label);
    return status;
}

rs_status rs_find_baseline(rs_config *config, bool final)
{
    if (config->wanted_rope.variant)
        RS_TRY(find_rope(config, final));
    if (config->wanted_softmax.policy)
        RS_TRY(find_softmax(config, final));
    return RS_OK;
}

static rs_status build_rope(const rs_config *config, const rs_rope_entry *entry, int head_dim)
{
    int n = entry->variant->length_dependent ? config->n_contexts : 1;
    for (int i = 0; i < n; i++) {
        rs_rope rope;
        RS_TRY(rs_refail(config->yaml, entry->place, NULL,
                         rs_rope_build(entry->variant, &entry->params, head_dim, config->contexts[i], &rope)));
    }
    return RS_OK;
}

rs_status rs_config_resolve(rs_config *config, const rs_model_facts *facts, int head_dim)
{
    for (int i = 0; i < config->n_ropes; i++)
        RS_TRY(rs_refail(config->yaml, config->ropes[i].place, NULL, rs_params_fill(&config->ropes[i].params, facts)));
    for (int i = 0; i < config->n_softmaxes; i++)
        RS_TRY(rs_refail(config->yaml, config->softmaxes[i].place, NULL, rs_params_fill(&config->softmaxes[i].params, facts)));
    if (config->wanted_rope.variant)
        RS_TRY(rs_refail(config->yaml, config->wanted_rope.place, NULL, rs_params_fill(&config->wanted_rope.params, facts)));
    if (config->wanted_softmax.policy)
        RS_TRY(rs_refail(config->yaml, config->wanted_softmax.place, NULL, rs_params_fill(&config->wanted_softmax.params, facts)));
    RS_TRY(rs_check_duplicates(config));
    RS_TRY(rs_find_baseline(config, true));
    for (int i = 0; i < config->n_ropes; i++)
        RS_TRY(build_rope(config, &config->ropes[i], head_dim));
    for (int i = 0; i < config->n_softmaxes; i++) {
        rs_softmax softmax;
        const rs_softmax_entry *entry = &config->softmaxes[i];
        RS_TRY(rs_refail(config->yaml, entry->place, NULL, rs_softmax_build(entry->policy, &entry->params, &softmax)));
    }
    return RS_OK;
}
