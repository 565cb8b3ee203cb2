#include "report/diagnostics.h"

#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "base/base64.h"
#include "base/memory.h"

enum { VERSION = 1 }; /* of what the sums mean */

rs_digest rs_diagnostics_id(rs_digest record, const rs_diagnostics *spec)
{
    uint64_t key[4 + RS_MAX_OFFSETS] = {record.high, record.low, VERSION, (uint64_t)spec->n_offsets};
    for (int i = 0; i < spec->n_offsets; i++)
        key[4 + i] = (uint64_t)spec->offsets[i];
    return rs_digest_of(key, sizeof key);
}

void rs_diagnostics_write_json(const rs_record *record, rs_text *out)
{
    const rs_diagnostics *d = record->diagnostics;
    char hex[33];
    bool induced = d->induction_offset >= 0 && d->rows > d->induction_from;
    rs_text_printf(out, "{\"id\": \"%s\", \"point\": \"%s\", \"doc_id\": %" PRId64 ", \"rows\": %" PRId64,
                   rs_digest_hex(rs_diagnostics_id(record->id, d), hex), record->point, record->doc_id, d->rows);
    rs_text_printf(out, ", \"layers\": %d, \"heads\": %d, \"kv_heads\": %d, \"pairs\": %d, \"buckets\": %d", d->n_layers, d->heads,
                   d->kv_heads, d->pairs, d->n_buckets);
    rs_text_printf(out, ", \"induction\": %" PRId64 ", \"sums\": \"", induced ? d->rows - d->induction_from : 0);
    rs_base64_encode((const unsigned char *)d->sums, rs_diagnostics_count(d) * sizeof *d->sums, out);
    rs_text_puts(out, "\"}");
}

/* A size from the file, small enough to multiply. */
static int size_of(const json_t *tree, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(tree, name));
    return n >= 0 && n <= 65536 ? (int)n : -1;
}

rs_status rs_diagnostics_parse(const char *json, size_t n, const rs_diagnostics *spec, rs_diagnostics *out, int64_t *induction_rows)
{
    rs_text bytes = {0};
    json_t *tree = json_loadb(json, n, 0, NULL), *sums = json_object_get(tree, "sums");
    *out = *spec;
    out->rows = json_integer_value(json_object_get(tree, "rows"));
    out->n_layers = size_of(tree, "layers");
    out->heads = size_of(tree, "heads");
    out->kv_heads = size_of(tree, "kv_heads");
    out->pairs = size_of(tree, "pairs");
    out->n_buckets = size_of(tree, "buckets");
    *induction_rows = json_integer_value(json_object_get(tree, "induction"));
    bool good = sums && out->n_layers >= 0 && out->heads >= 0 && out->kv_heads >= 0 && out->pairs >= 0 && out->n_buckets >= 0 &&
                out->n_buckets <= RS_DIAGNOSTIC_BUCKETS && rs_base64_decode(json_string_value(sums), json_string_length(sums), &bytes) &&
                bytes.n == rs_diagnostics_count(out) * sizeof *out->sums;
    if (good) {
        out->sums = rs_alloc(rs_diagnostics_count(out), sizeof *out->sums);
        memcpy(out->sums, bytes.data ? bytes.data : "", bytes.n);
    }
    rs_text_free(&bytes);
    json_decref(tree);
    return good ? RS_OK : rs_fail(RS_INVALID, "journal/diagnostics.log: a line holds no sums of attention");
}
