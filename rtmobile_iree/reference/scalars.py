"""arith and math: each op as a function of arrays, which serves single numbers as well."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch_mlir import ir

from rtmobile_iree.reference.values import Environment, Step, dtype, operands

Array = Any

# Predicates of arith.cmpf and arith.cmpi in the order of their numbers in ArithBase.td.
FLOAT_PREDICATES: tuple[Callable[[Array, Array], Array], ...] = (
    lambda a, b: np.zeros(np.broadcast(a, b).shape, bool),
    lambda a, b: a == b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: (a < b) | (a > b),
    lambda a, b: ~_unordered(a, b),
    lambda a, b: (a == b) | _unordered(a, b),
    lambda a, b: ~(a <= b),
    lambda a, b: ~(a < b),
    lambda a, b: ~(a >= b),
    lambda a, b: ~(a > b),
    lambda a, b: a != b,
    lambda a, b: _unordered(a, b),
    lambda a, b: np.ones(np.broadcast(a, b).shape, bool),
)
INTEGER_PREDICATES: tuple[Callable[[Array, Array], Array], ...] = (
    lambda a, b: a == b,
    lambda a, b: a != b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
    lambda a, b: unsigned(a) < unsigned(b),
    lambda a, b: unsigned(a) <= unsigned(b),
    lambda a, b: unsigned(a) > unsigned(b),
    lambda a, b: unsigned(a) >= unsigned(b),
)


def unsigned(a: Array) -> Array:
    """The same bits as an unsigned integer; a bool is its own."""
    a = np.asarray(a)
    return a if a.dtype == bool else a.view(f"u{a.dtype.itemsize}")


def divide(a: Array, b: Array) -> Array:
    """Signed division towards zero."""
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a))


def _unordered(a: Array, b: Array) -> Array:
    return np.isnan(a) | np.isnan(b)


def _erf(a: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(a)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "arith.addf": np.add,
    "arith.subf": np.subtract,
    "arith.mulf": np.multiply,
    "arith.divf": np.divide,
    "arith.remf": np.fmod,
    "arith.negf": np.negative,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin,
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.divsi": divide,
    "arith.divui": lambda a, b: unsigned(a) // unsigned(b),
    "arith.floordivsi": np.floor_divide,
    "arith.ceildivsi": lambda a, b: -np.floor_divide(-a, b),
    "arith.remsi": np.fmod,
    "arith.remui": lambda a, b: unsigned(a) % unsigned(b),
    "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
    "arith.shli": np.left_shift,
    "arith.shrsi": np.right_shift,
    "arith.shrui": lambda a, b: unsigned(a) >> unsigned(b),
    "arith.maxsi": np.maximum,
    "arith.minsi": np.minimum,
    "arith.maxui": lambda a, b: np.maximum(unsigned(a), unsigned(b)),
    "arith.minui": lambda a, b: np.minimum(unsigned(a), unsigned(b)),
    "arith.select": np.where,
    # casts: the result's type does the work, see _step
    "arith.index_cast": lambda a: a,
    "arith.index_castui": unsigned,
    "arith.extsi": lambda a: -a.astype(np.int8) if a.dtype == bool else a,
    "arith.extui": unsigned,
    "arith.sitofp": lambda a: -a.astype(np.int8) if a.dtype == bool else a,
    "arith.uitofp": unsigned,
    "arith.fptosi": np.trunc,
    "arith.fptoui": np.trunc,
    "arith.extf": lambda a: a,
    "arith.truncf": lambda a: a,
    "math.absf": np.abs,
    "math.absi": np.abs,
    "math.acos": np.arccos,
    "math.asin": np.arcsin,
    "math.atan": np.arctan,
    "math.atan2": np.arctan2,
    "math.ceil": np.ceil,
    "math.copysign": np.copysign,
    "math.cos": np.cos,
    "math.cosh": np.cosh,
    "math.erf": _erf,
    "math.exp": np.exp,
    "math.exp2": np.exp2,
    "math.expm1": np.expm1,
    "math.floor": np.floor,
    "math.fma": lambda a, b, c: a * b + c,
    "math.fpowi": np.power,
    "math.log": np.log,
    "math.log10": np.log10,
    "math.log1p": np.log1p,
    "math.log2": np.log2,
    "math.powf": np.power,
    "math.round": lambda a: np.copysign(np.floor(np.abs(a) + 0.5), a),
    "math.roundeven": np.rint,
    "math.rsqrt": lambda a: 1 / np.sqrt(a),
    "math.sin": np.sin,
    "math.sinh": np.sinh,
    "math.sqrt": np.sqrt,
    "math.tan": np.tan,
    "math.tanh": np.tanh,
    "math.trunc": np.trunc,
}


def _step(function: Callable[..., Array]) -> Step:
    def step(op: ir.Operation, values: Environment) -> list[Any]:
        result = function(*(np.asarray(each) for each in operands(op, values)))
        return [np.asarray(result).astype(dtype(op.results[0].type), copy=False)[()]]

    return step


def _truncate_to_bool(op: ir.Operation, values: Environment) -> list[Any]:
    """arith.trunci: i1 is the lowest bit, where NumPy would ask whether any bit is set."""
    (a,) = operands(op, values)
    to = dtype(op.results[0].type)
    return [(a & 1).astype(to) if to == np.bool_ else a.astype(to)]


def _compare(predicates: tuple[Callable[[Array, Array], Array], ...]) -> Step:
    def step(op: ir.Operation, values: Environment) -> list[Any]:
        a, b = operands(op, values)
        return [predicates[op.attributes["predicate"].value](a, b)]

    return step


def _bitcast(op: ir.Operation, values: Environment) -> list[Any]:
    (a,) = operands(op, values)
    return [np.asarray(a).view(dtype(op.results[0].type))[()]]


STEPS: dict[str, Step] = {
    **{name: _step(function) for name, function in FUNCTIONS.items()},
    "arith.trunci": _truncate_to_bool,
    "arith.bitcast": _bitcast,
    "arith.cmpf": _compare(FLOAT_PREDICATES),
    "arith.cmpi": _compare(INTEGER_PREDICATES),
}
