#!/usr/bin/env bash
# Puts Debian's llvm-mca and llvm-objdump into the cache, without root: `rtmobile inspect --cycles`
# needs them. Does nothing where they are, or where the machine has them. About 45 MB to fetch.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtmobile-iree
folder=$cache/llvm
# From 17 on there is a model of Neoverse N1, which is Cortex-A76's; the newest of Debian 12 is 19.
versions='19 18 17'

works() { "$1" --version >/dev/null 2>&1; }
for version in $versions; do
    works "$folder/usr/lib/llvm-$version/bin/llvm-mca" && exit 0
    works "llvm-mca-$version" && works "llvm-objdump-$version" && exit 0
done
for version in $versions; do
    apt-cache show "llvm-$version" >/dev/null 2>&1 && break
done
mkdir -p "$cache"
work=$(mktemp -d "$cache/.llvm-XXXXXX")
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")/unpack_debian.sh" "$work" "llvm-$version"
tools=$work/usr/lib/llvm-$version
find "$tools/bin" -mindepth 1 ! -name llvm-mca ! -name llvm-objdump -delete
rm -rf "$work/usr/share" "$work/usr/bin"
# the tools look for libraries in ../lib
mkdir -p "$tools/lib"
find "$work" -path '*-linux-gnu/*.so*' -exec ln -srf -t "$tools/lib" {} +
works "$tools/bin/llvm-mca" || {
    echo "fetch_llvm: $(ldd "$tools/bin/llvm-mca" | grep -m1 'not found' || echo 'llvm-mca does not run')" >&2
    exit 1
}
chmod 755 "$work"
rm -rf "$folder"
mv "$work" "$folder"
