/* Entries as tests write them: "factor=4 band=pairs:[0,3] short_factor=[1,2]" set into a parameter table. */
#ifndef RS_TESTS_ENTRY_H
#define RS_TESTS_ENTRY_H

enum { RS_TESTS_ENTRY_MAX = 300 };

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/param.h"

/* The numbers between the brackets of "[1,2]". */
static inline size_t entry_numbers(const char *text, double *out, size_t max)
{
    size_t n = 0;
    const char *p = strchr(text, '[');
    assert_non_null(p);
    for (p++; *p && *p != ']'; p += *p == ',') {
        char *end;
        assert_true(n < max);
        out[n++] = strtod(p, &end);
        assert_ptr_not_equal(end, p);
        p = end;
    }
    return n;
}

static inline rs_status entry_set(rs_params *params, const char *key, const char *value)
{
    double numbers[RS_TESTS_ENTRY_MAX];
    int index = rs_param_find(params->specs, key);
    assert_true(index >= 0);
    switch (params->specs[index].kind) {
    case RS_PARAM_VECTOR:
        return rs_param_set_vector(params, index, numbers, entry_numbers(value, numbers, RS_TESTS_ENTRY_MAX));
    case RS_PARAM_BAND: {
        char which[16];
        sscanf(value, "%15[a-z]", which);
        assert_int_equal(entry_numbers(value, numbers, 2), 2);
        return rs_param_set_band(params, index, which, numbers[0], numbers[1]);
    }
    default:
        return rs_param_set_string(params, index, value);
    }
}

/* Initialises, sets and fills. params is to be freed whatever the outcome. */
static inline rs_status entry_params(rs_params *params, const rs_param_spec *specs, const char *text, const rs_model_facts *facts)
{
    char *copy = rs_strdup(text), *rest = NULL;
    rs_status status = RS_OK;
    rs_params_init(params, specs);
    for (char *word = strtok_r(copy, " ", &rest); word && status == RS_OK; word = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(word, '=');
        assert_non_null(equals);
        *equals = '\0';
        status = entry_set(params, word, equals + 1);
    }
    free(copy);
    return status == RS_OK ? rs_params_fill(params, facts) : status;
}

#endif
