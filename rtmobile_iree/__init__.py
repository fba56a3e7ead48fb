"""RTMobile for IREE: pruned recurrent networks become fast `.vmfb` modules.

The package's front door. Everything here is imported on first use, so that `import rtmobile_iree`
and the NumPy-only parts of it (`rtmobile_iree.bspc`) cost neither torch nor MLIR:

    import rtmobile_iree as rt
    rt.prune(module, column_rate=16, row_rate=2, row_stripes=48, col_blocks=8)
    program = rt.compile(module, example_inputs, target="host")
    outputs = program(*inputs)
    output = rt.stream(program).step(frames)
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmobile_iree.errors import (
        CompileError,
        DeviceError,
        DivergenceError,
        EncodeError,
        FormatError,
        FrontendError,
        InputError,
        PruneError,
        RTMobileError,
        TargetError,
    )
    from rtmobile_iree.program import Program, compile, load
    from rtmobile_iree.prune import PruneReport, prune
    from rtmobile_iree.prune.pruner import BSPPruner
    from rtmobile_iree.prune.recipe import Recipe
    from rtmobile_iree.report.encoding import Report
    from rtmobile_iree.streaming import Stream, stream

__version__ = "0.1.0"

# exported name -> module that defines it
_HOMES = {
    "Program": "program",
    "Report": "report.encoding",
    "compile": "program",
    "load": "program",
    "Stream": "streaming",
    "stream": "streaming",
    "PruneReport": "prune",
    "prune": "prune",
    "BSPPruner": "prune.pruner",
    "Recipe": "prune.recipe",
    "CompileError": "errors",
    "DivergenceError": "errors",
    "DeviceError": "errors",
    "EncodeError": "errors",
    "FormatError": "errors",
    "FrontendError": "errors",
    "InputError": "errors",
    "PruneError": "errors",
    "RTMobileError": "errors",
    "TargetError": "errors",
}

__all__ = [
    "BSPPruner",
    "CompileError",
    "DivergenceError",
    "DeviceError",
    "EncodeError",
    "FormatError",
    "FrontendError",
    "InputError",
    "Program",
    "PruneError",
    "PruneReport",
    "RTMobileError",
    "Recipe",
    "Report",
    "Stream",
    "TargetError",
    "compile",
    "load",
    "prune",
    "stream",
]


def __getattr__(name: str) -> Any:
    """Imports an exported name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package's own type: it keeps `rt.prune` the function.

    Importing the subpackage `rtmobile_iree.prune` makes Python set the attribute of that name to
    the subpackage. The function is what the API promises, so that one assignment is dropped; the
    subpackage stays reachable as `from rtmobile_iree.prune import ...` and in `sys.modules`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
