"""Whether the turns of a loop are alike, so that one of them stands for all."""

from __future__ import annotations

from rtmobile_iree.gpu_cost.decode import Instruction, Region


def turns_alike(loop: Instruction) -> bool:
    """Whether no branch, loop bound or mask in a loop depends on its turn: there are barriers in
    it, and what decides is computed without its own values."""
    region = loop.regions[0]
    if not any(each.name == "gpu.barrier" for each in region.instructions):
        return False
    own = set(region.arguments)
    return not _decides(region, own)


def _decides(region: Region, tainted: set[int]) -> bool:
    for each in region.instructions:
        deciding = {"scf.for": each.operands[:3], "scf.if": each.operands[:1]}.get(each.name, ())
        if tainted & set(deciding):
            return True
        if tainted & set(each.operands):
            tainted |= set(each.results)
        for inner in each.regions:
            if each.name == "scf.for":
                starts = zip(inner.arguments[1:], each.operands[3:], strict=True)
                tainted |= {number for number, start in starts if start in tainted}
            if _decides(inner, tainted):
                return True
    return False
