/* The longppl task's texts and short windows, which tokens are key, and what records and reports make of them. What a model's numbers come
 * to is compared with the package longppl in tests/e2e/text_scores.py. */
#include "task_fixture.h"

#include <float.h>

#include "base/base64.h"
#include "report/key_tokens.h"

/* 11 tokens a text of context 12: numbers i, i+1, ... */
static void write_numbers(const char *name, int from, int n)
{
    rs_text text = {0};
    for (int i = 0; i < n; i++)
        rs_text_printf(&text, " %d", from + i);
    write_file(name, text.data, text.n);
    rs_text_free(&text);
}

static void open_numbers(bench *b, int32_t bos)
{
    write_numbers("a.txt", 0, 25); /* two texts and three numbers left */
    write_numbers("b.txt", 50, 11);
    bench_open(b, "longppl", "text=?.txt\nshort_context=4\nslide=3");
    b->task->close(b->state);
    b->setup.bos = bos;
    assert_int_equal(b->task->open(&b->setup, &b->state), RS_OK);
}

static void check_sample(bench *b, int64_t doc_id, const char *text, int64_t score_from)
{
    rs_sample s = bench_sample(b, 12, doc_id);
    char *found = prompt_text(&s);
    assert_string_equal(found, text);
    assert_int_equal(s.kind, RS_SAMPLE_SCORE);
    assert_int_equal(s.score_from, score_from);
    assert_int_equal(s.tokens.ids[0] == BOS, b->setup.bos == BOS);
    assert_null(s.error);
    free(found);
    rs_sample_free(&s);
}

/* A context of 12: positions 4 to 11 are scored, in short windows that score 4-6, 7-9, 10-11. */
static void test_samples(void **state)
{
    (void)state;
    for (int with_bos = 0; with_bos < 2; with_bos++) {
        bench b;
        open_numbers(&b, with_bos ? BOS : -1);
        int64_t n = 0, from = with_bos ? 4 : 3;
        assert_int_equal(b.task->count(b.state, 12, 100, &n), RS_OK);
        assert_int_equal(n, 3);
        assert_int_equal(b.task->count_extra(&b.params, 12, n), 9);
        check_sample(&b, 0, " 0 1 2 3 4 5 6 7 8 9 10", from);
        check_sample(&b, 1, " 11 12 13 14 15 16 17 18 19 20 21", from);
        check_sample(&b, 2, " 50 51 52 53 54 55 56 57 58 59 60", from);
        check_sample(&b, RS_EXTRA_DOC_ID, " 0 1 2 3 4 5", from);
        check_sample(&b, RS_EXTRA_DOC_ID + 1, " 3 4 5 6 7 8", from);
        check_sample(&b, RS_EXTRA_DOC_ID + 2, " 6 7 8 9 10", from);
        check_sample(&b, RS_EXTRA_DOC_ID + 5, " 17 18 19 20 21", from);
        check_sample(&b, RS_EXTRA_DOC_ID + 7, " 53 54 55 56 57 58", from);
        bench_close(&b);
    }
}

/* Whatever context, short_context and slide: each scored token of a text is the same token in exactly one short window, behind
 * `short_context` to `short_context` + slide - 1 places. */
static void test_windows_cover(void **state)
{
    (void)state;
    write_numbers("long.txt", 0, 90);
    for (int64_t context = 3; context <= 40; context += 1 + context % 3)
        for (int64_t least = 2; least < context; least += 1 + least % 4)
            for (int64_t slide = 1; slide <= 13; slide += 4) {
                bench b;
                char *settings = rs_format("text=long.txt\nshort_context=%d\nslide=%d", (int)least, (int)slide);
                bench_open(&b, "longppl", settings);
                rs_sample text = bench_sample(&b, context, 1);
                int64_t windows = b.task->count_extra(&b.params, context, 1), next = text.score_from;
                for (int64_t w = 0; w < windows; w++) {
                    rs_sample s = bench_sample(&b, context, RS_EXTRA_DOC_ID + windows + w);
                    assert_true((int64_t)s.tokens.n <= least + slide && (int64_t)s.tokens.n > s.score_from);
                    for (int64_t i = s.score_from; i < (int64_t)s.tokens.n; i++, next++)
                        assert_int_equal(s.tokens.ids[i], text.tokens.ids[next]);
                    assert_memory_equal(s.tokens.ids + 1, text.tokens.ids + next - (int64_t)s.tokens.n + 1,
                                        (s.tokens.n - 1) * sizeof(int32_t));
                    rs_sample_free(&s);
                }
                assert_int_equal(next, context);
                rs_sample_free(&text);
                bench_close(&b);
                free(settings);
            }
}

static void test_faults(void **state)
{
    (void)state;
    bench b;
    int64_t n;
    open_numbers(&b, BOS);
    assert_int_equal(b.task->count(b.state, 4, 1, &n), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "short_context must be below the context, 4, not 4"));
    rs_error_clear();
    assert_int_equal(b.task->count(b.state, 100, 1, &n), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "a.txt, has 25 tokens"));
    rs_error_clear();
    bench_close(&b);
    write_file("c.txt", " 1\xFF", 3);
    bench_open(&b, "longppl", "text=c.txt\nshort_context=4");
    assert_int_equal(b.task->count(b.state, 12, 1, &n), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "c.txt: byte 2 is not UTF-8"));
    bench_close(&b);
    rs_error_clear();
    assert_int_equal(bench_try(&b, "longppl", "text=absent*.txt"), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "absent*.txt"));
    bench_close(&b);
}

/* --- which tokens are key --- */

static void add(rs_key_tokens *keys, int64_t doc_id, float *nll, int64_t n)
{
    rs_record record = {.doc_id = doc_id, .token_nll = nll, .n_tokens = n};
    rs_key_tokens_add(keys, &record);
}

static void check_sum(const rs_key_tokens *keys, int64_t doc_id, float *nll, int64_t n, int64_t n_keys, double sum)
{
    rs_record record = {.doc_id = doc_id, .token_nll = nll, .n_tokens = n};
    rs_part found = rs_key_tokens_sum(keys, &record);
    assert_int_equal(found.n, n_keys);
    assert_true(found.nll == sum);
}

/* Both bounds are open. */
static void test_key_tokens(void **state)
{
    (void)state;
    float below = 2 - FLT_EPSILON; /* the next float under 2 */
    float whole[] = {0, 0, below, 2, 1, 0}, shorts[] = {2, 2 + 2 * FLT_EPSILON, 9, 9, 3, 1}, variant[] = {1, 10, 100, 1000, 10000, 100000};
    float plain[] = {0, 0, 0, 0, 0, 0};
    rs_key_tokens keys;
    rs_key_tokens_init(&keys, 2, 4);
    add(&keys, 0, whole, 6);
    add(&keys, 1, plain, 6);
    check_sum(&keys, 0, variant, 6, 0, 0); /* not before all windows are in */
    add(&keys, RS_EXTRA_DOC_ID, shorts, 4);
    check_sum(&keys, 0, variant, 6, 0, 0);
    add(&keys, RS_EXTRA_DOC_ID + 1, shorts + 4, 2);
    check_sum(&keys, 0, variant, 6, 2, 110);
    add(&keys, RS_EXTRA_DOC_ID + 2, shorts, 4); /* the second text: more tokens than it has */
    add(&keys, RS_EXTRA_DOC_ID + 3, shorts, 4);
    check_sum(&keys, 1, variant, 6, 0, 0);
    check_sum(&keys, 0, variant, 5, 0, 0); /* another length */
    check_sum(&keys, 0, NULL, 6, 0, 0);
    check_sum(&keys, 2, variant, 6, 0, 0);
    add(&keys, 7, whole, 6);
    add(&keys, RS_EXTRA_DOC_ID + 4, whole, 6);
    check_sum(&keys, 0, variant, 6, 2, 110);
    rs_key_tokens_free(&keys);
}

/* --- records --- */

static void test_base64(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "Zg=="},
                                             {"fo", "Zm8="},
                                             {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="},
                                             {"fooba", "Zm9vYmE="},
                                             {"foobar", "Zm9vYmFy"},
                                             {"\xFB\xFF\xBE", "+/++"}};
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg===", "=Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm9v ", "Zm 9", "Zg==Zg==", "Zm9-", "Zm\xFFv"};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        rs_text text = {0}, bytes = {0};
        size_t n = strlen(vectors[i][0]);
        rs_text_puts(&text, "");
        rs_base64_encode((const unsigned char *)vectors[i][0], n, &text);
        assert_string_equal(text.data, vectors[i][1]);
        assert_true(rs_base64_decode(text.data, text.n, &bytes));
        assert_int_equal(bytes.n, n);
        assert_memory_equal(bytes.data ? bytes.data : "", vectors[i][0], n);
        rs_text_free(&text);
        rs_text_free(&bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rs_text bytes = {0};
        if (rs_base64_decode(bad[i], strlen(bad[i]), &bytes))
            fail_msg("taken: %s", bad[i]);
        rs_text_free(&bytes);
    }
}

static void test_record(void **state)
{
    (void)state;
    float nll[] = {1, -0.0f, 1e-30f, 3.4e38f, 0.1f};
    rs_record record = {.point = "0123456789abcdef", .doc_id = RS_EXTRA_DOC_ID + 3, .has_nll = true, .n_tokens = 5, .token_nll = nll}, back;
    rs_text text = {0};
    rs_record_write_json(&record, (const char *const[]){NULL}, &text);
    char *at = strstr(text.data, "\"token_nll\": \"AACAPwAAAIBgQqINnsl/f83MzD0=\""); /* struct.pack('<5f', ...) */
    assert_non_null(at);
    assert_int_equal(rs_record_parse(text.data, text.n, &back), RS_OK);
    assert_true(back.doc_id == RS_EXTRA_DOC_ID + 3 && back.n_tokens == 5);
    assert_memory_equal(back.token_nll, nll, sizeof nll);
    rs_record_free(&back);
    char *digit = strstr(text.data, "\"n_tokens\": 5");
    digit[12] = '4'; /* another number of tokens */
    assert_int_equal(rs_record_parse(text.data, text.n, &back), RS_INVALID);
    digit[12] = '5';
    at[15] = '!';
    assert_int_equal(rs_record_parse(text.data, text.n, &back), RS_INVALID);
    rs_text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_samples, fixture_clear),
        cmocka_unit_test_setup(test_windows_cover, fixture_clear),
        cmocka_unit_test_setup(test_faults, fixture_clear),
        cmocka_unit_test(test_key_tokens),
        cmocka_unit_test(test_base64),
        cmocka_unit_test_setup(test_record, fixture_clear),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
