/* sweep.context: numbers, lists and llama-bench's ranges. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/internal.h"

typedef struct contexts {
    const rs_yaml *tree;
    int64_t *values;
    const rs_node **nodes; /* where each came from */
    int n, cap;
} contexts;

static rs_status add(contexts *c, const rs_node *node, int64_t value)
{
    if (value < RS_MIN_CONTEXT || value > RS_MAX_CONTEXT)
        return rs_yaml_fail(c->tree, node->place, "context must be from %d to %d, not %lld ('%s')", RS_MIN_CONTEXT, RS_MAX_CONTEXT,
                            (long long)value, rs_show(node->text).text);
    if (c->n == RS_MAX_POINTS)
        return rs_yaml_fail(c->tree, node->place, "more than %d contexts ('%s')", RS_MAX_POINTS, rs_show(node->text).text);
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 16;
        c->values = rs_realloc(c->values, (size_t)c->cap, sizeof *c->values);
        c->nodes = rs_realloc(c->nodes, (size_t)c->cap, sizeof *c->nodes);
    }
    c->values[c->n] = value;
    c->nodes[c->n++] = node;
    return RS_OK;
}

/* Reads digits at *p. More of them than any context has end the number, and with it the form of a range. */
static bool take_number(const char **p, int64_t *out)
{
    *out = 0;
    int digits = 0;
    for (; **p >= '0' && **p <= '9' && digits < 15; (*p)++, digits++)
        *out = *out * 10 + (**p - '0');
    return digits > 0;
}

/* "N", "FIRST-LAST*TIMES" or "FIRST-LAST+STEP" (without either: a step of 1, as in llama-bench). */
static rs_status add_range(contexts *c, const rs_node *node, const char *text)
{
    const char *p = text;
    int64_t first, last, by = 1;
    char op = '+';
    bool good = take_number(&p, &first);
    if (good && *p == '\0')
        return add(c, node, first);
    good = good && *p++ == '-' && take_number(&p, &last);
    if (good && (*p == '+' || *p == '*')) {
        op = *p++;
        good = take_number(&p, &by);
    }
    if (!good || *p != '\0')
        return rs_yaml_fail(c->tree, node->place, "context must be a whole number or a range like 4096-131072*2 or 1024-8192+1024 ('%s')",
                            rs_show(text).text);
    if (first > last)
        return rs_yaml_fail(c->tree, node->place, "a range that ends before it begins ('%s')", rs_show(text).text);
    if (by < (op == '*' ? 2 : 1))
        return rs_yaml_fail(c->tree, node->place, "a range without end: its step must be %s ('%s')",
                            op == '*' ? "at least *2" : "at least +1", rs_show(text).text);
    for (int64_t value = first; value <= last; value = op == '*' ? value * by : value + by) {
        RS_TRY(add(c, node, value));
        if (op == '*' && value > last / by)
            break;
    }
    return RS_OK;
}

static rs_status add_scalar(contexts *c, const rs_node *node)
{
    double number;
    rs_scalar kind = rs_scalar_kind(node, &number);
    if (kind != RS_SCALAR_STRING) {
        int64_t value;
        RS_TRY(rs_convert_int(c->tree, node, "context", RS_MIN_CONTEXT, RS_MAX_CONTEXT, &value));
        return add(c, node, value);
    }
    char *copy = rs_strdup(node->text), *rest = copy;
    rs_status status = RS_OK;
    while (status == RS_OK && rest) {
        char *part = strsep(&rest, ",");
        status = add_range(c, node, part + strspn(part, " "));
    }
    free(copy);
    return status;
}

typedef struct numbered {
    int64_t value;
    int index;
} numbered;

static int by_value(const void *a, const void *b)
{
    const numbered *x = a, *y = b;
    return x->value != y->value ? (x->value > y->value) - (x->value < y->value) : (x->index > y->index) - (x->index < y->index);
}

static rs_status check_distinct(const contexts *c)
{
    numbered *sorted = rs_alloc((size_t)c->n, sizeof *sorted);
    for (int i = 0; i < c->n; i++)
        sorted[i] = (numbered){c->values[i], i};
    qsort(sorted, (size_t)c->n, sizeof *sorted, by_value);
    int again = c->n;
    for (int i = 1; i < c->n; i++)
        if (sorted[i].value == sorted[i - 1].value && sorted[i].index < again)
            again = sorted[i].index;
    free(sorted);
    if (again == c->n)
        return RS_OK;
    return rs_yaml_fail(c->tree, c->nodes[again]->place, "context %lld stands twice ('%s')", (long long)c->values[again],
                        rs_show(c->nodes[again]->text).text);
}

rs_status rs_read_contexts(rs_config *config, const rs_node *node)
{
    contexts c = {.tree = config->yaml};
    rs_status status = RS_OK;
    if (node->kind == RS_NODE_MAP)
        return rs_yaml_fail(c.tree, node->place, "context must be a number, a list or a range, not a map");
    if (node->kind == RS_NODE_LIST && node->n == 0)
        return rs_yaml_fail(c.tree, node->place, "context is an empty list ('[]')");
    for (int i = 0; i < (node->kind == RS_NODE_LIST ? node->n : 1) && status == RS_OK; i++) {
        const rs_node *item = node->kind == RS_NODE_LIST ? node->items[i] : node;
        if (item->kind == RS_NODE_SCALAR)
            status = add_scalar(&c, item);
        else
            status = rs_yaml_fail(c.tree, item->place, "context must be a whole number or a range, not %s", rs_node_kind_text(item));
    }
    if (status == RS_OK)
        status = check_distinct(&c);
    free(c.nodes);
    config->contexts = c.values;
    config->n_contexts = c.n;
    return status;
}
