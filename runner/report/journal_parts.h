/* What the journal's own files share. */
#ifndef RS_REPORT_JOURNAL_PARTS_H
#define RS_REPORT_JOURNAL_PARTS_H

#include <stdatomic.h>
#include <time.h>

#include "report/journal.h"
#include "report/journal_lock.h"

/* A map of the log's first `bytes`. */
typedef struct rs_journal_view {
    char *map;
    size_t bytes;
    atomic_size_t served;       /* bytes handed out since the pages were last let go */
} rs_journal_view;

struct rs_journal {
    char *folder;               /* folder/journal */
    char *log_path;
    rs_journal_lock *lock;      /* NULL: none */
    int log;                    /* a descriptor; -1: not open */
    bool writing;
    rs_journal_entry *entries;
    size_t n, cap;
    uint32_t *slots;            /* open addressing: entry index + 1; 0: free */
    size_t n_slots;             /* a power of two */
    int64_t end;                /* of the last whole line: where the next one goes */
    bool torn;                  /* bytes beyond `end` could not be taken back yet */
    bool dirty;                 /* appended since the last sync */
    struct timespec synced;
    rs_journal_view *view;      /* owned; what reading through a const journal may change */
    char *plan;
    rs_journal *diagnostics;    /* the second log; owned; NULL: none */
};

/* Adds to the index unless the id is there; returns whether it was added. */
bool rs_journal_index(rs_journal *journal, const rs_record_key *key, int64_t offset, size_t bytes);
/* Makes room for so many entries at once. */
void rs_journal_reserve(rs_journal *journal, size_t n);
/* Makes the map cover the log's first `bytes`. */
rs_status rs_journal_map(const rs_journal *journal, size_t bytes);

/* Reads the log: indexes whole lines, warns of damaged ones, and finds `end`. When writing, a torn tail is cut off. */
rs_status rs_journal_scan(rs_journal *journal);

/* Creates the folder and its journal/ (fresh: after moving old results aside) and takes the lock. */
rs_status rs_journal_claim(rs_journal *journal, const char *folder, bool fresh);

/* The checksum in front of a line: 16 digits, a space. */
enum { RS_JOURNAL_HEAD = 17 };

#endif
