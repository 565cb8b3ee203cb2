/* report.csv: one row a point and metric (RFC 4180, but lines end in \n). A point that is not done has its rows too, without values. A text
 * that a spreadsheet would take for a formula has an apostrophe in front. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/report_file.h"

/* Labels come from configs and reasons from data files: neither may become a formula where the file is opened. */
static bool is_formula(const char *field)
{
    return field[0] && strchr("=+-@\t\r", field[0]);
}

static void put_field(const char *field, rs_text *out)
{
    if (is_formula(field)) {
        char *safe = rs_format("'%s", field);
        put_field(safe, out);
        free(safe);
        return;
    }
    if (strpbrk(field, ",\"\r\n") == NULL) {
        rs_text_puts(out, field);
        return;
    }
    rs_text_puts(out, "\"");
    for (const char *p = field; *p; p++)
        rs_text_puts(out, *p == '"' ? "\"\"" : (char[]){*p, '\0'});
    rs_text_puts(out, "\"");
}

static void put_number(double value, rs_text *out)
{
    rs_text_puts(out, ",");
    if (isfinite(value))
        rs_text_double(out, value);
}

static void put_estimate(bool there, rs_estimate estimate, rs_text *out)
{
    put_number(there ? estimate.value : NAN, out);
    put_number(there ? estimate.error : NAN, out);
}

static void put_count(int64_t count, rs_text *out)
{
    rs_text_printf(out, ",%" PRId64, count);
}

static void put_evidence(const rs_evidence *e, rs_text *out)
{
    if (e == NULL) {
        rs_text_puts(out, ",,,,,,,,,,");
        return;
    }
    put_number(e->interval.low, out);
    put_number(e->interval.high, out);
    put_number(e->p, out);
    put_number(e->p_holm, out);
    put_number(e->effect, out);
    put_number(e->odds, out);
    put_number(e->mde, out);
    put_count(e->n, out);
    put_count(e->higher, out);
    put_count(e->lower, out);
}

static void put_row(const rs_results *results, int64_t i, int metric, rs_text *out)
{
    const rs_plan_file *plan = &results->plan;
    const rs_plan_point *point = &plan->points[i];
    const rs_point_result *result = &results->points[i];
    const rs_plan_task *task = &plan->tasks[point->task];
    rs_text_printf(out, "%s,", point->id);
    put_field(rs_plan_file_rope_label(plan, point->rope), out);
    rs_text_puts(out, ",");
    put_field(rs_plan_file_softmax_label(plan, point->softmax), out);
    rs_text_printf(out, ",%" PRId64 ",", point->context);
    put_field(task->label, out);
    rs_text_printf(out, ",%s,%" PRId64 ",", rs_point_state_name(result->state), result->n);
    put_field(task->metrics[metric], out);
    put_estimate(result->state == RS_POINT_DONE, result->metrics[metric], out);
    put_estimate(result->has_versus, result->versus[metric], out);
    put_number(result->seconds, out);
    rs_text_puts(out, ",");
    put_field(result->reason ? result->reason : "", out);
    put_evidence(result->evidence ? &result->evidence[metric] : NULL, out);
    rs_text_puts(out, "\n");
}

rs_status rs_report_write_csv(const char *folder, const rs_results *results)
{
    rs_sink *sink;
    rs_status status = RS_OK;
    RS_TRY(rs_sink_open(folder, "report.csv", &sink));
    rs_text_puts(rs_sink_text(sink),
                 "id,rope,softmax,context,task,status,n,metric,value,stderr,difference,difference_stderr,seconds,reason,"
                 "interval_low,interval_high,p,p_holm,effect_size,odds,mde,paired,higher,lower\n");
    for (int64_t i = 0; i < results->plan.n_points && status == RS_OK; i++) {
        if (!results->plan.points[i].listed)
            continue;
        for (int m = 0; m < results->plan.tasks[results->plan.points[i].task].n_metrics; m++)
            put_row(results, i, m, rs_sink_text(sink));
        status = rs_sink_flush(sink);
    }
    return rs_sink_close(sink, status);
}
