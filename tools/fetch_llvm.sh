#!/usr/bin/env bash
# Puts Debian's llvm-mca and llvm-objdump into the cache, without root: `rtmobile inspect --cycles`
# needs them. Does nothing where they are. About 45 MB to fetch.
# Usage: tools/fetch_llvm.sh [FOLDER]
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtmobile/llvm
folder=${1:-$cache}
# 17 and newer have a model of Neoverse N1, which is Cortex-A76's; the newest Debian 12 has is 19.
versions='19 18 17'
# shared library -> package, for what a small installation may lack
declare -A packages=([libedit.so.2]=libedit2 [libbsd.so.0]=libbsd0 [libmd.so.0]=libmd0
  [libz3.so.4]=libz3-4 [libxml2.so.2]=libxml2 [libicuuc.so.72]=libicu72 [libffi.so.8]=libffi8)

works() { compgen -G "$1/usr/lib/llvm-*/bin/llvm-mca" >/dev/null &&
  "$1"/usr/lib/llvm-*/bin/llvm-mca --version >/dev/null 2>&1; }
works "$folder" && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
  echo 'fetch_llvm: no apt-get here; put llvm-mca and llvm-objdump, 17 or newer, on PATH' >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"

fetch() { apt-get -qq download "$@" 2>"$work/log" && for deb in *.deb; do
    dpkg-deb -x "$deb" "$work/root" && rm "$deb"; done; }
for version in $versions; do
  fetch "llvm-$version" "libllvm$version" && break
  version=
done
test -n "$version" || {
  echo "fetch_llvm: apt-get has no llvm-19, -18 or -17 ($(tail -1 "$work/log")); try apt-get update" >&2; exit 1; }

# the tools look for libraries in ../lib
lib=$work/root/usr/lib/llvm-$version/lib
mkdir -p "$lib"
tool=$work/root/usr/lib/llvm-$version/bin/llvm-mca
for _ in 1 2 3 4; do
  for found in "$work"/root/usr/lib/*-linux-gnu/*.so* "$work"/root/lib/*-linux-gnu/*.so*; do
    test -e "$found" && ln -sf "$(realpath --relative-to "$lib" "$found")" "$lib/$(basename "$found")"
  done
  missing=$(LD_LIBRARY_PATH=$lib ldd "$tool" | awk '/not found/ { print $1 }')
  test -n "$missing" || break
  for name in $missing; do
    test -n "${packages[$name]:-}" || { echo "fetch_llvm: $tool needs $name" >&2; exit 1; }
    fetch "${packages[$name]}"
  done
done
find "$work/root/usr/lib/llvm-$version/bin" -mindepth 1 ! -name llvm-mca ! -name llvm-objdump -delete
works "$work/root" || { echo 'fetch_llvm: llvm-mca does not run' >&2; exit 1; }
mkdir -p "$(dirname "$folder")"
rm -rf "$folder"
mv "$work/root" "$folder"
"$folder"/usr/lib/llvm-*/bin/llvm-mca --version | sed -n 's/.*version/llvm-mca/p'
