/* What the files of config share and nobody else sees. */
#ifndef RS_CONFIG_INTERNAL_H
#define RS_CONFIG_INTERNAL_H

#include "config/config.h"
#include "config/yaml_tree.h"

enum {
    RS_MAX_POINTS = 1000000,
    RS_MAX_AXIS = 100000, /* entries of one axis: each holds its parameters in memory */
    RS_MAX_TASKS = 1000,
    RS_MIN_CONTEXT = 2, /* BOS and one token to score */
    RS_MAX_CONTEXT = 1 << 30,
};

/* --- fields.c: the rows --- */

/* A key whose value has a form of its own, parsed by code and described here. */
typedef struct rs_key_row {
    const char *name, *type, *fallback, *help;
} rs_key_row;

/* One map of the file: rows of typed fields, or of keys with a form of their own. */
typedef struct rs_section {
    const char *name;            /* "": the top of the file */
    const rs_param_spec *params; /* either this */
    const rs_key_row *keys;      /* or this; each ends with a NULL name */
    const char *help;
} rs_section;
extern const rs_section rs_config_sections[]; /* in file order; NULL name ends */
const rs_section *rs_section_find(const char *name);

/* --- convert.c: nodes to values --- */

typedef enum rs_scalar { RS_SCALAR_NULL, RS_SCALAR_BOOL, RS_SCALAR_INT, RS_SCALAR_NUMBER, RS_SCALAR_STRING } rs_scalar;
/* What a scalar is under YAML's core rules; the number (0 or 1 for a bool) goes to *number. */
rs_scalar rs_scalar_kind(const rs_node *scalar, double *number);
bool rs_node_is_null(const rs_node *node);
/* A node that must be a finite or (where allowed) infinite number, or a whole number. `name` starts the message. */
rs_status rs_convert_number(const rs_yaml *tree, const rs_node *node, const char *name, double *out);
rs_status rs_convert_int(const rs_yaml *tree, const rs_node *node, const char *name, int64_t low, int64_t high, int64_t *out);
/* Sets params->values[index] from a node, with kind and bounds checked. */
rs_status rs_convert_param(const rs_yaml *tree, const rs_node *node, rs_params *params, int index);
rs_status rs_convert_drawn(const rs_yaml *tree, const rs_node *node, double number, rs_params *params, int index);
/* Sets what `map` gives (NULL or null: nothing) of the rows of params; unknown keys and missing required ones fail. Fills the defaults. */
rs_status rs_convert_section(const rs_yaml *tree, const rs_node *map, const char *section, rs_params *params);
/* Fills defaults; a missing required key fails at `place`, `where` says of what ("rope_type yarn"). */
rs_status rs_fill_at(const rs_yaml *tree, rs_place place, const char *where, rs_params *params, const rs_model_facts *facts);
/* Puts the place and `name` (may be NULL) in front of the standing message. */
rs_status rs_refail(const rs_yaml *tree, rs_place place, const char *name, rs_status status);
/* "what ('word'), did you mean 'x'?", or the valid names where none is near. */
rs_status rs_fail_word(const rs_yaml *tree, rs_place place, const char *what, const char *word, const char *const *names, size_t n);

/* Names for rs_fail_word, gathered from tables. */
typedef struct rs_names {
    const char **items;
    size_t n, cap;
} rs_names;
void rs_names_add(rs_names *names, const char *name);
void rs_names_add_params(rs_names *names, const rs_param_spec *specs);
void rs_names_free(rs_names *names);

/* --- axes.c, context.c: the axes of the sweep --- */

/* node NULL: the default, one entry. */
rs_status rs_read_ropes(rs_config *config, const rs_node *node);
rs_status rs_read_softmaxes(rs_config *config, const rs_node *node);
/* An entry that must be a single one (baseline). */
rs_status rs_read_one_rope(rs_config *config, const rs_node *node, rs_rope_entry *out);
rs_status rs_read_one_softmax(rs_config *config, const rs_node *node, rs_softmax_entry *out);
rs_status rs_read_contexts(rs_config *config, const rs_node *node);

/* --- tasks.c; after the contexts --- */

rs_status rs_read_tasks(rs_config *config, const rs_node *node);

/* --- drawn.c --- */

bool rs_node_is_draw(const rs_node *node);
/* Draws `n` distinct values, appended to *values (with *n_values and *cap). The stream depends on (seed, axis, entry, key). */
rs_status rs_draw(const rs_yaml *tree, const rs_node *node, uint64_t seed, const char *axis, int entry, const char *key, bool whole,
                  double **values, size_t *n_values);

/* --- resolve.c: questions that need all entries --- */

/* Refuses entries that are filled to the same values. */
rs_status rs_check_duplicates(const rs_config *config);
/* Finds the baseline among the entries. Before the model's facts are known (final false) an entry that may still become equal is let pass.
 */
rs_status rs_find_baseline(rs_config *config, bool final);

void rs_rope_entry_free(rs_rope_entry *entry);
void rs_softmax_entry_free(rs_softmax_entry *entry);

#endif
