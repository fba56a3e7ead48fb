"""The parent's side of a contender's process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rtmobile_iree.bench.peers import Task

STOP_S = 10
# tells openvino-telemetry, which NNCF calls, to send nothing
QUIET = {"CI": "true"}
# thread pools that read their size from the environment when they are loaded
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerError(Exception):
    """A contender that failed; the message is one line."""


class AbsentError(Exception):
    """An engine that cannot run the model; the message says why, in one line."""


@dataclass(frozen=True)
class Ready:
    """What a contender says of itself before it is timed.

    Attributes:
        description: which of its options it runs with.
        tried: the configurations that were tried and the time of each.
        prepare_s: seconds it took to load, and compile if it does.
        max_error: greatest absolute difference of its outputs from PyTorch's.
    """

    description: str
    tried: str
    prepare_s: float
    max_error: float


class Worker:
    """A running contender; a context manager that ends its process."""

    def __init__(self, task: Task) -> None:
        self.task = task
        folder = Path(task.folder)
        path = folder / "task.json"
        path.write_text(task.to_json())
        self._log = (folder / "stderr.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rtmobile_iree.bench.worker", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | QUIET | dict.fromkeys(THREAD_VARIABLES, str(task.threads)),
        )

    def wait_ready(self) -> Ready:
        """Waits until the contender is loaded and its output compared.

        Raises:
            AbsentError: its engine cannot run the model.
            WorkerError: it failed.
        """
        return Ready(**self._answer()["ready"])

    def times_us(self, samples: int, sample_s: float) -> list[float]:
        """One burst: microseconds a call, `samples` means over `sample_s` or more each.

        Raises:
            WorkerError: the contender failed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"samples": samples, "sample_s": sample_s}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        times: list[float] = self._answer()["times_us"]
        return times

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "absent" in answer:
            raise AbsentError(answer["absent"].splitlines()[0])
        if "error" in answer:
            raise WorkerError(answer["error"].splitlines()[0])
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        reason = lines[-1] if lines else "nothing on stderr"
        return f"its process ended with {self._process.returncode}: {reason}"

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S if kind is None else 0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
