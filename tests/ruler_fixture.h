/* What the tests of RULER's tasks share: question files and a text made here, reading what a prompt says at a logged position. */
#ifndef RS_TESTS_RULER_FIXTURE_H
#define RS_TESTS_RULER_FIXTURE_H

#include "probe_fixture.h"

enum { N_ARTICLES = 120, N_PARAGRAPHS = 6, MAX_QA_WORDS = 90 };

/* Paragraph p of article a: its name, then words. */
static inline char *paragraph_text(int a, int p)
{
    rs_text text = {0};
    rs_text_printf(&text, "Note %d-%d.", a, p);
    for (int i = 0, n = 20 + (a * 31 + p * 17) % (MAX_QA_WORDS - 20); i < n; i++)
        rs_text_printf(&text, " %s", rs_nouns[(a * 7 + p * 13 + i * i) % RS_N_NOUNS]);
    rs_text_puts(&text, ".\nEnd.");
    return text.data;
}

/* One answerable and one impossible question a paragraph. */
static inline void write_squad(void)
{
    rs_text text = {0};
    rs_text_puts(&text, "\xEF\xBB\xBF{\"version\": \"v2.0\", \"data\": [");
    for (int a = 0; a < N_ARTICLES; a++) {
        rs_text_printf(&text, "%s\n{\"title\": \"t\", \"paragraphs\": [", a ? "," : "");
        for (int p = 0; p < N_PARAGRAPHS; p++) {
            char *context = paragraph_text(a, p);
            rs_text_printf(&text, "%s\n{\"context\": ", p ? "," : "");
            rs_text_json_string(&text, context, strlen(context));
            rs_text_printf(&text,
                           ", \"qas\": [{\"id\": \"x\", \"question\": \"ask %d-%d?\", \"is_impossible\": false, \"answers\": "
                           "[{\"text\": \"Note %d-%d\", \"answer_start\": 0}, {\"text\": \"Note\", \"answer_start\": 0}]},"
                           "{\"question\": \"never?\", \"is_impossible\": true, \"answers\": [], \"plausible_answers\": []}]}",
                           a, p, a, p);
            free(context);
        }
        rs_text_puts(&text, "]}");
    }
    rs_text_puts(&text, "]}");
    write_file("squad.json", text.data, text.n);
    rs_text_free(&text);
}

/* Question q has six documents of its own, two of them gold; all questions share one document, which must not stand twice. */
static inline void write_hotpot(void)
{
    rs_text text = {0};
    for (int q = 0; q < N_ARTICLES; q++) {
        rs_text_printf(&text, "%s{\"_id\": \"i\", \"question\": \"ask %d?\", \"answer\": \"yes %d\", \"type\": \"bridge\", \"context\": [",
                       q ? ",\n" : "[", q, q);
        for (int p = 0; p < N_PARAGRAPHS; p++) {
            char *context = paragraph_text(q, p);
            rs_text_printf(&text, "[\"T%d-%d\", [\"\", ", q, p);
            rs_text_json_string(&text, context, strlen(context));
            rs_text_puts(&text, ", \" More.\"]], ");
            free(context);
        }
        rs_text_printf(&text, "[\"Shared\", [\"A shared one.\"]]], \"supporting_facts\": [[\"T%d-4\", 0], [\"T%d-1\", 2], [\"T%d-4\", 1]]}",
                       q, q, q);
    }
    rs_text_puts(&text, "]\n");
    write_file("hotpot.json", text.data, text.n);
    rs_text_free(&text);
}

static inline void write_essay(void)
{
    rs_text text = {0};
    for (int i = 0; i < 400; i++) {
        rs_text_puts(&text, i % 7 == 0 ? "\n\nThe" : " The");
        for (int k = 0; k < 4 + i % 5; k++)
            rs_text_printf(&text, " %s", rs_nouns[(i * 11 + k * k) % RS_N_NOUNS]);
        rs_text_puts(&text, ".");
    }
    write_file("essay.txt", text.data, text.n);
    rs_text_free(&text);
}

static inline int files_open(void **state)
{
    if (fixture_open(state) != 0)
        return -1;
    write_essay();
    write_squad();
    write_hotpot();
    return 0;
}

/* cwe with words of one token for the small vocabularies. Freed by the caller. */
static inline char *noun_words(const char *more)
{
    rs_text text = {0};
    rs_text_printf(&text, "%s\nwords=@", more);
    for (int i = 0; i < RS_N_NOUNS; i++)
        rs_text_printf(&text, "%s%s", i ? "|" : "", rs_nouns[i]);
    return text.data;
}

/* What stands at a position of the facts, its separator skipped. */
static inline void expect_text_at(const rs_sample *s, int fact_index, const char *expected)
{
    char *text = text_from(s, (int64_t)fact(s, "positions", fact_index));
    const char *start = text + strspn(text, " \n");
    if (strncmp(start, expected, strlen(expected)) != 0)
        fail_msg("at position %d of the facts stands '%.40s', expected '%s'", fact_index, start, expected);
    free(text);
}

#endif
