"""The evaluator of modules against NumPy and PyTorch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from rtmobile_iree.dialects import make_context
from torch_mlir import ir

from rtmobile_iree import bspc
from rtmobile_iree.errors import InputError
from rtmobile_iree.kinds import KINDS
from rtmobile_iree.reference import evaluate

RNG = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def kind(value: Any) -> str:
    """MLIR's type of an array or number; i16 and the like are signless."""
    array = np.asarray(value)
    element = {"b": "i1"}.get(array.dtype.kind, f"{array.dtype.kind}{8 * array.itemsize}")
    element = element.replace("u", "i")
    return f"tensor<{''.join(f'{n}x' for n in array.shape)}{element}>" if array.ndim else element


def run(text: str, *inputs: Any, function: str = "main") -> tuple[np.ndarray, ...]:
    with make_context():
        return evaluate(ir.Module.parse(text), *inputs, function=function)


def run_body(results: str, body: str, *inputs: Any) -> tuple[np.ndarray, ...]:
    """Runs ops on %a, %b, ... that end in `return %...`."""
    arguments = ", ".join(
        f"%{name}: {kind(each)}" for name, each in zip("abcdefgh", inputs, strict=False)
    )
    text = f"func.func @main({arguments}) -> ({results}) {{\n{body} : {results}\n}}\n"
    return run(text, *inputs)


# ---- tensor


def test_slices_and_shapes() -> None:
    a = floats(4, 6)
    text = """
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %n = tensor.dim %a, %c1 : tensor<4x6xf32>
    %s = tensor.extract_slice %a[%c1, 0] [2, 3] [1, 2] : tensor<4x6xf32> to tensor<2x3xf32>
    %row = tensor.extract_slice %a[%c2, 1] [1, 4] [1, 1] : tensor<4x6xf32> to tensor<4xf32>
    %i = tensor.insert_slice %row into %a[0, %c2] [1, 4] [1, 1] : tensor<4xf32> into tensor<4x6xf32>
    %e = tensor.expand_shape %a [[0, 1], [2]] output_shape [2, 2, %n]
        : tensor<4x6xf32> into tensor<2x2x6xf32>
    %c = tensor.collapse_shape %e [[0], [1, 2]] : tensor<2x2x6xf32> into tensor<2x12xf32>
    %cat = tensor.concat dim(0) %s, %s : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
    return %s, %row, %i, %c, %cat
    """.replace("output_shape [2, 2, %n]", "output_shape [2, 2, 6]")
    types = ["2x3", "4", "4x6", "2x12", "4x3"]
    results = ", ".join(f"tensor<{each}xf32>" for each in types)
    s, row, inserted, collapsed, cat = run_body(results, text, a)
    np.testing.assert_array_equal(s, a[1:3, 0:6:2])
    np.testing.assert_array_equal(row, a[2, 1:5])
    expected = a.copy()
    expected[0, 2:6] = a[2, 1:5]
    np.testing.assert_array_equal(inserted, expected)
    np.testing.assert_array_equal(collapsed, a.reshape(2, 12))
    np.testing.assert_array_equal(cat, np.concatenate([s, s]))


def test_elements() -> None:
    a = floats(2, 3)
    text = """
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0.0 : f32
    %x = tensor.extract %a[%c1, %c0] : tensor<2x3xf32>
    %f = tensor.from_elements %x, %zero, %x, %zero : tensor<2x2xf32>
    %s = tensor.splat %x : tensor<3xf32>
    %i = tensor.insert %zero into %a[%c0, %c1] : tensor<2x3xf32>
    %p = tensor.pad %a low[1, 0] high[0, %c1] {
    ^bb0(%i0: index, %i1: index):
      tensor.yield %zero : f32
    } : tensor<2x3xf32> to tensor<3x?xf32>
    %t = tensor.cast %p : tensor<3x?xf32> to tensor<3x4xf32>
    return %f, %s, %i, %t
    """
    results = "tensor<2x2xf32>, tensor<3xf32>, tensor<2x3xf32>, tensor<3x4xf32>"
    f, s, i, p = run_body(results, text, a)
    x = a[1, 0]
    np.testing.assert_array_equal(f, [[x, 0], [x, 0]])
    np.testing.assert_array_equal(s, [x, x, x])
    assert i[0, 1] == 0
    assert a[0, 1] != 0
    np.testing.assert_array_equal(p, np.pad(a, [(1, 0), (0, 1)]))


@pytest.mark.parametrize("shape", [(1, 5, 1), (5, 1, 1), (1, 1, 5), (1, 1, 1)])
def test_slice_that_drops_a_unit_dimension(shape: tuple[int, ...]) -> None:
    a = floats(*shape)
    kept = list(shape)
    kept.remove(1)
    result = f"tensor<{kept[0]}x{kept[1]}xf32>"
    sizes = ", ".join(map(str, shape))
    text = f"%s = tensor.extract_slice %a[0, 0, 0] [{sizes}] [1, 1, 1] : {kind(a)} to {result}"
    (s,) = run_body(result, f"{text}\nreturn %s", a)
    np.testing.assert_array_equal(s, a.reshape(kept))


def test_empty_tensors_are_not_zeros() -> None:
    """Hazard: an op that forgets to fill its output passes by luck."""
    text = "%e = tensor.empty() : tensor<2xf32>\nreturn %e"
    assert np.isnan(run_body("tensor<2xf32>", text)[0]).all()


# ---- linalg


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (1, 7, 5), (3, 1, 2), (5, 11, 3)])
def test_matrix_products(m: int, k: int, n: int) -> None:
    a, b, x, y = floats(m, k), floats(k, n), floats(k), floats(m)
    text = f"""
    %p = linalg.matmul ins(%a, %b : {kind(a)}, {kind(b)}) outs(%e : {kind(a @ b)}) -> {kind(a @ b)}
    %q = linalg.matvec ins(%a, %c : {kind(a)}, {kind(x)}) outs(%d : {kind(y)}) -> {kind(y)}
    %r = linalg.vecmat ins(%d, %a : {kind(y)}, {kind(a)}) outs(%c : {kind(x)}) -> {kind(x)}
    return %p, %q, %r
    """
    initial = floats(m, n)
    results = f"{kind(initial)}, {kind(y)}, {kind(x)}"
    p, q, r = run_body(results, text, a, b, x, y, initial)
    np.testing.assert_allclose(p, initial + a @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(q, y + a @ x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(r, x + y @ a, rtol=1e-5, atol=1e-5)


def test_batch_matmul_transpose_and_broadcast() -> None:
    a, b, e = floats(2, 3, 5), floats(2, 5, 7), np.zeros((2, 3, 7), np.float32)
    text = f"""
    %t = tensor.empty() : tensor<7x2x3xf32>
    %u = tensor.empty() : tensor<2x4x3x5xf32>
    %p = linalg.batch_matmul ins(%a, %b : {kind(a)}, {kind(b)}) outs(%c : {kind(e)}) -> {kind(e)}
    %q = linalg.transpose ins(%p : {kind(e)}) outs(%t : tensor<7x2x3xf32>) permutation = [2, 0, 1]
    %r = linalg.broadcast ins(%a : {kind(a)}) outs(%u : tensor<2x4x3x5xf32>) dimensions = [1]
    return %q, %r
    """
    q, r = run_body("tensor<7x2x3xf32>, tensor<2x4x3x5xf32>", text, a, b, e)
    np.testing.assert_allclose(q, (a @ b).transpose(2, 0, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(r, np.broadcast_to(a[:, None], (2, 4, 3, 5)))


def test_generic_with_two_results_and_index() -> None:
    """The largest entry of each row and where it is, as torch-mlir writes softmax and argmax."""
    a = floats(4, 7)
    text = """
    %low = arith.constant 0xFF800000 : f32
    %zero = arith.constant 0 : i64
    %e0 = tensor.empty() : tensor<4xf32>
    %e1 = tensor.empty() : tensor<4xi64>
    %f0 = linalg.fill ins(%low : f32) outs(%e0 : tensor<4xf32>) -> tensor<4xf32>
    %f1 = linalg.fill ins(%zero : i64) outs(%e1 : tensor<4xi64>) -> tensor<4xi64>
    %m:2 = linalg.generic {
        indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>,
                         affine_map<(i, j) -> (i)>],
        iterator_types = ["parallel", "reduction"]}
        ins(%a : tensor<4x7xf32>) outs(%f0, %f1 : tensor<4xf32>, tensor<4xi64>) {
    ^bb0(%in: f32, %best: f32, %at: i64):
      %j = linalg.index 1 : index
      %k = arith.index_cast %j : index to i64
      %max = arith.maximumf %in, %best : f32
      %better = arith.cmpf ogt, %in, %best : f32
      %where = arith.select %better, %k, %at : i64
      linalg.yield %max, %where : f32, i64
    } -> (tensor<4xf32>, tensor<4xi64>)
    return %m#0, %m#1
    """
    best, where = run_body("tensor<4xf32>, tensor<4xi64>", text, a)
    np.testing.assert_array_equal(best, a.max(axis=1))
    np.testing.assert_array_equal(where, a.argmax(axis=1))


def test_generic_with_affine_maps() -> None:
    """A convolution: d0 + d1 of one operand, and a constant index of another."""
    a, w = floats(9), floats(3, 2)
    text = """
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<4xf32>
    %f = linalg.fill ins(%zero : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
    %r = linalg.generic {
        indexing_maps = [affine_map<(i, j) -> (i * 2 + j)>, affine_map<(i, j) -> (j, 1)>,
                         affine_map<(i, j) -> (i)>],
        iterator_types = ["parallel", "reduction"]}
        ins(%a, %b : tensor<9xf32>, tensor<3x2xf32>) outs(%f : tensor<4xf32>) {
    ^bb0(%x: f32, %y: f32, %sum: f32):
      %m = arith.mulf %x, %y : f32
      %s = arith.addf %sum, %m : f32
      linalg.yield %s : f32
    } -> tensor<4xf32>
    return %r
    """
    (r,) = run_body("tensor<4xf32>", text, a, w)
    expected = [a[2 * i : 2 * i + 3] @ w[:, 1] for i in range(4)]
    np.testing.assert_allclose(r, expected, rtol=1e-5, atol=1e-6)


def test_generic_gather() -> None:
    """An embedding: tensor.extract at indices that are data."""
    table, index = floats(5, 3), np.array([4, 0, 4, 2], np.int64)
    text = """
    %e = tensor.empty() : tensor<4x3xf32>
    %r = linalg.generic {
        indexing_maps = [affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i, j)>],
        iterator_types = ["parallel", "parallel"]}
        ins(%b : tensor<4xi64>) outs(%e : tensor<4x3xf32>) {
    ^bb0(%in: i64, %out: f32):
      %row = arith.index_cast %in : i64 to index
      %column = linalg.index 1 : index
      %v = tensor.extract %a[%row, %column] : tensor<5x3xf32>
      linalg.yield %v : f32
    } -> tensor<4x3xf32>
    return %r
    """
    (r,) = run_body("tensor<4x3xf32>", text, table, index)
    np.testing.assert_array_equal(r, table[index])


# ---- bspc


def layer_text(name: str, *arrays: np.ndarray, extra: str = "") -> str:
    """A function of one bspc.<name>, layer 1 of 3, of all its operands."""
    states = list(arrays[1 : 3 if "lstm" in name else 2])
    y = np.empty((*arrays[0].shape[:2], states[0].shape[2]), np.float32)
    names = [f"%v{i}" for i in range(len(arrays))]
    arguments = ", ".join(f"{n}: {kind(a)}" for n, a in zip(names, arrays, strict=True))
    results = ", ".join(kind(a) for a in (y, *states))
    made = ", ".join(f"%r#{i}" for i in range(1 + len(states)))
    return f"""
    func.func @main({arguments}) -> ({results}) {{
      %r:{1 + len(states)} = "bspc.{name}"({", ".join(names)}) {{layer = 1 : i64{extra}}}
          : ({", ".join(kind(a) for a in arrays)}) -> ({results})
      return {made} : {results}
    }}"""


def layer_arrays(name: str, t: int, b: int, i: int, h: int) -> list[np.ndarray]:
    """Operands of bspc.<name>; LSTMP projects to half as many outputs."""
    p, rows = (h + 1) // 2 if name == "lstmp" else h, KINDS[name].gates * h
    states = [floats(3, b, p), floats(3, b, h)][: len(KINDS[name].states)]
    weights = [floats(rows, i), floats(rows, p), floats(p, h)][: len(KINDS[name].weights)]
    weights[0][::2] = 0  # rows of one pattern, and pruned ones
    weights[1][:, ::3] = 0
    return [floats(t, b, i), *states, *weights, floats(rows), floats(rows)]


def torch_layer(name: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The same layer by torch.nn."""
    first = KINDS[name].first_weight
    x, *states = (torch.tensor(a) for a in arrays[:first])
    *weights, b_ih, b_hh = arrays[first:]
    inputs, hidden = x.shape[2], states[-1].shape[2]
    make = {
        "gru": torch.nn.GRU,
        "lstm": torch.nn.LSTM,
        "lstmp": partial(torch.nn.LSTM, proj_size=states[0].shape[2]),
        "rnn_tanh": torch.nn.RNN,
        "rnn_relu": partial(torch.nn.RNN, nonlinearity="relu"),
    }[name]
    layer = make(inputs, hidden)
    rows = [state[1:2].contiguous() for state in states]
    with torch.no_grad():
        values = [*weights[:2], b_ih, b_hh, *weights[2:]]
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
        y, last = layer(x, tuple(rows) if len(rows) > 1 else rows[0])
    for state, row in zip(states, last if len(rows) > 1 else [last], strict=True):
        state[1] = row[0]
    return [y.numpy(), *(state.numpy() for state in states)]


SIZES = [(1, 1, 1, 1), (1, 1, 5, 7), (7, 1, 3, 1), (4, 3, 2, 5), (13, 1, 11, 8)]
LAYERS = [(name, *size) for name in KINDS for size in SIZES if (name, size[3]) != ("lstmp", 1)]


@pytest.mark.parametrize(("name", "t", "b", "i", "h"), LAYERS)
def test_layer(name: str, t: int, b: int, i: int, h: int) -> None:
    arrays = layer_arrays(name, t, b, i, h)
    results = run(layer_text(name, *arrays), *arrays)
    for mine, theirs in zip(results, torch_layer(name, arrays), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
        assert mine.dtype == np.float32


@pytest.mark.parametrize(("name", "t", "b", "i", "h"), LAYERS)
def test_reordered_layer(name: str, t: int, b: int, i: int, h: int) -> None:
    """Rows in another order, and the order beside them, are the same layer."""
    arrays = layer_arrays(name, t, b, i, h)
    first, reordered, orders = KINDS[name].first_weight, list(arrays), []
    for number in range(first, first + len(KINDS[name].weights)):
        orders.append(RNG.permutation(len(arrays[number])).astype(np.int32))
        reordered[number] = arrays[number][orders[-1]]
    reordered.append(np.concatenate(orders))
    before = run(layer_text(name, *arrays), *arrays)
    after = run(layer_text(name, *reordered), *reordered)
    for a, b_ in zip(after, before, strict=True):
        np.testing.assert_allclose(a, b_, rtol=1e-5, atol=1e-6)


def packed_arrays(p: bspc.PackedMatrix) -> list[np.ndarray]:
    index = p.column_index.view(np.int16)
    return [p.reorder, p.group_offset, p.column_offset, index, p.values]


@pytest.mark.parametrize(("name", "t", "b", "i", "h"), LAYERS)
def test_packed_layer(name: str, t: int, b: int, i: int, h: int) -> None:
    arrays = layer_arrays(name, t, b, i, h)
    first, parts = KINDS[name].first_weight, KINDS[name].weights
    weights = arrays[first : first + len(parts)]
    packs = [array for weight in weights for array in packed_arrays(bspc.pack(weight))]
    packed = [*arrays[:first], *packs, *arrays[-2:]]
    shapes = "".join(
        f", shape_{part} = array<i64: {len(weight)}, {weight.shape[1]}>"
        for part, weight in zip(parts, weights, strict=True)
    )
    before = run(layer_text(name, *arrays), *arrays)
    extra = f", row_align = 4 : i64{shapes}"
    after = run(layer_text(f"packed_{name}", *packed, extra=extra), *packed)
    for a, b_ in zip(after, before, strict=True):
        np.testing.assert_allclose(a, b_, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("leading", [(), (1,), (5,), (2, 3)])
def test_matmul(leading: tuple[int, ...]) -> None:
    x, w = floats(*leading, 5), floats(7, 5)
    w[3:] = 0
    order = RNG.permutation(7).astype(np.int32)
    packed = packed_arrays(bspc.pack(w))
    y = kind(x @ w.T)
    names = [f"%{name}" for name in "defgh"]
    text = f"""
    %p = "bspc.matmul"(%a, %b) : ({kind(x)}, {kind(w)}) -> {y}
    %w2 = arith.constant dense<{w[order].tolist()}> : {kind(w)}
    %q = "bspc.matmul"(%a, %w2, %c) : ({kind(x)}, {kind(w)}, {kind(order)}) -> {y}
    %r = "bspc.packed_matmul"(%a, {", ".join(names)})
        {{row_align = 4 : i64, shape = array<i64: 7, 5>}}
        : ({kind(x)}, {", ".join(kind(each) for each in packed)}) -> {y}
    return %p, %q, %r"""
    for result in run_body(f"{y}, {y}, {y}", text, x, w, order, *packed):
        np.testing.assert_allclose(result, x @ w.T, rtol=1e-5, atol=1e-5)


# ---- functions and errors


def test_calls_and_asserts() -> None:
    text = """
    func.func private @double(%x: f32) -> f32 {
      %y = arith.addf %x, %x : f32
      return %y : f32
    }
    func.func @main(%x: f32, %ok: i1) -> f32 {
      cf.assert %ok, "sizes must agree"
      %y = call @double(%x) : (f32) -> f32
      return %y : f32
    }"""
    assert run(text, np.float32(1.5), np.bool_(True)) == (3.0,)
    assert run(text, np.float32(1.5), function="double") == (3.0,)
    with pytest.raises(InputError, match="sizes must agree"):
        run(text, np.float32(1.5), np.bool_(False))


def test_constants() -> None:
    text = """
    %a = arith.constant dense<[[1, 2], [3, 4]]> : tensor<2x2xi16>
    %b = arith.constant dense<1.5> : tensor<2xf16>
    %c = arith.constant dense<> : tensor<0x3xf32>
    %d = arith.constant dense<[true, false]> : tensor<2xi1>
    %e = arith.constant 7 : index
    return %a, %b, %c, %d, %e"""
    results = "tensor<2x2xi16>, tensor<2xf16>, tensor<0x3xf32>, tensor<2xi1>, index"
    a, b, c, d, e = run_body(results, text)
    assert (a.dtype, b.dtype, c.shape, d.tolist()) == (np.int16, np.float16, (0, 3), [True, False])
    assert (a.tolist(), b.tolist(), e) == ([[1, 2], [3, 4]], [1.5, 1.5], 7)


IDENTITY = (
    "func.func @main(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {\n return %x : tensor<?x2xf32>\n}"
)


@pytest.mark.parametrize(
    ("inputs", "function", "message"),
    [
        ([], "main", "@main: 0 inputs; give 1"),
        ([np.zeros((1, 2))], "main", "@main: input 0 is float64; tensor<?x2xf32> needs float32"),
        ([floats(3, 3)], "main", "@main: input 0 is [3, 3]; use the shape of tensor<?x2xf32>"),
        ([floats(2)], "main", "@main: input 0 is [2]; use the shape of tensor<?x2xf32>"),
        ([floats(3, 2)], "other", "no function @other; use main"),
    ],
)
def test_wrong_inputs(inputs: list[Any], function: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        run(IDENTITY, *inputs, function=function)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("result", "op", "message"),
    [
        ("f32", '"flow.dispatch"(%a) : (f32) -> f32', "reference: flow.dispatch at loc("),
        ("tensor<1xf32>", "arith.constant dense_resource<x> : tensor<1xf32>", "its values cannot"),
        ("f80", "arith.extf %a : f32 to f80", "no values of type f80; use elements f64, f32"),
    ],
)
def test_what_it_does_not_know(result: str, op: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        run_body(result, f"%r = {op}\nreturn %r", np.float32(1))
    assert message in str(error.value)


def test_cast_to_a_wrong_size() -> None:
    text = """func.func @main(%x: tensor<?xf32>) -> tensor<2xf32> {
      %y = tensor.cast %x : tensor<?xf32> to tensor<2xf32>
      return %y : tensor<2xf32>
    }"""
    with pytest.raises(InputError, match=r"tensor.cast of \[3\] to tensor<2xf32>"):
        run(text, floats(3))


def test_dimensions_that_disagree() -> None:
    text = """func.func @main(%a: tensor<?x3xf32>, %b: tensor<3x2xf32>) -> tensor<?x2xf32> {
      %c0 = arith.constant 0 : index
      %n = tensor.dim %a, %c0 : tensor<?x3xf32>
      %m = arith.addi %n, %n : index
      %e = tensor.empty(%m) : tensor<?x2xf32>
      %r = linalg.matmul ins(%a, %b : tensor<?x3xf32>, tensor<3x2xf32>)
          outs(%e : tensor<?x2xf32>) -> tensor<?x2xf32>
      return %r : tensor<?x2xf32>
    }"""
    with pytest.raises(InputError, match="dimension 0 is 4 in one operand and 8 in another"):
        run(text, floats(4, 3), floats(3, 2))


def test_computed_padding() -> None:
    text = """%p = tensor.pad %a low[1] high[0] {
    ^bb0(%i: index):
      %j = arith.index_cast %i : index to i32
      %v = arith.sitofp %j : i32 to f32
      tensor.yield %v : f32
    } : tensor<2xf32> to tensor<3xf32>
    return %p"""
    with pytest.raises(InputError, match=r"tensor.pad at .* computes its padding"):
        run_body("tensor<3xf32>", text, floats(2))


def test_affine_apply():
    """torch-mlir computes the size of a collapsed dynamic shape with it."""
    text = """
    func.func @main(%i: index, %j: index) -> index {
      %k = affine.apply affine_map<(d0)[s0] -> (d0 * 3 + s0 floordiv 2)>(%i)[%j]
      return %k : index
    }"""
    with make_context():
        (k,) = evaluate(ir.Module.parse(text), np.int64(5), np.int64(9))
    assert k == 19
