#include "score/longbench.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "score/lower.h"
#include "score/metric.h"

/* A part of a text that lives elsewhere. */
typedef struct slice {
    const char *bytes;
    size_t n;
} slice;

static bool same(slice a, slice b)
{
    return a.n == b.n && memcmp(a.bytes, b.bytes, a.n) == 0;
}

static slice slice_of(const char *string)
{
    return (slice){string, strlen(string)};
}

/* The answer as UTF-8. */
static void clean(const char *bytes, size_t n, rs_text *out)
{
    rs_text_puts(out, "");
    for (size_t i = 0, length; i < n; i += length) {
        bool good = rs_utf8_decode(bytes + i, n - i, &length) != UINT32_MAX;
        rs_text_append(out, good ? bytes + i : "\xEF\xBF\xBD", good ? length : 3);
    }
}

typedef double (*score_one)(slice answer, slice reference);

static double best(score_one score, const char *bytes, size_t n, char *const *references, size_t n_references)
{
    rs_text answer = {0};
    double top = 0;
    clean(bytes, n, &answer);
    for (size_t i = 0; i < n_references; i++)
        top = fmax(top, score((slice){answer.data, answer.n}, slice_of(references[i])));
    rs_text_free(&answer);
    return top;
}

/* --- regular expressions: \d, \w and \b of Python's str, which know all of Unicode --- */

typedef struct pattern {
    pcre2_code *code;
    pcre2_match_data *match;
} pattern;

static pattern pattern_open(const char *text)
{
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
    return (pattern){code, pcre2_match_data_create_from_pattern(code, NULL)};
}

static void pattern_close(pattern *p)
{
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
}

/* The next match at or behind *at, which moves to its end: its last group, or all of it. */
static bool pattern_next(const pattern *p, slice text, size_t *at, slice *found)
{
    int groups = pcre2_match(p->code, (PCRE2_SPTR)text.bytes, text.n, *at, 0, p->match, NULL);
    if (groups < 1)
        return false;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(p->match);
    *found = (slice){text.bytes + ends[2 * (groups - 1)], ends[2 * groups - 1] - ends[2 * (groups - 1)]};
    *at = ends[1];
    return true;
}

/* --- words as numbers --- */

typedef struct words {
    slice *items; /* each word once */
    size_t n, cap;
} words;

typedef struct ids {
    size_t *items;
    size_t n, cap;
} ids;

static size_t word_id(words *known, slice word)
{
    for (size_t i = 0; i < known->n; i++)
        if (same(known->items[i], word))
            return i;
    RS_PUSH(known->items, known->n, known->cap, word);
    return known->n - 1;
}

/* The next word between white space, *text behind it; false: none is left. */
static bool next_word(slice *text, slice *word)
{
    size_t length, n = 0;
    while (text->n > 0 && rs_is_space(rs_utf8_decode(text->bytes, text->n, &length))) {
        text->bytes += length;
        text->n -= length;
    }
    while (n < text->n && !rs_is_space(rs_utf8_decode(text->bytes + n, text->n - n, &length)))
        n += length;
    *word = (slice){text->bytes, n};
    text->bytes += n;
    text->n -= n;
    return n > 0;
}

static ids split_words(slice text, words *known)
{
    ids all = {0};
    slice word;
    while (next_word(&text, &word))
        RS_PUSH(all.items, all.n, all.cap, word_id(known, word));
    return all;
}

/* --- token F1 --- */

static void normalize(slice text, const pattern *article, rs_text *out)
{
    rs_text lower = {0}, plain = {0};
    slice found;
    rs_lower(text.bytes, text.n, &lower);
    rs_text_puts(&plain, "");
    for (size_t i = 0; i < lower.n; i++)
        if (lower.data[i] == '\0' || !strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", lower.data[i]))
            rs_text_append(&plain, lower.data + i, 1);
    size_t from = 0, to = 0;
    rs_text_puts(out, "");
    while (pattern_next(article, (slice){plain.data, plain.n}, &to, &found)) {
        rs_text_append(out, plain.data + from, (size_t)(found.bytes - plain.data) - from);
        rs_text_puts(out, " ");
        from = to;
    }
    rs_text_append(out, plain.data + from, plain.n - from);
    rs_text_free(&lower);
    rs_text_free(&plain);
}

/* How many words of a are in b, each as often as in both at most. */
static size_t count_common(const ids *a, const ids *b, size_t n_words)
{
    size_t *left = rs_alloc(n_words, sizeof *left), n = 0;
    for (size_t i = 0; i < b->n; i++)
        left[b->items[i]]++;
    for (size_t i = 0; i < a->n; i++)
        if (left[a->items[i]] > 0) {
            left[a->items[i]]--;
            n++;
        }
    free(left);
    return n;
}

static double token_f1(slice answer, slice reference)
{
    pattern article = pattern_open("\\b(?:a|an|the)\\b");
    rs_text one = {0}, two = {0};
    words known = {0};
    normalize(answer, &article, &one);
    normalize(reference, &article, &two);
    pattern_close(&article);
    ids a = split_words((slice){one.data, one.n}, &known), b = split_words((slice){two.data, two.n}, &known);
    double common = (double)count_common(&a, &b, known.n), precision = common / (double)a.n, recall = common / (double)b.n;
    free(a.items);
    free(b.items);
    free(known.items);
    rs_text_free(&one);
    rs_text_free(&two);
    return common > 0 ? 2 * precision * recall / (precision + recall) : 0.0;
}

double rs_metric_token_f1(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    return best(token_f1, bytes, n, references, n_references);
}

/* --- ROUGE-L ---
 * A sentence ends at a full stop. The package counts each word once: the union, over all pairs of sentences, of the words of one longest
 * common subsequence, over the different words of either text. A sentence of white space alone is one empty word. (Where two sentences
 * have about a thousand words together, the package runs into Python's limit on recursion and upstream scores 0; here they are scored.) */

typedef struct sentences {
    ids *items;
    size_t n, cap;
} sentences;

static sentences split_sentences(slice text, words *known)
{
    sentences all = {0};
    while (text.n > 0) {
        const char *stop = memchr(text.bytes, '.', text.n);
        slice one = {text.bytes, stop ? (size_t)(stop - text.bytes) : text.n};
        size_t taken = one.n + (stop ? 1 : 0);
        text = (slice){text.bytes + taken, text.n - taken};
        if (one.n == 0)
            continue;
        ids list = split_words(one, known);
        if (list.n == 0)
            RS_PUSH(list.items, list.n, list.cap, word_id(known, (slice){"", 0}));
        RS_PUSH(all.items, all.n, all.cap, list);
    }
    return all;
}

static void sentences_free(sentences *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->items[i].items);
    free(all->items);
}

static size_t count_different(const sentences *all, size_t n_words)
{
    bool *seen = rs_alloc(n_words, sizeof *seen);
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++)
        for (size_t j = 0; j < all->items[i].n; j++) {
            n += !seen[all->items[i].items[j]];
            seen[all->items[i].items[j]] = true;
        }
    free(seen);
    return n;
}

/* Marks the words of one longest common subsequence: found from the end, in y first where both ways are as long. */
static void mark_lcs(const ids *x, const ids *y, bool *in_union)
{
    size_t width = y->n + 1;
    uint32_t *table = rs_alloc((x->n + 1) * width, sizeof *table);
    for (size_t i = 1; i <= x->n; i++)
        for (size_t j = 1; j <= y->n; j++) {
            uint32_t up = table[(i - 1) * width + j], left = table[i * width + j - 1];
            table[i * width + j] = x->items[i - 1] == y->items[j - 1] ? table[(i - 1) * width + j - 1] + 1 : up > left ? up : left;
        }
    for (size_t i = x->n, j = y->n; i > 0 && j > 0;) {
        if (x->items[i - 1] == y->items[j - 1]) {
            in_union[x->items[i - 1]] = true;
            i--;
            j--;
        } else if (table[(i - 1) * width + j] > table[i * width + j - 1]) {
            i--;
        } else {
            j--;
        }
    }
    free(table);
}

static double rouge_l(slice answer, slice reference)
{
    words known = {0};
    sentences a = split_sentences(answer, &known), b = split_sentences(reference, &known);
    bool *in_union = rs_alloc(known.n, sizeof *in_union);
    double common = 0, f = 0;
    for (size_t i = 0; i < b.n; i++)
        for (size_t j = 0; j < a.n; j++)
            mark_lcs(&b.items[i], &a.items[j], in_union);
    for (size_t i = 0; i < known.n; i++)
        common += in_union[i];
    if (a.n > 0 && b.n > 0) {
        double recall = common / (double)count_different(&b, known.n), precision = common / (double)count_different(&a, known.n);
        f = 2 * (precision * recall / (precision + recall + 1e-8));
    }
    free(in_union);
    sentences_free(&a);
    sentences_free(&b);
    free(known.items);
    return f;
}

double rs_metric_rouge_l(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    return best(rouge_l, bytes, n, references, n_references);
}

/* --- edit similarity --- */

static size_t decode(slice text, uint32_t *out)
{
    size_t n = 0;
    for (size_t i = 0, length; i < text.n; i += length)
        out[n++] = rs_utf8_decode(text.bytes + i, text.n - i, &length);
    return n;
}

static size_t lcs_length(const uint32_t *x, size_t n_x, const uint32_t *y, size_t n_y)
{
    size_t *row = rs_alloc(n_y + 1, sizeof *row), length;
    for (size_t i = 0; i < n_x; i++)
        for (size_t j = 0, diagonal = 0; j < n_y; j++) {
            size_t up = row[j + 1];
            row[j + 1] = x[i] == y[j] ? diagonal + 1 : up > row[j] ? up : row[j];
            diagonal = up;
        }
    length = row[n_y];
    free(row);
    return length;
}

static slice first_code_line(slice text)
{
    while (text.n > 0 && *text.bytes == '\n') {
        text.bytes++;
        text.n--;
    }
    for (;;) {
        const char *newline = memchr(text.bytes, '\n', text.n);
        slice line = {text.bytes, newline ? (size_t)(newline - text.bytes) : text.n};
        if (!memchr(line.bytes, '`', line.n) && !memchr(line.bytes, '#', line.n) && !memmem(line.bytes, line.n, "//", 2))
            return line;
        if (newline == NULL)
            return (slice){text.bytes + text.n, 0};
        text = (slice){newline + 1, text.n - line.n - 1};
    }
}

static double edit_similarity(slice answer, slice reference)
{
    slice line = first_code_line(answer);
    if (same(line, reference))
        return 1;
    uint32_t *x = rs_alloc(line.n, sizeof *x), *y = rs_alloc(reference.n, sizeof *y);
    size_t n_x = decode(line, x), n_y = decode(reference, y), common = lcs_length(x, n_x, y, n_y);
    free(x);
    free(y);
    return nearbyint(100 * ((double)(2 * common) / (double)(n_x + n_y))) / 100;
}

double rs_metric_edit_similarity(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    return best(edit_similarity, bytes, n, references, n_references);
}

/* --- numbers --- */

static double share_of_numbers(slice answer, slice wanted)
{
    pattern number = pattern_open("\\d+");
    size_t at = 0, n = 0, right = 0;
    for (slice found; pattern_next(&number, answer, &at, &found); n++)
        right += same(found, wanted);
    pattern_close(&number);
    return n > 0 ? (double)right / (double)n : 0.0;
}

static bool paragraph_of(slice reference, slice *number)
{
    pattern paragraph = pattern_open("Paragraph (\\d+)");
    size_t at = 0;
    bool found = pattern_next(&paragraph, reference, &at, number);
    pattern_close(&paragraph);
    return found;
}

bool rs_names_paragraph(const char *reference)
{
    slice number;
    return paragraph_of(slice_of(reference), &number);
}

static double retrieval(slice answer, slice reference)
{
    slice number;
    return paragraph_of(reference, &number) ? share_of_numbers(answer, number) : 0.0;
}

double rs_metric_count(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    return best(share_of_numbers, bytes, n, references, n_references);
}

double rs_metric_retrieval(const char *bytes, size_t n, char *const *references, size_t n_references)
{
    return best(retrieval, bytes, n, references, n_references);
}

/* --- classification --- */

static bool holds(slice text, slice part)
{
    return part.n == 0 || (text.n >= part.n && memmem(text.bytes, text.n, part.bytes, part.n) != NULL);
}

/* The first class of this name goes. */
static void drop(words *found, slice name)
{
    size_t i = 0;
    while (!same(found->items[i], name))
        i++;
    memmove(found->items + i, found->items + i + 1, (found->n - i - 1) * sizeof *found->items);
    found->n--;
}

/* Upstream drops classes from the list it walks over, and so passes the one behind each without a look. */
static double classification(slice answer, slice reference, char *const *classes, size_t n_classes)
{
    words found = {0};
    bool right = false;
    for (size_t i = 0; i < n_classes; i++)
        if (holds(answer, slice_of(classes[i])))
            RS_PUSH(found.items, found.n, found.cap, slice_of(classes[i]));
    for (size_t i = 0; i < found.n; i++)
        if (holds(reference, found.items[i]) && !same(reference, found.items[i]))
            drop(&found, found.items[i]);
    for (size_t i = 0; i < found.n; i++)
        right = right || same(reference, found.items[i]);
    double score = right ? 1 / (double)found.n : 0.0;
    free(found.items);
    return score;
}

double rs_metric_classification(const char *bytes, size_t n, char *const *references, size_t n_references, char *const *classes,
                                size_t n_classes)
{
    rs_text answer = {0};
    double top = 0;
    clean(bytes, n, &answer);
    for (size_t i = 0; i < n_references; i++)
        top = fmax(top, classification((slice){answer.data, answer.n}, slice_of(references[i]), classes, n_classes));
    rs_text_free(&answer);
    return top;
}

const char *rs_first_line(const char *bytes, size_t *n)
{
    while (*n > 0 && *bytes == '\n') {
        bytes++;
        (*n)--;
    }
    const char *newline = memchr(bytes, '\n', *n);
    *n = newline ? (size_t)(newline - bytes) : *n;
    return bytes;
}
