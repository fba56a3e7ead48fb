"""The SPIR-V of our kernels: valid for its target, and what it was meant to be.

Modules for Vulkan 1.1 are valid as they are. In those of SPIR-V 1.6 IREE 3.13 has two defects that
spirv-val sees, and this file pins them: a header of SPIR-V 1.0 over entry points that list every
variable, as 1.4 and later ask for; and NoSignedWrap, part of 1.4, without the extension that
earlier versions need. They are validated with the version word set to 1.4, so that every other
finding fails.
"""

import re
import shutil
import subprocess

import pytest
import torch
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree import iree_backend
from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.gpus import GPUS

pytestmark = pytest.mark.vulkan

MAGIC, SPIRV_1_4 = 0x07230203, 0x00010400
PRUNING = {"column_rate": 3, "row_rate": 1.5, "row_stripes": 3, "col_blocks": 2}


class Model(nn.Module):
    """Every kind of kernel: two scans, one with a projection, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 33, 2)
        self.lstm = nn.LSTM(33, 17, proj_size=6)
        self.fc = nn.Linear(6, 7)

    def forward(self, x):
        return self.fc(self.lstm(self.gru(x)[0])[0])


def tool(name):
    """One of SPIR-V's tools: installed, or of `make vulkan`; without it the test is skipped."""
    found = shutil.which(name) or str(cache_folder() / "vulkan/usr/bin" / name)
    if shutil.which(found) is None:
        pytest.skip(f"no {name} here; run `make vulkan`, or: apt-get install spirv-tools")
    return found


def run(name, *arguments):
    return subprocess.run([tool(name), *map(str, arguments)], capture_output=True, text=True)


class Stacks(nn.Module):
    """Stacks of layers that suit a wavefront, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 33, 2)
        self.lstm = nn.LSTM(33, 17, 3)
        self.fc = nn.Linear(17, 7)

    def forward(self, x):
        return self.fc(self.lstm(self.gru(x)[0])[0])


class Large(nn.Module):
    """A wavefront whose weights find no registers."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 420, 2)

    def forward(self, x):
        return self.gru(x)[0]


class Projected(nn.Module):
    """Layers whose step is two products, one after the other."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 33, 2, proj_size=9)

    def forward(self, x):
        return self.lstm(x)[0]


CASES = [
    *((name, "f32", "persistent") for name in GPUS),
    ("lavapipe", "f16", "persistent"),
    ("adreno-640", "f16", "per-step"),
    ("lavapipe", "bf16", "per-step"),
    ("vulkan", "f32", "per-step"),
    ("adreno-640", "i8", "persistent"),
    ("mali-valhall", "i8", "per-step"),
    ("adreno-640", "i4", "per-step"),
    ("adreno-640", "f16", "wavefront"),
    ("adreno-640", "i4", "wavefront", "f16"),
    ("lavapipe", "f32", "streamed"),
    ("lavapipe", "i8", "streamed"),
    ("vulkan", "f32", "projected"),
    ("adreno-640", "i8", "projected"),
]
# scans, a wavefront's projections, and linear layers
KERNELS = {"persistent": 3, "per-step": 3, "wavefront": 5, "streamed": 2, "projected": 1}
MODELS = {"wavefront": Stacks, "streamed": Large, "projected": Projected}
ASKED = {"streamed": "wavefront", "projected": "per-step"}
# a lane's four weights, of i4 eight; a step's kernels and tiles may load more, in words
LOADS = {"f32": "v4float", "f16": "v4half", "bf16": "v2uint", "i8": "uint", "i4": "uint"}
WORDS = "v4uint|v4ulong"


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def modules(request, tmp_path_factory):
    """A target, the files of its SPIR-V modules, and the type of their values."""
    name, values, kernel, *rest = request.param
    asked = ASKED.get(kernel, kernel)
    options = {"values": values, "gpu_kernel": asked, "activations": rest[0] if rest else "f32"}
    folder = tmp_path_factory.mktemp(name)
    compile_text = iree_backend.compile_text

    def dumping(text, target):
        flags = (f"--iree-hal-dump-executable-binaries-to={folder}",)
        return compile_text(text, target, extra_flags=flags)

    torch.manual_seed(0)
    model = MODELS.get(kernel, Model)().eval()
    rt.prune(model, layers=["*weight*"], **PRUNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iree_backend, "compile_text", dumping)
        rt.compile(model, torch.randn(4, 3, 5), name, **options)
    files = sorted(folder.rglob("*.spv"))
    assert len(own(files)) == KERNELS[kernel], [file.name for file in files]
    return GPUS[name], files, values


def own(files):
    """Those of our kernels; the others are IREE's for what stays dense."""
    return [file for file in files if "rtmobile" in file.name]


def patched(file):
    """The module with another version word."""
    data = bytearray(file.read_bytes())
    assert int.from_bytes(data[:4], "little") == MAGIC
    data[4:8] = SPIRV_1_4.to_bytes(4, "little")
    copy = file.with_suffix(".patched")
    copy.write_bytes(data)
    return copy


def test_modules_are_valid(modules):
    gpu, files, _ = modules
    for file in files:
        given = file if gpu.vulkan == "1.1" else patched(file)
        result = run("spirv-val", "--target-env", "vulkan" + gpu.vulkan, given)
        assert result.returncode == 0, f"{file.name}: {result.stdout}{result.stderr}"


def test_irees_defects_are_still_there(modules):
    """Fails once IREE writes the version its modules need: validate them unpatched then."""
    gpu, files, _ = modules
    newer = own(files) if gpu.vulkan == "1.3" else []  # the others are valid as they are
    for file in newer:
        result = run("spirv-val", "--target-env", "vulkan" + gpu.vulkan, file)
        assert result.returncode, f"{file.name} is valid as it is"
        told = result.stdout + result.stderr
        assert "NoSignedWrap(4469) requires" in told or "is not an Input or Output" in told, told


def test_modules_are_what_they_were_meant_to_be(modules):
    """Weights in vectors of four; nothing about subgroups; storage and shared memory as allowed."""
    gpu, files, values = modules
    for file in own(files):
        text = run("spirv-dis", file).stdout
        in_words = any(each in file.name for each in ("step", "project", "scan"))
        loads = LOADS[values] if "matmul" in file.name else f"{LOADS[values]}|{WORDS}"
        assert re.search(rf"OpLoad %({loads}) ", text), file.name
        capabilities = set(re.findall(r"OpCapability (\S+)", text))
        assert not any("GroupNonUniform" in each for each in capabilities)
        assert "Float64" not in capabilities
        assert ("Int64" in capabilities) <= (in_words and gpu.name == "lavapipe")
        assert not any("8Bit" in each for each in capabilities)
        if values in ("i8", "i4"):
            assert "OpBitwiseAnd" in text
        if values != "f16":
            assert not any("16Bit" in each for each in capabilities)
        threads = [int(n) for n in re.findall(r"LocalSize (\d+) 1 1", text)]
        assert threads
        assert max(threads) <= gpu.workgroup_threads
        assert shared_bytes(text) <= gpu.shared_bytes
        meets = "matmul" not in file.name and "project" not in file.name
        assert ("OpControlBarrier" in text) == meets


@pytest.mark.parametrize("modules", [("lavapipe", "f16", "persistent")], indirect=True)
def test_kept_weights_stay_narrow(modules):
    """Hazard: who widens weights before the loop over steps takes twice the registers for them."""
    _, files, _ = modules
    (file,) = [each for each in own(files) if "gru" in each.name]
    text = run("spirv-dis", file).stdout
    loop = text.rindex("OpLoopMerge")
    assert text.index(" = OpLoad %v4uint") < loop < text.index("OpFConvert")


def shared_bytes(text):
    """Bytes of all variables in shared memory, each a struct of one array of f32, or of fours."""
    constants = dict(re.findall(r"(%\S+) = OpConstant %uint (\d+)", text))
    found = re.findall(r"(%\S+) = OpTypeArray %(v4)?float (%\S+)", text)
    arrays = {name: (4 if four else 1) * int(constants[size]) for name, four, size in found}
    structs = dict(re.findall(r"(%\S+) = OpTypeStruct (%\S+)", text))
    pointers = dict(re.findall(r"(%\S+) = OpTypePointer Workgroup (%\S+)", text))
    variables = re.findall(r"= OpVariable (%\S+) Workgroup", text)
    sizes = [arrays[structs[pointers[each]]] for each in variables]
    return 4 * sum(sizes)
