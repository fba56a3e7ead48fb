"""IREE's tools for a device: out of a wheel of iree-base-runtime, or out of a folder of the user's.

The wheels' programs are linked with glibc and nothing else that is rare, so they run on any board
with a usual Linux. Android's C library is another; there is no wheel for it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rtmobile_iree.devices.base import TOOLS
from rtmobile_iree.devices.probe import Description
from rtmobile_iree.errors import DeviceError, InputError

PACKAGE = "iree-base-runtime"
# the programs' folder, in the wheel and where it is installed
INNER = "iree/_runtime_libs"
# what `uname -m` says -> platform tags of the wheel
WHEELS = {"aarch64": ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64")}
DOWNLOAD_S = 600
ANDROID_RECIPE = (
    "IREE has no wheel for Android; build its tools with the NDK, by "
    "third_party/android/build.sh FOLDER of rtmobile's repository (its README.md says which phones "
    "run them), then --runtime-tools FOLDER"
)


@dataclass(frozen=True)
class RuntimeTools:
    """Programs for one kind of device.

    Attributes:
        folder: here, with `TOOLS` in it.
        source: where they are from, for messages.
    """

    folder: Path
    source: str

    def checksums(self) -> dict[str, str]:
        """SHA-256 of each program, in hexadecimal."""
        return {name: _sha256((self.folder / name).read_bytes()) for name in TOOLS}


def version() -> str:
    """Of the runtime that is pinned, and installed here."""
    return metadata.version(PACKAGE)


def given_tools(folder: Path) -> RuntimeTools:
    """The user's.

    Raises:
        InputError: the folder lacks one.
    """
    for name in TOOLS:
        if not (folder / name).is_file():
            raise InputError(f"--runtime-tools {folder}: has no {name}")
    return RuntimeTools(folder, str(folder))


def tools_for(device: Description, name: str) -> RuntimeTools:
    """Those that a wheel has for a device.

    Raises:
        DeviceError: there is no wheel for it; says what would work.
    """
    if device.android:
        raise DeviceError(f"{name}: Android {device.android}: {ANDROID_RECIPE}")
    if device.system != "Linux":
        raise DeviceError(f"{name}: runs {device.system}; build IREE's tools for it and give them "
                          "with --runtime-tools FOLDER")  # fmt: skip
    if device.machine == platform.machine() and platform.system() == "Linux":
        return host_tools()
    if device.machine in WHEELS:
        return wheel_tools(device.machine)
    known = ", ".join(sorted({platform.machine(), *WHEELS}))
    raise DeviceError(
        f"{name}: its processor is {device.machine}; {PACKAGE} has wheels for {known}; build "
        "IREE's tools for it and give them with --runtime-tools FOLDER"
    )


def host_tools() -> RuntimeTools:
    """Those of the wheel that is installed here: the programs, not Python's wrappers of them.

    Raises:
        DeviceError: it is not installed.
    """
    spec = importlib.util.find_spec(INNER.replace("/", "."))
    if spec is None or spec.origin is None:
        raise DeviceError(f"{PACKAGE} is not installed; pip install {PACKAGE}")
    return RuntimeTools(Path(spec.origin).parent, f"{PACKAGE} {version()}")


def wheel_tools(machine: str, cache: Path | None = None) -> RuntimeTools:
    """Those of the wheel for another processor, downloaded by pip once and checked at every use.

    Args:
        machine: as `uname -m` says it, one of `WHEELS`.
        cache: folder for them; under the user's cache when None.

    Raises:
        DeviceError: pip cannot get the wheel, or it is damaged.
    """
    name = f"{PACKAGE}-{version()}-{machine}"
    folder = (cache or cache_folder() / "tools") / name
    tools = RuntimeTools(folder, name)
    if not _is_whole(folder):
        files = _wheel_programs(_download(machine))
        _place(files, folder)
    return tools


def cache_folder() -> Path:
    """The user's cache of this package."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "rtmobile-iree"


def _is_whole(folder: Path) -> bool:
    """Whether the programs are there, as they were written."""
    try:
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        sums = {name: digest for digest, name in map(str.split, lines)}
        return all(_sha256((folder / name).read_bytes()) == sums[name] for name in TOOLS)
    except (OSError, KeyError, ValueError):
        return False


def _download(machine: str) -> bytes:
    """The wheel's bytes. Any Python's will do: its programs do not use Python."""
    with tempfile.TemporaryDirectory(prefix="rtmobile-wheel-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--disable-pip-version-check", "--only-binary=:all:", "--python-version",
                   "3.11", "--dest", folder]  # fmt: skip
        command += [f"--platform={tag}" for tag in WHEELS[machine]]
        result = subprocess.run(
            [*command, f"{PACKAGE}=={version()}"],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_S,
            check=False,
        )
        found = list(Path(folder).glob("*.whl"))
        if result.returncode or not found:
            lines = result.stderr.strip().splitlines() or ["nothing on stderr"]
            raise DeviceError(
                f"pip cannot get {PACKAGE} {version()} for {machine}: {lines[-1]}; "
                "or give the programs with --runtime-tools FOLDER"
            )
        return found[0].read_bytes()


def _wheel_programs(wheel: bytes) -> dict[str, bytes]:
    """The programs of a wheel, each compared with the wheel's own record of it.

    Raises:
        DeviceError: it lacks one, or one is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        (record,) = (n for n in archive.namelist() if n.endswith(".dist-info/RECORD"))
        rows = csv.reader(archive.read(record).decode().splitlines())
        digests = {row[0]: row[1] for row in rows}
        files = {}
        for name in TOOLS:
            path = f"{INNER}/{name}"
            if path not in digests:
                raise DeviceError(f"{PACKAGE}: its wheel has no {path}")
            files[name] = archive.read(path)
            digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest())
            if digests[path] != f"sha256={digest.decode().rstrip('=')}":
                raise DeviceError(f"{PACKAGE}: {path} is not what its wheel's record says")
    return files


def _place(files: dict[str, bytes], folder: Path) -> None:
    """Writes the programs and their checksums into a folder that appears at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
            (temporary / name).chmod(0o755)
        sums = "".join(f"{_sha256(data)}  {name}\n" for name, data in files.items())
        (temporary / "SHA256SUMS").write_text(sums)
        temporary.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
