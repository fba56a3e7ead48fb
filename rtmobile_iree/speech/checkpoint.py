"""Checkpoints: one safetensors file with weights, the decoder's numbers, and what they are.

A pruned matrix is stored as its kept values and a bit for every weight, so a file shrinks with the
model. Values are f32, or f16 where a file is shipped. The configuration is JSON in the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.speech.acoustic import ModelConfig, PhoneGRU
from rtmobile_iree.speech.decode import Decoding

SCHEMA = 1
KEY = "rtmobile"
KEPT, VALUES = "/kept", "/values"
# below this share of weights kept, bits and values are smaller than all values, f16 too
SPARSE = 0.9


@dataclass(frozen=True)
class Checkpoint:
    """A trained model.

    Attributes:
        module: in eval mode.
        decoding: how its scores become phones.
        folding: training label -> label scored.
        notes: how it was made, and its PER then; plain JSON.
    """

    module: PhoneGRU
    decoding: Decoding
    folding: Mapping[str, str]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> ModelConfig:
        return self.module.config


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, half: bool = False) -> None:
    """Writes a checkpoint.

    Args:
        half: weights as f16; the normalisation and the decoder's numbers stay f32.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in checkpoint.module.state_dict().items():
        values = tensor.numpy().astype(np.float16 if half and name[:2] in ("gr", "fc") else "f4")
        arrays |= _stored(name, values)
    decoding = checkpoint.decoding
    arrays["decoding.prior"] = decoding.log_prior.astype("f4")
    arrays["decoding.transition"] = decoding.log_transition.astype("f4")
    metadata = {
        "schema": SCHEMA,
        "model": asdict(checkpoint.config),
        "prior_scale": decoding.prior_scale,
        "acoustic_scale": decoding.acoustic_scale,
        "folding": dict(checkpoint.folding),
        "notes": checkpoint.notes,
    }
    # one key: safetensors writes several in any order, and equal models should give equal files
    write_atomically(path, save(arrays, {KEY: json.dumps(metadata)}))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint; the module is in eval mode and f32.

    Raises:
        InputError: no such file, or none of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; make one with `rtmobile train`")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: no safetensors file ({error})") from error
    if metadata.get("schema") != SCHEMA:
        raise InputError(f"{path}: a safetensors file, but no checkpoint of `rtmobile train`")
    try:
        return _restore(metadata, arrays)
    except (KeyError, ValueError, RuntimeError, pydantic.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: a damaged checkpoint ({reason}); train it again") from error


def _restore(metadata: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> Checkpoint:
    config = pydantic.TypeAdapter(ModelConfig).validate_python(metadata["model"])
    module = PhoneGRU(config)
    decoding = Decoding(
        arrays.pop("decoding.prior"),
        arrays.pop("decoding.transition"),
        prior_scale=metadata["prior_scale"],
        acoustic_scale=metadata["acoustic_scale"],
    )
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    state = {name: torch.from_numpy(_whole(name, s, arrays)) for name, s in shapes.items()}
    module.load_state_dict(state)
    return Checkpoint(module.eval(), decoding, metadata["folding"], metadata["notes"])


def _stored(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of one tensor: itself, or bits and kept values."""
    kept = values != 0
    if values.ndim < 2 or kept.mean() > SPARSE:
        return {name: values}
    return {name + KEPT: np.packbits(kept), name + VALUES: values[kept]}


def _whole(name: str, shape: torch.Size, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """A tensor of `_stored`'s arrays, f32."""
    if name in arrays:
        return arrays[name].astype("f4")
    kept = np.unpackbits(arrays[name + KEPT], count=shape.numel()).astype(bool).reshape(shape)
    whole = np.zeros(shape, "f4")
    whole[kept] = arrays[name + VALUES]
    return whole
