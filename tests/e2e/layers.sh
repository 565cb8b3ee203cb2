#!/bin/bash
# The rooms of docs/design.md, held by grep: who may include what, and who may end the process.
#   layers.sh SOURCE_DIR
cd "$1" || exit 1
failed=0

only_in() { # pattern, what it is, files that may have it (a regular expression)
    local found
    found=$(grep -rlE "$1" --include='*.c' --include='*.h' runner kernels sharding | grep -vE "^($3)$")
    [ -z "$found" ] && return
    echo "$2 outside its room: $found"
    failed=1
}

only_in '#include [<"]mpi\.h' 'mpi.h' 'sharding/comm_mpi\.c'
only_in '#include [<"]yaml\.h' 'yaml.h' 'runner/config/.*|runner/report/.*'
only_in '#include [<"](dnnl|oneapi)' 'oneDNN' 'kernels/cpu/.*'
only_in '#include [<"]hwloc' 'hwloc.h' 'runner/engine/place\.c'
only_in '#include [<"]nccl\.h' 'nccl.h' 'sharding/comm_nccl\.c'
only_in '#include [<"]cu(da|blas)' 'CUDA' 'kernels/cuda/.*|sharding/comm_nccl\.c'
only_in '(^|[^a-z_])exit\(' 'exit()' 'runner/main\.c'
# No text of a config or data file can reach a shell where none is run; main.c starts itself once more.
only_in '(^|[^a-z_])(system|popen|wordexp|posix_spawnp?|(v?fork|exec[vlpe]+))\(' 'another program' 'runner/main\.c'
# base knows nobody; kernels and sharding know base only
grep -rnE '#include "(kernels|sharding|config|plan|model|engine|tasks|score|report|cli)/' runner/base && failed=1
grep -rnE '#include "(sharding|config|plan|model|engine|tasks|score|report|cli)/' kernels && failed=1
grep -rnE '#include "(kernels|config|plan|model|engine|tasks|score|report|cli)/' sharding && failed=1
[ $failed = 0 ] && echo "every include in its room"
exit $failed
