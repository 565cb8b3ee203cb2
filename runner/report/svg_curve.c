/* One curve of a chart, and what names the curves beside it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/svg.h"

static const double dodge = 2.2; /* between neighbours' intervals, which would else hide each other */

void rs_html_text(const char *text, rs_text *out)
{
    static const char special[] = "&<>\"'";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    const char *p = text, *plain = text;
    for (; *p; p++) {
        const char *found = strchr(special, *p), *instead = found ? names[found - special] : NULL;
        size_t n = 1;
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            instead = " ";
        else if (strncmp(p, "\xEF\xBF\xBE", 3) == 0 || strncmp(p, "\xEF\xBF\xBF", 3) == 0) { /* U+FFFE, U+FFFF */
            instead = "\xEF\xBF\xBD";
            n = 3;
        }
        if (instead == NULL)
            continue;
        rs_text_append(out, plain, (size_t)(p - plain));
        rs_text_puts(out, instead);
        p += n - 1;
        plain = p + 1;
    }
    rs_text_append(out, plain, (size_t)(p - plain));
}

static const char *colour_class(const rs_curve *curve)
{
    static const char *const names[RS_SVG_COLOURS + 2] = {"base", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "back"};
    return names[curve->colour + 1];
}

/* Outline of a marker around a place. */
static void put_marker_path(int colour, double x, double y, rs_text *out)
{
    static const char *const shapes[RS_SVG_COLOURS + 1] = {
        "m-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0 -8.4 0",           /* the baseline: a large disc */
        "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",                         /* disc */
        "m-2.8 -2.8h5.6v5.6h-5.6z",                                   /* square */
        "m0 -3.8l3.6 6.3h-7.2z",                                      /* triangle */
        "m0 -4l4 4l-4 4l-4 -4z",                                      /* diamond */
        "m0 3.8l3.6 -6.3h-7.2z",                                      /* triangle on its point */
        "m-1.2 -4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8z", /* plus */
        "m-3.6 -3.4l7.2 6.8v-6.8l-7.2 6.8z",                          /* bow tie */
        "m-3.4 -3.6l6.8 7.2h-6.8l6.8 -7.2z",                          /* hourglass */
    };
    rs_text_printf(out, "M%.1f %.1f%s", x, y, shapes[colour + 1]);
}

static void put_value(double value, rs_text *out)
{
    rs_text_printf(out, "%.4g", value);
}

static void put_marker(const rs_curve *curve, int i, const rs_svg_frame *f, double x, double y, rs_text *out)
{
    rs_text_puts(out, "<path class=\"m\" tabindex=\"0\" role=\"img\" d=\"");
    put_marker_path(curve->colour, x, y, out);
    rs_text_puts(out, "\"><title>");
    rs_html_text(curve->label, out);
    rs_text_puts(out, ", ");
    rs_svg_put_x(f->names, curve->x[i], out);
    rs_text_puts(out, ": ");
    put_value(curve->y[i], out);
    if (isfinite(curve->low[i]) && isfinite(curve->high[i])) {
        rs_text_puts(out, " [");
        put_value(curve->low[i], out);
        rs_text_puts(out, ", ");
        put_value(curve->high[i], out);
        rs_text_puts(out, "]");
    }
    rs_text_puts(out, "</title></path>");
}

/* Whether point i is drawn, and where. */
static bool find_place(const rs_curve *curve, int i, const rs_svg_frame *f, double *x, double *y)
{
    if (!isfinite(curve->y[i]) || !isfinite(curve->x[i]))
        return false;
    bool moved = curve->low && curve->colour < RS_SVG_COLOURS;
    *x = rs_svg_x(f, curve->x[i]) + (moved ? dodge * (curve->colour + 1 - RS_SVG_COLOURS / 2) : 0);
    *y = rs_svg_y(f, curve->y[i]);
    return true;
}

static void put_intervals(const rs_curve *curve, const rs_svg_frame *f, rs_text *out)
{
    double x, y;
    bool any = false;
    for (int i = 0; i < curve->n; i++) {
        if (!find_place(curve, i, f, &x, &y) || !isfinite(curve->low[i]) || !isfinite(curve->high[i]))
            continue;
        double top = rs_svg_y(f, curve->high[i]), bottom = rs_svg_y(f, curve->low[i]);
        rs_text_puts(out, any ? "" : "<path class=\"e\" d=\"");
        rs_text_printf(out, "M%.1f %.1fh5m-2.5 0V%.1fm-2.5 0h5", x - 2.5, top, bottom);
        any = true;
    }
    rs_text_puts(out, any ? "\"/>" : "");
}

void rs_svg_curve(const rs_curve *curve, const rs_svg_frame *f, rs_text *out)
{
    double x, y;
    bool drawing = false, marked = curve->low && curve->colour < RS_SVG_COLOURS;
    rs_text_printf(out, "<g class=\"s %s\" data-s=\"%s\"><title>", colour_class(curve), curve->key);
    rs_html_text(curve->label, out);
    rs_text_puts(out, "</title><path class=\"l\" d=\"");
    for (int i = 0; i < curve->n; i++) {
        bool there = find_place(curve, i, f, &x, &y);
        if (there)
            rs_text_printf(out, "%c%.1f %.1f", drawing ? 'L' : 'M', x, y);
        drawing = there;
    }
    rs_text_puts(out, "\"/>");
    if (marked)
        put_intervals(curve, f, out);
    for (int i = 0; i < curve->n && marked; i++)
        if (find_place(curve, i, f, &x, &y))
            put_marker(curve, i, f, x, y, out);
    rs_text_puts(out, "</g>\n");
}

void rs_svg_legend(const rs_chart *chart, rs_text *out)
{
    int back = 0;
    rs_text_puts(out, "<ul class=\"legend\">");
    for (int c = chart->n_curves - 1; c >= 0; c--) { /* what lies on top comes first */
        const rs_curve *curve = &chart->curves[c];
        if (curve->colour >= RS_SVG_COLOURS) {
            back++;
            continue;
        }
        rs_text_printf(out, "<li data-k=\"%s\"><svg class=\"key\" viewBox=\"0 0 32 12\" aria-hidden=\"true\"><g class=\"s %s\">",
                       curve->key, colour_class(curve));
        rs_text_puts(out, "<path class=\"l\" d=\"M0 6H32\"/>");
        if (curve->low) {
            rs_text_puts(out, "<path class=\"m\" d=\"");
            put_marker_path(curve->colour, 16, 6, out);
            rs_text_puts(out, "\"/>");
        }
        rs_text_puts(out, "</g></svg>");
        rs_html_text(curve->label, out);
        rs_text_puts(out, curve->colour < 0 ? " (baseline)</li>" : "</li>");
    }
    if (back > 0)
        rs_text_printf(out,
                       "<li class=\"dim\"><svg class=\"key\" viewBox=\"0 0 32 12\" aria-hidden=\"true\"><g class=\"s back\"><path "
                       "class=\"l\" d=\"M0 6H32\"/></g></svg>%d more</li>",
                       back);
    rs_text_puts(out, "</ul>");
}

/* The longest curve's x stand at the head: curves of one chart share them, and a shorter one ends earlier. */
static const rs_curve *longest_of(const rs_chart *chart)
{
    const rs_curve *longest = &chart->curves[0];
    for (int c = 1; c < chart->n_curves; c++)
        longest = chart->curves[c].n > longest->n ? &chart->curves[c] : longest;
    return longest;
}

void rs_svg_numbers(const rs_chart *chart, rs_text *out)
{
    const rs_curve *head = longest_of(chart);
    rs_text_puts(out,
                 "<details><summary>Numbers of this chart</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"");
    rs_html_text(chart->title, out);
    rs_text_puts(out, ", numbers\"><table><caption>");
    rs_html_text(chart->y_label, out);
    rs_text_puts(out, "; columns: ");
    rs_html_text(chart->x_label, out);
    rs_text_puts(out, "</caption><thead><tr><th scope=\"col\">variant</th>");
    for (int i = 0; i < head->n; i++) {
        rs_text_puts(out, "<th scope=\"col\" class=\"num\">");
        rs_svg_put_x(chart->names, head->x[i], out);
        rs_text_puts(out, "</th>");
    }
    rs_text_puts(out, "</tr></thead><tbody>\n");
    for (int c = chart->n_curves - 1; c >= 0; c--) {
        const rs_curve *curve = &chart->curves[c];
        rs_text_puts(out, "<tr><th scope=\"row\">");
        rs_html_text(curve->label, out);
        rs_text_puts(out, "</th>");
        for (int i = 0, k = 0; k < head->n; k++) {
            bool there = i < curve->n && curve->x[i] == head->x[k];
            rs_text_puts(out, "<td class=\"num\">");
            if (there && isfinite(curve->y[i]))
                put_value(curve->y[i], out);
            rs_text_puts(out, "</td>");
            i += there;
        }
        rs_text_puts(out, "</tr>\n");
    }
    rs_text_puts(out, "</tbody></table></div></details>");
}
