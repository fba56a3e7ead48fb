"""Value types: rounding, rules, the packed matrix, and compiled programs against PyTorch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import rtmobile_iree as rt
from rtmobile_iree.bspc import byte_counts, convert, matvec, pack, unpack
from rtmobile_iree.errors import FormatError, InputError, RTMobileError
from rtmobile_iree.targets import get_target
from rtmobile_iree.values import VALUE_TYPES, from_storage, parse_rules, relative_error, to_storage

# half a unit in the last place, relative; i8: of the row's largest weight; i4 may keep half of it
STEP = {"f32": 0, "f16": 2**-11, "bf16": 2**-8, "i8": 0.5 / 127, "i4": 4.0 / 7}


def stripes(rng, shape, keep=0.4, count=3):
    weight = np.zeros(shape, np.float32)
    for rows in np.array_split(np.arange(shape[0]), min(count, shape[0])):
        columns = np.flatnonzero(rng.random(shape[1]) < keep)
        weight[np.ix_(rows, columns)] = rng.standard_normal((rows.size, columns.size))
    return weight


def test_bf16_is_torchs():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    values[:4] = 0.0, -0.0, 1e-38, 3e38
    ours = from_storage(to_storage(values, "bf16"))
    np.testing.assert_array_equal(ours, torch.from_numpy(values).bfloat16().float().numpy())


@pytest.mark.parametrize("kind", VALUE_TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (64, 64), (65, 31), (193, 40)])
def test_a_converted_matrix_errs_by_half_a_step_at_most(kind, shape):
    rng = np.random.default_rng(1)
    weight = stripes(rng, shape)
    packed = convert(pack(weight), kind)
    largest = np.abs(weight)
    if kind in ("i8", "i4"):  # the scale is the row's
        largest = largest.max(axis=1, keepdims=True)
    assert packed.value_type == kind
    assert (np.abs(unpack(packed) - weight) <= STEP[kind] * largest * (1 + 1e-6)).all()
    x = rng.standard_normal(shape[1]).astype(np.float32)
    np.testing.assert_allclose(matvec(packed, x), unpack(packed) @ x, rtol=1e-5, atol=1e-5)


def test_i4_errs_no_more_than_if_it_kept_the_largest_weight():
    weight = stripes(np.random.default_rng(3), (40, 300))
    scale = np.abs(weight).max(axis=1, keepdims=True) / 7
    plain = np.rint(weight / np.where(scale > 0, scale, 1)) * scale
    ours = unpack(convert(pack(weight), "i4"))
    errors, plain_errors = (((w - weight) ** 2).sum(axis=1) for w in (ours, plain))
    assert (errors <= plain_errors * (1 + 1e-5)).all()
    assert errors.sum() < 0.9 * plain_errors.sum()
    used = np.unique(convert(pack(weight), "i4").values)
    assert used.tolist() == list(range(-7, 8))


@pytest.mark.parametrize("values", [[8, 0, 0, 0], [-8, 0, 0, 0]])
def test_an_integer_that_is_no_i4s_is_refused(values):
    packed = convert(pack(np.ones((4, 1), np.float32)), "i4")
    with pytest.raises(FormatError, match=r"values of i4 are int8 in -7 \.\. 7"):
        replace(packed, values=np.array(values, np.int8))


def test_bytes_shrink_with_the_type():
    weight = stripes(np.random.default_rng(2), (192, 128))
    sizes = {kind: byte_counts(convert(pack(weight), kind)) for kind in VALUE_TYPES}
    stored = {kind: size.values + size.padding for kind, size in sizes.items()}
    assert stored["f16"] == stored["bf16"] == stored["f32"] // 2
    scales = 4 * pack(weight).reorder.size
    assert stored["i8"] == stored["f32"] // 4 + scales
    assert stored["i4"] == stored["f32"] // 8 + scales


def test_a_weight_too_large_for_f16_is_refused():
    with pytest.raises(FormatError, match="70000.0, is infinite in f16; use bf16, i8 or f32"):
        convert(pack(np.full((4, 4), 7e4, np.float32)), "f16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f8", "'f8' is no value type; use one of f32, f16, bf16, i8, i4"),
        ("", "no rule"),
        ("*=-1", "'-1' is no value type"),
    ],
)
def test_wrong_rules_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_rules(text)


def gru(batch=1, hidden=32, rate=(4, 2)):
    torch.manual_seed(0)
    module = torch.nn.GRU(13, hidden, 2).eval()
    stripes = min(6, hidden)
    rt.prune(module, column_rate=rate[0], row_rate=rate[1], row_stripes=stripes, col_blocks=1)
    return module, (torch.randn(5, batch, 13), torch.randn(2, batch, hidden) / 2)


def rounded(module, kind):
    """The module with its matrices rounded to a type."""
    for name, weight in module.named_parameters():
        if name.startswith("weight"):
            packed = convert(pack(weight.detach().numpy()), kind)
            weight.data = torch.from_numpy(unpack(packed))
    return module


@pytest.mark.parametrize("kind", VALUE_TYPES)
@pytest.mark.parametrize(
    ("hidden", "batch", "rate"), [(32, 1, (4, 2)), (31, 3, (2, 1)), (1, 1, (1, 1))]
)
def test_a_program_computes_with_the_rounded_weights(machine, kind, hidden, batch, rate):
    module, inputs = gru(batch, hidden, rate)
    program = machine.compile(module, inputs, values=kind)
    assert {m.value_type for m in program.report.matrices} == {kind}
    exact = rounded(module, kind)
    for steps in (1, 30):
        x = torch.randn(steps, batch, 13)
        y, state = program(x, inputs[1])
        with torch.no_grad():
            expected_y, expected_state = exact(x, inputs[1])
        np.testing.assert_allclose(y, expected_y, atol=2e-6)
        np.testing.assert_allclose(state, expected_state, atol=2e-6)


@pytest.mark.parametrize("kind", ["i8", "i4"])
@pytest.mark.parametrize(
    ("hidden", "batch", "rate"), [(64, 1, (4, 2)), (67, 3, (8, 8)), (16, 1, (1, 1))]
)
def test_quantized_inputs_stay_close(machine, hidden, batch, rate, kind):
    if get_target(machine.target, machine.cpu).integer_dot is None:
        pytest.skip("this machine has no integer dot product")
    module, (example, state) = gru(batch, hidden, rate)
    program = machine.compile(module, (example, state), values=kind, activations="i8")
    exact = rounded(module, kind)
    for steps in (1, 5, 30):
        x = torch.randn(steps, batch, 13)
        with torch.no_grad():
            expected, _ = exact(x, state)
        assert np.abs(program(x, state)[0] - expected.numpy()).max() < 2e-2
    assert np.isnan(program(torch.full_like(x, float("nan")), state)[0]).any()


def test_rules_choose_by_name_and_by_error():
    module, inputs = gru()
    rules = {"*weight_hh_*": "i8", "*weight_ih_l0": "f32", "*": 0.001}
    program = rt.compile(module, inputs, values=rules)
    chosen = {m.name: (m.value_type, m.value_error) for m in program.report.matrices}
    assert [chosen[f"weight_hh_l{i}"][0] for i in (0, 1)] == ["i8", "i8"]
    assert chosen["weight_ih_l0"] == ("f32", 0.0)
    kind, error = chosen["weight_ih_l1"]
    assert kind == "f16"
    assert 0 < error <= 0.001
    weight = module.weight_ih_l1.detach().numpy()
    exact = relative_error(weight, unpack(convert(pack(weight), "f16")))
    assert error == pytest.approx(exact, rel=1e-3)


def test_a_rule_for_a_matrix_that_is_not_there_is_refused():
    module, inputs = gru()
    with pytest.raises(
        RTMobileError, match=r"no matrix is called fc\.\*; there are: .*weight_hh_l0"
    ):
        rt.compile(module, inputs, values="fc.*=i8,*=f32")
