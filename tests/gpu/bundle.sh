#!/bin/sh
# Packs what the build wants and a bare GPU machine lacks (Open MPI, libyaml, jansson, PCRE2, oneDNN, xxhash, hwloc, cmocka, pkg-config) into
# tests/gpu/bundle/libraries.tar.gz, from this machine's Debian packages of amd64. Run it before the working tree is carried there; run.sh
# unpacks it where the build folder lies. The folder is ignored by git. Also notes the commit, since .git may stay behind.
#
#   tests/gpu/bundle.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/bundle
lib=usr/lib/x86_64-linux-gnu
limit_mib=64 # of working tree and bundle together
packages="openmpi-bin openmpi-common libopenmpi3 libopenmpi-dev libevent-core-2.1-7 libevent-pthreads-2.1-7 libhwloc15 libhwloc-dev libpmix2 libmunge2
 libudev1 zlib1g libyaml-0-2 libyaml-dev libjansson4 libjansson-dev libpcre2-8-0 libpcre2-dev libdnnl2 libdnnl-dev ocl-icd-libopencl1 libxxhash0
 libxxhash-dev libcmocka0 libcmocka-dev pkgconf-bin libpkgconf3"
# The compiler and the C library bring these.
system="libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libutil.so.1 libgcc_s.so.1 libstdc++.so.6 libgomp.so.1 libatomic.so.1
 ld-linux-x86-64.so.2"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unpack() {
    mkdir "$work/debs" "$work/all"
    chmod 755 "$work" "$work/debs"
    # shellcheck disable=SC2086 # a list of words
    (cd "$work/debs" && apt-get -qq -o APT::Sandbox::User=root download $packages)
    for deb in "$work"/debs/*.deb; do
        dpkg -x "$deb" "$work/all"
    done
    for folder in bin lib; do # where the distribution has not merged them
        if [ -d "$work/all/$folder" ]; then
            cp -a "$work/all/$folder/." "$work/all/usr/$folder/"
            rm -r "${work:?}/all/$folder"
        fi
    done
}

# Programs, headers, shared libraries and Open MPI's own files; no manuals, static libraries, Fortran, Java or C++ bindings.
keep() {
    root=$work/root
    mkdir -p "$root/usr/bin" "$root/$lib"
    cp -a "$work/all/usr/bin/orterun" "$work/all/usr/bin/orted" "$work/all/usr/bin/pkgconf" "$root/usr/bin/"
    cp -a "$work/all/usr/include" "$root/usr/"
    mkdir "$root/usr/share" "$root/etc"
    cp -a "$work/all/usr/share/openmpi" "$work/all/usr/share/pmix2" "$root/usr/share/" 2>/dev/null || true
    cp -a "$work"/all/etc/openmpi "$root/etc/" 2>/dev/null || true
    (cd "$work/all/$lib" && find . \( -name '*.so' -o -name '*.so.*' -o -name '*.pc' -o -path './openmpi/include/*.h' -o -path './pmix2/*' \) \
        ! -name '*fh*' ! -name '*usempi*' ! -name '*java*' ! -name '*_cxx*' ! -name '*.a' ! -name '*.la' -print0 | tar -c --null -T -) | tar -x -C "$root/$lib"
}

# Drops what needs a library that is neither here nor on every machine (InfiniBand, UCX, libfabric, Slurm): Open MPI works without.
drop_unmet() {
    dropped=1
    while [ "$dropped" -gt 0 ]; do
        dropped=0
        find "$work/root/$lib" -name '*.so*' -printf '%f\n' | sort -u >"$work/have"
        printf '%s\n' "$system" | tr -s ' \n' '\n' >>"$work/have"
        find "$work/root/$lib" -type f -name '*.so*' >"$work/files"
        while read -r file; do
            if readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vxFf "$work/have" >"$work/unmet"; then
                echo "left out: $(basename "$file") (needs $(tr '\n' ' ' <"$work/unmet"))"
                rm "$file"
                dropped=$((dropped + 1))
            fi
        done <"$work/files"
        find "$work/root/$lib" -xtype l -delete
    done
}

unpack
keep
drop_unmet
find "$work/root" -type f \( -name '*.so*' -o -path '*/bin/*' \) -exec strip --strip-unneeded {} + 2>/dev/null || true
for part in libmpi.so.40 mca_pmix_ext3x.so mca_pml_ob1.so mca_btl_vader.so libdnnl.so.2; do
    [ -n "$(find "$work/root/$lib" -name "$part")" ] || { echo "bundle.sh: $part is missing" >&2; exit 1; }
done
mkdir -p "$out"
tar -C "$work/root" -czf "$out/libraries.tar.gz" .
git -C "$here" describe --always --dirty --abbrev=12 >"$out/commit"

tree_kib=$(cd "$here/../.." && git ls-files -z --cached --others --exclude-standard | xargs -0 du -ck | tail -1 | cut -f1)
bundle_kib=$(du -k "$out/libraries.tar.gz" | cut -f1)
echo "tests/gpu/bundle: $((bundle_kib / 1024)) MiB; working tree $((tree_kib / 1024)) MiB"
if [ $((tree_kib + bundle_kib)) -gt $((limit_mib * 1024)) ]; then
    echo "bundle.sh: together more than $limit_mib MiB" >&2
    exit 1
fi
