#include "score/repeats.h"

#include <stdlib.h>

#include "base/memory.h"

typedef struct token {
    int32_t id;
    int64_t at;
} token;

static int by_id_then_place(const void *a, const void *b)
{
    const token *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

void rs_repeat_distances(const int32_t *ids, size_t n, int64_t *distances)
{
    token *tokens = rs_alloc(n, sizeof *tokens);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (token){ids[i], (int64_t)i};
    if (n > 0)
        qsort(tokens, n, sizeof *tokens, by_id_then_place);
    for (size_t i = 0; i < n; i++)
        distances[tokens[i].at] = i > 0 && tokens[i - 1].id == tokens[i].id ? tokens[i].at - tokens[i - 1].at : 0;
    free(tokens);
}
