#include "engine/worker.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/pulse.h"
#include "score/repeats.h"

/* A sample on its way through the model. */
typedef struct sequence {
    rs_unit unit;
    rs_sample sample;
    rs_rope *own_rope; /* built for this sequence's length; NULL where the point's table serves */
    const rs_rope *rope;
    rs_kv *kv;                    /* NULL: the text passes layer by layer */
    int64_t capacity;             /* tokens its cache holds */
    int64_t done;                 /* tokens in the cache */
    int64_t first_row, step_rows; /* rows in the step under way */
    rs_tokens output;             /* generated */
    double nll;
    rs_part parts[RS_N_SPLITS][RS_BUCKETS];
    int64_t *distances; /* of a scored text, [its tokens] (score/repeats.h) */
    float *token_nll;   /* of the scored tokens so far; NULL: the task does not keep them */
    int64_t n_scored;
    char *error;
    double started;
    rs_diagnostics diagnostics; /* this rank's; sums NULL: none are wanted */
} sequence;

struct rs_worker {
    rs_worker_setup setup;
    rs_unit *queue;
    int64_t n_queue, queue_cap, queue_first;
    sequence **running;
    int64_t n_running, running_cap;
    int64_t running_tokens;
    rs_sequence *parts;     /* of a step, [max_rows] at most */
    int32_t *ids, *targets; /* [max_rows] */
    rs_token_result *results;
};

rs_worker *rs_worker_open(const rs_worker_setup *setup)
{
    rs_worker *w = rs_alloc(1, sizeof *w);
    w->setup = *setup;
    size_t rows = (size_t)setup->max_rows;
    w->parts = rs_alloc(rows, sizeof *w->parts);
    w->ids = rs_alloc(rows, sizeof *w->ids);
    w->targets = rs_alloc(rows, sizeof *w->targets);
    w->results = rs_alloc(rows, sizeof *w->results);
    return w;
}

static void sequence_free(rs_worker *w, sequence *s)
{
    if (s->kv)
        rs_transformer_kv_free(w->setup.transformer, s->kv);
    rs_sample_free(&s->sample);
    rs_tokens_free(&s->output);
    free(s->own_rope);
    free(s->token_nll);
    free(s->distances);
    free(s->error);
    rs_diagnostics_free(&s->diagnostics);
    free(s);
}

void rs_worker_close(rs_worker *w)
{
    for (int64_t i = 0; i < w->n_running; i++)
        sequence_free(w, w->running[i]);
    free(w->running);
    free(w->queue);
    free(w->parts);
    free(w->ids);
    free(w->targets);
    free(w->results);
    free(w);
}

static const rs_point *point_of(const rs_worker *w, const sequence *s)
{
    return &w->setup.plan->points[s->unit.point];
}

void rs_worker_add(rs_worker *w, const rs_unit *units, int64_t n)
{
    if (w->queue_first == w->n_queue)
        w->queue_first = w->n_queue = 0;
    for (int64_t i = 0; i < n; i++)
        RS_PUSH(w->queue, w->n_queue, w->queue_cap, units[i]);
}

bool rs_worker_idle(const rs_worker *w)
{
    return w->n_running == 0 && w->queue_first == w->n_queue;
}

void rs_worker_wind_down(rs_worker *w)
{
    int64_t kept = 0;
    w->queue_first = w->n_queue;
    for (int64_t i = 0; i < w->n_running; i++) {
        sequence *s = w->running[i];
        if (s->done > 0) {
            w->running[kept++] = s;
            continue;
        }
        w->running_tokens -= s->capacity;
        sequence_free(w, s);
    }
    w->n_running = kept;
}

/* --- from a sequence to its record --- */

/* The answer's text, cut before the first stop string. */
static void response_text(const rs_worker *w, const sequence *s, rs_text *out)
{
    rs_tokenizer_decode(w->setup.plan->tokenizer, s->output.ids, s->output.n, out);
    size_t end = out->n;
    for (size_t i = 0; i < s->sample.n_stops; i++) {
        size_t length = strlen(s->sample.stops[i]);
        const char *found = length && out->n ? memmem(out->data, out->n, s->sample.stops[i], length) : NULL;
        if (found && (size_t)(found - out->data) < end)
            end = (size_t)(found - out->data);
    }
    if (end < out->n) {
        out->n = end;
        out->data[end] = '\0';
    }
    if (out->data == NULL)
        rs_text_append(out, "", 0);
}

static rs_status emit_record(rs_worker *w, sequence *s, const rs_diagnostics *diagnostics)
{
    rs_pulse_work("scoring an answer");
    if (w->setup.emit == NULL)
        return RS_OK;
    const rs_plan *plan = w->setup.plan;
    const rs_point *point = point_of(w, s);
    const rs_task *task = rs_plan_task(plan, point)->task;
    const char *metrics[RS_MAX_METRICS + 1];
    rs_text response = {0};
    rs_record record = {
        .id = rs_plan_record_id(point, s->unit.doc_id),
        .doc_id = s->unit.doc_id,
        .tokens = (int64_t)s->sample.tokens.n,
        .prompt_hash = rs_digest_of(s->sample.tokens.ids, s->sample.tokens.n * sizeof *s->sample.tokens.ids),
        .references = s->sample.references,
        .n_references = s->sample.n_references,
        .facts = s->sample.facts,
        .error = s->sample.error ? s->sample.error : s->error,
        .n_scores = (int)rs_plan_metrics(plan, point, metrics),
        .seconds = rs_clock() - s->started,
        .replica = w->setup.replica,
    };
    memcpy(record.point, point->id_hex, sizeof record.point);
    record.diagnostics = diagnostics;
    if (record.error) {
        record.n_scores = 0;
    } else if (s->sample.kind == RS_SAMPLE_SCORE) {
        record.has_nll = true;
        record.nll = s->nll;
        memcpy(record.parts, s->parts, sizeof record.parts);
        record.token_nll = s->token_nll;
        record.n_tokens = (int64_t)s->sample.tokens.n - s->sample.score_from;
    } else {
        response_text(w, s, &response);
        record.response = response.data;
        record.response_bytes = response.n;
        record.n_tokens = (int64_t)s->output.n;
        task->score(plan->task_states[point->task], &s->sample, response.data, response.n, record.scores);
    }
    rs_status status = w->setup.emit(w->setup.emit_context, s->unit, &record, metrics);
    rs_text_free(&response);
    return status;
}

/* Where there are sums of attention, every rank of the group gives its heads'. */
static rs_status emit(rs_worker *w, sequence *s)
{
    rs_diagnostics whole;
    bool wanted = rs_plan_diagnostics(w->setup.plan, &whole) && s->unit.doc_id < RS_EXTRA_DOC_ID;
    if (s->diagnostics.sums == NULL || s->error) /* it could not run: no sums are all that there are */
        return emit_record(w, s, wanted ? &whole : NULL);
    s->diagnostics.rows = s->done;
    rs_status status = rs_transformer_diagnostics_gather(w->setup.transformer, &s->diagnostics, &whole);
    if (status == RS_OK)
        status = emit_record(w, s, &whole);
    rs_diagnostics_free(&whole);
    return status;
}

/* --- admission --- */

/* Extra samples (rs_task.count_extra) are no part of the point's own. */
static void open_diagnostics(const rs_worker *w, sequence *s)
{
    if (!rs_plan_diagnostics(w->setup.plan, &s->diagnostics) || s->unit.doc_id >= RS_EXTRA_DOC_ID)
        return;
    if (s->sample.period > 0) {
        s->diagnostics.induction_offset = s->sample.period - 1;
        s->diagnostics.induction_from = s->sample.score_from;
    }
    rs_transformer_diagnostics_init(w->setup.transformer, s->capacity, &s->diagnostics);
}

/* Length-dependent variants fix their table before the first token, for the length the sequence can reach. */
static rs_status sequence_rope(const rs_worker *w, sequence *s, int64_t n_final)
{
    const rs_plan *plan = w->setup.plan;
    const rs_point *point = point_of(w, s);
    const rs_rope_entry *entry = &plan->config->ropes[point->rope];
    s->rope = rs_plan_rope(plan, point);
    if (!entry->variant->length_dependent || n_final == rs_plan_context(plan, point))
        return RS_OK;
    s->own_rope = rs_alloc(1, sizeof *s->own_rope);
    s->rope = s->own_rope;
    return rs_rope_build(entry->variant, &entry->params, plan->model->head_dim, n_final, s->own_rope);
}

/* The failure becomes the sample's: its point fails, and the run goes on. */
static void keep_error(sequence *s)
{
    s->error = rs_strdup(rs_error_message());
    rs_error_clear();
}

/* Makes the sample and its cache. A sample that cannot run ends at once with its error. *later: it has no room yet. */
static rs_status admit(rs_worker *w, rs_unit unit, bool *later)
{
    rs_status status = RS_OK;
    const rs_plan *plan = w->setup.plan;
    const rs_point *point = &plan->points[unit.point];
    rs_pulse_work("making a sample");
    sequence *s = rs_alloc(1, sizeof *s);
    s->unit = unit;
    s->started = rs_clock();
    RS_TRY_OUT(
        rs_plan_task(plan, point)->task->sample(plan->task_states[point->task], rs_plan_context(plan, point), unit.doc_id, &s->sample));
    int64_t n_final = (int64_t)s->sample.tokens.n + (s->sample.kind == RS_SAMPLE_GENERATE ? s->sample.max_new_tokens : 0);
    if (s->sample.error == NULL && s->sample.tokens.n < (s->sample.kind == RS_SAMPLE_SCORE ? 2u : 1u))
        s->error = rs_strdup("the prompt has no token to start from");
    if (s->sample.error || s->error) {
        RS_TRY_OUT(emit(w, s));
        goto out;
    }
    RS_TRY_OUT(sequence_rope(w, s, n_final));
    s->capacity = n_final;
    if (s->sample.kind == RS_SAMPLE_SCORE) {
        s->distances = rs_alloc(s->sample.tokens.n, sizeof *s->distances);
        rs_repeat_distances(s->sample.tokens.ids, s->sample.tokens.n, s->distances);
    }
    if (rs_plan_task(plan, point)->task->count_extra)
        s->token_nll = rs_alloc(s->sample.tokens.n, sizeof *s->token_nll);
    if (s->sample.kind == RS_SAMPLE_GENERATE || s->capacity <= w->setup.longest_kv)
        status = rs_transformer_kv_open(w->setup.transformer, s->capacity, s->rope, &s->kv);
    if (status == RS_NO_MEMORY && w->n_running > 0) { /* there will be room when others have ended */
        rs_error_clear();
        *later = true;
        status = RS_OK;
        goto out;
    }
    if (status == RS_NO_MEMORY) {
        keep_error(s);
        status = emit(w, s);
    }
    if (status != RS_OK || s->error)
        goto out;
    w->running_tokens += s->capacity;
    open_diagnostics(w, s);
    RS_PUSH(w->running, w->n_running, w->running_cap, s);
    return RS_OK;
out:
    sequence_free(w, s);
    return status;
}

static rs_status admit_all(rs_worker *w)
{
    while (w->queue_first < w->n_queue) {
        rs_unit unit = w->queue[w->queue_first];
        int64_t need = rs_plan_context(w->setup.plan, &w->setup.plan->points[unit.point]);
        if (w->n_running > 0 && w->running_tokens + need > w->setup.kv_tokens)
            break;
        bool later = false;
        RS_TRY(admit(w, unit, &later));
        if (later)
            break;
        w->queue_first++;
    }
    return RS_OK;
}

/* --- one step --- */

static bool decoding(const sequence *s)
{
    return s->sample.kind == RS_SAMPLE_GENERATE && s->done >= (int64_t)s->sample.tokens.n;
}

/* Rows that a sequence still has to pass before it decodes or ends: the last token of a scored text predicts nothing, but diagnostics see
 * it. */
static int64_t prefill_left(const sequence *s)
{
    int64_t rows = (int64_t)s->sample.tokens.n - (s->sample.kind == RS_SAMPLE_SCORE && s->diagnostics.sums == NULL ? 1 : 0);
    return rows - s->done;
}

static void put_rows(rs_worker *w, sequence *s, int64_t first_row, int64_t rows)
{
    int64_t n = (int64_t)s->sample.tokens.n;
    for (int64_t i = 0; i < rows; i++) {
        int64_t position = s->done + i, next = position + 1;
        int32_t target = RS_TARGET_NONE;
        if (s->sample.kind == RS_SAMPLE_SCORE && next >= s->sample.score_from && next < n)
            target = s->sample.tokens.ids[next];
        else if (s->sample.kind == RS_SAMPLE_GENERATE && next >= n)
            target = RS_TARGET_GREEDY;
        w->ids[first_row + i] = position < n ? s->sample.tokens.ids[position] : s->output.ids[position - n];
        w->targets[first_row + i] = target;
    }
    s->first_row = first_row;
    s->step_rows = rows;
}

static const rs_softmax *softmax_of(const rs_worker *w, const sequence *s)
{
    return &w->setup.plan->softmaxes[point_of(w, s)->softmax];
}

/* Rows of one phase. Prefill goes first: the more sequences decode together, the fewer steps read the weights. */
static rs_step pack(rs_worker *w)
{
    rs_step step = {.phase = RS_DECODE, .sequences = w->parts, .ids = w->ids};
    for (int64_t i = 0; i < w->n_running; i++) {
        w->running[i]->step_rows = 0;
        if (w->running[i]->kv && !decoding(w->running[i]))
            step.phase = RS_PREFILL;
    }
    for (int64_t i = 0; i < w->n_running && step.n < w->setup.max_rows; i++) {
        sequence *s = w->running[i];
        if (s->kv == NULL || decoding(s) != (step.phase == RS_DECODE))
            continue;
        int64_t rows = step.phase == RS_DECODE ? 1 : prefill_left(s), room = w->setup.max_rows - step.n;
        rows = rows < room ? rows : room;
        put_rows(w, s, step.n, rows);
        w->parts[step.n_sequences++] = (rs_sequence){
            .first_row = step.n,
            .n_rows = rows,
            .position = s->done,
            .kv = s->kv,
            .rope = s->rope,
            .softmax = softmax_of(w, s),
            .diagnostics = s->diagnostics.sums ? &s->diagnostics : NULL,
        };
        step.n += rows;
    }
    return step;
}

static bool ends_generation(const rs_worker *w, const sequence *s)
{
    if ((int64_t)s->output.n >= s->sample.max_new_tokens)
        return true;
    if (s->sample.n_stops == 0)
        return false;
    rs_text text = {0};
    bool found = false;
    rs_tokenizer_decode(w->setup.plan->tokenizer, s->output.ids, s->output.n, &text);
    for (size_t i = 0; i < s->sample.n_stops && !found; i++)
        found = text.n && s->sample.stops[i][0] && memmem(text.data, text.n, s->sample.stops[i], strlen(s->sample.stops[i]));
    rs_text_free(&text);
    return found;
}

static bool is_eos(const rs_model *model, int32_t id)
{
    for (int i = 0; i < model->n_eos; i++)
        if (model->eos[i] == id)
            return true;
    return false;
}

static void add_nll(sequence *s, int64_t position, double nll)
{
    const int64_t values[RS_N_SPLITS] = {[RS_BY_POSITION] = position, [RS_BY_DISTANCE] = s->distances[position]};
    for (rs_split split = 0; split < RS_N_SPLITS; split++) {
        rs_part *part = &s->parts[split][rs_bucket_of(values[split])];
        part->n++;
        part->nll += nll;
    }
    s->nll += nll;
    if (s->token_nll)
        s->token_nll[s->n_scored++] = (float)nll;
}

/* Takes the results of the sequence's next step_rows rows in; returns whether it has ended. */
static bool take_results(rs_worker *w, sequence *s, const int32_t *targets, const rs_token_result *results)
{
    for (int64_t i = 0; i < s->step_rows; i++) {
        const rs_token_result *result = &results[i];
        if (targets[i] == RS_TARGET_NONE)
            continue;
        if (!result->finite) {
            s->error = rs_format("non-finite logits at position %" PRId64, s->done + i);
            return true;
        }
        if (s->sample.kind == RS_SAMPLE_SCORE) {
            add_nll(s, s->done + i + 1, result->nll);
        } else {
            s->done += s->step_rows;
            if (is_eos(w->setup.plan->model, result->best_id))
                return true;
            RS_PUSH(s->output.ids, s->output.n, s->output.cap, result->best_id);
            return ends_generation(w, s);
        }
    }
    s->done += s->step_rows;
    return s->sample.kind == RS_SAMPLE_SCORE && prefill_left(s) == 0;
}

/* Emits the i-th running sequence and takes it off the list. */
static rs_status end_sequence(rs_worker *w, int64_t i)
{
    sequence *s = w->running[i];
    rs_status status = emit(w, s);
    w->running_tokens -= s->capacity;
    sequence_free(w, s);
    memmove(&w->running[i], &w->running[i + 1], (size_t)(w->n_running - i - 1) * sizeof *w->running);
    w->n_running--;
    return status;
}

/* A text too long for a cache, whole. */
static rs_status pass(rs_worker *w, int64_t index)
{
    rs_status status = RS_OK;
    sequence *s = w->running[index];
    int64_t n = prefill_left(s);
    int32_t *targets = NULL;
    rs_token_result *results = NULL;
    RS_TRY_OUT(rs_try_alloc((void **)&targets, (size_t)n, sizeof *targets, "targets of a whole text"));
    RS_TRY_OUT(rs_try_alloc((void **)&results, (size_t)n, sizeof *results, "results of a whole text"));
    for (int64_t i = 0; i < n; i++)
        targets[i] = i + 1 >= s->sample.score_from && i + 1 < (int64_t)s->sample.tokens.n ? s->sample.tokens.ids[i + 1] : RS_TARGET_NONE;
    status = rs_transformer_pass(w->setup.transformer, s->rope, softmax_of(w, s), s->sample.tokens.ids, targets, n,
                                 s->diagnostics.sums ? &s->diagnostics : NULL, results);
    if (status == RS_NO_MEMORY)
        keep_error(s);
    else if (status != RS_OK)
        goto out;
    s->step_rows = n;
    if (s->error == NULL)
        (void)take_results(w, s, targets, results);
    status = end_sequence(w, index);
out:
    free(targets);
    free(results);
    return status;
}

rs_status rs_worker_step(rs_worker *w)
{
    RS_TRY(admit_all(w));
    rs_step step = pack(w);
    if (step.n == 0) /* whole texts go when no cache takes room from them */
        return w->n_running > 0 ? pass(w, 0) : RS_OK;
    RS_TRY(rs_transformer_step(w->setup.transformer, &step, w->targets, w->results));
    for (int64_t i = 0; i < w->n_running;) {
        sequence *s = w->running[i];
        if (s->step_rows > 0 && take_results(w, s, w->targets + s->first_row, w->results + s->first_row))
            RS_TRY(end_sequence(w, i));
        else
            i++;
    }
    return RS_OK;
}
