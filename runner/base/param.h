/* Named, typed parameters described by a table: what a RoPE variant, a softmax policy, a task and the config file's own
 * sections have in common. One row gives a key its type, bounds, default and help; parsing, `list` and the docs read the row. */
#ifndef RS_BASE_PARAM_H
#define RS_BASE_PARAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

typedef enum rs_param_kind {
    RS_PARAM_NUMBER, /* fp64 */
    RS_PARAM_INT,    /* int64 */
    RS_PARAM_BOOL,
    RS_PARAM_STRING,
    RS_PARAM_CHOICE,  /* a string out of `choices` */
    RS_PARAM_VECTOR,  /* list of numbers, at least one */
    RS_PARAM_STRINGS, /* list of strings; a single string is a list of one */
    RS_PARAM_BAND     /* map {wavelength: [lo, hi]} or {pairs: [first, last]}: string = which, vector = the two ends */
} rs_param_kind;

typedef struct rs_param_spec {
    const char *name; /* NULL ends a table */
    rs_param_kind kind;
    double min, max;      /* inclusive bounds of a number, an int, each element of a vector; both 0: unbounded;
                           * max not above min: no upper bound (so {.min = 1} is "at least 1") */
    bool min_open;        /* the lower bound itself is refused (temperature > 0) */
    const char *choices;  /* "freeze|remove|slow|gain" */
    const char *fallback; /* default, as it would stand in YAML (lists: "[1, 2]"); NULL: none (stays unset); "required";
                           * "model.rope_theta", "model.max_position_embeddings": taken from the checkpoint */
    const char *help;     /* half a line; units */
} rs_param_spec;

typedef struct rs_param_value {
    bool set;       /* given by the user or filled from the default */
    bool given;     /* given by the user */
    double number;  /* NUMBER; BOOL as 0 or 1; INT too (all of them fit 2^53) */
    char *string;   /* STRING, CHOICE; BAND: "wavelength" or "pairs". Owned */
    double *vector; /* VECTOR, BAND. Owned */
    char **strings; /* STRINGS. Owned, each too */
    size_t n;       /* elements of vector or strings */
} rs_param_value;

/* The values of one entry; values[i] belongs to specs[i]. */
typedef struct rs_params {
    const rs_param_spec *specs; /* borrowed, static */
    rs_param_value *values;     /* owned */
} rs_params;

size_t rs_param_count(const rs_param_spec *specs);
void rs_params_init(rs_params *params, const rs_param_spec *specs); /* all unset */
void rs_params_free(rs_params *params);

/* Index of a key, or -1. */
int rs_param_find(const rs_param_spec *specs, const char *name);
/* The value of a key that the table has (asserted). */
const rs_param_value *rs_param_get(const rs_params *params, const char *name);
double rs_param_number(const rs_params *params, const char *name);      /* NUMBER, INT, BOOL; asserts that it is set */
const char *rs_param_string(const rs_params *params, const char *name); /* NULL where unset */
bool rs_param_is_set(const rs_params *params, const char *name);

/* Setters check kind and bounds; on failure the message has neither place nor key ("must be above 0, not -1"):
 * the caller, who knows them, puts them in front. On success the value is set and given; on failure it is as before.
 * Numbers are finite (only a band's upper wavelength may be infinite); ints are whole and at most 2^53 in size. */
rs_status rs_param_set_number(rs_params *params, int index, double number);
rs_status rs_param_set_string(rs_params *params, int index, const char *string); /* parses numbers and bools where the kind is one */
rs_status rs_param_set_vector(rs_params *params, int index, const double *vector, size_t n);
rs_status rs_param_set_strings(rs_params *params, int index, char *const *strings, size_t n);
rs_status rs_param_set_band(rs_params *params, int index, const char *which, double low, double high);

/* Facts of the checkpoint that "model.*" defaults refer to. */
typedef struct rs_model_facts {
    double rope_theta;
    double max_position_embeddings;
} rs_model_facts;

/* Fills every unset value from its row's default; RS_INVALID naming a required key that is missing. facts may be NULL: then
 * "model.*" defaults stay unset. */
rs_status rs_params_fill(rs_params *params, const rs_model_facts *facts);

/* Appends the set values as members of a JSON object, in table order: `"factor": 4, "truncate": true`; comma: one stands before them.
 * The same text for the same values, however they were written: it enters content ids. */
void rs_params_write(const rs_params *params, bool comma, rs_text *out);

#endif
