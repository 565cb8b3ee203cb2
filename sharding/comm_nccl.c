/* NCCL: collectives over device memory, queued in a stream. The only file that includes nccl.h; built as a module (cmake/nccl.cmake).
 *
 * Sums are not ncclAllReduce's: the order in which that adds depends on the algorithm, so on the length, so on what shares a batch. The
 * caller exchanges parts, adds them in rank order and gathers the sums: NCCL only moves bytes, and bits stay those of comm_mpi.
 *
 * The communicator does not block, so that an initialisation that hangs can be watched like any operation: a call may return before its
 * work is queued, and is then asked until it is. For that NCCL starts a thread a call; NCCL_COMM_BLOCKING=1 in the environment spares it.
 *
 * The watch. Around each operation two events are recorded; a thread of each rank asks them, twenty times a second. An operation's time
 * runs from when the host began it or the one before it ended, whichever is later, so what the host queued ahead does not count. What is
 * captured into a graph is not watched; the barrier that follows a launch is, and so is the graph before it.
 *
 * A failure ends the job. ncclCommAbort is left alone: it would let streams go on past a collective that never happened, and a host could
 * record numbers that nobody computed before the end of the job reached it. The end of a process ends what it runs on a device. */
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "sharding/comm_device.h"
#include "sharding/comm_nccl_verdict.h"
#include "sharding/comm_ops.h"

enum {
    RING = 256,              /* operations that are watched at a time: how far the host may be ahead */
    EAGER_TURNS = 2000,      /* of asking without sleep: NCCL's own thread takes tens of microseconds */
    NAP_NS = 50000,          /* between later turns */
    LOOK_NS = 50000000,      /* between two looks of the watch */
    FAREWELL_NS = 500000000, /* in which all ranks hear each other and the lowest has its say */
    BUS_ID_BYTES = 16,
    REASON_BYTES = 256
};
static const double SILENCE_SECONDS = 5; /* after which a rank counts as silent, or the timeout where that is shorter */

/* How far the host is with an operation: begun; its first event recorded; both. A device has no part in IN_HOST; of what PASSED nothing is
 * left to watch. */
typedef enum stage { BEGUN, ARRIVING, QUEUED, IN_HOST, PASSED } stage;

typedef struct operation {
    const char *name;
    size_t bytes;
    double since; /* when it was begun */
    cudaEvent_t arrived, done;
    stage stage;
} operation;

/* What ranks know of each other before there is a communicator. */
typedef struct identity {
    char host[64], bus_id[BUS_ID_BYTES];
    char failure[REASON_BYTES]; /* why this rank cannot take part; "": it can */
} identity;

typedef struct comm_nccl {
    rs_comm comm;
    rs_comm_nccl_options options;
    identity *ranks; /* [size] */
    void *scratch;   /* device, [size] bytes: what a barrier moves */

    pthread_mutex_t calls; /* held in every call of NCCL on `nccl`: even asking for errors changes it. Taken before `lock` */
    ncclComm_t nccl;

    pthread_mutex_t lock; /* of all below */
    operation ring[RING]; /* operation n at (n - 1) % RING */
    uint64_t begun, done; /* operations, counted from 1 */
    double progress;      /* when the last one was done */
    char failure[320];    /* the first */
    bool closing;

    pthread_t watch;
    bool watching;
} comm_nccl;

static const rs_comm_ops nccl_ops;

/* --- failures --- */

static void nap(long nanoseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
}

/* Keeps the first failure for the watch; `lock` is held. */
static void __attribute__((format(printf, 2, 3))) note(comm_nccl *self, const char *format, ...)
{
    if (self->failure[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(self->failure, sizeof self->failure, format, args);
    va_end(args);
}

/* Leaves a failure in the operation last begun to the watch and waits for the end of the job. */
static _Noreturn void lose(comm_nccl *self, const char *call, const char *reason)
{
    pthread_mutex_lock(&self->lock);
    const operation *op = &self->ring[(self->begun - 1) % RING];
    note(self, "operation %llu (%s, %zu bytes): %s: %s", (unsigned long long)self->begun, op->name, op->bytes, call, reason);
    pthread_mutex_unlock(&self->lock);
    for (;;)
        pause();
}

/* NCCL's reason, and what it knows beyond. */
static void explain(ncclResult_t rc, char reason[REASON_BYTES])
{
    const char *more = ncclGetLastError(NULL);
    snprintf(reason, REASON_BYTES, "%s%s%s", ncclGetErrorString(rc), more[0] ? "; " : "", more);
}

static void check(comm_nccl *self, const char *call, ncclResult_t rc)
{
    char reason[REASON_BYTES];
    if (rc == ncclSuccess)
        return;
    explain(rc, reason);
    lose(self, call, reason);
}

static void cuda(comm_nccl *self, const char *call, cudaError_t rc)
{
    if (rc != cudaSuccess)
        lose(self, call, cudaGetErrorString(rc));
}

/* Waits until NCCL has queued what a call asked for. `calls` is held. */
static void settle(comm_nccl *self, const char *call, ncclResult_t rc)
{
    for (int turn = 0; rc == ncclInProgress; turn++) {
        if (turn < EAGER_TURNS)
            sched_yield();
        else
            nap(NAP_NS);
        ncclResult_t asked = ncclCommGetAsyncError(self->nccl, &rc);
        rc = asked == ncclSuccess ? rc : asked;
    }
    check(self, call, rc);
}

/* --- operations, as the host that queues them sees it --- */

/* Whether a device has passed an event; `lock` is held. */
static bool passed(comm_nccl *self, cudaEvent_t event)
{
    cudaError_t rc = cudaEventQuery(event);
    if (rc == cudaErrorNotReady)
        (void)cudaGetLastError(); /* or this thread's next question for an error would find it */
    else if (rc != cudaSuccess)
        note(self, "after operation %llu: %s", (unsigned long long)self->done, cudaGetErrorString(rc));
    return rc == cudaSuccess;
}

/* Counts what is done; `lock` is held. */
static void retire(comm_nccl *self)
{
    while (self->done < self->begun) {
        operation *oldest = &self->ring[self->done % RING];
        if (oldest->stage != PASSED && (oldest->stage != QUEUED || !passed(self, oldest->done)))
            return;
        self->done++;
        self->progress = rs_clock();
    }
}

/* captured: the watch alone may ask for events then. */
static operation *begin(comm_nccl *self, const char *name, size_t bytes, stage first, bool captured)
{
    pthread_mutex_lock(&self->lock);
    while (self->begun - self->done == RING) {
        if (!captured)
            retire(self);
        if (self->begun - self->done < RING)
            break;
        pthread_mutex_unlock(&self->lock);
        nap(NAP_NS);
        pthread_mutex_lock(&self->lock);
    }
    operation *op = &self->ring[self->begun++ % RING];
    op->name = name;
    op->bytes = bytes;
    op->since = rs_clock();
    op->stage = first;
    pthread_mutex_unlock(&self->lock);
    return op;
}

static void set_stage(comm_nccl *self, operation *op, stage now)
{
    pthread_mutex_lock(&self->lock);
    op->stage = now;
    pthread_mutex_unlock(&self->lock);
}

/* An operation between its two events in the stream of the moment. */
typedef struct queued {
    operation *op;
    cudaStream_t stream;
    bool captured;
} queued;

static queued enter(comm_nccl *self, const char *name, size_t bytes)
{
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    queued q = {.stream = self->options.stream(self->options.context)};
    cudaError_t asked = cudaStreamIsCapturing(q.stream, &capture);
    q.captured = capture != cudaStreamCaptureStatusNone;
    q.op = begin(self, name, bytes, BEGUN, q.captured);
    cuda(self, "cudaStreamIsCapturing", asked);
    if (!q.captured) {
        cuda(self, "cudaEventRecord", cudaEventRecord(q.op->arrived, q.stream));
        set_stage(self, q.op, ARRIVING);
    }
    pthread_mutex_lock(&self->calls);
    return q;
}

static rs_status leave(comm_nccl *self, queued q, const char *call, ncclResult_t rc)
{
    settle(self, call, rc);
    pthread_mutex_unlock(&self->calls);
    if (!q.captured)
        cuda(self, "cudaEventRecord", cudaEventRecord(q.op->done, q.stream));
    set_stage(self, q.op, q.captured ? PASSED : QUEUED);
    return RS_OK;
}

static rs_status nccl_gather(rs_comm *comm, const void *mine, size_t bytes, void *all)
{
    comm_nccl *self = (comm_nccl *)comm;
    queued q = enter(self, "gather", bytes);
    return leave(self, q, "ncclAllGather", ncclAllGather(mine, all, bytes, ncclUint8, self->nccl, q.stream));
}

static rs_status nccl_exchange(rs_comm *comm, const void *send, size_t bytes, void *receive)
{
    comm_nccl *self = (comm_nccl *)comm;
    queued q = enter(self, "exchange", bytes);
    ncclResult_t rc = ncclGroupStart();
    for (int rank = 0; rank < comm->size; rank++) {
        size_t at = (size_t)rank * bytes;
        if (rc == ncclSuccess)
            rc = ncclSend((const char *)send + at, bytes, ncclUint8, rank, self->nccl, q.stream);
        if (rc == ncclSuccess)
            rc = ncclRecv((char *)receive + at, bytes, ncclUint8, rank, self->nccl, q.stream);
    }
    ncclResult_t ended = ncclGroupEnd();
    return leave(self, q, "ncclSend and ncclRecv", rc == ncclSuccess ? ended : rc);
}

static rs_status nccl_broadcast(rs_comm *comm, void *data, size_t bytes, int root)
{
    comm_nccl *self = (comm_nccl *)comm;
    queued q = enter(self, "broadcast", bytes);
    return leave(self, q, "ncclBroadcast", ncclBroadcast(data, data, bytes, ncclUint8, root, self->nccl, q.stream));
}

static rs_status nccl_barrier(rs_comm *comm)
{
    comm_nccl *self = (comm_nccl *)comm;
    queued q = enter(self, "barrier", 0);
    char *all = self->scratch;
    return leave(self, q, "ncclAllGather", ncclAllGather(all + comm->rank, all, 1, ncclUint8, self->nccl, q.stream));
}

/* --- the watch --- */

static void async_error(comm_nccl *self)
{
    if (pthread_mutex_trylock(&self->calls) != 0)
        return; /* the host is in a call and asks itself */
    ncclResult_t state = ncclSuccess, rc = self->nccl ? ncclCommGetAsyncError(self->nccl, &state) : ncclSuccess;
    rc = rc == ncclSuccess ? state : rc;
    if (rc != ncclSuccess && rc != ncclInProgress) {
        char reason[REASON_BYTES];
        explain(rc, reason);
        pthread_mutex_lock(&self->lock);
        note(self, "after operation %llu: %s", (unsigned long long)self->done, reason);
        pthread_mutex_unlock(&self->lock);
    }
    pthread_mutex_unlock(&self->calls);
}

/* Fails, is late, or is asked by another rank. */
static bool in_trouble(comm_nccl *self)
{
    bool asked = false;
    (void)rs_comm_poll(self->options.group, RS_COMM_WATCH_TAG, &asked);
    async_error(self);
    pthread_mutex_lock(&self->lock);
    retire(self);
    double since = self->ring[self->done % RING].since;
    bool late = self->done < self->begun && rs_clock() - (since > self->progress ? since : self->progress) > self->options.timeout_seconds;
    bool failed = self->failure[0] != '\0';
    pthread_mutex_unlock(&self->lock);
    return asked || late || failed;
}

static void report(comm_nccl *self, rs_nccl_report *out)
{
    pthread_mutex_lock(&self->lock);
    out->started = self->begun;
    out->finished = out->reached = self->done;
    while (out->reached < self->begun) {
        operation *op = &self->ring[out->reached % RING];
        bool on_device = op->stage == ARRIVING || op->stage == QUEUED;
        if (op->stage == BEGUN || (on_device && !passed(self, op->arrived)))
            break;
        out->reached++;
    }
    if (self->done < self->begun) {
        snprintf(out->operation, sizeof out->operation, "%s", self->ring[self->done % RING].name);
        out->bytes = self->ring[self->done % RING].bytes;
    }
    memcpy(out->failure, self->failure, sizeof out->failure);
    pthread_mutex_unlock(&self->lock);
}

/* The lowest rank that was heard speaks for all. */
static _Noreturn void end_job(comm_nccl *self)
{
    size_t size = (size_t)self->comm.size;
    rs_nccl_report *reports = rs_alloc(size, sizeof *reports);
    bool *heard = rs_alloc(size, sizeof *heard);
    for (size_t rank = 0; rank < size; rank++)
        memcpy(reports[rank].host, self->ranks[rank].host, sizeof reports->host);
    report(self, &reports[self->comm.rank]);
    double timeout = self->options.timeout_seconds;
    rs_nccl_hear(self->options.group, timeout < SILENCE_SECONDS ? timeout : SILENCE_SECONDS, reports, heard);
    int speaker = 0;
    while (!heard[speaker])
        speaker++;
    if (speaker == self->comm.rank) {
        rs_text sentence = {0};
        rs_nccl_verdict(reports, heard, self->comm.size, timeout, &sentence);
        fprintf(stderr, "ropesweep: NCCL: %s\n", sentence.data);
    }
    nap(FAREWELL_NS);
    rs_comm_abort(self->options.world, 1);
}

static void *watch(void *context)
{
    comm_nccl *self = context;
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed; /* else to ask for an event would spoil another thread's capture */
    (void)cudaSetDevice(self->options.device);
    (void)cudaThreadExchangeStreamCaptureMode(&mode);
    for (;;) {
        nap(LOOK_NS);
        pthread_mutex_lock(&self->lock);
        bool closing = self->closing;
        pthread_mutex_unlock(&self->lock);
        if (closing)
            return NULL;
        if (in_trouble(self))
            end_job(self);
    }
}

/* --- opening and closing --- */

/* What this rank needs for itself. Fills *mine, with the reason where something cannot be had. */
static void prepare(comm_nccl *self, identity *mine)
{
    const char *call = "cudaSetDevice";
    cudaError_t rc = cudaSetDevice(self->options.device);
    gethostname(mine->host, sizeof mine->host - 1);
    if (rc == cudaSuccess)
        rc = cudaDeviceGetPCIBusId(mine->bus_id, sizeof mine->bus_id, self->options.device), call = "cudaDeviceGetPCIBusId";
    if (rc == cudaSuccess)
        rc = cudaMalloc(&self->scratch, (size_t)self->comm.size), call = "cudaMalloc";
    for (int i = 0; rc == cudaSuccess && i < 2 * RING; i++) {
        operation *op = &self->ring[i / 2];
        rc = cudaEventCreateWithFlags(i % 2 ? &op->done : &op->arrived, cudaEventDisableTiming), call = "cudaEventCreateWithFlags";
    }
    (void)cudaGetLastError(); /* a failure ends here: the backend asks this thread for its own */
    if (rc != cudaSuccess)
        snprintf(mine->failure, sizeof mine->failure, "%s: %s", call, cudaGetErrorString(rc));
    else if (pthread_create(&self->watch, NULL, watch, self) == 0)
        self->watching = true;
    else
        snprintf(mine->failure, sizeof mine->failure, "no thread to watch NCCL");
}

/* Every rank hears of every rank's device; all fail alike. */
static rs_status meet(comm_nccl *self)
{
    identity mine = {.host = ""};
    prepare(self, &mine);
    RS_TRY(rs_comm_gather(self->options.group, &mine, sizeof mine, self->ranks));
    for (int rank = 0; rank < self->comm.size; rank++)
        if (self->ranks[rank].failure[0] != '\0')
            return rs_fail(RS_INVALID, "rank %d (%s): %s", rank, self->ranks[rank].host, self->ranks[rank].failure);
    for (int a = 0; a < self->comm.size; a++)
        for (int b = a + 1; b < self->comm.size; b++)
            if (strcmp(self->ranks[a].host, self->ranks[b].host) == 0 && strcmp(self->ranks[a].bus_id, self->ranks[b].bus_id) == 0)
                return rs_fail(RS_INVALID, "ranks %d and %d share GPU %s of %s; NCCL needs one GPU a rank: use parallel.comm: mpi", a, b,
                               self->ranks[a].bus_id, self->ranks[a].host);
    return RS_OK;
}

/* Rank 0 makes the address at which the others find it. */
static rs_status agree(comm_nccl *self, ncclUniqueId *id)
{
    struct invitation {
        ncclUniqueId id;
        char failure[REASON_BYTES];
    } sent = {.failure = ""};
    ncclResult_t rc = self->comm.rank == 0 ? ncclGetUniqueId(&sent.id) : ncclSuccess;
    if (rc != ncclSuccess)
        explain(rc, sent.failure);
    RS_TRY(rs_comm_broadcast(self->options.group, &sent, sizeof sent, 0));
    *id = sent.id;
    return sent.failure[0] == '\0' ? RS_OK : rs_fail(RS_INVALID, "rank 0 (%s): ncclGetUniqueId: %s", self->ranks[0].host, sent.failure);
}

static void initialise(comm_nccl *self, ncclUniqueId id)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    operation *op = begin(self, "init", 0, IN_HOST, false);
    pthread_mutex_lock(&self->calls);
    settle(self, "ncclCommInitRankConfig", ncclCommInitRankConfig(&self->nccl, self->comm.size, id, self->comm.rank, &config));
    pthread_mutex_unlock(&self->calls);
    set_stage(self, op, PASSED);
}

static void nccl_close(rs_comm *comm);

rs_status rs_comm_nccl_open(const rs_comm_nccl_options *options, rs_comm **out)
{
    comm_nccl *self = rs_alloc(1, sizeof *self);
    self->comm = (rs_comm){.ops = &nccl_ops, .rank = rs_comm_rank(options->group), .size = rs_comm_size(options->group)};
    self->options = *options;
    self->ranks = rs_alloc((size_t)self->comm.size, sizeof *self->ranks);
    pthread_mutex_init(&self->calls, NULL);
    pthread_mutex_init(&self->lock, NULL);
    ncclUniqueId id;
    *out = NULL;
    rs_status status = meet(self);
    if (status == RS_OK)
        status = agree(self, &id);
    if (status != RS_OK) {
        nccl_close(&self->comm);
        return status;
    }
    initialise(self, id);
    *out = &self->comm;
    return RS_OK;
}

/* Watched like any operation; the watch ends when every rank is through. */
static void finalise(comm_nccl *self)
{
    operation *op = begin(self, "close", 0, IN_HOST, false);
    pthread_mutex_lock(&self->calls);
    settle(self, "ncclCommFinalize", ncclCommFinalize(self->nccl));
    ncclResult_t rc = ncclCommDestroy(self->nccl);
    self->nccl = NULL;
    check(self, "ncclCommDestroy", rc == ncclInProgress ? ncclSuccess : rc); /* the rest of it is NCCL's own */
    pthread_mutex_unlock(&self->calls);
    (void)rs_comm_barrier(self->options.group);
    set_stage(self, op, PASSED);
}

static void nccl_close(rs_comm *comm)
{
    comm_nccl *self = (comm_nccl *)comm;
    if (self->nccl)
        finalise(self);
    if (self->watching) {
        pthread_mutex_lock(&self->lock);
        self->closing = true;
        pthread_mutex_unlock(&self->lock);
        pthread_join(self->watch, NULL);
    }
    for (int i = 0; i < RING; i++) {
        if (self->ring[i].arrived)
            (void)cudaEventDestroy(self->ring[i].arrived);
        if (self->ring[i].done)
            (void)cudaEventDestroy(self->ring[i].done);
    }
    (void)cudaFree(self->scratch);
    pthread_mutex_destroy(&self->calls);
    pthread_mutex_destroy(&self->lock);
    free(self->ranks);
    free(self);
}

/* --- what device memory has no use for --- */

static rs_status no_such(const rs_comm *comm, const char *name)
{
    return rs_fail(RS_INTERNAL, "%s on rank %d: not an operation over device memory", name, comm->rank);
}

static rs_status nccl_split(rs_comm *comm, int colour, rs_comm **out)
{
    (void)colour;
    (void)out;
    return no_such(comm, "split");
}

static rs_status nccl_sum(rs_comm *comm, float *data, size_t n)
{
    (void)data;
    (void)n;
    return no_such(comm, "sum");
}

static rs_status nccl_send(rs_comm *comm, int to, int tag, const void *data, size_t bytes)
{
    (void)to;
    (void)tag;
    (void)data;
    (void)bytes;
    return no_such(comm, "send");
}

static rs_status nccl_receive(rs_comm *comm, int from, int tag, int *sender, void **data, size_t *bytes)
{
    (void)from;
    (void)tag;
    (void)sender;
    (void)data;
    (void)bytes;
    return no_such(comm, "receive");
}

static rs_status nccl_poll(rs_comm *comm, int tag, bool *waiting)
{
    (void)tag;
    (void)waiting;
    return no_such(comm, "poll");
}

static rs_status nccl_local(rs_comm *comm, int *local_rank, int *local_size)
{
    return rs_comm_local(((comm_nccl *)comm)->options.group, local_rank, local_size);
}

static void nccl_abort(rs_comm *comm, int exit_code)
{
    rs_comm_abort(((comm_nccl *)comm)->options.world, exit_code);
}

static const rs_comm_ops nccl_ops = {
    .split = nccl_split,
    .close = nccl_close,
    .abort = nccl_abort,
    .sum = nccl_sum,
    .gather = nccl_gather,
    .exchange = nccl_exchange,
    .broadcast = nccl_broadcast,
    .barrier = nccl_barrier,
    .send = nccl_send,
    .receive = nccl_receive,
    .poll = nccl_poll,
    .local = nccl_local,
};
