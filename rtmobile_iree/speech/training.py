"""Training, dense or with a pruner, step by step; what was stopped goes on bit by bit.

The run's folder holds `state.pt`, written about every `SAVE_EVERY_S` seconds and at the end of
every epoch, and `log.jsonl`, a line an epoch. Everything random comes from the seed and the number
of the epoch or step, so a state is the weights, the optimizer, the pruner and a few numbers.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtmobile_iree.errors import DivergenceError, InputError
from rtmobile_iree.gru_training.stack import GRUPass
from rtmobile_iree.speech.acoustic import PhoneGRU, plain_copy
from rtmobile_iree.speech.batches import Batch, augmented, epoch_batches, epoch_numbers
from rtmobile_iree.speech.loss import training_loss
from rtmobile_iree.speech.task import Position, Progress, Pruner, State, Task

STATE, LOG = "state.pt", "log.jsonl"
SAVE_EVERY_S = 20.0
# of the highest learning rate, where pruning has to keep what the model knows
PRUNE_PACE = 0.6


class Run:
    """One training run in a folder."""

    def __init__(self, task: Task, folder: Path, progress: Progress = lambda line: None) -> None:
        """Opens the folder, and goes on from its state where there is one.

        Raises:
            InputError: the folder holds another run.
        """
        self.task, self.folder, self.progress = task, folder, progress
        self.at = Position()
        self.gru_pass = GRUPass(task.module.gru, task.recipe.precision)
        recipe = task.recipe
        self.optimizer = torch.optim.AdamW(
            task.module.parameters(),
            recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        taken = epoch_numbers(task.examples, recipe.others_every, task.seed, 0)
        self.steps_per_epoch = math.ceil(len(taken) / recipe.batch)
        self._saved_s = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE).exists():
            self._load()

    @property
    def steps(self) -> int:
        """Of the whole run."""
        pruner = self.task.pruner
        return self.task.recipe.epochs * self.steps_per_epoch if pruner is None else pruner.steps

    def last_good(self) -> PhoneGRU | None:
        """What a run that diverged leaves: of a dense one the best epoch's model, if one ended."""
        if self.task.pruner is not None:
            return plain_copy(self.task.module)
        if not self.at.best:
            return None
        self.task.module.load_state_dict(self.at.best)
        return self.task.module.eval()

    def finish(self) -> PhoneGRU:
        """Trains to the end; the module, in eval mode, with its best weights if it was dense.

        Raises:
            DivergenceError: the loss or a weight is no longer finite; the last state is kept.
        """
        task = self.task
        while self.at.step < self.steps and self.at.waited < task.recipe.patience:
            self._epoch()
        if task.pruner is not None:
            task.pruner.finalize()
        elif self.at.best:
            task.module.load_state_dict(self.at.best)
        return task.module.eval()

    def _epoch(self) -> None:
        """The rest of the epoch that is on."""
        start, losses = time.monotonic(), []
        for batch in self._batches():
            losses.append(self._step(batch))
            if time.monotonic() - self._saved_s > SAVE_EVERY_S:
                self.save()
            if self.at.step == self.steps:
                break
        self._end_epoch(float(np.mean(losses)), time.monotonic() - start)

    def _batches(self) -> Iterator[Batch]:
        task = self.task
        epoch, done = divmod(self.at.step, self.steps_per_epoch)
        taken = epoch_numbers(task.examples, task.recipe.others_every, task.seed, epoch)
        examples = [task.examples[n] for n in taken]
        for numbers in epoch_batches(examples, task.recipe.batch, task.seed, epoch)[done:]:
            batch = Batch.of([examples[n] for n in numbers])
            rng = np.random.default_rng([task.seed, 1, self.at.step])
            module = task.module
            yield augmented(batch, task.recipe.augment, module.mean, module.scale, rng)

    def _step(self, batch: Batch) -> float:
        task = self.task
        module, pruner = task.module.train(), task.pruner
        for group in self.optimizer.param_groups:
            group["lr"] = task.recipe.learning_rate * self._pace()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((task.seed << 32) + self.at.step)  # dropout
            scores = module.training_scores(batch.x, self.gru_pass)
        loss = training_loss(scores, batch, module.config, task.recipe.distill)
        whole = loss if pruner is None else loss + pruner.penalty()
        self.optimizer.zero_grad()
        whole.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), task.recipe.clip)
        if pruner is None and not torch.isfinite(loss):
            raise DivergenceError(
                f"training diverged at {self._where()}: the loss is {loss.item()}; lower "
                f"learning_rate ({task.recipe.learning_rate:g}) or clip"
            )
        self.optimizer.step()
        self.at = replace(self.at, step=self.at.step + 1, in_phase=self.at.in_phase + 1)
        if pruner is not None and not self._advance(pruner, loss):
            self.at = replace(self.at, in_phase=0)
        return loss.item()

    def _advance(self, pruner: Pruner, loss: Tensor) -> bool:
        """The pruner's part of a step; whether its phase goes on."""
        phase = pruner.phase
        pruner.step(loss)
        if pruner.phase == phase:
            return True
        if not phase.sets_masks and not phase.rising:
            self.task.module.eval()
            self.task.at_stage(phase)
        return False

    def _pace(self) -> float:
        """Share of the highest learning rate: a rise and a cosine; flat and lower where masks come
        and rates rise."""
        pruner, recipe = self.task.pruner, self.task.recipe
        if pruner is None:
            return _rise_and_fall(self.at.step / self.steps, recipe.warm_up)
        phase = pruner.phase
        if phase.sets_masks or phase.rising or pruner.done:
            return PRUNE_PACE
        return _rise_and_fall(self.at.in_phase / phase.steps, 0.0)

    def _where(self) -> str:
        epoch = self.at.step // self.steps_per_epoch + 1
        phase = f", {self.task.pruner.phase}" if self.task.pruner else ""
        return f"epoch {epoch}, step {self.at.step + 1} of {self.steps}{phase}"

    def _end_epoch(self, loss: float, seconds: float) -> None:
        task = self.task
        line: State = {"step": self.at.step, "loss": round(loss, 4), "seconds": round(seconds, 1)}
        if task.pruner is not None:
            line["phase"] = str(task.pruner.phase)
            if residuals := task.pruner.residuals():
                line["residual"] = round(max(residuals.values()), 3)
        elif task.validate is not None:
            task.module.eval()
            line["valid_per"] = round(per := task.validate(), 3)
            self._keep_best(per)
        with (self.folder / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.progress(", ".join(f"{key} {value}" for key, value in line.items()))
        self.save()

    def _keep_best(self, per: float) -> None:
        if per >= self.at.best_per:
            self.at = replace(self.at, waited=self.at.waited + 1)
            return
        best = {name: value.clone() for name, value in self.task.module.state_dict().items()}
        self.at = replace(self.at, best_per=per, waited=0, best=best)

    def save(self) -> None:
        """Writes the state; a kill afterwards loses nothing before."""
        state = {
            "subject": json.dumps(self.task.subject),
            "module": self.task.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pruner": self.task.pruner.state_dict() if self.task.pruner else None,
            "at": dict(vars(self.at)),
        }
        temporary = self.folder / f".{STATE}"
        torch.save(state, temporary)
        temporary.replace(self.folder / STATE)
        self._saved_s = time.monotonic()

    def _load(self) -> None:
        path = self.folder / STATE
        state = torch.load(path, weights_only=True)
        if state["subject"] != json.dumps(self.task.subject):
            raise InputError(
                f"{path}: the state of another run (recipe, corpus or seed differ); "
                f"use another folder, or remove it"
            )
        self.task.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.task.pruner is not None:
            self.task.pruner.load_state_dict(state["pruner"])
        self.at = Position(**state["at"])
        self.progress(f"goes on after step {self.at.step} of {self.steps}")


def _rise_and_fall(done: float, warm_up: float) -> float:
    """1 at its highest: a line up over the first share, then a cosine to 0."""
    if done < warm_up:
        return max(done, 1e-3) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))
