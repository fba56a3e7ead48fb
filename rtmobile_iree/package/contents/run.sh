#!/bin/sh
# Checks this bundle's module against its expected outputs, then times it, with IREE's own tools.
# usage: sh run.sh [FOLDER]   where iree-run-module and iree-benchmark-module are; else tools/ beside
#                             this script, then the PATH
# MASK=f0 pins it to the cores of that hexadecimal mask; REPETITIONS=10 changes the number of samples.
set -eu
cd "$(dirname "$0")"

# find_tool NAME FOLDER
find_tool() {
    for place in "$2" tools; do
        if [ -n "$place" ] && [ -x "$place/$1" ]; then
            echo "$place/$1"
            return
        fi
    done
    command -v "$1" || {
        echo "run.sh: $1 is missing; README.md says where to get it" >&2
        exit 1
    }
}

# pinned COMMAND...
pinned() {
    if [ -n "${MASK:-}" ]; then
        taskset "$MASK" "$@"
    else
        "$@"
    fi
}

run=$(find_tool iree-run-module "${1:-}")
benchmark=$(find_tool iree-benchmark-module "${1:-}")
set -- --module=model.vmfb --function=main --device=local-sync \
    @INPUT_FLAGS@
pinned "$run" "$@" \
    @EXPECTED_FLAGS@ \
    --expected_f32_threshold=@THRESHOLD@ --expected_f16_threshold=@THRESHOLD@
echo "outputs are as expected, to @THRESHOLD@"
pinned "$benchmark" "$@" --benchmark_repetitions="${REPETITIONS:-5}" --benchmark_min_time=0.2s
@STEP@
