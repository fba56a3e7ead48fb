"""A `.pt2` or `.mlir` as a benchmark's model: what it takes, and for which numbers of steps.

A file is timed as it is: its weights, and the sizes of its inputs that are not open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rtmobile_iree.errors import InputError
from rtmobile_iree.model_source import DTYPES, FILE_KINDS, load_model, load_program

# the number of steps of a file that is for one size, and does not say which of its sizes it is
FIXED = 0


@dataclass(frozen=True)
class FileInputs:
    """What a file takes.

    Attributes:
        specs: `f32[1,T,40]`, one an input; T where the size is open.
        steps: the one number of steps it is for, `FIXED` where it does not say; None for any.
    """

    specs: tuple[str, ...]
    steps: int | None

    def choose_steps(self, asked: Sequence[int]) -> tuple[int, ...]:
        """The chunk lengths to time, of those asked for."""
        return tuple(asked) if self.steps is None else (self.steps,)

    def note(self, model: str, asked: Sequence[int]) -> str | None:
        """What to tell when those asked for are not all timed."""
        if self.steps is None or set(asked) == {self.steps}:
            return None
        sizes = f"{self.steps} steps" if self.steps else f"inputs of one size, {self}"
        return (
            f"{model} is for {sizes} only, and timed for that alone; "
            f"package.module:callable can be timed for any number"
        )

    def __str__(self) -> str:
        return ", ".join(self.specs)


def is_file(model: str) -> bool:
    """Whether MODEL is the path of a file rather than a module's name."""
    return Path(model).suffix in FILE_KINDS


def file_inputs(model: str, given: Sequence[str] = ()) -> FileInputs:
    """What a file takes, as its own types say, or with the sizes that the user gives.

    Raises:
        InputError: no such file, or sizes given for inputs that have no open ones.
        FrontendError: not an MLIR module.
    """
    path = load_model(model)
    assert isinstance(path, Path)
    found = _exported_inputs(load_program(path)) if path.suffix == ".pt2" else _mlir_inputs(path)
    if given and found.steps is not None:
        raise InputError(f"{model} takes {found}; leave out --example-input")
    return FileInputs(tuple(given) or found.specs, found.steps)


def _mlir_inputs(path: Path) -> FileInputs:
    from rtmobile_iree.frontend import import_module

    inputs = import_module(path).inputs
    specs = tuple(
        _spec(i.element_type, ["T" if size is None else size for size in i.shape]) for i in inputs
    )
    is_open = any(None in i.shape for i in inputs)
    return FileInputs(specs, None if is_open else FIXED)


def _exported_inputs(program: ExportedProgram) -> FileInputs:
    names = program.graph_signature.user_inputs
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in names]
    steps = _exported_steps(program)
    specs = []
    for node, example in zip(nodes, _example_sizes(program, len(nodes)), strict=True):
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            raise InputError(f"input {node.name} of the .pt2 is no tensor; export it with tensors")
        sizes = [
            size if isinstance(size, int) else "T" if _is_steps(size, steps) else known
            for size, known in zip(value.shape, example or value.shape, strict=True)
        ]
        specs.append(_spec(_element_type(value.dtype), sizes))
    if any("T" in spec for spec in specs):
        return FileInputs(tuple(specs), None)
    return FileInputs(tuple(specs), steps if isinstance(steps, int) else FIXED)


def _is_steps(size: torch.SymInt, steps: int | torch.SymInt | None) -> bool:
    """Whether the layers see more steps when this open size grows."""
    if not isinstance(steps, torch.SymInt):
        return True
    return bool(size.node.expr.free_symbols & steps.node.expr.free_symbols)


def _example_sizes(program: ExportedProgram, count: int) -> list[torch.Size | None]:
    """Sizes of the inputs the program was exported with, for those it leaves open beside steps."""
    if program.example_inputs is None:
        return [None] * count
    leaves = torch.utils._pytree.tree_leaves(program.example_inputs)
    return [leaf.shape if isinstance(leaf, Tensor) else None for leaf in leaves]


def _exported_steps(program: ExportedProgram) -> int | torch.SymInt | None:
    """The steps that the first recurrent layer sees: open, a number, or no such layer."""
    for node in gru_nodes(program.graph):
        x = node.args[0]
        assert isinstance(x, fx.Node)
        batch_first = node.target == torch.ops.aten.gru.input and node.args[8]
        size: int | torch.SymInt = x.meta["val"].shape[1 if batch_first else 0]
        return size
    return None


def gru_nodes(graph: fx.Graph) -> Iterator[fx.Node]:
    """The calls of GRU layers, in order: torch's own op, or ours."""
    import rtmobile_iree.nn  # noqa: F401  registers rtmobile::gru

    targets = (torch.ops.aten.gru.input, torch.ops.rtmobile.gru.default)
    return (n for n in graph.nodes if n.op == "call_function" and n.target in targets)


def gru_weights(module: nn.Module) -> list[Tensor]:
    """The weight matrices of an exported module's GRU layers."""
    assert isinstance(module, fx.GraphModule)
    return [
        value
        for node in gru_nodes(module.graph)
        for argument in torch.utils._pytree.tree_leaves(node.args[2:6])
        if isinstance(argument, fx.Node) and (value := attribute(module, argument)).dim() == 2
    ]


def attribute(module: fx.GraphModule, node: fx.Node) -> Tensor:
    """The parameter or buffer that a node of the module's graph reads.

    Raises:
        InputError: it is computed.
    """
    if node.op != "get_attr":
        raise InputError(f"the weight {node.name} is computed in the graph")
    value: object = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value


def _spec(element_type: str, sizes: Sequence[object]) -> str:
    return f"{element_type}[{','.join(map(str, sizes))}]"


def _element_type(dtype: torch.dtype) -> str:
    names = {value: name for name, value in DTYPES.items()}
    return names.get(dtype, str(dtype).removeprefix("torch."))
