/* Rows as matrix products want them: dense, aligned, their inner dimension rounded up with zeros. Only for models whose dimensions, or
 * whose fixed parts, are no multiples of 8. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/simt.h"

enum { THREADS = 128 };

/* Grid: columns by THREADS, rows. */
template <class T> RS_KERNEL RS_BOUNDS(THREADS, 1) pad_rows(rs_cuda_pad_args args)
{
    int64_t column = (int64_t)rs_block_x() * THREADS + rs_thread();
    for (int64_t row = rs_block_y(); row < args.n && column < args.width; row += rs_blocks_y())
        ((T *)args.out)[row * args.width + column] = column < args.cols ? ((const T *)args.a)[row * args.a_stride + column] : (T)0;
}

extern "C" int rs_cuda_pad(void *stream, const rs_cuda_pad_args *args)
{
    if (args->n == 0)
        return 0;
    rs_dim grid((unsigned)((args->width + THREADS - 1) / THREADS), (unsigned)(args->n < 32768 ? args->n : 32768));
    return args->bf16 ? RS_LAUNCH(pad_rows<rs_bf16>, grid, THREADS, 0, stream, *args)
                      : RS_LAUNCH(pad_rows<float>, grid, THREADS, 0, stream, *args);
}
