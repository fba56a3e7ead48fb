#!/usr/bin/env bash
# Unpacks Debian packages, and what they need and this machine lacks, into a folder: nothing is
# installed and no root is needed. The tests of devices take sshd and adb from there, and
# `rtmobile corpus` its recordings and voices.
# Usage: tools/unpack_debian.sh [--even-installed] FOLDER PACKAGE...
# --even-installed: the packages named, also where this machine has them.
set -euo pipefail
again=
[ "$1" != --even-installed ] || { again=--reinstall; shift; }
folder=$1
shift
stamp=$folder/.unpacked-$(echo "$*" | cksum | tr -d ' ')
[ ! -e "$stamp" ] || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "unpack_debian: needs apt-get and dpkg-deb; install by other means: $*" >&2
    exit 1
}

missing() {
    # shellcheck disable=SC2086 # an option or nothing
    apt-get --simulate --quiet=2 --no-install-recommends $again install "$@" |
        awk '/^Inst/ { print $2 }'
}

packages=$(missing "$@") || {
    [ "$(id -u)" != 0 ] || apt-get --quiet=2 update
    packages=$(missing "$@")
}
mkdir -p "$folder/archives"
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # one word a package
    (cd "$folder/archives" && apt-get --quiet=2 -o APT::Sandbox::User=root download $packages)
    for archive in "$folder"/archives/*.deb; do
        dpkg-deb --extract "$archive" "$folder"
    done
    rm -f "$folder"/archives/*.deb
fi
rmdir "$folder/archives"
touch "$stamp"
