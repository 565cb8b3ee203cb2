/* Times loading, encoding and decoding: bench_tokenizer TOKENIZER_JSON TEXT [REPEATS]. Checks first that the text comes back.
 * One line each: what, median processor seconds, MB/s. For the same figures of Hugging Face: RAYON_NUM_THREADS=1, Tokenizer.encode(text).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/tokenizer.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* one thread; the wall of a shared machine says little */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_median(const char *what, double *seconds, size_t n, size_t bytes)
{
    qsort(seconds, n, sizeof *seconds, by_value);
    double median = seconds[n / 2];
    printf("%-8s %.4f s  %.1f MB/s\n", what, median, (double)bytes / 1e6 / median);
}

static rs_status bench(const char *path, const rs_text *text, size_t repeats)
{
    double *load = rs_alloc(3 * repeats, sizeof *load), *encode = load + repeats, *decode = encode + repeats;
    rs_tokens tokens = {0};
    rs_text back = {0};
    rs_status status = RS_OK;
    for (size_t i = 0; i < repeats && status == RS_OK; i++) {
        rs_tokenizer *tokenizer;
        double start = now();
        RS_TRY_OUT(rs_tokenizer_load(path, &tokenizer));
        load[i] = now() - start;
        tokens.n = 0;
        start = now();
        status = rs_tokenizer_encode(tokenizer, text->data, text->n, &tokens);
        encode[i] = now() - start;
        rs_text_clear(&back);
        start = now();
        rs_tokenizer_decode(tokenizer, tokens.ids, tokens.n, &back);
        decode[i] = now() - start;
        rs_tokenizer_free(tokenizer);
    }
    if (status == RS_OK && (back.n != text->n || memcmp(back.data, text->data, text->n) != 0))
        printf("the text does not come back (special tokens in it, or a decoder that strips)\n");
    print_median("load", load, repeats, text->n);
    print_median("encode", encode, repeats, text->n);
    print_median("decode", decode, repeats, text->n);
    printf("%zu tokens of %zu bytes\n", tokens.n, text->n);
out:
    rs_tokens_free(&tokens);
    rs_text_free(&back);
    free(load);
    return status;
}

int main(int argc, char **argv)
{
    rs_text text = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer TOKENIZER_JSON TEXT [REPEATS]\n");
        return 2;
    }
    size_t repeats = argc > 3 ? strtoul(argv[3], NULL, 10) : 5;
    rs_status status = rs_file_read(argv[2], (size_t)1 << 30, &text);
    if (status == RS_OK)
        status = bench(argv[1], &text, repeats ? repeats : 1);
    if (status != RS_OK)
        fprintf(stderr, "%s\n", rs_error_message());
    rs_text_free(&text);
    return status == RS_OK ? 0 : 1;
}
