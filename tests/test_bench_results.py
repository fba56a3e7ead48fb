"""What a benchmark measured: ratios, the table, the plot, the JSON."""

import io
import json

import pytest
from rich.console import Console

from rtmobile_iree.bench import BenchResults, Measurement, check_plot, results_table, write_plot
from rtmobile_iree.bench.results import paired_ratio
from rtmobile_iree.errors import InputError


def measurement(name: str, rounds: tuple[tuple[float, ...], ...], rate: str = "dense"):
    return Measurement(name, rate, 30, "ok", "", 10, 100, 0.0, 0.0, rounds)


def test_ratios_are_paired_by_round():
    """A round in which the whole machine was half as fast changes no ratio."""
    ours = measurement("rtmobile", ((1.0, 1.1, 0.9), (2.0, 2.2, 1.8)), "10x1")
    peer = measurement("torch", ((10.0, 11.0, 9.0), (20.0, 22.0, 18.0)))
    ratio = paired_ratio(ours, peer)
    assert (ratio.median, ratio.minimum, ratio.maximum) == pytest.approx((10, 10, 10))
    s = peer.statistics()
    assert s["min_us"] == 9
    assert s["max_us"] == 22
    assert s["p10_us"] <= s["median_us"] <= s["p90_us"]


def test_results_that_hold_failures_are_printed_and_saved():
    failed = Measurement("torch", "dense", 1, "failed", "no [reason]", 10, 100)
    wrong = Measurement("onnxruntime", "dense", 1, "wrong", "", 0, 100, float("inf"))
    results = BenchResults("m:f", {"threads": 2}, {"cpu": "x"}, {}, (failed, wrong), "now")
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(results_table(results))
    text = console.export_text()
    assert "failed: no [reason]" in text
    assert "wrong output, not timed" in text
    json.loads(results.to_json())


ROUNDS = ((1.0, 1.0), (2.0, 2.0))


def results_of(*measurements: Measurement, absent: dict[str, str] | None = None) -> BenchResults:
    return BenchResults(
        "m:f", {"threads": 1}, {"cpu": "x"}, {}, measurements, "now", absent or {}, ("a note",)
    )


def full_results() -> BenchResults:
    found = []
    for steps in (1, 30):
        common = {"max_error": 1e-7, "rounds_us": ROUNDS, "version": "1.2"}
        found += [
            Measurement("torch", "dense", steps, "ok", "eager", 100, 100, **common),
            Measurement("torch-csr", "2x1", steps, "ok", "CSR", 50, 100, **common, pattern="BSP"),
            Measurement("torch-csr", "4x1", steps, "ok", "CSR", 25, 100, **common, pattern="BSP"),
            Measurement(
                "litert-int8", "dense", steps, "ok", f"{steps}!", 9, 9, **common, values="int8"
            ),
            Measurement("rtmobile", "2x1", steps, "ok", "", 50, 100, **common, pattern="BSP"),
            Measurement("rtmobile", "4x1", steps, "ok", "", 25, 100, **common, pattern="BSP"),
        ]
    return results_of(*found, absent={"ncnn": "needs ncnn"})


def test_a_peer_that_runs_pruned_models_is_compared_at_its_own_rate():
    pairs = {(r.rate, r.peer, r.peer_rate) for r in full_results().ratios()}
    assert pairs == {
        ("2x1", "torch", "dense"),
        ("4x1", "torch", "dense"),
        ("2x1", "litert-int8", "dense"),
        ("4x1", "litert-int8", "dense"),
        ("2x1", "torch-csr", "2x1"),
        ("4x1", "torch-csr", "4x1"),
    }


def test_the_table_has_a_row_for_each_contender():
    console = Console(width=210, record=True, file=io.StringIO())
    console.print(results_table(full_results()))
    text = console.export_text()
    rows = [line for line in text.splitlines() if line.startswith("│")]
    names = [row.split("│")[1].strip() for row in rows]
    assert names == [
        "torch",
        "litert-int8",
        "torch-csr 2x1",
        "torch-csr 4x1",
        "rtmobile 2x1",
        "rtmobile 4x1",
    ]
    cells = [cell.strip() for cell in rows[2].split("│")[1:-1]]
    assert cells[1:7] == ["1.2", "CSR", "f32", "BSP", "1/2", "1"]
    assert cells[7:] == ["1.5 (1.0 - 2.0)"] * 2 + ["1.0e-07", "1.0 / 1.0", ""]
    assert "T=1: 1!; T=30: 30!" in rows[1]
    assert "not timed: ncnn: needs ncnn" in text
    assert "a note" in text


def test_the_json_says_what_each_contender_was():
    saved = json.loads(full_results().to_json())
    told = saved["measurements"][1]
    assert (told["contender"], told["rate"], told["pattern"]) == ("torch-csr", "2x1", "BSP")
    assert (told["version"], told["values"], told["threads"]) == ("1.2", "f32", 1)
    assert (told["median_us"], told["compression"]) == (1.5, 2)
    assert saved["absent"] == {"ncnn": "needs ncnn"}


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_plot_draws_every_contender(tmp_path, kind):
    path = tmp_path / f"plot.{kind}"
    check_plot(path)
    write_plot(full_results(), path)
    start = path.read_bytes()[:8]
    assert start == b"\x89PNG\r\n\x1a\n" if kind == "png" else start.startswith(b"<?xml")


def test_a_plot_of_nothing_is_an_empty_picture(tmp_path):
    failed = Measurement("torch", "dense", 1, "failed", "no", 10, 100)
    write_plot(results_of(failed), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0


def test_plots_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"name it .png, .svg, .pdf"):
        check_plot(tmp_path / "plot.txt")
    with pytest.raises(InputError, match="no folder"):
        check_plot(tmp_path / "none" / "plot.png")
