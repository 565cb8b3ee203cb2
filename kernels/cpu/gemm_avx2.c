/* Our own matrix product, built for one instruction set. */
#define RS_PANEL_NAME rs_panel_product_avx2
#include "kernels/cpu/gemm_kernel.h"
