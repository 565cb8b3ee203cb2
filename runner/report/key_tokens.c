#include "report/key_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void rs_key_tokens_init(rs_key_tokens *keys, int64_t n_texts, int64_t n_windows)
{
    *keys = (rs_key_tokens){.texts = rs_alloc((size_t)n_texts, sizeof *keys->texts), .n_texts = n_texts, .n_windows = n_windows};
}

void rs_key_tokens_free(rs_key_tokens *keys)
{
    for (int64_t i = 0; i < keys->n_texts; i++) {
        free(keys->texts[i].nll);
        free(keys->texts[i].is_key);
    }
    free(keys->texts);
    *keys = (rs_key_tokens){0};
}

static void add_text(rs_key_text *text, const rs_record *record)
{
    if (text->is_key) /* the text stands there twice, which no run writes */
        return;
    text->n = record->n_tokens;
    text->nll = rs_alloc((size_t)text->n, sizeof *text->nll);
    text->is_key = rs_alloc((size_t)text->n, sizeof *text->is_key);
    memcpy(text->nll, record->token_nll, (size_t)text->n * sizeof *text->nll);
}

static void add_window(rs_key_text *text, const rs_record *record)
{
    if (text->nll == NULL || text->n_seen + record->n_tokens > text->n)
        return;
    for (int64_t i = 0; i < record->n_tokens; i++) {
        float whole = text->nll[text->n_seen + i];
        text->is_key[text->n_seen + i] = record->token_nll[i] - whole > RS_KEY_GAIN && whole < RS_KEY_NLL;
    }
    text->n_seen += record->n_tokens;
    if (text->n_seen < text->n)
        return;
    free(text->nll);
    text->nll = NULL;
}

void rs_key_tokens_add(rs_key_tokens *keys, const rs_record *record)
{
    int64_t extra = record->doc_id - RS_EXTRA_DOC_ID;
    if (record->token_nll == NULL)
        return;
    if (extra >= 0 && extra < keys->n_windows)
        add_window(&keys->texts[extra / (keys->n_windows / keys->n_texts)], record);
    else if (record->doc_id < keys->n_texts)
        add_text(&keys->texts[record->doc_id], record);
}

rs_part rs_key_tokens_sum(const rs_key_tokens *keys, const rs_record *record)
{
    rs_part sum = {0};
    const rs_key_text *text = record->doc_id < keys->n_texts ? &keys->texts[record->doc_id] : NULL;
    if (text == NULL || text->n_seen != text->n || text->n != record->n_tokens || record->token_nll == NULL)
        return sum;
    for (int64_t i = 0; i < text->n; i++)
        if (text->is_key[i]) {
            sum.n++;
            sum.nll += (double)record->token_nll[i];
        }
    return sum;
}
