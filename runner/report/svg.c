#include "report/svg.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 760, HEIGHT = 340, LEFT = 64, RIGHT = 16, TOP = 20, BOTTOM = 46 };

static double x_scale(const char *const *names, double x)
{
    return names ? x : log10(x);
}

void rs_svg_put_x(const char *const *names, double x, rs_text *out)
{
    if (names)
        rs_html_text(names[(int)x - 1], out);
    else
        rs_text_printf(out, "%.4g", x);
}

double rs_svg_x(const rs_svg_frame *f, double x)
{
    return LEFT + (x_scale(f->names, x) - f->x_low) / (f->x_high - f->x_low) * (WIDTH - LEFT - RIGHT);
}

double rs_svg_y(const rs_svg_frame *f, double y)
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

static void widen_y(const rs_chart *chart, double y, rs_svg_frame *f)
{
    if (!chart->log_y)
        widen(y, &f->y_low, &f->y_high);
    else if (y > 0)
        widen(log10(y), &f->y_low, &f->y_high);
}

static bool find_frame(const rs_chart *chart, rs_svg_frame *f)
{
    *f = (rs_svg_frame){NAN, NAN, NAN, NAN, chart->log_y, chart->names};
    for (int c = 0; c < chart->n_curves; c++) {
        const rs_curve *curve = &chart->curves[c];
        for (int i = 0; i < curve->n; i++) {
            if (!isfinite(curve->y[i]) || !isfinite(curve->x[i]))
                continue;
            widen(x_scale(f->names, curve->x[i]), &f->x_low, &f->x_high);
            widen_y(chart, curve->y[i], f);
            if (curve->low && curve->colour < RS_SVG_COLOURS) {
                widen_y(chart, curve->low[i], f);
                widen_y(chart, curve->high[i], f);
            }
        }
    }
    if (!isfinite(f->x_low) || !isfinite(f->y_low))
        return false;
    if (chart->unit_y) {
        f->y_low = 0;
        f->y_high = 1;
    }
    double x_room = f->x_high > f->x_low ? (f->names ? 0.06 : 0.03) * (f->x_high - f->x_low) : 0.5; /* half a name has to fit */
    double y_room = f->y_high > f->y_low ? 0.06 * (f->y_high - f->y_low) : fabs(f->y_high) * 0.1 + 0.1;
    f->x_low -= x_room;
    f->x_high += x_room;
    f->y_low -= y_room;
    f->y_high += y_room;
    return true;
}

static void put_y_tick(const rs_svg_frame *f, double value, rs_text *out)
{
    double y = rs_svg_y(f, value);
    rs_text_printf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"tick end\" x=\"%d\" y=\"%.1f\">%.4g</text>\n", LEFT, y,
                   WIDTH - RIGHT, LEFT - 8, y + 4, value);
}

static void put_y_ticks(const rs_svg_frame *f, rs_text *out)
{
    double span = f->y_high - f->y_low;
    if (f->log_y && span >= 1.2) {
        static const double between[] = {1, 2, 5};
        int every = span > 8 ? (int)ceil(span / 8) : 1, n = span < 3 ? 3 : 1;
        for (int e = (int)floor(f->y_low); e <= (int)floor(f->y_high); e++)
            for (int k = 0; k < n && e % every == 0; k++)
                if (log10(between[k]) + e >= f->y_low && log10(between[k]) + e <= f->y_high)
                    put_y_tick(f, between[k] * pow(10, e), out);
        return;
    }
    double low = f->log_y ? pow(10, f->y_low) : f->y_low, high = f->log_y ? pow(10, f->y_high) : f->y_high;
    double step = pow(10, floor(log10((high - low) / 5)));
    double times = (high - low) / 5 / step;
    step *= times > 7 ? 10 : times > 3.5 ? 5 : times > 1.5 ? 2 : 1;
    for (double k = ceil(low / step); k * step <= high; k++)
        put_y_tick(f, k == 0 ? 0 : k * step, out);
}

static void put_x_label(const rs_svg_frame *f, double value, rs_text *out)
{
    if (f->names)
        rs_svg_put_x(f->names, value, out);
    else
        rs_text_printf(out, value >= 1e6 ? "%.3g" : "%.0f", value);
}

static void put_x_tick(const rs_svg_frame *f, double value, double *last, rs_text *out)
{
    double x = rs_svg_x(f, value), room = f->names ? 7.0 * (double)strlen(f->names[(int)value - 1]) : 46;
    if (x < LEFT || x > WIDTH - RIGHT)
        return;
    rs_text_printf(out, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>", x, TOP, HEIGHT - BOTTOM);
    if (x - *last > room) { /* labels that would touch are left out */
        rs_text_printf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\">", x, HEIGHT - BOTTOM + 18);
        put_x_label(f, value, out);
        rs_text_puts(out, "</text>");
        *last = x;
    }
    rs_text_puts(out, "\n");
}

static void put_mark(const rs_chart *chart, const rs_svg_frame *f, double value, rs_text *out)
{
    double x = rs_svg_x(f, value);
    if (x <= LEFT || x >= WIDTH - RIGHT)
        return;
    rs_text_printf(out, "<path class=\"mark\" d=\"M%.1f %dV%d\"/><text class=\"tick\" x=\"%.1f\" y=\"%d\">", x, TOP, HEIGHT - BOTTOM, x,
                   TOP - 3);
    if (chart->mark_label)
        rs_html_text(chart->mark_label, out);
    else
        rs_text_printf(out, "%.0f", value);
    rs_text_puts(out, "</text>\n");
}

static void put_x_ticks(const rs_chart *chart, const rs_svg_frame *f, rs_text *out)
{
    double last = -1e9;
    for (int i = 0; i < chart->n_ticks; i++)
        put_x_tick(f, chart->ticks[i], &last, out);
    for (int i = 1; i <= chart->n_names; i++)
        put_x_tick(f, i, &last, out);
    if (chart->ticks == NULL && chart->names == NULL)
        for (int e = (int)ceil(f->x_low); e <= (int)floor(f->x_high); e++)
            put_x_tick(f, pow(10, e), &last, out);
    for (int i = 0; i < chart->n_marks; i++)
        put_mark(chart, f, chart->marks[i], out);
}

void rs_svg_write(const rs_chart *chart, rs_text *out)
{
    rs_svg_frame f;
    if (!find_frame(chart, &f))
        return;
    rs_text_puts(out, "<figure><figcaption>");
    rs_html_text(chart->title, out);
    rs_text_puts(out, "</figcaption>\n<div class=\"wide\">");
    rs_text_printf(out, "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"group\" aria-label=\"", WIDTH, HEIGHT);
    rs_html_text(chart->title, out);
    rs_text_puts(out, chart->numbers ? "; a table of its numbers follows\">\n" : "; the table of this task holds the same numbers\">\n");
    rs_text_puts(out, "<g aria-hidden=\"true\">\n");
    put_y_ticks(&f, out);
    put_x_ticks(chart, &f, out);
    rs_text_printf(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n<text class=\"tick\" x=\"%d\" y=\"%d\">", LEFT, TOP, HEIGHT - BOTTOM,
                   WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    rs_html_text(chart->x_label, out);
    rs_text_printf(out, "</text><text class=\"tick\" transform=\"translate(14 %d) rotate(-90)\">", (TOP + HEIGHT - BOTTOM) / 2);
    rs_html_text(chart->y_label, out);
    rs_text_puts(out, "</text></g>\n");
    for (int c = 0; c < chart->n_curves; c++)
        rs_svg_curve(&chart->curves[c], &f, out);
    rs_text_puts(out, "</svg></div>");
    rs_svg_legend(chart, out);
    if (chart->numbers)
        rs_svg_numbers(chart, out);
    rs_text_puts(out, "</figure>\n");
}
