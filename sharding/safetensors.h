/* A checkpoint's tensors on disk: model.safetensors, or model.safetensors.index.json with its shards. Files are mapped read-only, so a rank
 * that uses slices of a tensor reads only these. Format: https://huggingface.co/docs/safetensors (8-byte header length, JSON, data). */
#ifndef RS_SHARDING_SAFETENSORS_H
#define RS_SHARDING_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

enum { RS_TENSOR_MAX_DIMS = 4 };

typedef enum rs_tensor_dtype { RS_TENSOR_F32, RS_TENSOR_F16, RS_TENSOR_BF16, RS_TENSOR_OTHER } rs_tensor_dtype;

typedef struct rs_tensor {
    const char *name; /* owned by the store, as the other strings */
    rs_tensor_dtype dtype;
    const char *dtype_name;
    int n_dims; /* may be more than RS_TENSOR_MAX_DIMS: then shape has the first ones */
    int64_t shape[RS_TENSOR_MAX_DIMS];
    const void *data; /* into the mapping, aligned to the dtype; NULL if the file has no data (headers_only) */
    size_t bytes;
    const char *file; /* path of its file */
} rs_tensor;

typedef struct rs_tensor_store rs_tensor_store;

/* Whether the folder has any safetensors file or index; without one `plan` goes on from config.json alone. */
bool rs_tensor_store_exists(const char *folder);

/* Opens the folder's checkpoint (model.safetensors first, as transformers does) and checks all headers: lengths, overlaps, holes, shapes
 * against byte counts, index against shards, truncation. RS_INVALID names the file and the tensor or key. A dtype that is not a float's is
 * RS_TENSOR_OTHER. headers_only (`plan`, `check`): a shard may be its header alone, without any data; no weight is read. Without it data
 * that is not aligned to its dtype is copied into memory (with a warning from 64 MiB on). */
rs_status rs_tensor_store_open(const char *folder, bool headers_only, rs_tensor_store **out);
void rs_tensor_store_close(rs_tensor_store *store); /* NULL is fine */

size_t rs_tensor_store_count(const rs_tensor_store *store);
const rs_tensor *rs_tensor_store_at(const rs_tensor_store *store, size_t i);           /* sorted by name; neighbours in one array */
const rs_tensor *rs_tensor_store_find(const rs_tensor_store *store, const char *name); /* NULL if absent */

/* Provenance: XXH3-128 over every header and, of each tensor, all bytes (full) or its first and last 64 KiB and 4 KiB of every
 * 16 MiB between (sampled). full is chosen when the checkpoint has at most 1 GiB. Cheap enough for every start. Of a shard that is
 * its header alone: the header. */
rs_digest rs_tensor_store_digest(const rs_tensor_store *store, bool *full);

/* The pages of a tensor are no longer needed here (its weights are packed): gives the memory back. Reading it again is allowed, from disk.
 */
void rs_tensor_store_release(const rs_tensor_store *store, const rs_tensor *tensor);

#endif
