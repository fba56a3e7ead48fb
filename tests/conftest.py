"""What all tests share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    """Tests run on small machines beside each other; sums are the same in every run."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)


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
    """Vulkan on this machine, as a device; without it the test is skipped."""
    from rtmobile_iree.devices import get_device
    from rtmobile_iree.errors import DeviceError

    try:
        return get_device("vulkan")
    except DeviceError as error:
        pytest.skip(str(error))
