"""Value types: how a stored weight is written in memory (NumPy only).

    f32   4 bytes, as trained
    f16   2 bytes, IEEE binary16: 11 bits of precision, up to 65,504
    bf16  2 bytes, the upper half of an f32: 8 bits of precision, f32's range
    i8    1 byte, -127 .. 127 times one f32 scale a row: symmetric, so that a zero stays a zero
    i4    4 bits, -7 .. 7 times one f32 scale a row, the one that errs least

NumPy has no bf16: its bit patterns are held as uint16. Nor has it i4: an int8 holds one, and who
stores it puts two in a byte. Sums are f32 whatever the type.

Which matrix gets which is a list of rules, first match first: `"f16"` for all of them, or
`"*.weight_hh_*=i8,*=f16"` with the shell patterns of `fnmatch`. In place of a type a rule may
give the greatest relative error, `"*=0.002"`, and gets the narrowest type that keeps it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmobile_iree.errors import InputError

STORAGE: dict[str, type[np.generic]] = {
    "f32": np.float32,
    "f16": np.float16,
    "bf16": np.uint16,
    "i8": np.int8,
    "i4": np.int8,
}
VALUE_TYPES = tuple(STORAGE)
VALUE_BITS = {"f32": 32, "f16": 16, "bf16": 16, "i8": 8, "i4": 4}
# bf16 takes as many bytes as f16 and errs more
NARROWEST_FIRST = ("i4", "i8", "f16", "f32")
LARGEST = {"i8": 127, "i4": 7}  # of the types with a scale a row


def value_type(dtype: np.dtype[Any]) -> str | None:
    """The value type that arrays of this dtype hold; None for any other dtype. int8: i8."""
    return next((name for name, held in STORAGE.items() if dtype == held), None)


def to_storage(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Rounds to the nearest value of a type, ties to even; i8 and i4 take values already scaled."""
    if kind == "bf16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if kind in LARGEST:
        return np.rint(np.clip(values, -LARGEST[kind], LARGEST[kind])).astype(np.int8)
    with np.errstate(over="ignore"):
        return values.astype(STORAGE[kind])


def from_storage(stored: NDArray[Any]) -> NDArray[np.float32]:
    """The f32 values that stored ones stand for; i8 and i4 without their scales."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def relative_error(exact: NDArray[Any], rounded: NDArray[Any]) -> float:
    """|rounded - exact| / |exact| in the Frobenius norm, in f64; 0 for a matrix of zeros.

    That is the root mean square error of W x, relative to W x, over inputs x whose entries are
    independent and of equal variance.
    """
    norm = float(np.linalg.norm(exact.astype(np.float64)))
    error = float(np.linalg.norm(rounded.astype(np.float64) - exact.astype(np.float64)))
    return error / norm if norm else 0.0


@dataclass(frozen=True)
class ValueRule:
    """Matrices whose name matches `pattern` get a type, or the narrowest within an error.

    Attributes:
        pattern: shell pattern of parameter names, such as `gru.weight_hh_*`.
        choice: one of VALUE_TYPES, or the greatest relative error.
    """

    pattern: str
    choice: str | float

    @property
    def candidates(self) -> tuple[str, ...]:
        """Types to try, the best first."""
        return (self.choice,) if isinstance(self.choice, str) else NARROWEST_FIRST

    @property
    def limit(self) -> float:
        """Greatest relative error of a type that is tried; no limit on a type that is named."""
        return np.inf if isinstance(self.choice, str) else self.choice

    def __str__(self) -> str:
        return f"{self.pattern}={self.choice}"


def rules_text(values: str | Mapping[str, str | float]) -> str:
    """Rules given as a mapping in the form of the module docstring."""
    if isinstance(values, str):
        return values
    return ",".join(f"{pattern}={choice}" for pattern, choice in values.items())


def parse_rules(values: str) -> tuple[ValueRule, ...]:
    """Reads the rules of the module docstring.

    Raises:
        InputError: a type or an error bound that is none.
    """
    pairs = [_split(part.strip()) for part in values.split(",") if part.strip()]
    if not pairs:
        raise InputError(f"values {values!r}: no rule; use one of {', '.join(VALUE_TYPES)}")
    return tuple(ValueRule(pattern, _choice(choice)) for pattern, choice in pairs)


def rule_for(rules: Sequence[ValueRule], name: str) -> ValueRule:
    """The first rule that matches a matrix's name; f32 when none does."""
    return next((r for r in rules if fnmatch.fnmatchcase(name, r.pattern)), ValueRule(name, "f32"))


def check_rules_used(rules: Sequence[ValueRule], names: Sequence[str]) -> None:
    """Refuses a rule that no matrix meets: a misspelt name would go unnoticed.

    Raises:
        InputError: names the rule, and the matrices there are.
    """
    for rule in rules:
        if rule.pattern != "*" and not fnmatch.filter(names, rule.pattern):
            raise InputError(
                f"values {rule}: no matrix is called {rule.pattern}; there are: {', '.join(names)}"
            )


def _split(part: str) -> tuple[str, str]:
    pattern, separator, choice = part.rpartition("=")
    return (pattern.strip(), choice.strip()) if separator else ("*", part)


def _choice(text: str) -> str | float:
    if text in VALUE_TYPES:
        return text
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise InputError(
            f"values: {text!r} is no value type; use one of {', '.join(VALUE_TYPES)}, "
            "or a number above 0: the greatest relative error"
        )
    return limit
