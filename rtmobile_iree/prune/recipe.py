"""The recipe of a pruning run: plain data, one YAML file, checked key by key.

    method: {kind: admm, steps: 2000, project_every: 100, rho: 1e-3, rho_growth: 1.5, rho_max: 1}
    retrain_steps: 1000        # under the mask, after each stage of each step
    column_stages: [4, 8]      # step 1 in three stages: 4x, 8x, then each matrix's own rate
    alternate: true            # with row_stages: columns 4x, rows' first, columns 8x, ... (else all
                               # of columns come first)
    rise: 1.5                  # a stage goes up by factors of at most 1.5, each with all of the
    rise_steps: 100            # method's steps and so many of retraining; without it, at once
    row_stripes: 48            # of every matrix that does not say otherwise
    col_blocks: 8
    layers:                    # first match wins; names as in `rtmobile_iree.prune.prune`
      gru: {column_rate: 16, row_rate: 2}
      fc.weight: {column_rate: 4, row_stripes: 10}

Or, in place of `layers`, one rate for all together, shared out by sensitivity (see `budget`):

    budget: {rate: 29, layers: [gru, fc], column_rates: [1, 2, 4, 8, 16], row_rates: [1, 2, 4]}

Steps are optimizer steps. YAML is 1.2, so that 1e-3 is a number and a key given twice is an error.
"""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rtmobile_iree.errors import PruneError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.prune.recipe_errors import explain, explain_yaml

__all__ = ["ADMM", "Budget", "LayerRates", "Magnitude", "Method", "Recipe", "Reweighted"]

Rate = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# YAML has lists alone; what they hold stays strict
Rates = Annotated[tuple[Rate, ...], Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class _Strict(BaseModel):
    """No unknown keys, no conversions (a string is no number), no changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ADMM(_Strict):
    """Alternating direction method of multipliers, see `methods.ADMMTraining`.

    `BSPPruner.residuals()` should fall to about 0.2 or below by the end of a stage; where it does
    not, let rho grow further or the stage take longer.
    """

    kind: Literal["admm"]
    steps: Count
    """Of each stage, before its mask is set."""
    project_every: Count
    """Steps between updates of Z and U: enough for W to follow, an epoch for example. Under Adam
    a weight moves a learning rate a step at most."""
    rho: Positive = 1e-3
    """Weight of the penalty at the start of a stage."""
    rho_growth: Rate = 1.5
    """Factor on rho at every update."""
    rho_max: Positive = 1.0
    """Rho grows no further."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.project_every > self.steps:
            raise ValueError(
                f"project_every {self.project_every} is more than steps {self.steps}; "
                f"use 1 to {self.steps}"
            )
        if self.rho_max < self.rho:
            raise ValueError(
                f"rho_max {self.rho_max} is less than rho {self.rho}; use {self.rho} or more"
            )
        return self


class Reweighted(_Strict):
    """Reweighted group regularisation, see `methods.ReweightedTraining`."""

    kind: Literal["reweighted"]
    steps: Count
    """Of each stage, before its mask is set."""
    update_every: Count
    """Steps between updates of the groups' weights."""
    strength: Positive
    """Factor on the whole penalty."""
    epsilon: Positive = 1e-2
    """Added to a group's squared norm, in mean squared norms of the matrix's groups."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.update_every > self.steps:
            raise ValueError(
                f"update_every {self.update_every} is more than steps {self.steps}; "
                f"use 1 to {self.steps}"
            )
        return self


class Magnitude(_Strict):
    """No training before a mask is set: by magnitude, then retraining; what others compare with."""

    kind: Literal["magnitude"]

    @property
    def steps(self) -> int:
        """None."""
        return 0


Method = ADMM | Reweighted | Magnitude


class LayerRates(_Strict):
    """What the matrices of one pattern are pruned to."""

    column_rate: Rate = 1.0
    row_rate: Rate = 1.0
    row_stripes: Count | None = None
    """None: the recipe's."""
    col_blocks: Count | None = None


class Budget(_Strict):
    """One rate for many matrices together."""

    rate: Rate
    """Their weights over their kept weights, at least."""
    layers: Names
    column_rates: Annotated[Rates, Field(min_length=1)] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """What a matrix may get."""
    row_rates: Annotated[Rates, Field(min_length=1)] = (1.0, 2.0, 4.0, 8.0)


class Recipe(_Strict):
    """What `BSPPruner` does, and for how long; see the module's docstring.

    Raises:
        PruneError: an unknown key, a missing one, or a value that does not do; named with what
            would.
    """

    method: Annotated[Method, Field(discriminator="kind")]
    retrain_steps: Annotated[int, Field(ge=0)]
    row_stripes: Count = 48
    col_blocks: Count = 8
    column_stages: Rates = ()
    row_stages: Rates = ()
    alternate: bool = False
    """Stages of columns and rows in turn, the first of both, then the second; else all of columns
    come first."""
    rise: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """A stage goes up to its rate by equal factors, this one at most, each with the method's
    training and `rise_steps` of retraining, but for the last, which has `retrain_steps`. None: at
    once."""
    rise_steps: Annotated[int, Field(ge=0)] = 0
    layers: Annotated[dict[str, LayerRates], Field(min_length=1)] | None = None
    budget: Budget | None = None

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise PruneError(f"recipe: {explain(error, _ROOMS)}") from error

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.layers is None) == (self.budget is None):
            has = "neither" if self.layers is None else "both"
            raise ValueError(f"{has} of layers and budget given; use one of them")
        for key in ("column_stages", "row_stages"):
            stages = getattr(self, key)
            if any(after <= before for before, after in itertools.pairwise(stages)):
                raise ValueError(f"{key} {list(stages)} do not rise; use rates such as [4, 8]")
        return self

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Reads a YAML file.

        Raises:
            PruneError: no such file, no YAML, or no recipe.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            values = YAML(typ="safe", pure=True).load(text)
        except (OSError, UnicodeDecodeError) as error:
            raise PruneError(f"recipe {path}: cannot be read: {error}") from error
        except YAMLError as error:
            raise PruneError(f"recipe {path}: no YAML: {explain_yaml(error)}") from error
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            kind = type(values).__name__
            raise PruneError(
                f"recipe {path}: holds a {kind}; use a mapping with the keys "
                f"{', '.join(cls.model_fields)}"
            )
        try:
            return cls(**values)
        except PruneError as error:
            raise PruneError(f"recipe {path}: {str(error).removeprefix('recipe: ')}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a YAML file with every key, defaults included; `load` gives an equal recipe.

        Raises:
            OSError: the file cannot be written.
        """
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = None
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        stream = io.StringIO()
        yaml.dump(self.to_dict(), stream)
        write_atomically(path, stream.getvalue().encode())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts."""
        values: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return values


_ROOMS: dict[str, type[BaseModel]] = {
    "": Recipe,
    "admm": ADMM,
    "reweighted": Reweighted,
    "magnitude": Magnitude,
    "layers": LayerRates,
    "budget": Budget,
}
"""Which keys are known where."""
