#include "base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pulse.h"

/* Whoever asks for memory gets on: most of what takes long outside the kernels does. */
static void *need(void *pointer)
{
    rs_pulse_tick();
    if (pointer == NULL) {
        fputs("ropesweep: out of memory\n", stderr);
        abort();
    }
    return pointer;
}

void *rs_alloc(size_t count, size_t size)
{
    return need(calloc(count ? count : 1, size ? size : 1));
}

void *rs_realloc(void *old, size_t count, size_t size)
{
    return need(reallocarray(old, count ? count : 1, size ? size : 1));
}

char *rs_strdup(const char *text)
{
    return need(strdup(text));
}

char *rs_strndup(const char *text, size_t n)
{
    return need(strndup(text, n));
}

char *rs_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    return need(n < 0 ? NULL : text);
}

rs_status rs_try_alloc(void **out, size_t count, size_t size, const char *what)
{
    *out = NULL;
    if (size != 0 && count > (SIZE_MAX - 64) / size)
        return rs_fail(RS_NO_MEMORY, "%s: %zu x %zu bytes is more than an address can name", what, count, size);
    size_t bytes = (count * size + 63) / 64 * 64;
    if (posix_memalign(out, 64, bytes ? bytes : 64) != 0) {
        *out = NULL;
        return rs_fail(RS_NO_MEMORY, "%s: no memory for %.1f MiB", what, (double)bytes / 1048576.0);
    }
    return RS_OK;
}
