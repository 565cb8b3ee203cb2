#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 760, HEIGHT = 330, LEFT = 64, RIGHT = 16, TOP = 14, BOTTOM = 46 };

void rs_html_text(const char *text, rs_text *out)
{
    for (const char *p = text; *p; p++) {
        static const char special[] = "&<>\"'";
        static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
        const char *found = strchr(special, *p);
        if (found)
            rs_text_puts(out, names[found - special]);
        else if ((unsigned char)*p < 0x20 || *p == 0x7F)
            rs_text_puts(out, " ");
        else
            rs_text_append(out, p, 1);
    }
}

/* From values to the drawing. */
typedef struct frame {
    double x_low, x_high, y_low, y_high; /* logarithms on logarithmic axes */
    bool log_y;
} frame;

static double place_x(const frame *f, double x)
{
    return LEFT + (log10(x) - f->x_low) / (f->x_high - f->x_low) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const frame *f, double y)
{
    double value = !f->log_y ? y : y > 0 ? log10(y) : f->y_low;
    double share = (value - f->y_low) / (f->y_high - f->y_low);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

static void widen(double value, double *low, double *high)
{
    if (!isfinite(value))
        return;
    *low = !(*low <= value) ? value : *low;
    *high = !(*high >= value) ? value : *high;
}

static bool find_frame(const rs_chart *chart, frame *f)
{
    *f = (frame){NAN, NAN, NAN, NAN, chart->log_y};
    for (int c = 0; c < chart->n_curves; c++)
        for (int i = 0; i < chart->curves[c].n; i++) {
            double x = chart->curves[c].x[i], y = chart->curves[c].y[i];
            double error = chart->curves[c].error && isfinite(chart->curves[c].error[i]) ? chart->curves[c].error[i] : 0;
            if (!isfinite(y) || !isfinite(x))
                continue;
            widen(log10(x), &f->x_low, &f->x_high);
            for (int side = -1; side <= 1; side += 2) {
                double end = y + side * error;
                if (!chart->log_y || end > 0)
                    widen(chart->log_y ? log10(end) : end, &f->y_low, &f->y_high);
            }
        }
    if (!isfinite(f->x_low) || !isfinite(f->y_low))
        return false;
    double x_room = f->x_high > f->x_low ? 0.03 * (f->x_high - f->x_low) : 0.5;
    double y_room = f->y_high > f->y_low ? 0.06 * (f->y_high - f->y_low) : fabs(f->y_high) * 0.1 + 0.1;
    f->x_low -= x_room;
    f->x_high += x_room;
    f->y_low -= y_room;
    f->y_high += y_room;
    return true;
}

static void put_y_tick(const frame *f, double value, rs_text *out)
{
    double y = place_y(f, value);
    rs_text_printf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"tick end\" x=\"%d\" y=\"%.1f\">%.4g</text>\n", LEFT, y,
                   WIDTH - RIGHT, LEFT - 8, y + 4, value);
}

static void put_y_ticks(const frame *f, rs_text *out)
{
    double span = f->y_high - f->y_low;
    if (f->log_y && span >= 1.5) {
        int every = span > 8 ? (int)ceil(span / 8) : 1;
        for (int e = (int)ceil(f->y_low); e <= (int)floor(f->y_high); e++)
            if (e % every == 0)
                put_y_tick(f, pow(10, e), out);
        return;
    }
    double low = f->log_y ? pow(10, f->y_low) : f->y_low, high = f->log_y ? pow(10, f->y_high) : f->y_high;
    double step = pow(10, floor(log10((high - low) / 5)));
    double times = (high - low) / 5 / step;
    step *= times > 7 ? 10 : times > 3.5 ? 5 : times > 1.5 ? 2 : 1;
    for (double k = ceil(low / step); k * step <= high; k++)
        put_y_tick(f, k == 0 ? 0 : k * step, out);
}

static void put_x_tick(const frame *f, double value, double *last, rs_text *out)
{
    double x = place_x(f, value);
    char text[32];
    if (value >= 1e6)
        snprintf(text, sizeof text, "%.3g", value);
    else
        snprintf(text, sizeof text, "%.0f", value);
    rs_text_printf(out, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>", x, TOP, HEIGHT - BOTTOM);
    if (x - *last > 46) { /* labels that would touch are left out */
        rs_text_printf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\">%s</text>", x, HEIGHT - BOTTOM + 18, text);
        *last = x;
    }
    rs_text_puts(out, "\n");
}

static void put_x_ticks(const rs_chart *chart, const frame *f, rs_text *out)
{
    double last = -1e9;
    for (int i = 0; i < chart->n_ticks; i++)
        put_x_tick(f, chart->ticks[i], &last, out);
    if (chart->ticks == NULL)
        for (int e = (int)ceil(f->x_low); e <= (int)floor(f->x_high); e++)
            put_x_tick(f, pow(10, e), &last, out);
    for (int i = 0; i < chart->n_marks; i++) {
        double x = place_x(f, chart->marks[i]);
        if (x > LEFT && x < WIDTH - RIGHT)
            rs_text_printf(out, "<path class=\"mark\" d=\"M%.1f %dV%d\"/><text class=\"tick\" x=\"%.1f\" y=\"%d\">%.0f</text>\n", x, TOP,
                           HEIGHT - BOTTOM, x, TOP - 3, chart->marks[i]);
    }
}

static void colour_class(const rs_curve *curve, char class[8])
{
    if (curve->colour < 0)
        strcpy(class, "base");
    else if (curve->colour >= RS_SVG_COLOURS)
        strcpy(class, "back");
    else
        snprintf(class, 8, "c%d", curve->colour);
}

static void put_curve(const rs_curve *curve, const frame *f, rs_text *out)
{
    char class[8];
    bool drawing = false;
    colour_class(curve, class);
    rs_text_printf(out, "<g class=\"%s\"><title>", class);
    rs_html_text(curve->label, out);
    rs_text_puts(out, "</title><path d=\"");
    for (int i = 0; i < curve->n; i++) {
        bool there = isfinite(curve->y[i]) && isfinite(curve->x[i]);
        if (there)
            rs_text_printf(out, "%c%.1f %.1f", drawing ? 'L' : 'M', place_x(f, curve->x[i]), place_y(f, curve->y[i]));
        drawing = there;
    }
    rs_text_puts(out, "\"/>");
    for (int i = 0; i < curve->n && curve->colour < RS_SVG_COLOURS && curve->error; i++) {
        if (!isfinite(curve->y[i]))
            continue;
        double x = place_x(f, curve->x[i]), error = curve->error[i];
        if (isfinite(error) && error > 0)
            rs_text_printf(out, "<path class=\"bar\" d=\"M%.1f %.1fV%.1f\"/>", x, place_y(f, curve->y[i] - error),
                           place_y(f, curve->y[i] + error));
        rs_text_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\"/>", x, place_y(f, curve->y[i]));
    }
    rs_text_puts(out, "</g>\n");
}

static void put_legend(const rs_chart *chart, rs_text *out)
{
    int back = 0;
    rs_text_puts(out, "<ul class=\"legend\">");
    for (int c = chart->n_curves - 1; c >= 0; c--) { /* what lies on top comes first */
        char class[8];
        if (chart->curves[c].colour >= RS_SVG_COLOURS) {
            back++;
            continue;
        }
        colour_class(&chart->curves[c], class);
        rs_text_printf(out,
                       "<li><svg class=\"key\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><g class=\"%s\"><path d=\"M0 5H28\"/></g></svg>",
                       class);
        rs_html_text(chart->curves[c].label, out);
        rs_text_puts(out, chart->curves[c].colour < 0 ? " (baseline)</li>" : "</li>");
    }
    if (back > 0)
        rs_text_printf(out, "<li class=\"dim\">%d more in grey</li>", back);
    rs_text_puts(out, "</ul>");
}

void rs_svg_write(const rs_chart *chart, rs_text *out)
{
    frame f;
    if (!find_frame(chart, &f))
        return;
    rs_text_puts(out, "<figure><figcaption>");
    rs_html_text(chart->title, out);
    rs_text_printf(out, "</figcaption>\n<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    rs_html_text(chart->title, out);
    rs_text_puts(out, "; the tables hold the same numbers\">\n");
    put_y_ticks(&f, out);
    put_x_ticks(chart, &f, out);
    rs_text_printf(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n<text class=\"tick\" x=\"%d\" y=\"%d\">", LEFT, TOP, HEIGHT - BOTTOM,
                   WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    rs_html_text(chart->x_label, out);
    rs_text_printf(out, "</text><text class=\"tick\" transform=\"translate(14 %d) rotate(-90)\">", (TOP + HEIGHT - BOTTOM) / 2);
    rs_html_text(chart->y_label, out);
    rs_text_puts(out, "</text>\n");
    for (int c = 0; c < chart->n_curves; c++)
        put_curve(&chart->curves[c], &f, out);
    rs_text_puts(out, "</svg>");
    put_legend(chart, out);
    rs_text_puts(out, "</figure>\n");
}
