"""A contender's own process: `python -m rtmobile_iree.bench.worker TASK.json`.

Says on stdout, one JSON object a line: first {"ready": ...}, {"absent": why} where the engine
cannot run the model, or {"error": ...}; then for each request {"samples": 5, "sample_s": 0.02} on
stdin, the times {"times_us": [...]}. Ends with stdin.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np

from rtmobile_iree.bench.peers import Contender, Task, make_contender
from rtmobile_iree.errors import InputError


def main() -> None:
    # libraries print to stdout; what is said there must be ours alone
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            serve(Task.from_json(Path(sys.argv[1]).read_text()), sys.stdin, answers)
        except Exception as error:
            say(answers, {"error": f"{type(error).__name__}: {error}"})
            raise


def serve(task: Task, requests: TextIO, answers: TextIO) -> None:
    """Loads the contender, checks its output, then times it as often as asked."""
    start = time.perf_counter()
    try:
        contender = make_contender(task)
    except InputError as error:
        say(answers, {"absent": str(error)})
        return
    ready = {
        "description": contender.description,
        "tried": contender.tried,
        "prepare_s": time.perf_counter() - start,
        "max_error": max_error(contender, task),
    }
    say(answers, {"ready": ready})
    for line in requests:
        request = json.loads(line)
        times = contender.times_us(request["samples"], request["sample_s"])
        say(answers, {"times_us": times})


def max_error(contender: Contender, task: Task) -> float:
    """Greatest absolute difference from PyTorch; inf for another number or shape of outputs."""
    expected, actual = task.expected_arrays(), contender.outputs()
    if [np.shape(a) for a in actual] != [e.shape for e in expected]:
        return float("inf")
    differences = [np.abs(a - e).max() for a, e in zip(actual, expected, strict=True)]
    worst = float(np.max(differences))
    return worst if np.isfinite(worst) else float("inf")


def say(answers: TextIO, message: dict[str, object]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
