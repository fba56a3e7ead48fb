"""From linalg and layers to packed ops: the same numbers after every pass, any weights."""

from __future__ import annotations

import numpy as np
import pytest
from rtmobile_iree.dialects import make_context
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.encode import EncodePass
from rtmobile_iree.passes.pack import PackPass
from rtmobile_iree.passes.reorder import ReorderPass
from torch_mlir import ir

from rtmobile_iree.errors import EncodeError
from rtmobile_iree.kinds import KINDS, Kind
from rtmobile_iree.reference import evaluate
from rtmobile_iree.report.build import build_report

FLOW = (EncodePass(), ReorderPass(workers=2), EliminateLoadsPass(), PackPass())
DENSITIES = [0.0, 0.1, 0.5, 1.0]


def stripes(rows: int, columns: int, density: float, seed: int, height: int = 4) -> np.ndarray:
    """[rows, columns] f32, every `height` rows with columns of their own, some rows pruned."""
    rng = np.random.default_rng(seed)
    support = np.repeat(rng.random((-(-rows // height), columns)) < density, height, axis=0)[:rows]
    if density < 1:
        support[rng.random(rows) < 0.2] = False
    return np.where(support, rng.normal(size=support.shape), 0).astype(np.float32)


def dense(array: np.ndarray) -> str:
    """An MLIR constant, exact to the last bit."""
    kind = "x".join(map(str, array.shape))
    data = array.astype("<f4").tobytes().hex().upper()
    return f'dense<"0x{data}"> : tensor<{kind}xf32>'


def layer_arrays(kind: Kind, inputs: int, hidden: int, density: float) -> dict[str, np.ndarray]:
    """Weights and biases by operand; units are projected to half as many outputs, rounded up."""
    rows, outputs = kind.gates * hidden, (hidden + 1) // 2 if "hr" in kind.weights else hidden
    shapes = {"ih": (rows, inputs), "hh": (rows, outputs), "hr": (outputs, hidden)}
    arrays = {
        f"w_{part}": stripes(*shapes[part], density, seed)
        for seed, part in enumerate(kind.weights, 1)
    }
    b_ih, b_hh = np.random.default_rng(3).normal(size=(2, rows)).astype(np.float32)
    return {**arrays, "b_ih": b_ih, "b_hh": b_hh}


def layer_module(kind: Kind, inputs: int, hidden: int, density: float) -> str:
    """One layer: x [T, 2, inputs], states [1, 2, .]."""
    arrays = layer_arrays(kind, inputs, hidden, density)
    states = [f"tensor<1x2x{size}xf32>" for size in (arrays["w_hh"].shape[1], hidden)]
    states = states[: len(kind.states)]
    given = [f"tensor<?x2x{inputs}xf32>", *states]
    types = given + [f"tensor<{'x'.join(map(str, a.shape))}xf32>" for a in arrays.values()]
    results = ", ".join([states[0].replace("<1x", "<?x"), *states])
    arguments = ", ".join(f"%v{i}: {each}" for i, each in enumerate(given))
    constants = "".join(
        f"""
  %{name} = arith.constant {dense(array)} loc("{name.replace("w_", "layer.weight_")}_l0")"""
        for name, array in arrays.items()
    )
    operands = [f"%v{i}" for i in range(len(given))] + [f"%{name}" for name in arrays]
    made = ", ".join(f"%r#{i}" for i in range(len(given)))
    return f"""
func.func @main({arguments}) -> ({results}) {{{constants}
  %r:{len(given)} = "bspc.{kind.name}"({", ".join(operands)}) {{layer = 0 : i64, name = "layer.l0"}}
      : ({", ".join(types)}) -> ({results})
  return {made} : {results}
}}"""


def linear_module(weights: list[np.ndarray]) -> str:
    """Linear layers side by side, all of x [?, N]."""
    n = weights[0].shape[1]
    body, types = [], []
    for k, w in enumerate(weights):
        m = w.shape[0]
        body.append(f"""
  %w{k} = arith.constant {dense(w)} loc("fc{k}.weight")
  %o{k} = tensor.empty(%n) : tensor<?x{m}xf32>
  %f{k} = linalg.fill ins(%zero : f32) outs(%o{k} : tensor<?x{m}xf32>) -> tensor<?x{m}xf32>
  %y{k} = linalg.matmul indexing_maps = [#mk, #nk, #mn]
      ins(%x, %w{k} : tensor<?x{n}xf32>, tensor<{m}x{n}xf32>)
      outs(%f{k} : tensor<?x{m}xf32>) -> tensor<?x{m}xf32>""")
        types.append(f"tensor<?x{m}xf32>")
    results = ", ".join(types)
    names = ", ".join(f"%y{k}" for k in range(len(weights)))
    return f"""
#mk = affine_map<(d0, d1, d2) -> (d0, d2)>
#nk = affine_map<(d0, d1, d2) -> (d1, d2)>
#mn = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func @main(%x: tensor<?x{n}xf32>) -> ({results}) {{
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x{n}xf32>{"".join(body)}
  return {names} : {results}
}}"""


def lay_out(text: str, *inputs: np.ndarray, flow=FLOW) -> ir.Module:
    """Runs the flow, comparing results after each pass, and each pass run twice with once."""
    with make_context():
        module = ir.Module.parse(text)
        expected = evaluate(module, *inputs)

        def compare(each, _):
            for want, have in zip(expected, evaluate(module, *inputs), strict=True):
                np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-4, err_msg=each.name)
            once = str(module)
            with ir.Location.unknown():
                each.run(module.operation)
            assert str(module) == once, f"{each.name} is not idempotent"

        run_passes(module, flow, after=compare)
        return module


SIZES = [(1, 1), (3, 5), (7, 4), (40, 64)]
LAYERS = [("gru", *size, density) for size in SIZES for density in DENSITIES] + [
    (name, *size, density)
    for name in KINDS
    if name != "gru"
    for size, density in (((1, 1), 1.0), ((3, 5), 0.5), ((7, 4), 0.0), ((40, 64), 0.1))
]


@pytest.mark.parametrize(("name", "inputs", "hidden", "density"), LAYERS)
def test_layer(name, inputs, hidden, density):
    rng = np.random.default_rng(0)
    kind, outputs = KINDS[name], (hidden + 1) // 2 if name == "lstmp" else hidden
    x = rng.normal(size=(3, 2, inputs)).astype(np.float32)
    sizes = (outputs, hidden)[: len(kind.states)]
    states = [rng.normal(size=(1, 2, size)).astype(np.float32) for size in sizes]
    module = lay_out(layer_module(kind, inputs, hidden, density), x, *states)
    text = str(module)
    assert f"bspc.packed_{name}" in text
    assert f'"bspc.{name}"' not in text
    report = build_report(module)
    assert [m.name for m in report.matrices] == [f"layer.weight_{w}_l0" for w in kind.weights]
    for matrix in report.matrices:
        assert matrix.encoded == (not matrix.reason)
        assert matrix.dense_bytes == 4 * matrix.shape[0] * matrix.shape[1]


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("rows", [1, 2, 7, 63, 64, 65])
@pytest.mark.parametrize("columns", [1, 5, 33])
def test_linear(rows, columns, density):
    x = np.random.default_rng(0).normal(size=(3, columns)).astype(np.float32)
    weight = stripes(rows, columns, density, seed=rows)
    module = lay_out(linear_module([weight]), x)
    (matrix,) = build_report(module).matrices
    assert (matrix.name, matrix.shape) == ("fc0.weight", weight.shape)
    assert matrix.kept == np.count_nonzero(weight)
    assert matrix.encoded or matrix.reason


def test_layers_of_one_input_become_one():
    """The same columns in all three: one load of x serves them all."""
    columns = np.random.default_rng(0).random(32) < 0.3
    weights = [stripes(rows, 32, 1.0, rows) * columns for rows in (8, 5, 16)]
    x = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    module = lay_out(linear_module(weights), x)
    assert str(module).count('"bspc.packed_matmul"') == 1
    (matrix,) = build_report(module).matrices
    assert matrix.shape == (29, 32)
    assert matrix.name == "fc0.weight+fc1.weight+fc2.weight"
    assert matrix.loads_after == columns.sum()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["gru", "linear"])
def test_weights_that_are_no_numbers(bad, where):
    weight = stripes(8, 4, 0.5, 0)
    weight[3, 2] = bad
    text = linear_module([weight])
    if where == "gru":
        text = layer_module(KINDS["gru"], 3, 4, 1.0)
        text = text.replace(dense(stripes(12, 4, 1.0, 2)), dense_with(bad))
    with make_context():
        module = ir.Module.parse(text)
        with pytest.raises(EncodeError, match=r"weight.* 1 weights are NaN or infinite.*\[3, 2\]"):
            run_passes(module, FLOW)


def dense_with(bad: float) -> str:
    weight = stripes(12, 4, 1.0, 2)
    weight[3, 2] = bad
    return dense(weight)


@pytest.mark.parametrize("each", [EncodePass(), ReorderPass(), EliminateLoadsPass(), PackPass()])
def test_weights_computed_at_run_time(each):
    text = """
func.func @main(%x: tensor<2xf32>, %w: tensor<3x2xf32>) -> tensor<3xf32> {
  %y = "bspc.matmul"(%x, %w) {name = "fc"} : (tensor<2xf32>, tensor<3x2xf32>) -> tensor<3xf32>
  return %y : tensor<3xf32>
}"""
    message = r"fc: .*computed at run time; only constant"
    with make_context(), pytest.raises(EncodeError, match=message):
        run_passes(ir.Module.parse(text), [each])


def test_pack_before_reorder():
    with make_context():
        module = ir.Module.parse(linear_module([stripes(8, 64, 0.1, 0)]))
        with pytest.raises(EncodeError, match=r"fc0.weight \[8, 64\]: .*run bspc-reorder"):
            run_passes(module, [EncodePass(), PackPass()])


@pytest.mark.parametrize(
    ("each", "message"),
    [
        (EncodePass(threshold=0.0), "bspc-encode: threshold = 0.0"),
        (EncodePass(threshold=float("nan")), "bspc-encode: threshold = nan"),
        (ReorderPass(workers=0), "bspc-reorder: workers = 0; use 1 or more"),
    ],
)
def test_options_that_make_no_sense(each, message):
    with make_context(), pytest.raises(EncodeError, match=message):
        run_passes(ir.Module.parse(""), [each])
