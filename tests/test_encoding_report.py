"""The report of an encoding: plain data, there and back, and a table."""

from rtmobile_iree.report.encoding import MatrixReport, Report

ENCODED = MatrixReport(
    name="gru.weight_hh_l0",
    shape=(8, 10),
    kept=16,
    encoded=True,
    reason="",
    groups=1,
    values_bytes=64,
    padding_bytes=8,
    index_bytes=20,
    dense_bytes=320,
    csr_bytes=132,
    loads_before=16,
    loads_after=2,
)
DENSE = MatrixReport(
    name="fc.weight",
    shape=(2, 8),
    kept=16,
    encoded=False,
    reason="no zeros",
    groups=1,
    values_bytes=64,
    padding_bytes=64,
    index_bytes=20,
    dense_bytes=64,
    csr_bytes=108,
    loads_before=16,
    loads_after=8,
)
ALL_PRUNED = MatrixReport("z", (1, 4), 0, True, "", 0, 0, 0, 8, 16, 8, 0, 0)


def test_json_there_and_back():
    report = Report((ENCODED, DENSE, ALL_PRUNED))
    assert Report.from_json(report.to_json()) == report
    assert Report.from_json(Report(()).to_json()) == Report(())


def test_totals():
    report = Report((ENCODED, DENSE))
    assert (report.kept, report.weights) == (32, 96)
    assert report.dense == (DENSE,)
    assert ENCODED.stored_bytes == 92
    assert DENSE.stored_bytes == 64


def test_table_says_what_stayed_dense_and_why():
    text = str(Report((ENCODED, DENSE, ALL_PRUNED)))
    lines = text.splitlines()
    row = next(line for line in lines if "gru.weight_hh_l0" in line)
    for cell in ("8 x 10", "16", "5.0x", "92", "320", "132", "16 -> 2"):
        assert cell in row
    assert lines[-1] == "dense: fc.weight: no zeros"
    assert "all" in next(line for line in lines if " z " in line)


def test_empty_report():
    assert "matrix" in str(Report(()))
