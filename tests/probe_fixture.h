/* What the tests of the probes share: seeds, opening under one of them, what stands at a logged position. */
#ifndef RS_TESTS_PROBE_FIXTURE_H
#define RS_TESTS_PROBE_FIXTURE_H

#include "task_fixture.h"

static const uint64_t probe_seeds[] = {1, 42, 9007199254740992};

static inline void bench_open_seed(bench *b, const char *name, const char *settings, uint64_t seed)
{
    bench_open(b, name, settings);
    b->task->close(b->state);
    b->setup.seed = seed;
    assert_int_equal(b->task->open(&b->setup, &b->state), RS_OK);
}

/* The text that follows the tokens before `position`. Freed by the caller. */
static inline char *text_from(const rs_sample *s, int64_t position)
{
    rs_text text = {0};
    rs_text_puts(&text, "");
    rs_tokenizer_decode(test_tokenizer, s->tokens.ids + position, s->tokens.n - (size_t)position, &text);
    return text.data;
}

static inline bool begins(const char *text, const char *with)
{
    text += *text == ' ';
    return strncmp(text, with, strlen(with)) == 0;
}

static inline void expect_message(rs_status status, const char *word)
{
    if (status != RS_INVALID || strstr(rs_error_message(), word) == NULL)
        fail_msg("status %d, '%s', expected '%s'", status, rs_error_message(), word);
    rs_error_clear();
}

static inline double score_of(const bench *b, const rs_sample *s, const char *response, size_t n)
{
    double score = -1;
    b->task->score(b->state, s, response, n, &score);
    return score;
}

/* Tokens of the prompt and of the room for an answer. */
static inline int64_t used_by(const rs_sample *s)
{
    return (int64_t)s->tokens.n + s->max_new_tokens;
}

#define TEST(function) cmocka_unit_test_setup(function, fixture_clear)

#endif
