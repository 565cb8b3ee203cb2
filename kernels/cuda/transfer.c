/* Host memory to the device and back through two pinned buffers: one is filled while the other travels. */
#include <string.h>

#include "kernels/cuda/cuda.h"

enum { TRANSFER_BYTES = 32 << 20 };

rs_status rs_cuda_transfers_open(rs_backend *b)
{
    for (int i = 0; i < RS_CUDA_TRANSFERS; i++) {
        RS_TRY(b->driver->pinned_alloc(b->context, TRANSFER_BYTES, "transfers to the device", (void **)&b->transfers[i].data));
        RS_TRY(b->driver->event_open(b->context, &b->transfers[i].passed));
    }
    return RS_OK;
}

void rs_cuda_transfers_close(rs_backend *b)
{
    for (int i = 0; i < RS_CUDA_TRANSFERS; i++) {
        b->driver->pinned_free(b->context, b->transfers[i].data);
        b->driver->event_close(b->context, b->transfers[i].passed);
    }
}

rs_status rs_cuda_transfer_take(rs_backend *b, char **data, size_t *bytes)
{
    const rs_cuda_pinned *transfer = &b->transfers[b->next_transfer];
    *data = transfer->data;
    *bytes = TRANSFER_BYTES;
    return b->driver->event_wait(b->context, transfer->passed);
}

rs_status rs_cuda_transfer_send(rs_backend *b, rs_cuda_stream stream, void *to, size_t bytes)
{
    const rs_cuda_pinned *transfer = &b->transfers[b->next_transfer];
    b->next_transfer = (b->next_transfer + 1) % RS_CUDA_TRANSFERS;
    RS_TRY(b->driver->upload(b->context, stream, to, transfer->data, bytes));
    return b->driver->event_record(b->context, transfer->passed, stream);
}

rs_status rs_cuda_upload(rs_backend *b, void *to, const void *from, size_t bytes)
{
    char *data;
    size_t room;
    for (size_t done = 0; done < bytes;) {
        RS_TRY(rs_cuda_transfer_take(b, &data, &room));
        size_t piece = bytes - done < room ? bytes - done : room;
        memcpy(data, (const char *)from + done, piece);
        RS_TRY(rs_cuda_transfer_send(b, b->current, (char *)to + done, piece));
        done += piece;
    }
    return RS_OK;
}

rs_status rs_cuda_download(rs_backend *b, void *to, const void *from, size_t bytes)
{
    char *data;
    size_t room;
    for (size_t done = 0; done < bytes;) {
        RS_TRY(rs_cuda_transfer_take(b, &data, &room));
        size_t piece = bytes - done < room ? bytes - done : room;
        RS_TRY(b->driver->download(b->context, b->current, data, (const char *)from + done, piece));
        RS_TRY(b->driver->wait(b->context, b->current));
        memcpy((char *)to + done, data, piece);
        done += piece;
    }
    return RS_OK;
}
