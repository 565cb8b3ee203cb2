/* The tasks that make their own samples, and perplexity's windows: exact arithmetic, use of the context, what the facts claim. */
#include <math.h>

#include "task_fixture.h"

#define FILLER "noise=@ and| of| the\nnoise_order=random\nseparator=\n"
#define TINY_NEEDLE                                                                                                                        \
    FILLER "intro=\nneedle= the key {key} is {value} .\nquestion= the key {key} is\nanswer_prefix=\nmax_new_tokens=1\nvalue_type=word\n"   \
           "keys=@act|air|ant|arc|art|axe|bar|bay\nvalues=@age|ale|ape|arm|ash|bag|bat|bed\n"

/* --- perplexity --- */

/* Documents of n nouns each, one token a word. */
static void write_document(const char *name, size_t n, size_t first)
{
    rs_text text = {0};
    for (size_t i = 0; i < n; i++)
        rs_text_printf(&text, " %s", rs_nouns[(first + i * i) % RS_N_NOUNS]);
    write_file(name, text.data, text.n);
    rs_text_free(&text);
}

static rs_tokens tokens_of_file(const char *name)
{
    rs_text text = {0};
    rs_tokens tokens = {0};
    char *path = rs_path_join(test_folder, name);
    assert_int_equal(rs_file_read(path, 1 << 20, &text), RS_OK);
    assert_int_equal(rs_tokenizer_encode(test_tokenizer, text.data, text.n, &tokens), RS_OK);
    free(path);
    rs_text_free(&text);
    return tokens;
}

/* The definition, word for word and slowly: every start of every document that leaves a whole window. */
static int64_t check_windows(bench *b, const char *const *names, size_t n_names, int64_t context, int64_t stride)
{
    int64_t doc_id = 0, step = stride ? stride : context - 1;
    for (size_t d = 0; d < n_names; d++) {
        rs_tokens all = tokens_of_file(names[d]);
        for (int64_t i = 0; i * step + context - 1 <= (int64_t)all.n; i++, doc_id++) {
            rs_sample s = bench_sample(b, context, doc_id);
            assert_int_equal(s.kind, RS_SAMPLE_SCORE);
            assert_int_equal(s.tokens.n, context);
            assert_int_equal(s.tokens.ids[0], BOS);
            for (int64_t k = 0; k < context - 1; k++)
                assert_int_equal(s.tokens.ids[k + 1], all.ids[i * step + k]);
            assert_int_equal(s.score_from, i == 0 ? 1 : context - step);
            rs_sample_free(&s);
        }
        rs_tokens_free(&all);
    }
    return doc_id;
}

static void test_perplexity_windows(void **state)
{
    (void)state;
    static const char *const names[] = {"doc-B.txt", "doc-a.txt", "doc-b.txt", "doc-c.txt"}; /* byte order: capitals first */
    write_document("doc-a.txt", 31, 1);
    write_document("doc-b.txt", 3, 2);
    write_document("doc-c.txt", 100, 3);
    write_document("doc-B.txt", 30, 4);
    static const int64_t cases[][2] = {{2, 0}, {3, 1}, {4, 2}, {11, 0}, {16, 0}, {16, 1}, {16, 5}, {16, 14}, {31, 7}, {32, 0}, {101, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        char *settings = cases[i][1] ? rs_format("text=doc-*.txt\nstride=%d", (int)cases[i][1]) : rs_strdup("text=doc-*.txt");
        bench_open(&b, "perplexity", settings);
        int64_t few, n;
        assert_int_equal(b.task->count(b.state, cases[i][0], 1, &few), RS_OK);
        assert_int_equal(few, 1);
        int64_t expected = check_windows(&b, names, 4, cases[i][0], cases[i][1]);
        assert_int_equal(b.task->count(b.state, cases[i][0], 1000000, &n), RS_OK);
        assert_int_equal(n, expected);
        bench_close(&b);
        free(settings);
    }
}

/* Every token of a document after the first window is scored exactly once, whatever the stride. */
static void test_perplexity_covers(void **state)
{
    (void)state;
    write_document("cover.txt", 100, 5);
    bench b;
    bench_open(&b, "perplexity", "text=cover.txt\nstride=4");
    int64_t n, scored = 0;
    assert_int_equal(b.task->count(b.state, 20, 1000, &n), RS_OK);
    for (int64_t i = 0; i < n; i++) {
        rs_sample s = bench_sample(&b, 20, i);
        scored += (int64_t)s.tokens.n - s.score_from;
        rs_sample_free(&s);
    }
    assert_int_equal(n, (100 - 19) / 4 + 1);
    assert_int_equal(scored, 19 + 4 * (n - 1));
    bench_close(&b);
}

static void test_perplexity_without_bos(void **state)
{
    (void)state;
    write_document("cover.txt", 100, 5);
    bench b;
    bench_open(&b, "perplexity", "text=cover.txt");
    b.task->close(b.state);
    b.setup.bos = -1;
    assert_int_equal(b.task->open(&b.setup, &b.state), RS_OK);
    rs_tokens all = tokens_of_file("cover.txt");
    rs_sample s = bench_sample(&b, 20, 1);
    assert_int_equal(s.tokens.n, 19);
    assert_memory_equal(s.tokens.ids, all.ids + 19, 19 * sizeof *all.ids);
    assert_int_equal(s.score_from, 1);
    rs_tokens_free(&all);
    rs_sample_free(&s);
    bench_close(&b);
}

static void expect_message(rs_status status, const char *word)
{
    if (status != RS_INVALID || strstr(rs_error_message(), word) == NULL)
        fail_msg("status %d, '%s', expected '%s'", status, rs_error_message(), word);
    rs_error_clear();
}

static void test_perplexity_faults(void **state)
{
    (void)state;
    write_document("short.txt", 10, 1);
    write_file("bytes.txt", "ab\xFF", 3);
    bench b;
    int64_t n;
    expect_message(bench_try(&b, "perplexity", "text=no-such-*.txt"), "no-such-*.txt");
    bench_close(&b);
    expect_message(bench_try(&b, "perplexity", ""), "text");
    bench_close(&b);
    bench_open(&b, "perplexity", "text=short.txt");
    expect_message(b.task->count(b.state, 12, 5, &n), "short.txt, has 10 tokens");
    assert_int_equal(b.task->count(b.state, 11, 5, &n), RS_OK);
    assert_int_equal(n, 1);
    bench_close(&b);
    bench_open(&b, "perplexity", "text=bytes.txt");
    expect_message(b.task->count(b.state, 2, 5, &n), "bytes.txt: byte 2 is not UTF-8");
    bench_close(&b);
    bench_open(&b, "perplexity", "text=short.txt\nstride=7");
    expect_message(b.task->check(&b.params, 8), "stride must be between 1 and context - 2, 6, not 7");
    expect_message(b.task->count(b.state, 8, 5, &n), "stride");
    assert_int_equal(b.task->check(&b.params, 9), RS_OK);
    b.task->close(b.state);
    b.state = NULL;
    b.setup.prompt_suffix = "x";
    expect_message(b.task->open(&b.setup, &b.state), "prompt_suffix");
    bench_close(&b);
}

/* --- tasks that draw --- */

typedef struct drawn_case {
    const char *task, *settings;
} drawn_case;

static const drawn_case drawn_cases[] = {
    {"passkey", ""},
    {"passkey", "haystack=essay.txt"},
    {"niah_single_1", "max_new_tokens=16"},
    {"niah_single_2", "haystack=essay.txt\nmax_new_tokens=16"},
    {"niah_single_3", "haystack=essay.txt\nmax_new_tokens=16"},
    {"niah_multikey_1", "haystack=essay.txt\nmax_new_tokens=16\nneedle=code {key} is {value}."},
    {"niah_multikey_2", "max_new_tokens=16"},
    {"niah_multikey_3", "max_new_tokens=16\nquestion=\nintro=\nneedle={key} is {value}."},
    {"niah_multivalue", "haystack=essay.txt\nmax_new_tokens=16\nintro=\nneedle=code {key} is {value}."},
    {"niah_multiquery", "haystack=essay.txt\nmax_new_tokens=16\nintro=\nquestion=\nneedle=code {key} is {value}."},
    {"niah", TINY_NEEDLE "n_keys=4\n"},
    {"max_retrieval", ""},
    {"max_retrieval", "low=-50\nhigh=50"},
    {"kv_lookup", ""},
    {"copy", ""},
};
enum { N_DRAWN = sizeof drawn_cases / sizeof *drawn_cases };

static void write_essay(void)
{
    rs_text text = {0};
    for (int i = 0; i < 400; i++) {
        rs_text_puts(&text, i % 7 == 0 ? "\n\n\"The" : "\nThe");
        for (int k = 0; k < 4 + i % 5; k++)
            rs_text_printf(&text, " %s", rs_nouns[(i * 11 + k * k) % RS_N_NOUNS]);
        rs_text_puts(&text, i % 7 == 0 ? ".\"" : ".");
    }
    write_file("essay.txt", text.data, text.n);
    rs_text_free(&text);
}

static void test_budget(void **state)
{
    (void)state;
    write_essay();
    static const int64_t contexts[] = {512, 1000, 4096};
    for (size_t c = 0; c < N_DRAWN; c++) {
        bench b;
        bench_open(&b, drawn_cases[c].task, drawn_cases[c].settings);
        for (size_t k = 0; k < 3; k++) {
            double used = 0;
            for (int64_t i = 0; i < 8; i++) {
                rs_sample s = bench_sample(&b, contexts[k], i);
                if (s.error)
                    fail_msg("%s: %s", drawn_cases[c].task, s.error);
                int64_t n = (int64_t)s.tokens.n + s.max_new_tokens;
                assert_true(n <= contexts[k]);
                assert_int_equal(s.tokens.ids[0], BOS);
                used += (double)n / (double)contexts[k] / 8;
                rs_sample_free(&s);
            }
            if (used < 0.95)
                fail_msg("%s (case %zu) uses %.3f of %d tokens", drawn_cases[c].task, c, used, (int)contexts[k]);
        }
        bench_close(&b);
    }
}

static bool same_sample(const rs_sample *a, const rs_sample *b)
{
    bool same = a->tokens.n == b->tokens.n && memcmp(a->tokens.ids, b->tokens.ids, a->tokens.n * sizeof *a->tokens.ids) == 0 &&
                a->score_from == b->score_from && a->n_references == b->n_references && strcmp(a->facts, b->facts) == 0;
    for (size_t i = 0; same && i < a->n_references; i++)
        same = strcmp(a->references[i], b->references[i]) == 0;
    return same;
}

/* A sample is the same whoever makes it and in whatever order; another seed, context or doc_id makes another. */
static void test_determinism(void **state)
{
    (void)state;
    write_essay();
    for (size_t c = 0; c < N_DRAWN; c++) {
        bench one, two, other;
        bench_open(&one, drawn_cases[c].task, drawn_cases[c].settings);
        bench_open(&two, drawn_cases[c].task, drawn_cases[c].settings);
        bench_open(&other, drawn_cases[c].task, drawn_cases[c].settings);
        other.task->close(other.state);
        other.setup.seed = 43;
        assert_int_equal(other.task->open(&other.setup, &other.state), RS_OK);
        rs_sample last = bench_sample(&two, 600, 5), first = bench_sample(&one, 600, 0), again = bench_sample(&two, 600, 0);
        rs_sample foreign = bench_sample(&other, 600, 0);
        assert_true(same_sample(&first, &again));
        assert_false(same_sample(&first, &last));
        assert_false(same_sample(&first, &foreign));
        rs_sample_free(&last);
        rs_sample_free(&first);
        rs_sample_free(&again);
        rs_sample_free(&foreign);
        bench_close(&one);
        bench_close(&two);
        bench_close(&other);
    }
}

/* The text that follows the tokens before `position`. Freed by the caller. */
static char *text_from(const rs_sample *s, int64_t position)
{
    rs_text text = {0};
    rs_text_puts(&text, "");
    rs_tokenizer_decode(test_tokenizer, s->tokens.ids + position, s->tokens.n - (size_t)position, &text);
    return text.data;
}

/* Every value asked for stands once in the prompt, in the needle that begins at its logged position and depth. */
static void test_needles_are_there(void **state)
{
    (void)state;
    write_essay();
    static const char *const tasks[] = {"niah_single_1",   "niah_single_2",   "niah_multikey_1",
                                        "niah_multikey_2", "niah_multivalue", "niah_multiquery"};
    for (size_t t = 0; t < 6; t++) {
        bench b;
        bool own = t == 0 || t == 3;
        bench_open(&b, tasks[t], own ? "max_new_tokens=16" : "max_new_tokens=16\nhaystack=essay.txt");
        for (int64_t i = 0; i < 10; i++) {
            rs_sample s = bench_sample(&b, 2048, i);
            assert_null(s.error);
            char *prompt = prompt_text(&s);
            assert_int_equal(s.n_references, t >= 4 ? 4 : 1);
            for (size_t r = 0; r < s.n_references; r++) {
                assert_int_equal(occurrences(prompt, s.references[r]), 1);
                char *needle = text_from(&s, (int64_t)fact(&s, "positions", (int)r));
                assert_true(strncmp(needle, " The secret code of ", 20) == 0 || strncmp(needle, "The secret code of ", 19) == 0);
                assert_non_null(strstr(needle, s.references[r]));
                assert_true(strstr(needle, s.references[r]) < strchr(needle, '.'));
                double depth = fact(&s, "depths", (int)r), place = fact(&s, "positions", (int)r) / (double)s.tokens.n * 100;
                assert_true(depth >= 0 && depth <= 100 && fabs(depth - place) < 15);
                free(needle);
            }
            free(prompt);
            rs_sample_free(&s);
        }
        bench_close(&b);
    }
}

/* Keys never repeat among needles and distractors. */
static void test_needles_do_not_collide(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, "niah_multikey_2", "max_new_tokens=16\nneedle=<{key}={value}>\ndigits=4");
    rs_sample s = bench_sample(&b, 4096, 0);
    assert_null(s.error);
    char *prompt = prompt_text(&s);
    int needles = 0;
    for (const char *p = strchr(prompt, '<'); p; p = strchr(p + 1, '<'), needles++) {
        size_t key = strcspn(p, "=") + 1, value = strcspn(p, ">") + 1 - key;
        char *name = rs_strndup(p, key), *number = rs_strndup(p + key - 1, value + 1);
        assert_int_equal(occurrences(prompt, name), 1);
        assert_int_equal(occurrences(prompt, number), 1);
        free(name);
        free(number);
    }
    assert_int_equal(needles, (int)fact(&s, "units", 0) + 1);
    assert_true(needles > 100);
    free(prompt);
    rs_sample_free(&s);
    bench_close(&b);
}

/* Any run of samples covers the depths: of n, each n-th part of 0..100 holds at least one out of two. */
static void test_depths_are_even(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, "passkey", "");
    int hits[8] = {0};
    for (int64_t i = 100; i < 132; i++) {
        rs_sample s = bench_sample(&b, 2048, i);
        int part = (int)(fact(&s, "depths", 0) / 12.5);
        hits[part > 7 ? 7 : part]++;
        rs_sample_free(&s);
    }
    for (int i = 0; i < 8; i++)
        assert_true(hits[i] >= 2 && hits[i] <= 6); /* 4 each if perfectly even */
    bench_close(&b);
    bench_open(&b, "passkey", "depths=50");
    rs_sample s = bench_sample(&b, 2048, 3);
    assert_true(fabs(fact(&s, "depths", 0) - 50) < 2);
    rs_sample_free(&s);
    bench_close(&b);
}

/* The texts that tiny-gemma was trained on, to the character. */
static void test_tiny_texts(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, "niah", TINY_NEEDLE);
    rs_sample s = bench_sample(&b, 64, 0);
    assert_int_equal(s.tokens.n, 63);
    char *prompt = prompt_text(&s), *key = NULL;
    char *needle = strstr(prompt, " the key "); /* the filler has " the" but never " key" */
    assert_non_null(needle);
    key = rs_strndup(needle + 9, 3);
    char *expected = rs_format(" the key %s is %s .", key, s.references[0]), *question = rs_format(" the key %s is", key);
    assert_int_equal(occurrences(prompt, expected), 1);
    assert_string_equal(prompt + strlen(prompt) - strlen(question), question);
    free(expected);
    free(question);
    free(key);
    free(prompt);
    rs_sample_free(&s);
    bench_close(&b);
    bench_open(&b, "max_retrieval", "intro= max\nseparator=\nquestion= max is\nanswer_prefix=\nmax_new_tokens=1\nitems=3");
    s = bench_sample(&b, 64, 0);
    prompt = prompt_text(&s);
    int a, c, d, end = 0;
    assert_int_equal(sscanf(prompt, " max %d %d %d max is%n", &a, &c, &d, &end), 3);
    assert_int_equal(end, (int)strlen(prompt));
    int largest = a > c ? (a > d ? a : d) : c > d ? c : d;
    assert_int_equal(atoi(s.references[0]), largest);
    free(prompt);
    rs_sample_free(&s);
    bench_close(&b);
}

static void test_maximum_is_unique(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, "max_retrieval", "low=-5\nhigh=5\nintro=\nseparator=\nquestion= is\nanswer_prefix=\nitems=20");
    for (int64_t i = 0; i < 50; i++) {
        rs_sample s = bench_sample(&b, 256, i);
        char *prompt = prompt_text(&s), *at = prompt, *end;
        long largest = -100, times = 0, n = 0;
        for (long x = strtol(at, &end, 10); end != at; at = end, x = strtol(at, &end, 10), n++) {
            times = x > largest ? 1 : times + (x == largest);
            largest = x > largest ? x : largest;
            assert_true(x >= -5 && x <= 5);
        }
        assert_int_equal(n, 20);
        assert_int_equal(times, 1);
        assert_int_equal(largest, atol(s.references[0]));
        free(prompt);
        rs_sample_free(&s);
    }
    bench_close(&b);
}

/* A key keeps its value; the key asked for stands once, at its depth; more pairs than keys repeat the others. */
static void test_lookup(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, "kv_lookup", "max_new_tokens=1");
    static const int64_t contexts[] = {12, 128, 131, 700};
    for (size_t c = 0; c < 4; c++)
        for (int64_t i = 0; i < 10; i++) {
            rs_sample s = bench_sample(&b, contexts[c], i);
            int64_t pairs = (int64_t)fact(&s, "pairs", 0), place = (int64_t)fact(&s, "positions", 0);
            assert_int_equal(pairs, (contexts[c] - 3) / 2); /* BOS, query and answer beside the pairs */
            assert_int_equal(s.tokens.n, 2 * pairs + 2);
            int32_t query = s.tokens.ids[s.tokens.n - 1];
            int64_t distinct = 0;
            for (int64_t p = 0; p < pairs; p++) {
                int32_t key = s.tokens.ids[1 + 2 * p];
                assert_int_equal(key == query, 1 + 2 * p == place);
                bool is_new = true;
                for (int64_t q = 0; q < p; q++)
                    if (s.tokens.ids[1 + 2 * q] == key) {
                        is_new = false;
                        assert_int_equal(s.tokens.ids[2 + 2 * q], s.tokens.ids[2 + 2 * p]);
                    }
                distinct += is_new;
            }
            assert_true(pairs > 64 || distinct == pairs);
            char *value = text_from(&s, place + 1);
            assert_true(strncmp(value + 1, s.references[0], 3) == 0);
            double score;
            b.task->score(b.state, &s, value, 4, &score);
            assert_true(score == 1);
            free(value);
            rs_sample_free(&s);
        }
    bench_close(&b);
}

static void test_copy(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, "copy", "");
    rs_sample s = bench_sample(&b, 64, 0);
    assert_int_equal(s.kind, RS_SAMPLE_SCORE);
    assert_int_equal(s.tokens.n, 64); /* BOS, 31 words, " copy", 31 words */
    assert_int_equal(s.score_from, 33);
    assert_memory_equal(s.tokens.ids + 1, s.tokens.ids + 33, 31 * sizeof *s.tokens.ids);
    rs_sample_free(&s);
    bench_close(&b);
}

static void test_too_small(void **state)
{
    (void)state;
    static const char *const tasks[] = {"passkey", "niah", "niah_multikey_2", "max_retrieval", "kv_lookup", "copy"};
    for (size_t t = 0; t < 6; t++) {
        bench b;
        bench_open(&b, tasks[t], "");
        rs_sample s = bench_sample(&b, 3, 0);
        assert_non_null(s.error);
        assert_non_null(strstr(s.error, "the context of 3"));
        rs_sample_free(&s);
        bench_close(&b);
    }
}

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        const char *task, *settings, *word;
    } faults[] = {
        {"niah", "needle=the {key}", "needle must contain {value}"},
        {"niah", "question=who\nanswer_prefix=", "question must contain {key}"},
        {"niah", "n_queries=2", "n_queries must be at most n_keys, 1, not 2"},
        {"niah", "keys=@a|b\nn_keys=3", "keys must have at least 3 texts, not 2"},
        {"niah", "values=@a|b", "values needs value_type: word, not 'number'"},
        {"niah", "haystack=absent-*.txt", "absent-*.txt"},
        {"niah_single_2", "", "haystack"},
        {"passkey", "haystack=needle", "not 'needle'"},
        {"passkey", "needle=none", "{key}"},
        {"max_retrieval", "low=5\nhigh=5", "high must be above low, 5, not 5"},
        {"max_retrieval", "item=x", "{value}"},
        {"kv_lookup", "keys=@a|a", "'a' twice"},
        {"kv_lookup", "keys=@a", "keys must have at least 2 texts, not 1"},
        {"kv_lookup", "pair={key}", "{value}"},
        {"copy", "item=x", "{word}"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        bench b;
        expect_message(bench_try(&b, faults[i].task, faults[i].settings), faults[i].word);
        bench_close(&b);
    }
    bench b;
    write_file("blank.txt", " \n\t ", 4);
    expect_message(bench_try(&b, "niah", "haystack=blank.txt"), "without a word");
    bench_close(&b);
    write_file("nul.txt", "a\0b", 3);
    expect_message(bench_try(&b, "niah", "haystack=nul.txt"), "nul.txt: byte 1 is NUL");
    bench_close(&b);
}

/* The registry: names differ, every table of params fills, each task can be found and has what its kind needs. */
static void test_registry(void **state)
{
    (void)state;
    for (size_t i = 0; rs_tasks[i]; i++) {
        const rs_task *task = rs_tasks[i];
        assert_ptr_equal(rs_task_find(task->name), task);
        assert_true(task->version >= 1 && task->summary && task->source && task->chance);
        assert_true((task->score != NULL) == (task->metrics[0] != NULL));
        rs_params params;
        rs_params_init(&params, task->params);
        for (size_t k = 0; task->params[k].name; k++) {
            const char *choices = task->params[k].choices;
            char *value = choices ? rs_strndup(choices, strcspn(choices, "|")) : rs_strdup("x");
            if (task->params[k].fallback && strcmp(task->params[k].fallback, "required") == 0)
                assert_int_equal(rs_param_set_string(&params, (int)k, value), RS_OK);
            free(value);
        }
        assert_int_equal(rs_params_fill(&params, NULL), RS_OK);
        assert_true(task->check == NULL || task->check(&params, 8192) == RS_OK);
        rs_params_free(&params);
    }
    assert_null(rs_task_find("nothing"));
}

#define TEST(function) cmocka_unit_test_setup(function, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_perplexity_windows),
        TEST(test_perplexity_covers),
        TEST(test_perplexity_without_bos),
        TEST(test_perplexity_faults),
        TEST(test_budget),
        TEST(test_determinism),
        TEST(test_needles_are_there),
        TEST(test_needles_do_not_collide),
        TEST(test_depths_are_even),
        TEST(test_tiny_texts),
        TEST(test_maximum_is_unique),
        TEST(test_lookup),
        TEST(test_copy),
        TEST(test_too_small),
        TEST(test_faults),
        TEST(test_registry),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
