/* Parts of the program that are opened when they are asked for: their libraries would cost every other run time and memory. A module
 * calls the program's own functions, so the program exports them (ENABLE_EXPORTS). */
#ifndef RS_BASE_MODULE_H
#define RS_BASE_MODULE_H

#include <stdbool.h>

#include "base/status.h"

/* Whether the module `file` was built: it lies in one of the two places below. */
bool rs_module_present(const char *file);

/* The symbol of the module `file`, which lies in the program's own folder or in lib/ropesweep beside that. RS_INVALID with the reason where
 * there is no such module, or it cannot be loaded, or is of another version. A module stays open. */
rs_status rs_module_symbol(const char *file, const char *symbol, void **out);

#endif
