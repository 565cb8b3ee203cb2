/* tokenizer.json; where it loads, a fixed text goes to ids and back. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"

static void check_round_trip(const rs_tokenizer *tokenizer)
{
    static const char text[] = "Hello  wor\xC3\xA4ld, don't\n\t12345 <s>\xE2\x96\x81 \xF0\x9F\x98\x80"
                               "aaaaaaaaaaaa";
    rs_tokens tokens = {0};
    rs_text back = {0};
    rs_status status = rs_tokenizer_encode(tokenizer, text, sizeof text - 1, &tokens);
    fuzz_check(status);
    assert(status == RS_OK || tokens.n == 0);
    for (size_t i = 0; i < tokens.n; i++)
        assert(tokens.ids[i] >= 0 && tokens.ids[i] < rs_tokenizer_vocab_size(tokenizer));
    rs_tokenizer_decode(tokenizer, tokens.ids, tokens.n, &back);
    rs_tokens_free(&tokens);
    rs_text_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    rs_tokenizer *tokenizer = NULL;
    char *path = fuzz_path("tokenizer.json");
    fuzz_write("tokenizer.json", data, n);
    rs_status status = rs_tokenizer_load(path, &tokenizer);
    fuzz_check(status);
    if (status == RS_OK)
        check_round_trip(tokenizer);
    rs_tokenizer_free(tokenizer);
    free(path);
    return 0;
}
