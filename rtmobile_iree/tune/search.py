"""One search over error and time, in a storage that any number of workers share.

Each worker runs `search_blocks` with the same folder or storage: Optuna deals out the trials. What
a killed worker had finished stays; the same command goes on.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from rtmobile_iree.bench.peers.iree_peer import sample_times_us
from rtmobile_iree.devices import get_device
from rtmobile_iree.devices.contents import read_contents
from rtmobile_iree.errors import InputError, RTMobileError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.options import Options
from rtmobile_iree.program import compile as compile_program
from rtmobile_iree.tune.blocks import Blocks, BlockSpace
from rtmobile_iree.tune.pareto import ParetoSet, place

__all__ = ["Objective", "Timing", "search_blocks"]

STUDY = "blocks"
# the median of so many samples is a trial's time; the Pareto set's are timed once more
SAMPLES = 7
Progress = Callable[[str], None]
Objective = Callable[[nn.Module, Blocks], float]
"""Prunes a module in place to these blocks, trains it if it likes, leaves it in eval mode; returns
its error, less is better."""


@dataclass(frozen=True)
class Timing:
    """Where and how the compiler's module is timed.

    Attributes:
        target, cpu: what to compile for.
        device: where to run it, as `--device` says it.
        device_options: of `devices.get_device`.
        steps: time steps of a call.
        options: of the compiler.
        sample_s: seconds of a sample, over which calls are averaged.
        rounds: in which the Pareto set is timed once more, by turns.
    """

    target: str = "host"
    cpu: str | None = None
    device: str = "local"
    device_options: dict[str, Any] = field(default_factory=dict)
    steps: int = 30
    options: Options = field(default_factory=Options)
    sample_s: float = 0.1
    rounds: int = 5

    def fields(self) -> dict[str, Any]:
        """What trials of one study have in common."""
        own = asdict(self)
        del own["device_options"], own["sample_s"], own["rounds"]
        plain: dict[str, Any] = json.loads(json.dumps(own, default=str))
        return plain


def search_blocks(
    make_module: Callable[[], nn.Module],
    objective: Objective,
    space: BlockSpace,
    folder: Path,
    *,
    name: str,
    timing: Timing | None = None,
    trials: int | None = None,
    storage: str | None = None,
    seed: int | None = None,
    progress: Progress = lambda line: None,
) -> ParetoSet:
    """Tries block sizes until there are enough trials, whichever worker made them.

    Args:
        make_module: a module as it is before pruning, with `example_inputs(steps)`; one a trial.
        objective: prunes, trains and judges it.
        space: what to choose from.
        folder: for the modules, `pareto.json`, and the storage where none is given; may be shared.
        name: of the model and what is done to it; every worker must say the same.
        timing: where the module is timed.
        trials: finished ones wanted; None for every block size.
        storage: a database for Optuna, as `sqlite:///FILE`; None for a journal in `folder`.
        seed: of the choices; None for another in each worker.
        progress: called with a line at each stage.

    Returns:
        The finished trials, the best of them timed once more by turns.

    Raises:
        InputError: trials below 1, or a storage that holds a search of something else.
        RTMobileError: every trial failed; the message is the last one's.
    """
    timing = timing or Timing()
    wanted = space.size if trials is None else trials
    if wanted < 1:
        raise InputError(f"trials {wanted}: use whole numbers from 1")
    folder.mkdir(parents=True, exist_ok=True)
    study = _open_study(storage, folder, wanted >= space.size, seed)
    _agree(study, {"name": name, **asdict(space), **timing.fields()})
    worker = _Worker(make_module, objective, space, folder, timing, progress)
    while _finished(study) < min(wanted, space.size):
        before = len(study.trials)
        study.optimize(worker.run, n_trials=1, catch=(RTMobileError,))
        if len(study.trials) == before or _all_tried(study, space):
            break
    done = [trial for trial in study.get_trials() if trial.state == TrialState.COMPLETE]
    if not done:
        raise worker.failure or InputError(f"{name}: no block size could be tried")
    result = place(done, study.best_trials, folder, timing, name, progress)
    write_atomically(folder / "pareto.json", result.to_json().encode())
    return result


def _open_study(
    storage: str | None, folder: Path, is_exhaustive: bool, seed: int | None
) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    kept: str | BaseStorage = storage or JournalStorage(
        JournalFileBackend(str(folder / "trials.journal"))
    )
    sampler: optuna.samplers.BaseSampler
    if is_exhaustive:
        sampler = optuna.samplers.BruteForceSampler(seed, avoid_premature_stop=True)
    else:
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.create_study(
        storage=kept,
        sampler=sampler,
        study_name=STUDY,
        directions=["minimize", "minimize"],
        load_if_exists=True,
    )


def _agree(study: optuna.Study, subject: dict[str, Any]) -> None:
    """Raises InputError where the storage's trials are of something else."""
    subject = json.loads(json.dumps(subject))
    known = study.user_attrs.get("subject")
    if known is None:
        study.set_user_attr("subject", subject)
        return
    for key in sorted(subject.keys() | known.keys()):
        if subject.get(key) != known.get(key):
            raise InputError(
                f"the search in this folder has {key} {known.get(key)!r}, not "
                f"{subject.get(key)!r}; use another folder, or the same settings"
            )


def _blocks(trial: FrozenTrial) -> Blocks:
    return Blocks(trial.params["row_stripes"], trial.params["col_blocks"])


def _finished(study: optuna.Study) -> int:
    """Different block sizes that have been tried to the end."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len({_blocks(trial) for trial in done})


def _all_tried(study: optuna.Study, space: BlockSpace) -> bool:
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return len({_blocks(trial) for trial in ended if len(trial.params) == 2}) == space.size


@dataclass
class _Worker:
    """One process that tries block sizes."""

    make_module: Callable[[], nn.Module]
    objective: Objective
    space: BlockSpace
    folder: Path
    timing: Timing
    progress: Progress
    failure: RTMobileError | None = None

    def run(self, trial: optuna.Trial) -> tuple[float, float]:
        """Error, and microseconds a call."""
        blocks = Blocks(
            trial.suggest_categorical("row_stripes", self.space.row_stripes),
            trial.suggest_categorical("col_blocks", self.space.col_blocks),
        )
        known = self._known(trial, blocks)
        if known is not None:
            return known
        try:
            return self._try(trial, blocks)
        except RTMobileError as error:
            self.failure = error
            trial.set_user_attr("failure", str(error))
            self.progress(f"{blocks}: failed: {error}")
            raise

    def _known(self, trial: optuna.Trial, blocks: Blocks) -> tuple[float, float] | None:
        """What another trial found for the same blocks."""
        for other in trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if _blocks(other) == blocks:
                for key, value in other.user_attrs.items():
                    trial.set_user_attr(key, value)
                return other.values[0], other.values[1]
        return None

    def _try(self, trial: optuna.Trial, blocks: Blocks) -> tuple[float, float]:
        self.progress(f"{blocks}: pruning")
        module = self.make_module()
        error = self.objective(module, blocks)
        if not math.isfinite(error):
            raise InputError(f"{blocks}: its error is {error}; it must be finite")
        self.progress(f"{blocks}: compiling")
        offered = getattr(module, "example_inputs", None)
        if offered is None:
            raise InputError(f"{type(module).__name__} has no example_inputs(steps); add it")
        timing = self.timing
        program = compile_program(
            module,
            offered(timing.steps),
            timing.target,
            cpu=timing.cpu,
            **vars(timing.options),
        )
        write_atomically(self.folder / f"{blocks}.vmfb", program.vmfb)
        self.progress(f"{blocks}: timing")
        with _alone(timing, self.folder):
            time_us = _time_us(program.vmfb, timing)
        trial.set_user_attr("vmfb_bytes", len(program.vmfb))
        trial.set_user_attr("kept", sum(matrix.kept for matrix in program.report.matrices))
        return float(error), time_us


def _alone(timing: Timing, folder: Path) -> AbstractContextManager[Any]:
    """Workers beside each other time one after another; they may train meanwhile, which is why the
    Pareto set is timed once more at the end."""
    return FileLock(folder / "timing.lock") if timing.device == "local" else nullcontext()


def _time_us(vmfb: bytes, timing: Timing) -> float:
    device = get_device(timing.device, **timing.device_options)
    inputs: Sequence[np.ndarray] = read_contents(vmfb).example_inputs(timing.steps)
    result = device.benchmark(vmfb, inputs, repetitions=SAMPLES, min_time_s=timing.sample_s)
    return float(np.median(sample_times_us(result)))
