#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

static char *folder;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rs_log_set_level(RS_LOG_SILENT);
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(folder);
    folder = NULL;
}

const char *fuzz_folder(void)
{
    if (folder == NULL) {
        folder = rs_format("%s/ropesweep_fuzz_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        char *made = mkdtemp(folder);
        assert(made);
        (void)made;
        atexit(remove_folder);
    }
    return folder;
}

char *fuzz_path(const char *name)
{
    return rs_path_join(fuzz_folder(), name);
}

void fuzz_write(const char *name, const void *data, size_t n)
{
    char *path = fuzz_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t written = write(fd, data, n);
    assert(written == (ssize_t)n);
    (void)written;
    close(fd);
    free(path);
}

void fuzz_check(rs_status status)
{
    const char *message = rs_error_message();
    if (status != RS_OK && (status != RS_INVALID || message[0] == '\0' || strchr(message, '\n'))) {
        fprintf(stderr, "status %d: '%s'\n", (int)status, message);
        abort();
    }
    assert(status != RS_OK || message[0] == '\0');
    rs_error_clear();
}
