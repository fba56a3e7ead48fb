"""Runs the program around the kernels: which of them it dispatches, how large, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch_mlir import ir

from rtmobile_iree.errors import CompileError
from rtmobile_iree.gpu_cost.counts import KernelRun
from rtmobile_iree.gpu_cost.decode import Decoder, Instruction, Region
from rtmobile_iree.gpu_cost.grid import Grid, Latencies
from rtmobile_iree.gpu_cost.operations import INTEGERS, PREDICATES
from rtmobile_iree.gpu_cost.registers import kept_words, waits
from rtmobile_iree.gpu_cost.threads import Threads
from rtmobile_iree.passes.weights import walk

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor: its sizes, None where they are not followed, and its data where it is constant."""

    shape: Shape
    data: np.ndarray | None = None


@dataclass(frozen=True)
class Kernel:
    """An executable.

    Attributes:
        body: of its function; `numbers`: values in it.
        count: the region that says how many workgroups run.
        threads: of a workgroup.
        kept_words: see `registers.kept_words`.
        branches: whether barriers are under branches: workgroups of each y take their own way.
    """

    body: Region
    numbers: int
    count: Region
    threads: int
    kept_words: int
    branches: bool


@dataclass
class Host:
    """One call of `main`.

    Attributes:
        runs: its dispatches, in order; those that do the same are one.
        left_out: names of the ops that IREE makes kernels of.
    """

    kernels: dict[str, Kernel]
    latencies: Latencies
    runs: list[KernelRun] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _values: dict[int, Any] = field(default_factory=dict)
    _done: dict[Any, int] = field(default_factory=dict)

    def region(self, region: Region) -> list[Any]:
        """Runs a region; what it yields."""
        for each in region.instructions:
            if each.name in ("scf.yield", "func.return", "hal.return"):
                return [self._values.get(number) for number in each.operands]
            self._run(each)
        return []

    def _run(self, each: Instruction) -> None:
        if each.name == "flow.dispatch":
            self._dispatch(each)
            return
        if each.name == "scf.for":
            self._for(each)
            return
        if each.name.startswith("linalg.") and each.name != "linalg.yield":
            self.left_out.append(each.name)
        for number, value in zip(each.results, self._results(each), strict=True):
            self._values[number] = value

    def _results(self, each: Instruction) -> list[Any]:
        operands = [self._values.get(number) for number in each.operands]
        if each.name == "arith.constant":
            is_array = isinstance(each.constant, np.ndarray)
            shape = each.kinds[0].shape or ()
            return [Tensor(shape, each.constant) if is_array else each.constant]
        if each.name == "tensor.dim":
            return [self._dim(operands[0], operands[1])]
        if each.name == "arith.cmpi":
            predicate = PREDICATES[ir.IntegerAttr(each.op.attributes["predicate"]).value]
            return [None if None in operands else predicate(*operands)]
        if each.name in INTEGERS:
            return [None if None in operands else INTEGERS[each.name](*operands)]
        return [self._shaped(each, kind.shape, operands) for kind in each.kinds]

    def _dim(self, tensor: Any, axis: Any) -> Any:
        size = tensor.shape[int(axis)] if isinstance(tensor, Tensor) else None
        return None if size is None else np.int64(size)

    def _shaped(self, each: Instruction, shape: Shape | None, operands: list[Any]) -> Any:
        """A result known by its sizes: those of its type, of the op, or of what it is made from."""
        if shape is None:
            return None
        if None not in shape:
            return Tensor(shape)
        sizes = [o for o in operands if isinstance(o, np.integer)]
        if each.name == "tensor.expand_shape" and len(sizes) == shape.count(None):
            rest = iter(sizes)
            return Tensor(tuple(int(next(rest)) if s is None else s for s in shape))
        if each.name == "tensor.collapse_shape" and isinstance(operands[0], Tensor):
            return Tensor(_collapsed(each.op, operands[0].shape))
        same = [o.shape for o in operands if isinstance(o, Tensor) and len(o.shape) == len(shape)]
        return Tensor(same[-1] if same else shape)

    def _for(self, each: Instruction) -> None:
        low, high, step = (self._values.get(number) for number in each.operands[:3])
        if low is None or high is None or step is None:
            raise CompileError("gpu_cost: a loop of the program has bounds that are not known")
        inner, *carried = each.regions[0].arguments
        current = [self._values.get(number) for number in each.operands[3:]]
        for at in range(int(low), int(high), int(step)):
            self._values[inner] = np.int64(at)
            self._values |= dict(zip(carried, current, strict=True))
            current = self.region(each.regions[0])
        self._values |= dict(zip(each.results, current, strict=True))

    def _dispatch(self, each: Instruction) -> None:
        name = str(each.op.attributes["entry_points"]).split("@")[1].split("::")[0]
        workload, arguments, _, dims = ir.DenseI32ArrayAttr(
            each.op.attributes["operandSegmentSizes"]
        )
        operands = [self._values.get(number) for number in each.operands]
        given = operands[workload : workload + arguments]
        constants = tuple(value for value in given if not isinstance(value, Tensor | None))
        arrays = tuple(o.data if isinstance(o, Tensor) else None for o in given[len(constants) :])
        if operands[0] is None:
            raise CompileError(f"gpu_cost: {name}: its workload is not known")
        kernel = self.kernels[name]
        self._count_run(name, kernel, int(operands[0]), tuple(map(int, constants)), arrays)
        sizes = iter(operands[len(operands) - dims :])
        for number, kind in zip(each.results, each.kinds, strict=True):
            shape = tuple(_size(next(sizes)) if s is None else s for s in kind.shape or ())
            self._values[number] = Tensor(shape)

    def _count_run(
        self, name: str, kernel: Kernel, workload: int, constants: tuple[int, ...], arrays: Any
    ) -> None:
        key = (name, workload, constants, tuple(map(id, arrays)))
        if key in self._done:
            at = self._done[key]
            self.runs[at] = replace(self.runs[at], times=self.runs[at].times + 1)
            return
        x, y = _workgroups(kernel.count, workload)
        rows = [((x, 1), row) for row in range(y)] if kernel.branches else [((x, y), 0)]
        grids = [Grid(size, kernel.threads, constants, arrays, row) for size, row in rows]
        first, *beside = (self._run_of(name, kernel, grid) for grid in grids)
        self._done[key] = len(self.runs)
        self.runs.append(replace(first, beside=tuple(beside)))

    def _run_of(self, name: str, kernel: Kernel, grid: Grid) -> KernelRun:
        x, y = grid.workgroups
        threads = Threads(grid, self.latencies, kernel.numbers)
        phases = threads.run(kernel.body)
        return KernelRun(
            name, x * y, kernel.threads, threads.shared_bytes, phases, kernel.kept_words
        )


def count_runs(
    module: ir.Module, steps: int, latencies: Latencies
) -> tuple[tuple[KernelRun, ...], tuple[str, ...]]:
    """The dispatches of a call of `main`, and the ops that are in none of them.

    Args:
        module: after `bspc-lower-vulkan`.
        steps: what its open sizes are.

    Raises:
        CompileError: control flow that depends on data.
    """
    ops = [op for op in walk(module.operation) if op.name == "hal.executable.source"]
    kernels = {ir.StringAttr(op.attributes["sym_name"]).value: _read_kernel(op) for op in ops}
    main = next(
        op.operation for op in module.body.operations
        if op.operation.name == "func.func" and "sym_visibility" not in op.operation.attributes
    )  # fmt: skip
    decoder = Decoder()
    body = decoder.region(main.regions[0])
    host = Host(kernels, latencies)
    for number in body.arguments:
        shape = decoder.kinds[number].shape
        sizes = None if shape is None else tuple(steps if s is None else s for s in shape)
        host._values[number] = None if sizes is None else Tensor(sizes)
    host.region(body)
    return tuple(host.runs), tuple(host.left_out)


def _read_kernel(source: ir.Operation) -> Kernel:
    ops = list(walk(source))
    export = next(op for op in ops if op.name == "hal.executable.export")
    function = next(op for op in ops if op.name == "func.func")
    decoder, counting = Decoder(), Decoder()
    body = decoder.region(function.regions[0])
    text = str(function.attributes["translation_info"])
    size = text.partition("workgroup_size = [")[2].partition("]")[0]
    threads = int(np.prod([int(part) for part in size.split(",")]))
    kept = kept_words(body, decoder.kinds)
    branches = any(each.name == "scf.if" and waits(each) for each in body.instructions)
    return Kernel(
        body, len(decoder.kinds), counting.region(export.regions[0]), threads, kept, branches
    )


def _workgroups(count: Region, workload: int) -> tuple[int, int]:
    """How many run along x and y: the export's own region, computed."""
    host = Host({}, Latencies(1, 0, 0, 0))
    host._values[count.arguments[-1]] = np.int64(workload)
    x, y, _ = host.region(count)
    return int(x), int(y)


def _collapsed(op: ir.Operation, shape: Shape) -> Shape:
    groups = [[ir.IntegerAttr(i).value for i in group] for group in op.attributes["reassociation"]]
    sizes = [[shape[i] for i in group] for group in groups]
    return tuple(None if None in each else int(np.prod(each)) for each in sizes)


def _size(value: Any) -> int | None:
    return None if value is None else int(value)
