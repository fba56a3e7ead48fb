"""16 numbers in registers, as a type of Numba's: what the kernels of sparse training compute with.

Numba has no vector type. `Lanes` is one: an LLVM vector of 16 f32 (one AVX-512 register, or several
smaller ones), with the few operations that the kernels need. All are for compiled functions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

__all__ = ["LANES", "dot", "load", "sigmoid", "splat", "store", "times_plus", "total"]

LANES = 16
_F32, _I32 = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTEGERS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
# 2^f on -1/2 to 1/2, Taylor's: an error of 2e-8
_EXP2 = (1.5353362e-4, 1.3398874e-3, 9.6184373e-3, 5.5503287e-2, 2.4022648e-1, 6.9314720e-1, 1.0)
_LOG2_E = 1.4426950408889634


class Lanes(types.Type):
    """16 f32."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _VECTOR)


_LANES = Lanes()


def _splat(builder: Any, scalar: Any) -> Any:
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(_INTEGERS, None))


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _call(builder: Any, name: str, *args: Any) -> Any:
    """LLVM's intrinsic of a name, lane by lane."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(args))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
    return builder.call(function, args)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _VECTOR.as_pointer())


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """The 16 numbers at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(builder, args[0]), align=4)

    return _LANES(types.intp), generate


@intrinsic
def store(typing: Any, address: Any, value: Any) -> Any:
    """Writes 16 numbers to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _pointer(builder, args[0]), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, _LANES), generate


@intrinsic
def splat(typing: Any, scalar: Any) -> Any:
    """A number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return _LANES(types.float32), generate


@intrinsic
def times_plus(typing: Any, scale: Any, x: Any, into: Any) -> Any:
    """scale x + into; scale is one f32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fma", _splat(builder, args[0]), *args[1:])

    return _LANES(types.float32, _LANES, _LANES), generate


@intrinsic
def dot(typing: Any, a: Any, b: Any, into: Any) -> Any:
    """a b + into, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fma", *args)

    return _LANES(_LANES, _LANES, _LANES), generate


@intrinsic
def total(typing: Any, a: Any) -> Any:
    """The sum of all lanes, halves onto halves."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        for half in (8, 4, 2, 1):
            order = [n + half if n < half else n for n in range(LANES)]
            moved = builder.shuffle_vector(value, value, ir.Constant(_INTEGERS, order))
            value = builder.fadd(value, moved)
        return builder.extract_element(value, ir.Constant(_I32, 0))

    return types.float32(_LANES), generate


@intrinsic
def sigmoid(typing: Any, a: Any) -> Any:
    """1 / (1 + exp(-a)), to 2e-7."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        power = builder.fmul(args[0], _constant(-_LOG2_E))
        power = _call(builder, "maxnum", power, _constant(-126.0))
        power = _call(builder, "minnum", power, _constant(126.0))
        whole = _call(builder, "rint", power)
        rest = builder.fsub(power, whole)
        result = _constant(_EXP2[0])
        for coefficient in _EXP2[1:]:
            result = _call(builder, "fma", result, rest, _constant(coefficient))
        exponent = builder.add(
            builder.fptosi(whole, _INTEGERS), ir.Constant(_INTEGERS, [127] * LANES)
        )
        bits = builder.shl(exponent, ir.Constant(_INTEGERS, [23] * LANES))
        exp = builder.fmul(result, builder.bitcast(bits, _VECTOR))
        return builder.fdiv(_constant(1.0), builder.fadd(exp, _constant(1.0)))

    return _LANES(_LANES), generate


def _binary(instruction: str) -> Callable[..., Any]:
    @intrinsic
    def of_lanes(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args)

        return _LANES(_LANES, _LANES), generate

    def choose(a, b):  # type: ignore[no-untyped-def]
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: of_lanes(a, b)
        return None

    return choose


overload(operator.add)(_binary("fadd"))
overload(operator.sub)(_binary("fsub"))
overload(operator.mul)(_binary("fmul"))
