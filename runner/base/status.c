#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

static _Thread_local char message[2048];

rs_status rs_fail(rs_status status, const char *format, ...)
{
    if (message[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        rs_line_flatten(message);
    }
    return status;
}

const char *rs_error_message(void)
{
    return message;
}

void rs_error_clear(void)
{
    message[0] = '\0';
}
