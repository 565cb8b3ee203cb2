/* Drives a fuzz target where there is no libFuzzer: every file of a corpus as it is, then mutations of them, the same in every run.
 *   fuzz_NAME FOLDER          all of it; where a target aborts, the number of the input is printed
 *   fuzz_NAME FOLDER NUMBER   that input alone */
#include "fuzz.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"

enum { MUTANTS = 10000, MAX_BYTES = 1 << 20 };

typedef struct corpus {
    rs_paths paths;
    rs_text *files; /* [paths.n] */
} corpus;

static char last_words[64]; /* printed when the target dies */

static void die(int number)
{
    ssize_t ignored = write(STDERR_FILENO, last_words, strlen(last_words));
    (void)ignored;
    signal(number, SIG_DFL);
    raise(number);
}

static void corpus_open(const char *folder, corpus *out)
{
    char *pattern = rs_path_join(folder, "*");
    rs_status status = rs_paths_glob(pattern, &out->paths);
    out->files = rs_alloc(out->paths.n, sizeof *out->files);
    for (size_t i = 0; i < out->paths.n && status == RS_OK; i++)
        status = rs_file_read(out->paths.items[i], MAX_BYTES, &out->files[i]);
    if (status != RS_OK) {
        fprintf(stderr, "%s\n", rs_error_message());
        exit(1);
    }
    free(pattern);
}

static void corpus_close(corpus *c)
{
    for (size_t i = 0; i < c->paths.n; i++)
        rs_text_free(&c->files[i]);
    free(c->files);
    rs_paths_free(&c->paths);
}

/* --- mutations --- */

/* Puts bytes in the place of text[from, to). */
static void replace(rs_text *text, size_t from, size_t to, const char *bytes, size_t n)
{
    rs_text whole = {0};
    rs_text_append(&whole, text->data, from);
    rs_text_append(&whole, bytes, n);
    rs_text_append(&whole, text->data + to, text->n - to);
    rs_text_free(text);
    *text = whole;
}

static void flip(rs_text *text, rs_rng *rng)
{
    text->data[rs_rng_below(rng, text->n)] ^= (char)(1 << rs_rng_below(rng, 8));
}

static void cut(rs_text *text, rs_rng *rng)
{
    size_t from = rs_rng_below(rng, text->n);
    bool to_the_end = rs_rng_below(rng, 2) == 0;
    replace(text, from, to_the_end ? text->n : from + 1 + rs_rng_below(rng, text->n - from), "", 0);
}

static void repeat(rs_text *text, rs_rng *rng)
{
    size_t from = rs_rng_below(rng, text->n), n = 1 + rs_rng_below(rng, text->n - from);
    char *part = rs_alloc(n, 1);
    memcpy(part, text->data + from, n);
    replace(text, from, from, part, n);
    free(part);
}

static void change_number(rs_text *text, rs_rng *rng)
{
    static const char *const numbers[] = {"0",
                                          "-1",
                                          "1",
                                          "255",
                                          "2147483648",
                                          "4294967296",
                                          "9223372036854775807",
                                          "18446744073709551616",
                                          "1e308",
                                          "0.5",
                                          "1e-320",
                                          "null",
                                          "\"1\"",
                                          "[]",
                                          "{}",
                                          ".inf",
                                          "true",
                                          "nan"};
    size_t at = rs_rng_below(rng, text->n);
    while (at < text->n && strchr("0123456789", text->data[at]) == NULL)
        at++;
    size_t end = at;
    while (end < text->n && text->data[end] != '\0' && strchr("0123456789.", text->data[end]))
        end++;
    const char *number = numbers[rs_rng_below(rng, sizeof numbers / sizeof *numbers)];
    replace(text, at, end, number, strlen(number));
}

/* The beginning of one and the end of another. */
static void splice(rs_text *text, const rs_text *other, rs_rng *rng)
{
    size_t from = rs_rng_below(rng, text->n), start = rs_rng_below(rng, other->n + 1);
    replace(text, from, text->n, other->data + start, other->n - start);
}

static void mutate(const corpus *c, uint64_t number, rs_text *text)
{
    enum { FLIP, CUT, REPEAT, NUMBER, SPLICE, KINDS };
    rs_rng rng;
    rs_rng_init(&rng, 1, "fuzz/replay", number, 0);
    const rs_text *first = &c->files[rs_rng_below(&rng, c->paths.n)], *other = &c->files[rs_rng_below(&rng, c->paths.n)];
    rs_text_append(text, first->data, first->n);
    for (uint64_t rounds = 1 + rs_rng_below(&rng, 4); rounds > 0 && text->n > 0; rounds--) {
        uint64_t kind = rs_rng_below(&rng, KINDS);
        if (kind == FLIP)
            flip(text, &rng);
        else if (kind == CUT)
            cut(text, &rng);
        else if (kind == REPEAT)
            repeat(text, &rng);
        else if (kind == NUMBER)
            change_number(text, &rng);
        else
            splice(text, other, &rng);
    }
}

/* In memory of exactly its size, so that a sanitizer sees the first byte too many. */
static void run(const corpus *c, uint64_t number)
{
    rs_text text = {0};
    rs_text_append(&text, "", 0);
    if (number < c->paths.n)
        rs_text_append(&text, c->files[number].data, c->files[number].n);
    else
        mutate(c, number, &text);
    uint8_t *exact = rs_alloc(text.n, 1);
    memcpy(exact, text.data, text.n);
    snprintf(last_words, sizeof last_words, "input %" PRIu64 "\n", number);
    LLVMFuzzerTestOneInput(exact, text.n);
    free(exact);
    rs_text_free(&text);
}

int main(int argc, char **argv)
{
    corpus c;
    if (argc < 2)
        return 2;
    LLVMFuzzerInitialize(&argc, &argv);
    corpus_open(argv[1], &c);
    signal(SIGABRT, die);
    signal(SIGSEGV, die);
    uint64_t all = c.paths.n + MUTANTS, from = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    for (uint64_t i = from; i < (argc > 2 ? from + 1 : all); i++)
        run(&c, i);
    printf("%zu files, %d mutations of them\n", c.paths.n, MUTANTS);
    corpus_close(&c);
    return 0;
}
