#include "sharding/safetensors_header.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* The format's own bound. */
#define MAX_HEADER_BYTES 100000000U

static const struct {
    const char *name;
    unsigned bits;
    rs_tensor_dtype dtype;
} dtypes[] = {
    {"F32", 32, RS_TENSOR_F32},      {"F16", 16, RS_TENSOR_F16},      {"BF16", 16, RS_TENSOR_BF16},    {"F64", 64, RS_TENSOR_OTHER},
    {"I64", 64, RS_TENSOR_OTHER},    {"U64", 64, RS_TENSOR_OTHER},    {"C64", 64, RS_TENSOR_OTHER},    {"I32", 32, RS_TENSOR_OTHER},
    {"U32", 32, RS_TENSOR_OTHER},    {"I16", 16, RS_TENSOR_OTHER},    {"U16", 16, RS_TENSOR_OTHER},    {"I8", 8, RS_TENSOR_OTHER},
    {"U8", 8, RS_TENSOR_OTHER},      {"BOOL", 8, RS_TENSOR_OTHER},    {"F8_E4M3", 8, RS_TENSOR_OTHER}, {"F8_E5M2", 8, RS_TENSOR_OTHER},
    {"F8_E8M0", 8, RS_TENSOR_OTHER}, {"F6_E2M3", 6, RS_TENSOR_OTHER}, {"F6_E3M2", 6, RS_TENSOR_OTHER}, {"F4", 4, RS_TENSOR_OTHER},
};

/* A tensor's place in the data part; [begin, end). */
typedef struct extent {
    uint64_t begin, end;
    const char *name;
} extent;

typedef struct header {
    const char *path;
    json_t *root;
    rs_tensor_list *list;
    extent *extents; /* [n] of this file's tensors, in the order of the list */
    size_t n, cap;
} header;

static void free_tensor(rs_tensor *tensor)
{
    free((char *)tensor->name);
    free((char *)tensor->dtype_name);
}

void rs_tensor_list_free(rs_tensor_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free_tensor(&list->items[i]);
    free(list->items);
    *list = (rs_tensor_list){0};
}

static rs_status bad(const header *h, const char *name, const char *what)
{
    return rs_fail(RS_INVALID, "%s: tensor \"%.200s\": %s", h->path, name, what);
}

/* An integer from 0 on, or false. */
static bool read_size(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static rs_status read_shape(const header *h, const char *name, const json_t *shape, rs_tensor *tensor, uint64_t *elements)
{
    if (!json_is_array(shape))
        return bad(h, name, "shape is not a list");
    tensor->n_dims = (int)json_array_size(shape);
    bool empty = false, overflow = false;
    *elements = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        uint64_t dim;
        if (!read_size(json_array_get(shape, i), &dim))
            return bad(h, name, "shape has an element that is not an integer of 0 or more");
        if (i < RS_TENSOR_MAX_DIMS)
            tensor->shape[i] = (int64_t)dim;
        empty |= dim == 0;
        overflow |= dim > 0 && __builtin_mul_overflow(*elements, dim, elements);
    }
    if (empty)
        *elements = 0;
    else if (overflow)
        return bad(h, name, "shape has more elements than 64 bits can count");
    return RS_OK;
}

/* Whether `elements` of the dtype fill exactly `bytes`; an unknown dtype may have any size. */
static rs_status read_dtype(const header *h, const char *name, const json_t *dtype, uint64_t elements, rs_tensor *tensor)
{
    if (!json_is_string(dtype))
        return bad(h, name, "dtype is not a string");
    tensor->dtype_name = rs_strdup(json_string_value(dtype));
    tensor->dtype = RS_TENSOR_OTHER;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtypes[i].name, tensor->dtype_name) != 0)
            continue;
        tensor->dtype = dtypes[i].dtype;
        uint64_t bits;
        if (__builtin_mul_overflow(elements, dtypes[i].bits, &bits) || bits % 8 != 0 || bits / 8 != tensor->bytes)
            return rs_fail(RS_INVALID, "%s: tensor \"%.200s\": data_offsets span %zu bytes, but shape and dtype %s need %.0f", h->path,
                           name, tensor->bytes, tensor->dtype_name, (double)elements * dtypes[i].bits / 8);
    }
    return RS_OK;
}

static rs_status read_offsets(const header *h, const char *name, const json_t *offsets, extent *out)
{
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &out->begin) ||
        !read_size(json_array_get(offsets, 1), &out->end))
        return bad(h, name, "data_offsets is not a list of two integers of 0 or more");
    if (out->begin > out->end)
        return bad(h, name, "data_offsets end before they begin");
    return RS_OK;
}

static rs_status read_fields(const header *h, const char *name, const json_t *value, extent *place, rs_tensor *tensor)
{
    uint64_t elements = 0;
    if (!json_is_object(value))
        return bad(h, name, "its description is not a map");
    RS_TRY(read_offsets(h, name, json_object_get(value, "data_offsets"), place));
    tensor->bytes = (size_t)(place->end - place->begin);
    RS_TRY(read_shape(h, name, json_object_get(value, "shape"), tensor, &elements));
    return read_dtype(h, name, json_object_get(value, "dtype"), elements, tensor);
}

static rs_status read_tensor(header *h, const char *name, const json_t *value)
{
    extent place = {0};
    rs_tensor tensor = {.name = rs_strdup(name), .file = h->path};
    place.name = tensor.name;
    rs_status status = read_fields(h, name, value, &place, &tensor);
    if (status != RS_OK) {
        free_tensor(&tensor);
        return status;
    }
    RS_PUSH(h->list->items, h->list->n, h->list->cap, tensor);
    RS_PUSH(h->extents, h->n, h->cap, place);
    return RS_OK;
}

static rs_status check_metadata(const header *h, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return rs_fail(RS_INVALID, "%s: __metadata__ is not a map", h->path);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return rs_fail(RS_INVALID, "%s: __metadata__: \"%.200s\" is not a string", h->path, key);
    }
    return RS_OK;
}

static rs_status read_tensors(header *h)
{
    const char *name;
    json_t *value;
    json_object_foreach(h->root, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            RS_TRY(check_metadata(h, value));
        else
            RS_TRY(read_tensor(h, name, value));
    }
    return RS_OK;
}

static int by_place(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Tensors fill the data part without gap or overlap: a file made otherwise hides bytes, or lets two tensors share some. */
static rs_status check_extents(header *h, uint64_t *data_bytes)
{
    extent *sorted = rs_alloc(h->n, sizeof *sorted);
    if (h->n > 0)
        memcpy(sorted, h->extents, h->n * sizeof *sorted);
    qsort(sorted, h->n, sizeof *sorted, by_place);
    rs_status status = RS_OK;
    *data_bytes = 0;
    for (size_t i = 0; i < h->n && status == RS_OK; i++) {
        if (sorted[i].begin < *data_bytes)
            status = rs_fail(RS_INVALID, "%s: tensor \"%.200s\" overlaps \"%.200s\"", h->path, sorted[i].name, sorted[i - 1].name);
        else if (sorted[i].begin > *data_bytes)
            status = rs_fail(RS_INVALID, "%s: tensor \"%.200s\": a hole of %llu bytes before it", h->path, sorted[i].name,
                             (unsigned long long)(sorted[i].begin - *data_bytes));
        *data_bytes = sorted[i].end;
    }
    free(sorted);
    return status;
}

static rs_status check_size(const header *h, uint64_t data_bytes, uint64_t there, bool headers_only, bool *has_data)
{
    *has_data = there > 0 || data_bytes == 0;
    if (there == data_bytes || (headers_only && there == 0))
        return RS_OK;
    if (there > data_bytes)
        return rs_fail(RS_INVALID, "%s: %llu bytes too many after the last tensor", h->path, (unsigned long long)(there - data_bytes));
    const char *cut = "";
    for (size_t i = 0; i < h->n; i++)
        if (h->extents[i].end > there && (*cut == '\0' || h->extents[i].begin <= there))
            cut = h->extents[i].name;
    return rs_fail(RS_INVALID, "%s: truncated: has %llu of %llu bytes of data; tensor \"%.200s\" is cut", h->path,
                   (unsigned long long)there, (unsigned long long)data_bytes, cut);
}

static rs_status load_json(const char *path, const unsigned char *file, size_t n_file, json_t **root, size_t *header_bytes)
{
    uint64_t length = 0;
    if (n_file < 8)
        return rs_fail(RS_INVALID, "%s: truncated: %zu bytes are no safetensors file", path, n_file);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | file[i];
    if (length > MAX_HEADER_BYTES)
        return rs_fail(RS_INVALID, "%s: header length %llu is above the format's 100000000: not a safetensors file", path,
                       (unsigned long long)length);
    if (length > n_file - 8)
        return rs_fail(RS_INVALID, "%s: truncated: header length is %llu, the file has %zu bytes", path, (unsigned long long)length,
                       n_file);
    json_error_t error = {0};
    *root = json_loadb((const char *)file + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (*root == NULL)
        return rs_fail(RS_INVALID, "%s: header: %s (byte %d)", path, error.text, error.position);
    if (!json_is_object(*root))
        return rs_fail(RS_INVALID, "%s: header: not a JSON map", path);
    *header_bytes = 8 + (size_t)length;
    return RS_OK;
}

rs_status rs_safetensors_parse(const char *path, const unsigned char *file, size_t n_file, bool headers_only, rs_tensor_list *list,
                               size_t *header_bytes)
{
    header h = {.path = path, .list = list};
    size_t first = list->n;
    uint64_t data_bytes = 0;
    bool has_data = false;
    rs_status status;
    RS_TRY_OUT(load_json(path, file, n_file, &h.root, header_bytes));
    RS_TRY_OUT(read_tensors(&h));
    RS_TRY_OUT(check_extents(&h, &data_bytes));
    RS_TRY_OUT(check_size(&h, data_bytes, n_file - *header_bytes, headers_only, &has_data));
    for (size_t i = 0; i < h.n && has_data; i++)
        list->items[first + i].data = file + *header_bytes + h.extents[i].begin;
out:
    while (status != RS_OK && list->n > first)
        free_tensor(&list->items[--list->n]);
    json_decref(h.root);
    free(h.extents);
    return status;
}
