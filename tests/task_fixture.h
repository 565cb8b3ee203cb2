/* What the tests of tasks share: a small tokenizer of Gemma's kind in a temporary folder, params from "key=value" lines, one open task.
 * The tokenizer knows every built-in noun and the numbers 0..99, with a leading space, as one token; all else falls to characters and
 * bytes. */
#ifndef RS_TESTS_TASK_FIXTURE_H
#define RS_TESTS_TASK_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "tasks/task.h"
#include "tasks/words.h"

enum { BOS = 2 };
#define BLANK "\xE2\x96\x81"

static char test_folder[] = "/tmp/ropesweep-tasks-XXXXXX";
static rs_tokenizer *test_tokenizer;

static inline void write_file(const char *name, const char *bytes, size_t n)
{
    char *path = rs_path_join(test_folder, name);
    assert_int_equal(rs_file_write_atomic(path, bytes, n), RS_OK);
    free(path);
}

/* Vocabulary and merges grow together: a piece is the piece before it and one character. */
typedef struct vocabulary {
    char **items;
    size_t n, cap;
    rs_text merges;
} vocabulary;

static inline void add_token(vocabulary *v, char *token)
{
    RS_PUSH(v->items, v->n, v->cap, token);
}

static inline void add_word(vocabulary *v, const char *word)
{
    for (size_t length = 1; word[length - 1]; length++) {
        char *piece = rs_format(BLANK "%.*s", (int)length, word);
        size_t i = 0;
        while (i < v->n && strcmp(v->items[i], piece) != 0)
            i++;
        if (i < v->n) {
            free(piece);
            continue;
        }
        rs_text_printf(&v->merges, "%s\"" BLANK "%.*s %c\"", v->merges.n ? "," : "", (int)length - 1, word, word[length - 1]);
        add_token(v, piece);
    }
}

static inline void fill_vocabulary(vocabulary *v)
{
    static const char *const special[] = {"<pad>", "<eos>", "<bos>", "<unk>"};
    static const char *const words[] = {"the", "key", "is", "copy", "max", "and", "of", "secret", "code"};
    for (size_t i = 0; i < 4; i++)
        add_token(v, rs_strdup(special[i]));
    for (unsigned i = 0; i < 256; i++)
        add_token(v, rs_format("<0x%02X>", i));
    add_token(v, rs_strdup(BLANK));
    for (int i = 33; i < 127; i++)
        add_token(v, rs_format("%c", i));
    for (int i = 0; i < RS_N_NOUNS; i++)
        add_word(v, rs_nouns[i]);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        add_word(v, words[i]);
    for (int i = 0; i < 100; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        add_word(v, number);
    }
}

static inline void write_tokenizer(void)
{
    vocabulary v = {0};
    rs_text json = {0};
    fill_vocabulary(&v);
    rs_text_puts(&json, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (int i = 0; i < 4; i++)
        rs_text_printf(&json,
                       "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                       "\"special\":true}",
                       i ? "," : "", i, v.items[i]);
    rs_text_puts(&json,
                 "],\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" BLANK "\"},"
                 "\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
                 "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" BLANK "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
                 "{\"type\":\"Fuse\"}]},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\","
                 "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{");
    for (size_t i = 0; i < v.n; i++) {
        rs_text_puts(&json, i ? "," : "");
        rs_text_json_string(&json, v.items[i], strlen(v.items[i]));
        rs_text_printf(&json, ":%zu", i);
        free(v.items[i]);
    }
    rs_text_printf(&json, "},\"merges\":[%s]}}", v.merges.data);
    write_file("tokenizer.json", json.data, json.n);
    rs_text_free(&json);
    rs_text_free(&v.merges);
    free(v.items);
}

static inline int fixture_open(void **state)
{
    (void)state;
    if (mkdtemp(test_folder) == NULL)
        return -1;
    write_tokenizer();
    char *path = rs_path_join(test_folder, "tokenizer.json");
    rs_status status = rs_tokenizer_load(path, &test_tokenizer);
    if (status != RS_OK)
        print_error("%s\n", rs_error_message());
    free(path);
    return status == RS_OK ? 0 : -1;
}

static inline int fixture_close(void **state)
{
    (void)state;
    rs_tokenizer_free(test_tokenizer);
    char *pattern = rs_path_join(test_folder, "*");
    rs_paths paths = {0};
    if (rs_paths_glob(pattern, &paths) == RS_OK)
        for (size_t i = 0; i < paths.n; i++)
            unlink(paths.items[i]);
    rs_paths_free(&paths);
    free(pattern);
    return rmdir(test_folder);
}

static inline int fixture_clear(void **state)
{
    (void)state;
    rs_error_clear();
    return 0;
}

/* An open task; settings: "key=value" a line; a value "@a|b|c" is a list of texts. */
typedef struct bench {
    const rs_task *task;
    rs_params params;
    rs_task_setup setup;
    void *state;
} bench;

static inline void set_param(rs_params *params, char *line)
{
    char *value = strchr(line, '=');
    *value++ = '\0';
    int index = rs_param_find(params->specs, line);
    assert_true(index >= 0);
    if (params->specs[index].kind == RS_PARAM_VECTOR) {
        double number = atof(value);
        assert_int_equal(rs_param_set_vector(params, index, &number, 1), RS_OK);
    } else if (*value == '@') {
        char *items[256], *rest = NULL;
        size_t n = 0;
        for (char *item = strtok_r(value + 1, "|", &rest); item; item = strtok_r(NULL, "|", &rest))
            items[n++] = item;
        assert_int_equal(rs_param_set_strings(params, index, items, n), RS_OK);
    } else {
        assert_int_equal(rs_param_set_string(params, index, value), RS_OK);
    }
}

static inline rs_status bench_try(bench *b, const char *name, const char *settings)
{
    *b = (bench){.task = rs_task_find(name)};
    assert_non_null(b->task);
    rs_params_init(&b->params, b->task->params);
    char *copy = rs_strdup(settings), *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        set_param(&b->params, line);
    free(copy);
    b->setup = (rs_task_setup){.params = &b->params,
                               .tokenizer = test_tokenizer,
                               .bos = BOS,
                               .seed = 42,
                               .folder = test_folder,
                               .prompt_prefix = "",
                               .prompt_suffix = ""};
    rs_status status = rs_params_fill(&b->params, NULL);
    return status == RS_OK ? b->task->open(&b->setup, &b->state) : status;
}

static inline void bench_open(bench *b, const char *name, const char *settings)
{
    if (bench_try(b, name, settings) != RS_OK)
        fail_msg("%s: %s", name, rs_error_message());
}

static inline void bench_close(bench *b)
{
    if (b->state)
        b->task->close(b->state);
    rs_params_free(&b->params);
}

static inline rs_sample bench_sample(bench *b, int64_t context, int64_t doc_id)
{
    rs_sample sample = {0};
    if (b->task->sample(b->state, context, doc_id, &sample) != RS_OK)
        fail_msg("%s: %s", b->task->name, rs_error_message());
    return sample;
}

/* The prompt as text, its BOS left out. Freed by the caller. */
static inline char *prompt_text(const rs_sample *sample)
{
    rs_text text = {0};
    rs_text_puts(&text, "");
    rs_tokenizer_decode(test_tokenizer, sample->tokens.ids, sample->tokens.n, &text);
    return text.data;
}

/* Number `index` of a list in the facts ("depths", "positions"), or a plain member. */
static inline double fact(const rs_sample *sample, const char *name, int index)
{
    char *key = rs_format("\"%s\": ", name);
    const char *at = strstr(sample->facts, key);
    assert_non_null(at);
    at += strlen(key);
    at += *at == '[';
    for (; index > 0; index--)
        at = strchr(at, ',') + 1;
    free(key);
    return atof(at);
}

static inline size_t occurrences(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = strstr(text, part); p; p = strstr(p + 1, part))
        n++;
    return n;
}

#endif
