#include "base/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool find(const char *file, char path[], size_t n)
{
    static const char *const places[] = {"", "/../lib/ropesweep"};
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        return false;
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, n, "%s%s/%s", program, places[i], file);
        if (access(path, R_OK) == 0)
            return true;
    }
    return false;
}

bool rs_module_present(const char *file)
{
    char path[PATH_MAX + NAME_MAX];
    return find(file, path, sizeof path);
}

rs_status rs_module_symbol(const char *file, const char *symbol, void **out)
{
    char path[PATH_MAX + NAME_MAX];
    *out = NULL;
    if (!find(file, path, sizeof path))
        return rs_fail(RS_INVALID, "no %s beside the program: it was built without it", file);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL)
        return rs_fail(RS_INVALID, "%s cannot be loaded: %s", file, dlerror());
    *out = dlsym(module, symbol);
    return *out ? RS_OK : rs_fail(RS_INVALID, "%s is of another version: %s", file, dlerror());
}
