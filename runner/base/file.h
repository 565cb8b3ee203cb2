/* Files: read whole, map read-only, write atomically, expand a glob. */
#ifndef RS_BASE_FILE_H
#define RS_BASE_FILE_H

#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

/* Reads a regular file whole (at most max_bytes, else RS_INVALID). out is freed with rs_text_free; NUL-terminated beyond out->n. */
rs_status rs_file_read(const char *path, size_t max_bytes, rs_text *out);

/* A read-only mapping of a whole file. An empty file maps to data NULL, n 0. */
typedef struct rs_mapping {
    const unsigned char *data;
    size_t n;
} rs_mapping;
rs_status rs_file_map(const char *path, rs_mapping *out);
void rs_file_unmap(rs_mapping *mapping);

/* Writes to a temporary file beside `path`, syncs it and renames it over: a reader sees the old or the new, never a part. */
rs_status rs_file_write_atomic(const char *path, const char *bytes, size_t n);

/* Creates a folder and its parents; an existing folder is fine. */
rs_status rs_folder_create(const char *path);

/* Paths that match a pattern, sorted by byte; RS_INVALID if none does. Freed with rs_paths_free. */
typedef struct rs_paths {
    char **items;
    size_t n;
} rs_paths;
rs_status rs_paths_glob(const char *pattern, rs_paths *out);
void rs_paths_free(rs_paths *paths);

/* `path` if absolute, else folder/path. Freed by the caller. */
char *rs_path_join(const char *folder, const char *path);
/* An existing path as a person would write it: without links and dots, and relative where it lies below the current folder. Freed by the
 * caller. */
char *rs_path_tidy(const char *path);
/* The folder part of a path ("." if it has none). Freed by the caller. */
char *rs_path_folder(const char *path);

#endif
