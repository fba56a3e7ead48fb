"""Runs a kernel for all its threads side by side, and counts.

Integers are computed, floats are not: which ops run and which addresses they touch depends on the
packed tables and the number of steps alone. A thread that a branch or loop leaves out is masked, as
in a GPU's wave. A loop whose turns differ in nothing but addresses (steps of a scan) runs once and
counts as often as it turns.

Time here is the longest chain of ops that wait for each other. A compiler orders ops within a block
as it likes, so each begins when its operands are there; the next block begins when all have begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch_mlir import ir

from rtmobile_iree.errors import CompileError
from rtmobile_iree.gpu_cost.counts import LINE_BYTES, Phase
from rtmobile_iree.gpu_cost.decode import Instruction, Region
from rtmobile_iree.gpu_cost.grid import Grid, Latencies, Memory
from rtmobile_iree.gpu_cost.loops import turns_alike
from rtmobile_iree.gpu_cost.operations import (
    HALF,
    HALF_FMA,
    INTEGER,
    INTEGERS,
    PREDICATES,
    cost_class,
    is_known,
)


@dataclass
class _Open:
    """A phase that is being counted; `ops`: of each wave."""

    ops: np.ndarray
    work: Counter[str] = field(default_factory=Counter)
    issued: Counter[str] = field(default_factory=Counter)
    line_bytes: int = 0
    lines: dict[int, list[np.ndarray]] = field(default_factory=dict)


class Threads:
    """All threads of a dispatch; `run` counts it."""

    def __init__(self, grid: Grid, latencies: Latencies, numbers: int) -> None:
        x, y = grid.workgroups
        self.grid, self.latencies = grid, latencies
        self.count = x * y * grid.threads
        group = np.repeat(np.arange(x * y), grid.threads)
        self.thread = np.tile(np.arange(grid.threads), x * y)
        self.workgroup = (group % x, grid.first_y + group // x, np.zeros_like(group))
        wave = min(latencies.wave, grid.threads)
        assert grid.threads % wave == 0, (grid.threads, wave)
        self.wave_size, self.waves = wave, self.count // wave
        self.wave_of = np.repeat(np.arange(self.waves), wave)
        self.values: list[Any] = [None] * numbers
        self.ready: list[Any] = [0.0] * numbers
        self.now, self.latest = np.zeros(self.waves), np.zeros(self.waves)
        self._set_mask(np.ones(self.count, bool))
        self.phases: list[Phase] = []
        self.shared_bytes = 0
        self._open = _Open(np.zeros(self.waves, np.int64))

    def run(self, body: Region) -> tuple[Phase, ...]:
        """Counts the kernel's whole body."""
        self._region(body)
        self._close()
        self._set_working_sets(0)
        return tuple(self.phases)

    def _region(self, region: Region) -> list[int]:
        """Runs a region; the values it yields."""
        for each in region.instructions:
            if each.name == "scf.yield":
                return list(each.operands)
            handler = HANDLERS.get(each.name)
            if handler is not None:
                handler(self, each)
            elif is_known(each.name):
                self._arithmetic(each)
            else:
                raise CompileError(f"gpu_cost: {each.name}: no kernel of ours has had it so far")
        return []

    # arithmetic

    def _arithmetic(self, each: Instruction) -> None:
        kind = each.kinds[0]
        issue = self._issue(each.operands)
        found = cost_class(each.name, kind.is_integer, kind.bits)
        delay = 0.0
        if found is not None:
            self._count(found, kind.width)
            slots = -(-kind.width // 2) if found in (HALF, HALF_FMA) else kind.width
            self._open.ops += slots * self.waves_on
            delay = self.latencies.arithmetic_ns
        self._define(each, self._computed(each), issue + delay)

    def _computed(self, each: Instruction) -> Any:
        if each.constant is not None:
            return each.constant
        operands = [self.values[number] for number in each.operands]
        if each.name == "vector.extract":
            return _lane(operands[0], each.op)
        if each.name == "vector.from_elements":
            return tuple(operands) if each.kinds[0].is_integer else None
        if each.name == "arith.cmpi":
            compute = PREDICATES[ir.IntegerAttr(each.op.attributes["predicate"]).value]
            return compute(*operands) if _all_known(operands) else None
        function = INTEGERS.get(each.name)
        is_plain = function is not None and each.kinds[0].is_integer
        return function(*operands) if is_plain and function and _all_known(operands) else None

    def _issue(self, operands: tuple[int, ...]) -> Any:
        """When an op can begin, by wave."""
        issue: Any = self.now
        for number in operands:
            issue = np.maximum(issue, self.ready[number])
        self.latest = np.where(self.waves_on, np.maximum(self.latest, issue), self.latest)
        return issue

    def _define(self, each: Instruction, value: Any, ready: Any) -> None:
        (number,) = each.results
        self.values[number], self.ready[number] = value, ready

    def _count(self, what: str, amount: int) -> None:
        self._open.work[what] += amount * self.active
        self._open.issued[what] += amount * self.issuing

    def _set_mask(self, mask: np.ndarray) -> None:
        """Which threads are active; their waves issue what they do for all their threads."""
        self.mask = mask
        self.waves_on: Any = mask.reshape(self.waves, self.wave_size).any(1)
        self.active = int(np.count_nonzero(mask))
        self.issuing = self.wave_size * int(np.count_nonzero(self.waves_on))

    # memory

    def load(self, each: Instruction) -> None:
        memory, index = self.values[each.operands[0]], self.values[each.operands[1]]
        delay = self._touch(memory, index, "read")
        value = None
        if memory.data is not None and index is not None:
            at = np.where(self.mask, index, 0)
            found = memory.data[at]
            value = tuple(found.T) if found.ndim > 1 else found
        self._define(each, value, self._issue(each.operands) + delay)

    def store(self, each: Instruction) -> None:
        memory, index = self.values[each.operands[1]], self.values[each.operands[2]]
        self._touch(memory, index, "written")
        self._issue(each.operands)

    def _touch(self, memory: Memory, index: Any, what: str) -> float:
        """Counts an access; how long it takes."""
        size = memory.kind.size_bytes
        self._open.ops += self.waves_on
        if memory.kind.is_shared:
            self._count("shared", size)
            return self.latencies.shared_ns
        self._count(what, size)
        if index is None:
            raise CompileError(f"gpu_cost: an address depends on data; buffer {memory.number}")
        lines = np.broadcast_to(index, (self.count,))[self.mask] * size // LINE_BYTES
        joined = self.wave_of[self.mask] << 40 | lines
        self._open.line_bytes += LINE_BYTES * np.unique(joined).size
        self._open.lines.setdefault(memory.number, []).append(np.unique(lines))
        return self.latencies.global_ns

    def allocate(self, each: Instruction) -> None:
        (kind,) = each.kinds
        assert kind.shape is not None
        self.shared_bytes += kind.size_bytes * int(np.prod([size or 0 for size in kind.shape]))
        self._define(each, Memory(each.results[0], kind, None), 0.0)

    def binding(self, each: Instruction) -> None:
        at = ir.IntegerAttr(each.op.attributes["binding"]).value
        data = self.grid.bindings[at] if at < len(self.grid.bindings) else None
        self._define(each, Memory(at, each.kinds[0], _integers(data)), 0.0)

    # where a thread is

    def identity(self, each: Instruction) -> None:
        if each.name == "gpu.thread_id":
            self._define(each, self.thread, 0.0)
            return
        name = "ordinal" if each.name == "hal.interface.constant.load" else "dimension"
        number = ir.IntegerAttr(each.op.attributes[name]).value
        if name == "ordinal":
            self._define(each, np.int64(self.grid.constants[number]), 0.0)
            return
        self._define(each, self.workgroup[number], 0.0)

    # control

    def barrier(self, each: Instruction) -> None:
        self._close(ends_with_barrier=True)

    def if_(self, each: Instruction) -> None:
        condition = self.values[each.operands[0]]
        if condition is None:
            raise CompileError("gpu_cost: a branch depends on data")
        self._issue(each.operands)
        outer = self.mask
        taken: Any = outer & np.broadcast_to(condition, (self.count,)).astype(bool)
        yielded = []
        for mask, region in zip((taken, outer & ~taken), each.regions, strict=False):
            self._set_mask(mask)
            self.now = self.latest
            inside = self._region(region) if mask.any() else []
            yielded.append((mask, [(self.values[n], self.ready[n]) for n in inside]))
        self._set_mask(outer)
        self.now = self.latest
        for position, number in enumerate(each.results):
            ways = [found[position] for _, found in yielded if found]
            known = len(ways) == len(yielded) and all(value is not None for value, _ in ways)
            both = known and each.kinds[position].is_integer
            values = [value for value, _ in ways]
            self.values[number] = np.where(taken, *values) if both else None
            self.ready[number] = np.maximum.reduce([np.broadcast_to(r, self.waves)
                                                    for _, r in ways])  # fmt: skip

    def for_(self, each: Instruction) -> None:
        low, high, step = (self.values[number] for number in each.operands[:3])
        if low is None or high is None or step is None:
            raise CompileError("gpu_cost: a loop's bounds depend on data")
        self._issue(each.operands[:3])
        inner, *carried = each.regions[0].arguments
        for number, start in zip(carried, each.operands[3:], strict=True):
            self.values[number], self.ready[number] = self.values[start], self.ready[start]
        outer = self.mask
        turns = np.broadcast_to(np.maximum(0, -(-(high - low) // step)), (self.count,))
        most = int(turns[outer].max(initial=0))
        self.now = self.latest
        if most > 1 and turns_alike(each) and (turns[outer] == most).all():
            self._repeated(each, inner, low, most)
        else:
            for turn in range(most):
                self._set_mask(outer & (turn < turns))
                self._turn(each, inner, low + turn * step, carried)
        self._set_mask(outer)
        self.now = self.latest
        for number, source in zip(each.results, carried, strict=True):
            self.values[number], self.ready[number] = None, self.ready[source]

    def _turn(self, each: Instruction, inner: int, at: Any, carried: list[int]) -> None:
        self._count(INTEGER, 2)  # the turn's number, and whether it is the last
        self._open.ops += 2 * self.waves_on
        self.values[inner], self.ready[inner] = at, self.now
        for number, source in zip(carried, self._region(each.regions[0]), strict=True):
            self.values[number], self.ready[number] = self.values[source], self.ready[source]
        self.now = self.latest

    def _repeated(self, each: Instruction, inner: int, low: Any, times: int) -> None:
        """One turn, in phases of its own that count as often as it turns."""
        self._close()
        first = len(self.phases)
        carried = list(each.regions[0].arguments[1:])
        self._turn(each, inner, low, carried)
        self._close()
        self._set_working_sets(first)
        self.phases[first:] = [phase.repeated(times) for phase in self.phases[first:]]

    # phases

    def _close(self, ends_with_barrier: bool = False) -> None:
        """Ends the phase; all waves go on together."""
        done, path = self._open, float(self.latest.max())
        lines = sum(np.unique(np.concatenate(each)).size for each in done.lines.values())
        if done.issued or ends_with_barrier:
            self.phases.append(
                Phase(done.work, done.issued, done.line_bytes, LINE_BYTES * lines, path,
                      wave_ops=int(done.ops.max()), ends_with_barrier=ends_with_barrier)
            )  # fmt: skip
        self._open = _Open(np.zeros(self.waves, np.int64))
        self.now, self.latest = np.zeros(self.waves), np.zeros(self.waves)
        self.ready = [0.0] * len(self.ready)

    def _set_working_sets(self, first: int) -> None:
        """What the phases from `first` on read, where no inner loop has said it."""
        own = [phase for phase in self.phases[first:] if not phase.working_set]
        size = sum(phase.distinct_bytes for phase in own)
        self.phases[first:] = [
            phase if phase.working_set else replace(phase, working_set=size)
            for phase in self.phases[first:]
        ]


HANDLERS: dict[str, Callable[[Threads, Instruction], None]] = {
    "memref.load": Threads.load,
    "memref.store": Threads.store,
    "memref.alloc": Threads.allocate,
    "hal.interface.binding.subspan": Threads.binding,
    "hal.interface.constant.load": Threads.identity,
    "hal.interface.workgroup.id": Threads.identity,
    "gpu.thread_id": Threads.identity,
    "gpu.barrier": Threads.barrier,
    "scf.if": Threads.if_,
    "scf.for": Threads.for_,
    "func.return": lambda threads, each: None,
}


def _integers(data: np.ndarray | None) -> np.ndarray | None:
    """The integers a buffer holds, if it does."""
    is_table = data is not None and np.issubdtype(data.dtype, np.integer)
    return data.astype(np.int64) if data is not None and is_table else None


def _lane(vector: Any, op: ir.Operation) -> Any:
    positions = list(ir.DenseI64ArrayAttr(op.attributes["static_position"]))
    return vector[positions[0]] if isinstance(vector, tuple) else None


def _all_known(values: list[Any]) -> bool:
    return all(value is not None and not isinstance(value, tuple) for value in values)
