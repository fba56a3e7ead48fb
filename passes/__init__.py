"""The passes of the bspc flow, by the name `bspc-opt` knows them.

A pass is a frozen dataclass: its fields are its options, `run(module)` rewrites a module in place
and raises an `RTMobileError` when it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from torch_mlir import ir

if __name__ != "rtmobile_iree.passes":
    raise ImportError("import rtmobile_iree.passes, not the top-level folder passes/")


class Pass(Protocol):
    """What every pass offers."""

    name: ClassVar[str]

    def run(self, module: ir.Operation) -> None: ...


def registry() -> dict[str, type[Any]]:
    """Every pass by name, in the order of the flow."""
    from rtmobile_iree.passes.eliminate_dead_units import EliminateDeadUnitsPass
    from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
    from rtmobile_iree.passes.encode import EncodePass
    from rtmobile_iree.passes.lower import LowerPass
    from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
    from rtmobile_iree.passes.pack import PackPass
    from rtmobile_iree.passes.raise_rnn import RaiseRnnPass
    from rtmobile_iree.passes.reorder import ReorderPass

    flow = (
        RaiseRnnPass,
        EliminateDeadUnitsPass,
        EncodePass,
        ReorderPass,
        EliminateLoadsPass,
        PackPass,
        LowerPass,
        LowerVulkanPass,
    )
    return {each.name: each for each in flow}


def run_passes(
    module: ir.Module | ir.Operation,
    passes: Sequence[Pass],
    *,
    before: Callable[[Pass, ir.Operation], None] | None = None,
    after: Callable[[Pass, ir.Operation], None] | None = None,
) -> None:
    """Runs passes in order and verifies the module after each.

    Args:
        before, after: called with each pass and the module's operation.
    """
    operation = module.operation
    for each in passes:
        if before is not None:
            before(each, operation)
        with operation.context, ir.Location.unknown():
            each.run(operation)
        operation.verify()
        if after is not None:
            after(each, operation)
