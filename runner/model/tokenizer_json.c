/* tokenizer.json to a tokenizer. What is not understood is refused by name: a tokenizer that is almost right gives numbers that
 * are wrong without a sign. Ignored on purpose: post_processor (adds BOS, which is the caller's), truncation and padding (no
 * prompt is ever cut), keys that Hugging Face ignores too. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

/* How many times as long a row of Replaces may make a text: they multiply, and a short file could ask for any memory. */
#define MAX_GROWTH 64

typedef struct loader {
    rs_tokenizer *tokenizer;
    const char *path;
    double growth; /* of the row of steps being read */
} loader;

/* "PATH: WHERE: what is wrong". */
static rs_status bad(const loader *l, const char *where, const char *format, ...) __attribute__((format(printf, 3, 4)));
static rs_status bad(const loader *l, const char *where, const char *format, ...)
{
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rs_fail(RS_INVALID, "%s: %s: %s", l->path, where, what);
}

static const char *type_name(const json_t *value)
{
    if (value == NULL)
        return "nothing";
    static const char *const names[] = {"an object", "an array", "a string", "an integer", "a real number", "true", "false", "null"};
    return names[json_typeof(value)];
}

static rs_status wrong_type(const loader *l, const char *where, const char *key, const char *wanted, const json_t *got)
{
    if (got == NULL)
        return bad(l, where, "key \"%s\" is missing", key);
    return bad(l, where, "key \"%s\" must be %s, not %s", key, wanted, type_name(got));
}

/* A value that is there and not null. */
static json_t *present(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static rs_status get_bool(const loader *l, const char *where, const json_t *object, const char *key, bool *out)
{
    json_t *value = json_object_get(object, key);
    *out = json_is_true(value);
    if (!json_is_boolean(value))
        return wrong_type(l, where, key, "true or false", value);
    return RS_OK;
}

/* The same, unchanged where the key is absent or null. */
static rs_status get_optional_bool(const loader *l, const char *where, const json_t *object, const char *key, bool *out)
{
    return present(object, key) ? get_bool(l, where, object, key, out) : RS_OK;
}

/* Borrowed from the object. */
static rs_status get_string(const loader *l, const char *where, const json_t *object, const char *key, const char **out)
{
    json_t *value = json_object_get(object, key);
    *out = json_string_value(value);
    return *out ? RS_OK : wrong_type(l, where, key, "a string", value);
}

static rs_status get_count(const loader *l, const char *where, const json_t *object, const char *key, size_t *out)
{
    json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return wrong_type(l, where, key, "an integer from 0 on", value);
    *out = (size_t)json_integer_value(value);
    return RS_OK;
}

/* ---- Normalizer, pre_tokenizer, decoder: trees of {"type": ...} whose Sequences flatten to steps ---- */

typedef rs_status step_parser(loader *l, const char *where, const char *type, const json_t *step);

/* Calls parse for each step that is not a Sequence; list: the Sequence's key. */
static rs_status walk_steps(loader *l, const char *where, const char *list, const json_t *node, step_parser *parse)
{
    if (!json_is_object(node))
        return bad(l, where, "must be an object, not %s", type_name(node));
    const char *type;
    RS_TRY(get_string(l, where, node, "type", &type));
    if (strcmp(type, "Sequence") != 0)
        return parse(l, where, type, node);
    json_t *steps = json_object_get(node, list);
    if (!json_is_array(steps))
        return wrong_type(l, where, list, "an array", steps);
    rs_status status = RS_OK;
    size_t i;
    json_t *step;
    json_array_foreach(steps, i, step)
    {
        char *inner = rs_format("%s.%s[%zu]", where, list, i);
        status = walk_steps(l, inner, list, step, parse);
        free(inner);
        if (status != RS_OK)
            break;
    }
    return status;
}

/* {"pattern": {"String": s}} or {"pattern": {"Regex": s}}. */
static rs_status get_pattern(const loader *l, const char *where, const json_t *object, const char **string, const char **regex)
{
    json_t *pattern = json_object_get(object, "pattern");
    *string = json_string_value(json_object_get(pattern, "String"));
    *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (!json_is_object(pattern))
        return wrong_type(l, where, "pattern", "an object", pattern);
    if ((*string == NULL) == (*regex == NULL) || json_object_size(pattern) != 1)
        return bad(l, where, "key \"pattern\" must hold one of \"String\" and \"Regex\", a string");
    if ((*string ? *string : *regex)[0] == '\0')
        return bad(l, where, "key \"pattern\" is empty");
    return RS_OK;
}

static rs_status parse_replace(loader *l, const char *where, const json_t *step, rs_text *from, rs_text *to)
{
    const char *string, *regex, *content;
    RS_TRY(get_pattern(l, where, step, &string, &regex));
    if (regex)
        return bad(l, where, "Replace by \"Regex\" \"%s\" is not supported", regex);
    RS_TRY(get_string(l, where, step, "content", &content));
    rs_text_puts(from, string);
    rs_text_puts(to, content);
    if (to->n > from->n)
        l->growth *= (double)to->n / (double)from->n;
    if (l->growth > MAX_GROWTH)
        return bad(l, where, "with the Replaces before it, it makes a text up to %.0f times as long (at most %d)", l->growth, MAX_GROWTH);
    return RS_OK;
}

static rs_status parse_edit(loader *l, const char *where, const char *type, const json_t *step)
{
    rs_tokenizer *t = l->tokenizer;
    rs_edit empty = {0};
    RS_PUSH(t->edits, t->n_edits, t->cap_edits, empty);
    rs_edit *edit = &t->edits[t->n_edits - 1];
    if (strcmp(type, "Replace") == 0) {
        edit->kind = RS_EDIT_REPLACE;
        return parse_replace(l, where, step, &edit->from, &edit->to);
    }
    if (strcmp(type, "Prepend") == 0) {
        const char *prefix;
        edit->kind = RS_EDIT_PREPEND;
        RS_TRY(get_string(l, where, step, "prepend", &prefix));
        rs_text_puts(&edit->to, prefix);
        return RS_OK;
    }
    return bad(l, where, "normalizer type \"%s\" is not supported (Replace, Prepend and Sequence are)", type);
}

static rs_status set_regex(const loader *l, const char *where, const char *pattern, rs_regex **out)
{
    rs_text why = {0};
    rs_status status = rs_regex_compile(pattern, out, &why);
    if (status != RS_OK)
        bad(l, where, "Regex \"%s\": %s", pattern, why.data);
    rs_text_free(&why);
    return status;
}

static rs_status parse_split_regex(const loader *l, const char *where, const json_t *step, rs_split *split)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"};
    enum { N_NAMES = sizeof names / sizeof *names };
    const char *string, *regex, *behavior;
    RS_TRY(get_pattern(l, where, step, &string, &regex));
    RS_TRY(get_string(l, where, step, "behavior", &behavior));
    RS_TRY(get_optional_bool(l, where, step, "invert", &split->invert));
    size_t which = 0;
    while (which < N_NAMES && strcmp(names[which], behavior) != 0)
        which++;
    if (which == N_NAMES)
        return bad(l, where, "key \"behavior\": \"%s\" is not known", behavior);
    split->behavior = (rs_split_behavior)which;
    if (regex)
        return set_regex(l, where, regex, &split->regex);
    rs_text quoted = rs_regex_quote(string);
    rs_status status = set_regex(l, where, quoted.data, &split->regex);
    rs_text_free(&quoted);
    return status;
}

static rs_status parse_byte_level(const loader *l, const char *where, const json_t *step, rs_split *split)
{
    /* Words of GPT-2: the pattern is built into Hugging Face's ByteLevel too. */
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    bool use_regex = true;
    split->kind = RS_SPLIT_BYTE_LEVEL;
    l->tokenizer->bpe.byte_level = true;
    RS_TRY(get_bool(l, where, step, "add_prefix_space", &split->add_prefix_space));
    RS_TRY(get_optional_bool(l, where, step, "use_regex", &use_regex));
    return use_regex ? set_regex(l, where, gpt2, &split->regex) : RS_OK;
}

static rs_status parse_split(loader *l, const char *where, const char *type, const json_t *step)
{
    rs_tokenizer *t = l->tokenizer;
    if (t->bpe.byte_level)
        return bad(l, where, "\"%s\" after ByteLevel is not supported", type);
    rs_split empty = {0};
    RS_PUSH(t->splits, t->n_splits, t->cap_splits, empty);
    rs_split *split = &t->splits[t->n_splits - 1];
    if (strcmp(type, "Split") == 0)
        return parse_split_regex(l, where, step, split);
    if (strcmp(type, "ByteLevel") == 0)
        return parse_byte_level(l, where, step, split);
    if (strcmp(type, "Digits") == 0) {
        bool individual;
        RS_TRY(get_bool(l, where, step, "individual_digits", &individual));
        split->kind = RS_SPLIT_DIGITS;
        split->behavior = individual ? RS_SPLIT_ISOLATED : RS_SPLIT_CONTIGUOUS;
        return RS_OK;
    }
    return bad(l, where, "pre_tokenizer type \"%s\" is not supported (Split, Digits, ByteLevel and Sequence are)", type);
}

static rs_status parse_strip(const loader *l, const char *where, const json_t *step, rs_decode_step *out)
{
    const char *content;
    out->kind = RS_DECODE_STRIP;
    RS_TRY(get_string(l, where, step, "content", &content));
    RS_TRY(get_count(l, where, step, "start", &out->start));
    RS_TRY(get_count(l, where, step, "stop", &out->stop));
    size_t length = 0;
    if (content[0] != '\0')
        rs_utf8_decode(content, &length);
    if (length == 0 || strlen(content) != length)
        return bad(l, where, "key \"content\" must be one character, not \"%s\"", content);
    rs_text_puts(&out->from, content);
    return RS_OK;
}

static rs_status parse_decode_step(loader *l, const char *where, const char *type, const json_t *step)
{
    rs_tokenizer *t = l->tokenizer;
    rs_decode_step empty = {0};
    RS_PUSH(t->steps, t->n_steps, t->cap_steps, empty);
    rs_decode_step *out = &t->steps[t->n_steps - 1];
    if (strcmp(type, "Replace") == 0) {
        out->kind = RS_DECODE_REPLACE;
        return parse_replace(l, where, step, &out->from, &out->to);
    }
    if (strcmp(type, "Strip") == 0)
        return parse_strip(l, where, step, out);
    if (strcmp(type, "ByteFallback") == 0)
        out->kind = RS_DECODE_BYTE_FALLBACK;
    else if (strcmp(type, "Fuse") == 0)
        out->kind = RS_DECODE_FUSE;
    else if (strcmp(type, "ByteLevel") == 0)
        out->kind = RS_DECODE_BYTE_LEVEL;
    else
        return bad(l, where, "decoder type \"%s\" is not supported (Replace, ByteFallback, Fuse, Strip, ByteLevel and Sequence are)", type);
    return RS_OK;
}

static rs_status parse_steps(loader *l, const json_t *root)
{
    json_t *normalizer = present(root, "normalizer");
    json_t *pre_tokenizer = present(root, "pre_tokenizer");
    json_t *decoder = present(root, "decoder");
    l->growth = 1;
    if (normalizer)
        RS_TRY(walk_steps(l, "normalizer", "normalizers", normalizer, parse_edit));
    if (pre_tokenizer)
        RS_TRY(walk_steps(l, "pre_tokenizer", "pretokenizers", pre_tokenizer, parse_split));
    l->growth = 1;
    if (decoder)
        RS_TRY(walk_steps(l, "decoder", "decoders", decoder, parse_decode_step));
    l->tokenizer->has_decoder = decoder != NULL;
    return RS_OK;
}

/* ---- Vocabulary and merges ---- */

/* The spelling that already has this id, or NULL. */
static const char *holder(const rs_vocab *vocab, int32_t id, int *n)
{
    if ((size_t)id >= vocab->n || !vocab->entries[id].present)
        return NULL;
    *n = (int)vocab->entries[id].n;
    return vocab->bytes.data + vocab->entries[id].at;
}

/* An id 0..RS_TOKEN_ID_MAX. */
static rs_status get_id(const loader *l, const char *where, const char *token, const json_t *value, int32_t *id)
{
    *id = -1;
    if (!json_is_integer(value))
        return bad(l, where, "the id of \"%s\" must be an integer, not %s", token, type_name(value));
    json_int_t n = json_integer_value(value);
    if (n < 0 || n > RS_TOKEN_ID_MAX)
        return bad(l, where, "the id of \"%s\" is %lld, outside 0..%d", token, (long long)n, RS_TOKEN_ID_MAX);
    *id = (int32_t)n;
    return RS_OK;
}

static rs_status id_taken(const loader *l, const char *where, const char *token, int32_t id)
{
    int n = 0;
    const char *other = holder(&l->tokenizer->bpe.vocab, id, &n);
    return other ? bad(l, where, "\"%s\" and \"%.*s\" both have id %d", token, n, other, (int)id) : RS_OK;
}

static rs_status parse_vocab(loader *l, const json_t *model)
{
    json_t *tokens = json_object_get(model, "vocab");
    if (!json_is_object(tokens))
        return wrong_type(l, "model", "vocab", "an object", tokens);
    if (json_object_size(tokens) == 0)
        return bad(l, "model", "key \"vocab\" is empty");
    rs_vocab_reserve(&l->tokenizer->bpe.vocab, json_object_size(tokens));
    const char *token;
    json_t *value;
    json_object_foreach((json_t *)tokens, token, value)
    {
        int32_t id;
        RS_TRY(get_id(l, "model.vocab", token, value, &id));
        RS_TRY(id_taken(l, "model.vocab", token, id));
        rs_vocab_add(&l->tokenizer->bpe.vocab, token, strlen(token), id, true);
    }
    return RS_OK;
}

/* A merge's two spellings, "a b" or ["a", "b"], joined in `joined`; *left_n: bytes of the first. */
static rs_status read_merge(const loader *l, const json_t *merge, size_t rank, rs_text *joined, size_t *left_n)
{
    rs_text_clear(joined);
    const char *left = NULL, *right = NULL, *text = json_string_value(merge);
    if (text) {
        const char *space = strchr(text, ' ');
        if (space == NULL || strchr(space + 1, ' ') != NULL)
            return rs_fail(RS_INVALID, "%s: model.merges[%zu]: \"%s\" is not two tokens with one space between", l->path, rank, text);
        *left_n = (size_t)(space - text);
        rs_text_append(joined, text, *left_n);
        rs_text_puts(joined, space + 1);
        return RS_OK;
    }
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        left = json_string_value(json_array_get(merge, 0));
        right = json_string_value(json_array_get(merge, 1));
    }
    if (left == NULL || right == NULL)
        return rs_fail(RS_INVALID, "%s: model.merges[%zu]: must be \"a b\" or [\"a\", \"b\"], not %s", l->path, rank, type_name(merge));
    *left_n = strlen(left);
    rs_text_puts(joined, left);
    rs_text_puts(joined, right);
    return RS_OK;
}

static rs_status find_merged(const loader *l, const char *spelling, size_t n, size_t rank, int32_t *id)
{
    *id = rs_vocab_find_model(&l->tokenizer->bpe.vocab, spelling, n);
    if (*id < 0)
        return rs_fail(RS_INVALID, "%s: model.merges[%zu]: token \"%.*s\" is not in model.vocab", l->path, rank, (int)n, spelling);
    return RS_OK;
}

static rs_status add_merge(loader *l, const rs_text *joined, size_t left_n, size_t rank)
{
    rs_bpe *bpe = &l->tokenizer->bpe;
    int32_t left, right, id;
    const char *middle = joined->data + left_n;
    RS_TRY(find_merged(l, joined->data, left_n, rank, &left));
    RS_TRY(find_merged(l, middle, joined->n - left_n, rank, &right));
    RS_TRY(find_merged(l, joined->data, joined->n, rank, &id));
    if (left_n == 0 || left_n == joined->n)
        return rs_fail(RS_INVALID, "%s: model.merges[%zu]: one of the two tokens is empty", l->path, rank);
    rs_merges_put(&bpe->merges, left, right, (uint32_t)rank, id);
    if (!bpe->byte_level) {
        size_t length;
        rs_seams_join(&bpe->seams, rs_utf8_decode(rs_utf8_before(middle), &length), rs_utf8_decode(middle, &length));
    }
    return RS_OK;
}

static rs_status parse_merges(loader *l, const json_t *model)
{
    json_t *list = json_object_get(model, "merges");
    if (!json_is_array(list))
        return wrong_type(l, "model", "merges", "an array", list);
    rs_merges_init(&l->tokenizer->bpe.merges, json_array_size(list));
    rs_text joined = {0};
    rs_status status = RS_OK;
    size_t i, rank = 0;
    json_t *merge;
    json_array_foreach(list, i, merge)
    {
        if (json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0)
            continue; /* a line that merges.txt leaves in old files; it has no rank */
        size_t left_n = 0;
        status = read_merge(l, merge, i, &joined, &left_n);
        if (status == RS_OK)
            status = add_merge(l, &joined, left_n, rank++);
        if (status != RS_OK)
            break;
    }
    rs_text_free(&joined);
    return status;
}

static void know_characters(rs_bpe *bpe)
{
    for (size_t id = 0; id < bpe->vocab.n; id++) {
        const rs_vocab_entry *entry = &bpe->vocab.entries[id];
        size_t length = 0;
        if (!entry->present || entry->n == 0)
            continue;
        uint32_t cp = rs_utf8_decode(bpe->vocab.bytes.data + entry->at, &length);
        if (length == entry->n)
            rs_seams_know(&bpe->seams, cp);
    }
    rs_seams_finish(&bpe->seams);
}

static void find_bytes(rs_bpe *bpe)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char spelling[16];
        size_t n = bpe->byte_level ? rs_utf8_encode(rs_byte_to_char((unsigned char)byte), spelling)
                                   : (size_t)snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
        bpe->byte_ids[byte] = rs_vocab_find_model(&bpe->vocab, spelling, n);
    }
}

static rs_status parse_unk(loader *l, const json_t *model)
{
    l->tokenizer->bpe.unk = -1;
    if (!present(model, "unk_token"))
        return RS_OK;
    const char *unk;
    RS_TRY(get_string(l, "model", model, "unk_token", &unk));
    l->tokenizer->bpe.unk = rs_vocab_find_model(&l->tokenizer->bpe.vocab, unk, strlen(unk));
    if (l->tokenizer->bpe.unk < 0)
        return bad(l, "model", "key \"unk_token\": \"%s\" is not in model.vocab", unk);
    return RS_OK;
}

/* Keys that change what BPE does in ways that no model of these families uses. */
static rs_status refuse_variants(const loader *l, const json_t *model)
{
    json_t *dropout = present(model, "dropout");
    if (dropout && !(json_is_number(dropout) && fpclassify(json_number_value(dropout)) == FP_ZERO))
        return bad(l, "model", "key \"dropout\" must be null or 0: ids would be random");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        json_t *affix = present(model, affixes[i]);
        if (affix && !(json_is_string(affix) && json_string_length(affix) == 0))
            return bad(l, "model", "key \"%s\" is not supported, only null or \"\"", affixes[i]);
    }
    return RS_OK;
}

static rs_status parse_model(loader *l, const json_t *root)
{
    json_t *model = json_object_get(root, "model");
    if (!json_is_object(model))
        return wrong_type(l, "tokenizer", "model", "an object", model);
    const char *type = "BPE"; /* the oldest files do not say */
    if (json_object_get(model, "type"))
        RS_TRY(get_string(l, "model", model, "type", &type));
    if (strcmp(type, "BPE") != 0)
        return bad(l, "model", "type \"%s\" is not supported, only \"BPE\"", type);
    rs_bpe *bpe = &l->tokenizer->bpe;
    RS_TRY(refuse_variants(l, model));
    RS_TRY(get_optional_bool(l, "model", model, "byte_fallback", &bpe->byte_fallback));
    RS_TRY(get_optional_bool(l, "model", model, "fuse_unk", &bpe->fuse_unk));
    RS_TRY(get_optional_bool(l, "model", model, "ignore_merges", &bpe->ignore_merges));
    if (bpe->byte_level && bpe->byte_fallback)
        return bad(l, "model", "\"byte_fallback\" with a ByteLevel pre_tokenizer is not supported");
    RS_TRY(parse_vocab(l, model));
    RS_TRY(parse_unk(l, model));
    rs_seams_init(&bpe->seams);
    RS_TRY(parse_merges(l, model));
    know_characters(bpe);
    find_bytes(bpe);
    return RS_OK;
}

/* ---- Added tokens ---- */

/* Enters the spelling, or checks that the vocabulary has it under the same id. */
static rs_status enter_added(loader *l, const char *where, const char *content, int32_t id)
{
    rs_vocab *vocab = &l->tokenizer->bpe.vocab;
    int32_t known = rs_vocab_find(vocab, content, strlen(content));
    if (known == id)
        return RS_OK;
    if (known >= 0)
        return bad(l, where, "\"%s\" has id %d here and id %d before", content, (int)id, (int)known);
    RS_TRY(id_taken(l, where, content, id));
    if ((size_t)id != vocab->n_used) /* Hugging Face numbers them in order after the vocabulary, whatever the file says */
        return bad(l, where, "\"%s\" has id %d where Hugging Face would give it %zu", content, (int)id, vocab->n_used);
    rs_vocab_add(vocab, content, strlen(content), id, false);
    return RS_OK;
}

/* Spells the token as the normalizer would: it is looked for in normalized text, and decoded as such. */
static void normalize_added(rs_tokenizer *t, const char *content, const rs_added *added)
{
    rs_text normal = {0}, swap = {0};
    rs_edits_run(t, content, strlen(content), &normal, &swap);
    rs_trie_add(&t->normalized, normal.data, normal.n, (int32_t)t->n_added);
    rs_vocab_entry *entry = &t->bpe.vocab.entries[added->id];
    entry->normal_at = (uint32_t)t->bpe.vocab.bytes.n;
    entry->normal_n = (uint32_t)normal.n;
    rs_text_append(&t->bpe.vocab.bytes, normal.data, normal.n);
    rs_text_free(&normal);
    rs_text_free(&swap);
}

static rs_status parse_added_token(loader *l, const char *where, const json_t *token)
{
    rs_tokenizer *t = l->tokenizer;
    rs_added added = {0};
    bool special;
    const char *content;
    if (!json_is_object(token))
        return bad(l, where, "must be an object, not %s", type_name(token));
    RS_TRY(get_string(l, where, token, "content", &content));
    RS_TRY(get_bool(l, where, token, "single_word", &added.single_word));
    RS_TRY(get_bool(l, where, token, "lstrip", &added.lstrip));
    RS_TRY(get_bool(l, where, token, "rstrip", &added.rstrip));
    RS_TRY(get_bool(l, where, token, "normalized", &added.normalized));
    RS_TRY(get_bool(l, where, token, "special", &special));
    if (json_object_get(token, "id") == NULL)
        return bad(l, where, "key \"id\" is missing");
    if (content[0] == '\0')
        return bad(l, where, "key \"content\" is empty");
    RS_TRY(get_id(l, where, content, json_object_get(token, "id"), &added.id));
    RS_TRY(enter_added(l, where, content, added.id));
    rs_vocab_entry *entry = &t->bpe.vocab.entries[added.id];
    if (entry->added)
        return bad(l, where, "\"%s\" is there twice", content);
    entry->added = true;
    entry->special = special;
    if (added.normalized)
        normalize_added(t, content, &added);
    else
        rs_trie_add(&t->plain, content, strlen(content), (int32_t)t->n_added);
    RS_PUSH(t->added, t->n_added, t->cap_added, added);
    if (added.single_word && t->word == NULL) /* \w of Unicode: Alphabetic, marks, digits, connectors, joiners */
        return set_regex(l, where,
                         "[\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}"
                         "\\x{1F170}-\\x{1F189}\\x{200C}\\x{200D}]",
                         &t->word);
    return RS_OK;
}

static rs_status parse_added(loader *l, const json_t *root)
{
    json_t *tokens = present(root, "added_tokens");
    if (tokens == NULL)
        return RS_OK;
    if (!json_is_array(tokens))
        return wrong_type(l, "tokenizer", "added_tokens", "an array", tokens);
    size_t i;
    json_t *token;
    json_array_foreach(tokens, i, token)
    {
        char where[64];
        snprintf(where, sizeof where, "added_tokens[%zu]", i);
        RS_TRY(parse_added_token(l, where, token));
    }
    return RS_OK;
}

rs_status rs_tokenizer_parse(rs_tokenizer *tokenizer, const char *path, const char *text, size_t n)
{
    rs_trie_init(&tokenizer->plain);
    rs_trie_init(&tokenizer->normalized);
    json_error_t error;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return rs_fail(RS_INVALID, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    loader l = {.tokenizer = tokenizer, .path = path};
    rs_status status = json_is_object(root) ? RS_OK : bad(&l, "tokenizer", "must be an object, not %s", type_name(root));
    if (status == RS_OK)
        status = parse_steps(&l, root); /* first: whether words are bytes decides how the vocabulary is read */
    if (status == RS_OK)
        status = parse_model(&l, root);
    if (status == RS_OK)
        status = parse_added(&l, root);
    json_decref(root);
    return status;
}
