#include "report/cells.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static size_t width_of(const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p; p++)
        n += ((unsigned char)*p & 0xC0) != 0x80;
    return n;
}

char *rs_shorten(const char *text, size_t width)
{
    if (width_of(text) <= width)
        return rs_strdup(text);
    const char *p = text;
    for (size_t kept = 0; *p; p++) {
        kept += ((unsigned char)*p & 0xC0) != 0x80;
        if (kept == width)
            break;
    }
    return rs_format("%.*s…", (int)(p - text), text);
}

void rs_cells_add(rs_cells *cells, const char *text)
{
    char *copy = rs_strdup(text);
    rs_line_flatten(copy); /* a label's line break, or worse, would break the table */
    RS_PUSH(cells->items, cells->n, cells->cap, copy);
}

void rs_cells_free(rs_cells *cells)
{
    for (size_t i = 0; i < cells->n; i++)
        free(cells->items[i]);
    free(cells->items);
    *cells = (rs_cells){0};
}

size_t rs_cells_width(const rs_cells *cells, size_t column)
{
    size_t widest = 0;
    for (size_t i = column; i < cells->n; i += cells->n_columns) {
        size_t width = width_of(cells->items[i]);
        widest = width > widest ? width : widest;
    }
    return widest;
}

static void put_blanks(size_t n, rs_text *out)
{
    rs_text_printf(out, "%*s", (int)n, "");
}

static void trim_line(rs_text *out)
{
    while (out->n > 0 && out->data[out->n - 1] == ' ')
        out->data[--out->n] = '\0';
    rs_text_puts(out, "\n");
}

void rs_cells_write(const rs_cells *cells, const size_t *columns, size_t n, size_t left, size_t heads, rs_text *out)
{
    size_t *widths = rs_alloc(n, sizeof *widths), total = 0;
    for (size_t k = 0; k < n; k++) {
        widths[k] = rs_cells_width(cells, columns[k]);
        total += widths[k] + (k ? 2 : 0);
    }
    for (size_t row = 0; row < cells->n / cells->n_columns; row++) {
        for (size_t k = 0; k < n; k++) {
            const char *text = cells->items[row * cells->n_columns + columns[k]];
            size_t blank = widths[k] - width_of(text);
            put_blanks((k ? 2 : 0) + (k < left ? 0 : blank), out);
            rs_text_puts(out, text);
            put_blanks(k < left ? blank : 0, out);
        }
        trim_line(out);
        for (size_t i = 0; row + 1 == heads && i < total; i++)
            rs_text_puts(out, "-");
        rs_text_puts(out, row + 1 == heads ? "\n" : "");
    }
    free(widths);
}
