/* A YAML document as a tree that remembers where each node stood: what config reads, and --set edits. */
#ifndef RS_CONFIG_YAML_TREE_H
#define RS_CONFIG_YAML_TREE_H

#include <stdbool.h>

#include "base/status.h"
#include "config/config.h"

enum {
    RS_YAML_MAX_BYTES = 16 << 20,
    RS_YAML_MAX_NODES = 100000, /* aliases expanded: a bomb of nested aliases stops here */
    RS_YAML_MAX_DEPTH = 64,     /* every walk of the tree recurses */
    RS_YAML_MAX_KEYS = 1000,    /* of one map, and anchors of one file: both are searched linearly */
};

typedef enum rs_node_kind { RS_NODE_SCALAR, RS_NODE_LIST, RS_NODE_MAP } rs_node_kind;

typedef struct rs_node {
    rs_node_kind kind;
    rs_place place;
    char *text;             /* SCALAR */
    bool plain;             /* SCALAR: without quotes, so it may be a number, a bool or null */
    struct rs_node **keys;  /* MAP: n scalars */
    struct rs_node **items; /* MAP, LIST: n */
    int n, cap;
} rs_node;

typedef struct rs_yaml {
    char *path;    /* as the user gave it; opens every message */
    rs_node *root; /* NULL: an empty file */
    int n_nodes;
    char **origins; /* "--set key=value", which places point to */
    int n_origins, cap_origins;
} rs_yaml;

/* Reads a file. *out is set even on failure (for its path), and closed by the caller. */
rs_status rs_yaml_open(const char *path, rs_yaml **out);
void rs_yaml_close(rs_yaml *tree);
/* Parses one document; every node's place is in the file, or is `origin` (--set). Empty text gives *out NULL. yaml_parse.c */
rs_status rs_yaml_parse(rs_yaml *tree, const char *bytes, size_t n, const char *origin, rs_node **out);
/* Replaces or adds the value at a dotted key. */
rs_status rs_yaml_set(rs_yaml *tree, const char *key, const char *value);

/* RS_INVALID with the place in front. */
rs_status rs_yaml_fail(const rs_yaml *tree, rs_place place, const char *format, ...) __attribute__((format(printf, 3, 4)));
rs_status rs_yaml_fail_text(const rs_yaml *tree, rs_place place, const char *what);

rs_node *rs_node_new(rs_node_kind kind, rs_place place);
rs_node *rs_node_scalar(const char *text, bool plain, rs_place place);
void rs_node_free(rs_node *node);
/* Appends an item, with its key (NULL in a list); both are owned from here on. */
void rs_node_add(rs_node *parent, rs_node *key, rs_node *item);
/* Index of a key in a map, or -1. */
int rs_node_index(const rs_node *map, const char *key);
/* Value of a key, or NULL; also NULL where `map` is NULL or no map. */
const rs_node *rs_node_get(const rs_node *map, const char *key);
/* "a map", "a list", or "" for a scalar. */
const char *rs_node_kind_text(const rs_node *node);

/* Text of the user's, made fit for one line of a message: control characters and excess length replaced. */
typedef struct rs_shown {
    char text[100];
} rs_shown;
rs_shown rs_show(const char *text);

#endif
