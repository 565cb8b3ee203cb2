/* The linker gives us the launches: --wrap in CMakeLists.txt names them. Those in a fake stream are queued with their arguments as they
 * are; others, of tests that call a kernel themselves, run at once. */
#include "kernels/cuda/kernels.h"
#include "simt/driver_fake.h"
#include "simt/fake_streams.h"

#define WRAP(name, type)                                                                                                                   \
    int __real_rs_cuda_##name(void *stream, const type *args);                                                                             \
    int __wrap_rs_cuda_##name(void *stream, const type *args);                                                                             \
    static int run_##name(const void *args)                                                                                                \
    {                                                                                                                                      \
        rs_fake_now.kernels++;                                                                                                             \
        return __real_rs_cuda_##name(NULL, args);                                                                                          \
    }                                                                                                                                      \
    int __wrap_rs_cuda_##name(void *stream, const type *args)                                                                              \
    {                                                                                                                                      \
        int which = rs_fake_stream_of(stream);                                                                                             \
        if (which < 0)                                                                                                                     \
            return __real_rs_cuda_##name(stream, args);                                                                                    \
        rs_fake_push(which, run_##name, args, sizeof *args);                                                                               \
        return 0;                                                                                                                          \
    }

WRAP(embed, rs_cuda_embed_args)
WRAP(add_norm, rs_cuda_norm_args)
WRAP(glu, rs_cuda_glu_args)
WRAP(rope_table, rs_cuda_table_args)
WRAP(store, rs_cuda_store_args)
WRAP(attend_general, rs_cuda_attention_args)
WRAP(attend_mma, rs_cuda_attention_args)
WRAP(attend_decode, rs_cuda_attention_args)
WRAP(skinny, rs_cuda_skinny_args)
WRAP(pad, rs_cuda_pad_args)
WRAP(head_reduce, rs_cuda_head_args)

typedef struct add_args {
    float *a;
    const float *b;
    int64_t n;
} add_args;

int __real_rs_cuda_add(void *stream, float *a, const float *b, int64_t n);
int __wrap_rs_cuda_add(void *stream, float *a, const float *b, int64_t n);

static int run_add(const void *args)
{
    const add_args *add = args;
    rs_fake_now.kernels++;
    return __real_rs_cuda_add(NULL, add->a, add->b, add->n);
}

int __wrap_rs_cuda_add(void *stream, float *a, const float *b, int64_t n)
{
    int which = rs_fake_stream_of(stream);
    if (which < 0)
        return __real_rs_cuda_add(stream, a, b, n);
    rs_fake_push(which, run_add, &(add_args){.a = a, .b = b, .n = n}, sizeof(add_args));
    return 0;
}
