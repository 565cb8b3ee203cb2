/* Products for the few rows of a decode step, bound by reading w once.
 *
 * bf16: a block takes 64 rows of w and one part of the columns; each of its four warps holds 16 rows of w as the rows of rs_mma and the
 * activations, 8 rows a tile, as its columns. Both stream through a ring of shared memory, 64 columns a stage.
 *
 * Bytes in flight: 3.35 TB/s x 600 ns (Little's law) = 2.0 MB for the card, 15 KB for each of 132 multiprocessors; 4.8 TB/s wants 22 KB. A
 * block asks for 4 stages ahead, 4 x (64 + 8) rows x 128 bytes = 36 KB, and up to four blocks fit a multiprocessor.
 *
 * A row's bits: the cut of the columns into parts is a function of (rows, cols), a part is one chain of rs_mma over its columns, whose
 * columns do not mix, and the parts are added in order. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/simt.h"

enum {
    THREADS = 128,
    ROWS = 64,         /* of w, a block */
    STEP = 64,         /* columns a stage: 128 bytes of a row */
    CHUNKS = STEP / 8, /* of 16 bytes, in a row of a stage */
    STAGES = 5,        /* of the ring */
    TILE = 8,          /* activation rows, the columns of rs_mma */
    LARGEST = 8,       /* tiles that share one reading of w */
    FULL = 132,        /* blocks that keep a card busy */
    CROWD = 4 * FULL,  /* and as many as fit it at once */
    SHORTEST = 8,      /* stages below which a part is not worth its sum */
    F32_ROWS = 4,      /* of w, a warp */
    F32_STEPS = 4,     /* weights of a row that a lane asks for at once */
    F32_BLOCK = F32_ROWS * THREADS / 32
};

static int64_t ceiling(int64_t n, int64_t step)
{
    return (n + step - 1) / step;
}

/* Parts of the columns: as many as fit the card at once, where the rows alone do not fill it. */
static int64_t parts_of(int64_t rows, int64_t cols)
{
    int64_t blocks = ceiling(rows, ROWS), most = ceiling(cols, STEP) / SHORTEST;
    int64_t parts = blocks >= FULL ? 1 : CROWD / blocks;
    parts = parts < most ? parts : most;
    return parts > 1 ? parts : 1;
}

/* What the kernels read: the arguments, and where a part's sums go. */
typedef struct product {
    rs_cuda_skinny_args args;
    int64_t parts, part_stride, row_stride; /* of `sums`, in floats */
    float *sums;
} product;

typedef struct columns {
    int64_t begin, end;
} columns;

RS_DEVICE columns columns_of_part(const product *p)
{
    int64_t stages = (p->args.cols + STEP - 1) / STEP, part = rs_block_y();
    int64_t begin = part * stages / p->parts * STEP, end = (part + 1) * stages / p->parts * STEP;
    return columns{begin, end < p->args.cols ? end : p->args.cols};
}

/* Index of a 16-byte chunk in a stage of 128-byte rows; any 8 rows of one chunk lie in different banks. */
RS_DEVICE int chunk_at(int row, int chunk)
{
    return row * STEP + (chunk ^ (row & 7)) * 8;
}

/* Rows first.. of a matrix, columns col..col + STEP, into a stage; zeros beyond `rows` and `end`. */
template <int n_rows>
RS_DEVICE void copy_rows(rs_shared<rs_bf16> to, const void *matrix, int64_t stride, int64_t first, int64_t rows, int64_t col, int64_t end)
{
    int chunk = rs_thread() % CHUNKS;
    RS_UNROLL
    for (int i = 0; i < n_rows; i += THREADS / CHUNKS) {
        int row = i + rs_thread() / CHUNKS;
        if (n_rows % (THREADS / CHUNKS) != 0 && row >= n_rows)
            break;
        bool valid = first + row < rows && col + chunk * 8 < end;
        const rs_bf16 *from = (const rs_bf16 *)matrix + (valid ? (first + row) * stride + col + chunk * 8 : 0);
        rs_copy_async16(to, chunk_at(row, chunk), from, valid);
    }
}

/* c [16 rows of w, tiles of 8 activation rows] += over one stage. */
template <int tiles> RS_DEVICE void multiply(float c[tiles][4], rs_shared<rs_bf16> w, rs_shared<rs_bf16> a)
{
    int lane = rs_lane(), row = rs_warp() * 16 + (lane & 15);
    RS_UNROLL
    for (int k = 0; k < CHUNKS; k += 4) {
        uint32_t weights[2][4];
        rs_load_tiles(weights[0], w, chunk_at(row, k + (lane >> 4)));
        rs_load_tiles(weights[1], w, chunk_at(row, k + 2 + (lane >> 4)));
        RS_UNROLL
        for (int t = 0; t < tiles; t++) {
            uint32_t inputs[4];
            rs_load_tiles(inputs, a, chunk_at(t * TILE + (lane & 7), k + (lane >> 3)));
            rs_mma(c[t], weights[0], inputs);
            rs_mma(c[t], weights[1], inputs + 2);
        }
    }
}

RS_DEVICE void put(const product *p, int64_t i, int64_t row, float sum)
{
    if (i < p->args.n && row < p->args.rows)
        p->sums[rs_block_y() * p->part_stride + i * p->row_stride + row] = sum;
}

/* What a bf16 block takes: rows of w and of a, columns. */
typedef struct slab {
    int64_t row, first;
    columns part;
} slab;

/* Asks for one stage of a slab, a group of copies of its own even beyond the slab's end. */
template <int tiles> RS_DEVICE void fetch(const product *p, const slab *s, rs_shared<rs_bf16> ring, int stage)
{
    int64_t column = s->part.begin + (int64_t)stage * STEP;
    if (column < s->part.end) {
        rs_shared<rs_bf16> to = ring.at(stage % STAGES * (ROWS + tiles * TILE) * STEP);
        copy_rows<ROWS>(to, p->args.w, p->args.cols, s->row, p->args.rows, column, s->part.end);
        copy_rows<tiles * TILE>(to.at(ROWS * STEP), p->args.a, p->args.a_stride, s->first, p->args.n, column, s->part.end);
    }
    rs_copy_commit();
}

/* Grid: rows of w by 64, parts, activation rows by 8 tiles. */
template <int tiles> RS_KERNEL RS_BOUNDS(THREADS, 1) multiply_bf16(product p)
{
    const int stage_size = (ROWS + tiles * TILE) * STEP;
    rs_shared<rs_bf16> ring = rs_shared_at<rs_bf16>(0, STAGES * stage_size);
    slab s = {(int64_t)rs_block_x() * ROWS, (int64_t)rs_block_z() * tiles * TILE, columns_of_part(&p)};
    float c[tiles][4] = {};
    int n_stages = (int)((s.part.end - s.part.begin + STEP - 1) / STEP);
    for (int stage = 0; stage < STAGES - 1; stage++)
        fetch<tiles>(&p, &s, ring, stage);
    for (int stage = 0; stage < n_stages; stage++) {
        rs_copy_wait<STAGES - 2>();
        rs_sync();
        fetch<tiles>(&p, &s, ring, stage + STAGES - 1); /* to where all warps have read before the barrier */
        rs_shared<rs_bf16> from = ring.at(stage % STAGES * stage_size);
        multiply<tiles>(c, from, from.at(ROWS * STEP));
    }

    int row = rs_warp() * 16 + rs_lane() / 4, column = rs_lane() % 4 * 2;
    RS_UNROLL
    for (int t = 0; t < tiles; t++) {
        RS_UNROLL
        for (int i = 0; i < 4; i++)
            put(&p, s.first + t * TILE + column + (i & 1), s.row + row + (i >> 1) * 8, c[t][i]);
    }
}

/* Grid: rows of w by 16, parts, activation rows by 8. A warp takes 4 rows of w, a lane every 32nd column. */
RS_KERNEL RS_BOUNDS(THREADS, 1) multiply_f32(product p)
{
    int64_t first_row = ((int64_t)rs_block_x() * THREADS / 32 + rs_warp()) * F32_ROWS, first = (int64_t)rs_block_z() * TILE;
    columns part = columns_of_part(&p);
    const float *w[F32_ROWS], *a[TILE];
    float sums[F32_ROWS][TILE] = {};
    RS_UNROLL
    for (int r = 0; r < F32_ROWS; r++) /* rows beyond the last repeat it and are not written */
        w[r] = (const float *)p.args.w + (first_row + r < p.args.rows ? first_row + r : p.args.rows - 1) * p.args.cols;
    RS_UNROLL
    for (int i = 0; i < TILE; i++)
        a[i] = (const float *)p.args.a + (first + i < p.args.n ? first + i : p.args.n - 1) * p.args.a_stride;

    for (int64_t k = part.begin + rs_lane(); k < part.end; k += F32_STEPS * 32) {
        float weights[F32_STEPS][F32_ROWS];
        RS_UNROLL
        for (int step = 0; step < F32_STEPS; step++) {
            RS_UNROLL
            for (int r = 0; r < F32_ROWS; r++)
                weights[step][r] = k + step * 32 < part.end ? w[r][k + step * 32] : 0.0f;
        }
        RS_UNROLL
        for (int step = 0; step < F32_STEPS; step++) {
            RS_UNROLL
            for (int i = 0; i < TILE; i++) {
                float input = k + step * 32 < part.end ? a[i][k + step * 32] : 0.0f;
                RS_UNROLL
                for (int r = 0; r < F32_ROWS; r++)
                    sums[r][i] = rs_fma(weights[step][r], input, sums[r][i]);
            }
        }
    }
    RS_UNROLL
    for (int r = 0; r < F32_ROWS; r++) {
        RS_UNROLL
        for (int i = 0; i < TILE; i++) {
            float sum = rs_warp_sum(sums[r][i]);
            if (rs_lane() == 0)
                put(&p, first + i, first_row + r, sum);
        }
    }
}

/* out = the parts' sums, added in order. Grid: rows of w by 128, activation rows. */
RS_KERNEL RS_BOUNDS(THREADS, 1) add_parts(product p)
{
    int64_t row = (int64_t)rs_block_x() * THREADS + rs_thread(), i = rs_block_y();
    if (row >= p.args.rows)
        return;
    const float *from = p.sums + i * p.row_stride + row;
    float sum = 0.0f;
    for (int64_t part = 0; part < p.parts; part++)
        sum = rs_add(sum, from[part * p.part_stride]);
    p.args.out[i * p.args.out_stride + row] = sum;
}

template <int tiles> static int launch_bf16(void *stream, const product *p)
{
    int bytes = STAGES * (ROWS + tiles * TILE) * STEP * (int)sizeof(rs_bf16);
    rs_dim grid((unsigned)ceiling(p->args.rows, ROWS), (unsigned)p->parts, (unsigned)ceiling(p->args.n, tiles * TILE));
    int error = RS_ALLOW_SHARED((multiply_bf16<tiles>), bytes);
    return error ? error : RS_LAUNCH((multiply_bf16<tiles>), grid, THREADS, bytes, stream, *p);
}

static int launch_parts(void *stream, const product *p)
{
    if (!p->args.bf16) {
        rs_dim grid((unsigned)ceiling(p->args.rows, F32_BLOCK), (unsigned)p->parts, (unsigned)ceiling(p->args.n, TILE));
        return RS_LAUNCH(multiply_f32, grid, THREADS, 0, stream, *p);
    }
    if (p->args.n <= TILE)
        return launch_bf16<1>(stream, p);
    if (p->args.n <= 2 * TILE)
        return launch_bf16<2>(stream, p);
    return p->args.n <= 4 * TILE ? launch_bf16<4>(stream, p) : launch_bf16<LARGEST>(stream, p);
}

extern "C" int rs_cuda_skinny(void *stream, const rs_cuda_skinny_args *args)
{
    product p = {*args, parts_of(args->rows, args->cols), 0, args->out_stride, args->out};
    if (args->n == 0 || args->rows == 0)
        return 0;
    if (p.parts > 1) {
        p.sums = args->work;
        p.row_stride = args->rows;
        p.part_stride = args->n * args->rows;
    }
    int error = launch_parts(stream, &p);
    if (error || p.parts == 1)
        return error;
    rs_dim grid((unsigned)ceiling(args->rows, THREADS), (unsigned)args->n);
    return RS_LAUNCH(add_parts, grid, THREADS, 0, stream, p);
}

extern "C" int64_t rs_cuda_skinny_floats(int64_t n, int64_t rows, int64_t cols)
{
    int64_t parts = parts_of(rows, cols);
    return parts > 1 ? parts * n * rows : 0;
}
