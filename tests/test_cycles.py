"""Static cycles: what is counted, what a count costs, and what is refused."""

import io
import itertools
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from elftools.elf.elffile import ELFFile
from torch import nn

from rtmobile_iree import cli
from rtmobile_iree.cores import CORES, get_core
from rtmobile_iree.cycles import emulate, table
from rtmobile_iree.cycles.disassembly import Instruction, blocks, disassemble
from rtmobile_iree.cycles.emulate import Counts, count_instructions
from rtmobile_iree.cycles.estimate import (
    Part,
    again_seconds,
    compile_kernels,
    estimate,
    memory_seconds,
)
from rtmobile_iree.cycles.mca import Cost, Mca, costs, find_mca, with_updates
from rtmobile_iree.cycles.models import MISPREDICT_CYCLES, MODELS, bandwidth, choose_model
from rtmobile_iree.errors import CompileError, InputError, TargetError
from rtmobile_iree.options import Options
from rtmobile_iree.roofline.work import LinearWork, MatrixWork, RecurrentWork, Work
from rtmobile_iree.schedule import Schedule
from rtmobile_iree.targets import get_target

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "snapdragon855_estimate.json"
A76 = get_target("arm64-android", "cortex-a76")
TINY = "rtmobile_iree.models:tiny_paper_gru"
BY_LANE = r"fmla\tv\d+\.4s, v\d+\.4s, v\d+\.s\["


@pytest.fixture(scope="session")
def mca() -> Mca:
    try:
        return find_mca()
    except InputError as error:
        pytest.skip(str(error))


class Net(nn.Module):
    """A GRU whose sizes are whole vectors, and a linear layer that reads half of its units."""

    def __init__(self, hidden=64, inputs=8, layers=1):
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, 32)
        with torch.no_grad():
            self.fc.weight[:, : hidden // 2] = 0

    def forward(self, x, h):
        y, h = self.gru(x, h)
        return self.fc(y), h


def compiled(folder, values="f32", activations="f32"):
    model = Net().eval()
    inputs = torch.zeros(1, 5, 8), torch.zeros(1, 1, 64)
    return compile_kernels(model, inputs, A76, Options(values, activations), folder)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("cycles"))


def counted(kernels, name, steps, mca):
    (kernel,) = (k for k in kernels.kernels if k.name.startswith(name))
    path = kernels.files[kernel.name]
    counts = count_instructions(path.read_bytes(), kernel, kernel.items(steps))
    return blocks(disassemble(path, mca.objdump), counts)


@pytest.mark.parametrize("steps", [1, 2, 17, 30])
def test_every_weight_is_multiplied_once_a_step(kernels, mca, steps):
    ran = counted(kernels, "rtmobile_gru", steps, mca)
    products = sum(block.times * block.count(BY_LANE) for block in ran)
    assert products * 4 == steps * 3 * 64 * (64 + 8)


def test_linear_layers_are_counted_too(kernels, mca):
    ran = counted(kernels, "rtmobile_matmul", 7, mca)
    products = sum(block.times * block.count(BY_LANE) for block in ran)
    assert products * 4 == 7 * 32 * 32
    # the bias is IREE's
    (left_out,) = kernels.left_out
    assert left_out.startswith("main_dispatch_")


@pytest.mark.parametrize("form", [("f16", "f16"), ("i8", "f32"), ("i8", "i8")])
def test_other_values_run_in_the_emulator(form, mca, tmp_path):
    made = compiled(tmp_path, *form)
    ran = counted(made, "rtmobile_gru", 3, mca)
    assert sum(block.times * len(block.instructions) for block in ran) > 1000
    dots = sum(block.times * block.count(r"sdot\b") for block in ran)
    # columns come in fours, and 16 products are one instruction
    assert (dots * 16 == 3 * 3 * 64 * (64 + 8)) == (form == ("i8", "i8"))


def test_a_matrix_larger_than_the_cache_is_walked_to_and_fro(tmp_path, monkeypatch):
    """Panels of W_hh in the order they are read, step by step: 64 rows of 64 columns each."""
    from unicorn import UC_HOOK_MEM_READ

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(8, 64)

        def forward(self, x):
            return self.gru(x)[0]

    target, inputs = replace(A76, cache_bytes=1), (torch.randn(5, 1, 8),)
    made = compile_kernels(Recurrent().eval(), inputs, target, Options(), tmp_path)
    (kernel,) = made.kernels
    sizes = [0 if each.data is None else each.data.nbytes for each in kernel.buffers]
    place = sizes.index(max(sizes))
    weights, before = kernel.buffers[place], kernel.buffers[:place]
    start = emulate.DATA + sum(emulate._pages(b.size_bytes(3)) + emulate.PAGE for b in before)
    stop, read, run = start + weights.size_bytes(3), [], emulate._run

    def watched(machine, *arguments):
        machine.hook_add(UC_HOOK_MEM_READ, lambda uc, access, at, size, *_: read.append(at),
                         begin=start, end=stop)  # fmt: skip
        return run(machine, *arguments)

    monkeypatch.setattr(emulate, "_run", watched)
    emulate.count_instructions(made.files[kernel.name].read_bytes(), kernel, kernel.items(3))
    panel = 64 * 64 * 4
    first = start + 4 * (192 * 8 + 192)  # after W_ih and its biases
    numbers = [(at - first) // panel for at in read if first <= at < first + 3 * panel]
    order = [number for number, _ in itertools.groupby(numbers)]
    assert order == [0, 1, 2, 1, 0, 1, 2]


def test_loops_are_entered_less_often_than_they_run(kernels, mca):
    loops = [block for block in counted(kernels, "rtmobile_gru", 30, mca) if block.is_loop]
    assert loops
    for loop in loops:
        assert 1 <= loop.entries <= loop.times
    # columns of a panel are walked in a loop: 64 of W_hh at least
    assert max(loop.times / loop.entries for loop in loops) >= 16


def test_a_kernel_that_cannot_run(kernels, mca):
    (kernel, *_) = kernels.kernels
    path = kernels.files[kernel.name]
    first = next(iter(counted(kernels, "rtmobile_gru", 1, mca))).instructions[0]
    code = path.read_bytes()
    text = ELFFile(io.BytesIO(code)).get_section_by_name(".text")
    at = text["sh_offset"] + first.address - text["sh_addr"]
    broken = code[:at] + bytes(4) + code[at + 4 :]  # udf #0
    with pytest.raises(CompileError, match=f"the emulator stopped at {first.address:#x}"):
        count_instructions(broken, kernel, 1)


def test_blocks_from_counts():
    texts = ["mov\tx0, #1", "add\tx0, x0, #1", "b.ne\t#4096", "ret"]
    code = {
        4 * i: Instruction(4 * i, text, 4 if i == 2 else None, i >= 2)
        for i, text in enumerate(texts)
    }
    counts = Counts(Counter({0: 2, 4: 10, 8: 10, 12: 2}), Counter({(8, 4): 8}))
    head, loop, end = blocks(code, counts)
    assert (head.times, head.entries, head.is_loop) == (2, 2, False)
    assert (loop.times, loop.entries, loop.is_loop) == (10, 2, True)
    assert [each.text for each in end.instructions] == ["ret"]
    cycles = Part("k", loop, Cost(first=20, more=3)).cycles
    assert cycles == 2 * (20 + MISPREDICT_CYCLES) + 8 * 3
    assert Part("k", head, Cost(first=20, more=3)).cycles == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("str\tq3, [x15], #0x10", ["str\tq3, [x15]", "add\tx15, x15, #0x10"]),
        ("ldr\tq3, [x15, #-16]!", ["sub\tx15, x15, #16", "ldr\tq3, [x15]"]),
        ("ldp\tq0, q1, [x7, #-0x80]", ["ldp\tq0, q1, [x7, #-0x80]"]),
        ("ldr\ts2, [x10, w9, uxtw #2]", ["ldr\ts2, [x10, w9, uxtw #2]"]),
    ],
)
def test_moved_base_registers(text, expected):
    assert with_updates([text]) == expected


def test_costs_are_the_models(mca):
    sixteen = [f"fmla\tv{i}.4s, v30.4s, v31.s[0]" for i in range(16)]
    chain = ["fadd\tv0.4s, v0.4s, v1.4s"] * 4
    stored = ["ldr\tq1, [x0]", "fadd\tv1.4s, v1.4s, v2.4s", "str\tq1, [x0], #16"]
    (model, *_) = MODELS["cortex-a76"]
    if mca.version < model.since:
        pytest.skip(f"llvm-mca {mca.version} has no {model.cpu}; run `make llvm-mca`")
    wide, deep, apart = costs(mca, model.cpu, 4, [sixteen, chain, stored])
    assert wide.more == 8  # two pipes
    assert deep.more == 8  # a latency of two
    assert apart.more < 4  # passes overlap, though the store moves the load's base
    assert wide.first > 8
    (narrow,) = costs(mca, model.cpu, 1, [sixteen])
    assert narrow.more == 16
    assert costs(mca, model.cpu, 4, []) == []
    with pytest.raises(InputError, match="llvm-mca .* for no-such-core"):
        costs(mca, "no-such-core", 4, [chain])
    with pytest.raises(InputError, match="llvm-mca .* error: "):
        costs(mca, model.cpu, 4, [["no such instruction"]])


def test_objdump_on_a_file_that_is_none(mca, tmp_path):
    path = tmp_path / "bad.so"
    path.write_bytes(b"no ELF")
    with pytest.raises(CompileError, match=r"cannot read .*bad\.so"):
        disassemble(path, mca.objdump)


def test_without_llvm_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match="llvm-mca and llvm-objdump are needed; run `make llvm-mca`"
    ):
        find_mca()
    for tool in ("llvm-mca", "llvm-objdump"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    with pytest.raises(InputError, match="does not run or tells no version"):
        find_mca()


def test_every_core_has_a_model_and_falls_back():
    for name, core in CORES.items():
        assert choose_model(core, 19) == MODELS[name][0]
    a76 = get_core("cortex-a76")
    assert choose_model(a76, 19).cpu == "neoverse-n1"
    assert choose_model(a76, 14).cpu == "cortex-a76"
    assert "Cortex-A57's" in choose_model(a76, 14).note
    with pytest.raises(TargetError, match="LLVM 9 has no model for cortex-a76; run"):
        choose_model(a76, 9)


def test_memory_is_read_from_the_level_that_holds_it():
    core = get_core("cortex-a76")
    rates = [bandwidth(core, size) for size in (1 << 10, 1 << 17, 1 << 20, 1 << 24)]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 4
    w_ih, w_hh = MatrixWork(0, 300_000), MatrixWork(0, 1_000_000)
    work = Work((RecurrentWork(w_ih, w_hh, {}),), (LinearWork(MatrixWork(0, 900_000), 1, 0),), 1)
    # 2.2 MB in all lie in memory, W_hh alone in L3
    cold, warm = core.memory_bytes_s, core.l3_bytes_s
    expected = 2 * 1_300_000 / cold + 15 * 1_000_000 / warm + 900_000 / cold
    assert memory_seconds(work, core, 17, Schedule(4)) == pytest.approx(expected)
    # to and fro: in chunks of 32; what L2 keeps beside 128 KB that a step touches comes from there
    to_and_fro = Schedule(4, cache_bytes=core.l2_bytes)
    kept = core.l2_bytes - (128 << 10)
    again = kept / core.l2_bytes_s + (1_000_000 - kept) / warm
    expected = 1_300_000 / cold + 16 * again + 900_000 / cold
    assert memory_seconds(work, core, 17, to_and_fro) == pytest.approx(expected)


def test_of_a_matrix_larger_than_the_caches_the_rest_alone_comes_from_memory():
    core, size = get_core("cortex-a76"), 5 << 20
    schedule = Schedule(4, cache_bytes=core.l2_bytes)
    kept = core.l2_bytes - (128 << 10)
    rest = size - kept - core.l3_bytes
    expected = kept / core.l2_bytes_s + core.l3_bytes / core.l3_bytes_s + rest / core.memory_bytes_s
    assert again_seconds(size, core, schedule) == pytest.approx(expected)
    assert again_seconds(size, core, Schedule(4)) == size / core.memory_bytes_s


def test_what_cannot_be_estimated(tmp_path):
    linear = nn.Sequential(nn.Linear(4, 4)).eval()
    with pytest.raises(TargetError, match="target host names no phone's core"):
        estimate(linear, (torch.zeros(1, 4),), get_target("host"))
    with pytest.raises(InputError, match="no recurrent or block-sparse layer"):
        compile_kernels(nn.ReLU().eval(), (torch.zeros(1, 4),), A76, Options(), tmp_path)


def test_without_the_emulator_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(InputError, match=r"unicorn not installed; pip install .*\[cycles\]"):
        estimate(nn.ReLU().eval(), (torch.zeros(1, 4),), A76)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["inspect", TINY, "--cycles", *arguments])
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def test_the_command(mca, capsys):
    arguments = ["--target", "arm64-android", "--cpu", "cortex-a76", "--prune", "4x1"]
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "ESTIMATE, not measured: cortex-a76" in out
    assert "Snapdragon 855" in out
    assert "scheduling model: " in out
    code, out, _ = run(capsys, *arguments, "--steps", "3,6", "--json")
    fields = json.loads(out)
    assert (code, fields["kind"]) == (0, "ESTIMATE")
    three, six = fields["estimates"]
    assert (three["steps"], six["steps"]) == (3, 6)
    assert 0 < three["us"] < six["us"] < 2.1 * three["us"]
    for each in (three, six):
        assert each["us"] == max(each["compute_us"], each["memory_us"])
        assert sum(b["cycles"] for b in each["blocks"]) == pytest.approx(each["cycles"], rel=1e-3)
        instructions = sum(b["runs"] * len(b["code"]) for b in each["blocks"])
        assert instructions == each["instructions"]


def test_what_the_command_refuses(capsys):
    code, _, errors = run(capsys)
    assert code == 1
    assert "target host names no phone's core" in errors
    with pytest.raises(SystemExit):
        cli.main(["inspect", "model.vmfb", "--cycles"])
    assert "give the MODEL it was compiled from" in capsys.readouterr().err


def test_the_papers_table(mca):
    rows = table.make_rows(table.TABLE_2[-1:], (("f32", "f32"),), "cortex-a76", "arm64-android")
    fields = json.loads(table.to_json(rows))
    (row,) = fields["rows"]
    assert fields["kind"] == "ESTIMATE"
    assert (row["compression"], row["rate"], row["paper_cpu_us"]) == (301, "20x20", 145.93)
    frame = next(each for each in row["estimates"] if each["steps"] == 30)
    assert row["within_paper_cpu"] == (frame["us"] <= 145.93)
    assert table.to_table(rows).row_count == 1


def test_the_stored_table_has_a_form_within_the_papers_time_at_all_ten_rates():
    fields = json.loads(RESULTS.read_text())
    assert fields["kind"] == "ESTIMATE"
    papers = {(row["rate"], row["paper_cpu_us"]) for row in fields["rows"]}
    assert papers == {(row.rate, row.cpu_us) for row in table.TABLE_2}
    for paper in table.TABLE_2:
        frames = [each["us"] for row in fields["rows"] if row["rate"] == paper.rate
                  for each in row["estimates"] if each["steps"] == 30]  # fmt: skip
        assert len(frames) == len(table.FORMS)
        assert min(frames) <= paper.cpu_us, f"no form at {paper.rate} is within the paper's time"
