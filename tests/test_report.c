/* Reports from a small journal: metrics against numbers worked out by hand, one content in YAML and JSON, what is done, failed and missing,
 * comparison, gates, merging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "report/grid.h"
#include "report/report.h"

/* --- a plan: two ropes, one softmax, two contexts, a task that scores text and one that generates --- */

enum { N_POINTS = 8, SAMPLES = 3 };

typedef struct shard {
    int index, count;
} shard;

static void write_point(int i, int ropes_from, const shard *s, rs_text *out)
{
    bool text = i % 2 == 0;
    rs_text_printf(out, "%s{\"id\": \"%016x\", \"rope\": %d, \"softmax\": 0, \"context\": %d, \"task\": \"%s\", \"task_name\": \"t\", ",
                   i ? ",\n" : "", 0xabc0 + i + ropes_from, i / 4, i / 2 % 2 ? 2048 : 1024, text ? "ppl" : "needle: \\\"x\\\" <&>");
    rs_text_printf(out, "\"task_version\": 1, \"kind\": \"%s\", \"metrics\": [%s], \"samples\": %d, ", text ? "score" : "generate",
                   text ? "" : "\"ruler_all\"", SAMPLES);
    rs_text_puts(out, "\"inv_freq_digest\": \"0123456789abcdef0123456789abcdef\", \"attention_factor\": 1.25");
    if (s)
        rs_text_printf(out, ", \"shard\": %d", i % s->count);
    rs_text_puts(out, "}");
}

/* ids_from: added to the points' ids; another model has other ids. */
static char *make_plan(int ids_from, const shard *s)
{
    rs_text out = {0};
    rs_text_puts(&out, "{\"schema\": 1, \"program\": {\"name\": \"ropesweep\", \"version\": \"0.1.0\", \"commit\": \"12345678\"},\n");
    rs_text_printf(&out, "\"model\": {\"path\": \"models/on\", \"architecture\": \"gemma\", \"parameters\": 7, \"digest\": \"%016d\"},\n",
                   ids_from);
    rs_text_puts(
        &out,
        "\"config\": {\"seed\": 1234, \"x\": [1e-5, 1e22, 0.1, 100.0, true, null, \"true\", \"1e5\", \"\", \"~\", \"a: b\", \" #\", "
        "\"\\u0085\\u2028\\ufeff\\u0000\\u007f\", \"null\", \"0x1F\", \"1_000\", \"=\", \"-\", \"No\", \"12:30\"], \"on\": {}, \"e\": [], "
        "\"long\": {\"list\": [[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", "
        "\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\", "
        "{\"cccccccccccccccccccccccccccccccc\": {\"d\": [1, {\"e\": 2}]}}], {\"f\": "
        "\"gggggggggggggggggggggggggggggggggggggggggggggggggg\", "
        "\"h\": \"gggggggggggggggggggggggggggggggggggggggggggggggggggggggggg\\n\"}]}},\n");
    rs_text_puts(
        &out,
        "\"baseline\": {\"rope\": 0, \"softmax\": 0},\n\"ropes\": [{\"label\": \"default\", \"entry\": {\"rope_type\": \"default\"}, "
        "\"inv_freq\": [1, 0.1, 0.01], \"attention_factor\": 1},\n {\"label\": \"yarn, factor 4\", \"entry\": {\"rope_type\": \"yarn\", "
        "\"factor\": 4.0}, \"inv_freq\": [1, 0.05, 0], \"attention_factor\": 1.138}],\n");
    rs_text_puts(&out, "\"softmaxes\": [{\"label\": \"1\", \"entry\": {\"type\": \"temperature\", \"temperature\": 1}}],\n");
    if (s)
        rs_text_printf(&out, "\"shard\": {\"index\": %d, \"count\": %d},\n", s->index, s->count);
    rs_text_puts(&out, "\"points\": [");
    for (int i = 0; i < N_POINTS; i++)
        write_point(i, ids_from, s, &out);
    rs_text_puts(&out, "]}\n");
    return out.data;
}

/* nll and tokens of the text samples at either rope; scores of the answers. */
static const double nll[2][SAMPLES] = {{10, 30, 20}, {12, 27, 24}}, tokens[SAMPLES] = {5, 10, 8},
                    scores[2][SAMPLES] = {{1, 0.5, 0}, {1, 1, 0.25}};

static void add(rs_journal *journal, int ids_from, int point, int64_t doc_id, const char *error, double worse)
{
    static const char *const metrics[] = {"ruler_all", NULL};
    char response[] = "a\0\xFF", reference[] = "r", facts[] = "\"depths\": [0.1]";
    char *references[] = {reference};
    rs_record record = {
        .doc_id = doc_id, .tokens = 100, .prompt_hash = {(uint64_t)doc_id, (uint64_t)point % 4}, .seconds = 0.25, .facts = facts};
    snprintf(record.point, sizeof record.point, "%016x", 0xabc0 + point + ids_from);
    record.id = (rs_digest){strtoull(record.point, NULL, 16), (uint64_t)doc_id};
    if (error) {
        record.error = (char *)(size_t)error;
    } else if (point % 2 == 0) {
        record.has_nll = true;
        record.nll = nll[point / 4][doc_id % SAMPLES] + worse;
        record.n_tokens = (int64_t)tokens[doc_id % SAMPLES];
        record.parts[RS_BY_POSITION][3] = (rs_part){4, 1 + (double)doc_id}; /* all but point 6: it is of an older version */
        record.parts[RS_BY_POSITION][4] = (rs_part){record.n_tokens - 4, record.nll - record.parts[RS_BY_POSITION][3].nll};
        if (point == 6 && doc_id == 1)
            memset(record.parts, 0, sizeof record.parts);
    } else {
        record.response = response;
        record.response_bytes = 3;
        record.references = references;
        record.n_references = 1;
        record.scores[0] = scores[point / 4][doc_id % SAMPLES] - worse;
        record.n_scores = 1;
    }
    rs_text json = {0};
    rs_record_write_json(&record, metrics, &json);
    assert_int_equal(rs_journal_append(journal, json.data, json.n), RS_OK);
    rs_text_free(&json);
}

static char *new_folder(void)
{
    char *folder = rs_strdup("/tmp/rs_report_XXXXXX");
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

static rs_journal *start(const char *folder, int ids_from, const shard *s)
{
    rs_journal *journal;
    char *plan = make_plan(ids_from, s);
    assert_int_equal(rs_journal_open(folder, false, &journal), RS_OK);
    assert_int_equal(rs_journal_write_plan(journal, plan, strlen(plan)), RS_OK);
    free(plan);
    return journal;
}

/* A folder in which all points are done, sample order mixed up; `worse` is added to each nll and taken from each score. */
static char *done_folder(int ids_from, double worse, const rs_run_facts *facts)
{
    char *folder = new_folder();
    rs_journal *journal = start(folder, ids_from, NULL);
    for (int doc_id = SAMPLES; doc_id-- > 0;)
        for (int i = 0; i < N_POINTS; i++)
            add(journal, ids_from, (i * 3 + doc_id) % N_POINTS, doc_id, NULL, worse);
    add(journal, ids_from, 0, SAMPLES, "beyond the samples asked for", 0);
    add(journal, ids_from + 100, 0, 0, "a point of another config", 0);
    rs_report_summary summary;
    assert_int_equal(rs_report_write(folder, journal, facts, &summary), RS_OK);
    assert_true(summary.complete && summary.points == N_POINTS && summary.done == N_POINTS && summary.failed == 0 && summary.missing == 0);
    assert_int_equal(rs_journal_close(journal), RS_OK);
    return folder;
}

static char *read_all(const char *folder, const char *name)
{
    rs_text text = {0};
    char *path = rs_path_join(folder, name);
    assert_int_equal(rs_file_read(path, 1 << 26, &text), RS_OK);
    free(path);
    return text.data;
}

static json_t *read_json(const char *folder)
{
    json_error_t error;
    char *text = read_all(folder, "report.json");
    json_t *tree = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (tree == NULL)
        fail_msg("%d:%d: %s", error.line, error.column, error.text);
    free(text);
    return tree;
}

/* --- YAML against JSON --- */

static void check_same(yaml_document_t *document, yaml_node_t *node, json_t *json);

static void check_scalar(yaml_node_t *node, json_t *json)
{
    const char *text = (const char *)node->data.scalar.value;
    char *end;
    double number = strtod(text, &end);
    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || json_is_string(json)) {
        assert_int_equal(node->data.scalar.length, json_string_length(json));
        assert_memory_equal(text, json_string_value(json), json_string_length(json));
        if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) /* nothing that a reader would take for another type */
            assert_true((*end != '\0' || end == text) && strcasecmp(text, "true") && strcasecmp(text, "no") && strcasecmp(text, "null") &&
                        strcmp(text, "~") && strcmp(text, ""));
    } else if (json_is_number(json)) {
        assert_true(*end == '\0' && number == json_number_value(json));
        if (strchr(text, 'e'))
            assert_non_null(strchr(text, '.')); /* else YAML 1.1 takes it for a string */
    } else {
        assert_string_equal(text, json_is_true(json) ? "true" : json_is_false(json) ? "false" : "null");
    }
}

static void check_map(yaml_document_t *document, yaml_node_t *node, json_t *json)
{
    void *at = json_object_iter(json);
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(document, pair->key);
        assert_non_null(at);
        assert_string_equal((const char *)key->data.scalar.value, json_object_iter_key(at));
        check_same(document, yaml_document_get_node(document, pair->value), json_object_iter_value(at));
        at = json_object_iter_next(json, at);
    }
    assert_null(at);
}

static void check_same(yaml_document_t *document, yaml_node_t *node, json_t *json)
{
    if (node->type == YAML_SCALAR_NODE) {
        check_scalar(node, json);
    } else if (node->type == YAML_MAPPING_NODE) {
        assert_true(json_is_object(json));
        check_map(document, node, json);
    } else {
        size_t n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
        assert_int_equal(n, json_array_size(json));
        for (size_t i = 0; i < n; i++)
            check_same(document, yaml_document_get_node(document, node->data.sequence.items.start[i]), json_array_get(json, i));
    }
}

static void check_yaml(const char *folder)
{
    yaml_parser_t parser;
    yaml_document_t document;
    char *text = read_all(folder, "report.yaml");
    json_t *json = read_json(folder);
    assert_true(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, strlen(text));
    if (!yaml_parser_load(&parser, &document))
        fail_msg("report.yaml:%zu: %s", parser.problem_mark.line + 1, parser.problem);
    check_same(&document, yaml_document_get_root_node(&document), json);
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    json_decref(json);
    free(text);
}

/* --- tests --- */

static char started[] = "2026-01-02T03:04:05Z", host[] = "n1";
static char *hosts[] = {host};
static double peaks[] = {1.5e9, 2.25e8};
static const rs_run_facts some_facts = {.started = started,
                                        .finished = started,
                                        .seconds = 12.5,
                                        .ranks = 2,
                                        .tensor = 1,
                                        .hosts = hosts,
                                        .n_hosts = 1,
                                        .backend = "cpu",
                                        .device = "avx2, oneDNN \xFF",
                                        .peak_rss_bytes = peaks,
                                        .deterministic = true};

static void check_estimate(json_t *point, const char *block, const char *metric, const char *name, double value, double error)
{
    json_t *estimate = json_object_get(json_object_get(point, block), metric);
    assert_true(fabs(json_number_value(json_object_get(estimate, name)) - value) < 1e-12);
    assert_true(fabs(json_number_value(json_object_get(estimate, "stderr")) - error) < 1e-12);
}

static void test_metrics(void **state)
{
    (void)state;
    char *folder = done_folder(0, 0, &some_facts);
    json_t *report = read_json(folder), *points = json_object_get(report, "points");
    assert_int_equal(json_array_size(points), N_POINTS);

    /* Point 0: nll 10, 30, 20 over 5, 10, 8 tokens: R = 60/23; residuals y - R w. */
    double r = 60.0 / 23, e0 = 10 - 5 * r, e1 = 30 - 10 * r, e2 = 20 - 8 * r;
    double error = sqrt(3.0 / 2 * (e0 * e0 + e1 * e1 + e2 * e2)) / 23;
    json_t *point = json_array_get(points, 0);
    check_estimate(point, "metrics", "nll_per_token", "value", r, error);
    check_estimate(point, "metrics", "perplexity", "value", exp(r), exp(r) * error);
    assert_null(json_object_get(point, "versus_baseline"));
    assert_string_equal(json_string_value(json_object_get(point, "status")), "done");
    assert_int_equal(json_integer_value(json_object_get(point, "n")), 3);
    assert_true(json_number_value(json_object_get(point, "seconds")) == 0.75);
    json_t *rope = json_object_get(json_array_get(points, 4), "rope");
    assert_string_equal(json_string_value(json_object_get(rope, "rope_type")), "yarn");
    assert_true(json_number_value(json_object_get(rope, "attention_factor")) == 1.25);

    /* Point 1: scores 1, 0.5, 0: mean 0.5, s = 0.5. Point 5, the same under yarn: 1, 1, 0.25; differences 0, 0.5, 0.25. */
    check_estimate(json_array_get(points, 1), "metrics", "ruler_all", "value", 0.5, 0.5 / sqrt(3));
    check_estimate(json_array_get(points, 5), "metrics", "ruler_all", "value", 0.75, sqrt(0.1875 / 3));
    check_estimate(json_array_get(points, 5), "versus_baseline", "ruler_all", "difference", 0.25, sqrt(0.0625 / 3));

    /* Point 4 less point 0: R' = 63/23; the tokens are the same, so each sample's part is (y' - y - (R' - R) w) / (23/3). */
    double d = 3.0 / 23, p0 = 2 - 5 * d, p1 = -3 - 10 * d, p2 = 4 - 8 * d;
    check_estimate(json_array_get(points, 4), "versus_baseline", "nll_per_token", "difference", d,
                   sqrt((p0 * p0 + p1 * p1 + p2 * p2) / 2 / 3) / (23.0 / 3));
    json_decref(report);
    remove_folder(folder);
}

static void check_position(json_t *list, size_t i, double value, double error)
{
    json_t *estimate = json_object_get(json_array_get(list, i), "nll_per_token");
    assert_true(fabs(json_number_value(json_object_get(estimate, "value")) - value) < 1e-12);
    assert_true(fabs(json_number_value(json_object_get(estimate, "stderr")) - error) < 1e-12);
}

/* Three samples with nll 1, 2, 3 over 4 tokens each at positions 4 to 7; the rest of nll and tokens at 8 to 15. */
static void test_positions(void **state)
{
    (void)state;
    char *folder = done_folder(0, 0, &some_facts);
    json_t *report = read_json(folder), *points = json_object_get(report, "points");
    json_t *list = json_object_get(json_array_get(points, 0), "by_position");
    json_t *first = json_array_get(list, 0), *second = json_array_get(list, 1);
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_integer_value(json_object_get(first, "from")), 4);
    assert_int_equal(json_integer_value(json_object_get(first, "to")), 7);
    assert_int_equal(json_integer_value(json_object_get(first, "n_tokens")), 12);
    check_position(list, 0, 0.5, sqrt(1.0 / 3) / 4); /* 1/4, 2/4, 3/4 a token; s = 1/4, of three */
    assert_int_equal(json_integer_value(json_object_get(second, "from")), 8);
    assert_int_equal(json_integer_value(json_object_get(second, "n_tokens")), 11);
    double r = 54.0 / 11, e0 = 9 - r, e1 = 28 - 6 * r, e2 = 17 - 4 * r;
    check_position(list, 1, r, sqrt(3.0 / 2 * (e0 * e0 + e1 * e1 + e2 * e2)) / 11);
    assert_null(json_object_get(json_array_get(points, 1), "by_position")); /* scores no text */
    assert_null(json_object_get(json_array_get(points, 6), "by_position")); /* a record without its parts */
    json_decref(report);
    remove_folder(folder);
}

static void test_one_content(void **state)
{
    (void)state;
    char *folder = done_folder(0, 0, &some_facts);
    check_yaml(folder);
    json_t *report = read_json(folder), *run = json_object_get(report, "run");
    static const char *const keys[] = {"schema", "program", "run", "model", "config", "points"};
    void *at = json_object_iter(report);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++, at = json_object_iter_next(report, at))
        assert_string_equal(json_object_iter_key(at), keys[i]);
    assert_string_equal(json_string_value(json_object_get(run, "status")), "complete");
    assert_string_equal(json_string_value(json_object_get(run, "device")), "avx2, oneDNN \xEF\xBF\xBD");
    assert_true(json_number_value(json_object_get(json_array_get(json_object_get(run, "rank"), 1), "peak_rss_mb")) == 225);
    json_decref(report);
    assert_true(rs_report_is_complete(folder));
    remove_folder(folder);
}

static void test_samples(void **state)
{
    (void)state;
    char *folder = done_folder(0, 0, NULL), *text = read_all(folder, "samples.jsonl"), *rest = text, *line;
    int n = 0;
    while ((line = strsep(&rest, "\n")) && *line) {
        json_t *sample = json_loads(line, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        assert_non_null(sample);
        char id[17];
        snprintf(id, sizeof id, "%016x", 0xabc0 + n / SAMPLES);
        assert_string_equal(json_string_value(json_object_get(sample, "point")), id);
        assert_int_equal(json_integer_value(json_object_get(sample, "doc_id")), n % SAMPLES);
        assert_true(json_is_object(json_object_get(sample, "rope")) && json_is_object(json_object_get(sample, "softmax")));
        assert_true(json_is_integer(json_object_get(sample, "tokens")) && json_is_string(json_object_get(sample, "prompt_hash")));
        assert_int_equal(json_is_number(json_object_get(sample, "nll")), n / SAMPLES % 2 == 0);
        assert_int_equal(json_is_array(json_object_get(sample, "resps")), n / SAMPLES % 2);
        assert_int_equal(json_is_array(json_object_get(sample, "target")), n / SAMPLES % 2);
        json_decref(sample);
        n++;
    }
    assert_int_equal(n, N_POINTS * SAMPLES);
    free(text);
    remove_folder(folder);
}

static void test_failed_and_missing(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_journal *journal = start(folder, 0, NULL);
    rs_report_summary summary;
    for (int doc_id = 0; doc_id < SAMPLES; doc_id++) {
        add(journal, 0, 0, doc_id, NULL, 0);
        add(journal, 0, 1, SAMPLES - 1 - doc_id, doc_id == 2 ? NULL : doc_id == 1 ? "the \"first\"" : "the last", 0);
    }
    add(journal, 0, 2, 1, NULL, 0);
    add(journal, 0, 3, 2, "failed <b>early</b>", 0);
    for (int doc_id = 0; doc_id < SAMPLES; doc_id++)
        add(journal, 0, 5, doc_id, NULL, 0);
    assert_int_equal(rs_report_write(folder, journal, NULL, &summary), RS_OK);
    assert_true(!summary.complete && summary.done == 2 && summary.failed == 2 && summary.missing == 4);
    check_yaml(folder);
    json_t *report = read_json(folder), *points = json_object_get(report, "points");
    json_t *failed = json_array_get(points, 1), *missing = json_array_get(points, 2);
    assert_string_equal(json_string_value(json_object_get(failed, "status")), "failed");
    assert_string_equal(json_string_value(json_object_get(failed, "reason")), "doc_id 1: the \"first\"");
    assert_int_equal(json_object_size(json_object_get(failed, "metrics")), 0);
    assert_string_equal(json_string_value(json_object_get(missing, "status")), "missing");
    assert_int_equal(json_integer_value(json_object_get(missing, "n")), 1);
    assert_null(json_object_get(json_array_get(points, 5), "versus_baseline")); /* its baseline failed */
    assert_string_equal(json_string_value(json_object_get(json_object_get(report, "run"), "status")), "partial");
    assert_true(json_is_null(json_object_get(json_object_get(report, "run"), "started")));
    json_decref(report);
    assert_false(rs_report_is_complete(folder));
    rs_journal_close(journal);
    remove_folder(folder);
}

/* `report DIR`: the same files again from the journal alone. */
static void test_rebuild(void **state)
{
    (void)state;
    static const char *const names[] = {"report.yaml", "report.json", "report.csv", "report.html", "samples.jsonl"};
    char *folder = done_folder(0, 0, &some_facts), *before[5];
    rs_journal *journal;
    rs_report_summary summary;
    for (int i = 0; i < 5; i++) {
        before[i] = read_all(folder, names[i]);
        char *path = rs_path_join(folder, names[i]);
        unlink(path);
        free(path);
    }
    assert_false(rs_report_is_complete(folder));
    assert_int_equal(rs_journal_read(folder, &journal), RS_OK);
    assert_int_equal(rs_report_write(folder, journal, NULL, &summary), RS_OK);
    rs_journal_close(journal);
    for (int i = 0; i < 5; i++) {
        char *after = read_all(folder, names[i]);
        assert_string_equal(after, before[i]);
        free(after);
        free(before[i]);
    }
    assert_true(rs_report_is_complete(folder));
    remove_folder(folder);
}

static void test_csv(void **state)
{
    (void)state;
    char *folder = done_folder(0, 0, NULL), *text = read_all(folder, "report.csv"), *rest = text, *line;
    int n = 0;
    while ((line = strsep(&rest, "\n")) && *line)
        n++;
    assert_int_equal(n, 1 + N_POINTS / 2 * 2 + N_POINTS / 2);
    free(text);
    text = read_all(folder, "report.csv");
    assert_non_null(strstr(text, "\n000000000000abc5,\"yarn, factor 4\",1,1024,\"needle: \"\"x\"\" <&>\",done,3,ruler_all,0.75,"));
    free(text);
    remove_folder(folder);
}

static void test_table(void **state)
{
    (void)state;
    char *folder = new_folder();
    rs_journal *journal = start(folder, 0, NULL);
    rs_text wide = {0}, narrow = {0};
    for (int i = 0; i < 6; i++)
        for (int doc_id = 0; doc_id < SAMPLES; doc_id++)
            add(journal, 0, i, doc_id, i == 2 ? "no \"room\"" : NULL, 0);
    assert_int_equal(rs_report_write_table(journal, 200, &wide), RS_OK);
    assert_int_equal(rs_report_write_table(journal, 40, &narrow), RS_OK);
    assert_non_null(strstr(wide.data, "> default"));
    assert_non_null(strstr(wide.data, "13.6 ±3.6*")); /* perplexity: the least is best */
    assert_non_null(strstr(wide.data, "0.75 ±0.25*"));
    assert_non_null(strstr(wide.data, "0.50 ±0.29 "));
    assert_non_null(strstr(wide.data, "missing"));
    assert_non_null(strstr(wide.data, "failed: default / 1, ppl at 2048: doc_id 0: no \"room\""));
    for (char *rest = narrow.data, *line; (line = strsep(&rest, "\n"));) {
        size_t width = 0;
        for (const char *p = line; *p; p++)
            width += ((unsigned char)*p & 0xC0) != 0x80;
        if (strncmp(line, "failed", 6) != 0 && strncmp(line, "missing", 7) != 0 && *line != '>')
            assert_true(width <= 40);
    }
    rs_text_free(&wide);
    rs_text_free(&narrow);
    rs_journal_close(journal);
    remove_folder(folder);
}

static rs_status compare(const char *a, const char *b, const char *gate, bool *passed, rs_text *out)
{
    char *gates[] = {(char *)(size_t)gate};
    rs_text_clear(out);
    rs_error_clear();
    return rs_report_compare(a, b, gates, gate ? 1 : 0, out, NULL, passed);
}

static void test_estimates(void **state)
{
    (void)state;
    static const struct {
        rs_estimate estimate;
        const char *text;
    } cases[] = {{{13.567, 3.61}, "13.6 ±3.6"}, {{0.5, NAN}, "0.5"}, {{0, 0}, "0 ±0"}, {{-NAN, NAN}, "-"}, {{INFINITY, NAN}, "inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_text text = {0};
        rs_format_estimate(cases[i].estimate, &text);
        assert_string_equal(text.data, cases[i].text);
        rs_text_free(&text);
    }
}

static void test_compare(void **state)
{
    (void)state;
    static const struct {
        const char *gate;
        bool passes;
    } gates[] = {
        {"needle: \"x\" <&> ruler_all >= -0.13", true},
        {"needle: \"x\" <&>@2048 ruler_all >= -0.13", true},
        {"needle: \"x\" <&>@2048   ruler_all   >=   -0.1", false},
        {"needle: \"x\" <&>@1024 ruler_all == -0.125", true},
        {"ppl nll_per_token < 1", true},
        {"ppl nll_per_token <= 0", false},
        {"ppl perplexity > 0", true},
    };
    static const char *const malformed[] = {"", "ppl", "nll >= 0", ">= 0", "ppl nll => 0", "ppl nll >= x", "ppl@ nll >= 0",
                                            "ppl@1k nll >= 0", "ppl nll >= inf", "@5 nll >= 0",
                                            /* of a form, but of nothing that is there: a typo, no regression */
                                            "needle: \"x\" <&>@4096 ruler_all >= -1", "ppl accuracy >= 0", "pl nll_per_token >= 0"};
    char *a = done_folder(0, 0, NULL), *b = done_folder(1000, 0.125, NULL);
    rs_text out = {0};
    bool passed;
    assert_int_equal(compare(a, b, NULL, &passed, &out), RS_OK);
    assert_true(passed);
    assert_non_null(strstr(out.data, "The models differ."));
    assert_non_null(strstr(out.data, "8 pairs of points, 0 only in A, 0 only in B"));
    assert_non_null(strstr(out.data, "-0.125 ±0 "));
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++) {
        assert_int_equal(compare(a, b, gates[i].gate, &passed, &out), RS_OK);
        if (passed != gates[i].passes)
            fail_msg("%s: %s", gates[i].gate, out.data);
    }
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        if (compare(a, b, malformed[i], &passed, &out) != RS_INVALID)
            fail_msg("taken: %s", malformed[i]);
    assert_int_equal(compare(a, "/nonexistent", NULL, &passed, &out), RS_INVALID);
    rs_text_free(&out);
    remove_folder(a);
    remove_folder(b);
}

/* Pairs where one side's point is not done, or shares no prompt, do not pass a gate. */
static void test_compare_unfinished(void **state)
{
    (void)state;
    char *a = done_folder(0, 0, NULL), *b = new_folder();
    rs_journal *journal = start(b, 0, NULL);
    rs_text out = {0};
    bool passed;
    add(journal, 0, 1, 0, NULL, 0);
    rs_journal_close(journal);
    assert_int_equal(compare(a, b, "needle: \"x\" <&>@1024 ruler_all >= -1", &passed, &out), RS_OK);
    assert_false(passed);
    assert_non_null(strstr(out.data, "the point is done in A, missing in B"));
    assert_non_null(strstr(out.data, "no shared samples"));
    rs_text_free(&out);
    remove_folder(a);
    remove_folder(b);
}

static char *shard_folder(int index, int count, int ids_from)
{
    char *folder = new_folder();
    shard s = {index, count};
    rs_journal *journal = start(folder, ids_from, &s);
    rs_report_summary summary;
    for (int i = 0; i < N_POINTS; i++)
        for (int doc_id = 0; doc_id < SAMPLES && i % count == index; doc_id++)
            add(journal, ids_from, i, doc_id, NULL, 0);
    assert_int_equal(rs_report_write(folder, journal, &some_facts, &summary), RS_OK);
    assert_true(summary.complete && summary.points == N_POINTS / count);
    rs_journal_close(journal);
    return folder;
}

static void test_merge(void **state)
{
    (void)state;
    rs_report_summary summary;
    char *whole = done_folder(0, 0, NULL), *shards[] = {shard_folder(0, 2, 0), shard_folder(1, 2, 0), shard_folder(0, 2, 7)};
    char *output = new_folder(), *partial = new_folder(), *refused = new_folder();
    assert_int_equal(rs_report_merge(shards, 2, output, &summary), RS_OK);
    assert_true(summary.complete && summary.points == N_POINTS);
    json_t *a = read_json(whole), *b = read_json(output);
    assert_true(json_equal(json_object_get(a, "points"), json_object_get(b, "points")));
    assert_true(json_number_value(json_object_get(json_object_get(b, "run"), "seconds")) == 25);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(b, "run"), "ranks")), 4);
    json_decref(a);
    json_decref(b);
    char *samples_a = read_all(whole, "samples.jsonl"), *samples_b = read_all(output, "samples.jsonl");
    assert_string_equal(samples_a, samples_b);
    free(samples_a);
    free(samples_b);
    assert_int_equal(rs_report_merge(shards, 2, output, &summary), RS_OK); /* again: nothing is double */
    assert_int_equal(rs_report_merge(&shards[1], 1, partial, &summary), RS_OK);
    assert_true(!summary.complete && summary.done == N_POINTS / 2 && summary.missing == N_POINTS / 2);
    assert_int_equal(rs_report_merge(&shards[1], 2, refused, &summary), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "digest"));
    rs_error_clear();
    for (int i = 0; i < 3; i++)
        remove_folder(shards[i]);
    remove_folder(whole);
    remove_folder(output);
    remove_folder(partial);
    remove_folder(refused);
}

static void test_html(void **state)
{
    (void)state;
    char *folder = done_folder(0, 0, &some_facts), *text = read_all(folder, "report.html");
    assert_non_null(strstr(text, "needle: &quot;x&quot; &lt;&amp;&gt;"));
    assert_null(strstr(text, "http://"));
    assert_null(strstr(text, "https://"));
    assert_null(strstr(text, " src="));
    assert_null(strstr(text, "\"x\" <&>"));
    free(text);
    remove_folder(folder);
}

/* A plan that is not one is named; nothing falls. */
static void test_bad_plan(void **state)
{
    (void)state;
    static const char *const plans[] = {"", "{", "[]", "{}", "{\"schema\": 1}", "{\"schema\": 2, \"points\": []}"};
    rs_report_summary summary;
    char *folder = new_folder();
    rs_journal *journal = start(folder, 0, NULL);
    char *good = rs_strdup(rs_journal_plan(journal));
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        assert_int_equal(rs_journal_write_plan(journal, plans[i], strlen(plans[i])), RS_OK);
        rs_error_clear();
        assert_int_equal(rs_report_summarize(journal, &summary), RS_INVALID);
        assert_non_null(strstr(rs_error_message(), "journal/plan.json"));
    }
    for (size_t n = strlen(good) - 3; n > 0; n -= n < 97 ? n : 97) { /* cut anywhere */
        assert_int_equal(rs_journal_write_plan(journal, good, n), RS_OK);
        rs_error_clear();
        assert_int_equal(rs_report_summarize(journal, &summary), RS_INVALID);
    }
    rs_error_clear();
    free(good);
    rs_journal_close(journal);
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
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_one_content),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_failed_and_missing),
        cmocka_unit_test(test_rebuild),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_compare_unfinished),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_bad_plan),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
