"""The inner loops of ARM64 programs, read as assembly: NEON by lane, and nothing beside it.

No emulator is needed. What is hot is told by its instructions: a multiply-add whose inputs are one
lane for all rows (`fmla v.4s, v.4s, v.s[0]`), or an integer dot product.
"""

import re
from collections import Counter

import pytest
import torch
from rtmobile_iree.passes import run_passes

import rtmobile_iree as rt
from rtmobile_iree.frontend import import_module
from rtmobile_iree.iree_backend import compile_text
from rtmobile_iree.models import speech_gru
from rtmobile_iree.options import Options
from rtmobile_iree.pipeline import cpu_pipeline, layout_pipeline
from rtmobile_iree.targets import get_target

LANE_FMA = re.compile(r"fmla v\d+\.4s, v\d+\.4s, v\d+\.s\[\d\]")
HALF_LANE_FMA = re.compile(r"fmla v\d+\.8h, v\d+\.8h, v\d+\.h\[\d\]")
DOT = re.compile(r"sdot v\d+\.4s, v\d+\.16b, v\d+\.4b\[\d\]")
MATRIX_DOT = re.compile(r"smmla v\d+\.4s, v\d+\.16b, v\d+\.16b")
# an element put into a register, taken out of it, or loaded into one of its lanes
INSERT = re.compile(
    r"(ins|umov|smov) |mov v\d+\.[bhsd]\[|mov [ws]\d+, v\d+\.|ld1 \{ v\d+\.[bhsd] \}"
)
BRANCH = re.compile(r"(?:b\.\w+|b|cbn?z \w+,|tbn?z \w+, #\d+,) (\S+)$")


def assembly(folder, module, inputs, cpu="cortex-a76", options=None):
    """Lines of the program's kernels: labels end with a colon."""
    target, options = get_target("arm64-android", cpu), options or Options()
    imported = import_module(module, inputs, dynamic_steps=True)
    run_passes(imported.module, [*layout_pipeline(options), *cpu_pipeline(target, options)])
    text = imported.module.operation.get_asm(assume_verified=True)
    flags = (f"--iree-hal-dump-executable-files-to={folder}",)
    compile_text(text, target, extra_flags=flags)
    lines = []
    for path in sorted(folder.glob("*.s")):
        lines += [" ".join(line.split("//")[0].split()) for line in path.open()]
    return [line for line in lines if line.startswith(".LBB") or (line and line[0] != ".")]


def inner_loops(lines):
    """Instructions of each loop that has no label inside."""
    label, start = "", 0
    for number, line in enumerate(lines):
        if line.endswith(":"):
            label, start = line[:-1], number + 1
        elif (found := BRANCH.match(line)) and found[1] == label:
            yield lines[start : number + 1]


def count(loop):
    """Of a loop: registers of weights, scalars or four bytes of the input, and instructions."""
    names = Counter(line.split()[0] for line in loop)
    targets = " ".join(line.split("[")[0] for line in loop if line.startswith("ld"))
    vectors = len(re.findall(r"\b[qd]\d+", targets))
    scalars = len(re.findall(r"\bs\d+", targets)) + names["ld1r"]
    columns = names["ldrh"] + names["ldurh"]
    return vectors, scalars, columns, names


def speech(rate):
    model = speech_gru()
    columns, rows = rate
    rt.prune(model, column_rate=columns, row_rate=rows)
    return model, model.example_inputs(3)


def hot_loops(lines, instruction):
    found = [loop for loop in inner_loops(lines) if any(map(instruction.match, loop))]
    for loop in found:
        assert not any(map(INSERT.match, loop)), loop
    return found


@pytest.mark.parametrize(
    ("rate", "values"), [((10, 1), "f32"), ((10, 1), "f16"), ((16, 15.6), "f32")]
)
def test_a_weight_is_one_load_and_a_multiply_add_by_lane(tmp_path, rate, values):
    lines = assembly(tmp_path, *speech(rate), options=Options(values))
    hot = hot_loops(lines, LANE_FMA)
    assert len(hot) >= 16  # two layers, the output layer; W_ih for 4, 2 and 1 vectors at once
    for loop in hot:
        vectors, scalars, columns, names = count(loop)
        by_lane = sum(bool(LANE_FMA.match(line)) for line in loop)
        assert by_lane == names["fmla"]
        # every register of weights meets every input vector, and nothing is loaded twice
        assert by_lane * columns == vectors * scalars, loop
        widened = names["fcvtl"] + names["fcvtl2"]
        assert widened == (vectors if values == "f16" else 0)
        # loads, of two registers at once where they can be, then counters and the branch
        counters = 11 if rate[1] > 1 else 4
        assert len(loop) <= by_lane + widened + vectors + scalars + columns + counters


@pytest.mark.parametrize("rate", [(10, 1), (16, 15.6)])
def test_f16_is_multiplied_eight_at_once(tmp_path, rate):
    """Column numbers come four to a load; nothing is widened, put into a lane or taken out."""
    lines = assembly(tmp_path, *speech(rate), options=Options("f16", "f16"))
    hot = hot_loops(lines, HALF_LANE_FMA)
    pure = 0
    for loop in hot:
        vectors, _, columns, names = count(loop)
        by_lane = sum(bool(HALF_LANE_FMA.match(line)) for line in loop)
        assert by_lane == names["fmla"]
        assert names["ld1r"] == 0
        assert not [name for name in names if name.startswith("fcvt")]
        if any(line.startswith("st") for line in loop):
            continue  # short panels are written out, their biases and results with them
        pure += 1
        scalars = sum(bool(re.match(r"ldu?r h", line)) for line in loop)
        # of four columns, every register of weights meets every input vector
        assert columns == 0
        assert by_lane * 4 == vectors * scalars, loop
        assert len(loop) <= by_lane + vectors + 3 * scalars + 5
    assert pure >= 8


def test_quantized_inputs_are_dot_products_by_lane(tmp_path):
    lines = assembly(tmp_path, *speech((10, 1)), options=Options("i8", "i8"))
    hot = hot_loops(lines, DOT)
    assert len(hot) >= 14
    for loop in hot:
        registers, scalars, _, names = count(loop)
        assert sum(bool(DOT.match(line)) for line in loop) == names["sdot"]
        # a register of each input vector has the columns of four lanes; what is left comes by one
        if scalars:
            assert names["sdot"] == registers * scalars, loop
        else:
            assert names["sdot"] in [(registers - n) * n for n in (1, 2, 4)], loop
        assert len(loop) <= names["sdot"] + registers + scalars + 8
    assert not any(map(MATRIX_DOT.match, lines))


def test_chunks_of_quantized_inputs_are_matrix_products_where_the_core_has_them(tmp_path):
    lines = assembly(tmp_path, *speech((10, 1)), "cortex-x3", Options("i8", "i8"))
    hot = [loop for loop in inner_loops(lines) if any(map(MATRIX_DOT.match, loop))]
    assert len(hot) >= 6  # W_ih of the upper layers, for 4, 2 and 1 vectors
    for loop in hot:
        names = count(loop)[3]
        # no input is moved but to stand beside another one's: twice a pair and 16 columns
        assert names["smmla"] >= 4, loop
        assert sum(bool(INSERT.match(line)) for line in loop) <= names["smmla"] / 4, loop
    assert hot_loops(lines, DOT)  # W_hh has one vector


def test_cores_with_sve_get_neon(tmp_path):
    """Phones have it switched off; an instruction of it would stop the program."""
    torch.manual_seed(0)
    lines = assembly(tmp_path, torch.nn.GRU(5, 8).eval(), (torch.randn(3, 1, 5),), "cortex-x4")
    assert hot_loops(lines, LANE_FMA)
    assert not [line for line in lines if re.search(r"\b[zp]\d+\b", line)]
