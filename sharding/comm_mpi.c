/* Ranks of an MPI job. Open MPI 4.1 is what this is tried with. */
#include <limits.h>
#include <mpi.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "sharding/comm_ops.h"
#include "sharding/partition.h"

enum {
    SHORT = 3500,           /* bytes of a message that arrives without its sender's help: Open MPI's shared memory takes 4,096 */
    MOST_PENDING = 1 << 15, /* such messages that may be under way: bounds their memory */
    LEAST_PENDING = 64      /* before anything is done about them */
};

enum {
    SUM_CHUNK = 1 << 20,      /* floats summed at a time: bounds the scratch memory, and stays in the last-level cache */
    SUM_PAIR_CHUNK = 1 << 18, /* the same for two ranks: what one rank adds stays in its own cache */
    SUM_SMALL = 4096,         /* floats up to which one message to everyone is faster than two rounds of parts */
    SUM_TAG = 32767,          /* above every caller's, whose receives must not take a sum's messages */
    PIECE = 1 << 30,          /* bytes of one broadcast: counts of MPI-3 are ints */
    BLOCK_PIECE = 1 << 24,    /* bytes of a block that one exchange moves, for the same reason: there are as many blocks as ranks */
    MAX_LAUNCHED = 1 << 20,   /* ranks: bounds a number read from the environment */
    FINALIZE_SECONDS = 40     /* it waits for every rank, also for one that died in it */
};

/* A copy of a short message whose sending has begun. */
typedef struct pending {
    MPI_Request request;
    void *data;
} pending;

typedef struct comm_mpi {
    rs_comm comm;
    MPI_Comm handle;
    pthread_mutex_t lock; /* of what is pending */
    pending *pending;
    int64_t n_pending, cap_pending, reap_at; /* reap_at: twice what was left the last time, so that looking costs little */
    bool world;
    float *scratch; /* [SUM_CHUNK], from the first sum on */
    int *counts;    /* [4 * size]: counts and offsets of a sum's parts */
} comm_mpi;

static const rs_comm_ops mpi_ops;

static rs_status check(const comm_mpi *self, const char *operation, int rc)
{
    if (rc == MPI_SUCCESS)
        return RS_OK;
    char reason[MPI_MAX_ERROR_STRING + 1] = "unknown error";
    int length = 0;
    MPI_Error_string(rc, reason, &length);
    return rs_fail(RS_INTERNAL, "%s on rank %d of %d: %s", operation, self->comm.rank, self->comm.size, reason);
}

static rs_status wrap(MPI_Comm handle, bool world, rs_comm **out)
{
    comm_mpi *self = rs_alloc(1, sizeof *self);
    *self = (comm_mpi){.comm = {.ops = &mpi_ops}, .handle = handle, .world = world};
    pthread_mutex_init(&self->lock, NULL);
    *out = &self->comm;
    RS_TRY(check(self, "MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN)));
    RS_TRY(check(self, "MPI_Comm_rank", MPI_Comm_rank(handle, &self->comm.rank)));
    RS_TRY(check(self, "MPI_Comm_size", MPI_Comm_size(handle, &self->comm.size)));
    self->counts = rs_alloc((size_t)self->comm.size, 4 * sizeof *self->counts);
    return RS_OK;
}

/* srun without --mpi=pmix starts n tasks that each take themselves for a whole job: all would write the same output. */
static rs_status check_launcher(int size)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
    if (size > 1 || tasks == NULL || getenv("OMPI_COMM_WORLD_SIZE") != NULL)
        return RS_OK;
    long n = strtol(tasks, NULL, 10);
    if (n <= 1 || n > MAX_LAUNCHED)
        return RS_OK;
    return rs_fail(RS_INVALID, "srun started %ld tasks but MPI sees one rank: start them with srun --mpi=pmix", n);
}

rs_status rs_comm_world_open(int *argc, char ***argv, rs_comm **out)
{
    *out = NULL;
    int provided = 0;
    int rc = MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided);
    if (rc != MPI_SUCCESS)
        return rs_fail(RS_INTERNAL, "MPI_Init_thread: error %d", rc);
    rs_comm *world = NULL;
    rs_status status = wrap(MPI_COMM_WORLD, true, &world);
    if (status == RS_OK)
        MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    if (status == RS_OK && provided < MPI_THREAD_MULTIPLE)
        status = rs_fail(RS_INTERNAL, "MPI_Init_thread: this MPI library gives thread level %d, MPI_THREAD_MULTIPLE (%d) is needed",
                         provided, MPI_THREAD_MULTIPLE);
    if (status == RS_OK)
        status = check_launcher(world->size);
    if (status != RS_OK) {
        rs_comm_close(world);
        return status;
    }
    *out = world;
    return RS_OK;
}

static rs_status mpi_split(rs_comm *comm, int colour, rs_comm **out)
{
    comm_mpi *self = (comm_mpi *)comm;
    MPI_Comm handle = MPI_COMM_NULL;
    RS_TRY(check(self, "MPI_Comm_split", MPI_Comm_split(self->handle, colour, comm->rank, &handle)));
    rs_comm *part = NULL;
    rs_status status = wrap(handle, false, &part);
    if (status != RS_OK) {
        rs_comm_close(part);
        return status;
    }
    *out = part;
    return RS_OK;
}

/* Frees the copies that are sent. */
static rs_status reap(comm_mpi *self)
{
    for (int64_t i = 0; i < self->n_pending;) {
        int done = 0;
        RS_TRY(check(self, "MPI_Isend", MPI_Test(&self->pending[i].request, &done, MPI_STATUS_IGNORE)));
        if (done) {
            free(self->pending[i].data);
            self->pending[i] = self->pending[--self->n_pending];
        } else {
            i++;
        }
    }
    return RS_OK;
}

/* What nobody has received by now nobody will; MPI may still look at it, so it stays allocated. */
static void mpi_close(rs_comm *comm)
{
    comm_mpi *self = (comm_mpi *)comm;
    (void)reap(self);
    for (int64_t i = 0; i < self->n_pending; i++)
        MPI_Request_free(&self->pending[i].request);
    if (self->world) {
        rs_comm_end_within(FINALIZE_SECONDS, 1);
        MPI_Finalize();
    } else {
        MPI_Comm_free(&self->handle);
    }
    pthread_mutex_destroy(&self->lock);
    free(self->pending);
    free(self->scratch);
    free(self->counts);
    free(self);
}

static void mpi_abort(rs_comm *world, int exit_code)
{
    (void)world;
    MPI_Abort(MPI_COMM_WORLD, exit_code);
}

/* sum[i] = parts[0][i] + parts[1][i] + ..., in this order; parts [size, n]. */
static void add_parts(float *restrict sum, const float *restrict parts, int size, size_t n)
{
    memcpy(sum, parts, n * sizeof *sum);
    for (int rank = 1; rank < size; rank++) {
        const float *part = parts + (size_t)rank * n;
        for (size_t i = 0; i < n; i++)
            sum[i] += part[i];
    }
}

static rs_status sum_of_two(comm_mpi *self, float *restrict data, size_t n)
{
    int other = 1 - self->comm.rank;
    float *restrict theirs = self->scratch;
    RS_TRY(check(
        self, "sum (MPI_Sendrecv)",
        MPI_Sendrecv(data, (int)n, MPI_FLOAT, other, SUM_TAG, theirs, (int)n, MPI_FLOAT, other, SUM_TAG, self->handle, MPI_STATUS_IGNORE)));
    for (size_t i = 0; i < n; i++)
        data[i] = other == 0 ? theirs[i] + data[i] : data[i] + theirs[i];
    return RS_OK;
}

static rs_status sum_small(comm_mpi *self, float *data, size_t n)
{
    RS_TRY(check(self, "sum (MPI_Allgather)", MPI_Allgather(data, (int)n, MPI_FLOAT, self->scratch, (int)n, MPI_FLOAT, self->handle)));
    add_parts(data, self->scratch, self->comm.size, n);
    return RS_OK;
}

/* Every rank collects its own part of the chunk from all, adds in rank order, and gives the sums to all. */
static rs_status sum_parts(comm_mpi *self, float *data, size_t n)
{
    int size = self->comm.size;
    int *counts = self->counts, *offsets = counts + size, *mine = counts + 2 * size, *mine_at = counts + 3 * size;
    rs_range own = rs_partition((int64_t)n, size, self->comm.rank);
    for (int rank = 0; rank < size; rank++) {
        rs_range part = rs_partition((int64_t)n, size, rank);
        counts[rank] = (int)part.n;
        offsets[rank] = (int)part.first;
        mine[rank] = (int)own.n;
        mine_at[rank] = (int)(rank * own.n);
    }
    RS_TRY(check(self, "sum (MPI_Alltoallv)",
                 MPI_Alltoallv(data, counts, offsets, MPI_FLOAT, self->scratch, mine, mine_at, MPI_FLOAT, self->handle)));
    add_parts(data + own.first, self->scratch, size, (size_t)own.n);
    return check(self, "sum (MPI_Allgatherv)",
                 MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, counts, offsets, MPI_FLOAT, self->handle));
}

static rs_status mpi_sum(rs_comm *comm, float *data, size_t n)
{
    comm_mpi *self = (comm_mpi *)comm;
    size_t size = (size_t)comm->size;
    if (self->scratch == NULL) {
        /* A part is at most n/size + 1 floats, and a rank holds one from each. */
        size_t floats = size * SUM_SMALL > SUM_CHUNK + size ? size * SUM_SMALL : SUM_CHUNK + size;
        void *scratch;
        RS_TRY(rs_try_alloc(&scratch, size == 2 ? SUM_PAIR_CHUNK : floats, sizeof(float), "scratch of a sum"));
        self->scratch = scratch;
    }
    size_t chunk = size == 2 ? SUM_PAIR_CHUNK : SUM_CHUNK;
    for (size_t done = 0; done < n; done += chunk) {
        size_t now = n - done < chunk ? n - done : chunk;
        if (size == 2)
            RS_TRY(sum_of_two(self, data + done, now));
        else if (now <= SUM_SMALL)
            RS_TRY(sum_small(self, data + done, now));
        else
            RS_TRY(sum_parts(self, data + done, now));
    }
    return RS_OK;
}

static rs_status mpi_broadcast(rs_comm *comm, void *data, size_t bytes, int root)
{
    comm_mpi *self = (comm_mpi *)comm;
    for (size_t done = 0; done < bytes; done += PIECE) {
        size_t now = bytes - done < PIECE ? bytes - done : PIECE;
        RS_TRY(check(self, "MPI_Bcast", MPI_Bcast((char *)data + done, (int)now, MPI_BYTE, root, self->handle)));
    }
    return RS_OK;
}

static rs_status mpi_gather(rs_comm *comm, const void *mine, size_t bytes, void *all)
{
    comm_mpi *self = (comm_mpi *)comm;
    if (bytes <= (size_t)(PIECE / comm->size))
        return check(self, "MPI_Allgather", MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, self->handle));
    char *blocks = all;
    memmove(blocks + (size_t)comm->rank * bytes, mine, bytes);
    for (int rank = 0; rank < comm->size; rank++)
        RS_TRY(mpi_broadcast(comm, blocks + (size_t)rank * bytes, bytes, rank));
    return RS_OK;
}

/* The same `now` bytes of every block; blocks lie `bytes` apart. */
static rs_status exchange_piece(comm_mpi *self, const char *send, size_t now, size_t bytes, char *receive)
{
    MPI_Datatype piece, block;
    RS_TRY(check(self, "MPI_Type_contiguous", MPI_Type_contiguous((int)now, MPI_BYTE, &piece)));
    int rc = MPI_Type_create_resized(piece, 0, (MPI_Aint)bytes, &block);
    MPI_Type_free(&piece);
    RS_TRY(check(self, "MPI_Type_create_resized", rc));
    rc = MPI_Type_commit(&block);
    if (rc == MPI_SUCCESS)
        rc = MPI_Alltoall(send, 1, block, receive, 1, block, self->handle);
    MPI_Type_free(&block);
    return check(self, "MPI_Alltoall", rc);
}

static rs_status mpi_exchange(rs_comm *comm, const void *send, size_t bytes, void *receive)
{
    comm_mpi *self = (comm_mpi *)comm;
    if (bytes <= BLOCK_PIECE)
        return check(self, "MPI_Alltoall", MPI_Alltoall(send, (int)bytes, MPI_BYTE, receive, (int)bytes, MPI_BYTE, self->handle));
    for (size_t done = 0; done < bytes; done += BLOCK_PIECE) {
        size_t now = bytes - done < BLOCK_PIECE ? bytes - done : BLOCK_PIECE;
        RS_TRY(exchange_piece(self, (const char *)send + done, now, bytes, (char *)receive + done));
    }
    return RS_OK;
}

static rs_status mpi_barrier(rs_comm *comm)
{
    comm_mpi *self = (comm_mpi *)comm;
    return check(self, "MPI_Barrier", MPI_Barrier(self->handle));
}

/* Sleeps 50 us, then longer up to 1 ms: MPI's own waiting would keep a core busy that computes for another thread. */
static void nap(long *nanoseconds)
{
    *nanoseconds = *nanoseconds == 0 ? 50000 : *nanoseconds < 1000000 / 2 ? 2 * *nanoseconds : 1000000;
    nanosleep(&(struct timespec){.tv_nsec = *nanoseconds}, NULL);
}

static rs_status finish(comm_mpi *self, const char *operation, MPI_Request *request)
{
    int done = 0;
    RS_TRY(check(self, operation, MPI_Test(request, &done, MPI_STATUS_IGNORE)));
    for (long ns = 0; !done;) {
        nap(&ns);
        RS_TRY(check(self, operation, MPI_Test(request, &done, MPI_STATUS_IGNORE)));
    }
    return RS_OK;
}

static rs_status send_and_wait(comm_mpi *self, int to, int tag, const void *data, size_t bytes)
{
    MPI_Request request;
    RS_TRY(check(self, "MPI_Isend", MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, self->handle, &request)));
    return finish(self, "MPI_Isend", &request);
}

/* MPI takes many a short message for sent only when its receiver looks for messages, which one that computes does rarely: a copy waits. */
static rs_status send_copy(comm_mpi *self, int to, int tag, const void *data, size_t bytes)
{
    pending p = {.data = rs_alloc(bytes + 1, 1)};
    memcpy(p.data, data, bytes);
    rs_status status = check(self, "MPI_Isend", MPI_Isend(p.data, (int)bytes, MPI_BYTE, to, tag, self->handle, &p.request));
    if (status != RS_OK) {
        free(p.data);
        return status;
    }
    RS_PUSH(self->pending, self->n_pending, self->cap_pending, p);
    if (self->n_pending < self->reap_at)
        return RS_OK;
    status = reap(self);
    self->reap_at = 2 * self->n_pending > LEAST_PENDING ? 2 * self->n_pending : LEAST_PENDING;
    return status;
}

static rs_status mpi_send(rs_comm *comm, int to, int tag, const void *data, size_t bytes)
{
    comm_mpi *self = (comm_mpi *)comm;
    if (bytes > SHORT)
        return send_and_wait(self, to, tag, data, bytes);
    pthread_mutex_lock(&self->lock);
    rs_status status = send_copy(self, to, tag, data, bytes);
    for (long ns = 0; status == RS_OK && self->n_pending > MOST_PENDING;) {
        nap(&ns);
        status = reap(self);
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

static rs_status mpi_receive(rs_comm *comm, int from, int tag, int *sender, void **data, size_t *bytes)
{
    comm_mpi *self = (comm_mpi *)comm;
    MPI_Message message;
    MPI_Status info;
    int found = 0, count = 0, source = from == RS_ANY_RANK ? MPI_ANY_SOURCE : from;
    RS_TRY(check(self, "MPI_Improbe", MPI_Improbe(source, tag, self->handle, &found, &message, &info)));
    for (long ns = 0; !found;) {
        nap(&ns);
        RS_TRY(check(self, "MPI_Improbe", MPI_Improbe(source, tag, self->handle, &found, &message, &info)));
    }
    RS_TRY(check(self, "MPI_Get_count", MPI_Get_count(&info, MPI_BYTE, &count)));
    void *buffer = NULL;
    if (count > 0)
        RS_TRY(rs_try_alloc(&buffer, (size_t)count, 1, "message"));
    MPI_Request request;
    rs_status status = check(self, "MPI_Imrecv", MPI_Imrecv(buffer, count, MPI_BYTE, &message, &request));
    if (status == RS_OK)
        status = finish(self, "MPI_Imrecv", &request);
    if (status != RS_OK) {
        free(buffer);
        return status;
    }
    *sender = info.MPI_SOURCE;
    *data = buffer;
    *bytes = (size_t)count;
    return RS_OK;
}

static rs_status mpi_poll(rs_comm *comm, int tag, bool *waiting)
{
    comm_mpi *self = (comm_mpi *)comm;
    int found = 0;
    RS_TRY(check(self, "MPI_Iprobe", MPI_Iprobe(MPI_ANY_SOURCE, tag, self->handle, &found, MPI_STATUS_IGNORE)));
    *waiting = found != 0;
    return RS_OK;
}

static rs_status mpi_local(rs_comm *comm, int *local_rank, int *local_size)
{
    comm_mpi *self = (comm_mpi *)comm;
    MPI_Comm host = MPI_COMM_NULL;
    RS_TRY(check(self, "MPI_Comm_split_type", MPI_Comm_split_type(self->handle, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &host)));
    MPI_Comm_rank(host, local_rank);
    MPI_Comm_size(host, local_size);
    return check(self, "MPI_Comm_free", MPI_Comm_free(&host));
}

static const rs_comm_ops mpi_ops = {
    .split = mpi_split,
    .close = mpi_close,
    .abort = mpi_abort,
    .sum = mpi_sum,
    .gather = mpi_gather,
    .exchange = mpi_exchange,
    .broadcast = mpi_broadcast,
    .barrier = mpi_barrier,
    .send = mpi_send,
    .receive = mpi_receive,
    .poll = mpi_poll,
    .local = mpi_local,
};
