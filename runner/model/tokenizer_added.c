/* Added tokens: their spelling in a text becomes the token, whatever stands around it. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

void rs_trie_init(rs_trie *trie)
{
    for (size_t i = 0; i < 256; i++)
        trie->roots[i] = -1;
}

static int32_t new_node(rs_trie *trie, unsigned char byte)
{
    rs_trie_node node = {.child = -1, .sibling = -1, .added = -1, .byte = byte};
    RS_PUSH(trie->nodes, trie->n, trie->cap, node);
    return (int32_t)trie->n - 1;
}

static int32_t child_of(const rs_trie *trie, int32_t node, unsigned char byte)
{
    int32_t child = trie->nodes[node].child;
    while (child >= 0 && trie->nodes[child].byte != byte)
        child = trie->nodes[child].sibling;
    return child;
}

void rs_trie_add(rs_trie *trie, const char *spelling, size_t n, int32_t added)
{
    if (n == 0)
        return;
    unsigned char first = (unsigned char)spelling[0];
    if (trie->roots[first] < 0)
        trie->roots[first] = new_node(trie, first);
    int32_t node = trie->roots[first];
    for (size_t i = 1; i < n; i++) {
        unsigned char byte = (unsigned char)spelling[i];
        int32_t child = child_of(trie, node, byte);
        if (child < 0) {
            child = new_node(trie, byte);
            trie->nodes[child].sibling = trie->nodes[node].child;
            trie->nodes[node].child = child;
        }
        node = child;
    }
    if (trie->nodes[node].added < 0) /* two may have one normalized spelling: the first counts */
        trie->nodes[node].added = added;
}

void rs_trie_free(rs_trie *trie)
{
    free(trie->nodes);
}

/* Longest added token that starts at text[at]; its index, or -1. */
static int32_t longest_at(const rs_trie *trie, const char *text, size_t n, size_t at, size_t *stop)
{
    int32_t best = -1;
    int32_t node = trie->roots[(unsigned char)text[at]];
    for (size_t i = at + 1; node >= 0; i++) {
        if (trie->nodes[node].added >= 0) {
            best = trie->nodes[node].added;
            *stop = i;
        }
        node = i < n ? child_of(trie, node, (unsigned char)text[i]) : -1;
    }
    return best;
}

/* Whether text[0..n) is one word character. */
static rs_status is_word(rs_encoder *encoder, const char *text, size_t n, bool *yes)
{
    size_t start, stop;
    encoder->matcher.full = true;
    return rs_regex_next(encoder->tokenizer->word, &encoder->matcher, text, n, 0, yes, &start, &stop);
}

/* Whether neither neighbour of text[start..stop) is a word character. */
static rs_status stands_alone(rs_encoder *encoder, const rs_added_scan *scan, size_t start, size_t stop, bool *yes)
{
    bool word = false;
    if (start > 0) {
        const char *before = rs_utf8_before(scan->text + start);
        RS_TRY(is_word(encoder, before, (size_t)(scan->text + start - before), &word));
    }
    if (!word && stop < scan->n) {
        size_t n;
        rs_utf8_decode(scan->text + stop, &n);
        RS_TRY(is_word(encoder, scan->text + stop, n, &word));
    }
    *yes = !word;
    return RS_OK;
}

/* Moves *start back over white space, not before `least`. */
static size_t strip_left(const rs_added_scan *scan, size_t start, size_t least)
{
    while (start > least) {
        const char *before = rs_utf8_before(scan->text + start);
        size_t n;
        if (!rs_unicode_is_space(rs_utf8_decode(before, &n)))
            break;
        start -= n;
    }
    return start;
}

static size_t strip_right(const rs_added_scan *scan, size_t stop)
{
    while (stop < scan->n) {
        size_t n;
        if (!rs_unicode_is_space(rs_utf8_decode(scan->text + stop, &n)))
            break;
        stop += n;
    }
    return stop;
}

/* The next token from scan->at on, with the white space that it takes along. */
static rs_status next_token(rs_encoder *encoder, rs_added_scan *scan, bool *found)
{
    *found = false;
    while (!*found && scan->at < scan->n) {
        size_t start = scan->at, stop = start;
        int32_t index = longest_at(scan->trie, scan->text, scan->n, start, &stop);
        if (index < 0) {
            scan->at++;
            continue;
        }
        scan->at = stop; /* also past one that does not stand alone, and not past white space taken along: as Hugging Face */
        const rs_added *added = &encoder->tokenizer->added[index];
        bool alone = true;
        if (added->single_word)
            RS_TRY(stands_alone(encoder, scan, start, stop, &alone));
        if (!alone)
            continue;
        scan->held_start = added->lstrip ? strip_left(scan, start, scan->taken) : start;
        scan->held_stop = added->rstrip ? strip_right(scan, stop) : stop;
        scan->held_id = added->id;
        *found = true;
    }
    return RS_OK;
}

rs_status rs_added_next(rs_encoder *encoder, rs_added_scan *scan, bool *found, int32_t *id, size_t *start, size_t *stop)
{
    *found = true;
    *id = -1;
    if (!scan->held && scan->trie->n > 0)
        RS_TRY(next_token(encoder, scan, &scan->held));
    *start = scan->taken;
    if (!scan->held) { /* the rest */
        *stop = scan->n;
        *found = scan->taken < scan->n;
        scan->taken = scan->at = scan->n;
        return RS_OK;
    }
    if (scan->taken < scan->held_start) { /* the text before the token */
        *stop = scan->taken = scan->held_start;
        return RS_OK;
    }
    *id = scan->held_id;
    *start = scan->held_start;
    *stop = scan->taken = scan->held_stop;
    scan->held = false;
    return RS_OK;
}
