"""The accuracy table as Markdown: PER and what pruning added, beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rtmobile_iree.paper import TABLE_2, PaperRow
from rtmobile_iree.speech.points import METHODS

# by column rate, row rate
PAPER: dict[tuple[float, float], PaperRow] = {
    (row.column_rate, row.row_rate): row for row in TABLE_2 if row.compression > 1
}
MISSING = "missing"
# method, column rate, row rate, seed
Key = tuple[str, float, float, int]


@dataclass(frozen=True)
class Cell:
    """One finished run.

    Attributes:
        method: "dense", or one of `points.METHODS`.
        column_rate, row_rate, seed: what it is.
        kept, weights: recurrent weights that are not 0, and all.
        valid_per, test_per: percent.
        steps: optimizer steps; of a pruned model, those after the dense model's.
        corpus, utterances: what it was trained on; test_phones: what it was scored on.
    """

    method: str
    column_rate: float
    row_rate: float
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
        return self.method, self.column_rate, self.row_rate, self.seed

    def __str__(self) -> str:
        return (
            f"{self.method} {self.column_rate:g}x{self.row_rate:g} seed {self.seed}: "
            f"PER {self.test_per:.2f} % (valid {self.valid_per:.2f} %), {self.kept:,} kept"
        )


def markdown(
    done: Sequence[Cell], subject: dict[str, Any], rates: Iterable[tuple[float, float]]
) -> str:
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
    ]
    for rate in rates:
        there = [cell for cell in done if (cell.column_rate, cell.row_rate) == rate]
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
        "TIMIT and a 2 x 1024 GRU: other recordings, and a larger model.",
    ]


def _notes(subject: dict[str, Any]) -> list[str]:
    effort, training = subject["effort"], subject["prune"]
    return [
        "Compression is the paper's: its column and row rates multiply to more (16 x 5 is 80, and "
        "43 is what it kept), so rows are pruned here by as much as is left of the compression. "
        "ADMM. Three runs go through all of them, stage by stage: columns 10, in stripes of 16 "
        "rows; columns 10, 16, then rows, in stripes of 4; and columns 10, 16, 20, then rows, in "
        "stripes of 4. A stage rises to its rate by "
        f"factors of at most {effort['rise']:g}, each with {effort['admm']:,} optimizer steps "
        f"towards the structure and {effort['rise_steps']:,} under the mask, then retrains for "
        f"{effort['retrain']:,}; batches of {training['batch']}. "
        "Whole rows and columns go the same way. One-shot and unstructured pruning set their masks "
        "at once, and retrain for as many steps as ADMM takes to that rate (the list below has "
        "them). Every model's decoder is tuned on `valid`. Distillation from the dense model, "
        f"all methods: {training['distill']:g}. Rates are of the GRU's four matrices; the output "
        "layer stays dense. Made by `python -m rtmobile_iree.speech.accuracy`; a cell that is "
        "missing has not been run.",
    ]


def _each(done: Sequence[Cell]) -> list[str]:
    """Every run, a line each."""
    heads = ["method", "rate", "seed", "kept", "steps", "PER valid", "PER test"]
    rows = [
        [c.method, _name((c.column_rate, c.row_rate)), str(c.seed), f"{c.kept:,}", f"{c.steps:,}",
         f"{c.valid_per:.2f}", f"{c.test_per:.2f}"]
        for c in sorted(done, key=lambda c: (c.method, c.column_rate * c.row_rate, c.seed))
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


def _kept(found: Sequence[Cell]) -> str:
    admm = [cell for cell in found if cell.method == "admm"]
    return f"1/{admm[0].weights / admm[0].kept:.1f}" if admm else MISSING


def _name(rate: tuple[float, float]) -> str:
    return f"{rate[0]:g} x {rate[1]:g}"


def _row(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"
