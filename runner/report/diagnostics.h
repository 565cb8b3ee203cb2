/* Sums of attention (kernels/diagnostics.h) from a sample to diagnostics.json. They stand in journal/diagnostics.log, one line a sample:
 * JSON whose first members are a record's, with the doubles in base64. The line's id comes from the record's and the offsets, so that
 * records made without them, or with others, are known to lack them. They enter no record and no content id of one. */
#ifndef RS_REPORT_DIAGNOSTICS_H
#define RS_REPORT_DIAGNOSTICS_H

#include "base/hash.h"
#include "base/text.h"
#include "kernels/diagnostics.h"
#include "report/record.h"

/* spec: the offsets that a config asks for. */
rs_digest rs_diagnostics_id(rs_digest record, const rs_diagnostics *spec);

/* {"id", "point", "doc_id", "rows", "layers", "heads", "kv_heads", "pairs", "buckets", "induction", "sums": base64}; induction: rows that
 * it is summed over. */
void rs_diagnostics_write_json(const rs_record *record, rs_text *out);
/* sums is freed by the caller; offsets as in spec. */
rs_status rs_diagnostics_parse(const char *json, size_t n, const rs_diagnostics *spec, rs_diagnostics *out, int64_t *induction_rows);

#endif
