"""What a benchmark measured, as data and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from rtmobile_iree.files import write_atomically

SCHEMA = 2
# the rate of a file, whose weights are taken as they are
AS_IS = "as is"


@dataclass(frozen=True)
class Measurement:
    """One contender at one chunk length.

    Attributes:
        contender: "torch", ..., or "rtmobile".
        rate: pruning, "10x1" (columns x rows); "dense" for the unpruned model; "as is" for a file.
        steps: time steps of a call; 0 for a file of one size that does not say which they are.
        status: "ok"; "wrong" when its output is not PyTorch's; "failed" when it did not run.
        detail: which options it ran with, or why it did not.
        kept: nonzero weights of the recurrent layers.
        weights: all of those, zero or not.
        max_error: greatest absolute difference from PyTorch with the same weights.
        prepare_s: seconds to load, and to compile if it does.
        rounds_us: microseconds a call, one list of samples a round; empty unless "ok".
        size_bytes: the `.vmfb`, for compiled programs of ours.
        engine: as its makers write it.
        version: of its package.
        values: type of its weights.
        pattern: where its zeros are: "dense", "BSP", "8x8" for square blocks; "as is" for a file.
        threads: that it may use.
        tried: the configurations of which `detail` was the fastest, and the time of each.
    """

    contender: str
    rate: str
    steps: int
    status: str
    detail: str
    kept: int
    weights: int
    max_error: float | None = None
    prepare_s: float | None = None
    rounds_us: tuple[tuple[float, ...], ...] = ()
    size_bytes: int | None = None
    engine: str = ""
    version: str | None = None
    values: str = "f32"
    pattern: str = "dense"
    threads: int = 1
    tried: str = ""

    @property
    def samples_us(self) -> np.ndarray:
        """All samples of all rounds."""
        return np.array([sample for samples in self.rounds_us for sample in samples])

    @property
    def median_us(self) -> float:
        return float(np.median(self.samples_us))

    @property
    def name(self) -> str:
        """The contender and, where it matters, its rate."""
        if self.contender != "rtmobile" and self.pattern in ("dense", AS_IS):
            return self.contender
        return named(self.contender, self.rate)

    def compression(self) -> dict[str, float | None]:
        """How many times fewer weights; none kept has no number."""
        return {"compression": self.weights / self.kept if self.kept else None}

    def statistics(self) -> dict[str, float]:
        """Median, minimum and spread in microseconds."""
        if not self.rounds_us:
            return {}
        samples = self.samples_us
        p10, p90 = np.percentile(samples, (10, 90))
        return {
            "median_us": self.median_us,
            "min_us": float(samples.min()),
            "p10_us": float(p10),
            "p90_us": float(p90),
            "max_us": float(samples.max()),
        }


def named(contender: str, rate: str) -> str:
    """A contender at a rate; a file has no rates to tell apart."""
    return contender if rate == AS_IS else f"{contender} {rate}"


@dataclass(frozen=True)
class Ratio:
    """How many times faster ours was than a peer: round by round, so that drift cancels.

    Attributes:
        steps: time steps of a call.
        rate: our pruning.
        peer: the peer.
        peer_rate: its pruning.
        median: of the rounds' ratios.
        minimum: of them.
        maximum: of them.
    """

    steps: int
    rate: str
    peer: str
    peer_rate: str
    median: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class BenchResults:
    """One run on one machine.

    Attributes:
        model: MODEL as given.
        settings: how it was measured.
        machine: where.
        versions: with what.
        measurements: every contender at every chunk length.
        date: UTC, ISO 8601.
        absent: peers that were asked for and cannot run this model here, and why.
        notes: what else a reader should know.
    """

    model: str
    settings: dict[str, Any]
    machine: dict[str, object]
    versions: dict[str, str | None]
    measurements: tuple[Measurement, ...]
    date: str
    absent: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def find(self, contender: str, steps: int, rate: str = "dense") -> Measurement | None:
        """The measurement of a contender, if it took part."""
        for m in self.measurements:
            if (m.contender, m.steps, m.rate) == (contender, steps, rate):
                return m
        return None

    def ratios(self) -> tuple[Ratio, ...]:
        """Every program of ours against every peer at the same chunk length.

        A peer that runs pruned models is compared at its own rate alone.
        """
        timed = [m for m in self.measurements if m.rounds_us]
        return tuple(
            paired_ratio(ours, peer)
            for ours in timed
            for peer in timed
            if ours.contender == "rtmobile"
            and peer.contender != "rtmobile"
            and ours.steps == peer.steps
            and (peer.pattern == "dense" or ours.rate == peer.rate)
        )

    def to_json(self) -> str:
        fields = asdict(self)
        fields["measurements"] = [
            asdict(m) | m.statistics() | m.compression() | {"max_error": _finite(m.max_error)}
            for m in self.measurements
        ]
        fields["ratios"] = [asdict(ratio) for ratio in self.ratios()]
        return json.dumps({"schema": SCHEMA, **fields}, indent=2, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON; a failure leaves whatever was at `path` as it was."""
        write_atomically(path, self.to_json().encode())


def paired_ratio(ours: Measurement, peer: Measurement) -> Ratio:
    """The peer's median over ours, in each round."""
    ratios = round_medians(peer.rounds_us) / round_medians(ours.rounds_us)
    return Ratio(
        ours.steps,
        ours.rate,
        peer.contender,
        peer.rate,
        float(np.median(ratios)),
        float(ratios.min()),
        float(ratios.max()),
    )


def round_medians(rounds_us: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array([np.median(samples) for samples in rounds_us])


def _finite(value: float | None) -> float | str | None:
    """JSON has no infinity; a wrong shape or NaN is told in words."""
    return value if value is None or np.isfinite(value) else "not finite, or another shape"
