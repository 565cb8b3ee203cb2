/* Scores of odd answers and the statistics. Expected values come from Python 3.11: scores from
 *   pred = re.sub(r'[\x00-\x1f]', '\n', pred.strip()).strip(); [r.lower() in pred.lower() for r in refs]
 * (RULER's own evaluation), lower cases from str.lower(), statistics from closed forms in the comments. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "score/lower.h"
#include "score/metric.h"
#include "score/stats.h"

static void check_lower(const char *text, const char *expected)
{
    rs_text out = {0};
    rs_lower(text, strlen(text), &out);
    assert_string_equal(out.data, expected);
    rs_text_free(&out);
}

static void test_lower(void **state)
{
    (void)state;
    check_lower("", "");
    check_lower("AbC-Z[`{", "abc-z[`{");
    check_lower("\xC3\x89\xC3\x97\xC3\x9E", "\xC3\xA9\xC3\x97\xC3\xBE");                 /* E acute, multiplication sign, thorn */
    check_lower("\xC4\xB0X", "i\xCC\x87x");                                              /* I with dot: two code points */
    check_lower("\xE1\xBA\x9E", "\xC3\x9F");                                             /* capital sharp s */
    check_lower("\xF0\x90\x90\x80", "\xF0\x90\x90\xA8");                                 /* Deseret, outside the first plane */
    check_lower("\xE2\x84\xAA", "k");                                                    /* Kelvin sign */
    check_lower("\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3", "\xCE\xBF\xCE\xB4\xCE\xBF\xCF\x82"); /* final sigma */
    check_lower("\xCE\x9F\xCE\xA3 A", "\xCE\xBF\xCF\x82 a");                             /* ... before a blank */
    check_lower("\xCE\x9F\xCE\xA3.A", "\xCE\xBF\xCF\x83.a");                             /* a full stop is skipped: not final */
    check_lower("\xCE\xA3", "\xCF\x83");                                                 /* alone: not final */
    check_lower("A\xCC\x81\xCE\xA3\xCC\x81", "a\xCC\x81\xCF\x82\xCC\x81");               /* accents are skipped both ways */
    check_lower("\xCE\xA3:.\xC2\xB7:\xCE\xA3", "\xCF\x83:.\xC2\xB7:\xCF\x82");           /* many skipped on the way back */
    check_lower("\xFF\xC3(A\xC3", "\xFF\xC3(a\xC3");                                     /* not UTF-8: unchanged */
}

typedef struct ruler_case {
    const char *answer;
    size_t n; /* 0: strlen */
    const char *references[4];
    double all, part;
} ruler_case;

static const ruler_case ruler_cases[] = {
    {"the number is 123.", 0, {"123"}, 1, 1},
    {"1234", 0, {"123"}, 1, 1}, /* a substring counts */
    {"12 3", 0, {"123"}, 0, 0},
    {"alpha beta", 0, {"alpha", "BETA", "gamma", "delta"}, 0.5, 1},
    {"ALPHA", 0, {"alpha"}, 1, 1},
    {"", 0, {"x"}, 0, 0},
    {"", 0, {""}, 1, 1}, /* Python: '' in '' */
    {"abc", 0, {"", "z"}, 0.5, 1},
    {"a\tb", 0, {"a\nb"}, 1, 1}, /* a tab in the answer becomes a newline */
    {"a\tb", 0, {"a\tb"}, 0, 0}, /* so a reference with a tab cannot match */
    {"a\nb", 0, {"a b"}, 0, 0},  /* a newline is no blank */
    {"a\0b", 3, {"a\nb"}, 1, 1}, /* NUL too */
    {"a\x7F"
     "b",
     0,
     {"a\nb"},
     0,
     0}, /* 7f stays */
    {"a\x7F"
     "b",
     0,
     {"a\x7F"
      "b"},
     1,
     1},
    {"a\xC2\x85"
     "b",
     0,
     {"a\xC2\x85"
      "b"},
     1,
     1}, /* U+0085 stays inside */
    {"\xC2\x85"
     "ab\xC2\xA0",
     0,
     {"\xC2\x85"
      "ab"},
     0,
     0},                          /* but is stripped at the ends */
    {" abc ", 0, {"abc "}, 0, 0}, /* the answer is stripped, the reference is not */
    {" abc d", 0, {" abc"}, 0, 0},
    {"x abc d", 0, {" abc "}, 1, 1},
    {"\x01 abc", 0, {"\nabc"}, 0, 0}, /* 01 becomes a newline, then is stripped with the blank */
    {"\x01 abc", 0, {"abc"}, 1, 1},
    {"\x1C"
     "abc",
     0,
     {"abc"},
     1,
     1},
    {"x\x01\x02y", 0, {"x\n\ny"}, 1, 1},
    {"\xE3\x80\x80"
     "abc\xE2\x80\x89",
     0,
     {"abc"},
     1,
     1}, /* ideographic space, thin space */
    {"\xC3\x89t\xC3\xA9", 0, {"\xC3\xA9T\xC3\x89"}, 1, 1},
    {"stra\xC3\x9F"
     "e",
     0,
     {"STRASSE"},
     0,
     0}, /* lower case, not case folding */
    {"\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3", 0, {"\xCE\xBF\xCE\xB4\xCE\xBF\xCF\x82"}, 1, 1},
    {"\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3\xCE\x91", 0, {"\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3"}, 0, 0}, /* sigma inside against sigma at the end */
    {"\xC4\xB0stanbul", 0, {"i\xCC\x87stanbul"}, 1, 1},
    {"aa", 0, {"a", "a"}, 1, 1},
    {"b", 0, {"a", "a", "b"}, 1.0 / 3, 1},
    {"\n\t abc\v", 0, {"ABC"}, 1, 1},
    {"abc\r\ndef", 0, {"abc\n\ndef"}, 1, 1}, /* each control byte is a newline of its own */
    {"abc\r\ndef", 0, {"abc\ndef"}, 0, 0},
    {"abc\x1B[0m", 0, {"abc\n[0m"}, 1, 1},
    {"\x1F\x1E", 0, {"\n"}, 0, 0}, /* nothing is left of it */
    {"\0", 1, {""}, 1, 1},
    {"   ", 0, {" "}, 0, 0},
    {"a b", 0, {"a  b"}, 0, 0},
    {"Two words", 0, {"two", "WORDS", "three", "two words"}, 0.75, 1},
    {"no", 0, {"know", "NO"}, 0.5, 1}, /* the reference in the answer, not the answer in the reference */
    {"a\xE2\x80\x8B"
     "b",
     0,
     {"ab"},
     0,
     0}, /* a zero-width space is no white space, inside */
    {"\xE2\x80\x8B"
     "abc",
     0,
     {"\xE2\x80\x8B"
      "abc"},
     1,
     1}, /* nor at the ends; */
    {"\xE2\x80\xA8"
     "abc\xE2\x80\xA9",
     0,
     {"\xE2\x80\xA8"
      "abc"},
     0,
     0}, /* line and paragraph separators are */
    {"\xEF\xBB\xBF"
     "abc",
     0,
     {"\xEF\xBB\xBF"
      "abc"},
     1,
     1}, /* a byte order mark stays */
    {"\xC2\x80"
     "abc",
     0,
     {"\xC2\x80"
      "abc"},
     1,
     1},                                                                 /* U+0080 too */
    {"\xEF\xBC\xA1\xEF\xBC\xA2", 0, {"\xEF\xBD\x81\xEF\xBD\x82"}, 1, 1}, /* full-width letters */
    {"\xC7\x85x", 0, {"\xC7\x86X"}, 1, 1},                               /* a title-case letter */
    {"\xC5\xBFun", 0, {"sun"}, 0, 0},                                    /* long s is lower case already */
    {"\xE1\xBA\x9E", 0, {"ss"}, 0, 0},
    {"e\xCC\x81", 0, {"\xC3\xA9"}, 0, 0}, /* no normal form: an accent apart is another text */
    {"\xF0\x9F\x98\x80 yes", 0, {"\xF0\x9F\x98\x80"}, 1, 1},
};

static void test_ruler(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ruler_cases / sizeof *ruler_cases; i++) {
        const ruler_case *c = &ruler_cases[i];
        char *references[4];
        size_t n = 0;
        for (; n < 4 && c->references[n]; n++)
            references[n] = (char *)(size_t)c->references[n];
        size_t length = c->n ? c->n : strlen(c->answer);
        double all = rs_metric_ruler_all(c->answer, length, references, n);
        double part = rs_metric_ruler_part(c->answer, length, references, n);
        if (all != c->all || part != c->part)
            fail_msg("case %zu: all %g, expected %g; part %g, expected %g", i, all, c->all, part, c->part);
    }
}

typedef struct plain_case {
    rs_metric metric;
    const char *answer, *reference;
    double score;
} plain_case;

static const plain_case plain_cases[] = {
    {rs_metric_exact, " abc\n", "abc", 1},
    {rs_metric_exact, "abc", " abc ", 1},
    {rs_metric_exact, "Abc", "abc", 0},
    {rs_metric_exact, "abc d", "abc", 0},
    {rs_metric_exact, "", "", 1},
    {rs_metric_contains, "x abc y", "abc", 1},
    {rs_metric_contains, "x Abc y", "abc", 0},
    {rs_metric_contains, "x", "", 1},
    {rs_metric_contains, "", "x", 0},
    {rs_metric_begins, " cat hat", "cat", 1},
    {rs_metric_begins, "cat", "cat", 1},
    {rs_metric_begins, "cat.", "cat", 1},
    {rs_metric_begins, "cattle", "cat", 0},
    {rs_metric_begins, "cat\xC3\xA9", "cat", 0},
    {rs_metric_begins, "a cat", "cat", 0},
    {rs_metric_begins, "", "cat", 0},
    {rs_metric_first_integer, "is 12345.", "12345", 1},
    {rs_metric_first_integer, "1 12345", "12345", 0},
    {rs_metric_first_integer, "12,345", "12345", 0},
    {rs_metric_first_integer, "00123", "123", 1},
    {rs_metric_first_integer, "0", "000", 1},
    {rs_metric_first_integer, "-7", "7", 0},
    {rs_metric_first_integer, "-7", "-7", 1},
    {rs_metric_first_integer, "is -07", "-7", 1},
    {rs_metric_first_integer, "a-7", "7", 1},
    {rs_metric_first_integer, "-0", "0", 1},
    {rs_metric_first_integer, "none", "7", 0},
    {rs_metric_first_integer, "", "7", 0},
    {rs_metric_first_integer, "123456789012345678901234567890", "123456789012345678901234567890", 1},
    {rs_metric_first_integer, "\xD9\xA3 4", "4", 1}, /* digits are ASCII's */
};

static void test_plain_metrics(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plain_cases / sizeof *plain_cases; i++) {
        const plain_case *c = &plain_cases[i];
        char *references[] = {(char *)(size_t) "never\x01", (char *)(size_t)c->reference};
        double score = c->metric(c->answer, strlen(c->answer), references + 1, 1);
        if (score != c->score || c->metric(c->answer, strlen(c->answer), references, 2) != c->score)
            fail_msg("case %zu ('%s' against '%s'): %g, expected %g", i, c->answer, c->reference, score, c->score);
    }
}

static void check_estimate(rs_estimate got, double value, double error)
{
    assert_true(fabs(got.value - value) <= 1e-14 * fabs(value));
    if (isnan(error))
        assert_true(isnan(got.error));
    else
        assert_true(fabs(got.error - error) <= 1e-14 * fabs(error));
}

static void test_mean(void **state)
{
    (void)state;
    check_estimate(rs_stats_mean((double[]){1, 2, 3, 4}, 4), 2.5, sqrt(5.0 / 3 / 4)); /* s^2 = 5/3 */
    check_estimate(rs_stats_mean((double[]){7}, 1), 7, NAN);
    assert_true(isnan(rs_stats_mean(NULL, 0).value) && isnan(rs_stats_mean(NULL, 0).error));
    assert_true(rs_stats_mean((double[]){1, 1e100, 1, -1e100}, 4).value == 0.5); /* a plain sum gives 0 */
    assert_true(isinf(rs_stats_mean((double[]){1, INFINITY, 2}, 3).value));
    /* 10 ones of 16: p = 5/8, se = sqrt(p (1 - p) / 15) = sqrt(15/64/15) = 1/8 */
    double bits[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    check_estimate(rs_stats_mean(bits, 16), 0.625, 0.125);
}

static void test_ratio(void **state)
{
    (void)state;
    /* R = 17/7; residuals -3/7, 8/7, -5/7; their squares sum to 2; error sqrt(3/2 * 2) / 7 */
    const double y[] = {2, 6, 9}, w[] = {1, 2, 4};
    check_estimate(rs_stats_ratio(y, w, 3), 17.0 / 7, sqrt(3.0) / 7);
    check_estimate(rs_stats_ratio(y, w, 1), 2, NAN);
    check_estimate(rs_stats_exp(rs_stats_ratio(y, w, 3)), exp(17.0 / 7), exp(17.0 / 7) * sqrt(3.0) / 7);
    /* equal weights: the mean and its error, over the weight */
    rs_estimate mean = rs_stats_mean(y, 3);
    check_estimate(rs_stats_ratio(y, (double[]){5, 5, 5}, 3), mean.value / 5, mean.error / 5);
    /* proportional: no error */
    assert_true(rs_stats_ratio((double[]){2, 4, 8}, w, 3).error == 0);
}

static void test_paired(void **state)
{
    (void)state;
    const double a[] = {1, 0, 1, 1}, b[] = {0, 0, 1, 0}, one[] = {1, 1, 1, 1};
    check_estimate(rs_stats_paired_mean(a, b, 4), 0.5, sqrt(1.0 / 12)); /* differences 1, 0, 0, 1: s^2 = 1/3 */
    check_estimate(rs_stats_paired_ratio(a, one, b, one, 4), 0.5, sqrt(1.0 / 12));
    check_estimate(rs_stats_paired_mean(a, b, 1), 1, NAN);
    /* the same weights: the ratio of the differences */
    const double y[] = {3, 7, 10}, base[] = {1, 1, 1}, w[] = {1, 2, 4};
    check_estimate(rs_stats_paired_ratio(y, w, base, w, 3), 17.0 / 7, sqrt(3.0) / 7);
    /* a point against itself, whatever its spread */
    rs_estimate self = rs_stats_paired_ratio(y, w, y, w, 3);
    assert_true(self.value == 0 && self.error == 0);
    /* other weights: Ra = 20/7, Rb = 3/8; d = ya/7 - Ra wa/7 - (yb/8 - Rb wb/8), squares times 3/2 */
    const double other[] = {2, 2, 4};
    double squares = 0;
    for (int i = 0; i < 3; i++) {
        double d = (y[i] - 20.0 / 7 * w[i]) / 7 - (1 - 3.0 / 8 * other[i]) / 8;
        squares += d * d;
    }
    check_estimate(rs_stats_paired_ratio(y, w, base, other, 3), 20.0 / 7 - 3.0 / 8, sqrt(1.5 * squares));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lower), cmocka_unit_test(test_ruler), cmocka_unit_test(test_plain_metrics),
        cmocka_unit_test(test_mean),  cmocka_unit_test(test_ratio), cmocka_unit_test(test_paired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
