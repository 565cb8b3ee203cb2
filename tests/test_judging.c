/* What a report says of differences and variants: intervals and effective lengths against SciPy's (golden/stats.json) on the same samples,
 * pooled tests against closed forms, Holm's adjustment against its definition, and that neither threads nor order matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/report.h"

static json_t *golden;

/* --- folders: variants x contexts x tasks, scores given --- */

enum { MAX_SAMPLES = 64, MAX_POINTS = 16 };

typedef struct point {
    double score[MAX_SAMPLES], tokens[MAX_SAMPLES]; /* tokens 0: an answer, else nll */
    int n, done;                                    /* samples; those that ran */
} point;

typedef struct sweep {
    int variants, contexts, tasks;
    point points[MAX_POINTS]; /* task fastest, then context, variant */
    uint64_t prompts;         /* other prompts, other hashes */
} sweep;

static void fill(point *p, json_t *y, json_t *w)
{
    p->n = p->done = (int)json_array_size(y);
    for (int i = 0; i < p->n; i++) {
        p->score[i] = json_number_value(json_array_get(y, (size_t)i));
        p->tokens[i] = json_is_array(w) ? json_number_value(json_array_get(w, (size_t)i)) : 0;
    }
}

static void write_plan(const sweep *s, rs_text *out)
{
    rs_text_printf(
        out, "{\"schema\": 1, \"model\": {\"digest\": \"0\"}, \"config\": {\"seed\": %d}, \"baseline\": {\"rope\": 0, \"softmax\": 0},\n",
        (int)json_integer_value(json_object_get(golden, "seed")));
    rs_text_puts(out, "\"ropes\": [");
    for (int v = 0; v < s->variants; v++)
        rs_text_printf(out, "%s{\"label\": \"r%d\", \"entry\": {\"rope_type\": \"r%d\"}}", v ? ", " : "", v, v);
    rs_text_puts(out, "], \"softmaxes\": [{\"label\": \"1\", \"entry\": {\"type\": \"temperature\"}}], \"points\": [");
    for (int i = 0; i < s->variants * s->contexts * s->tasks; i++) {
        bool text = s->points[i].tokens[0] > 0;
        rs_text_printf(out, "%s{\"id\": \"%016x\", \"rope\": %d, \"softmax\": 0, \"context\": %d, \"task\": \"t%d\", \"kind\": \"%s\", ",
                       i ? ",\n" : "", i + 1, i / s->tasks / s->contexts, 1024 << i / s->tasks % s->contexts, i % s->tasks,
                       text ? "score" : "generate");
        rs_text_printf(out, "\"metrics\": [%s], \"samples\": %d, \"inv_freq_digest\": \"0\", \"attention_factor\": 1}",
                       text ? "" : "\"accuracy\"", s->points[i].n);
    }
    rs_text_puts(out, "]}\n");
}

static void add(rs_journal *journal, const sweep *s, int i, int doc_id)
{
    static const char *const metrics[] = {"accuracy", NULL};
    char answer[] = "x";
    const point *p = &s->points[i];
    rs_record record = {.id = {(uint64_t)i + 1, (uint64_t)doc_id},
                        .doc_id = doc_id,
                        .tokens = 10,
                        .n_tokens = (int64_t)p->tokens[doc_id],
                        .prompt_hash = {(uint64_t)(i % (s->contexts * s->tasks)) + s->prompts, (uint64_t)doc_id},
                        .seconds = 0.25};
    snprintf(record.point, sizeof record.point, "%016x", i + 1);
    if (p->tokens[doc_id] > 0) {
        record.has_nll = true;
        record.nll = p->score[doc_id];
    } else {
        record.response = answer;
        record.response_bytes = 1;
        record.scores[0] = p->score[doc_id];
        record.n_scores = 1;
    }
    rs_text json = {0};
    rs_record_write_json(&record, metrics, &json);
    assert_int_equal(rs_journal_append(journal, json.data, json.n), RS_OK);
    rs_text_free(&json);
}

static char *make_folder(const sweep *s, rs_text *table)
{
    char *folder = rs_strdup("/tmp/rs_judging_XXXXXX");
    rs_journal *journal;
    rs_text plan = {0};
    rs_report_summary summary;
    assert_non_null(mkdtemp(folder));
    write_plan(s, &plan);
    assert_int_equal(rs_journal_open(folder, false, &journal), RS_OK);
    assert_int_equal(rs_journal_write_plan(journal, plan.data, plan.n), RS_OK);
    for (int doc_id = MAX_SAMPLES; doc_id-- > 0;)
        for (int i = 0; i < s->variants * s->contexts * s->tasks; i++)
            if (doc_id < s->points[i].done)
                add(journal, s, i, doc_id);
    assert_int_equal(rs_report_write_and_show(folder, journal, NULL, &summary, 200, table), RS_OK);
    assert_int_equal(rs_journal_close(journal), RS_OK);
    rs_text_free(&plan);
    return folder;
}

static void remove_folder(char *folder)
{
    char *command = rs_format("rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
    free(command);
    free(folder);
}

static char *read_all(const char *folder, const char *name)
{
    rs_text text = {0};
    char *path = rs_path_join(folder, name);
    assert_int_equal(rs_file_read(path, 1 << 24, &text), RS_OK);
    free(path);
    return text.data;
}

static json_t *report_of(const sweep *s)
{
    char *folder = make_folder(s, NULL), *text = read_all(folder, "report.json");
    json_t *report = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(report);
    free(text);
    remove_folder(folder);
    return report;
}

/* --- looking into a report --- */

/* "variants.1.overall.0.value" */
static json_t *at(json_t *tree, const char *path)
{
    char *steps = rs_strdup(path), *rest = steps;
    for (char *step = strsep(&rest, "."); step; step = strsep(&rest, "."))
        tree = json_is_array(tree) ? json_array_get(tree, (size_t)atol(step)) : json_object_get(tree, step);
    if (tree == NULL)
        fail_msg("no %s", path);
    free(steps);
    return tree;
}

static double number_at(json_t *tree, const char *path)
{
    return json_number_value(at(tree, path));
}

static json_t *case_of(const char *list, const char *name)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(golden, list), i, c) if (strcmp(json_string_value(json_object_get(c, "name")), name) == 0) return c;
    fail_msg("no case %s", name);
    return NULL;
}

static void check_interval(json_t *report, const char *path, const char *name)
{
    json_t *interval = at(report, path), *expected = case_of("intervals", name);
    double low = number_at(interval, "0"), high = number_at(interval, "1");
    if (!(fabs(low - number_at(expected, "low")) < 1e-10 && fabs(high - number_at(expected, "high")) < 1e-10))
        fail_msg("%s: %.17g to %.17g, expected %.17g to %.17g", name, low, high, number_at(expected, "low"), number_at(expected, "high"));
}

static void check_near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-12 * fmax(1e-3, fabs(expected))))
        fail_msg("%.17g, expected %.17g", got, expected);
}

/* A case's cells as points: cell k of the variant follows all of the baseline's. */
static void fill_cells(sweep *s, json_t *cells)
{
    int n = (int)json_array_size(cells);
    for (int k = 0; k < n; k++) {
        json_t *cell = json_array_get(cells, (size_t)k);
        fill(&s->points[k], json_array_get(cell, 2), json_array_get(cell, 3));
        fill(&s->points[n + k], json_array_get(cell, 0), json_array_get(cell, 1));
    }
}

/* --- tests --- */

static void test_points(void **state)
{
    (void)state;
    static const char *const names[] = {"0/1", "rare", "quarters"};
    for (int i = 0; i < 3; i++) {
        sweep s = {.variants = 2, .contexts = 1, .tasks = 1};
        fill_cells(&s, at(case_of("intervals", names[i]), "cells"));
        json_t *report = report_of(&s);
        check_interval(report, "points.1.versus_baseline.accuracy.interval", names[i]);
        check_interval(report, "variants.1.overall.0.versus_baseline.interval", names[i]);
        json_decref(report);
    }
    sweep s = {.variants = 2, .contexts = 1, .tasks = 1};
    fill_cells(&s, at(case_of("intervals", "perplexity"), "cells"));
    json_t *report = report_of(&s);
    check_interval(report, "points.1.versus_baseline.nll_per_token.interval", "nll per token");
    check_interval(report, "points.1.versus_baseline.perplexity.interval", "perplexity");
    check_interval(report, "variants.1.tasks.0.versus_baseline.interval", "nll per token");
    assert_true(number_at(report, "points.1.versus_baseline.nll_per_token.p") ==
                number_at(report, "points.1.versus_baseline.perplexity.p"));
    assert_string_equal(json_string_value(at(report, "variants.1.overall.0.metric")), "nll_per_token");
    json_decref(report);
}

static void test_over_tasks(void **state)
{
    (void)state;
    sweep s = {.variants = 2, .contexts = 1, .tasks = 2};
    fill_cells(&s, at(case_of("intervals", "two tasks"), "cells"));
    json_t *report = report_of(&s), *overall = at(report, "variants.1.overall.0");
    check_interval(report, "variants.1.overall.0.versus_baseline.interval", "two tasks");
    check_interval(report, "variants.1.contexts.0.versus_baseline.interval", "two tasks");
    double d0 = number_at(report, "points.2.versus_baseline.accuracy.difference"),
           d1 = number_at(report, "points.3.versus_baseline.accuracy.difference"),
           e0 = number_at(report, "points.2.versus_baseline.accuracy.stderr"),
           e1 = number_at(report, "points.3.versus_baseline.accuracy.stderr");
    check_near(number_at(overall, "versus_baseline.difference"), (d0 + d1) / 2);
    check_near(number_at(overall, "versus_baseline.stderr"), sqrt(e0 * e0 + e1 * e1) / 2);
    check_near(number_at(overall, "value"),
               (number_at(report, "points.2.metrics.accuracy.value") + number_at(report, "points.3.metrics.accuracy.value")) / 2);
    assert_int_equal(number_at(overall, "versus_baseline.n"), 30 + 25);
    assert_int_equal(number_at(overall, "points"), 2);
    assert_null(json_object_get(overall, "area")); /* one length is no curve */
    assert_true(json_is_true(at(report, "variants.0.baseline")) && json_is_false(at(report, "variants.1.baseline")));
    assert_null(json_object_get(at(report, "variants.0.overall.0"), "versus_baseline"));
    json_decref(report);
}

static void test_over_lengths(void **state)
{
    (void)state;
    sweep s = {.variants = 2, .contexts = 3, .tasks = 1};
    fill_cells(&s, at(case_of("intervals", "three lengths"), "cells"));
    json_t *report = report_of(&s), *task = at(report, "variants.1.tasks.0");
    check_interval(report, "variants.1.tasks.0.area.versus_baseline.interval", "three lengths");
    double d[3] = {number_at(report, "points.3.versus_baseline.accuracy.difference"),
                   number_at(report, "points.4.versus_baseline.accuracy.difference"),
                   number_at(report, "points.5.versus_baseline.accuracy.difference")};
    check_near(number_at(task, "area.versus_baseline.difference"), (d[0] + 2 * d[1] + d[2]) / 4);
    double v[3] = {number_at(report, "points.3.metrics.accuracy.value"), number_at(report, "points.4.metrics.accuracy.value"),
                   number_at(report, "points.5.metrics.accuracy.value")};
    check_near(number_at(task, "area.value"), (v[0] + 2 * v[1] + v[2]) / 4);
    check_near(number_at(task, "value"), (v[0] + v[1] + v[2]) / 3);
    json_decref(report);
}

/* Equal numbers of 0/1 samples in all cells: the pooled test is McNemar's on the sums. */
static void test_pooled_p(void **state)
{
    (void)state;
    sweep s = {.variants = 2, .contexts = 2, .tasks = 2};
    for (int i = 0; i < 8; i++) {
        s.points[i].n = s.points[i].done = 20;
        for (int k = 0; k < 20; k++)
            s.points[i].score[k] = i < 4 ? k < 10 : k < 13 && k != i; /* 3 higher and, i of 4 to 7, 1 lower in each */
    }
    json_t *report = report_of(&s), *versus = at(report, "variants.1.overall.0.versus_baseline");
    assert_true(number_at(versus, "higher") == 12 && number_at(versus, "lower") == 4 && number_at(versus, "odds") == 3);
    check_near(number_at(versus, "p"), 2 * (1 + 16 + 120 + 560 + 1820) / 65536.0);
    check_near(number_at(report, "points.4.versus_baseline.accuracy.p"), 2 * (1 + 4) / 16.0);
    json_decref(report);
}

static void test_lengths(void **state)
{
    (void)state;
    static const char *const names[] = {"one task", "two tasks"};
    for (int c = 0; c < 2; c++) {
        json_t *expected = case_of("reaches", names[c]), *scores = at(expected, "scores");
        sweep s = {.variants = 1, .contexts = 4, .tasks = c + 1};
        for (int i = 0; i < 4 * (c + 1); i++)
            fill(&s.points[i], json_array_get(json_array_get(scores, (size_t)(i / (c + 1))), (size_t)(i % (c + 1))), NULL);
        json_t *report = report_of(&s), *reach = at(report, "variants.0.overall.0.effective_length");
        assert_true(number_at(reach, "length") == number_at(expected, "length") &&
                    number_at(reach, "interval.0") == number_at(expected, "low") &&
                    number_at(reach, "interval.1") == number_at(expected, "high"));
        reach = at(report, "variants.0.tasks.0.relative_length");
        expected = case_of("reaches", "of the shortest");
        assert_true(number_at(reach, "length") == number_at(expected, "length") &&
                    number_at(reach, "interval.0") == number_at(expected, "low") &&
                    number_at(reach, "interval.1") == number_at(expected, "high"));
        json_decref(report);
    }
}

/* Holm by its definition: the largest of (m - rank) p over all that are not greater. */
static void test_families(void **state)
{
    (void)state;
    sweep s = {.variants = 4, .contexts = 2, .tasks = 2};
    for (int i = 0; i < 16; i++) {
        s.points[i].n = s.points[i].done = 40;
        for (int k = 0; k < 40; k++)
            s.points[i].score[k] = k < 20 + (i < 4 ? 0 : 2 * ((i * 7) % 12) - 4);
    }
    rs_text table = {0};
    char *folder = make_folder(&s, &table), *text = read_all(folder, "report.json");
    json_t *report = json_loads(text, 0, NULL);
    int marks = 0;
    for (int i = 4; i < 16; i++) {
        char path[64];
        snprintf(path, sizeof path, "points.%d.versus_baseline.accuracy", i);
        double p = number_at(at(report, path), "p"), adjusted = 0;
        for (int k = 4; k < 16; k++) {
            snprintf(path, sizeof path, "points.%d.versus_baseline.accuracy.p", k);
            double other = number_at(report, path);
            int rank = 0;
            for (int j = 4; j < 16; j++) {
                snprintf(path, sizeof path, "points.%d.versus_baseline.accuracy.p", j);
                double third = number_at(report, path);
                rank += third < other || (third == other && j < k);
            }
            if (other < p || (other == p && k <= i))
                adjusted = fmax(adjusted, fmin(1, (12 - rank) * other));
        }
        snprintf(path, sizeof path, "points.%d.versus_baseline.accuracy.p_holm", i);
        check_near(number_at(report, path), adjusted);
        marks += adjusted < 0.05;
    }
    assert_true(marks > 0 && marks < 12);
    int shown = 0;
    for (const char *p = table.data; (p = strchr(p, '!')) != NULL; p++)
        shown++;
    assert_int_equal(shown, marks + 1); /* and the legend */
    /* three variants compared overall: a family of their own */
    double p = number_at(report, "variants.1.overall.0.versus_baseline.p"),
           adjusted = number_at(report, "variants.1.overall.0.versus_baseline.p_holm");
    assert_true(adjusted >= p && adjusted <= 3 * p * (1 + 1e-12));
    json_decref(report);
    free(text);
    rs_text_free(&table);
    remove_folder(folder);
}

/* A mean over points of which one is not there is not one over the others. */
static void test_unfinished(void **state)
{
    (void)state;
    sweep s = {.variants = 2, .contexts = 2, .tasks = 2};
    for (int i = 0; i < 8; i++) {
        s.points[i].n = s.points[i].done = 12;
        for (int k = 0; k < 12; k++)
            s.points[i].score[k] = (k + i) % 3 > 0;
    }
    s.points[4].done = 5;
    json_t *report = report_of(&s);
    assert_string_equal(json_string_value(at(report, "variants.1.tasks.0.status")), "missing");
    assert_string_equal(json_string_value(at(report, "variants.1.tasks.1.status")), "done");
    assert_string_equal(json_string_value(at(report, "variants.1.contexts.0.status")), "missing");
    assert_string_equal(json_string_value(at(report, "variants.1.contexts.1.status")), "done");
    assert_string_equal(json_string_value(at(report, "variants.1.overall.0.status")), "missing");
    assert_string_equal(json_string_value(at(report, "variants.0.overall.0.status")), "done");
    assert_null(json_object_get(at(report, "variants.1.overall.0"), "value"));
    json_decref(report);
    s.points[4].done = 12;
    s.points[0].done = 5; /* now the baseline's */
    report = report_of(&s);
    assert_string_equal(json_string_value(at(report, "variants.1.overall.0.status")), "done");
    assert_null(json_object_get(at(report, "variants.1.overall.0"), "versus_baseline"));
    assert_null(json_object_get(at(report, "variants.1.tasks.0"), "versus_baseline"));
    assert_non_null(json_object_get(at(report, "variants.1.tasks.1"), "versus_baseline"));
    json_decref(report);
}

static void test_threads(void **state)
{
    (void)state;
    static const char *const names[] = {"report.yaml", "report.json", "report.csv", "samples.jsonl"};
    sweep s = {.variants = 4, .contexts = 2, .tasks = 2};
    for (int i = 0; i < 16; i++) {
        s.points[i].n = s.points[i].done = 25 + i % 2;
        for (int k = 0; k < s.points[i].n; k++) {
            s.points[i].score[k] = i % 2 ? 100 + (k * 31 + i * 17) % 13 / 7.0 : (k * 31 + i * 17) % 13 / 12.0;
            s.points[i].tokens[k] = i % 2 ? 50 + k % 3 : 0;
        }
    }
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    char *one = make_folder(&s, NULL);
    omp_set_num_threads(5);
    char *five = make_folder(&s, NULL);
    omp_set_num_threads(threads);
    for (int i = 0; i < 4; i++) {
        char *a = read_all(one, names[i]), *b = read_all(five, names[i]);
        assert_string_equal(a, b);
        free(a);
        free(b);
    }
    remove_folder(one);
    remove_folder(five);
}

static void test_csv(void **state)
{
    (void)state;
    sweep s = {.variants = 2, .contexts = 1, .tasks = 2};
    fill_cells(&s, at(case_of("intervals", "two tasks"), "cells"));
    s.points[3].done = 1;
    char *folder = make_folder(&s, NULL), *text = read_all(folder, "report.csv"), *rest = text, *line;
    int lines = 0;
    while ((line = strsep(&rest, "\n")) && *line) {
        int commas = 0;
        for (const char *p = line; *p; p++)
            commas += *p == ',';
        assert_int_equal(commas, 23);
        lines++;
    }
    assert_int_equal(lines, 5);
    free(text);
    remove_folder(folder);
}

static void test_compare(void **state)
{
    (void)state;
    sweep a = {.variants = 1, .contexts = 1, .tasks = 2}, b = a, other = {.variants = 1, .contexts = 1, .tasks = 2, .prompts = 100};
    json_t *cells = at(case_of("intervals", "two tasks"), "cells");
    for (int k = 0; k < 2; k++) {
        json_t *cell = json_array_get(cells, (size_t)k);
        fill(&a.points[k], json_array_get(cell, 2), NULL);
        fill(&b.points[k], json_array_get(cell, 0), NULL);
        other.points[k] = b.points[k];
    }
    char *fa = make_folder(&a, NULL), *fb = make_folder(&b, NULL), *fo = make_folder(&other, NULL), expected[64];
    rs_text out = {0};
    json_t *tree;
    bool passed;
    assert_int_equal(rs_report_compare(fa, fb, NULL, 0, &out, &tree, &passed), RS_OK);
    json_t *c = case_of("intervals", "0/1");
    snprintf(expected, sizeof expected, "[%.2f, %.2f]", number_at(c, "low"), number_at(c, "high"));
    if (strstr(out.data, expected) == NULL)
        fail_msg("no %s in\n%s", expected, out.data);
    assert_null(strstr(out.data, "unpaired"));
    assert_true(json_is_true(at(json_array_get(at(tree, "pairs"), 0), "paired")));
    json_decref(tree);
    rs_text_clear(&out);
    assert_int_equal(rs_report_compare(fa, fo, NULL, 0, &out, &tree, &passed), RS_OK);
    assert_non_null(strstr(out.data, "no shared samples: unpaired"));
    json_t *pair = json_array_get(at(tree, "pairs"), 0);
    assert_true(json_is_false(at(pair, "paired")));
    assert_true(json_is_null(at(at(pair, "b_versus_a"), "p")));
    json_decref(tree);
    rs_text_free(&out);
    remove_folder(fa);
    remove_folder(fb);
    remove_folder(fo);
}

static int load(void **state)
{
    (void)state;
    rs_log_set_level(RS_LOG_SILENT);
    golden = json_load_file(RS_TESTS "/golden/stats.json", 0, NULL);
    return golden ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points),     cmocka_unit_test(test_over_tasks), cmocka_unit_test(test_over_lengths),
        cmocka_unit_test(test_pooled_p),   cmocka_unit_test(test_lengths),    cmocka_unit_test(test_families),
        cmocka_unit_test(test_unfinished), cmocka_unit_test(test_threads),    cmocka_unit_test(test_csv),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
