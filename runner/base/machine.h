/* What this machine has. */
#ifndef RS_BASE_MACHINE_H
#define RS_BASE_MACHINE_H

#include <stddef.h>

/* Memory of the machine, or of the control group that this process is held to where that is less. available: what can be had without
 * swapping, pages of files that may be dropped included. 0: not known. */
void rs_machine_memory(size_t *total_bytes, size_t *available_bytes);

#endif
