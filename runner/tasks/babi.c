#include "tasks/babi.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "score/lower.h"
#include "score/metric.h"

enum { MAX_FILE_BYTES = 1 << 30, NO_FACT = -1 };

/* The story that is being read. */
typedef struct story {
    rs_babi *babi;
    const char *path;
    size_t line;   /* of the file */
    size_t first;  /* its first fact */
    long *numbers; /* [n] by line of the story, from 1: the fact there, or NO_FACT for a question */
    size_t n, cap;
} story;

void rs_babi_free(rs_babi *babi)
{
    for (size_t i = 0; i < babi->n_facts; i++)
        free(babi->facts[i]);
    for (size_t i = 0; i < babi->n_questions; i++) {
        free(babi->questions[i].text);
        free(babi->questions[i].answer);
    }
    for (size_t i = 0; i < babi->n_labels; i++)
        free(babi->labels[i]);
    free(babi->facts);
    free(babi->questions);
    free(babi->labels);
    *babi = (rs_babi){0};
}

/* A copy without the white space around it; NULL where nothing is left. */
static char *stripped(const char *bytes, size_t n)
{
    const char *text = rs_strip(bytes, &n);
    return n > 0 ? rs_strndup(text, n) : NULL;
}

static void add_label(rs_babi *babi, const char *answer)
{
    rs_text lower = {0};
    rs_lower(answer, strlen(answer), &lower);
    for (size_t i = 0; i < babi->n_labels; i++)
        if (strcmp(babi->labels[i], lower.data) == 0) {
            rs_text_free(&lower);
            return;
        }
    RS_PUSH(babi->labels, babi->n_labels, babi->cap_labels, lower.data);
}

/* The facts that a question names, all of them before it. */
static rs_status read_support(const story *s, const char *field, size_t *support)
{
    char *end;
    bool any = false;
    for (const char *at = field;; at = end, any = true) {
        long number = strtol(at, &end, 10);
        if (end == at)
            break;
        if (number < 1 || number > (long)s->n || s->numbers[number - 1] == NO_FACT)
            return rs_fail(RS_INVALID, "%s:%zu: the question names line %ld of its story, which is no fact before it", s->path, s->line,
                           number);
        if (!any)
            *support = (size_t)s->numbers[number - 1];
    }
    if (!any || end[strspn(end, " \t")] != '\0')
        return rs_fail(RS_INVALID, "%s:%zu: after the answer: must be a tab and the numbers of its facts, not '%s'", s->path, s->line,
                       field);
    return RS_OK;
}

static rs_status read_question(story *s, const char *text, const char *tab)
{
    const char *answer = tab + 1, *second = strchr(answer, '\t');
    rs_babi_question question = {.first = s->first, .end = s->babi->n_facts, .line = s->line};
    RS_TRY(read_support(s, second ? second + 1 : "", &question.support));
    question.text = stripped(text, (size_t)(tab - text));
    question.answer = stripped(answer, (size_t)(second - answer));
    bool whole = question.text && question.answer;
    if (whole) {
        add_label(s->babi, question.answer);
        RS_PUSH(s->babi->questions, s->babi->n_questions, s->babi->cap_questions, question);
        RS_PUSH(s->numbers, s->n, s->cap, NO_FACT);
        return RS_OK;
    }
    const char *missing = question.text ? "answer" : "question";
    free(question.text);
    free(question.answer);
    return rs_fail(RS_INVALID, "%s:%zu: an empty %s before the tab", s->path, s->line, missing);
}

static rs_status read_line(story *s, const char *line)
{
    char *end;
    long number = strtol(line, &end, 10);
    if (end == line || line[0] < '0' || line[0] > '9' || *end != ' ')
        return rs_fail(RS_INVALID, "%s:%zu: must begin with its number and a blank", s->path, s->line);
    if (number == 1) {
        s->n = 0;
        s->first = s->babi->n_facts;
    }
    if (number != (long)s->n + 1)
        return rs_fail(RS_INVALID, "%s:%zu: must have number %zu%s, not %ld", s->path, s->line, s->n + 1,
                       s->n ? ", or 1 for a new story" : "", number);
    const char *tab = strchr(end, '\t');
    if (tab)
        return read_question(s, end, tab);
    char *fact = stripped(end, strlen(end));
    if (fact == NULL)
        return rs_fail(RS_INVALID, "%s:%zu: a number and nothing after it", s->path, s->line);
    RS_PUSH(s->numbers, s->n, s->cap, (long)s->babi->n_facts);
    RS_PUSH(s->babi->facts, s->babi->n_facts, s->babi->cap_facts, fact);
    return RS_OK;
}

static rs_status check_bytes(const story *s, const char *line, size_t n)
{
    size_t valid = rs_utf8_valid_prefix(line, n);
    const char *nul = memchr(line, '\0', n);
    if (valid < n)
        return rs_fail(RS_INVALID, "%s:%zu: byte %zu of the line is not UTF-8", s->path, s->line, valid + 1);
    if (nul)
        return rs_fail(RS_INVALID, "%s:%zu: byte %zu of the line is NUL", s->path, s->line, (size_t)(nul - line) + 1);
    return RS_OK;
}

/* Every line; white space at the end of the file counts for nothing. */
static rs_status read_lines(story *s, rs_text *text)
{
    size_t n = text->n, start = n >= 3 && memcmp(text->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (n > start && text->data[n - 1] != '\0' && strchr(" \t\r\n", text->data[n - 1]))
        n--;
    text->data[n] = '\0';
    for (size_t i = start, stop; i < n; i = stop + 1) {
        const char *newline = memchr(text->data + i, '\n', n - i);
        stop = newline ? (size_t)(newline - text->data) : n;
        s->line++;
        RS_TRY(check_bytes(s, text->data + i, stop - i));
        text->data[stop] = '\0';
        if (stop > i && text->data[stop - 1] == '\r')
            text->data[stop - 1] = '\0';
        RS_TRY(read_line(s, text->data + i));
    }
    if (s->babi->n_questions == 0)
        return rs_fail(RS_INVALID, "%s:%zu: the file ends without a question", s->path, s->line ? s->line : 1);
    return RS_OK;
}

rs_status rs_babi_read(const char *path, rs_babi *out)
{
    rs_text text = {0};
    story s = {.babi = out, .path = path};
    *out = (rs_babi){0};
    rs_status status;
    RS_TRY_OUT(rs_file_read(path, MAX_FILE_BYTES, &text));
    out->content = rs_digest_of(text.data, text.n);
    RS_TRY_OUT(read_lines(&s, &text));
out:
    free(s.numbers);
    rs_text_free(&text);
    return status;
}
