/* A record's written form: what is written is read back to the bit, and whatever bytes come in, the reader answers and does not fall. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "report/record.h"

static const char *const metrics[] = {"ruler_all", "exact", NULL};

static void write_generated(rs_text *out)
{
    char response[] = "a \"word\"\n\0 and \xF0\x9F\x98\x80 bad \xFF end", one[] = "12345", two[] = "\xE2\x80\xA8";
    char *references[] = {one, two};
    char facts[] = "\"depths\": [12.5, 0.1],\n\"needle\": {\"key\": \"a b\"}";
    rs_record record = {
        .id = {0x0123456789abcdefu, 0xfedcba9876543210u},
        .point = "00ff00ff00ff00ff",
        .doc_id = 41,
        .tokens = 8192,
        .n_tokens = 17,
        .prompt_hash = {1, 2},
        .response = response,
        .response_bytes = sizeof response - 1,
        .references = references,
        .n_references = 2,
        .scores = {1.0 / 3, 1},
        .n_scores = 2,
        .facts = facts,
        .seconds = 0.1 + 0.2,
        .replica = 3,
    };
    rs_record_write_json(&record, metrics, out);
}

static void write_scored(rs_text *out)
{
    rs_record record = {
        .id = {UINT64_MAX, 0}, .point = "0123456789abcdef", .has_nll = true, .nll = 1e-5 / 3, .n_tokens = INT64_MAX, .seconds = 1e300};
    record.parts[RS_BY_POSITION][1] = (rs_part){1, 0.1};
    record.parts[RS_BY_POSITION][6] = (rs_part){32, 1.0 / 3};
    record.parts[RS_BY_POSITION][RS_BUCKETS - 1] = (rs_part){INT64_MAX, 0};
    record.parts[RS_BY_DISTANCE][0] = (rs_part){7, 0.5};
    record.parts[RS_BY_DISTANCE][3] = (rs_part){2, 0.25};
    rs_record_write_json(&record, metrics, out);
}

static void test_round_trip(void **state)
{
    (void)state;
    rs_text text = {0};
    rs_record back;
    write_generated(&text);
    assert_null(memchr(text.data, '\n', text.n));
    assert_int_equal(rs_record_parse(text.data, text.n, &back), RS_OK);
    assert_true(back.id.high == 0x0123456789abcdefu && back.id.low == 0xfedcba9876543210u);
    assert_string_equal(back.point, "00ff00ff00ff00ff");
    assert_true(back.doc_id == 41 && back.tokens == 8192 && back.n_tokens == 17 && back.prompt_hash.high == 1 && back.prompt_hash.low == 2);
    static const char expected[] = "a \"word\"\n\0 and \xF0\x9F\x98\x80 bad \xEF\xBF\xBD end";
    assert_int_equal(back.response_bytes, sizeof expected - 1);
    assert_memory_equal(back.response, expected, sizeof expected);
    assert_int_equal(back.n_references, 2);
    assert_string_equal(back.references[0], "12345");
    assert_string_equal(back.references[1], "\xE2\x80\xA8");
    assert_int_equal(back.n_scores, 2);
    assert_true(back.scores[0] == 1.0 / 3 && back.scores[1] == 1);
    assert_string_equal(back.facts, "\"depths\": [12.5, 0.1], \"needle\": {\"key\": \"a b\"}");
    assert_null(back.error);
    assert_true(!back.has_nll && back.seconds == 0.1 + 0.2 && back.replica == 3);

    rs_text again = {0}, thrice = {0};
    rs_record_write_json(&back, metrics, &again);
    rs_record_free(&back);
    assert_int_equal(rs_record_parse(again.data, again.n, &back), RS_OK);
    rs_record_write_json(&back, metrics, &thrice);
    assert_string_equal(thrice.data, again.data);
    rs_text_free(&again);
    rs_text_free(&thrice);
    rs_record_free(&back);

    rs_text_clear(&text);
    write_scored(&text);
    assert_int_equal(rs_record_parse(text.data, text.n, &back), RS_OK);
    assert_true(back.has_nll && back.nll == 1e-5 / 3 && back.n_tokens == INT64_MAX && back.seconds == 1e300 && back.response == NULL);
    for (int b = 0; b < RS_BUCKETS; b++) {
        const rs_part *sum = &back.parts[RS_BY_POSITION][b];
        assert_true(b == 1   ? sum->n == 1 && sum->nll == 0.1
                    : b == 6 ? sum->n == 32 && sum->nll == 1.0 / 3
                             : sum->n == (b == RS_BUCKETS - 1 ? INT64_MAX : 0) && sum->nll == 0);
    }
    for (int b = 0; b < RS_BUCKETS; b++)
        assert_true(back.parts[RS_BY_DISTANCE][b].n == (b == 0 ? 7 : b == 3 ? 2 : 0));
    assert_non_null(strstr(text.data, ", \"by_position\": [[1, 1, 0.1], [32, 32, "));
    assert_non_null(strstr(text.data, ", \"by_distance\": [[0, 7, 0.5], [4, 2, 0.25]]"));
    rs_record_free(&back);
    rs_text_free(&text);
}

static void test_numbers(void **state)
{
    (void)state;
    rs_rng rng;
    rs_text text = {0};
    rs_rng_init(&rng, 7, "record", 0, 0);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rs_rng_next(&rng);
        rs_record record = {.point = "0123456789abcdef", .has_nll = true}, back;
        memcpy(&record.nll, &bits, sizeof bits);
        rs_text_clear(&text);
        rs_record_write_json(&record, metrics, &text);
        assert_int_equal(rs_record_parse(text.data, text.n, &back), RS_OK);
        assert_true(back.nll == record.nll || (isnan(back.nll) && !isfinite(record.nll)));
        rs_record_free(&back);
    }
    rs_text_free(&text);
}

/* Bucket 0 holds 0; bucket b begins at 2^(b-1) and ends before 2^b. */
static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(rs_bucket_of(0), 0);
    assert_true(rs_bucket_from(0) == 0);
    for (int b = 1; b < RS_BUCKETS; b++) {
        int64_t from = (int64_t)1 << (b - 1), last = from + (from - 1);
        assert_true(rs_bucket_from(b) == from);
        assert_int_equal(rs_bucket_of(from), b);
        assert_int_equal(rs_bucket_of(last), b);
    }
}

static void test_error_record(void **state)
{
    (void)state;
    char error[] = "the prompt has 9000 tokens, more than the context";
    rs_record record = {.point = "0123456789abcdef", .doc_id = 5, .error = error}, back;
    rs_text text = {0};
    rs_record_write_json(&record, metrics, &text);
    assert_int_equal(rs_record_parse(text.data, text.n, &back), RS_OK);
    assert_string_equal(back.error, error);
    assert_true(back.response == NULL && back.n_scores == 0 && !back.has_nll);
    rs_record_free(&back);
    rs_text_free(&text);
}

static void test_peek(void **state)
{
    (void)state;
    rs_text text = {0};
    rs_record_key key;
    write_generated(&text);
    assert_true(rs_record_peek(text.data, text.n, &key));
    assert_true(key.id.high == 0x0123456789abcdefu && key.id.low == 0xfedcba9876543210u && key.point == 0x00ff00ff00ff00ffu &&
                key.doc_id == 41);
    assert_memory_equal(text.data + key.rest, ", \"tokens\"", 10);
    for (size_t n = 0; n < text.n; n++)
        if (text.data[n ? n - 1 : 0] != '}')
            assert_false(rs_record_peek(text.data, n, &key));
    rs_text_free(&text);
}

/* What the reader takes, jansson takes too, and they agree on the numbers. */
static bool check_against_jansson(const char *json, size_t n)
{
    rs_record record;
    if (rs_record_parse(json, n, &record) != RS_OK) {
        rs_error_clear();
        return false;
    }
    json_error_t error;
    json_t *tree = json_loadb(json, n, JSON_ALLOW_NUL, &error);
    if (tree == NULL) { /* limits of its own: integers in facts, NUL in a fact's name */
        if (!strstr(error.text, "too big integer") && !strstr(error.text, "NUL byte in object key"))
            fail_msg("%s: %.*s", error.text, (int)n, json);
        rs_record_free(&record);
        return true;
    }
    assert_true(json_integer_value(json_object_get(tree, "doc_id")) == record.doc_id);
    json_t *nll = json_object_get(tree, "nll");
    if (json_is_number(nll))
        assert_true(json_number_value(nll) == record.nll);
    if (record.response) {
        json_t *response = json_array_get(json_object_get(tree, "resps"), 0);
        assert_int_equal(json_string_length(response), record.response_bytes);
        assert_memory_equal(json_string_value(response), record.response, record.response_bytes);
    }
    json_decref(tree);
    rs_record_free(&record);
    return true;
}

static void test_any_bytes(void **state)
{
    (void)state;
    static const char alphabet[] = "\"\\{}[],:0123456789-+.eEunltrufase \n\xFF\xC3\xA9";
    rs_text texts[2] = {{0}, {0}}, copy = {0};
    write_generated(&texts[0]);
    write_scored(&texts[1]);
    rs_rng rng;
    rs_rng_init(&rng, 1, "record", 0, 0);
    int taken = 0;
    for (int i = 0; i < 60000; i++) {
        const rs_text *text = &texts[i % 2];
        rs_text_clear(&copy);
        rs_text_append(&copy, text->data, text->n);
        for (uint64_t changes = 1 + rs_rng_below(&rng, 3); changes > 0; changes--) {
            size_t at = (size_t)rs_rng_below(&rng, copy.n);
            copy.data[at] = rs_rng_below(&rng, 2) ? (char)rs_rng_below(&rng, 256) : alphabet[rs_rng_below(&rng, sizeof alphabet - 1)];
        }
        size_t n = rs_rng_below(&rng, 4) ? copy.n : (size_t)rs_rng_below(&rng, copy.n + 1);
        taken += check_against_jansson(copy.data, n);
    }
    assert_true(taken > 1000); /* changes inside strings and digits are good records: both sides were tried */
    for (size_t n = 0; n < texts[0].n; n++)
        assert_false(check_against_jansson(texts[0].data, n));
    for (int i = 0; i < 2; i++)
        rs_text_free(&texts[i]);
    rs_text_free(&copy);
}

static void test_refused(void **state)
{
    (void)state;
#define HEAD "{\"id\": \"00000000000000000000000000000000\", \"point\": \"0000000000000000\", \"doc_id\": 0, "
#define BODY "\"tokens\": 1, \"prompt_hash\": \"00000000000000000000000000000000\", \"n_tokens\": 1"
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        HEAD BODY,
        HEAD BODY "} ,",
        HEAD BODY ", \"tokens\": 2}",
        HEAD BODY ", \"nll\": 1e999}",
        HEAD BODY ", \"nll\": 0x1}",
        HEAD BODY ", \"nll\": NaN}",
        HEAD BODY ", \"nll\": 01}",
        HEAD BODY ", \"resps\": []}",
        HEAD BODY ", \"resps\": [\"a\", \"b\"]}",
        HEAD BODY ", \"resps\": [\"\\ud800\"]}",
        HEAD BODY ", \"scores\": {\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1}}",
        HEAD BODY ", \"by_position\": [[3, 1, 0.5]]}",
        HEAD BODY ", \"by_position\": [[0, 1, 0.5]]}",
        HEAD BODY ", \"by_position\": [[4, 0, 0.5]]}",
        HEAD BODY ", \"by_position\": [[4, 1]]}",
        HEAD BODY ", \"by_position\": []}",
        HEAD BODY ", \"by_distance\": [[3, 1, 0.5]]}",
        HEAD BODY ", \"by_distance\": [[-1, 1, 0.5]]}",
        HEAD BODY ", \"doc_id\": 0}",
        HEAD BODY ", \"replica\": 99999999999}",
        HEAD BODY ", \"fact\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
    };
    rs_record record;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rs_error_clear();
        if (rs_record_parse(bad[i], strlen(bad[i]), &record) == RS_OK)
            fail_msg("taken: %s", bad[i]);
    }
    assert_int_equal(rs_record_parse(HEAD BODY "}", strlen(HEAD BODY "}"), &record), RS_OK);
    rs_record_free(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_numbers), cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_error_record), cmocka_unit_test(test_peek),    cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
