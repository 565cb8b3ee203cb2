/* The files of the output folder, one function each. All are written from evaluated results. */
#ifndef RS_REPORT_REPORT_FILE_H
#define RS_REPORT_REPORT_FILE_H

#include "report/results.h"

/* report.json and report.yaml. run: the report's `run`. */
rs_status rs_report_write_trees(const char *folder, const rs_results *results, json_t *run);
rs_status rs_report_write_csv(const char *folder, const rs_results *results);
rs_status rs_report_write_html(const char *folder, const rs_results *results, json_t *run);

/* diagnostics.json, where the plan's config asks for it; else the file of an earlier config goes. */
rs_status rs_report_write_diagnostics(const char *folder, const rs_results *results);

/* {NAME: value, "stderr": error} */
json_t *rs_estimate_tree(const char *name, rs_estimate estimate);
/* NAME: [low, high], or null. */
void rs_put_interval(json_t *tree, const char *name, rs_interval interval);
/* A difference with what it is worth. */
json_t *rs_versus_tree(rs_estimate difference, const rs_evidence *evidence);
json_t *rs_variant_tree(const rs_results *results, const rs_variant *variant);

/* The table for the terminal, for so many columns. */
void rs_table_write(const rs_results *results, int width, rs_text *out);

/* journal/run.json of a folder; NULL where it is not there or is no JSON. */
rs_status rs_report_read_run(const char *folder, json_t **run);

#endif
