"""A device behind a transport: a board by ssh, a phone by adb; its processor, or its GPU for a
module that was compiled for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from rtmobile_iree.devices.base import (
    BENCHMARK_TOOL,
    RUN_TOOL,
    array_bytes,
    benchmark_arguments,
    call_arguments,
    read_array,
    read_benchmark,
)
from rtmobile_iree.devices.contents import count_outputs, driver_of
from rtmobile_iree.devices.cores import parse_cores
from rtmobile_iree.devices.probe import Description, State
from rtmobile_iree.devices.session import Session, Setup
from rtmobile_iree.devices.transport import Transport
from rtmobile_iree.devices.vulkan import find_there
from rtmobile_iree.runtime import FUNCTION, VULKAN
from rtmobile_iree.vulkan import VulkanDevice


class Remote:
    """See `base.Device`. Each call connects anew, unless it is used as a context manager.

    Args:
        transport: the way to it.
        options: the fields of `Setup`.

    Attributes:
        name: as on the command line.

    Raises:
        InputError: `cores` is no list, mask, big or little.
    """

    def __init__(self, transport: Transport, **options: Any) -> None:
        self.name = transport.name
        self._transport, self._setup = transport, Setup(**options)
        if self._setup.cores is not None:
            parse_cores(self._setup.cores)
        self._held: Session | None = None
        self._is_kept = False

    def __enter__(self) -> Remote:
        self._is_kept = True
        return self

    def __exit__(self, *error: object) -> None:
        self._is_kept = False
        self._let_go()

    def run(
        self,
        vmfb: bytes,
        inputs: Sequence[np.ndarray],
        function: str = FUNCTION,
        *,
        threads: int = 1,
    ) -> tuple[np.ndarray, ...]:
        """See `base.Device.run`."""
        names = [f"y{i}.npy" for i in range(count_outputs(vmfb, function))]
        with self._session() as session:
            arguments = self._call(session, vmfb, inputs, function, threads)
            outputs = [f"--output=@{session.folder}/{name}" for name in names]
            session.tool(RUN_TOOL, [*arguments, *outputs])
            return tuple(read_array(session.pull(name)) for name in names)

    def benchmark(
        self,
        vmfb: bytes,
        inputs: Sequence[np.ndarray],
        *,
        repetitions: int,
        threads: int = 1,
        min_time_s: float = 0.2,
        function: str = FUNCTION,
    ) -> dict[str, Any]:
        """See `base.Device.benchmark`."""
        with self._session() as session:
            arguments = self._call(session, vmfb, inputs, function, threads)
            arguments += benchmark_arguments(repetitions, min_time_s)
            result = read_benchmark(session.tool(BENCHMARK_TOOL, arguments), self.name)
            gpu = self._gpu(session, vmfb, function)
            return result if gpu is None else result | {"vulkan": asdict(gpu)}

    def describe(self) -> Description:
        """What it is."""
        with self._session() as session:
            return session.description

    def state(self) -> State:
        """How it is now."""
        with self._session() as session:
            return session.state()

    def _call(
        self,
        session: Session,
        vmfb: bytes,
        inputs: Sequence[np.ndarray],
        function: str,
        threads: int,
    ) -> list[str]:
        driver = None if self._gpu(session, vmfb, function) is None else VULKAN
        module = session.push(vmfb, ".vmfb")
        paths = [session.push(array_bytes(array), ".npy") for array in inputs]
        return call_arguments(module, paths, function, threads, driver)

    def _gpu(self, session: Session, vmfb: bytes, function: str) -> VulkanDevice | None:
        """What runs a module there that was compiled for a GPU; asked for once a session."""
        if driver_of(vmfb, function) is None:
            return None
        if session.vulkan is None:
            session.vulkan = find_there(session.tool, self.name)
        return session.vulkan

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """The session that is held, or a new one; none is held after a failure."""
        if self._held is not None and self._held.is_lost:
            self._let_go()
        if self._held is None:
            self._held = Session(self._transport, self._setup).__enter__()
        try:
            yield self._held
        except BaseException:
            self._let_go()
            raise
        if not self._is_kept:
            self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)
