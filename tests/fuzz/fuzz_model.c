/* config.json, and behind a NUL the header of a model.safetensors that it is checked against (without weights, as `plan` does). */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/model.h"
#include "sharding/safetensors.h"

static void write_header(const uint8_t *json, size_t n)
{
    uint8_t *file = rs_alloc(8 + n, 1);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(file + 8, json, n);
    fuzz_write("model.safetensors", file, 8 + n);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint8_t none[] = "{}";
    const uint8_t *nul = n ? memchr(data, '\0', n) : NULL, *header = nul ? nul + 1 : none;
    rs_model model;
    rs_tensor_store *store = NULL;
    fuzz_write("config.json", data, nul ? (size_t)(nul - data) : n);
    rs_status status = rs_model_load(fuzz_folder(), &model);
    fuzz_check(status);
    if (status != RS_OK)
        return 0;
    assert(rs_model_parameters(&model) > 0);
    write_header(header, nul ? (size_t)(data + n - header) : 2);
    status = rs_tensor_store_open(fuzz_folder(), true, &store);
    fuzz_check(status);
    if (status == RS_OK) {
        rs_digest digest;
        bool full;
        fuzz_check(rs_model_check(&model, store));
        fuzz_check(rs_model_digest(&model, store, &digest, &full));
    }
    rs_tensor_store_close(store);
    rs_model_free(&model);
    return 0;
}
