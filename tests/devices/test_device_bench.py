"""The benchmark of a device, its journal, and the command line; the device is this machine."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rtmobile_iree import cli
from rtmobile_iree.bench.devices import rounds
from rtmobile_iree.bench.devices.journal import Journal
from rtmobile_iree.bench.devices.results import Case, DeviceSettings
from rtmobile_iree.bench.devices.rounds import run_device_bench
from rtmobile_iree.devices import get_device
from rtmobile_iree.devices.contents import declared_outputs, read_contents
from rtmobile_iree.devices.local import Local
from rtmobile_iree.devices.probe import State
from rtmobile_iree.errors import DeviceError, InputError

QUICK = DeviceSettings(rounds=2, samples=2, sample_s=0.01)
TINY = "rtmobile_iree.models:tiny_speech_gru"


class Heated(Local):
    """This machine, its temperature as told; every look at it takes the next one."""

    def __init__(self, *degrees):
        super().__init__()
        self.degrees = list(degrees)

    def state(self):
        degrees = self.degrees.pop(0) if len(self.degrees) > 1 else self.degrees[0]
        return State({"zone0 cpu": degrees}, -100, {}, {0: 1})


@pytest.fixture
def case(contents, inputs):
    return Case(contents, 3, tuple(inputs), get_device("local").run(contents.vmfb, inputs))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(contents, tmp_path):
    path = tmp_path / "a model.vmfb"
    path.write_bytes(contents.vmfb)
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return caught.value.code or 0


def test_every_round_times_every_case(case, contents, cache):
    other = Case(contents, 1, tuple(contents.example_inputs(1)))
    results = run_device_bench(Local(), [case, other], QUICK)
    assert [c.steps for c in results.cases] == [3, 1]
    assert [c.samples_us.shape for c in results.cases] == [(4,), (4,)]
    assert results.cases[0].max_error == 0
    assert results.cases[1].max_error is None
    assert list(cache.rglob("*.jsonl")) == []


def test_wrong_outputs_are_not_timed(case, cache):
    wrong = Case(case.contents, 3, case.inputs, tuple(y + 1 for y in case.expected or ()))
    with pytest.raises(InputError, match=r"differ by 1\.0e\+00, over 1e-04; not timed"):
        run_device_bench(Local(), [wrong], QUICK)


def test_a_round_waits_until_it_is_cool(case, cache, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(rounds.time, "sleep", slept.append)
    settings = DeviceSettings(rounds=2, samples=1, sample_s=0.01, cool_down_s=2.0)
    # before and after round 1, then the looks before round 2: 43 is the limit
    device = Heated(40.0, 60.0, 55.0, 44.0, 43.0, 50.0)
    (measured,) = run_device_bench(device, [case], settings).cases
    assert slept == [2.0, 2.0, 2.0]
    assert State(**measured.rounds[1]["before"]).hottest == 43.0
    assert State(**measured.rounds[1]["after"]).hottest == 50.0


def test_a_case_that_is_given_twice(case):
    with pytest.raises(InputError, match="module T=3 .* is given twice"):
        run_device_bench(Local(), [case, case], QUICK)


def test_settings_out_of_range(case):
    with pytest.raises(InputError, match="--rounds and --threads are whole numbers from 1"):
        run_device_bench(Local(), [case], DeviceSettings(rounds=0))


def test_a_journal_keeps_what_is_finished(tmp_path):
    path = tmp_path / "folder" / "journal.jsonl"
    Journal(path, {"a": 1}).append({"round": 0})
    again = Journal(path, {"a": 1})
    again.append({"round": 1})
    assert [entry["round"] for entry in Journal(path, {"a": 1}).entries] == [0, 1]
    with pytest.raises(InputError, match="something else was stopped here"):
        Journal(path, {"a": 2})
    path.write_text("no json\n")
    with pytest.raises(InputError, match="no journal of a benchmark"):
        Journal(path, {"a": 1})
    again.remove()
    assert not path.exists()


def test_what_a_module_says_of_itself(contents):
    assert (contents.outputs, contents.target, contents.is_open) == (2, "host", True)
    x, state = contents.example_inputs(5)
    assert (x.shape, state.shape) == ((1, 5, 8), (2, 1, 32))
    with pytest.raises(InputError, match="1 inputs given; module takes x"):
        contents.check([x])
    with pytest.raises(InputError, match="not an IREE module"):
        read_contents(b"nothing")


def test_counting_outputs():
    assert declared_outputs("sync func @main(%input0: i32) -> ()") == 0
    assert declared_outputs("sync func @main(%a: i32) -> (%output0: i32, %output1: f32)") == 2
    with pytest.raises(InputError, match=r"iree\.abi\.declaration"):
        declared_outputs("")


@pytest.mark.parametrize("text", ["", "phone", "ssh", "ssh:", "adb:", "local:1"])
def test_devices_that_are_none(text):
    with pytest.raises(InputError, match="use local, vulkan, qemu, ssh:HOST"):
        get_device(text)


def test_options_that_a_device_has_not():
    with pytest.raises(InputError, match="device local: has no folder"):
        get_device("local", folder="/x")


def test_a_module_that_fails_here(contents):
    with pytest.raises(DeviceError, match="local: iree-run-module failed"):
        get_device("local").run(contents.vmfb, [np.zeros((1, 3, 9), np.float32)])


def test_bench_at_the_shell(file, tmp_path, capsys, cache):
    path = tmp_path / "out.json"
    arguments = ["--device", "local", "--cores", "0", "--rounds", "1", "--json", path]
    copy = file.rename(tmp_path / "first.vmfb")
    file.write_bytes(copy.read_bytes())
    assert run("bench", file, copy, "--steps", "3", *arguments) == 0
    results = json.loads(path.read_text())
    assert results["settings"]["cores"] == "0"
    assert [len(case["rounds"]) for case in results["cases"]] == [1, 1]
    assert results["cases"][0]["median_us"] > 0
    assert "local: " in capsys.readouterr().out


def test_a_model_at_the_shell(tmp_path, capsys, cache):
    path = tmp_path / "out.json"
    arguments = ["--device", "local", "--rounds", "1", "--steps", "3", "--json", path]
    assert run("bench", TINY, "--rates", "4x1", *arguments) == 0
    (measured,) = json.loads(path.read_text())["cases"]
    assert measured["max_error"] < 1e-6
    assert measured["module"] == f"{TINY} 4x1"


def test_run_at_the_shell(file, tmp_path, capsys):
    inputs = ["--input", "f32[1,3,8]", "--input", "f32[2,1,32]"]
    assert run("run", file, *inputs, "--output", tmp_path / "here.npy") == 0
    assert run("run", file, *inputs, "--device", "local", "--output", tmp_path / "there.npy") == 0
    here, there = np.load(tmp_path / "here.npy"), np.load(tmp_path / "there.npy")
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["bench", TINY, "--cores", "big"], "need a --device"),
     (["bench", TINY, TINY], "2 models given"),
     (["bench", TINY, "--device", "local", "--roofline"], "are this machine's"),
     (["bench", "x.vmfb", TINY, "--device", "local"], "give .vmfb files alone, or one MODEL"),
     (["bench", TINY, "--device", "phone"], "device 'phone' is not known"),
     (["run", "x.vmfb", "--cores", "big"], "need a --device")],
)  # fmt: skip
def test_mistakes_at_the_shell(arguments, why, capsys):
    assert run(*arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert why in line
