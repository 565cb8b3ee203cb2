/* The parts of report.html. */
#ifndef RS_REPORT_HTML_H
#define RS_REPORT_HTML_H

#include "report/grid.h"

extern const char rs_html_style[], rs_html_script[];

/* Failed and missing points, first of all. Nothing where there are none. */
void rs_html_troubles(const rs_results *results, rs_text *out);
/* One table a task, a row a variant, a column a context, coloured from worst to best of its column. */
void rs_html_heat(const rs_results *results, const rs_grid *grid, int task, rs_text *out);
/* A row a point and metric. */
void rs_html_points(const rs_results *results, rs_text *out);

/* Metric against context, a curve a variant. */
void rs_html_curves(const rs_results *results, const rs_grid *grid, int task, rs_text *out);
/* Each rope's frequencies against the wavelengths that the baseline's pairs have. */
void rs_html_frequencies(const rs_results *results, rs_text *out);

#endif
