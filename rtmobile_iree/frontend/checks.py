"""What the front end refuses before torch.export sees the module. Needs torch, not MLIR."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.nn import STOCK

__all__ = ["check_inputs", "check_module", "check_no_packed_sequence", "check_weights"]


def check_module(module: nn.Module) -> None:
    """Refuse a module in training mode, with an unsupported recurrent layer, or with unusable
    weights.

    Raises:
        FrontendError: naming the module path, what was found and what would work.
    """
    for path, child in module.named_modules():
        where = path or type(module).__name__
        if isinstance(child, nn.RNNBase | nn.RNNCellBase):
            _check_recurrent(where, child)
        if child.training:
            raise FrontendError(f"{where}: the module is in training mode; call .eval() first")
    check_weights(module)


def _check_recurrent(where: str, child: nn.Module) -> None:
    stock = next((kind for kind in STOCK if isinstance(child, kind)), None)
    known = ", ".join(f"nn.{kind.__name__}" for kind in STOCK)
    if stock is None:
        raise FrontendError(f"{where}: {type(child).__name__} is not supported; use {known}")
    if type(child).forward is not stock.forward:
        raise FrontendError(
            f"{where}: {type(child).__name__} overrides the forward of nn.{stock.__name__}; "
            f"use nn.{stock.__name__}"
        )


def check_weights(module: nn.Module) -> None:
    """Refuse parameters that are not finite float32 on the CPU, and buffers with a NaN.

    Raises:
        FrontendError: naming the parameter, and the first bad element.
    """
    for name, value in module.named_parameters():
        _check_place(name, value)
        if value.dtype.is_floating_point and value.dtype != torch.float32:
            raise FrontendError(f"{name}: {_dtype(value)} weights are not supported; call .float()")
        _check_values(name, value, torch.isfinite(value))
    for name, buffer in module.named_buffers():
        _check_place(name, buffer)
        if buffer.dtype.is_floating_point:  # an infinite buffer may be a mask
            _check_values(name, buffer, ~torch.isnan(buffer))


def _check_place(name: str, value: torch.Tensor) -> None:
    if value.layout != torch.strided:
        raise FrontendError(f"{name}: a tensor of layout {value.layout}; call .to_dense()")
    if value.device.type != "cpu":
        raise FrontendError(f"{name}: on device {value.device}; move the module with .cpu()")


def _check_values(name: str, value: torch.Tensor, good: torch.Tensor) -> None:
    if bool(good.all()):
        return
    bad = (~good).nonzero()
    first = bad[0].tolist()
    raise FrontendError(
        f"{name} {list(value.shape)}: NaN or infinite values: {len(bad)}, the first "
        f"{value[tuple(first)].item()} at {first}; repair or retrain the weights"
    )


def check_no_packed_sequence(example_inputs: Sequence[object]) -> None:
    """Refuse a PackedSequence, which would otherwise be taken apart as a tuple.

    Raises:
        FrontendError: naming the position.
    """
    for index, value in enumerate(example_inputs):
        if isinstance(value, PackedSequence):
            raise FrontendError(f"example_inputs[{index}]: a PackedSequence; pass a padded tensor")


def check_inputs(leaves: list[object]) -> None:
    """Refuse example inputs (flattened) that cannot be inputs of a compiled program.

    Raises:
        FrontendError: naming the position, what was found and what would work.
    """
    for index, leaf in enumerate(leaves):
        where = f"example_inputs[{index}]"
        if leaf is None or isinstance(leaf, bool | int | float):
            continue
        if not isinstance(leaf, torch.Tensor):
            raise FrontendError(f"{where}: a {type(leaf).__name__}; use tensors or NumPy arrays")
        if leaf.dtype.is_floating_point and leaf.dtype != torch.float32:
            raise FrontendError(f"{where}: dtype {_dtype(leaf)}; use float32")
        if leaf.dtype.is_complex:
            raise FrontendError(f"{where}: dtype {_dtype(leaf)}; use float32")
        if 0 in leaf.shape:
            raise FrontendError(
                f"{where}: shape {list(leaf.shape)} is empty; use sizes of 1 or more"
            )
        _check_place(where, leaf)


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
