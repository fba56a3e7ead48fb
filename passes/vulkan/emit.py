"""The emitter for SPIR-V, whose buffers hold scalars or vectors of four, never both.

A cell's vector of one unit is a scalar here, so that cells and activations emit the same
arithmetic for a GPU thread as for a register of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rtmobile_iree.passes.kernels.emit import Emitter
from torch_mlir import ir
from torch_mlir.dialects import arith, math, memref, vector

SHARED = "#gpu.address_space<workgroup>"


@dataclass(frozen=True)
class ThreadEmitter(Emitter):
    """Builders for one thread; `width` is 1.

    Exponentials are the GPU's own. Vulkan asks for 3 + 2 |x| ULP, which moves a sigmoid by 1e-7.
    The CPU's way to round, adding a large number and subtracting it again, does not survive
    drivers: Mesa's simplifies it to nothing.

    Attributes:
        workgroup_size: threads of a workgroup, all in the x dimension.
        unroll: columns a loop over weights takes at once: their loads need not wait for each other.
    """

    native_exp: ClassVar[bool] = True

    workgroup_size: int = 64
    unroll: int = 4

    def vector_type(self, length: int) -> ir.Type:
        return self.f32 if length == 1 else super().vector_type(length)

    def integers(self, length: int) -> ir.Type:
        return _i32() if length == 1 else super().integers(length)

    def integer_splat(self, value: int, length: int) -> ir.Value:
        if length == 1:
            return arith.constant(_i32(), value)
        return super().integer_splat(value, length)

    def splat(self, value: ir.Value | float, length: int) -> ir.Value:
        if length == 1:
            return value if isinstance(value, ir.Value) else self.scalar(value)
        return super().splat(value, length)

    def fma(self, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
        return math.fma(left, right, addend)

    def lanes(self, value: ir.Value) -> list[ir.Value]:
        """The elements of a vector."""
        return [self.lane(value, i) for i in range(ir.VectorType(value.type).shape[0])]

    def thread(self) -> ir.Value:
        """This thread's number in its workgroup (index value)."""
        return _created("gpu.thread_id", dimension="#gpu<dim x>")

    def workgroup(self, axis: int) -> ir.Value:
        """This workgroup's number along an axis (index value)."""
        return _created("hal.interface.workgroup.id", dimension=f"{axis} : index")

    def barrier(self) -> None:
        """All threads of the workgroup arrive, and see what any of them wrote to shared memory."""
        ir.Operation.create("gpu.barrier")

    def shared(self, elements: int, length: int = 1) -> ir.Value:
        """Memory of the workgroup, a flat memref of f32 or of vectors of so many."""
        space = ir.Attribute.parse(SHARED)
        kind = ir.MemRefType.get([elements], self.vector_type(length), memory_space=space)
        return memref.alloc(kind, [], [])

    def for_own(
        self, count: ir.Value | int, body: Callable[[ir.Value], None], first: int = 0
    ) -> None:
        """body(i) for every i below `count`, shared out to the threads of the workgroup.

        Args:
            first: the thread that begins; the workgroup's size is a power of two where it is not 0.
        """
        own, size = self.thread(), self.workgroup_size
        if first % size:
            moved = self.add(own, size - first % size)
            own = arith.andi(moved, self.index(size - 1))
        self.loop(own, count, size, [], body)

    def zero4(self) -> ir.Value:
        """vector<4xf32> of zeros."""
        return self.splat(0.0, 4)

    def broadcast4(self, value: ir.Value) -> ir.Value:
        """vector<4xf32> of one f32."""
        return vector.broadcast(self.vector_type(4), value)


def _created(name: str, **attributes: str) -> ir.Value:
    parsed = {key: ir.Attribute.parse(text) for key, text in attributes.items()}
    index = ir.IndexType.get()
    return ir.Operation.create(name, results=[index], attributes=parsed).result


def _i32() -> ir.Type:
    return ir.IntegerType.get_signless(32)
