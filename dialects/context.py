"""One context for the whole flow: torch-mlir's dialects, ours, and IREE's as unregistered names."""

from __future__ import annotations

from rtmobile_iree.dialects.bspc import BSPC
from torch_mlir import ir
from torch_mlir.dialects import torch as torch_dialect


def make_context() -> ir.Context:
    """A new context that knows `bspc` and `torch`.

    Ops of dialects it does not know are kept as they are: after `bspc-lower` a module holds ops of
    IREE's `hal` and `flow` dialects, which only IREE verifies.
    """
    context = ir.Context()
    context.allow_unregistered_dialects = True
    torch_dialect.register_dialect(context)
    load_bspc(context)
    return context


def load_bspc(context: ir.Context) -> None:
    """Loads the dialect into a context, once."""
    if not context.is_dialect_loaded(BSPC.DIALECT_NAMESPACE):
        with context, ir.Location.unknown():
            BSPC.load()
