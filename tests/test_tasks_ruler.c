/* All of RULER's tasks: every prompt fits and fills its context. The five that are not needles: the same sample whoever makes it, RULER's
 * answer lengths and scores, refused params. */
#include "ruler_fixture.h"

/* --- every prompt fits and fills --- */

static const char *const tasks_13[13][2] = {
    {"niah_single_1", ""},
    {"niah_single_2", "haystack=essay.txt"},
    {"niah_single_3", "haystack=essay.txt"},
    {"niah_multikey_1", "haystack=essay.txt"},
    {"niah_multikey_2", ""},
    {"niah_multikey_3", ""},
    {"niah_multivalue", "haystack=essay.txt"},
    {"niah_multiquery", "haystack=essay.txt"},
    {"vt", ""},
    {"cwe", ""},
    {"fwe", ""},
    {"qa_1", "file=squad.json"},
    {"qa_2", "file=hotpot.json"},
};

/* Tokens of the answer that the prompt asks for. */
static int64_t answer_length(const bench *b, const rs_sample *s)
{
    rs_text text = {0};
    rs_tokens tokens = {0};
    bool numbered = strcmp(b->task->name, "cwe") == 0, any = strncmp(b->task->name, "qa", 2) == 0;
    for (size_t i = 0; i < s->n_references && !(any && i > 0); i++) {
        if (numbered)
            rs_text_printf(&text, " %zu.", i + 1);
        rs_text_printf(&text, " %s", s->references[i]);
    }
    assert_int_equal(rs_tokenizer_encode(test_tokenizer, text.data, text.n, &tokens), RS_OK);
    int64_t n = (int64_t)tokens.n;
    rs_tokens_free(&tokens);
    rs_text_free(&text);
    return n;
}

/* Prompt and answer never exceed the context, and use 95% of it on average over seeds and samples. */
static void check_use(const char *task, const char *settings, int64_t context, int64_t n_samples)
{
    enum { N_SEEDS = sizeof probe_seeds / sizeof *probe_seeds };
    double used = 0;
    for (size_t k = 0; k < N_SEEDS; k++) {
        bench b;
        bench_open_seed(&b, task, settings, probe_seeds[k]);
        for (int64_t i = 0; i < n_samples; i++) {
            rs_sample s = bench_sample(&b, context, i);
            if (s.error)
                fail_msg("%s at %d: %s", task, (int)context, s.error);
            assert_true(used_by(&s) <= context);
            assert_int_equal(s.tokens.ids[0], BOS);
            assert_true(s.n_references > 0 && answer_length(&b, &s) <= s.max_new_tokens);
            used += (double)used_by(&s) / (double)context / N_SEEDS / (double)n_samples;
            rs_sample_free(&s);
        }
        bench_close(&b);
    }
    if (used < 0.95)
        fail_msg("%s uses %.3f of %d tokens", task, used, (int)context);
}

/* With the tokenizer of a file, below the source folder, in place of the fixture's; skipped where it is absent. */
static void check_use_with(const char *tokenizer, const int64_t *contexts, size_t n_contexts, int64_t n_samples, bool nouns)
{
    char *path = rs_path_join(RS_SOURCE, tokenizer), *words = noun_words("");
    rs_tokenizer *fixture = test_tokenizer;
    if (access(path, R_OK) == 0) {
        assert_int_equal(rs_tokenizer_load(path, &test_tokenizer), RS_OK);
        for (size_t c = 0; c < n_contexts; c++)
            for (size_t t = 0; t < 13; t++) {
                bool cwe = strcmp(tasks_13[t][0], "cwe") == 0;
                check_use(tasks_13[t][0], cwe && nouns ? words : tasks_13[t][1], contexts[c], n_samples);
            }
        rs_tokenizer_free(test_tokenizer);
        test_tokenizer = fixture;
    } else {
        print_message("no %s: not tried\n", tokenizer);
    }
    free(words);
    free(path);
}

static void test_use_tiny(void **state)
{
    (void)state;
    check_use_with("configs/models/tiny-gemma/tokenizer.json", (const int64_t[]){1024, 1500, 8192, 32768}, 4, 4, true);
}

static void test_use_smollm2(void **state)
{
    (void)state;
    check_use_with("models/smollm2-135m/tokenizer.json", (const int64_t[]){1024, 2048, 4096, 8192, 16384}, 5, 4, false);
    check_use_with("models/smollm2-135m/tokenizer.json", (const int64_t[]){32768}, 1, 3, false);
}

/* --- the five that are not needles --- */

static const char *const new_tasks[5][2] = {
    {"vt", ""}, {"cwe", "num_cw=3\nexample_words=0"}, {"fwe", ""}, {"qa_1", "file=squad.json"}, {"qa_2", "file=hotpot.json"}};

static bool same_sample(const rs_sample *a, const rs_sample *b)
{
    bool same = a->tokens.n == b->tokens.n && memcmp(a->tokens.ids, b->tokens.ids, a->tokens.n * sizeof *a->tokens.ids) == 0 &&
                a->n_references == b->n_references && strcmp(a->facts, b->facts) == 0;
    for (size_t i = 0; same && i < a->n_references; i++)
        same = strcmp(a->references[i], b->references[i]) == 0;
    return same;
}

/* A sample is the same whoever makes it and in whatever order; another seed, context or doc_id makes another. */
static void test_determinism(void **state)
{
    (void)state;
    for (size_t t = 0; t < 5; t++) {
        bench one, two, other;
        bench_open(&one, new_tasks[t][0], new_tasks[t][1]);
        bench_open(&two, new_tasks[t][0], new_tasks[t][1]);
        bench_open_seed(&other, new_tasks[t][0], new_tasks[t][1], 43);
        rs_sample last = bench_sample(&two, 1024, 5), first = bench_sample(&one, 1024, 0), again = bench_sample(&two, 1024, 0);
        rs_sample wider = bench_sample(&one, 1100, 0), foreign = bench_sample(&other, 1024, 0);
        assert_true(same_sample(&first, &again));
        assert_false(same_sample(&first, &last));
        assert_false(same_sample(&first, &wider));
        assert_false(same_sample(&first, &foreign));
        rs_sample_free(&last);
        rs_sample_free(&first);
        rs_sample_free(&again);
        rs_sample_free(&wider);
        rs_sample_free(&foreign);
        bench_close(&one);
        bench_close(&two);
        bench_close(&other);
    }
}

static void test_defaults(void **state)
{
    (void)state;
    static const int64_t lengths[] = {30, 120, 50, 32, 32};
    for (size_t t = 0; t < 5; t++) {
        bench b;
        bench_open(&b, new_tasks[t][0], new_tasks[t][1]);
        rs_sample s = bench_sample(&b, 2048, 0);
        assert_int_equal(s.kind, RS_SAMPLE_GENERATE);
        assert_int_equal(s.max_new_tokens, lengths[t]);
        assert_int_equal(b.task->version, 1);
        assert_string_equal(b.task->metrics[0], "accuracy");
        assert_null(b.task->metrics[1]);
        rs_sample_free(&s);
        s = bench_sample(&b, 40, 0);
        assert_non_null(strstr(s.error, "the context of 40"));
        rs_sample_free(&s);
        bench_close(&b);
    }
}

/* RULER's scores: vt, cwe and fwe the share found, qa whether any is; case ignored, control bytes newlines. */
static void test_scores(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        size_t n;
        double all, any; /* of "ABCDE", "x y", "\xC3\x89t\xC3\xA9" and "12" */
    } cases[] = {
        {"", 0, 0, 0},
        {" \n\t", 3, 0, 0},
        {"abcde", 5, 0.25, 1},
        {"AbCdE, X Y", 10, 0.5, 1},
        {"x\ny", 3, 0, 0},
        {"x\x01y", 3, 0, 0},
        {"abc\0de", 6, 0, 0},
        {"\0abcde\0", 7, 0.25, 1},
        {"\xC3\xA9T\xC3\x89 3124", 10, 0.5, 1},
        {"\xFF"
         "abcde",
         6, 0.25, 1},
        {"abcde x y \xC3\xA9t\xC3\xA9 12", 18, 1, 1},
    };
    char *references[] = {"ABCDE", "x y", "\xC3\x89t\xC3\xA9", "12"};
    rs_sample s = {.references = references, .n_references = 4};
    for (size_t t = 0; t < 5; t++)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            bench b = {.task = rs_task_find(new_tasks[t][0])};
            double score = score_of(&b, &s, cases[c].answer, cases[c].n), expected = t < 3 ? cases[c].all : cases[c].any;
            if (score != expected)
                fail_msg("%s, case %zu: %g, expected %g", new_tasks[t][0], c, score, expected);
        }
}

static void test_bad_params(void **state)
{
    (void)state;
    static const struct {
        const char *task, *settings;
        int64_t context; /* 0: refused at any */
        const char *word;
    } faults[] = {
        {"vt", "haystack=needle", 0, "not 'needle'"},
        {"vt", "haystack=absent-*.txt", 0, "absent-*.txt"},
        {"vt", "assignment=Let {name}.", 0, "assignment must contain {value}"},
        {"vt", "copy=Let {name}.", 0, "copy must contain {source}"},
        {"vt", "answer_item=x", 0, "answer_item must contain {name}"},
        {"vt", "question=Which?\nanswer_prefix=These:", 0, "question must contain {value}"},
        {"vt", "name_letters=1\nnum_hops=9", 0, "name_letters 1 are too few for 10 variables"},
        {"vt", "digits=1\nnum_chains=3", 0, "digits 1 are too few for 3 chains"},
        {"cwe", "item={index}.", 0, "item must contain {word}"},
        {"cwe", "answer_item={index}.", 0, "answer_item must contain {word}"},
        {"cwe", "words=@a", 0, "words must have at least 2 texts, not 1"},
        {"cwe", "words=@a|b|a", 0, "words has 'a' twice"},
        {"cwe", "freq_cw=3", 4096, "freq_cw must be above freq_ucw, 3, not 3"},
        {"cwe", "example_words=9", 1024, "example_words must be 0 or at least num_cw, 10, not 9"},
        {"cwe", "example_freq_cw=3", 4096, "example_freq_cw must be above example_freq_ucw, 3, not 3"},
        {"fwe", "num_words=70", 0, "num_words must be 0 or at least"},
        {"fwe", "vocab_size=3", 0, "vocab_size must be above num_asked, 3, not 3"},
        {"fwe", "coded_wordlen=1", 1024, "coded_wordlen 1 is too short for 19 different words"},
        {"qa_1", "", 0, "file"},
        {"qa_1", "file=absent.json", 0, "absent.json"},
        {"qa_1", "file=squad.json\ndocument=x", 0, "document must contain {text}"},
        {"qa_2", "file=hotpot.json\nquestion=x", 0, "question must contain {question}"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        bench b;
        int64_t n;
        rs_status status = bench_try(&b, faults[i].task, faults[i].settings);
        if (faults[i].context) {
            assert_int_equal(status, RS_OK);
            expect_message(b.task->check(&b.params, faults[i].context), faults[i].word);
            status = b.task->count(b.state, faults[i].context, 1, &n);
        }
        expect_message(status, faults[i].word);
        bench_close(&b);
    }
    bench b;
    bench_open(&b, "cwe", "words=@a|b|c|d");
    rs_sample s = bench_sample(&b, 1024, 0);
    assert_non_null(strstr(s.error, "words has too few texts"));
    rs_sample_free(&s);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_use_tiny), TEST(test_use_smollm2), TEST(test_determinism), TEST(test_defaults), TEST(test_scores), TEST(test_bad_params),
    };
    return cmocka_run_group_tests(tests, files_open, fixture_close);
}
