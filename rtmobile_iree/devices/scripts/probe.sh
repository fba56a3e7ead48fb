# rtmobile-probe [SYS]: what the device is and how it is now, `name: value` a line; what cannot be read
# is left out. SYS is /sys. Frequencies are in kHz, temperatures as the kernel has them, currents in uA.
sys=${1:-/sys}

# say NAME FILE: the file's first line, if it can be read
say() {
    [ -r "$2" ] && { read -r value <"$2"; } 2>/dev/null && [ -n "$value" ] && echo "$1: $value"
}

echo "system: $(uname -s)"
echo "machine: $(uname -m)"
echo "kernel: $(uname -r)"
if command -v getprop >/dev/null 2>&1; then
    echo "android: $(getprop ro.build.version.release)"
    echo "model: $(getprop ro.product.manufacturer) $(getprop ro.product.model)"
    echo "chip: $(getprop ro.soc.model)"
fi
if [ -r /proc/device-tree/model ]; then
    echo "model: $(tr -d '\000' </proc/device-tree/model)"
fi
# one of each kind of line: the cores of one kind say the same
grep -E '^(model name|Hardware|CPU implementer|CPU part)' /proc/cpuinfo 2>/dev/null | sort -u |
    sed 's/[[:space:]]*:[[:space:]]*/: /; s/^/cpuinfo /'
for core in "$sys"/devices/system/cpu/cpu[0-9]*; do
    name=${core##*/}
    say "$name capacity" "$core/cpu_capacity"
    say "$name max_khz" "$core/cpufreq/cpuinfo_max_freq"
    say "$name khz" "$core/cpufreq/scaling_cur_freq"
    say "$name governor" "$core/cpufreq/scaling_governor"
done
say online "$sys/devices/system/cpu/online"
for zone in "$sys"/class/thermal/thermal_zone*; do
    type=
    [ -r "$zone/type" ] && { read -r type <"$zone/type"; } 2>/dev/null
    say "thermal ${zone##*thermal_} ${type:-unknown}" "$zone/temp"
done
for supply in "$sys"/class/power_supply/*; do
    for value in current_now voltage_now capacity status; do
        say "power ${supply##*/} $value" "$supply/$value"
    done
done
if command -v dumpsys >/dev/null 2>&1; then
    dumpsys battery 2>/dev/null | sed -n 's/^ *\([A-Za-z ]*\): *\(..*\)$/battery \1: \2/p'
fi
exit 0
