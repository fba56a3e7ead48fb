"""Block-based structured pruning in training: `BSPPruner`.

Source: RTMobile (arXiv 2002.11474), sections III-C and IV-A, Algorithm 1. The training loop, the
optimizer and the data are the user's; the pruner adds a penalty to the loss, sets masks, and says
when it is done:

    pruner = BSPPruner(module, Recipe.load("recipe.yaml"))
    while not pruner.done:
        loss = criterion(module(x), y)
        (loss + pruner.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step(loss)
    report = pruner.finalize()

The penalty is a term of the loss, not a change of gradients: so it does the same under any
optimizer, closures, gradient scaling and clipping, and data parallelism. Accumulating gradients
over several batches, add it once a step. Learning rates are the user's too: restart a schedule
where `phase` changes.

Data parallel (torchrun): every process makes the pruner, then wraps the module in
DistributedDataParallel, and calls it alike. Weights at the start and masks are the first process's.

A module under masks is copied and saved by its state_dict: `copy.deepcopy` and `torch.save` of the
module itself have to wait for `finalize`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from rtmobile_iree.errors import PruneError
from rtmobile_iree.prune.guard import Guard
from rtmobile_iree.prune.masks import MaskedWeight
from rtmobile_iree.prune.methods import ADMMTraining, Training, training
from rtmobile_iree.prune.phases import Phase, plan_phases
from rtmobile_iree.prune.plan import plan
from rtmobile_iree.prune.recipe import Recipe
from rtmobile_iree.prune.report import PrunedMatrix, PruneReport
from rtmobile_iree.prune.structure import Structure
from rtmobile_iree.prune.weights import as_matrix

__all__ = ["BSPPruner"]


class BSPPruner:
    """Prunes a module while it trains, phase by phase; see the module's docstring."""

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        """Checks the recipe against the module, then puts masks that keep everything on it.

        Args:
            module: trained, so that its weights say what matters, and on the device it will be
                trained on. Its parameters stay the same objects; those under masks are named
                `parametrizations.<weight>.original`.

        Raises:
            PruneError: the recipe does not fit the module, which is unchanged then.
        """
        if not isinstance(recipe, Recipe):
            raise PruneError(f"prune: recipe is a {type(recipe).__name__}; give an rt.Recipe")
        self.module, self.recipe = module, recipe
        self._weights = [MaskedWeight(*planned) for planned in plan(module, recipe)]
        self._total = 0
        self._final = False
        self._begin(0)
        self._end_phases()
        self._guard = Guard(module)

    @property
    def phase(self) -> Phase:
        """Where the run is."""
        return self._phases[self._index]

    @property
    def done(self) -> bool:
        """Whether all phases are over; steps after that are more retraining."""
        return self.phase.kind == "done"

    @property
    def steps(self) -> int:
        """Optimizer steps of all phases together."""
        return sum(phase.steps for phase in self._phases)

    def penalty(self) -> Tensor:
        """What this step's loss gets added: a scalar, 0 while retraining.

        To be called once for every step of a phase that prunes, before `backward`.
        """
        self._penalised = True
        return torch.zeros(()) if self._training is None else self._training.penalty()

    def step(self, loss: Tensor | float | None = None) -> None:
        """To be called after every `optimizer.step()`.

        Args:
            loss: checked when given. Leave it out where a gradient scaler skips such steps.

        Raises:
            DivergenceError: the loss, a parameter or a buffer is NaN or infinite. The module is
                back at the last good step.
            PruneError: no `penalty()` since the last step, in a phase that needs it.
        """
        self._check_not_final()
        if self._training is not None and not self._penalised:
            raise PruneError(
                f"prune: step() without penalty() in phase {self.phase}; "
                f"use (loss + pruner.penalty()).backward()"
            )
        self._penalised = False
        of = "" if self.done else f" of {self.phase.steps}"
        where = f"{self.phase}, step {self._done + 1}{of} ({self._total + 1} in all)"
        self._guard.check(loss, where)
        self._total += 1
        self._done += 1
        if self._training is not None and self._done < self.phase.steps:
            self._training.update(self._done)
        self._end_phases()
        self._guard.keep()

    def finalize(self) -> PruneReport:
        """Takes the masks off: a plain module with exact zeros.

        Raises:
            PruneError: not all phases are over, or called before.
        """
        self._check_not_final()
        if not self.done:
            raise PruneError(
                f"prune: finalize() in phase {self.phase}, after {self._total} of {self.steps} "
                f"steps; go on until pruner.done"
            )
        self._final = True
        for weight in reversed(self._weights):
            weight.release()
        return PruneReport(
            tuple(PrunedMatrix.of(w.names, as_matrix(w.parameter)) for w in self._weights)
        )

    def structures(self) -> dict[str, Structure]:
        """What every matrix is pruned to; with a budget, what it was given."""
        return {weight.name: weight.structure for weight in self._weights}

    def residuals(self) -> dict[str, float]:
        """In an ADMM phase, ||W - Z|| / ||W|| of every matrix; else nothing."""
        found = self._training
        return found.residuals() if isinstance(found, ADMMTraining) else {}

    def state_dict(self) -> dict[str, Any]:
        """All that resuming takes beside the module's and the optimizer's own state.

        Saved after a step, the three continue bit by bit as if never stopped.
        """
        return {
            "recipe": self.recipe.to_dict(),
            "structures": {name: asdict(s) for name, s in self.structures().items()},
            "phase": self._index,
            "steps_in_phase": self._done,
            "steps": self._total,
            "training": {} if self._training is None else self._training.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave. Load the module's state first: it has the masks.

        Raises:
            PruneError: the state of another recipe or other matrices.
        """
        self._check_not_final()
        mine, other = self.recipe.to_dict(), state["recipe"]
        for key in sorted({*mine, *other}):
            if mine.get(key) != other.get(key):
                raise PruneError(
                    f"prune: the state is of a recipe with {key} {other.get(key)!r}, this one has "
                    f"{mine.get(key)!r}; resume with the recipe it was begun with"
                )
        names = [weight.name for weight in self._weights]
        if list(state["structures"]) != names:
            raise PruneError(
                f"prune: the state is of the matrices {', '.join(state['structures'])}, this "
                f"module has {', '.join(names)}; resume with the module it was begun with"
            )
        for weight in self._weights:
            weight.structure = Structure(**state["structures"][weight.name])
        self._begin(int(state["phase"]))
        self._done, self._total = int(state["steps_in_phase"]), int(state["steps"])
        if self._training is not None:
            self._training.load_state_dict(state["training"])
        self._guard.keep()

    def _begin(self, index: int) -> None:
        """Starts a phase."""
        self._phases = plan_phases(self.recipe, (w.structure for w in self._weights))
        self._index, self._done, self._penalised = index, 0, False
        self._training: Training | None = None
        if self.phase.sets_masks:
            self._training = training(self.recipe.method, self.phase, self._weights)

    def _end_phases(self) -> None:
        """Ends the phase, and those of no steps after it, when its steps are done."""
        while not self.done and self._done == self.phase.steps:
            if self._training is not None:
                self._set_masks(self._training)
            self._begin(self._index + 1)

    def _set_masks(self, training: Training) -> None:
        phase = self.phase
        for weight in self._weights:
            weight.keep(weight.project(phase.step, phase.cap, training.target(weight)))

    def _check_not_final(self) -> None:
        if self._final:
            raise PruneError("prune: the pruner is finalized; make a new one to prune further")
