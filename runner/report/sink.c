#include "report/sink.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"

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
    *out = sink;
    rs_status status = rs_file_begin(sink->temporary, &sink->fd);
    if (status == RS_OK)
        return RS_OK;
    *out = NULL;
    return rs_sink_close(sink, status);
}

rs_text *rs_sink_text(rs_sink *sink)
{
    return &sink->text;
}

static rs_status write_all(rs_sink *sink)
{
    int cause = rs_file_write_all(sink->fd, sink->text.data, sink->text.n);
    if (cause)
        return rs_file_fail(sink->path, cause);
    sink->written += (off_t)sink->text.n;
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
    if (sink->fd >= 0)
        status = rs_file_finish(sink->fd, sink->temporary, sink->path, status);
    rs_text_free(&sink->text);
    free(sink->path);
    free(sink->temporary);
    free(sink);
    return status;
}
