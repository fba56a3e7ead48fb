# rtmobile-anchor ROOT PATIENCE: holds a folder on the device while the computer holds this standard
# input. Prints the folder's path. When standard input ends (the computer is done, was stopped, or the
# connection broke), or brought nothing for PATIENCE seconds, what run.sh started in the folder is
# ended, and the folder removed. Folders whose anchor died (power loss) go when the next one starts.
# POSIX sh; dash, busybox and Android's mksh run it.

# alive FOLDER PID: whether the process is one that works in the folder (numbers are used again)
alive() {
    grep -qF -- "$1" "/proc/$2/cmdline" 2>/dev/null
}

# signal NAME FOLDER: to every process recorded in the folder; whether there was one
signal() {
    found=1
    for record in "$2"/*.pid; do
        [ -f "$record" ] || continue
        process=$(cat "$record")
        alive "$2" "$process" && kill "-$1" "$process" 2>/dev/null && found=0
    done
    return $found
}

finish() {
    if signal TERM "$1"; then
        sleep 1
        signal KILL "$1"
    fi
    rm -rf "$1"
}

# The anchor's process is in the folder's name: run-PID.RANDOM
sweep() {
    for old in "$root"/run-*; do
        [ -d "$old" ] || continue
        anchor=${old##*/run-}
        anchor=${anchor%%.*}
        grep -q rtmobile-anchor "/proc/$anchor/cmdline" 2>/dev/null || finish "$old"
    done
}

# Ends the anchor when no beat came between two looks.
watch() {
    trap 'kill -KILL "$!" 2>/dev/null; exit' TERM
    last=none
    while :; do
        sleep "$patience" &
        wait "$!"
        beat=$(cat "$folder/beat" 2>/dev/null)
        [ "$beat" = "$last" ] && break
        last=$beat
    done
    finish "$folder"
    kill -KILL $$
}

umask 077
patience=$2
mkdir -p -- "$1" && root=$(cd -- "$1" && pwd) || exit 1
sweep
folder=$(mktemp -d "$root/run-$$.XXXXXX") || exit 1
: >"$folder/beat" || { rm -rf "$folder"; exit 1; }
watch >/dev/null 2>&1 &
watcher=$!
trap 'kill "$watcher" 2>/dev/null; finish "$folder"; exit 1' HUP INT TERM
echo "$folder"
while read -r beat; do
    echo "$beat" >"$folder/beat"
done
kill "$watcher" 2>/dev/null
finish "$folder"
echo removed
