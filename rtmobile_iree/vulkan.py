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


@functools.cache
def prepare() -> None:
    """Makes Vulkan ready for IREE's runtime in this process, once.

    Raises:
        DeviceError: there is no loader or no driver; says how to get them.
    """
    chosen = any(os.environ.get(name) for name in VARIABLES)
    installed = any(any(Path(folder).glob("*.json")) for folder in MANIFESTS)
    if (chosen or installed) and _load(LOADER):
        return
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


def _load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
