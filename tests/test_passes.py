"""The registry of passes, and running them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rtmobile_iree.dialects import make_context
from rtmobile_iree.passes import registry, run_passes
from torch_mlir import ir

FOLDER = Path(__file__).parents[1] / "passes"
EMPTY = "func.func @main() {\n  return\n}\n"


@pytest.mark.parametrize(("name", "kind"), registry().items())
def test_pass_class_file_and_name_agree(name: str, kind: type[Any]) -> None:
    """bspc-eliminate-loads = EliminateLoadsPass = passes/eliminate_loads.py."""
    words = name.removeprefix("bspc-").split("-")
    assert name == kind.name
    assert kind.__name__ == "".join(word.capitalize() for word in words) + "Pass"
    assert (FOLDER / f"{'_'.join(words)}.py").is_file()


@pytest.mark.parametrize("kind", registry().values())
def test_pass_is_frozen_data(kind: type[Any]) -> None:
    """Its fields are its options, all with defaults, so that the flag alone runs it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().name = "other"


@pytest.mark.parametrize("kind", registry().values())
def test_nothing_to_do(kind: type[Any]) -> None:
    """No pass minds a module without anything for it."""
    with make_context():
        module = ir.Module.parse(EMPTY)
        before = str(module)
        run_passes(module, [kind()])
        assert str(module) == before


@dataclass(frozen=True)
class Rename:
    """Renames the function."""

    name: ClassVar[str] = "rename"

    to: str

    def run(self, module: ir.Operation) -> None:
        with module.context:
            function = module.regions[0].blocks[0].operations[0]
            function.attributes["sym_name"] = ir.StringAttr.get(self.to)


@dataclass(frozen=True)
class Break:
    """Leaves a function without its return."""

    name: ClassVar[str] = "break"

    def run(self, module: ir.Operation) -> None:
        function = module.regions[0].blocks[0].operations[0]
        function.regions[0].blocks[0].operations[0].erase()


def test_callbacks_see_each_pass_and_the_module() -> None:
    seen = []

    def name(module: ir.Operation) -> str:
        return ir.StringAttr(module.regions[0].blocks[0].operations[0].attributes["sym_name"]).value

    with make_context():
        module = ir.Module.parse(EMPTY)
        run_passes(
            module,
            [Rename("a"), Rename("b")],
            before=lambda each, op: seen.append(("before", each.to, name(op))),
            after=lambda each, op: seen.append(("after", each.to, name(op))),
        )
    assert seen == [
        ("before", "a", "main"),
        ("after", "a", "a"),
        ("before", "b", "a"),
        ("after", "b", "b"),
    ]


def test_a_pass_that_breaks_the_module_is_caught() -> None:
    """Before the next pass meets it."""
    after = []
    with make_context():
        module = ir.Module.parse(EMPTY)
        with pytest.raises(ir.MLIRError):
            run_passes(module, [Break(), Rename("a")], after=lambda each, _: after.append(each))
    assert after == []
