#include "simt/nccl_fake.h"

#include <mpi.h>
#include <nccl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

nccl_fake nccl_fake_wish = {.bus_id = "", .polls = 3};

enum { MAX_TRANSFERS = 64, KINDS = 4, TAGS = 4096 };
typedef enum kind { GATHER, BROADCAST, EXCHANGE } kind; /* part of the tag: ranks in different collectives never meet */

typedef struct transfer {
    bool sends;
    int peer;
    char *data;
    size_t bytes;
} transfer;

typedef struct collective {
    ncclComm_t comm;
    kind kind;
    transfer transfers[MAX_TRANSFERS];
    int n;
} collective;

typedef struct work {
    struct work *next;
    void (*kernel)(void *context);
    void *context;
    cudaEvent_t event;
    uint64_t turn; /* of the event's records */
    collective *collective;
} work;

struct fake_event {
    uint64_t recorded, passed;
};

struct fake_comm {
    ncclResult_t failure;
    int polls;           /* still to go until the call in progress is through */
    collective *pending; /* what is queued then, as NCCL's own thread does */
    bool finalised;
    int inside; /* threads */
    uint64_t done;
};

typedef struct list {
    work *first, **end;
} list;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static list queue, graph;
static bool busy, closing, capturing;
static bool unqueued; /* a collective was called for and is not in the queue yet */
static int alive;
static pthread_t device;
static MPI_Comm wire;
static _Thread_local cudaError_t last_error;
static _Thread_local enum cudaStreamCaptureMode capture_mode;
static _Thread_local collective *group;

static _Noreturn void broken(const char *rule)
{
    fprintf(stderr, "nccl_fake: %s\n", rule);
    MPI_Abort(MPI_COMM_WORLD, 3);
    _exit(3);
}

/* --- the device --- */

static void push(list *to, work item)
{
    work *added = rs_alloc(1, sizeof *added);
    *added = item;
    if (to->first == NULL)
        to->end = &to->first;
    *to->end = added;
    to->end = &added->next;
}

static void submit(work item)
{
    pthread_mutex_lock(&lock);
    if (capturing && item.event)
        broken("an event is recorded in a capture");
    if (unqueued && item.event)
        broken("an event is recorded before the collective that it ends is queued");
    push(capturing ? &graph : &queue, item);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void transmit(const collective *c)
{
    MPI_Request requests[MAX_TRANSFERS];
    int done = 0, tag = (int)(c->comm->done % TAGS) * KINDS + (int)c->kind;
    for (int i = 0; i < c->n; i++) {
        const transfer *t = &c->transfers[i];
        if (t->sends)
            MPI_Isend(t->data, (int)t->bytes, MPI_BYTE, t->peer, tag, wire, &requests[i]);
        else
            MPI_Irecv(t->data, (int)t->bytes, MPI_BYTE, t->peer, tag, wire, &requests[i]);
    }
    while (MPI_Testall(c->n, requests, &done, MPI_STATUSES_IGNORE), !done)
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

static void run_collective(collective *c)
{
    uint64_t number = ++c->comm->done;
    if (number == nccl_fake_wish.error_at) {
        pthread_mutex_lock(&lock);
        c->comm->failure = ncclRemoteError;
        pthread_mutex_unlock(&lock);
    }
    while (number == nccl_fake_wish.error_at || number == nccl_fake_wish.cut_at)
        pause();
    transmit(c);
}

static void run_work(work *now)
{
    if (now->collective)
        run_collective(now->collective);
    if (now->kernel)
        now->kernel(now->context);
    if (now->event) {
        pthread_mutex_lock(&lock);
        now->event->passed = now->turn;
        pthread_mutex_unlock(&lock);
    }
    free(now->collective);
    free(now);
}

static void *run_device(void *context)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        while (queue.first == NULL && !closing)
            pthread_cond_wait(&changed, &lock);
        if (queue.first == NULL)
            break;
        work *now = queue.first;
        queue.first = now->next;
        busy = true;
        pthread_mutex_unlock(&lock);
        run_work(now);
        pthread_mutex_lock(&lock);
        busy = queue.first != NULL;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return context;
}

void nccl_fake_open(void)
{
    MPI_Comm_dup(MPI_COMM_WORLD, &wire);
    closing = false;
    if (pthread_create(&device, NULL, run_device, NULL) != 0)
        broken("no thread");
}

int nccl_fake_close(void)
{
    pthread_mutex_lock(&lock);
    closing = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(device, NULL);
    MPI_Comm_free(&wire);
    return alive;
}

void *nccl_fake_stream(void *context)
{
    return context;
}

void nccl_fake_launch(void (*fn)(void *), void *context)
{
    submit((work){.kernel = fn, .context = context});
}

void nccl_fake_wait(void)
{
    pthread_mutex_lock(&lock);
    while (queue.first || busy)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void set_capturing(bool now)
{
    pthread_mutex_lock(&lock);
    capturing = now;
    pthread_mutex_unlock(&lock);
}

void nccl_fake_capture_begin(void)
{
    set_capturing(true);
}

void nccl_fake_capture_end(void)
{
    set_capturing(false);
}

void nccl_fake_graph_launch(void)
{
    pthread_mutex_lock(&lock);
    for (work *item = graph.first; item; item = item->next) {
        work copy = *item;
        copy.next = NULL;
        copy.collective = rs_alloc(1, sizeof *copy.collective);
        *copy.collective = *item->collective;
        push(&queue, copy);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void nccl_fake_graph_free(void)
{
    pthread_mutex_lock(&lock);
    while (graph.first) {
        work *item = graph.first;
        graph.first = item->next;
        free(item->collective);
        free(item);
    }
    pthread_mutex_unlock(&lock);
}

/* --- CUDA's runtime --- */

static void *give(size_t bytes)
{
    __atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
    return rs_alloc(1, bytes);
}

static void take_back(void *memory)
{
    if (memory)
        __atomic_sub_fetch(&alive, 1, __ATOMIC_RELAXED);
    free(memory);
}

cudaError_t cudaSetDevice(int number)
{
    (void)number;
    return last_error = nccl_fake_wish.bus_id ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaDeviceGetPCIBusId(char *bus_id, int bytes, int number)
{
    (void)number;
    snprintf(bus_id, (size_t)bytes, "%s", nccl_fake_wish.bus_id);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    *out = give(bytes);
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    take_back(memory);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    (void)flags;
    *out = give(sizeof **out);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    take_back(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    (void)stream;
    pthread_mutex_lock(&lock);
    uint64_t turn = ++event->recorded;
    pthread_mutex_unlock(&lock);
    submit((work){.event = event, .turn = turn});
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    pthread_mutex_lock(&lock);
    if (capturing && capture_mode != cudaStreamCaptureModeRelaxed)
        broken("an event is asked for while another thread captures");
    bool through = event->passed == event->recorded;
    pthread_mutex_unlock(&lock);
    return through ? cudaSuccess : (last_error = cudaErrorNotReady);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    (void)stream;
    pthread_mutex_lock(&lock);
    *status = capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode)
{
    enum cudaStreamCaptureMode before = capture_mode;
    capture_mode = *mode;
    *mode = before;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess ? "no error" : error == cudaErrorNoDevice ? "no device (fake)" : "not ready";
}

/* --- NCCL --- */

static void go_in(ncclComm_t comm)
{
    if (__atomic_add_fetch(&comm->inside, 1, __ATOMIC_SEQ_CST) != 1)
        broken("two threads are in one communicator");
}

static void go_out(ncclComm_t comm)
{
    __atomic_sub_fetch(&comm->inside, 1, __ATOMIC_SEQ_CST);
}

/* A call that asked for something: in progress until it was asked for often enough. */
static ncclResult_t start(ncclComm_t comm, collective *what)
{
    if (comm->polls != 0)
        broken("a call while another is in progress");
    comm->polls = nccl_fake_wish.polls;
    comm->pending = what;
    unqueued = what && comm->polls != 0;
    if (comm->polls != 0)
        return ncclInProgress;
    if (what)
        submit((work){.collective = what});
    comm->pending = NULL;
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    go_in(comm);
    if (comm->polls > 0 && --comm->polls == 0 && comm->pending) {
        unqueued = false;
        submit((work){.collective = comm->pending});
        comm->pending = NULL;
    }
    pthread_mutex_lock(&lock);
    *state = comm->failure;
    if (*state == ncclSuccess && (comm->polls != 0 || (comm->finalised && (queue.first || busy || graph.first))))
        *state = ncclInProgress;
    pthread_mutex_unlock(&lock);
    usleep(200); /* long enough for a second thread to meet this one */
    go_out(comm);
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    snprintf(id->internal, sizeof id->internal, "a door");
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int size, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    int real_size, real_rank;
    MPI_Comm_size(wire, &real_size);
    MPI_Comm_rank(wire, &real_rank);
    if (strcmp(id.internal, "a door") != 0 || size != real_size || rank != real_rank || config->blocking)
        return ncclInvalidUsage;
    *out = give(sizeof **out);
    return start(*out, NULL);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    comm->finalised = true;
    return start(comm, NULL);
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    if (!comm->finalised || comm->polls != 0)
        broken("destroyed before it was finalised");
    take_back(comm);
    return ncclSuccess;
}

static collective *draft(ncclComm_t comm, kind what)
{
    collective *c = rs_alloc(1, sizeof *c);
    c->comm = comm;
    c->kind = what;
    return c;
}

static void add(collective *c, bool sends, int peer, const void *data, size_t bytes)
{
    if (c->n == MAX_TRANSFERS)
        broken("more ranks than it is made for");
    c->transfers[c->n].sends = sends;
    c->transfers[c->n].peer = peer;
    memcpy(&c->transfers[c->n].data, &data, sizeof data);
    c->transfers[c->n++].bytes = bytes;
}

static ncclResult_t call(ncclComm_t comm, collective *c)
{
    go_in(comm);
    ncclResult_t rc = start(comm, c);
    go_out(comm);
    return rc;
}

ncclResult_t ncclAllGather(const void *mine, void *all, size_t n, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream)
{
    (void)type;
    (void)stream;
    int size, rank;
    collective *c = draft(comm, GATHER);
    MPI_Comm_size(wire, &size);
    MPI_Comm_rank(wire, &rank);
    bool in_place = mine == (char *)all + (size_t)rank * n;
    for (int peer = 0; peer < size; peer++) {
        if (peer == rank && in_place)
            continue;
        add(c, true, peer, mine, n);
        add(c, false, peer, (char *)all + (size_t)peer * n, n);
    }
    return call(comm, c);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t n, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream)
{
    (void)type;
    (void)stream;
    int size, rank;
    collective *c = draft(comm, BROADCAST);
    MPI_Comm_size(wire, &size);
    MPI_Comm_rank(wire, &rank);
    if (rank != root)
        add(c, false, root, to, n);
    for (int peer = 0; rank == root && peer < size; peer++)
        if (peer != root)
            add(c, true, peer, from, n);
    return call(comm, c);
}

ncclResult_t ncclGroupStart(void)
{
    group = draft(NULL, EXCHANGE);
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *from, size_t n, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    (void)type;
    (void)stream;
    group->comm = comm;
    add(group, true, peer, from, n);
    return ncclSuccess;
}

ncclResult_t ncclRecv(void *to, size_t n, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    (void)type;
    (void)stream;
    group->comm = comm;
    add(group, false, peer, to, n);
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    collective *c = group;
    group = NULL;
    return call(c->comm, c);
}

const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclRemoteError ? "remote process exited (fake)" : result == ncclInvalidUsage ? "invalid usage (fake)" : "no error";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "cable 7";
}
