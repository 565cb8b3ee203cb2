/* Reading the log: which lines are whole, and what to make of the others. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pulse.h"
#include "report/journal_parts.h"
#include "report/scan.h"

enum { MAX_WARNINGS = 10, SAMPLE_BYTES = 1 << 16, BATCH = 8192 /* lines checked side by side */ };
#define LET_GO_BYTES ((size_t)64 << 20)

typedef struct scan_state {
    rs_journal *journal;
    const char *start; /* of the log */
    size_t lines, damaged, doubled;
} scan_state;

/* A checksum, a space, and a record that it fits. */
static bool line_is_good(const char *line, size_t n, rs_record_key *key)
{
    uint64_t sum;
    if (n <= RS_JOURNAL_HEAD || line[RS_JOURNAL_HEAD - 1] != ' ' || n - RS_JOURNAL_HEAD > UINT32_MAX || !rs_scan_hex(line, 16, &sum))
        return false;
    const char *json = line + RS_JOURNAL_HEAD;
    return rs_hash64(json, n - RS_JOURNAL_HEAD) == sum && rs_record_peek(json, n - RS_JOURNAL_HEAD, key);
}

static void index_line(scan_state *state, const char *line, size_t n, const rs_record_key *key)
{
    if (!rs_journal_index(state->journal, key, line - state->start + RS_JOURNAL_HEAD, n - RS_JOURNAL_HEAD))
        state->doubled++;
}

static bool take_line(scan_state *state, const char *line, size_t n)
{
    rs_record_key key;
    bool good = line_is_good(line, n, &key);
    if (good)
        index_line(state, line, n, &key);
    return good;
}

/* Where the byte between two lines is damaged, or half a line stands before a whole one, the whole lines inside are found by their heads:
 * a checksum, a space and a brace. */
static void salvage(scan_state *state, const char *line, size_t n)
{
    const char *end = line + n, *from = line;
    uint64_t sum;
    for (const char *p = line; end - p > RS_JOURNAL_HEAD; p++) {
        if (p[RS_JOURNAL_HEAD] != '{' || p[RS_JOURNAL_HEAD - 1] != ' ' || !rs_scan_hex(p, 16, &sum))
            continue;
        if (p > from && take_line(state, from, (size_t)(p - 1 - from)))
            state->damaged--;
        from = p;
    }
    if (from > line)
        take_line(state, from, (size_t)(end - from));
}

static void damaged_line(scan_state *state, const char *line, size_t n)
{
    if (state->damaged++ < MAX_WARNINGS)
        rs_warn("%s:%zu: this line of the journal is damaged; its record %s", state->journal->log_path, state->lines,
                state->journal->writing ? "will be made again" : "is left out");
    salvage(state, line, n);
}

static rs_status torn_tail(rs_journal *journal, size_t bytes)
{
    if (!journal->writing) {
        rs_warn("%s: the journal ends in a torn line of %zu bytes, which is left out", journal->log_path, bytes);
        return RS_OK;
    }
    rs_warn("%s: the journal ended in a torn line; its %zu bytes are cut off and its record will be made again", journal->log_path, bytes);
    int rc;
    RS_RETRY(rc, ftruncate(journal->log, journal->end));
    if (rc != 0)
        return rs_fail(RS_IO, "%s: the torn last line cannot be cut off: %s", journal->log_path, strerror(errno));
    return RS_OK;
}

/* Room for as many lines as there are if all are like the first ones. */
static void reserve_lines(rs_journal *journal, const char *start, size_t bytes)
{
    size_t sample = bytes < SAMPLE_BYTES ? bytes : SAMPLE_BYTES, lines = 0;
    for (const char *p = start; (p = memchr(p, '\n', (size_t)(start + sample - p))) != NULL; p++)
        lines++;
    rs_journal_reserve(journal, (size_t)((double)bytes / (double)sample * (double)lines * 1.02) + 1);
}

typedef struct whole_line {
    const char *text;
    size_t n;
    rs_record_key key;
    bool good;
} whole_line;

/* Up to BATCH lines from *p on; returns how many, *p behind them. */
static int read_lines(const char **p, const char *end, whole_line *lines)
{
    int n = 0;
    const char *newline;
    while (n < BATCH && *p < end && (newline = memchr(*p, '\n', (size_t)(end - *p))) != NULL) {
        lines[n++] = (whole_line){.text = *p, .n = (size_t)(newline - *p)};
        *p = newline + 1;
    }
#pragma omp parallel for schedule(static)
    for (int i = 0; i < n; i++)
        lines[i].good = line_is_good(lines[i].text, lines[i].n, &lines[i].key);
    rs_pulse_tick();
    return n;
}

static void take_lines(scan_state *state, const whole_line *lines, int n)
{
    for (int i = 0; i < n; i++) {
        state->lines++;
        if (lines[i].good)
            index_line(state, lines[i].text, lines[i].n, &lines[i].key);
        else
            damaged_line(state, lines[i].text, lines[i].n);
    }
}

rs_status rs_journal_scan(rs_journal *journal)
{
    struct stat info;
    if (fstat(journal->log, &info) != 0 || !S_ISREG(info.st_mode))
        return rs_fail(RS_INVALID, "%s: not a regular file", journal->log_path);
    if (info.st_size == 0)
        return RS_OK;
    RS_TRY(rs_journal_map(journal, (size_t)info.st_size));
    const char *p = journal->view->map, *end = p + info.st_size, *kept = p;
    whole_line *lines = rs_alloc(BATCH, sizeof *lines);
    scan_state state = {.journal = journal, .start = p};
    reserve_lines(journal, p, (size_t)info.st_size);
    for (int n; (n = read_lines(&p, end, lines)) > 0;) {
        take_lines(&state, lines, n);
        if ((size_t)(p - kept) > LET_GO_BYTES) {
            madvise(journal->view->map, journal->view->bytes, MADV_DONTNEED);
            kept = p;
        }
    }
    free(lines);
    journal->end = p - state.start;
    if (state.damaged > MAX_WARNINGS)
        rs_warn("%s: %zu lines of the journal are damaged in all", journal->log_path, state.damaged);
    if (state.doubled > 0)
        rs_debug("%s: %zu records stand there twice; the first counts", journal->log_path, state.doubled);
    return p < end ? torn_tail(journal, (size_t)(end - p)) : RS_OK;
}
