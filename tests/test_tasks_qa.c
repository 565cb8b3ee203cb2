/* qa_1 and qa_2: which documents stand in a prompt and where, and faults of the files. */
#include "ruler_fixture.h"

/* Which documents stand in the prompt: seen[a * N_PARAGRAPHS + p], each at most once, numbered from 1 in their order. */
static int read_documents(const char *prompt, const char *title, bool *seen)
{
    int n = 0, a, p;
    memset(seen, 0, N_ARTICLES * N_PARAGRAPHS * sizeof *seen);
    for (const char *at = strstr(prompt, "Document "); at; at = strstr(at + 1, "Document ")) {
        assert_int_equal(atoi(at + 9), ++n);
        const char *text = strchr(at, '\n') + 1;
        bool shared = strncmp(text, "Shared\nA shared one.", 20) == 0;
        if (shared)
            continue;
        if (*title)
            assert_int_equal(sscanf(text, "T%d-%d\nNote", &a, &p), 2);
        else
            assert_int_equal(sscanf(text, "Note %d-%d.", &a, &p), 2);
        char *whole = paragraph_text(a, p);
        assert_non_null(strstr(text, whole));
        assert_true(strstr(text, whole) - text < 16);
        assert_false(seen[a * N_PARAGRAPHS + p]);
        seen[a * N_PARAGRAPHS + p] = true;
        free(whole);
    }
    return n;
}

/* A position in the facts is where "Document N:" of this paragraph begins, and its depth follows from N. */
static void check_gold(const rs_sample *s, int index, const char *title, int a, int p)
{
    char *text = text_from(s, (int64_t)fact(s, "positions", index));
    char *expected = rs_format(*title ? "\nT%d-%d\n" : "\nNote %d-%d.", a, p), *start = text + strspn(text, " \n");
    int number = 0, used = 0, n = (int)fact(s, "docs", 0);
    assert_int_equal(sscanf(start, "Document %d:%n", &number, &used), 1);
    assert_int_equal(strncmp(start + used, expected, strlen(expected)), 0);
    assert_true(fabs(fact(s, "depths", index) - 100.0 * (number - 1) / (n > 1 ? n - 1 : 1)) < 1e-9);
    free(expected);
    free(text);
}

/* Every answerable question is asked once, whatever the seed; near documents go first; the gold ones are there. */
static void test_squad(void **state)
{
    (void)state;
    bool *seen = rs_alloc(N_ARTICLES * N_PARAGRAPHS, sizeof *seen), *asked = rs_alloc(N_ARTICLES * N_PARAGRAPHS, sizeof *asked);
    bench b;
    bench_open(&b, "qa_1", "file=squad.json");
    int64_t n;
    assert_int_equal(b.task->count(b.state, 1024, 1000000, &n), RS_OK);
    assert_int_equal(n, N_ARTICLES * N_PARAGRAPHS);
    int in_order = 0;
    for (int64_t i = 0; i < n; i++) {
        int a, p, of_article = 0;
        rs_sample s = bench_sample(&b, 1024, i);
        assert_null(s.error);
        char *prompt = prompt_text(&s);
        assert_int_equal(sscanf(strstr(prompt, "\n\nQuestion: ask "), "\n\nQuestion: ask %d-%d?\nAnswer:", &a, &p), 2);
        int which = a * N_PARAGRAPHS + p, n_docs = read_documents(prompt, "", seen);
        assert_false(asked[which]);
        asked[which] = true;
        in_order += which == i;
        assert_int_equal(n_docs, (int)fact(&s, "docs", 0));
        assert_int_equal(which, (int)fact(&s, "question", 0));
        assert_true(seen[which]);
        for (int k = 0; k < N_PARAGRAPHS; k++)
            of_article += seen[a * N_PARAGRAPHS + k];
        assert_true(of_article == N_PARAGRAPHS || n_docs - of_article <= 8); /* others only to fill what an article's next leaves free */
        check_gold(&s, 0, "", a, p);
        char *answer = rs_format("Note %d-%d", a, p);
        assert_int_equal(s.n_references, 2);
        assert_string_equal(s.references[0], answer);
        assert_string_equal(s.references[1], "Note");
        free(answer);
        free(prompt);
        rs_sample_free(&s);
    }
    assert_true(in_order < 20);
    bench_close(&b);
    free(asked);
    free(seen);
}

static void test_squad_docs(void **state)
{
    (void)state;
    bool *seen = rs_alloc(N_ARTICLES * N_PARAGRAPHS, sizeof *seen);
    bench b;
    bench_open(&b, "qa_1", "file=squad.json\ndocs=6");
    bool places[N_PARAGRAPHS] = {0};
    for (int64_t i = 0; i < 60; i++) {
        rs_sample s = bench_sample(&b, 4096, i);
        assert_null(s.error);
        char *prompt = prompt_text(&s);
        int a, p;
        assert_int_equal(sscanf(strstr(prompt, "ask "), "ask %d-%d?", &a, &p), 2);
        assert_int_equal(read_documents(prompt, "", seen), 6);
        for (int k = 0; k < N_PARAGRAPHS; k++)
            assert_true(seen[a * N_PARAGRAPHS + k]); /* the article's own six */
        places[(int)(fact(&s, "depths", 0) / 20 + 0.5)] = true;
        free(prompt);
        rs_sample_free(&s);
    }
    for (int k = 0; k < N_PARAGRAPHS; k++)
        assert_true(places[k]); /* the gold one comes to stand everywhere */
    bench_close(&b);
    bench_open(&b, "qa_2", "file=hotpot.json\ndocs=1");
    rs_sample s = bench_sample(&b, 4096, 0);
    assert_non_null(strstr(s.error, "docs must be between 2 and"));
    rs_sample_free(&s);
    bench_close(&b);
    free(seen);
}

static void test_hotpot(void **state)
{
    (void)state;
    bool *seen = rs_alloc(N_ARTICLES * N_PARAGRAPHS, sizeof *seen);
    bench b;
    bench_open(&b, "qa_2", "file=hotpot.json");
    int64_t n;
    assert_int_equal(b.task->count(b.state, 1024, 1000000, &n), RS_OK);
    assert_int_equal(n, N_ARTICLES);
    for (int64_t i = 0; i < n; i++) {
        rs_sample s = bench_sample(&b, 2048, i);
        assert_null(s.error);
        char *prompt = prompt_text(&s);
        int q = atoi(strstr(prompt, "Question: ask ") + 14);
        assert_int_equal(read_documents(prompt, "T", seen), (int)fact(&s, "docs", 0));
        assert_true(seen[q * N_PARAGRAPHS + 4] && seen[q * N_PARAGRAPHS + 1]);
        assert_true(occurrences(prompt, "A shared one.") <= 1);
        check_gold(&s, 0, "T", q, 4); /* in the order of supporting_facts */
        check_gold(&s, 1, "T", q, 1);
        char *answer = rs_format("yes %d", q);
        assert_int_equal(s.n_references, 1);
        assert_string_equal(s.references[0], answer);
        free(answer);
        free(prompt);
        rs_sample_free(&s);
    }
    bench_close(&b);
    free(seen);
}

#define SQUAD(paragraph) "{\"data\": [{\"paragraphs\": [" paragraph "]}]}"
#define QA(qa) SQUAD("{\"context\": \"c\", \"qas\": [" qa "]}")
#define HOTPOT(answer, context, facts)                                                                                                     \
    "[{\"question\": \"q\", \"answer\": " answer ", \"context\": " context ", \"supporting_facts\": " facts "}]"

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *task, *text, *place, *word;
    } faults[] = {
        {"qa_1", "", "1:", "an empty file"},
        {"qa_1", " \n ", "1:", "an empty file"},
        {"qa_1", "{\"data\":\n[}", "2:", "not valid JSON"},
        {"qa_1", "{\"data\": []} x", "1:", "not valid JSON"},
        {"qa_1", "{\"data\": [],\n\n \"a\": \"\xFF\"}", "3: byte 8", "is not UTF-8"},
        {"qa_1", "{\"data\": [\"\\ud800\"]}", "1:", "not valid JSON"},
        {"qa_1", "{\"data\": [], \"data\": []}", "1:", "duplicate"},
        {"qa_1", "[]", " must be an object", "not an array"},
        {"qa_1", "{}", " data", "is missing"},
        {"qa_1", "{\"data\": []}", "", "no question that has an answer"},
        {"qa_1", "{\"data\": 3}", " data must be an array", "not a number"},
        {"qa_1", "{\"data\": [{}]}", " data[0].paragraphs", "is missing"},
        {"qa_1", "{\"data\": [null]}", " data[0] must be an object", "not null"},
        {"qa_1", SQUAD("{\"qas\": []}"), " data[0].paragraphs[0].context", "is missing"},
        {"qa_1", SQUAD("{\"context\": \"\", \"qas\": []}"), " data[0].paragraphs[0].context", "is empty"},
        {"qa_1", SQUAD("{\"context\": \"c\"}"), " data[0].paragraphs[0].qas", "is missing"},
        {"qa_1", QA("{}"), " data[0].paragraphs[0].qas[0].question", "is missing"},
        {"qa_1", QA("{\"question\": 1}"), " data[0].paragraphs[0].qas[0].question must be a string", "not a number"},
        {"qa_1", QA("{\"question\": \"q\", \"answers\": []}"), " data[0].paragraphs[0].qas[0].answers", "is empty"},
        {"qa_1", QA("{\"question\": \"q\", \"answers\": [{}]}"), " data[0].paragraphs[0].qas[0].answers[0].text", "is missing"},
        {"qa_1", QA("{\"question\": \"q\", \"answers\": [{\"text\": \"\"}]}"), " data[0].paragraphs[0].qas[0].answers[0].text", "is empty"},
        {"qa_1", QA("{\"is_impossible\": 1}"), " data[0].paragraphs[0].qas[0].is_impossible", "must be true or false"},
        {"qa_1", QA("{\"is_impossible\": true}"), "", "no question that has an answer"},
        {"qa_2", "", "1:", "an empty file"},
        {"qa_2", "{}", " must be an array", "not an object"},
        {"qa_2", "[]", "", "no question that has an answer"},
        {"qa_2", "[{}]", " [0].question", "is missing"},
        {"qa_2", HOTPOT("\"\"", "[]", "[]"), " [0].answer", "is empty"},
        {"qa_2", HOTPOT("\"a\"", "[]", "[]"), " [0].context", "is empty"},
        {"qa_2", HOTPOT("\"a\"", "[[\"t\", []]]", "[]"), " [0].supporting_facts", "is empty"},
        {"qa_2", HOTPOT("\"a\"", "[\"t\"]", "[[\"t\", 0]]"), " [0].context[0] must be an array", "not a string"},
        {"qa_2", HOTPOT("\"a\"", "[[\"t\"]]", "[[\"t\", 0]]"), " [0].context[0][1]", "is missing"},
        {"qa_2", HOTPOT("\"a\"", "[[\"t\", [\"s\", 1]]]", "[[\"t\", 0]]"), " [0].context[0][1][1] must be a string", "not a number"},
        {"qa_2", HOTPOT("\"a\"", "[[\"t\", []]]", "[\"t\"]"), " [0].supporting_facts[0] must be an array", "not a string"},
        {"qa_2", HOTPOT("\"a\"", "[[\"t\", []]]", "[[\"u\", 0]]"), " [0].supporting_facts[0][0]", "is no title in context: u"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        bench b;
        write_file("bad.json", faults[i].text, strlen(faults[i].text));
        char *place = rs_format("%s/bad.json:%s", test_folder, faults[i].place);
        rs_status status = bench_try(&b, faults[i].task, "file=bad.json");
        if (status != RS_INVALID || strncmp(rs_error_message(), place, strlen(place)) != 0)
            fail_msg("fault %zu: status %d, '%s', expected '%s...'", i, status, rs_error_message(), place);
        expect_message(status, faults[i].word);
        free(place);
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_squad),
        TEST(test_squad_docs),
        TEST(test_hotpot),
        TEST(test_bad_files),
    };
    return cmocka_run_group_tests(tests, files_open, fixture_close);
}
