/* The CUDA module as the program meets it. module [missing | stale]: the module should not be there, or be another build's; by default it
 * should load, and list devices where the machine has one. Returns 77 where it is rightly missing. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"

enum { SKIPPED = 77 };

static int check(bool ok, const char *what)
{
    if (!ok)
        printf("FAIL %s: \"%s\"\n", what, rs_error_message());
    return !ok;
}

static int check_devices(const rs_backend_ops *cuda)
{
    const rs_backend_ops *preferred = NULL;
    const char *why = NULL;
    int n = 0, failed = check(cuda->devices(&n, &why) == RS_OK && n > 0, "a backend that was found has devices");
    for (int i = 0; i < n; i++)
        printf("device %d: %s\n", i, cuda->describe(i));
    return failed | check(rs_backend_find(NULL, &preferred) == RS_OK && preferred == cuda, "where there is a device it is preferred");
}

static int check_refused(bool said)
{
    const rs_backend_ops *preferred = NULL;
    int failed = check(said, "the reason");
    rs_error_clear();
    failed |= check(rs_backend_find(NULL, &preferred) == RS_OK && preferred == &rs_backend_cpu, "the CPU takes its place");
    return failed | check(strcmp(rs_error_message(), "") == 0, "what was not asked for leaves no message");
}

int main(int argc, char **argv)
{
    const rs_backend_ops *cuda = NULL;
    const char *expected = argc > 1 ? argv[1] : "";
    rs_status status = rs_backend_find("cuda", &cuda);
    const char *message = rs_error_message();
    printf("%s\n", message);
    if (strcmp(expected, "missing") == 0)
        return check_refused(status == RS_INVALID && strstr(message, "no ropesweep_cuda.so beside the program: build with")) ? 1 : SKIPPED;
    if (strcmp(expected, "stale") == 0)
        return check_refused(status == RS_INVALID && strstr(message, "was built from 0.0.0 elsewhere"));
    if (status == RS_OK)
        return check_devices(cuda);
    const char *reason = strstr(message, "no CUDA device: ");
    bool has_one = access("/dev/nvidia0", F_OK) == 0;
    return check_refused(status == RS_INVALID && reason && strlen(reason) > strlen("no CUDA device: ") && !has_one);
}
