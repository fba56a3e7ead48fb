"""What a thread of a kernel holds in registers from before its loop over steps, by our IR."""

from __future__ import annotations

from collections.abc import Iterator

from rtmobile_iree.gpu_cost.decode import Instruction, Kind, Region

WORD_BITS = 32
THREAD = "gpu.thread_id"


def kept_words(body: Region, kinds: dict[int, Kind]) -> int:
    """32-bit words of the values that differ from thread to thread, are there before a loop with
    barriers and are used in it, and of what that loop carries; the most of any such loop.

    A driver's compiler may keep less, by loading again, or more, by moving ops out of the loop.
    """
    own = _own(body, set())
    loops = _step_loops(body)
    return max((_kept(loop, own, kinds) for loop in loops), default=0)


def _kept(loop: Instruction, own: set[int], kinds: dict[int, Kind]) -> int:
    region = loop.regions[0]
    defined = {number for each in _nested(region) for number in each.results}
    defined |= {n for each in _nested(region) for inner in each.regions for n in inner.arguments}
    used = {number for each in _nested(region) for number in each.operands}
    before = (used - defined - set(region.arguments)) & own
    return sum(_words(kinds[number]) for number in (*before, *region.arguments[1:]))


def _own(region: Region, found: set[int]) -> set[int]:
    """Values that depend on which thread it is; memory itself does not."""
    for each in region.instructions:
        if each.name == THREAD or found & set(each.operands):
            found |= set(each.results)
        for inner in each.regions:
            _own(inner, found)
    return found


def waits(each: Instruction) -> bool:
    """Whether there are barriers in a branch or loop."""
    return any(op.name == "gpu.barrier" for region in each.regions for op in _nested(region))


def _step_loops(body: Region) -> list[Instruction]:
    """The outermost loops with barriers, under branches too."""
    found = []
    for each in body.instructions:
        if each.name == "scf.for" and waits(each):
            found.append(each)
        elif each.name == "scf.if":
            found += [loop for region in each.regions for loop in _step_loops(region)]
    return found


def _nested(region: Region) -> Iterator[Instruction]:
    for each in region.instructions:
        yield each
        for inner in each.regions:
            yield from _nested(inner)


def _words(kind: Kind) -> int:
    return -(-kind.bits * kind.width // WORD_BITS)
