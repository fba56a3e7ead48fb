"""What all tests share."""

from __future__ import annotations

import gc
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TASKS = Path("/proc/self/task")
# Lavapipe's code for a vector of threads has parts for each of them, so that LLVM takes half the
# time for four threads that it takes for eight. Its cache does not tell the two apart.
WIDTH, SHADERS = "LP_NATIVE_VECTOR_WIDTH", "MESA_SHADER_CACHE_DIR"


def pytest_collection_finish():
    """What was imported by now stays; the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    """Tests run on small machines beside each other; sums are the same in every run."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Whatever tests a worker ran before."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)


@dataclass(frozen=True)
class Machine:
    """A target and what runs its programs here: this machine, or the ARM64 emulator."""

    target: str
    cpu: str | None = None

    def __str__(self):
        return self.cpu or self.target

    @property
    def is_emulated(self):
        from rtmobile_iree.targets import runs_here

        return not runs_here(self.target)

    def compile(self, model, inputs, **options):
        """A program that can be called here."""
        import rtmobile_iree as rt

        program = rt.compile(model, inputs, self.target, cpu=self.cpu, **options)
        return Emulated(program) if self.is_emulated else program


@dataclass(frozen=True)
class Emulated:
    """A program of another machine, called as one of this machine's."""

    program: Any

    def __getattr__(self, name):
        return getattr(self.program, name)

    def __call__(self, *inputs):
        from rtmobile_iree.devices import get_device

        specs = zip(self.program.inputs, inputs, strict=True)
        arrays = [spec.check(value) for spec, value in specs]
        results = get_device("qemu").run(self.program.vmfb, arrays)
        return results[0] if len(results) == 1 else results


HOST = Machine("host")
CORTEX_A76 = Machine("arm64-android", "cortex-a76")


@pytest.fixture(params=[HOST, pytest.param(CORTEX_A76, marks=pytest.mark.arm64)], ids=str)
def machine(request):
    """This machine, then an ARM64 one."""
    if request.param.is_emulated:
        request.getfixturevalue("arm64")
    return request.param


@pytest.fixture(scope="session")
def arm64():
    """The ARM64 emulator as a device; without it the test is skipped."""
    from rtmobile_iree.devices import get_device
    from rtmobile_iree.errors import DeviceError

    try:
        return get_device("qemu")
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def vulkan():
    """Vulkan on this machine, as a device; without it the test is skipped.

    Lavapipe runs four threads at once in the tests; `full_width` runs as many as it can.
    """
    from rtmobile_iree.devices import get_device
    from rtmobile_iree.devices.runtime_tools import cache_folder
    from rtmobile_iree.errors import DeviceError

    os.environ.setdefault(WIDTH, "128")
    os.environ.setdefault(SHADERS, f"{cache_folder()}/shaders-{os.environ[WIDTH]}")
    try:
        device = get_device("vulkan")
    except DeviceError as error:
        pytest.skip(str(error))
    let_work_go_before_waiting()
    return device


def let_work_go_before_waiting():
    """Gives the threads that wait for Vulkan the lowest priority.

    IREE's driver has a thread for each of a device's two queues, and waits there for either of two
    semaphores; Mesa 22 and 25 do that in a busy loop, as long as the process lives. On two cores
    they would take half of the time of every test that follows.
    """
    from iree.runtime import get_device

    get_device("vulkan")  # IREE's, of which a process has one
    before = ticks_of_threads()
    time.sleep(0.5)
    for thread, ticks in ticks_of_threads().items():
        own = thread == threading.get_native_id()
        if not own and ticks > before.get(thread, ticks) + 1:  # it ran; there was nothing to do
            os.setpriority(os.PRIO_PROCESS, thread, 19)


def ticks_of_threads():
    """The time that each thread of this process ran, in the system's ticks, by its number."""
    texts = {int(task.name): (task / "stat").read_text() for task in TASKS.glob("*")}
    # what follows the name; its fields 14 and 15 as in proc(5) are user's and system's time
    fields = {thread: text.rpartition(")")[2].split() for thread, text in texts.items()}
    return {thread: int(each[11]) + int(each[12]) for thread, each in fields.items()}


@pytest.fixture
def full_width(vulkan, monkeypatch):
    """For programs in a process of their own: see `vulkan`. With four threads at once stock IREE's
    code for lavapipe gives wrong numbers."""
    monkeypatch.delenv(WIDTH)
    monkeypatch.delenv(SHADERS)
