/* The parts of report.html, in the order of the page. */
#ifndef RS_REPORT_HTML_H
#define RS_REPORT_HTML_H

#include "report/grid.h"
#include "report/svg.h"

extern const char rs_html_style[], rs_html_script[];
/* Up to the body's beginning, and from the end of its <main> on. */
void rs_html_head(const char *title, rs_text *out);
void rs_html_foot(rs_text *out);

typedef struct rs_html_page {
    const rs_results *results;
    rs_grid grid;
    int *colours;    /* [n_rows] of variants: -1 the baseline, the best in colours, RS_SVG_COLOURS the rest: the same in every chart */
    int64_t *ranked; /* [n_rows] rows: the baseline, then from the best to the worst */
    rs_text *out;
} rs_html_page;

void rs_html_page_open(const rs_results *results, rs_text *out, rs_html_page *page);
void rs_html_page_close(rs_html_page *page);

/* 95 % interval of a done point's metric. */
typedef struct rs_html_interval {
    double low, high;
} rs_html_interval;
rs_html_interval rs_html_metric_interval(const rs_plan_task *task, const rs_point_result *result, int metric);

/* A difference from the baseline with its 95 % interval. */
typedef struct rs_html_versus {
    double difference, low, high;
    double p_holm; /* NaN: not known */
} rs_html_versus;
rs_html_versus rs_html_versus_baseline(const rs_point_result *result, int metric);
/* p_holm below 0.05. */
bool rs_html_differs(rs_html_versus versus);
/* "+0.12 [0.05, 0.20]" */
void rs_html_put_versus(rs_html_versus versus, rs_text *out);

/* Whether any point of a task is listed, and whether a row has one. */
bool rs_html_has_task(const rs_html_page *page, int task);
bool rs_html_row_has_task(const rs_html_page *page, int64_t row, int task);
void rs_html_task_head(const rs_html_page *page, int task);
/* A table's beginning: a box that scrolls, also by keys, and is named for those who do not see it. `class` of the table, `id` NULL: none.
 */
void rs_html_table_open(const char *name, const char *class, const char *id, rs_text *out);
void rs_html_table_close(rs_text *out);
/* A cell at the head of a row, with the variant's name. */
void rs_html_row_head(const rs_html_page *page, int64_t row, rs_text *out);
void rs_html_state(rs_point_state state, rs_text *out);

/* Failed and missing points. Nothing where there are none. */
void rs_html_troubles(const rs_html_page *page);
/* Metric against context, a curve a variant. */
void rs_html_curves(const rs_html_page *page, int task);
/* One table a task, a row a variant, a column a context, coloured from worst to best of its column. */
void rs_html_heat(const rs_html_page *page, int task);
/* Score by depth and context, a small table a variant. Nothing where no record tells depths. */
void rs_html_depths(const rs_html_page *page, int task);
/* Differences from the baseline with their intervals, a row a variant, a column a context. Nothing where there are none. */
void rs_html_forest(const rs_html_page *page, int task);
/* Effective lengths as bars, a row a variant. Nothing where there is one context, or nothing but text. */
void rs_html_lengths(const rs_html_page *page, int task);
/* nll by position in the text, a chart a task and context. Nothing where no record tells it. */
void rs_html_splits(const rs_html_page *page);
/* Each rope's frequencies against the wavelengths that the baseline's pairs have. */
void rs_html_frequencies(const rs_html_page *page);
/* A row a point and metric. */
void rs_html_points(const rs_html_page *page);

#endif
