"""Who runs a kernel, on what memory, and how long a result takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtmobile_iree.gpu_cost.decode import Kind


@dataclass(frozen=True)
class Latencies:
    """Nanoseconds until a result can be used; `wave`: threads that run in step."""

    wave: int
    arithmetic_ns: float
    shared_ns: float
    global_ns: float


@dataclass(frozen=True)
class Memory:
    """A memref: its element, and the integers in it where they are known."""

    number: int
    kind: Kind
    data: np.ndarray | None


@dataclass(frozen=True)
class Grid:
    """Who runs a kernel: workgroups along x and y, threads of each, push constants, bindings.

    Attributes:
        first_y: number of the first workgroup along y.
    """

    workgroups: tuple[int, int]
    threads: int
    constants: tuple[int, ...]
    bindings: tuple[np.ndarray | None, ...]
    first_y: int = 0
