/* A world of one rank: collectives have nothing to do, and messages to oneself wait in a queue. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "sharding/comm_ops.h"

typedef struct message {
    struct message *next;
    int tag;
    void *data;
    size_t bytes;
} message;

typedef struct comm_local {
    rs_comm comm;
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    message *first; /* oldest first */
} comm_local;

static const rs_comm_ops local_ops;

rs_comm *rs_comm_local_open(void)
{
    comm_local *self = rs_alloc(1, sizeof *self);
    self->comm = (rs_comm){.ops = &local_ops, .rank = 0, .size = 1};
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->arrived, NULL);
    return &self->comm;
}

static rs_status local_split(rs_comm *comm, int colour, rs_comm **out)
{
    (void)comm;
    (void)colour;
    *out = rs_comm_local_open();
    return RS_OK;
}

static void local_close(rs_comm *comm)
{
    comm_local *self = (comm_local *)comm;
    while (self->first) {
        message *oldest = self->first;
        self->first = oldest->next;
        free(oldest->data);
        free(oldest);
    }
    pthread_cond_destroy(&self->arrived);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* Ending this process, which rs_comm_abort does next, ends every rank. */
static void local_abort(rs_comm *world, int exit_code)
{
    (void)world;
    (void)exit_code;
}

static rs_status local_sum(rs_comm *comm, float *data, size_t n)
{
    (void)comm;
    (void)data;
    (void)n;
    return RS_OK;
}

static rs_status local_gather(rs_comm *comm, const void *mine, size_t bytes, void *all)
{
    (void)comm;
    if (all != mine)
        memcpy(all, mine, bytes);
    return RS_OK;
}

static rs_status local_exchange(rs_comm *comm, const void *send, size_t bytes, void *receive)
{
    (void)comm;
    memcpy(receive, send, bytes);
    return RS_OK;
}

static rs_status local_broadcast(rs_comm *comm, void *data, size_t bytes, int root)
{
    (void)comm;
    (void)data;
    (void)bytes;
    (void)root;
    return RS_OK;
}

static rs_status local_barrier(rs_comm *comm)
{
    (void)comm;
    return RS_OK;
}

static rs_status local_send(rs_comm *comm, int to, int tag, const void *data, size_t bytes)
{
    (void)to;
    comm_local *self = (comm_local *)comm;
    void *copy = NULL;
    if (bytes > 0) {
        RS_TRY(rs_try_alloc(&copy, bytes, 1, "message"));
        memcpy(copy, data, bytes);
    }
    message *sent = rs_alloc(1, sizeof *sent);
    *sent = (message){.tag = tag, .data = copy, .bytes = bytes};
    pthread_mutex_lock(&self->lock);
    message **end = &self->first;
    while (*end)
        end = &(*end)->next;
    *end = sent;
    pthread_cond_broadcast(&self->arrived);
    pthread_mutex_unlock(&self->lock);
    return RS_OK;
}

/* The link that holds the oldest message with this tag, or the empty link at the end. The lock is held. */
static message **find(comm_local *self, int tag)
{
    message **link = &self->first;
    while (*link && (*link)->tag != tag)
        link = &(*link)->next;
    return link;
}

static rs_status local_receive(rs_comm *comm, int from, int tag, int *sender, void **data, size_t *bytes)
{
    (void)from;
    comm_local *self = (comm_local *)comm;
    pthread_mutex_lock(&self->lock);
    message **link;
    while (*(link = find(self, tag)) == NULL)
        pthread_cond_wait(&self->arrived, &self->lock);
    message *taken = *link;
    *link = taken->next;
    pthread_mutex_unlock(&self->lock);
    *sender = 0;
    *data = taken->data;
    *bytes = taken->bytes;
    free(taken);
    return RS_OK;
}

static rs_status local_poll(rs_comm *comm, int tag, bool *waiting)
{
    comm_local *self = (comm_local *)comm;
    pthread_mutex_lock(&self->lock);
    *waiting = *find(self, tag) != NULL;
    pthread_mutex_unlock(&self->lock);
    return RS_OK;
}

static rs_status local_local(rs_comm *comm, int *local_rank, int *local_size)
{
    (void)comm;
    *local_rank = 0;
    *local_size = 1;
    return RS_OK;
}

static const rs_comm_ops local_ops = {
    .split = local_split,
    .close = local_close,
    .abort = local_abort,
    .sum = local_sum,
    .gather = local_gather,
    .exchange = local_exchange,
    .broadcast = local_broadcast,
    .barrier = local_barrier,
    .send = local_send,
    .receive = local_receive,
    .poll = local_poll,
    .local = local_local,
};
