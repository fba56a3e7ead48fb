#!/usr/bin/env bash
# Puts Mesa's lavapipe (Vulkan on the CPU), Vulkan's loader and SPIR-V's tools into the cache, from
# Debian's packages and without root: what `--device vulkan` and the tests marked vulkan need where
# there is no GPU. Does nothing where they are. About 20 to 60 MB to fetch.
# Mesa comes from the release's backports where they have it: its loads take half as long there.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtmobile-iree
folder=$cache/vulkan
stamp=.complete-2
[ ! -e "$folder/$stamp" ] || exit 0
mkdir -p "$cache"
work=$(mktemp -d "$cache/.vulkan-XXXXXX")
trap 'rm -rf "$work"' EXIT
unpack=$(dirname "$0")/unpack_debian.sh

# Writes a configuration of apt that prefers the backports of this release; fails without them.
use_backports() {
    local format='$(CREATED_BY) $(COMPONENT) $(REPO_URI) $(CODENAME)' uri name
    read -r uri name < <(apt-get indextargets --format "$format" 'Label: Debian' |
        awk '$1 == "Packages" && $2 == "main" && $4 !~ /-/ { print $3, $4; exit }')
    [ -n "${name:-}" ] && mkdir -p "$work/apt/lists/partial" || return 1
    local signed=/usr/share/keyrings/debian-archive-keyring.gpg suite
    for suite in "$name" "$name-backports"; do
        echo "deb [signed-by=$signed] $uri $suite main"
    done > "$work/apt/sources.list"
    cat > "$work/apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/apt/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Default-Release "$name-backports";
APT::Sandbox::User "root";
CONF
    APT_CONFIG=$work/apt/apt.conf apt-get --quiet=2 update
}

"$unpack" "$work" libvulkan1 spirv-tools
if use_backports >&2; then
    APT_CONFIG=$work/apt/apt.conf "$unpack" "$work" mesa-vulkan-drivers
else
    "$unpack" "$work" mesa-vulkan-drivers
fi
rm -rf "$work"/apt "$work"/usr/{share,include} "$work"/usr/lib/*/{dri,gbm,cmake,pkgconfig}
find "$work" -name 'libvulkan_*' ! -name libvulkan_lvp.so -delete
find "$work" \( -name 'lib*.a' -o -name 'libVkLayer*' -o -name 'libGL*' -o -name 'libEGL*' \
    -o -name 'libgallium*' -o -name 'libdrm_*' -o -name 'libgbm*' -o -name 'libglapi*' \) -delete
chmod 755 "$work"
touch "$work/$stamp"
rm -rf "$folder"
mv "$work" "$folder"
