/* Bytes to a tree, by libyaml's parser events: the only file that knows libyaml. What is refused here is refused in every place of a
 * config: duplicate and merge keys, tags that are not core, several documents, recursion, bombs. */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/memory.h"
#include "config/yaml_tree.h"

typedef struct anchor {
    char *name;
    const rs_node *node; /* NULL while it is being read: an alias to it would be recursion */
} anchor;

typedef struct builder {
    rs_yaml *tree;
    const char *bytes;
    size_t n;
    const char *origin;
    yaml_parser_t parser;
    anchor *anchors;
    int n_anchors, cap_anchors;
} builder;

static rs_place place_of(const builder *b, yaml_mark_t mark)
{
    if (b->origin)
        return (rs_place){.set = b->origin};
    return (rs_place){.line = (int)mark.line + 1, .column = (int)mark.column + 1};
}

/* Place of a byte: libyaml's own errors of encoding have no mark. */
static rs_place place_of_byte(const builder *b, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < b->n; i++) {
        unsigned char c = (unsigned char)b->bytes[i];
        if (c == '\n' || (c == '\r' && !(i + 1 < b->n && b->bytes[i + 1] == '\n'))) {
            mark.line++;
            mark.column = 0;
        } else if ((c & 0xC0) != 0x80) {
            mark.column++;
        }
    }
    return place_of(b, mark);
}

static size_t offset_of(const builder *b, yaml_mark_t mark)
{
    size_t i = 0;
    for (size_t line = 0; line < mark.line && i < b->n; i++)
        line += b->bytes[i] == '\n' || (b->bytes[i] == '\r' && !(i + 1 < b->n && b->bytes[i + 1] == '\n'));
    for (size_t column = 0; column < mark.column && i < b->n && b->bytes[i] != '\n'; column++)
        while (++i < b->n && ((unsigned char)b->bytes[i] & 0xC0) == 0x80) {
        }
    return i;
}

/* The rest of the line from a byte on. */
static rs_shown line_from(const builder *b, size_t offset)
{
    size_t end = offset;
    while (end < b->n && b->bytes[end] != '\n' && b->bytes[end] != '\r')
        end++;
    char *copy = rs_strndup(b->bytes + offset, end - offset);
    rs_shown shown = rs_show(copy);
    free(copy);
    return shown;
}

static rs_status fail_libyaml(const builder *b)
{
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return rs_fail(RS_NO_MEMORY, "%s: no memory to parse it", b->tree->path);
    if (p->error == YAML_READER_ERROR)
        return rs_yaml_fail(b->tree, place_of_byte(b, p->problem_offset), "not valid YAML: %s (U+%04X)", p->problem,
                            (unsigned)(p->problem_value > 0 ? p->problem_value : 0));
    rs_place place = place_of(b, p->problem_mark);
    size_t offset = offset_of(b, p->problem_mark);
    rs_shown text = line_from(b, offset);
    if (offset < b->n && b->bytes[offset] == '\t')
        return rs_yaml_fail(b->tree, place, "a tab: YAML is indented with spaces ('%s')", text.text);
    if (p->context && strstr(p->context, "an alias"))
        return rs_yaml_fail(b->tree, place, "not valid YAML: a text that begins with * needs quotes ('*%s')", text.text);
    if (p->context)
        return rs_yaml_fail(b->tree, place, "not valid YAML: %s, %s ('%s')", p->context, p->problem, text.text);
    return rs_yaml_fail(b->tree, place, "not valid YAML: %s ('%s')", p->problem, text.text);
}

static rs_status next_event(builder *b, yaml_event_t *event)
{
    if (!yaml_parser_parse(&b->parser, event))
        return fail_libyaml(b);
    return RS_OK;
}

static rs_status count_node(builder *b, rs_place place, int depth)
{
    if (++b->tree->n_nodes > RS_YAML_MAX_NODES)
        return rs_yaml_fail(b->tree, place, "more than %d values (aliases count each time they are used)", RS_YAML_MAX_NODES);
    if (depth > RS_YAML_MAX_DEPTH)
        return rs_yaml_fail(b->tree, place, "nested deeper than %d levels", RS_YAML_MAX_DEPTH);
    return RS_OK;
}

/* A copy of an anchored node. Its root stands where the alias stands, its inside where it was written. */
static rs_status copy_node(builder *b, const rs_node *from, rs_place place, int depth, rs_node **out)
{
    RS_TRY(count_node(b, place, depth));
    rs_node *node = *out = rs_node_new(from->kind, place);
    node->text = from->text ? rs_strdup(from->text) : NULL;
    node->plain = from->plain;
    for (int i = 0; i < from->n; i++) {
        rs_node *item = NULL;
        rs_status status = copy_node(b, from->items[i], from->items[i]->place, depth + 1, &item);
        if (status != RS_OK) {
            rs_node_free(item);
            return status;
        }
        rs_node_add(node, from->keys ? rs_node_scalar(from->keys[i]->text, from->keys[i]->plain, from->keys[i]->place) : NULL, item);
    }
    return RS_OK;
}

static rs_status use_alias(builder *b, const char *name, rs_place place, int depth, rs_node **out)
{
    for (int i = b->n_anchors - 1; i >= 0; i--) {
        if (strcmp(b->anchors[i].name, name) != 0)
            continue;
        if (b->anchors[i].node == NULL)
            return rs_yaml_fail(b->tree, place, "an alias inside its own anchor ('*%s')", rs_show(name).text);
        return copy_node(b, b->anchors[i].node, place, depth, out);
    }
    return rs_yaml_fail(b->tree, place, "no anchor of this name stands before ('*%s'); a text that begins with * needs quotes",
                        rs_show(name).text);
}

/* Registers an anchor before its node is read. *index is -1 for a node without one. */
static rs_status open_anchor(builder *b, const yaml_char_t *name, rs_place place, int *index)
{
    *index = -1;
    if (name == NULL)
        return RS_OK;
    if (b->n_anchors == RS_YAML_MAX_KEYS)
        return rs_yaml_fail(b->tree, place, "more than %d anchors ('&%s')", RS_YAML_MAX_KEYS, rs_show((const char *)name).text);
    *index = b->n_anchors;
    anchor opened = {.name = rs_strdup((const char *)name)};
    RS_PUSH(b->anchors, b->n_anchors, b->cap_anchors, opened);
    return RS_OK;
}

/* `!!str` and its like say nothing new but for scalars, where str means "as if quoted" and the others "as if not". */
static rs_status apply_tag(const builder *b, const yaml_char_t *tag, rs_node *node)
{
    static const struct {
        const char *tag;
        rs_node_kind kind;
        bool plain;
    } core[] = {{"str", RS_NODE_SCALAR, false}, {"int", RS_NODE_SCALAR, true},  {"float", RS_NODE_SCALAR, true},
                {"bool", RS_NODE_SCALAR, true}, {"null", RS_NODE_SCALAR, true}, {"seq", RS_NODE_LIST, false},
                {"map", RS_NODE_MAP, false}};
    if (tag == NULL)
        return RS_OK;
    const char *text = (const char *)tag, *prefix = "tag:yaml.org,2002:";
    for (size_t i = 0; i < sizeof core / sizeof *core; i++) {
        if (strncmp(text, prefix, strlen(prefix)) != 0 || strcmp(text + strlen(prefix), core[i].tag) != 0 || node->kind != core[i].kind)
            continue;
        node->plain = core[i].plain;
        return RS_OK;
    }
    return rs_yaml_fail(b->tree, node->place, "a tag that does not belong here ('%s')", rs_show(text).text);
}

static rs_status build_node(builder *b, yaml_event_t *event, int depth, rs_node **out);

static rs_status read_node(builder *b, int depth, rs_node **out)
{
    yaml_event_t event;
    RS_TRY(next_event(b, &event));
    rs_status status = build_node(b, &event, depth, out);
    yaml_event_delete(&event);
    return status;
}

static rs_status check_key(const builder *b, const rs_node *map, const rs_node *key)
{
    if (key->kind != RS_NODE_SCALAR)
        return rs_yaml_fail(b->tree, key->place, "a key must be a name, not %s", rs_node_kind_text(key));
    if (key->plain && strcmp(key->text, "<<") == 0)
        return rs_yaml_fail(b->tree, key->place, "merge keys are not supported: write the keys out ('<<')");
    int first = rs_node_index(map, key->text);
    if (first >= 0 && b->origin)
        return rs_yaml_fail(b->tree, key->place, "duplicate key ('%s')", rs_show(key->text).text);
    if (first >= 0)
        return rs_yaml_fail(b->tree, key->place, "duplicate key, first at line %d ('%s')", map->keys[first]->place.line,
                            rs_show(key->text).text);
    if (map->n == RS_YAML_MAX_KEYS)
        return rs_yaml_fail(b->tree, key->place, "more than %d keys in one map", RS_YAML_MAX_KEYS);
    return RS_OK;
}

/* Reads items until the collection's end event. */
static rs_status read_items(builder *b, rs_node *parent, yaml_event_type_t end, int depth)
{
    for (;;) {
        rs_node *key = NULL, *item = NULL;
        yaml_event_t event;
        RS_TRY(next_event(b, &event));
        bool done = event.type == end, is_map = parent->kind == RS_NODE_MAP;
        rs_status status = done ? RS_OK : build_node(b, &event, depth + 1, is_map ? &key : &item);
        yaml_event_delete(&event);
        if (done)
            return RS_OK;
        if (status == RS_OK && is_map)
            status = check_key(b, parent, key);
        if (status == RS_OK && is_map)
            status = read_node(b, depth + 1, &item);
        if (status != RS_OK) {
            rs_node_free(key);
            rs_node_free(item);
            return status;
        }
        rs_node_add(parent, key, item);
    }
}

static rs_status build_scalar(const builder *b, const yaml_event_t *event, rs_node *node)
{
    node->text = rs_strndup((const char *)event->data.scalar.value, event->data.scalar.length);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (strlen(node->text) != event->data.scalar.length)
        return rs_yaml_fail(b->tree, node->place, "a NUL character in a text ('%s')", rs_show(node->text).text);
    return apply_tag(b, event->data.scalar.tag, node);
}

/* Builds the node that an event opens. *out is set even on failure, and freed by the caller. */
static rs_status build_node(builder *b, yaml_event_t *event, int depth, rs_node **out)
{
    rs_place place = place_of(b, event->start_mark);
    int at = -1;
    if (event->type == YAML_ALIAS_EVENT)
        return use_alias(b, (const char *)event->data.alias.anchor, place, depth, out);
    RS_TRY(count_node(b, place, depth));
    if (event->type == YAML_SCALAR_EVENT) {
        *out = rs_node_new(RS_NODE_SCALAR, place);
        RS_TRY(open_anchor(b, event->data.scalar.anchor, place, &at));
        RS_TRY(build_scalar(b, event, *out));
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        *out = rs_node_new(RS_NODE_LIST, place);
        RS_TRY(open_anchor(b, event->data.sequence_start.anchor, place, &at));
        RS_TRY(apply_tag(b, event->data.sequence_start.tag, *out));
        RS_TRY(read_items(b, *out, YAML_SEQUENCE_END_EVENT, depth));
    } else {
        *out = rs_node_new(RS_NODE_MAP, place);
        RS_TRY(open_anchor(b, event->data.mapping_start.anchor, place, &at));
        RS_TRY(apply_tag(b, event->data.mapping_start.tag, *out));
        RS_TRY(read_items(b, *out, YAML_MAPPING_END_EVENT, depth));
    }
    if (at >= 0)
        b->anchors[at].node = *out;
    return RS_OK;
}

/* A stream of no or one document. */
static rs_status read_stream(builder *b, rs_node **out)
{
    for (;;) {
        yaml_event_t event;
        RS_TRY(next_event(b, &event));
        yaml_event_type_t type = event.type;
        rs_place place = place_of(b, event.start_mark);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return RS_OK;
        if (type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (*out)
            return rs_yaml_fail(b->tree, place, "a second YAML document; a config is one ('---')");
        RS_TRY(read_node(b, 0, out));
    }
}

rs_status rs_yaml_parse(rs_yaml *tree, const char *bytes, size_t n, const char *origin, rs_node **out)
{
    *out = NULL;
    if (n >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) {
        bytes += 3;
        n -= 3;
    }
    builder b = {.tree = tree, .bytes = bytes, .n = n, .origin = origin};
    size_t valid = rs_utf8_valid_prefix(bytes, n);
    if (valid < n)
        return rs_yaml_fail(tree, place_of_byte(&b, valid), "not valid UTF-8 (byte 0x%02X)", (unsigned char)bytes[valid]);
    if (!yaml_parser_initialize(&b.parser))
        return rs_fail(RS_NO_MEMORY, "%s: no memory to parse it", tree->path);
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)bytes, n);
    rs_status status = read_stream(&b, out);
    yaml_parser_delete(&b.parser);
    for (int i = 0; i < b.n_anchors; i++)
        free(b.anchors[i].name);
    free(b.anchors);
    if (status != RS_OK) {
        rs_node_free(*out);
        *out = NULL;
    }
    return status;
}
