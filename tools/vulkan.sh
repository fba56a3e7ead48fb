#!/usr/bin/env bash
# Puts Mesa's lavapipe (Vulkan on the CPU), Vulkan's loader and SPIR-V's tools into the cache, from
# Debian's packages and without root: what `--device vulkan` and the tests marked vulkan need where
# there is no GPU. Does nothing where they are. About 20 to 60 MB to fetch.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtmobile-iree
folder=$cache/vulkan
[ ! -x "$folder/usr/bin/spirv-val" ] || exit 0
mkdir -p "$cache"
work=$(mktemp -d "$cache/.vulkan-XXXXXX")
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")/unpack_debian.sh" "$work" mesa-vulkan-drivers libvulkan1 spirv-tools
rm -rf "$work"/usr/{share,include} "$work"/usr/lib/*/{dri,cmake,pkgconfig}
find "$work" -name 'libvulkan_*' ! -name libvulkan_lvp.so -delete
find "$work" \( -name 'lib*.a' -o -name 'libVkLayer*' -o -name 'libGL*' -o -name 'libEGL*' \
    -o -name 'libgbm*' -o -name 'libglapi*' \) -delete
chmod 755 "$work"
rm -rf "$folder"
mv "$work" "$folder"
