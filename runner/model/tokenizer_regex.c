/* Oniguruma's regexes (what tokenizer.json is written for) on PCRE2.
 * The two agree on most of what tokenizers use; where they do not, the pattern is rewritten or refused:
 *   \s          PCRE2 counts U+180E as space; Unicode does not
 *   \p{..}      the tables' ages differ (tokenizer_unicode.c); \p{Han} is a script here, its extensions there
 *   \d \v \x \u rewritten; \w \b \h, POSIX brackets, nested or intersected classes, back references: refused
 *   {n,m}+ {n}? possessive and lazy in PCRE2, a second quantifier in Oniguruma: refused */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

#define SPACE_RANGES "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define NO_SPACE_RANGES                                                                                                                    \
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}"                     \
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}"
#define HAN_RANGES                                                                                                                         \
    "\\x{2E80}-\\x{2E99}\\x{2E9B}-\\x{2EF3}\\x{2F00}-\\x{2FD5}\\x{3005}\\x{3007}\\x{3021}-\\x{3029}\\x{3038}-\\x{303B}"                    \
    "\\x{3400}-\\x{4DBF}\\x{4E00}-\\x{9FFF}\\x{F900}-\\x{FA6D}\\x{FA70}-\\x{FAD9}\\x{16FE2}\\x{16FE3}\\x{16FF0}\\x{16FF1}"                 \
    "\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B739}\\x{2B740}-\\x{2B81D}\\x{2B820}-\\x{2CEA1}\\x{2CEB0}-\\x{2EBE0}"                            \
    "\\x{2EBF0}-\\x{2EE5D}\\x{2F800}-\\x{2FA1D}\\x{30000}-\\x{3134A}\\x{31350}-\\x{323AF}"

/* What one match may take; backtracking over a whole text is far below. */
enum { MIN_STEPS = 1000000, STEPS_A_BYTE = 100 };

struct rs_regex {
    pcre2_code *fast, *full;
};

typedef struct translation {
    const char *p;   /* what is left of the pattern */
    const char *all; /* its start */
    bool in_class, full;
    rs_text *out, *why;
} translation;

static rs_status refuse(translation *t, const char *what, size_t n)
{
    rs_text_clear(t->why);
    rs_text_printf(t->why, "\"%.*s\" in the pattern is not supported", (int)n, what);
    return RS_INVALID;
}

/* A class of characters given by ranges, alone or inside brackets. */
static void put_ranges(translation *t, const char *before, const char *ranges, bool negated)
{
    rs_text_puts(t->out, t->in_class ? "" : negated ? "[^" : "[");
    rs_text_puts(t->out, before);
    rs_text_puts(t->out, ranges);
    rs_text_puts(t->out, t->in_class ? "" : "]");
}

static rs_status put_category(translation *t, const char *name, bool negated, const char *source, size_t source_n)
{
    if (negated && t->in_class)
        return refuse(t, source, source_n); /* no way to take the additions out again */
    bool han = strcmp(name, "Han") == 0;
    if (!han && (strchr("LMNPSZ", name[0]) == NULL || strlen(name) > 2 || (name[1] != '\0' && strchr("ultmocedkpsif", name[1]) == NULL)))
        return refuse(t, source, source_n);
    if (han) {
        put_ranges(t, "", HAN_RANGES, negated);
    } else if (!t->full) {
        rs_text_printf(t->out, "\\%c{%s}", negated ? 'P' : 'p', name);
    } else {
        rs_text ranges = {0};
        rs_text_printf(&ranges, "\\p{%s}", name);
        rs_unicode_put_additions(name, &ranges);
        put_ranges(t, "", ranges.data, negated);
        rs_text_free(&ranges);
    }
    return RS_OK;
}

/* \p{L}, \pL, \P{L}, \p{^L}; t->p is at the p. */
static rs_status translate_property(translation *t)
{
    const char *start = t->p - 1;
    bool negated = *t->p++ == 'P';
    char name[16] = "";
    size_t n = 0;
    if (*t->p == '{') {
        t->p++;
        if (*t->p == '^') {
            negated = !negated;
            t->p++;
        }
        n = strcspn(t->p, "}");
        if (t->p[n] != '}' || n == 0 || n >= sizeof name)
            return refuse(t, start, (size_t)(t->p + n - start));
        memcpy(name, t->p, n);
        t->p += n + 1;
    } else {
        return refuse(t, start, 2);
    }
    return put_category(t, name, negated, start, (size_t)(t->p - start));
}

/* \xHH, \x{H..}, \uHHHH; t->p is at the x or u. */
static rs_status translate_code(translation *t)
{
    const char *start = t->p - 1;
    const char *hex = "0123456789abcdefABCDEF";
    bool braces = t->p[0] == 'x' && t->p[1] == '{';
    const char *digits = t->p + (braces ? 2 : 1);
    size_t wanted = *t->p == 'u' ? 4 : 2;
    size_t n = strspn(digits, hex);
    if (!braces && n > wanted)
        n = wanted;
    bool bad = braces ? n == 0 || n > 6 || digits[n] != '}' : n != wanted;
    if (!bad && *t->p == 'x' && !braces && digits[0] >= '8') /* a raw byte to Oniguruma */
        bad = true;
    if (bad)
        return refuse(t, start, (size_t)(digits + n - start));
    rs_text_printf(t->out, "\\x{%.*s}", (int)n, digits);
    t->p = digits + n + braces;
    return RS_OK;
}

static rs_status translate_escape(translation *t)
{
    char c = *++t->p;
    const char *source = t->p - 1;
    switch (c) {
    case 's':
        if (t->full)
            put_ranges(t, "", SPACE_RANGES, false);
        else
            rs_text_puts(t->out, "\\s");
        break;
    case 'S':
        if (t->full)
            put_ranges(t, "", t->in_class ? NO_SPACE_RANGES : SPACE_RANGES, true);
        else
            rs_text_puts(t->out, "\\S");
        break;
    case 'd':
    case 'D':
        t->p++;
        return put_category(t, "Nd", c == 'D', source, 2);
    case 'p':
    case 'P':
        return translate_property(t);
    case 'x':
    case 'u':
        return translate_code(t);
    case 'v':
        rs_text_puts(t->out, "\\x{B}");
        break;
    case 'r':
    case 'n':
    case 't':
    case 'f':
    case 'a':
    case 'e':
        rs_text_append(t->out, source, 2);
        break;
    case '\0':
        return refuse(t, source, 1);
    default:
        if (c == '_' || strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~ ", c) == NULL)
            return refuse(t, source, 2);
        rs_text_append(t->out, source, 2);
    }
    t->p++;
    return RS_OK;
}

static rs_status translate_class(translation *t)
{
    const char *start = t->p;
    rs_text_puts(t->out, "[");
    t->p++;
    if (*t->p == '^') {
        rs_text_puts(t->out, "^");
        t->p++;
    }
    if (*t->p == ']')
        return refuse(t, start, (size_t)(t->p + 1 - start));
    t->in_class = true;
    while (*t->p != ']') {
        if (*t->p == '\0')
            return refuse(t, start, strlen(start));
        if (*t->p == '[' || strncmp(t->p, "&&", 2) == 0)
            return refuse(t, start, strcspn(start, "]") + 1);
        if (*t->p == '\\')
            RS_TRY(translate_escape(t));
        else
            rs_text_append(t->out, t->p++, 1);
    }
    t->in_class = false;
    rs_text_append(t->out, t->p++, 1);
    return RS_OK;
}

static rs_status translate_group(translation *t)
{
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(t->p, kinds[i], n) == 0) {
            rs_text_append(t->out, t->p, n);
            t->p += n;
            return RS_OK;
        }
    }
    if (t->p == t->all && strncmp(t->p, "(?i)", 4) == 0) { /* further in, its reach over `|` differs */
        rs_text_append(t->out, t->p, 4);
        t->p += 4;
        return RS_OK;
    }
    if (t->p[1] == '?' || t->p[1] == '*')
        return refuse(t, t->p, strcspn(t->p, ":)") + 1);
    rs_text_append(t->out, t->p++, 1);
    return RS_OK;
}

static rs_status translate_repeat(translation *t)
{
    const char *digits = "0123456789";
    const char *start = t->p++;
    size_t low = strspn(t->p, digits);
    t->p += low;
    if (*t->p == ',')
        t->p++;
    t->p += strspn(t->p, digits);
    if (low == 0 || *t->p != '}' || t->p[1] == '+' || t->p[1] == '?')
        return refuse(t, start, strcspn(start, "}") + 2);
    t->p++;
    rs_text_append(t->out, start, (size_t)(t->p - start));
    return RS_OK;
}

static rs_status translate(const char *pattern, bool full, rs_text *out, rs_text *why)
{
    translation t = {.p = pattern, .all = pattern, .full = full, .out = out, .why = why};
    rs_text_puts(out, "");
    while (*t.p != '\0') {
        if (*t.p == '\\')
            RS_TRY(translate_escape(&t));
        else if (*t.p == '[')
            RS_TRY(translate_class(&t));
        else if (*t.p == '(')
            RS_TRY(translate_group(&t));
        else if (*t.p == '{')
            RS_TRY(translate_repeat(&t));
        else
            rs_text_append(out, t.p++, 1);
    }
    return RS_OK;
}

static rs_status compile(const char *pattern, bool full, pcre2_code **out, rs_text *why)
{
    rs_text translated = {0};
    rs_status status = translate(pattern, full, &translated, why);
    if (status == RS_OK) {
        pcre2_compile_context *context = pcre2_compile_context_create(NULL);
        if (context)
            pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        int error;
        PCRE2_SIZE at;
        /* MULTILINE: ^ and $ are about lines in Oniguruma. */
        *out = pcre2_compile((PCRE2_SPTR)translated.data, translated.n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                             &error, &at, context);
        pcre2_compile_context_free(context);
        if (*out == NULL) {
            char message[256] = "";
            pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
            rs_text_clear(why);
            rs_text_printf(why, "the pattern does not compile: %s", message);
            status = RS_INVALID;
        } else {
            pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no JIT, the interpreter does the same, slower */
        }
    }
    rs_text_free(&translated);
    return status;
}

rs_status rs_regex_compile(const char *pattern, rs_regex **out, rs_text *why)
{
    *out = NULL;
    rs_regex *regex = rs_alloc(1, sizeof *regex);
    rs_status status = compile(pattern, false, &regex->fast, why);
    if (status == RS_OK)
        status = compile(pattern, true, &regex->full, why);
    if (status != RS_OK)
        rs_regex_free(regex);
    else
        *out = regex;
    return status;
}

rs_text rs_regex_quote(const char *literal)
{
    rs_text out = {0};
    rs_text_puts(&out, "");
    for (const char *p = literal; *p != '\0'; p++) {
        if (strchr("\\^$.[]|()?*+{}", *p))
            rs_text_puts(&out, "\\");
        rs_text_append(&out, p, 1);
    }
    return out;
}

void rs_regex_free(rs_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->fast);
    pcre2_code_free(regex->full);
    free(regex);
}

static rs_status matcher_open(rs_matcher *matcher)
{
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    if (matcher->data == NULL || matcher->context == NULL)
        return rs_fail(RS_NO_MEMORY, "tokenizer: no memory to match a pattern");
    /* Texts are long: a match may go as deep as memory lets it. */
    pcre2_set_depth_limit(matcher->context, UINT32_MAX);
    pcre2_set_heap_limit(matcher->context, UINT32_MAX);
    return RS_OK;
}

void rs_matcher_free(rs_matcher *matcher)
{
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->jit_stack);
    *matcher = (rs_matcher){0};
}

/* A match that outgrew the stack: once more with a large one, and at last with the interpreter, whose stack is the heap. */
static int match_again(const pcre2_code *code, rs_matcher *matcher, PCRE2_SPTR text, size_t n, size_t from)
{
    if (matcher->jit_stack == NULL) {
        matcher->jit_stack = pcre2_jit_stack_create(64 << 10, 64 << 20, NULL);
        if (matcher->jit_stack)
            pcre2_jit_stack_assign(matcher->context, NULL, matcher->jit_stack);
    }
    int rc = pcre2_match(code, text, n, from, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, text, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matcher->data, matcher->context);
    return rc;
}

rs_status rs_regex_next(const rs_regex *regex, rs_matcher *matcher, const char *text, size_t n, size_t from, bool *found, size_t *start,
                        size_t *stop)
{
    *found = false;
    if (matcher->data == NULL)
        RS_TRY(matcher_open(matcher));
    /* Steps that grow with the text are fine; a pattern that takes exponentially many would never end. */
    size_t limit = MIN_STEPS + STEPS_A_BYTE * n;
    pcre2_set_match_limit(matcher->context, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
    const pcre2_code *code = matcher->full ? regex->full : regex->fast;
    int rc = pcre2_match(code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = match_again(code, matcher, (PCRE2_SPTR)text, n, from);
    if (rc == PCRE2_ERROR_NOMATCH)
        return RS_OK;
    if (rc == PCRE2_ERROR_MATCHLIMIT)
        return rs_fail(RS_INVALID, "tokenizer: a pre_tokenizer pattern takes more than %zu steps at byte %zu of %zu", limit, from, n);
    if (rc < 0)
        return rs_fail(rc == PCRE2_ERROR_NOMEMORY ? RS_NO_MEMORY : RS_INTERNAL,
                       "tokenizer: pre_tokenizer pattern fails at byte %zu of %zu: PCRE2 error %d", from, n, rc);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(matcher->data);
    *found = true;
    *start = ends[0];
    *stop = ends[1];
    return RS_OK;
}
