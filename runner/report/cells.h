/* Text in columns for the terminal. Widths count characters, not bytes. */
#ifndef RS_REPORT_CELLS_H
#define RS_REPORT_CELLS_H

#include <stddef.h>

#include "base/text.h"

typedef struct rs_cells {
    char **items;      /* [rows, n_columns], owned */
    size_t n, cap;
    size_t n_columns;
} rs_cells;

void rs_cells_add(rs_cells *cells, const char *text);
void rs_cells_free(rs_cells *cells);
size_t rs_cells_width(const rs_cells *cells, size_t column);
/* All rows, two spaces between columns: the first columns[] of which are left-bound to the left, the others to the right. A rule follows the first
 * `heads` rows. */
void rs_cells_write(const rs_cells *cells, const size_t *columns, size_t n, size_t left, size_t heads, rs_text *out);

/* Cuts a UTF-8 text to so many characters, the last one then being an ellipsis. Freed by the caller. */
char *rs_shorten(const char *text, size_t width);

#endif
