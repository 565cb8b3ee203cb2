/* What the files of `trend DIR...` share: points of several runs of a sweep, in the runs' order. */
#ifndef RS_REPORT_TREND_H
#define RS_REPORT_TREND_H

#include "report/html.h"
#include "report/results.h"

/* One run. */
typedef struct rs_night {
    char *name;       /* its folder's last part */
    char *started;    /* "": not known */
    json_t *compared; /* compare.json of its folder; NULL: none */
    bool failed;      /* a gate of that failed */
    rs_report_summary summary;
} rs_night;

typedef struct rs_night_value {
    bool done;
    rs_estimate value;
    rs_html_interval interval;
} rs_night_value;

/* The metric of one point that tables show. */
typedef struct rs_series {
    rs_digest key;
    char *variant, *task, *metric;
    int64_t context;
    bool scores_text, baseline;
    rs_night_value *values; /* [n_nights] */
} rs_series;

typedef struct rs_trend {
    rs_night *nights;
    int n_nights;
    rs_series *series; /* as in the last run's plan; then those that only earlier ones have */
    int64_t n_series, cap;
} rs_trend;

rs_status rs_trend_write_page(const rs_trend *trend, const char *path);

#endif
