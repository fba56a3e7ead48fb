"""What is wrong with a recipe: key, value and what would work, on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

__all__ = ["explain", "explain_yaml"]

# pydantic speaks Python; a recipe is YAML
_WORDS = {
    "Input should": "should",
    "valid tuple": "list",
    "Tuple should": "should",
    "Dictionary should": "should",
    "valid dictionary": "mapping",
}


def explain(error: ValidationError, rooms: Mapping[str, type[BaseModel]]) -> str:
    """All that pydantic found.

    Args:
        rooms: the models whose keys are suggested: "" the recipe, the others by the first part of
            a key, or by the method's kind.
    """
    return "; ".join(_explain_one(dict(problem), rooms) for problem in error.errors())


def explain_yaml(error: YAMLError) -> str:
    """What the parser found, and the line."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


def _explain_one(problem: dict[str, Any], rooms: Mapping[str, type[BaseModel]]) -> str:
    location = [str(part) for part in problem["loc"] if part != "[key]"]
    kind, value = problem["type"], problem["input"]
    in_method = location[:1] == ["method"]
    # pydantic puts the kind of a method into the path
    key = ".".join([*location[:1], *location[2:]] if in_method else location)
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}".removeprefix(": ")
    if kind == "extra_forbidden":
        room = "" if len(location) == 1 else location[1 if in_method else 0]
        return f"{key} {value!r}: unknown key; use one of {', '.join(rooms[room].model_fields)}"
    if kind == "missing":
        return f"{key}: missing; give it a value"
    if kind.startswith("union_tag"):
        return f"{key} {value!r}: needs a kind; use one of admm, reweighted, magnitude"
    message = problem["msg"]
    for word, plain in _WORDS.items():
        message = message.replace(word, plain)
    return f"{key} {value!r}: {message}"
