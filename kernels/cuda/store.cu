/* Tables of cos and sin, and what a step's qkv rows leave behind: rotated queries, rotated keys and values in the caches. Roundings as in
 * kernels/cpu/store.c and elementwise_kernel.h, bit for bit. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

/* --- tables --- */

RS_KERNEL RS_BOUNDS(THREADS, 2) table_kernel(rs_cuda_table_args args)
{
    int64_t i = (int64_t)rs_block_x() * THREADS + rs_thread(), row = i / args.half;
    if (row >= args.n)
        return;
    int k = (int)(i - row * args.half);
    double c, s;
    rs_sincos(args.positions[row] * args.inv_freq[k], &s, &c);
    float cosine = (float)(args.factor * c), sine = (float)(args.factor * s);
    if (args.gain) {
        cosine = (float)((double)cosine * args.gain[k]);
        sine = (float)((double)sine * args.gain[k]);
    }
    args.cosine[i] = cosine;
    args.sine[i] = sine;
}

int rs_cuda_rope_table(void *stream, const rs_cuda_table_args *args)
{
    int64_t blocks = rs_parts(args->n * args->half, THREADS);
    return blocks ? RS_LAUNCH(table_kernel, (unsigned)blocks, THREADS, 0, stream, *args) : 0;
}

/* --- store: a warp a row and head --- */

/* `width` consecutive values of a lane, one access. */
template <class T, int width> struct alignas(sizeof(T) * width) several {
    T v[width];
};

template <int width> RS_DEVICE void write(float *to, const several<float, width> &x)
{
    *(several<float, width> *)to = x;
}
template <int width> RS_DEVICE void write(rs_bf16 *to, const several<float, width> &x)
{
    if constexpr (width == 2) {
        *(uint32_t *)to = rs_pack_bf16(x.v[0], x.v[1]);
    } else {
        *to = (rs_bf16)rs_pack_bf16(x.v[0], 0.0f);
    }
}

/* to[from, end) = x. */
template <int width, class T> RS_DEVICE void copy(const float *x, int from, int end, T *to)
{
    RS_NO_UNROLL
    for (int i = from + width * rs_lane(); i < end; i += width * 32)
        write<width>(to + i, *(const several<float, width> *)(x + i));
}

/* to = x rotated: pairs (k, k + half), the rest as it is. */
template <int width, class T> RS_DEVICE void rotate(const float *x, const float *cosine, const float *sine, int half, int head_dim, T *to)
{
    typedef several<float, width> value;
    RS_NO_UNROLL
    for (int k = width * rs_lane(); k < half; k += width * 32) {
        value c = *(const value *)(cosine + k), s = *(const value *)(sine + k);
        value first = *(const value *)(x + k), second = *(const value *)(x + half + k), a, b;
        RS_UNROLL
        for (int j = 0; j < width; j++) {
            a.v[j] = rs_add(rs_mul(first.v[j], c.v[j]), -rs_mul(second.v[j], s.v[j]));
            b.v[j] = rs_add(rs_mul(second.v[j], c.v[j]), rs_mul(first.v[j], s.v[j]));
        }
        write<width>(to + k, a);
        write<width>(to + half + k, b);
    }
    copy<width>(x, 2 * half, head_dim, to);
}

/* Where one head of one row goes: `copies` times, each rotated by its own table; unrotated where `cosine` is NULL. */
template <class T> struct destination {
    T *to;
    int64_t stride; /* between copies */
    int copies;
    const float *const *cosine, *const *sine;
};

template <class T>
RS_DEVICE destination<T> destination_of(const rs_cuda_store_args &args, const rs_cuda_sequence *sequence, int head, int64_t i)
{
    int64_t layer = args.layer % sequence->cache_layers, token = sequence->position + i;
    if (head < args.heads) {
        T *to = (T *)sequence->queries + (head * sequence->n_rows + i) * args.head_dim;
        return {to, args.heads * sequence->n_rows * args.head_dim, sequence->n_segments, sequence->query_cos, sequence->query_sin};
    }
    if (head < args.heads + args.kv_heads) {
        int64_t plane = (layer * args.kv_heads + head - args.heads) * sequence->cache_key_sets;
        T *to = (T *)sequence->keys + (plane * sequence->capacity + token) * args.head_dim;
        return {to, sequence->capacity * args.head_dim, sequence->n_key_sets, sequence->key_cos, sequence->key_sin};
    }
    int64_t plane = layer * args.kv_heads + head - args.heads - args.kv_heads;
    return {(T *)sequence->values + (plane * sequence->capacity + token) * args.head_dim, 0, 1, NULL, NULL};
}

template <int width, class T>
RS_DEVICE void store_head(const destination<T> &where, const float *x, int64_t i, int half, int head_dim, bool rotates)
{
    if (!rotates || !where.cosine) {
        copy<width>(x, 0, head_dim, where.to);
        return;
    }
    RS_NO_UNROLL
    for (int c = 0; c < where.copies; c++)
        rotate<width>(x, where.cosine[c] + i * half, where.sine[c] + i * half, half, head_dim, where.to + c * where.stride);
}

template <class T> RS_KERNEL RS_BOUNDS(THREADS, 5) store_kernel(rs_cuda_store_args args, int parts)
{
    int64_t row = rs_block_x() / parts;
    int head = rs_block_x() % parts * WARPS + rs_warp(), heads = args.heads + 2 * args.kv_heads;
    if (head >= heads)
        return;
    const rs_cuda_sequence *sequence = args.sequences + args.row_sequence[row];
    const float *x = args.qkv + (row * heads + head) * args.head_dim;
    int64_t i = row - sequence->first_row;
    int half = sequence->rotary_dim / 2;
    bool rotates = sequence->skip_every <= 0 || (args.layer + 1) % sequence->skip_every != 0;
    destination<T> where = destination_of<T>(args, sequence, head, i);
    if ((args.head_dim | half) % 2 == 0)
        store_head<2>(where, x, i, half, args.head_dim, rotates);
    else
        store_head<1>(where, x, i, half, args.head_dim, rotates);
}

int rs_cuda_store(void *stream, const rs_cuda_store_args *args)
{
    if (!args->n)
        return 0;
    int parts = (int)rs_parts(args->heads + 2 * args->kv_heads, WARPS);
    unsigned grid = (unsigned)(args->n * parts);
    return args->bf16 ? RS_LAUNCH((store_kernel<rs_bf16>), grid, THREADS, 0, stream, *args, parts)
                      : RS_LAUNCH((store_kernel<float>), grid, THREADS, 0, stream, *args, parts);
}
