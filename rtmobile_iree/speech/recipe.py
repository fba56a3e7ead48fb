"""The recipe of a dense training run: plain data, one YAML file, checked key by key.

    model: {hidden: 256, layers: 2, stack: 2, delay: 4, dropout: 0.2, loss: frames}
    epochs: 20
    batch: 32
    learning_rate: 2e-3       # AdamW's highest; 5 % of the steps rise to it, then a cosine to 0
    augment: {time_masks: 2, band_masks: 1}

Every key has a default. What a pruning run takes from it: all but `model` and `epochs`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rtmobile_iree.errors import InputError
from rtmobile_iree.prune.recipe_errors import explain, explain_yaml

__all__ = ["Augment", "ModelSize", "TrainRecipe"]

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSize(_Strict):
    """See `acoustic.ModelConfig`."""

    hidden: Count = 256
    layers: Count = 2
    stack: Annotated[int, Field(ge=1, le=8)] = 2
    delay: Annotated[int, Field(ge=0, le=50)] = 4
    dropout: Share = 0.2
    loss: Literal["frames", "ctc"] = "frames"


class Augment(_Strict):
    """What is done to frames in training (SpecAugment, arXiv 1904.08779, and loudness)."""

    time_masks: Annotated[int, Field(ge=0)] = 2
    """Spans set to the training set's mean, an utterance."""
    time_mask_steps: Count = 5
    """The longest span, in steps of the model."""
    band_masks: Annotated[int, Field(ge=0)] = 1
    band_mask_bands: Annotated[int, Field(ge=1, le=40)] = 6
    loudness: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """Deviation of what is added to all log-mel values of an utterance, about 4 dB a unit."""


class TrainRecipe(_Strict):
    """See the module's docstring.

    Raises:
        InputError: an unknown key, or a value that does not do; named with what would.
    """

    model: ModelSize = ModelSize()
    epochs: Count = 20
    batch: Count = 32
    learning_rate: Positive = 2e-3
    warm_up: Share = 0.05
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-2
    precision: Literal["auto", "f32", "bf16"] = "f32"
    """Of the operands of matrix products; auto: bf16 where the CPU has it, twice as fast there."""
    others_every: Count = 1
    """Epochs in which a training utterance comes once whose speaker is not in `test`."""
    clip: Positive = 5.0
    """Greatest norm of a step's gradient."""
    patience: Count = 5
    """Epochs without a lower PER on `valid` before training ends."""
    dropout: Share = 0.0
    """Of a pruning run, in place of the model's: a sparse model has little to spare."""
    distill: Share = 0.5
    """Of a pruning run: share of the loss that follows the dense model's scores."""
    augment: Augment = Augment()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(f"recipe: {explain(error, _ROOMS)}") from error

    @classmethod
    def load(cls, path: str | Path) -> TrainRecipe:
        """Reads a YAML file.

        Raises:
            InputError: no such file, no YAML, or no recipe.
        """
        values = read_yaml(path)
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"recipe {path}: {str(error).removeprefix('recipe: ')}") from error

    def to_yaml(self) -> str:
        """Every key, defaults included."""
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = None
        stream = io.StringIO()
        yaml.dump(self.model_dump(mode="json"), stream)
        return stream.getvalue()


def read_yaml(path: str | Path) -> Mapping[str, Any]:
    """A YAML file's mapping.

    Raises:
        InputError: cannot be read, or holds something else.
    """
    try:
        values = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path}: cannot be read: {error}") from error
    except YAMLError as error:
        raise InputError(f"recipe {path}: no YAML: {explain_yaml(error)}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(
            f"recipe {path}: holds a {type(values).__name__}; use a mapping with the keys "
            f"{', '.join(TrainRecipe.model_fields)}"
        )
    return values


_ROOMS: dict[str, type[BaseModel]] = {"": TrainRecipe, "model": ModelSize, "augment": Augment}
