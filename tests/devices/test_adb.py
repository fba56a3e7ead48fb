"""`--device adb`: the real client, and in its server's place one of ours that plays a phone.

What is not tested: a phone. The server speaks the client's protocol (AOSP: packages/modules/adb,
OVERVIEW.TXT, SYNC.TXT and shell_protocol.h) and runs the commands on this machine.
"""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from rtmobile_iree.devices import get_device
from rtmobile_iree.devices.adb import Adb
from rtmobile_iree.devices.transport import shell
from rtmobile_iree.errors import DeviceError, InputError
from rtmobile_iree.vulkan import describe

VERSION, SERIAL = 41, "0123ABCD"
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Phone(socketserver.ThreadingTCPServer):
    """adb's server with one phone, or with those of `serials`.

    Attributes:
        is_unplugged: connections to the phone are cut and refused.
        loses: a word; the connections whose command has it are cut.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Client)
        self.serials, self.is_unplugged, self.loses = [SERIAL], False, None
        self.environment = dict(os.environ)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"tcp:127.0.0.1:{self.server_address[1]}"


class Client(socketserver.BaseRequestHandler):
    """One connection of the client: requests to the server until one goes to the phone."""

    def handle(self):
        with suppress(ConnectionError, struct.error):
            while True:
                request = self.read(int(self.read(4), 16)).decode()
                if not self.answer(request):
                    return

    def answer(self, request):
        """Answers a request; whether another may follow on this connection."""
        kind, _, rest = request.partition(":")
        if request == "host:version":
            return self.okay(b"%04x" % VERSION)
        if kind in ("shell", "sync") or kind.startswith("shell,"):
            if self.server.is_unplugged:
                return self.fail("closed")
            self.request.sendall(b"OKAY")
            return self.sync() if kind == "sync" else self.shell(rest)
        serial = rest.partition(":")[0] if kind == "host-serial" else rest.rpartition(":")[2]
        wanted = [s for s in self.server.serials if serial == s or SERIAL not in request]
        if serial not in ("features", "any", "transport-any", "tport") and serial not in wanted:
            return self.fail(f"device '{serial}' not found")
        if not wanted:
            return self.fail("no devices/emulators found")
        if len(wanted) > 1 and SERIAL not in request:
            return self.fail("more than one device/emulator")
        if request.endswith("features"):
            return self.okay(b"shell_v2,cmd")
        self.request.sendall(b"OKAY" + (struct.pack("<Q", 1) if "tport" in request else b""))
        return True

    def okay(self, text):
        self.request.sendall(b"OKAY%04x" % len(text) + text)
        return False

    def fail(self, text):
        self.request.sendall(b"FAIL%04x" % len(text) + text.encode())
        return False

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.request.recv(count - len(data))
            if not part:
                raise ConnectionResetError
            data += part
        return data

    def shell(self, command):
        """Runs a command as adbd does, until it ends or the phone is unplugged."""
        process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.server.environment,
        )  # fmt: skip
        threading.Thread(target=self.feed, args=(process,), daemon=True).start()
        threads = [
            threading.Thread(target=self.pass_on, args=(kind, pipe), daemon=True)
            for kind, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr))
        ]
        for thread in threads:
            thread.start()
        while not self.is_cut(command) and (process.poll() is None or threads[0].is_alive()):
            time.sleep(0.01)
        if self.is_cut(command):
            with suppress(OSError):
                process.stdin.close()
            self.request.shutdown(socket.SHUT_RDWR)
            return False
        for thread in threads:
            thread.join()
        self.request.sendall(struct.pack("<BIB", EXIT, 1, process.returncode))
        return False

    def is_cut(self, command):
        loses = self.server.loses
        return self.server.is_unplugged or (loses is not None and loses in command)

    def feed(self, process):
        with suppress(OSError, ValueError):
            while True:
                kind, size = struct.unpack("<BI", self.read(5))
                data = self.read(size)
                if kind == STDIN:
                    process.stdin.write(data)
                    process.stdin.flush()
                elif kind == CLOSE_STDIN:
                    process.stdin.close()
        with suppress(OSError):
            process.stdin.close()

    def pass_on(self, kind, pipe):
        with suppress(OSError):
            while data := os.read(pipe.fileno(), 4096):
                self.request.sendall(struct.pack("<BI", kind, len(data)) + data)

    def sync(self):
        """Files, by adb's sync protocol."""
        while True:
            kind, size = struct.unpack("<4sI", self.read(8))
            if kind == b"QUIT":
                return False
            path = self.read(size).decode()
            {b"STAT": self.stat, b"SEND": self.receive, b"RECV": self.send}[kind](path)

    def stat(self, path):
        try:
            found = os.stat(path)
            fields = (found.st_mode, found.st_size, int(found.st_mtime))
        except OSError:
            fields = (0, 0, 0)
        self.request.sendall(b"STAT" + struct.pack("<III", *fields))

    def receive(self, target):
        path, data = target.rpartition(",")[0], b""
        while True:
            kind, size = struct.unpack("<4sI", self.read(8))
            if kind == b"DONE":
                break
            data += self.read(size)
        try:
            Path(path).write_bytes(data)
        except OSError as error:
            text = f"couldn't create file: {error.strerror}".encode()
            self.request.sendall(b"FAIL" + struct.pack("<I", len(text)) + text)
        else:
            self.request.sendall(b"OKAY" + struct.pack("<I", 0))

    def send(self, path):
        data = Path(path).read_bytes()
        for start in range(0, len(data), 65536):
            part = data[start : start + 65536]
            self.request.sendall(b"DATA" + struct.pack("<I", len(part)) + part)
        self.request.sendall(b"DONE" + struct.pack("<I", 0))


@pytest.fixture
def phone(adb_client, monkeypatch, tmp_path):
    """A phone that is plugged in, and the real client on the PATH."""
    server = Phone()
    monkeypatch.setenv("PATH", f"{adb_client}:{os.environ['PATH']}")
    monkeypatch.setenv("ADB_SERVER_SOCKET", server.address)
    monkeypatch.setattr(Adb, "folder", str(tmp_path / "data"))
    yield server
    server.shutdown()
    server.server_close()


def sessions(tmp_path):
    return list((tmp_path / "data").glob("run-*"))


def test_a_command_its_input_and_its_status(phone):
    outcome = shell(Adb(SERIAL), "cat; echo complaint >&2; exit 7", data=b"a\nb\x00\xff")
    assert (outcome.status, outcome.stdout) == (7, b"a\nb\x00\xff")
    assert outcome.stderr == "complaint\n"


def test_files_go_there_and_back(phone, tmp_path):
    data = os.urandom(200_001)
    Adb().push(data, f"{tmp_path}/a file")
    assert (tmp_path / "a file").read_bytes() == data
    assert Adb().pull(f"{tmp_path}/a file") == data


@pytest.mark.parametrize("name", ["adb", f"adb:{SERIAL}"])
def test_runs_with_the_numbers_of_this_machine(name, phone, contents, inputs, tmp_path):
    here = get_device("local").run(contents.vmfb, inputs)
    there = get_device(name).run(contents.vmfb, inputs)
    for y, expected in zip(there, here, strict=True):
        np.testing.assert_array_equal(y, expected)
    assert sessions(tmp_path) == []


def test_a_benchmark_brings_its_json(phone, contents, inputs):
    result = get_device("adb", cores="0").benchmark(
        contents.vmfb, inputs, repetitions=2, min_time_s=0.02
    )
    assert len([r for r in result["benchmarks"] if r["run_type"] == "iteration"]) == 2


@pytest.mark.parametrize("seen_first", ["every connection", "rtmobile-anchor"])
def test_a_phone_that_is_unplugged(
    seen_first, phone, contents, inputs, tmp_path, eventually, find_processes
):
    errors = []

    def call():
        with pytest.raises(DeviceError) as caught:
            get_device("adb").benchmark(contents.vmfb, inputs, repetitions=50, min_time_s=5.0)
        errors.append(str(caught.value))

    thread = threading.Thread(target=call)
    thread.start()
    running = f"iree-benchmark-module\0--module={tmp_path}"
    eventually(lambda: find_processes(running), "a benchmark on the phone")
    if seen_first == "every connection":
        phone.is_unplugged = True
    else:  # the benchmark's own connection still tells how the anchor ended it
        phone.loses = seen_first
    thread.join(30)
    assert "adb: " in errors[0]
    assert "plug" in errors[0]
    eventually(lambda: not find_processes(running), "the benchmark's end")
    eventually(lambda: not sessions(tmp_path), "the folder's removal")


def test_no_phone(phone):
    phone.serials = []
    with pytest.raises(DeviceError, match="no devices/emulators found; plug the phone in"):
        get_device("adb").describe()


def test_a_serial_that_is_none(phone):
    with pytest.raises(DeviceError, match="adb:XYZ: .*'XYZ' not found; `adb devices` lists"):
        get_device("adb:XYZ").describe()


def test_two_phones(phone):
    phone.serials = [SERIAL, "other"]
    with pytest.raises(DeviceError, match="more than one .*; name one: --device adb:SERIAL"):
        get_device("adb").describe()


def test_a_file_that_cannot_be_written(phone, tmp_path):
    with pytest.raises(DeviceError, match=r"cannot write .*/none/file \(1 bytes\): .*No such file"):
        Adb().push(b"1", f"{tmp_path}/none/file")


def test_android_needs_tools_of_its_own(phone, tmp_path):
    """Unless there are some on the phone already."""
    programs = tmp_path / "system bin"
    programs.mkdir()
    (programs / "getprop").write_text("#!/bin/sh\necho 13\n")
    (programs / "getprop").chmod(0o755)
    phone.environment["PATH"] = f"{programs}:{phone.environment['PATH']}"
    with pytest.raises(DeviceError, match="Android 13: IREE has no wheel for Android; build .*NDK"):
        get_device("adb").describe()
    for name in ("iree-run-module", "iree-benchmark-module"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    assert get_device("adb").describe().android == "13"


@pytest.fixture
def gpu_module(vulkan):
    """A module for a GPU, and inputs of two steps."""
    import rtmobile_iree as rt
    from rtmobile_iree.models import tiny_paper_gru

    model = tiny_paper_gru()
    inputs = model.example_inputs(2)
    vmfb = rt.compile(model, inputs, "adreno-640", dynamic_steps=True).vmfb
    return vmfb, [array.numpy() for array in inputs]


@pytest.mark.vulkan
def test_a_gpus_module_runs_on_the_phones_vulkan(phone, vulkan, gpu_module):
    """The phone's is this machine's: lavapipe, where there is no GPU."""
    vmfb, inputs = gpu_module
    phone.environment |= vulkan.environment()
    there = get_device("adb").run(vmfb, inputs)
    for y, expected in zip(there, vulkan.run(vmfb, inputs), strict=True):
        np.testing.assert_array_equal(y, expected)
    result = get_device("adb").benchmark(vmfb, inputs, repetitions=2, min_time_s=0.001)
    assert len([r for r in result["benchmarks"] if r["run_type"] == "iteration"]) == 2
    assert result["vulkan"]["name"] == describe().name
    with pytest.raises(InputError, match="2 threads: the module is a GPU's; use 1"):
        get_device("adb").benchmark(vmfb, inputs, repetitions=2, threads=2)


@pytest.mark.vulkan
def test_a_phone_without_vulkan(phone, gpu_module, tmp_path):
    """No loader there, then one whose driver is too old for IREE's runtime."""
    vmfb, inputs = gpu_module
    phone.environment |= {"IREE_HAL_VULKAN_LIBVULKAN_PATH": str(tmp_path / "none.so")}
    with pytest.raises(DeviceError, match=r"adb: iree-run-module failed .*; third_party/android"):
        get_device("adb").run(vmfb, inputs)
    tools = tmp_path / "tools"
    tools.mkdir()
    old = "name: Adreno (TM) 640\ndriver: Qualcomm\ndriver_info: v512\n  missing: Vulkan API 1.3\n"
    for name in ("iree-run-module", "iree-benchmark-module"):
        (tools / name).write_text(f"#!/bin/sh\nprintf '{old}'\n")
    with pytest.raises(DeviceError, match="Adreno .*v512: IREE's runtime wants Vulkan API 1.3; t"):
        get_device("adb", tools=tools).run(vmfb, inputs)
    (tools / "iree-run-module").write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(DeviceError, match="its Vulkan loader lists no device"):
        get_device("adb", tools=tools).run(vmfb, inputs)


def test_no_adb_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="adb cannot be started: No such file"):
        get_device("adb").describe()
