/* What a run has found so far, on disk: journal/plan.json (the points and the effective configuration) and journal/records.log, one line a
 * record: 16 hexadecimal digits (XXH3-64 of the rest), a space, the record's JSON. Appended and handed to the kernel record by record;
 * synced to the disk at most a second later and at the end. A torn last line is cut off with a warning; a damaged line inside is named and
 * its record is made again. One process writes: the folder is locked (report/journal_lock.h). In memory lies an index of 48 bytes a record;
 * the records stay in the file. */
#ifndef RS_REPORT_JOURNAL_H
#define RS_REPORT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "report/record.h"

typedef struct rs_journal rs_journal;

typedef struct rs_journal_entry {
    rs_digest id;
    uint64_t point; /* the first 16 hexadecimal digits of the point's id, as a number */
    int64_t doc_id;
    int64_t offset; /* of the record's JSON in records.log */
    uint32_t bytes; /* of that JSON */
} rs_journal_entry;

/* Opens or creates folder/journal for writing and reads what is there: entries [n] in file order, the first of equal ids only.
 * fresh: what an earlier run left in `folder` is moved aside to folder/old-N first. RS_INVALID where another run holds the lock (who is
 * named), and where a folder without journal/ holds files of the reports' names: they are somebody else's and would be overwritten. */
rs_status rs_journal_open(const char *folder, bool fresh, rs_journal **out);
/* Reads a folder's journal without writing or locking (report, compare, merge). */
rs_status rs_journal_read(const char *folder, rs_journal **out);
/* Syncs; RS_IO where that fails (the journal is closed all the same). NULL is fine. */
rs_status rs_journal_close(rs_journal *journal);

/* journal/diagnostics.log: a second log of the same form, of sums of attention (report/diagnostics.h), opened and closed with the first;
 * NULL where there is none. keep: makes it. */
rs_status rs_journal_keep_diagnostics(rs_journal *journal);
rs_journal *rs_journal_diagnostics(const rs_journal *journal);

/* The path of journal/ as it was named at opening. */
const char *rs_journal_folder(const rs_journal *journal);
size_t rs_journal_count(const rs_journal *journal);
const rs_journal_entry *rs_journal_at(const rs_journal *journal, size_t i);
/* The entry with this content id, or NULL. Good until the next append, as that of rs_journal_at. */
const rs_journal_entry *rs_journal_find(const rs_journal *journal, rs_digest id);
/* Until the next append, several threads may call rs_journal_text at once, and what it gives stays good. */
rs_status rs_journal_hold(const rs_journal *journal);
/* The record's JSON, entry->bytes long, not NUL-terminated; good until the next call. */
rs_status rs_journal_text(const rs_journal *journal, const rs_journal_entry *entry, const char **json);

/* Text of journal/plan.json as it stands now; NULL if there is none. Good until the next rs_journal_write_plan. */
const char *rs_journal_plan(const rs_journal *journal);
/* Replaces journal/plan.json atomically; the same text again leaves the file alone. */
rs_status rs_journal_write_plan(rs_journal *journal, const char *json, size_t n);

/* Appends and keeps a record given as its JSON form. A record whose id is there already is ignored. RS_IO: nothing was added (disk full).
 */
rs_status rs_journal_append(rs_journal *journal, const char *json, size_t n);
/* Waits until all that was appended is on the disk. */
rs_status rs_journal_sync(rs_journal *journal);
/* The same if a second has passed since the last time. */
rs_status rs_journal_tick(rs_journal *journal);

#endif
