#include "report/record.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/memory.h"
#include "report/scan.h"

void rs_record_free(rs_record *record)
{
    for (size_t i = 0; i < record->n_references; i++)
        free(record->references[i]);
    free(record->references);
    free(record->token_nll);
    free(record->response);
    free(record->facts);
    free(record->error);
    *record = (rs_record){0};
}

static void put_string(rs_text *out, const char *string)
{
    rs_text_json_string(out, string, strlen(string));
}

static void write_answer(const rs_record *record, rs_text *out)
{
    rs_text_puts(out, ", \"resps\": [");
    rs_text_json_string(out, record->response, record->response_bytes);
    rs_text_puts(out, "]");
}

const char *const rs_split_names[RS_N_SPLITS] = {"by_position", "by_distance"};

static void write_target(const rs_record *record, rs_text *out)
{
    rs_text_puts(out, ", \"target\": [");
    for (size_t i = 0; i < record->n_references; i++) {
        rs_text_puts(out, i ? ", " : "");
        put_string(out, record->references[i]);
    }
    rs_text_puts(out, "]");
}

static void write_split(const rs_record *record, rs_split split, rs_text *out)
{
    bool any = false;
    for (int b = 0; b < RS_BUCKETS; b++) {
        const rs_part *part = &record->parts[split][b];
        if (part->n == 0)
            continue;
        if (!any)
            rs_text_printf(out, ", \"%s\": [", rs_split_names[split]);
        rs_text_printf(out, "%s[%" PRId64 ", %" PRId64 ", ", any ? ", " : "", rs_bucket_from(b), part->n);
        rs_text_double(out, part->nll);
        rs_text_puts(out, "]");
        any = true;
    }
    rs_text_puts(out, any ? "]" : "");
}

/* Little-endian fp32, as numpy.frombuffer(base64.b64decode(text), '<f4') reads it. */
static void write_token_nll(const rs_record *record, rs_text *out)
{
    size_t n = (size_t)record->n_tokens;
    unsigned char *bytes = rs_alloc(n, 4);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &record->token_nll[i], 4);
        for (int k = 0; k < 4; k++)
            bytes[4 * i + (size_t)k] = (unsigned char)(bits >> 8 * k);
    }
    rs_text_puts(out, ", \"token_nll\": \"");
    rs_base64_encode(bytes, 4 * n, out);
    rs_text_puts(out, "\"");
    free(bytes);
}

static void write_scores(const rs_record *record, const char *const *metrics, rs_text *out)
{
    rs_text_puts(out, ", \"scores\": {");
    for (int i = 0; i < record->n_scores; i++) {
        rs_text_puts(out, i ? ", " : "");
        put_string(out, metrics[i]);
        rs_text_puts(out, ": ");
        rs_text_double(out, record->scores[i]);
    }
    rs_text_puts(out, "}");
}

/* Facts are a task's own text; a line break between two of them must not break the line. */
static void write_facts(const rs_record *record, rs_text *out)
{
    rs_text_puts(out, ", ");
    size_t from = out->n;
    rs_text_puts(out, record->facts);
    for (size_t i = from; i < out->n; i++)
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
}

void rs_record_write_json(const rs_record *record, const char *const *metrics, rs_text *out)
{
    char hex[33];
    rs_text_printf(out, "{\"id\": \"%s\", \"point\": \"%.16s\", \"doc_id\": %" PRId64, rs_digest_hex(record->id, hex), record->point,
                   record->doc_id);
    rs_text_printf(out, ", \"tokens\": %" PRId64 ", \"prompt_hash\": \"%s\", \"n_tokens\": %" PRId64, record->tokens,
                   rs_digest_hex(record->prompt_hash, hex), record->n_tokens);
    if (record->has_nll) {
        rs_text_puts(out, ", \"nll\": ");
        rs_text_double(out, record->nll);
        for (rs_split split = 0; split < RS_N_SPLITS; split++)
            write_split(record, split, out);
        if (record->token_nll)
            write_token_nll(record, out);
    }
    if (record->response)
        write_answer(record, out);
    if (record->response || record->n_references > 0)
        write_target(record, out);
    if (record->n_scores > 0)
        write_scores(record, metrics, out);
    if (record->facts && record->facts[0])
        write_facts(record, out);
    if (record->error) {
        rs_text_puts(out, ", \"error\": ");
        put_string(out, record->error);
    }
    rs_text_puts(out, ", \"seconds\": ");
    rs_text_double(out, record->seconds);
    rs_text_printf(out, ", \"replica\": %d}", record->replica);
}

/* --- reading --- */

typedef struct reader {
    rs_scan scan;
    rs_record *record;
    rs_text text, facts; /* scratch */
    size_t n_token_nll;
    unsigned seen; /* bit i: the member of row i has stood already */
} reader;

/* A string of exactly n hexadecimal digits into reader->text. */
static bool read_hex(reader *r, size_t n)
{
    uint64_t part;
    rs_text_clear(&r->text);
    if (!rs_scan_string(&r->scan, &r->text) || r->text.n != n)
        return false;
    for (size_t i = 0; i < n; i += 16)
        if (!rs_scan_hex(r->text.data + i, 16, &part))
            return false;
    return true;
}

static bool read_digest(reader *r, rs_digest *out)
{
    return read_hex(r, 32) && rs_scan_hex(r->text.data, 16, &out->high) && rs_scan_hex(r->text.data + 16, 16, &out->low);
}

static bool read_id(reader *r)
{
    return read_digest(r, &r->record->id);
}

static bool read_prompt_hash(reader *r)
{
    return read_digest(r, &r->record->prompt_hash);
}

static bool read_point(reader *r)
{
    if (!read_hex(r, 16))
        return false;
    memcpy(r->record->point, r->text.data, 17);
    return true;
}

static bool read_doc_id(reader *r)
{
    return rs_scan_int(&r->scan, &r->record->doc_id);
}

static bool read_tokens(reader *r)
{
    return rs_scan_int(&r->scan, &r->record->tokens);
}

static bool read_n_tokens(reader *r)
{
    return rs_scan_int(&r->scan, &r->record->n_tokens);
}

static bool read_nll(reader *r)
{
    r->record->has_nll = true;
    return rs_scan_number(&r->scan, &r->record->nll);
}

/* least: the first value that the split can have. */
static bool read_split(reader *r, rs_split split, int64_t least)
{
    int64_t from, n;
    double nll;
    if (!rs_scan_byte(&r->scan, '['))
        return false;
    do {
        if (!rs_scan_byte(&r->scan, '[') || !rs_scan_int(&r->scan, &from) || !rs_scan_byte(&r->scan, ',') || !rs_scan_int(&r->scan, &n) ||
            !rs_scan_byte(&r->scan, ',') || !rs_scan_number(&r->scan, &nll) || !rs_scan_byte(&r->scan, ']'))
            return false;
        if (from < least || (from & (from - 1)) != 0 || n < 1)
            return false;
        r->record->parts[split][rs_bucket_of(from)] = (rs_part){n, nll};
    } while (rs_scan_byte(&r->scan, ','));
    return rs_scan_byte(&r->scan, ']');
}

static bool read_by_position(reader *r)
{
    return read_split(r, RS_BY_POSITION, 1);
}

static bool read_by_distance(reader *r)
{
    return read_split(r, RS_BY_DISTANCE, 0);
}

static bool read_token_nll(reader *r)
{
    rs_text bytes = {0};
    rs_text_clear(&r->text);
    bool good = rs_scan_string(&r->scan, &r->text) && rs_base64_decode(r->text.data, r->text.n, &bytes) && bytes.n % 4 == 0;
    if (good) {
        r->n_token_nll = bytes.n / 4;
        r->record->token_nll = rs_alloc(r->n_token_nll, sizeof *r->record->token_nll);
        for (size_t i = 0; i < r->n_token_nll; i++) {
            const unsigned char *b = (const unsigned char *)bytes.data + 4 * i;
            uint32_t bits = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
            memcpy(&r->record->token_nll[i], &bits, 4);
        }
    }
    rs_text_free(&bytes);
    return good;
}

static bool read_string(reader *r, char **out, size_t *n)
{
    rs_text_clear(&r->text);
    if (!rs_scan_string(&r->scan, &r->text))
        return false;
    *n = r->text.n;
    *out = rs_alloc(r->text.n + 1, 1);
    memcpy(*out, r->text.data, r->text.n);
    return true;
}

static bool read_resps(reader *r)
{
    return rs_scan_byte(&r->scan, '[') && read_string(r, &r->record->response, &r->record->response_bytes) && rs_scan_byte(&r->scan, ']');
}

static bool read_target(reader *r)
{
    size_t cap = 0, n;
    if (!rs_scan_byte(&r->scan, '['))
        return false;
    if (rs_scan_byte(&r->scan, ']'))
        return true;
    do {
        char *reference;
        if (!read_string(r, &reference, &n))
            return false;
        RS_PUSH(r->record->references, r->record->n_references, cap, reference);
    } while (rs_scan_byte(&r->scan, ','));
    return rs_scan_byte(&r->scan, ']');
}

static bool read_scores(reader *r)
{
    rs_record *record = r->record;
    if (!rs_scan_byte(&r->scan, '{'))
        return false;
    if (rs_scan_byte(&r->scan, '}'))
        return true;
    do {
        if (record->n_scores == RS_MAX_METRICS || !rs_scan_string(&r->scan, NULL) || !rs_scan_byte(&r->scan, ':') ||
            !rs_scan_number(&r->scan, &record->scores[record->n_scores]))
            return false;
        record->n_scores++;
    } while (rs_scan_byte(&r->scan, ','));
    return rs_scan_byte(&r->scan, '}');
}

static bool read_error(reader *r)
{
    size_t n;
    return read_string(r, &r->record->error, &n);
}

static bool read_seconds(reader *r)
{
    return rs_scan_number(&r->scan, &r->record->seconds);
}

static bool read_replica(reader *r)
{
    int64_t replica;
    if (!rs_scan_int(&r->scan, &replica) || replica < INT32_MIN || replica > INT32_MAX)
        return false;
    r->record->replica = (int)replica;
    return true;
}

static const struct {
    const char *name;
    bool (*read)(reader *r);
    bool required;
} members[] = {
    {"id", read_id, true},
    {"point", read_point, true},
    {"doc_id", read_doc_id, true},
    {"tokens", read_tokens, true},
    {"prompt_hash", read_prompt_hash, true},
    {"n_tokens", read_n_tokens, true},
    {"nll", read_nll, false},
    {"by_position", read_by_position, false},
    {"by_distance", read_by_distance, false},
    {"token_nll", read_token_nll, false},
    {"resps", read_resps, false},
    {"target", read_target, false},
    {"scores", read_scores, false},
    {"error", read_error, false},
    {"seconds", read_seconds, false},
    {"replica", read_replica, false},
};
enum { N_MEMBERS = sizeof members / sizeof *members };

static bool read_fact(reader *r, const char *start)
{
    if (!rs_scan_skip(&r->scan))
        return false;
    const char *end = r->scan.p;
    while (end[-1] == ' ' || end[-1] == '\t') /* white space behind a bracket is not the value's */
        end--;
    rs_text_puts(&r->facts, r->facts.n ? ", " : "");
    rs_text_append(&r->facts, start, (size_t)(end - start));
    return true;
}

static bool read_member(reader *r)
{
    rs_scan_space(&r->scan);
    const char *start = r->scan.p;
    rs_text_clear(&r->text);
    if (!rs_scan_string(&r->scan, &r->text) || !rs_scan_byte(&r->scan, ':'))
        return false;
    for (unsigned i = 0; i < N_MEMBERS; i++)
        if (r->text.n == strlen(members[i].name) && memcmp(r->text.data, members[i].name, r->text.n) == 0) {
            bool again = r->seen >> i & 1;
            r->seen |= 1u << i;
            return !again && members[i].read(r);
        }
    return read_fact(r, start);
}

static bool read_record(reader *r)
{
    if (!rs_scan_byte(&r->scan, '{'))
        return false;
    do {
        if (!read_member(r))
            return false;
    } while (rs_scan_byte(&r->scan, ','));
    if (!rs_scan_byte(&r->scan, '}') || r->scan.p != r->scan.end)
        return false;
    for (unsigned i = 0; i < N_MEMBERS; i++)
        if (members[i].required && !(r->seen >> i & 1))
            return false;
    return r->record->token_nll == NULL || (int64_t)r->n_token_nll == r->record->n_tokens;
}

rs_status rs_record_parse(const char *json, size_t n, rs_record *out)
{
    *out = (rs_record){0};
    reader r = {.scan = {json, json + n}, .record = out};
    bool good = read_record(&r);
    if (good && r.facts.n > 0)
        out->facts = rs_strndup(r.facts.data, r.facts.n);
    rs_text_free(&r.text);
    rs_text_free(&r.facts);
    if (good)
        return RS_OK;
    long at = (long)(r.scan.p - json);
    rs_record_free(out);
    return rs_fail(RS_INVALID, "not a record (at byte %ld)", at);
}

bool rs_record_peek(const char *json, size_t n, rs_record_key *out)
{
    static const char head[] = "{\"id\": \"", middle[] = "\", \"point\": \"", tail[] = "\", \"doc_id\": ";
    enum {
        ID = sizeof head - 1,
        MIDDLE = ID + 32,
        POINT = MIDDLE + (int)sizeof middle - 1,
        TAIL = POINT + 16,
        DOC_ID = TAIL + (int)sizeof tail - 1
    };
    if (n <= DOC_ID || memcmp(json, head, sizeof head - 1) != 0 || memcmp(json + MIDDLE, middle, sizeof middle - 1) != 0 ||
        memcmp(json + TAIL, tail, sizeof tail - 1) != 0 || json[n - 1] != '}')
        return false;
    rs_scan scan = {json + DOC_ID, json + n};
    if (!rs_scan_hex(json + ID, 16, &out->id.high) || !rs_scan_hex(json + ID + 16, 16, &out->id.low) ||
        !rs_scan_hex(json + POINT, 16, &out->point) || !rs_scan_int(&scan, &out->doc_id))
        return false;
    out->rest = (size_t)(scan.p - json);
    return *scan.p == ',' || *scan.p == '}';
}
