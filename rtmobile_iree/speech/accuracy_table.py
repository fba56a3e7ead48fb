"""The accuracy table as Markdown: PER and what pruning added, beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rtmobile_iree.paper import TABLE_2, PaperRow
from rtmobile_iree.speech.points import METHODS, RISING, TRAINED_ON

# by compression
PAPER: dict[int, PaperRow] = {row.compression: row for row in TABLE_2 if row.compression > 1}
MISSING = "missing"
# method, compression, seed
Key = tuple[str, int, int]


@dataclass(frozen=True)
class Cell:
    """One finished run.

    Attributes:
        method: "dense", or one of `points.Method`.
        rate, seed: compression that was sought, and what chance it had.
        kept, weights: recurrent weights that are not 0, and all.
        valid_per, test_per: percent.
        steps: optimizer steps; of a pruned model, those after the dense model's.
        corpus, utterances: what it was trained on; test_phones: what it was scored on.
    """

    method: str
    rate: int
    seed: int
    kept: int
    weights: int
    valid_per: float
    test_per: float
    steps: int
    corpus: str
    utterances: int
    test_phones: int

    @staticmethod
    def of(key: Key, notes: dict[str, Any]) -> Cell:
        """Of a checkpoint's notes."""
        valid, test = notes["per"]["valid"], notes["per"]["test"]
        return Cell(
            *key, notes["kept"], notes["weights"],
            100 * valid["errors"] / valid["phones"], 100 * test["errors"] / test["phones"],
            notes["steps"], notes["corpus"], notes["utterances"], test["phones"],
        )  # fmt: skip

    @property
    def key(self) -> Key:
        return self.method, self.rate, self.seed

    def __str__(self) -> str:
        return (
            f"{self.method} {self.rate}x seed {self.seed}: "
            f"PER {self.test_per:.2f} % (valid {self.valid_per:.2f} %), {self.kept:,} kept"
        )


def markdown(done: Sequence[Cell], subject: dict[str, Any], rates: Iterable[int]) -> str:
    """The whole file."""
    dense = [cell for cell in done if cell.method == "dense"]
    heads = ["compression (the paper's rates)", "kept", "the paper's", *METHODS.values()]
    lines = [
        "# PER against compression",
        "",
        *_preface(dense, subject),
        "",
        _row(heads),
        _row(["---"] * len(heads)),
        _row(["1 (dense PER)", "1", "18.80", *[_dense(dense)] * len(METHODS)]),
        _row(["1, trained on", "1", "", *[_trained_on(done, dense)] * len(METHODS)]),
    ]
    for rate in rates:
        there = [cell for cell in done if cell.rate == rate]
        columns = [_added([c for c in there if c.method == m], dense) for m in METHODS]
        paper = PAPER[rate]
        name = f"{paper.compression} ({paper.rate.replace('x', ' x ')})"
        lines.append(_row([name, _kept(there), f"{paper.per_added:+.2f}", *columns]))
    lines += ["", *_notes(subject), "", *_each(done)]
    return "\n".join(lines) + "\n"


def _preface(dense: Sequence[Cell], subject: dict[str, Any]) -> list[str]:
    model = subject["dense"]["model"]
    shape = f"{model['layers']} x {model['hidden']} GRU, steps of {10 * model['stack']} ms"
    if not dense:
        return [f"{shape}: no run has finished yet."]
    one = dense[0]
    return [
        f"{shape}, {one.weights:,} recurrent weights, trained on the corpus `{one.corpus}` "
        f"({one.utterances:,} utterances; {one.test_phones:,} phones to find in `test`). Cells: "
        "what pruning adds to the PER of the dense model of the same seed, percent points on "
        "`test`; mean, and least to greatest, of the seeds there are. The paper's column is of "
        "TIMIT and a 2 x 1024 GRU.",
    ]


def _notes(subject: dict[str, Any]) -> list[str]:
    effort, training = subject["effort"], subject["prune"]
    return [
        "Compression is of the GRU's four matrices; the output layer stays dense. The paper's "
        "column and row rates multiply to more than its compression (16 x 5 is 80, and 43 is what "
        "it kept). BSP prunes columns alone here, in stripes of 4 rows: pruning whole rows as well "
        "cost more than as many weights of columns. ADMM goes through all rates in one run, a "
        "stage each, which rises to its rate by "
        f"factors of at most {effort['rise']:g}, each with {effort['admm']:,} optimizer steps "
        f"towards the structure and {effort['rise_steps']:,} under the mask, then retrains for "
        f"{effort['retrain']:,}; batches of {training['batch']}. "
        "Every method takes about as many steps to a rate as ADMM (the list below has them). "
        "Unstructured pruning goes the same way through all rates, by magnitude; so do whole "
        "columns and rows, by the root of the rate each, in turn, by ADMM, and retrain after both. "
        "One-shot pruning starts from the dense model at each rate, and retrains under masks set "
        'at once; "straight there" is ADMM from the dense model with no stage before, in as many '
        f"steps, {RISING:.0%} of them to rise. "
        '"Trained on" is the dense model, unpruned, after as many steps more '
        "as ADMM takes to the first rate, at its own learning rate: what pruned models gain by "
        "training alone. Every model's decoder is tuned on `valid`. Distillation from the "
        f"dense model, all methods: {training['distill']:g}. Spans and bands masked in an "
        f"utterance in training: {_masked(subject['dense'])} of dense models, {_masked(training)} "
        "of all that start from one: a sparse model has little to spare. Made by "
        "`python -m rtmobile_iree.speech.accuracy`; a cell that is missing has not been run.",
    ]


def _masked(training: dict[str, Any]) -> str:
    """How many spans and bands."""
    augment = training["augment"]
    return f"{augment['time_masks']} and {augment['band_masks']}"


def _each(done: Sequence[Cell]) -> list[str]:
    """Every run, a line each."""
    heads = ["method", "rate", "seed", "kept", "steps", "PER valid", "PER test"]
    rows = [
        [c.method, str(c.rate), str(c.seed), f"{c.kept:,}", f"{c.steps:,}",
         f"{c.valid_per:.2f}", f"{c.test_per:.2f}"]
        for c in sorted(done, key=lambda c: (c.method, c.rate, c.seed))
    ]  # fmt: skip
    return ["## Every run", "", _row(heads), _row(["---"] * len(heads)), *map(_row, rows)]


def _added(found: Sequence[Cell], dense: Sequence[Cell]) -> str:
    """What a method adds at one rate."""
    base = {cell.seed: cell.test_per for cell in dense}
    added = [cell.test_per - base[cell.seed] for cell in found if cell.seed in base]
    if not added:
        return MISSING
    if len(added) == 1:
        return f"{added[0]:+.2f}"
    return f"{statistics.mean(added):+.2f} ({min(added):+.2f} to {max(added):+.2f})"


def _dense(dense: Sequence[Cell]) -> str:
    if not dense:
        return MISSING
    pers = [cell.test_per for cell in dense]
    spread = f" ({min(pers):.2f} to {max(pers):.2f})" if len(pers) > 1 else ""
    return f"{statistics.mean(pers):.2f}{spread}"


def _trained_on(done: Sequence[Cell], dense: Sequence[Cell]) -> str:
    found = [cell for cell in done if cell.method == TRAINED_ON]
    added = _added(found, dense)
    return f"{added}, {found[0].steps:,} steps" if found else added


def _kept(found: Sequence[Cell]) -> str:
    admm = [cell for cell in found if cell.method == "admm"]
    return f"1/{admm[0].weights / admm[0].kept:.1f}" if admm else MISSING


def _row(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"
