#include "tasks/qa_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

enum { MAX_FILE_BYTES = 1 << 30 };

/* --- documents, each text once --- */

static void insert_slot(rs_qa_file *file, uint32_t document)
{
    const char *text = file->documents[document];
    size_t i = rs_hash64(text, strlen(text)) & (file->n_slots - 1);
    while (file->slots[i] != 0)
        i = (i + 1) & (file->n_slots - 1);
    file->slots[i] = document + 1;
}

static void grow_slots(rs_qa_file *file)
{
    free(file->slots);
    file->n_slots = file->n_slots ? 2 * file->n_slots : 64;
    file->slots = rs_alloc(file->n_slots, sizeof *file->slots);
    for (size_t i = 0; i < file->n_documents; i++)
        insert_slot(file, (uint32_t)i);
}

/* Takes the text. Returns its document's number. */
static uint32_t add_document(rs_qa_file *file, char *text)
{
    if (2 * (file->n_documents + 1) > file->n_slots)
        grow_slots(file);
    size_t i = rs_hash64(text, strlen(text)) & (file->n_slots - 1);
    for (; file->slots[i] != 0; i = (i + 1) & (file->n_slots - 1))
        if (strcmp(file->documents[file->slots[i] - 1], text) == 0) {
            free(text);
            return file->slots[i] - 1;
        }
    RS_PUSH(file->documents, file->n_documents, file->cap_documents, text);
    file->slots[i] = (uint32_t)file->n_documents;
    return (uint32_t)file->n_documents - 1;
}

static bool has(const uint32_t *list, size_t n, uint32_t document)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == document)
            return true;
    return false;
}

static void group_add(rs_qa_group *group, uint32_t document)
{
    if (!has(group->documents, group->n, document))
        RS_PUSH(group->documents, group->n, group->cap, document);
}

static void question_free(rs_qa_question *question)
{
    for (size_t i = 0; i < question->n_answers; i++)
        free(question->answers[i]);
    free(question->answers);
    free(question->gold);
    free(question->text);
}

void rs_qa_file_free(rs_qa_file *file)
{
    for (size_t i = 0; i < file->n_documents; i++)
        free(file->documents[i]);
    for (size_t i = 0; i < file->n_groups; i++)
        free(file->groups[i].documents);
    for (size_t i = 0; i < file->n_questions; i++)
        question_free(&file->questions[i]);
    free(file->documents);
    free(file->groups);
    free(file->questions);
    free(file->slots);
    *file = (rs_qa_file){0};
}

/* --- values, each with the way to it for the message --- */

typedef struct node {
    const json_t *value; /* NULL: missing */
    const struct node *up;
    const char *key; /* NULL: an element. Of the root: the file's path */
    size_t index;
} node;

static node member(const node *up, const char *key)
{
    return (node){json_object_get(up->value, key), up, key, 0};
}

static node element(const node *up, size_t i)
{
    return (node){json_array_get(up->value, i), up, NULL, i};
}

static size_t length(const node *array)
{
    return json_array_size(array->value);
}

static const char *string(const node *one)
{
    return json_string_value(one->value);
}

static void write_place(const node *one, rs_text *out)
{
    if (one->up == NULL) {
        rs_text_printf(out, "%s:", one->key);
        return;
    }
    write_place(one->up, out);
    const char *joint = one->up->up == NULL ? " " : one->key ? "." : "";
    if (one->key)
        rs_text_printf(out, "%s%s", joint, one->key);
    else
        rs_text_printf(out, "%s[%zu]", joint, one->index);
}

static rs_status fault(const node *one, const char *what, const char *detail)
{
    rs_text place = {0};
    write_place(one, &place);
    rs_status status = rs_fail(RS_INVALID, "%s %s%s", place.data, what, detail);
    rs_text_free(&place);
    return status;
}

static rs_status need(const node *one, json_type type)
{
    static const char *const names[] = {"an object", "an array", "a string", "a number", "a number", "true", "false", "null"};
    static const char *const faults[] = {"must be an object, not ", "must be an array, not ", "must be a string, not "};
    if (one->value == NULL)
        return fault(one, "is missing", "");
    return json_typeof(one->value) == type ? RS_OK : fault(one, faults[type], names[json_typeof(one->value)]);
}

static rs_status need_text(const node *one)
{
    RS_TRY(need(one, JSON_STRING));
    return *string(one) ? RS_OK : fault(one, "is empty", "");
}

/* An array with something in it. */
static rs_status need_list(const node *one)
{
    RS_TRY(need(one, JSON_ARRAY));
    return length(one) > 0 ? RS_OK : fault(one, "is empty", "");
}

/* --- SQuAD --- */

static rs_status read_squad_question(rs_qa_file *file, const node *qa, uint32_t document)
{
    RS_TRY(need(qa, JSON_OBJECT));
    node impossible = member(qa, "is_impossible"), text = member(qa, "question"), answers = member(qa, "answers");
    if (impossible.value && !json_is_boolean(impossible.value))
        return fault(&impossible, "must be true or false", "");
    if (json_is_true(impossible.value))
        return RS_OK;
    RS_TRY(need_text(&text));
    RS_TRY(need_list(&answers));
    rs_qa_question question = {.group = file->n_groups - 1, .answers = rs_alloc(length(&answers), sizeof *question.answers)};
    rs_status status = RS_OK;
    for (size_t i = 0; i < length(&answers) && status == RS_OK; i++) {
        node answer = element(&answers, i), words = member(&answer, "text");
        status = need_text(&words);
        if (status == RS_OK)
            question.answers[question.n_answers++] = rs_strdup(string(&words));
    }
    if (status != RS_OK) {
        question_free(&question);
        return status;
    }
    question.text = rs_strdup(string(&text));
    question.gold = rs_alloc(1, sizeof *question.gold);
    question.gold[question.n_gold++] = document;
    RS_PUSH(file->questions, file->n_questions, file->cap_questions, question);
    return RS_OK;
}

static rs_status read_squad_paragraph(rs_qa_file *file, const node *paragraph)
{
    node context = member(paragraph, "context"), qas = member(paragraph, "qas");
    RS_TRY(need(paragraph, JSON_OBJECT));
    RS_TRY(need_text(&context));
    RS_TRY(need(&qas, JSON_ARRAY));
    uint32_t document = add_document(file, rs_strdup(string(&context)));
    group_add(&file->groups[file->n_groups - 1], document);
    for (size_t i = 0; i < length(&qas); i++) {
        node qa = element(&qas, i);
        RS_TRY(read_squad_question(file, &qa, document));
    }
    return RS_OK;
}

static rs_status read_squad(rs_qa_file *file, const node *root)
{
    node articles = member(root, "data");
    RS_TRY(need(root, JSON_OBJECT));
    RS_TRY(need(&articles, JSON_ARRAY));
    for (size_t i = 0; i < length(&articles); i++) {
        node article = element(&articles, i), paragraphs = member(&article, "paragraphs");
        RS_TRY(need(&article, JSON_OBJECT));
        RS_TRY(need(&paragraphs, JSON_ARRAY));
        RS_PUSH(file->groups, file->n_groups, file->cap_groups, (rs_qa_group){0});
        for (size_t k = 0; k < length(&paragraphs); k++) {
            node paragraph = element(&paragraphs, k);
            RS_TRY(read_squad_paragraph(file, &paragraph));
        }
    }
    return RS_OK;
}

/* --- HotpotQA --- */

/* [title, [sentence, ...]] */
static rs_status read_hotpot_document(rs_qa_file *file, const node *pair, uint32_t *document)
{
    node title = element(pair, 0), sentences = element(pair, 1);
    RS_TRY(need(pair, JSON_ARRAY));
    RS_TRY(need_text(&title));
    RS_TRY(need(&sentences, JSON_ARRAY));
    rs_text text = {0};
    rs_status status = RS_OK;
    rs_text_printf(&text, "%s\n", string(&title));
    for (size_t i = 0; i < length(&sentences) && status == RS_OK; i++) {
        node sentence = element(&sentences, i);
        status = need(&sentence, JSON_STRING);
        rs_text_puts(&text, status == RS_OK ? string(&sentence) : "");
    }
    if (status == RS_OK)
        *document = add_document(file, text.data);
    else
        rs_text_free(&text);
    return status;
}

/* The documents that supporting_facts names. ids: [of context] their numbers. */
static rs_status find_gold(const node *facts, const node *context, const uint32_t *ids, rs_qa_question *question)
{
    question->gold = rs_alloc(length(facts), sizeof *question->gold);
    for (size_t i = 0; i < length(facts); i++) {
        node fact = element(facts, i), title = element(&fact, 0);
        RS_TRY(need(&fact, JSON_ARRAY));
        RS_TRY(need_text(&title));
        size_t k = 0;
        while (k < length(context) && strcmp(json_string_value(json_array_get(json_array_get(context->value, k), 0)), string(&title)) != 0)
            k++;
        if (k == length(context))
            return fault(&title, "is no title in context: ", string(&title));
        if (!has(question->gold, question->n_gold, ids[k]))
            question->gold[question->n_gold++] = ids[k];
    }
    return RS_OK;
}

static rs_status read_hotpot_question(rs_qa_file *file, const node *one)
{
    node text = member(one, "question"), answer = member(one, "answer");
    node context = member(one, "context"), facts = member(one, "supporting_facts");
    RS_TRY(need(one, JSON_OBJECT));
    RS_TRY(need_text(&text));
    RS_TRY(need_text(&answer));
    RS_TRY(need_list(&context));
    RS_TRY(need_list(&facts));
    RS_PUSH(file->groups, file->n_groups, file->cap_groups, (rs_qa_group){0});
    rs_qa_question question = {.group = file->n_groups - 1};
    uint32_t *ids = rs_alloc(length(&context), sizeof *ids);
    rs_status status = RS_OK;
    for (size_t i = 0; i < length(&context); i++) {
        node pair = element(&context, i);
        RS_TRY_OUT(read_hotpot_document(file, &pair, &ids[i]));
        group_add(&file->groups[question.group], ids[i]);
    }
    RS_TRY_OUT(find_gold(&facts, &context, ids, &question));
    question.text = rs_strdup(string(&text));
    question.answers = rs_alloc(1, sizeof *question.answers);
    question.answers[question.n_answers++] = rs_strdup(string(&answer));
    RS_PUSH(file->questions, file->n_questions, file->cap_questions, question);
out:
    free(ids);
    if (status != RS_OK)
        question_free(&question);
    return status;
}

static rs_status read_hotpot(rs_qa_file *file, const node *root)
{
    RS_TRY(need(root, JSON_ARRAY));
    for (size_t i = 0; i < length(root); i++) {
        node one = element(root, i);
        RS_TRY(read_hotpot_question(file, &one));
    }
    return RS_OK;
}

/* --- the file --- */

static rs_status check_bytes(const char *path, const rs_text *text)
{
    size_t valid = rs_utf8_valid_prefix(text->data, text->n), line = 1, start = 0;
    if (strspn(text->data, " \t\r\n") == text->n)
        return rs_fail(RS_INVALID, "%s:1: an empty file", path);
    if (valid == text->n)
        return RS_OK;
    for (size_t i = 0; i < valid; i++)
        if (text->data[i] == '\n') {
            line++;
            start = i + 1;
        }
    return rs_fail(RS_INVALID, "%s:%zu: byte %zu of the line is not UTF-8", path, line, valid - start + 1);
}

static rs_status read_file(const char *path, rs_status (*read)(rs_qa_file *, const node *), rs_qa_file *out)
{
    rs_text text = {0};
    rs_status status;
    json_error_t error;
    node root = {.key = path};
    json_t *value = NULL;
    *out = (rs_qa_file){0};
    RS_TRY_OUT(rs_file_read(path, MAX_FILE_BYTES, &text));
    out->content = rs_digest_of(text.data, text.n);
    RS_TRY_OUT(check_bytes(path, &text));
    size_t mark = text.n >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    root.value = value = json_loadb(text.data + mark, text.n - mark, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    rs_text_free(&text);
    if (value == NULL)
        RS_TRY_OUT(rs_fail(RS_INVALID, "%s:%d: not valid JSON: %s", path, error.line, error.text));
    RS_TRY_OUT(read(out, &root));
    if (out->n_questions == 0)
        status = rs_fail(RS_INVALID, "%s: no question that has an answer", path);
out:
    json_decref(value);
    rs_text_free(&text);
    if (status != RS_OK)
        rs_qa_file_free(out);
    return status;
}

rs_status rs_qa_read_squad(const char *path, rs_qa_file *out)
{
    return read_file(path, read_squad, out);
}

rs_status rs_qa_read_hotpot(const char *path, rs_qa_file *out)
{
    return read_file(path, read_hotpot, out);
}
