"""The phases of a pruning run, in order. Plain data.

Source: RTMobile (arXiv 2002.11474), section IV-A, Algorithm 1: step 1 (columns), then step 2
(rows), each a training towards the structure and then masked retraining. A step may take several
stages of rising rates, each starting from the mask of the one before, and stages of both steps may
alternate; a stage may rise to its rate step by step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from rtmobile_iree.prune.recipe import Recipe
from rtmobile_iree.prune.structure import STEPS, Step, Structure

__all__ = ["Phase", "plan_phases"]


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        kind: "admm", "reweighted" or "magnitude": towards the structure, the mask set at its end;
            "retrain": under the mask; "done": after the last.
        step: what is pruned, "columns" or "rows".
        cap: highest rate of this stage; a matrix of a lower rate has its own. The last stage's is
            the highest rate of all.
        steps: optimizer steps; 0 of "done", which has no end.
        rising: whether it only leads to its stage's rate.
    """

    kind: str
    step: Step
    cap: float
    steps: int
    rising: bool = False

    @property
    def sets_masks(self) -> bool:
        """Whether masks are set at its end."""
        return self.kind not in ("retrain", "done")

    def __str__(self) -> str:
        return "done" if self.kind == "done" else f"{self.step} {self.cap:g}x: {self.kind}"


def plan_phases(recipe: Recipe, structures: Iterable[Structure]) -> tuple[Phase, ...]:
    """All phases; a step that prunes no matrix has none. The last is "done"."""
    structures = tuple(structures)
    stages: list[tuple[int, Step, float, float]] = []
    for step in STEPS:
        given = recipe.column_stages if step == "columns" else recipe.row_stages
        caps = _caps(given, max(structure.rate(step) for structure in structures))
        pairs = enumerate(itertools.pairwise((1.0, *caps)))
        stages += [(number, step, before, stage) for number, (before, stage) in pairs]
    if recipe.alternate:
        stages.sort(key=lambda stage: stage[0])  # columns before rows, as they are
    phases = []
    for _, step, before, stage in stages:
        for cap in _rises(before, stage, recipe.rise):
            steps, rising = recipe.retrain_steps, cap < stage
            if rising:
                steps = recipe.rise_steps
            phases.append(Phase(recipe.method.kind, step, cap, recipe.method.steps, rising))
            phases.append(Phase("retrain", step, cap, steps, rising))
    return (*phases, Phase("done", STEPS[-1], math.inf, 0))


def _caps(stages: Iterable[float], highest: float) -> tuple[float, ...]:
    """The rates of a step's stages; none where nothing is pruned."""
    if highest == 1:
        return ()
    return (*(stage for stage in stages if 1 < stage < highest), highest)


def _rises(before: float, stage: float, factor: float | None) -> tuple[float, ...]:
    """The rates on the way from one stage's to the next, which is the last of them."""
    if factor is None:
        return (stage,)
    count = math.ceil(math.log(stage / before) / math.log(factor) - 1e-9)
    return (*(before * (stage / before) ** (n / count) for n in range(1, count)), stage)
