# rtmobile-run FOLDER LIMIT MASK COMMAND...: runs a command on the cores of a hexadecimal MASK (- for
# any), for at most LIMIT seconds, and exits as it does; 124 when the limit ended it. Its process is
# recorded in FOLDER, so that the anchor ends it when the connection breaks.
folder=$1 limit=$2 mask=$3
shift 3
cd -- "$folder" || exit 1
[ "$mask" = - ] || set -- taskset "$mask" "$@"
"$@" </dev/null &
process=$!
echo "$process" >"$folder/$process.pid"
(
    # $! is known as soon as the sleep is there; a TERM is lost on a child that is not quite started
    trap 'kill -KILL "$!" 2>/dev/null; exit' TERM
    sleep "$limit" &
    wait "$!"
    : >"$folder/$process.late"
    kill -TERM "$process"
    sleep 2 &
    wait "$!"
    kill -KILL "$process"
) >/dev/null 2>&1 &
timer=$!
# this shell may die of a word to the lost connection, and its timer must not outlive it
echo "$timer" >"$folder/$timer.pid"
wait "$process"
status=$?
kill "$timer" 2>/dev/null
rm -f "$folder/$process.pid" "$folder/$timer.pid"
[ ! -f "$folder/$process.late" ] || exit 124
exit "$status"
