/* A journal as large as one likes, without a model: synthetic_journal FOLDER ROPES SOFTMAXES CONTEXTS TASKS SAMPLES. What `ropesweep report
 * FOLDER` then costs is what a sweep of that size costs. Tasks take turns: scores of 0 or 1, scores in quarters, and nll. A sample's
 * difficulty is shared by all variants, and each variant adds its own shift, so that comparisons find something. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "report/journal.h"

enum { SEED = 1, KINDS = 3 };
enum { BITS, QUARTERS, NLL };

typedef struct shape {
    int64_t ropes, softmaxes, contexts, tasks, samples;
} shape;

typedef struct place {
    int64_t rope, softmax, context, task, index;
} place;

static place place_of(const shape *s, int64_t i)
{
    return (place){.task = i % s->tasks,
                   .context = i / s->tasks % s->contexts,
                   .softmax = i / (s->tasks * s->contexts) % s->softmaxes,
                   .rope = i / (s->tasks * s->contexts * s->softmaxes),
                   .index = i};
}

static uint64_t key_of(int64_t point)
{
    return rs_hash64(&point, sizeof point);
}

static void write_axis(const char *name, const char *entry, const char *facts, int64_t n, rs_text *out)
{
    rs_text_printf(out, "\"%s\": [", name);
    for (int64_t i = 0; i < n; i++) {
        rs_text_printf(out, "%s{\"label\": \"%s %" PRId64 "\", \"entry\": {", i ? ", " : "", name, i);
        rs_text_printf(out, entry, (double)(i + 1));
        rs_text_printf(out, "}%s}", facts);
    }
    rs_text_puts(out, "],\n");
}

static void write_plan(const shape *s, rs_text *out)
{
    rs_text_puts(out, "{\"schema\": 1, \"program\": {\"name\": \"ropesweep\", \"version\": \"0\", \"commit\": \"none\"},\n");
    rs_text_puts(out, "\"model\": {\"path\": \"none\", \"architecture\": \"gemma\", \"parameters\": 1, \"digest\": \"0\"},\n");
    rs_text_printf(out, "\"config\": {\"seed\": %d}, \"baseline\": {\"rope\": 0, \"softmax\": 0},\n", SEED);
    write_axis("ropes", "\"rope_type\": \"yarn\", \"factor\": %g", ", \"inv_freq\": [1, 0.1], \"attention_factor\": 1", s->ropes, out);
    write_axis("softmaxes", "\"type\": \"temperature\", \"temperature\": %g", "", s->softmaxes, out);
    rs_text_puts(out, "\"points\": [");
    for (int64_t i = 0; i < s->ropes * s->softmaxes * s->contexts * s->tasks; i++) {
        place p = place_of(s, i);
        bool text = p.task % KINDS == NLL;
        rs_text_printf(out, "%s{\"id\": \"%016" PRIx64 "\", \"rope\": %" PRId64 ", \"softmax\": %" PRId64 ", \"context\": %" PRId64,
                       i ? ",\n" : "\n", key_of(i), p.rope, p.softmax, (int64_t)1024 << p.context);
        rs_text_printf(out,
                       ", \"task\": \"task %" PRId64 "\", \"task_name\": \"t\", \"task_version\": 1, \"kind\": \"%s\", \"metrics\": [%s]",
                       p.task, text ? "score" : "generate", text ? "" : "\"accuracy\"");
        rs_text_printf(out,
                       ", \"samples\": %" PRId64 ", \"inv_freq_digest\": \"0123456789abcdef0123456789abcdef\", \"attention_factor\": 1}",
                       s->samples);
    }
    rs_text_puts(out, "]}\n");
}

/* A standard normal number that belongs to these three. */
static double draw(const char *what, int64_t a, int64_t b)
{
    rs_rng rng;
    rs_rng_init(&rng, SEED, what, (uint64_t)a, (uint64_t)b);
    return rs_rng_normal(&rng);
}

static void make_record(place p, int64_t doc_id, rs_record *record)
{
    int64_t cell = p.context * 1000 + p.task;
    double ability = 1 - 0.4 * (double)p.context + 0.5 * draw("variant", p.rope, p.softmax);
    double margin = ability - draw("difficulty", cell, doc_id) + 0.3 * draw("answer", p.index, doc_id);
    *record = (rs_record){.id = {key_of(p.index), (uint64_t)doc_id},
                          .doc_id = doc_id,
                          .tokens = (int64_t)1024 << p.context,
                          .n_tokens = 8,
                          .prompt_hash = {(uint64_t)cell, (uint64_t)doc_id},
                          .seconds = 0.25};
    snprintf(record->point, sizeof record->point, "%016" PRIx64, key_of(p.index));
    if (p.task % KINDS == NLL) {
        record->has_nll = true;
        record->n_tokens = 1024;
        record->nll = 1024 * (2.5 - 0.1 * margin);
        return;
    }
    double score = 1 / (1 + exp(-3 * margin));
    record->scores[0] = p.task % KINDS == BITS ? score > 0.5 : floor(score * 4.999) / 4;
    record->n_scores = 1;
}

static rs_status write_records(const shape *s, rs_journal *journal)
{
    static const char *const metrics[] = {"accuracy", NULL};
    static char response[] = " 4172635", facts[] = "\"depths\": [66.73346693386773], \"positions\": [334], \"units\": 499",
                *references[] = {response};
    rs_text json = {0};
    rs_status status = RS_OK;
    for (int64_t i = 0; i < s->ropes * s->softmaxes * s->contexts * s->tasks; i++)
        for (int64_t doc_id = 0; doc_id < s->samples; doc_id++) {
            rs_record record;
            make_record(place_of(s, i), doc_id, &record);
            if (!record.has_nll) {
                record.response = response;
                record.response_bytes = strlen(response);
                record.references = references;
                record.n_references = 1;
                record.facts = facts;
            }
            rs_text_clear(&json);
            rs_record_write_json(&record, metrics, &json);
            RS_TRY_OUT(rs_journal_append(journal, json.data, json.n));
        }
out:
    rs_text_free(&json);
    return status;
}

static rs_status make(const char *folder, const shape *s)
{
    rs_journal *journal;
    rs_text plan = {0};
    RS_TRY(rs_journal_open(folder, false, &journal));
    write_plan(s, &plan);
    rs_status status = rs_journal_write_plan(journal, plan.data, plan.n);
    rs_text_free(&plan);
    if (status == RS_OK)
        status = write_records(s, journal);
    rs_status closed = rs_journal_close(journal);
    return status == RS_OK ? closed : status;
}

int main(int argc, char **argv)
{
    int64_t n[5];
    bool good = argc == 7;
    for (int i = 0; good && i < 5; i++) {
        n[i] = atoll(argv[i + 2]);
        good = n[i] > 0;
    }
    if (!good) {
        fprintf(stderr, "usage: synthetic_journal FOLDER ROPES SOFTMAXES CONTEXTS TASKS SAMPLES\n");
        return 2;
    }
    shape s = {n[0], n[1], n[2], n[3], n[4]};
    if (make(argv[1], &s) != RS_OK) {
        fprintf(stderr, "synthetic_journal: %s\n", rs_error_message());
        return 1;
    }
    return 0;
}
