/* A file of any size, written through a buffer and put in place at the end: a reader sees the old file or the new one, never a part. */
#ifndef RS_REPORT_SINK_H
#define RS_REPORT_SINK_H

#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

typedef struct rs_sink rs_sink;

rs_status rs_sink_open(const char *folder, const char *name, rs_sink **out);
/* What is to be written next is appended here; rs_sink_flush hands it to the file once it has grown enough. */
rs_text *rs_sink_text(rs_sink *sink);
rs_status rs_sink_flush(rs_sink *sink);
/* Writes the rest, syncs and renames where `status` is RS_OK; else takes the unfinished file away. Frees. Returns the first failure. NULL is fine. */
rs_status rs_sink_close(rs_sink *sink, rs_status status);

#endif
