"""What is counted of GPU kernels: against numbers worked out by hand, and against plain iteration.

Hazards: threads that a branch or a short loop leaves out, loops that turn a different number of
times in each thread, waves that are half idle, lines that several threads share, loops counted once
for all their turns.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from rtmobile_iree.dialects import make_context
from rtmobile_iree.passes import run_passes
from rtmobile_iree.passes.eliminate_loads import EliminateLoadsPass
from rtmobile_iree.passes.lower_vulkan import LowerVulkanPass
from torch import nn
from torch_mlir import ir

from rtmobile_iree import cli
from rtmobile_iree.errors import CompileError, InputError, TargetError
from rtmobile_iree.frontend import import_module
from rtmobile_iree.gpu_cost import threads as evaluator
from rtmobile_iree.gpu_cost.counts import KernelRun, Phase, totals
from rtmobile_iree.gpu_cost.decode import Decoder
from rtmobile_iree.gpu_cost.estimate import BARRIERS, DISPATCHES, estimate, phase_ns, rounds
from rtmobile_iree.gpu_cost.grid import Grid, Latencies
from rtmobile_iree.gpu_cost.host import count_runs
from rtmobile_iree.gpu_cost.models import ADRENO_640, MODELS, get_model
from rtmobile_iree.gpu_cost.registers import kept_words
from rtmobile_iree.gpu_cost.threads import Threads
from rtmobile_iree.gpus import GPUS
from rtmobile_iree.options import Options
from rtmobile_iree.paper import TABLE_2
from rtmobile_iree.pipeline import kernel_pipeline, layout_pipeline
from rtmobile_iree.targets import get_target

LATENCIES = Latencies(wave=4, arithmetic_ns=1, shared_ns=10, global_ns=100)
HEAD = """
  %t = gpu.thread_id x
  %w = "hal.interface.workgroup.id"() {dimension = 0 : index} : () -> index
  %a = "hal.interface.binding.subspan"() {binding = 0 : index} : () -> memref<64xf32>
  %n = "hal.interface.binding.subspan"() {binding = 1 : index} : () -> memref<8xi32>
  %s = memref.alloc() : memref<16xf32, #gpu.address_space<workgroup>>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
"""
TURNS = np.array([0, 1, 2, 3, 0, 0, 0, 5], np.int32)


def decoded(body):
    """A kernel of these lines."""
    context = make_context()
    context.allow_unregistered_dialects = True
    module = ir.Module.parse("func.func @kernel() {" + HEAD + body + "\nreturn }", context)
    decoder = Decoder()
    return decoder, decoder.region(next(iter(module.body.operations)).operation.regions[0])


def counted(body, threads=8, groups=1, turns=TURNS, latencies=LATENCIES):
    """The phases of a kernel of these lines, and its shared memory."""
    with make_context() as context:
        context.allow_unregistered_dialects = True
        text = "func.func @kernel() {" + HEAD + body + "\nreturn }"
        module = ir.Module.parse(text)
        function = next(iter(module.body.operations)).operation
        decoder = Decoder()
        region = decoder.region(function.regions[0])
        grid = Grid((groups, 1), threads, (), (None, turns))
        run = Threads(grid, latencies, len(decoder.kinds))
        return run.run(region), run.shared_bytes


def lowered(model, inputs, values="f32", *, merges=True, kernel="auto", resident=False):
    """Without `merges`, nearly equal patterns stay apart, so that no zeros are stored; only a
    `resident` scan keeps weights in registers, and adds zeros to make its tiles alike."""
    module = import_module(model.eval(), inputs).module
    options = Options(values, gpu_kernel=kernel)
    layout = [
        p for p in layout_pipeline(options) if merges or not isinstance(p, EliminateLoadsPass)
    ]
    (lower,) = kernel_pipeline(get_target("adreno-640"), options)
    run_passes(module, (*layout, lower if resident else replace(lower, registers=0)))
    return module


def gru(inputs, hidden=4, layers=1, steps=3):
    torch.manual_seed(0)
    model = nn.GRU(inputs, hidden, layers)
    return model, (torch.randn(steps, 1, inputs), torch.zeros(layers, 1, hidden))


def test_loads_of_neighbours_share_lines():
    (phase,), shared = counted("%x = memref.load %a[%t] : memref<64xf32>", groups=2)
    assert phase.work["read"] == 2 * 8 * 4
    assert phase.line_bytes == 4 * 64  # a line a wave
    assert phase.distinct_bytes == 64  # the same in both workgroups
    assert shared == 64


def test_a_stride_touches_a_line_for_each_four():
    (phase,), _ = counted(
        "%i = arith.muli %t, %c4 : index\n %x = memref.load %a[%i] : memref<64xf32>"
    )
    assert phase.line_bytes == phase.distinct_bytes == 2 * 64
    assert phase.work["product"] == 8


def test_a_loop_turns_as_often_as_each_thread_says():
    (phase,), _ = counted(
        """
  %turns = memref.load %n[%t] : memref<8xi32>
  %high = arith.index_castui %turns : i32 to index
  %zero = arith.constant 0.0 : f32
  %sum = scf.for %k = %c0 to %high step %c1 iter_args(%acc = %zero) -> (f32) {
    %x = memref.load %a[%k] : memref<64xf32>
    %next = math.fma %x, %x, %acc : f32
    scf.yield %next : f32
  }
  memref.store %sum, %a[%t] : memref<64xf32>
"""
    )
    assert phase.work["fma"] == TURNS.sum()
    # both waves of four: the first goes on for its slowest thread, the second for its one
    assert phase.issued["fma"] == 4 * 3 + 4 * 5
    assert phase.work["read"] == 4 * (8 + TURNS.sum())
    assert phase.work["written"] == 4 * 8
    # the bound's load, then five turns that wait for theirs, before the store
    assert phase.path_ns == pytest.approx(100 + 5 * 100, abs=20)


def test_a_branch_leaves_threads_out():
    body = """
  %is = arith.cmpi ult, %t, %c1 : index
  %y = scf.if %is -> (index) {
    %x = memref.load %a[%t] : memref<64xf32>
    memref.store %x, %s[%t] : memref<16xf32, #gpu.address_space<workgroup>>
    scf.yield %c1 : index
  } else {
    scf.yield %c4 : index
  }
  scf.for %k = %c0 to %y step %c1 {
    %z = memref.load %s[%k] : memref<16xf32, #gpu.address_space<workgroup>>
  }
"""
    (phase,), _ = counted(body)
    assert phase.work["read"] == 4
    assert phase.issued["read"] == 4 * 4
    assert phase.work["shared"] == 4 + 4 * (1 + 7 * 4)


LOOP = """
  scf.for %t1 = %c0 to %c4 step %c1 {
    %i = arith.addi %t, %t1 : index
    %x = memref.load %a[%i] : memref<64xf32>
    memref.store %x, %s[%t] : memref<16xf32, #gpu.address_space<workgroup>>
    gpu.barrier
    scf.for %k = %c0 to %BOUND step %c1 {
      %z = memref.load %s[%k] : memref<16xf32, #gpu.address_space<workgroup>>
    }
    gpu.barrier
  }
"""


def test_turns_that_are_alike_are_counted_once(monkeypatch):
    alike, _ = counted(LOOP.replace("%BOUND", "%c4"))
    assert [(phase.times, phase.ends_with_barrier) for phase in alike] == [(4, True), (4, True)]
    assert {phase.working_set for phase in alike} == {64}
    monkeypatch.setattr(evaluator, "turns_alike", lambda loop: False)
    plain, _ = counted(LOOP.replace("%BOUND", "%c4"))
    assert len(plain) == 8
    sums = [totals([KernelRun("k", 1, 8, 0, phases)]) for phases in (alike, plain)]
    assert sums[0] == sums[1]


def test_turns_that_differ_are_run_one_by_one():
    phases, _ = counted(LOOP.replace("%BOUND", "%t1"))
    assert [phase.times for phase in phases] == [1] * 8
    loads = [phase.work["shared"] // 4 - 8 * (i % 2 == 0) for i, phase in enumerate(phases)]
    assert loads == [0, 0, 0, 8, 0, 16, 0, 24]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('%x = "unknown.op"() : () -> index', "unknown.op: no kernel of ours has had it so far"),
        (
            "%x = memref.load %a[%t] : memref<64xf32>\n %f = arith.constant 0.0 : f32\n"
            "%is = arith.cmpf olt, %x, %f : f32\n scf.if %is { gpu.barrier }",
            "a branch depends on data",
        ),
        (
            "%x = memref.load %a[%t] : memref<64xf32>\n %i = arith.fptoui %x : f32 to i32\n"
            "%j = arith.index_castui %i : i32 to index\n %y = memref.load %a[%j] : memref<64xf32>",
            "an address depends on data",
        ),
        (
            "%x = memref.load %a[%t] : memref<64xf32>\n %i = arith.fptoui %x : f32 to i32\n"
            "%j = arith.index_castui %i : i32 to index\n scf.for %k = %c0 to %j step %c1 { }",
            "a loop's bounds depend on data",
        ),
    ],
)
def test_what_cannot_be_counted_is_said(body, message):
    with pytest.raises(CompileError, match=message):
        counted(body)


def test_a_linear_layer_by_hand():
    model = nn.Linear(8, 12, bias=False)
    runs, left_out = count_runs(lowered(model, (torch.ones(3, 8),)), 1, LATENCIES)
    (run,) = runs
    total = totals(runs)
    assert total.work["fma"] == 3 * 8 * 12
    assert total.work["written"] == 3 * 12 * 4
    assert (total.dispatches, total.barriers) == (1, 0)
    assert run.name == "rtmobile_matmul_0"
    assert not [name for name in left_out if "matmul" in name]


def test_a_gru_by_hand():
    """Gates of H x (I + H) weights a step; what the cell computes does not depend on I."""

    def step(inputs, layers=1):
        model, arguments = gru(inputs, layers=layers)
        module = lowered(model, arguments)
        return {n: totals(count_runs(module, n, ADRENO_640.latencies)[0]) for n in (1, 2, 30)}

    four, eight = step(4), step(8)
    for count in (1, 2, 30):
        assert eight[count].work["fma"] - four[count].work["fma"] == count * 3 * 4 * (8 - 4)
        assert four[count].work["fma"] >= count * 3 * 4 * (4 + 4)
    cell = four[1].work["fma"] - 3 * 4 * (4 + 4)
    assert four[30].work["fma"] == 30 * (3 * 4 * (4 + 4) + cell)
    a_step = four[2].barriers - four[1].barriers
    assert four[30].barriers == four[1].barriers + 29 * a_step
    assert four[30].work["special"] == 30 * four[1].work["special"] > 0
    two = step(4, layers=2)
    assert two[30].work["fma"] == 30 * 2 * (3 * 4 * (4 + 4) + cell)


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_both_kernels_compute_the_same(steps):
    """A dispatch a chunk, or one a step and layer at most; the products are the same, but that a
    step's kernels take columns by eight, 8 for 4 and 24 for 20, of 64 rows (60 and padding), and
    that two steps project inputs for five."""
    model, arguments = gru(4, hidden=20, layers=2)
    one, many = (
        totals(count_runs(lowered(model, arguments, kernel=kernel), steps, LATENCIES)[0])
        for kernel in ("persistent", "per-step")
    )
    assert one.dispatches == 1
    assert steps < many.dispatches <= max(2 * steps, 2)
    more = 64 * (4 * steps * 4 + (3 * (8 + 24) if steps == 2 else 0))
    assert one.work["fma"] + more == many.work["fma"]
    assert one.work["special"] == many.work["special"]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_resident_scan_by_hand(layers):
    """Layer l is at step d - l of T + L - 1 turns; all take part in all turns. Where runs of
    columns are not all as long, tiles have a few zeros more. The cells of one layer add the terms
    of their sums up themselves."""
    model, arguments = gru(8, hidden=64, layers=layers)
    phases = 2 if layers == 1 else 3
    module = lowered(model, arguments, "f16", resident=True)
    weights = 192 * (8 + 64) + (layers - 1) * 192 * 128
    read = {}
    for steps in (1, 2, 30):
        (run,), _ = count_runs(module, steps, ADRENO_640.latencies)
        total, turns = totals([run]), steps + layers - 1
        products = total.work["fma"] / turns - layers * 64 * 2
        assert weights <= products < 1.04 * weights
        assert total.work["special"] == turns * layers * 64 * 5
        assert total.barriers == 2 + phases * turns
        assert weights / 2 / run.threads < run.kept_words
        assert run.kept_words < ADRENO_640.registers_a_thread(run.threads)
        read[steps] = total.work["read"]
    assert read[30] - read[1] == 29 * (read[2] - read[1])
    if layers == 1:  # x alone, by every thread; of two layers some weights are not kept
        assert read[2] - read[1] == run.threads * 4


def test_units_at_rest_take_one_fma_a_turn():
    model, arguments = gru(8, hidden=64)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0"):
            getattr(model, name).zero_()
    module = lowered(model, arguments, resident=True)
    for steps in (1, 30):
        (run,), _ = count_runs(module, steps, ADRENO_640.latencies)
        total = totals([run])
        assert (total.work["fma"], total.work["special"]) == (64 * steps, 0)


def test_registers_are_shared_out_by_pairs_of_waves():
    given = {threads: ADRENO_640.registers_a_thread(threads) for threads in (64, 384, 640, 1024)}
    assert given == {64: 192, 384: 128, 640: 76, 1024: 48}


def test_what_is_kept_from_before_a_loop_is_counted():
    body = """
  %x = memref.load %a[%t] : memref<64xf32>
  %unused = memref.load %a[%c1] : memref<64xf32>
  %same = memref.load %a[%c4] : memref<64xf32>
  %sum = scf.for %k = %c0 to %c4 step %c1 iter_args(%acc = %x) -> (f32) {
    %y = math.fma %x, %same, %acc : f32
    memref.store %y, %s[%t] : memref<16xf32, #gpu.address_space<workgroup>>
    gpu.barrier
    scf.yield %y : f32
  }
"""
    decoder, region = decoded(body)
    assert kept_words(region, decoder.kinds) == 3  # %x, %t, what the loop carries
    without = body.replace("gpu.barrier", "")
    decoder, region = decoded(without)
    assert kept_words(region, decoder.kinds) == 0


def test_the_busiest_wave_is_counted():
    (phase,), _ = counted(
        """
  %is = arith.cmpi ult, %t, %c4 : index
  scf.if %is {
    %x = memref.load %a[%t] : memref<64xf32>
    %y = arith.addf %x, %x : f32
    memref.store %y, %a[%t] : memref<64xf32>
  }
"""
    )
    assert phase.wave_ops == 4


def test_pruned_weights_are_not_counted():
    model, arguments = gru(16, hidden=64)
    whole = totals(count_runs(lowered(model, arguments), 1, LATENCIES)[0])
    import rtmobile_iree as rt

    rt.prune(model, column_rate=4, row_rate=1, row_stripes=4, col_blocks=4)
    kept = sum(int(torch.count_nonzero(p)) for n, p in model.named_parameters() if "weight" in n)
    module = lowered(model, arguments, merges=False)
    few = totals(count_runs(module, 1, LATENCIES)[0])
    dense = 3 * 64 * (16 + 64)
    assert few.work["fma"] == kept + (whole.work["fma"] - dense)
    assert few.streamed_bytes < whole.streamed_bytes


def test_narrow_values_are_fewer_bytes():
    model, arguments = gru(32, hidden=64)
    f32, f16 = (totals(count_runs(lowered(model, arguments, v), 1, LATENCIES)[0])
                for v in ("f32", "f16"))  # fmt: skip
    assert f32.work["fma"] == f16.work["fma"]
    assert f32.work["read"] - f16.work["read"] == 2 * 3 * 64 * (32 + 64)


def phase(**fields):
    empty = {"work": {}, "issued": {}, "line_bytes": 0, "distinct_bytes": 0, "path_ns": 0.0}
    given = empty | fields
    given |= {"work": Counter(given["work"]), "issued": Counter(given["issued"])}
    return Phase(**given)


def test_halves_are_counted_by_themselves():
    """A linear cell's products in f16 take half of f32's arithmetic, a pair of them one op."""
    model, arguments = gru(8, hidden=64)

    def step(is_half):
        module = import_module(model.eval(), arguments).module
        schedule = LowerVulkanPass(kernel="per-step", step_blocks=True, is_half=is_half)
        run_passes(module, (*layout_pipeline(Options("i8")), schedule))
        return totals(count_runs(module, 1, LATENCIES)[0]).work

    wide, half = step(False), step(True)
    columns = 3 * 64 * (8 + 64)
    assert half["half fma"] == columns  # the first of eight too: sums begin with the biases' part
    # a conversion each; and for eight columns of eight rows, two pairs of biases times their inputs
    assert half["half"] == columns + columns // 64 * 4
    assert wide["half fma"] == wide["half"] == 0
    assert wide["fma"] - half["fma"] == columns + 2 * 3 * 64  # and the biases
    assert ADRENO_640.half_s == 2 * ADRENO_640.fma_s


def test_a_workgroup_reaches_a_share_of_the_gpu():
    one = KernelRun("k", 1, 256, 0, ())
    many = KernelRun("k", 8, 256, 0, ())
    busy = phase(issued={"fma": 407_000}, distinct_bytes=75_000, working_set=75_000)
    limits = [phase_ns(busy, run, ADRENO_640) for run in (one, many)]
    assert limits[0]["arithmetic"] == pytest.approx(2000)
    assert limits[1]["arithmetic"] == pytest.approx(1000)
    assert limits[0]["bytes from L2"] == pytest.approx(2 * limits[1]["bytes from L2"])


@pytest.mark.parametrize(
    ("working_set", "level"),
    [(1 << 17, "L2"), ((1 << 17) + 1, "system cache"), (1 << 30, "memory")],
)
def test_larger_working_sets_come_from_farther(working_set, level):
    assert ADRENO_640.level(working_set)[0] == level


def test_workgroups_that_do_not_fit_wait():
    assert rounds(KernelRun("k", 1, 256, 32768, ()), ADRENO_640) == 1
    assert rounds(KernelRun("k", 2, 256, 32768, ()), ADRENO_640) == 1
    assert rounds(KernelRun("k", 3, 256, 32768, ()), ADRENO_640) == 2
    assert rounds(KernelRun("k", 16, 256, 0, ()), ADRENO_640) == 1
    assert rounds(KernelRun("k", 17, 256, 0, ()), ADRENO_640) == 2


def test_an_estimate_is_the_sum_of_its_parts():
    model, arguments = gru(8, hidden=16)
    (one, many), _ = estimate(model.eval(), arguments, get_target("adreno-640"), (1, 30))
    assert many.us == pytest.approx(sum(many.parts_us.values()))
    assert many.us > one.us > one.least_us
    assert many.parts_us[DISPATCHES] == pytest.approx(
        ADRENO_640.dispatch_us * many.totals.dispatches
    )
    assert many.parts_us[BARRIERS] == pytest.approx(
        many.totals.barriers * ADRENO_640.barrier_ns / 1000
    )


def test_every_model_is_of_a_gpu_and_has_sources():
    for name, model in MODELS.items():
        assert name in GPUS
        assert any("ASSUMED" in line for line in model.sources)
    with pytest.raises(TargetError, match="no rates are known of lavapipe; use one of adreno-640"):
        get_model(GPUS["lavapipe"])


def test_a_model_without_a_kernel_of_ours():
    class Doubled(nn.Module):
        def forward(self, x):
            return x + x

    with pytest.raises(InputError, match="no kernel of ours to count"):
        estimate(Doubled().eval(), (torch.ones(2, 3),), get_target("adreno-640"))


def test_the_papers_table_has_both_columns():
    assert len(TABLE_2) == 10
    assert all(row.gpu_us < row.cpu_us for row in TABLE_2)
    assert [row.compression for row in TABLE_2] == sorted(row.compression for row in TABLE_2)


def test_the_table_says_what_is_above_the_papers_time(capsys, tmp_path, monkeypatch):
    from rtmobile_iree import paper
    from rtmobile_iree.gpu_cost import table
    from rtmobile_iree.models import tiny_paper_gru

    monkeypatch.setattr(paper, "paper_gru", tiny_paper_gru)
    path = tmp_path / "table.json"
    table.main(path, "1x1,10x1", "f32", "persistent,per-step")
    fields = json.loads(path.read_text())
    assert fields["kind"] == "ESTIMATE"
    assert "ESTIMATE, not measured" in capsys.readouterr().out
    for row in fields["rows"]:
        (frame,) = (each for each in row["estimates"] if each["steps"] == 30)
        assert row["within_paper_gpu"] == (frame["us"] <= row["paper_gpu_us"])
        assert (frame["dispatches"] == 1) == (row["kernel"] == "persistent")


MODEL = "rtmobile_iree.models:tiny_paper_gru"


def shell(*arguments):
    with pytest.raises(SystemExit) as status:
        cli.main(["inspect", MODEL, *arguments])
    assert status.value.code == 0


def test_inspect_cost_at_the_shell(capsys):
    shell("--prune", "4x1", "--cost", "--target", "adreno-640")
    out = capsys.readouterr().out
    assert "ESTIMATE, not measured" in out
    assert "ASSUMED" in out
    shell("--cost", "--target", "adreno-640", "--steps", "2", "--json")
    fields = json.loads(capsys.readouterr().out)
    assert [each["steps"] for each in fields["estimates"]] == [2]
    assert fields["estimates"][0]["kernels"][0]["phases"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.vmfb", "--cost"], "--cost x.vmfb: a .vmfb does not say"),
        ([MODEL, "--cost"], "--cost: target host is no GPU"),
        ([MODEL, "--cycles", "--target", "adreno-640"], "is a GPU; use --cost"),
        ([MODEL, "--cost", "--target", "mali-valhall"], "no rates are known of mali-valhall"),
    ],
)
def test_costs_that_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit) as status:
        cli.main(["inspect", *arguments])
    assert status.value.code == 1
    assert message in capsys.readouterr().err
