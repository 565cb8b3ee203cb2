/* What the files of the CUDA backend's host side share. The host runs ahead of the device: everything is queued in streams, and only
 * download, head and a full ring of staging blocks wait. */
#ifndef RS_CUDA_CUDA_H
#define RS_CUDA_CUDA_H

#include "kernels/backend.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/driver.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/kernels.h"

enum {
    RS_CUDA_STAGES = 3,         /* steps by which the host may be ahead */
    RS_CUDA_TRANSFERS = 2,      /* one is filled while the other travels */
    RS_CUDA_SKINNY_CALL = 64,   /* rows of one call: bounds its workspace */
    RS_CUDA_CACHE_TOKENS = 128, /* capacities are multiples */
    RS_CUDA_WIDTH = 8           /* inner dimensions of stored matrices are multiples: 16 bytes of bf16 */
};

/* The kernels among which attention is divided, one list of work each. */
typedef enum rs_cuda_route { RS_CUDA_GENERAL, RS_CUDA_MMA, RS_CUDA_HOPPER, RS_CUDA_DECODE, RS_CUDA_ROUTES } rs_cuda_route;

/* Device memory that grows to what is asked of it, outside of recorded steps. */
typedef struct rs_cuda_buffer {
    char *data;
    size_t bytes;
} rs_cuda_buffer;

/* Pinned host memory and the event after which it may be written again. */
typedef struct rs_cuda_pinned {
    char *data;
    rs_cuda_event *passed;
} rs_cuda_pinned;

struct rs_kv {
    int64_t capacity; /* tokens, a multiple of RS_CUDA_CACHE_TOKENS */
    int key_sets, n_layers;
    char *keys, *values;                             /* one allocation; layouts: rs_cuda_sequence */
    unsigned char maps[2][RS_CUDA_TENSOR_MAP_BYTES]; /* Hopper: of keys and of values */
};

struct rs_matrix {
    int64_t rows, cols; /* out_features, in_features */
    int64_t width;      /* cols rounded up to RS_CUDA_WIDTH; zeros stand there */
    char *data;         /* act [rows, width] */
    size_t bytes;
};

struct rs_table {
    int64_t rows, cols;
    char *data; /* act [rows, cols] */
    size_t bytes;
};

/* Products against a weight shape, its algorithms chosen once. */
typedef struct rs_cuda_product {
    int64_t rows, width;
    rs_cuda_gemm *gemm;
} rs_cuda_product;

/* Tiles while they are put in order. */
typedef struct rs_cuda_ranked_tile {
    int64_t keys; /* that its last row sees */
    rs_cuda_tile tile;
} rs_cuda_ranked_tile;

/* The step that prepare opened; pointers are device memory. */
typedef struct rs_cuda_prepared {
    rs_phase phase;
    int64_t n;
    const rs_cuda_sequence *sequences;
    const int32_t *ids, *row_sequence;
    const void *lists[RS_CUDA_ROUTES]; /* int32_t for RS_CUDA_DECODE, else rs_cuda_tile */
    int32_t counts[RS_CUDA_ROUTES];
    const void *tensor_maps;
    int64_t longest[RS_CUDA_ROUTES]; /* keys that a row sees: at least the most, of few values, so that steps are alike */
} rs_cuda_prepared;

struct rs_backend {
    const rs_cuda_driver *driver;
    rs_cuda_context *context;
    rs_cuda_facts facts;
    int device;
    rs_backend *next; /* of the process's open backends */
    rs_backend_shape shape;
    bool bf16;
    size_t act; /* bytes of an activation */
    int n_threads;
    int64_t max_rows;

    char *memory; /* the arena's */
    rs_cuda_arena arena;
    int32_t *kv_of_head; /* device, as slopes */
    float *slopes;

    rs_cuda_stream current;                   /* where operations are queued: COMPUTE, or SIDE between overlap_begin and overlap_end */
    bool overlapped;                          /* something was queued in SIDE that COMPUTE does not follow yet */
    rs_cuda_event *forked, *joined, *crossed; /* crossed: COMPUTE and COPY wait for each other by it */
    rs_cuda_pinned transfers[RS_CUDA_TRANSFERS];
    int next_transfer;

    /* prepare.c */
    rs_cuda_pinned stages[RS_CUDA_STAGES];
    int next_stage;
    size_t stage_bytes;
    rs_cuda_buffer step_block;      /* what a stage becomes on the device */
    rs_cuda_buffer queries, tables; /* rotated queries; cos and sin */
    rs_cuda_prepared step;
    int *twins;                     /* [cap_sequences] an earlier sequence with the same tables, or -1 */
    rs_cuda_table_args *table_jobs; /* [2 cap_sequences] */
    rs_cuda_ranked_tile *tiles;     /* [cap_tiles] */
    int cap_sequences;
    int64_t cap_tiles;

    /* linear.c, head.c, attention.c, graph.c */
    rs_cuda_buffer work;   /* of the kernel that runs */
    rs_cuda_buffer padded; /* activations whose rows are not aligned, made so */
    rs_cuda_product *products;
    size_t n_products, cap_products;
    rs_cuda_buffer logits;                   /* a chunk */
    int32_t *targets, *host_targets;         /* [max_rows], device and pinned */
    rs_cuda_head_row *head_rows, *host_rows; /* likewise */
    rs_cuda_graphs graphs;
    rs_cuda_graph_entry *recording; /* NULL: nothing is recorded now */
};

/* backend.c. take and give: device memory of the arena. launched: a launch function's code as a status. */
rs_status rs_cuda_take(rs_backend *b, size_t bytes, const char *what, void **out);
void rs_cuda_give(rs_backend *b, void *memory);
rs_status rs_cuda_grow(rs_backend *b, rs_cuda_buffer *buffer, size_t bytes, const char *what);
rs_status rs_cuda_launched(const rs_backend *b, int code, const char *what);
void *rs_cuda_stream_of(const rs_backend *b); /* the current stream's cudaStream_t */

/* transfer.c. A transfer buffer of *bytes bytes that the device has read, to fill; send queues its first `bytes` in a stream. */
rs_status rs_cuda_transfers_open(rs_backend *b);
void rs_cuda_transfers_close(rs_backend *b);
rs_status rs_cuda_transfer_take(rs_backend *b, char **data, size_t *bytes);
rs_status rs_cuda_transfer_send(rs_backend *b, rs_cuda_stream stream, void *to, size_t bytes);
rs_status rs_cuda_upload(rs_backend *b, void *to, const void *from, size_t bytes);
rs_status rs_cuda_download(rs_backend *b, void *to, const void *from, size_t bytes);

/* matrix.c */
rs_status rs_cuda_matrix_load(rs_backend *b, const rs_slice *slices, int n_slices, rs_matrix **out);
void rs_cuda_matrix_free(rs_backend *b, rs_matrix *matrix);
size_t rs_cuda_matrix_bytes(const rs_matrix *matrix);
rs_status rs_cuda_table_load(rs_backend *b, const rs_slice *rows, rs_table **out);
void rs_cuda_table_free(rs_backend *b, rs_table *table);
size_t rs_cuda_table_bytes(const rs_table *table);

/* linear.c. multiply: rows [first, first + rows) of w; strides in elements. */
rs_status rs_cuda_products_prepare(rs_backend *b, int64_t rows, int64_t width);
void rs_cuda_products_close(rs_backend *b);
rs_status rs_cuda_multiply(rs_backend *b, const void *a, int64_t a_stride, const rs_matrix *w, int64_t first, int64_t rows, int64_t n,
                           float *out, int64_t out_stride);
/* a with rows that w's products can read: itself, or made so in b->padded. */
rs_status rs_cuda_align(rs_backend *b, const rs_matrix *w, int64_t n, const void **a, int64_t *a_stride);
rs_status rs_cuda_linear(rs_backend *b, const void *a, int64_t a_stride, const rs_matrix *w, int64_t n, float *out, int64_t out_stride);

/* kv.c */
rs_status rs_cuda_kv_open(rs_backend *b, int64_t capacity, int key_sets, int n_layers, rs_kv **out);
void rs_cuda_kv_free(rs_backend *b, rs_kv *kv);
size_t rs_cuda_kv_bytes(rs_backend *b, int64_t capacity, int key_sets, int n_layers);

/* prepare.c */
rs_status rs_cuda_stages_open(rs_backend *b);
void rs_cuda_stages_close(rs_backend *b);
rs_status rs_cuda_prepare(rs_backend *b, const rs_step *step);

/* attention.c. route: a function of the sequence, the phase, the model and the device alone, as bits require. */
rs_cuda_route rs_cuda_route_of(const rs_backend *b, rs_phase phase, const rs_sequence *sequence);
int rs_cuda_route_rows(rs_cuda_route route); /* rows of one entry of its list */
/* Counts the step's work a route into b->step, and grows the workspace to it. */
rs_status rs_cuda_attention_plan(rs_backend *b, const rs_step *step);
rs_status rs_cuda_store_qkv(rs_backend *b, int layer, const float *qkv);
rs_status rs_cuda_attention(rs_backend *b, int layer, void *out);

/* elementwise.c */
rs_status rs_cuda_embed_ids(rs_backend *b, const rs_table *table, int32_t first_id, float scale, float *x);
rs_status rs_cuda_norm(rs_backend *b, float *x, const float *y, const float *weight, float eps, bool cast_first, int64_t n, int64_t d,
                       void *h);
rs_status rs_cuda_gated(rs_backend *b, rs_activation activation, const float *gate_up, int64_t n, int64_t f, void *out);
rs_status rs_cuda_sum(rs_backend *b, float *x, const float *y, int64_t n);

/* head.c */
rs_status rs_cuda_head_open(rs_backend *b);
void rs_cuda_head_close(rs_backend *b);
rs_status rs_cuda_head(rs_backend *b, const void *h, const rs_matrix *w, int32_t first_id, const int32_t *targets, float cap, int64_t n,
                       rs_head_row *rows);

/* graph.c. abandon: ends the recording of a step that failed half-way. forget: drops all recordings, whose launches hold addresses that are
 * about to change. */
rs_status rs_cuda_replay(rs_backend *b, bool *done);
rs_status rs_cuda_recorded(rs_backend *b);
void rs_cuda_abandon(rs_backend *b);
void rs_cuda_graphs_forget(rs_backend *b);

#endif
