"""The ops of our kernels: what they compute of integers, and what they cost a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

FMA, FLOAT, SPECIAL, INTEGER, PRODUCT = "fma", "float", "special", "integer", "product"
HALF_FMA, HALF = "half fma", "half"  # of f16
# costs nothing by itself: another view of registers
FREE = {
    "arith.bitcast", "arith.constant", "arith.index_cast", "arith.index_castui", "vector.bitcast",
    "vector.broadcast", "vector.extract", "vector.from_elements", "vector.insert",
    "vector.shape_cast",
}  # fmt: skip
Compute = Callable[..., Any]
INTEGERS: dict[str, Compute] = {
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.divui": lambda a, b: a // np.maximum(b, 1),
    "arith.remui": lambda a, b: a % np.maximum(b, 1),
    "arith.divsi": lambda a, b: a // np.maximum(b, 1),
    "arith.remsi": lambda a, b: a % np.maximum(b, 1),
    "arith.ceildivui": lambda a, b: -(-a // np.maximum(b, 1)),
    "arith.minui": np.minimum,
    "arith.maxui": np.maximum,
    "arith.minsi": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
    "arith.shli": lambda a, b: ((a << b) + 2**31) % 2**32 - 2**31,
    "arith.shrui": lambda a, b: (a & 0xFFFFFFFF) >> b,
    "arith.shrsi": lambda a, b: a >> b,
    "arith.extui": lambda a: a,
    "arith.extsi": lambda a: a,
    "arith.trunci": lambda a: a,
    "arith.index_cast": lambda a: a,
    "arith.index_castui": lambda a: a,
    "arith.select": lambda c, a, b: np.where(c, a, b),
}
ORDERS: tuple[Compute, ...] = (np.less, np.less_equal, np.greater, np.greater_equal)


def _unsigned(order: Compute) -> Compute:
    return lambda a, b: order(a & 0xFFFFFFFF, b & 0xFFFFFFFF)


# `arith.cmpi`'s predicates in their order; integers have 32 bits
PREDICATES: tuple[Compute, ...] = (np.equal, np.not_equal, *ORDERS, *map(_unsigned, ORDERS))
PRODUCTS = {"arith.muli", "arith.divui", "arith.remui", "arith.divsi", "arith.remsi",
            "arith.ceildivui"}  # fmt: skip
FLOATS = {
    "arith.addf", "arith.subf", "arith.mulf", "arith.negf", "arith.maximumf", "arith.minimumf",
    "arith.maxnumf", "arith.minnumf", "arith.cmpf", "arith.extf", "arith.truncf", "arith.sitofp",
    "arith.uitofp", "arith.fptosi", "arith.fptoui", "math.absf", "math.copysign", "math.roundeven",
    "math.floor",
}  # fmt: skip
# whose f16 elements a GPU computes two at a time; from and to f32 it converts one by one
HALVES = {"math.fma", "arith.addf", "arith.subf", "arith.mulf", "arith.uitofp", "arith.sitofp"}
HALF_BITS = 16
SPECIALS = {"arith.divf", "math.exp", "math.exp2", "math.log", "math.sqrt", "math.rsqrt",
            "math.tanh"}  # fmt: skip


def cost_class(name: str, is_integer: bool, bits: int = 32) -> str | None:
    """What an op of arithmetic is counted as; None for one that is free, or none.

    Args:
        bits: of an element of its result.
    """
    if name in FREE:
        return None
    if bits == HALF_BITS and not is_integer and name in HALVES:
        return HALF_FMA if name == "math.fma" else HALF
    if name == "math.fma":
        return FMA
    if name in PRODUCTS:
        return PRODUCT
    if name in SPECIALS:
        return SPECIAL
    if name in FLOATS or (name == "arith.select" and not is_integer):
        return FLOAT
    return INTEGER if name in INTEGERS or name == "arith.cmpi" else None


def is_known(name: str) -> bool:
    """Whether it is an op of arithmetic."""
    return name in FREE or name == "math.fma" or cost_class(name, True) is not None
