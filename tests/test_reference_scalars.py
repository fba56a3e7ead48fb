"""The evaluator's arith and math ops against NumPy, PyTorch, and numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from rtmobile_iree.dialects import make_context
from torch_mlir import ir

from rtmobile_iree.reference import evaluate


def kind(value: Any) -> str:
    """MLIR's type of an array or number."""
    array = np.asarray(value)
    element = {"b": "i1"}.get(array.dtype.kind, f"{array.dtype.kind}{8 * array.itemsize}")
    return f"tensor<{array.size}x{element}>" if array.ndim else element


def run_op(result: str, op: str, *inputs: Any) -> np.ndarray:
    """Runs one op on %a and %b."""
    names = ", ".join(f"%{n}: {kind(each)}" for n, each in zip("ab", inputs, strict=False))
    text = f"func.func @main({names}) -> {result} {{\n%r = {op}\nreturn %r : {result}\n}}\n"
    with make_context():
        return evaluate(ir.Module.parse(text), *inputs)[0]


X, Y = np.array([-2.5, 0.5, 7.0, np.nan], np.float32), np.array([1.5, 0.5, -3.0, 1.0], np.float32)
M, N = np.array([7, -7, 7, -8], np.int32), np.array([2, 2, -2, -3], np.int32)
FLOAT_RESULTS = {
    "addf": X + Y,
    "subf": X - Y,
    "mulf": X * Y,
    "divf": X / Y,
    "remf": np.fmod(X, Y),
    "maximumf": [1.5, 0.5, 7, np.nan],
    "minimumf": [-2.5, 0.5, -3, np.nan],
    "maxnumf": [1.5, 0.5, 7, 1],
    "minnumf": [-2.5, 0.5, -3, 1],
}
UNSIGNED = M.view(np.uint32), N.view(np.uint32)
INTEGER_RESULTS = {
    "addi": M + N,
    "subi": M - N,
    "muli": M * N,
    "divsi": [3, -3, -3, 2],
    "floordivsi": [3, -4, -4, 2],
    "ceildivsi": [4, -3, -3, 3],
    "remsi": [1, -1, 1, -2],
    "divui": (UNSIGNED[0] // UNSIGNED[1]).view(np.int32),
    "remui": (UNSIGNED[0] % UNSIGNED[1]).view(np.int32),
    "andi": M & N,
    "ori": M | N,
    "xori": M ^ N,
    "maxsi": [7, 2, 7, -3],
    "minsi": [2, -7, -2, -8],
    "maxui": [7, -7, -2, -3],
    "minui": [2, 2, 7, -8],
}
MATH = ["absf", "atan", "ceil", "cos", "erf", "exp", "exp2", "expm1", "floor", "log", "log10"]
MATH += ["log1p", "log2", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"]


@pytest.mark.parametrize("name", FLOAT_RESULTS)
def test_float_ops(name: str) -> None:
    t = kind(X)
    result = run_op(t, f"arith.{name} %a, %b : {t}", X, Y)
    np.testing.assert_array_equal(result, np.asarray(FLOAT_RESULTS[name], np.float32))
    assert result.dtype == np.float32


@pytest.mark.parametrize("name", INTEGER_RESULTS)
def test_integer_ops(name: str) -> None:
    t = kind(M)
    result = run_op(t, f"arith.{name} %a, %b : {t}", M, N)
    np.testing.assert_array_equal(result, INTEGER_RESULTS[name])
    assert result.dtype == np.int32


@pytest.mark.parametrize(
    ("name", "expected"),
    [("shli", [20, -20]), ("shrsi", [1, -2]), ("shrui", [1, 0x3FFFFFFE])],
)
def test_shifts(name: str, expected: list[int]) -> None:
    a, b = np.array([5, -5], np.int32), np.array([2, 2], np.int32)
    result = run_op(kind(a), f"arith.{name} %a, %b : {kind(a)}", a, b)
    assert result.tolist() == expected


@pytest.mark.parametrize("name", MATH)
def test_math_ops(name: str) -> None:
    a = np.array([0.25, 0.5, 1.0, 2.75], np.float32)
    result = run_op(kind(a), f"math.{name} %a : {kind(a)}", a)
    torch_name = {"absf": "abs"}.get(name, name)
    np.testing.assert_allclose(result, getattr(torch, torch_name)(torch.tensor(a)), rtol=1e-6)


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("oeq", "0100"),
        ("ogt", "0010"),
        ("oge", "0110"),
        ("olt", "1000"),
        ("ole", "1100"),
        ("one", "1010"),
        ("ord", "1110"),
        ("ueq", "0101"),
        ("ugt", "0011"),
        ("uge", "0111"),
        ("ult", "1001"),
        ("ule", "1101"),
        ("une", "1011"),
        ("uno", "0001"),
    ],
)
def test_float_comparisons(predicate: str, expected: str) -> None:
    """less, equal, greater, unordered"""
    op = f"arith.cmpf {predicate}, %a, %b : {kind(X)}"
    result = run_op("tensor<4xi1>", op, X, Y)
    assert "".join(str(int(each)) for each in result) == expected


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("eq", "001"),
        ("ne", "110"),
        ("slt", "100"),
        ("sle", "101"),
        ("sgt", "010"),
        ("sge", "011"),
        ("ult", "010"),
        ("ule", "011"),
        ("ugt", "100"),
        ("uge", "101"),
    ],
)
def test_integer_comparisons(predicate: str, expected: str) -> None:
    a, b = np.array([-1, 1, 2], np.int64), np.array([1, -1, 2], np.int64)
    op = f"arith.cmpi {predicate}, %a, %b : {kind(a)}"
    result = run_op("tensor<3xi1>", op, a, b)
    assert "".join(str(int(each)) for each in result) == expected


@pytest.mark.parametrize(
    ("name", "value", "to", "expected"),
    [
        ("extsi", np.int8(-1), "i32", -1),
        ("extui", np.int8(-1), "i32", 255),
        ("extsi", np.bool_(True), "i32", -1),
        ("extui", np.bool_(True), "i32", 1),
        ("trunci", np.int32(257), "i8", 1),
        ("trunci", np.int32(2), "i1", False),
        ("sitofp", np.int8(-3), "f32", -3.0),
        ("uitofp", np.int8(-3), "f32", 253.0),
        ("sitofp", np.bool_(True), "f32", -1.0),
        ("fptosi", np.float32(-2.75), "i32", -2),
        ("fptoui", np.float32(2.75), "i8", 2),
        ("truncf", np.float32(1.0001), "f16", 1.0),
        ("extf", np.float32(0.1), "f64", float(np.float32(0.1))),
        ("bitcast", np.float32(1), "i32", 0x3F800000),
        ("index_cast", np.int32(-4), "index", -4),
        ("index_castui", np.int8(-4), "index", 252),
    ],
)
def test_casts(name: str, value: Any, to: str, expected: float) -> None:
    result = run_op(to, f"arith.{name} %a : {kind(value)} to {to}", value)
    assert result == expected
