"""Trainings towards a structure: what is added to the loss, and which mask comes of it.

**ADMM** (RTMobile, section III-C, formulas 2 to 5, in scaled form). Minimise f(W) with every W_i in
its set S_i, through a copy Z_i in the set and a dual U_i:

    penalty   sum of rho / 2 ||W_i - Z_i + U_i||^2, added to f: the W step, by any optimizer
    update    Z_i = projection of W_i + U_i onto S_i;  U_i = U_i + W_i - Z_i
    mask      that of a last Z_i

A stage starts at Z = projection of W, U = 0. rho grows at each update as the recipe says; U, the
dual over rho, shrinks by the same factor (Boyd et al., Distributed Optimization, section 3.4.1).

**Reweighted** (BLK-REW, arXiv 2001.08357). Groups G (columns of a stripe, or rows) are pressed
towards 0, those already small the hardest:

    penalty   strength x sum of ||W_G||^2 / (e_G + epsilon x mean of e)
    update    e_G = ||W_G||^2
    mask      projection of W: the paper cuts at a threshold, here the rates are given

A matrix that already has the structure of a stage is left alone in it. Everything is computed in
f32 at least, from the masked weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from rtmobile_iree.prune.masks import MaskedWeight
from rtmobile_iree.prune.phases import Phase
from rtmobile_iree.prune.recipe import ADMM, Magnitude, Method, Reweighted
from rtmobile_iree.prune.weights import as_matrix

__all__ = ["ADMMTraining", "MagnitudeTraining", "ReweightedTraining", "Training", "training"]

State = dict[str, Any]
Weights = Sequence[MaskedWeight]


class Training(Protocol):
    """One phase's way towards the structure; made at its start."""

    def penalty(self) -> Tensor:
        """What is added to the loss: a scalar."""

    def update(self, steps: int) -> None:
        """Called after every optimizer step but the phase's last; `steps` have been done."""

    def target(self, weight: MaskedWeight) -> Tensor:
        """What the phase's mask is the projection of; of the weight's shape."""

    def state_dict(self) -> State:
        """Tensors by name, and numbers."""

    def load_state_dict(self, state: State) -> None:
        """Goes on from what `state_dict` gave."""


def training(method: Method, phase: Phase, weights: Weights) -> Training:
    """The recipe's method, at the start of a phase."""
    if isinstance(method, ADMM):
        return ADMMTraining(method, phase, weights)
    if isinstance(method, Reweighted):
        return ReweightedTraining(method, phase, weights)
    return MagnitudeTraining(method, phase, weights)


class ADMMTraining:
    """ADMM; see the module's docstring."""

    def __init__(self, settings: ADMM, phase: Phase, weights: Weights) -> None:
        self.settings, self.phase, self.rho = settings, phase, settings.rho
        self.weights = {w.name: w for w in weights}
        copies = {w.name: self._project(w, _value(w)) for w in weights}
        self.z = {name: z for name, z in copies.items() if not _same(self.weights[name], z)}
        self.u = {name: torch.zeros_like(z) for name, z in self.z.items()}

    def penalty(self) -> Tensor:
        """Sum of rho / 2 ||W - Z + U||^2."""

        def gap(name: str, weight: MaskedWeight) -> Tensor:
            return (weight.value - self.z[name] + self.u[name]).square().sum()

        return self.rho / 2 * _total(self.weights, self.z, gap)

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """The Z and U steps, every `project_every`."""
        if steps % self.settings.project_every:
            return
        rho = min(self.rho * self.settings.rho_growth, max(self.settings.rho_max, self.rho))
        for name in self.z:
            w = _value(self.weights[name])
            self.z[name] = self._project(self.weights[name], w + self.u[name])
            self.u[name] = (self.u[name] + w - self.z[name]) * (self.rho / rho)
        self.rho = rho

    def target(self, weight: MaskedWeight) -> Tensor:
        """W + U."""
        value = _value(weight)
        return value + self.u[weight.name] if weight.name in self.u else value

    def residuals(self) -> dict[str, float]:
        """||W - Z|| / ||W|| of every matrix: how far it still is from its structure."""
        result = {}
        for name, z in self.z.items():
            w = _value(self.weights[name])
            result[name] = float((w - z).norm() / w.norm().clamp_min(1e-30))
        return result

    def state_dict(self) -> State:
        """rho, Z and U."""
        return {"rho": self.rho, "z": dict(self.z), "u": dict(self.u)}

    def load_state_dict(self, state: State) -> None:
        """Goes on from what `state_dict` gave."""
        self.rho = float(state["rho"])
        self.z = {n: z.to(self.weights[n].parameter.device) for n, z in state["z"].items()}
        self.u = {n: u.to(self.weights[n].parameter.device) for n, u in state["u"].items()}

    def _project(self, weight: MaskedWeight, values: Tensor) -> Tensor:
        mask = weight.project(self.phase.step, self.phase.cap, values)
        return torch.where(mask, values, 0.0)


class ReweightedTraining:
    """Reweighted regularisation; see the module's docstring."""

    def __init__(self, settings: Reweighted, phase: Phase, weights: Weights) -> None:
        self.settings, self.phase = settings, phase
        self.weights = {w.name: w for w in weights}
        active = [w for w in weights if not _same(w, self._projection(w))]
        self.factors = {w.name: self._factor(w) for w in active}

    def penalty(self) -> Tensor:
        """Strength x sum over groups of ||W_G||^2 x the group's factor."""

        def pressed(name: str, weight: MaskedWeight) -> Tensor:
            return (weight.value.square() * self.factors[name]).sum()

        return self.settings.strength * _total(self.weights, self.factors, pressed)

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """The groups' factors, every `update_every`."""
        if steps % self.settings.update_every == 0:
            self.factors = {name: self._factor(self.weights[name]) for name in self.factors}

    def target(self, weight: MaskedWeight) -> Tensor:
        """W."""
        return _value(weight)

    def state_dict(self) -> State:
        """The factors."""
        return {"factors": dict(self.factors)}

    def load_state_dict(self, state: State) -> None:
        """Goes on from what `state_dict` gave."""
        self.factors = {
            n: f.to(self.weights[n].parameter.device) for n, f in state["factors"].items()
        }

    def _projection(self, weight: MaskedWeight) -> Tensor:
        value = _value(weight)
        return torch.where(weight.project(self.phase.step, self.phase.cap, value), value, 0.0)

    def _factor(self, weight: MaskedWeight) -> Tensor:
        """1 / (e_G + epsilon x mean of e) at each weight; pruned groups count in no mean."""
        value = _value(weight)
        matrix, structure = as_matrix(value), weight.structure
        energy = structure.group_energy(self.phase.step, matrix)
        alive = energy[energy > 0]
        floor = self.settings.epsilon * (alive.mean() if alive.size else 1.0)
        factor = structure.spread(self.phase.step, 1 / (energy + floor), matrix.shape)
        return torch.from_numpy(factor.reshape(value.shape)).to(value)


class MagnitudeTraining:
    """No training: the mask is that of the weights as they are."""

    def __init__(self, settings: Magnitude, phase: Phase, weights: Weights) -> None:
        pass

    def penalty(self) -> Tensor:
        """0."""
        return torch.zeros(())

    def update(self, steps: int) -> None:
        """Nothing."""

    def target(self, weight: MaskedWeight) -> Tensor:
        """W."""
        return _value(weight)

    def state_dict(self) -> State:
        """Nothing."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing."""


def _value(weight: MaskedWeight) -> Tensor:
    """The masked weight without its gradient, f32 at least."""
    value = weight.value.detach()
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _same(weight: MaskedWeight, projected: Tensor) -> bool:
    """Whether the weight already has the structure it is projected to."""
    return bool(torch.equal(_value(weight), projected))


def _total(
    weights: Mapping[str, MaskedWeight],
    active: Mapping[str, Tensor],
    term: Callable[[str, MaskedWeight], Tensor],
) -> Tensor:
    """Sum of a term over the active weights, on the device of the first."""
    device = next(iter(weights.values())).parameter.device
    total = torch.zeros((), device=device)
    for name in active:
        total = total + term(name, weights[name]).to(device)
    return total
