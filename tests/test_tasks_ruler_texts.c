/* vt, cwe and fwe: a reader who knows the task only from the prompt finds the references. The readers below parse the prompt's text and
 * follow or count for themselves. */
#include "ruler_fixture.h"

#define INTRO_VT "In the text below, variables get their values."
#define INTRO_CWE "Some words of this numbered list stand"
#define INTRO_FWE "Here is a text of coded words."

/* The text from the last place where the intro stands: the part that is asked about; what is before is the example. */
static char *last_part(char *prompt, const char *intro)
{
    char *last = NULL;
    for (char *p = strstr(prompt, intro); p; p = strstr(p + 1, intro))
        last = p;
    assert_non_null(last);
    return last;
}

/* --- vt --- */

enum { MAX_VARIABLES = 64, MAX_NAME = 16 };

typedef struct program {
    char names[MAX_VARIABLES][MAX_NAME], values[MAX_VARIABLES][MAX_NAME];
    int n;
} program;

/* Runs the sentences in their order: a variable must have its value before it is copied. */
static program run_program(const char *text, const char *end)
{
    program p = {0};
    int used = 0;
    char source[MAX_NAME];
    for (const char *at = strstr(text, "Let "); at && at < end; at = strstr(at + 1, "Let ")) {
        assert_true(p.n < MAX_VARIABLES);
        assert_int_equal(sscanf(at, "Let %15[A-Z] be %15[A-Z0-9].%n", p.names[p.n], source, &used), 2);
        strcpy(p.values[p.n], source);
        for (int i = 0; i < p.n; i++) {
            assert_string_not_equal(p.names[i], p.names[p.n]);
            if (strcmp(p.names[i], source) == 0)
                strcpy(p.values[p.n], p.values[i]);
        }
        assert_true(p.values[p.n][0] >= '1' && p.values[p.n][0] <= '9');
        p.n++;
    }
    return p;
}

/* The variables that have the value which the question after `text` asks for are `names`, in the text's order. */
static void check_answer(const char *text, char *const *names, size_t n_names, int n_variables)
{
    char value[MAX_NAME];
    const char *question = strstr(text, "\nWhich variables");
    assert_non_null(question);
    assert_int_equal(sscanf(question, "\nWhich variables in the text above have the value %15[0-9]?", value), 1);
    program p = run_program(text, question);
    assert_int_equal(p.n, n_variables);
    size_t found = 0;
    for (int i = 0; i < p.n; i++)
        if (strcmp(p.values[i], value) == 0) {
            assert_true(found < n_names);
            assert_string_equal(names[found], p.names[i]);
            found++;
        }
    assert_int_equal(found, n_names);
}

/* The example's answer, " A B C" up to the end of the line, is right too. */
static void check_vt_example(const char *example, int n_variables)
{
    char *names[MAX_VARIABLES], copy[MAX_VARIABLES * MAX_NAME], *rest = NULL;
    size_t n = 0;
    const char *answer = strchr(strstr(strstr(example, "\nWhich variables"), "? These"), ':');
    snprintf(copy, sizeof copy, "%.*s", (int)strcspn(answer, "\n"), answer);
    for (char *name = strtok_r(copy, ": ", &rest); name; name = strtok_r(NULL, ": ", &rest))
        names[n++] = name;
    check_answer(example, names, n, n_variables);
}

static void test_vt(void **state)
{
    (void)state;
    static const struct {
        const char *settings;
        int n_chains, n_hops;
    } cases[] = {{"", 1, 4}, {"num_chains=3\nnum_hops=2", 3, 2}, {"haystack=essay.txt", 1, 4}, {"noise_order=random\nnum_hops=12", 1, 12}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        bench b;
        bench_open(&b, "vt", cases[c].settings);
        for (int64_t i = 0; i < 20; i++) {
            rs_sample s = bench_sample(&b, 2048, i);
            assert_null(s.error);
            char *prompt = prompt_text(&s), *text = last_part(prompt, INTRO_VT);
            assert_int_equal(s.n_references, cases[c].n_hops + 1);
            check_answer(text, s.references, s.n_references, cases[c].n_chains * (cases[c].n_hops + 1));
            int example_hops = cases[c].n_hops < 10 ? cases[c].n_hops : 10;
            assert_true(text > prompt);
            text[-1] = '\0';
            check_vt_example(prompt, cases[c].n_chains * (example_hops + 1));
            for (int k = 0; k <= cases[c].n_hops; k++) { /* the asked chain's sentences come first in the facts */
                char *sentence = rs_format("Let %s be ", s.references[k]);
                expect_text_at(&s, k, sentence);
                free(sentence);
            }
            free(prompt);
            rs_sample_free(&s);
        }
        bench_close(&b);
    }
}

/* --- cwe --- */

enum { MAX_COUNTED = 3000 };

typedef struct tally {
    char *words[MAX_COUNTED];
    int times[MAX_COUNTED], first[MAX_COUNTED]; /* first: the entry's number */
    int n, entries;
} tally;

static int find_word(const tally *t, const char *word)
{
    int i = 0;
    while (i < t->n && strcmp(t->words[i], word) != 0)
        i++;
    return i;
}

static void count_word(tally *t, const char *word)
{
    int i = find_word(t, word);
    t->entries++;
    if (i == t->n) {
        assert_true(t->n < MAX_COUNTED);
        t->first[i] = t->entries;
        t->words[t->n++] = rs_strdup(word);
    }
    t->times[i]++;
}

static void tally_free(tally *t)
{
    for (int i = 0; i < t->n; i++)
        free(t->words[i]);
}

/* "1. word 2. word ..." from after the intro's line to the question. */
static void count_list(const char *part, tally *out)
{
    *out = (tally){0};
    int number, used;
    char word[64];
    const char *at = strchr(part, '\n') + 1;
    while (sscanf(at, "%d. %63[a-z-]%n", &number, word, &used) == 2) {
        assert_int_equal(number, out->entries + 1);
        count_word(out, word);
        at += used;
        at += *at == ' ';
    }
    assert_int_equal(strncmp(at, "\nWhich ", 7), 0);
}

/* Exactly these words stand most often: freq_common times each, all others freq_other times. */
static void check_counts(const tally *t, char *const *common, int n_common, int freq_common, int freq_other)
{
    for (int i = 0; i < n_common; i++) {
        int at = find_word(t, common[i]);
        assert_true(at < t->n && t->times[at] == freq_common);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(common[i], common[k]);
    }
    int others = 0;
    for (int i = 0; i < t->n; i++)
        others += t->times[i] == freq_other;
    assert_true(freq_other < freq_common);
    assert_int_equal(others, t->n - n_common);
}

typedef struct cwe_case {
    const char *settings;
    bool nouns;
    int64_t context;
    int n_common, freq_common, freq_other;
    int example_words, example_common, example_other; /* RULER's */
} cwe_case;

static void check_cwe_example(const cwe_case *c, const char *example, const tally *list)
{
    tally t;
    char *common[64];
    int used, number;
    char word[64];
    count_list(example, &t);
    assert_int_equal(t.n, c->example_words);
    const char *at = strchr(strstr(example, "? The "), ':') + 1;
    for (int i = 0; i < c->n_common; i++, at += used) {
        assert_int_equal(sscanf(at, " %d. %63[a-z-]%n", &number, word, &used), 2);
        assert_int_equal(number, i + 1);
        common[i] = rs_strdup(word);
    }
    check_counts(&t, common, c->n_common, c->example_common, c->example_other);
    for (int i = 0; i < t.n; i++)
        assert_int_equal(find_word(list, t.words[i]), list->n);
    for (int i = 0; i < c->n_common; i++)
        free(common[i]);
    tally_free(&t);
}

static void check_cwe(const cwe_case *c, const rs_sample *s)
{
    tally t;
    char *prompt = prompt_text(s), *text = last_part(prompt, INTRO_CWE);
    count_list(text, &t);
    assert_int_equal(s->n_references, c->n_common);
    check_counts(&t, s->references, c->n_common, c->freq_common, c->freq_other);
    assert_int_equal(t.entries, (int)fact(s, "entries", 0));
    assert_int_equal(t.n - c->n_common, (int)fact(s, "num_ucw", 0));
    for (int i = 0; i < c->n_common; i++) {
        char *item = rs_format("%d. %s", t.first[find_word(&t, s->references[i])], s->references[i]);
        expect_text_at(s, i, item);
        free(item);
    }
    assert_int_equal(text > prompt, c->example_words > 0);
    if (text > prompt)
        check_cwe_example(c, prompt, &t);
    tally_free(&t);
    free(prompt);
}

static void test_cwe(void **state)
{
    (void)state;
    static const cwe_case cases[] = {
        {"", true, 1024, 10, 6, 1, 20, 3, 1},
        {"num_cw=5", true, 4095, 5, 6, 1, 20, 3, 1},
        {"num_cw=5", true, 4096, 5, 30, 3, 40, 10, 3},
        {"", false, 8192, 10, 30, 3, 40, 10, 3},
        {"num_cw=2\nfreq_cw=4\nfreq_ucw=3\nexample_words=0\nnum_ucw=5", true, 1024, 2, 4, 3, 0, 0, 0},
        {"num_cw=3\nexample_words=3\nexample_freq_cw=2", true, 1024, 3, 6, 1, 3, 2, 1},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        bench b;
        char *settings = cases[c].nouns ? noun_words(cases[c].settings) : rs_strdup(cases[c].settings);
        bench_open(&b, "cwe", settings);
        for (int64_t i = 0; i < 8; i++) {
            rs_sample s = bench_sample(&b, cases[c].context, i);
            if (s.error)
                fail_msg("case %zu: %s", c, s.error);
            check_cwe(&cases[c], &s);
            rs_sample_free(&s);
        }
        bench_close(&b);
        free(settings);
    }
}

/* Pairs where the words do not reach, for all words of the prompt. */
static void test_cwe_pairs(void **state)
{
    (void)state;
    char *settings = noun_words("example_words=0");
    bench b;
    bench_open(&b, "cwe", settings);
    for (int64_t context = 512; context <= 2048; context *= 4) {
        rs_sample s = bench_sample(&b, context, 0);
        assert_null(s.error);
        check_cwe(&(cwe_case){.n_common = 10, .freq_common = 6, .freq_other = 1}, &s);
        char *prompt = prompt_text(&s);
        size_t pairs = occurrences(prompt, "-");
        assert_int_equal(pairs, context == 512 ? 0 : (size_t)fact(&s, "entries", 0));
        assert_true(pairs > 0 || fact(&s, "num_ucw", 0) + 10 < RS_N_NOUNS);
        assert_int_equal(strstr(s.facts, "\"pairs\": true") != NULL, pairs > 0);
        free(prompt);
        rs_sample_free(&s);
    }
    bench_close(&b);
    free(settings);
}

/* No built-in word occurs inside another, so that none is found in an answer that does not have it. */
static void test_common_words(void **state)
{
    (void)state;
    for (int i = 0; i < RS_N_COMMON_WORDS; i++) {
        size_t n = strlen(rs_common_words[i]);
        assert_true(n >= 4 && n <= 9 && strspn(rs_common_words[i], "abcdefghijklmnopqrstuvwxyz") == n);
        for (int k = 0; k < RS_N_COMMON_WORDS; k++)
            if (k != i && strstr(rs_common_words[k], rs_common_words[i]))
                fail_msg("'%s' is in '%s'", rs_common_words[i], rs_common_words[k]);
    }
}

/* --- fwe --- */

static void count_blanks(const char *part, const char *end, tally *out)
{
    *out = (tally){0};
    char *copy = rs_strndup(part, (size_t)(end - part)), *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        count_word(out, word);
    free(copy);
}

/* The law, rank by rank, with zeta in closed form: floor(n k^-alpha / zeta(alpha)). */
static void check_law(const tally *t, const rs_sample *s, double alpha, double zeta, int n_ranks)
{
    double n = fact(s, "num_words", 0);
    int different = 0;
    for (int rank = 1; rank <= n_ranks; rank++) {
        double exact = n / (pow(rank, alpha) * zeta);
        int expected = (int)floor(exact), found = 0, larger = 0;
        assert_true(fabs(exact - round(exact)) > 1e-9 * exact || exact < 0.5); /* else rounding decides */
        for (int i = 0; i < t->n; i++) {
            found += t->times[i] == expected;
            larger += t->times[i] > expected;
        }
        if (expected == 0)
            break;
        different++;
        assert_true(larger < rank && larger + found >= rank);
    }
    assert_int_equal(t->n, different);
    assert_int_equal(different - 1, (int)fact(s, "different", 0));
}

static void check_fwe(const rs_sample *s, double alpha, double zeta, int n_ranks, int n_asked)
{
    tally t;
    char *prompt = prompt_text(s), *text = last_part(prompt, INTRO_FWE);
    const char *start = strchr(text, '\n') + 1, *end = strstr(start, "\nDots are no words.");
    assert_non_null(end);
    count_blanks(start, end, &t);
    check_law(&t, s, alpha, zeta, n_ranks);
    assert_int_equal(s->n_references, n_asked);
    int least = 1 << 30, marks = t.times[find_word(&t, "...")];
    for (int i = 0; i < n_asked; i++) {
        int times = t.times[find_word(&t, s->references[i])];
        assert_true(strlen(s->references[i]) == 6 && strspn(s->references[i], "abcdefghijklmnopqrstuvwxyz") == 6);
        assert_int_equal(times, (int)fact(s, "times", i));
        assert_true(times <= least && times < marks);
        least = times;
        expect_text_at(s, i, s->references[i]);
        char *after = text_from(s, (int64_t)fact(s, "positions", i));
        assert_true(strstr(start, s->references[i]) >= prompt + strlen(prompt) - strlen(after)); /* not before its first place */
        free(after);
    }
    for (int i = 0; i < t.n; i++) {
        bool asked = strcmp(t.words[i], "...") == 0;
        for (int k = 0; k < n_asked; k++)
            asked = asked || strcmp(t.words[i], s->references[k]) == 0;
        assert_true(asked || t.times[i] < least);
    }
    tally_free(&t);
    free(prompt);
}

static void test_fwe(void **state)
{
    (void)state;
    const double pi = acos(-1), zeta_2 = pi * pi / 6, zeta_4 = pi * pi * pi * pi / 90;
    static const int64_t contexts[] = {512, 1024, 4096};
    bench b;
    bench_open(&b, "fwe", "");
    for (int c = 0; c < 3; c++)
        for (int64_t i = 0; i < 10; i++) {
            rs_sample s = bench_sample(&b, contexts[c], i);
            if (s.error)
                fail_msg("%s", s.error);
            check_fwe(&s, 2, zeta_2, (int)(contexts[c] - 50) / 50, 3);
            rs_sample_free(&s);
        }
    bench_close(&b);
    bench_open(&b, "fwe", "alpha=4\nvocab_size=5\nnum_asked=1");
    rs_sample s = bench_sample(&b, 1024, 0);
    check_fwe(&s, 4, zeta_4, 5, 1);
    rs_sample_free(&s);
    bench_close(&b);
    bench_open(&b, "fwe", "alpha=1.1");
    s = bench_sample(&b, 8192, 0);
    check_fwe(&s, 1.1, 10.584448464950803, 162, 3); /* scipy.special.zeta(1.1) */
    rs_sample_free(&s);
    bench_close(&b);
    bench_open(&b, "fwe", "num_words=200");
    s = bench_sample(&b, 4096, 0);
    assert_true(fact(&s, "num_words", 0) == 200);
    check_fwe(&s, 2, zeta_2, 80, 3);
    rs_sample_free(&s);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_vt), TEST(test_cwe), TEST(test_cwe_pairs), TEST(test_common_words), TEST(test_fwe),
    };
    return cmocka_run_group_tests(tests, files_open, fixture_close);
}
