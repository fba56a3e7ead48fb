"""Where Vulkan is on this machine: its own loader and drivers, else those of `make vulkan`.

`make vulkan` puts the loader and Mesa's lavapipe, which runs Vulkan on the CPU, into the cache
(tools/vulkan.sh). IREE's runtime asks the system for `libvulkan.so.1`; what is loaded already under
that name is what it gets.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import DeviceError
from rtmobile_iree.files import write_atomically

LOADER, LAVAPIPE = "libvulkan.so.1", "libvulkan_lvp.so"
# the loader's variables that name drivers, the newer first
VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
MANIFESTS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
HOW_TO = (
    "run `make vulkan` in rtmobile's repository, or: apt-get install mesa-vulkan-drivers libvulkan1"
)


@dataclass(frozen=True)
class VulkanDevice:
    """What runs Vulkan here; the first that the loader lists, as IREE's `--device=vulkan` takes it.

    Attributes:
        name: its own, as "llvmpipe (LLVM 15.0.6, 256 bits)".
        kind: "cpu", "integrated-gpu", "discrete-gpu", ... as IREE writes Vulkan's device types.
        driver, driver_version: as "llvmpipe" and "Mesa 22.3.6 (LLVM 15.0.6)".
        api: the version of Vulkan it has.
    """

    name: str
    kind: str
    driver: str
    driver_version: str
    api: str

    @property
    def is_cpu(self) -> bool:
        """Whether it is a program on the CPU, whose times are no GPU's."""
        return self.kind == "cpu"

    def __str__(self) -> str:
        text = f"{self.name}, driver {self.driver} {self.driver_version}, Vulkan {self.api}"
        return f"{text}; it runs on the CPU: these are no GPU's times" if self.is_cpu else text


@functools.cache
def describe() -> VulkanDevice:
    """What runs Vulkan here.

    Raises:
        DeviceError: there is no Vulkan here.
    """
    prepare()
    from iree.runtime import get_driver

    try:
        driver = get_driver("vulkan")
        listed = driver.query_available_devices()
        text = driver.dump_device_info(listed[0]["device_id"]) if listed else ""
    except RuntimeError as error:
        told = str(error).strip().partition("\n")[0]
        raise DeviceError(f"vulkan: no device here: {told}; {HOW_TO}") from error
    if not listed:
        raise DeviceError(f"vulkan: the loader lists no device; {HOW_TO}")
    return read_description(text)


def read_description(text: str) -> VulkanDevice:
    """What IREE's runtime prints of a device: `key: value`, a line each."""
    lines = [line.partition(": ") for line in text.splitlines()]
    fields = {key: value for key, colon, value in lines if colon and not key.startswith(" ")}
    keys = ("name", "type", "driver", "driver_info", "api")
    return VulkanDevice(*(fields.get(key, "unknown") for key in keys))


def environment() -> dict[str, str]:
    """What other programs of IREE need in their environment to find the Vulkan of this process.

    Raises:
        DeviceError: there is no Vulkan here.
    """
    folder = prepare()
    if folder is None:
        return {}
    paths = [str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    variables = {name: os.environ[name] for name in VARIABLES}
    return {"LD_LIBRARY_PATH": os.pathsep.join(paths), **variables}


@functools.cache
def prepare() -> Path | None:
    """Makes Vulkan ready for IREE's runtime in this process, once.

    Returns:
        The folder of the libraries that `make vulkan` put there; None for the system's own.

    Raises:
        DeviceError: there is no loader or no driver; says how to get them.
    """
    chosen = any(os.environ.get(name) for name in VARIABLES)
    installed = any(any(Path(folder).glob("*.json")) for folder in MANIFESTS)
    if (chosen or installed) and _load(LOADER):
        return None
    folder = cache_folder() / "vulkan"
    drivers = sorted(folder.glob(f"usr/lib/*/{LAVAPIPE}"))
    if not drivers:
        raise DeviceError(f"vulkan: no loader with a driver here; {HOW_TO}")
    left = sorted(drivers[0].parent.glob("*.so*"))
    while left:  # each as soon as what it needs is there
        missing = [path for path in left if not _load(str(path))]
        if missing == left:
            raise DeviceError(f"vulkan: {missing[0]} lacks a library; {HOW_TO}")
        left = missing
    if not _load(LOADER):
        raise DeviceError(f"vulkan: no {LOADER} here; {HOW_TO}")
    manifest = folder / "lavapipe.json"
    driver = {"library_path": str(drivers[0]), "api_version": "1.3.0"}
    text = json.dumps({"file_format_version": "1.0.0", "ICD": driver})
    if not manifest.exists() or manifest.read_text() != text:
        write_atomically(manifest, text.encode())
    for name in VARIABLES:
        os.environ[name] = str(manifest)
    return drivers[0].parent


def _load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
