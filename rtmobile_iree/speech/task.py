"""What a training run is about, and how far it is. Plain data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from rtmobile_iree.prune.phases import Phase
from rtmobile_iree.speech.acoustic import PhoneGRU
from rtmobile_iree.speech.batches import Example
from rtmobile_iree.speech.recipe import TrainRecipe

Progress = Callable[[str], None]
State = dict[str, Any]


class Pruner(Protocol):
    """What a run asks of `rt.BSPPruner`, or of a pruner with another structure."""

    @property
    def phase(self) -> Phase: ...
    @property
    def done(self) -> bool: ...
    @property
    def steps(self) -> int: ...
    def penalty(self) -> Tensor: ...
    def step(self, loss: Tensor) -> None: ...
    def finalize(self) -> Any: ...
    def residuals(self) -> dict[str, float]: ...
    def state_dict(self) -> State: ...
    def load_state_dict(self, state: State) -> None: ...


@dataclass
class Task:
    """What a run is about.

    Attributes:
        module: trained in place.
        examples: of the training set.
        recipe: how.
        seed: of everything random but the module's first weights.
        subject: plain JSON that says which run this is; a state of another is refused.
        validate: PER in percent of the module as it is, on `valid`; None: the loss alone is told.
        pruner: sets phases and masks; None in a dense run.
        at_stage: called with the phase that has just ended under a mask, the module in eval mode.
    """

    module: PhoneGRU
    examples: list[Example]
    recipe: TrainRecipe
    seed: int
    subject: State
    validate: Callable[[], float] | None = None
    pruner: Pruner | None = None
    at_stage: Callable[[Phase], None] = lambda phase: None


@dataclass
class Position:
    """How far a run is.

    Attributes:
        step: optimizer steps done.
        in_phase: of those, in the phase that is on.
        best_per: lowest on `valid`, percent, and `best` the weights then. Dense runs only.
        waited: epochs since.
    """

    step: int = 0
    in_phase: int = 0
    best_per: float = math.inf
    waited: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
