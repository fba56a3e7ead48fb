"""third_party/android/build.sh, as far as it goes without an NDK: what it asks for, what it runs.

What is not tested: the build itself. cmake and ninja are stand-ins that write down their arguments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtmobile_iree.devices.base import TOOLS
from rtmobile_iree.devices.runtime_tools import given_tools, version

SCRIPT = Path(__file__).parents[2] / "third_party" / "android" / "build.sh"
CMAKE = """#!/bin/sh
echo "$@" >> "$RECORD"
[ "$1" = --version ] && echo "cmake version $CMAKE_VERSION" && exit
[ "$1" = --build ] && mkdir -p "$2/tools" && touch "$2/tools/iree-run-module" \\
    "$2/tools/iree-benchmark-module"
exit 0
"""


@pytest.fixture
def build(tmp_path):
    """Runs the script with an NDK and sources that are empty: status, stderr, cmake's arguments."""
    ndk, programs, source = (tmp_path / name for name in ("ndk", "bin", "iree"))
    (ndk / "build/cmake").mkdir(parents=True)
    (ndk / "build/cmake/android.toolchain.cmake").touch()
    (ndk / "source.properties").write_text("Pkg.Desc = NDK\nPkg.Revision = 27.2.12479018\n")
    programs.mkdir()
    for name in ("cmake", "ninja"):
        (programs / name).write_text(CMAKE)
        (programs / name).chmod(0o755)
    for name in ("flatcc", "benchmark", "vulkan_headers"):
        (source / "third_party" / name).mkdir(parents=True)
        (source / "third_party" / name / "CMakeLists.txt").touch()
    record = tmp_path / "record"
    record.touch()
    usual = {
        "ANDROID_NDK": str(ndk), "IREE_SOURCE": str(source), "PYTHON": sys.executable,
        "PATH": f"{programs}:{os.environ['PATH']}", "RECORD": str(record),
        "CMAKE_VERSION": "3.31.0",
    }  # fmt: skip

    def run(*arguments, **environment):
        given = {k: v for k, v in (usual | environment).items() if v is not None}
        inherited = {k: v for k, v in os.environ.items() if k not in usual}
        done = subprocess.run(
            ["bash", SCRIPT, *arguments], env=inherited | given, capture_output=True, text=True
        )
        return done.returncode, done.stderr, record.read_text()

    return run


def test_it_builds_the_pinned_version():
    assert f"iree_tag=v{version()} " in SCRIPT.read_text()


def test_it_configures_builds_and_places_the_tools(build, tmp_path):
    folder = tmp_path / "a folder"
    status, stderr, calls = build(str(folder))
    assert (status, stderr) == (0, "")
    assert given_tools(folder).folder == folder
    for flag in ("-DANDROID_ABI=arm64-v8a", "-DANDROID_PLATFORM=android-30",
                 "-DIREE_HAL_DRIVER_VULKAN=ON", "-DIREE_BUILD_COMPILER=OFF"):  # fmt: skip
        assert flag in calls
    assert f"--target {TOOLS[0]} {TOOLS[1]}" in calls


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {}, "give the folder for the tools"),
        (["a", "b"], {}, "give the folder for the tools"),
        (["out"], {"ANDROID_NDK": None}, "set ANDROID_NDK to the folder of the NDK, r27c"),
        (["out"], {"ANDROID_NDK": "/nowhere"}, "/nowhere: no NDK there"),
        (["out"], {"PYTHON": "/nowhere/python"}, "no Python at /nowhere/python; run make venv"),
        (["out"], {"CMAKE_VERSION": "3.25.1"}, "cmake 3.25.1 is older than 3.26"),
    ],
)
def test_what_it_lacks_is_said(build, tmp_path, monkeypatch, arguments, environment, message):
    monkeypatch.chdir(tmp_path)
    status, stderr, calls = build(*arguments, **environment)
    assert status == 1
    assert stderr.startswith("android: ")
    assert message in stderr
    assert "-DANDROID_ABI" not in calls


def test_submodules_that_are_missing(build, tmp_path):
    (tmp_path / "iree/third_party/vulkan_headers/CMakeLists.txt").unlink()
    status, stderr, _ = build(str(tmp_path / "out"))
    assert status == 1
    assert "third_party/vulkan_headers is empty; git submodule update" in stderr


def test_another_ndk_is_told(build, tmp_path):
    (tmp_path / "ndk/source.properties").write_text("Pkg.Revision = 25.1.8937393\n")
    status, stderr, _ = build(str(tmp_path / "out"))
    assert status == 0
    assert "NDK 25.1.8937393; r27c (27.2) is what this was written for" in stderr
