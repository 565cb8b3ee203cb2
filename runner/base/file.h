/* Files: read whole, map read-only, write atomically, expand a glob. */
#ifndef RS_BASE_FILE_H
#define RS_BASE_FILE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

/* Reads a regular file whole (at most max_bytes, else RS_INVALID). out is freed with rs_text_free; NUL-terminated beyond out->n. */
rs_status rs_file_read(const char *path, size_t max_bytes, rs_text *out);

/* The same of a file that the program wrote into an output folder: RS_INVALID for a symbolic link, which others may have put there. */
rs_status rs_file_read_own(const char *path, size_t max_bytes, rs_text *out);

/* A read-only mapping of a whole file. An empty file maps to data NULL, n 0. */
typedef struct rs_mapping {
    const unsigned char *data;
    size_t n;
} rs_mapping;
rs_status rs_file_map(const char *path, rs_mapping *out);
void rs_file_unmap(rs_mapping *mapping);

/* Writes to a temporary file beside `path`, syncs it and puts it in place: a reader sees the old or the new, never a part. */
rs_status rs_file_write_atomic(const char *path, const char *bytes, size_t n);

/* What a system call on `path` failed for: RS_INVALID where the user named or protected the wrong thing, else RS_IO. */
rs_status rs_file_fail(const char *path, int cause);
/* The steps of an atomic write, for files that are made piece by piece. Interrupted and short calls are gone on with. */
rs_status rs_file_begin(const char *temporary, int *fd);    /* empty, and nobody else's: waits for another writer, not for a dead one */
int rs_file_write_all(int fd, const char *bytes, size_t n); /* 0, or the errno of what went wrong */
rs_status rs_file_finish(int fd, const char *temporary, const char *path, rs_status status); /* OK: syncs, renames; else unlinks; closes */
/* Whether the path still names the file that was opened. */
bool rs_file_is_at(int fd, const char *path);
/* Names in a folder that were made, renamed or taken away outlive a loss of power after this. */
rs_status rs_folder_sync(const char *path);

/* Creates a folder and its parents; an existing folder is fine. */
rs_status rs_folder_create(const char *path);

/* Creates a folder inside an output folder, or finds it there; RS_INVALID for a symbolic link. */
rs_status rs_folder_create_own(const char *path);
/* RS_INVALID unless `fd` is a regular file of one name only: what is written to it must change no other file. */
rs_status rs_file_check_own(int fd, const char *path);

/* A system call again for as long as signals interrupt it, which on network file systems they may do to any. */
#define RS_RETRY(result, call)                                                                                                             \
    do                                                                                                                                     \
        (result) = (call);                                                                                                                 \
    while ((result) < 0 && errno == EINTR)

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
