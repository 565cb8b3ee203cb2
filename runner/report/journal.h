/* What a run has found so far, on disk: journal/plan.json (the points and the effective configuration) and journal/records.log, one line a
 * record: 16 hexadecimal digits (XXH3-64 of the rest), a space, the record's JSON. Appended and handed to the kernel record by record; synced
 * to the disk at most a second later and at the end. A torn last line is cut off with a warning; a damaged line inside is named and its
 * record is made again. One process writes: the folder is locked (flock on journal/lock, host and pid inside). */
#ifndef RS_REPORT_JOURNAL_H
#define RS_REPORT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "report/record.h"

typedef struct rs_journal rs_journal;

/* Opens or creates folder/journal for writing and reads what is there: records [n] in file order, the first of equal ids only.
 * fresh: what an earlier run left in `folder` is moved aside to folder/old-N first. RS_INVALID where another run holds the lock. */
rs_status rs_journal_open(const char *folder, bool fresh, rs_journal **out);
/* Reads a folder's journal without writing (report, compare, merge). */
rs_status rs_journal_read(const char *folder, rs_journal **out);
void rs_journal_close(rs_journal *journal); /* syncs */

size_t rs_journal_count(const rs_journal *journal);
const rs_record *rs_journal_at(const rs_journal *journal, size_t i);
/* The record with this content id, or NULL. */
const rs_record *rs_journal_find(const rs_journal *journal, rs_digest id);

/* Text of journal/plan.json as it was at opening; NULL if there was none. */
const char *rs_journal_plan(const rs_journal *journal);
rs_status rs_journal_write_plan(rs_journal *journal, const char *json, size_t n);

/* Appends and keeps a record given as its JSON form. A record whose id is there already is ignored. RS_IO: nothing was added (disk full). */
rs_status rs_journal_append(rs_journal *journal, const char *json, size_t n);
/* Syncs if a second has passed since the last time. */
rs_status rs_journal_tick(rs_journal *journal);

#endif
