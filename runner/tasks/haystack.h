/* Long text that says nothing, and needles hidden in it: what passkey and the needle tasks share.
 * A haystack is a row of units, cut anywhere between two: sentences from a list, words of the user's files, or needles that nobody asks
 * for. */
#ifndef RS_TASKS_HAYSTACK_H
#define RS_TASKS_HAYSTACK_H

#include "base/rng.h"
#include "tasks/prompt.h"

/* Param rows. haystack: "noise", "needle", or a glob of text files. */
#define RS_PARAM_ROW_HAYSTACK(fallback_text, help_text)                                                                                    \
    {                                                                                                                                      \
        .name = "haystack", .kind = RS_PARAM_STRING, .fallback = fallback_text, .help = help_text                                          \
    }
#define RS_PARAM_ROWS_NOISE                                                                                                                \
    {.name = "noise", .kind = RS_PARAM_STRINGS, .help = "units of a noise haystack; default: built-in sentences"},                         \
        {.name = "noise_order",                                                                                                            \
         .kind = RS_PARAM_CHOICE,                                                                                                          \
         .choices = "cycle|random",                                                                                                        \
         .fallback = "cycle",                                                                                                              \
         .help = "noise in the list's order from its first, or each unit drawn anew"},                                                     \
        RS_PARAM_ROW_TEXT("separator", " ", "text between units of the haystack, and between units and needles")
#define RS_PARAM_ROW_DEPTHS                                                                                                                \
    {                                                                                                                                      \
        .name = "depths", .kind = RS_PARAM_VECTOR, .max = 100,                                                                             \
        .help = "depths of the needles in percent, taken in turn by sample and needle; default: drawn"                                     \
    }

typedef enum rs_hay_kind { RS_HAY_NOISE, RS_HAY_TEXT, RS_HAY_NEEDLE } rs_hay_kind;

typedef struct rs_hay_unit {
    size_t offset, n; /* in bytes.data */
    bool boundary;    /* a needle may stand before it (a sentence begins here) */
    bool glued;       /* no separator before it: a piece of a long word */
} rs_hay_unit;

typedef struct rs_haystack { /* read only once open */
    rs_hay_kind kind;
    bool random;
    const char *separator; /* borrowed from params */
    rs_text bytes;
    rs_hay_unit *units;
    size_t n_units, cap_units;
    double *cumulative; /* [n_units + 1] about how many tokens the units before have */
    size_t *sentences;  /* [n_sentences] units that begin one */
    size_t n_sentences;
} rs_haystack;

/* Reads the param rows above. RS_INVALID: no such file, not UTF-8, a NUL byte, nothing but blanks, an empty unit. */
rs_status rs_haystack_open(const rs_task_setup *setup, rs_haystack *out);
void rs_haystack_close(rs_haystack *stack);
/* A line that names the content of the units. */
void rs_haystack_fingerprint(const rs_haystack *stack, rs_text *out);

typedef struct rs_needle {
    char *text;   /* owned by the burial's maker */
    double depth; /* 0..1 of the haystack's units */
} rs_needle;

/* One sample about to be made. Everything is borrowed for the call of rs_bury. */
typedef struct rs_burial {
    const rs_haystack *stack;
    const rs_task_setup *setup;
    const char *intro, *question, *answer_prefix; /* expanded */
    rs_needle *needles;                           /* those asked for first; those of one place stand in this order */
    size_t n_needles;
    size_t first;       /* where they are in the order of a story: the one asked for, which the facts name first */
    char **distractors; /* RS_HAY_NEEDLE: the units */
    size_t n_distractors;
    rs_rng *rng; /* where the text begins, the order of noise */
    /* set by rs_bury */
    size_t start;
    uint32_t *order;
    int64_t units, padding;
    double mean_cost;
} rs_burial;

/* What a haystack of needles leaves free, less than one of them, is filled with noise before the first.
 * Prompt: intro, units and needles joined by the separator, question, prompt_suffix, answer_prefix; as many units as fit beside
 * sample->max_new_tokens. facts: depths (percent of the units before each needle), positions (the first token of it
 * and its separator), units, start_byte (of the text, joined). */
rs_status rs_bury(rs_burial *burial, int64_t context, rs_sample *sample);

/* The same text as a part of another prompt (a solved example), appended to out with as many units as fit `tokens`. Not of a haystack of
 * needles. */
rs_status rs_bury_text(rs_burial *burial, int64_t tokens, rs_text *out);

/* The depth of needle j of sample doc_id: the param's, in turn; else drawn (j 0: evenly over samples; others: uniform, from rng). */
double rs_needle_depth(const rs_params *params, uint64_t seed, const char *name, int64_t context, int64_t doc_id, size_t j, rs_rng *rng);

#endif
