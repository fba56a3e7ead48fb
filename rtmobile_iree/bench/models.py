"""The models of a benchmark: one variant a pruning rate, with PyTorch's own outputs beside it.

A module is pruned at each rate; a file is taken as it is. An `.mlir` has no PyTorch to be compared
with: the NumPy evaluator says what its outputs are.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from rtmobile_iree.bench.files import gru_weights, is_file
from rtmobile_iree.bench.peers.registry import BSP, DENSE
from rtmobile_iree.bench.peers.torch_peer import as_tuple
from rtmobile_iree.bench.results import AS_IS
from rtmobile_iree.bench.squares import prune_squares
from rtmobile_iree.errors import InputError
from rtmobile_iree.model_source import example_inputs, load_module

RATE_FORM = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Variant:
    """The model at one rate.

    Attributes:
        model: `package.module:callable`, or the path of a `.pt2` or `.mlir`.
        rate: "10x1", or "dense"; "as is" for a file.
        module: in eval mode, pruned; None for an `.mlir`.
        inputs: how to make inputs; see `example_inputs`.
        folder: for its files.
        kept: nonzero weights of its recurrent layers, biases apart; of all its matrices where it
            has none.
        weights: all of those, zero or not.
        pattern: where the zeros are: "dense", "BSP", "8x8"; "as is" for a file.
        vmfb: the compiled program, once there is one.
        compile_s: seconds that took.
    """

    model: str
    rate: str
    module: nn.Module | None
    inputs: tuple[str, ...]
    folder: Path
    kept: int
    weights: int
    pattern: str
    vmfb: Path | None = None
    compile_s: float | None = None

    def example_inputs(self, steps: int) -> tuple[Tensor, ...]:
        """Inputs of `steps` steps: those asked for, or the module's own."""
        return example_inputs(self.module, self.inputs, steps)

    @property
    def weights_file(self) -> Path:
        return self.folder / "weights.pt"

    def compiled(self, target: str, steps: int, dynamic_steps: bool, **options: Any) -> Variant:
        """The same with its program compiled and saved; `options`: those of `compile`."""
        from rtmobile_iree.program import compile

        source = Path(self.model) if is_file(self.model) else self.module
        start = time.perf_counter()
        inputs = self.example_inputs(steps)
        program = compile(source, inputs, target, dynamic_steps, **options)
        seconds = time.perf_counter() - start
        path = self.folder / ("program.vmfb" if dynamic_steps else f"program-{steps}.vmfb")
        program.save(path)
        return replace(self, vmfb=path, compile_s=seconds)


def parse_rate(rate: str) -> tuple[float, float]:
    """Column and row rate of "10x1"; (1, 1) of "dense".

    Raises:
        InputError: another form, or a rate below 1.
    """
    if rate == DENSE:
        return 1.0, 1.0
    match = RATE_FORM.fullmatch(rate)
    if match is None or min(float(match[1]), float(match[2])) < 1:
        raise InputError(
            f"rate {rate!r}: write column rate x row rate, each at least 1, as 10x1; or dense"
        )
    return float(match[1]), float(match[2])


def make_variant(model: str, rate: str, inputs: Sequence[str], folder: Path) -> Variant:
    """Loads the model, prunes it, and writes its weights."""
    module = None if Path(model).suffix == ".mlir" else load_module(model)
    if rate not in (DENSE, AS_IS):
        from rtmobile_iree.prune import prune

        assert module is not None
        columns, rows = parse_rate(rate)
        prune(module, column_rate=columns, row_rate=rows)
    pattern = rate if rate in (DENSE, AS_IS) else BSP
    return _written(Variant(model, rate, module, tuple(inputs), folder / rate, 0, 0, pattern))


def make_squares(variant: Variant, block: int) -> Variant:
    """The model with as many weights kept as in a pruned variant, in square blocks."""
    assert variant.module is not None
    module, pattern = load_module(variant.model), f"{block}x{block}"
    kept = [int(torch.count_nonzero(p)) for p in counted_matrices(variant.module)]
    prune_squares(counted_matrices(module), kept, block)
    folder = variant.folder.with_name(f"{variant.rate}-{pattern}")
    return _written(replace(variant, module=module, pattern=pattern, folder=folder, vmfb=None))


def _written(variant: Variant) -> Variant:
    """The variant with its weights counted and written."""
    module = variant.module
    matrices = [] if module is None else counted_matrices(module)
    variant.folder.mkdir()
    if module is not None:
        torch.save(module.state_dict(), variant.weights_file)
    return replace(
        variant,
        kept=sum(int(torch.count_nonzero(p)) for p in matrices),
        weights=sum(p.numel() for p in matrices),
    )


def counted_matrices(module: nn.Module) -> list[Tensor]:
    """The matrices that a rate is stated for: those `prune` works on, as in the paper's tables."""
    if isinstance(module, fx.GraphModule) and (found := gru_weights(module)):
        return found
    layers = [m for m in module.modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase)]
    owners: list[nn.Module] = list(layers) or [module]
    return [p for owner in owners for p in owner.parameters() if p.dim() == 2]


def write_reference(variant: Variant, steps: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Writes inputs of `steps` steps and PyTorch's outputs; returns their `.npy` files."""
    inputs = variant.example_inputs(steps)
    if variant.module is None:
        outputs = evaluated(variant.model, inputs)
    else:
        outputs = _called(variant, inputs, steps)
    return _save(variant, f"input-{steps}", inputs), _save(variant, f"expected-{steps}", outputs)


def _called(variant: Variant, inputs: Sequence[Tensor], steps: int) -> tuple[Tensor, ...]:
    """PyTorch's outputs; a `.pt2` may have been exported for one number of steps only."""
    assert variant.module is not None
    try:
        with torch.inference_mode():
            return as_tuple(variant.module(*inputs))
    except (AssertionError, RuntimeError) as error:
        if not is_file(variant.model):
            raise
        raise InputError(
            f"{variant.model}: does not run with {steps} steps ({str(error).splitlines()[0]}); "
            "choose --steps it was exported for, or export it with the steps open"
        ) from error


def evaluated(model: str, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Outputs of an `.mlir` by the NumPy evaluator."""
    from rtmobile_iree.frontend import import_module
    from rtmobile_iree.reference import evaluate

    module = import_module(Path(model)).module
    outputs = evaluate(module, *(tensor.numpy() for tensor in inputs))
    return tuple(map(torch.from_numpy, outputs))


def _save(variant: Variant, name: str, tensors: Sequence[Tensor]) -> tuple[str, ...]:
    paths = [variant.folder / f"{name}-{i}.npy" for i in range(len(tensors))]
    for path, tensor in zip(paths, tensors, strict=True):
        np.save(path, tensor.numpy())
    return tuple(map(str, paths))
