"""`--device ssh:HOST`, against a real sshd: what it runs, and what it leaves when things break."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from rtmobile_iree.bench.devices.results import Case, DeviceSettings
from rtmobile_iree.bench.devices.rounds import run_device_bench
from rtmobile_iree.devices import get_device
from rtmobile_iree.devices.session import Session, Setup
from rtmobile_iree.devices.ssh import Ssh
from rtmobile_iree.errors import DeviceError, InputError

LONG = {"repetitions": 50, "min_time_s": 5.0}


def device(board, **options):
    return get_device(f"ssh:{board.place}", **options)


def session(board, **setup):
    return Session(Ssh(board.place), Setup(**setup))


class Background(threading.Thread):
    """A call on a thread of its own, and the error it ended with."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.error = call, None
        self.start()

    def run(self):
        try:
            self.call()
        except BaseException as error:
            self.error = error

    def end(self):
        self.join(30)
        assert not self.is_alive()
        return self.error


def benchmarking(board):
    """The tool itself; clients and shells have its name inside an argument."""
    return set(board.running()) & set(board.processes("iree-benchmark-module\0--module"))


def command_line(process):
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_runs_with_the_numbers_of_this_machine(board, contents, inputs):
    here = get_device("local").run(contents.vmfb, inputs)
    there = device(board).run(contents.vmfb, inputs)
    for y, expected in zip(there, here, strict=True):
        np.testing.assert_array_equal(y, expected)


def test_a_benchmark_brings_its_json(board, contents, inputs):
    result = device(board, cores="0").benchmark(
        contents.vmfb, inputs, repetitions=3, threads=2, min_time_s=0.02
    )
    runs = [run for run in result["benchmarks"] if run["run_type"] == "iteration"]
    assert len(runs) == 3
    assert min(run["real_time"] for run in runs) > 0


def test_a_command_runs_on_the_cores_asked_for(board):
    with session(board, cores="0") as held:
        status = held.command(["grep", "Cpus_allowed_list", "/proc/self/status"]).text
    assert status.split()[-1] == "0"


def test_cores_it_has_not(board):
    with pytest.raises(DeviceError, match="has no core 900; it has 0"), session(board, cores="900"):
        pass


def test_tools_are_pushed_once_and_again_when_they_are_damaged(board):
    with session(board):
        pass
    (folder,) = board.cache.glob("tools-*")
    tool = folder / "iree-run-module"
    before = tool.stat()
    with session(board):
        pass
    assert tool.stat() == before
    with tool.open("r+b") as file:
        file.truncate(1000)
    with session(board):
        assert tool.stat().st_size == before.st_size


def test_a_folder_whose_name_needs_quotes(board, contents, inputs):
    name = f"{board.home}/a 'b' $HOME \"c\" ü;&"
    (y, _) = device(board, folder=name).run(contents.vmfb, inputs)
    assert y.shape == (1, 3, 8)
    shutil.rmtree(name)


def test_a_session_keeps_its_connection(board, contents, inputs):
    with device(board) as held:
        held.run(contents.vmfb, inputs)
        serving = board.connections()
        held.run(contents.vmfb, inputs)
        assert serving
        assert board.connections() == serving


def test_a_cut_connection(board, contents, inputs):
    there = device(board)
    call = Background(lambda: there.benchmark(contents.vmfb, inputs, **LONG))
    board.wait_until(lambda: benchmarking(board), "a benchmark on the board")
    board.cut()
    error = call.end()
    assert isinstance(error, DeviceError)
    assert "connection was lost" in str(error)
    board.wait_clean()


def test_a_computer_that_falls_silent(board, contents, inputs):
    """No end of file comes over a pulled network cable: the board must notice by itself."""
    there = device(board, patience_s=1)
    call = Background(lambda: there.benchmark(contents.vmfb, inputs, **LONG))
    board.wait_until(lambda: benchmarking(board), "a benchmark on the board")
    masters = [p for p in board.processes("ControlPath=/tmp/rtm-") if b"[mux]" in command_line(p)]
    try:
        for process in masters:
            os.kill(process, signal.SIGSTOP)
        board.wait_clean()
    finally:
        for process in masters:
            os.kill(process, signal.SIGKILL)
    assert isinstance(call.end(), DeviceError)


def test_what_a_reboot_leaves_goes_with_the_next_connection(board, contents, inputs):
    there = device(board)
    call = Background(lambda: there.benchmark(contents.vmfb, inputs, **LONG))
    board.wait_until(lambda: benchmarking(board), "a benchmark on the board")
    board.reboot()
    assert isinstance(call.end(), DeviceError)
    assert len(board.sessions()) == 1
    there.run(contents.vmfb, inputs)
    assert board.sessions() == []


def test_two_sessions_leave_each_other_alone(board):
    with session(board) as first:
        with session(board) as second:
            assert len({first.folder, second.folder, *map(str, board.sessions())}) == 2
        assert [str(path) for path in board.sessions()] == [first.folder]


def test_a_command_that_takes_too_long_is_ended(board):
    with session(board) as held:
        object.__setattr__(held.setup, "limit_s", 1)
        assert held.command(["sleep", "61.5"]).status == 124
        board.wait_until(lambda: not board.processes("sleep\x0061.5\x00"), "its end")


def test_a_connection_that_broke_between_two_calls_is_made_anew(board, contents, inputs):
    with device(board) as held:
        held.run(contents.vmfb, inputs)
        board.cut()
        board.wait_until(lambda: held._held.is_lost, "the client's end")
        held.run(contents.vmfb, inputs)


def test_a_stopped_benchmark_goes_on_where_it_stopped(board, contents, inputs, tmp_path):
    journal = tmp_path / "journal.jsonl"
    case = Case(contents, 3, tuple(inputs))
    settings = DeviceSettings(rounds=3, samples=2, sample_s=0.05)
    seen: list[str] = []

    def pull_the_cable(line):
        seen.append(line)
        if "round 3" in line:
            board.stop()

    with pytest.raises(DeviceError, match="2 of 3 bursts are kept, the same command goes on"):
        run_device_bench(device(board), [case], settings, journal=journal, progress=pull_the_cable)
    kept = journal.read_text().splitlines()
    assert len(kept) == 3
    board.wait_clean()
    board.start()

    seen.clear()
    results = run_device_bench(
        device(board), [case], settings, journal=journal, progress=seen.append
    )
    assert seen[0].startswith("going on after 2 finished bursts")
    assert [line for line in seen if "round" in line] == ["module: round 3 of 3"]
    (measured,) = results.cases
    assert [entry["round"] for entry in measured.rounds] == [0, 1, 2]
    assert measured.samples_us.shape == (6,)
    assert not journal.exists()


def test_ctrl_c_leaves_nothing(board, contents, tmp_path):
    file = tmp_path / "a model.vmfb"
    file.write_bytes(contents.vmfb)
    command = [
        "bench",
        str(file),
        "--device",
        f"ssh:{board.place}",
        "--rounds",
        "999",
        "--steps",
        "3",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "rtmobile_iree.cli", *command],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )
    board.wait_until(lambda: benchmarking(board), "a benchmark on the board", 60)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    board.wait_clean(2)
    assert len(list((tmp_path / "rtmobile-iree/journals").glob("*"))) <= 1


def test_a_host_that_is_none(board):
    with pytest.raises(DeviceError, match=r"Could not resolve hostname .*; check the name"):
        get_device("ssh:no-such-host.invalid").describe()


def test_a_port_where_nothing_listens(board):
    with pytest.raises(DeviceError, match="Connection refused.*; is sshd running there"):
        get_device("ssh:127.0.0.1:1").describe()


def test_a_key_that_is_not_known_there(board, monkeypatch):
    use_config(board, monkeypatch, "user_key", "other_key")
    with pytest.raises(DeviceError, match="Permission denied.*; no key of yours opens it"):
        device(board).describe()


def test_a_host_key_that_is_not_known_here(board, monkeypatch):
    use_config(board, monkeypatch, "known_hosts", "unknown_hosts")
    with pytest.raises(DeviceError, match="Host key verification failed"):
        device(board).describe()


def use_config(board, monkeypatch, old, new):
    """An ssh with another word in its configuration."""
    config = board.folder / f"config-{new}"
    config.write_text((board.folder / "ssh_config").read_text().replace(old, new))
    folder = board.folder / f"bin-{new}"
    folder.mkdir()
    (folder / "ssh").write_text((board.bin / "ssh").read_text().replace("ssh_config", config.name))
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_folder_that_cannot_be_made(board):
    with pytest.raises(DeviceError, match="no folder can be made there: mkdir: .*--device-folder"):
        device(board, folder="/proc/none").describe()


def test_a_full_disk(board):
    if not board.is_root:
        pytest.skip("a small disk: only root can mount one")
    disk = board.folder / "small disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", disk], check=True)
    try:
        with pytest.raises(DeviceError, match="cannot write .*No space left on device; free space"):
            device(board, folder=str(disk)).describe()
        board.wait_clean()
        assert list(disk.glob("run-*")) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_that_is_cut_short(make_board, monkeypatch):
    board = make_board(file_size=100_000)
    monkeypatch.setenv("PATH", f"{board.bin}:{os.environ['PATH']}")
    with pytest.raises(DeviceError, match=r"cannot write .*iree-run-module \(\d"):
        device(board).describe()
    board.wait_clean()
    assert list(board.cache.glob("tools-*/*")) == []


def test_no_ssh_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    made, make = [], tempfile.mkdtemp

    def noted(**options):
        made.append(Path(make(**options)))
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    with pytest.raises(DeviceError, match="ssh cannot be started: No such file"):
        get_device("ssh:board").describe()
    assert made
    assert not any(folder.exists() for folder in made)


@pytest.mark.parametrize("place", ["a:b", "-oProxyCommand=x", "a b", "a:22:22"])
def test_places_that_are_none(place):
    with pytest.raises(InputError, match="write ssh:HOST"):
        get_device(f"ssh:{place}")


def test_a_module_that_the_device_refuses(board, contents, inputs):
    """Its code is another machine's: the same module with its ELF's machine changed."""
    elf = bytearray(contents.vmfb)
    start = elf.find(b"\x7fELF\x02\x01")
    while start >= 0:
        elf[start + 18 : start + 20] = (0xB7).to_bytes(2, "little")
        start = elf.find(b"\x7fELF\x02\x01", start + 1)
    with pytest.raises(DeviceError, match="iree-run-module failed"):
        device(board).run(bytes(elf), inputs)
