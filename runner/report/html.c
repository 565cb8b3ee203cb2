#include "report/report_file.h"

rs_status rs_report_write_html(const char *folder, const rs_results *results, json_t *run)
{
    rs_sink *sink;
    (void)results;
    (void)run;
    RS_TRY(rs_sink_open(folder, "report.html", &sink));
    rs_text_puts(rs_sink_text(sink), "<!DOCTYPE html><title>ropesweep</title>\n");
    return rs_sink_close(sink, RS_OK);
}
