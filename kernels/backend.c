/* Which backends there are. The CUDA backend is a module beside the program, so that runs without a GPU neither need nor load CUDA. */
#include "kernels/backend.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const rs_backend_kind rs_backend_kind_cpu = {
    .name = "cpu", .host_memory = true, .row_block = 512}; /* gate and up of a block stay in cache */
const rs_backend_kind rs_backend_kind_cuda = {.name = "cuda", .host_memory = false, .row_block = 4096};

/* Opens ropesweep_cuda.so from the program's own folder, or from lib/ropesweep beside that. */
static void *open_module(void)
{
    static const char *const places[] = {"", "/../lib/ropesweep"};
    char program[PATH_MAX], path[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0)
        return NULL;
    program[n] = '\0';
    *strrchr(program, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%s/ropesweep_cuda.so", program, places[i]);
        if (access(path, R_OK) == 0)
            return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return NULL;
}

static rs_status find_cuda(const rs_backend_ops **out)
{
    static const rs_backend_ops *found;
    const char *why = NULL;
    int n = 0;
    if (found == NULL) {
        dlerror();
        void *module = open_module();
        const char *reason = dlerror();
        if (module == NULL && reason == NULL)
            return rs_fail(RS_INVALID,
                           "no ropesweep_cuda.so beside the program: it was built without the CUDA toolkit (-DROPESWEEP_CUDA=ON)");
        if (module == NULL)
            return rs_fail(RS_INVALID, "the CUDA module cannot be loaded: %s", reason);
        found = dlsym(module, "rs_backend_cuda");
        if (found == NULL)
            return rs_fail(RS_INVALID, "the CUDA module is of another version: %s", dlerror());
    }
    RS_TRY(found->devices(&n, &why));
    if (n == 0)
        return rs_fail(RS_INVALID, "no CUDA device: %s", why);
    *out = found;
    return RS_OK;
}

rs_status rs_backend_find(const char *name, const rs_backend_ops **out)
{
    if (name && strcmp(name, "cuda") == 0)
        return find_cuda(out);
    if (name == NULL && find_cuda(out) == RS_OK)
        return RS_OK;
    if (name == NULL)
        rs_error_clear(); /* no GPU is no error where none was asked for */
    *out = &rs_backend_cpu;
    return RS_OK;
}
