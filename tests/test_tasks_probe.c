/* The probes beside RULER: babilong, induction, nolima; and what all of them and clrs_text have in common. Answers are checked by solvers
 * of the tests' own, places by the text that stands there. */
#include "base/rng.h"
#include "probe_fixture.h"

static void write_essay(void)
{
    rs_text text = {0};
    for (int i = 0; i < 400; i++) {
        rs_text_puts(&text, i % 7 == 0 ? "\n\nThe" : "\nThe");
        for (int k = 0; k < 4 + i % 5; k++)
            rs_text_printf(&text, " %s", rs_nouns[(i * 11 + k * k) % RS_N_NOUNS]);
        rs_text_puts(&text, ".");
    }
    write_file("essay.txt", text.data, text.n);
    rs_text_free(&text);
}

/* Stories of 1..12 facts, behind every other fact a question about one of the people met so far. Returns how many questions. */
enum { N_STORIES = 40, N_PEOPLE = 4, N_PLACES = 6 };
static const char *const people[N_PEOPLE] = {"Mary", "John", "Sandra", "Daniel"};
static const char *const places[N_PLACES] = {"kitchen", "garden", "office", "hallway", "bathroom", "bedroom"};

static size_t write_story(rs_text *text, rs_rng *rng, int n_facts)
{
    size_t line = 0, questions = 0, seen[N_PEOPLE] = {0}, at[N_PEOPLE];
    for (int k = 0; k < n_facts; k++) {
        size_t who = rs_rng_below(rng, N_PEOPLE);
        at[who] = rs_rng_below(rng, N_PLACES);
        seen[who] = ++line;
        rs_text_printf(text, "%zu %s went to the %s.\n", line, people[who], places[at[who]]);
        if (k % 2)
            continue;
        while (!seen[who = rs_rng_below(rng, N_PEOPLE)])
            ;
        rs_text_printf(text, "%zu Where is %s? \t%s\t%zu\r\n", ++line, people[who], places[at[who]], seen[who]);
        questions++;
    }
    return questions;
}

static size_t write_stories(void)
{
    rs_text text = {0};
    rs_rng rng;
    size_t questions = 0;
    rs_rng_init(&rng, 5, "stories", 0, 0);
    for (int i = 0; i < N_STORIES; i++)
        questions += write_story(&text, &rng, 1 + i % 12);
    write_file("stories.txt", text.data, text.n);
    rs_text_free(&text);
    return questions;
}

typedef struct probe_case {
    const char *task, *settings;
    int64_t contexts[3];
} probe_case;

static const probe_case cases[] = {
    {"babilong_qa1", "file=stories.txt\nhaystack=essay.txt\n", {512, 1000, 4096}},
    {"babilong_qa1", "file=stories.txt\nhaystack=noise\nintro=\nmax_facts=3", {512, 1000, 4096}},
    {"nolima", "haystack=essay.txt", {512, 1000, 4096}},
    {"nolima", "haystack=noise\nnoise_order=random", {512, 1000, 4096}},
    {"induction", "", {512, 1001, 4096}},
    {"clrs_text", "", {512, 1000, 4096}},
    {"clrs_text", "algo=insertion_sort", {512, 1000, 4096}},
    {"clrs_text", "algo=binary_search\ndecimals=2", {512, 1000, 4096}},
    {"clrs_text", "algo=kadane", {512, 1000, 4096}},
    {"clrs_text", "algo=bfs", {4096, 5000, 8192}}, /* one node more at 512 is a tenth of the context */
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* --- all of them --- */

static void check_budget(bench *b, int64_t context)
{
    double used = 0;
    for (int64_t i = 0; i < 6; i++) {
        rs_sample s = bench_sample(b, context, i);
        if (s.error)
            fail_msg("%s: %s", b->task->name, s.error);
        assert_true(used_by(&s) <= context);
        assert_int_equal(s.tokens.ids[0], BOS);
        used += (double)used_by(&s) / (double)context / 6;
        rs_sample_free(&s);
    }
    if (used < 0.95)
        fail_msg("%s uses %.3f of %d tokens", b->task->name, used, (int)context);
}

static void test_budget(void **state)
{
    (void)state;
    write_essay();
    write_stories();
    for (size_t c = 0; c < N_CASES; c++)
        for (size_t k = 0; k < 3; k++) {
            bench b;
            bench_open_seed(&b, cases[c].task, cases[c].settings, probe_seeds[k]);
            check_budget(&b, cases[c].contexts[k]);
            check_budget(&b, cases[c].contexts[(k + 1) % 3]);
            bench_close(&b);
        }
}

static bool same_sample(const rs_sample *a, const rs_sample *b)
{
    bool same = a->tokens.n == b->tokens.n && memcmp(a->tokens.ids, b->tokens.ids, a->tokens.n * sizeof *a->tokens.ids) == 0 &&
                a->score_from == b->score_from && a->max_new_tokens == b->max_new_tokens && a->n_references == b->n_references &&
                strcmp(a->facts, b->facts) == 0;
    for (size_t i = 0; same && i < a->n_references; i++)
        same = strcmp(a->references[i], b->references[i]) == 0;
    return same;
}

/* A sample is the same whoever makes it and in whatever order; another seed or doc_id makes another. */
static void test_determinism(void **state)
{
    (void)state;
    write_essay();
    write_stories();
    for (size_t c = 0; c < N_CASES; c++) {
        bench one, two, other;
        bench_open_seed(&one, cases[c].task, cases[c].settings, 1);
        bench_open_seed(&two, cases[c].task, cases[c].settings, 1);
        bench_open_seed(&other, cases[c].task, cases[c].settings, 2);
        rs_sample last = bench_sample(&two, 600, 5), first = bench_sample(&one, 600, 0), again = bench_sample(&two, 600, 0);
        rs_sample foreign = bench_sample(&other, 600, 0);
        assert_true(same_sample(&first, &again));
        assert_false(same_sample(&first, &last));
        assert_false(same_sample(&first, &foreign));
        rs_sample_free(&last);
        rs_sample_free(&first);
        rs_sample_free(&again);
        rs_sample_free(&foreign);
        bench_close(&one);
        bench_close(&two);
        bench_close(&other);
    }
}

/* --- babilong --- */

static char *file_text(const char *name)
{
    rs_text text = {0};
    char *path = rs_path_join(test_folder, name);
    assert_int_equal(rs_file_read(path, 1 << 20, &text), RS_OK);
    free(path);
    return text.data;
}

#define BABILONG "file=stories.txt\nhaystack=essay.txt\n"

/* Who asks for a person gets the place where that person went last. Freed by the caller. */
static char *solve_story(const char *story, const char *question)
{
    char who[16], where[16] = "nowhere";
    assert_int_equal(sscanf(strstr(question, "Where is "), "Where is %15[A-Za-z]?", who), 1);
    char *went = rs_format("%s went to the ", who);
    for (const char *p = strstr(story, went); p && p < question; p = strstr(p + 1, went))
        assert_int_equal(sscanf(p + strlen(went), "%15[a-z].", where), 1);
    free(went);
    return rs_strdup(where);
}

/* The facts stand in their order at their logged places, and are those before the question in its story. */
static void check_story(const rs_sample *s, const char *prompt, const char *stories)
{
    size_t line = (size_t)fact(s, "line", 0), n = 0, support = 99;
    const char *at = stories, *facts[64];
    for (size_t i = 1; i < line; i++, at = strchr(at, '\n') + 1) {
        n = begins(at, "1 ") ? 0 : n;
        if (strcspn(at, "\t") > strcspn(at, "\n"))
            facts[n++] = at;
    }
    const char *tab = strchr(at, '\t');
    long named = atol(strchr(tab + 1, '\t') + 1);
    for (size_t i = 0; i < n; i++)
        support = atol(facts[i]) == named ? i : support;
    double before = 0;
    for (size_t i = 0; i < n; i++) {
        const char *text = strchr(facts[i], ' ') + 1;
        int listed = i == support ? 0 : i < support ? (int)i + 1 : (int)i; /* the fact asked for first, the others behind */
        char *expected = rs_strndup(text, strcspn(text, "\n")), *there = text_from(s, (int64_t)fact(s, "positions", listed));
        if (!begins(there, expected))
            fail_msg("fact %zu: '%.40s', expected '%s'", i, there, expected);
        assert_true(before <= fact(s, "depths", listed));
        before = fact(s, "depths", listed);
        free(there);
        free(expected);
    }
    assert_int_equal((size_t)fact(s, "support", 0), support);
    assert_int_equal(occurrences(prompt, " went to the "), n);
}

static void test_babilong(void **state)
{
    (void)state;
    write_essay();
    size_t questions = write_stories();
    char *stories = file_text("stories.txt");
    for (size_t k = 0; k < 3; k++) {
        bench b;
        int64_t n;
        bench_open_seed(&b, "babilong_qa1", BABILONG "intro=\nmax_new_tokens=4", probe_seeds[k]);
        assert_int_equal(b.task->count(b.state, 1500, 100000, &n), RS_OK);
        assert_int_equal(n, questions);
        for (int64_t i = 0; i < n; i += 7) {
            rs_sample s = bench_sample(&b, 1500, i);
            assert_null(s.error);
            char *prompt = prompt_text(&s), *question = strstr(prompt, "\n\nAnswer in one word, "), *answer = solve_story(prompt, question);
            check_story(&s, prompt, stories);
            assert_string_equal(s.references[0], answer);
            assert_string_equal(strchr(question, '?'), "? Answer:");
            assert_true(score_of(&b, &s, answer, strlen(answer)) == 1);
            free(answer);
            free(prompt);
            rs_sample_free(&s);
        }
        bench_close(&b);
    }
    free(stories);
}

/* At each context the questions whose facts fit, in the file's order, and none that does not. */
static void test_babilong_counts(void **state)
{
    (void)state;
    write_essay();
    int64_t questions = (int64_t)write_stories(), before = 0, n;
    bench b;
    bench_open(&b, "babilong_qa1", BABILONG "intro=\nquestion={question}\nanswer_prefix=\nmax_new_tokens=4");
    for (int64_t context = 60; context <= 360; context += 30) {
        assert_int_equal(b.task->count(b.state, context, 100000, &n), RS_OK);
        assert_true(n >= before);
        double line = 0;
        for (int64_t i = 0; i < n; i++) {
            rs_sample s = bench_sample(&b, context, i);
            assert_null(s.error);
            assert_true(used_by(&s) <= context && fact(&s, "line", 0) > line);
            line = fact(&s, "line", 0);
            rs_sample_free(&s);
        }
        rs_sample beyond = {0};
        assert_int_equal(b.task->sample(b.state, context, n, &beyond), RS_INTERNAL);
        rs_error_clear();
        rs_sample_free(&beyond);
        before = n;
    }
    assert_int_equal(n, questions);
    assert_int_equal(b.task->count(b.state, 360, 3, &n), RS_OK);
    assert_int_equal(n, 3);
    expect_message(b.task->count(b.state, 30, 5, &n), "stories.txt: no question has facts that fit a context of 30");
    bench_close(&b);
    bench_open(&b, "babilong_qa1", BABILONG "max_facts=1");
    assert_int_equal(b.task->count(b.state, 1000, 100000, &n), RS_OK);
    assert_int_equal(n, N_STORIES); /* the first question of each */
    bench_close(&b);
}

/* The fact asked for lies everywhere, whether it is the first of its story or the last. */
static void test_babilong_depths(void **state)
{
    (void)state;
    write_essay();
    write_stories();
    bench b;
    int hits[8] = {0};
    bench_open(&b, "babilong_qa1", BABILONG);
    for (int64_t i = 20; i < 84; i++) {
        rs_sample s = bench_sample(&b, 4096, i);
        int part = (int)(fact(&s, "depths", 0) / 12.5);
        hits[part > 7 ? 7 : part]++;
        rs_sample_free(&s);
    }
    for (int i = 0; i < 8; i++)
        assert_true(hits[i] >= 6 && hits[i] <= 10); /* 8 each if perfectly even */
    bench_close(&b);
}

typedef struct fault {
    const char *text;
    size_t n; /* 0: strlen */
    int line;
    const char *word;
} fault;

#define FACT "1 Mary went to the garden.\n"
#define ASK "2 Where is Mary? \tgarden\t1\n"
#define WITH_NUL FACT "2 Where\0?\tgarden\t1\n"

static const fault faults[] = {
    {"", 0, 1, "without a question"},
    {" \n\n", 0, 1, "without a question"},
    {FACT, 0, 1, "without a question"},
    {FACT ASK "\n1 John ran.\n", 0, 3, "its number"},
    {"Mary went to the garden.\n", 0, 1, "its number"},
    {"-1 Mary went.\n", 0, 1, "its number"},
    {"1\tMary went.\n", 0, 1, "its number"},
    {FACT "3 John ran.\n", 0, 2, "must have number 2, or 1 for a new story, not 3"},
    {"2 John ran.\n" ASK, 0, 1, "must have number 1, not 2"},
    {FACT "99999999999999999999 John ran.\n", 0, 2, "must have number 2"},
    {FACT "2  \n3 John ran.\n", 0, 2, "nothing after it"},
    {FACT "2 Where is Mary?\tgarden\n", 0, 2, "numbers of its facts"},
    {FACT "2 Where is Mary?\tgarden\t\n", 0, 2, "numbers of its facts"},
    {FACT "2 Where is Mary?\tgarden\t1 x\n", 0, 2, "'1 x'"},
    {FACT "2 Where is Mary?\tgarden\t2\n", 0, 2, "line 2 of its story"},
    {FACT "2 Where is Mary?\tgarden\t0\n", 0, 2, "line 0 of its story"},
    {FACT ASK "3 Where is Mary?\tgarden\t1 2\n", 0, 3, "line 2 of its story"},
    {FACT ASK "1 Where is Mary?\tgarden\t1\n", 0, 3, "line 1 of its story"},
    {FACT "2 \tgarden\t1\n", 0, 2, "an empty question"},
    {FACT "2 Where is Mary?\t \t1\n", 0, 2, "an empty answer"},
    {FACT "2 Where is M\xE4ry?\tgarden\t1\n", 0, 2, "byte 13 of the line is not UTF-8"},
    {WITH_NUL, sizeof WITH_NUL - 1, 2, "byte 8 of the line is NUL"},
};

static void test_babi_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        write_file("bad.txt", faults[i].text, faults[i].n ? faults[i].n : strlen(faults[i].text));
        bench b;
        rs_status status = bench_try(&b, "babilong_qa1", "file=bad.txt\nhaystack=noise");
        char *place = rs_format("%s/bad.txt:%d: ", test_folder, faults[i].line);
        const char *message = rs_error_message();
        if (status != RS_INVALID || strncmp(message, place, strlen(place)) != 0 || strstr(message, faults[i].word) == NULL)
            fail_msg("fault %zu: status %d, '%s', expected %s... %s", i, status, message, place, faults[i].word);
        free(place);
        bench_close(&b);
        rs_error_clear();
    }
    bench b;
    expect_message(bench_try(&b, "babilong_qa1", "file=absent.txt\nhaystack=noise"), "absent.txt");
    bench_close(&b);
    write_file("good.txt", FACT ASK, strlen(FACT ASK));
    expect_message(bench_try(&b, "babilong_qa1", "file=good.txt\nhaystack=absent-*.txt"), "absent-*.txt");
    bench_close(&b);
    expect_message(bench_try(&b, "babilong_qa1", "file=good.txt\nhaystack=needle"), "not 'needle'");
    bench_close(&b);
    expect_message(bench_try(&b, "babilong_qa1", "file=good.txt\nhaystack=noise\nquestion=?"), "question must contain {question}");
    bench_close(&b);
}

/* One label in the first sentence, those of the question left out; case does not count. */
static void test_babilong_scores(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBF" FACT "2 Where was Mary before the office? \tKitchen\t1\n" /* sample 0 */
                               "3 Where is John?\toffice\t1\r\n4 Where is Bill?\tgarden\t1\n5 Where is the garden?\tgarden\t1\n\n";
    static const struct {
        int doc_id;
        const char *answer;
        double score;
    } answers[] = {
        {0, "kitchen", 1},
        {0, " The KITCHEN.", 1},
        {0, "\n\n kitchen", 1},
        {0, "before the office it was the kitchen", 1}, /* the question has the office */
        {0, "the office", 0},
        {0, "kitchen or garden", 0},
        {0, "kitchen. Or the garden", 1},
        {0, "kitchen\nWhere is John? garden", 1},
        {0, "Hm. kitchen", 0},
        {0, ". kitchen", 0},
        {0, "kitchens", 1}, /* as BABILong: anywhere in a word */
        {0, "", 0},
        {0, " \n", 0},
        {0, "\xFFkitchen\xFF", 1},
        {1, "office", 1},
        {1, "office, not the kitchen", 0},
        {3, "garden", 1}, /* an answer that its question has can still be given */
        {3, "garden, office", 0},
    };
    write_file("labels.txt", text, sizeof text - 1);
    bench b;
    bench_open(&b, "babilong_qa3", "file=labels.txt\nhaystack=noise");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        rs_sample s = bench_sample(&b, 1000, answers[i].doc_id);
        if (score_of(&b, &s, answers[i].answer, strlen(answers[i].answer)) != answers[i].score)
            fail_msg("'%s' for question %d", answers[i].answer, answers[i].doc_id);
        assert_true(score_of(&b, &s, "\0kitchen garden", 15) == 0);
        rs_sample_free(&s);
    }
    bench_close(&b);
}

/* --- nolima --- */

/* Whether a word of five letters or more stands in both, whatever its case. */
static bool share_a_word(const char *a, const char *b)
{
    for (size_t n; *a; a += n) {
        a += strcspn(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        n = strspn(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        char *word = rs_strndup(a, n);
        bool shared = n >= 5 && strcasestr(b, word) != NULL;
        free(word);
        if (shared)
            return true;
    }
    return false;
}

/* The needle stands at its place with the name, which stands nowhere else; the question has none of its words. */
static void test_nolima(void **state)
{
    (void)state;
    write_essay();
    static const char *const haystacks[] = {"haystack=essay.txt\nintro=", "haystack=noise\nintro="};
    for (size_t k = 0; k < 2; k++) {
        bench b;
        int names = 0;
        char first[32] = "";
        bench_open_seed(&b, "nolima", haystacks[k], probe_seeds[k]);
        for (int64_t i = 0; i < 48; i++) {
            rs_sample s = bench_sample(&b, 700, i);
            assert_null(s.error);
            char *prompt = prompt_text(&s), *needle = text_from(&s, (int64_t)fact(&s, "positions", 0));
            char *question = strstr(prompt, "\n\nQuestion: ") + 12;
            needle[strcspn(needle, ".") + 1] = '\0';
            assert_int_equal((int64_t)fact(&s, "entry", 0), i % 16);
            assert_int_equal(occurrences(prompt, s.references[0]), 1);
            assert_non_null(strstr(needle, s.references[0]));
            assert_non_null(strstr(prompt, needle));
            assert_string_equal(strchr(question, '?'), "?\nThe answer is the person called");
            question[strcspn(question, "?")] = '\0';
            assert_false(share_a_word(question, needle));
            double depth = fact(&s, "depths", 0), place = fact(&s, "positions", 0) / (double)s.tokens.n * 100;
            assert_true(fabs(depth - place) < 20);
            char *answer = rs_format(" It is %s, I think.", s.references[0]);
            assert_true(score_of(&b, &s, answer, strlen(answer)) == 1);
            assert_true(score_of(&b, &s, "Nobody", 6) == 0);
            if (i == 0)
                snprintf(first, sizeof first, "%s", s.references[0]);
            names += strcmp(first, s.references[0]) != 0;
            free(answer);
            free(needle);
            free(prompt);
            rs_sample_free(&s);
        }
        assert_true(names > 30); /* 46.5 expected of 32 names */
        bench_close(&b);
    }
}

/* Names of the haystack are never drawn. */
static void test_nolima_names(void **state)
{
    (void)state;
    write_essay();
    bench b;
    char *settings = rs_format("haystack=essay.txt\nnames=@%s|Zoltan|The", rs_nouns[0]);
    bench_open(&b, "nolima", settings);
    for (int64_t i = 0; i < 20; i++) {
        rs_sample s = bench_sample(&b, 400, i);
        assert_string_equal(s.references[0], "Zoltan");
        rs_sample_free(&s);
    }
    bench_close(&b);
    free(settings);
    expect_message(bench_try(&b, "nolima", "haystack=essay.txt\nnames=@The"), "names: each of the 1 stands in the haystack");
    bench_close(&b);
}

static void test_nolima_entries(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *word; /* NULL: it is one */
    } entries[] = {
        {"{name} lives beside the Louvre. | Who was in Paris? | {name}", NULL},
        {"  The car of {name} is red |Which of them is not blue?|{name}", NULL},
        {"{name} lives beside the Louvre. | Which town does a guest of the museum know? | Paris", NULL},
        {"{name} swam in the Nile. | Who swam in Africa? | {name}", "'swam' and 'swam'"},
        {"{name} Swam in the Nile. | Who SWAM? | {name}", "'swam' and 'swam'"},
        {"{name} lives beside the Louvre. | Who lived in Paris? | {name}", "'lives' and 'lived'"},
        {"{name} visits the Louvre. | Who visited Paris? | {name}", "'visits' and 'visited'"},
        {"{name} met Egyptians. | Who knows Egypt? | {name}", "'egyptians' and 'egypt'"},
        {"{name} sees \xC3\x89vora. | Who was in \xC3\xA9vora? | {name}", "share a word"},
        {"{name} has a cat. | Which cats? | {name}", NULL}, /* "cat" is too short to be the beginning of a word */
        {"{name} lives beside the Louvre. | Is {name} in Paris? | yes", "share a word"},
        {"{name} lives beside the Louvre. | Who was in Paris? | Paris", "has the answer 'Paris'"},
        {"{name} lives beside the Louvre. | Who was in Paris?", "must be 'needle | question | answer'"},
        {"{name} lives beside the Louvre. | Who was in Paris? | ", "must be 'needle | question | answer'"},
        {"a | b | c | d", "must be 'needle | question | answer'"},
        {"", "text 1 of 1 is empty"},
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        bench b;
        char *settings = rs_format("haystack=noise\nentries=%s", entries[i].entry);
        rs_status status = bench_try(&b, "nolima", settings);
        if (entries[i].word == NULL && status != RS_OK)
            fail_msg("%s: %s", entries[i].entry, rs_error_message());
        if (entries[i].word) {
            assert_non_null(strstr(rs_error_message(), "entries: text 1 of 1"));
            expect_message(status, entries[i].word);
        }
        bench_close(&b);
        free(settings);
    }
    bench b;
    expect_message(bench_try(&b, "nolima", ""), "haystack");
    bench_close(&b);
    expect_message(bench_try(&b, "nolima", "haystack=needle"), "not 'needle'");
    bench_close(&b);
    expect_message(bench_try(&b, "nolima", "haystack=noise\nquestion=Who?"), "question must contain {question}");
    bench_close(&b);
}

/* --- induction --- */

static void test_induction(void **state)
{
    (void)state;
    bench b;
    size_t n_vocab = (size_t)rs_tokenizer_vocab_size(test_tokenizer), seen = 0;
    bool *drawn = rs_alloc(n_vocab, sizeof *drawn);
    bench_open(&b, "induction", "");
    rs_sample s = bench_sample(&b, 16384, 0);
    assert_int_equal(s.kind, RS_SAMPLE_SCORE);
    assert_int_equal(s.tokens.n, 16383); /* BOS and 8,191 tokens twice */
    assert_int_equal(s.score_from, 8192);
    assert_memory_equal(s.tokens.ids + 1, s.tokens.ids + 8192, 8191 * sizeof *s.tokens.ids);
    for (size_t i = 1; i < s.tokens.n; i++) {
        assert_true(s.tokens.ids[i] >= 4 && (size_t)s.tokens.ids[i] < n_vocab); /* 0..3 are special */
        drawn[s.tokens.ids[i]] = true;
    }
    for (size_t i = 0; i < n_vocab; i++)
        seen += drawn[i];
    assert_true((double)seen > 0.98 * (double)(n_vocab - 4)); /* of V tokens a share of exp(-8191/V) is expected not to occur */
    assert_int_equal((int)fact(&s, "length", 0), 8191);
    assert_int_equal((int)fact(&s, "positions", 1), s.score_from);
    rs_sample_free(&s);
    bench_close(&b);
    free(drawn);
}

static void test_induction_shares(void **state)
{
    (void)state;
    static const struct {
        const char *share;
        int64_t context, tokens; /* 0: an error */
    } shares[] = {{"1", 3, 3}, {"1", 4, 3}, {"1", 2, 0}, {"0.5", 100, 49}, {"0.5", 102, 51}, {"0.001", 1000, 0}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        bench b;
        char *settings = rs_format("share=%s", shares[i].share);
        bench_open(&b, "induction", settings);
        rs_sample s = bench_sample(&b, shares[i].context, 0);
        assert_int_equal(s.error == NULL, shares[i].tokens > 0);
        assert_int_equal(s.tokens.n, shares[i].tokens);
        rs_sample_free(&s);
        bench_close(&b);
        free(settings);
    }
}

static void test_induction_setups(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, "induction", "");
    b.task->close(b.state);
    b.setup.bos = -1;
    assert_int_equal(b.task->open(&b.setup, &b.state), RS_OK);
    rs_sample s = bench_sample(&b, 10, 0);
    assert_int_equal(s.tokens.n, 10);
    assert_int_equal(s.score_from, 5);
    assert_memory_equal(s.tokens.ids, s.tokens.ids + 5, 5 * sizeof *s.tokens.ids);
    rs_sample_free(&s);
    b.task->close(b.state);
    b.state = NULL;
    b.setup.prompt_prefix = "x";
    expect_message(b.task->open(&b.setup, &b.state), "induction takes no prompt_prefix");
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_budget),           TEST(test_determinism),    TEST(test_babilong),        TEST(test_babilong_counts),
        TEST(test_babilong_depths),  TEST(test_babi_faults),    TEST(test_babilong_scores), TEST(test_nolima),
        TEST(test_nolima_names),     TEST(test_nolima_entries), TEST(test_induction),       TEST(test_induction_shares),
        TEST(test_induction_setups),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
