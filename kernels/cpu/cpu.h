/* What the files of the CPU backend share: the backend's own state, the layout of a cache, and the tables of functions that exist
 * once an instruction set. */
#ifndef RS_CPU_CPU_H
#define RS_CPU_CPU_H

#include "kernels/backend.h"
#include "kernels/slice.h"

/* Instruction sets, each a superset of the one before. */
typedef enum rs_isa { RS_ISA_PORTABLE, RS_ISA_AVX2, RS_ISA_AVX512, RS_ISA_AVX512BF16 } rs_isa;

/* What this machine has, capped by the environment variable ROPESWEEP_ISA (portable, avx2, avx512, avx512bf16). */
rs_isa rs_isa_detect(void);
const char *rs_isa_name(rs_isa isa);

enum {
    RS_KEY_BLOCK = 64, /* keys that lie interleaved in the cache */
    RS_KEY_TILE = 128, /* keys between two rescalings of a row; a constant of the arithmetic, the same everywhere */
    RS_ROW_BLOCK = 6,  /* query rows that one inner kernel holds in registers */
    RS_QUERY_ROWS = 96 /* about so many query rows share one pass over the keys */
};

/* A unit is 32 bits of cache or operand: one fp32 value or two bf16 values that one dot-product instruction takes together. */
typedef uint32_t rs_unit;

/* One sequence's cache. Per layer and local kv head: for each key set K as [capacity / 64][units along head_dim][64 keys] units,
 * then V as [capacity / keys a unit][value_width] units. Nothing beyond the tokens stored is ever used (a lone key of a bf16 pair
 * is stored with a zero partner). */
struct rs_kv {
    int64_t capacity; /* tokens, a multiple of RS_KEY_TILE */
    int key_sets, n_layers;
    size_t key_units, value_units; /* of one set, of one head */
    rs_unit *data;
};

/* Where the numbers of a tile's rows go for the sequence's diagnostics. */
typedef struct rs_measure {
    const rs_diagnostics *spec;
    float *rows;         /* [group][positions of the sequence][width], from the tile's first position and the kv head's first slot on */
    int64_t slot_stride; /* floats between the heads of the group */
    int width;           /* floats of a row: RS_ROW_FIXED and the offsets */
} rs_measure;

/* What a row's numbers are made of. Weights w are coefficients a times `total`. */
typedef struct rs_row_state {
    float l, u, w2, distance; /* over the keys: sum w, sum w ln w, sum w^2, sum w (i - j) */
    float total, max;         /* l and a sink's weight; the largest w */
    float low, high;          /* smallest and largest logit times 1 / `unit` */
    float unit, scale;        /* scale: what row scale and beta multiply a logit by */
    float shift;              /* exponential weights: a logit z with `scale` weighs e^(z - shift) */
    float beta, sink;         /* sink: weight of key 0 */
    const float *offsets;     /* weights of the keys at spec->offsets, then of that at its induction offset */
} rs_row_state;

/* Query rows of one kv head that attend together: row r is position first_position + r / group, head r % group of the group. */
typedef struct rs_attend {
    bool bf16;
    const rs_unit *queries[RS_MAX_SEGMENTS]; /* [n_rows][query_units] */
    const rs_unit *keys[RS_MAX_KEY_SETS];    /* [blocks][query_units][64] */
    const rs_unit *values;                   /* [key units][value_width] */
    int n_segments;
    const int *key_set;      /* [n_segments] */
    const int64_t *starts;   /* [positions][RS_MAX_SEGMENTS], of the tile's first position; NULL where n_segments is 1 */
    const float *row_scales; /* [positions] */
    const float *slopes;     /* [group] ALiBi; NULL: none */
    const rs_softmax *softmax;
    float attention_scale;
    int64_t first_position;
    int n_rows, group;
    int head_dim, query_units, value_width; /* value_width: head_dim rounded up to 16 */
    char *out;                              /* of the first position; act */
    int64_t out_stride;                     /* elements between positions */
    const int64_t *out_columns;             /* [group] first element of each head */
    const rs_measure *measure;              /* NULL: none */
    float *work;                            /* rs_attend_work_floats floats */
} rs_attend;

typedef struct rs_attention_kernels {
    void (*attend)(const rs_attend *task);
} rs_attention_kernels;
/* By dtype; every one exists on every machine that can run it. */
extern const rs_attention_kernels rs_attention_portable, rs_attention_avx2, rs_attention_avx512, rs_attention_avx512bf16;

/* Floats of workspace for one task over `n_keys` keys; measure: with diagnostics. */
size_t rs_attend_work_floats(const rs_softmax *softmax, int n_rows, int value_width, int64_t n_keys, bool measure);
/* Of a row's diagnostics in it: lanes of running sums, then what keys at offsets weigh and the sink does. */
enum { RS_MEASURE_LANES = 6 * 16, RS_MEASURE_FLOATS = RS_MEASURE_LANES + RS_MAX_OFFSETS + 2 };

/* measure.c: a row's numbers from its state; the sequences' sums from those of all rows of the step; the norms of queries, keys, values. */
void rs_measure_row(const rs_attend *task, int row, const rs_row_state *state);
rs_status rs_measure_prepare(rs_backend *backend);
rs_measure rs_measure_of(const rs_backend *backend, int s, int kv_head, int64_t position);
void rs_measure_sum(const rs_backend *backend, int layer);
void rs_measure_norms(const rs_backend *backend, int layer, const float *qkv);

/* Weights of one row whose normalizer needs all logits at once. z: [n] logits, in units of log 2 for top_k, natural for entmax; replaced
 * by the weights, not yet divided by their sum. scratch: [n + 1]. Returns the sink's weight, 0 without one. */
float rs_sparse_weights(const rs_softmax *softmax, float *z, int64_t n, float *scratch);

/* Row-wise arithmetic, one set an instruction set. act rows are bf16 where `bf16`, else fp32. */
typedef struct rs_elementwise_kernels {
    void (*norm_row)(float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t d, bool bf16, void *h);
    void (*glu_row)(rs_activation activation, const float *gate, const float *up, int64_t f, bool bf16, void *out);
    void (*add_row)(float *a, const float *b, int64_t n);
    void (*to_bf16)(const float *from, int64_t n, uint16_t *to);
    void (*from_bf16)(const uint16_t *from, int64_t n, float *to);
    /* y = x rotated; pairs (k, k + rotary/2); beyond rotary copied. */
    void (*rotate)(const float *x, const float *cosine, const float *sine, int rotary, int head_dim, float *y);
    /* Caps logits[0..n) of ids first_id.. in place and takes them into *row. */
    void (*head_panel)(float *logits, int64_t n, int32_t first_id, int32_t target, float cap, rs_head_row *row);
    /* sums[k] += the norm of (x[k], x[k + pairs]). */
    void (*add_pair_norms)(const float *x, int pairs, double *sums);
    /* f(x) elementwise, for the tests of the error bounds: 0 exp2 precise, 1 exp2 fast, 2 exp, 3 tanh, 4 SiLU, 5 GELU. */
    void (*function)(int which, const float *x, int64_t n, float *y);
} rs_elementwise_kernels;
extern const rs_elementwise_kernels rs_elementwise_portable, rs_elementwise_avx2, rs_elementwise_avx512;

/* What prepare found out about one sequence of the batch. Tables lie in the backend's arena. */
typedef struct rs_prepared {
    const float *query_cos[RS_MAX_SEGMENTS], *query_sin[RS_MAX_SEGMENTS]; /* [n_rows, rotary_dim / 2], gains included */
    const float *key_cos[RS_MAX_KEY_SETS], *key_sin[RS_MAX_KEY_SETS];
    const int64_t *starts;   /* [n_rows][RS_MAX_SEGMENTS]; NULL: one segment */
    const float *row_scales; /* [n_rows] */
    int n_segments, n_key_sets;
    size_t query_offset; /* units, into the backend's query buffer; segment s lies s * n_rows * heads * query_units further */
    size_t measure_offset; /* floats, into the backend's rows of diagnostics */
} rs_prepared;

typedef struct rs_gemm rs_gemm;

struct rs_backend {
    rs_backend_shape shape; /* kv_of_head is owned */
    rs_dtype dtype;
    int n_threads;
    rs_isa isa;
    const rs_elementwise_kernels *elementwise;
    const rs_attention_kernels *attention;
    rs_gemm *gemm;
    int query_units, value_width, keys_per_unit;
    /* Query heads sorted by the kv head that they read. */
    int *slot_head;       /* [heads] head in each slot */
    int *first_slot;      /* [kv_heads + 1] */
    float *slopes;        /* [heads] ALiBi slope of each slot */
    int64_t *out_columns; /* [heads] first output column of each slot */
    /* The step that prepare opened. */
    const rs_step *step;
    rs_prepared *prepared;
    struct rs_arena_block *arena;
    rs_unit *queries;
    size_t queries_cap;
    bool measures;     /* a sequence of the step wants diagnostics */
    float *row_values; /* of its rows, [slots][rows][numbers] a sequence */
    size_t row_values_cap;
    float *work; /* threads x work_floats */
    size_t work_floats;
};

/* gemm.c */
rs_status rs_cpu_matrix_load(rs_backend *backend, const rs_slice *slices, int n_slices, rs_matrix **out);
void rs_cpu_matrix_free(rs_backend *backend, rs_matrix *matrix);
size_t rs_cpu_matrix_bytes(const rs_matrix *matrix);
rs_status rs_cpu_linear(rs_backend *backend, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out,
                        int64_t out_stride);

/* kv.c */
rs_status rs_cpu_kv_open(rs_backend *backend, int64_t capacity, int key_sets, int n_layers, rs_kv **out);
void rs_cpu_kv_free(rs_backend *backend, rs_kv *kv);
size_t rs_cpu_kv_bytes(rs_backend *backend, int64_t capacity, int key_sets, int n_layers);
rs_unit *rs_kv_keys(const rs_backend *backend, const rs_kv *kv, int layer, int kv_head, int key_set);
rs_unit *rs_kv_values(const rs_backend *backend, const rs_kv *kv, int layer, int kv_head);

/* prepare.c, store.c, attention.c, elementwise.c, head.c */
void rs_arena_free(rs_backend *backend);
rs_status rs_cpu_prepare(rs_backend *backend, const rs_step *step);
rs_status rs_cpu_store_qkv(rs_backend *backend, int layer, const float *qkv);
rs_status rs_cpu_attention(rs_backend *backend, int layer, void *out);
rs_status rs_cpu_table_load(rs_backend *backend, const rs_slice *rows, rs_table **out);
void rs_cpu_table_free(rs_backend *backend, rs_table *table);
size_t rs_cpu_table_bytes(const rs_table *table);
rs_status rs_cpu_embed(rs_backend *backend, const rs_table *table, int32_t first_id, float scale, float *x);
rs_status rs_cpu_add_norm(rs_backend *backend, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n,
                          int64_t d, void *h);
rs_status rs_cpu_glu(rs_backend *backend, rs_activation activation, const float *gate_up, int64_t n, int64_t f, void *out);
rs_status rs_cpu_add(rs_backend *backend, float *a, const float *b, int64_t n);
rs_status rs_cpu_head(rs_backend *backend, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap,
                      int64_t n, rs_head_row *rows);

/* The thread's number inside a parallel region (0 outside). */
int rs_cpu_thread(void);

static inline float rs_bf16_to_float(uint16_t bits)
{
    union {
        uint32_t u;
        float f;
    } x = {.u = (uint32_t)bits << 16};
    return x.f;
}

/* To nearest even; NaN stays NaN. */
static inline uint16_t rs_bf16_from_float(float value)
{
    union {
        float f;
        uint32_t u;
    } x = {.f = value};
    if (value != value)
        return (uint16_t)((x.u >> 16) | 0x40);
    return (uint16_t)((x.u + 0x7fff + ((x.u >> 16) & 1)) >> 16);
}

#endif
