/* Checkpoints on disk: what is read, and that every malformed file is refused with its name and the tensor's or key's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_files.h"
#include "sharding/safetensors.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define F32_2(name, begin, end) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #begin "," #end "]}"

static int n_open_files(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void refuse(const test_folder *folder, bool headers_only, const char *file, const char *word)
{
    rs_tensor_store *store = NULL;
    int before = n_open_files();
    rs_status status = rs_tensor_store_open(folder->path, headers_only, &store);
    if (status != RS_INVALID)
        fail_msg("%s: status %d, expected a message with \"%s\"", file, (int)status, word);
    assert_null(store);
    expect_message(file, word);
    assert_int_equal(n_open_files(), before);
}

/* Headers that are wrong whether or not data follows. */
static const struct {
    const char *header;
    size_t n_data;
    const char *word;
} bad_headers[] = {
    {"", 0, "header"},
    {"{", 0, "header"},
    {"{} x", 0, "header"},
    {"[1]", 0, "not a JSON map"},
    {"\"a\"", 0, "header"},
    {"{\"a\":1,\"a\":2}", 0, "duplicate"},
    {"{\"a\":[]}", 0, "\"a\""},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype"},
    {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,8]}}", 8, "64 bits"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8, "header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,2305843009213693952]}}", 0, "\"a\""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "before they begin"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,\"8\"]}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "need 12"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,4],\"data_offsets\":[0,8]}}", 8, "BF16"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "F4"},
    {"{" F32_2("a", 0, 8) "," F32_2("bee", 4, 12) "}", 12, "\"bee\" overlaps \"a\""},
    {"{" F32_2("a", 0, 8) "," F32_2("bee", 0, 8) "}", 8, "overlaps"},
    {"{" F32_2("a", 0, 8) "," F32_2("bee", 12, 20) "}", 20, "\"bee\": a hole of 4 bytes"},
    {"{" F32_2("bee", 4, 12) "}", 12, "\"bee\": a hole of 4 bytes"},
    {"{" F32_2("a", 0, 8) "}", 9, "1 bytes too many"},
    {"{" F32_2("a", 0, 8) "," F32_2("bee", 8, 16) "}", 15, "tensor \"bee\" is cut"},
    {"{" F32_2("a", 0, 8) "," F32_2("bee", 8, 16) "}", 3, "tensor \"a\" is cut"},
    {"{}", 1, "too many"},
    {"{\"__metadata__\":3}", 0, "__metadata__"},
    {"{\"__metadata__\":{\"format\":1}}", 0, "format"},
    {"{\"\\u0000\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "header"},
    {"{\"\xff\":1}", 0, "header"},
};

static void test_bad_headers(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    for (size_t i = 0; i < COUNT(bad_headers); i++) {
        file_safetensors(&folder, "model.safetensors", bad_headers[i].header, bad_headers[i].n_data);
        refuse(&folder, false, "model.safetensors", bad_headers[i].word);
        refuse(&folder, true, "model.safetensors", bad_headers[i].word);
    }
    folder_remove(&folder);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
    } cases[] = {
        {"", 0, "truncated"},
        {"\2\0\0\0\0\0\0", 7, "truncated"},
        {"\3\0\0\0\0\0\0\0{}", 10, "header length is 3"},
        {"\377\377\377\377\377\377\377\377{}", 10, "header length 18446744073709551615"},
        {"\1\341\365\5\0\0\0\0{}", 10, "header length 100000001"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "not a safetensors file"},
    };
    test_folder folder = folder_make();
    for (size_t i = 0; i < COUNT(cases); i++) {
        file_write(&folder, "model.safetensors", cases[i].bytes, cases[i].n);
        refuse(&folder, i % 2, "model.safetensors", cases[i].word);
    }
    folder_remove(&folder);
}

static void test_bad_index(void **state)
{
    (void)state;
    static const struct {
        const char *index, *file, *word;
    } cases[] = {
        {"", "index.json", ":1:"},
        {"{\n\n\"weight_map\": {]}", "index.json:3", "]"},
        {"[]", "index.json", "weight_map"},
        {"{\"metadata\": {}}", "index.json", "weight_map"},
        {"{\"weight_map\": {}}", "index.json", "weight_map"},
        {"{\"weight_map\": []}", "index.json", "weight_map"},
        {"{\"weight_map\": {\"a\": 1}}", "index.json", "\"a\""},
        {"{\"weight_map\": {\"a\": null}}", "index.json", "\"a\""},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"a\": \"one.safetensors\"}}", "index.json", "duplicate"},
        {"{\"weight_map\": {\"a\": \"\"}}", "index.json", "weight_map"},
        {"{\"weight_map\": {\"a\": \"..\"}}", "index.json", "\"..\""},
        {"{\"weight_map\": {\"a\": \"../one.safetensors\"}}", "index.json", "../one.safetensors"},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "index.json", "/etc/passwd"},
        {"{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "index.json", "gone.safetensors"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"nowhere\": \"one.safetensors\"}}", "index.json",
         "\"nowhere\" is not in one.safetensors"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"bee\": \"one.safetensors\", \"c\": \"two.safetensors\"}}", "index.json",
         "\"bee\" is not in one.safetensors"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"again\": \"three.safetensors\"}}", "three.safetensors", "\"a\" is also in"},
        {"{\"weight_map\": {\"a\": \"cut.safetensors\"}}", "cut.safetensors", "truncated"},
        {"{\"weight_map\": {\"a\": \"notes.txt\"}}", "notes.txt", "truncated"},
    };
    test_folder folder = folder_make();
    file_safetensors(&folder, "one.safetensors", "{" F32_2("a", 0, 8) "}", 8);
    file_safetensors(&folder, "two.safetensors", "{" F32_2("bee", 0, 8) "," F32_2("c", 8, 16) "}", 16);
    file_safetensors(&folder, "three.safetensors", "{" F32_2("a", 0, 8) "," F32_2("again", 8, 16) "}", 16);
    file_safetensors(&folder, "cut.safetensors", "{" F32_2("a", 0, 8) "}", 7);
    file_text(&folder, "notes.txt", "hello");
    for (size_t i = 0; i < COUNT(cases); i++) {
        file_text(&folder, "model.safetensors.index.json", cases[i].index);
        refuse(&folder, i % 2, cases[i].file, cases[i].word);
    }
    folder_remove(&folder);
}

static void test_no_checkpoint(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    assert_false(rs_tensor_store_exists(folder.path));
    refuse(&folder, true, folder.path, "neither model.safetensors nor");
    file_text(&folder, "model.gguf", "GGUF");
    assert_false(rs_tensor_store_exists(folder.path));
    refuse(&folder, true, folder.path, "other formats");
    file_safetensors(&folder, "model-00001-of-00002.safetensors", "{}", 0);
    assert_true(rs_tensor_store_exists(folder.path));
    refuse(&folder, false, folder.path, "index.json");
    folder_remove(&folder);
    assert_false(rs_tensor_store_exists(folder.path));
    refuse(&folder, false, folder.path, "No such file");
}

static void check_bytes(const rs_tensor *tensor, size_t from)
{
    for (size_t i = 0; i < tensor->bytes; i++)
        assert_int_equal(((const unsigned char *)tensor->data)[i], data_byte(from + i));
}

/* Names out of order, each float dtype, scalars, empty tensors, many dimensions, other dtypes, metadata, spaces after the header. */
static void test_valid(void **state)
{
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"z\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"h\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[8,14]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[14,16]},"
        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,9223372036854775807,9223372036854775807],\"data_offsets\":[16,16]},"
        "\"deep\":{\"dtype\":\"I8\",\"shape\":[1,1,2,1,1,2],\"data_offsets\":[16,20]},"
        "\"new\":{\"dtype\":\"F1_E0\",\"shape\":[5],\"data_offsets\":[20,21]}}     ";
    test_folder folder = folder_make();
    file_safetensors(&folder, "model.safetensors", header, 21);
    rs_tensor_store *store = NULL;
    assert_int_equal(rs_tensor_store_open(folder.path, false, &store), RS_OK);
    assert_true(rs_tensor_store_exists(folder.path));
    assert_int_equal(rs_tensor_store_count(store), 6);
    static const char *const names[] = {"b", "deep", "h", "new", "none", "z"};
    static const rs_tensor_dtype dtypes[] = {RS_TENSOR_BF16, RS_TENSOR_OTHER, RS_TENSOR_F16, RS_TENSOR_OTHER, RS_TENSOR_F32, RS_TENSOR_F32};
    static const int n_dims[] = {0, 6, 1, 1, 3, 2};
    static const size_t begins[] = {14, 16, 8, 20, 16, 0};
    for (size_t i = 0; i < COUNT(names); i++) {
        const rs_tensor *tensor = rs_tensor_store_at(store, i);
        assert_string_equal(tensor->name, names[i]);
        assert_ptr_equal(tensor, rs_tensor_store_find(store, names[i]));
        assert_int_equal(tensor->dtype, dtypes[i]);
        assert_int_equal(tensor->n_dims, n_dims[i]);
        check_bytes(tensor, begins[i]);
        rs_tensor_store_release(store, tensor);
        check_bytes(tensor, begins[i]);
    }
    assert_string_equal(rs_tensor_store_find(store, "new")->dtype_name, "F1_E0");
    assert_null(rs_tensor_store_find(store, "nothing"));
    rs_tensor_store_close(store);
    rs_tensor_store_close(NULL);
    folder_remove(&folder);
}

/* Any header length is allowed; data that then lies across element borders is moved. */
static void test_unaligned(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    char header[128] = "{" F32_2("a", 0, 8) "," F32_2("bee", 8, 16) "}";
    for (int spaces = 0; spaces < 8; spaces++) {
        file_safetensors(&folder, "model.safetensors", header, 16);
        rs_tensor_store *store = NULL;
        assert_int_equal(rs_tensor_store_open(folder.path, false, &store), RS_OK);
        for (size_t i = 0; i < 2; i++) {
            const rs_tensor *tensor = rs_tensor_store_at(store, i);
            assert_int_equal((uintptr_t)tensor->data % 4, 0);
            rs_tensor_store_release(store, tensor);
            check_bytes(tensor, 8 * i);
        }
        rs_tensor_store_close(store);
        strcat(header, " ");
    }
    folder_remove(&folder);
}

static void write_shards(const test_folder *folder, size_t n_data)
{
    file_safetensors(folder, "one.safetensors", "{" F32_2("c", 0, 8) "," F32_2("a", 8, 16) "}", n_data);
    file_safetensors(folder, "two.safetensors", "{" F32_2("bee", 0, 8) "}", n_data ? 8 : 0);
    file_text(folder, "model.safetensors.index.json",
              "{\"metadata\":{\"total_size\":24},\"weight_map\":{\"bee\":\"two.safetensors\",\"a\":\"one.safetensors\",\"c\":\"one."
              "safetensors\"}}");
}

static void test_shards(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    write_shards(&folder, 16);
    rs_tensor_store *store = NULL;
    assert_int_equal(rs_tensor_store_open(folder.path, false, &store), RS_OK);
    assert_int_equal(rs_tensor_store_count(store), 3);
    check_bytes(rs_tensor_store_find(store, "a"), 8);
    check_bytes(rs_tensor_store_find(store, "bee"), 0);
    assert_non_null(strstr(rs_tensor_store_find(store, "bee")->file, "/two.safetensors"));
    rs_tensor_store_close(store);
    folder_remove(&folder);
}

/* Shards that are symbolic links, as in the cache of huggingface_hub. */
static void test_links(void **state)
{
    (void)state;
    test_folder blobs = folder_make(), folder = folder_make();
    file_safetensors(&blobs, "f00", "{" F32_2("a", 0, 8) "}", 8);
    char *target = rs_format("%s/f00", blobs.path), *link = rs_format("%s/model.safetensors", folder.path);
    assert_int_equal(symlink(target, link), 0);
    rs_tensor_store *store = NULL;
    assert_int_equal(rs_tensor_store_open(folder.path, false, &store), RS_OK);
    check_bytes(rs_tensor_store_at(store, 0), 0);
    rs_tensor_store_close(store);
    folder_remove(&blobs);
    refuse(&folder, false, "model.safetensors", "No such file");
    free(target);
    free(link);
    folder_remove(&folder);
}

static void test_headers_only(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    write_shards(&folder, 0);
    refuse(&folder, false, "two.safetensors", "truncated");
    rs_tensor_store *store = NULL;
    assert_int_equal(rs_tensor_store_open(folder.path, true, &store), RS_OK);
    assert_null(rs_tensor_store_find(store, "a")->data);
    assert_int_equal(rs_tensor_store_find(store, "a")->bytes, 8);
    bool full = true;
    rs_tensor_store_digest(store, &full);
    assert_false(full);
    rs_tensor_store_release(store, rs_tensor_store_find(store, "a"));
    rs_tensor_store_close(store);
    folder_remove(&folder);
}

static rs_digest digest_of(const test_folder *folder)
{
    rs_tensor_store *store = NULL;
    bool full = false;
    assert_int_equal(rs_tensor_store_open(folder->path, false, &store), RS_OK);
    rs_digest digest = rs_tensor_store_digest(store, &full);
    assert_true(full);
    rs_tensor_store_close(store);
    return digest;
}

static bool same(rs_digest a, rs_digest b)
{
    return a.high == b.high && a.low == b.low;
}

static void test_digest(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    write_shards(&folder, 16);
    rs_digest first = digest_of(&folder);
    assert_true(same(first, digest_of(&folder)));
    file_text(&folder, "model.safetensors.index.json",
              "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"one.safetensors\",\"bee\":\"two.safetensors\"}}");
    assert_true(same(first, digest_of(&folder)));
    char *path = rs_format("%s/one.safetensors", folder.path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, -1, SEEK_END);
    fputc(data_byte(15) ^ 1, file);
    fclose(file);
    assert_false(same(first, digest_of(&folder)));
    free(path);
    folder_remove(&folder);
}

/* Above 1 GiB (a sparse file) only samples are read: its ends count, what lies between two samples does not. */
static void test_sampled_digest(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    file_safetensors(&folder, "model.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[300000000],\"data_offsets\":[0,1200000000]}} ", 0);
    char *path = rs_format("%s/model.safetensors", folder.path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long header = ftell(file);
    assert_int_equal(ftruncate(fileno(file), header + 1200000000), 0);
    static const long changes[] = {-1, 0, 65535, 1200000000 - 65536, 1200000000 - 1, 16777216 + 4095, 100000};
    rs_digest digests[COUNT(changes)];
    for (size_t i = 0; i < COUNT(changes); i++) {
        if (changes[i] >= 0) {
            fseek(file, header + changes[i], SEEK_SET);
            fputc(1, file);
            fflush(file);
        }
        rs_tensor_store *store = NULL;
        bool full = true;
        assert_int_equal(rs_tensor_store_open(folder.path, false, &store), RS_OK);
        digests[i] = rs_tensor_store_digest(store, &full);
        assert_false(full);
        rs_tensor_store_close(store);
        for (size_t j = 0; j < i; j++)
            assert_int_equal(same(digests[i], digests[j]), i == COUNT(changes) - 1 && j == i - 1);
    }
    fclose(file);
    free(path);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_headers),   cmocka_unit_test(test_bad_files),      cmocka_unit_test(test_bad_index),
        cmocka_unit_test(test_no_checkpoint), cmocka_unit_test(test_valid),          cmocka_unit_test(test_unaligned),
        cmocka_unit_test(test_shards),        cmocka_unit_test(test_links),          cmocka_unit_test(test_headers_only),
        cmocka_unit_test(test_digest),        cmocka_unit_test(test_sampled_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
