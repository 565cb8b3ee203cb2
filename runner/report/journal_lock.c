#include "report/journal_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pulse.h"

/* A holder on another host is watched for several of its touches. Clocks of hosts and of file servers differ, so that the age of the last
 * one says nothing. */
enum { TOUCH_SECONDS = 2, WATCH_SECONDS = 10 };

struct rs_journal_lock {
    int fd;
    pthread_t toucher;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool touching, ends;
};

/* --- who holds it --- */

typedef struct holder {
    char host[256];
    long pid; /* 0: nobody */
    unsigned long long began;
    struct timespec touched;
} holder;

static void short_host(char host[256])
{
    snprintf(host, 256, "unknown");
    gethostname(host, 255);
    host[strcspn(host, ". ")] = '\0';
}

/* Opened anew each time: what a network file system then says of the file is what its server knows. */
static holder read_holder(const char *path)
{
    holder h = {.pid = 0};
    struct stat info;
    char text[300] = "";
    int fd;
    RS_RETRY(fd, open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd < 0)
        return h;
    ssize_t n;
    RS_RETRY(n, read(fd, text, sizeof text - 1));
    if (n <= 0 || fstat(fd, &info) != 0 || sscanf(text, "%255s %ld %llu", h.host, &h.pid, &h.began) < 2)
        h.pid = 0;
    else
        h.touched = info.st_mtim;
    close(fd);
    return h;
}

static rs_status held_by(const char *path, const holder *h)
{
    if (h->pid == 0)
        return rs_fail(RS_INVALID, "%s: another run writes to this folder", path);
    return rs_fail(RS_INVALID, "%s: another run writes to this folder (host %s, pid %ld)", path, h->host, h->pid);
}

/* Whether the file changes while it is watched. */
static bool shows_life(const char *path, const holder *first)
{
    rs_info("%s: held by a run on host %s (pid %ld); watching for %d s whether that one lives", path, first->host, first->pid,
            WATCH_SECONDS);
    for (int i = 0; i < 2 * WATCH_SECONDS; i++) {
        rs_pulse_tick();
        nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
        holder now = read_holder(path);
        if (now.pid != 0 &&
            (now.pid != first->pid || now.touched.tv_sec != first->touched.tv_sec || now.touched.tv_nsec != first->touched.tv_nsec))
            return true;
    }
    return false;
}

/* When a process of this host began, in ticks since the host did; 0: it is gone, or dead and nobody has asked what of. With it a pid that
 * was given out again, as in containers the first ones are each time, is not taken for its former owner. */
static unsigned long long began(long pid)
{
    char path[64], text[1024] = "";
    unsigned long long ticks = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *p = n > 0 ? strrchr(text, ')') : NULL; /* after the name, which may hold anything: the 3rd field; wanted is the 22nd */
    if (p && strchr("ZX", p[2]))
        return 0;
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p && sscanf(p, "%llu", &ticks) == 1 ? ticks : 0;
}

/* Takes the file over from a holder that is gone; `locked`: by flock, which no other run of this host can have then. */
static rs_status succeed(const char *path, bool locked)
{
    char host[256];
    holder before = read_holder(path);
    short_host(host);
    if (before.pid == 0)
        return RS_OK;
    bool here = strcmp(before.host, host) == 0;
    if (here ? !locked && before.began != 0 && began(before.pid) == before.began : shows_life(path, &before))
        return held_by(path, &before);
    rs_info("%s: taken over from a run that is gone (host %s, pid %ld)", path, before.host, before.pid);
    return RS_OK;
}

static rs_status sign(int fd, const char *path)
{
    char host[256];
    short_host(host);
    char *text = rs_format("%s %ld %llu\n", host, (long)getpid(), began((long)getpid()));
    int cause, rc;
    RS_RETRY(rc, ftruncate(fd, 0));
    cause = rc != 0 || lseek(fd, 0, SEEK_SET) < 0 ? errno : rs_file_write_all(fd, text, strlen(text));
    free(text);
    return cause ? rs_file_fail(path, cause) : RS_OK;
}

/* --- showing life --- */

static void *touch(void *argument)
{
    rs_journal_lock *lock = argument;
    pthread_mutex_lock(&lock->mutex);
    while (!lock->ends) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += TOUCH_SECONDS;
        if (pthread_cond_timedwait(&lock->changed, &lock->mutex, &until) == ETIMEDOUT)
            futimens(lock->fd, NULL); /* where that fails, so does the next record */
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

/* --- taking and releasing --- */

static rs_status take(const char *path, int fd)
{
    int rc;
    RS_TRY(rs_file_check_own(fd, path)); /* it is emptied before it is signed */
    RS_RETRY(rc, flock(fd, LOCK_EX | LOCK_NB));
    int cause = rc != 0 ? errno : 0;
    holder now = read_holder(path);
    if (cause == EWOULDBLOCK)
        return held_by(path, &now);
    if (cause) /* some cluster file systems are mounted without locks: no reason not to run there */
        rs_warn("%s: no lock on this file system (%s): two runs that start at the same moment would not see each other", path,
                strerror(cause));
    if (!rs_file_is_at(fd, path)) /* a --fresh run moved it away in between */
        return held_by(path, &now);
    RS_TRY(succeed(path, cause == 0));
    return sign(fd, path);
}

rs_status rs_journal_lock_take(const char *folder, rs_journal_lock **out)
{
    char *path = rs_path_join(folder, "lock");
    rs_status status = RS_OK;
    int fd;
    *out = NULL;
    RS_RETRY(fd, open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
    status = fd < 0 ? rs_file_fail(path, errno) : take(path, fd);
    free(path);
    if (status != RS_OK) {
        if (fd >= 0)
            close(fd);
        return status;
    }
    rs_journal_lock *lock = rs_alloc(1, sizeof *lock);
    lock->fd = fd;
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->changed, NULL);
    lock->touching = pthread_create(&lock->toucher, NULL, touch, lock) == 0;
    *out = lock;
    return RS_OK;
}

void rs_journal_lock_release(rs_journal_lock *lock)
{
    if (lock == NULL)
        return;
    pthread_mutex_lock(&lock->mutex);
    lock->ends = true;
    pthread_cond_signal(&lock->changed);
    pthread_mutex_unlock(&lock->mutex);
    if (lock->touching)
        pthread_join(lock->toucher, NULL);
    int rc;
    RS_RETRY(rc, ftruncate(lock->fd, 0)); /* held by nobody; the file stays, for unlinking it would race with the next holder */
    close(lock->fd);
    pthread_cond_destroy(&lock->changed);
    pthread_mutex_destroy(&lock->mutex);
    free(lock);
}
