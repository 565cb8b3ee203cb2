/* Checkpoint tensors, whatever their dtype and alignment, as fp32. */
#ifndef RS_KERNELS_SLICE_H
#define RS_KERNELS_SLICE_H

#include <stdint.h>

#include "kernels/backend.h"

/* out: [cols], the slice's row exactly as fp32. */
void rs_slice_row(const rs_slice *slice, int64_t row, float *out);

#endif
