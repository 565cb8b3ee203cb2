/* The jsonl task: what a file may hold, where a fault is reported, what the prompt is. */
#include "task_fixture.h"

#define GOOD "{\"input\": \"a\", \"outputs\": [\"b\"]}\n"
#define WITH_NUL GOOD "{\"input\": \"a\0\", \"outputs\": [\"b\"]}\n"

typedef struct fault {
    const char *text;
    size_t n; /* 0: strlen */
    int line;
    const char *word; /* of the message */
} fault;

static const fault faults[] = {
    {"", 0, 1, "empty file"},
    {"\n\n", 0, 1, "empty file"},
    {"\xEF\xBB\xBF", 0, 1, "empty file"},
    {GOOD "\n" GOOD, 0, 2, "empty line"},
    {"\n" GOOD, 0, 1, "empty line"},
    {GOOD " \t\r\n" GOOD, 0, 2, "empty line"},
    {GOOD "{\n", 0, 2, "JSON"},
    {GOOD GOOD "nonsense\n", 0, 3, "JSON"},
    {GOOD "{\"input\": \"a\", \"outputs\": [\"b\"]} x\n", 0, 2, "JSON"},
    {GOOD "{\"input\": \"a\", \"outputs\": [\"b\"],}\n", 0, 2, "JSON"},
    {GOOD "{'input': 'a', 'outputs': ['b']}\n", 0, 2, "JSON"},
    {GOOD "{\"input\": \"a\", \"input\": \"c\", \"outputs\": [\"b\"]}\n", 0, 2, "duplicate"},
    {GOOD "[\"a\", \"b\"]\n", 0, 2, "an array"},
    {GOOD "\"a\"\n", 0, 2, "a string"},
    {GOOD "3\n", 0, 2, "a number"},
    {GOOD "null\n", 0, 2, "null"},
    {GOOD "{}\n", 0, 2, "\"input\""},
    {GOOD "{\"inputs\": \"a\", \"outputs\": [\"b\"]}\n", 0, 2, "no \"input\""},
    {GOOD "{\"input\": \"a\", \"output\": [\"b\"]}\n", 0, 2, "no \"outputs\""},
    {GOOD "{\"input\": 3, \"outputs\": [\"b\"]}\n", 0, 2, "\"input\" must be a string, not a number"},
    {GOOD "{\"input\": null, \"outputs\": [\"b\"]}\n", 0, 2, "not null"},
    {GOOD "{\"input\": \"\", \"outputs\": [\"b\"]}\n", 0, 2, "\"input\" is empty"},
    {GOOD "{\"input\": \"a\", \"outputs\": \"b\"}\n", 0, 2, "list of strings, not a string"},
    {GOOD "{\"input\": \"a\", \"outputs\": {}}\n", 0, 2, "list of strings, not an object"},
    {GOOD "{\"input\": \"a\", \"outputs\": []}\n", 0, 2, "\"outputs\" is empty"},
    {GOOD "{\"input\": \"a\", \"outputs\": [\"b\", 3]}\n", 0, 2, "\"outputs\"[1]"},
    {GOOD "{\"input\": \"a\", \"outputs\": [\"b\", true]}\n", 0, 2, "not true"},
    {GOOD "{\"input\": \"a\", \"outputs\": [\"b\"], \"answer_prefix\": 1}\n", 0, 2, "\"answer_prefix\" must be a string"},
    {GOOD "{\"input\": \"a\\u0000\", \"outputs\": [\"b\"]}\n", 0, 2, "JSON"},
    {WITH_NUL, sizeof WITH_NUL - 1, 2, "NUL"},
    {GOOD "{\"input\": \"\xFF\", \"outputs\": [\"b\"]}\n", 0, 2, "byte 12 of the line is not UTF-8"},
    {GOOD "{\"input\": \"\xED\xA0\x80\", \"outputs\": [\"b\"]}\n", 0, 2, "UTF-8"},
    {GOOD "{\"input\": \"\\ud800\", \"outputs\": [\"b\"]}\n", 0, 2, "JSON"},
    {GOOD "{\"input\": \"a\", \"outputs\": [\"b\"], \"x\": NaN}\n", 0, 2, "JSON"},
    {GOOD GOOD GOOD "{\"input\": \"a\", \"outputs\": [\"b\"]", 0, 4, "JSON"},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        rs_error_clear();
        write_file("bad.jsonl", faults[i].text, faults[i].n ? faults[i].n : strlen(faults[i].text));
        bench b;
        rs_status status = bench_try(&b, "jsonl", "file=bad.jsonl");
        char *place = rs_format("%s/bad.jsonl:%d: ", test_folder, faults[i].line);
        const char *message = rs_error_message();
        if (status != RS_INVALID || strncmp(message, place, strlen(place)) != 0 || strstr(message, faults[i].word) == NULL)
            fail_msg("fault %zu: status %d, '%s', expected %s... %s", i, status, message, place, faults[i].word);
        free(place);
        bench_close(&b);
    }
    rs_error_clear();
    bench b;
    assert_int_equal(bench_try(&b, "jsonl", "file=absent.jsonl"), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "absent.jsonl"));
    bench_close(&b);
}

static int64_t count_of(bench *b, int64_t wanted)
{
    int64_t n = -1;
    assert_int_equal(b->task->count(b->state, 64, wanted, &n), RS_OK);
    return n;
}

static void test_prompt(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBF{\"index\": 7, \"input\": \" cat dog\", \"outputs\": [\"fox\", \"hen\"], "
                               "\"answer_prefix\": \" the key is\", \"big\": 123456789012345678901234567890}\r\n"
                               "{\"input\": \"<bos> cat\", \"outputs\": [\"x\"]}\r\n"
                               "{\"input\": \"caf\\u00e9\", \"outputs\": [\"\"]}";
    write_file("good.jsonl", text, sizeof text - 1);
    bench b;
    bench_open(&b, "jsonl", "file=good.jsonl\nmax_new_tokens=5\nstop=@.|END");
    assert_int_equal(count_of(&b, 100), 3);
    assert_int_equal(count_of(&b, 2), 2);
    rs_sample s = bench_sample(&b, 64, 0);
    assert_int_equal(s.kind, RS_SAMPLE_GENERATE);
    assert_int_equal(s.max_new_tokens, 5);
    rs_tokens whole = {0};
    const char *expected = " cat dog the key is"; /* tokenized as one text, behind one BOS */
    assert_int_equal(rs_tokenizer_encode(test_tokenizer, expected, strlen(expected), &whole), RS_OK);
    assert_int_equal(s.tokens.n, whole.n + 1);
    assert_int_equal(s.tokens.ids[0], BOS);
    assert_memory_equal(s.tokens.ids + 1, whole.ids, whole.n * sizeof *whole.ids);
    assert_int_equal(s.n_references, 2);
    assert_string_equal(s.references[1], "hen");
    assert_int_equal(s.n_stops, 2);
    assert_string_equal(s.stops[1], "END");
    rs_tokens_free(&whole);
    rs_sample_free(&s);
    s = bench_sample(&b, 64, 1); /* the text spells the BOS: no second one */
    assert_int_equal(s.tokens.n, 2);
    assert_int_equal(s.tokens.ids[0], BOS);
    assert_int_not_equal(s.tokens.ids[1], BOS);
    rs_sample_free(&s);
    bench_close(&b);
}

static void test_around(void **state)
{
    (void)state;
    static const char text[] = "{\"input\": \" cat\", \"outputs\": [\"x\"], \"answer_prefix\": \" is\"}\n";
    write_file("one.jsonl", text, sizeof text - 1);
    bench b;
    bench_open(&b, "jsonl", "file=one.jsonl");
    b.task->close(b.state);
    b.setup.prompt_prefix = " the";
    b.setup.prompt_suffix = " dog";
    assert_int_equal(b.task->open(&b.setup, &b.state), RS_OK);
    rs_sample s = bench_sample(&b, 1000, 0);
    char *prompt = prompt_text(&s);
    assert_string_equal(prompt, " the cat dog is");
    free(prompt);
    rs_sample_free(&s);
    bench_close(&b);
}

/* Prompt and answer share the context: the largest answer that fits, and one token more. */
static void test_too_long(void **state)
{
    (void)state;
    static const char text[] = "{\"input\": \" cat dog fox\", \"outputs\": [\"x\"]}\n";
    write_file("one.jsonl", text, sizeof text - 1);
    bench b;
    bench_open(&b, "jsonl", "file=one.jsonl\nmax_new_tokens=4");
    rs_sample s = bench_sample(&b, 8, 0);
    assert_null(s.error);
    rs_sample_free(&s);
    s = bench_sample(&b, 7, 0);
    assert_string_equal(s.error, "a prompt of 4 tokens and max_new_tokens 4 exceed the context of 7");
    assert_int_equal(s.tokens.n, 4); /* never cut */
    rs_sample_free(&s);
    bench_close(&b);
}

static void test_metric_by_param(void **state)
{
    (void)state;
    static const char text[] = "{\"input\": \"a\", \"outputs\": [\"Cat\", \"dog\"]}";
    write_file("one.jsonl", text, sizeof text - 1);
    static const struct {
        const char *name;
        double score; /* of "a cat" */
    } metrics[] = {{"ruler_all", 0.5}, {"ruler_part", 1}, {"exact", 0}, {"contains", 0}};
    for (size_t i = 0; i < 4; i++) {
        bench b;
        char *settings = rs_format("file=one.jsonl\nmetric=%s", metrics[i].name);
        bench_open(&b, "jsonl", settings);
        const char *names[RS_MAX_METRICS + 1];
        assert_int_equal(rs_task_metrics(b.task, &b.params, names), 1);
        assert_string_equal(names[0], metrics[i].name);
        assert_null(names[1]);
        rs_sample s = bench_sample(&b, 1000, 0);
        double score = -1;
        b.task->score(b.state, &s, "a cat, not read: dog", 5, &score);
        assert_true(score == metrics[i].score);
        rs_sample_free(&s);
        bench_close(&b);
        free(settings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_faults, fixture_clear),          cmocka_unit_test_setup(test_prompt, fixture_clear),
        cmocka_unit_test_setup(test_around, fixture_clear),          cmocka_unit_test_setup(test_too_long, fixture_clear),
        cmocka_unit_test_setup(test_metric_by_param, fixture_clear),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
