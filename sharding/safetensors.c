#include "sharding/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "sharding/safetensors_header.h"

#define INDEX_NAME "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

enum {
    MAX_INDEX_BYTES = 64 << 20,
    WORTH_A_WARNING = 64 << 20,  /* bytes copied into every rank's memory */
    FULL_DIGEST_BYTES = 1 << 30, /* checkpoints up to this size are digested whole */
    SAMPLE_ENDS = 64 << 10,      /* of larger ones: bytes at each tensor's ends, */
    SAMPLE_BETWEEN = 4 << 10,    /* and so many at every */
    SAMPLE_STRIDE = 16 << 20     /* so many between */
};

typedef struct store_file {
    char *path;
    char *name; /* within the folder */
    rs_mapping mapping;
    size_t header_bytes;
} store_file;

struct rs_tensor_store {
    store_file *files;
    size_t n_files, cap_files;
    rs_tensor_list tensors; /* sorted by name */
    void **copies;          /* of tensors that are not aligned in their file */
    size_t n_copies, cap_copies;
};

/* A link into nowhere counts: opening it then names it. */
static bool is_file(const char *folder, const char *name)
{
    struct stat info;
    char *path = rs_path_join(folder, name);
    bool found = lstat(path, &info) == 0;
    free(path);
    return found;
}

/* Whether some file of the folder ends so. */
static bool any_with_suffix(const char *folder, const char *suffix)
{
    DIR *dir = opendir(folder);
    bool found = false;
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name), m = strlen(suffix);
        found = n >= m && strcmp(entry->d_name + n - m, suffix) == 0;
    }
    if (dir)
        closedir(dir);
    return found;
}

bool rs_tensor_store_exists(const char *folder)
{
    return is_file(folder, INDEX_NAME) || any_with_suffix(folder, ".safetensors");
}

static store_file *find_file(const rs_tensor_store *store, const char *name)
{
    for (size_t i = 0; i < store->n_files; i++)
        if (strcmp(store->files[i].name, name) == 0)
            return &store->files[i];
    return NULL;
}

static rs_status open_file(rs_tensor_store *store, const char *folder, const char *name, bool headers_only)
{
    store_file file = {.path = rs_path_join(folder, name), .name = rs_strdup(name)};
    RS_PUSH(store->files, store->n_files, store->cap_files, file);
    store_file *kept = &store->files[store->n_files - 1];
    RS_TRY(rs_file_map(kept->path, &kept->mapping));
    return rs_safetensors_parse(kept->path, kept->mapping.data, kept->mapping.n, headers_only, &store->tensors, &kept->header_bytes);
}

/* The shard of one weight_map entry, opened unless it is open. A name with a slash could lead out of the folder. */
static rs_status open_shard(rs_tensor_store *store, const char *folder, const char *index_path, const char *tensor, const json_t *value,
                            bool headers_only)
{
    const char *name = json_string_value(value);
    if (name == NULL)
        return rs_fail(RS_INVALID, "%s: weight_map: the file of \"%.200s\" is not a string", index_path, tensor);
    if (find_file(store, name))
        return RS_OK;
    if (name[0] == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return rs_fail(RS_INVALID, "%s: weight_map: \"%.200s\" is not the name of a file in this folder (tensor \"%.200s\")", index_path,
                       name, tensor);
    if (!is_file(folder, name))
        return rs_fail(RS_INVALID, "%s: weight_map: shard \"%.200s\" is missing (tensor \"%.200s\")", index_path, name, tensor);
    return open_file(store, folder, name, headers_only);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const rs_tensor *)a)->name, ((const rs_tensor *)b)->name);
}

static rs_status sort_tensors(rs_tensor_store *store)
{
    rs_tensor *items = store->tensors.items;
    if (store->tensors.n > 0)
        qsort(items, store->tensors.n, sizeof *items, by_name);
    for (size_t i = 1; i < store->tensors.n; i++)
        if (strcmp(items[i - 1].name, items[i].name) == 0)
            return rs_fail(RS_INVALID, "%s: tensor \"%.200s\" is also in %s", items[i].file, items[i].name, items[i - 1].file);
    return RS_OK;
}

static rs_status check_weight_map(const rs_tensor_store *store, const char *index_path, json_t *map)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const rs_tensor *found = rs_tensor_store_find(store, tensor);
        const char *name = json_string_value(value);
        if (found == NULL || strcmp(found->file, find_file(store, name)->path) != 0)
            return rs_fail(RS_INVALID, "%s: weight_map: tensor \"%.200s\" is not in %s", index_path, tensor, name);
    }
    return RS_OK;
}

static rs_status open_index(rs_tensor_store *store, const char *folder, bool headers_only)
{
    char *path = rs_path_join(folder, INDEX_NAME);
    rs_text text = {0};
    json_t *root = NULL;
    json_error_t error = {0};
    rs_status status;
    RS_TRY_OUT(rs_file_read(path, MAX_INDEX_BYTES, &text));
    root = json_loadb(text.data, text.n, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        RS_TRY_OUT(rs_fail(RS_INVALID, "%s:%d: %s", path, error.line, error.text));
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        RS_TRY_OUT(rs_fail(RS_INVALID, "%s: weight_map is not a map of tensors to files", path));
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value) RS_TRY_OUT(open_shard(store, folder, path, tensor, value, headers_only));
    RS_TRY_OUT(sort_tensors(store));
    status = check_weight_map(store, path, map);
out:
    json_decref(root);
    rs_text_free(&text);
    free(path);
    return status;
}

static size_t alignment(const rs_tensor *tensor)
{
    return tensor->dtype == RS_TENSOR_F32 ? 4 : tensor->dtype == RS_TENSOR_OTHER ? 1 : 2;
}

/* The format asks writers to align, not readers to refuse; kernels read whole elements. */
static rs_status copy_unaligned(rs_tensor_store *store)
{
    size_t copied = 0;
    const char *where = NULL;
    for (size_t i = 0; i < store->tensors.n; i++) {
        rs_tensor *tensor = &store->tensors.items[i];
        if ((uintptr_t)tensor->data % alignment(tensor) == 0)
            continue;
        void *copy;
        RS_TRY(rs_try_alloc(&copy, tensor->bytes, 1, tensor->name));
        memcpy(copy, tensor->data, tensor->bytes);
        RS_PUSH(store->copies, store->n_copies, store->cap_copies, copy);
        tensor->data = copy;
        copied += tensor->bytes;
        where = tensor->file;
    }
    if (copied >= WORTH_A_WARNING)
        rs_warn("%s: tensors that are not aligned to their dtype; %.1f MiB are copied into memory (saving the checkpoint anew aligns them)",
                where, (double)copied / 1048576.0);
    return RS_OK;
}

static rs_status no_checkpoint(const char *folder)
{
    if (access(folder, F_OK) != 0)
        return rs_fail(RS_INVALID, "%s: %s", folder, strerror(errno));
    if (any_with_suffix(folder, ".safetensors"))
        return rs_fail(RS_INVALID, "%s: shards without " INDEX_NAME, folder);
    return rs_fail(RS_INVALID, "%s: neither " SINGLE_NAME " nor " INDEX_NAME "%s", folder,
                   any_with_suffix(folder, ".bin") || any_with_suffix(folder, ".gguf") ? " (other formats are not read)" : "");
}

rs_status rs_tensor_store_open(const char *folder, bool headers_only, rs_tensor_store **out)
{
    *out = NULL;
    rs_tensor_store *store = rs_alloc(1, sizeof *store);
    rs_status status;
    if (is_file(folder, SINGLE_NAME)) {
        RS_TRY_OUT(open_file(store, folder, SINGLE_NAME, headers_only));
        RS_TRY_OUT(sort_tensors(store));
    } else if (is_file(folder, INDEX_NAME)) {
        RS_TRY_OUT(open_index(store, folder, headers_only));
    } else {
        RS_TRY_OUT(no_checkpoint(folder));
    }
    status = headers_only ? RS_OK : copy_unaligned(store);
out:
    if (status != RS_OK) {
        rs_tensor_store_close(store);
        store = NULL;
    }
    *out = store;
    return status;
}

void rs_tensor_store_close(rs_tensor_store *store)
{
    if (store == NULL)
        return;
    rs_tensor_list_free(&store->tensors);
    for (size_t i = 0; i < store->n_copies; i++)
        free(store->copies[i]);
    for (size_t i = 0; i < store->n_files; i++) {
        rs_file_unmap(&store->files[i].mapping);
        free(store->files[i].path);
        free(store->files[i].name);
    }
    free(store->copies);
    free(store->files);
    free(store);
}

size_t rs_tensor_store_count(const rs_tensor_store *store)
{
    return store->tensors.n;
}

const rs_tensor *rs_tensor_store_at(const rs_tensor_store *store, size_t i)
{
    return &store->tensors.items[i];
}

const rs_tensor *rs_tensor_store_find(const rs_tensor_store *store, const char *name)
{
    rs_tensor key = {.name = name};
    return store->tensors.n == 0 ? NULL : bsearch(&key, store->tensors.items, store->tensors.n, sizeof key, by_name);
}

static int by_file_name(const void *a, const void *b)
{
    return strcmp((*(const store_file *const *)a)->name, (*(const store_file *const *)b)->name);
}

/* Headers in the order of the files' names, which does not depend on the order of the index. */
static void digest_headers(const rs_tensor_store *store, rs_hasher *hasher)
{
    const store_file **files = rs_alloc(store->n_files, sizeof *files);
    for (size_t i = 0; i < store->n_files; i++)
        files[i] = &store->files[i];
    qsort(files, store->n_files, sizeof(const store_file *), by_file_name);
    for (size_t i = 0; i < store->n_files; i++)
        rs_hasher_update(hasher, files[i]->mapping.data, files[i]->header_bytes);
    free(files);
}

/* Advice to the kernel about the pages that lie whole (or, with `touched`, in part) within bytes of the mapping. It may refuse: nothing
 * depends on it. */
static void advise(const void *data, size_t n, bool touched, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)data, last = first + n;
    uintptr_t begin = (touched ? first : first + page - 1) / page * page, end = (touched ? last + page - 1 : last) / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, advice);
}

static bool is_copy(const rs_tensor_store *store, const rs_tensor *tensor)
{
    for (size_t i = 0; i < store->n_copies; i++)
        if (store->copies[i] == tensor->data)
            return true;
    return false;
}

static void digest_sample(rs_hasher *hasher, const unsigned char *data, size_t n, bool mapped)
{
    if (mapped)
        advise(data, n, true, MADV_WILLNEED);
    rs_hasher_update(hasher, data, n);
}

/* Every fault would read megabytes ahead, more than there is to a sample: the kernel is told what is read, and only that. */
static void digest_sampled(rs_hasher *hasher, const unsigned char *data, size_t n, bool mapped)
{
    if (mapped)
        advise(data, n, false, MADV_RANDOM);
    if (n <= 2 * SAMPLE_ENDS) {
        digest_sample(hasher, data, n, mapped);
    } else {
        digest_sample(hasher, data, SAMPLE_ENDS, mapped);
        for (size_t at = SAMPLE_STRIDE; at + SAMPLE_BETWEEN <= n - SAMPLE_ENDS; at += SAMPLE_STRIDE)
            digest_sample(hasher, data + at, SAMPLE_BETWEEN, mapped);
        digest_sample(hasher, data + n - SAMPLE_ENDS, SAMPLE_ENDS, mapped);
    }
    if (mapped)
        advise(data, n, false, MADV_NORMAL);
}

rs_digest rs_tensor_store_digest(const rs_tensor_store *store, bool *full)
{
    rs_hasher *hasher = rs_hasher_open();
    size_t total = 0;
    bool all_there = true;
    for (size_t i = 0; i < store->tensors.n; i++) {
        total += store->tensors.items[i].bytes;
        all_there &= store->tensors.items[i].data != NULL;
    }
    *full = all_there && total <= FULL_DIGEST_BYTES;
    digest_headers(store, hasher);
    for (size_t i = 0; i < store->tensors.n; i++) {
        const rs_tensor *tensor = &store->tensors.items[i];
        if (*full)
            rs_hasher_update(hasher, tensor->data, tensor->bytes);
        else if (tensor->data)
            digest_sampled(hasher, tensor->data, tensor->bytes, !is_copy(store, tensor));
    }
    return rs_hasher_close(hasher);
}

void rs_tensor_store_release(const rs_tensor_store *store, const rs_tensor *tensor)
{
    /* Pages that it shares with its neighbours stay. */
    if (tensor->data && !is_copy(store, tensor))
        advise(tensor->data, tensor->bytes, false, MADV_DONTNEED);
}
