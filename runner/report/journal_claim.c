/* The output folder before the first record: whose it is, and what lay in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
        int rc;
        *path = rs_format("%s/old-%d", folder, i);
        RS_RETRY(rc, mkdir(*path, 0777));
        if (rc == 0)
            return RS_OK;
        int cause = errno;
        if (cause != EEXIST) {
            rs_status status = rs_file_fail(*path, cause);
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
        int rc;
        RS_RETRY(rc, rename(from, to));
        if (rc != 0)
            status = rs_fail(RS_IO, "%s: cannot be moved to %s: %s", from, old, strerror(errno));
        free(from);
        free(to);
    }
    if (old && status == RS_OK)
        status = rs_folder_sync(old);
    if (old && status == RS_OK)
        status = rs_folder_sync(folder);
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

static rs_status lock_journal(rs_journal *journal)
{
    RS_TRY(rs_folder_create_own(journal->folder));
    return rs_journal_lock_take(journal->folder, &journal->lock);
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
    rs_journal_lock_release(journal->lock);
    journal->lock = NULL;
    return lock_journal(journal);
}
