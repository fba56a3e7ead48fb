"""QEMU's emulator of ARM64 programs: where it is, and its plugin that counts instructions.

`make arm64` puts it into the cache (tools/arm64.sh); Debian's packages, installed, do as well.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.devices.base import first_line
from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import DeviceError

PROGRAM, LOADER = "qemu-aarch64", "lib/ld-linux-aarch64.so.1"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PACKAGES = "qemu-user libc6-arm64-cross libstdc++6-arm64-cross libgcc-s1-arm64-cross"
HOW_TO = f"run `make arm64` in rtmobile's repository, or: apt-get install {PACKAGES}"
COUNTER = Path(__file__).with_name("count_instructions.c")
# the interface's numbers: 1 is QEMU 6 to 8's, the later ones take what we use of it as it is
PLUGIN_VERSIONS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Emulator:
    """An emulator.

    Attributes:
        program: QEMU.
        system: folder with ARM64's C library under `lib`.
        libraries: folder of the shared libraries that QEMU itself needs.
    """

    program: Path
    system: Path
    libraries: Path

    def run(
        self, command: Sequence[str | Path], options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Runs an ARM64 program to its end, with every instruction set extension QEMU has."""
        return subprocess.run(
            [self.program, "-cpu", "max", "-L", self.system, *options, *command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LD_LIBRARY_PATH": str(self.libraries)},
        )

    def count(self, command: Sequence[str | Path]) -> tuple[int, str]:
        """Instructions that a program runs, its own and its libraries'; and what it prints.

        Raises:
            DeviceError: it failed, or there is no C compiler for the plugin.
        """
        with tempfile.TemporaryDirectory(prefix="rtmobile-count-") as folder:
            out = Path(folder) / "count"
            result = self.run(command, ["-plugin", f"{counter(self)},out={out}"])
            if result.returncode or not out.exists():
                told = first_line(result.stderr or result.stdout)
                raise DeviceError(f"qemu: {command[0]} failed ({result.returncode}): {told}")
            return int(out.read_text()), result.stdout


def find_emulator() -> Emulator:
    """The emulator: that of `make arm64`, else what is installed.

    Raises:
        DeviceError: there is none; says how to get it.
    """
    own = cache_folder() / "arm64"
    emulator = Emulator(
        own / "usr/bin" / PROGRAM, own / "usr/aarch64-linux-gnu", own / LIBRARIES
    )  # fmt: skip
    if emulator.program.is_file() and (emulator.system / LOADER).exists():
        return emulator
    installed, system = shutil.which(PROGRAM), Path("/usr/aarch64-linux-gnu")
    if installed is None or not (system / LOADER).exists():
        raise DeviceError(f"qemu: no {PROGRAM} with an ARM64 C library here; {HOW_TO}")
    return Emulator(Path(installed), system, Path("/") / LIBRARIES)


def counter(emulator: Emulator) -> Path:
    """The plugin, built once.

    Raises:
        DeviceError: there is no C compiler, or this QEMU loads no plugins.
    """
    identity = f"{emulator.program}{emulator.program.stat().st_mtime_ns}".encode()
    digest = hashlib.sha256(COUNTER.read_bytes() + identity).hexdigest()[:16]
    built = cache_folder() / "plugins" / f"count-{digest}.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        _build(emulator, built)
    return built


def _build(emulator: Emulator, target: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise DeviceError("qemu: counting instructions needs a C compiler; apt-get install gcc")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as folder:
        plugin = Path(folder) / "count.so"
        for version in PLUGIN_VERSIONS:
            subprocess.run(
                [compiler, "-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={version}",
                 COUNTER, "-o", plugin],
                check=True,
            )  # fmt: skip
            probe = ["-plugin", f"{plugin},out={os.devnull}"]
            result = emulator.run([emulator.system / LOADER, "--help"], probe)
            if not result.returncode:
                plugin.rename(target)
                return
    raise DeviceError(
        f"qemu: {emulator.program} loads no plugins: {first_line(result.stderr)}; {HOW_TO}"
    )
