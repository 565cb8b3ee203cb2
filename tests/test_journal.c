/* The journal under torn tails, damaged bytes, a full disk and a second writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/journal.h"

enum { N = 4 };

static char *new_folder(void)
{
    /* Thousands of syncs: in memory, where that can be had. */
    char *folder = rs_format("%s/rs_journal_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void remove_folder(char *folder)
{
    char *command = rs_format("rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
    free(command);
    free(folder);
}

static void write_record(int64_t doc_id, rs_text *out)
{
    static const char *const metrics[] = {NULL};
    rs_record record = {.id = {7, (uint64_t)doc_id * 0x9E3779B97F4A7C15u},
                        .point = "0123456789abcdef",
                        .doc_id = doc_id,
                        .has_nll = true,
                        .nll = (double)doc_id / 3};
    rs_text_clear(out);
    rs_record_write_json(&record, metrics, out);
}

static rs_status append(rs_journal *journal, int64_t doc_id)
{
    rs_text json = {0};
    write_record(doc_id, &json);
    rs_status status = rs_journal_append(journal, json.data, json.n);
    rs_text_free(&json);
    return status;
}

static rs_digest id_of(int64_t doc_id)
{
    return (rs_digest){7, (uint64_t)doc_id * 0x9E3779B97F4A7C15u};
}

static rs_journal *open_journal(const char *folder)
{
    rs_journal *journal;
    rs_error_clear();
    if (rs_journal_open(folder, false, &journal) != RS_OK)
        fail_msg("%s", rs_error_message());
    return journal;
}

/* A journal of N records; returns the log's bytes. */
static rs_text make_log(const char *folder)
{
    rs_text log = {0};
    rs_journal *journal = open_journal(folder);
    for (int64_t i = 0; i < N; i++)
        assert_int_equal(append(journal, i), RS_OK);
    assert_int_equal(rs_journal_close(journal), RS_OK);
    char *path = rs_path_join(folder, "journal/records.log");
    assert_int_equal(rs_file_read(path, 1 << 20, &log), RS_OK);
    free(path);
    return log;
}

static void put_log(const char *folder, const char *bytes, size_t n)
{
    char *path = rs_path_join(folder, "journal/records.log");
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
    free(path);
}

static size_t log_size(const char *folder)
{
    struct stat info;
    char *path = rs_path_join(folder, "journal/records.log");
    assert_int_equal(stat(path, &info), 0);
    free(path);
    return (size_t)info.st_size;
}

static void check_text(rs_journal *journal, int64_t doc_id)
{
    rs_text expected = {0};
    const char *json;
    const rs_journal_entry *entry = rs_journal_find(journal, id_of(doc_id));
    write_record(doc_id, &expected);
    assert_non_null(entry);
    assert_int_equal(entry->doc_id, doc_id);
    assert_true(entry->point == 0x0123456789abcdefu);
    assert_int_equal(rs_journal_text(journal, entry, &json), RS_OK);
    assert_int_equal(entry->bytes, expected.n);
    assert_memory_equal(json, expected.data, expected.n);
    rs_text_free(&expected);
}

static void test_round_trip(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_text log = make_log(folder);
    rs_journal *journal = open_journal(folder);
    assert_int_equal(rs_journal_count(journal), N);
    assert_null(rs_journal_plan(journal));
    assert_null(rs_journal_find(journal, id_of(N)));
    for (int64_t i = 0; i < N; i++)
        check_text(journal, i);
    assert_int_equal(append(journal, 2), RS_OK); /* there already: ignored */
    assert_int_equal(rs_journal_count(journal), N);
    for (int64_t i = N; i < 5000; i++) {
        assert_int_equal(append(journal, i), RS_OK);
        if (i % 97 == 0)
            check_text(journal, i / 2); /* the map follows the file */
    }
    assert_int_equal(rs_journal_write_plan(journal, "{\"a\": 1}", 8), RS_OK);
    assert_string_equal(rs_journal_plan(journal), "{\"a\": 1}");
    assert_int_equal(rs_journal_close(journal), RS_OK);
    assert_int_equal(rs_journal_read(folder, &journal), RS_OK);
    assert_int_equal(rs_journal_count(journal), 5000);
    assert_string_equal(rs_journal_plan(journal), "{\"a\": 1}");
    for (int64_t i = 0; i < 5000; i++) {
        check_text(journal, i);
        assert_int_equal(rs_journal_at(journal, (size_t)i)->doc_id, i);
    }
    rs_journal_close(journal);
    rs_text_free(&log);
    remove_folder(folder);
}

static void test_not_a_record(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_journal *journal = open_journal(folder);
    assert_int_equal(rs_journal_append(journal, "{}", 2), RS_INTERNAL);
    assert_int_equal(rs_journal_append(journal, "", 0), RS_INTERNAL);
    rs_error_clear();
    assert_int_equal(rs_journal_close(journal), RS_OK);
    assert_int_equal(log_size(folder), 0);
    remove_folder(folder);
}

/* stderr of what `call` logs, in `text`. */
static void catch_warnings(rs_text *text, const char *folder, size_t *count)
{
    char *path = rs_path_join(folder, "stderr");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), saved = dup(2);
    assert_true(fd >= 0 && saved >= 0 && dup2(fd, 2) == 2);
    rs_log_set_level(RS_LOG_NORMAL);
    rs_journal *journal = open_journal(folder);
    rs_log_set_level(RS_LOG_SILENT);
    assert_true(dup2(saved, 2) == 2);
    close(saved);
    close(fd);
    *count = rs_journal_count(journal);
    rs_journal_close(journal);
    assert_int_equal(rs_file_read(path, 1 << 20, text), RS_OK);
    free(path);
}

/* Cut at every byte of the last line: all before it stays, the file ends at a whole line, and the record can be made again. */
static void test_torn_tail(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_text log = make_log(folder), warning = {0};
    size_t last = log.n - 1;
    while (log.data[last - 1] != '\n')
        last--;
    for (size_t n = last + 1; n < log.n; n++) {
        put_log(folder, log.data, n);
        rs_journal *journal = open_journal(folder);
        assert_int_equal(rs_journal_count(journal), N - 1);
        assert_int_equal(log_size(folder), last);
        assert_int_equal(append(journal, N - 1), RS_OK);
        check_text(journal, N - 1);
        assert_int_equal(rs_journal_close(journal), RS_OK);
        assert_int_equal(log_size(folder), log.n);
    }
    put_log(folder, log.data, log.n - 9);
    rs_journal *reader;
    assert_int_equal(rs_journal_read(folder, &reader), RS_OK); /* reading changes nothing */
    assert_int_equal(rs_journal_count(reader), N - 1);
    rs_journal_close(reader);
    assert_int_equal(log_size(folder), log.n - 9);
    size_t count;
    catch_warnings(&warning, folder, &count);
    assert_int_equal(count, N - 1);
    assert_non_null(strstr(warning.data, "warning: "));
    assert_non_null(strstr(warning.data, "journal"));
    rs_text_free(&warning);
    rs_text_free(&log);
    remove_folder(folder);
}

/* Every byte, damaged two ways: at most the record of that line is lost, the others stay what they were, and it can be made again. */
static void test_damaged_byte(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_text log = make_log(folder);
    for (size_t at = 0; at < log.n; at++)
        for (int way = 0; way < 2; way++) {
            char kept = log.data[at];
            log.data[at] = (char)(way ? '\n' : kept ^ 0x20);
            if (log.data[at] == kept)
                continue;
            put_log(folder, log.data, log.n);
            log.data[at] = kept;
            rs_journal *journal = open_journal(folder);
            assert_true(rs_journal_count(journal) >= N - 1 && rs_journal_count(journal) <= N);
            for (int64_t i = 0; i < N; i++)
                if (rs_journal_find(journal, id_of(i)))
                    check_text(journal, i);
                else
                    assert_int_equal(append(journal, i), RS_OK);
            assert_int_equal(rs_journal_count(journal), N);
            assert_int_equal(rs_journal_close(journal), RS_OK);
        }
    rs_text_free(&log);
    remove_folder(folder);
}

static void test_damaged_line_is_named(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_text log = make_log(folder), warning = {0};
    size_t count;
    log.data[strchr(log.data, '\n') - log.data + 40] ^= 1;
    put_log(folder, log.data, log.n);
    catch_warnings(&warning, folder, &count);
    assert_int_equal(count, N - 1);
    assert_non_null(strstr(warning.data, "journal/records.log:2:"));
    rs_text_free(&warning);
    rs_text_free(&log);
    remove_folder(folder);
}

/* More lines than are looked at side by side, of which some at the seams are damaged: those alone are missing, and named by their numbers.
 */
static void test_many_lines(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    static const int64_t damaged[] = {0, 8191, 8192, 16383, 16384, LINES - 1};
    enum { DAMAGED = sizeof damaged / sizeof *damaged };
    char *folder = new_folder();
    rs_text log = {0}, json = {0}, warning = {0};
    for (int64_t i = 0, next = 0; i < LINES; i++) {
        rs_text_clear(&json);
        write_record(i, &json);
        size_t line = log.n;
        rs_text_printf(&log, "%016" PRIx64 " %s\n", rs_hash64(json.data, json.n), json.data);
        if (next < DAMAGED && damaged[next] == i) {
            log.data[line + 40] ^= 1;
            next++;
        }
    }
    rs_journal_close(open_journal(folder)); /* makes the folder */
    put_log(folder, log.data, log.n);
    size_t count;
    catch_warnings(&warning, folder, &count);
    assert_int_equal(count, LINES - DAMAGED);
    for (int k = 0; k < DAMAGED; k++) {
        char *place = rs_format("journal/records.log:%" PRId64 ":", damaged[k] + 1);
        assert_non_null(strstr(warning.data, place));
        free(place);
    }
    rs_journal *journal = open_journal(folder);
    for (int64_t i = 0, next = 0; i < LINES; i++) {
        bool missing = next < DAMAGED && damaged[next] == i;
        next += missing;
        assert_true((rs_journal_find(journal, id_of(i)) == NULL) == missing);
    }
    rs_journal_close(journal);
    rs_text_free(&json);
    rs_text_free(&warning);
    rs_text_free(&log);
    remove_folder(folder);
}

/* No byte order of rubbish makes the reader fall. */
static void test_rubbish(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_text log = make_log(folder), mixed = {0};
    static const char zeros[4096];
    unsigned seed = 1;
    for (int round = 0; round < 300; round++) {
        rs_text_clear(&mixed);
        for (int piece = 0; piece < 6; piece++) {
            seed = seed * 1664525 + 1013904223;
            size_t from = seed % log.n, n = (seed >> 8) % (log.n - from) + 1;
            if (seed >> 28 == 0)
                rs_text_append(&mixed, zeros, n);
            else
                rs_text_append(&mixed, log.data + from, n);
        }
        put_log(folder, mixed.data, mixed.n);
        rs_journal *journal = open_journal(folder);
        for (size_t i = 0; i < rs_journal_count(journal); i++)
            check_text(journal, rs_journal_at(journal, i)->doc_id);
        rs_journal_close(journal);
    }
    rs_text_free(&mixed);
    rs_text_free(&log);
    remove_folder(folder);
}

/* A file size limit stands in for a full disk: at every number of bytes left, the journal keeps its whole lines and goes on once there is
 * room. */
static void test_full_disk(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_text log = make_log(folder), line = {0};
    write_record(N, &line);
    size_t line_bytes = line.n + 18;
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t room = 0; room < line_bytes; room += 7) {
        put_log(folder, log.data, log.n);
        rs_journal *journal = open_journal(folder);
        limit = (struct rlimit){log.n + room, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_int_equal(append(journal, N), RS_IO);
        assert_int_equal(log_size(folder), log.n);
        assert_null(rs_journal_find(journal, id_of(N)));
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        rs_error_clear();
        assert_int_equal(append(journal, N), RS_OK);
        check_text(journal, N);
        assert_int_equal(log_size(folder), log.n + line_bytes);
        assert_int_equal(rs_journal_close(journal), RS_OK);
    }
    signal(SIGXFSZ, SIG_DFL);
    rs_text_free(&line);
    rs_text_free(&log);
    remove_folder(folder);
}

static void test_lock(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_journal *first = open_journal(folder), *second = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
    for (int fresh = 0; fresh < 2; fresh++) {
        rs_error_clear();
        assert_int_equal(rs_journal_open(folder, fresh, &second), RS_INVALID);
        assert_null(second);
        assert_non_null(strstr(rs_error_message(), pid));
        assert_non_null(strstr(rs_error_message(), "host "));
    }
    rs_error_clear();
    assert_int_equal(rs_journal_read(folder, &second), RS_OK); /* reading is free */
    rs_journal_close(second);
    rs_journal_close(first);
    first = open_journal(folder);
    rs_journal_close(first);
    remove_folder(folder);
}

/* What a killed writer leaves locks nobody out. */
static void test_killed_writer(void **state)
{
    (void)state;
    char *folder = new_folder();
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        rs_journal *journal;
        bool good = rs_journal_open(folder, false, &journal) == RS_OK && append(journal, 0) == RS_OK;
        if (write(ready[1], good ? "y" : "n", 1) == 1)
            pause();
        _exit(0);
    }
    char answer;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    rs_journal *journal = open_journal(folder);
    assert_int_equal(rs_journal_count(journal), 1);
    rs_journal_close(journal);
    close(ready[0]);
    close(ready[1]);
    remove_folder(folder);
}

static void put_file(const char *folder, const char *name)
{
    char *path = rs_path_join(folder, name);
    assert_int_equal(rs_file_write_atomic(path, "x", 1), RS_OK);
    free(path);
}

static bool is_there(const char *folder, const char *name)
{
    char *path = rs_path_join(folder, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static void test_fresh(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_text log = make_log(folder);
    rs_journal *journal;
    put_file(folder, "report.yaml");
    put_file(folder, "samples.jsonl");
    put_file(folder, "notes.txt");
    assert_int_equal(rs_journal_open(folder, true, &journal), RS_OK);
    assert_int_equal(rs_journal_count(journal), 0);
    assert_int_equal(append(journal, 9), RS_OK);
    rs_journal_close(journal);
    assert_true(is_there(folder, "old-1/report.yaml") && is_there(folder, "old-1/samples.jsonl") &&
                is_there(folder, "old-1/journal/records.log"));
    assert_true(is_there(folder, "notes.txt") && !is_there(folder, "report.yaml"));
    assert_int_equal(rs_journal_open(folder, true, &journal), RS_OK);
    rs_journal_close(journal);
    assert_true(is_there(folder, "old-2/journal/records.log") && !is_there(folder, "old-2/report.yaml"));
    rs_text_free(&log);
    remove_folder(folder);
}

static void test_strange_folder(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_journal *journal;
    put_file(folder, "notes.txt"); /* in nobody's way */
    journal = open_journal(folder);
    rs_journal_close(journal);
    remove_folder(folder);

    folder = new_folder();
    put_file(folder, "report.yaml");
    assert_int_equal(rs_journal_open(folder, false, &journal), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "report.yaml"));
    rs_error_clear();
    assert_int_equal(rs_journal_open(folder, true, &journal), RS_OK);
    rs_journal_close(journal);
    assert_true(is_there(folder, "old-1/report.yaml"));
    remove_folder(folder);

    assert_int_equal(rs_journal_read("/nonexistent", &journal), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "/nonexistent/journal/records.log"));
    rs_error_clear();
}

/* A link in place of a file of ours must not lead a write elsewhere. */
static void test_links(void **state)
{
    (void)state;
    static const char *const names[] = {"journal/records.log", "journal/lock", "journal"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = new_folder(), *journal_folder = rs_path_join(folder, "journal"), *target = rs_path_join(folder, "target");
        char *link = rs_path_join(folder, names[i]);
        rs_journal *journal;
        if (i < 2)
            assert_int_equal(mkdir(journal_folder, 0700), 0);
        assert_int_equal(symlink(target, link), 0);
        assert_int_equal(rs_journal_open(folder, false, &journal), RS_INVALID);
        assert_int_not_equal(access(target, F_OK), 0);
        rs_error_clear();
        free(journal_folder);
        free(target);
        free(link);
        remove_folder(folder);
    }
}

static void test_tick(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_journal *journal = open_journal(folder);
    assert_int_equal(append(journal, 0), RS_OK);
    assert_int_equal(rs_journal_tick(journal), RS_OK);
    struct timespec more = {1, 20000000};
    nanosleep(&more, NULL);
    assert_int_equal(rs_journal_tick(journal), RS_OK);
    assert_int_equal(rs_journal_close(journal), RS_OK);
    assert_int_equal(rs_journal_close(NULL), RS_OK);
    remove_folder(folder);
}

static int set_up(void **state)
{
    (void)state;
    rs_log_set_level(RS_LOG_SILENT);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_not_a_record),
        cmocka_unit_test(test_torn_tail),
        cmocka_unit_test(test_damaged_byte),
        cmocka_unit_test(test_damaged_line_is_named),
        cmocka_unit_test(test_many_lines),
        cmocka_unit_test(test_rubbish),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_killed_writer),
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_strange_folder),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_tick),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
