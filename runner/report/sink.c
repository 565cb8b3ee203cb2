#include "report/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/pulse.h"

enum { FLUSH_BYTES = 1 << 18, WRITE_BACK_BYTES = 8 << 20 };

struct rs_sink {
    char *path, *temporary;
    int fd;
    off_t written, sent; /* to the kernel; on to the disk */
    rs_text text;
};

rs_status rs_sink_open(const char *folder, const char *name, rs_sink **out)
{
    rs_sink *sink = rs_alloc(1, sizeof *sink);
    sink->path = rs_path_join(folder, name);
    sink->temporary = rs_format("%s.tmp", sink->path);
    unlink(sink->temporary); /* of a run that died */
    sink->fd = open(sink->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    *out = sink;
    if (sink->fd >= 0)
        return RS_OK;
    rs_status status = rs_fail(RS_IO, "%s: %s", sink->temporary, strerror(errno));
    *out = NULL;
    return rs_sink_close(sink, status);
}

rs_text *rs_sink_text(rs_sink *sink)
{
    return &sink->text;
}

static rs_status write_all(rs_sink *sink)
{
    size_t written = 0;
    while (written < sink->text.n) {
        rs_pulse_tick();
        ssize_t done = write(sink->fd, sink->text.data + written, sink->text.n - written);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return rs_fail(RS_IO, "%s: %s", sink->path, strerror(errno));
        written += (size_t)done;
    }
    sink->written += (off_t)written;
    rs_text_clear(&sink->text);
    return RS_OK;
}

/* Lets the disk begin while more is made, instead of all at once when the file is synced: of gigabytes that is half the time. Only a hint,
 * so that its failure means nothing. */
static void begin_write_back(rs_sink *sink)
{
    if (sink->written - sink->sent < WRITE_BACK_BYTES)
        return;
    sync_file_range(sink->fd, sink->sent, sink->written - sink->sent, SYNC_FILE_RANGE_WRITE);
    sink->sent = sink->written;
}

rs_status rs_sink_flush(rs_sink *sink)
{
    if (sink->text.n < FLUSH_BYTES)
        return RS_OK;
    RS_TRY(write_all(sink));
    begin_write_back(sink);
    return RS_OK;
}

rs_status rs_sink_close(rs_sink *sink, rs_status status)
{
    if (sink == NULL)
        return status;
    if (status == RS_OK)
        status = write_all(sink);
    if (status == RS_OK && fsync(sink->fd) != 0)
        status = rs_fail(RS_IO, "%s: %s", sink->path, strerror(errno));
    if (sink->fd >= 0)
        close(sink->fd);
    if (status == RS_OK && rename(sink->temporary, sink->path) != 0)
        status = rs_fail(RS_IO, "%s: %s", sink->path, strerror(errno));
    if (status != RS_OK && sink->fd >= 0)
        unlink(sink->temporary);
    rs_text_free(&sink->text);
    free(sink->path);
    free(sink->temporary);
    free(sink);
    return status;
}
