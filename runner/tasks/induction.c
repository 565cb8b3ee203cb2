/* Induction: BOS, random tokens and the same tokens again; the second copy is scored.
 * Source: Olsson et al., "In-context learning and induction heads" (arXiv 2209.11895), repeated random sequences. Differs: tokens are
 * drawn with repetition from all that spell something (no special ones), and the copies fill a share of the context.
 * Metric: nll per token over the second copy, in nats, and its exponential; its first token cannot be known. Chance: ln of the number of
 * tokens in the vocabulary (12.5 nats of 256,000). */
#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "tasks/prompt.h"
#include "tasks/registry.h"

static const rs_param_spec specs[] = {
    {.name = "share",
     .kind = RS_PARAM_NUMBER,
     .max = 1,
     .min_open = true,
     .fallback = "1",
     .help = "of the context that BOS and the two copies take"},
    {0},
};

typedef struct induction {
    rs_task_setup setup;
    double share;
    int32_t *ids; /* [n] what is drawn from */
    size_t n, cap;
} induction;

static void close_task(void *state)
{
    induction *s = state;
    free(s->ids);
    free(s);
}

/* Every token that spells something: special ones decode to nothing, and so do numbers without a token. */
static void gather(induction *s)
{
    rs_text text = {0};
    for (int32_t id = 0; id < rs_tokenizer_vocab_size(s->setup.tokenizer); id++) {
        rs_text_clear(&text);
        rs_tokenizer_decode(s->setup.tokenizer, &id, 1, &text);
        if (text.n > 0 && id != s->setup.bos)
            RS_PUSH(s->ids, s->n, s->cap, id);
    }
    rs_text_free(&text);
}

static rs_status open_task(const rs_task_setup *setup, void **state)
{
    if (setup->prompt_prefix[0] || setup->prompt_suffix[0])
        return rs_fail(RS_INVALID, "induction takes no %s: its samples are random tokens alone",
                       setup->prompt_prefix[0] ? "prompt_prefix" : "prompt_suffix");
    induction *s = rs_alloc(1, sizeof *s);
    s->setup = *setup;
    s->share = rs_param_number(setup->params, "share");
    gather(s);
    if (s->n == 0) {
        close_task(s);
        return rs_fail(RS_INVALID, "induction needs a token that spells something; the tokenizer has none");
    }
    *state = s;
    return RS_OK;
}

static rs_status sample(void *state, int64_t context, int64_t doc_id, rs_sample *out)
{
    const induction *s = state;
    bool bos = s->setup.bos >= 0;
    int64_t length = ((int64_t)(s->share * (double)context) - bos) / 2;
    out->kind = RS_SAMPLE_SCORE;
    if (length < 1) {
        out->error = rs_format("%.15g of the context of %lld has no room for two copies of a token", s->share, (long long)context);
        return RS_OK;
    }
    rs_rng rng;
    rs_rng_init(&rng, s->setup.seed, "induction/draw", (uint64_t)context, (uint64_t)doc_id);
    if (bos)
        RS_PUSH(out->tokens.ids, out->tokens.n, out->tokens.cap, s->setup.bos);
    for (int64_t i = 0; i < length; i++)
        RS_PUSH(out->tokens.ids, out->tokens.n, out->tokens.cap, s->ids[rs_rng_below(&rng, s->n)]);
    out->score_from = (int64_t)out->tokens.n;
    out->period = length;
    for (int64_t i = 0; i < length; i++)
        RS_PUSH(out->tokens.ids, out->tokens.n, out->tokens.cap, out->tokens.ids[i + bos]);
    out->facts = rs_format("\"length\": %lld, \"positions\": [%d, %lld]", (long long)length, bos, (long long)out->score_from);
    return RS_OK;
}

const rs_task rs_task_induction = {.name = "induction",
                                   .summary = "random tokens and the same again, nll of the second copy",
                                   .source = "Olsson et al., arXiv 2209.11895; tokens drawn from the whole vocabulary",
                                   .chance = "ln of the vocabulary's size, 12.5 nats of 256,000",
                                   .version = 1,
                                   .params = specs,
                                   .open = open_task,
                                   .close = close_task,
                                   .count = rs_drawn_count,
                                   .sample = sample};
