#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pulse.h"

/* For another process that writes the same file, as `report` may while a run does. */
enum { WAIT_SECONDS = 10 };

/* What the user named, or may not touch; anything else the system refused for reasons of its own. */
static rs_status status_of(int cause)
{
    static const int theirs[] = {ENOENT, ENOTDIR, EISDIR, EACCES, EPERM, EROFS, ELOOP, ENAMETOOLONG, EEXIST, ENOTEMPTY, ENXIO};
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (cause == theirs[i])
            return RS_INVALID;
    return RS_IO;
}

rs_status rs_file_fail(const char *path, int cause)
{
    return rs_fail(status_of(cause), "%s: %s", path, strerror(cause));
}

/* O_NONBLOCK: a FIFO is refused, not waited for. */
static rs_status open_regular(const char *path, int flags, int *fd, size_t *n)
{
    RS_RETRY(*fd, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags));
    if (*fd < 0 && errno == ELOOP && flags & O_NOFOLLOW)
        return rs_fail(RS_INVALID, "%s: is a symbolic link; only the output folder itself may be one", path);
    if (*fd < 0)
        return rs_file_fail(path, errno);
    struct stat info;
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(*fd);
        return rs_fail(RS_INVALID, "%s: not a regular file", path);
    }
    *n = (size_t)info.st_size;
    return RS_OK;
}

static rs_status read_whole(const char *path, int flags, size_t max_bytes, rs_text *out)
{
    int fd;
    size_t n = 0;
    RS_TRY(open_regular(path, flags, &fd, &n));
    rs_status status = RS_OK;
    if (n > max_bytes)
        status = rs_fail(RS_INVALID, "%s: %zu bytes, more than the %zu this file may have", path, n, max_bytes);
    rs_text_clear(out);
    char chunk[65536];
    while (status == RS_OK) {
        ssize_t got;
        RS_RETRY(got, read(fd, chunk, sizeof chunk));
        if (got == 0)
            break;
        if (got < 0)
            status = rs_file_fail(path, errno);
        else
            rs_text_append(out, chunk, (size_t)got);
        if (status == RS_OK && out->n > max_bytes)
            status = rs_fail(RS_INVALID, "%s: grows while it is read", path);
    }
    if (status == RS_OK && out->n == 0)
        rs_text_append(out, "", 0);
    close(fd);
    return status;
}

rs_status rs_file_read(const char *path, size_t max_bytes, rs_text *out)
{
    return read_whole(path, 0, max_bytes, out);
}

rs_status rs_file_read_own(const char *path, size_t max_bytes, rs_text *out)
{
    return read_whole(path, O_NOFOLLOW, max_bytes, out);
}

rs_status rs_file_check_own(int fd, const char *path)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return rs_fail(RS_INVALID, "%s: not a regular file", path);
    if (info.st_nlink > 1)
        return rs_fail(RS_INVALID, "%s: has %ju names (hard links), and writing would change them all; put a copy in its place", path,
                       (uintmax_t)info.st_nlink);
    return RS_OK;
}

rs_status rs_file_map(const char *path, rs_mapping *out)
{
    int fd;
    size_t n = 0;
    *out = (rs_mapping){0};
    RS_TRY(open_regular(path, 0, &fd, &n));
    rs_status status = RS_OK;
    if (n > 0) {
        void *data = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            status = rs_fail(RS_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        else
            *out = (rs_mapping){.data = data, .n = n};
    }
    close(fd);
    return status;
}

void rs_file_unmap(rs_mapping *mapping)
{
    if (mapping->data)
        munmap((void *)(size_t)mapping->data, mapping->n);
    *mapping = (rs_mapping){0};
}

int rs_file_write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done;
        rs_pulse_tick();
        RS_RETRY(done, write(fd, bytes, n));
        if (done <= 0)
            return done < 0 ? errno : ENOSPC;
        bytes += done;
        n -= (size_t)done;
    }
    return 0;
}

bool rs_file_is_at(int fd, const char *path)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

/* The lock of whoever died is free. Where there are no locks, nobody waits. */
static bool try_lock(int fd)
{
    int rc;
    RS_RETRY(rc, flock(fd, LOCK_EX | LOCK_NB));
    return rc == 0 || errno != EWOULDBLOCK;
}

/* A link, a pipe or a device under the name is nobody's half-written file, and a file of two names is somebody's. */
static void clear_name(const char *temporary)
{
    struct stat info;
    if (lstat(temporary, &info) == 0 && !S_ISDIR(info.st_mode) && (!S_ISREG(info.st_mode) || info.st_nlink > 1))
        unlink(temporary);
}

rs_status rs_file_begin(const char *temporary, int *fd)
{
    for (int i = 0; i < WAIT_SECONDS * 10; i++) {
        int rc = 0;
        clear_name(temporary);
        RS_RETRY(*fd, open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
        if (*fd < 0)
            return rs_file_fail(temporary, errno);
        if (try_lock(*fd) && rs_file_is_at(*fd, temporary)) {
            RS_RETRY(rc, ftruncate(*fd, 0));
            if (rc == 0)
                return RS_OK;
            int cause = errno;
            close(*fd);
            return rs_file_fail(temporary, cause);
        }
        close(*fd);
        rs_pulse_tick();
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return rs_fail(RS_IO, "%s: another process has been writing this file for %d s", temporary, WAIT_SECONDS);
}

rs_status rs_file_finish(int fd, const char *temporary, const char *path, rs_status status)
{
    int rc = 0;
    if (status == RS_OK)
        RS_RETRY(rc, fsync(fd));
    if (rc != 0)
        status = rs_file_fail(path, errno);
    if (status == RS_OK)
        RS_RETRY(rc, rename(temporary, path));
    if (status == RS_OK && rc != 0)
        status = rs_file_fail(path, errno);
    if (status != RS_OK)
        RS_RETRY(rc, unlink(temporary));
    close(fd); /* and with it goes the lock: whoever waits finds the name free */
    RS_TRY(status);
    char *folder = rs_path_folder(path);
    status = rs_folder_sync(folder);
    free(folder);
    return status;
}

rs_status rs_file_write_atomic(const char *path, const char *bytes, size_t n)
{
    char *temporary = rs_format("%s.tmp", path);
    int fd;
    rs_status status = rs_file_begin(temporary, &fd);
    if (status == RS_OK) {
        int cause = rs_file_write_all(fd, bytes, n);
        status = rs_file_finish(fd, temporary, path, cause ? rs_file_fail(path, cause) : RS_OK);
    }
    free(temporary);
    return status;
}

rs_status rs_folder_sync(const char *path)
{
    int fd, rc;
    RS_RETRY(fd, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return rs_file_fail(path, errno);
    RS_RETRY(rc, fsync(fd));
    int cause = errno;
    close(fd);
    bool cannot = cause == EINVAL || cause == EBADF || cause == EOPNOTSUPP || cause == ENOSYS || cause == EROFS;
    return rc != 0 && !cannot ? rs_file_fail(path, cause) : RS_OK; /* some file systems do not know it for folders */
}

/* own: what stands there already must be the folder itself, not a link to one. */
static rs_status make_folder(const char *path, bool own)
{
    int rc;
    struct stat info;
    RS_RETRY(rc, mkdir(path, 0777));
    if (rc == 0) {
        char *parent = rs_path_folder(path);
        rs_status status = rs_folder_sync(parent);
        free(parent);
        return status;
    }
    int cause = errno;
    if (cause != EEXIST)
        return rs_fail(status_of(cause), "%s: cannot create the folder: %s", path, strerror(cause));
    if ((own ? lstat(path, &info) : stat(path, &info)) != 0)
        return rs_file_fail(path, errno);
    if (S_ISDIR(info.st_mode))
        return RS_OK;
    if (S_ISLNK(info.st_mode))
        return rs_fail(RS_INVALID, "%s: is a symbolic link; only the output folder itself may be one", path);
    return rs_fail(RS_INVALID, "%s: cannot create the folder: a file of that name exists", path);
}

rs_status rs_folder_create(const char *path)
{
    char *partial = rs_strdup(path);
    rs_status status = RS_OK;
    for (char *p = partial + 1; status == RS_OK; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char end = *p;
        *p = '\0';
        status = make_folder(partial, false);
        *p = end;
        if (end == '\0')
            break;
    }
    free(partial);
    return status;
}

rs_status rs_folder_create_own(const char *path)
{
    return make_folder(path, true);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

rs_status rs_paths_glob(const char *pattern, rs_paths *out)
{
    *out = (rs_paths){0};
    glob_t found = {0};
    int rc = glob(pattern, GLOB_NOSORT, NULL, &found);
    if (rc != 0) {
        globfree(&found);
        return rs_fail(rc == GLOB_NOMATCH ? RS_INVALID : RS_IO, "%s: %s", pattern,
                       rc == GLOB_NOMATCH ? "no such file" : "cannot be searched");
    }
    out->items = rs_alloc(found.gl_pathc, sizeof *out->items);
    for (size_t i = 0; i < found.gl_pathc; i++)
        out->items[out->n++] = rs_strdup(found.gl_pathv[i]);
    globfree(&found);
    qsort(out->items, out->n, sizeof *out->items, by_bytes);
    return RS_OK;
}

void rs_paths_free(rs_paths *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        free(paths->items[i]);
    free(paths->items);
    *paths = (rs_paths){0};
}

char *rs_path_join(const char *folder, const char *path)
{
    if (path[0] == '/' || strcmp(folder, ".") == 0)
        return rs_strdup(path);
    return rs_format("%s/%s", folder, path);
}

char *rs_path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return rs_strdup(".");
    return slash == path ? rs_strdup("/") : rs_strndup(path, (size_t)(slash - path));
}

char *rs_path_tidy(const char *path)
{
    char *whole = realpath(path, NULL), *here = getcwd(NULL, 0), *tidy = NULL;
    size_t n = here ? strlen(here) : 0;
    if (whole && here && strncmp(whole, here, n) == 0 && whole[n] == '/')
        tidy = rs_strdup(whole + n + 1);
    else
        tidy = rs_strdup(whole ? whole : path);
    free(whole);
    free(here);
    return tidy;
}
