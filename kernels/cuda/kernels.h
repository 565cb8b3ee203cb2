/* What the host side of the CUDA backend launches: one function a kernel, plain C, its arguments in a struct. Each enqueues on `stream` and
 * returns CUDA's error code, 0 for none. Pointers are device memory unless said otherwise. act: bf16 or fp32, by `bf16`. Names: n rows,
 * d hidden size, h query heads, hk key/value heads, e head_dim.
 *
 * Bits: a row's result depends on that row's inputs only; every sum has a fixed order. */
#ifndef RS_CUDA_KERNELS_H
#define RS_CUDA_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { RS_CUDA_SEGMENTS = 3, RS_CUDA_KEY_SETS = 2, RS_CUDA_THETA = 16 }; /* RS_MAX_SEGMENTS, RS_MAX_KEY_SETS, RS_MAX_THETA */

/* rs_softmax as kernels read it; the row scale stands in rs_cuda_sequence.row_scales. */
typedef struct rs_cuda_policy {
    int normalizer; /* rs_normalizer */
    bool has_sink;
    float cap, sink; /* cap 0: none */
    int n_theta;
    float entropy_threshold, alpha;
    int64_t k;
    double theta[RS_CUDA_THETA]; /* highest power first */
} rs_cuda_policy;

/* One sequence of a step. An array of these lies at one address for the backend's life, so that recorded graphs read the step's own. */
typedef struct rs_cuda_sequence {
    int64_t first_row, n_rows, position; /* as rs_sequence */
    int64_t capacity;                    /* tokens of its cache, a multiple of 128 */
    void *keys;                          /* act [layers][hk][key_sets][capacity][e] */
    void *values;                        /* act [layers][hk][capacity][e] */
    int cache_layers, cache_key_sets;    /* layer l lies at l % cache_layers */
    int rotary_dim, n_segments, n_key_sets, skip_every;
    int key_set[RS_CUDA_SEGMENTS]; /* of each segment */
    bool alibi;
    const float *query_cos[RS_CUDA_SEGMENTS], *query_sin[RS_CUDA_SEGMENTS]; /* [n_rows][rotary_dim / 2], gains included */
    const float *key_cos[RS_CUDA_KEY_SETS], *key_sin[RS_CUDA_KEY_SETS];
    const int64_t *starts;   /* [n_rows][RS_CUDA_SEGMENTS] first key of each run, rope.h; NULL: one segment */
    const float *row_scales; /* [n_rows] rs_softmax_row_scale */
    void *queries;           /* act [n_segments][h][n_rows][e], rotated, not scaled */
    rs_cuda_policy policy;
} rs_cuda_sequence;
/* A layer with (layer + 1) % skip_every == 0 (skip_every > 0) is not rotated: queries and keys as they are, one segment over key set 0. */

/* x [n, d] = table[ids[i] - first_id] * scale for ids in the table's rows, else 0. table: act [rows, d]. */
typedef struct rs_cuda_embed_args {
    const void *table;
    const int32_t *ids;
    int32_t first_id;
    int64_t rows, n, d;
    float scale;
    bool bf16;
    float *x;
} rs_cuda_embed_args;
int rs_cuda_embed(void *stream, const rs_cuda_embed_args *args);

/* backend.h's add_norm. y, h may be NULL. */
typedef struct rs_cuda_norm_args {
    float *x;
    const float *y, *weight;
    float eps;
    bool cast_first, bf16;
    int64_t n, d;
    void *h;
} rs_cuda_norm_args;
int rs_cuda_add_norm(void *stream, const rs_cuda_norm_args *args);

/* backend.h's glu. activation: rs_activation. */
typedef struct rs_cuda_glu_args {
    int activation;
    bool bf16;
    const float *gate_up;
    int64_t n, f;
    void *out;
} rs_cuda_glu_args;
int rs_cuda_glu(void *stream, const rs_cuda_glu_args *args);

/* a[i] += b[i]. */
int rs_cuda_add(void *stream, float *a, const float *b, int64_t n);

/* cos and sin [n, half] of positions[i] * inv_freq[k] in fp64, times factor and, where gain is not NULL, (float)(value * gain[k]): the
 * numbers of rs_rope_table and of the CPU's make_table. positions, inv_freq, gain: fp64. */
typedef struct rs_cuda_table_args {
    const double *positions, *inv_freq, *gain;
    double factor;
    int64_t n;
    int half;
    float *cosine, *sine;
} rs_cuda_table_args;
int rs_cuda_rope_table(void *stream, const rs_cuda_table_args *args);

/* backend.h's store_qkv for every sequence of the step. qkv fp32 [n, (h + 2 hk) e]. row_sequence [n]: which sequence each row belongs to.
 */
typedef struct rs_cuda_store_args {
    const rs_cuda_sequence *sequences;
    const int32_t *row_sequence;
    int64_t n;
    int layer, heads, kv_heads, head_dim;
    bool bf16;
    const float *qkv;
} rs_cuda_store_args;
int rs_cuda_store(void *stream, const rs_cuda_store_args *args);

/* What one row's logits over its visible keys were: rope-and-softmax's streaming sums, of the logits z that entered exp (all scales and
 * beta included, natural units). sum = sum e^(z - max), first = sum (z - max) e^(z - max), square = sum e^(2 (z - max)), distance = sum (m
 * - j) e^(z - max); z of keys 0, m and m - 1 (m = 0: -inf). beta: adaptive temperature's, else 1. */
typedef struct rs_cuda_row_stats {
    float max, min, sum, first, square, distance, sink, diagonal, previous, beta;
} rs_cuda_row_stats;

/* One tile of prefill work: rows [row, row + tile rows) of a sequence. The host lists the dearest first. */
typedef struct rs_cuda_tile {
    int32_t sequence, row;
} rs_cuda_tile;

/* backend.h's attention. One struct for all its kernels. kv_of_head [h]; slopes [h] ALiBi, by query head. stats [n, h] or NULL. */
typedef struct rs_cuda_attention_args {
    const rs_cuda_sequence *sequences;
    const rs_cuda_tile *tiles; /* prefill kernels */
    int32_t n_tiles;
    const int32_t *decode_sequences; /* decode kernel: which sequences it takes, one row each */
    int32_t n_decode;
    const void *tensor_maps; /* Hopper: CUtensorMap [n_sequences][2], keys then values, 64-byte aligned */
    int layer, heads, kv_heads, head_dim;
    bool bf16;
    const int32_t *kv_of_head;
    const float *slopes;
    float scale;
    void *out; /* act [n, h e] */
    rs_cuda_row_stats *stats;
    float *work; /* see the kernels */
    int64_t work_floats;
    int64_t longest_row; /* at least the keys that any row sees: general kernel */
} rs_cuda_attention_args;

enum { RS_CUDA_GENERAL_ROWS = 1, RS_CUDA_MMA_ROWS = 64, RS_CUDA_HOPPER_ROWS = 128 }; /* rows of a tile */
/* Keys of attend_hopper's tiles, and so box_tokens of its tensor maps; the second for head_dim 256. */
enum { RS_CUDA_HOPPER_KEYS = 128, RS_CUDA_HOPPER_KEYS_256 = 80 };

/* Any dtype, head_dim (even, at most 512), policy and position map; one block a row and head, slow. work: rs_cuda_general_floats for each
 * block that may run at once; with less than one block's it refuses (1). Bits do not depend on how much there is. */
int rs_cuda_attend_general(void *stream, const rs_cuda_attention_args *args);
int64_t rs_cuda_general_floats(int64_t longest_row);
/* Tensor cores through mma.sync: bf16, head_dim 64, 128 or 256, RS_NORMALIZE_EXP, every position map. */
int rs_cuda_attend_mma(void *stream, const rs_cuda_attention_args *args);
/* wgmma and TMA (sm_90a): as attend_mma, one segment only. In attention_hopper.cu; 801 (not supported) where built without. */
int rs_cuda_attend_hopper(void *stream, const rs_cuda_attention_args *args);
/* One new row a sequence, keys split into runs of RS_CUDA_SPLIT merged in order: bf16, head_dim 64, 128 or 256, RS_NORMALIZE_EXP. The
 * grid depends on n_decode and work_floats only. work: rs_cuda_decode_floats. */
enum { RS_CUDA_SPLIT = 256 };
int rs_cuda_attend_decode(void *stream, const rs_cuda_attention_args *args);
int64_t rs_cuda_decode_floats(int32_t n_decode, int heads, int head_dim, int64_t longest_row);

/* out fp32 [n, rows] (out_stride) = a act [n, cols] (a_stride) w^T, w act [rows, cols], for the few rows of a decode step: bound by
 * reading w. Any n; sums over cols in a fixed order that depends on (rows, cols) alone. cols a multiple of 8 for bf16, and aligned to 16
 * bytes. */
typedef struct rs_cuda_skinny_args {
    const void *a, *w;
    int64_t a_stride, n, rows, cols, out_stride;
    bool bf16;
    float *out, *work; /* work: rs_cuda_skinny_floats */
} rs_cuda_skinny_args;
int rs_cuda_skinny(void *stream, const rs_cuda_skinny_args *args);
int64_t rs_cuda_skinny_floats(int64_t n, int64_t rows, int64_t cols);

/* out act [n, width] = a [n, cols] (a_stride), zeros from cols to width: operands of products whose own rows are not aligned. */
typedef struct rs_cuda_pad_args {
    const void *a;
    int64_t a_stride, n, cols, width;
    bool bf16;
    void *out;
} rs_cuda_pad_args;
int rs_cuda_pad(void *stream, const rs_cuda_pad_args *args);

/* One row's state over a run of vocabulary: rs_head_row's fields in its order. */
typedef struct rs_cuda_head_row {
    float max, sum, target, best;
    int32_t best_id;
} rs_cuda_head_row;
/* Takes logits fp32 [n, columns] of ids first_id... into rows [n], in the order of columns; `fresh`: rows start empty. cap as backend.h's
 * head. targets [n]. */
typedef struct rs_cuda_head_args {
    const float *logits;
    const int32_t *targets;
    int64_t n, columns;
    int32_t first_id;
    float cap;
    bool fresh;
    rs_cuda_head_row *rows;
} rs_cuda_head_args;
int rs_cuda_head_reduce(void *stream, const rs_cuda_head_args *args);

#ifdef __cplusplus
}
#endif
#endif
