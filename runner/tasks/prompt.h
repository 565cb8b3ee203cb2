/* What every task needs to make a sample: templates, the prompt's ids behind one BOS, the largest prompt that fits a context. */
#ifndef RS_TASKS_PROMPT_H
#define RS_TASKS_PROMPT_H

#include "tasks/task.h"

/* A default in a param table keeps its outer blanks inside quotes. */
#define RS_QUOTED(text) "'" text "'"

/* Rows that tasks which generate have in common. */
#define RS_PARAM_ROW_MAX_NEW_TOKENS(fallback_text)                                                                                         \
    {                                                                                                                                      \
        .name = "max_new_tokens", .kind = RS_PARAM_INT, .min = 1, .max = 1048576, .fallback = fallback_text,                               \
        .help = "tokens an answer may have; part of the context"                                                                           \
    }
#define RS_PARAM_ROW_STOP                                                                                                                  \
    {                                                                                                                                      \
        .name = "stop", .kind = RS_PARAM_STRINGS, .help = "texts that end an answer, which is cut before them"                             \
    }
#define RS_PARAM_ROW_TEXT(key, fallback_text, help_text)                                                                                   \
    {                                                                                                                                      \
        .name = key, .kind = RS_PARAM_STRING, .fallback = RS_QUOTED(fallback_text), .help = help_text                                      \
    }

/* One placeholder of a template: "{key}" is replaced by value wherever it stands. Other braces are left as they are. */
typedef struct rs_slot {
    const char *name, *value;
} rs_slot;
void rs_template_append(rs_text *out, const char *template, const rs_slot *slots, size_t n_slots);

/* RS_INVALID, without a place, unless the string param `name` has every placeholder of the NULL-terminated list: "needle must contain
 * {key}". */
rs_status rs_template_check(const rs_params *params, const char *name, const char *const *placeholders);

/* Appends the ids of prompt_prefix + input + prompt_suffix + tail behind a BOS. Where the text itself begins with the BOS's spelling
 * (or the model has no BOS) none is added: a prompt has one BOS, never two. The text is tokenized whole. */
rs_status rs_prompt_encode(const rs_task_setup *setup, const char *input, const char *tail, rs_tokens *out);

/* How many tokens, BOS included, stand before what follows `head` in a prompt whose input begins with head. */
rs_status rs_prompt_position(const rs_task_setup *setup, const char *head, int64_t *position);

/* Sets sample->error where prompt and answer together exceed the context. */
void rs_sample_check_length(rs_sample *sample, int64_t context);

/* GENERATE with the param's max_new_tokens, where it is set, and copies of the stops. */
void rs_sample_set_generate(rs_sample *sample, const rs_params *params);
void rs_sample_add_reference(rs_sample *sample, const char *reference);

/* RS_INVALID, without a place, unless the STRINGS param, where set, has `needed` texts and none is empty. */
rs_status rs_list_check(const rs_params *params, const char *name, size_t needed);

/* Every number of samples exists where they are drawn: `count` of such tasks. */
rs_status rs_drawn_count(void *state, int64_t context, int64_t wanted, int64_t *n);

/* A prompt made of units (sentences, pairs, numbers), to be sized to a context. */
typedef struct rs_fit {
    const rs_task_setup *setup;
    int64_t budget;               /* tokens the prompt may have: context - max_new_tokens */
    int64_t min_units, max_units; /* the sizes allowed; equal: exactly that many */
    const void *drawn;            /* of the task; passed to both functions */
    /* Writes the prompt with this many units. Units 0..n-1 are the same in every size (but for what must move). */
    void (*build)(const void *drawn, int64_t units, rs_text *input, rs_text *tail);
    /* About how many tokens the units cost; only differences count. Not decreasing. NULL: all units cost the same. */
    double (*estimate)(const void *drawn, int64_t units);
} rs_fit;

/* Sets min_units and max_units: exactly `given` units, or with 0 as many as fit, `least` at least. */
void rs_fit_range(rs_fit *fit, int64_t given, int64_t least);

/* Fills sample->tokens with the largest prompt that fits, and *units. Where not even min_units fit: sample->error, naming the numbers.
 * Texts are tokenized whole for each size tried (merges may cross joins); the estimate makes that two or three sizes. */
rs_status rs_fit_prompt(const rs_fit *fit, int64_t context, rs_sample *sample, int64_t *units);

#endif
