/* The tokenizer against Hugging Face's ids (golden/tokenizer), against malformed files, and against texts made to be slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/tokenizer.h"

#define GOLDEN RS_TESTS "/golden/tokenizer/"

static rs_tokenizer *load(const char *name)
{
    char *path = rs_format(GOLDEN "%s.json", name);
    rs_tokenizer *tokenizer = NULL;
    rs_status status = rs_tokenizer_load(path, &tokenizer);
    if (status != RS_OK)
        print_error("%s\n", rs_error_message());
    assert_int_equal(status, RS_OK);
    free(path);
    return tokenizer;
}

static json_t *load_goldens(void)
{
    json_error_t error;
    json_t *goldens = json_load_file(GOLDEN "goldens.json", JSON_ALLOW_NUL, &error);
    assert_non_null(goldens);
    return goldens;
}

static rs_tokens ids_of(const json_t *list)
{
    rs_tokens ids = {0};
    size_t i;
    json_t *id;
    json_array_foreach(list, i, id) RS_PUSH(ids.ids, ids.n, ids.cap, (int32_t)json_integer_value(id));
    return ids;
}

static void expect_ids(const rs_tokenizer *tokenizer, const char *name, const json_t *text, const json_t *wanted_list)
{
    rs_tokens got = {0}, wanted = ids_of(wanted_list);
    assert_int_equal(rs_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), &got), RS_OK);
    bool same = got.n == wanted.n && (got.n == 0 || memcmp(got.ids, wanted.ids, got.n * sizeof *got.ids) == 0);
    if (!same)
        print_error("%s: other ids for \"%s\" (%zu, wanted %zu)\n", name, json_string_value(text), got.n, wanted.n);
    assert_true(same);
    rs_tokens_free(&got);
    rs_tokens_free(&wanted);
}

static void expect_text(const rs_tokenizer *tokenizer, const char *name, const json_t *id_list, const json_t *wanted)
{
    rs_tokens ids = ids_of(id_list);
    rs_text got = {0};
    rs_text_puts(&got, "");
    rs_tokenizer_decode(tokenizer, ids.ids, ids.n, &got);
    bool same = got.n == json_string_length(wanted) && memcmp(got.data, json_string_value(wanted), got.n) == 0;
    if (!same)
        print_error("%s: decodes to \"%s\", wanted \"%s\"\n", name, got.data, json_string_value(wanted));
    assert_true(same);
    rs_tokens_free(&ids);
    rs_text_free(&got);
}

static void test_goldens(void **state)
{
    (void)state;
    json_t *goldens = load_goldens();
    const json_t *texts = json_object_get(goldens, "texts");
    const char *name;
    json_t *golden;
    assert_true(json_object_size(json_object_get(goldens, "tokenizers")) >= 11);
    json_object_foreach(json_object_get(goldens, "tokenizers"), name, golden)
    {
        rs_tokenizer *tokenizer = load(name);
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const json_t *text = json_array_get(texts, i), *ids = json_array_get(json_object_get(golden, "ids"), i);
            const json_t *decoded = json_array_get(json_object_get(golden, "decoded"), i);
            expect_ids(tokenizer, name, text, ids);
            expect_text(tokenizer, name, ids, json_is_null(decoded) ? text : decoded);
        }
        const json_t *random_ids = json_object_get(golden, "random_ids");
        for (size_t i = 0; i < json_array_size(random_ids); i++)
            expect_text(tokenizer, name, json_array_get(random_ids, i), json_array_get(json_object_get(golden, "random_decoded"), i));
        rs_tokenizer_free(tokenizer);
    }
    json_decref(goldens);
}

static void test_vocab_size(void **state)
{
    (void)state;
    rs_tokenizer *tokenizer = load("gemma");
    assert_int_equal(rs_tokenizer_vocab_size(tokenizer), 703);
    rs_tokenizer_free(tokenizer);
    rs_tokenizer_free(NULL);
}

/* encode and decode append; a text that is refused leaves what was there. */
static void test_append(void **state)
{
    (void)state;
    rs_tokenizer *tokenizer = load("smollm");
    rs_tokens tokens = {0}, once = {0};
    assert_int_equal(rs_tokenizer_encode(tokenizer, "one two", 7, &once), RS_OK);
    assert_int_equal(rs_tokenizer_encode(tokenizer, "one two", 7, &tokens), RS_OK);
    assert_int_equal(rs_tokenizer_encode(tokenizer, "one two", 7, &tokens), RS_OK);
    assert_int_equal(tokens.n, 2 * once.n);
    assert_memory_equal(tokens.ids + once.n, once.ids, once.n * sizeof *once.ids);
    rs_error_clear();
    assert_int_equal(rs_tokenizer_encode(tokenizer, "abc\xE2\x82", 5, &tokens), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "offset 3"));
    rs_error_clear();
    assert_int_equal(rs_tokenizer_encode(tokenizer, "\xED\xA0\x80", 3, &tokens), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "offset 0"));
    assert_int_equal(tokens.n, 2 * once.n);
    int32_t strange[] = {-1, INT32_MAX, INT32_MIN, 1 << 24, once.ids[0]};
    rs_text text = {0};
    rs_text_puts(&text, "before ");
    rs_tokenizer_decode(tokenizer, strange, 5, &text);
    assert_true(strncmp(text.data, "before o", 8) == 0);
    rs_text_free(&text);
    rs_tokens_free(&tokens);
    rs_tokens_free(&once);
    rs_tokenizer_free(tokenizer);
    rs_error_clear();
}

/* One word of a megabyte: would take hours if merging were quadratic. */
static void test_giant_words(void **state)
{
    (void)state;
    static const char *const names[] = {"gemma", "smollm", "llama3", "o200k"};
    static const char *const units[] = {"a", " ", "\n", "th", "7", "\xE4\xB8\xAD", "!=", "x "};
    for (size_t k = 0; k < 4; k++) {
        rs_tokenizer *tokenizer = load(names[k]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            rs_text text = {0}, back = {0};
            while (text.n < 1000000)
                rs_text_puts(&text, units[u]);
            rs_tokens tokens = {0};
            assert_int_equal(rs_tokenizer_encode(tokenizer, text.data, text.n, &tokens), RS_OK);
            rs_tokenizer_decode(tokenizer, tokens.ids, tokens.n, &back);
            assert_int_equal(back.n, text.n);
            assert_memory_equal(back.data, text.data, text.n);
            rs_tokens_free(&tokens);
            rs_text_free(&text);
            rs_text_free(&back);
        }
        rs_tokenizer_free(tokenizer);
    }
}

typedef struct job {
    const rs_tokenizer *tokenizer;
    rs_tokens tokens;
} job;

static void *encode_in_thread(void *argument)
{
    job *j = argument;
    for (int i = 0; i < 200; i++) {
        char *text = rs_format("thread text %d: it's the best of times\r\n\t<|im_end|> \xE4\xBB\x8A\xE5\xA4\xA9", i);
        rs_tokenizer_encode(j->tokenizer, text, strlen(text), &j->tokens);
        free(text);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    rs_tokenizer *tokenizer = load("smollm");
    job jobs[4] = {0};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        jobs[i].tokenizer = tokenizer;
        assert_int_equal(pthread_create(&threads[i], NULL, encode_in_thread, &jobs[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(jobs[i].tokens.n, jobs[0].tokens.n);
        assert_memory_equal(jobs[i].tokens.ids, jobs[0].tokens.ids, jobs[0].tokens.n * sizeof(int32_t));
    }
    for (size_t i = 0; i < 4; i++)
        rs_tokens_free(&jobs[i].tokens);
    rs_tokenizer_free(tokenizer);
}

/* ---- Malformed files ---- */

/* A scratch file of this process; its base name is in every message. */
static const char *scratch_path(void)
{
    static char path[256];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/ropesweep_tokenizer_%ld.json", folder ? folder : "/tmp", (long)getpid());
    return path;
}

static rs_status load_bytes(const char *bytes, size_t n, rs_tokenizer **out)
{
    FILE *file = fopen(scratch_path(), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    rs_error_clear();
    return rs_tokenizer_load(scratch_path(), out);
}

#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define MERGES "\"merges\":[\"a b\"]"
#define MODEL "\"model\":{\"type\":\"BPE\"," VOCAB "," MERGES "}"
#define NINE_AS "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaa\"}"
#define WITH(part) "{" part "," MODEL "}"
#define MODEL_WITH(part) "{\"model\":{\"type\":\"BPE\"," part "}}"
#define FLAGS "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true"
#define ADDED(tokens) "{\"added_tokens\":[" tokens "]," MODEL "}"
#define SPLIT(pattern) "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{" pattern "},\"behavior\":\"Isolated\"}," MODEL "}"
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"

static const struct malformed {
    const char *json, *word; /* word: in the message, beside the file's name */
} malformed[] = {
    {"", ":1:0"},
    {"not json", ":1:3"},
    {"{\n \"model\": {,}}", ":2:12"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0", ":1:37"},
    {"[]", "array"},
    {"\"text\"", ":1:"},
    {"{}", "\"model\""},
    {"{\"model\":null}", "null"},
    {"{\"model\":[]}", "array"},
    {MODEL_WITH(VOCAB), "\"merges\""},
    {MODEL_WITH(MERGES), "\"vocab\""},
    {MODEL_WITH("\"vocab\":{},\"merges\":[]"), "empty"},
    {MODEL_WITH("\"vocab\":[[\"a\",-1.0]],\"merges\":[]"), "array"},
    {MODEL_WITH(VOCAB ",\"merges\":{}"), "\"merges\""},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.5]]}}", "Unigram"},
    {"{\"model\":{\"type\":\"WordPiece\"," VOCAB "}}", "WordPiece"},
    {"{\"model\":{\"type\":\"WordLevel\"," VOCAB "}}", "WordLevel"},
    {"{\"model\":{\"type\":7," VOCAB "," MERGES "}}", "\"type\""},
    {MODEL_WITH("\"vocab\":{\"a\":\"0\"},\"merges\":[]"), "\"a\""},
    {MODEL_WITH("\"vocab\":{\"a\":0.5},\"merges\":[]"), "real number"},
    {MODEL_WITH("\"vocab\":{\"a\":null},\"merges\":[]"), "null"},
    {MODEL_WITH("\"vocab\":{\"a\":-1},\"merges\":[]"), "-1"},
    {MODEL_WITH("\"vocab\":{\"a\":4294967296},\"merges\":[]"), "4294967296"},
    {MODEL_WITH("\"vocab\":{\"a\":99999999999999999999},\"merges\":[]"), ":1:"},
    {MODEL_WITH("\"vocab\":{\"a\":5,\"b\":5},\"merges\":[]"), "both have id 5"},
    {MODEL_WITH("\"vocab\":{\"a\":5,\"a\":6},\"merges\":[]"), "duplicate"},
    {MODEL_WITH("\"vocab\":{\"a\\u0000\":5},\"merges\":[]"), ":1:"},
    {MODEL_WITH(VOCAB ",\"merges\":[\"a c\"]"), "\"c\""},
    {MODEL_WITH(VOCAB ",\"merges\":[\"a b\",\"b a\"]"), "merges[1]"},
    {MODEL_WITH(VOCAB ",\"merges\":[\"ab\"]"), "\"ab\""},
    {MODEL_WITH(VOCAB ",\"merges\":[\"a b c\"]"), "\"a b c\""},
    {MODEL_WITH(VOCAB ",\"merges\":[\" a\"]"), "merges[0]"},
    {MODEL_WITH(VOCAB ",\"merges\":[[\"a\"]]"), "merges[0]"},
    {MODEL_WITH(VOCAB ",\"merges\":[[\"a\",1]]"), "merges[0]"},
    {MODEL_WITH(VOCAB ",\"merges\":[[\"a\",\"b\",\"a\"]]"), "merges[0]"},
    {MODEL_WITH(VOCAB ",\"merges\":[3]"), "integer"},
    {MODEL_WITH(VOCAB "," MERGES ",\"unk_token\":\"<unk>\""), "<unk>"},
    {MODEL_WITH(VOCAB "," MERGES ",\"unk_token\":3"), "unk_token"},
    {MODEL_WITH(VOCAB "," MERGES ",\"byte_fallback\":\"yes\""), "byte_fallback"},
    {MODEL_WITH(VOCAB "," MERGES ",\"fuse_unk\":1"), "fuse_unk"},
    {MODEL_WITH(VOCAB "," MERGES ",\"ignore_merges\":[]"), "ignore_merges"},
    {MODEL_WITH(VOCAB "," MERGES ",\"dropout\":0.1"), "dropout"},
    {MODEL_WITH(VOCAB "," MERGES ",\"continuing_subword_prefix\":\"##\""), "continuing_subword_prefix"},
    {MODEL_WITH(VOCAB "," MERGES ",\"end_of_word_suffix\":\"</w>\""), "end_of_word_suffix"},
    {WITH("\"normalizer\":{\"type\":\"NFKC\"}"), "NFKC"},
    {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}"), "normalizers[0]"},
    {WITH("\"normalizer\":{\"type\":\"Sequence\"}"), "\"normalizers\""},
    {WITH("\"normalizer\":{\"type\":\"Prepend\"}"), "\"prepend\""},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"content\":\"x\"}"), "\"pattern\""},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a+\"},\"content\":\"x\"}"), "a+"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"), "empty"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}"), "\"content\""},
    {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" NINE_AS "," NINE_AS "]}"), "81 times as long"},
    {WITH("\"normalizer\":\"NFC\""), "normalizer"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Whitespace\"}"), "Whitespace"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}"), "Metaspace"},
    {WITH("\"pre_tokenizer\":{}"), "\"type\""},
    {WITH("\"pre_tokenizer\":{\"type\":\"Digits\"}"), "individual_digits"},
    {WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":true}"), "add_prefix_space"},
    {WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":1}"), "use_regex"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL "," BYTE_LEVEL "]}"), "pretokenizers[1]"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[null]}"), "pretokenizers[0]"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Sideways\"}"), "Sideways"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"}}"), "\"behavior\""},
    {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":\"a\",\"behavior\":\"Isolated\"}"), "\"pattern\""},
    {SPLIT("\"Regex\":\"(unclosed\""), "(unclosed"},
    {SPLIT("\"Regex\":\"[unclosed\""), "[unclosed"},
    {SPLIT("\"Regex\":\"a|\\\\w+\""), "\\w"},
    {SPLIT("\"Regex\":\"\\\\bword\""), "\\b"},
    {SPLIT("\"Regex\":\"[[:alpha:]]\""), "[[:alpha:]"},
    {SPLIT("\"Regex\":\"[a-z&&[^b]]\""), "&&"},
    {SPLIT("\"Regex\":\"\\\\p{Greek}\""), "\\p{Greek}"},
    {SPLIT("\"Regex\":\"\\\\p{\""), "\\p{"},
    {SPLIT("\"Regex\":\"a{1,3}+\""), "{1,3}+"},
    {SPLIT("\"Regex\":\"a{,3}\""), "{,3}"},
    {SPLIT("\"Regex\":\"a(?i)b\""), "(?i)"},
    {SPLIT("\"Regex\":\"(*ACCEPT)\""), "(*ACCEPT)"},
    {SPLIT("\"Regex\":\"(a)\\\\1\""), "\\1"},
    {SPLIT("\"Regex\":\"a\\\\\""), "\\"},
    {SPLIT("\"Regex\":\"*a\""), "does not compile"},
    {SPLIT("\"Regex\":\"\""), "empty"},
    {WITH("\"decoder\":{\"type\":\"WordPiece\"}"), "WordPiece"},
    {WITH("\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"CTC\"}]}"), "decoders[1]"},
    {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}"), "\"content\""},
    {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"), "\"start\""},
    {WITH("\"added_tokens\":{}"), "\"added_tokens\""},
    {ADDED("7"), "added_tokens[0]"},
    {ADDED("{\"content\":\"<s>\"," FLAGS "}"), "\"id\""},
    {ADDED("{\"id\":9," FLAGS "}"), "\"content\""},
    {ADDED("{\"id\":9,\"content\":\"<s>\"}"), "\"single_word\""},
    {ADDED("{\"id\":9,\"content\":\"\"," FLAGS "}"), "empty"},
    {ADDED("{\"id\":-9,\"content\":\"<s>\"," FLAGS "}"), "-9"},
    {ADDED("{\"id\":\"9\",\"content\":\"<s>\"," FLAGS "}"), "<s>"},
    {ADDED("{\"id\":1,\"content\":\"<s>\"," FLAGS "}"), "both have id 1"},
    {ADDED("{\"id\":9,\"content\":\"<s>\"," FLAGS "}"), "id 9"},
    {ADDED("{\"id\":9,\"content\":\"ab\"," FLAGS "}"), "id 2"},
    {ADDED("{\"id\":3,\"content\":\"<s>\"," FLAGS "},{\"id\":3,\"content\":\"<s>\"," FLAGS "}"), "twice"},
    {ADDED("{\"id\":3,\"content\":\"<s>\"," FLAGS "},{\"id\":3,\"content\":\"<t>\"," FLAGS "}"), "added_tokens[1]"},
};

static void test_malformed(void **state)
{
    (void)state;
    rs_tokenizer *tokenizer = NULL;
    assert_int_equal(load_bytes("{" MODEL "}", strlen("{" MODEL "}"), &tokenizer), RS_OK); /* the frame itself is sound */
    rs_tokenizer_free(tokenizer);
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        rs_status status = load_bytes(malformed[i].json, strlen(malformed[i].json), &tokenizer);
        const char *message = rs_error_message();
        const char *name = strrchr(scratch_path(), '/') + 1;
        if (status != RS_INVALID || !strstr(message, name) || !strstr(message, malformed[i].word) || strchr(message, '\n'))
            print_error("%s\n  status %d, wanted \"%s\" in: %s\n", malformed[i].json, (int)status, malformed[i].word, message);
        assert_int_equal(status, RS_INVALID);
        assert_null(tokenizer);
        assert_non_null(strstr(message, name));
        assert_non_null(strstr(message, malformed[i].word));
        assert_null(strchr(message, '\n'));
    }
    rs_error_clear();
    assert_int_equal(rs_tokenizer_load("/no/such/tokenizer.json", &tokenizer), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "/no/such/tokenizer.json"));
    unlink(scratch_path());
    rs_error_clear();
}

/* Cut anywhere, a file is refused at a line and column. */
static void test_truncated(void **state)
{
    (void)state;
    rs_text file = {0};
    assert_int_equal(rs_file_read(GOLDEN "llama3.json", 1 << 20, &file), RS_OK);
    for (size_t n = 0; n + 2 < file.n; n += 61) {
        rs_tokenizer *tokenizer;
        assert_int_equal(load_bytes(file.data, n, &tokenizer), RS_INVALID);
        assert_non_null(strstr(rs_error_message(), ".json:1:"));
    }
    rs_text_free(&file);
    unlink(scratch_path());
    rs_error_clear();
}

/* Bytes changed at random: refused or read, and what is read encodes and decodes without harm. */
static void test_mutated(void **state)
{
    (void)state;
    static const char *const names[] = {"added", "unk_fused", "splits", "llama2", "o200k"};
    static const char text[] = " The ship's  captain\n\n said: <mask> 123 sword <left> \xC3\xA9\xE4\xBB\x8A x-y, <0x41>";
    rs_rng rng;
    rs_rng_init(&rng, 7, "test/tokenizer", 0, 0);
    for (size_t i = 0; i < 1500; i++) {
        char *path = rs_format(GOLDEN "%s.json", names[i % 5]);
        rs_text file = {0};
        assert_int_equal(rs_file_read(path, 1 << 20, &file), RS_OK);
        size_t reach = i % 2 ? file.n : 3000; /* half of them in the head, where the structure is */
        for (uint64_t k = 0; k <= rs_rng_below(&rng, 3); k++)
            file.data[rs_rng_below(&rng, reach)] = "0129-,:\"[]{}aebx\\ \xC3."[rs_rng_below(&rng, 20)];
        rs_tokenizer *tokenizer;
        rs_status status = load_bytes(file.data, file.n, &tokenizer);
        assert_true(status == RS_OK || status == RS_INVALID);
        if (status == RS_OK) {
            rs_tokens tokens = {0};
            rs_text back = {0};
            assert_int_equal(rs_tokenizer_encode(tokenizer, text, strlen(text), &tokens), RS_OK);
            rs_tokenizer_decode(tokenizer, tokens.ids, tokens.n, &back);
            rs_tokens_free(&tokens);
            rs_text_free(&back);
            rs_tokenizer_free(tokenizer);
        }
        rs_text_free(&file);
        free(path);
    }
    unlink(scratch_path());
    rs_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),     cmocka_unit_test(test_vocab_size), cmocka_unit_test(test_append),
        cmocka_unit_test(test_giant_words), cmocka_unit_test(test_threads),    cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_truncated),   cmocka_unit_test(test_mutated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
