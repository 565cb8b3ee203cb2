/* The longbench task: prompts, what is cut and what is not, faults of files; and LongBench's scores against goldens that its own packages
 * made (tests/golden/longbench). */
#include "task_fixture.h"

#include <jansson.h>

#include "score/longbench.h"

#define LINE "{\"input\": \" dog\", \"context\": \" cat fox\", \"answers\": [\"hen\", \"the key\"], \"all_classes\": null, \"length\": 2, "

/* --- scores --- */

static char **strings_of(const json_t *list, size_t *n)
{
    *n = json_array_size(list);
    char **strings = rs_alloc(*n, sizeof *strings);
    for (size_t i = 0; i < *n; i++)
        strings[i] = rs_strdup(json_string_value(json_array_get(list, i)));
    return strings;
}

static double score_of(const char *metric, const json_t *answer, char **references, size_t n_references, char **classes, size_t n_classes)
{
    static const struct {
        const char *name;
        double (*score)(const char *bytes, size_t n, char *const *references, size_t n_references);
    } metrics[] = {{"f1", rs_metric_token_f1},
                   {"rouge_l", rs_metric_rouge_l},
                   {"edit_similarity", rs_metric_edit_similarity},
                   {"count", rs_metric_count},
                   {"retrieval", rs_metric_retrieval}};
    const char *bytes = json_string_value(answer);
    size_t n = json_string_length(answer);
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        if (strcmp(metrics[i].name, metric) == 0)
            return metrics[i].score(bytes, n, references, n_references);
    assert_string_equal(metric, "classification");
    return rs_metric_classification(bytes, n, references, n_references, classes, n_classes);
}

static void test_goldens(void **state)
{
    (void)state;
    json_error_t error;
    json_t *cases = json_load_file(RS_TESTS "/golden/longbench/goldens.json", 0, &error), *one;
    size_t i, wrong = 0;
    if (cases == NULL)
        fail_msg("%d: %s", error.line, error.text);
    assert_true(json_array_size(cases) > 500);
    json_array_foreach(cases, i, one)
    {
        size_t n_references, n_classes;
        char **references = strings_of(json_object_get(one, "references"), &n_references);
        char **classes = strings_of(json_object_get(one, "classes"), &n_classes);
        double expected = json_number_value(json_object_get(one, "score"));
        double score = score_of(json_string_value(json_object_get(one, "metric")), json_object_get(one, "answer"), references, n_references,
                                classes, n_classes);
        if (fabs(score - expected) > 1e-15) {
            char *text = json_dumps(one, JSON_ENSURE_ASCII);
            print_error("%.17g and not %.17g: %s\n", score, expected, text);
            free(text);
            wrong++;
        }
        for (size_t k = 0; k < n_references; k++)
            free(references[k]);
        for (size_t k = 0; k < n_classes; k++)
            free(classes[k]);
        free(references);
        free(classes);
    }
    json_decref(cases);
    assert_int_equal(wrong, 0);
}

/* Bytes that Python's strings cannot hold: cut UTF-8 is U+FFFD, NUL a character. */
static void test_odd_bytes(void **state)
{
    (void)state;
    char cut[] = "caf\xEF\xBF\xBD", nul_cat[] = "cat", number[] = "7";
    char *references[] = {cut}, *cats[] = {nul_cat}, *numbers[] = {number};
    assert_true(rs_metric_token_f1("caf\xC3", 4, references, 1) == 1);
    assert_true(rs_metric_edit_similarity("caf\xC3", 4, references, 1) == 1);
    assert_true(rs_metric_token_f1("a\0 cat", 6, cats, 1) == 2.0 / 3);
    assert_true(rs_metric_count("7\0"
                                "8",
                                3, numbers, 1) == 0.5);
    assert_true(rs_metric_classification("x\0cat", 5, cats, 1, cats, 1) == 1);
    assert_true(rs_metric_rouge_l(NULL, 0, cats, 1) == 0);
}

static void test_first_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } cases[] = {{"", ""}, {"\n\n", ""}, {"a", "a"}, {"\n\na b\nc", "a b"}, {" \na", " "}, {"a\r\nb", "a\r"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].text);
        const char *line = rs_first_line(cases[i].text, &n);
        assert_int_equal(n, strlen(cases[i].line));
        assert_memory_equal(line, cases[i].line, n);
    }
}

/* --- prompts --- */

static void open_one(bench *b, const char *line, const char *settings)
{
    char *text = rs_format("file=one.jsonl\n%s", settings);
    write_file("one.jsonl", line, strlen(line));
    bench_open(b, "longbench", text);
    free(text);
}

static void test_prompt(void **state)
{
    (void)state;
    bench b;
    open_one(&b, LINE "\"dataset\": \"hotpotqa_e\", \"_id\": \"0a\\\"b\"}\n" LINE "\"x\": 1}\n\n",
             "dataset=hotpotqa\ntemplate=<{input}|{context}|{input}>");
    int64_t n = 0;
    assert_int_equal(b.task->count(b.state, 100, 9, &n), RS_OK);
    assert_int_equal(n, 2);
    rs_sample s = bench_sample(&b, 1000, 0);
    char *text = prompt_text(&s);
    assert_string_equal(text, "< dog| cat fox| dog>");
    assert_int_equal(s.tokens.ids[0], BOS);
    assert_int_equal(s.kind, RS_SAMPLE_GENERATE);
    assert_int_equal(s.max_new_tokens, 32);
    assert_int_equal(s.n_references, 2);
    assert_string_equal(s.references[1], "the key");
    assert_string_equal(s.facts, "\"source_id\": \"0a\\\"b\"");
    double score;
    b.task->score(b.state, &s, "key", 3, &score);
    assert_true(score == 1);
    free(text);
    rs_sample_free(&s);
    s = bench_sample(&b, 1000, 1);
    assert_null(s.facts);
    rs_sample_free(&s);
    bench_close(&b);
}

/* Each data set: its metric, its answer's length, and a prompt that holds the context and ends where the answer begins. */
static void test_datasets(void **state)
{
    (void)state;
    static const struct {
        const char *name, *metric;
        int64_t max_new_tokens;
        bool asks, first_line;
    } sets[] = {
        {"narrativeqa", "f1", 128, true, false},      {"qasper", "f1", 128, true, false},
        {"multifieldqa_en", "f1", 64, true, false},   {"hotpotqa", "f1", 32, true, false},
        {"2wikimqa", "f1", 32, true, false},          {"musique", "f1", 32, true, false},
        {"gov_report", "rouge_l", 512, false, false}, {"qmsum", "rouge_l", 512, true, false},
        {"multi_news", "rouge_l", 512, false, false}, {"trec", "classification", 64, true, true},
        {"triviaqa", "f1", 32, true, true},           {"samsum", "rouge_l", 128, true, true},
        {"passage_count", "count", 32, false, false}, {"passage_retrieval_en", "retrieval", 32, true, false},
        {"lcc", "edit_similarity", 64, false, false}, {"repobench-p", "edit_similarity", 64, true, false},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        bench b;
        char *settings = rs_format("dataset=%s", sets[i].name);
        open_one(
            &b,
            "{\"input\": \" dog\", \"context\": \" cat fox\", \"answers\": [\"Paragraph 3\"], \"all_classes\": [\"Paragraph 3\", \"x\"]}",
            settings);
        const char *names[RS_MAX_METRICS + 1];
        assert_int_equal(rs_task_metrics(b.task, &b.params, names), 1);
        assert_string_equal(names[0], sets[i].metric);
        rs_sample s = bench_sample(&b, 4000, 0);
        char *text = prompt_text(&s);
        assert_null(s.error);
        assert_int_equal(s.max_new_tokens, sets[i].max_new_tokens);
        assert_int_equal(occurrences(text, " cat fox"), 1);
        assert_int_equal(occurrences(text, " dog"), sets[i].asks);
        assert_int_equal(occurrences(text, "{"), 0);
        double whole, second;
        b.task->score(b.state, &s, "Paragraph 3", 11, &whole);
        b.task->score(b.state, &s, "\nno\nParagraph 3", 15, &second);
        bool counts = strcmp(sets[i].metric, "count") == 0, overlaps = strcmp(sets[i].metric, "rouge_l") == 0;
        assert_true(whole == (counts ? 0 : overlaps ? 2 / (2 + 1e-8) : 1)); /* rouge's own guard against 0/0 */
        if (sets[i].first_line)
            assert_true(second == 0);
        free(text);
        rs_sample_free(&s);
        bench_close(&b);
        free(settings);
    }
}

/* Never cut but where it is asked for; then as much at the front as at the end, and the sample says how much went. */
static void test_overflow(void **state)
{
    (void)state;
    static const char settings[] = "dataset=hotpotqa\nmax_new_tokens=2\ntemplate={context}";
    static const char line[] = "{\"input\": \"\", \"context\": \" 1 2 3 4 5 6 7 8 9\", \"answers\": [\"x\"], \"_id\": \"i\"}";
    bench b;
    open_one(&b, line, settings);
    rs_sample s = bench_sample(&b, 12, 0);
    assert_null(s.error); /* BOS, nine numbers and two tokens of answer */
    rs_sample_free(&s);
    s = bench_sample(&b, 11, 0);
    assert_string_equal(s.error, "a prompt of 10 tokens and max_new_tokens 2 exceed the context of 11");
    assert_int_equal(s.tokens.n, 10);
    rs_sample_free(&s);
    bench_close(&b);
    static const struct {
        int64_t context;
        const char *text, *facts;
    } cuts[] = {{12, " 1 2 3 4 5 6 7 8 9", "\"source_id\": \"i\""},
                {11, " 1 2 3 6 7 8 9", "\"source_id\": \"i\", \"truncated\": 2"}, /* 4 and 4 tokens, BOS among them */
                {10, " 1 2 3 6 7 8 9", "\"source_id\": \"i\", \"truncated\": 2"},
                {8, " 1 2 7 8 9", "\"source_id\": \"i\", \"truncated\": 4"},
                {4, " 9", "\"source_id\": \"i\", \"truncated\": 8"}};
    char *middle = rs_format("%s\noverflow=middle", settings);
    open_one(&b, line, middle);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        s = bench_sample(&b, cuts[i].context, 0);
        char *text = prompt_text(&s);
        assert_null(s.error);
        assert_int_equal(s.tokens.ids[0], BOS);
        assert_string_equal(text, cuts[i].text);
        assert_string_equal(s.facts, cuts[i].facts);
        free(text);
        rs_sample_free(&s);
    }
    int64_t n;
    assert_int_equal(b.task->count(b.state, 3, 1, &n), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "max_new_tokens 2"));
    bench_close(&b);
    free(middle);
}

/* --- faults --- */

#define GOOD "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"Paragraph 1\"], \"all_classes\": [\"Paragraph 1\"]}\n"

typedef struct fault {
    const char *dataset, *text;
    int line;
    const char *word; /* of the message */
} fault;

static const fault faults[] = {
    {"qasper", "", 1, "empty file"},
    {"qasper", GOOD "\n" GOOD, 2, "empty line"},
    {"qasper", GOOD "{\"input\": \n", 2, "JSON"},
    {"qasper", GOOD "[1]\n", 2, "an array"},
    {"qasper", GOOD "{\"input\": \"\xFF\"}\n", 2, "byte 12 of the line is not UTF-8"},
    {"qasper", "{\"context\": \"b\", \"answers\": [\"c\"]}\n", 1, "no \"input\""},
    {"qasper", GOOD "{\"input\": \"a\", \"outputs\": [\"b\"]}\n", 2, "no \"context\""},
    {"qasper", "{\"input\": \"a\", \"context\": \"\", \"answers\": [\"c\"]}\n", 1, "\"context\" is empty"},
    {"qasper", "{\"input\": \"a\", \"context\": 3, \"answers\": [\"c\"]}\n", 1, "\"context\" must be a string, not a number"},
    {"qasper", GOOD GOOD "{\"input\": \"a\", \"context\": \"b\", \"answer\": \"c\"}\n", 3, "no \"answers\""},
    {"qasper", "{\"input\": \"a\", \"context\": \"b\", \"answers\": \"c\"}\n", 1, "list of strings, not a string"},
    {"qasper", "{\"input\": \"a\", \"context\": \"b\", \"answers\": []}\n", 1, "\"answers\" is empty"},
    {"qasper", "{\"input\": \"a\", \"context\": \"b\", \"answers\": [null]}\n", 1, "\"answers\"[0]"},
    {"qasper", "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"c\"], \"_id\": 7}\n", 1, "\"_id\" must be a string"},
    {"qasper", GOOD "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"c\"], \"dataset\": \"musique\"}\n", 2, "'musique'"},
    {"qasper", "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"c\"], \"dataset\": \"qasper2\"}\n", 1, "dataset is qasper"},
    {"trec", GOOD "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"c\"]}\n", 2, "no \"all_classes\""},
    {"trec", "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"c\"], \"all_classes\": null}\n", 1, "not null"},
    {"trec", "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"c\"], \"all_classes\": [\"d\"]}\n", 1, "'c', is not one of"},
    {"passage_retrieval_en", GOOD "{\"input\": \"a\", \"context\": \"b\", \"answers\": [\"paragraph 3\"]}\n", 2, "'paragraph 3'"},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        rs_error_clear();
        write_file("bad.jsonl", faults[i].text, strlen(faults[i].text));
        bench b;
        char *settings = rs_format("file=bad.jsonl\ndataset=%s", faults[i].dataset);
        rs_status status = bench_try(&b, "longbench", settings);
        char *place = rs_format("%s/bad.jsonl:%d: ", test_folder, faults[i].line);
        const char *message = rs_error_message();
        if (status != RS_INVALID || strncmp(message, place, strlen(place)) != 0 || strstr(message, faults[i].word) == NULL)
            fail_msg("fault %zu: status %d, '%s', expected %s... %s", i, status, message, place, faults[i].word);
        free(place);
        free(settings);
        bench_close(&b);
    }
    bench b;
    write_file("bad.jsonl", GOOD, strlen(GOOD));
    rs_error_clear();
    assert_int_equal(bench_try(&b, "longbench", "file=bad.jsonl\ndataset=qasper\ntemplate=ask {input}"), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "{context}"));
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_odd_bytes),
        cmocka_unit_test(test_first_line),
        cmocka_unit_test_setup(test_prompt, fixture_clear),
        cmocka_unit_test_setup(test_datasets, fixture_clear),
        cmocka_unit_test_setup(test_overflow, fixture_clear),
        cmocka_unit_test_setup(test_faults, fixture_clear),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
