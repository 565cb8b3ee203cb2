/* One safetensors file: its header as a list of tensors, checked against the file. Private to sharding/safetensors*.c. */
#ifndef RS_SHARDING_SAFETENSORS_HEADER_H
#define RS_SHARDING_SAFETENSORS_HEADER_H

#include "sharding/safetensors.h"

typedef struct rs_tensor_list {
    rs_tensor *items; /* each name and dtype_name is owned */
    size_t n, cap;
} rs_tensor_list;

void rs_tensor_list_free(rs_tensor_list *list);

/* Appends the tensors of the file whose bytes are file[0..n_file). path: borrowed by the tensors, named in messages. *header_bytes: the
 * length prefix included. headers_only: a file that ends with its header is fine, and its tensors have no data. On failure the list is as
 * it was. */
rs_status rs_safetensors_parse(const char *path, const unsigned char *file, size_t n_file, bool headers_only, rs_tensor_list *list,
                               size_t *header_bytes);

#endif
