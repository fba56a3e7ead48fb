"""Which of LLVM's scheduling models stands for a core, and what the core reads weights from."""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.cores import Core
from rtmobile_iree.errors import TargetError

VECTOR_BYTES = 16
# Cortex-A76: 13 stages, "execution latencies of 11" (Wikipedia); taken for all cores
MISPREDICT_CYCLES = 11


@dataclass(frozen=True)
class Model:
    """A scheduling model in LLVM.

    Attributes:
        cpu: what llvm-mca calls it.
        since: first LLVM that has it.
        decode: instructions the core takes a cycle at most (Cortex-A76: 4, Wikipedia; the others
            from memory of Arm's announcements); LLVM's models limit micro-ops only.
        note: whose model it is.
    """

    cpu: str
    since: int
    decode: int
    note: str


A55 = Model("cortex-a55", 12, 2, "the core's own")
OF_A57 = "Cortex-A57's: LLVM has none of this core, and that one is slower"
N1 = Model("neoverse-n1", 17, 4, "Neoverse N1's, the server core derived from Cortex-A76")
V1 = Model("neoverse-v1", 17, 5, "Neoverse V1's, the server core derived from Cortex-X1")
V2 = Model("neoverse-v2", 17, 6, "Neoverse V2's, the server core derived from Cortex-X3")
# core -> models, the best first
MODELS = {
    "generic": (A55,),
    "cortex-a55": (A55,),
    "cortex-a76": (N1, Model("cortex-a76", 11, 4, OF_A57)),
    "cortex-x1": (V1, Model("cortex-x1", 11, 5, OF_A57)),
    "cortex-x3": (V2, Model("cortex-x1", 11, 6, OF_A57)),
    "cortex-x4": (
        Model("neoverse-v2", 17, 10, "Neoverse V2's, derived from Cortex-X3, the core before"),
        Model("cortex-x1", 11, 10, OF_A57),
    ),
}


def choose_model(core: Core, llvm: int) -> Model:
    """The best model of a core in this LLVM.

    Raises:
        TargetError: there is none.
    """
    for model in MODELS[core.name]:
        if model.since <= llvm:
            return model
    raise TargetError(f"cycles: LLVM {llvm} has no model for {core.name}; run `make llvm-mca`")


def bandwidth(core: Core, size_bytes: int) -> float:
    """Bytes a second that the core reads when it reads so many bytes again and again."""
    levels = (
        (core.l1d_bytes, core.load_pipes * VECTOR_BYTES * core.clock_hz),
        (core.l2_bytes, core.l2_bytes_s),
        (core.l3_bytes, core.l3_bytes_s),
    )
    return next((rate for size, rate in levels if size_bytes <= size), core.memory_bytes_s)
