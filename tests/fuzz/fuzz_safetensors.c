/* A safetensors file: header and bounds of the data. */
#include "fuzz.h"

#include <stdbool.h>

#include "sharding/safetensors_header.h"

/* Every byte of every tensor lies in the file, and reading them all is what shows it. */
static unsigned touch(const rs_tensor_list *list)
{
    unsigned sum = 0;
    for (size_t i = 0; i < list->n; i++)
        for (size_t k = 0; list->items[i].data && k < list->items[i].bytes; k++)
            sum += ((const unsigned char *)list->items[i].data)[k];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bool whole = false;
    for (int headers_only = 0; headers_only <= 1; headers_only++) {
        rs_tensor_list list = {0};
        size_t header_bytes = 0;
        rs_status status = rs_safetensors_parse("model.safetensors", data, n, headers_only, &list, &header_bytes);
        fuzz_check(status);
        assert(status == RS_OK ? header_bytes <= n : list.n == 0);
        assert(!whole || status == RS_OK); /* headers_only asks for less */
        whole = status == RS_OK;
        volatile unsigned sum = touch(&list);
        (void)sum;
        rs_tensor_list_free(&list);
    }
    return 0;
}
