"""The scaling study: the fit by hand, every size timed, JSON and picture."""

import json

import pytest

from rtmobile_iree.bench import scaling
from rtmobile_iree.bench.scaling import Point, ScalingResults, fit_line, plot, run_scaling
from rtmobile_iree.errors import InputError


def test_a_line_is_found():
    fit = fit_line([1000, 2000, 4000], [12.0, 22.0, 42.0])
    assert fit.slope_ns == pytest.approx(10)
    assert fit.intercept_us == pytest.approx(2)
    assert fit.r_squared == pytest.approx(1)
    assert fit.residuals_us == pytest.approx((0, 0, 0), abs=1e-9)


def test_what_the_line_misses():
    """Times 1, 2, 6 at 0, 1, 2: the line is 0.5 + 2.5 x."""
    fit = fit_line([0, 1, 2], [1.0, 2.0, 6.0])
    assert fit.slope_ns == pytest.approx(2500)
    assert fit.intercept_us == pytest.approx(0.5)
    assert fit.residuals_us == pytest.approx((0.5, -1.0, 0.5))
    assert fit.r_squared == pytest.approx(1 - 1.5 / 14)


def test_equal_times_are_a_line():
    assert fit_line([1, 2], [5.0, 5.0]).r_squared == 1.0


def test_one_size_has_no_line():
    with pytest.raises(InputError, match="1 sizes have no line"):
        fit_line([7, 7], [1.0, 2.0])
    with pytest.raises(InputError, match="two sizes or more"):
        run_scaling("4x1", 2, hidden=(32,), layers=(1,))
    with pytest.raises(InputError, match="rate 'fast'"):
        run_scaling("fast", 2)


def test_every_size_is_timed(monkeypatch):
    monkeypatch.setattr(scaling, "SAMPLE_S", 1e-3)
    results = run_scaling("4x1", 2, hidden=(32, 48), layers=(1, 2), rounds=2)
    sizes = [(p.hidden, p.layers) for p in results.points]
    assert sizes == [(32, 1), (32, 2), (48, 1), (48, 2)]
    assert min(p.time_us for p in results.points) > 0
    kept = {size: p.kept for size, p in zip(sizes, results.points, strict=True)}
    assert kept[32, 1] < kept[32, 2] < kept[48, 2]
    assert kept[32, 1] <= 3 * 32 * (40 + 32) / 3
    fields = json.loads(results.to_json())
    assert len(fields["points"]) == len(fields["fit"]["residuals_us"]) == 4
    assert {"slope_ns", "intercept_us", "r_squared"} < set(fields["fit"])


def test_the_picture_is_a_png(tmp_path):
    points = (Point(32, 1, 100, 10.0), Point(64, 1, 300, 31.0), Point(64, 2, 500, 50.0))
    plot(ScalingResults("4x1", 30, points), tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
