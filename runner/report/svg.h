/* Curves over a logarithmic axis as inline SVG, each with its own colour, dash and marker, so that none has to be told by colour alone. */
#ifndef RS_REPORT_SVG_H
#define RS_REPORT_SVG_H

#include <stdbool.h>

#include "base/text.h"

enum { RS_SVG_COLOURS = 8 };

typedef struct rs_curve {
    const char *label;
    char key[16];       /* data-s: curves of one key are hidden and shown together over the whole page */
    double *x, *y;      /* [n]; x positive and rising; what is not finite is left out. Owned by the chart's maker */
    double *low, *high; /* [n] ends of the interval; NULL: none, and no markers */
    int n;
    int colour; /* 0..RS_SVG_COLOURS-1; -1: the baseline; RS_SVG_COLOURS: in the background, not in the legend */
} rs_curve;

typedef struct rs_chart {
    const char *title, *x_label, *y_label;
    bool log_y;          /* values of 0 lie on the floor */
    bool unit_y;         /* the axis runs from 0 to 1 */
    bool numbers;        /* a table of the curves follows: nothing else on the page holds these numbers */
    const double *ticks; /* of the x axis; NULL: powers of ten, or a tick at every name */
    int n_ticks;
    const char *const *names; /* [n_names] NULL: the x axis is logarithmic; else x is 1 to n_names, evenly spaced, and called so */
    int n_names;
    const double *marks; /* upright dashed lines */
    int n_marks;
    const char *mark_label; /* of each of them; NULL: its number */
    rs_curve *curves;       /* drawn in this order */
    int n_curves;
} rs_chart;

/* From values to the drawing. */
typedef struct rs_svg_frame {
    double x_low, x_high, y_low, y_high; /* logarithms on logarithmic axes */
    bool log_y;
    const char *const *names; /* the chart's */
} rs_svg_frame;
/* What x is called. */
void rs_svg_put_x(const char *const *names, double x, rs_text *out);
double rs_svg_x(const rs_svg_frame *f, double x);
double rs_svg_y(const rs_svg_frame *f, double y);

/* A <figure> with the drawing, its legend and its numbers; nothing where no curve has a point. */
void rs_svg_write(const rs_chart *chart, rs_text *out);

/* Its parts (svg_curve.c). */
void rs_svg_curve(const rs_curve *curve, const rs_svg_frame *f, rs_text *out);
void rs_svg_legend(const rs_chart *chart, rs_text *out);
void rs_svg_numbers(const rs_chart *chart, rs_text *out);

/* Text for HTML and XML, quotes included: what neither allows becomes a blank or U+FFFD. */
void rs_html_text(const char *text, rs_text *out);

#endif
