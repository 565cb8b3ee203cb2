/* Attention kernels, built for one instruction set. */
#define RS_ATTEND_NAME rs_attention_portable
#include "kernels/cpu/attention_kernel.h"
