/* Nodes, their lookup, the form of every message, and --set. */
#include "config/yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

rs_node *rs_node_new(rs_node_kind kind, rs_place place)
{
    rs_node *node = rs_alloc(1, sizeof *node);
    node->kind = kind;
    node->place = place;
    return node;
}

rs_node *rs_node_scalar(const char *text, bool plain, rs_place place)
{
    rs_node *node = rs_node_new(RS_NODE_SCALAR, place);
    node->text = rs_strdup(text);
    node->plain = plain;
    return node;
}

void rs_node_free(rs_node *node)
{
    if (node == NULL)
        return;
    for (int i = 0; i < node->n; i++) {
        rs_node_free(node->items[i]);
        if (node->keys)
            rs_node_free(node->keys[i]);
    }
    free(node->items);
    free(node->keys);
    free(node->text);
    free(node);
}

void rs_node_add(rs_node *parent, rs_node *key, rs_node *item)
{
    if (parent->n == parent->cap) {
        parent->cap = parent->cap ? 2 * parent->cap : 4;
        parent->items = rs_realloc(parent->items, (size_t)parent->cap, sizeof *parent->items);
        if (parent->kind == RS_NODE_MAP)
            parent->keys = rs_realloc(parent->keys, (size_t)parent->cap, sizeof *parent->keys);
    }
    if (parent->kind == RS_NODE_MAP)
        parent->keys[parent->n] = key;
    parent->items[parent->n++] = item;
}

int rs_node_index(const rs_node *map, const char *key)
{
    if (map == NULL || map->kind != RS_NODE_MAP)
        return -1;
    for (int i = 0; i < map->n; i++)
        if (strcmp(map->keys[i]->text, key) == 0)
            return i;
    return -1;
}

const rs_node *rs_node_get(const rs_node *map, const char *key)
{
    int i = rs_node_index(map, key);
    return i < 0 ? NULL : map->items[i];
}

const char *rs_node_kind_text(const rs_node *node)
{
    return node->kind == RS_NODE_MAP ? "a map" : node->kind == RS_NODE_LIST ? "a list" : "";
}

rs_shown rs_show(const char *text)
{
    rs_shown shown;
    enum { KEEP = sizeof shown.text - 4 };
    size_t n = 0;
    for (; text[n] != '\0' && n < KEEP; n++)
        shown.text[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7F ? ' ' : text[n];
    if (text[n] != '\0') {
        n = rs_utf8_valid_prefix(shown.text, n);
        memcpy(shown.text + n, "...", 3);
        n += 3;
    }
    shown.text[n] = '\0';
    return shown;
}

rs_status rs_yaml_fail_text(const rs_yaml *tree, rs_place place, const char *what)
{
    if (place.set)
        return rs_fail(RS_INVALID, "%s: %s", rs_show(place.set).text, what);
    if (place.line == 0)
        return rs_fail(RS_INVALID, "%s: %s", tree->path, what);
    return rs_fail(RS_INVALID, "%s:%d:%d: %s", tree->path, place.line, place.column, what);
}

rs_status rs_yaml_fail(const rs_yaml *tree, rs_place place, const char *format, ...)
{
    char what[1600];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rs_yaml_fail_text(tree, place, what);
}

rs_status rs_yaml_open(const char *path, rs_yaml **out)
{
    rs_yaml *tree = *out = rs_alloc(1, sizeof *tree);
    tree->path = rs_strdup(path);
    rs_text bytes = {0};
    rs_status status = rs_file_read(path, RS_YAML_MAX_BYTES, &bytes);
    if (status == RS_OK)
        status = rs_yaml_parse(tree, bytes.data, bytes.n, NULL, &tree->root);
    rs_text_free(&bytes);
    return status;
}

void rs_yaml_close(rs_yaml *tree)
{
    if (tree == NULL)
        return;
    rs_node_free(tree->root);
    for (int i = 0; i < tree->n_origins; i++)
        free(tree->origins[i]);
    free(tree->origins);
    free(tree->path);
    free(tree);
}

/* Index that a step of a dotted key names in a list; fails where it names none. */
static rs_status list_index(const rs_yaml *tree, const rs_node *list, const char *step, rs_place place, int *index)
{
    char *end;
    long value = strtol(step, &end, 10);
    if (step[0] < '0' || step[0] > '9' || *end != '\0' || value >= list->n)
        return rs_yaml_fail(tree, place, "a list of %d is here: its elements are named 0 to %d ('%s')", list->n, list->n - 1,
                            rs_show(step).text);
    *index = (int)value;
    return RS_OK;
}

/* Finds the slot of one step below *node, made as an empty map where a map lacks it; a null (a section left empty) becomes a map. */
static rs_status descend(const rs_yaml *tree, rs_node **node, const char *step, rs_place place, rs_node ***slot)
{
    rs_node *parent = *node;
    bool is_null = parent->kind == RS_NODE_SCALAR && parent->plain &&
                   (parent->text[0] == '\0' || strcmp(parent->text, "null") == 0 || strcmp(parent->text, "~") == 0);
    if (is_null) {
        rs_node_free(parent);
        parent = *node = rs_node_new(RS_NODE_MAP, place);
    }
    int i = -1;
    if (parent->kind == RS_NODE_SCALAR)
        return rs_yaml_fail(tree, place, "'%s' is below a plain value ('%s'), which has no keys", rs_show(step).text,
                            rs_show(parent->text).text);
    if (parent->kind == RS_NODE_LIST)
        RS_TRY(list_index(tree, parent, step, place, &i));
    if (parent->kind == RS_NODE_MAP)
        i = rs_node_index(parent, step);
    if (i < 0) {
        rs_node_add(parent, rs_node_scalar(step, false, place), rs_node_new(RS_NODE_MAP, place));
        i = parent->n - 1;
    }
    *slot = &parent->items[i];
    return RS_OK;
}

static rs_status replace(rs_yaml *tree, char *key, rs_place place, rs_node *value)
{
    rs_node **slot = &tree->root;
    int depth = 0;
    for (char *step = key, *rest; step; step = rest) {
        rest = strchr(step, '.');
        if (rest)
            *rest++ = '\0';
        if (step[0] == '\0')
            return rs_yaml_fail(tree, place, "a key is names joined by single dots, like model.dtype");
        if (++depth > RS_YAML_MAX_DEPTH)
            return rs_yaml_fail(tree, place, "more than %d levels", RS_YAML_MAX_DEPTH);
        RS_TRY(descend(tree, slot, step, place, &slot));
    }
    rs_node_free(*slot);
    *slot = value;
    return RS_OK;
}

rs_status rs_yaml_set(rs_yaml *tree, const char *key, const char *value)
{
    RS_PUSH(tree->origins, tree->n_origins, tree->cap_origins, rs_format("--set %s=%s", key, value));
    rs_place place = {.set = tree->origins[tree->n_origins - 1]};
    rs_node *node = NULL;
    RS_TRY(rs_yaml_parse(tree, value, strlen(value), place.set, &node));
    if (node == NULL)
        node = rs_node_scalar("", true, place);
    if (tree->root == NULL)
        tree->root = rs_node_new(RS_NODE_MAP, place);
    char *steps = rs_strdup(key);
    rs_status status = replace(tree, steps, place, node);
    free(steps);
    if (status != RS_OK)
        rs_node_free(node);
    return status;
}
