/* Curves over a logarithmic axis as inline SVG. */
#ifndef RS_REPORT_SVG_H
#define RS_REPORT_SVG_H

#include <stdbool.h>

#include "base/text.h"

enum { RS_SVG_COLOURS = 8 };

typedef struct rs_curve {
    const char *label;
    double *x, *y, *error;  /* [n]; x positive and rising; what is not finite is left out; error NULL: none. Owned by the chart's maker */
    int n;
    int colour;             /* 0..RS_SVG_COLOURS-1; -1: the baseline; RS_SVG_COLOURS: in the background, not in the legend */
} rs_curve;

typedef struct rs_chart {
    const char *title, *x_label, *y_label;
    bool log_y;             /* values of 0 lie on the floor */
    const double *ticks;    /* of the x axis; NULL: powers of ten */
    int n_ticks;
    const double *marks;    /* upright dashed lines */
    int n_marks;
    rs_curve *curves;       /* drawn in this order */
    int n_curves;
} rs_chart;

/* A <figure> with the drawing and its legend; nothing where no curve has a point. */
void rs_svg_write(const rs_chart *chart, rs_text *out);

/* Text for HTML, quotes included. */
void rs_html_text(const char *text, rs_text *out);

#endif
