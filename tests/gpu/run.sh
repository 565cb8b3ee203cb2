#!/bin/bash
# Everything that wants a GPU: builds, checks and measures, and leaves log.txt, results.jsonl and summary.md.
#
#   tests/gpu/run.sh [build] [ops] [parity] [ranks] [sanitize] [bench-kernels] [bench-model] [bench-sweep]
#
# Without arguments all of them. Each stage stands alone (it builds what is missing) and is stopped after STAGE_SECONDS (570).
# OUT: folder of the results; default tests/gpu/results/DATE-CARD. BUILD: default build-gpu. PYTHON: with torch and transformers.
# What a bare machine lacks comes out of tests/gpu/bundle (bundle.sh). Without a GPU everything is rehearsed: the CUDA backend on fibers, and
# benchmarks on the CPU at tiny sizes, whose numbers mean nothing.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${BUILD:-$root/build-gpu}
python=${PYTHON:-python3}
limit=${STAGE_SECONDS:-570}
all_stages=(build ops parity ranks sanitize bench-kernels bench-model bench-sweep)
stages=("$@")
[ $# -gt 0 ] || stages=("${all_stages[@]}")
for stage in "${stages[@]}"; do
    case " --stage ${all_stages[*]} " in
    *" $stage "*) ;;
    *)
        echo "run.sh: no stage '$stage'; there are: ${all_stages[*]}" >&2
        exit 2
        ;;
    esac
done
export PATH=$PATH:/usr/local/cuda/bin

if card=$(nvidia-smi --query-gpu=name --format=csv,noheader -i 0 2>/dev/null); then
    backend=cuda device=cuda tiny=()
else
    card="no GPU" backend=cpu device=cpu tiny=(--tiny)
fi
out=${OUT:-$here/results/$(date +%F)-$(echo "$card" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')}
mkdir -p "$out" "$build"
export OUT=$out
log=$out/log.txt lines=$out/results.jsonl

# --- libraries of the bundle ---

# Unpacks the bundle beside the build, points its pkg-config files there, and leaves out what this machine has itself.
unpack_bundle() {
    local libraries=$build/libraries lib name
    lib=$libraries/usr/lib/x86_64-linux-gnu
    if [ ! -e "$libraries/done" ]; then
        mkdir -p "$libraries"
        tar -C "$libraries" -xzf "$here/bundle/libraries.tar.gz" || return 1
        find "$libraries" -name '*.pc' -exec sed -i -E "s#(^|[ =]|-[IL])/usr/#\1$libraries/usr/#g; s#^prefix=/usr\$#prefix=$libraries/usr#" {} +
        for name in libz.so.1 libudev.so.1; do
            ldconfig -p | grep -q "$name " && rm -f "$lib/$name"
        done
        touch "$libraries/done"
    fi
    cmake_libraries=(-DPKG_CONFIG_EXECUTABLE="$libraries/usr/bin/pkgconf" -DMPI_SKIP_COMPILER_WRAPPER=ON -DMPI_C_LIB_NAMES=mpi
        -DMPI_mpi_LIBRARY="$lib/openmpi/lib/libmpi.so" -DMPI_C_HEADER_DIR="$lib/openmpi/include" -DMPIEXEC_EXECUTABLE="$libraries/usr/bin/orterun"
        -DDNNL_INCLUDE_DIR="$libraries/usr/include" -DDNNL_LIBRARY="$lib/libdnnl.so")
    library_path=$lib:$lib/openmpi/lib:$lib/pmix2/lib
    export PKG_CONFIG_LIBDIR=$lib/pkgconfig OPAL_PREFIX=$libraries/usr OPAL_LIBDIR=$lib/openmpi/lib
    export PMIX_PKGLIBDIR=$lib/pmix2/lib/pmix PMIX_PKGDATADIR=$lib/pmix2/share/pmix
    mpiexec=$libraries/usr/bin/orterun
}

# cuBLASLt out of Python's packages (those that torch brings), where the toolkit has none.
find_cublas() {
    local toolkit packages header library
    toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")") || return 0
    [ -z "$(find -L "$toolkit" -name cublasLt.h -print -quit)" ] || return 0
    packages=$("$python" -c 'import importlib.util as u; print(*u.find_spec("nvidia").submodule_search_locations)') || return 0
    header=$(find "$packages" -name cublasLt.h -print -quit) library=$(find "$packages" -name 'libcublasLt.so*' -print -quit)
    cmake_libraries+=(-DCUDA_cublasLt_LIBRARY="$library")
    library_path=$library_path:$(dirname "$library")
    CPATH=$(dirname "$header")
    export CPATH
}

# Sets pkg-config and Open MPI up. All but Python runs under `ours`, since Python has libraries of its own; what Python starts is given
# RUN_LIBRARY_PATH.
find_libraries() {
    cmake_libraries=() library_path='' mpiexec=mpirun
    if [ -e "$here/bundle/libraries.tar.gz" ]; then
        unpack_bundle || return 1
    fi
    find_cublas
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1
    export OMPI_MCA_btl=self,vader OMP_WAIT_POLICY=passive
}

ours() {
    env LD_LIBRARY_PATH="$library_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$@"
}

# --- stages ---

build_targets() {
    find_libraries || return 1
    [ -e "$build/CMakeCache.txt" ] || ours cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DROPESWEEP_CUDA=ON "${cmake_libraries[@]}" || return 1
    ours cmake --build "$build" -j "$(nproc)" --target "$@"
}

stage_build() {
    build_targets all bench_gpu_attention && ours "$build/ropesweep" --version
}

stage_ops() {
    if [ "$backend" = cpu ]; then
        build_targets backend_ops_simt && ours "$build/tests/ops/backend_ops_simt" --small
    else
        build_targets backend_ops ropesweep_cuda && ours "$build/backend_ops" && ours "$build/backend_ops" --small --self-test
    fi
}

stage_parity() {
    if [ "$backend" = cpu ]; then
        build_targets parity_simt ropesweep && ours "$build/tests/ops/parity_simt" || return 1
    else
        build_targets test_parity ropesweep ropesweep_cuda && ROPESWEEP_TEST_BACKEND=cuda ours "$build/test_parity" || return 1
    fi
    RUN_LIBRARY_PATH=$library_path "$python" "$here/parity_transformers.py" "$build/ropesweep" --backend "$backend"
}

stage_ranks() {
    build_targets ropesweep "${module[@]}" || return 1
    RUN_LIBRARY_PATH=$library_path "$python" "$here/ranks.py" "$build/ropesweep" --backend "$backend" --mpiexec "$mpiexec"
}

stage_sanitize() {
    if [ "$backend" = cpu ]; then
        echo "compute-sanitizer wants a GPU"
        return 77
    fi
    build_targets backend_ops ropesweep_cuda || return 1
    local tool failed=0
    for tool in memcheck racecheck; do
        echo "--- $tool"
        ours timeout $((limit / 2 - 20)) compute-sanitizer --tool "$tool" --error-exitcode 3 "$build/backend_ops" --small || failed=1
    done
    return "$failed"
}

bench() {
    ours "$build/bench_gpu" --backend "$backend" --threads "$(nproc)" "${tiny[@]}" "$@"
}

peer() {
    "$python" "$here/peer_transformers.py" --device "$device" "${tiny[@]}" "$@"
}

stage_bench_kernels() {
    build_targets bench_gpu "${module[@]}" && peer roofs && peer attention || return 1
    if [ "$backend" = cpu ]; then
        bench attention || return 1
    else # the CUDA backend linked in, so that its kernels can be told apart
        build_targets bench_gpu_attention && ours "$build/bench_gpu_attention" attention || return 1
    fi
    bench decode && bench products && bench elementwise
}

# Gemma 7B's shape with random weights, or a miniature of it.
random_gemma() {
    local shape=()
    model=$build/models/gemma-7b
    if [ "$backend" = cpu ]; then
        model=$build/models/gemma-mini
        shape=(--layers 2 --vocab 1000 --hidden 96 --ff 192 --heads 2 --kv-heads 2 --head-dim 64)
    fi
    if [ ! -e "$model/done" ]; then
        "$python" "$root/tests/tools/random_model.py" "$model" --preset gemma-7b "${shape[@]}" --shards 18 --jobs "$(nproc)" && touch "$model/done"
    fi
}

joined() {
    local IFS=,
    echo "$*"
}

# Ours before and after the peer's: the card's clocks may drift.
stage_bench_model() {
    build_targets bench_gpu "${module[@]}" && random_gemma || return 1
    local lengths=(8192 32768 131072) batches=(1 8 32) decode=(--context 2048 --new 64)
    if [ "$backend" = cpu ]; then
        lengths=(100 300) batches=(1 3) decode=(--context 50 --new 5)
    fi
    bench model "$model" --prefill "$(joined "${lengths[@]}")" --decode "$(joined "${batches[@]}")" "${decode[@]}" &&
        peer model "$model" --prefill "${lengths[@]}" --decode "${batches[@]}" "${decode[@]}" --compiled &&
        bench model "$model" --prefill "${lengths[0]}" --decode 1 "${decode[@]}"
}

stage_bench_sweep() {
    build_targets ropesweep "${module[@]}" && random_gemma || return 1
    local size=(--context 8192 --samples 4)
    [ "$backend" = cuda ] || size=(--context 128 --samples 2)
    RUN_LIBRARY_PATH=$library_path "$python" "$here/sweep.py" "$build/ropesweep" "$model" --backend "$backend" --device "$device" "${size[@]}" "${tiny[@]}"
}

one_stage() {
    case $1 in
    build) stage_build ;;
    ops) stage_ops ;;
    parity) stage_parity ;;
    ranks) stage_ranks ;;
    sanitize) stage_sanitize ;;
    bench-kernels) stage_bench_kernels ;;
    bench-model) stage_bench_model ;;
    bench-sweep) stage_bench_sweep ;;
    esac
}

# --- running them ---

# Facts of the machine, for the summary.
machine_line() {
    local driver cuda commit
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader -i 0 2>/dev/null || echo none)
    cuda=$(nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    commit=$(git -C "$root" describe --always --dirty --abbrev=12 2>/dev/null || cat "$here/bundle/commit" 2>/dev/null || echo unknown)
    printf '{"what": "machine", "card": "%s", "driver": "%s", "cuda": "%s", "commit": "%s", "date": "%s", "cores": %d}\n' "$card" "$driver" "${cuda:-none}" \
        "$commit" "$(date -u +%FT%TZ)" "$(nproc)"
}

run_stage() {
    local stage=$1 start=$SECONDS code verdict
    echo "=== $stage"
    timeout --foreground -k 10 "$limit" "$0" --stage "$stage"
    code=$?
    case $code in
    0) verdict=ok ;;
    77) verdict="not run" ;;
    124 | 137) verdict="stopped after $limit s" ;;
    *) verdict=FAILED ;;
    esac
    printf '{"what": "stage", "stage": "%s", "verdict": "%s", "seconds": %d}\n' "$stage" "$verdict" $((SECONDS - start))
    [ $code -eq 0 ] || [ $code -eq 77 ]
}

module=()
[ "$backend" = cpu ] || module=(ropesweep_cuda)

if [ "${stages[0]}" = --stage ]; then # called by run_stage, so that it can be stopped
    one_stage "${stages[1]}"
    exit
fi
failed=0
{
    machine_line
    for stage in "${stages[@]}"; do
        run_stage "$stage" || failed=1
    done
    exit $failed
} 2>&1 | tee "$log"
failed=${PIPESTATUS[0]}
grep '^{' "$log" >"$lines"
truncate -s '<12M' "$log"
"$python" "$here/summary.py" "$out" >"$out/summary.md" || failed=1
cat "$out/summary.md"
exit "$failed"
