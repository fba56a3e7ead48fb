"""Shapes of a stream's chunks: frames are given as [I], [T, I] or in full, and outputs follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtmobile_iree.errors import InputError

if TYPE_CHECKING:
    from rtmobile_iree.program import InputSpec


def full_shape(spec: InputSpec, given: tuple[int, ...]) -> tuple[int, ...]:
    """The program's shape of frames given as [I], [T, I] (batch 1) or in full.

    Raises:
        InputError: another shape, or no frame at all.
    """
    axes = range(len(spec.shape))
    chunk = [a for a in axes if spec.shape[a] != 1 or a == axes[-1]]
    frame = [a for a in chunk if spec.shape[a] is not None]
    for kept in (list(axes), chunk, frame):
        if len(kept) != len(given):
            continue
        sizes = dict(zip(kept, given, strict=True))
        full = tuple(sizes.get(a, 1) for a in axes)
        if all(want in (None, n) for want, n in zip(spec.shape, full, strict=True)) and all(full):
            return full
    forms = {str([spec.shape[a] or "T" for a in kept]) for kept in (list(axes), chunk, frame)}
    listed = " or ".join(sorted(forms, key=len)).replace("'", "")
    raise InputError(f"frames: shape {list(given)}; this stream takes {listed}, T 1 or more")


def sizes(spec: InputSpec, steps: int) -> tuple[int, ...]:
    """A shape of so many steps."""
    return tuple(steps if size is None else size for size in spec.shape)


def as_given(
    full: tuple[int, ...], output: InputSpec, frames: InputSpec, given: tuple[int, ...]
) -> tuple[int, ...]:
    """An output's shape without the axes that the frames were given without, if it has them too."""
    alike = len(output.shape) == len(frames.shape) and output.shape[:-1] == frames.shape[:-1]
    return (*given[:-1], full[-1]) if alike else full
