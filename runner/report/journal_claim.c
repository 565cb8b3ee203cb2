/* The output folder before the first record: whose it is, what lay in it, and the lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/journal_parts.h"

/* All that a run writes; journal last, so that an interrupted move can be repeated. */
static const char *const results[] = {"report.yaml",   "report.json",      "report.csv", "report.html",
                                      "samples.jsonl", "diagnostics.json", "journal"};
enum { N_RESULTS = sizeof results / sizeof *results, JOURNAL = N_RESULTS - 1 };

static bool exists(const char *folder, const char *name)
{
    struct stat info;
    char *path = rs_path_join(folder, name);
    bool found = lstat(path, &info) == 0;
    free(path);
    return found;
}

static rs_status new_old_folder(const char *folder, char **path)
{
    for (int i = 1;; i++) {
        *path = rs_format("%s/old-%d", folder, i);
        if (mkdir(*path, 0777) == 0)
            return RS_OK;
        int cause = errno;
        if (cause != EEXIST) {
            rs_status status = rs_fail(RS_IO, "%s: %s", *path, strerror(cause));
            free(*path);
            *path = NULL;
            return status;
        }
        free(*path);
    }
}

static rs_status move_aside(const char *folder)
{
    rs_status status = RS_OK;
    char *old = NULL;
    for (int i = 0; i < N_RESULTS && status == RS_OK; i++) {
        if (!exists(folder, results[i]))
            continue;
        if (old == NULL)
            RS_TRY(new_old_folder(folder, &old));
        char *from = rs_path_join(folder, results[i]), *to = rs_path_join(old, results[i]);
        if (rename(from, to) != 0)
            status = rs_fail(RS_IO, "%s: cannot be moved to %s: %s", from, old, strerror(errno));
        free(from);
        free(to);
    }
    if (old && status == RS_OK)
        rs_info("the earlier results are in %s now", old);
    free(old);
    return status;
}

static rs_status refuse_strange_files(const char *folder)
{
    for (int i = 0; i < JOURNAL; i++)
        if (exists(folder, results[i]))
            return rs_fail(
                RS_INVALID,
                "%s: holds a %s but no journal/, so it is not a run's folder; name another output folder, or move the old files aside "
                "with --fresh",
                folder, results[i]);
    return RS_OK;
}

static rs_status held_by_another(const char *path)
{
    char who[300] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, who, sizeof who - 1) : 0;
    if (fd >= 0)
        close(fd);
    who[n > 0 ? n : 0] = '\0';
    who[strcspn(who, "\n")] = '\0';
    char *space = strchr(who, ' ');
    if (space == NULL)
        return rs_fail(RS_INVALID, "%s: another run writes to this folder", path);
    *space = '\0';
    return rs_fail(RS_INVALID, "%s: another run writes to this folder (host %s, pid %s)", path, who, space + 1);
}

static rs_status sign_lock(int fd, const char *path)
{
    char host[256] = "unknown", text[300];
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ". ")] = '\0';
    int n = snprintf(text, sizeof text, "%s %ld\n", host, (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return rs_fail(RS_IO, "%s: %s", path, strerror(errno));
    return RS_OK;
}

/* Whether the path still names the file that was locked: a --fresh run may have moved it away in between. */
static bool same_file(int fd, const char *path)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static rs_status take_lock(const char *path, int *out)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return rs_fail(errno == ELOOP ? RS_INVALID : RS_IO, "%s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int cause = errno;
        if (cause == EWOULDBLOCK || cause == EINTR) {
            close(fd);
            return held_by_another(path);
        }
        /* Some cluster file systems are mounted without locks: no reason not to run there. */
        rs_warn("%s: no lock on this file system (%s); see to it that only one run writes to this folder", path, strerror(cause));
    }
    if (!same_file(fd, path)) {
        close(fd);
        return held_by_another(path);
    }
    *out = fd;
    return sign_lock(fd, path);
}

static rs_status lock_journal(rs_journal *journal)
{
    struct stat info;
    if (lstat(journal->folder, &info) == 0 && S_ISLNK(info.st_mode))
        return rs_fail(RS_INVALID, "%s: is a symbolic link; make the output folder itself the link", journal->folder);
    RS_TRY(rs_folder_create(journal->folder));
    char *path = rs_path_join(journal->folder, "lock");
    rs_status status = take_lock(path, &journal->lock);
    free(path);
    return status;
}

rs_status rs_journal_claim(rs_journal *journal, const char *folder, bool fresh)
{
    RS_TRY(rs_folder_create(folder));
    bool resumed = exists(folder, results[JOURNAL]);
    if (!resumed && !fresh)
        RS_TRY(refuse_strange_files(folder));
    if (resumed || !fresh)
        RS_TRY(lock_journal(journal));
    if (!fresh)
        return RS_OK;
    RS_TRY(move_aside(folder)); /* under the old journal's lock, if there was one */
    if (journal->lock >= 0)
        close(journal->lock);
    journal->lock = -1;
    return lock_journal(journal);
}
