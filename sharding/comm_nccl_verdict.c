#include "sharding/comm_nccl_verdict.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "sharding/comm_device.h"

/* --- hearing --- */

typedef struct letter {
    rs_comm *group;
    int to;
    rs_nccl_report report;
} letter;

static void *deliver(void *context)
{
    letter *sent = context;
    (void)rs_comm_send(sent->group, sent->to, RS_COMM_WATCH_TAG, &sent->report, sizeof sent->report);
    free(sent);
    return NULL;
}

/* A thread for each letter, left alone: to send to a rank that is gone may take for ever. */
static void tell(rs_comm *group, const rs_nccl_report *report)
{
    for (int to = 0; to < rs_comm_size(group); to++) {
        if (to == rs_comm_rank(group))
            continue;
        pthread_t thread;
        letter *sent = rs_alloc(1, sizeof *sent);
        *sent = (letter){.group = group, .to = to, .report = *report};
        if (pthread_create(&thread, NULL, deliver, sent) == 0)
            pthread_detach(thread);
        else
            free(sent);
    }
}

static bool hear_one(rs_comm *group, rs_nccl_report *reports, bool *heard)
{
    bool waiting = false;
    if (rs_comm_poll(group, RS_COMM_WATCH_TAG, &waiting) != RS_OK || !waiting)
        return false;
    int from = 0;
    void *data = NULL;
    size_t bytes = 0;
    if (rs_comm_receive(group, RS_ANY_RANK, RS_COMM_WATCH_TAG, &from, &data, &bytes) != RS_OK || bytes != sizeof *reports)
        return false;
    memcpy(&reports[from], data, bytes);
    free(data);
    heard[from] = true;
    return true;
}

void rs_nccl_hear(rs_comm *group, double seconds, rs_nccl_report *reports, bool *heard)
{
    int n = 1, size = rs_comm_size(group);
    double end = rs_clock() + seconds;
    heard[rs_comm_rank(group)] = true;
    tell(group, &reports[rs_comm_rank(group)]);
    while (n < size && rs_clock() < end) {
        if (hear_one(group, reports, heard))
            n++;
        else
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

/* --- judging --- */

typedef struct inquest {
    const rs_nccl_report *reports;
    const bool *heard;
    int size;
    uint64_t stuck; /* number of the oldest operation that some rank waits in; 0: none */
    int waiter;     /* a rank that waits in it */
} inquest;

typedef bool accusation(const inquest *q, int rank);

static bool is_silent(const inquest *q, int rank)
{
    return !q->heard[rank];
}

static bool failed(const inquest *q, int rank)
{
    return q->heard[rank] && q->reports[rank].failure[0] != '\0';
}

static bool has_not_started(const inquest *q, int rank)
{
    return q->heard[rank] && q->reports[rank].started < q->stuck;
}

static bool has_not_reached(const inquest *q, int rank)
{
    return q->heard[rank] && q->reports[rank].reached < q->stuck;
}

/* While others have. */
static bool has_not_finished(const inquest *q, int rank)
{
    uint64_t most = 0;
    for (int other = 0; other < q->size; other++)
        if (q->heard[other] && q->reports[other].finished > most)
            most = q->reports[other].finished;
    return q->heard[rank] && q->reports[rank].finished < q->stuck && most >= q->stuck;
}

static bool is_in_another(const inquest *q, int rank)
{
    const rs_nccl_report *a = &q->reports[q->waiter], *b = &q->reports[rank];
    return q->heard[rank] && b->finished == a->finished && b->operation[0] != '\0' &&
           (strcmp(a->operation, b->operation) != 0 || a->bytes != b->bytes);
}

/* Appends the accused, "rank 1 (node3), rank 2 (node4)", and says whether there are any. */
static bool name(const inquest *q, accusation *accused, rs_text *out)
{
    bool any = false;
    for (int rank = 0; rank < q->size; rank++) {
        if (!accused(q, rank))
            continue;
        rs_text_printf(out, "%srank %d (%s)", any ? ", " : "", rank, q->reports[rank].host);
        any = true;
    }
    return any;
}

static void find_stuck(inquest *q)
{
    for (int rank = 0; rank < q->size; rank++) {
        const rs_nccl_report *report = &q->reports[rank];
        if (!q->heard[rank] || report->operation[0] == '\0' || (q->stuck && report->finished + 1 >= q->stuck))
            continue;
        q->stuck = report->finished + 1;
        q->waiter = rank;
    }
}

static void describe(const inquest *q, int rank, rs_text *out)
{
    const rs_nccl_report *report = &q->reports[rank];
    rs_text_printf(out, "operation %llu (%s", (unsigned long long)report->finished + 1, report->operation);
    if (report->bytes)
        rs_text_printf(out, ", %llu bytes", (unsigned long long)report->bytes);
    rs_text_puts(out, ")");
}

static void judge_another(const inquest *q, rs_text *out)
{
    int rank = 0;
    while (!is_in_another(q, rank))
        rank++;
    rs_text_puts(out, " is in ");
    describe(q, rank, out);
    rs_text_printf(out, " and rank %d (%s) in ", q->waiter, q->reports[q->waiter].host);
    describe(q, q->waiter, out);
}

static void judge_wait(const inquest *q, double timeout_seconds, rs_text *out)
{
    if (name(q, is_in_another, out)) {
        judge_another(q, out);
        return;
    }
    if (name(q, has_not_started, out))
        rs_text_puts(out, " has not started ");
    else if (name(q, has_not_reached, out))
        rs_text_puts(out, " has a device that is busy with something else and has not come to ");
    else if (name(q, has_not_finished, out))
        rs_text_puts(out, ", unlike others, has not finished ");
    else
        rs_text_puts(out, "no rank is behind: a device or the network between them stands still in ");
    describe(q, q->waiter, out);
    rs_text_printf(out, " for %g s", timeout_seconds);
}

void rs_nccl_verdict(const rs_nccl_report *reports, const bool *heard, int size, double timeout_seconds, rs_text *out)
{
    inquest q = {.reports = reports, .heard = heard, .size = size};
    find_stuck(&q);
    int culprit = 0;
    while (culprit < size && !failed(&q, culprit))
        culprit++;
    if (culprit < size)
        rs_text_printf(out, "rank %d (%s): %s", culprit, reports[culprit].host, reports[culprit].failure);
    rs_text silent = {0};
    if (name(&q, is_silent, &silent))
        rs_text_printf(out, "%s%s is silent: stopped, gone or out of reach", culprit < size ? "; " : "", silent.data);
    else if (culprit == size)
        judge_wait(&q, timeout_seconds, out);
    rs_text_free(&silent);
}
