/* The files of the output folder, one function each. All are written from evaluated results. */
#ifndef RS_REPORT_REPORT_FILE_H
#define RS_REPORT_REPORT_FILE_H

#include "report/results.h"

/* report.json and report.yaml. run: the report's `run`. */
rs_status rs_report_write_trees(const char *folder, const rs_results *results, json_t *run);
rs_status rs_report_write_csv(const char *folder, const rs_results *results);
rs_status rs_report_write_html(const char *folder, const rs_results *results, json_t *run);

/* journal/run.json of a folder, NULL where it is not there or cannot be read. */
json_t *rs_report_read_run(const char *folder);

#endif
