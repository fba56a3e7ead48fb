"""What a device says of itself, and the cores that are meant."""

import pytest

from rtmobile_iree.devices.cores import choose_cores, core_list, core_mask, parse_cores
from rtmobile_iree.devices.probe import read_description, read_state
from rtmobile_iree.errors import DeviceError, InputError

# the form is probe.sh's; the figures are those of a Snapdragon 855 board
PHONE = """\
system: Linux
machine: aarch64
kernel: 4.14.276
android: 13
model: Google Pixel 4
cpuinfo CPU implementer: 0x51
cpuinfo CPU part: 0x804
cpuinfo CPU part: 0x805
cpuinfo CPU part: 0xfff
cpu0 capacity: 404
cpu0 max_khz: 1785600
cpu0 khz: 576000
cpu4 capacity: 871
cpu4 max_khz: 2419200
cpu7 capacity: 1024
cpu7 max_khz: 2841600
cpu7 khz: 2841600
online: 0,4,7
thermal zone0 cpu-1-7-usr: 47300
thermal zone1 battery: 52000
thermal zone2 modem: 0
thermal zone3 cpu-0-0-usr: 41
thermal zone4 cpu-broken: 999999
thermal zone5 ibat: text
power battery current_now: -350000
power battery status: Discharging
battery level: 78
"""


def test_a_phone():
    phone = read_description(PHONE)
    assert (phone.system, phone.machine, phone.android) == ("Linux", "aarch64", "13")
    assert phone.cpu == "Kryo 485 Gold, Kryo 485 Silver, part 0xfff"
    assert phone.speeds == {0: 404, 4: 871, 7: 1024}


def test_its_temperatures_and_its_battery():
    state = read_state(PHONE)
    assert state.temperatures == {
        "zone0 cpu-1-7-usr": 47.3, "zone1 battery": 52.0, "zone3 cpu-0-0-usr": 41.0
    }  # fmt: skip
    assert state.hottest == 47.3
    assert state.current_ua == -350_000
    assert state.power["battery level"] == "78"
    assert state.khz == {0: 576_000, 7: 2_841_600}


def test_a_device_that_says_nothing():
    assert read_description("").cpu == "unknown"
    state = read_state("")
    assert (state.temperatures, state.hottest, state.current_ua) == ({}, None, None)


def test_any_zone_where_none_is_the_processors():
    assert read_state("thermal zone0 acpitz: 30000").hottest == 30.0


def test_frequencies_where_there_are_no_capacities():
    text = "cpu0 max_khz: 1000\ncpu1 max_khz: 2000\nonline: 0-1\n"
    assert read_description(text).speeds == {0: 1000, 1: 2000}


@pytest.mark.parametrize(
    ("text", "cores"),
    [("big", {7}), ("little", {0}), ("4-7", {4, 5, 6, 7}), ("0", {0}), ("0,4-5", {0, 4, 5}),
     ("0xf0", {4, 5, 6, 7}), ("0x1", {0})],
)  # fmt: skip
def test_cores(text, cores):
    speeds = {0: 404, 1: 871, 2: 871, 3: 871, 4: 871, 5: 871, 6: 871, 7: 1024}
    assert choose_cores(text, speeds, "phone") == cores


@pytest.mark.parametrize(
    "text", ["", "huge", "7-4", "0x0", "0xg", "4-", "a,b", "-1", "0-99999999", "4..7"]
)
def test_cores_that_are_none(text):
    with pytest.raises(InputError, match="use big, little, a list as 4-7 or a mask as 0xf0"):
        parse_cores(text)


def test_cores_that_are_not_there():
    with pytest.raises(DeviceError, match=r"--cores 4-7: has no core 4; it has 0-3"):
        choose_cores("4-7", dict.fromkeys(range(4), 1), "board")


def test_a_device_that_does_not_say_which_are_big():
    with pytest.raises(DeviceError, match="neither the capacity nor the frequency.*list of 0-1"):
        choose_cores("big", {0: 0, 1: 0}, "board")


def test_masks_and_lists():
    assert core_mask(frozenset({4, 5, 6, 7})) == "f0"
    assert core_list(frozenset({0, 1, 2, 5, 7, 8})) == "0-2,5,7-8"
    assert core_list(frozenset()) == "none"
