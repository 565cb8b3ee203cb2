/* Row-wise kernels, built for one instruction set. */
#define RS_ELEMENTWISE_NAME rs_elementwise_avx512
#include "kernels/cpu/elementwise_kernel.h"
