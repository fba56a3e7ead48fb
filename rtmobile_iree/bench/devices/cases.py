"""What a device benchmark times: `.vmfb` files as they are, or a model compiled at each rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rtmobile_iree.bench.devices.results import Case
from rtmobile_iree.bench.devices.rounds import Progress
from rtmobile_iree.bench.files import file_inputs, is_file
from rtmobile_iree.bench.models import make_variant, write_reference
from rtmobile_iree.bench.peers.registry import tolerance
from rtmobile_iree.bench.plan import DEFAULT_RATES
from rtmobile_iree.bench.results import AS_IS
from rtmobile_iree.devices.contents import load_contents
from rtmobile_iree.errors import InputError


def file_cases(paths: Sequence[Path], steps: Sequence[int]) -> list[Case]:
    """A case a file and number of steps; a file of one size has one.

    Raises:
        InputError: a file that cannot be read, or that does not say what it takes.
    """
    cases = []
    for path in paths:
        contents = load_contents(path)
        counts = steps if contents.is_open else (0,)
        cases += [Case(contents, n, tuple(contents.example_inputs(n))) for n in counts]
    return cases


def model_cases(
    model: str,
    rates: Sequence[str] | None,
    steps: Sequence[int],
    inputs: Sequence[str],
    target: str,
    folder: Path,
    *,
    progress: Progress,
    **options: Any,
) -> list[Case]:
    """A case a rate and number of steps, each with PyTorch's outputs.

    Args:
        model: `package.module:callable`, or the path of a `.pt2` or `.mlir`.
        rates: pruning rates; the benchmark's own when None.
        steps: time steps of a call.
        inputs: `f32[1,T,40]`, one a forward() argument, where the module offers none.
        target: to compile for.
        folder: for files.
        progress: called with a line at each stage.
        options: those of `compile`.

    Raises:
        InputError: rates for a file, or a model that cannot be loaded.
        RTMobileError: one that cannot be pruned or compiled.
    """
    is_open, specs = True, tuple(inputs)
    if is_file(model):
        if rates is not None:
            raise InputError(f"--rates: {model} is a file, and timed as it is")
        found = file_inputs(model, inputs)
        is_open, specs = found.steps is None, found.specs
        steps = found.choose_steps(steps)
    cases = []
    for rate in (AS_IS,) if is_file(model) else rates or DEFAULT_RATES:
        progress(f"compiling {model} {rate} for {target}")
        variant = make_variant(model, rate, specs, folder)
        variant = variant.compiled(target, steps[-1], is_open, **options)
        assert variant.vmfb is not None
        contents = load_contents(variant.vmfb)
        contents = replace(contents, name=model if rate == AS_IS else f"{model} {rate}")
        for count in steps:
            given, expected = write_reference(variant, count)
            bound = tolerance(options.get("values", "f32"))
            cases.append(Case(contents, count, _loaded(given), _loaded(expected), bound))
    return cases


def _loaded(paths: Sequence[str]) -> tuple[np.ndarray, ...]:
    return tuple(np.load(path) for path in paths)
