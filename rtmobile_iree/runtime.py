"""The one door to iree.runtime: a .vmfb in memory, ready to be called with NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtmobile_iree.errors import InputError

FUNCTION = "main"
HOST_DRIVER, VULKAN = "local-sync", "vulkan"


@dataclass(frozen=True)
class Tensor:
    """A shape over a buffer.

    Attributes:
        view: what a function takes.
        array: the same memory for the host; usable only while this tensor is kept, since NumPy
            does not keep IREE's memory.
        mapping: what keeps it.
    """

    view: Any
    array: np.ndarray
    mapping: Any


class Buffer:
    """Memory of a device that the host sees too, zero at first."""

    def __init__(self, device: Any, size_bytes: int) -> None:
        from iree.runtime import BufferUsage, MemoryType

        self._buffer = device.allocator.allocate_buffer(
            memory_type=int(MemoryType.DEVICE_LOCAL | MemoryType.HOST_VISIBLE),
            allowed_usage=int(BufferUsage.DEFAULT | BufferUsage.MAPPING),
            allocation_size=size_bytes,
        )
        self.tensor((size_bytes,), np.dtype("int8")).array[...] = 0

    def tensor(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Tensor:
        """Its first elements as a row-major array, shared by device and host."""
        from iree.runtime import HalBufferView
        from iree.runtime.array_interop import map_dtype_to_element_type

        view = HalBufferView(self._buffer, list(shape), map_dtype_to_element_type(dtype))
        mapping = view.map()
        return Tensor(view, mapping.asarray(list(shape), dtype), mapping)


class Call:
    """One function on tensors that stay where they are; a call makes no object in Python."""

    def __init__(self, context: Any, function: Any, tensors: Sequence[Tensor]) -> None:
        from iree.runtime import VmVariantList

        self._context, self._function = context, function
        self._arguments = VmVariantList(len(tensors))
        for tensor in tensors:
            self._arguments.push_ref(tensor.view)
        self._results = VmVariantList(1)

    def __call__(self) -> None:
        """Runs it to the end.

        Raises:
            RuntimeError: IREE's, where the function fails.
        """
        self._context.invoke(self._function, self._arguments, self._results)

    def result_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of what the last call returned."""
        from iree.runtime import HalBufferView

        views = (self._results.get_as_object(i, HalBufferView) for i in range(len(self._results)))
        return [tuple(view.shape) for view in views]


class Module:
    """A loaded module on one device; its functions keep no state between calls.

    Args:
        vmfb: the compiled module.
        driver: IREE HAL driver, as in `iree-run-module --device`: "local-sync" runs on one thread.
        name: what to call the module in errors (its path, say).

    Raises:
        InputError: not an IREE module, made by another version, or without a function `main`.
        DeviceError: no Vulkan here.
    """

    def __init__(self, vmfb: bytes, driver: str = "local-sync", name: str = "module") -> None:
        import iree.runtime as ireert

        if driver.startswith(VULKAN):
            from rtmobile_iree.vulkan import prepare

            prepare()
        try:
            config = ireert.Config(driver)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{name}: no device {driver!r} here: {_first_line(error)}") from error
        self._device = config.device
        context = ireert.SystemContext(config=config)
        try:
            module = ireert.VmModule.copy_buffer(context.instance, vmfb)
            context.add_vm_module(module)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{name}: not an IREE module this runtime can load ({len(vmfb):,} bytes): "
                f"{_first_line(error)}"
            ) from error
        if FUNCTION not in module.function_names:
            names = ", ".join(n for n in module.function_names if not n.startswith("__")) or "none"
            raise InputError(f"{name}: has no function {FUNCTION!r}; its functions: {names}")
        self.reflection: dict[str, str] = dict(module.lookup_function(FUNCTION).reflection)
        self._function = context.modules[module.name][FUNCTION]
        self._context, self._module = context.vm_context, module
        self.functions: tuple[str, ...] = tuple(module.function_names)

    @property
    def device_bytes(self) -> tuple[int, int]:
        """Bytes its device has been asked for so far, and those given back."""
        counts = self._device.allocator.statistics
        return counts["device_bytes_allocated"], counts["device_bytes_freed"]

    def buffer(self, size_bytes: int) -> Buffer:
        """Memory for arguments and results that stay where they are."""
        return Buffer(self._device, size_bytes)

    def bind(self, function: str, tensors: Sequence[Tensor]) -> Call:
        """A function of the module with its arguments."""
        return Call(self._context, self._module.lookup_function(function), tensors)

    def place(self, array: np.ndarray) -> Any:
        """The array where the device reads it: an input that is not copied again at each call."""
        import iree.runtime as ireert

        return ireert.asdevicearray(self._device, np.ascontiguousarray(array))

    def __call__(self, inputs: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Runs `main` on row-major arrays, or on what `place` returned; results are on the host."""
        results: Any = self._function(*inputs)
        results = results if isinstance(results, tuple | list) else (results,)
        return tuple(self._fetch(result) for result in results)

    def _fetch(self, result: Any) -> np.ndarray:
        """A copy on the host, through a buffer that the device allocates.

        `to_host` would hand Vulkan an array's memory, which starts at no page as it asks for.
        """
        import iree.runtime as ireert

        if result.is_host_accessible:
            return np.array(result.to_host())
        view, device = result._buffer_view, self._device
        source = view.get_buffer()
        staging = device.allocator.allocate_buffer(
            memory_type=int(ireert.MemoryType.HOST_LOCAL | ireert.MemoryType.DEVICE_VISIBLE),
            allowed_usage=int(
                ireert.BufferUsage.TRANSFER_TARGET | ireert.BufferUsage.MAPPING_SCOPED
            ),
            allocation_size=source.byte_length(),
        )
        done = device.create_semaphore(0)
        device.queue_copy(
            source,
            staging,
            wait_semaphores=ireert.HalFence.create_at(done, 0),
            signal_semaphores=ireert.HalFence.create_at(done, 1),
        )
        ireert.HalFence.create_at(done, 1).wait()
        kind = ireert.HalElementType.map_to_dtype(view.element_type)
        return np.array(staging.map().asarray(view.shape, kind))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def read_reflection(vmfb: bytes, name: str = "module", function: str = FUNCTION) -> dict[str, str]:
    """What a module says of a function, without loading its code: it may be another machine's.

    Raises:
        InputError: not an IREE module, made by another version, or without that function.
    """
    import iree.runtime as ireert

    try:
        module = ireert.VmModule.copy_buffer(ireert.VmInstance(), vmfb)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{name}: not an IREE module this runtime can load ({len(vmfb):,} bytes): "
            f"{_first_line(error)}"
        ) from error
    if function not in module.function_names:
        raise InputError(f"{name}: has no function {function!r}")
    return dict(module.lookup_function(function).reflection)
