/* Row-wise kernels, built for one instruction set. */
#define RS_ELEMENTWISE_NAME rs_elementwise_avx2
#include "kernels/cpu/elementwise_kernel.h"
