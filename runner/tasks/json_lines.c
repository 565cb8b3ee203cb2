#include "tasks/json_lines.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

enum { MAX_FILE_BYTES = 1 << 30 };

static const char *type_name(const json_t *value)
{
    static const char *const names[] = {"an object", "an array", "a string", "a number", "a number", "true", "false", "null"};
    return names[json_typeof(value)];
}

rs_status rs_json_get_string(const json_t *object, const char *key, bool required, const char *members, const char *place, char **out)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL && required)
        return rs_fail(RS_INVALID, "%s: no \"%s\"; its members must be %s", place, key, members);
    if (value && !json_is_string(value))
        return rs_fail(RS_INVALID, "%s: \"%s\" must be a string, not %s", place, key, type_name(value));
    *out = rs_strdup(value ? json_string_value(value) : "");
    return RS_OK;
}

rs_status rs_json_get_strings(const json_t *object, const char *key, const char *members, const char *place, char ***out, size_t *n)
{
    const json_t *list = json_object_get(object, key);
    if (list == NULL)
        return rs_fail(RS_INVALID, "%s: no \"%s\"; its members must be %s", place, key, members);
    if (!json_is_array(list))
        return rs_fail(RS_INVALID, "%s: \"%s\" must be a list of strings, not %s", place, key, type_name(list));
    size_t length = json_array_size(list);
    if (length == 0)
        return rs_fail(RS_INVALID, "%s: \"%s\" is empty; it needs a string at least", place, key);
    *out = rs_alloc(length, sizeof **out);
    for (size_t i = 0; i < length; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_string(value))
            return rs_fail(RS_INVALID, "%s: \"%s\"[%zu] must be a string, not %s", place, key, i, type_name(value));
        (*out)[(*n)++] = rs_strdup(json_string_value(value));
    }
    return RS_OK;
}

void rs_strings_free(char **strings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(strings[i]);
    free(strings);
}

static rs_status read_line(const char *line, size_t n, const char *place, rs_json_line take, void *context)
{
    size_t valid = rs_utf8_valid_prefix(line, n);
    if (valid < n)
        return rs_fail(RS_INVALID, "%s: byte %zu of the line is not UTF-8", place, valid + 1);
    const char *nul = memchr(line, '\0', n);
    if (nul)
        return rs_fail(RS_INVALID, "%s: byte %zu of the line is NUL", place, (size_t)(nul - line) + 1);
    if (strspn(line, " \t\r\n") >= n)
        return rs_fail(RS_INVALID, "%s: an empty line; a sample's number is its line's", place);
    json_error_t error;
    json_t *root = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    if (root == NULL)
        return rs_fail(RS_INVALID, "%s: not valid JSON: %s (byte %d of the line)", place, error.text, error.position);
    rs_status status = json_is_object(root) ? take(context, root, place)
                                            : rs_fail(RS_INVALID, "%s: must be a JSON object, not %s", place, type_name(root));
    json_decref(root);
    return status;
}

static rs_status read_lines(const char *path, rs_text *text, rs_json_line take, void *context)
{
    size_t start = text->n >= 3 && memcmp(text->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0, end = text->n, number = 1;
    while (end > start && strchr(" \t\r\n", text->data[end - 1]) && text->data[end - 1] != '\0')
        end--;
    text->data[end] = '\0';
    if (end == start)
        return rs_fail(RS_INVALID, "%s:1: an empty file; it needs a JSON object a line", path);
    rs_status status = RS_OK;
    for (size_t i = start; i < end && status == RS_OK; number++) {
        const char *newline = memchr(text->data + i, '\n', end - i);
        size_t stop = newline ? (size_t)(newline - text->data) : end;
        char *place = rs_format("%s:%zu", path, number);
        status = read_line(text->data + i, stop - i, place, take, context);
        free(place);
        i = stop + 1;
    }
    return status;
}

rs_status rs_json_lines_read(const char *path, rs_json_line take, void *context, rs_digest *content)
{
    rs_text text = {0};
    rs_status status;
    RS_TRY_OUT(rs_file_read(path, MAX_FILE_BYTES, &text));
    *content = rs_digest_of(text.data, text.n);
    status = read_lines(path, &text, take, context);
out:
    rs_text_free(&text);
    return status;
}
