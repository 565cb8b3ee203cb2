/* Registry rows of the needle tasks: RULER's eight by name, and `niah`, the plain form to build others from. They differ in defaults only.
 */
#include "tasks/haystack.h"
#include "tasks/niah.h"
#include "tasks/registry.h"

#define INTRO_ONE "A secret code is hidden in the text below. Read with care: a question about the code follows.\n"
#define INTRO_ALL "Some secret codes are hidden in the text below. Read with care: a question about the codes follows.\n"
#define ASK_ONE "\nWhich secret code does the text above give for {key}?"
#define ASK_ALL "\nWhich secret codes does the text above give for {key}? Name all of them."
#define ANSWER_ONE " The secret code of {key} is"
#define ANSWER_ALL " The secret codes of {key} are"
#define ESSAY "required"
#define COUNT_ROW(key, fallback_text, help_text)                                                                                           \
    {                                                                                                                                      \
        .name = key, .kind = RS_PARAM_INT, .min = 1, .max = 1000, .fallback = fallback_text, .help = help_text                             \
    }
#define TYPE_ROW(key, fallback_text, help_text)                                                                                            \
    {                                                                                                                                      \
        .name = key, .kind = RS_PARAM_CHOICE, .choices = "word|number|uuid", .fallback = fallback_text, .help = help_text                  \
    }

/* keys, values a key, keys asked for; types of key and value; texts */
#define NIAH_PARAMS(hay, keys, values, queries, key_type, value_type, intro, question, answer)                                             \
    {                                                                                                                                      \
        RS_PARAM_ROW_HAYSTACK(hay, "noise, needle (others that nobody asks for), or a glob of text files"), RS_PARAM_ROWS_NOISE,           \
            COUNT_ROW("n_keys", keys, "keys in the text"), COUNT_ROW("n_values", values, "values of each key, a needle each"),             \
            COUNT_ROW("n_queries", queries, "keys asked for"), TYPE_ROW("key_type", key_type, "what a key is"),                            \
            TYPE_ROW("value_type", value_type, "what a value is"),                                                                         \
            {.name = "digits", .kind = RS_PARAM_INT, .min = 1, .max = 18, .fallback = "7", .help = "of a number"},                         \
            {.name = "keys", .kind = RS_PARAM_STRINGS, .help = "words for keys; default: built-in adjective-noun"},                        \
            {.name = "values", .kind = RS_PARAM_STRINGS, .help = "words for values; default: built-in adjective-noun"},                    \
            RS_PARAM_ROW_DEPTHS, RS_PARAM_ROW_TEXT("intro", intro, "text before the haystack; {key}: the keys asked for"),                 \
            RS_PARAM_ROW_TEXT("needle", "The secret code of {key} is {value}.", "template of a needle"),                                   \
            RS_PARAM_ROW_TEXT("question", question, "text after the haystack; {key}: the keys asked for"),                                 \
            RS_PARAM_ROW_TEXT("answer_prefix", answer, "how the answer begins; after prompt_suffix"), RS_PARAM_ROW_MAX_NEW_TOKENS("128"),  \
            RS_PARAM_ROW_STOP,                                                                                                             \
        {                                                                                                                                  \
            0                                                                                                                              \
        }                                                                                                                                  \
    }

#define NIAH_TASK(title, line, specs)                                                                                                      \
    {                                                                                                                                      \
        .name = title, .summary = line,                                                                                                    \
        .source = "RULER, arXiv 2404.06654; own sentences, every depth drawn per sample, haystack cut by bisection",                       \
        .chance = "0 (7-digit numbers, uuids)", .version = 1, .params = specs, .metrics = {"accuracy"}, .check = rs_niah_check,            \
        .open = rs_niah_open, .close = rs_niah_close, .count = rs_drawn_count, .sample = rs_niah_sample, .score = rs_niah_score,           \
        .fingerprint = rs_niah_fingerprint                                                                                                 \
    }

static const rs_param_spec plain[] = NIAH_PARAMS("noise", "1", "1", "1", "word", "number", INTRO_ONE, ASK_ONE, ANSWER_ONE);
static const rs_param_spec essay_number[] = NIAH_PARAMS(ESSAY, "1", "1", "1", "word", "number", INTRO_ONE, ASK_ONE, ANSWER_ONE);
static const rs_param_spec essay_uuid[] = NIAH_PARAMS(ESSAY, "1", "1", "1", "word", "uuid", INTRO_ONE, ASK_ONE, ANSWER_ONE);
static const rs_param_spec four_keys[] = NIAH_PARAMS(ESSAY, "4", "1", "1", "word", "number", INTRO_ONE, ASK_ONE, ANSWER_ONE);
static const rs_param_spec needles[] = NIAH_PARAMS("needle", "1", "1", "1", "word", "number", INTRO_ONE, ASK_ONE, ANSWER_ONE);
static const rs_param_spec uuids[] = NIAH_PARAMS("needle", "1", "1", "1", "uuid", "uuid", INTRO_ONE, ASK_ONE, ANSWER_ONE);
static const rs_param_spec four_values[] = NIAH_PARAMS(ESSAY, "1", "4", "1", "word", "number", INTRO_ALL, ASK_ALL, ANSWER_ALL);
static const rs_param_spec four_queries[] = NIAH_PARAMS(ESSAY, "4", "1", "4", "word", "number", INTRO_ALL, ASK_ALL, ANSWER_ALL);

const rs_task rs_task_niah = NIAH_TASK("niah", "needle in a haystack, every part a param", plain);
const rs_task rs_task_niah_single_1 = NIAH_TASK("niah_single_1", "one needle in noise, word to number", plain);
const rs_task rs_task_niah_single_2 = NIAH_TASK("niah_single_2", "one needle in the user's text, word to number", essay_number);
const rs_task rs_task_niah_single_3 = NIAH_TASK("niah_single_3", "one needle in the user's text, word to uuid", essay_uuid);
const rs_task rs_task_niah_multikey_1 = NIAH_TASK("niah_multikey_1", "four needles in the user's text, one asked for", four_keys);
const rs_task rs_task_niah_multikey_2 = NIAH_TASK("niah_multikey_2", "a haystack of needles, word to number, one asked for", needles);
const rs_task rs_task_niah_multikey_3 = NIAH_TASK("niah_multikey_3", "a haystack of needles, uuid to uuid, one asked for", uuids);
const rs_task rs_task_niah_multivalue =
    NIAH_TASK("niah_multivalue", "four values of one key in the user's text, all asked for", four_values);
const rs_task rs_task_niah_multiquery = NIAH_TASK("niah_multiquery", "four keys in the user's text, all asked for", four_queries);
