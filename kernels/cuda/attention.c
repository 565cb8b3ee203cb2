/* Which kernel attends for which sequence, and its launches. */
#include <assert.h>

#include "kernels/cuda/cuda.h"

enum {
    SHORTEST = 1024,          /* the least that a longest row is rounded up to */
    GENERAL_MIB = 256,        /* of workspace for rows that the general kernel takes at once */
    GENERAL_BLOCKS_A_UNIT = 4 /* of them on each multiprocessor */
};

/* The tensor-core kernels' common ground. */
static bool is_common(const rs_backend *b, const rs_sequence *sequence)
{
    int e = b->shape.head_dim;
    return b->bf16 && (e == 64 || e == 128 || e == 256) && sequence->softmax->normalizer == RS_NORMALIZE_EXP;
}

rs_cuda_route rs_cuda_route_of(const rs_backend *b, rs_phase phase, const rs_sequence *sequence)
{
    if (!is_common(b, sequence))
        return RS_CUDA_GENERAL;
    if (phase == RS_DECODE)
        return RS_CUDA_DECODE;
    return b->facts.hopper_kernels && sequence->rope->map.n_segments == 1 ? RS_CUDA_HOPPER : RS_CUDA_MMA;
}

int rs_cuda_route_rows(rs_cuda_route route)
{
    static const int rows[RS_CUDA_ROUTES] = {[RS_CUDA_GENERAL] = RS_CUDA_GENERAL_ROWS,
                                             [RS_CUDA_MMA] = RS_CUDA_MMA_ROWS,
                                             [RS_CUDA_HOPPER] = RS_CUDA_HOPPER_ROWS,
                                             [RS_CUDA_DECODE] = 1};
    return rows[route];
}

static int64_t general_floats(const rs_backend *b)
{
    const rs_cuda_prepared *step = &b->step;
    int64_t row = rs_cuda_general_floats(step->longest[RS_CUDA_GENERAL]), rows = (int64_t)step->counts[RS_CUDA_GENERAL] * b->shape.heads;
    int64_t fill = (int64_t)GENERAL_BLOCKS_A_UNIT * b->facts.multiprocessors, fit = ((int64_t)GENERAL_MIB << 20) / (row * 4);
    int64_t blocks = rows < fill ? rows : fill;
    blocks = blocks < fit ? blocks : fit;
    return row * (blocks > 1 ? blocks : 1);
}

static int64_t decode_floats(const rs_backend *b)
{
    return rs_cuda_decode_floats(b->step.counts[RS_CUDA_DECODE], b->shape.heads, b->shape.head_dim, b->step.longest[RS_CUDA_DECODE]);
}

rs_status rs_cuda_attention_plan(rs_backend *b, const rs_step *step)
{
    rs_cuda_prepared *made = &b->step;
    int64_t floats = 0;
    for (int s = 0; s < step->n_sequences; s++) {
        const rs_sequence *sequence = &step->sequences[s];
        rs_cuda_route route = rs_cuda_route_of(b, step->phase, sequence);
        int rows = rs_cuda_route_rows(route);
        int64_t keys = SHORTEST;
        made->counts[route] += (int32_t)((sequence->n_rows + rows - 1) / rows);
        while (keys < sequence->position + sequence->n_rows)
            keys *= 2;
        made->longest[route] = keys > made->longest[route] ? keys : made->longest[route];
    }
    if (made->counts[RS_CUDA_GENERAL])
        floats = general_floats(b);
    if (made->counts[RS_CUDA_DECODE] && decode_floats(b) > floats)
        floats = decode_floats(b);
    return rs_cuda_grow(b, &b->work, (size_t)floats * sizeof(float), "workspace of attention");
}

rs_status rs_cuda_store_qkv(rs_backend *b, int layer, const float *qkv)
{
    rs_cuda_store_args args = {
        .sequences = b->step.sequences,
        .row_sequence = b->step.row_sequence,
        .n = b->step.n,
        .layer = layer,
        .heads = b->shape.heads,
        .kv_heads = b->shape.kv_heads,
        .head_dim = b->shape.head_dim,
        .bf16 = b->bf16,
        .qkv = qkv,
    };
    return rs_cuda_launched(b, rs_cuda_store(rs_cuda_stream_of(b), &args), "storing queries, keys and values");
}

static rs_status attend_decode(rs_backend *b, rs_cuda_attention_args args)
{
    args.decode_sequences = b->step.lists[RS_CUDA_DECODE];
    args.n_decode = b->step.counts[RS_CUDA_DECODE];
    args.work_floats = decode_floats(b);
    return rs_cuda_launched(b, rs_cuda_attend_decode(rs_cuda_stream_of(b), &args), "attention (decode)");
}

/* The launch of one route's tiles; args holds what all have in common. */
static rs_status attend_tiles(rs_backend *b, rs_cuda_route route, rs_cuda_attention_args args)
{
    void *stream = rs_cuda_stream_of(b);
    args.tiles = b->step.lists[route];
    args.n_tiles = b->step.counts[route];
    if (route == RS_CUDA_MMA)
        return rs_cuda_launched(b, rs_cuda_attend_mma(stream, &args), "attention (mma)");
    if (route == RS_CUDA_HOPPER)
        return rs_cuda_launched(b, rs_cuda_attend_hopper(stream, &args), "attention (Hopper)");
    args.longest_row = b->step.longest[route];
    args.work_floats = general_floats(b);
    return rs_cuda_launched(b, rs_cuda_attend_general(stream, &args), "attention (general)");
}

rs_status rs_cuda_attention(rs_backend *b, int layer, void *out)
{
    rs_cuda_attention_args args = {
        .sequences = b->step.sequences,
        .tensor_maps = b->step.tensor_maps,
        .layer = layer,
        .heads = b->shape.heads,
        .kv_heads = b->shape.kv_heads,
        .head_dim = b->shape.head_dim,
        .bf16 = b->bf16,
        .kv_of_head = b->kv_of_head,
        .slopes = b->slopes,
        .scale = b->shape.attention_scale,
        .out = out,
        .work = (float *)(void *)b->work.data,
    };
    assert(b->current == RS_CUDA_COMPUTE); /* the workspace is one stream's */
    for (int route = 0; route < RS_CUDA_ROUTES; route++)
        if (b->step.counts[route] > 0)
            RS_TRY(route == RS_CUDA_DECODE ? attend_decode(b, args) : attend_tiles(b, (rs_cuda_route)route, args));
    return RS_OK;
}
