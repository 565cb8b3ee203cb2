#include "report/gate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static rs_status malformed(const char *text, const char *why)
{
    return rs_fail(RS_INVALID, "--gate '%s': %s; a gate is TASK[@CONTEXT] METRIC OP VALUE, such as 'niah_single_2@8192 ruler_all >= -0.02'",
                   text, why);
}

/* Takes the last word off text[0..*n); NULL if there is none. Freed by the caller. A task's label may have blanks in it: words are taken
 * from behind. */
static char *last_word(const char *text, size_t *n)
{
    while (*n > 0 && text[*n - 1] == ' ')
        (*n)--;
    size_t end = *n;
    while (*n > 0 && text[*n - 1] != ' ')
        (*n)--;
    return end > *n ? rs_strndup(text + *n, end - *n) : NULL;
}

static bool parse_op(const char *word, rs_gate_op *op)
{
    static const char *const words[] = {">=", "<=", "==", ">", "<"};
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i]) == 0) {
            *op = (rs_gate_op)i;
            return true;
        }
    return false;
}

static bool parse_value(const char *word, double *value)
{
    char *end = NULL;
    *value = word ? strtod(word, &end) : NAN;
    return word && end != word && *end == '\0' && isfinite(*value);
}

/* "label@8192": the context behind the last @, if digits follow it. */
static bool split_context(rs_gate *gate)
{
    char *at = strrchr(gate->task, '@'), *end;
    if (at == NULL)
        return true;
    errno = 0;
    gate->context = strtoll(at + 1, &end, 10);
    if (at[1] < '0' || at[1] > '9' || *end != '\0' || errno != 0 || gate->context < 1 || at == gate->task)
        return false;
    *at = '\0';
    return true;
}

rs_status rs_gate_parse(const char *text, rs_gate *out)
{
    size_t n = strlen(text);
    *out = (rs_gate){.text = text};
    char *value = last_word(text, &n), *op = last_word(text, &n);
    out->metric = last_word(text, &n);
    while (n > 0 && text[n - 1] == ' ')
        n--;
    size_t from = strspn(text, " ");
    out->task = rs_strndup(text + (from < n ? from : n), from < n ? n - from : 0);
    rs_status status = RS_OK;
    if (!parse_value(value, &out->value))
        status = malformed(text, "the last word is not a number");
    else if (!parse_op(op, &out->op))
        status = malformed(text, "the operator is not one of >=, <=, ==, >, <");
    else if (out->metric == NULL || out->task[0] == '\0')
        status = malformed(text, "task or metric is missing");
    else if (!split_context(out))
        status = malformed(text, "what follows @ is not a context");
    free(value);
    free(op);
    if (status != RS_OK)
        rs_gate_free(out);
    return status;
}

void rs_gate_free(rs_gate *gate)
{
    free(gate->task);
    free(gate->metric);
    *gate = (rs_gate){0};
}

bool rs_gate_matches(const rs_gate *gate, const char *task, int64_t context, const char *metric)
{
    return strcmp(gate->task, task) == 0 && strcmp(gate->metric, metric) == 0 && (gate->context == 0 || gate->context == context);
}

bool rs_gate_holds(const rs_gate *gate, double difference)
{
    switch (gate->op) {
    case RS_GATE_GE:
        return difference >= gate->value;
    case RS_GATE_LE:
        return difference <= gate->value;
    case RS_GATE_EQ:
        return difference == gate->value;
    case RS_GATE_GT:
        return difference > gate->value;
    default:
        return difference < gate->value;
    }
}
