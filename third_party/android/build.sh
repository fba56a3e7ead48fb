#!/usr/bin/env bash
# Builds IREE's runtime tools for Android with the NDK, Vulkan included: what `--device adb` pushes.
#
#   ANDROID_NDK=/path/to/android-ndk-r27c third_party/android/build.sh FOLDER
#
# FOLDER gets iree-run-module and iree-benchmark-module; give it as --runtime-tools FOLDER. Work goes
# to FOLDER/work: IREE's source at the pinned tag with the submodules the runtime needs, and the
# build. Runs again from where it stopped. Needs git, cmake 3.26, ninja and the Python with rtmobile in
# it (PYTHON, or .venv/bin/python here), whose wheel has the flatcc that IREE wants on this machine.
#
#   IREE_SOURCE    a checkout to build instead, submodules in place
#   ANDROID_ABI    arm64-v8a
#   ANDROID_API    30: Android 11, what the modules of arm64-android are compiled for
set -euo pipefail

iree_tag=v3.13.0          # as iree-base-runtime in pyproject.toml; a test compares them
ndk_major=27              # r27c, the long-term one; others may do, and are not refused
submodules=(third_party/flatcc third_party/benchmark third_party/vulkan_headers)
tools=(iree-run-module iree-benchmark-module)

fail() {
    echo "android: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "give the folder for the tools: third_party/android/build.sh FOLDER"
[ -n "${ANDROID_NDK:-}" ] || fail "set ANDROID_NDK to the folder of the NDK, r27c; \
https://developer.android.com/ndk/downloads has it"
toolchain=$ANDROID_NDK/build/cmake/android.toolchain.cmake
[ -f "$toolchain" ] || fail "ANDROID_NDK $ANDROID_NDK: no NDK there: no build/cmake/android.toolchain.cmake"
revision=$(sed -n 's/^Pkg.Revision *= *//p' "$ANDROID_NDK/source.properties" 2>/dev/null || true)
case $revision in
    "$ndk_major".*) ;;
    *) echo "android: NDK ${revision:-of an unknown revision}; r27c (27.2) is what this was written for" >&2 ;;
esac
for program in cmake ninja; do
    command -v "$program" >/dev/null || fail "$program is missing; apt-get install cmake ninja-build"
done
found=$(cmake --version | sed -n '1s/[^0-9]*//p')
[ "$(printf '%s\n' "$found" 3.26 | sort -V | head -1)" = 3.26 ] ||
    fail "cmake $found is older than 3.26, which IREE asks for; pip install cmake"
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../../.venv/bin/python}
[ -x "$python" ] || fail "no Python at $python; run make venv, or set PYTHON to one with rtmobile-iree"
host=$("$python" -c 'from rtmobile_iree.devices.runtime_tools import host_tools; print(host_tools().folder)') ||
    fail "$python has no iree-base-runtime; pip install iree-base-runtime==${iree_tag#v}"
[ -x "$host/iree-flatcc-cli" ] || fail "$host has no iree-flatcc-cli; pip install iree-base-runtime==${iree_tag#v}"

mkdir -p "$1"
folder=$(cd "$1" && pwd)
source=${IREE_SOURCE:-$folder/work/iree}
if [ -z "${IREE_SOURCE:-}" ]; then
    command -v git >/dev/null || fail "git is missing; apt-get install git"
    [ -d "$source/.git" ] ||
        git clone --quiet --depth 1 --branch "$iree_tag" https://github.com/iree-org/iree.git "$source"
    git -C "$source" submodule update --quiet --init --depth 1 "${submodules[@]}"
fi
for submodule in "${submodules[@]}"; do
    [ -n "$(ls -A "$source/$submodule" 2>/dev/null)" ] ||
        fail "$source: $submodule is empty; git submodule update --init --depth 1 $submodule"
done

# IREE_ENABLE_CPUINFO: its library is one more submodule, and the runtime reads the cores without it
cmake -S "$source" -B "$folder/work/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_TOOLCHAIN_FILE="$toolchain" \
    -DANDROID_ABI="${ANDROID_ABI:-arm64-v8a}" \
    -DANDROID_PLATFORM="android-${ANDROID_API:-30}" \
    -DIREE_HOST_BIN_DIR="$host" \
    -DIREE_BUILD_COMPILER=OFF \
    -DIREE_BUILD_TESTS=OFF \
    -DIREE_BUILD_SAMPLES=OFF \
    -DIREE_ENABLE_CPUINFO=OFF \
    -DIREE_ENABLE_LIBBACKTRACE=OFF \
    -DIREE_ERROR_ON_MISSING_SUBMODULES=OFF \
    -DIREE_HAL_DRIVER_DEFAULTS=OFF \
    -DIREE_HAL_DRIVER_LOCAL_SYNC=ON \
    -DIREE_HAL_DRIVER_LOCAL_TASK=ON \
    -DIREE_HAL_DRIVER_VULKAN=ON
cmake --build "$folder/work/build" --target "${tools[@]}"
for tool in "${tools[@]}"; do
    cp "$folder/work/build/tools/$tool" "$folder/.$tool"
    mv "$folder/.$tool" "$folder/$tool"
done
echo "$folder has ${tools[*]}; rtmobile run model.vmfb --device adb --runtime-tools $folder ..."
