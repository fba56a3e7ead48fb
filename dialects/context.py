"""One context for the whole flow: torch-mlir's dialects, ours, and IREE's as unregistered names."""

from __future__ import annotations

from rtmobile_iree.dialects import recurrent  # noqa: F401, its ops join the dialect
from rtmobile_iree.dialects.bspc import BSPC
from torch_mlir import ir
from torch_mlir.dialects import torch as torch_dialect
from torch_mlir.passmanager import PassManager


def make_context() -> ir.Context:
    """A new context that knows `bspc`, `torch` and `torch_c`.

    Ops of dialects it does not know are kept as they are: after `bspc-lower` a module holds ops of
    IREE's `hal` and `flow` dialects, which only IREE verifies.
    """
    context = ir.Context()
    context.allow_unregistered_dialects = True
    torch_dialect.register_dialect(context)
    _load_torch_conversion(context)
    load_bspc(context)
    return context


def load_bspc(context: ir.Context) -> None:
    """Loads the dialect into a context, once."""
    if not context.is_dialect_loaded(BSPC.DIALECT_NAMESPACE):
        with context, ir.Location.unknown():
            BSPC.load()


def _load_torch_conversion(context: ir.Context) -> None:
    """Loads `torch_c`, whose ops stand between torch's types and tensors after `bspc-raise-rnn`.

    The bindings do not register it; a pass that may create its ops loads it, even on nothing.
    """
    with context, ir.Location.unknown():
        pipeline = "builtin.module(torch-func-backend-type-conversion)"
        PassManager.parse(pipeline).run(ir.Module.create().operation)
