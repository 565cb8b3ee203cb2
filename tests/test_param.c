/* Parameter tables: what setters refuse and how they say it, defaults, and the canonical text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/param.h"
#include "kernels/rope.h"
#include "kernels/softmax_policy.h"

enum { FACTOR, COUNT, FRACTION, LOWEST, HIGHEST, TRUNCATE, LABEL, OP, WEIGHTS, FILES, BAND, FREE, N_SPECS };

static const rs_param_spec specs[] = {
    [FACTOR] = {.name = "factor", .kind = RS_PARAM_NUMBER, .min_open = true},
    [COUNT] = {.name = "count", .kind = RS_PARAM_INT, .min = 1},
    [FRACTION] = {.name = "fraction", .kind = RS_PARAM_NUMBER, .max = 1},
    [LOWEST] = {.name = "lowest", .kind = RS_PARAM_NUMBER, .max = 1, .min_open = true},
    [HIGHEST] = {.name = "highest", .kind = RS_PARAM_NUMBER, .min = -INFINITY, .max = 5},
    [TRUNCATE] = {.name = "truncate", .kind = RS_PARAM_BOOL},
    [LABEL] = {.name = "label", .kind = RS_PARAM_STRING},
    [OP] = {.name = "op", .kind = RS_PARAM_CHOICE, .choices = "freeze|remove|slow|gain"},
    [WEIGHTS] = {.name = "weights", .kind = RS_PARAM_VECTOR, .min_open = true},
    [FILES] = {.name = "files", .kind = RS_PARAM_STRINGS},
    [BAND] = {.name = "band", .kind = RS_PARAM_BAND},
    [FREE] = {.name = "free", .kind = RS_PARAM_NUMBER},
    [N_SPECS] = {.name = NULL},
};

static int set_up(void **state)
{
    static rs_params params;
    rs_params_init(&params, specs);
    rs_error_clear();
    *state = &params;
    return 0;
}

static int tear_down(void **state)
{
    rs_params_free(*state);
    rs_error_clear();
    return 0;
}

static void check_refused(rs_status status, const char *message)
{
    assert_int_equal(status, RS_INVALID);
    assert_string_equal(rs_error_message(), message);
    rs_error_clear();
}

static void check_text(const rs_params *params, const char *want)
{
    rs_text text = {0};
    rs_text_puts(&text, "");
    rs_params_write(params, false, &text);
    assert_string_equal(text.data, want);
    rs_text_free(&text);
}

static void finding(void **state)
{
    (void)state;
    assert_int_equal(rs_param_count(specs), N_SPECS);
    assert_int_equal(rs_param_find(specs, "op"), OP);
    assert_int_equal(rs_param_find(specs, "ops"), -1);
}

static void numbers_are_checked(void **state)
{
    rs_params *p = *state;
    check_refused(rs_param_set_number(p, FACTOR, -1), "must be above 0, not -1");
    check_refused(rs_param_set_number(p, FACTOR, 0), "must be above 0, not 0");
    check_refused(rs_param_set_number(p, FACTOR, INFINITY), "must be finite, not inf");
    check_refused(rs_param_set_number(p, FRACTION, 1.5), "must be between 0 and 1, not 1.5");
    check_refused(rs_param_set_number(p, LOWEST, 0), "must be above 0 and at most 1, not 0");
    check_refused(rs_param_set_number(p, HIGHEST, 5.25), "must be at most 5, not 5.25");
    check_refused(rs_param_set_number(p, COUNT, 0), "must be at least 1, not 0");
    check_refused(rs_param_set_number(p, COUNT, 2.5), "must be a whole number, not 2.5");
    check_refused(rs_param_set_number(p, COUNT, 1e16), "must be at most 2^53 in size, not 1e+16");
    check_refused(rs_param_set_number(p, TRUNCATE, 1), "must be true or false, not 1");
    check_refused(rs_param_set_number(p, LABEL, 10), "must be text, not 10");
    check_refused(rs_param_set_number(p, WEIGHTS, 1), "must be a list of numbers, not 1");
    assert_false(rs_param_is_set(p, "factor"));
    assert_int_equal(rs_param_set_number(p, FRACTION, 0), RS_OK);
    assert_int_equal(rs_param_set_number(p, FRACTION, 1), RS_OK);
    assert_int_equal(rs_param_set_number(p, HIGHEST, -1e300), RS_OK);
    assert_int_equal(rs_param_set_number(p, FREE, -3.5), RS_OK);
    assert_int_equal(rs_param_set_number(p, COUNT, 9007199254740992.0), RS_OK);
    assert_true(rs_param_number(p, "count") == 9007199254740992.0);
    check_refused(rs_param_set_number(p, FREE, NAN), "must be finite, not nan");
    assert_true(rs_param_number(p, "free") == -3.5); /* as before */
}

static void texts_are_read_as_yaml_reads_them(void **state)
{
    rs_params *p = *state;
    static const char *const good[] = {"4", "4.", "+4", "4.0", "4e0", "40e-1", "0.4E+1", "4.000"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(rs_param_set_string(p, FREE, good[i]), RS_OK);
        check_text(p, "\"free\": 4");
    }
    static const char *const bad[] = {"", "-", ".", "e5", "4e", "4 ", " 4", "0x10", "inf", "nan", "4e+", "1_000", "4,5", "four"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char want[64];
        snprintf(want, sizeof want, "must be a number, not '%s'", bad[i]);
        check_refused(rs_param_set_string(p, FREE, bad[i]), want);
    }
    check_refused(rs_param_set_string(p, FREE, "-.inf"), "must be finite, not -inf");
    check_refused(rs_param_set_string(p, COUNT, "many"), "must be a whole number, not 'many'");
    check_refused(rs_param_set_string(p, TRUNCATE, "yes"), "must be true or false, not 'yes'");
    check_refused(rs_param_set_string(p, WEIGHTS, "1"), "must be a list of numbers, not '1'");
    check_refused(rs_param_set_string(p, BAND, "all"), "must be {wavelength: [low, high]} or {pairs: [first, last]}, not 'all'");
    assert_int_equal(rs_param_set_string(p, TRUNCATE, "True"), RS_OK);
    assert_true(rs_param_number(p, "truncate") == 1);
    assert_int_equal(rs_param_set_string(p, TRUNCATE, "false"), RS_OK);
    assert_true(rs_param_number(p, "truncate") == 0);
}

static void choices_name_the_nearest(void **state)
{
    rs_params *p = *state;
    check_refused(rs_param_set_string(p, OP, "freze"), "must be one of freeze, remove, slow, gain, not 'freze' (nearest: 'freeze')");
    check_refused(rs_param_set_string(p, OP, "Gain"), "must be one of freeze, remove, slow, gain, not 'Gain' (nearest: 'gain')");
    check_refused(rs_param_set_string(p, OP, "zzzzzzzzzz"), "must be one of freeze, remove, slow, gain, not 'zzzzzzzzzz'");
    assert_int_equal(rs_param_set_string(p, OP, "slow"), RS_OK);
    assert_string_equal(rs_param_string(p, "op"), "slow");
}

static void lists_are_checked(void **state)
{
    rs_params *p = *state;
    const double good[] = {1, 2.5}, bad[] = {1, 2, -3};
    char *names[] = {"a.txt", "b c"};
    check_refused(rs_param_set_vector(p, WEIGHTS, bad, 3), "number 3 of 3 must be above 0, not -3");
    check_refused(rs_param_set_vector(p, WEIGHTS, bad, 0), "must have at least one number, not an empty list");
    check_refused(rs_param_set_vector(p, FACTOR, good, 2), "must be a number, not a list of numbers");
    check_refused(rs_param_set_strings(p, LABEL, names, 2), "must be text, not a list of texts");
    assert_int_equal(rs_param_set_vector(p, WEIGHTS, good, 2), RS_OK);
    assert_int_equal(rs_param_set_strings(p, FILES, names, 2), RS_OK);
    check_text(p, "\"weights\": [1, 2.5], \"files\": [\"a.txt\", \"b c\"]");
    assert_int_equal(rs_param_set_string(p, FILES, "text/*.txt"), RS_OK);
    check_text(p, "\"weights\": [1, 2.5], \"files\": [\"text/*.txt\"]");
}

static void bands_are_checked(void **state)
{
    rs_params *p = *state;
    check_refused(rs_param_set_band(p, BAND, "pair", 0, 1),
                  "must be {wavelength: [low, high]} or {pairs: [first, last]}, not 'pair' (nearest: 'pairs')");
    check_refused(rs_param_set_band(p, BAND, "pairs", 0.5, 1), "pairs must be two whole numbers, not [0.5, 1]");
    check_refused(rs_param_set_band(p, BAND, "pairs", 0, INFINITY), "pairs must be two whole numbers, not [0, inf]");
    check_refused(rs_param_set_band(p, BAND, "pairs", 3, 1), "pairs must be two numbers from 0 on, the smaller first, not [3, 1]");
    check_refused(rs_param_set_band(p, BAND, "wavelength", -1, 1),
                  "wavelength must be two numbers from 0 on, the smaller first, not [-1, 1]");
    assert_int_equal(rs_param_set_band(p, BAND, "wavelength", NAN, 1), RS_INVALID);
    rs_error_clear();
    check_refused(rs_param_set_band(p, OP, "pairs", 0, 1), "must be one of freeze, remove, slow, gain, not a map");
    assert_int_equal(rs_param_set_band(p, BAND, "pairs", 0, 3), RS_OK);
    check_text(p, "\"band\": {\"pairs\": [0, 3]}");
    assert_int_equal(rs_param_set_band(p, BAND, "wavelength", 8192, INFINITY), RS_OK);
    check_text(p, "\"band\": {\"wavelength\": [8192, \".inf\"]}");
    assert_string_equal(rs_param_string(p, "band"), "wavelength");
}

static void numbers_have_one_text(void **state)
{
    rs_params *p = *state;
    static const struct {
        double number;
        const char *text;
    } cases[] = {{10, "\"free\": 10"},         {-0.0, "\"free\": 0"},           {0.1, "\"free\": 0.1"},
                 {131072, "\"free\": 131072"}, {500000, "\"free\": 500000"},    {1e20, "\"free\": 1.0e+20"},
                 {1e-7, "\"free\": 1.0e-07"},  {1.25e-7, "\"free\": 1.25e-07"}, {0.1 + 0.2, "\"free\": 0.30000000000000004"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(rs_param_set_number(p, FREE, cases[i].number), RS_OK);
        check_text(p, cases[i].text);
    }
}

static void strings_are_quoted(void **state)
{
    rs_params *p = *state;
    static const struct {
        const char *string, *text;
    } cases[] = {{"niah_single_2", "\"label\": \"niah_single_2\""},
                 {"", "\"label\": \"\""},
                 {"true", "\"label\": \"true\""},
                 {"4", "\"label\": \"4\""},
                 {"say \"x\"\n", "\"label\": \"say \\\"x\\\"\\n\""},
                 {"\xC3\xA9", "\"label\": \"\xC3\xA9\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(rs_param_set_string(p, LABEL, cases[i].string), RS_OK);
        check_text(p, cases[i].text);
    }
}

/* --- defaults --- */

static const rs_param_spec defaulted[] = {
    {.name = "theta", .kind = RS_PARAM_NUMBER, .min = 1, .min_open = true, .fallback = "model.rope_theta"},
    {.name = "length", .kind = RS_PARAM_INT, .min = 2, .fallback = "model.max_position_embeddings"},
    {.name = "beta", .kind = RS_PARAM_NUMBER, .fallback = "32"},
    {.name = "truncate", .kind = RS_PARAM_BOOL, .fallback = "true"},
    {.name = "op", .kind = RS_PARAM_CHOICE, .choices = "a|b", .fallback = "b"},
    {.name = "prefix", .kind = RS_PARAM_STRING, .fallback = "\"\""},
    {.name = "weights", .kind = RS_PARAM_VECTOR, .fallback = "[1, -2.5,3e2]"},
    {.name = "files", .kind = RS_PARAM_STRINGS, .fallback = "[ a , 'b c' ]"},
    {.name = "one", .kind = RS_PARAM_STRINGS, .fallback = "x"},
    {.name = "none", .kind = RS_PARAM_STRINGS, .fallback = "[]"},
    {.name = "absent", .kind = RS_PARAM_NUMBER},
    {.name = NULL},
};

static void defaults_fill_what_is_unset(void **state)
{
    (void)state;
    const rs_model_facts facts = {.rope_theta = 5e5, .max_position_embeddings = 8192};
    rs_params p;
    rs_params_init(&p, defaulted);
    assert_int_equal(rs_param_set_string(&p, rs_param_find(defaulted, "beta"), "16"), RS_OK);
    assert_int_equal(rs_params_fill(&p, &facts), RS_OK);
    check_text(&p, "\"theta\": 500000, \"length\": 8192, \"beta\": 16, \"truncate\": true, \"op\": \"b\", \"prefix\": \"\", \"weights\": "
                   "[1, -2.5, 300], "
                   "\"files\": [\"a\", \"b c\"], \"one\": [\"x\"], \"none\": []");
    assert_true(rs_param_get(&p, "beta")->given);
    assert_true(rs_param_get(&p, "theta")->set && !rs_param_get(&p, "theta")->given);
    assert_false(rs_param_is_set(&p, "absent"));
    rs_params_free(&p);
}

static void facts_may_be_absent_or_bad(void **state)
{
    (void)state;
    const rs_model_facts facts = {.rope_theta = 10000, .max_position_embeddings = 0};
    rs_params p;
    rs_params_init(&p, defaulted);
    assert_int_equal(rs_params_fill(&p, NULL), RS_OK);
    assert_false(rs_param_is_set(&p, "theta"));
    check_refused(rs_params_fill(&p, &facts), "length: the model's max_position_embeddings must be at least 2, not 0");
    rs_params_free(&p);
}

static void required_keys_are_named(void **state)
{
    (void)state;
    static const rs_param_spec required[] = {
        {.name = "factor", .kind = RS_PARAM_NUMBER, .fallback = "required", .help = "by how much"},
        {.name = NULL},
    };
    rs_params p;
    rs_params_init(&p, required);
    check_refused(rs_params_fill(&p, NULL), "'factor' is missing: by how much");
    rs_params_free(&p);
}

static void a_bad_default_is_not_taken(void **state)
{
    (void)state;
    static const rs_param_spec bad[] = {{.name = "weights", .kind = RS_PARAM_VECTOR, .fallback = "[1, x]"}, {.name = NULL}};
    rs_params p;
    rs_params_init(&p, bad);
    check_refused(rs_params_fill(&p, NULL), "must be a list of numbers, not 'x'");
    assert_false(rs_param_is_set(&p, "weights"));
    rs_params_free(&p);
}

/* Every default of every table is valid: nothing but a required key may stop a fill. */
static void check_table(const char *name, const rs_param_spec *table)
{
    const rs_model_facts facts = {.rope_theta = 10000, .max_position_embeddings = 4096};
    rs_params p;
    rs_params_init(&p, table);
    for (size_t i = 0; table[i].name; i++) {
        assert_non_null(table[i].help);
        p.values[i].set = table[i].fallback && strcmp(table[i].fallback, "required") == 0; /* as if it were given */
    }
    if (rs_params_fill(&p, &facts) != RS_OK)
        fail_msg("%s: %s", name, rs_error_message());
    rs_params_free(&p);
}

static void defaults_of_all_tables_are_valid(void **state)
{
    (void)state;
    for (const rs_rope_variant *const *v = rs_rope_variants; *v; v++)
        check_table((*v)->name, (*v)->params);
    for (const rs_softmax_policy *const *s = rs_softmax_policies; *s; s++)
        check_table((*s)->name, (*s)->params);
}

#define WITH_PARAMS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finding),
        WITH_PARAMS(numbers_are_checked),
        WITH_PARAMS(texts_are_read_as_yaml_reads_them),
        WITH_PARAMS(choices_name_the_nearest),
        WITH_PARAMS(lists_are_checked),
        WITH_PARAMS(bands_are_checked),
        WITH_PARAMS(numbers_have_one_text),
        WITH_PARAMS(strings_are_quoted),
        cmocka_unit_test(defaults_fill_what_is_unset),
        cmocka_unit_test(facts_may_be_absent_or_bad),
        cmocka_unit_test(required_keys_are_named),
        cmocka_unit_test(a_bad_default_is_not_taken),
        cmocka_unit_test(defaults_of_all_tables_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
