/* clrs_text: prompts are read back and solved by brute force, places checked by the text that stands there. */
#include <ctype.h>

#include "probe_fixture.h"

/* A prompt read back. */
typedef struct problem {
    long n;         /* length */
    double *values; /* [n]; or [n * n] of a matrix */
    double target;
    long source;
} problem;

static double *read_numbers(const char *text, size_t n)
{
    double *out = rs_alloc(n, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        while (!isdigit((unsigned char)*text) && *text != '-')
            text++;
        char *end;
        out[i] = strtod(text, &end);
        assert_true(end > text);
        text = end;
    }
    return out;
}

/* As CLRS-Text prints a float: the shortest form with a digit after the point. */
static void print_float(rs_text *out, double value)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.15g", value);
    rs_text_printf(out, "%s%s", digits, strchr(digits, '.') ? "" : ".0");
}

/* The prompt made anew from what was read out of it must be the prompt: there is nothing else in it. */
static void check_form(const char *prompt, const char *algo, const problem *p)
{
    rs_text out = {0};
    if (strcmp(algo, "bfs") == 0) {
        rs_text_printf(&out, "bfs:\ns: %ld, A: [", p->source);
        for (long i = 0; i < p->n * p->n; i++)
            rs_text_printf(&out, "%s%d", i % p->n ? " " : i ? "], [" : "[", (int)p->values[i]);
        rs_text_puts(&out, "]]\npi:\n");
    } else {
        rs_text_printf(&out, "%s:\nkey: [", strcmp(algo, "kadane") == 0 ? "find_maximum_subarray_kadane" : algo);
        for (long i = 0; i < p->n; i++) {
            rs_text_puts(&out, i ? " " : "");
            print_float(&out, p->values[i]);
        }
        rs_text_puts(&out, "]");
        if (strcmp(algo, "binary_search") == 0) {
            rs_text_puts(&out, ", target: ");
            print_float(&out, p->target);
        }
        rs_text_printf(&out, "\n%s:\n", algo[0] == 'm' ? "min" : algo[0] == 'i' ? "pred" : algo[0] == 'b' ? "return" : "start, end");
    }
    assert_string_equal(prompt, out.data);
    rs_text_free(&out);
}

static problem read_problem(const char *prompt, const char *algo, long n)
{
    problem p = {.n = n};
    if (strcmp(algo, "bfs") == 0) {
        p.source = atol(strstr(prompt, "s: ") + 3);
        p.values = read_numbers(strstr(prompt, "A: "), (size_t)(n * n));
    } else {
        p.values = read_numbers(strstr(prompt, "key: "), (size_t)n);
        const char *target = strstr(prompt, "target: ");
        p.target = target ? atof(target + 8) : 0;
    }
    check_form(prompt, algo, &p);
    return p;
}

static char *solve_minimum(const problem *p)
{
    for (long i = 0; i < p->n; i++) {
        long above = 0;
        for (long j = 0; j < p->n; j++)
            above += p->values[j] > p->values[i];
        if (above == p->n - 1) /* strictly: it stands once */
            return rs_format("%ld", i);
    }
    return rs_strdup("none");
}

/* By counting: the k-th is the value that k others at most are below. */
static char *solve_sort(const problem *p)
{
    rs_text out = {0};
    rs_text_puts(&out, "[");
    for (long k = 0; k < p->n; k++)
        for (long i = 0; i < p->n; i++) {
            long below = 0, equal = 0;
            for (long j = 0; j < p->n; j++) {
                below += p->values[j] < p->values[i];
                equal += p->values[j] == p->values[i];
            }
            if (below <= k && k < below + equal) {
                rs_text_puts(&out, k ? " " : "");
                print_float(&out, p->values[i]);
                break;
            }
        }
    rs_text_puts(&out, "]");
    return out.data;
}

static char *solve_search(const problem *p)
{
    long below = 0;
    for (long i = 0; i < p->n; i++) {
        assert_true(i == 0 || p->values[i - 1] <= p->values[i]);
        below += p->values[i] < p->target;
    }
    assert_true(below < p->n);
    return rs_format("%ld", below);
}

/* Every interval; sums in whole thousandths. The first end of a largest sum, the first start for that end. */
static char *solve_kadane(const problem *p)
{
    long best = -1000000000, from = 0, to = 0;
    for (long end = 0; end < p->n; end++)
        for (long start = 0; start <= end; start++) {
            long sum = 0;
            for (long i = start; i <= end; i++)
                sum += lround(p->values[i] * 1000);
            if (sum > best) {
                best = sum;
                from = start;
                to = end;
            }
        }
    return rs_format("%ld, %ld", from, to);
}

/* Distances by relaxing every edge n times; then each node's lowest neighbour one step nearer. */
static char *solve_bfs(const problem *p)
{
    long n = p->n, *distance = rs_alloc((size_t)n, sizeof *distance);
    rs_text out = {0};
    for (long i = 0; i < n; i++)
        distance[i] = i == p->source ? 0 : n + 1;
    for (long round = 0; round < n; round++)
        for (long i = 0; i < n * n; i++)
            if (p->values[i] == 1 && distance[i / n] + 1 < distance[i % n])
                distance[i % n] = distance[i / n] + 1;
    for (long j = 0; j < n; j++) {
        long before = j;
        for (long i = n - 1; i >= 0 && distance[j] > 0 && distance[j] <= n; i--)
            if (p->values[i * n + j] == 1 && distance[i] + 1 == distance[j])
                before = i;
        rs_text_printf(&out, "%s%ld", j ? " " : "[", before);
        assert_true(p->values[j * n + j] == 0);
        for (long i = 0; i < n; i++)
            assert_true(p->values[i * n + j] == p->values[j * n + i]);
    }
    rs_text_puts(&out, "]");
    free(distance);
    return out.data;
}

static const struct {
    const char *algo;
    char *(*solve)(const problem *p);
} solvers[] = {
    {"minimum", solve_minimum}, {"insertion_sort", solve_sort}, {"binary_search", solve_search}, {"kadane", solve_kadane},
    {"bfs", solve_bfs},
};

/* What the facts say of one number or row: the text there is it. */
static void check_place(const rs_sample *s, const problem *p, const char *algo, int which, long place)
{
    char *found = text_from(s, (int64_t)fact(s, "positions", which));
    rs_text expected = {0};
    if (strcmp(algo, "bfs") == 0)
        for (long j = 0; j < p->n; j++)
            rs_text_printf(&expected, "%s%d", j ? " " : "[", (int)p->values[place * p->n + j]);
    else
        print_float(&expected, p->values[place]);
    const char *at = found + strspn(found, place > 0 ? ", " : "");
    if (strncmp(at, expected.data, expected.n) != 0)
        fail_msg("%s: at %s: '%.20s'", algo, expected.data, found);
    double depth = fact(s, "depths", which), exact = p->n > 1 ? 100.0 * (double)place / (double)(p->n - 1) : 0;
    assert_true(fabs(depth - exact) < 1e-9);
    rs_text_free(&expected);
    free(found);
}

static void check_clrs(bench *b, size_t which, int64_t context, int64_t doc_id)
{
    const char *algo = solvers[which].algo;
    rs_sample s = bench_sample(b, context, doc_id);
    assert_null(s.error);
    char *prompt = prompt_text(&s);
    problem p = read_problem(prompt, algo, (long)fact(&s, "length", 0));
    char *answer = solvers[which].solve(&p);
    assert_int_equal(s.n_references, 1);
    assert_string_equal(s.references[0], answer);
    assert_true(score_of(b, &s, answer, strlen(answer)) == 1);
    rs_tokens tokens = {0};
    rs_tokenizer_encode(test_tokenizer, answer, strlen(answer), &tokens);
    assert_true((int64_t)tokens.n + 7 <= s.max_new_tokens && s.max_new_tokens <= (int64_t)tokens.n + 8);
    assert_true(used_by(&s) <= context);
    if (which != 1)
        check_place(&s, &p, algo, 0, algo[0] == 'b' && algo[1] == 'f' ? p.source : atol(answer));
    if (which == 3)
        check_place(&s, &p, algo, 1, atol(strchr(answer, ',') + 1));
    rs_tokens_free(&tokens);
    free(answer);
    free(p.values);
    free(prompt);
    rs_sample_free(&s);
}

static void test_answers(void **state)
{
    (void)state;
    static const char *const settings[] = {"", "length=1", "length=2", "length=9\ndecimals=1", "length=16\nedges=0.1"};
    for (size_t a = 0; a < 5; a++)
        for (size_t k = 0; k < 5; k++) {
            bench b;
            char *text = rs_format("algo=%s\n%s", solvers[a].algo, settings[k]);
            bench_open_seed(&b, "clrs_text", text, probe_seeds[k % 3]);
            for (int64_t i = 0; i < 12; i++)
                check_clrs(&b, a, k ? 1000 : 200 + 70 * i, i);
            bench_close(&b);
            free(text);
        }
}

/* Two keys of equal size, an all-negative list, ties of sums: with one decimal and many numbers all of them happen. */
static void test_ties(void **state)
{
    (void)state;
    for (size_t a = 0; a < 4; a++) {
        bench b;
        char *text = rs_format("algo=%s\ndecimals=1\nlength=%d", solvers[a].algo, a == 3 ? 6 : 40);
        bench_open(&b, "clrs_text", text);
        for (int64_t i = 0; i < 60; i++)
            check_clrs(&b, a, 600, i);
        bench_close(&b);
        free(text);
    }
}

static void test_edges(void **state)
{
    (void)state;
    static const char *const shares[] = {"0", "1"};
    for (int k = 0; k < 2; k++) {
        bench b;
        char *text = rs_format("algo=bfs\nlength=5\nedges=%s", shares[k]);
        bench_open(&b, "clrs_text", text);
        rs_sample s = bench_sample(&b, 400, 0);
        long source = atol(strstr(s.facts, "\"depths\": [") + 11) / 25;
        char *expected = k ? rs_format("[%ld %ld %ld %ld %ld]", source, source, source, source, source) : rs_strdup("[0 1 2 3 4]");
        assert_string_equal(s.references[0], expected);
        free(expected);
        rs_sample_free(&s);
        bench_close(&b);
        free(text);
    }
}

static void test_scores(void **state)
{
    (void)state;
    static const struct {
        const char *right, *answer;
        double score;
    } answers[] = {
        {"[0.1 0.25]", "[0.1 0.25]", 1},
        {"[0.1 0.25]", "0.1, 0.25", 1},
        {"[0.1 0.25]", "\n\n [0.1  0.25]\t\nkadane:", 1},
        {"[0.1 0.25]", "[0.1 0.25", 1},
        {"[0.1 0.25]", "[0.1 0.2]", 0},
        {"[0.1 0.25]", "[0.1 0.25 0.3]", 0},
        {"[0.1 0.25]", "[0.1]\n[0.25]", 0},
        {"[0.1 0.25]", "[0.10.25]", 0},
        {"[0.1 0.25]", "", 0},
        {"[0.1 0.25]", "[0.1 0.25] then", 0},
        {"3, 7", "(3, 7)", 1},
        {"3, 7", "3 7", 1},
        {"3, 7", "37", 0},
        {"3, 7", "7, 3", 0},
        {"3, 7", "start 3, end 7", 0},
        {"17", " 17", 1},
        {"17", "17\xC2\xA0", 1},
        {"17", "017", 0},
        {"17", "-17", 0},
        {"17", "[]", 0},
        {"17", " \n", 0},
    };
    bench b;
    bench_open(&b, "clrs_text", "");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        char *reference = rs_strdup(answers[i].right);
        rs_sample s = {.references = &reference, .n_references = 1};
        if (score_of(&b, &s, answers[i].answer, strlen(answers[i].answer)) != answers[i].score)
            fail_msg("'%s' for '%s'", answers[i].answer, answers[i].right);
        assert_true(score_of(&b, &s, "17\0 18", 6) == (strcmp(reference, "17") == 0));
        free(reference);
    }
    bench_close(&b);
}

/* Depths of the answer cover the list; one that cannot fit is an error at once, however long. */
static void test_limits(void **state)
{
    (void)state;
    static const char *const hopeless[] = {"length=1000000", "algo=bfs\nlength=1000000", "algo=insertion_sort\nlength=60", "length=110"};
    bench b;
    for (size_t i = 0; i < 4; i++) {
        bench_open(&b, "clrs_text", hopeless[i]);
        rs_sample s = bench_sample(&b, 512, 0);
        assert_non_null(s.error);
        assert_non_null(strstr(s.error, "the context of 512"));
        rs_sample_free(&s);
        bench_close(&b);
    }
    bench_open(&b, "clrs_text", "");
    rs_sample s = bench_sample(&b, 10, 0);
    assert_non_null(strstr(s.error, "length 1: "));
    rs_sample_free(&s);
    bench_close(&b);
    expect_message(bench_try(&b, "clrs_text", "question={algo}"), "question must contain {inputs}");
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers), TEST(test_ties), TEST(test_edges), TEST(test_scores), TEST(test_limits),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
