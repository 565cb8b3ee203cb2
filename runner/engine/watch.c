#include "engine/watch.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/stop.h"
#include "engine/verdict.h"

enum { TAG_BEAT = 1, TAG_ANSWER, PULSES = 2, HOST_BYTES = 64, PHASE_BYTES = 96, EXIT_RESUMABLE = 75 };

static const double LONGEST_LOOK = 0.5;   /* seconds between two looks; a twentieth of the limit where that is less */
static const double FIRST_RANK_EXTRA = 1; /* that others wait for rank 0's answers beyond the limit: its verdict comes first */
static const double SPEAKER_EXTRA = 0.5;  /* and the more by rank, so that one speaks for all that hear nothing */
static const double MOST_EXTRA = 6;
static const double DEATH_EXTRA = 2; /* before a dead process is spoken of: a launcher that ends the job has its own words */
static const double FAREWELL = 3;    /* for the partial reports */

/* What a rank says of itself. */
typedef struct beat {
    double still, frozen;
    int32_t among, left, dead; /* dead: a rank of this host that has ended, or -1 */
    char phase[PHASE_BYTES];
} beat;

/* What ranks tell each other once. Process ids mean something within one pid namespace of one host. */
typedef struct identity {
    char host[HOST_BYTES];
    int64_t pid, namespace;
} identity;

/* A thread of this process as it was last seen. */
typedef struct look {
    rs_pulse pulse;
    atomic_bool used;
    unsigned long long moves;
    double since; /* it has not moved */
    double cpu, cpu_since;
} look;

typedef struct peer {
    beat last;
    double heard;
} peer;

struct rs_watch {
    rs_comm *world, *comm; /* comm: for beats; NULL: nobody watches */
    double limit, period;
    identity *identities; /* [size] */
    look looks[PULSES];
    peer *peers; /* [size]; rank 0: all, the others: rank 0's */
    rs_rank_state *states;
    bool asked;    /* a beat is on its way, or its answer */
    double looked; /* the last time */
    double ends;   /* rank 0, after a verdict: when the job will be ended; 0: no verdict */
    int neighbour, neighbour_fd;
    double neighbour_ended; /* when that was seen; 0: it lives */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* of closing */
    pthread_cond_t changed;
    bool closing;
};

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* --- the end of the job --- */

static void name_fault(const rs_watch *w, rs_fault fault, char *text, size_t bytes)
{
    const char *host = rs_watch_host(w, fault.rank), *phase = w->peers[fault.rank].last.phase;
    switch (fault.kind) {
    case RS_FAULT_DEAD:
        snprintf(text, bytes, "rank %d (%s) has died while %s", fault.rank, host, phase);
        break;
    case RS_FAULT_SILENT:
        snprintf(text, bytes, "rank %d (%s) has been silent for %.0f s, last heard of while %s: it is stopped, dead or cut off", fault.rank,
                 host, w->states[fault.rank].silent, phase);
        break;
    case RS_FAULT_STUCK:
        snprintf(text, bytes, "rank %d (%s) has not got on for %.0f s while %s", fault.rank, host, w->states[fault.rank].still, phase);
        break;
    default:
        snprintf(text, bytes, "rank %d (%s) and %d more have waited for each other for %.0f s, this one while %s", fault.rank, host,
                 fault.among - 1, w->states[fault.rank].still, phase);
    }
}

/* Rank 0's other threads write partial reports meanwhile, unless they are what hangs; and it goes on answering. */
static void end_job(rs_watch *w, rs_fault fault)
{
    char text[PHASE_BYTES + 3 * HOST_BYTES];
    name_fault(w, fault, text, sizeof text);
    fprintf(stderr, "ropesweep: %s; ending the job (parallel.heartbeat: %g), the same command goes on from here\n", text, w->limit);
    if (rs_comm_rank(w->world) != 0)
        rs_comm_abort(w->world, EXIT_RESUMABLE);
    rs_stop_request();
    w->ends = rs_clock() + FAREWELL;
}

/* --- what this process is at --- */

static const char *text_or(const char *text, const char *other)
{
    return text ? text : other;
}

static void describe(const rs_pulse *pulse, char out[PHASE_BYTES])
{
    const char *phase = text_or(atomic_load(&pulse->phase), "starting"), *wait = atomic_load(&pulse->wait);
    if (wait)
        snprintf(out, PHASE_BYTES, "waiting for %s (%s)", wait, phase);
    else
        snprintf(out, PHASE_BYTES, "%s", phase);
}

static double processor_time(const rs_pulse *pulse)
{
    struct timespec t = {0};
    (void)clock_gettime(atomic_load(&pulse->clock), &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of several threads the one that works and stands still the longest counts; if all wait, the first, which is still as long as each is. */
static void look_at_myself(rs_watch *w, double now, beat *out)
{
    const look *worst = NULL;
    double still = now;
    for (look *l = w->looks; l < w->looks + PULSES; l++) {
        unsigned long long moves = atomic_load_explicit(&l->pulse.moves, memory_order_acquire);
        bool used = atomic_load(&l->used);
        if (moves != l->moves || !used) {
            l->moves = moves;
            l->since = now;
        }
        double cpu = processor_time(&l->pulse);
        if (cpu != l->cpu || !used) {
            l->cpu = cpu;
            l->cpu_since = now;
        }
        if (!used)
            continue;
        bool works = atomic_load(&l->pulse.among) <= 0, worst_works = worst && atomic_load(&worst->pulse.among) <= 0;
        if (worst == NULL || (works && (!worst_works || l->since < worst->since)))
            worst = l;
        still = least(still, now - l->since);
    }
    out->among = atomic_load(&worst->pulse.among);
    out->still = out->among > 0 ? still : now - worst->since;
    out->frozen = now - worst->cpu_since;
    describe(&worst->pulse, out->phase);
}

/* --- the neighbour --- */

static int64_t pid_namespace(void)
{
    struct stat info;
    return stat("/proc/self/ns/pid", &info) == 0 ? (int64_t)info.st_ino : -1;
}

/* The next rank of this host, cyclically, if its process can be watched. */
static void find_neighbour(rs_watch *w)
{
    int size = rs_comm_size(w->world), rank = rs_comm_rank(w->world);
    const identity *mine = &w->identities[rank];
    for (int i = 1; i < size && mine->namespace >= 0; i++) {
        const identity *other = &w->identities[(rank + i) % size];
        if (strcmp(other->host, mine->host) != 0 || other->namespace != mine->namespace)
            continue;
        w->neighbour = (rank + i) % size;
        w->neighbour_fd = (int)syscall(SYS_pidfd_open, (pid_t)other->pid, 0); /* -1 on kernels that cannot: its silence will tell */
        return;
    }
}

static void look_at_neighbour(rs_watch *w, double now, beat *out)
{
    struct pollfd asked = {.fd = w->neighbour_fd, .events = POLLIN};
    out->dead = -1;
    if (w->neighbour_fd < 0)
        return;
    if (w->neighbour_ended == 0 && poll(&asked, 1, 0) > 0)
        w->neighbour_ended = now;
    if (w->neighbour_ended > 0 && now - w->neighbour_ended > DEATH_EXTRA)
        out->dead = w->neighbour;
}

/* --- beats; what fails here shows as silence, so that its reason is of no use --- */

static bool take(rs_watch *w, int tag, int *sender, beat *out)
{
    void *data = NULL;
    size_t bytes = 0;
    bool waiting = false;
    bool got = rs_comm_poll(w->comm, tag, &waiting) == RS_OK && waiting &&
               rs_comm_receive(w->comm, RS_ANY_RANK, tag, sender, &data, &bytes) == RS_OK && bytes == sizeof *out;
    if (got)
        memcpy(out, data, sizeof *out);
    free(data);
    rs_error_clear();
    return got;
}

static void tell(rs_watch *w, int to, int tag, const beat *mine)
{
    (void)rs_comm_send(w->comm, to, tag, mine, sizeof *mine);
    rs_error_clear();
}

static void hear_all(rs_watch *w, double now, const beat *mine)
{
    beat heard;
    int sender;
    w->peers[0] = (peer){.last = *mine, .heard = now};
    while (take(w, TAG_BEAT, &sender, &heard)) {
        w->peers[sender] = (peer){.last = heard, .heard = now};
        if (!heard.left)
            tell(w, sender, TAG_ANSWER, mine);
    }
}

static void judge_all(rs_watch *w, double now)
{
    if (w->ends > 0 && now > w->ends)
        rs_comm_abort(w->world, EXIT_RESUMABLE);
    if (w->ends > 0)
        return;
    int size = rs_comm_size(w->world);
    for (int i = 0; i < size; i++) {
        const peer *p = &w->peers[i];
        w->states[i] = (rs_rank_state){
            .silent = now - p->heard, .still = p->last.still, .frozen = p->last.frozen, .among = p->last.among, .left = p->last.left != 0};
    }
    for (int i = 0; i < size; i++)
        if (w->peers[i].last.dead >= 0)
            w->states[w->peers[i].last.dead].dead = true;
    rs_fault fault = rs_verdict(w->states, size, w->limit);
    if (fault.kind != RS_FAULT_NONE)
        end_job(w, fault);
}

/* closing: once nothing is on its way any more, the beat says that this rank leaves, and is not answered. */
static void ask_first(rs_watch *w, double now, bool closing, beat *mine)
{
    beat answer;
    int sender;
    if (w->asked && take(w, TAG_ANSWER, &sender, &answer)) {
        w->peers[0] = (peer){.last = answer, .heard = now};
        w->asked = false;
    }
    if (w->asked)
        return;
    mine->left = closing;
    tell(w, 0, TAG_BEAT, mine);
    w->asked = true;
}

static void judge_first(rs_watch *w, double now, const beat *mine)
{
    double extra = least(FIRST_RANK_EXTRA + SPEAKER_EXTRA * (rs_comm_rank(w->world) - 1), MOST_EXTRA);
    w->states[0] = (rs_rank_state){.silent = now - w->peers[0].heard, .dead = mine->dead == 0};
    rs_fault fault = rs_verdict(w->states, 1, w->limit + extra);
    if (fault.kind != RS_FAULT_NONE)
        end_job(w, fault);
}

/* --- the thread --- */

/* Between looks; returns whether this rank has come to its end. */
static bool rest(rs_watch *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    long ns = until.tv_nsec + (long)(w->period * 1e9);
    until = (struct timespec){.tv_sec = until.tv_sec + ns / 1000000000, .tv_nsec = ns % 1000000000};
    pthread_mutex_lock(&w->lock);
    if (!w->closing)
        pthread_cond_timedwait(&w->changed, &w->lock, &until);
    bool closing = w->closing;
    pthread_mutex_unlock(&w->lock);
    if (closing) /* what is left to say takes no time, but others may */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return closing;
}

/* A process that was stopped, or had no processor, heard nothing for that time through its own fault. */
static void forgive(rs_watch *w, double now)
{
    for (int i = 0; i < rs_comm_size(w->world) && now - w->looked > w->limit / 2; i++)
        w->peers[i].heard = now;
    for (look *l = w->looks; l < w->looks + PULSES && now - w->looked > w->limit / 2; l++)
        l->since = l->cpu_since = now;
    w->looked = now;
}

static bool all_left(const rs_watch *w)
{
    for (int i = 1; i < rs_comm_size(w->world); i++)
        if (!w->peers[i].last.left)
            return false;
    return true;
}

static void *watch(void *context)
{
    rs_watch *w = context;
    bool first = rs_comm_rank(w->world) == 0, over = false;
    for (bool closing = false; !over; closing = !over && rest(w)) {
        double now = rs_clock();
        beat mine = {.phase = ""};
        forgive(w, now);
        look_at_myself(w, now, &mine);
        look_at_neighbour(w, now, &mine);
        if (first) {
            hear_all(w, now, &mine);
            judge_all(w, now);
            over = closing && all_left(w);
            continue;
        }
        ask_first(w, now, closing, &mine);
        judge_first(w, now, &mine);
        over = mine.left != 0;
    }
    return NULL;
}

static rs_status start(rs_watch *w)
{
    pthread_condattr_t attributes;
    double now = rs_clock();
    for (int i = 0; i < rs_comm_size(w->world); i++)
        w->peers[i] = (peer){.heard = now, .last = {.dead = -1, .among = RS_PULSE_GUARDED, .phase = "starting"}};
    w->looked = w->looks[0].since = w->looks[0].cpu_since = now;
    atomic_store(&w->looks[0].used, true);
    find_neighbour(w);
    RS_TRY(rs_comm_split(w->world, 0, &w->comm));
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    rs_pulse_attach(&w->looks[0].pulse);
    int rc = pthread_create(&w->thread, NULL, watch, w);
    if (rc != 0) { /* the others would wait for its beats */
        fprintf(stderr, "ropesweep: rank %d: no thread to watch the other ranks: %s\n", rs_comm_rank(w->world), strerror(rc));
        rs_comm_abort(w->world, 1);
    }
    w->running = true;
    return RS_OK;
}

rs_status rs_watch_open(rs_comm *world, double limit, rs_watch **out)
{
    size_t size = (size_t)rs_comm_size(world);
    rs_watch *w = rs_alloc(1, sizeof *w);
    *w = (rs_watch){.world = world, .limit = limit, .period = least(LONGEST_LOOK, limit / 20), .neighbour = -1, .neighbour_fd = -1};
    w->identities = rs_alloc(size, sizeof *w->identities);
    w->peers = rs_alloc(size, sizeof *w->peers);
    w->states = rs_alloc(size, sizeof *w->states);
    *out = w;
    identity mine = {.pid = getpid(), .namespace = pid_namespace()};
    gethostname(mine.host, sizeof mine.host - 1);
    mine.host[strcspn(mine.host, ".")] = '\0';
    RS_TRY(rs_comm_gather(world, &mine, sizeof mine, w->identities));
    return size > 1 && limit > 0 ? start(w) : RS_OK;
}

void rs_watch_close(rs_watch *w)
{
    if (w == NULL)
        return;
    if (w->running) {
        pthread_mutex_lock(&w->lock);
        w->closing = true;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
        rs_pulse_wait("the others' end", rs_comm_size(w->world));
        pthread_join(w->thread, NULL);
        rs_pulse_attach(NULL);
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
    }
    if (w->neighbour_fd >= 0)
        close(w->neighbour_fd);
    rs_comm_close(w->comm);
    free(w->identities);
    free(w->peers);
    free(w->states);
    free(w);
}

rs_pulse *rs_watch_second_pulse(rs_watch *w)
{
    atomic_store(&w->looks[1].used, w->running);
    return w->running ? &w->looks[1].pulse : NULL;
}

const char *rs_watch_host(const rs_watch *w, int rank)
{
    return w->identities[rank].host;
}
