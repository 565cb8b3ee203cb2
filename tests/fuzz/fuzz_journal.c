/* A journal: records.log, and behind a NUL its plan.json. A line of the input that begins with a brace gets its right checksum in front,
 * or no record would ever be found. However damaged, a journal opens; what was found in it stays, and so does what is appended. */
#include "fuzz.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "report/journal.h"
#include "report/results.h"

static const char *const metrics[RS_MAX_METRICS + 1] = {"a", "b", "c", "d", NULL};

static void write_log(const char *bytes, size_t n)
{
    rs_text log = {0};
    rs_text_append(&log, "", 0);
    for (const char *p = bytes, *end = bytes + n; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        if (*p == '{')
            rs_text_printf(&log, "%016" PRIx64 " ", rs_hash64(p, (size_t)(stop - p)));
        rs_text_append(&log, p, (size_t)(stop - p) + (newline != NULL));
        p = stop + (newline != NULL);
    }
    fuzz_write("journal/records.log", log.data, log.n);
    rs_text_free(&log);
}

/* What was read of a record, written, reads as the same. */
static void check_record(const char *json, size_t n)
{
    rs_record record;
    rs_text once = {0}, twice = {0};
    rs_status status = rs_record_parse(json, n, &record);
    fuzz_check(status);
    if (status != RS_OK)
        return;
    rs_record_write_json(&record, metrics, &once);
    rs_record_free(&record);
    status = rs_record_parse(once.data, once.n, &record);
    if (status == RS_OK)
        rs_record_write_json(&record, metrics, &twice);
    if (status != RS_OK || once.n != twice.n || memcmp(once.data, twice.data, once.n) != 0) {
        fprintf(stderr, "%.*s\nwritten is\n%s\nand that again\n%s\n", (int)n, json, once.data, twice.data ? twice.data : "no record");
        abort();
    }
    rs_record_free(&record);
    rs_text_free(&once);
    rs_text_free(&twice);
}

/* Ids and texts of all entries, in order. */
static rs_digest digest_of(const rs_journal *journal, size_t n)
{
    rs_hasher *hasher = rs_hasher_open();
    assert(rs_journal_count(journal) >= n);
    for (size_t i = 0; i < n; i++) {
        const rs_journal_entry *entry = rs_journal_at(journal, i);
        const char *json = NULL;
        assert(rs_journal_find(journal, entry->id) == entry);
        fuzz_check(rs_journal_text(journal, entry, &json));
        rs_hasher_update(hasher, &entry->id, sizeof entry->id);
        rs_hasher_update(hasher, json, entry->bytes);
    }
    return rs_hasher_close(hasher);
}

static rs_journal *reopened(bool writing)
{
    rs_journal *journal = NULL;
    fuzz_check(writing ? rs_journal_open(fuzz_folder(), false, &journal) : rs_journal_read(fuzz_folder(), &journal));
    assert(journal);
    return journal;
}

static void claim_same(const rs_journal *journal, size_t n, rs_digest wanted)
{
    rs_digest found = digest_of(journal, n);
    assert(rs_journal_count(journal) == n && found.high == wanted.high && found.low == wanted.low);
    (void)found;
}

/* Opened for writing it has what reading found, and one record more is all that an append changes. */
static void check_append(size_t n, rs_digest before)
{
    static const char added[] = "{\"id\": \"00000000000000000000000000000001\", \"point\": \"0000000000000002\", \"doc_id\": 3}";
    rs_journal *journal = reopened(true);
    claim_same(journal, n, before);
    fuzz_check(rs_journal_append(journal, added, sizeof added - 1));
    size_t after = rs_journal_count(journal);
    assert(rs_journal_find(journal, (rs_digest){0, 1}) && after <= n + 1);
    rs_digest whole = digest_of(journal, after);
    fuzz_check(rs_journal_close(journal));
    for (int writing = 0; writing <= 1; writing++) {
        journal = reopened(writing);
        claim_same(journal, after, whole);
        fuzz_check(rs_journal_close(journal));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *nul = n ? memchr(data, '\0', n) : NULL;
    size_t n_log = nul ? (size_t)(nul - data) : n;
    char *folder = fuzz_path("journal");
    fuzz_check(rs_folder_create(folder));
    free(folder);
    write_log((const char *)data, n_log);
    fuzz_write("journal/plan.json", nul ? nul + 1 : data, nul ? n - n_log - 1 : 0);

    rs_journal *journal = reopened(false);
    rs_digest before = digest_of(journal, rs_journal_count(journal));
    for (size_t i = 0; i < rs_journal_count(journal); i++) {
        const rs_journal_entry *entry = rs_journal_at(journal, i);
        const char *json = NULL;
        fuzz_check(rs_journal_text(journal, entry, &json));
        check_record(json, entry->bytes);
    }
    rs_results *results = NULL;
    rs_status status = rs_results_open(journal, &results);
    fuzz_check(status);
    if (status == RS_OK) {
        fuzz_check(rs_results_evaluate(results, false, NULL));
        rs_results_free(results);
    }
    size_t count = rs_journal_count(journal);
    fuzz_check(rs_journal_close(journal));
    check_append(count, before);
    return 0;
}
