#!/usr/bin/env bash
# Puts QEMU's emulator of ARM64 programs and an ARM64 C library into the cache, from Debian's
# packages and without root: what `--device qemu` and the tests marked arm64 need. Does nothing where
# they are, or where the machine has them already. About 15 MB to fetch.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtmobile-iree
folder=$cache/arm64
works() { "$1" -version >/dev/null 2>&1 && [ -e "$2/lib/ld-linux-aarch64.so.1" ]; }

LD_LIBRARY_PATH=$folder/usr/lib/x86_64-linux-gnu \
    works "$folder/usr/bin/qemu-aarch64" "$folder/usr/aarch64-linux-gnu" && exit 0
works qemu-aarch64 /usr/aarch64-linux-gnu && exit 0
mkdir -p "$cache"
work=$(mktemp -d "$cache/.arm64-XXXXXX")
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")/unpack_debian.sh" "$work" \
    qemu-user libc6-arm64-cross libstdc++6-arm64-cross libgcc-s1-arm64-cross
find "$work/usr/bin" -type f ! -name qemu-aarch64 -delete
rm -rf "$work/usr/share"
chmod 755 "$work"
rm -rf "$folder"
mv "$work" "$folder"
