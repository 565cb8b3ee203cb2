/* The normalizer and the pre_tokenizer: text to edited text, edited text to the words that BPE sees one by one. */
#include <string.h>

#include "model/tokenizer_parts.h"

typedef struct span {
    size_t start, stop;
    bool match;
} span;

/* One stage at work on one piece: joins matches and gaps as the behavior says, and hands each result on. */
typedef struct splitter {
    rs_encoder *encoder;
    size_t stage;
    const char *text;
    rs_split_behavior behavior;
    bool invert;
    bool previous_match; /* of the last span offered */
    bool has_pending;
    span pending;
} splitter;

static rs_status run_stage(rs_encoder *encoder, size_t stage, const char *text, size_t n);

static rs_status hand_on(splitter *s, size_t start, size_t stop)
{
    return start == stop ? RS_OK : run_stage(s->encoder, s->stage + 1, s->text + start, stop - start);
}

static rs_status flush(splitter *s)
{
    if (!s->has_pending)
        return RS_OK;
    s->has_pending = false;
    return hand_on(s, s->pending.start, s->pending.stop);
}

/* Whether `next` joins the pending span. */
static bool joins(const splitter *s, span next)
{
    if (!s->has_pending)
        return false;
    switch (s->behavior) {
    case RS_SPLIT_CONTIGUOUS:
        return next.match == s->previous_match;
    case RS_SPLIT_WITH_PREVIOUS:
        return next.match && !s->previous_match;
    case RS_SPLIT_WITH_NEXT:
        return !next.match && s->previous_match;
    case RS_SPLIT_ISOLATED:
    case RS_SPLIT_REMOVED:
        break;
    }
    return false;
}

/* Offers the next span, match or gap, in text order. */
static rs_status offer(splitter *s, size_t start, size_t stop, bool match)
{
    span next = {.start = start, .stop = stop, .match = match != s->invert};
    if (s->behavior == RS_SPLIT_ISOLATED)
        return hand_on(s, start, stop);
    if (s->behavior == RS_SPLIT_REMOVED)
        return next.match ? RS_OK : hand_on(s, start, stop);
    if (joins(s, next)) {
        s->pending.stop = stop;
    } else {
        RS_TRY(flush(s));
        s->pending = next;
        s->has_pending = true;
    }
    s->previous_match = next.match;
    return RS_OK;
}

static rs_status split_by_regex(splitter *s, const rs_regex *regex, size_t n)
{
    size_t at = 0, taken = 0, last_stop = SIZE_MAX;
    while (at <= n) {
        bool found;
        size_t start, stop;
        RS_TRY(rs_regex_next(regex, &s->encoder->matcher, s->text, n, at, &found, &start, &stop));
        if (!found)
            break;
        if (start == stop && stop == last_stop) { /* an empty match right after a match does not count */
            size_t step = 1;
            if (at < n)
                rs_utf8_decode(s->text + at, &step);
            at += step;
            continue;
        }
        if (taken != start)
            RS_TRY(offer(s, taken, start, false));
        RS_TRY(offer(s, start, stop, true));
        taken = at = last_stop = stop;
    }
    if (taken != n)
        RS_TRY(offer(s, taken, n, false));
    return flush(s);
}

static rs_status split_by_digits(splitter *s, size_t n)
{
    size_t taken = 0;
    for (size_t i = 0; i < n;) {
        size_t length;
        uint32_t cp = rs_utf8_decode(s->text + i, &length);
        if (rs_unicode_is_numeric(cp)) {
            if (taken != i)
                RS_TRY(offer(s, taken, i, false));
            RS_TRY(offer(s, i, i + length, true));
            taken = i + length;
        }
        i += length;
    }
    if (taken != n)
        RS_TRY(offer(s, taken, n, false));
    return flush(s);
}

/* Runs a piece through the stages from `stage` on, then BPE. */
static rs_status run_stage(rs_encoder *encoder, size_t stage, const char *text, size_t n)
{
    if (stage == encoder->tokenizer->n_splits)
        return rs_bpe_encode(encoder, text, n);
    const rs_split *split = &encoder->tokenizer->splits[stage];
    if (split->add_prefix_space && text[0] != ' ') {
        /* Only the last stage has the flag, so one buffer does. */
        rs_text_clear(&encoder->prefixed);
        rs_text_puts(&encoder->prefixed, " ");
        rs_text_append(&encoder->prefixed, text, n++);
        text = encoder->prefixed.data;
    }
    splitter s = {.encoder = encoder, .stage = stage, .text = text, .behavior = split->behavior, .invert = split->invert};
    if (split->kind == RS_SPLIT_DIGITS)
        return split_by_digits(&s, n);
    if (split->regex)
        return split_by_regex(&s, split->regex, n);
    return hand_on(&s, 0, n);
}

rs_status rs_splits_run(rs_encoder *encoder, const char *text, size_t n)
{
    if (n == 0)
        return RS_OK;
    if (encoder->tokenizer->n_splits > 0)
        encoder->matcher.full = rs_unicode_has_divergent(text, n);
    return run_stage(encoder, 0, text, n);
}

static void replace_all(const rs_edit *edit, const char *text, size_t n, rs_text *out)
{
    const char *end = text + n;
    const char *p = text;
    while (p < end) {
        const char *hit = memmem(p, (size_t)(end - p), edit->from.data, edit->from.n);
        if (hit == NULL)
            break;
        rs_text_append(out, p, (size_t)(hit - p));
        rs_text_append(out, edit->to.data, edit->to.n);
        p = hit + edit->from.n;
    }
    rs_text_append(out, p, (size_t)(end - p));
}

void rs_edits_run(const rs_tokenizer *tokenizer, const char *text, size_t n, rs_text *out, rs_text *swap)
{
    rs_text_clear(out);
    if (n == 0 || tokenizer->n_edits == 0) {
        rs_text_append(out, text, n);
        return;
    }
    for (size_t i = 0; i < tokenizer->n_edits; i++) {
        const rs_edit *edit = &tokenizer->edits[i];
        const char *from = i == 0 ? text : out->data;
        size_t from_n = i == 0 ? n : out->n;
        rs_text_clear(swap);
        if (edit->kind == RS_EDIT_REPLACE) {
            replace_all(edit, from, from_n, swap);
        } else {
            if (from_n > 0) /* a Replace may have left nothing */
                rs_text_append(swap, edit->to.data, edit->to.n);
            rs_text_append(swap, from, from_n);
        }
        rs_text t = *out;
        *out = *swap;
        *swap = t;
    }
}
