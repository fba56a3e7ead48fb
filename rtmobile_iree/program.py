"""compile, load and Program: from a PyTorch module to a checked, callable .vmfb and back.

A saved program is one plain .vmfb: IREE's own tools run it as it is. What Program knows besides,
its inputs and its report, travels in the reflection attributes of the module's function.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmobile_iree.errors import InputError, TargetError
from rtmobile_iree.files import write_atomically
from rtmobile_iree.gpus import GPUS
from rtmobile_iree.report.encoding import Report
from rtmobile_iree.runtime import HOST_DRIVER, VULKAN, Module, read_reflection
from rtmobile_iree.schedule import ACTIVATION_ERROR, AUTO
from rtmobile_iree.states import Pairs, add_step, find_states
from rtmobile_iree.targets import Target, get_target, runs_here
from rtmobile_iree.values import rules_text

if TYPE_CHECKING:
    from torch_mlir import ir

    from rtmobile_iree.options import Options

REPORT_KEY, INPUTS_KEY = "rtmobile.report", "rtmobile.inputs"
TARGET_KEY, CPU_KEY = "rtmobile.target", "rtmobile.cpu"
SHARED_DRIVER = "local-task"
OUTPUTS_KEY, STATES_KEY = "rtmobile.outputs", "rtmobile.states"
# MLIR's element types -> NumPy's
DTYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16",
    "i1": "bool", "i8": "int8", "ui8": "uint8", "i16": "int16", "i32": "int32", "i64": "int64",
}  # fmt: skip
Progress = Callable[[str], None]


@dataclass(frozen=True)
class InputSpec:
    """One input or output of a program.

    Attributes:
        name: as in the module's forward(); "output0" and so on.
        shape: sizes; None where any size will do.
        dtype: NumPy's name of the element type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def check(self, value: Any) -> np.ndarray:
        """The value as a row-major array, if it fits.

        Raises:
            InputError: wrong dtype, rank or size; says what was given and what would work.
        """
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        if array.dtype.name != self.dtype:
            raise InputError(
                f"input {self.name}: dtype {array.dtype.name}; this program takes {self.dtype}"
            )
        fits = len(array.shape) == len(self.shape) and all(
            want in (None, have) for want, have in zip(self.shape, array.shape, strict=True)
        )
        if not fits or array.size == 0:
            raise InputError(
                f"input {self.name}: shape {list(array.shape)}; this program takes {self}"
            )
        return np.ascontiguousarray(array)

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"[{sizes}] {self.dtype}"


class Program:
    """A compiled module.

    Attributes:
        vmfb: the module's bytes, what `save` writes.
        report: what was encoded, how well it fits, what stayed dense and why.
        inputs: what a call takes.
        outputs: what it returns.
        states: (output, input) where what comes out goes in at the next call, as a stream does.
        target: name of the target it was compiled for.
        cpu: the core, where the target has a choice; else empty.
    """

    def __init__(self, vmfb: bytes, *, driver: str | None = None, name: str = "module") -> None:
        self.vmfb = vmfb
        reflection = read_reflection(vmfb, name)
        try:
            self.inputs = _read_specs(reflection[INPUTS_KEY])
            self.outputs = _read_specs(reflection[OUTPUTS_KEY])
            self.states: Pairs = tuple((o, i) for o, i in json.loads(reflection[STATES_KEY]))
            self.report = Report.from_json(reflection[REPORT_KEY])
            self.target = reflection[TARGET_KEY]
            self.cpu = reflection[CPU_KEY]
        except KeyError as error:
            raise InputError(
                f"{name}: an IREE module, but not one of rtmobile's, or an older one (no "
                f"{error.args[0]} in the reflection of main); compile it again, or run it with "
                "iree-run-module"
            ) from error
        is_gpu = self.target in GPUS
        self._load = partial(Module, vmfb, driver or (VULKAN if is_gpu else HOST_DRIVER), name)
        # a GPU's program is loaded by its first call: compiling it needs no Vulkan here
        self._module = self._load() if runs_here(self.target) and not is_gpu else None

    @property
    def module(self) -> Module:
        """The loaded module.

        Raises:
            TargetError: the program is another machine's.
            DeviceError: it is a GPU's, and there is no Vulkan here.
        """
        if self._module is None and self.target in GPUS:
            self._module = self._load()
        if self._module is None:
            raise TargetError(
                f"this program is for {self.target}, and this machine is {platform.machine()}; "
                "run it with: rtmobile run FILE.vmfb --device qemu"
            )
        return self._module

    def __call__(self, *inputs: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """Runs the program.

        Args:
            inputs: torch tensors or NumPy arrays, as `self.inputs` says.

        Returns:
            What forward() returns, as NumPy arrays: one array, or a tuple of them.

        Raises:
            InputError: wrong number of inputs, dtype or shape.
            TargetError: the program is another machine's.
        """
        module = self.module
        if len(inputs) != len(self.inputs):
            names = ", ".join(f"{spec.name} {spec}" for spec in self.inputs)
            raise InputError(f"{len(inputs)} inputs given; this program takes {names}")
        arrays = [spec.check(value) for spec, value in zip(self.inputs, inputs, strict=True)]
        results = module(arrays)
        return results[0] if len(results) == 1 else results

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the .vmfb; a failure leaves whatever was at `path` as it was.

        Raises:
            OSError: no such folder, no permission, disk full.
        """
        write_atomically(path, self.vmfb)


def compile(
    module: Any,
    example_inputs: Sequence[Any] | None = None,
    target: str = "host",
    dynamic_steps: bool = True,
    *,
    values: str | Mapping[str, str | float] = "f32",
    activations: str = "f32",
    activation_error: float = ACTIVATION_ERROR,
    threads: int = 1,
    gpu_kernel: str = AUTO,
    cpu: str | None = None,
    progress: Progress = lambda step: None,
    driver: str | None = None,
) -> Program:
    """Compiles a module, its block-sparse weights in BSPC.

    Args:
        module: an nn.Module in eval mode, a torch.export ExportedProgram, or the path of a .pt2 or
            of an .mlir from torch-mlir.
        example_inputs: tensors forward() takes; their shapes and dtypes are the program's.
        target: see `rtmobile_iree.targets`.
        dynamic_steps: the program takes any number of time steps, whatever the example has.
        values: how weights are stored: "f32", "f16", "bf16", "i8" or "i4" for all matrices, or
            rules by name, {"gru.weight_hh_*": "i8", "*": 0.002}, where a number is the greatest
            relative error (see `rtmobile_iree.values`). The report gives each matrix's error.
        activations: "f32"; "f16": recurrent layers, of f16 weights, are computed in f16, on ARM64
            cores that can, and on GPUs their products with f16, i8 or i4 weights, a dispatch a
            step; or "i8": the inputs of i8 matrices are quantized as they come.
        activation_error: greatest absolute error of sigmoid and tanh in f32; fewer operations for
            more.
        threads: most threads a recurrent layer stack may use. More than one needs IREE's
            local-task driver, which takes longer to start a call: worth it for chunks of steps of
            models that are large still, not for single steps.
        gpu_kernel: of recurrent layers on a GPU: "persistent", one dispatch whose states and sums
            must fit into shared memory; "wavefront", a workgroup a layer, for two layers or more
            whose weights registers can hold; "per-step", a dispatch a step; "auto": one that fits.
        cpu: the core, see `rtmobile_iree.cores`; None: one that every machine of the target has.
        progress: called with a few words before each stage.
        driver: IREE HAL driver the program is loaded on; the target's when None, and local-task
            for several threads.

    Raises:
        RTMobileError: see its subclasses: what cannot be compiled, and what would work.
    """
    from rtmobile_iree.frontend import import_module
    from rtmobile_iree.iree_backend import compile_text
    from rtmobile_iree.options import Options

    machine = get_target(target, cpu)
    options = Options(rules_text(values), activations, activation_error, threads, gpu_kernel)
    progress("importing the model")
    imported = import_module(module, example_inputs, dynamic_steps=dynamic_steps)
    inputs = [InputSpec(i.name, i.shape, DTYPES[i.element_type]) for i in imported.inputs]
    outputs = [InputSpec(o.name, o.shape, DTYPES[o.element_type]) for o in imported.outputs]
    text = lower_module(imported.module, inputs, outputs, machine, options, progress)
    progress("compiling with IREE")
    vmfb = compile_text(text, machine)
    return Program(vmfb, driver=driver or (machine.driver if threads == 1 else SHARED_DRIVER))


def lower_module(
    module: ir.Module,
    inputs: Sequence[InputSpec],
    outputs: Sequence[InputSpec],
    target: Target,
    options: Options,
    progress: Progress,
) -> str:
    """Runs the passes on an imported module and returns the text that IREE compiles."""
    from rtmobile_iree.passes import run_passes
    from rtmobile_iree.pipeline import kernel_pipeline, layout_pipeline
    from rtmobile_iree.report.build import build_report

    progress("finding patterns and packing weights")
    run_passes(module, layout_pipeline(options))
    report = build_report(module)
    progress("generating kernels")
    run_passes(module, kernel_pipeline(target, options))
    _annotate(module, {
        REPORT_KEY: report.to_json(),
        INPUTS_KEY: json.dumps([asdict(spec) for spec in inputs]),
        OUTPUTS_KEY: json.dumps([asdict(spec) for spec in outputs]),
        STATES_KEY: json.dumps(find_states(inputs, outputs)),
        TARGET_KEY: target.name,
        CPU_KEY: target.cpu,
    })  # fmt: skip
    add_step(module)
    return str(module.operation.get_asm(assume_verified=True))


def _read_specs(text: str) -> tuple[InputSpec, ...]:
    return tuple(InputSpec(s["name"], tuple(s["shape"]), s["dtype"]) for s in json.loads(text))


def _annotate(module: ir.Module, entries: dict[str, str]) -> None:
    """Puts entries into the reflection of `main`, where IREE's runtime finds them."""
    from torch_mlir import ir

    with module.context:
        main = ir.SymbolTable(module.operation)["main"]
        reflection = {key: ir.StringAttr.get(value) for key, value in entries.items()}
        main.attributes["iree.reflection"] = ir.DictAttr.get(reflection)


def load(path: str | os.PathLike[str], *, driver: str | None = None) -> Program:
    """Loads a saved program.

    Args:
        path: a .vmfb written by `Program.save`.
        driver: IREE HAL driver to run it on; None: local-sync, or vulkan for a GPU's. local-task
            runs one that was compiled for several threads on them (on local-sync it runs on one).

    Raises:
        InputError: no such file, or not such a module.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return Program(data, driver=driver, name=str(path))
