/* report.html of synthetic sweeps: whatever labels hold, the page is well-formed; its parts stand in order and say what the records say;
 * sizes stay in bounds. `test_html FOLDER` leaves the sweeps there instead, for e2e/html.py to look at in a browser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/report.h"

typedef struct sweep {
    const char *name;
    int ropes, softmaxes, contexts, tasks, samples; /* tasks: even ones score text, odd ones find a needle */
    const char *label;                              /* put behind every name that a config chooses; a JSON string's inside */
    int failed, missing;                            /* every so many-th point; 0: none */
} sweep;

/* What a hostile config could call things: markup, its ends, entities, comments, characters that XML or HTML have no place for, and text
 * that runs from right to left. */
#define HOSTILE                                                                                                                            \
    "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>&amp;&#x41;'\\\"<!-- ]]> --> "                                   \
    "\\u0001\\u007f\\ufffe\\uffff\\u202e\\ud83d\\ude00%s%n"

static const sweep sweeps[] = {
    {"one", 1, 1, 1, 1, 4, "", 0, 0},
    {"small", 3, 1, 3, 2, 6, "", 0, 0},
    {"troubles", 3, 2, 2, 2, 6, " <i>not markup</i>", 5, 7},
    {"hostile", 3, 2, 2, 2, 6, HOSTILE, 5, 7},
    {"nothing", 2, 1, 2, 2, 6, "", 0, 1},
    {"large", 10, 5, 5, 2, 10, ", a label as long as labels get", 0, 0},
};
enum { N_SWEEPS = sizeof sweeps / sizeof *sweeps, PAIRS = 64 };

static int points_of(const sweep *s)
{
    return s->ropes * s->softmaxes * s->contexts * s->tasks;
}

static void write_ropes(const sweep *s, rs_text *out)
{
    rs_text_puts(out, "\"ropes\": [");
    for (int r = 0; r < s->ropes; r++) {
        rs_text_printf(out, "%s{\"label\": \"rope %d", r ? "," : "", r);
        rs_text_puts(out, s->label);
        rs_text_puts(out, "\", \"entry\": {\"rope_type\": \"yarn\"}, \"attention_factor\": 1, \"inv_freq\": [");
        for (int i = 0; i < PAIRS; i++)
            rs_text_printf(out, "%s%g", i ? ", " : "", r == 1 && i > PAIRS / 2 ? 0 : 1.0 / (1 + r) / (1 << i / 4));
        rs_text_puts(out, "]}");
    }
    rs_text_puts(out, "],\n");
}

static void write_plan(const sweep *s, rs_text *out)
{
    rs_text_puts(
        out, "{\"schema\": 1, \"program\": {\"name\": \"ropesweep\", \"version\": \"0\", \"commit\": \"0\"},\n\"model\": {\"path\": \"m");
    rs_text_puts(out, s->label);
    rs_text_puts(out,
                 "\", \"architecture\": \"gemma\", \"parameters\": 7, \"digest\": \"0\", \"dtype\": \"fp32\"},\n\"config\": {\"x\": \"");
    rs_text_puts(out, s->label);
    rs_text_puts(out, "\"}, \"baseline\": {\"rope\": 0, \"softmax\": 0},\n");
    write_ropes(s, out);
    rs_text_puts(out, "\"softmaxes\": [");
    for (int i = 0; i < s->softmaxes; i++) {
        rs_text_printf(out, "%s{\"label\": \"T=%d", i ? "," : "", i + 1);
        rs_text_puts(out, s->label);
        rs_text_puts(out, "\", \"entry\": {\"type\": \"temperature\"}}");
    }
    rs_text_puts(out, "],\n\"points\": [");
    for (int i = 0; i < points_of(s); i++) {
        int task = i % s->tasks, context = i / s->tasks % s->contexts, variant = i / s->tasks / s->contexts;
        rs_text_printf(out, "%s{\"id\": \"%016x\", \"rope\": %d, \"softmax\": %d, \"context\": %d, \"task\": \"task %d", i ? ",\n" : "",
                       i + 1, variant / s->softmaxes, variant % s->softmaxes, 1024 << context, task);
        rs_text_puts(out, s->label);
        rs_text_printf(out,
                       "\", \"task_name\": \"t\", \"task_version\": 1, \"kind\": \"%s\", \"metrics\": [%s], \"samples\": %d, "
                       "\"inv_freq_digest\": \"0\", \"attention_factor\": 1}",
                       task % 2 ? "generate" : "score", task % 2 ? "\"accuracy\"" : "", s->samples);
    }
    rs_text_puts(out, "]}\n");
}

/* Later variants are worse; at greater depths too. Sample d lies at depth 100 d / (samples - 1). */
static void add_record(rs_journal *journal, const sweep *s, int point, int doc_id, const char *error)
{
    static const char *const metrics[] = {"accuracy", NULL};
    int variant = point / s->tasks / s->contexts;
    char response[] = "</script>", facts[64], *references[] = {response};
    rs_record record = {.id = {(uint64_t)point + 1, (uint64_t)doc_id},
                        .doc_id = doc_id,
                        .tokens = 100,
                        .n_tokens = 12,
                        .prompt_hash = {(uint64_t)(point % (s->tasks * s->contexts)), (uint64_t)doc_id}};
    snprintf(record.point, sizeof record.point, "%016x", point + 1);
    snprintf(facts, sizeof facts, "\"depths\": [%g, 3], \"units\": 7", s->samples > 1 ? 100.0 * doc_id / (s->samples - 1) : 0);
    if (error) {
        record.error = (char *)(size_t)error;
    } else if (point % s->tasks % 2 == 0) {
        record.has_nll = true;
        record.nll = 30 + variant + doc_id % 3;
        record.parts[RS_BY_POSITION][3] = (rs_part){4, record.nll / 2};
        record.parts[RS_BY_POSITION][4] = (rs_part){8, record.nll / 2};
    } else {
        record.response = response;
        record.response_bytes = strlen(response);
        record.references = references;
        record.n_references = 1;
        record.facts = facts;
        record.scores[0] = doc_id + variant < s->samples;
        record.n_scores = 1;
    }
    rs_text json = {0};
    rs_record_write_json(&record, metrics, &json);
    assert_int_equal(rs_journal_append(journal, json.data, json.n), RS_OK);
    rs_text_free(&json);
}

static void make_sweep(const sweep *s, const char *folder)
{
    rs_journal *journal;
    rs_text plan = {0};
    rs_report_summary summary;
    assert_int_equal(rs_journal_open(folder, false, &journal), RS_OK);
    write_plan(s, &plan);
    assert_int_equal(rs_journal_write_plan(journal, plan.data, plan.n), RS_OK);
    for (int i = 0; i < points_of(s); i++) {
        bool failed = s->failed && i % s->failed == s->failed - 1, missing = s->missing && i % s->missing == s->missing - 1;
        for (int doc_id = missing ? s->samples : 0; doc_id < s->samples; doc_id++)
            add_record(journal, s, i, doc_id, failed && doc_id == 1 ? "no room for <b>\x01\"this\"</b> & that </td></script>" : NULL);
    }
    assert_int_equal(rs_report_write(folder, journal, NULL, &summary), RS_OK);
    assert_int_equal(rs_journal_close(journal), RS_OK);
    rs_text_free(&plan);
}

/* The page of one sweep, freed by the caller. */
static char *page_of(const sweep *s)
{
    rs_text text = {0};
    char folder[] = "/tmp/rs_html_XXXXXX";
    assert_non_null(mkdtemp(folder));
    make_sweep(s, folder);
    char *path = rs_path_join(folder, "report.html"), *command = rs_format("rm -r '%s'", folder);
    assert_int_equal(rs_file_read(path, 1 << 26, &text), RS_OK);
    assert_int_equal(system(command), 0);
    free(path);
    free(command);
    return text.data;
}

static const sweep *find_sweep(const char *name)
{
    for (int i = 0; i < N_SWEEPS; i++)
        if (strcmp(sweeps[i].name, name) == 0)
            return &sweeps[i];
    fail_msg("no sweep %s", name);
    return NULL;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    return n;
}

/* --- well-formedness: elements nest, attributes are quoted and unique, `&` begins an entity, no control characters --- */

enum { MAX_DEPTH = 64 };

typedef struct reader {
    const char *page, *at;
    char open[MAX_DEPTH][24];
    int depth;
} reader;

static void wrong(const reader *r, const char *what)
{
    fail_msg("%s at byte %td: %.80s", what, r->at - r->page, r->at);
}

static void read_name(reader *r, char name[24])
{
    size_t n = strspn(r->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
    if (n == 0 || n > 23)
        wrong(r, "not a name");
    memcpy(name, r->at, n);
    name[n] = '\0';
    r->at += n;
}

static void read_char(reader *r)
{
    unsigned char c = (unsigned char)*r->at;
    size_t name = c == '&' ? strspn(r->at + 1, "abcdefghijklmnopqrstuvwxyz#0123456789") : 0;
    if ((c < 0x20 && c != '\n') || c == 0x7F || c == '<' || strncmp(r->at, "\xEF\xBF\xBE", 3) == 0 ||
        strncmp(r->at, "\xEF\xBF\xBF", 3) == 0)
        wrong(r, "a character that has no place here");
    if (c == '&' && (name == 0 || r->at[1 + name] != ';'))
        wrong(r, "a bare &");
    r->at++;
}

static void read_attributes(reader *r)
{
    char names[16][24];
    int n = 0;
    for (; *r->at == ' '; n++) {
        r->at++;
        if (n == 16)
            wrong(r, "many attributes");
        read_name(r, names[n]);
        for (int i = 0; i < n; i++)
            if (strcmp(names[i], names[n]) == 0)
                wrong(r, "an attribute twice");
        if (strncmp(r->at, "=\"", 2) != 0)
            wrong(r, "an attribute without a quoted value");
        if (strncmp(names[n], "on", 2) == 0 || strcmp(names[n], "src") == 0 || (strcmp(names[n], "href") == 0 && r->at[2] != '#'))
            wrong(r, "an attribute that runs or loads something");
        for (r->at += 2; *r->at != '"';)
            read_char(r);
        r->at++;
    }
}

static void read_tag(reader *r)
{
    char name[24];
    bool closing = r->at[1] == '/';
    r->at += closing ? 2 : 1;
    read_name(r, name);
    if (closing) {
        if (r->depth == 0 || strcmp(r->open[--r->depth], name) != 0)
            wrong(r, "an end of what is not open");
    } else {
        read_attributes(r);
        if (*r->at == '/')
            r->at++;
        else if (r->depth == MAX_DEPTH)
            wrong(r, "deep nesting");
        else
            strcpy(r->open[r->depth++], name);
    }
    if (*r->at != '>')
        wrong(r, "a tag that does not end");
    r->at++;
    if (!closing && strcmp(name, "script") == 0)
        r->at = strstr(r->at, "</script>");
    if (!closing && strcmp(name, "style") == 0)
        r->at = strstr(r->at, "</style>");
    assert_non_null(r->at);
}

static void check_form(const char *page)
{
    static const char doctype[] = "<!DOCTYPE html>\n";
    reader r = {.page = page, .at = page + strlen(doctype)};
    assert_memory_equal(page, doctype, strlen(doctype));
    while (*r.at)
        if (*r.at == '<')
            read_tag(&r);
        else
            read_char(&r);
    assert_int_equal(r.depth, 0);
}

/* --- tests --- */

static void test_form(void **state)
{
    (void)state;
    for (int i = 0; i < N_SWEEPS; i++) {
        char *page = page_of(&sweeps[i]), *again = page_of(&sweeps[i]);
        check_form(page);
        assert_string_equal(page, again);
        assert_null(strstr(page, "url(")); /* nothing that a browser would fetch */
        assert_null(strstr(page, "@import"));
        assert_null(strstr(page, "nan"));
        assert_null(strstr(page, "<link"));
        free(page);
        free(again);
    }
}

static void test_hostile(void **state)
{
    (void)state;
    char *page = page_of(find_sweep("hostile"));
    assert_int_equal(count(page, "<script"), 1);
    assert_int_equal(count(page, "</script"), 1);
    assert_int_equal(count(page, "<title>ropesweep"), 1);
    assert_null(strstr(page, "<img"));
    assert_null(strstr(page, "<!--"));
    assert_null(strstr(page, "<b>"));
    assert_non_null(strstr(page, "rope 1&lt;/title&gt;&lt;/style&gt;&lt;script&gt;alert(1)"));
    assert_non_null(strstr(page, "&amp;amp;&amp;#x41;&#39;&quot;&lt;!-- ]]&gt; --&gt;"));
    assert_non_null(strstr(page, "\xF0\x9F\x98\x80%s%n"));
    free(page);
}

/* The parts that a page has, in their order, and a link to each; those that have nothing to say are not there. */
static void check_parts(const char *name, const char *const *ids)
{
    char *page = page_of(find_sweep(name));
    const char *at = page;
    int n = 0;
    for (; ids[n]; n++) {
        char *head = rs_format("<h2 id=\"%s\">", ids[n]), *link = rs_format("<a href=\"#%s\">", ids[n]);
        const char *found = strstr(at, head);
        if (found == NULL || strstr(page, link) == NULL)
            fail_msg("%s: %s is not there, or not in its place", name, ids[n]);
        at = found;
        free(head);
        free(link);
    }
    assert_int_equal(count(page, "<h2 "), n);
    free(page);
}

static void test_parts(void **state)
{
    (void)state;
    static const char *const small[] = {"curves",    "maps",        "depths",      "differences", "lengths",
                                        "positions", "frequencies", "points-list", "config",      NULL};
    static const char *const troubles[] = {"troubles",  "curves",      "maps",        "depths", "differences", "lengths",
                                           "positions", "frequencies", "points-list", "config", NULL};
    static const char *const one[] = {"maps", "positions", "frequencies", "points-list", "config", NULL};
    static const char *const nothing[] = {"troubles", "maps", "frequencies", "points-list", "config", NULL};
    check_parts("small", small);
    check_parts("troubles", troubles);
    check_parts("one", one);
    check_parts("nothing", nothing);
}

/* Against numbers worked out by hand: 3 ropes, 3 contexts, 6 samples. */
static void test_numbers(void **state)
{
    (void)state;
    char *page = page_of(find_sweep("small"));
    /* The baseline finds all of 6 needles: Wilson's lower end is 1 - 1.96^2 / (6 + 1.96^2). */
    assert_non_null(strstr(page, "<title>rope 0, 1024: 1 [0.6097, 1]</title>"));
    /* rope 2 misses two samples: mean 2/3, variance (4 / 9 + 2 * 4 / 9) / 5, standard error 0.21082. */
    assert_non_null(strstr(page, "<title>rope 2, 4096: 0.6667 [0.2535, 1]</title>"));
    /* nll 30, 31, 32, 30, 31, 32 over 12 tokens each: 31/12 nats a token, exp of which is 13.24. */
    assert_non_null(strstr(page, "<title>rope 0, 2048: 13.24 ["));
    /* Positions 4 to 7: half the nll over 4 tokens, drawn at sqrt(4 * 8). */
    assert_non_null(strstr(page, "<title>rope 0, 5.657: 3.875 ["));
    /* Depths 0, 20, 40, 60, 80, 100 percent: the last two are those that rope 2 misses, the last bin takes 100. */
    assert_int_equal(count(page, "<td class=\"d8\" title=\"1 samples\">1.00</td>"), 3 * (6 + 5 + 4));
    assert_int_equal(count(page, "<td class=\"d0\" title=\"1 samples\">0.00</td>"), 3 * (0 + 1 + 2));
    /* Two ropes differ from the baseline at 3 contexts of 2 tasks, and each context has its axis. */
    assert_int_equal(count(page, "<svg class=\"forest\""), 12 + 6);
    /* rope 2 finds 4 of 6 needles at each context, less than 0.856 but all of what it finds at the shortest; a lucky resample finds 6. */
    const char *lengths = strstr(page, "<h2 id=\"lengths\">"), *variant = strstr(lengths, "<th scope=\"row\">rope 2</th>");
    assert_non_null(variant);
    assert_non_null(strstr(variant, "<td class=\"num\" data-v=\"0\"><svg class=\"reach\""));
    assert_non_null(strstr(variant, "data-v=\"4096\">4096 ["));
    assert_non_null(strstr(variant, "data-v=\"0.666666667\">0.667 ["));
    /* 18 points, of which 9 have two metrics. */
    const char *points = strstr(page, "id=\"points\"");
    assert_int_equal(count(points, "<tr><th scope=\"row\">"), 27);
    free(page);
}

static void test_troubles(void **state)
{
    (void)state;
    char *page = page_of(find_sweep("troubles"));
    const char *end = strstr(page, "<h2 id=\"curves\">"), *reason = strstr(page, "doc_id 1: no room for &lt;b&gt; &quot;this&quot;");
    assert_true(reason && end && reason < end);
    assert_non_null(strstr(
        page, "<span class=\"status failed\">partial</span> 17 of 24 points done, <strong>4 failed</strong>, <strong>3 missing</strong>"));
    free(page);
}

static void test_size(void **state)
{
    (void)state;
    const sweep *large = find_sweep("large");
    char *page = page_of(large);
    assert_int_equal(points_of(large), 500);
    assert_true(strlen(page) < 5 << 20);
    free(page);
}

static int leave_sweeps(const char *folder)
{
    for (int i = 0; i < N_SWEEPS; i++) {
        char *path = rs_path_join(folder, sweeps[i].name);
        mkdir(path, 0777);
        make_sweep(&sweeps[i], path);
        free(path);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),    cmocka_unit_test(test_hostile),  cmocka_unit_test(test_parts),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_troubles), cmocka_unit_test(test_size),
    };
    rs_log_set_level(RS_LOG_SILENT);
    return argc > 1 ? leave_sweeps(argv[1]) : cmocka_run_group_tests(tests, NULL, NULL);
}
