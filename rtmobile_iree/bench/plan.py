"""What a benchmark times: the user's settings, fitted to the kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmobile_iree.bench.files import file_inputs, is_file
from rtmobile_iree.bench.models import parse_rate
from rtmobile_iree.bench.peers import (
    ALL,
    LOCAL,
    PEERS,
    absent_peers,
    check_names,
    check_peers,
    default_peers,
)
from rtmobile_iree.bench.peers.registry import DENSE, device_peers
from rtmobile_iree.bench.results import AS_IS
from rtmobile_iree.errors import InputError
from rtmobile_iree.options import Options
from rtmobile_iree.schedule import AUTO

# They keep 1/9.9, 1/28.2 and 1/242.6 of the evaluation model's recurrent weights, as the paper's
# tables have 1/10, 1/29 and 1/245.
DEFAULT_RATES = ("10x1", "14.5x2", "16x15.6")


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        against: peers, see `bench.peers.registry`; the device's usual ones when None, and all for
            ("all",). Those that are not installed are told, but it is an error when they are named.
            A peer that cannot run the model is told; it is an error when those named all cannot.
        steps: chunk lengths; 1 is one streaming step with state in and out.
        rates: our programs, "10x1" = column rate x row rate; "dense" prunes nothing. None for
            `DEFAULT_RATES`; the only choice for a file, which is taken as it is.
        threads: threads each contender may use.
        rounds: bursts of each contender.
        samples: means in a burst.
        sample_s: least seconds of one mean.
        values, activations: of our programs, as in `rtmobile_iree.compile`.
        device: "local", this machine's processor, or "vulkan", its Vulkan.
        gpu_kernel: of our programs there, see `schedule.GpuSchedule.kernel`.
        dynamic_steps: whether one program of ours takes all steps, or each chunk length has its
            own, as stock IREE's have.
    """

    against: tuple[str, ...] | None = None
    steps: tuple[int, ...] = (1, 30)
    rates: tuple[str, ...] | None = None
    threads: int = 1
    rounds: int = 7
    samples: int = 5
    sample_s: float = 0.03
    values: str = "f32"
    activations: str = "f32"
    device: str = LOCAL
    gpu_kernel: str = AUTO
    dynamic_steps: bool = True

    def check(self) -> None:
        """Raises an `InputError` for a setting that cannot be measured."""
        Options(self.values, self.activations, threads=self.threads, gpu_kernel=self.gpu_kernel)
        check_names([peer for peer in self.against or () if peer != ALL], self.device)
        if self.device != LOCAL and self.threads > 1:
            raise InputError(f"device {self.device}: threads are a processor's; use 1")
        for rate in self.rates or ():
            parse_rate(rate)
        whole = (*self.steps, self.threads, self.rounds, self.samples)
        if not self.steps or min(whole) < 1:
            raise InputError("steps, threads, rounds and samples must be whole numbers from 1")
        if not 0 < self.sample_s <= 10:
            raise InputError(f"sample_s {self.sample_s}; use more than 0 and at most 10 seconds")


@dataclass(frozen=True)
class Plan:
    """What is timed: the settings, fitted to the model.

    Attributes:
        model: MODEL as given.
        settings: how to measure.
        inputs: `f32[1,T,40]`, one an input; empty where the module offers its own.
        asked: the peers asked for.
        is_named: whether by their names.
        against: those that may run it.
        rates: our programs.
        steps: chunk lengths.
        dynamic_steps: whether our program takes any number of steps.
        absent: the other peers, and why.
        notes: what else to tell.
    """

    model: str
    settings: Settings
    inputs: tuple[str, ...]
    asked: tuple[str, ...]
    is_named: bool
    against: tuple[str, ...]
    rates: tuple[str, ...]
    steps: tuple[int, ...]
    dynamic_steps: bool
    absent: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def sparse_rates(self) -> tuple[str, ...]:
        """The rates at which there are zeros, or may be."""
        return tuple(rate for rate in self.rates if rate != DENSE)


def make_plan(model: str, settings: Settings, inputs: Sequence[str]) -> Plan:
    """Fits the settings to the model.

    Raises:
        InputError: rates for a file, or peers named that are not installed, or of which none can
            run the model.
    """
    named = settings.against or ()
    is_named = bool(named) and ALL not in named
    if is_named:
        check_peers(named, settings.device)
    device = settings.device
    asked = named if is_named else device_peers(device) if named else default_peers(device)
    steps, is_open = settings.steps, settings.dynamic_steps
    notes: tuple[str, ...] = ()
    if is_file(model):
        if settings.rates is not None:
            raise InputError(
                f"{model}: a file is timed with the weights it has, not at rates "
                f"{', '.join(settings.rates)}; prune it first, with rtmobile prune, and leave out "
                "--rates"
            )
        rates: tuple[str, ...] = (AS_IS,)
    else:
        rates = DEFAULT_RATES if settings.rates is None else settings.rates
    absent = absent_peers(asked, model)
    if not set(rates) - {DENSE}:
        sparse = [peer for peer in asked if not PEERS[peer].is_dense]
        absent = dict.fromkeys(sparse, "it runs pruned models, and no --rates prune") | absent
    if is_named:
        require_one(asked, absent)
    if is_file(model):
        found = file_inputs(model, inputs)
        steps, note = found.choose_steps(settings.steps), found.note(model, settings.steps)
        inputs, is_open, notes = found.specs, found.steps is None, (note,) if note else ()
    against = tuple(dict.fromkeys(peer for peer in asked if peer not in absent))
    return Plan(
        model,
        settings,
        tuple(inputs),
        asked,
        is_named,
        against,
        rates,
        steps,
        is_open,
        absent,
        notes,
    )


def require_one(named: Sequence[str], absent: dict[str, str]) -> None:
    """Raises an `InputError` when none of the peers that were named can run the model."""
    if all(peer in absent for peer in named):
        reasons = "; ".join(f"{peer}: {absent[peer]}" for peer in dict.fromkeys(named))
        raise InputError(f"no peer is left to time against: {reasons}")
