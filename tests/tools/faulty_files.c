/* A faulty file system, for tests: preloaded (LD_PRELOAD), it makes calls on files below one folder fail or fall short, by a plan.
 *   FAULTY_FOLDER  the folder, as an absolute path without links; files elsewhere are never touched
 *   FAULTY_PLAN    rules, with commas between them: CALL[:NAME]=WHAT@N    the N-th such call
 *                                                   CALL[:NAME]=WHAT@N+   it and all later ones
 *                                                   CALL[:NAME]=WHAT%P    each with P percent of chance
 *                  CALL: open, read, write, sync, truncate, rename, mkdir, unlink, map, lock, or `any`; NAME: how the path begins after its
 *                  last slash; WHAT: an error's name below, or SHORT (read and write: a part is done). The first rule that fires counts.
 *   FAULTY_SEED    chooses the calls of %P and how much a short one does
 *   FAULTY_LOG     a file that gets a line for each fault: call, what, path
 * Every process of a run counts its own calls. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_RULES = 16, SHORT = -1 };

typedef struct rule {
    char call[16], name[64];
    int what; /* an errno, or SHORT */
    unsigned long at, percent;
    bool onward;
    atomic_ulong seen;
} rule;

static const struct {
    const char *name;
    int what;
} faults[] = {{"SHORT", SHORT},   {"EINTR", EINTR},   {"EIO", EIO},       {"ENOSPC", ENOSPC},
              {"EDQUOT", EDQUOT}, {"ESTALE", ESTALE}, {"ENOLCK", ENOLCK}, {"EOPNOTSUPP", EOPNOTSUPP}};
enum { N_FAULTS = sizeof faults / sizeof *faults };

static rule rules[MAX_RULES];
static int n_rules;
static const char *folder, *log_path;
static uint64_t seed;
static atomic_ulong calls;

/* --- the plan --- */

static bool parse_rule(const char *text, rule *r)
{
    char target[80], what[16], mode;
    int used = 0;
    if (sscanf(text, "%79[^=]=%15[A-Z]%c%lu%n", target, what, &mode, &r->at, &used) != 4 || (mode != '@' && mode != '%'))
        return false;
    if (mode == '%') {
        r->percent = r->at;
        r->at = 0;
    }
    r->onward = text[used] == '+';
    char *colon = strchr(target, ':');
    snprintf(r->name, sizeof r->name, "%s", colon ? colon + 1 : "");
    snprintf(r->call, sizeof r->call, "%.*s", (int)(colon ? colon - target : (long)strlen(target)), target);
    for (int i = 0; i < N_FAULTS; i++)
        if (strcmp(what, faults[i].name) == 0)
            r->what = faults[i].what;
    return r->what != 0;
}

__attribute__((constructor)) static void read_plan(void)
{
    const char *plan = getenv("FAULTY_PLAN"), *number = getenv("FAULTY_SEED");
    log_path = getenv("FAULTY_LOG");
    seed = number ? strtoull(number, NULL, 10) : 0;
    while (plan && *plan && n_rules < MAX_RULES) {
        if (!parse_rule(plan, &rules[n_rules++])) { /* a test that injects nothing would pass */
            fprintf(stderr, "faulty_files: FAULTY_PLAN: cannot read `%s`\n", plan);
            _exit(99);
        }
        plan += strcspn(plan, ",");
        plan += *plan == ',';
    }
    folder = getenv("FAULTY_FOLDER");
}

static uint64_t mixed(uint64_t x)
{
    x += seed * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static bool fires(rule *r, const char *call, const char *name, uint64_t number)
{
    if ((strcmp(r->call, "any") != 0 && strcmp(r->call, call) != 0) || strncmp(name, r->name, strlen(r->name)) != 0)
        return false;
    if (r->what == EINTR && strcmp(call, "map") == 0) /* never interrupted */
        return false;
    if (r->what == SHORT && strcmp(call, "read") != 0 && strcmp(call, "write") != 0)
        return false;
    unsigned long seen = atomic_fetch_add(&r->seen, 1) + 1;
    return r->percent ? mixed(number) % 100 < r->percent : seen == r->at || (r->onward && seen > r->at);
}

static void note(const char *call, int what, const char *path)
{
    const char *name = "";
    for (int i = 0; i < N_FAULTS; i++)
        if (faults[i].what == what)
            name = faults[i].name;
    FILE *log = log_path ? fopen(log_path, "a") : NULL;
    if (log == NULL)
        return;
    fprintf(log, "%s %s %s\n", call, name, path);
    fclose(log);
}

/* 0, an errno, or SHORT. */
static int fault(const char *call, const char *path)
{
    if (folder == NULL || path == NULL)
        return 0;
    size_t n = strlen(folder);
    if (strncmp(path, folder, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return 0;
    uint64_t number = atomic_fetch_add(&calls, 1);
    const char *slash = strrchr(path, '/');
    for (int i = 0; i < n_rules; i++)
        if (fires(&rules[i], call, slash + 1, number)) {
            note(call, rules[i].what, path);
            return rules[i].what;
        }
    return 0;
}

static int fault_at(const char *call, const char *path)
{
    char here[PATH_MAX], whole[2 * PATH_MAX];
    if (path[0] == '/')
        return fault(call, path);
    snprintf(whole, sizeof whole, "%s/%s", getcwd(here, sizeof here) ? here : "", path);
    return fault(call, whole);
}

static int fault_of(const char *call, int fd)
{
    char link[64], path[PATH_MAX];
    if (folder == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return fault(call, path);
}

/* --- the calls --- */

/* The C library's own, found anew each time: a table filled by a constructor would come too late for other libraries' constructors. */
#define REAL(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))
#define FAIL_IF(fault_code)                                                                                                                \
    do {                                                                                                                                   \
        int fault_code_ = (fault_code);                                                                                                    \
        if (fault_code_ > 0) {                                                                                                             \
            errno = fault_code_;                                                                                                           \
            return -1;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

static size_t part(int code, size_t n)
{
    return code == SHORT && n > 1 ? 1 + (size_t)(mixed(atomic_load(&calls) ^ 0x5A5Au) % (n - 1)) : n;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    FAIL_IF(fault_at("open", path));
    return REAL(open)(path, flags, mode);
}

ssize_t read(int fd, void *to, size_t n)
{
    int code = fault_of("read", fd);
    FAIL_IF(code);
    return REAL(read)(fd, to, part(code, n));
}

ssize_t write(int fd, const void *from, size_t n)
{
    int code = fault_of("write", fd);
    FAIL_IF(code);
    return REAL(write)(fd, from, part(code, n));
}

ssize_t pwrite(int fd, const void *from, size_t n, off_t at)
{
    int code = fault_of("write", fd);
    FAIL_IF(code);
    return REAL(pwrite)(fd, from, part(code, n), at);
}

int fsync(int fd)
{
    FAIL_IF(fault_of("sync", fd));
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    FAIL_IF(fault_of("sync", fd));
    return REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t n)
{
    FAIL_IF(fault_of("truncate", fd));
    return REAL(ftruncate)(fd, n);
}

int rename(const char *from, const char *to)
{
    FAIL_IF(fault_at("rename", to));
    return REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    FAIL_IF(fault_at("mkdir", path));
    return REAL(mkdir)(path, mode);
}

int unlink(const char *path)
{
    FAIL_IF(fault_at("unlink", path));
    return REAL(unlink)(path);
}

void *mmap(void *where, size_t n, int protection, int flags, int fd, off_t at)
{
    int code = fd >= 0 ? fault_of("map", fd) : 0;
    if (code > 0) {
        errno = code;
        return MAP_FAILED;
    }
    return REAL(mmap)(where, n, protection, flags, fd, at);
}

int flock(int fd, int operation)
{
    FAIL_IF(fault_of("lock", fd));
    return REAL(flock)(fd, operation);
}
