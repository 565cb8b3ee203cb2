/* Which backends there are. The CUDA backend is a module beside the program, so that runs without a GPU neither need nor load CUDA. */
#include "kernels/backend.h"

#include <string.h>

#include "base/module.h"
#include "version.h"

const rs_backend_kind rs_backend_kind_cpu = {
    .name = "cpu", .host_memory = true, .row_block = 512, .diagnostics = true}; /* gate and up of a block stay in cache */
const rs_backend_kind rs_backend_kind_cuda = {.name = "cuda", .host_memory = false, .row_block = 4096};

/* The table in the module, of the very sources that this program was built from: nothing else says that their structs agree. */
static rs_status open_cuda(const rs_backend_ops **out)
{
    static const char file[] = "ropesweep_cuda.so", mine[] = RS_VERSION " " RS_COMMIT;
    void *build, *table;
    if (!rs_module_present(file))
        return rs_fail(RS_INVALID, "no %s beside the program: build with cmake -DROPESWEEP_CUDA=ON, which needs the CUDA toolkit", file);
    RS_TRY(rs_module_symbol(file, "rs_backend_cuda_build", &build));
    RS_TRY(rs_module_symbol(file, "rs_backend_cuda", &table));
    if (strcmp(build, mine) != 0)
        return rs_fail(RS_INVALID, "%s was built from %s, and this program from %s", file, (const char *)build, mine);
    *out = table;
    return RS_OK;
}

static rs_status find_cuda(const rs_backend_ops **out)
{
    static const rs_backend_ops *found;
    const char *why = NULL;
    int n = 0;
    if (found == NULL)
        RS_TRY(open_cuda(&found));
    RS_TRY(found->devices(&n, &why));
    if (n == 0)
        return rs_fail(RS_INVALID, "no CUDA device: %s", why);
    *out = found;
    return RS_OK;
}

rs_status rs_backend_find(const char *name, const rs_backend_ops **out)
{
    if (name && strcmp(name, "cuda") == 0)
        return find_cuda(out);
    if (name == NULL && find_cuda(out) == RS_OK)
        return RS_OK;
    if (name == NULL)
        rs_error_clear(); /* no GPU is no error where none was asked for */
    *out = &rs_backend_cpu;
    return RS_OK;
}
