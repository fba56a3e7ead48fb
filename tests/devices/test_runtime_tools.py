"""IREE's tools for a device: out of wheels, checked."""

import base64
import hashlib
import io
import os
import platform
import zipfile

import pytest

from rtmobile_iree.devices import runtime_tools
from rtmobile_iree.devices.base import TOOLS
from rtmobile_iree.devices.probe import Description
from rtmobile_iree.devices.runtime_tools import (
    given_tools,
    host_tools,
    tools_for,
    version,
    wheel_tools,
)
from rtmobile_iree.errors import DeviceError, InputError


def board(**fields):
    known = {"system": "Linux", "machine": "aarch64", "android": None, "model": "", "cpu": "",
             "speeds": {}, "kernel": ""}  # fmt: skip
    return Description(**(known | fields))


def wheel(record=None):
    """A wheel with programs that only say their names."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        rows = []
        for name in TOOLS:
            path, text = f"iree/_runtime_libs/{name}", f"#!/bin/sh\necho {name}\n"
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            rows.append(f"{path},sha256={digest.decode().rstrip('=')},{len(text)}")
        archive.writestr("x.dist-info/RECORD", record or "\n".join(rows))
    return data.getvalue()


@pytest.fixture
def downloads(monkeypatch):
    """What pip would bring, and a list of what it was asked for."""
    asked = []

    def download(machine):
        asked.append(machine)
        return downloads.wheel

    downloads = type("Downloads", (), {"wheel": wheel(), "asked": asked})
    monkeypatch.setattr(runtime_tools, "_download", download)
    return downloads


def test_a_wheels_programs_are_kept_and_checked(downloads, tmp_path):
    tools = wheel_tools("aarch64", tmp_path)
    assert os.access(tools.folder / "iree-run-module", os.X_OK)
    assert wheel_tools("aarch64", tmp_path) == tools
    assert downloads.asked == ["aarch64"]
    (tools.folder / "iree-run-module").write_text("damaged")
    wheel_tools("aarch64", tmp_path)
    assert downloads.asked == ["aarch64"] * 2
    assert "echo" in (tools.folder / "iree-run-module").read_text()
    assert [path.name for path in tmp_path.iterdir()] == [f"iree-base-runtime-{version()}-aarch64"]


@pytest.mark.parametrize(
    ("record", "why"),
    [("x,,", "its wheel has no iree/_runtime_libs/iree-run-module"),
     ("iree/_runtime_libs/iree-run-module,sha256=x,1", "is not what its wheel's record says")],
)  # fmt: skip
def test_a_wheel_that_is_damaged(record, why, downloads, tmp_path):
    downloads.wheel = wheel(record)
    with pytest.raises(DeviceError, match=why):
        wheel_tools("aarch64", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.arm64
@pytest.mark.slow
def test_the_wheel_for_arm64_is_one(tmp_path):
    try:
        tools = wheel_tools("aarch64", tmp_path)
    except DeviceError as error:
        pytest.skip(str(error))
    for name in TOOLS:
        start = (tools.folder / name).read_bytes()[:20]
        assert (start[:4], int.from_bytes(start[18:20], "little")) == (b"\x7fELF", 0xB7)


def test_a_board_of_another_processor_gets_its_wheel(downloads, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    tools = tools_for(board(machine="aarch64"), "board")
    assert tools.folder == tmp_path / f"rtmobile-iree/tools/iree-base-runtime-{version()}-aarch64"
    assert sorted(tools.checksums()) == sorted(TOOLS)


def test_this_machines_tools_are_programs():
    for name in TOOLS:
        assert (host_tools().folder / name).read_bytes().startswith(b"\x7fELF")
    assert tools_for(board(machine=platform.machine()), "board") == host_tools()


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"android": "13"}, "Android 13: IREE has no wheel for Android; build .* --runtime-tools"),
     ({"system": "Darwin"}, "runs Darwin; build IREE's tools"),
     ({"machine": "riscv64"}, "is riscv64; iree-base-runtime has wheels for aarch64")],
)  # fmt: skip
def test_devices_without_a_wheel(fields, why):
    with pytest.raises(DeviceError, match=why):
        tools_for(board(**fields), "board")


def test_a_folder_without_the_tools(tmp_path):
    with pytest.raises(InputError, match="has no iree-run-module"):
        given_tools(tmp_path)


def test_pip_without_a_wheel(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime_tools, "version", lambda: "0.0.1")
    with pytest.raises(DeviceError, match="pip cannot get iree-base-runtime 0.0.1 for aarch64: "):
        wheel_tools("aarch64", tmp_path)
