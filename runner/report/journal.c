#include "report/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/pulse.h"
#include "report/journal_parts.h"

/* A plan of a million points has some hundred bytes a point. */
#define MAX_PLAN_BYTES ((size_t)4 << 30)
/* Pages of the map are let go after so many bytes, so that a report over gigabytes stays small in memory. */
#define KEEP_BYTES ((size_t)64 << 20)

/* --- the index --- */

/* Mixed once more, so that ids which are no digests (a test's, another producer's) do not pile up. */
static size_t first_slot(const rs_journal *journal, rs_digest id)
{
    uint64_t mixed = (id.high * 0x9E3779B97F4A7C15u) ^ id.low;
    mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9u;
    return (size_t)(mixed >> 32 ^ mixed) & (journal->n_slots - 1);
}

static size_t slot_of(const rs_journal *journal, rs_digest id)
{
    size_t slot = first_slot(journal, id);
    while (journal->slots[slot] != 0) {
        const rs_journal_entry *entry = &journal->entries[journal->slots[slot] - 1];
        if (entry->id.high == id.high && entry->id.low == id.low)
            break;
        slot = (slot + 1) & (journal->n_slots - 1);
    }
    return slot;
}

static void make_slots(rs_journal *journal, size_t n_slots)
{
    free(journal->slots);
    journal->n_slots = n_slots;
    journal->slots = rs_alloc(journal->n_slots, sizeof *journal->slots);
    for (size_t i = 0; i < journal->n; i++)
        journal->slots[slot_of(journal, journal->entries[i].id)] = (uint32_t)(i + 1);
}

void rs_journal_reserve(rs_journal *journal, size_t n)
{
    size_t n_slots = journal->n_slots ? journal->n_slots : 1024;
    while (4 * n > 3 * n_slots)
        n_slots *= 2;
    make_slots(journal, n_slots);
    if (n > journal->cap) {
        journal->cap = n;
        journal->entries = rs_realloc(journal->entries, n, sizeof *journal->entries);
    }
}

bool rs_journal_index(rs_journal *journal, const rs_record_key *key, int64_t offset, size_t bytes)
{
    if (4 * (journal->n + 1) > 3 * journal->n_slots)
        make_slots(journal, journal->n_slots ? 2 * journal->n_slots : 1024);
    size_t slot = slot_of(journal, key->id);
    if (journal->slots[slot] != 0)
        return false;
    rs_journal_entry entry = {.id = key->id, .point = key->point, .doc_id = key->doc_id, .offset = offset, .bytes = (uint32_t)bytes};
    RS_PUSH(journal->entries, journal->n, journal->cap, entry);
    journal->slots[slot] = (uint32_t)journal->n;
    return true;
}

const char *rs_journal_folder(const rs_journal *journal)
{
    return journal->folder;
}

size_t rs_journal_count(const rs_journal *journal)
{
    return journal->n;
}

const rs_journal_entry *rs_journal_at(const rs_journal *journal, size_t i)
{
    return &journal->entries[i];
}

const rs_journal_entry *rs_journal_find(const rs_journal *journal, rs_digest id)
{
    if (journal->n_slots == 0)
        return NULL;
    uint32_t found = journal->slots[slot_of(journal, id)];
    return found ? &journal->entries[found - 1] : NULL;
}

/* --- text --- */

rs_status rs_journal_map(const rs_journal *journal, size_t bytes)
{
    rs_journal_view *view = journal->view;
    if (bytes <= view->bytes)
        return RS_OK;
    if (view->map)
        munmap(view->map, view->bytes);
    view->map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, journal->log, 0);
    view->bytes = bytes;
    if (view->map != MAP_FAILED)
        return RS_OK;
    *view = (rs_journal_view){0};
    return rs_fail(RS_IO, "%s: cannot be mapped: %s", journal->log_path, strerror(errno));
}

rs_status rs_journal_hold(const rs_journal *journal)
{
    return rs_journal_map(journal, (size_t)journal->end);
}

rs_status rs_journal_text(const rs_journal *journal, const rs_journal_entry *entry, const char **json)
{
    rs_journal_view *view = journal->view;
    RS_TRY(rs_journal_map(journal, (size_t)(entry->offset + entry->bytes)));
    if (atomic_fetch_add(&view->served, entry->bytes) > KEEP_BYTES) {
        atomic_store(&view->served, 0);
        madvise(view->map, view->bytes, MADV_DONTNEED); /* whoever reads there now finds the same bytes again */
    }
    *json = view->map + entry->offset;
    return RS_OK;
}

const char *rs_journal_plan(const rs_journal *journal)
{
    return journal->plan;
}

rs_status rs_journal_write_plan(rs_journal *journal, const char *json, size_t n)
{
    if (journal->plan && strlen(journal->plan) == n && memcmp(journal->plan, json, n) == 0)
        return RS_OK;
    char *path = rs_path_join(journal->folder, "plan.json");
    rs_status status = rs_file_write_atomic(path, json, n);
    free(path);
    if (status == RS_OK) {
        free(journal->plan);
        journal->plan = rs_strndup(json, n);
    }
    return status;
}

static rs_status read_plan(rs_journal *journal)
{
    rs_text text = {0};
    struct stat info;
    rs_status status = RS_OK;
    char *path = rs_path_join(journal->folder, "plan.json");
    if (lstat(path, &info) == 0)
        status = rs_file_read_own(path, MAX_PLAN_BYTES, &text);
    journal->plan = text.data;
    free(path);
    return status;
}

/* --- opening and closing --- */

static rs_status open_log(rs_journal *journal, const char *name)
{
    int flags = (journal->writing ? O_RDWR | O_APPEND | O_CREAT : O_RDONLY) | O_NONBLOCK;
    journal->log_path = rs_path_join(journal->folder, name);
    RS_RETRY(journal->log, open(journal->log_path, flags | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (journal->log < 0 && errno == ELOOP)
        return rs_fail(RS_INVALID, "%s: is a symbolic link; only the output folder itself may be one", journal->log_path);
    if (journal->log < 0)
        return rs_file_fail(journal->log_path, errno);
    journal->dirty = journal->writing; /* a killed run's last records may not be on the disk yet */
    if (!journal->writing)
        return RS_OK;
    RS_TRY(rs_file_check_own(journal->log, journal->log_path));
    return rs_folder_sync(journal->folder);
}

/* Whether folder/journal is a folder of this folder's own; where there is none, opening its files says so. */
static rs_status check_folder(const rs_journal *journal)
{
    struct stat info;
    if (lstat(journal->folder, &info) == 0 && S_ISLNK(info.st_mode))
        return rs_fail(RS_INVALID, "%s: is a symbolic link; only the output folder itself may be one", journal->folder);
    return RS_OK;
}

static rs_journal *journal_make(char *folder, bool writing)
{
    rs_journal *journal = rs_alloc(1, sizeof *journal);
    journal->view = rs_alloc(1, sizeof *journal->view);
    journal->folder = folder;
    journal->log = -1;
    journal->writing = writing;
    clock_gettime(CLOCK_MONOTONIC, &journal->synced);
    return journal;
}

static const char diagnostics_name[] = "diagnostics.log";

rs_status rs_journal_keep_diagnostics(rs_journal *journal)
{
    if (journal->diagnostics)
        return RS_OK;
    journal->diagnostics = journal_make(rs_strdup(journal->folder), journal->writing);
    RS_TRY(open_log(journal->diagnostics, diagnostics_name));
    return rs_journal_scan(journal->diagnostics);
}

rs_journal *rs_journal_diagnostics(const rs_journal *journal)
{
    return journal->diagnostics;
}

/* Where there are some. */
static rs_status open_diagnostics(rs_journal *journal)
{
    char *path = rs_path_join(journal->folder, diagnostics_name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there ? rs_journal_keep_diagnostics(journal) : RS_OK;
}

static rs_status journal_open(const char *folder, bool writing, bool fresh, rs_journal **out)
{
    rs_status status = RS_OK;
    rs_journal *journal = journal_make(rs_format("%s/journal", folder), writing);
    *out = NULL;
    if (writing)
        RS_TRY_OUT(rs_journal_claim(journal, folder, fresh));
    RS_TRY_OUT(check_folder(journal));
    RS_TRY_OUT(open_log(journal, "records.log"));
    RS_TRY_OUT(rs_journal_scan(journal));
    RS_TRY_OUT(open_diagnostics(journal));
    RS_TRY_OUT(read_plan(journal));
    *out = journal;
    return RS_OK;
out:
    rs_journal_close(journal);
    return status;
}

rs_status rs_journal_open(const char *folder, bool fresh, rs_journal **out)
{
    return journal_open(folder, true, fresh, out);
}

rs_status rs_journal_read(const char *folder, rs_journal **out)
{
    return journal_open(folder, false, false, out);
}

rs_status rs_journal_sync(rs_journal *journal)
{
    int rc;
    clock_gettime(CLOCK_MONOTONIC, &journal->synced);
    if (!journal->dirty)
        return RS_OK;
    rs_pulse_work("syncing the journal");
    RS_RETRY(rc, fdatasync(journal->log));
    if (rc != 0)
        return rs_file_fail(journal->log_path, errno);
    journal->dirty = false;
    return RS_OK;
}

rs_status rs_journal_close(rs_journal *journal)
{
    if (journal == NULL)
        return RS_OK;
    rs_status status = journal->log >= 0 ? rs_journal_sync(journal) : RS_OK, other = rs_journal_close(journal->diagnostics);
    if (journal->view->map)
        munmap(journal->view->map, journal->view->bytes);
    free(journal->view);
    if (journal->log >= 0)
        close(journal->log);
    rs_journal_lock_release(journal->lock);
    free(journal->folder);
    free(journal->log_path);
    free(journal->entries);
    free(journal->slots);
    free(journal->plan);
    free(journal);
    return status == RS_OK ? other : status;
}

rs_status rs_journal_tick(rs_journal *journal)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double passed = (double)(now.tv_sec - journal->synced.tv_sec) + 1e-9 * (double)(now.tv_nsec - journal->synced.tv_nsec);
    return passed >= 1 ? rs_journal_sync(journal) : RS_OK;
}

/* --- appending --- */

/* Back to the last whole line. */
static bool take_back(rs_journal *journal)
{
    int rc;
    RS_RETRY(rc, ftruncate(journal->log, journal->end));
    journal->torn = rc != 0;
    return !journal->torn;
}

static rs_status write_line(rs_journal *journal, const char *line, size_t n)
{
    if (journal->torn && !take_back(journal))
        return rs_file_fail(journal->log_path, errno);
    int cause = rs_file_write_all(journal->log, line, n);
    if (cause == 0)
        return RS_OK;
    take_back(journal);
    return rs_fail(RS_IO, "%s: %s; the journal holds all records before this one", journal->log_path, strerror(cause));
}

rs_status rs_journal_append(rs_journal *journal, const char *json, size_t n)
{
    rs_record_key key;
    if (!rs_record_peek(json, n, &key) || n > UINT32_MAX || memchr(json, '\n', n) || journal->n >= UINT32_MAX - 1)
        return rs_fail(RS_INTERNAL, "%s: asked to keep what is not a record: %.*s", journal->log_path, n < 80 ? (int)n : 80, json);
    if (rs_journal_find(journal, key.id))
        return RS_OK;
    rs_text line = {0};
    rs_text_printf(&line, "%016" PRIx64 " ", rs_hash64(json, n));
    rs_text_append(&line, json, n);
    rs_text_append(&line, "\n", 1);
    rs_status status = write_line(journal, line.data, line.n);
    if (status == RS_OK) {
        rs_journal_index(journal, &key, journal->end + RS_JOURNAL_HEAD, n);
        journal->end += (int64_t)line.n;
        journal->dirty = true;
        status = rs_journal_tick(journal);
    }
    rs_text_free(&line);
    return status;
}
