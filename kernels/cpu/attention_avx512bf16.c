/* Attention kernels, built for one instruction set. */
#define RS_ATTEND_NAME rs_attention_avx512bf16
#include "kernels/cpu/attention_kernel.h"
