#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

static rs_log_level current_level = RS_LOG_NORMAL;

void rs_log_set_level(rs_log_level level)
{
    current_level = level;
}

rs_log_level rs_log_get_level(void)
{
    return current_level;
}

/* One write a line, so that lines of several threads do not mix. */
static void line(const char *prefix, const char *format, va_list args)
{
    char text[4096];
    vsnprintf(text, sizeof text, format, args);
    rs_line_flatten(text);
    fprintf(stderr, "%s%s\n", prefix, text);
}

void rs_warn(const char *format, ...)
{
    if (current_level < RS_LOG_QUIET)
        return;
    va_list args;
    va_start(args, format);
    line("warning: ", format, args);
    va_end(args);
}

void rs_info(const char *format, ...)
{
    if (current_level < RS_LOG_NORMAL)
        return;
    va_list args;
    va_start(args, format);
    line("", format, args);
    va_end(args);
}

void rs_debug(const char *format, ...)
{
    if (current_level < RS_LOG_VERBOSE)
        return;
    va_list args;
    va_start(args, format);
    line("", format, args);
    va_end(args);
}
